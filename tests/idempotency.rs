//! `Idempotency-Key`: the same request again gets its first outcome again, on any instance, across any crash.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::{Orders, Stage, an_order, eventually};

/// Status, whether it was a replay, body.
async fn keyed(orders: &Orders, path: &str, key: &str, body: &Value) -> (u16, bool, Value) {
    let request = orders.http.post(orders.url(path)).header("Idempotency-Key", key).json(body);
    let response = request.send().await.unwrap();
    let replayed = response.headers().contains_key("idempotent-replayed");
    (response.status().as_u16(), replayed, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_repeats_its_first_outcome() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let body = an_order();
    let (status, replayed, created) = keyed(&orders, "/api/orders", "create", &body).await;
    assert_eq!((status, replayed), (201, false));
    let path = format!("/api/orders/{}", created["order_id"].as_str().unwrap());
    let mut outcomes = vec![("/api/orders".to_owned(), "create", body.clone(), 201, created)];
    for command in ["pay", "ship", "complete"] {
        let path = format!("{path}/{command}");
        let (status, replayed, order) = keyed(&orders, &path, command, &json!({})).await;
        assert_eq!((status, replayed), (200, false));
        outcomes.push((path, command, json!({}), 200, order));
    }
    let other = orders.create().await;
    let cancel = format!("/api/orders/{other}/cancel");
    let reason = json!({ "reason": "changed my mind" });
    let (status, replayed, cancelled) = keyed(&orders, &cancel, "cancel", &reason).await;
    assert_eq!((status, replayed), (200, false));
    outcomes.push((cancel, "cancel", reason, 200, cancelled));
    // Each as it was then, though the order has moved on since; and after a crash, on another process.
    for round in 0..2 {
        for (path, key, body, status, first) in &outcomes {
            assert_eq!(
                keyed(&orders, path, key, body).await,
                (*status, true, first.clone()),
                "round {round}"
            );
        }
        orders.blocking(|service| service.kill());
        orders.blocking(|service| service.start_again());
    }
    assert_eq!(stage.events().await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_an_outcome_too() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let order_id = orders.create().await;
    let ship = format!("/api/orders/{order_id}/ship");
    let (status, _, refused) = keyed(&orders, &ship, "too-early", &json!({})).await;
    assert_eq!(status, 409);
    orders.command(order_id, "pay").await;
    // What would be allowed by now is still refused under this key, and allowed under another.
    assert_eq!(keyed(&orders, &ship, "too-early", &json!({})).await, (409, false, refused));
    let conditional =
        orders.http.post(orders.url(&ship)).header("Idempotency-Key", "guarded").header("If-Match", "\"1\"");
    assert_eq!(conditional.json(&json!({})).send().await.unwrap().status(), 412);
    assert_eq!(keyed(&orders, &ship, "guarded", &json!({})).await.0, 412);
    assert_eq!(keyed(&orders, &ship, "in-time", &json!({})).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_request() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let body = an_order();
    let (_, _, first) = keyed(&orders, "/api/orders", "key", &body).await;
    let (status, _, problem) = keyed(&orders, "/api/orders", "key", &an_order()).await;
    assert_eq!((status, &problem["type"]), (422, &json!("urn:orders:problem:idempotency-key-reused")));
    let pay = format!("/api/orders/{}/pay", first["order_id"].as_str().unwrap());
    assert_eq!(keyed(&orders, &pay, "key", &json!({})).await.0, 422, "another command is another request");
    // White space and the order of fields make no other request of it.
    let customer = &body["customer_id"];
    let respelt = format!(
        r#"{{ "items": [ {{"unit_price_minor":150, "quantity":2, "sku":"tea"}} ],
              "currency": "EUR", "customer_id": {customer} }}"#
    );
    let request = orders.http.post(orders.url("/api/orders")).header("content-type", "application/json");
    let response = request.header("Idempotency-Key", "key").body(respelt).send().await.unwrap();
    assert_eq!(response.status(), 201);
    assert!(response.headers().contains_key("idempotent-replayed"));
    assert_eq!(stage.events().await, 1);
}

/// The order is what is asked about, not the spelling of its id or of the path.
#[tokio::test(flavor = "multi_thread")]
async fn however_its_id_is_spelled_a_request_is_the_same() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let order_id = orders.create().await;
    let path = |id: &str| format!("/api/orders/{id}/pay");
    let (status, replayed, paid) = keyed(&orders, &path(&order_id.to_string()), "pay", &json!({})).await;
    assert_eq!((status, replayed), (200, false));
    for spelled in [
        path(&order_id.to_string().to_uppercase()),
        path(&order_id.simple().to_string()),
        path(&format!("%7B{order_id}%7D")),
        path(&order_id.urn().to_string()),
        path(&order_id.to_string().replacen('-', "%2D", 1)),
        format!("/api/orders/{order_id}/p%61y"),
        format!("{}?again", path(&order_id.to_string())),
    ] {
        assert_eq!(keyed(&orders, &spelled, "pay", &json!({})).await, (200, true, paid.clone()), "{spelled}");
    }
    // The receipt is that of every version of the service: of the path in its usual spelling, a zero byte, and the body.
    let receipts: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT fingerprint FROM command_receipt WHERE fingerprint = sha256(convert_to($1, 'UTF8') || '\\x00' || $2)",
    )
    .bind(path(&order_id.to_string()))
    .bind(br#"{"payment_reference":null}"#)
    .fetch_all(&stage.database)
    .await
    .unwrap();
    assert_eq!(receipts.len(), 1);
    assert_eq!(stage.events().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_at_once_on_two_instances_one_order_comes() {
    let stage = Stage::new().await;
    let first = stage.start().await;
    let second = stage.start_with(stage.settings("orders-2")).await;
    for round in 0..5 {
        let (body, key) = (an_order(), format!("round-{round}"));
        let instances = [&first, &second];
        let attempts = (0..20).map(|n| keyed(instances[n % 2], "/api/orders", &key, &body));
        let outcomes = join_all(attempts).await;
        let ids: HashSet<&str> =
            outcomes.iter().map(|(_, _, order)| order["order_id"].as_str().unwrap()).collect();
        assert!(outcomes.iter().all(|(status, _, _)| *status == 201));
        assert_eq!(ids.len(), 1);
        assert_eq!(outcomes.iter().filter(|(_, replayed, _)| !replayed).count(), 1);
        assert_eq!(stage.events().await, round + 1);
    }
}

/// Clients that do not know what became of their request ask again, whatever they were answered, and get one order each.
async fn asked_again(stage: &Stage, orders: &Orders, first: Vec<(String, Value, Option<Value>)>) {
    let again = first.iter().map(|(key, body, _)| keyed(orders, "/api/orders", key, body));
    let again = join_all(again).await;
    let mut ids = HashSet::new();
    for ((key, _, acknowledged), (status, replayed, order)) in first.iter().zip(&again) {
        assert_eq!(*status, 201, "{key}: {order}");
        if let Some(acknowledged) = acknowledged {
            assert_eq!((replayed, order), (&true, acknowledged), "{key}: what was acknowledged stands");
        }
        ids.insert(order["order_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), first.len());
    let created: i64 =
        sqlx::query_scalar("SELECT count(*) FROM order_event WHERE event_type = 'OrderCreated'")
            .fetch_one(&stage.database)
            .await
            .unwrap();
    assert_eq!(usize::try_from(created).unwrap(), first.len(), "one order a key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_under_load_doubles_nothing() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let client = |client: usize| {
        let (http, url) = (orders.http.clone(), orders.url("/api/orders"));
        tokio::spawn(async move {
            let mut sent = Vec::new();
            for n in 0.. {
                let (key, body) = (format!("{client}-{n}"), an_order());
                let answer = http.post(&url).header("Idempotency-Key", &key).json(&body).send().await;
                let text = match answer {
                    Ok(response) if response.status() == 201 => response.text().await.ok(),
                    _ => None,
                };
                let acknowledged = text.and_then(|text| serde_json::from_str(&text).ok());
                let ended = acknowledged.is_none();
                sent.push((key, body, acknowledged));
                if ended {
                    break;
                }
            }
            sent
        })
    };
    let clients: Vec<_> = (0..8).map(client).collect();
    eventually("the load is on", async || (stage.events().await > 100).then_some(())).await;
    orders.blocking(|service| service.kill());
    let first: Vec<_> = join_all(clients).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(first.iter().filter(|(_, _, acknowledged)| acknowledged.is_none()).count(), 8);
    orders.blocking(|service| service.start_again());
    asked_again(&stage, &orders, first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_panics_with_commands_in_hand_doubles_nothing() {
    let stage = Stage::new().await;
    let orders = stage.start_with(stage.settings("orders").with("DATABASE_TIMEOUT_MS", "20000")).await;
    let held = stage.hold_appends().await;
    let requests: Vec<(String, Value)> = (0..12).map(|n| (format!("in-hand-{n}"), an_order())).collect();
    let all = requests.iter().map(|(key, body)| keyed(&orders, "/api/orders", key, body));
    let crash = async {
        stage.append_waits().await;
        eventually("every command is in the journal", async || {
            (orders.actor("journal").await["messages_handled"].as_u64() >= Some(12)).then_some(())
        })
        .await;
        assert_eq!(orders.post("/api/actors/journal/crash", json!({})).await.0, 202);
        eventually("the journal is back", async || {
            let journal = orders.actor("journal").await;
            (journal["restarts"] == 1 && journal["state"] == "running").then_some(())
        })
        .await;
        held.rollback().await.unwrap();
    };
    let (answers, ()) = futures_util::future::join(join_all(all), crash).await;
    let mut first = Vec::new();
    for ((key, body), (status, _, answer)) in requests.into_iter().zip(answers) {
        // None of them was acknowledged, and each is told how to find out.
        assert_eq!(
            (status, &answer["type"]),
            (503, &json!("urn:orders:problem:outcome-unknown")),
            "{answer}"
        );
        assert!(answer["detail"].as_str().unwrap().contains("same Idempotency-Key"), "{answer}");
        first.push((key, body, None));
    }
    asked_again(&stage, &orders, first).await;
}
