//! Kafka as clusters are: a partition that takes nothing, a broker that is slow, one that dies, replicas that are missing, rights that are gone.
//!
//! The tests share one cluster, and take turns on it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod added;
#[path = "../support/mod.rs"]
mod support;
mod takeover;

use std::collections::HashSet;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::Row;
use stack::servers::KafkaCluster;
use stack::servers::kafka::{AUTHORIZER, ClusterSettings, Layout, QuotaOf};
use support::fragile::blocking;
use support::{Orders, Servers, Stage, eventually};
use tempfile::TempDir;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

/// From an order's creation to its publication, beside a partition that takes nothing. A loaded machine gets more than it needs.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(2);
/// How long brokers that were started again may take to catch up.
const IN_SYNC_WITHIN: Duration = Duration::from_secs(60);

/// Broker 2 alone has the last partition of six, so with its death that one takes nothing; broker 1 has the others.
const LAST_ELSEWHERE: Layout<'_> = Layout::Assigned(&[&[1], &[1], &[1], &[1], &[1], &[2]]);

/// Three brokers, which end with the last test that waits for them.
struct Shared {
    cluster: KafkaCluster,
    turn: Arc<tokio::sync::Mutex<()>>,
    _directory: TempDir,
}

impl Shared {
    fn get() -> Arc<Self> {
        static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let directory = TempDir::new().unwrap();
            let cluster = KafkaCluster::start(directory.path(), &ClusterSettings::default()).unwrap();
            let made = Arc::new(Self { cluster, turn: Arc::default(), _directory: directory });
            *shared = Arc::downgrade(&made);
            made
        })
    }
}

struct Site {
    stage: Stage,
    /// Before the cluster: whose turn is over lets go of it.
    _turn: OwnedMutexGuard<()>,
    shared: Arc<Shared>,
}

impl Site {
    fn cluster(&self) -> &KafkaCluster {
        &self.shared.cluster
    }

    /// Waits for its turn, and leaves nothing of the one before: a test that failed may have left a broker dead, or a quota.
    async fn new(layout: Layout<'_>, settings: &[(&str, &str)]) -> Self {
        let shared = tokio::task::block_in_place(Shared::get);
        let turn = Arc::clone(&shared.turn).lock_owned().await;
        blocking(|| {
            shared.cluster.start_again()?;
            let admin = shared.cluster.admin()?;
            admin.wait_in_sync(IN_SYNC_WITHIN)?;
            admin.set_quota(QuotaOf::EachClient, "producer_byte_rate", None)
        });
        let stage = Stage::on(Servers { kafka: shared.cluster.brokers(), ..Servers::shared() }).await;
        blocking(|| shared.cluster.admin()?.create_topic(&stage.topic, layout, settings));
        Self { stage, _turn: turn, shared }
    }
}

async fn start(stage: &Stage) -> Orders {
    start_named(stage, "orders").await
}

async fn start_named(stage: &Stage, name: &str) -> Orders {
    let settings = stage.settings(name).with("DELIVERY_TIMEOUT_MS", "1500").with("BACKOFF_CAP_MS", "2000");
    stage.start_with(settings).await
}

/// A line of the log with all these parts.
async fn logged(orders: &Orders, parts: &[&str]) -> String {
    eventually(&format!("the log says {parts:?}"), async || {
        let log = orders.log();
        log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
    })
    .await
}

/// Creates twelve orders, some of each partition most likely, and waits until they are published.
async fn twelve_published(stage: &Stage, orders: &Orders) -> Vec<Uuid> {
    let mut created = Vec::new();
    for _ in 0..12 {
        created.push(orders.create().await);
    }
    stage.outbox_empties().await;
    created
}

async fn pay(orders: &Orders, created: &[Uuid]) {
    each(orders, created, "pay").await;
}

async fn each(orders: &Orders, of: impl IntoIterator<Item = &Uuid>, command: &str) {
    for order_id in of {
        orders.command(*order_id, command).await;
    }
}

