//! The engine's spans.
//!
//! A command's context is its caller's; with spans it is the span that created the event. It is written into the event's row and from
//! there into the message, so that a message sent again is the same message.
//!
//! Callers ask [`on`] first, which costs one load when traces are off.

use std::ops::Deref;
use std::sync::OnceLock;

use kit::traces::Tracer;
pub use kit::traces::{Span, attribute, failed, format, parse};
use opentelemetry::trace::{SpanBuilder, SpanKind};
use opentelemetry::{Key, KeyValue, Value};

use crate::aggregate::Name;

static TRACES: OnceLock<Traces> = OnceLock::new();

/// What spans are made with.
pub struct Traces {
    tracer: Tracer,
    /// The broker, by the name that the conventions have for it.
    system: &'static str,
    topic: Value,
    pub(crate) keys: Keys,
}

/// Attributes of ours that no convention has.
pub(crate) struct Keys {
    pub(crate) batch_commands: Key,
    pub(crate) waited_ms: Key,
    pub(crate) retry_attempt: Key,
}

/// Switches the spans on. To be called once, by the process; without it there are none.
/// `system`: the broker, as the conventions name it, such as `kafka`.
pub fn start(tracer: Tracer, name: Name, system: &'static str, topic: &str) {
    let key = |rest: &str| Key::from(format!("{}.{rest}", name.many));
    let keys = Keys {
        batch_commands: key("journal.batch_commands"),
        waited_ms: key("outbox.waited_ms"),
        retry_attempt: key("publisher.retry_attempt"),
    };
    let _ = TRACES.set(Traces { tracer, system, topic: topic.to_owned().into(), keys });
}

/// `None`: traces are off.
pub fn on() -> Option<&'static Traces> {
    TRACES.get()
}

impl Deref for Traces {
    type Target = Tracer;

    fn deref(&self) -> &Tracer {
        &self.tracer
    }
}

impl Traces {
    /// A span of an operation on the topic: `{operation} {topic}`.
    pub(crate) fn messaging(&self, operation: &'static str, kind: SpanKind) -> SpanBuilder {
        SpanBuilder::from_name(format!("{operation} {}", self.topic)).with_kind(kind).with_attributes([
            KeyValue::new(attribute::MESSAGING_SYSTEM, self.system),
            KeyValue::new(attribute::MESSAGING_OPERATION_NAME, operation),
            KeyValue::new(attribute::MESSAGING_OPERATION_TYPE, operation),
            KeyValue::new(attribute::MESSAGING_DESTINATION_NAME, self.topic.clone()),
        ])
    }
}
