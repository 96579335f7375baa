//! The OpenAPI document against what the service answers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use bonus::http::ApiDoc;
use serde_json::Value;
use stack::openapi::provoke::{Guarded, Provocation};
use stack::openapi::{Answer, Coverage, Document};
use support::guard::Guard;
use support::kafka::produce;
use support::process::Bonus;
use support::{World, event, eventually};
use utoipa::OpenApi;
use uuid::Uuid;

fn described() -> Value {
    serde_json::to_value(ApiDoc::openapi()).unwrap()
}

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
    produce(
        &world,
        &[event("OrderCreated", order, 1, customer), event("OrderCompleted", order, 4, customer)],
    )
    .await;
    world.points_become(&BTreeMap::from([(customer, 140)])).await;
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
    let names = [("{customer_id}", nobody.to_string()), ("{order_id}", nobody.to_string())];
    let guard = Guard::start(&world).await;
    let token = guard.issuer.token("kim", &[]).unwrap();
    let guarded = Guarded { url: &guard.bonus.url, token: &token };
    let one_a_second = [("BONUS_RATE_LIMIT_PER_SECOND", "1"), ("BONUS_RATE_LIMIT_BURST", "1")];
    let limited = Guard::start_with(&world, &one_a_second).await;
    let provocation =
        Provocation { http: &http, url: &bonus.url, names: &names, guarded, limited: &limited.bonus.url };
    let provoked = provocation.all(&document).await.unwrap();
    assert!(provoked.len() >= 29, "{} were provoked", provoked.len());
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
    for operation in document.operations() {
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

    world.refuse_connections().await;
    for operation in document.operations() {
        let responses = &operation.described["responses"];
        if responses["503"].is_null() || operation.id == "list_actors" {
            continue;
        }
        eventually(&format!("{} says that the database is away", operation.id), async || {
            let answer = ask(&path_of(operation.path)).await;
            if answer.status != 503 {
                return Err(format!("{answer:?}"));
            }
            see(operation.id, &answer);
            Ok(())
        })
        .await;
    }
    let mut missing = coverage.missing(&document);
    // Between the end of the pool and that of the process.
    missing.retain(|missing| !missing.ends_with(" stopping"));
    assert!(missing.is_empty(), "documented, and never answered: {missing:#?}");
}
