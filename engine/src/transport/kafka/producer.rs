//! The producer of a lane, and what the broker's answer means for one event.
//!
//! Kafka takes or refuses a batch as a whole, and librdkafka reports a refusal for each of its records. So an event that was
//! refused in a batch is sent once more, alone. Only an event that is refused alone is at fault. (Java's client splits batches that
//! are too large: KIP-126.)

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use kit::kafka::{Cluster, describe};
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer};
use tracing::{debug, warn};

use super::statistics::throttled;
use super::trace;
use crate::metric;
use crate::transport::trace::SendSpan;
use crate::transport::{DeliveryReport, Signal, Signals};

/// The client library logs the same line again and again while a broker is down. One line in this time is enough.
const CLIENT_LOG_PAUSE: Duration = Duration::from_secs(30);

/// How long an event may wait to be sent alone. A window of 20,000 events, at some hundreds a second, takes less.
const QUEUED_MAX: Duration = Duration::from_secs(300);

/// How often a producer tells whether the broker throttled it.
const STATISTICS_PERIOD: Duration = Duration::from_millis(500);

/// When a line of the client library was last logged. Shared by the producers that replace each other.
pub(super) type LastLog = Arc<Mutex<Option<Instant>>>;

/// Names one send.
pub(super) struct SendTicket {
    pub(super) epoch: u64,
    pub(super) seq: i64,
    pub(super) bytes: usize,
    /// How long the event had waited when it was sent, and when that was.
    pub(super) waited: Duration,
    pub(super) sent_at: Instant,
    pub(super) span: SendSpan,
}

pub(super) type ProducerRecord<'a> = BaseRecord<'a, [u8], [u8], Box<SendTicket>>;

#[derive(Clone)]
pub(super) struct Producer(ThreadedProducer<DeliveryContext>);

impl Producer {
    /// It connects in the background.
    pub(super) fn new(
        config: &ClientConfig,
        cluster: Cluster,
        lane: u32,
        signals: Signals,
        last_log: LastLog,
    ) -> Result<Self, KafkaError> {
        let mut config = config.clone();
        config.set("statistics.interval.ms", STATISTICS_PERIOD.as_millis().to_string());
        let single_sender = SingleSender { config: config.clone(), producer: OnceLock::new() };
        config
            .create_with_context(DeliveryContext {
                cluster,
                lane,
                signals,
                last_log,
                last_error: Mutex::default(),
                single_sender: Some(single_sender),
            })
            .map(Self)
    }

    /// A record that is refused here is reported like any other.
    pub(super) fn send(&self, record: ProducerRecord<'_>) {
        if let Err((error, record)) = self.0.send(record) {
            self.0.context().not_sent(*record.delivery_opaque, &error);
        }
    }

    /// Reports everything in flight as failed. An event whose refusal is being reported meanwhile may still be sent once more.
    pub(super) fn purge(&self) {
        let all = || PurgeConfig::default().queue().inflight();
        self.0.purge(all());
        if let Some(single_sender) =
            self.0.context().single_sender.as_ref().and_then(|sender| sender.producer.get())
        {
            single_sender.0.purge(all());
        }
    }

    /// After an error from which the client library does not recover: the producer was fenced, or got no producer id.
    pub(super) fn has_failed_for_good(&self) -> bool {
        let context = self.0.context();
        let single_sender = context.single_sender.as_ref().and_then(|sender| sender.producer.get());
        // Asking the library costs more, so it is asked only after an error.
        let failed = context.last_error().is_some() && self.client().fatal_error().is_some();
        failed || single_sender.is_some_and(Self::has_failed_for_good)
    }

    pub(super) fn client(&self) -> &Client<DeliveryContext> {
        self.0.client()
    }
}

pub(super) struct DeliveryContext {
    /// Knows more of a refused link than librdkafka tells.
    cluster: Cluster,
    lane: u32,
    signals: Signals,
    last_log: LastLog,
    /// In words: when a producer has failed for good, the report of an event does not tell why.
    last_error: Mutex<Option<String>>,
    /// `None` in the producer that sends alone.
    single_sender: Option<SingleSender>,
}

/// Sends events that were refused in a batch again, one a batch. Its producer is made when it is first needed.
///
/// On a topic that takes only small batches a whole backlog is sent in this way, at a round trip an event. Then many events wait
/// here for longer than the delivery timeout. The publisher does not take that for silence, since each report counts.
struct SingleSender {
    config: ClientConfig,
    producer: OnceLock<Producer>,
}

impl SingleSender {
    fn send(&self, context: &DeliveryContext, message: &BorrowedMessage<'_>, ticket: Box<SendTicket>) {
        let producer = match self.producer(context) {
            Ok(producer) => producer,
            Err(error) => return context.not_sent(*ticket, &error),
        };
        let mut record = BaseRecord::with_opaque_to(message.topic(), ticket);
        record.key = message.key();
        record.payload = message.payload();
        record.headers = message.headers().map(BorrowedHeaders::detach);
        producer.send(record);
    }

