//! The OpenAPI document against what the service answers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::path::Path;

use orders::http::ApiDoc;
use reqwest::Method;
use serde_json::{Value, json};
use support::{Stage, an_order};
use utoipa::OpenApi;
use uuid::Uuid;

fn snapshot() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json")
}

/// A schema, with references followed.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// Whether `value` has the types and the required fields of `schema`, and no field that it does not name.
fn conforms(document: &Value, schema: &Value, value: &Value, at: &str) {
    let schema = resolved(document, schema);
    for alternatives in ["oneOf", "anyOf"] {
        if let Some(list) = schema[alternatives].as_array() {
            if value.is_null() && list.iter().any(|schema| schema["type"] == "null") {
                return;
            }
            let schema = list.iter().find(|schema| schema["type"] != "null").unwrap();
            return conforms(document, schema, value, at);
        }
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => panic!("{at}: the schema says no type: {schema}"),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = types.contains(&kind) || kind == "integer" && types.contains(&"number");
    assert!(fits, "{at} is {kind}, documented as {types:?}");
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (n, value) in values.iter().enumerate() {
            conforms(document, items, value, &format!("{at}[{n}]"));
        }
    }
    if let (Some(properties), Some(fields)) = (schema["properties"].as_object(), value.as_object()) {
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            assert!(fields.contains_key(required), "{at} lacks {required}");
        }
        for (name, value) in fields {
            let property = properties.get(name).unwrap_or_else(|| panic!("{at}.{name} is not documented"));
            conforms(document, property, value, &format!("{at}.{name}"));
        }
    }
}

