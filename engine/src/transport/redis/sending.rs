//! What a lane has to send, and the report about it.

use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::trace::Span as _;

use crate::journal::StoredEvent;
use crate::metric;
use crate::traces::attribute;
use crate::transport::message::MessageAttributes;
use crate::transport::trace::{self, SendSpan};
use crate::transport::{DeliveryReport, Signal, Signals};

pub(super) struct Sending {
    pub(super) event: StoredEvent,
    pub(super) ticket: Ticket,
    /// How often it was sent again, because the streams were not what they were, or the connection ended without an answer.
    pub(super) repeated: u32,
}

/// Names one send. Reports once, at the latest when it is dropped.
pub(super) struct Ticket {
    lane: u32,
    epoch: u64,
    pub(super) seq: i64,
    pub(super) bytes: usize,
    waited: Duration,
    sent_at: Instant,
    span: SendSpan,
    signals: Signals,
    is_reported: bool,
}

impl Ticket {
    pub(super) fn of(
        event: &StoredEvent,
        lane: u32,
        epoch: u64,
        attempt: Option<u32>,
        client_id: &str,
        signals: Signals,
    ) -> Self {
        let message = MessageAttributes::of(event);
        Self {
            lane,
            epoch,
            seq: event.seq,
            bytes: event.payload.len(),
            waited: event.age(),
            sent_at: Instant::now(),
            span: trace::begin(event, message.traceparent(), attempt, client_id),
            signals,
            is_reported: false,
        }
    }

    pub(super) fn appended_to(&mut self, partition: u32) {
        if let Some(span) = &mut self.span {
            let partition = partition.to_string();
            span.set_attribute(KeyValue::new(attribute::MESSAGING_DESTINATION_PARTITION_ID, partition));
        }
    }

    pub(super) fn report(&mut self, report: DeliveryReport) {
        self.is_reported = true;
        let took = self.sent_at.elapsed();
        match &report {
            DeliveryReport::Delivered => metric::published(self.waited + took),
            DeliveryReport::Unavailable(cause) => {
                trace::failed(self.span.take(), "unavailable".into(), cause)
            }
            DeliveryReport::Refused(cause) => trace::failed(self.span.take(), "refused".into(), cause),
        }
        let Self { lane, epoch, seq, bytes, .. } = *self;
        // If the publisher is gone, the next one starts from the cursor.
        let _ = self.signals.send(Signal::Report { lane, epoch, seq, report, bytes, took });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_reported {
            self.report(DeliveryReport::Unavailable("the lane was replaced".to_owned()));
        }
    }
}