    fn producer(&self, context: &DeliveryContext) -> Result<&Producer, KafkaError> {
        if let Some(producer) = self.producer.get() {
            return Ok(producer);
        }
        warn!(
            "Kafka refused a batch: its events are sent again one by one, to find the one at fault. If none is refused alone, raise the \
             topic's max.message.bytes: one by one is slow"
        );
        let DeliveryContext { cluster, lane, signals, last_log, .. } = context;
        let (signals, last_log) = (signals.clone(), Arc::clone(last_log));
        let context = DeliveryContext {
            cluster: cluster.clone(),
            lane: *lane,
            signals,
            last_log,
            last_error: Mutex::default(),
            single_sender: None,
        };
        let mut config = self.config.clone();
        config.set("batch.num.messages", "1").set("message.timeout.ms", QUEUED_MAX.as_millis().to_string());
        let producer = config.create_with_context(context)?;
        Ok(self.producer.get_or_init(|| Producer(producer)))
    }
}

impl DeliveryContext {
    fn not_sent(&self, ticket: SendTicket, error: &KafkaError) {
        let (report, took) = (self.report_of(error), ticket.sent_at.elapsed());
        let SendTicket { epoch, seq, bytes, span, .. } = ticket;
        trace::failed(span, error);
        self.signal(Signal::Report { lane: self.lane, epoch, seq, report, bytes, took });
    }

    fn report_of(&self, error: &KafkaError) -> DeliveryReport {
        use RDKafkaErrorCode::{Fatal, PurgeInflight, PurgeQueue};
        match (error.rdkafka_error_code(), self.last_error()) {
            // A fatal error purges the queue. Of events that this service purges itself, nobody reads the cause.
            (Some(Fatal | PurgeQueue | PurgeInflight), Some(cause)) => DeliveryReport::Unavailable(format!(
                "this producer can send nothing more and is replaced: {cause}"
            )),
            _ => match (report_of(error), self.cluster.problem()) {
                (DeliveryReport::Unavailable(_), Some(problem)) => DeliveryReport::Unavailable(problem),
                (report, _) => report,
            },
        }
    }

    fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn signal(&self, signal: Signal) {
        // If the publisher is gone, the next one starts from the cursor.
        let _ = self.signals.send(signal);
    }
}

impl ClientContext for DeliveryContext {
    fn stats_raw(&self, statistics: &[u8]) {
        let time = throttled(statistics);
        if !time.is_zero() {
            self.signal(Signal::Throttled { lane: self.lane, time });
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // Only from the lane's main producer: the other one is idle and loses its connections now and then.
            Some(RDKafkaErrorCode::AllBrokersDown) if self.single_sender.is_some() => {
                let cause = self.cluster.problem().unwrap_or_else(|| reason.to_owned());
                let _ = self.signals.send(Signal::BrokerLost { lane: self.lane, cause });
            }
            // A lost connection does not make a producer fail for good.
            Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure) => {
                debug!(%error, reason, "Kafka client error");
            }
            _ => {
                debug!(%error, reason, "Kafka client error");
                let words = format!("{}: {reason}", describe(&error));
                *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
            }
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let Ok(mut last) = self.last_log.lock() else { return };
        if last.is_none_or(|last| last.elapsed() >= CLIENT_LOG_PAUSE) {
            *last = Some(Instant::now());
            warn!(level = ?level, facility, message, "Kafka client (further lines are held back for a while)");
        }
    }
}

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = Box<SendTicket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<SendTicket>) {
        let report = match result {
            // An acknowledgement without an offset is a guess of the client library: a later batch was acknowledged, or the broker
            // called this one a duplicate. On a partition that was just created this guess has been wrong, and the event was
            // missing. Sending it again costs at most a duplicate.
            Ok(message) if message.offset() < 0 => DeliveryReport::Unavailable(
                "acknowledged without an offset; it may not have been written".to_owned(),
            ),
            Ok(_) => {
                metric::published(ticket.waited + ticket.sent_at.elapsed());
                DeliveryReport::Delivered
            }
            Err((error, message)) => match (self.report_of(error), &self.single_sender) {
                (DeliveryReport::Refused(_), Some(single_sender)) => {
                    return single_sender.send(self, message, ticket);
                }
                (report, _) => report,
            },
        };
        let SendTicket { epoch, seq, bytes, sent_at, span, .. } = *ticket;
        trace::end(span, result, &report);
        self.signal(Signal::Report { lane: self.lane, epoch, seq, report, bytes, took: sent_at.elapsed() });
    }
}

/// These errors are the record's fault, if it was sent alone. Every other error is an outage, which is no event's fault.
fn report_of(error: &KafkaError) -> DeliveryReport {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::MessageBatchTooLarge
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidDifferentRecord
            | RDKafkaErrorCode::PolicyViolation,
        ) => DeliveryReport::Refused(error.to_string()),
        _ => DeliveryReport::Unavailable(describe(error)),
    }
}