/// Clients are generated from the file.
#[test]
fn the_document_is_the_one_that_was_agreed() {
    let described = serde_json::to_value(ApiDoc::openapi()).unwrap();
    if std::env::var_os("UPDATE_SNAPSHOT").is_some() {
        std::fs::write(snapshot(), format!("{described:#}\n")).unwrap();
    }
    let agreed: Value = serde_json::from_str(&std::fs::read_to_string(snapshot()).unwrap()).unwrap();
    assert_eq!(described, agreed, "changed on purpose? UPDATE_SNAPSHOT=1 writes docs/openapi.json anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_answer_is_as_documented() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let (_, document) = orders.get("/api-docs/openapi.json").await;
    let existing = orders.create().await;
    let nobody = Uuid::new_v4();
    let create = "/api/orders";
    let json_body = |body: Value| Some(("application/json", body.to_string()));
    let order_path = |id: &dyn std::fmt::Display| vec![("{id}", id.to_string())];
    type Case = (
        Method,
        &'static str,
        Vec<(&'static str, String)>,
        Option<(&'static str, String)>,
        Option<&'static str>,
        u16,
    );
    let mut cases: Vec<Case> = vec![
        (Method::POST, create, vec![], json_body(an_order()), None, 201),
        (Method::POST, create, vec![], Some(("application/json", "{".into())), None, 400),
        (Method::POST, create, vec![], json_body(an_order()), Some("\"1\""), 412),
        (Method::POST, create, vec![], Some(("application/json", " ".repeat(70_000))), None, 413),
        (Method::POST, create, vec![], Some(("text/plain", "{}".into())), None, 415),
        (Method::POST, create, vec![], json_body(json!({})), None, 422),
        (Method::GET, create, vec![], None, None, 200),
        (Method::GET, "/api/orders?colour=red", vec![], None, None, 400),
        (Method::GET, "/api/orders?limit=0", vec![], None, None, 422),
        (Method::GET, "/api/orders/{id}", order_path(&existing), None, None, 200),
        (Method::GET, "/api/orders/{id}", order_path(&nobody), None, None, 404),
        (Method::GET, "/api/orders/{id}", order_path(&"x"), None, None, 400),
        (Method::GET, "/api/orders/{id}/events", order_path(&existing), None, None, 200),
        (Method::GET, "/api/orders/{id}/events", order_path(&nobody), None, None, 404),
        (Method::GET, "/api/orders/{id}/events", order_path(&"x"), None, None, 400),
        (Method::GET, "/api/outbox", vec![], None, None, 200),
        (Method::GET, "/api/outbox/quarantine", vec![], None, None, 200),
        (Method::POST, "/api/outbox/quarantine/{id}/release", order_path(&nobody), None, None, 404),
        (
            Method::POST,
            DISCARD,
            order_path(&nobody),
            json_body(json!({ "seq": 1, "reason": "r", "by": "kim" })),
            None,
            404,
        ),
        (Method::POST, DISCARD, order_path(&"x"), None, None, 400),
        (
            Method::POST,
            DISCARD,
            order_path(&nobody),
            Some(("application/json", " ".repeat(70_000))),
            None,
            413,
        ),
        (Method::POST, DISCARD, order_path(&nobody), Some(("text/plain", "{}".into())), None, 415),
        (Method::POST, DISCARD, order_path(&nobody), json_body(json!({ "seq": 1 })), None, 422),
        (Method::GET, "/api/actors", vec![], None, None, 200),
        (Method::POST, "/api/actors/{name}/crash", vec![("{name}", "nobody".into())], None, None, 404),
        (Method::POST, "/api/actors/{name}/crash", vec![("{name}", "projector".into())], None, None, 202),
        (Method::GET, "/livez", vec![], None, None, 200),
        (Method::GET, "/readyz", vec![], None, None, 200),
        (Method::GET, "/metrics", vec![], None, None, 200),
    ];
    for (path, first, second) in [
        ("/api/orders/{id}/pay", 200, 409),
        ("/api/orders/{id}/ship", 200, 409),
        ("/api/orders/{id}/complete", 200, 409),
        ("/api/orders/{id}/cancel", 409, 409),
    ] {
        cases.push((Method::POST, path, order_path(&existing), None, None, first));
        cases.push((Method::POST, path, order_path(&existing), None, None, second));
        cases.push((Method::POST, path, order_path(&existing), json_body(json!({})), Some("\"99\""), 412));
        cases.push((Method::POST, path, order_path(&nobody), None, None, 404));
        cases.push((Method::POST, path, order_path(&"x"), None, None, 400));
        cases.push((Method::POST, path, order_path(&existing), json_body(json!({ "no": 1 })), None, 422));
        let large = Some(("application/json", " ".repeat(70_000)));
        cases.push((Method::POST, path, order_path(&existing), large, None, 413));
        cases.push((Method::POST, path, order_path(&existing), Some(("text/plain", "{}".into())), None, 415));
    }
    cases.push((
        Method::POST,
        "/api/orders/{id}/cancel",
        order_path(&orders.create().await),
        None,
        None,
        200,
    ));
    let mut visited = std::collections::BTreeSet::new();
    for (method, path, values, body, if_match, status) in cases {
        let url = values.iter().fold(path.to_owned(), |path, (name, value)| path.replace(name, value));
        let mut request = orders.http.request(method.clone(), orders.url(&url));
        if let Some((content_type, body)) = body {
            request = request.header("content-type", content_type).body(body);
        }
        if let Some(if_match) = if_match {
            request = request.header("If-Match", if_match);
        }
        let response = request.send().await.unwrap();
        let at = format!("{method} {url}");
        assert_eq!(response.status(), status, "{at}");
        let (path, _) = path.split_once('?').unwrap_or((path, ""));
        let operation = &document["paths"][path][method.as_str().to_lowercase()];
        let documented = &operation["responses"][status.to_string()];
        assert!(documented.is_object(), "{at}: {status} is not documented");
        visited.insert((path, method.to_string(), status.to_string()));
        let headers = documented["headers"].as_object().into_iter().flat_map(|headers| headers.keys());
        for name in headers.filter(|name| *name != "Idempotent-Replayed") {
            assert!(response.headers().contains_key(name), "{at}: {status} is documented with {name}");
        }
        let Some(content) = documented["content"].as_object() else { continue };
        let (content_type, described) = content.iter().next().unwrap();
        let answered = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(
            answered.starts_with(content_type.as_str()),
            "{at} answered {answered}, documented {content_type}"
        );
        let text = response.text().await.unwrap();
        if content_type.ends_with("json") {
            conforms(&document, &described["schema"], &serde_json::from_str(&text).unwrap(), &at);
        }
    }
    for (path, method, operation) in operations(&document) {
        for status in operation["responses"].as_object().unwrap().keys() {
            let tried = visited.contains(&(path, method.to_uppercase(), status.clone()));
            let common = ["403", "408", "421", "500"].contains(&status.as_str());
            assert!(
                tried || common || ELSEWHERE.contains(&(path, status)),
                "{method} {path} {status} was not tried"
            );
        }
    }
}

const DISCARD: &str = "/api/outbox/quarantine/{id}/discard";

/// Documented answers that other tests provoke.
const ELSEWHERE: [(&str, &str); 16] = [
    // The service has to be stopping.
    ("/api/actors", "503"),
    // The database has to be away, or the journal full: tests/failures.rs and tests/api.rs.
    ("/api/orders", "503"),
    ("/api/orders/{id}", "503"),
    ("/api/orders/{id}/events", "503"),
    ("/api/orders/{id}/pay", "503"),
    ("/api/orders/{id}/ship", "503"),
    ("/api/orders/{id}/complete", "503"),
    ("/api/orders/{id}/cancel", "503"),
    ("/api/outbox", "503"),
    ("/api/outbox/quarantine", "503"),
    ("/api/outbox/quarantine/{id}/release", "503"),
    (DISCARD, "503"),
    ("/readyz", "503"),
    // An order has to be quarantined: tests/publication.rs.
    ("/api/outbox/quarantine/{id}/release", "202"),
    (DISCARD, "202"),
    (DISCARD, "409"),
];

fn operations(document: &Value) -> impl Iterator<Item = (&str, &String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, operations)| {
        let operations = operations.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (path.as_str(), method, operation))
    })
}

