//! The span that creates an event. Its context is stored with the event and stays the message's creation context.

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanContext, SpanKind};

use crate::command::Trace;
use crate::journal::{Append, AppendError, Appended};
use crate::traces::{self, Span, attribute};

/// From the decision to the commit.
pub(super) struct Creation(Option<Span>);

impl Creation {
    /// `appends`: whether the command creates an event.
    pub(super) fn begin(trace: &Trace, appends: bool) -> Self {
        let traces = traces::on().filter(|_| appends);
        Self(traces.map(|traces| {
            let mut span =
                traces.build(traces.messaging("create", SpanKind::Producer), trace.context.as_ref());
            span.set_attribute(KeyValue::new(
                attribute::MESSAGING_MESSAGE_CONVERSATION_ID,
                trace.correlation_id.clone(),
            ));
            span
        }))
    }

    /// Without spans the caller's own context goes with the event.
    pub(super) fn context<'a>(&'a self, trace: &'a Trace) -> Option<&'a SpanContext> {
        self.0.as_ref().map(Span::span_context).or(trace.context.as_ref())
    }

    pub(super) fn of(&mut self, append: &Append) {
        if let (Some(span), Some(event)) = (&mut self.0, append.events.first()) {
            span.set_attribute(KeyValue::new(attribute::MESSAGING_MESSAGE_ID, event.event_id.to_string()));
        }
    }

    pub(super) fn end(self, appended: &Result<Appended, AppendError>) {
        if let (Some(mut span), Err(error)) = (self.0, appended) {
            traces::failed(&mut span, error.kind(), error);
        }
    }
}
