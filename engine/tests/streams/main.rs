//! Redis Streams as a transport, without a publisher: order in a lane, and what is one event's fault.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Utc;
use engine::aggregate::AggregateId;
use engine::journal::StoredEvent;
use engine::transport::redis::{RedisStreams, StreamSettings};
use engine::transport::{Client, DeliveryReport, Signal, Transport};
use redis::{AsyncConnectionConfig, FromRedisValue};
use stack::servers::Redis;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(20);
const MEGABYTE: usize = 1 << 20;

struct Lane {
    redis: Redis,
    client: Box<dyn Client>,
    signals: UnboundedReceiver<Signal>,
    _directory: TempDir,
}

impl Lane {
    /// Of a topic with one partition.
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let redis = tokio::task::block_in_place(|| Redis::start(directory.path()).unwrap());
        let settings = StreamSettings {
            redis: redis.url().parse().unwrap(),
            client_id: "test".to_owned(),
            source: "/test".to_owned(),
            topic: "test.events".to_owned(),
            partitions: 1,
            retention: None,
            delivery_timeout: Duration::from_secs(5),
        };
        let (tell, signals) = unbounded_channel();
        let transport = RedisStreams::new(settings, Handle::current());
        let client = transport.copies(tell).await.unwrap();
        Self { redis, client, signals, _directory: directory }
    }

    fn send(&self, seq: i64, bytes: usize) {
        self.client.send(0, 0, &event(seq, bytes), None);
    }

    async fn reports(&mut self, count: usize) -> BTreeMap<i64, DeliveryReport> {
        let mut reports = BTreeMap::new();
        while reports.len() < count {
            let signal = timeout(SOON, self.signals.recv()).await.expect("a report").unwrap();
            if let Signal::Report { seq, report, .. } = signal {
                assert_eq!(reports.insert(seq, report), None, "{seq} is reported twice");
            }
        }
        reports
    }

    async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(SOON));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await.unwrap()
    }

    /// The positions in the stream, in its order.
    async fn stream(&self) -> Vec<i64> {
        let entries: Vec<(String, BTreeMap<String, String>)> =
            self.ask(&["XRANGE", "test.events:0", "-", "+"]).await;
        entries.iter().map(|(_, fields)| fields["ce_sequence"].parse().unwrap()).collect()
    }
}

fn event(seq: i64, bytes: usize) -> StoredEvent {
    StoredEvent {
        seq,
        event_id: Uuid::new_v4(),
        aggregate_id: AggregateId(Uuid::new_v4()),
        version: seq,
        event_type: "Tested".to_owned(),
        payload: "x".repeat(bytes),
        metadata: "{}".to_owned(),
        occurred_at: Utc::now(),
        committed_at: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_keeps_the_order_in_which_events_were_sent() {
    let mut lane = Lane::new().await;
    for seq in 1..=5_000 {
        lane.send(seq, 100);
        if seq == 2_500 {
            // What Redis has forgotten is loaded again, and what it refused meanwhile is sent again, in its place.
            let _: () = lane.ask(&["SCRIPT", "FLUSH"]).await;
        }
    }
    let reports = lane.reports(5_000).await;
    assert!(reports.values().all(|report| *report == DeliveryReport::Delivered));
    assert_eq!(lane.stream().await, (1..=5_000).collect::<Vec<i64>>());
}

/// Redis closes the connection at it, with the answers to those before and all that comes after.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_is_refused_alone() {
    let mut lane = Lane::new().await;
    let _: () = lane.ask(&["CONFIG", "SET", "proto-max-bulk-len", "1mb"]).await;
    for seq in 1..=100 {
        lane.send(seq, if seq % 40 == 0 { 2 * MEGABYTE } else { 10 });
    }
    let reports = lane.reports(100).await;
    for (seq, report) in reports {
        match report {
            DeliveryReport::Refused(cause) => {
                assert!(seq % 40 == 0 && cause.contains("proto-max-bulk-len"), "{seq}: {cause}");
            }
            report => assert!(seq % 40 != 0 && report == DeliveryReport::Delivered, "{seq}: {report:?}"),
        }
    }
    let mut first = lane.stream().await;
    let mut seen = std::collections::BTreeSet::new();
    first.retain(|seq| seen.insert(*seq));
    assert_eq!(first, (1..=100).filter(|seq| seq % 40 != 0).collect::<Vec<i64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_cannot_take_now_is_no_events_fault() {
    let mut lane = Lane::new().await;
    let _: () = lane.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    lane.send(1, 10);
    let full = lane.reports(1).await.remove(&1);
    assert!(matches!(&full, Some(DeliveryReport::Unavailable(cause)) if cause.contains("OOM")), "{full:?}");
    let _: () = lane.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;

    let _: () = lane.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    lane.send(2, 10);
    let alone = lane.reports(1).await.remove(&2);
    let said = |report: &Option<DeliveryReport>, code: &str| match report {
        Some(DeliveryReport::Unavailable(cause)) => cause.contains(code),
        _ => false,
    };
    assert!(said(&alone, "NOREPLICAS"), "{alone:?}");
    let _: () = lane.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;

    // Of a primary that is not there.
    let _: () = lane.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    lane.send(3, 10);
    let replica = lane.reports(1).await.remove(&3);
    assert!(said(&replica, "this Redis is a replica"), "{replica:?}");
    let _: () = lane.ask(&["REPLICAOF", "NO", "ONE"]).await;

    let _: () = lane.ask(&["SCRIPT", "FLUSH"]).await;
    lane.send(4, 10);
    assert_eq!(
        lane.reports(1).await.remove(&4),
        Some(DeliveryReport::Delivered),
        "the script is loaded again"
    );
    assert_eq!(lane.stream().await, [4]);
}

/// What is in flight is reported once, whatever becomes of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_lane_reports_what_it_had_in_flight() {
    let mut lane = Lane::new().await;
    lane.send(1, 10);
    lane.reports(1).await;
    tokio::task::block_in_place(|| lane.redis.freeze().unwrap());
    for seq in 2..=10 {
        lane.send(seq, 10);
    }
    lane.client.abandon(0).unwrap();
    let reports = lane.reports(9).await;
    assert!(reports.values().all(|report| matches!(report, DeliveryReport::Unavailable(_))), "{reports:?}");
    tokio::task::block_in_place(|| lane.redis.thaw().unwrap());
    lane.send(11, 10);
    assert_eq!(lane.reports(1).await.remove(&11), Some(DeliveryReport::Delivered));
}
