//! Traces of a command: `docs/traces.md` lists the spans.
//!
//! A command's context is the caller's `traceparent`; with spans it is the span that created the event. It is written into the
//! event's row and from there into the message, so that a message sent again is the same message.
//!
//! Whoever makes spans asks [`on`] first, which costs one load when traces are off.

use std::ops::Deref;
use std::sync::OnceLock;

use kit::settings::TraceSettings;
pub use kit::traces::{Flush, Span, attribute, failed, format, parse};
use kit::traces::{Service, Tracer};
use opentelemetry::trace::{SpanBuilder, SpanKind};
use opentelemetry::{KeyValue, Value};

/// The conventions' own; no span of ours has so many.
const LINKS_MAX: u32 = 128;

static TRACES: OnceLock<Traces> = OnceLock::new();

/// What spans are made with.
pub struct Traces {
    tracer: Tracer,
    topic: Value,
}

/// Switches traces on if an endpoint is set. Called once, by the process.
pub fn start(settings: &TraceSettings, topic: &str) -> anyhow::Result<Flush> {
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let (tracer, flush) = kit::traces::start(settings, Service { name, version, links_max: LINKS_MAX })?;
    if let Some(tracer) = tracer {
        let _ = TRACES.set(Traces { tracer, topic: topic.to_owned().into() });
    }
    Ok(flush)
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
    pub fn messaging(&self, operation: &'static str, kind: SpanKind) -> SpanBuilder {
        SpanBuilder::from_name(format!("{operation} {}", self.topic)).with_kind(kind).with_attributes([
            KeyValue::new(attribute::MESSAGING_SYSTEM, "kafka"),
            KeyValue::new(attribute::MESSAGING_OPERATION_NAME, operation),
            KeyValue::new(attribute::MESSAGING_OPERATION_TYPE, operation),
            KeyValue::new(attribute::MESSAGING_DESTINATION_NAME, self.topic.clone()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use kit::traces::SCHEMA_URL;

    #[test]
    fn the_document_names_the_version_of_the_conventions() {
        let version = SCHEMA_URL.rsplit('/').next().unwrap();
        let document = include_str!("../../docs/traces.md");
        assert!(document.contains(&format!("semantic conventions {version}")), "{version}");
    }
}
