//! The failure matrix, its row of servers restarted in order, one after the other, under load.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use stack::servers::{Kafka, Postgres, Redis, Server};
use support::fragile::blocking;
use support::{Orders, Servers, Stage, an_order, eventually};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

const CLIENTS: usize = 8;

/// Clients that send each command with its key until it succeeds.
#[derive(Default)]
struct Load {
    acknowledged: AtomicUsize,
    refused: AtomicUsize,
    enough: AtomicBool,
}

impl Load {
    fn client(self: &Arc<Self>, orders: &Orders) -> JoinHandle<Vec<String>> {
        let (load, http, url) = (Arc::clone(self), orders.http.clone(), orders.url("/api/orders"));
        tokio::spawn(async move {
            let mut created = Vec::new();
            while !load.enough.load(Ordering::Relaxed) {
                let (key, body) = (Uuid::new_v4().to_string(), an_order());
                created.push(loop {
                    let answer =
                        http.post(&url).header("Idempotency-Key", &key).json(&body).send().await.unwrap();
                    if answer.status() == 201 {
                        let order: serde_json::Value =
                            serde_json::from_str(&answer.text().await.unwrap()).unwrap();
                        break order["order_id"].as_str().unwrap().to_owned();
                    }
                    assert_eq!(answer.status(), 503);
                    assert!(answer.headers().contains_key("retry-after"));
                    load.refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                });
                load.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            created
        })
    }

    async fn goes_on(&self) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        eventually("commands succeed", async || {
            (self.acknowledged.load(Ordering::Relaxed) > before + 10 * CLIENTS).then_some(())
        })
        .await;
    }
}

fn restart(server: &Server) {
    blocking(|| server.stop());
    blocking(|| server.start_again());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_restarted_under_load() {
    let directory = TempDir::new().unwrap();
    let kafka = blocking(|| Kafka::start(&directory.path().join("kafka")));
    let redis = blocking(|| Redis::start(&directory.path().join("redis")));
    let postgres = blocking(|| Postgres::start(&directory.path().join("postgres")));
    let servers = Servers { postgres: postgres.url(), kafka: kafka.brokers(), redis: redis.url() };
    let stage = Stage::on(servers).await;
    let orders = stage.start().await;
    let load = Arc::new(Load::default());
    let clients: Vec<_> = (0..CLIENTS).map(|_| load.client(&orders)).collect();
    load.goes_on().await;
    for server in [&*redis, &*kafka, &*redis] {
        restart(server);
        load.goes_on().await;
    }
    assert_eq!(load.refused.load(Ordering::Relaxed), 0, "no command noticed Kafka or Redis");
    for _ in 0..2 {
        restart(&postgres);
        load.goes_on().await;
    }
    load.enough.store(true, Ordering::Relaxed);
    let created: Vec<String> = join_all(clients).await.into_iter().flat_map(Result::unwrap).collect();
    let distinct: HashSet<&String> = created.iter().collect();
    assert_eq!(distinct.len(), created.len(), "no order was given to two commands");
    assert_eq!(usize::try_from(stage.events().await).unwrap(), created.len(), "one event for each command");
    stage.outbox_empties().await;
    stage.assert_published_in_order().await;
    orders.breaker_is("closed").await;
}
