//! Errors that the Kafka client reports while it polls, as log lines. A repeated error is logged at intervals.

use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use tracing::{debug, info, warn};

use super::partitions::SettleError;

/// An error that keeps coming is logged once in this time.
const ERROR_LOG_INTERVAL: Duration = Duration::from_secs(30);

/// What the feed has to do after an error.
#[derive(Debug, PartialEq, Eq)]
pub enum ErrorAction {
    /// librdkafka recovers by itself.
    GoOn,
    /// The client can never work again, as when another process uses its instance id.
    Fatal,
    /// A partition's offset is not in the topic: the partition has to be settled again.
    OffsetGone,
}

#[derive(Default)]
pub struct ClientErrors {
    last: Option<(String, Instant)>,
}

impl ClientErrors {
    /// Errors of the connection are logged elsewhere.
    pub fn note(&mut self, error: &KafkaError, topic: &str) -> ErrorAction {
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            return ErrorAction::Fatal;
        }
        let text = error.to_string();
        debug!(error = text, "Kafka consumer error");
        let code = error.rdkafka_error_code();
        if matches!(code, Some(Code::AutoOffsetReset | Code::OffsetOutOfRange)) {
            return ErrorAction::OffsetGone;
        }
        let said = |(last, at): &(String, Instant)| *last == text && at.elapsed() < ERROR_LOG_INTERVAL;
        if self.last.as_ref().is_some_and(said) {
            return ErrorAction::GoOn;
        }
        match code {
            Some(
                Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut,
            ) => return ErrorAction::GoOn,
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
                info!(topic, "The topic does not exist yet, waiting for it");
            }
            _ => {
                let hint = code.and_then(kit::kafka::explain).unwrap_or_default();
                warn!(error = text, hint, topic, "Kafka reports a problem; the consumer goes on trying");
            }
        }
        self.last = Some((text, Instant::now()));
        ErrorAction::GoOn
    }

    /// Partitions cannot be read yet. Common and short while a topic is being made, or a server starts.
    pub fn not_settled(&mut self, error: &SettleError) {
        let text = error.to_string();
        debug!(error = text, "Partitions are not settled yet");
        let said = |(last, at): &(String, Instant)| *last == text && at.elapsed() < ERROR_LOG_INTERVAL;
        if !self.last.as_ref().is_some_and(said) {
            warn!(error = text, "It is not clear yet from where partitions are to be read, asking again");
            self.last = Some((text, Instant::now()));
        }
    }
}