/// Whatever is read by GET is by HEAD too, and a method that is not served is told which ones are.
#[tokio::test(flavor = "multi_thread")]
async fn every_place_says_what_it_allows() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let order_id = orders.create().await;
    let (_, document) = orders.get("/api-docs/openapi.json").await;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let url = path.replace("{id}", &order_id.to_string()).replace("{name}", "nobody");
        let send = async |method: Method| orders.http.request(method, orders.url(&url)).send().await.unwrap();
        let mut documented: Vec<String> =
            operations.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        if documented.contains(&"GET".to_owned()) {
            let (get, head) = (send(Method::GET).await, send(Method::HEAD).await);
            assert_eq!(
                (head.status(), head.headers().get("etag")),
                (get.status(), get.headers().get("etag"))
            );
            assert_eq!(head.headers().get("content-type"), get.headers().get("content-type"), "{path}");
            assert_eq!(head.text().await.unwrap(), "", "{path}");
            documented.push("HEAD".to_owned());
        }
        documented.sort_unstable();
        let refused = send(Method::PATCH).await;
        assert_eq!(refused.status(), 405, "{path}");
        assert_eq!(refused.headers()["content-type"], "application/problem+json", "{path}");
        assert_eq!(refused.headers()["allow"], documented.join(", "), "{path}");
    }
}

/// The routes in the code, each of which must be documented.
#[test]
fn every_route_is_documented() {
    let routes =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/mod.rs")).unwrap();
    let agreed: Value = serde_json::from_str(&std::fs::read_to_string(snapshot()).unwrap()).unwrap();
    let served: Vec<&str> = ["resource(\"", "traced(\""]
        .into_iter()
        .flat_map(|call| routes.split(call).skip(1).map(|rest| rest.split('"').next().unwrap()))
        .collect();
    assert!(served.len() > 15, "the routes were not found: {served:?}");
    for path in served.into_iter().filter(|path| *path != "/") {
        assert!(agreed["paths"][path].is_object(), "{path} is served and not documented");
    }
}
