//! Kafka: key, headers, and the clients' settings.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kit::kafka::{Cluster, describe};
use rdkafka::admin::AdminClient;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::metadata::MetadataPartition;
use rdkafka::producer::BaseRecord;
use tracing::{debug, warn};

use super::producer::{LastLog, Producer, SendTicket};
use super::topic::{self, TopicConfiguration, TopicSettings};
use super::trace;
use super::watch::TopicWatch;
use crate::journal::{Reader, StoredEvent};
use crate::transport::message::MessageAttributes;
use crate::transport::{
    BoxFuture, Client, PartitionState, Probe, Signals, TopicHistory, Transport, TransportError,
};

/// How many delivery timeouts the client library keeps an event before it fails it. A slow broker does not reach this: the
/// publisher watches for silence, and bounds what is in flight.
const QUEUED_MAX: u32 = 4;
/// Room for the headers of a message.
const HEADERS: usize = 9;
/// How long the brokers may take to tell the topic's id.
const IDENTITY_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct KafkaSettings {
    pub cluster: Cluster,
    /// Names the service's clients in the broker's logs and quotas.
    pub client_id: String,
    /// `ce_source` of every message: CloudEvents' name for the context in which its ids are unique.
    pub source: String,
    /// How an operator sends every event again, as the log tells it.
    pub resend: String,
    pub topic: TopicSettings,
    /// How long nothing may be acknowledged before that counts as a failure.
    pub delivery_timeout: Duration,
    /// Most events with the producer at a time.
    pub in_flight_max: usize,
}

impl KafkaSettings {
    fn client(&self) -> Result<ClientConfig, KafkaError> {
        self.cluster.client(&self.client_id)
    }

    /// Creates the topic if it is missing. Returns whether it was missing.
    pub async fn ensure_topic(&self) -> Result<bool, KafkaError> {
        topic::ensure(self).await
    }

    /// How many replicas must be in sync for Kafka to take an event; 1 if this client may not see it. `None`: no broker answered. One
    /// that dies takes such a question with it.
    pub(super) async fn min_insync_replicas(&self) -> Option<i32> {
        let admin = self.admin().ok()?;
        match TopicConfiguration::read(&admin, &self.topic.name).await {
            Ok(configuration) => Some(configuration.min_insync_replicas()),
            Err(KafkaError::AdminOp(
                RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed,
            )) => Some(1),
            Err(_) => None,
        }
    }

    /// For questions about the topic. Connects in the background.
    pub fn admin(&self) -> Result<AdminClient<QuietContext>, KafkaError> {
        self.client()?.create_with_context(QuietContext)
    }

    fn producer(&self) -> Result<ClientConfig, KafkaError> {
        let mut config = self.client()?;
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // One request at a time to a broker. With more, a partition that was just created may accept the second batch of a new
            // producer while it still refuses the first.
            .set("max.in.flight.requests.per.connection", "1")
            // As Java's clients do: a key goes to the same partition whichever client writes it.
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "1")
            .set("message.timeout.ms", (self.delivery_timeout * QUEUED_MAX).as_millis().to_string())
            // Never reached: the publisher's window is smaller.
            .set("queue.buffering.max.messages", (self.in_flight_max * 2).max(1000).to_string());
        Ok(config)
    }
}

impl Transport for KafkaSettings {
    fn connect(&self, signals: Signals) -> Result<Box<dyn Client>, TransportError> {
        Ok(Box::new(Kafka::new(self.clone(), signals)?))
    }

    fn delivery_timeout(&self) -> Duration {
        self.delivery_timeout
    }

    fn run_beside(&self, reader: Reader) -> BoxFuture<()> {
        Box::pin(TopicWatch::new(self.clone(), TopicHistory::new(reader)).run())
    }

    fn copies(&self, signals: Signals) -> BoxFuture<Result<Box<dyn Client>, TransportError>> {
        let settings = self.clone();
        Box::pin(async move {
            settings.ensure_topic().await?;
            settings.connect(signals)
        })
    }

    fn replayed(&self, reader: Reader, to: i64) -> BoxFuture<bool> {
        let (cluster, topic) = (self.cluster.clone(), self.topic.name.clone());
        Box::pin(async move {
            let Ok(topic) = cluster.topic_identity(&topic, IDENTITY_PATIENCE).await else { return false };
            TopicHistory::new(reader).replayed(&topic, to).await.unwrap_or_else(|error| {
                warn!(%error, "The events are sent, but the alert about them cannot be ended: repeat the command");
                false
            })
        })
    }

    fn replicas_wanted(&self) -> BoxFuture<Option<i32>> {
        let settings = self.clone();
        Box::pin(async move { settings.min_insync_replicas().await })
    }
}

/// The context of a client whose caller gets every failure as a result: its log is for debugging only.
pub struct QuietContext;

impl ClientContext for QuietContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(?level, facility, message, "Kafka client");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "Kafka client error");
    }
}

