//! The producer, and what the broker's answer means for one event.
//!
//! Kafka takes or refuses a batch as a whole, and librdkafka reports a refusal for each of its records. So an event that is refused
//! together with others is sent once more by itself; only an event that is refused alone is at fault. (Java's client does it for batches that
//! are too large: it splits them, KIP-126.)

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use kit::kafka::worded;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer};
use tracing::{debug, warn};

use super::trace::{self, Sending};
use crate::metric;
use crate::transport::{DeliveryReport, Signal, Signals};

/// The client library repeats itself while a broker is away; one of its lines in this time is enough.
const CLIENT_LOG_PAUSE: Duration = Duration::from_secs(30);

/// How long an event may wait for its turn to be sent alone. A window of 20,000, at some hundreds a second, is through sooner.
const QUEUED_MAX: Duration = Duration::from_secs(300);

/// When the client library last got a line into the log; shared by the producers that replace each other.
pub(super) type LastLog = Arc<Mutex<Option<Instant>>>;

/// Names one send.
pub(super) struct Ticket {
    pub(super) epoch: u64,
    pub(super) seq: i64,
    pub(super) bytes: usize,
    /// How long the event had waited when it was sent, and since when it has been on its way.
    pub(super) waited: Duration,
    pub(super) sent_at: Instant,
    pub(super) sending: Sending,
}

pub(super) type Record<'a> = BaseRecord<'a, [u8], [u8], Box<Ticket>>;

#[derive(Clone)]
pub(super) struct Producer(ThreadedProducer<Context>);

impl Producer {
    /// Does not connect: that happens in the background.
    pub(super) fn new(
        config: &ClientConfig,
        lane: u32,
        signals: Signals,
        last_log: LastLog,
    ) -> Result<Self, KafkaError> {
        let alone = Alone { config: config.clone(), producer: OnceLock::new() };
        config
            .create_with_context(Context {
                lane,
                signals,
                last_log,
                last_error: Mutex::default(),
                alone: Some(alone),
            })
            .map(Self)
    }

    /// A record that is refused here is reported like any other.
    pub(super) fn send(&self, record: Record<'_>) {
        if let Err((error, record)) = self.0.send(record) {
            self.0.context().not_sent(*record.delivery_opaque, &error);
        }
    }

    /// Reports what it holds as failed. A refusal that is being reported meanwhile may still be sent once more.
    pub(super) fn purge(&self) {
        let all = || PurgeConfig::default().queue().inflight();
        self.0.purge(all());
        if let Some(alone) = self.0.context().alone.as_ref().and_then(|alone| alone.producer.get()) {
            alone.0.purge(all());
        }
    }

    /// It met an error after which the client library sends nothing any more: it was fenced, or got no producer id.
    pub(super) fn has_failed_for_good(&self) -> bool {
        let context = self.0.context();
        let alone = context.alone.as_ref().and_then(|alone| alone.producer.get());
        // Asking the library costs more, and is done for each event only after an error.
        let failed = context.last_error().is_some() && self.client().fatal_error().is_some();
        failed || alone.is_some_and(Self::has_failed_for_good)
    }

    pub(super) fn client(&self) -> &Client<Context> {
        self.0.client()
    }
}

pub(super) struct Context {
    lane: u32,
    signals: Signals,
    last_log: LastLog,
    /// In words. The report of an event whose producer has failed for good says no more than that.
    last_error: Mutex<Option<String>>,
    /// `None` in the producer that sends alone.
    alone: Option<Alone>,
}

/// Sends what was refused in company, one event a batch. Its producer is made when it is first needed.
///
/// On a topic that takes only small batches all of a backlog goes this way, a round trip an event, and then many wait in here for longer
/// than a delivery may take. That they are reported in time is for the publisher to watch: each report counts.
struct Alone {
    config: ClientConfig,
    producer: OnceLock<Producer>,
}

