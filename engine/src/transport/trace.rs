//! The span of a send: from the client taking an event to the broker's report, in the trace of the command.

use std::fmt::Display;

use chrono::Utc;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Link, Span as _, SpanKind};

use crate::journal::StoredEvent;
use crate::traces::{self, Span, attribute};

/// On the heap: without traces a ticket holds only the room for a pointer.
pub(crate) type SendSpan = Option<Box<Span>>;

/// The span's parent is the context that the event's `traceparent` names; another process may have created it long ago. `attempt`:
/// the retry that this send belongs to.
pub(crate) fn begin(
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
            KeyValue::new(traces.keys.waited_ms.clone(), waited),
        ]);
        if let Some(attempt) = attempt {
            span.set_attribute(KeyValue::new(traces.keys.retry_attempt.clone(), i64::from(attempt)));
        }
    }
    Some(Box::new(span))
}

pub(crate) fn failed(sending: SendSpan, kind: String, error: &impl Display) {
    if let Some(mut span) = sending {
        traces::failed(&mut span, kind, error);
    }
}