pub struct Kafka {
    settings: KafkaSettings,
    signals: Signals,
    /// One a lane, so that no lane waits for another's requests, or is affected when they are dropped.
    producers: Vec<Producer>,
    last_log: LastLog,
}

impl Kafka {
    /// With one lane. It connects in the background, so Kafka may be down.
    ///
    /// # Errors
    /// When the client library does not accept the settings.
    pub fn new(settings: KafkaSettings, signals: Signals) -> Result<Self, TransportError> {
        let mut kafka = Self { settings, signals, producers: Vec::new(), last_log: LastLog::default() };
        kafka.ensure_lanes(1)?;
        Ok(kafka)
    }

    fn producer(&self, lane: u32) -> Result<Producer, TransportError> {
        // Each time anew: a password's file may have another one by now.
        let (config, last_log) = (self.settings.producer()?, Arc::clone(&self.last_log));
        let cluster = self.settings.cluster.clone();
        Ok(Producer::new(&config, cluster, lane, self.signals.clone(), last_log)?)
    }
}

impl From<KafkaError> for TransportError {
    fn from(error: KafkaError) -> Self {
        Self(describe(&error))
    }
}

impl Client for Kafka {
    fn ensure_lanes(&mut self, lanes: u32) -> Result<(), TransportError> {
        for lane in self.producers.len()..lanes as usize {
            self.producers.push(self.producer(lane as u32)?);
        }
        Ok(())
    }

    fn send(&self, lane: u32, epoch: u64, event: &StoredEvent, attempt: Option<u32>) {
        let message = MessageAttributes::of(event);
        let headers = headers(message.all(&self.settings.source));
        let span = trace::begin(event, message.traceparent(), attempt, &self.settings.client_id);
        let (waited, sent_at) = (event.age(), Instant::now());
        let (seq, bytes) = (event.seq, event.payload.len());
        let ticket = SendTicket { epoch, seq, bytes, waited, sent_at, span };
        let record = BaseRecord::with_opaque_to(&self.settings.topic.name, Box::new(ticket));
        let Some(producer) = self.producers.get(lane as usize).or_else(|| self.producers.first()) else {
            return;
        };
        producer
            .send(record.key(message.key().as_bytes()).payload(event.payload.as_bytes()).headers(headers));
    }

    fn replace_failed(&mut self, lane: u32) -> Result<(), TransportError> {
        let failed = self.producers.get(lane as usize).is_some_and(Producer::has_failed_for_good);
        if failed { self.abandon(lane) } else { Ok(()) }
    }

    fn abandon(&mut self, lane: u32) -> Result<(), TransportError> {
        // A producer with a fatal error, or with requests stuck in a dead connection, is of no further use.
        let fresh = self.producer(lane)?;
        let Some(producer) = self.producers.get_mut(lane as usize) else { return Ok(()) };
        let old = std::mem::replace(producer, fresh);
        // Explicitly, because a probe may keep the old producer alive a moment longer.
        old.purge();
        // Dropping a producer waits for its thread; that must not block an arbiter.
        std::thread::spawn(move || drop(old));
        Ok(())
    }

    fn partitions(&self, lane: u32, patience: Duration) -> BoxFuture<Option<Vec<PartitionState>>> {
        let producer = self.producers.get(lane as usize).cloned();
        let topic = self.settings.topic.name.clone();
        Box::pin(blocking(move || {
            let metadata = producer?.client().fetch_metadata(Some(&topic), patience).ok()?;
            let topic = metadata.topics().first().filter(|topic| topic.error().is_none())?;
            let mut states: Vec<_> = topic.partitions().iter().map(state).collect();
            states.sort_by_key(|state| state.partition);
            (!states.is_empty()).then_some(states)
        }))
    }

    fn problem(&self) -> Option<String> {
        self.settings.cluster.problem()
    }

    fn probe(&self, patience: Duration) -> Probe {
        let producer = self.producers.first().cloned();
        let topic = self.settings.topic.name.clone();
        Box::new(move || {
            let (producer, topic) = (producer.clone(), topic.clone());
            let asked = blocking(move || producer?.client().fetch_metadata(Some(&topic), patience).ok());
            Box::pin(async move { asked.await.is_some() })
        })
    }
}

/// Runs a call of the client library that blocks its thread.
async fn blocking<T: Send + 'static>(question: impl FnOnce() -> Option<T> + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(question).await.ok().flatten()
}

fn state(metadata: &MetadataPartition) -> PartitionState {
    PartitionState {
        partition: metadata.id(),
        leader: metadata.leader(),
        replicas: metadata.replicas().len(),
        in_sync: metadata.isr().len(),
    }
}

fn headers<'a>(attributes: impl Iterator<Item = (&'static str, &'a str)>) -> OwnedHeaders {
    attributes.fold(OwnedHeaders::new_with_capacity(HEADERS), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    })
}
