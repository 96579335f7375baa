//! Decodes a message into what the ledger needs. A tolerant reader: `contract/README.md` has the rules.
//!
//! Three outcomes. Valued: the event is credited. Ignored: the event is valid but has no value here, or this version does not
//! know its type. [`Undecodable`]: the message breaks the contract and goes to the dead-letter topic with the reason.

use std::borrow::Cow;

use chrono::{DateTime, Datelike, Utc};
use serde::Deserialize;
use uuid::Uuid;

use crate::error::Undecodable;
use crate::points::Valued;

/// An event that the policy values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub event_id: Uuid,
    pub order_id: Uuid,
    pub version: i64,
    pub customer_id: Uuid,
    pub valued: Valued,
    pub occurred_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    Valued(Event),
    Ignored(Ignored),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// Part of an order's life that gives no points.
    WithoutPoints,
    /// A type that this version does not know.
    UnknownType,
}

/// The fields that every event has. Other fields are not read, so they may change freely.
#[derive(Deserialize)]
struct Wire<'a> {
    event_id: Uuid,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    order_id: Uuid,
    version: i64,
    customer_id: Uuid,
    occurred_at: DateTime<Utc>,
}

/// The only field that an event of an unknown type must have.
#[derive(Deserialize)]
struct EventTypeOnly<'a> {
    #[serde(borrow)]
    event_type: Cow<'a, str>,
}

pub fn decode(value: Option<&[u8]>) -> Result<Incoming, Undecodable> {
    let value = value.ok_or(Undecodable::NoValue)?;
    // serde would also read a JSON array as the struct, position by position.
    if value.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Undecodable::NotAnObject);
    }
    match serde_json::from_slice::<Wire<'_>>(value) {
        Ok(wire) => read(&wire),
        Err(error) => match serde_json::from_slice::<EventTypeOnly<'_>>(value) {
            Ok(other) if !is_known(&other.event_type) => Ok(Incoming::Ignored(Ignored::UnknownType)),
            _ => Err(Undecodable::Json(error.to_string())),
        },
    }
}

fn is_known(event_type: &str) -> bool {
    Valued::parse(event_type).is_some() || is_without_points(event_type)
}

fn is_without_points(event_type: &str) -> bool {
    matches!(event_type, "OrderPaid" | "OrderShipped")
}

