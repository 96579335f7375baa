//! The interface as its users see it: life cycle, reads, preconditions, supervision, health.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use support::{Orders, Stage, an_order, eventually};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_from_creation_to_completion() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let asked = an_order();
    let response = orders.http.post(orders.url("/api/orders")).json(&asked).send().await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["etag"], "\"1\"");
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let created: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(location, format!("/api/orders/{}", created["order_id"].as_str().unwrap()));
    for field in ["customer_id", "currency", "items"] {
        assert_eq!(created[field], asked[field]);
    }
    assert_eq!(
        (&created["status"], &created["total_minor"], &created["version"]),
        (&json!("created"), &json!(300), &json!(1))
    );
    assert!(created["created_at"].is_string() && created["updated_at"].is_string());
    assert_eq!(orders.get(&location).await, (reqwest::StatusCode::OK, created.clone()));

    let steps = [
        ("pay", json!({ "payment_reference": "pi_1" }), "paid"),
        ("ship", json!({ "tracking_number": "JD01", "carrier": "DHL" }), "shipped"),
        ("complete", json!({}), "completed"),
    ];
    for (version, (command, body, status)) in (2..).zip(steps) {
        let request = orders.http.post(orders.url(&format!("{location}/{command}"))).json(&body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["etag"], format!("\"{version}\""));
        let order: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!((&order["status"], &order["version"]), (&json!(status), &json!(version)));
    }
    let (_, history) = orders.get(&format!("{location}/events")).await;
    let events = history["events"].as_array().unwrap();
    let types: Vec<&str> = events.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
    assert_eq!(types, ["OrderCreated", "OrderPaid", "OrderShipped", "OrderCompleted"]);
    assert_eq!(events[1]["data"]["payment_reference"], "pi_1");
    assert_eq!(events[2]["data"]["tracking_number"], "JD01");
    assert!(events[0]["data"].get("reason").is_none(), "what is absent is left out");
    assert!(events.iter().all(|event| event["metadata"]["causation_id"].is_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_a_body_and_one_with_a_reason() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let order_id = orders.create().await;
    let bare = orders.http.post(orders.url(&format!("/api/orders/{order_id}/pay"))).send().await.unwrap();
    assert_eq!(bare.status(), 200, "the body is optional");
    let nothing = orders.post(&format!("/api/orders/{}/pay", orders.create().await), Value::Null).await;
    assert_eq!(nothing.0, 200, "null is documented as no body: {}", nothing.1);
    let (status, order) =
        orders.post(&format!("/api/orders/{order_id}/cancel"), json!({ "reason": "changed my mind" })).await;
    assert_eq!((status.as_u16(), &order["status"]), (200, &json!("cancelled")));
}

#[tokio::test(flavor = "multi_thread")]
async fn if_match_guards_against_what_the_caller_has_not_seen() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let order_id = orders.create().await;
    let pay = |etag: &'static str| {
        let request = orders.http.post(orders.url(&format!("/api/orders/{order_id}/pay")));
        request.header("If-Match", etag).json(&json!({})).send()
    };
    assert_eq!(pay("\"7\"").await.unwrap().status(), 412);
    assert_eq!(stage.events().await, 1);
    assert_eq!(pay("\"1\"").await.unwrap().status(), 200);
    assert_eq!(pay("\"1\"").await.unwrap().status(), 412, "a stale precondition comes before the rules");
    assert_eq!(pay("\"2\"").await.unwrap().status(), 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_wins_on_one_instance_and_on_two() {
    let stage = Stage::new().await;
    let first = stage.start().await;
    let second = stage.start_with(stage.settings("orders-2")).await;
    for _ in 0..10 {
        let order_id = first.create().await;
        let path = format!("/api/orders/{order_id}/pay");
        let instances = [&first, &second];
        let attempts = (0..16).map(|n| instances[n % 2].post(&path, json!({})));
        let outcomes: Vec<u16> =
            join_all(attempts).await.into_iter().map(|(status, _)| status.as_u16()).collect();
        assert_eq!(outcomes.iter().filter(|status| **status == 200).count(), 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|status| **status == 409).count(), 15, "{outcomes:?}");
        let (_, order) = second.get(&format!("/api/orders/{order_id}")).await;
        assert_eq!(order["version"], 2, "reads are never stale");
    }
    stage.outbox_empties().await;
    stage.assert_published_in_order().await;
}

