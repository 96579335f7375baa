//! Traces: from the message's `traceparent` to the credit, and only when an exporter is set.
//!
//! Whoever makes spans asks [`on`] first, which costs one load when traces are off. `docs/traces.md` lists them; names and attributes follow
//! the semantic conventions of the version that [`SCHEMA_URL`] names.

mod export;
mod work;

use std::fmt::Display;
use std::sync::OnceLock;

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use opentelemetry_semantic_conventions::{SCHEMA_URL, attribute};
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;

pub use self::export::{Flush, start};
pub use self::work::Work;
use crate::config::Config;
use crate::error::Undecodable;
use crate::headers;
use crate::message::{Ignored, Incoming};

static TRACES: OnceLock<Traces> = OnceLock::new();

/// What spans are made with.
pub struct Traces {
    tracer: SdkTracer,
    config: Config,
}

/// `None`: traces are off.
pub fn on() -> Option<&'static Traces> {
    TRACES.get()
}

impl Traces {
    /// Starts a span below `parent`, or a trace.
    fn start(&self, span: SpanBuilder, parent: Option<&SpanContext>) -> Span {
        let parent = parent
            .map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent.clone()));
        span.start_with_context(&self.tracer, &parent)
    }
}

/// Marks a span as failed. `kind` is one of few, for those who count.
fn failed(span: &mut Span, kind: &'static str, error: impl Display) {
    if span.is_recording() {
        span.set_attribute(KeyValue::new(attribute::ERROR_TYPE, kind));
        span.set_status(Status::error(error.to_string()));
    }
}

/// Where a message comes from: in whose trace, and in the topic.
#[derive(Debug)]
pub struct Origin {
    context: SpanContext,
    event_id: Option<String>,
    order_id: Option<String>,
    partition: i32,
    offset: i64,
    /// What it was read as; why it could not be.
    content: Result<&'static str, String>,
}

impl Origin {
    /// `None` when traces are off, or the message is in no trace.
    pub fn of(message: &BorrowedMessage<'_>, content: &Result<Incoming, Undecodable>) -> Option<Self> {
        on()?;
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let header = |key: &str| headers::value(message.headers()?, key).and_then(text);
        Some(Self {
            context: parse(&header("traceparent")?)?,
            event_id: header("ce_id"),
            order_id: message.key().and_then(text),
            partition: message.partition(),
            offset: message.offset(),
            content: match content {
                Ok(Incoming::Valued(_)) => Ok("valued"),
                Ok(Incoming::Ignored(Ignored::WithoutPoints)) => Ok("without_points"),
                Ok(Incoming::Ignored(Ignored::UnknownType)) => Ok("unknown_type"),
                Err(reason) => Err(reason.to_string()),
            },
        })
    }
}

/// Reads a `traceparent`. `None` when it is none: W3C says to go on as if it had not been there.
fn parse(traceparent: &str) -> Option<SpanContext> {
    let (trace, rest) = traceparent.strip_prefix("00-")?.split_once('-')?;
    let (span, flags) = rest.split_once('-')?;
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) {
        return None;
    }
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::NONE)).filter(SpanContext::is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_traceparent_is_read_as_one() {
        let context = parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(context.is_sampled() && context.is_remote());
        for text in [
            "",
            "00-",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
