//! The consumer survives a panic of its actor.

mod support;

use std::collections::BTreeMap;

use bonus::app::App;
use bonus::config::Config;
use clap::Parser;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use support::kafka::produce;
use support::{World, event, eventually};
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
    let app = App::build(config, PrometheusBuilder::new().build_recorder().handle()).unwrap();
    let (url, crasher) = (format!("http://{}/readyz", app.http_addr()), app.crasher());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = actix_rt::spawn(app.run_until(async move {
        let _ = stopped.await;
        "the test is over"
    }));
    let readiness = async |expected: u64| {
        eventually(&format!("running after {expected} restarts"), async || {
            let body: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
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
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    world.books_balance().await;
}