/// Creates orders until one partition is known to take nothing, and some of their events wait for it.
async fn a_partition_is_stuck(orders: &Orders, created: &mut Vec<Uuid>) -> Value {
    eventually("one partition is known to be stuck", async || {
        created.push(orders.create().await);
        let outbox = orders.outbox().await;
        (outbox["stuck_partitions"][0]["waiting_events"].as_i64() > Some(0)).then_some(outbox)
    })
    .await
}

/// The cursor has passed all that is set aside.
async fn only_deferred_events_wait(orders: &Orders) {
    eventually("the cursor passes what waits", async || {
        let outbox = orders.outbox().await;
        let deferred = outbox["stuck_partitions"][0]["waiting_events"].as_i64();
        (outbox["published_seq"] == outbox["head_seq"] && outbox["pending"].as_i64() == deferred)
            .then_some(())
    })
    .await;
}

/// The orders of which events wait.
async fn waiting(stage: &Stage) -> HashSet<Uuid> {
    let orders = "SELECT DISTINCT order_id FROM outbox_message";
    sqlx::query_scalar(orders).fetch_all(&stage.database).await.unwrap().into_iter().collect()
}

/// By the command line and by the control room.
async fn deferred_events_are_counted(stage: &Stage) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
    command.args(["outbox", "status", "--json"]).env("DATABASE_URL", &stage.database_url);
    command.env("REDIS_URL", &stage.servers.redis).env("RETRY_QUEUE", &stage.queue);
    let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let status: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert!(status["deferred_events"].as_i64() > Some(0), "{status}");
    assert_eq!(status["deferred_events"], status["pending"], "{status}");
    let latest = include_str!("../../src/http/control_room/sql/latest_orders.sql");
    eventually("the control room counts what waits", async || {
        let rows = sqlx::query(latest).bind(1_000_i64).fetch_all(&stage.database).await.unwrap();
        let waiting: i64 = rows.iter().map(|row| row.get::<i64, _>("waiting_events")).sum();
        (waiting == stage.waiting().await).then_some(())
    })
    .await;
}

