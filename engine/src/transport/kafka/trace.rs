//! What is Kafka's in the span of a send, and how the broker's report ends it.

use opentelemetry::KeyValue;
use opentelemetry::trace::Span as _;
use rdkafka::Message;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;

use crate::journal::StoredEvent;
use crate::traces::{self, attribute};
use crate::transport::DeliveryReport;
use crate::transport::trace::{self, SendSpan};

/// See [`trace::begin`]; Kafka has an attribute of its own for the key.
pub(super) fn begin(
    event: &StoredEvent,
    traceparent: Option<&str>,
    attempt: Option<u32>,
    client_id: &str,
) -> SendSpan {
    let mut span = trace::begin(event, traceparent, attempt, client_id)?;
    if span.is_recording() {
        let key = event.aggregate_id.to_string();
        span.set_attribute(KeyValue::new(attribute::MESSAGING_KAFKA_MESSAGE_KEY, key));
    }
    Some(span)
}

/// Ends the span with the broker's answer, and with what it means for the event.
pub(super) fn end(sending: SendSpan, result: &DeliveryResult<'_>, report: &DeliveryReport) {
    let Some(mut span) = sending else { return };
    match (result, report) {
        (Ok(message), DeliveryReport::Delivered) => span.set_attributes([
            KeyValue::new(attribute::MESSAGING_DESTINATION_PARTITION_ID, message.partition().to_string()),
            KeyValue::new(attribute::MESSAGING_KAFKA_OFFSET, message.offset()),
        ]),
        (Ok(_), DeliveryReport::Unavailable(why) | DeliveryReport::Refused(why)) => {
            traces::failed(&mut span, "unsure", why)
        }
        (Err((error, _)), _) => failed(Some(span), error),
    }
}

pub(super) fn failed(sending: SendSpan, error: &KafkaError) {
    let kind = error.rdkafka_error_code().map_or("_OTHER".to_owned(), |code| format!("{code:?}"));
    trace::failed(sending, kind, error);
}