fn read(wire: &Wire<'_>) -> Result<Incoming, Undecodable> {
    let Some(valued) = Valued::parse(&wire.event_type) else {
        let ignored =
            if is_without_points(&wire.event_type) { Ignored::WithoutPoints } else { Ignored::UnknownType };
        return Ok(Incoming::Ignored(ignored));
    };
    // What Postgres would refuse must be refused here: there it would fail the whole batch, again and again.
    if wire.version < 1 {
        return Err(Undecodable::Version(wire.version));
    }
    if !(1..=9999).contains(&wire.occurred_at.year()) {
        return Err(Undecodable::OccurredAt(wire.occurred_at));
    }
    Ok(Incoming::Valued(Event {
        event_id: wire.event_id,
        order_id: wire.order_id,
        version: wire.version,
        customer_id: wire.customer_id,
        valued,
        occurred_at: wire.occurred_at,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn contract() -> Vec<(String, Value)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../contract");
        let mut events: Vec<(String, Value)> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .map(|path| {
                let text = std::fs::read_to_string(&path).unwrap();
                (
                    path.file_name().unwrap().to_string_lossy().into_owned(),
                    serde_json::from_str(&text).unwrap(),
                )
            })
            .collect();
        // The others are what this service publishes itself.
        events.retain(|(name, _)| name.starts_with("Order"));
        events.sort_by(|a, b| a.0.cmp(&b.0));
        events
    }

    fn decode_json(value: &Value) -> Result<Incoming, Undecodable> {
        decode(Some(value.to_string().as_bytes()))
    }

    fn created() -> Value {
        contract().into_iter().find(|(name, _)| name == "OrderCreated.v1.json").unwrap().1
    }

    #[test]
    fn every_event_of_the_contract_is_understood() {
        let events = contract();
        assert!(events.len() >= 5, "the contract has at least one file for each type");
        for (name, value) in events {
            let text = |field: &str| value[field].as_str().unwrap().to_owned();
            match decode_json(&value).unwrap_or_else(|error| panic!("{name}: {error}")) {
                Incoming::Valued(event) => {
                    assert_eq!(event.event_id.to_string(), text("event_id"), "{name}");
                    assert_eq!(event.order_id.to_string(), text("order_id"), "{name}");
                    assert_eq!(event.customer_id.to_string(), text("customer_id"), "{name}");
                    assert_eq!(event.version, value["version"].as_i64().unwrap(), "{name}");
                    assert_eq!(event.valued.event_type(), text("event_type"), "{name}");
                    assert!(name.starts_with(event.valued.event_type()), "{name}");
                    assert_eq!(
                        event.occurred_at,
                        text("occurred_at").parse::<DateTime<Utc>>().unwrap(),
                        "{name}"
                    );
                }
                Incoming::Ignored(ignored) => {
                    assert_eq!(ignored, Ignored::WithoutPoints, "{name}");
                    assert!(is_without_points(&text("event_type")), "{name}");
                }
            }
        }
    }

    #[test]
    fn unknown_fields_and_types_are_ignored() {
        let mut value = created();
        value["loyalty_hint"] = json!({"deep": [1, 2, {"three": null}]});
        value["items"] = json!("no longer a list");
        assert!(matches!(decode_json(&value), Ok(Incoming::Valued(_))));
        value["event_type"] = json!("OrderReturned");
        assert_eq!(decode_json(&value), Ok(Incoming::Ignored(Ignored::UnknownType)));
        let bare = json!({"event_type": "SomethingElse", "version": "as text"});
        assert_eq!(decode_json(&bare), Ok(Incoming::Ignored(Ignored::UnknownType)));
    }

    #[test]
    fn each_missing_or_mistyped_field_is_named() {
        for field in ["event_id", "event_type", "order_id", "version", "customer_id", "occurred_at"] {
            let mut missing = created();
            missing.as_object_mut().unwrap().remove(field);
            let error = decode_json(&missing).unwrap_err().to_string();
            assert!(error.contains(field), "{field}: {error}");
            let mut mistyped = created();
            mistyped[field] = json!([true]);
            assert!(matches!(decode_json(&mistyped), Err(Undecodable::Json(_))), "{field}");
        }
    }

    #[test]
    fn what_postgres_would_refuse_is_refused_here() {
        for (field, wrong) in [
            ("version", json!(0)),
            ("version", json!(-1)),
            ("version", json!(1.5)),
            ("version", json!(u64::MAX)),
            ("occurred_at", json!("+200000-01-01T00:00:00Z")),
            ("occurred_at", json!("-9999-01-01T00:00:00Z")),
            ("occurred_at", json!("yesterday")),
            ("event_id", json!("not-a-uuid")),
        ] {
            let mut value = created();
            value[field] = wrong.clone();
            assert!(decode_json(&value).is_err(), "{field} = {wrong} was taken");
        }
    }

    #[test]
    fn what_is_not_a_json_object_is_undecodable() {
        assert_eq!(decode(None), Err(Undecodable::NoValue));
        for wrong in ["", " ", "null", "42", "\"text\"", "[]", "[\"0197f3a2-6c1e-7d41-8a00-000000000001\"]"] {
            assert_eq!(decode(Some(wrong.as_bytes())), Err(Undecodable::NotAnObject), "{wrong:?}");
        }
        for wrong in [&b"{"[..], b"{\"event_type\": \"OrderCreated\"", b"{}", b"{\xff\xfe}"] {
            assert!(matches!(decode(Some(wrong)), Err(Undecodable::Json(_))), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(Some(&bytes));
        }
    }
}
