//! The OpenAPI document against what the service answers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use bonus::http::ApiDoc;
use serde_json::{Value, json};
use stack::openapi::provoke::{Guarded, Provocation};
use stack::openapi::{Answer, Coverage, Document};
use support::events::outbox_empties;
use support::guard::Guard;
use support::kafka::produce;
use support::process::Bonus;
use support::{World, event, eventually};
use utoipa::OpenApi;
use uuid::Uuid;

fn described() -> Value {
    serde_json::to_value(ApiDoc::openapi()).unwrap()
}

/// Documented answers that are not provoked here, and where they are.
const ELSEWHERE: [(&str, &str); 3] = [
    ("stopping", "between the end of the pool and that of the process"),
    (
        "discard_event already-released",
        "what is released is gone a heartbeat later; the order service's tests/publication.rs",
    ),
    (
        "discard_event not-passed-yet",
        "the publisher has set an event aside and not moved the cursor; engine's publisher/discard.rs",
    ),
];

/// Clients are generated from the file.
#[test]
fn the_document_of_bonus_is_the_one_that_was_agreed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi-bonus.json");
    if std::env::var_os("UPDATE_SNAPSHOT").is_some() {
        std::fs::write(&file, format!("{:#}\n", described())).unwrap();
    }
    let agreed: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(
        described(),
        agreed,
        "changed on purpose? UPDATE_SNAPSHOT=1 writes docs/openapi-bonus.json anew, and --test collection what is made of it"
    );
}

