//! Traces: from the message's `traceparent` to the credit, and only when an exporter is set.
//!
//! Callers ask [`on`] first, which costs one load when traces are off. `docs/traces.md` lists the spans. Names and attributes
//! follow the semantic conventions of the version that [`kit::traces::SCHEMA_URL`] names.

use std::sync::OnceLock;

use kit::traces::{Flush, Service, Span, Tracer, parse};
use opentelemetry::trace::{SpanBuilder, SpanContext};

use crate::config::Config;
use crate::error::Undecodable;
use crate::message::{Ignored, Incoming};
use crate::source::Position;

static TRACES: OnceLock<Traces> = OnceLock::new();

/// What spans are made with.
pub struct Traces {
    pub(crate) tracer: Tracer,
    pub(crate) config: Config,
}

/// `None`: traces are off.
pub fn on() -> Option<&'static Traces> {
    TRACES.get()
}

/// Switches traces on if an endpoint is set. Called once, by the process.
pub fn start(config: &Config) -> anyhow::Result<Flush> {
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    // A batch's span has a link for every message.
    let service = Service { name, version, links_max: config.batch_messages_max };
    let (tracer, flush) = kit::traces::start(&config.traces, service)?;
    if let Some(tracer) = tracer {
        let _ = TRACES.set(Traces { tracer, config: config.clone() });
    }
    Ok(flush)
}

impl Traces {
    /// Starts a span below `parent`, or a trace.
    pub(crate) fn start(&self, span: SpanBuilder, parent: Option<&SpanContext>) -> Span {
        self.tracer.build(span, parent)
    }
}

/// Where a message comes from: its trace, and its place in the topic.
#[derive(Debug)]
pub struct Origin {
    pub(crate) context: SpanContext,
    pub(crate) event_id: Option<String>,
    pub(crate) order_id: Option<String>,
    pub(crate) partition: i32,
    pub(crate) position: Position,
    /// What it was read as; why it could not be.
    pub(crate) content: Result<&'static str, String>,
}

impl Origin {
    /// `None` when traces are off, or the message is in no trace.
    pub fn of<'a>(
        (partition, position): (i32, Position),
        key: Option<&[u8]>,
        header: impl Fn(&str) -> Option<&'a [u8]>,
        content: &Result<Incoming, Undecodable>,
    ) -> Option<Self> {
        on()?;
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let header = |name: &str| header(name).and_then(text);
        Some(Self {
            context: parse(&header("traceparent")?)?,
            event_id: header("ce_id"),
            order_id: key.and_then(text),
            partition,
            position,
            content: match content {
                Ok(Incoming::Valued(_)) => Ok("valued"),
                Ok(Incoming::Ignored(Ignored::WithoutPoints)) => Ok("without_points"),
                Ok(Incoming::Ignored(Ignored::UnknownType)) => Ok("unknown_type"),
                Err(reason) => Err(reason.to_string()),
            },
        })
    }
}
