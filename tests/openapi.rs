//! The OpenAPI document against what the service answers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::path::{Path, PathBuf};

use orders::http::ApiDoc;
use orders::order::{Currency, ShortText, Sku};
use proptest::prelude::*;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use stack::access::Issuer;
use stack::openapi::provoke::{Guarded, Provocation};
use stack::openapi::{Answer, Coverage, Document};
use support::{Orders, Stage, an_order, eventually};
use utoipa::OpenApi;
use uuid::Uuid;

fn described() -> Value {
    serde_json::to_value(ApiDoc::openapi()).unwrap()
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json")
}

/// Clients are generated from the file.
#[test]
fn the_document_is_the_one_that_was_agreed() {
    if std::env::var_os("UPDATE_SNAPSHOT").is_some() {
        std::fs::write(file(), format!("{:#}\n", described())).unwrap();
    }
    let agreed: Value = serde_json::from_str(&std::fs::read_to_string(file()).unwrap()).unwrap();
    assert_eq!(
        described(),
        agreed,
        "changed on purpose? UPDATE_SNAPSHOT=1 writes docs/openapi.json anew, and --test collection what is made of it"
    );
}

#[test]
fn every_reference_resolves_and_every_operation_has_an_id() {
    let faults = Document::new(described()).faults();
    assert!(faults.is_empty(), "{faults:#?}");
}

proptest! {
    /// Whoever checks a text by the document knows what the service makes of it.
    #[test]
    fn texts_are_taken_as_their_patterns_say(text in prop_oneof![".{0,4}", "[A-Z]{2,4}", "[a-z/ ._-]{0,70}", "\\PC{195,205}"]) {
        let document = Document::new(described());
        let item = json!({ "sku": text, "quantity": 1, "unit_price_minor": 1 });
        prop_assert_eq!(document.mismatches("NewItem", &item).is_empty(), Sku::parse(&text).is_ok());
        let pay = json!({ "payment_reference": text });
        prop_assert_eq!(document.mismatches("PayOrder", &pay).is_empty(), ShortText::parse(&text).is_ok());
        let order = json!({ "customer_id": Uuid::nil(), "currency": text, "items": [{ "sku": "a", "quantity": 1, "unit_price_minor": 1 }] });
        // The pattern cannot list the codes there are.
        let is_code = Currency::parse(&text).is_ok();
        prop_assert!(!is_code || document.mismatches("CreateOrder", &order).is_empty());
    }
}

const COMMANDS: [&str; 4] = ["pay", "ship", "complete", "cancel"];
/// Documented answers that are not provoked here, and where they are.
const ELSEWHERE: [(&str, &str); 6] = [
    ("internal", "a fault of the service itself: an actor that panics, a receipt that is damaged"),
    ("stopping", "between the end of the pool and that of the process"),
    ("outcome-unknown", "tests/idempotency.rs and tests/database.rs"),
    ("create_order unreadable-history", "a receipt of a newer version; commands share the code"),
    ("discard_event already-released", "what is released is gone a heartbeat later; tests/publication.rs"),
    (
        "discard_event not-passed-yet",
        "the publisher has set an event aside and not moved the cursor; publisher/discard.rs",
    ),
];

/// A service, its document, and what has been seen of it.
struct Interview {
    orders: Orders,
    document: Document,
    coverage: Coverage,
}

impl Interview {
    fn get(&self, path: &str) -> RequestBuilder {
        self.orders.http.get(self.orders.url(path))
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.orders.http.request(Method::POST, self.orders.url(path))
    }

    fn command(&self, id: Uuid, command: &str) -> RequestBuilder {
        self.post(&format!("/api/orders/{id}/{command}"))
    }

    /// The answer has to be the one that is expected, a status or a kind of problem, and as it is documented.
    async fn ask(&mut self, operation: &str, request: RequestBuilder, expected: &str) -> Value {
        let answer = Answer::of(request.send().await.unwrap()).await.unwrap();
        let got =
            answer.problem().filter(|_| answer.status >= 400).unwrap_or_else(|| answer.status.to_string());
        assert_eq!(got, expected, "{operation}: {answer:?}");
        self.see(operation, &answer);
        serde_json::from_str(&answer.body).unwrap_or_default()
    }

