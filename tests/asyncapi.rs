//! The AsyncAPI document and the contract: the same events, the same examples, and schemas that the examples fit.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use stack::openapi::Document;

const DOCUMENT: &str = include_str!("../docs/asyncapi.json");

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// Every golden event, by the name of its file.
fn contract() -> BTreeMap<String, Value> {
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("contract")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let events = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let event = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    };
    events.map(event).collect()
}

fn messages(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    document["components"]["messages"].as_object().unwrap().iter()
}

#[test]
fn the_examples_are_the_files_of_the_contract() {
    let document = document();
    let mut examples = BTreeMap::new();
    for (name, message) in messages(&document) {
        for example in message["examples"].as_array().unwrap() {
            assert_eq!(example["payload"]["event_type"], **name);
            examples.insert(example["name"].as_str().unwrap().to_owned(), example["payload"].clone());
        }
    }
    assert_eq!(examples, contract());
}

#[test]
fn every_golden_event_fits_its_schema_and_nothing_can_be_left_out() {
    let document = Document::new(document());
    for (name, event) in contract() {
        let schema = event["event_type"].as_str().unwrap();
        assert_eq!(document.mismatches(schema, &event), [] as [String; 0], "{name}");
        for field in ["event_id", "event_type", "version", "customer_id", "occurred_at"] {
            let mut without = event.clone();
            without.as_object_mut().unwrap().remove(field);
            assert_eq!(document.mismatches(schema, &without).len(), 1, "{name} without {field}");
        }
    }
}

#[test]
fn every_message_is_in_the_channel_of_its_service() {
    let document = document();
    let mut placed = BTreeMap::new();
    for (channel, address) in [("orders", "orders.events"), ("customers", "bonus.events")] {
        let channel = &document["channels"][channel];
        assert_eq!(channel["address"], address);
        for (name, message) in channel["messages"].as_object().unwrap() {
            assert_eq!(message["$ref"], format!("#/components/messages/{name}"));
            placed.insert(name.clone(), address);
        }
    }
    let topic = |name: &str| if name.starts_with("Order") { "orders.events" } else { "bonus.events" };
    let all = messages(&document).map(|(name, _)| (name.clone(), topic(name)));
    assert_eq!(placed, all.collect());
}

/// A reference that leads nowhere is a document that no tool reads.
#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
}