#[test]
fn every_reference_of_bonus_resolves_and_every_operation_has_an_id() {
    let faults = Document::new(described()).faults();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
async fn every_documented_answer_of_bonus_is_as_documented() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let (customer, order, http) = (Uuid::now_v7(), Uuid::now_v7(), support::http());
    let other = Uuid::now_v7();
    let completed = |order, customer| {
        [event("OrderCreated", order, 1, customer), event("OrderCompleted", order, 4, customer)]
    };
    produce(&world, &[completed(order, customer), completed(Uuid::now_v7(), other)].concat()).await;
    world.points_become(&BTreeMap::from([(customer, 140), (other, 140)])).await;
    let (_, served) = bonus.get("/api-docs/openapi.json").await;
    assert_eq!(served, described(), "what is served is what the file was compared with");
    let (document, mut coverage) = (Document::new(served), Coverage::default());
    let ask = async |path: &str| {
        let response = http.get(format!("{}{path}", bonus.url)).send().await.unwrap();
        Answer::of(response).await.unwrap()
    };
    let mut see = |operation: &str, answer: &Answer| {
        let seen = coverage.see(&document, operation, answer);
        seen.unwrap_or_else(|error| panic!("{error:#}: {answer:?}"));
    };

    let nobody = Uuid::now_v7();
    let names = ["{customer_id}", "{order_id}", "{id}"].map(|name| (name, nobody.to_string()));
    let guard = Guard::start(&world).await;
    let token = guard.issuer.token("kim", &[]).unwrap();
    let guarded = Guarded { url: &guard.bonus.url, token: &token };
    let one_a_second = [("BONUS_RATE_LIMIT_PER_SECOND", "1"), ("BONUS_RATE_LIMIT_BURST", "1")];
    let limited = Guard::start_with(&world, &one_a_second).await;
    let provocation =
        Provocation { http: &http, url: &bonus.url, names: &names, guarded, limited: &limited.bonus.url };
    let provoked = provocation.all(&document).await.unwrap();
    assert!(provoked.len() >= 56, "{} were provoked", provoked.len());
    for provoked in provoked {
        let got = provoked.answer.problem();
        assert_eq!(got.as_deref(), Some(provoked.expected), "{}: {:?}", provoked.operation, provoked.answer);
        see(&provoked.operation, &provoked.answer);
    }

    let stranger = guard.issuer.token(&nobody.to_string(), &["customer"]).unwrap();
    for (operation, what) in [("read_account", ""), ("read_ledger", "/ledger")] {
        let request = http.get(format!("{}/api/bonuses/{customer}{what}", guard.bonus.url));
        let answer = Answer::of(request.bearer_auth(&stranger).send().await.unwrap()).await.unwrap();
        assert_eq!(answer.problem().as_deref(), Some("foreign-customer"), "{answer:?}");
        see(operation, &answer);
    }
    let path_of = |path: &str| {
        path.replace("{customer_id}", &customer.to_string()).replace("{order_id}", &order.to_string())
    };
    for operation in document.operations().filter(|operation| operation.method == "GET") {
        let answer = ask(&path_of(operation.path)).await;
        assert_eq!(answer.status, 200, "{}: {answer:?}", operation.id);
        see(operation.id, &answer);
    }
    let ledger = format!("/api/bonuses/{customer}/ledger");
    for (operation, path, expected) in [
        ("read_account", format!("/api/bonuses/{nobody}"), "account-not-found"),
        ("read_ledger", format!("/api/bonuses/{nobody}/ledger"), "account-not-found"),
        ("read_ledger", format!("{ledger}?limit=0"), "invalid-fields"),
        ("read_ledger", format!("{ledger}?cursor=x"), "invalid-fields"),
    ] {
        let answer = ask(&path).await;
        assert_eq!(answer.problem().as_deref(), Some(expected), "{operation}: {answer:?}");
        see(operation, &answer);
    }
    // More entries than a page: the cursor of the next one is there.
    let page = ask(&format!("{ledger}?limit=1")).await;
    assert!(page.body.contains("\"next_cursor\":\""), "{page:?}");
    see("read_ledger", &page);

    let post = async |path: &str, body: Option<Value>| {
        let request = http.post(format!("{}{path}", bonus.url));
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        Answer::of(request.send().await.unwrap()).await.unwrap()
    };
    let first = set_aside(&world, &[customer, other]).await;
    let waiting = ask("/api/outbox/quarantine").await;
    see("list_quarantine", &waiting);
    let waiting: Value = serde_json::from_str(&waiting.body).unwrap();
    assert_eq!((&waiting[0]["customer_id"], &waiting[0]["waiting_events"]), (&json!(customer), &json!(1)));
    let outbox: Value = serde_json::from_str(&ask("/api/outbox").await.body).unwrap();
    assert_eq!((&outbox["quarantined_customers"], &outbox["pending"]), (&json!(2), &json!(2)), "{outbox}");
    let discard = |seq: i64| Some(json!({ "seq": seq, "reason": "too large", "by": "kim" }));
    for (operation, of, body, expected) in [
        ("discard_event", nobody, discard(first), "not-quarantined"),
        ("discard_event", customer, discard(first + 1), "not-the-first-waiting"),
        (
            "discard_event",
            customer,
            Some(json!({ "seq": first, "reason": " ", "by": "kim" })),
            "invalid-fields",
        ),
        ("release_customer", nobody, None, "not-quarantined"),
        ("discard_event", customer, discard(first), "202"),
        // Repeated, it is answered as before.
        ("discard_event", customer, discard(first), "202"),
        ("release_customer", other, None, "202"),
    ] {
        let verb = if operation == "discard_event" { "discard" } else { "release" };
        let answer = post(&format!("/api/outbox/quarantine/{of}/{verb}"), body).await;
        let got = answer.problem().unwrap_or_else(|| answer.status.to_string());
        assert_eq!(got, expected, "{operation}: {answer:?}");
        see(operation, &answer);
    }

    world.refuse_connections().await;
    for operation in document.operations() {
        let responses = &operation.described["responses"];
        if responses["503"].is_null() || operation.id == "list_actors" {
            continue;
        }
        let path = path_of(&operation.path.replace("{id}", &nobody.to_string()));
        eventually(&format!("{} says that the database is away", operation.id), async || {
            let answer = match operation.method {
                "GET" => ask(&path).await,
                _ => post(&path, discard(1).filter(|_| operation.has_body())).await,
            };
            if answer.status != 503 {
                return Err(format!("{answer:?}"));
            }
            see(operation.id, &answer);
            Ok(())
        })
        .await;
    }
    let mut missing = coverage.missing(&document);
    missing.retain(|missing| !ELSEWHERE.iter().any(|(what, _)| missing.ends_with(what)));
    assert!(missing.is_empty(), "documented, and never answered: {missing:#?}");
}

/// As the publisher leaves what is refused. The position of the first customer's event.
async fn set_aside(world: &World, customers: &[Uuid]) -> i64 {
    outbox_empties(world).await;
    let mut database = world.connect().await;
    for customer in customers {
        for statement in [
            "INSERT INTO quarantined_customer (customer_id, error) VALUES ($1, 'too large')",
            "INSERT INTO quarantined_event (seq, customer_id) SELECT seq, customer_id FROM customer_event WHERE customer_id = $1",
        ] {
            sqlx::query(statement).bind(customer).execute(&mut database).await.unwrap();
        }
    }
    let first = "SELECT min(seq) FROM customer_event WHERE customer_id = $1";
    sqlx::query_scalar(first).bind(customers[0]).fetch_one(&mut database).await.unwrap()
}
