//! The span of a send: from the producer taking an event to the broker's report, in the trace of the command.

use chrono::Utc;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Link, Span as _, SpanKind};
use rdkafka::Message;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;

use crate::journal::StoredEvent;
use crate::traces::{self, Span, attribute};
use crate::transport::DeliveryReport;

/// On the heap: without traces a ticket holds only the room for a pointer.
pub(super) type SendSpan = Option<Box<Span>>;

/// The span's parent is the context that the event's `traceparent` names; another process may have created it long ago. `attempt`:
/// the retry that this send belongs to.
pub(super) fn begin(
    event: &StoredEvent,
    traceparent: Option<&str>,
    attempt: Option<u32>,
    client_id: &str,
) -> SendSpan {
    let traces = traces::on()?;
    let created = traceparent.and_then(traces::parse);
    let links = created.iter().cloned().map(Link::with_context).collect();
    let mut span =
        traces.build(traces.messaging("send", SpanKind::Client).with_links(links), created.as_ref());
    if span.is_recording() {
        let waited = (Utc::now() - event.occurred_at).num_milliseconds();
        span.set_attributes([
            KeyValue::new(attribute::MESSAGING_CLIENT_ID, client_id.to_owned()),
            KeyValue::new(attribute::MESSAGING_MESSAGE_ID, event.event_id.to_string()),
            KeyValue::new(attribute::MESSAGING_KAFKA_MESSAGE_KEY, event.aggregate_id.to_string()),
            KeyValue::new(traces.keys.waited_ms.clone(), waited),
        ]);
        if let Some(attempt) = attempt {
            span.set_attribute(KeyValue::new(traces.keys.retry_attempt.clone(), i64::from(attempt)));
        }
    }
    Some(Box::new(span))
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
    if let Some(mut span) = sending {
        let kind = error.rdkafka_error_code().map_or("_OTHER".to_owned(), |code| format!("{code:?}"));
        traces::failed(&mut span, kind, error);
    }
}
