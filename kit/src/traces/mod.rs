//! Traces: W3C trace context in every mode, spans only when an exporter is set.
//!
//! Names and attributes follow the semantic conventions of the version that [`SCHEMA_URL`] names.

mod collector;
mod export;

use std::fmt::Display;

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::SdkTracer;
pub use opentelemetry_sdk::trace::Span;
pub use opentelemetry_semantic_conventions::{SCHEMA_URL, attribute};

pub use self::export::{Flush, Service, start};

/// What spans are made with.
#[derive(Debug)]
pub struct Tracer(SdkTracer);

impl Tracer {
    fn new(tracer: SdkTracer) -> Self {
        Self(tracer)
    }

    /// Starts a span below `parent`, or a trace.
    pub fn start<const N: usize>(
        &self,
        name: impl Into<String>,
        kind: SpanKind,
        parent: Option<&SpanContext>,
        attributes: [KeyValue; N],
    ) -> Span {
        self.build(SpanBuilder::from_name(name.into()).with_kind(kind).with_attributes(attributes), parent)
    }

    /// Starts this span below `parent`, or a trace.
    pub fn build(&self, span: SpanBuilder, parent: Option<&SpanContext>) -> Span {
        let parent = parent
            .map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent.clone()));
        span.start_with_context(&self.0, &parent)
    }
}

/// Marks a span as failed. `kind` has few values, so that it can be counted.
pub fn failed(span: &mut Span, kind: impl Into<Value>, error: impl Display) {
    if span.is_recording() {
        span.set_attribute(KeyValue::new(attribute::ERROR_TYPE, kind.into()));
        span.set_status(Status::error(error.to_string()));
    }
}

/// Parses a `traceparent`. `None` if it is invalid: by W3C's rules it is then ignored.
pub fn parse(traceparent: &str) -> Option<SpanContext> {
    let rest = traceparent.strip_prefix("00-")?;
    let (trace, rest) = rest.split_once('-')?;
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

/// The `traceparent` of a context.
pub fn format(context: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_written_as_it_was_read() {
        for text in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-0af7651916cd43dd8448eb211c80319c-00000000000000ff-03",
        ] {
            assert_eq!(format(&parse(text).unwrap()), text);
        }
    }

    #[test]
    fn what_is_no_traceparent_is_not_one() {
        for text in [
            "",
            "00",
            "01-xyz",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
