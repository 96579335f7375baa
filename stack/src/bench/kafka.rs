//! Bare Kafka clients with the services' settings: what there is to compare with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, Message};

const PATIENCE: Duration = Duration::from_secs(60);

/// A record as it goes on the wire.
#[derive(sqlx::FromRow)]
pub(super) struct Record {
    key: String,
    value: String,
    event_id: String,
    event_type: String,
    version: String,
    occurred_at: String,
}

impl Record {
    fn headers(&self) -> OwnedHeaders {
        let headers = [
            ("ce_specversion", "1.0"),
            ("ce_id", &self.event_id),
            ("ce_source", "/orders"),
            ("ce_type", &self.event_type),
            ("ce_subject", &self.key),
            ("ce_time", &self.occurred_at),
            ("ce_sequence", &self.version),
            ("content-type", "application/json"),
        ];
        let empty = OwnedHeaders::new_with_capacity(headers.len());
        headers
            .into_iter()
            .fold(empty, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
    }
}

#[derive(Clone, Default)]
struct Delivered(Arc<AtomicU64>);

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The order service's settings (engine/src/transport/kafka/client.rs).
fn producer(brokers: &str, context: Delivered) -> Result<ThreadedProducer<Delivered>> {
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", brokers)
        // The topic is made beforehand, by make_topic.
        .set("allow.auto.create.topics", "false")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("max.in.flight.requests.per.connection", "1")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "1");
    Ok(settings.create_with_context(context)?)
}

pub(super) async fn make_topic(brokers: &str, topic: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let new =
        NewTopic::new(topic, 6, TopicReplication::Fixed(1)).set("message.timestamp.type", "LogAppendTime");
    for made in admin.create_topics([&new], &AdminOptions::new()).await? {
        if let Err((_, code)) = made {
            bail!("the topic {topic} cannot be made: {code}");
        }
    }
    Ok(())
}

/// Returns after the last acknowledgement. Blocks.
pub(super) fn produce(brokers: &str, topic: &str, records: &[Record]) -> Result<()> {
    let delivered = Delivered::default();
    let producer = producer(brokers, delivered.clone())?;
    producer.client().fetch_metadata(Some(topic), PATIENCE)?;
    for record in records {
        let mut next = BaseRecord::to(topic)
            .key(record.key.as_bytes())
            .payload(record.value.as_bytes())
            .headers(record.headers());
        while let Err((error, refused)) = producer.send(next) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_micros(200));
            next = refused;
        }
    }
    producer.flush(PATIENCE)?;
    let delivered = delivered.0.load(Ordering::Relaxed);
    if delivered != records.len() as u64 {
        bail!("only {delivered} of {} records were acknowledged", records.len());
    }
    Ok(())
}

/// How long single records take from the send to a consumer with the bonus service's settings, at this rate, in milliseconds. Blocks.
pub(super) fn produce_to_consume(brokers: &str, topic: &str, rate: f64, lasts: Duration) -> Result<Vec<f64>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", format!("reference-{topic}"))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("heartbeat.interval.ms", "1500")
        .set("fetch.queue.backoff.ms", "20")
        .create()?;
    consumer.subscribe(&[topic])?;
    let producer = producer(brokers, Delivered::default())?;
    let base = Instant::now();
    while consumer.assignment()?.count() == 0 {
        if base.elapsed() > PATIENCE {
            bail!("the consumer was given no partitions");
        }
        consumer.poll(Duration::from_millis(50));
    }
    let count = (rate * lasts.as_secs_f64()) as u64;
    let topic = topic.to_owned();
    let sending = std::thread::spawn(move || -> Result<()> {
        let begun = Instant::now();
        for number in 0..count {
            let due = begun + Duration::from_secs_f64(number as f64 / rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let (key, value) = (number.to_string(), base.elapsed().as_micros().to_string());
            let record = BaseRecord::to(&topic).key(&key).payload(&value);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        Ok(producer.flush(PATIENCE)?)
    });
    let mut latencies = Vec::new();
    let mut last = Instant::now();
    while (latencies.len() as u64) < count {
        if last.elapsed() > PATIENCE {
            bail!("only {} of {count} records arrived", latencies.len());
        }
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message?;
        last = Instant::now();
        let sent: u64 = std::str::from_utf8(message.payload().context("an empty record")?)?.parse()?;
        latencies.push((last.duration_since(base).as_micros() as f64 - sent as f64) / 1_000.0);
    }
    sending.join().map_err(|_| anyhow::anyhow!("the producer's thread panicked"))??;
    Ok(latencies)
}
