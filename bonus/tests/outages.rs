//! Postgres and Kafka go away, come late, come back.

#![allow(clippy::unwrap_used, reason = "a test helper fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::FutureRecord;
use support::kafka::{committed_and_end, produce, produce_to, producer};
use support::process::Bonus;
use support::proxy::Proxy;
use support::{World, event, eventually, histories, http, with_database};
use uuid::Uuid;

/// host:port of a Postgres URL, and the URL with another host:port.
fn server_of(url: &str) -> (String, impl Fn(&str) -> String + use<'_>) {
    let rest = url.split_once("://").unwrap().1;
    let authority = rest.split('/').next().unwrap();
    let server = authority.rsplit('@').next().unwrap();
    let address = if server.contains(':') { server.to_owned() } else { format!("{server}:5432") };
    (address, move |other: &str| url.replacen(&format!("@{server}/"), &format!("@{other}/"), 1))
}

async fn readiness_is(bonus: &Bonus, status: u16, postgres: &str) {
    eventually(&format!("readiness is {status} with Postgres {postgres}"), async || {
        let (answered, body) = bonus.get("/readyz").await;
        if answered == status && body["postgres"] == postgres {
            Ok(())
        } else {
            Err(format!("{answered} {body}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_comes_late_goes_away_under_load_and_comes_back() {
    let world = World::new().await;
    let (server, at) = server_of(&world.database_url);
    let mut proxy = Proxy::closed(server).await;
    let through_proxy = at(&proxy.addr.to_string());
    let settings = [("DATABASE_URL", through_proxy.as_str()), ("BONUS_BATCH_MESSAGES_MAX", "100")];
    let bonus = Bonus::start_with(&world, &settings).await;
    readiness_is(&bonus, 503, "unreachable").await;
    let (status, problem) = bonus.get(&format!("/api/bonuses/{}", Uuid::now_v7())).await;
    assert_eq!((status, &problem["status"]), (503, &503.into()), "{problem}");
    assert_eq!(bonus.logged("Postgres is not ready, waiting for it").await["level"], "WARN");

    proxy.open().await;
    bonus.becomes_ready().await;
    let (before, mut expected) = histories(400, 10);
    produce(&world, &before).await;
    world.points_become(&expected).await;

    proxy.close().await;
    // Many batches more than are in hand and gathered, so that the partitions have to be paused.
    let (during, more) = histories(2_000, 10);
    produce(&world, &during).await;
    expected.extend(more);
    bonus.logged("The consumer is paused until the batch in hand is done").await;
    bonus.logged("The batch could not be credited, trying again").await;
    readiness_is(&bonus, 503, "unreachable").await;
    assert!(http().get(format!("{}/livez", bonus.url)).send().await.unwrap().status().is_success());

    proxy.open().await;
    world.points_become(&expected).await;
    readiness_is(&bonus, 200, "reachable").await;
    bonus.logged("Postgres is back, the batch is credited").await;
    eventually("all is committed", async || {
        let (committed, end) = committed_and_end(&world);
        if committed == end { Ok(()) } else { Err(format!("{committed} of {end}")) }
    })
    .await;
    assert_eq!(bonus.metric("bonus_consumer_restarts_total").await, 0.0);
    world.books_balance().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_a_postgres_that_is_away() {
    let world = World::new().await;
    let (server, at) = server_of(&world.database_url);
    let mut proxy = Proxy::closed(server).await;
    proxy.open().await;
    let through_proxy = at(&proxy.addr.to_string());
    let bonus = Bonus::start_with(&world, &[("DATABASE_URL", through_proxy.as_str())]).await;
    bonus.becomes_ready().await;
    proxy.close().await;
    let customer = Uuid::now_v7();
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, customer)]).await;
    bonus.logged("The batch could not be credited, trying again").await;
    let (_, clean) = bonus.terminate().await;
    assert!(clean);
    assert_eq!(committed_and_end(&world).0, 0, "an offset was committed without its effect");
    let _next = Bonus::start(&world).await;
    world.points_become(&BTreeMap::from([(customer, 40)])).await;
}

/// Against librdkafka's own stand-in for a cluster, because it can be taken away from one test alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_absent_at_the_start_lost_and_back_is_said_once_each_and_readiness_stays() {
    let mut world = World::new().await;
    let cluster = MockCluster::new(1).unwrap();
    world.brokers = cluster.bootstrap_servers();
    cluster.create_topic(&world.topic, 3, 1).unwrap();
    cluster.broker_down(1).unwrap();
    let bonus = Bonus::start(&world).await;
    bonus.logged("Kafka is unreachable; nothing is lost, crediting goes on when it is back").await;
    readiness_is(&bonus, 200, "reachable").await;
    assert_eq!(bonus.get("/readyz").await.1["kafka"], "unreachable");

    cluster.broker_up(1).unwrap();
    bonus.logged("Kafka is back").await;
    let customer = Uuid::now_v7();
    let sender = producer(&world.brokers);
    produce_to(&sender, &world.topic, &[event("OrderCreated", Uuid::now_v7(), 1, customer)]).await;
    world.points_become(&BTreeMap::from([(customer, 40)])).await;
    assert_eq!(bonus.get("/readyz").await.1["kafka"], "connected");

    cluster.broker_down(1).unwrap();
    eventually("the loss is noticed", async || {
        let (status, body) = bonus.get("/readyz").await;
        assert_eq!(status, 200, "Kafka's loss must not fail readiness: {body}");
        if body["kafka"] == "unreachable" { Ok(()) } else { Err(body.to_string()) }
    })
    .await;
    cluster.broker_up(1).unwrap();
    produce_to(&sender, &world.topic, &[event("OrderCreated", Uuid::now_v7(), 1, customer)]).await;
    world.points_become(&BTreeMap::from([(customer, 80)])).await;
    eventually("the return is noticed", async || {
        let back = bonus.logged_so_far("Kafka is back").len();
        if back == 2 { Ok(()) } else { Err(format!("said {back} times")) }
    })
    .await;
    let lost =
        bonus.logged_so_far("Kafka is unreachable; nothing is lost, crediting goes on when it is back");
    assert_eq!(lost.len(), 2, "{lost:?}");

    cluster.broker_down(1).unwrap();
    let stopping = Instant::now();
    assert!(bonus.terminate().await.1);
    assert!(
        stopping.elapsed() < Duration::from_secs(15),
        "the stop waited for Kafka: {:?}",
        stopping.elapsed()
    );
}

/// Against the stand-in too: there a partition loses its leader by a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_without_a_leader_holds_up_no_other() {
    let mut world = World::new().await;
    let cluster = MockCluster::new(1).unwrap();
    world.brokers = cluster.bootstrap_servers();
    cluster.create_topic(&world.topic, 3, 1).unwrap();
    let customer = Uuid::now_v7();
    let sender = producer(&world.brokers);
    let send = async |partition: i32| {
        let event = event("OrderCreated", Uuid::now_v7(), 1, customer);
        let (key, value) = (event.order_id.to_string(), event.value.to_string());
        let record = FutureRecord::to(&world.topic).key(&key).payload(&value).partition(partition);
        sender.send(record, Duration::from_secs(10)).await.unwrap();
    };
    for partition in 0..3 {
        send(partition).await;
    }
    cluster.partition_leader(&world.topic, 0, None).unwrap();
    let _bonus = Bonus::start(&world).await;
    world.points_become(&BTreeMap::from([(customer, 80)])).await;
    cluster.partition_leader(&world.topic, 0, Some(1)).unwrap();
    world.points_become(&BTreeMap::from([(customer, 120)])).await;
}

#[test]
fn the_test_database_keeps_server_and_parameters() {
    assert_eq!(with_database("postgresql://a:b@h:1/x?y=z", "t"), "postgresql://a:b@h:1/t?y=z");
    assert_eq!(server_of("postgresql://a:b@h:1/x").1("p:2"), "postgresql://a:b@p:2/x");
    assert_eq!(server_of("postgresql://a:b@h/x").0, "h:5432");
}
