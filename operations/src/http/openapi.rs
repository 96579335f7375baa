//! The operations' part of a service's OpenAPI document. It is written for an aggregate that is called `aggregate`, and worded for the
//! service's.

use engine::Names;
use engine::aggregate::Name;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

use super::{outbox, quarantine};

#[derive(OpenApi)]
#[openapi(paths(outbox::read, quarantine::list, quarantine::release, quarantine::discard))]
struct Written;

/// Adds the operations to the document of the service whose events are those of `name`.
///
/// # Panics
/// As [`Names::new`].
pub fn describe(document: &mut Document, name: Name) {
    document.merge(worded(name));
}

fn worded(name: Name) -> Document {
    let written = Written::openapi().to_json().unwrap_or_default();
    let worded = serde_json::from_str(&Names::new(name).word(&written));
    worded.unwrap_or_else(|error| unreachable!("letters are replaced by letters: {error}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::Utc;
    use serde_json::Value;
    use uuid::Uuid;

    use super::super::outbox::OutboxView;
    use super::*;
    use crate::view::{DiscardedEvent, QuarantinedAggregate, Worded};

    const ORDER: Name = Name { one: "order", many: "orders" };

    #[test]
    fn the_operations_are_worded_for_the_services_aggregate() {
        let document = worded(ORDER).to_json().unwrap();
        assert!(!document.to_lowercase().contains("aggregate"), "{document}");
        assert!(document.contains("QuarantinedOrder") && document.contains("\"release_order\""));
    }

    /// Answers are written field by field, since the names of two depend on the service.
    #[test]
    fn an_answer_has_the_fields_of_its_schema() {
        let document: Value = serde_json::to_value(worded(ORDER)).unwrap();
        let (error, since, aggregate_id) = ("too large".to_owned(), Utc::now(), Uuid::nil());
        let quarantined = QuarantinedAggregate {
            aggregate_id,
            error: error.clone(),
            since,
            released_at: None,
            waiting_events: 1,
            first_waiting_seq: None,
        };
        let discarded = DiscardedEvent {
            aggregate_id,
            seq: 1,
            discarded_at: since,
            discarded_by: "kim".to_owned(),
            reason: "r".to_owned(),
            error,
        };
        let answers = [
            (
                "QuarantinedOrder",
                serde_json::to_value(Worded::<QuarantinedAggregate>::new(ORDER, quarantined)),
            ),
            ("DiscardedEvent", serde_json::to_value(Worded::<DiscardedEvent>::new(ORDER, discarded))),
            ("OutboxView", serde_json::to_value(Worded::<OutboxView>::new(ORDER, OutboxView::default()))),
        ];
        for (schema, answer) in answers {
            let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
            let described = &document["components"]["schemas"][schema]["properties"];
            assert_eq!(fields(&answer.unwrap()), fields(described), "{schema}");
        }
    }
}