/// Creates an order; how long until it is published, if that is soon.
async fn publication(stage: &Stage, orders: &Orders) -> (Uuid, Option<Duration>) {
    let (order_id, begun) = (orders.create().await, Instant::now());
    while begun.elapsed() < PUBLISHED_WITHIN {
        if !waiting(stage).await.contains(&order_id) {
            return (order_id, Some(begun.elapsed()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (order_id, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_partition_cannot_take_waits_and_all_other_orders_are_published() {
    let site = Site::new(LAST_ELSEWHERE, &[("min.insync.replicas", "1")]).await;
    let (stage, orders) = (&site.stage, start(&site.stage).await);
    let mut created = twelve_published(stage, &orders).await;
    blocking(|| site.cluster().broker(2)?.kill());
    let stuck = a_partition_is_stuck(&orders, &mut created).await;
    assert_eq!(stuck["stuck_partitions"][0]["partitions"], serde_json::json!([5]), "{stuck}");
    eventually("the others are not held up", async || {
        (orders.outbox().await["breaker"] == "closed").then_some(())
    })
    .await;
    let (mut published, mut held) = (Vec::new(), 0);
    while published.len() < 20 {
        let (order_id, took) = publication(stage, &orders).await;
        created.push(order_id);
        match took {
            Some(took) => published.push(took),
            None => held += 1,
        }
        assert!(held < 20, "hardly any order is published: {published:?}");
    }
    // Later events of every order: those that wait go behind the ones before them.
    pay(&orders, &created).await;
    let outbox = orders.outbox().await;
    assert_eq!((&outbox["breaker"], &outbox["is_publisher"]), (&"closed".into(), &true.into()), "{outbox}");
    only_deferred_events_wait(&orders).await;
    deferred_events_are_counted(stage).await;
    let back = Instant::now();
    blocking(|| site.cluster().broker(2)?.start_again());
    stage.outbox_empties().await;
    println!(
        "published in {published:?}; {held} held; drained {:?} after the broker's start",
        back.elapsed()
    );
    assert_eq!(stage.assert_published_in_order().await, 0, "nothing was sent twice");
    eventually("nothing is stuck any more", async || {
        (orders.outbox().await["stuck_partitions"] == serde_json::json!([])).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_broker_is_slow_and_not_down() {
    a_backlog_drains_under_a_quota(9_600, 200_000.0).await;
}

/// What was sent before the first late answer silences the connections for longer than the delivery timeout.
#[tokio::test(flavor = "multi_thread")]
async fn a_silence_that_the_broker_announces_is_no_failure() {
    a_backlog_drains_under_a_quota(2_400, 30_000.0).await;
}

async fn a_backlog_drains_under_a_quota(events: i32, bytes_a_second: f64) {
    // A quota counts for each broker.
    let layout = Layout::Assigned(&[&[1], &[1], &[1], &[1], &[1], &[1]]);
    let site = Site::new(layout, &[("min.insync.replicas", "1")]).await;
    let stage = &site.stage;
    let orders = stage.start().await;
    orders.blocking(|service| service.stop());
    stage.fill_journal(events).await;
    blocking(|| {
        site.cluster().admin()?.set_quota(QuotaOf::EachClient, "producer_byte_rate", Some(bytes_a_second))
    });
    let orders = stage.start_with(stage.settings("orders")).await;
    let begun = Instant::now();
    eventually("the backlog is published", async || {
        let outbox = orders.outbox().await;
        assert_eq!(outbox["breaker"], "closed", "slow is not down");
        assert_eq!(outbox["stuck_partitions"], serde_json::json!([]));
        (outbox["pending"] == 0).then_some(())
    })
    .await;
    println!("{events} events took {:?}", begun.elapsed());
    blocking(|| site.cluster().admin()?.set_quota(QuotaOf::EachClient, "producer_byte_rate", None));
    assert_eq!(stage.assert_published_in_order().await, 0, "nothing was sent twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_is_replaced_and_comes_back() {
    let site = Site::new(Layout::Spread { partitions: 6, replication: 3 }, &[]).await;
    let (stage, orders) = (&site.stage, start(&site.stage).await);
    let mut created = twelve_published(stage, &orders).await;
    let leaders = || -> anyhow::Result<Vec<Option<i32>>> {
        let admin = site.cluster().admin()?;
        (0..6).map(|partition| admin.leader(&stage.topic, partition)).collect()
    };
    let first = blocking(leaders)[0].unwrap();
    let dead = usize::try_from(first).unwrap();
    // In the midst of a journal that is being published.
    pay(&orders, &created).await;
    blocking(|| site.cluster().broker(dead)?.kill());
    let died = Instant::now();
    created.extend(twelve_published(stage, &orders).await);
    println!("published {:?} after the broker's death, by the two that are left", died.elapsed());
    let led = blocking(leaders);
    assert!(led.iter().all(|leader| leader.is_some_and(|leader| leader != first)), "{led:?}");
    blocking(|| site.cluster().broker(dead)?.start_again());
    // The broker leads again what it led, while events are published.
    eventually("the broker leads its partition again", async || {
        created.push(orders.create().await);
        (blocking(leaders)[0] == Some(first)).then_some(())
    })
    .await;
    pay(&orders, &created[12..]).await;
    stage.outbox_empties().await;
    println!("{} events were sent twice", stage.assert_published_in_order().await);
    orders.breaker_is("closed").await;
    assert_eq!(orders.outbox().await["stuck_partitions"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_short_of_replicas_waits_alone_and_says_so() {
    let layout = Layout::Assigned(&[&[1, 2], &[1, 2], &[1, 2], &[1, 2], &[1, 2], &[1, 3]]);
    let site = Site::new(layout, &[("min.insync.replicas", "2")]).await;
    let (stage, orders) = (&site.stage, start(&site.stage).await);
    let mut created = vec![orders.create().await];
    stage.outbox_empties().await;
    blocking(|| site.cluster().broker(3)?.kill());
    let stuck = eventually("one partition is known to be short of replicas", async || {
        created.push(orders.create().await);
        let stuck = orders.outbox().await["stuck_partitions"][0].clone();
        let cause = stuck["cause"].as_str()?;
        (cause.contains("min.insync.replicas=2") && stuck["waiting_events"].as_i64() > Some(0))
            .then_some(stuck)
    })
    .await;
    assert_eq!(stuck["partitions"], serde_json::json!([5]), "{stuck}");
    logged(&orders, &["stuck", "min.insync.replicas=2", "partitions [5]"]).await;
    pay(&orders, &created).await;
    eventually("all others are published", async || {
        let outbox = orders.outbox().await;
        let waiting = outbox["stuck_partitions"][0]["waiting_events"].as_i64();
        (outbox["published_seq"] == outbox["head_seq"] && outbox["pending"].as_i64() == waiting).then_some(())
    })
    .await;
    blocking(|| site.cluster().broker(3)?.start_again());
    stage.outbox_empties().await;
    println!("{} events were sent twice", stage.assert_published_in_order().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_short_of_replicas_is_an_outage_that_says_so() {
    let site =
        Site::new(Layout::Spread { partitions: 6, replication: 3 }, &[("min.insync.replicas", "3")]).await;
    let stage = &site.stage;
    // A retry that waited for its time would come after the test has given up.
    let settings = stage.settings("orders").with("DELIVERY_TIMEOUT_MS", "1500");
    let settings = settings.with("BACKOFF_BASE_MS", "3000").with("BACKOFF_CAP_MS", "600000");
    let orders = stage.start_with(settings).await;
    let order_id = orders.create().await;
    stage.outbox_empties().await;
    blocking(|| site.cluster().broker(3)?.kill());
    orders.command(order_id, "pay").await;
    let mut created = Vec::new();
    eventually("the log says what it is", async || {
        created.push(orders.create().await);
        let log = orders.log();
        let said =
            |line: &str| line.contains("Publish attempt failed") && line.contains("min.insync.replicas=3");
        log.lines().any(said).then_some(())
    })
    .await;
    pay(&orders, &created).await;
    assert!(stage.waiting().await > 0);
    blocking(|| site.cluster().broker(3)?.start_again());
    stage.outbox_empties().await;
    orders.breaker_is("closed").await;
    println!("{} events were sent twice", stage.assert_published_in_order().await);
}

/// With rights taken away a producer is answered with an error, and a new one does not get an id: that error is fatal, it never
/// sends anything again.
#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_taken_away_and_given_back() {
    let directory = TempDir::new().unwrap();
    let lines = AUTHORIZER.map(str::to_owned).to_vec();
    let of =
        ClusterSettings { brokers: 1, replication: 1, min_in_sync: 1, lines, ..ClusterSettings::default() };
    let cluster = blocking(|| KafkaCluster::start(directory.path(), &of));
    let stage = Stage::on(Servers { kafka: cluster.brokers(), ..Servers::shared() }).await;
    let orders = start(&stage).await;
    let order_id = orders.create().await;
    stage.outbox_empties().await;
    blocking(|| cluster.admin()?.forbid_publishing());
    orders.command(order_id, "pay").await;
    logged(&orders, &["Publish attempt failed", "AuthorizationFailed", "grant"]).await;
    logged(&orders, &["Publish attempt failed", "this producer can send nothing more", "IDEMPOTENT_WRITE"])
        .await;
    for _ in 0..5 {
        orders.create().await;
    }
    assert_eq!(stage.waiting().await, 6);
    blocking(|| cluster.admin()?.allow_everything());
    stage.outbox_empties().await;
    orders.breaker_is("closed").await;
    assert_eq!(stage.assert_published_in_order().await, 0, "nothing was sent twice");
}
