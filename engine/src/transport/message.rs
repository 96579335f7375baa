//! What every message says besides its value: CloudEvents 1.0, binary content mode. The same for every transport.

use chrono::SecondsFormat;
use serde::Deserialize;

use crate::journal::StoredEvent;

/// The attributes of one event's message, as text.
pub(crate) struct MessageAttributes<'a> {
    event_type: &'a str,
    event_id: String,
    sequence: String,
    time: String,
    key: String,
    traceparent: Option<String>,
}

impl<'a> MessageAttributes<'a> {
    pub(crate) fn of(event: &'a StoredEvent) -> Self {
        Self {
            event_type: &event.event_type,
            event_id: event.event_id.to_string(),
            sequence: event.version.to_string(),
            time: event.occurred_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            key: event.aggregate_id.to_string(),
            traceparent: traceparent(event),
        }
    }

    /// The aggregate's id. It chooses the partition.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// Name and value of each attribute. `source`: CloudEvents' name for the context in which ids are unique.
    pub(crate) fn all<'b>(&'b self, source: &'b str) -> impl Iterator<Item = (&'static str, &'b str)> {
        let fixed = [
            ("ce_specversion", "1.0"),
            ("ce_id", self.event_id.as_str()),
            ("ce_source", source),
            ("ce_type", self.event_type),
            ("ce_subject", self.key.as_str()),
            ("ce_time", self.time.as_str()),
            ("ce_sequence", self.sequence.as_str()),
            ("content-type", "application/json"),
        ];
        fixed.into_iter().chain(self.traceparent().map(|value| ("traceparent", value)))
    }
}

fn traceparent(event: &StoredEvent) -> Option<String> {
    #[derive(Deserialize)]
    struct Traced {
        traceparent: Option<String>,
    }
    serde_json::from_str(&event.metadata).unwrap_or(Traced { traceparent: None }).traceparent
}
