//! The collection of requests in docs/ against the OpenAPI documents beside it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;
use stack::openapi::Document;
use stack::openapi::collection::{Described, collection};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

fn read(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file(name)).unwrap()).unwrap()
}

fn documents() -> [Document; 2] {
    ["openapi.json", "openapi-bonus.json"].map(|name| Document::new(read(name)))
}

const URLS: [&str; 2] = ["{{orders_url}}", "{{bonus_url}}"];

/// Every request below an item, at whatever depth.
fn requests(item: &Value) -> Vec<&Value> {
    let below = item["item"].as_array().into_iter().flatten().flat_map(requests);
    item.get("request").into_iter().chain(below).collect()
}

/// Between double braces.
fn variables(text: &str) -> Vec<&str> {
    text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()).collect()
}

#[test]
fn the_collection_is_that_of_the_documents_that_were_agreed() {
    let [orders, bonus] = documents();
    let services = [
        Described { name: "Order service", url_variable: "orders_url", document: &orders },
        Described { name: "Bonus service", url_variable: "bonus_url", document: &bonus },
    ];
    let made = collection(&services).unwrap();
    if std::env::var_os("UPDATE_SNAPSHOT").is_some() {
        std::fs::write(file("collection.json"), format!("{made:#}\n")).unwrap();
    }
    let hint = "changed on purpose? UPDATE_SNAPSHOT=1 writes docs/collection.json anew, after the documents";
    assert_eq!(read("collection.json"), made, "{hint}");
}

#[test]
fn every_operation_is_there_once() {
    let collection = read("collection.json");
    let mut found: Vec<(String, String)> = requests(&collection)
        .into_iter()
        .map(|request| {
            let text = |place: &str| request.pointer(place).unwrap().as_str().unwrap().to_owned();
            (text("/method"), text("/url/raw"))
        })
        .collect();
    // Names in paths differ from the document's; all that counts is where they are.
    let places = |path: &str| {
        let segments = path.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment });
        segments.collect::<Vec<_>>().join("/")
    };
    for (_, url) in &mut found {
        let base = URLS.into_iter().find(|base| url.starts_with(base)).unwrap();
        *url = format!("{base}{}", places(url.strip_prefix(base).unwrap()));
    }
    let mut expected = Vec::new();
    for (document, base) in documents().iter().zip(URLS) {
        expected.extend(
            document
                .operations()
                .map(|operation| (operation.method.to_owned(), format!("{base}{}", places(operation.path)))),
        );
    }
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert!(found.len() > 20, "{found:?}");
}

#[test]
fn every_body_is_a_valid_one_and_every_variable_has_a_value() {
    let collection = read("collection.json");
    let values: BTreeMap<&str, &str> = collection["variable"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| (variable["key"].as_str().unwrap(), variable["value"].as_str().unwrap()))
        .collect();
    let text = format!("{}{}", collection["auth"], collection["item"]);
    let used: BTreeSet<&str> = variables(&text).into_iter().filter(|name| *name != "$guid").collect();
    assert_eq!(used, values.keys().copied().collect(), "used, and given a value");
    let [orders, _] = documents();
    let mut bodies = 0;
    for request in requests(&collection["item"][0]) {
        let has_key = request["header"]
            .as_array()
            .unwrap()
            .iter()
            .any(|header| header["key"] == "Idempotency-Key" && header["disabled"].is_null());
        let raw = request["url"]["raw"].as_str().unwrap();
        let Some(body) = request["body"]["raw"].as_str() else {
            assert!(!has_key, "{raw}");
            continue;
        };
        let body = values
            .iter()
            .fold(body.to_owned(), |body, (name, value)| body.replace(&format!("{{{{{name}}}}}"), value));
        let body: Value = serde_json::from_str(&body).unwrap();
        let path = raw.replace("{{orders_url}}", "").replace("{{order_id}}", "{id}");
        let mut operations = orders.operations();
        let operation =
            operations.find(|operation| operation.path == path && request["method"] == operation.method);
        let operation = operation.unwrap();
        assert_eq!(orders.body_mismatches(operation, &body), [""; 0], "{path}: {body}");
        assert_eq!(has_key, operation.id != "discard_event", "{path}: commands have a key");
        bodies += 1;
    }
    assert_eq!(bodies, 6, "five commands and the discard of an event");
}

/// What is quarantined is called by what its events are of: an order here, a customer there.
#[test]
fn a_variable_is_what_the_service_asks_for() {
    let collection = read("collection.json");
    let urls: Vec<&str> =
        requests(&collection).into_iter().map(|request| request["url"]["raw"].as_str().unwrap()).collect();
    let with = |start: &str| -> BTreeSet<&str> {
        let those = urls.iter().filter(|url| url.starts_with(start));
        those.flat_map(|url| variables(url).into_iter().skip(1)).collect()
    };
    assert_eq!(with("{{orders_url}}/api/outbox/quarantine/"), BTreeSet::from(["order_id"]));
    assert_eq!(with("{{bonus_url}}/api/outbox/quarantine/"), BTreeSet::from(["customer_id"]));
    assert_eq!(with("{{bonus_url}}/api/bonuses/"), BTreeSet::from(["customer_id"]));
    assert_eq!(with("{{bonus_url}}/api/orders/"), BTreeSet::from(["order_id"]));
}
