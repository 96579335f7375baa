//! The long-lived parts are supervised: the consumer survives a panic of its actor, and the tree can be seen.

mod support;

use std::collections::BTreeMap;

use bonus::app::App;
use bonus::config::Config;
use clap::Parser;
use kit::http::Gate;
use metrics_exporter_prometheus::PrometheusBuilder;
use nix::sys::signal::Signal;
use serde_json::Value;
use support::kafka::produce;
use support::process::Bonus;
use support::{World, event, eventually, http};
use tokio::sync::oneshot;
use uuid::Uuid;

#[actix_rt::test]
async fn a_panic_in_the_actor_is_counted_and_crediting_goes_on() {
    let world = World::new().await;
    let config = Config::parse_from([
        "bonus",
        "--http-addr=127.0.0.1:0",
        &format!("--database-url={}", world.database_url),
        &format!("--kafka-brokers={}", world.brokers),
        &format!("--orders-topic={}", world.topic),
        &format!("--group-id={}", world.group),
    ]);
    let app = App::build(config, Gate::default(), None, PrometheusBuilder::new().build_recorder().handle())
        .unwrap();
    let (url, crasher) = (format!("http://{}", app.address()), app.crasher());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = actix_rt::spawn(app.run_until(async move {
        let _ = stopped.await;
        "the test is over"
    }));
    let readiness = async |expected: u64| {
        eventually(&format!("running after {expected} restarts"), async || {
            let body: Value = http().get(format!("{url}/readyz")).send().await.unwrap().json().await.unwrap();
            let running = body["ready"] == true && body["partitions"].as_u64() > Some(0);
            if running && body["consumer_restarts"] == expected { Ok(()) } else { Err(body.to_string()) }
        })
        .await;
    };
    readiness(0).await;
    let customer = Uuid::now_v7();
    for restarts in 1..=3 {
        crasher.crash();
        produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, customer)]).await;
        world.points_become(&BTreeMap::from([(customer, 40 * i64::try_from(restarts).unwrap())])).await;
        readiness(restarts).await;
    }
    let actors: Value = http().get(format!("{url}/api/actors")).send().await.unwrap().json().await.unwrap();
    let consumer = actors.as_array().unwrap().iter().find(|actor| actor["name"] == "consumer").unwrap();
    assert_eq!((&consumer["state"], &consumer["restarts"]), (&"running".into(), &3.into()));
    assert!(consumer["messages_handled"].as_u64() >= Some(3), "{consumer}");
    assert_eq!(consumer["details"]["kafka"], "connected");
    // The feed tells why the actor went, which it could not see itself.
    let last_error = consumer["last_error"].as_str().unwrap();
    assert!(last_error.starts_with("the consumer actor is gone: panicked"), "{last_error}");
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    world.books_balance().await;
}

#[tokio::test]
async fn the_supervision_tree_is_in_the_log_at_an_interval_and_on_sigusr1() {
    let world = World::new().await;
    let bonus = Bonus::start_with(&world, &[("DASHBOARD_INTERVAL_SECONDS", "1")]).await;
    bonus.becomes_ready().await;
    bonus.signal(Signal::SIGUSR1);
    for reason in ["interval", "SIGUSR1"] {
        eventually(&format!("the tree is logged: {reason}"), async || {
            let lines = bonus.logged_so_far("Supervision dashboard");
            let complete = |line: &&Value| line["reason"] == reason && names(line).len() == 6;
            lines.iter().find(complete).map(|_| ()).ok_or_else(|| format!("{lines:?}"))
        })
        .await;
    }
    let newest = bonus.logged("Supervision dashboard").await;
    assert_eq!(
        names(&newest),
        ["publisher", "fallback", "dead-letters", "vip-sweep", "topic-watch", "consumer"]
    );
    let (lines, well) = bonus.terminate().await;
    assert!(well);
    let restarts = lines.iter().filter(|line| line["message"] == "An actor went down; restarting it").count();
    assert_eq!(restarts, 0, "an orderly stop restarts nothing");
}

/// Of the parts in a dashboard of the log, those that run.
fn names(line: &Value) -> Vec<String> {
    let actors: Vec<Value> =
        line["actors"].as_str().and_then(|rows| serde_json::from_str(rows).ok()).unwrap_or_default();
    let running = actors.iter().filter(|actor| actor["state"] == "running");
    running.filter_map(|actor| actor["name"].as_str().map(str::to_owned)).collect()
}