    fn see(&mut self, operation: &str, answer: &Answer) {
        let seen = self.coverage.see(&self.document, operation, answer);
        seen.unwrap_or_else(|error| panic!("{error:#}: {answer:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_answer_is_as_documented() {
    let stage = Stage::new().await;
    let settings = stage.settings("orders").with("DATABASE_TIMEOUT_MS", "20000");
    let settings = settings.with("ORDERS_HTTP_CLIENT_TIMEOUT_SECONDS", "1").with("JOURNAL_COMMANDS_MAX", "1");
    let orders = stage.start_with(settings.with("ORDERS_HTTP_KEEP_ALIVE_SECONDS", "1")).await;
    let (_, served) = orders.get("/api-docs/openapi.json").await;
    assert_eq!(served, described(), "what is served is what the file was compared with");
    let (document, coverage) = (Document::new(served), Coverage::default());
    let mut service = Interview { orders, document, coverage };

    what_every_operation_refuses(&mut service, &stage).await;
    commands(&mut service).await;
    queries(&mut service).await;
    operations(&mut service, &stage).await;
    a_history_that_cannot_be_read(&mut service, &stage).await;
    quarantine(&mut service, &stage).await;
    a_full_journal(&mut service, &stage).await;
    a_database_that_is_away(&mut service, &stage).await;

    let missing = service.coverage.missing(&service.document);
    let excused = |missing: &str| ELSEWHERE.iter().any(|(what, _)| missing.ends_with(what));
    let missing: Vec<String> = missing.into_iter().filter(|missing| !excused(missing)).collect();
    assert!(missing.is_empty(), "documented, and never answered: {missing:#?}");
}

async fn what_every_operation_refuses(service: &mut Interview, stage: &Stage) {
    let issuer = Issuer::of_ed25519().unwrap();
    let settings = issuer.required(stage.settings("guarded"), "ORDERS", stage.directory.path()).unwrap();
    let guarded = stage.start_with(settings.clone()).await;
    let settings = settings.with("ORDERS_RATE_LIMIT_PER_SECOND", "1").with("ORDERS_RATE_LIMIT_BURST", "1");
    let limited = stage.start_with(settings).await;
    let url = service.orders.url("");
    let names = [("{id}", Uuid::new_v4().to_string()), ("{name}", "nobody".to_owned())];
    let (guarded_url, token) = (guarded.url(""), issuer.token("kim", &[]).unwrap());
    let asked = Guarded { url: &guarded_url, token: &token };
    let http = &service.orders.http;
    let provocation =
        Provocation { http, url: &url, names: &names, guarded: asked, limited: &limited.url("") };
    let provoked = provocation.all(&service.document).await.unwrap();
    assert!(provoked.len() > 100, "{} were provoked", provoked.len());
    for provoked in provoked {
        let got = provoked.answer.problem();
        assert_eq!(got.as_deref(), Some(provoked.expected), "{}: {:?}", provoked.operation, provoked.answer);
        service.see(&provoked.operation, &provoked.answer);
    }
    let customer = issuer.token(&Uuid::new_v4().to_string(), &["customer"]).unwrap();
    let create = guarded.http.post(guarded.url("/api/orders")).json(&an_order());
    let list = guarded.http.get(guarded.url(&format!("/api/orders?customer_id={}", Uuid::new_v4())));
    for (operation, request) in [("create_order", create), ("list_orders", list)] {
        service.ask(operation, request.bearer_auth(&customer), "foreign-customer").await;
    }
}

async fn commands(service: &mut Interview) {
    let create = |service: &Interview| service.post("/api/orders").json(&an_order());
    let keyed = create(service).header("Idempotency-Key", "used").header("X-Correlation-Id", "c");
    let order = service.ask("create_order", keyed, "201").await;
    let request = create(service).header("Idempotency-Key", "used");
    service.ask("create_order", request, "idempotency-key-reused").await;
    let (id, other) = (order["order_id"].as_str().unwrap().parse().unwrap(), service.orders.create().await);
    let mut refused = vec![("create_order".to_owned(), create(service))];
    for command in COMMANDS {
        let operation = format!("{command}_order");
        let request = |id| service.command(id, command);
        let (nobody, reused) = (request(Uuid::new_v4()), request(id).header("Idempotency-Key", "used"));
        refused.push((operation.clone(), request(id)));
        service.ask(&operation, nobody, "order-not-found").await;
        service.ask(&operation, reused, "idempotency-key-reused").await;
    }
    for (operation, request) in refused {
        let request = || request.try_clone().unwrap();
        service.ask(&operation, request().header("If-Match", "1"), "invalid-if-match").await;
        service.ask(&operation, request().header("If-Match", "\"99\""), "version-mismatch").await;
        let key = "k".repeat(256);
        service.ask(&operation, request().header("Idempotency-Key", key), "invalid-idempotency-key").await;
    }
    for (command, id) in [("pay", id), ("ship", id), ("complete", id), ("cancel", other)] {
        let operation = format!("{command}_order");
        let request = || service.command(id, command).header("Idempotency-Key", command);
        let (first, again, twice) = (request(), request(), service.command(id, command));
        service.ask(&operation, first, "200").await;
        service.ask(&operation, again, "200").await;
        service.ask(&operation, twice, "illegal-transition").await;
    }
}

async fn queries(service: &mut Interview) {
    let (id, nobody) = (service.orders.create().await, Uuid::new_v4());
    for (operation, path, expected) in [
        ("read_order", format!("/api/orders/{id}"), "200"),
        ("read_order", format!("/api/orders/{nobody}"), "order-not-found"),
        ("read_history", format!("/api/orders/{id}/events"), "200"),
        ("read_history", format!("/api/orders/{nobody}/events"), "order-not-found"),
        ("list_orders", "/api/orders?limit=1&status=created".to_owned(), "200"),
        ("list_orders", "/api/orders?created_from=2026-01-01T00:00:00Z".to_owned(), "200"),
        ("list_orders", "/api/orders?limit=0".to_owned(), "invalid-fields"),
        ("list_orders", "/api/orders?cursor=x".to_owned(), "invalid-fields"),
    ] {
        let request = service.get(&path);
        service.ask(operation, request, expected).await;
    }
}

async fn operations(service: &mut Interview, stage: &Stage) {
    for (operation, path) in [
        ("read_outbox", "/api/outbox"),
        ("list_quarantine", "/api/outbox/quarantine"),
        ("list_actors", "/api/actors"),
        ("is_alive", "/livez"),
        ("is_ready", "/readyz"),
        ("read_metrics", "/metrics"),
    ] {
        let request = service.get(path);
        service.ask(operation, request, "200").await;
    }
    let request = service.post("/api/actors/nobody/crash");
    service.ask("crash_actor", request, "no-such-actor").await;
    let request = service.post("/api/actors/projector/crash");
    service.ask("crash_actor", request, "202").await;
    stage.outbox_empties().await;
}

/// An event that a newer instance has written.
async fn a_history_that_cannot_be_read(service: &mut Interview, stage: &Stage) {
    let id = service.orders.create().await;
    let held = stage.hold_appends().await;
    let unknown = "INSERT INTO order_event (seq, event_id, order_id, version, event_type, payload, metadata, occurred_at)
         SELECT (SELECT max(seq) FROM order_event) + 1, gen_random_uuid(), $1, 2, 'OrderRefunded', $2::json, '{}', now()";
    let payload = json!({ "event_type": "OrderRefunded", "order_id": id, "version": 2 }).to_string();
    sqlx::query(unknown).bind(id).bind(payload).execute(&stage.database).await.unwrap();
    held.rollback().await.unwrap();
    let request = service.get(&format!("/api/orders/{id}"));
    service.ask("read_order", request, "unreadable-history").await;
    for command in COMMANDS {
        let request = service.command(id, command).header("If-Match", "\"2\"");
        service.ask(&format!("{command}_order"), request, "unreadable-history").await;
    }
}

async fn quarantine(service: &mut Interview, stage: &Stage) {
    let (first, second) = (service.orders.create().await, service.orders.create().await);
    service.orders.command(first, "pay").await;
    stage.outbox_empties().await;
    for statement in [
        "INSERT INTO quarantined_order (order_id, error) VALUES ($1, 'too large')",
        "INSERT INTO quarantined_event (seq, order_id) SELECT seq, order_id FROM order_event WHERE order_id = $1",
    ] {
        for id in [first, second] {
            sqlx::query(statement).bind(id).execute(&stage.database).await.unwrap();
        }
    }
    let request = service.get("/api/outbox/quarantine");
    let waiting = service.ask("list_quarantine", request, "200").await;
    let seq = waiting.as_array().unwrap().iter().find(|order| order["order_id"] == json!(first));
    let seq = seq.unwrap()["first_waiting_seq"].as_i64().unwrap();
    let discard = |service: &Interview, id: Uuid, seq: i64| {
        let body = json!({ "seq": seq, "reason": "too large", "by": "kim" });
        service.post(&format!("/api/outbox/quarantine/{id}/discard")).json(&body)
    };
    let release =
        |service: &Interview, id: Uuid| service.post(&format!("/api/outbox/quarantine/{id}/release"));
    let nobody = Uuid::new_v4();
    for (operation, request, expected) in [
        ("discard_event", discard(service, nobody, seq), "not-quarantined"),
        ("discard_event", discard(service, first, seq + 1), "not-the-first-waiting"),
        ("release_order", release(service, nobody), "not-quarantined"),
    ] {
        service.ask(operation, request, expected).await;
    }
    let request = discard(service, first, seq);
    service.ask("discard_event", request, "202").await;
    let request = release(service, second);
    service.ask("release_order", request, "202").await;
}

/// One command is in the journal, and that is as many as it takes.
async fn a_full_journal(service: &mut Interview, stage: &Stage) {
    let mut asked = vec![("create_order".to_owned(), service.post("/api/orders").json(&an_order()))];
    for (command, before) in
        [("pay", &[][..]), ("ship", &["pay"][..]), ("complete", &["pay", "ship"][..]), ("cancel", &[][..])]
    {
        let id = service.orders.create().await;
        for command in before {
            service.orders.command(id, command).await;
        }
        asked.push((format!("{command}_order"), service.command(id, command)));
    }
    let held = stage.hold_appends().await;
    let in_hand = tokio::spawn(service.post("/api/orders").json(&an_order()).send());
    stage.append_waits().await;
    for (operation, request) in asked {
        service.ask(&operation, request, "busy").await;
    }
    held.rollback().await.unwrap();
    assert_eq!(in_hand.await.unwrap().unwrap().status(), 201);
}

/// Sessions are ended and new ones refused. What is in hand at that moment may have another problem first.
async fn a_database_that_is_away(service: &mut Interview, stage: &Stage) {
    stage.refuse_connections().await;
    let nobody = Uuid::new_v4();
    let mut asked = vec![
        ("create_order".to_owned(), service.post("/api/orders").json(&an_order())),
        ("list_orders".to_owned(), service.get("/api/orders")),
        ("read_order".to_owned(), service.get(&format!("/api/orders/{nobody}"))),
        ("read_history".to_owned(), service.get(&format!("/api/orders/{nobody}/events"))),
        ("read_outbox".to_owned(), service.get("/api/outbox")),
        ("list_quarantine".to_owned(), service.get("/api/outbox/quarantine")),
        ("release_order".to_owned(), service.post(&format!("/api/outbox/quarantine/{nobody}/release"))),
    ];
    let discard = json!({ "seq": 1, "reason": "r", "by": "kim" });
    let discard = service.post(&format!("/api/outbox/quarantine/{nobody}/discard")).json(&discard);
    asked.push(("discard_event".to_owned(), discard));
    for command in COMMANDS {
        asked.push((format!("{command}_order"), service.command(nobody, command)));
    }
    for (operation, request) in asked {
        eventually(&format!("{operation} says that the database is away"), async || {
            let answer = Answer::of(request.try_clone().unwrap().send().await.unwrap()).await.unwrap();
            assert_eq!(answer.status, 503, "{operation}: {answer:?}");
            service.see(&operation, &answer);
            (answer.problem().as_deref() == Some("database-unavailable")).then_some(())
        })
        .await;
    }
    let request = service.get("/readyz");
    service.ask("is_ready", request, "503").await;
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let routes = ["src/http/mod.rs", "operations/src/http/mod.rs"]
        .map(|file| std::fs::read_to_string(folder.join(file)).unwrap())
        .concat();
    let agreed = described();
    let served: Vec<&str> = ["resource(\"", "traced(\""]
        .into_iter()
        .flat_map(|call| routes.split(call).skip(1).map(|rest| rest.split('"').next().unwrap()))
        .collect();
    assert!(served.len() > 15, "the routes were not found: {served:?}");
    for path in served.into_iter().filter(|path| *path != "/") {
        assert!(agreed["paths"][path].is_object(), "{path} is served and not documented");
    }
}
