//! The collection of requests in docs/, sent to the service one after the other, as somebody who plays with it does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use reqwest::Method;
use serde_json::Value;
use stack::openapi::{Answer, Coverage, Document};
use support::Stage;
use uuid::Uuid;

/// What the state of an order or of the quarantine forbids is no fault of a request.
const REFUSED_BY_STATE: [&str; 2] = ["illegal-transition", "not-quarantined"];

fn read(file: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn of<'a>(value: &'a Value, place: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(place).and_then(Value::as_array).into_iter().flatten()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_the_collection_is_answered_as_documented() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let (collection, document) = (read("docs/collection.json"), Document::new(read("docs/openapi.json")));
    let mut coverage = Coverage::default();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut variables: BTreeMap<String, String> = of(&collection, "/variable")
        .map(|variable| (text(&variable["key"]), text(&variable["value"])))
        .collect();
    variables.insert("orders_url".to_owned(), orders.url(""));
    let mut statuses = BTreeMap::new();
    for item in of(&collection, "/item/0/item").flat_map(|folder| of(folder, "/item")) {
        let request = &item["request"];
        variables.insert("$guid".to_owned(), Uuid::new_v4().to_string());
        let filled = |value: &Value| {
            variables
                .iter()
                .fold(text(value), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value))
        };
        let method = Method::from_bytes(text(&request["method"]).as_bytes()).unwrap();
        let mut sent = orders.http.request(method, filled(&request["url"]["raw"]));
        for header in of(request, "/header").filter(|header| header["disabled"] != true) {
            sent = sent.header(text(&header["key"]), filled(&header["value"]));
        }
        if let Some(body) = request.pointer("/body/raw") {
            sent = sent.body(filled(body));
        }
        let answer = Answer::of(sent.send().await.unwrap()).await.unwrap();
        let refused = answer.problem().is_some_and(|kind| REFUSED_BY_STATE.contains(&kind.as_str()));
        assert!(answer.status < 400 || refused, "{item:#}: {answer:?}");
        let path = text(&request["url"]["raw"]).replace("{{orders_url}}", "");
        let path = path.replace("{{order_id}}", "{id}").replace("{{actor}}", "{name}");
        let operation = document
            .operations()
            .find(|operation| operation.path == path && request["method"] == operation.method);
        let id = operation.unwrap_or_else(|| panic!("{path} is no operation")).id;
        let seen = coverage.see(&document, id, &answer);
        seen.unwrap_or_else(|error| panic!("{error:#}: {answer:?}"));
        statuses.insert(id, answer.status);
        // What the request's script does.
        if answer.status == 201 {
            let order: Value = serde_json::from_str(&answer.body).unwrap();
            variables.insert("order_id".to_owned(), text(&order["order_id"]));
        }
    }
    // In the collection's order an order lives its whole life.
    let life = ["create_order", "read_order", "pay_order", "ship_order", "complete_order", "cancel_order"];
    assert_eq!(life.map(|id| statuses[id]), [201, 200, 200, 200, 200, 409], "{statuses:?}");
}
