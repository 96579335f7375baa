//! The HTTP interface: answers and problems. `tests/openapi.rs` compares them with the document.

#![allow(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use stack::certificates::{Authority, THIS_MACHINE, Validity};
use support::kafka::produce;
use support::process::Bonus;
use support::{World, event, eventually, http};
use uuid::Uuid;

#[tokio::test]
async fn an_account_and_its_ledger_page_by_page() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let (customer, order) = (Uuid::now_v7(), Uuid::now_v7());
    let created: Vec<_> = (0..6).map(|_| event("OrderCreated", Uuid::now_v7(), 1, customer)).collect();
    produce(&world, &created).await;
    produce(&world, &[event("OrderCreated", order, 1, customer)]).await;
    world.points_become(&BTreeMap::from([(customer, 280)])).await;
    produce(&world, &[event("OrderCompleted", order, 4, customer)]).await;
    world.points_become(&BTreeMap::from([(customer, 380)])).await;

    let (status, account) = bonus.get(&format!("/api/bonuses/{customer}")).await;
    assert_eq!(status, 200);
    assert_eq!(account["customer_id"], customer.to_string());
    assert_eq!((&account["points"], &account["grade"]), (&380.into(), &"Gold".into()));
    assert_eq!(account["next_grade"], json!({"grade": "Platinum", "points": 1_000}));
    // The newest 200 points are of the completed order and of three created ones: the oldest of these leaves the window first.
    let until: DateTime<Utc> = account["vip_until"].as_str().unwrap().parse().unwrap();
    let oldest: DateTime<Utc> = created[4].value["occurred_at"].as_str().unwrap().parse().unwrap();
    assert_eq!((&account["vip"], until), (&true.into(), oldest.trunc_subsecs(6) + TimeDelta::hours(720)));
    assert_eq!((&account["policy_version"], &account["credited_events"]), (&1.into(), &8.into()));
    assert!(account["updated_at"].as_str().unwrap() >= account["opened_at"].as_str().unwrap());

    let mut entries: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = bonus.get(&format!("/api/bonuses/{customer}/ledger?limit=3{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        let on_page = page["entries"].as_array().unwrap();
        assert!(on_page.len() <= 3);
        entries.extend(on_page.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(entries.len(), 8);
    assert_eq!((&entries[0]["event_type"], &entries[0]["points"]), (&"OrderCompleted".into(), &100.into()));
    assert_eq!(
        (&entries[0]["reason"], &entries[1]["reason"]),
        (&"order_completed".into(), &"order_created".into())
    );
    assert_eq!((&entries[0]["order_id"], &entries[0]["version"]), (&order.to_string().into(), &4.into()));
    let mut ids: Vec<&str> = entries.iter().map(|entry| entry["event_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 8, "no entry comes twice");
    let (status, whole) = bonus.get(&format!("/api/bonuses/{customer}/ledger")).await;
    assert_eq!((status, whole["entries"].as_array().unwrap()), (200, &entries));
}

#[tokio::test]
async fn an_orders_entries_and_the_sum_of_everything() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let (customer, other, order) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let (_, nothing) = bonus.get("/api/summary").await;
    assert_eq!((&nothing["accounts"], &nothing["points"]), (&0.into(), &0.into()));
    let (created, completed) =
        (event("OrderCreated", order, 1, customer), event("OrderCompleted", order, 4, customer));
    produce(&world, &[created.clone(), event("OrderPaid", order, 2, customer), completed.clone()]).await;
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, other)]).await;
    world.points_become(&BTreeMap::from([(customer, 140), (other, 40)])).await;

    let (status, ledger) = bonus.get(&format!("/api/orders/{order}/ledger")).await;
    assert_eq!((status, &ledger["order_id"]), (200, &order.to_string().into()));
    let entries = ledger["entries"].as_array().unwrap();
    let booked: Vec<_> = entries.iter().map(|entry| (&entry["event_id"], &entry["points"])).collect();
    let expected = [(&created.value["event_id"], &40.into()), (&completed.value["event_id"], &100.into())];
    assert_eq!(booked, expected, "a payment gives no points, another order's events are not this one's");

    let (status, summary) = bonus.get("/api/summary").await;
    assert_eq!(status, 200);
    assert_eq!((&summary["accounts"], &summary["points"]), (&2.into(), &180.into()));
    assert_eq!((&summary["credited_events"], &summary["consumer"]), (&3.into(), &"running".into()));
    assert_eq!(summary["grades"], json!({"bronze": 1, "silver": 1, "gold": 0, "platinum": 0}));
    assert_eq!(summary["vip"], 0);
    eventually("the consumer has committed what it credited", async || {
        let (_, summary) = bonus.get("/api/summary").await;
        if summary["lag_messages"] == 0 { Ok(()) } else { Err(summary.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn every_error_is_a_problem_document() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let stranger = Uuid::now_v7();
    let client = http();
    let (account, ledger) = (format!("/api/bonuses/{stranger}"), format!("/api/bonuses/{stranger}/ledger"));
    for (method, path, status, kind, says) in [
        (Method::GET, account.clone(), 404, "account-not-found", "has no bonus account"),
        (Method::GET, ledger.clone(), 404, "account-not-found", "has no bonus account"),
        (Method::GET, "/api/bonuses/not-a-uuid".to_owned(), 400, "malformed-id", "UUID"),
        (Method::GET, "/api/bonuses/not-a-uuid/ledger".to_owned(), 400, "malformed-id", "UUID"),
        (Method::GET, format!("{ledger}?limit=0"), 422, "invalid-fields", "limit"),
        (Method::GET, format!("{ledger}?limit=201"), 422, "invalid-fields", "limit"),
        (Method::GET, format!("{ledger}?limit=many"), 400, "malformed-query", "invalid"),
        (Method::GET, format!("{ledger}?cursor=x"), 422, "invalid-fields", "cursor"),
        (Method::GET, format!("{ledger}?cursor=-1"), 422, "invalid-fields", "cursor"),
        (Method::GET, format!("{ledger}?cursor=1042"), 422, "invalid-fields", "cursor"),
        (Method::GET, format!("{ledger}?cursor=-999999999999999999-1"), 422, "invalid-fields", "cursor"),
        (Method::GET, format!("{ledger}?page=2"), 400, "malformed-query", "page"),
        (Method::GET, "/api/orders/not-a-uuid/ledger".to_owned(), 400, "malformed-id", "UUID"),
        (Method::GET, "/api/bonuses".to_owned(), 404, "not-found", "/api/bonuses"),
        (Method::GET, "/nothing/here".to_owned(), 404, "not-found", "/nothing/here"),
        (Method::POST, "/nothing/here".to_owned(), 404, "not-found", "/nothing/here"),
        (Method::POST, account, 405, "method-not-allowed", "POST"),
        (Method::DELETE, ledger, 405, "method-not-allowed", "DELETE"),
        (Method::PUT, "/readyz".to_owned(), 405, "method-not-allowed", "PUT"),
        (Method::POST, "/api-docs/openapi.json".to_owned(), 405, "method-not-allowed", "POST"),
    ] {
        let at = format!("{method} {path}");
        let response = client.request(method, format!("{}{path}", bonus.url)).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{at}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{at}");
        let allow = response.headers().get("allow").map(|allow| allow.to_str().unwrap().to_owned());
        assert_eq!(allow.as_deref(), (status == 405).then_some("GET, HEAD"), "{at}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["status"], status, "{at}");
        assert_eq!(problem["type"], format!("urn:orders:problem:{kind}"), "{at}");
        for field in ["title", "detail"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{at}: {field}");
        }
        assert!(problem.to_string().contains(says), "{at}: {problem}");
    }
}

/// A page of another site asks under its own name, from the user's own browser.
#[tokio::test]
async fn a_page_of_another_origin_learns_nothing() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let get = |host: &str| http().get(format!("{}/api/summary", bonus.url)).header("host", host).send();
    let foreign = get("evil.example").await.unwrap();
    assert_eq!(foreign.status().as_u16(), 421);
    let problem: Value = foreign.json().await.unwrap();
    assert_eq!(problem["type"], "urn:orders:problem:unknown-host");
    assert!(problem["detail"].as_str().unwrap().contains("BONUS_HTTP_HOSTS"), "{problem}");
    assert_eq!(get("localhost:3003").await.unwrap().status().as_u16(), 200);
    let post = http().post(format!("{}/api/summary", bonus.url)).header("origin", "http://evil.example");
    assert_eq!(post.send().await.unwrap().status().as_u16(), 403);
}

/// `tests/clients.rs` of the order service has the rest: the rules are the same code.
#[tokio::test]
async fn pages_of_configured_origins_may_ask() {
    let world = World::new().await;
    let shop = "https://shop.example";
    let bonus = Bonus::start_with(&world, &[("BONUS_CORS_ORIGINS", shop)]).await;
    bonus.becomes_ready().await;
    let url = format!("{}/api/summary", bonus.url);
    let ask = async |method: Method, origin: &str| {
        let request = http().request(method, &url).header("origin", origin);
        let answer = request.header("access-control-request-method", "GET").send().await.unwrap();
        let allowed = answer.headers().get("access-control-allow-origin");
        let allowed = allowed.map(|origin| origin.to_str().unwrap().to_owned());
        let vary = answer.headers().get("vary").map_or("", |vary| vary.to_str().unwrap());
        // A refused preflight is never cached.
        assert!(answer.status() == 403 || vary.contains("Origin"), "{answer:?}");
        assert!(!answer.headers().contains_key("access-control-allow-credentials"), "{answer:?}");
        (answer.status().as_u16(), allowed)
    };
    assert_eq!(ask(Method::OPTIONS, shop).await, (200, Some(shop.to_owned())));
    assert_eq!(ask(Method::GET, shop).await, (200, Some(shop.to_owned())));
    assert_eq!(ask(Method::OPTIONS, "https://evil.example").await, (403, None));
    assert_eq!(ask(Method::GET, "https://evil.example").await, (200, None));
}

#[tokio::test]
async fn bonus_is_served_by_tls_and_its_health_check_goes_by_it() {
    let world = World::without_kafka().await;
    let directory = tempfile::TempDir::new().unwrap();
    let authority = Authority::new(directory.path()).unwrap();
    let identity = authority.server("bonus", &THIS_MACHINE, Validity::Valid).unwrap();
    let (certificate, key) = (identity.certificate.to_str().unwrap(), identity.key.to_str().unwrap());
    let settings = [("BONUS_TLS_CERT_FILE", certificate), ("BONUS_TLS_KEY_FILE", key)];
    let bonus = Bonus::start_with(&world, &settings).await;
    assert!(bonus.url.starts_with("https://127.0.0.1:"), "{}", bonus.url);
    let trusted = reqwest::Certificate::from_pem(&std::fs::read(authority.file()).unwrap()).unwrap();
    let client = stack::http_client().tls_certs_only([trusted]).build().unwrap();
    assert_eq!(client.get(format!("{}/livez", bonus.url)).send().await.unwrap().status().as_u16(), 200);
    let metrics = client.get(format!("{}/metrics", bonus.url)).send().await.unwrap().text().await.unwrap();
    assert!(stack::scrape::value(&metrics, "bonus_http_certificate_expiry_timestamp_seconds") > 1e9);
    assert!(client.get(bonus.url.replace("https", "http")).send().await.is_err(), "plain HTTP is refused");
    let ready = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bonus"));
        command.arg("ready").env("BONUS_HTTP_ADDR", bonus.url.trim_start_matches("https://"));
        command.envs(settings).output().unwrap()
    };
    eventually("the command says ready", async || {
        let said = ready();
        // Or what readiness lacks without Kafka: it was asked by TLS in either case.
        let output = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        if output.contains("ready") && !output.contains("does not answer") { Ok(()) } else { Err(output) }
    })
    .await;
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    for path in ["/api/summary", "/livez", "/readyz", "/metrics", "/api-docs/openapi.json"] {
        let url = format!("{}{path}", bonus.url);
        let (get, head) = (http().get(&url).send().await.unwrap(), http().head(&url).send().await.unwrap());
        assert_eq!((head.status(), get.status().as_u16()), (get.status(), 200), "{path}");
        assert_eq!(head.headers().get("content-type"), get.headers().get("content-type"), "{path}");
        assert_eq!(head.text().await.unwrap(), "", "{path}");
    }
}

#[tokio::test]
async fn the_root_leads_to_swagger_ui() {
    let world = World::new().await;
    let bonus = Bonus::start(&world).await;
    for path in ["/", "/swagger-ui", "/swagger-ui/"] {
        let response = http().get(format!("{}{path}", bonus.url)).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{path}");
        assert!(response.url().path().starts_with("/swagger-ui/"), "{path}");
        assert_eq!(response.headers()["x-frame-options"], "DENY", "{path}");
        assert!(response.text().await.unwrap().contains("swagger-ui"), "{path}");
    }
    let script = http().get(format!("{}/swagger-ui/swagger-initializer.js", bonus.url)).send().await.unwrap();
    assert!(script.text().await.unwrap().contains("/api-docs/openapi.json"));
}

#[tokio::test]
async fn metrics_are_there_from_the_start() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let response = http().get(format!("{}/metrics", bonus.url)).send().await.unwrap();
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
    let text = response.text().await.unwrap();
    for name in [
        "bonus_events_credited_total",
        "bonus_duplicates_absorbed_total",
        "bonus_dead_letters_total",
        "bonus_consumer_restarts_total",
        "bonus_consumer_lag_messages",
        "bonus_kafka_up",
    ] {
        assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} is missing:\n{text}");
    }
}