/// Each instance meets orders whose last command went to the other: what its actor remembers is outdated every time.
#[tokio::test(flavor = "multi_thread")]
async fn instances_take_turns_with_the_same_orders() {
    let stage = Stage::new().await;
    let first = stage.start().await;
    let second = stage.start_with(stage.settings("orders-2")).await;
    let life = async || {
        let order_id = first.create().await;
        for (instance, command, version) in
            [(&second, "pay", 2), (&first, "ship", 3), (&second, "complete", 4)]
        {
            assert_eq!(instance.command(order_id, command).await["version"], version);
        }
        let refused = first.post(&format!("/api/orders/{order_id}/cancel"), json!({})).await;
        assert!(refused.1["detail"].as_str().unwrap().contains("is completed"), "{}", refused.1);
    };
    join_all((0..20).map(|_| life())).await;
    assert_eq!(stage.events().await, 80);
    stage.outbox_empties().await;
    stage.assert_published_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_says_so_at_once() {
    let stage = Stage::new().await;
    let orders = stage.start_with(stage.settings("orders").with("JOURNAL_COMMANDS_MAX", "1")).await;
    let held = stage.hold_appends().await;
    let request = || orders.http.post(orders.url("/api/orders")).json(&an_order());
    let in_hand = tokio::spawn(request().send());
    stage.append_waits().await;
    let refused = request().send().await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    let problem: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!(problem["type"], "urn:orders:problem:busy");
    held.rollback().await.unwrap();
    assert_eq!(in_hand.await.unwrap().unwrap().status(), 201, "the one that was in was not disturbed");
    orders.create().await;
    assert_eq!(stage.events().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_outlive_the_process() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let order_id = orders.create().await;
    orders.command(order_id, "pay").await;
    let (_, before) = orders.get(&format!("/api/orders/{order_id}")).await;
    orders.blocking(|service| service.kill());
    orders.blocking(|service| service.start_again());
    assert_eq!(orders.get(&format!("/api/orders/{order_id}")).await.1, before);
    orders.command(order_id, "ship").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_orders_stay_below_the_cap() {
    let stage = Stage::new().await;
    let settings = stage.settings("orders").with("LIVE_ORDERS_MAX", "4").with("ORDERS_ARBITERS", "2");
    let orders = stage.start_with(settings).await;
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(orders.create().await);
    }
    for order_id in &ids {
        assert_eq!(orders.command(*order_id, "pay").await["version"], 2, "a passivated order comes back");
    }
    let passivated = async || {
        let mut sum = 0;
        for shard in ["registry-0", "registry-1"] {
            // Shown anew every second, and not at all in the first.
            let details = orders.actor(shard).await["details"].clone();
            let (Some(live), Some(gone)) = (details["live"].as_u64(), details["passivated"].as_u64()) else {
                return None;
            };
            assert!(live <= 2, "{details}");
            sum += gone;
        }
        (sum >= 90).then_some(())
    };
    eventually("the registries show what they passivated", passivated).await;
}

async fn crash(orders: &Orders, name: &str) {
    let (status, answer) = orders.post(&format!("/api/actors/{name}/crash"), json!({})).await;
    assert_eq!(status, 202, "{name}: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_any_actor_is_survived_and_shown() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let order_id = orders.create().await;
    let (_, actors) = orders.get("/api/actors").await;
    let names: Vec<String> =
        actors.as_array().unwrap().iter().map(|actor| actor["name"].as_str().unwrap().to_owned()).collect();
    for expected in ["publisher", "fallback", "projector", "journal", "registry-0"] {
        assert!(names.iter().any(|name| name == expected), "{names:?}");
    }
    for name in &names {
        crash(&orders, name).await;
        eventually(&format!("{name} is restarted"), async || {
            let actor = orders.actor(name).await;
            (actor["restarts"] == 1 && actor["state"] == "running").then_some(())
        })
        .await;
        let actor = orders.actor(name).await;
        assert!(actor["last_error"].as_str().unwrap().contains("crashed on request"), "{actor}");
        // Whatever it was: commands, reads and publication go on.
        let order_id = orders.create().await;
        orders.command(order_id, "pay").await;
        stage.outbox_empties().await;
    }
    assert_eq!(orders.command(order_id, "pay").await["version"], 2);
    assert!(orders.log().contains("Supervision dashboard"), "the dashboard is logged on every change");
    stage.assert_published_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_an_orders_actor_costs_that_order_nothing_committed() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let (order_id, other) = (orders.create().await, orders.create().await);
    crash(&orders, &order_id.to_string()).await;
    orders.command(other, "pay").await;
    // The command that follows finds the actor dead, was not begun by it, and goes to the order's next actor.
    assert_eq!(orders.command(order_id, "pay").await["version"], 2);
    assert_eq!(orders.post(&format!("/api/actors/{}/crash", Uuid::new_v4()), json!({})).await.0, 404);
}

/// With one command in hand and one behind the panic in the actor's mailbox, neither is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_an_orders_actor_spares_the_commands_around_it() {
    let stage = Stage::new().await;
    let orders = stage.start_with(stage.settings("orders").with("DATABASE_TIMEOUT_MS", "20000")).await;
    let order_id = orders.create().await;
    let command = |name: &str| {
        let path = format!("/api/orders/{order_id}/{name}");
        tokio::spawn(orders.http.post(orders.url(&path)).json(&json!({})).send())
    };
    let handled_by_registries = async || {
        let (_, actors) = orders.get("/api/actors").await;
        let registries = actors.as_array().unwrap().iter();
        let registries = registries.filter(|actor| actor["name"].as_str().unwrap().starts_with("registry-"));
        registries.map(|actor| actor["messages_handled"].as_u64().unwrap()).sum::<u64>()
    };
    let held = stage.hold_appends().await;
    let pay = command("pay");
    stage.append_waits().await;
    crash(&orders, &order_id.to_string()).await;
    let before = handled_by_registries().await;
    let ship = command("ship");
    eventually("ship is behind the panic in the mailbox", async || {
        (handled_by_registries().await > before).then_some(())
    })
    .await;
    held.rollback().await.unwrap();
    for (command, version) in [(pay, 2), (ship, 3)] {
        let response = command.await.unwrap().unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, 200, "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["version"], version);
    }
    let (_, actors) = orders.get("/api/actors").await;
    let told = format!("the actor of order {order_id} panicked");
    assert!(actors.as_array().unwrap().iter().any(|actor| actor["last_error"] == told), "{actors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_off_unless_they_are_switched_on() {
    let stage = Stage::new().await;
    let orders = stage.start_with(stage.settings("orders").with("ENABLE_FAULTS", "false")).await;
    assert_eq!(orders.post("/api/actors/journal/crash", json!({})).await.0, 404);
    assert_eq!(orders.actor("journal").await["restarts"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing_acknowledged() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let client = |orders: &Orders| {
        let (http, url) = (orders.http.clone(), orders.url("/api/orders"));
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            while let Ok(response) = http.post(&url).json(&an_order()).send().await {
                if response.status() != 201 {
                    break;
                }
                let Ok(text) = response.text().await else { break };
                let order: Value = serde_json::from_str(&text).unwrap();
                acknowledged.push(order["order_id"].as_str().unwrap().parse::<Uuid>().unwrap());
            }
            acknowledged
        })
    };
    let clients: Vec<_> = (0..8).map(|_| client(&orders)).collect();
    eventually("the load is on", async || (stage.events().await > 100).then_some(())).await;
    orders.blocking(|service| service.stop());
    let acknowledged: Vec<Uuid> = join_all(clients).await.into_iter().flat_map(Result::unwrap).collect();
    let written: Vec<Uuid> =
        sqlx::query_scalar("SELECT order_id FROM order_event").fetch_all(&stage.database).await.unwrap();
    let written: std::collections::HashSet<Uuid> = written.into_iter().collect();
    assert!(acknowledged.iter().all(|order_id| written.contains(order_id)));
    assert!(orders.log().contains("Stopped"), "an orderly end");
    // The lease was given up and the cursor written: the next start publishes nothing twice.
    orders.blocking(|service| service.start_again());
    stage.outbox_empties().await;
    assert_eq!(stage.assert_published_in_order().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_hand_is_finished_before_the_service_stops() {
    let stage = Stage::new().await;
    let settings = stage.settings("orders").with("DATABASE_TIMEOUT_MS", "20000");
    let orders = Arc::new(stage.start_with(settings).await);
    orders.create().await;
    let held = stage.hold_appends().await;
    let in_hand = tokio::spawn(orders.http.post(orders.url("/api/orders")).json(&an_order()).send());
    stage.append_waits().await;
    let stopping = Arc::clone(&orders);
    let stop = tokio::task::spawn_blocking(move || stopping.service.stop());
    eventually("no new request is accepted", async || {
        orders.http.get(orders.url("/livez")).send().await.is_err().then_some(())
    })
    .await;
    assert!(!in_hand.is_finished() && !stop.is_finished(), "the stop waits for the command");
    held.rollback().await.unwrap();
    let released = Instant::now();
    assert_eq!(in_hand.await.unwrap().unwrap().status(), 201);
    stop.await.unwrap().unwrap();
    assert!(released.elapsed() < Duration::from_secs(10), "within the grace: {:?}", released.elapsed());
    assert!(orders.log().contains("Stopped"), "an orderly end");
    assert_eq!((stage.events().await, stage.waiting().await), (2, 0), "committed, and delivered");
    stage.sessions_end().await;
}

/// What is delivered and not yet marked so would be sent twice by the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_until_the_cursor_covers_what_is_delivered() {
    let stage = Stage::new().await;
    let orders =
        Arc::new(stage.start_with(stage.settings("orders").with("DATABASE_TIMEOUT_MS", "20000")).await);
    let mut held = stage.database.begin().await.unwrap();
    sqlx::query("SELECT FROM publisher_cursor FOR UPDATE").execute(&mut *held).await.unwrap();
    orders.create().await;
    let in_topic = async || {
        // The topic is made by the first delivery.
        (orders.get("/metrics").await.1.as_str()?.contains("orders_events_published_total 1")).then_some(())
    };
    eventually("the event is delivered", in_topic).await;
    let stopping = Arc::clone(&orders);
    let stop = tokio::task::spawn_blocking(move || stopping.service.stop());
    eventually("no new request is accepted", async || {
        orders.http.get(orders.url("/livez")).send().await.is_err().then_some(())
    })
    .await;
    assert_eq!(stage.waiting().await, 1, "the cursor is held");
    held.rollback().await.unwrap();
    stop.await.unwrap().unwrap();
    assert_eq!(stage.waiting().await, 0);
    stage.sessions_end().await;
    assert_eq!(stage.messages().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_metrics_and_the_way_to_the_documentation() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    orders.create().await;
    stage.outbox_empties().await;
    assert_eq!(orders.get("/livez").await.0, 200);
    let (status, ready) = orders.get("/readyz").await;
    let expected = json!({ "ready": true, "postgres": "up", "kafka": "up", "redis": "up" });
    assert_eq!((status.as_u16(), ready), (200, expected));
    let (status, metrics) = orders.get("/metrics").await;
    assert_eq!(status, 200);
    let metrics = metrics.as_str().unwrap();
    for line in [
        "orders_commands_total{command=\"create\",outcome=\"ok\"} 1",
        "orders_events_published_total 1",
        "orders_outbox_pending_events 0",
        "orders_publisher_breaker_state 0",
        "orders_publisher_lease_held 1",
        "orders_journal_batch_commands_count 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    let outbox = orders.outbox().await;
    let expected = json!({ "pending": 0, "oldest_pending_age_seconds": 0.0, "published_seq": 1, "head_seq": 1, "breaker": "closed",
        "is_publisher": true, "retry": null, "quarantined_orders": 0, "quarantined_events": 0, "stuck_partitions": [] });
    assert_eq!(outbox, expected);
    let plain = stack::http_client().redirect(Policy::none()).build().unwrap();
    let root = plain.get(orders.url("/")).send().await.unwrap();
    assert_eq!((root.status().as_u16(), root.headers()["location"].to_str().unwrap()), (302, "/swagger-ui/"));
    let page = orders.http.get(orders.url("/")).timeout(Duration::from_secs(10)).send().await.unwrap();
    assert!(page.text().await.unwrap().contains("swagger-ui"));
}