impl Alone {
    fn send(&self, context: &Context, message: &BorrowedMessage<'_>, ticket: Box<Ticket>) {
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

    fn producer(&self, context: &Context) -> Result<&Producer, KafkaError> {
        if let Some(producer) = self.producer.get() {
            return Ok(producer);
        }
        warn!(
            "Kafka refused a batch: its events are sent again one by one, to see which of them it means. If it means none, raise the \
             topic's max.message.bytes: one by one is slow"
        );
        let Context { lane, signals, last_log, .. } = context;
        let (signals, last_log) = (signals.clone(), Arc::clone(last_log));
        let context = Context { lane: *lane, signals, last_log, last_error: Mutex::default(), alone: None };
        let mut config = self.config.clone();
        config.set("batch.num.messages", "1").set("message.timeout.ms", QUEUED_MAX.as_millis().to_string());
        let producer = config.create_with_context(context)?;
        Ok(self.producer.get_or_init(|| Producer(producer)))
    }
}

impl Context {
    fn not_sent(&self, ticket: Ticket, error: &KafkaError) {
        let (report, took) = (self.report_of(error), ticket.sent_at.elapsed());
        let Ticket { epoch, seq, bytes, sending, .. } = ticket;
        trace::failed(sending, error);
        self.tell(Signal::Report { lane: self.lane, epoch, seq, report, bytes, took });
    }

    fn report_of(&self, error: &KafkaError) -> DeliveryReport {
        use RDKafkaErrorCode::{Fatal, PurgeInflight, PurgeQueue};
        match (error.rdkafka_error_code(), self.last_error()) {
            // A fatal error purges the queue. What we purge ourselves is not reported to anybody who listens.
            (Some(Fatal | PurgeQueue | PurgeInflight), Some(cause)) => DeliveryReport::Unavailable(format!(
                "this producer can send nothing more and is replaced: {cause}"
            )),
            _ => report_of(error),
        }
    }

    fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, signal: Signal) {
        // If the publisher has gone, the next one starts from the cursor.
        let _ = self.signals.send(signal);
    }
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // An idle producer loses its connections now and then; the other one would say so too if the brokers were away.
            Some(RDKafkaErrorCode::AllBrokersDown) if self.alone.is_some() => {
                let cause = reason.to_owned();
                let _ = self.signals.send(Signal::BrokerLost { lane: self.lane, cause });
            }
            // Connections come and go; a producer does not fail for good with them.
            Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure) => {
                debug!(%error, reason, "Kafka client error");
            }
            _ => {
                debug!(%error, reason, "Kafka client error");
                let words = format!("{}: {reason}", worded(&error));
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

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let report = match result {
            // An acknowledgement without an offset is a guess of the client library: a later batch was acknowledged, or the broker
            // called this one a duplicate. On a partition that has just been made the guess was seen to be wrong, and the event
            // missing. Sending it again costs a duplicate at most.
            Ok(message) if message.offset() < 0 => DeliveryReport::Unavailable(
                "acknowledged without an offset; it may not have been written".to_owned(),
            ),
            Ok(_) => {
                metric::published(ticket.waited + ticket.sent_at.elapsed());
                DeliveryReport::Delivered
            }
            Err((error, message)) => match (self.report_of(error), &self.alone) {
                (DeliveryReport::Refused(_), Some(alone)) => return alone.send(self, message, ticket),
                (report, _) => report,
            },
        };
        let Ticket { epoch, seq, bytes, sent_at, sending, .. } = *ticket;
        trace::end(sending, result, &report);
        self.tell(Signal::Report { lane: self.lane, epoch, seq, report, bytes, took: sent_at.elapsed() });
    }
}

/// Which errors are the record's own, if it was alone. Everything else is an outage, and an outage never costs an event its chances.
fn report_of(error: &KafkaError) -> DeliveryReport {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::MessageBatchTooLarge
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidDifferentRecord
            | RDKafkaErrorCode::PolicyViolation,
        ) => DeliveryReport::Refused(error.to_string()),
        _ => DeliveryReport::Unavailable(worded(error)),
    }
}
