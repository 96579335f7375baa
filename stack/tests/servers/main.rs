//! The servers themselves: they come up, die, freeze and come back with their data.
#![allow(clippy::unwrap_used)]

mod disk;
mod encryption;
mod kafka_cluster;
mod kafka_security;
mod links;
mod postgres_pair;

use std::time::{Duration, Instant};

use stack::servers::{Condition, Kafka, Postgres, Redis};

const PATIENCE: Duration = Duration::from_secs(20);

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn redis_comes_back_with_its_data() {
    let directory = tempfile::tempdir().unwrap();
    let redis = Redis::start(directory.path()).unwrap();
    let client = redis::Client::open(redis.url()).unwrap();
    redis::cmd("SET").arg("k").arg("v").exec(&mut client.get_connection().unwrap()).unwrap();
    redis.kill().unwrap();
    assert_eq!(redis.condition(), Condition::Down);
    assert!(client.get_connection().is_err());
    redis.start_again().unwrap();
    let value: String = redis::cmd("GET").arg("k").query(&mut client.get_connection().unwrap()).unwrap();
    assert_eq!(value, "v");
    redis.freeze().unwrap();
    assert_eq!(redis.condition(), Condition::Frozen);
    assert!(redis.probe().is_err());
    redis.thaw().unwrap();
    redis.wait_ready().unwrap();
    redis.stop().unwrap();
    assert_eq!(redis.condition(), Condition::Down);
}

#[tokio::test]
async fn postgres_comes_back_with_its_data() {
    use sqlx::{Connection, PgConnection};
    let directory = tempfile::tempdir().unwrap();
    let postgres = Postgres::start(directory.path()).unwrap();
    let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (n int); INSERT INTO t VALUES (7)").execute(&mut connection).await.unwrap();
    let backend: i32 =
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
    let backend = stack::servers::identity::Identity::of(backend).unwrap();

    postgres.freeze().unwrap();
    assert!(backend.is_frozen());
    let frozen = sqlx::query("SELECT 1").execute(&mut connection);
    assert!(tokio::time::timeout(Duration::from_millis(300), frozen).await.is_err());
    postgres.thaw().unwrap();

    postgres.kill().unwrap();
    assert!(!backend.is_alive());
    postgres.start_again().unwrap();
    let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
    let n: i32 = sqlx::query_scalar("SELECT n FROM t").fetch_one(&mut connection).await.unwrap();
    assert_eq!(n, 7);
}

#[test]
fn kafka_comes_back_with_its_data() {
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::message::Message;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let directory = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let kafka = Kafka::start(directory.path()).unwrap();
    println!("first start {:?}", start.elapsed());
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", kafka.brokers())
        .set("group.id", "g")
        .set("auto.offset.reset", "earliest");
    let producer: BaseProducer = settings.create().unwrap();
    producer.send(BaseRecord::to("topic").payload("hello").key("k")).unwrap();
    producer.flush(Duration::from_secs(20)).unwrap();

    kafka.kill().unwrap();
    assert!(kafka.probe().is_err());
    println!("killed, and back after {:?}", kafka.start_again().unwrap());
    let consumer: BaseConsumer = settings.create().unwrap();
    consumer.subscribe(&["topic"]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let message = loop {
        assert!(Instant::now() < deadline, "the message is gone");
        if let Some(Ok(message)) = consumer.poll(Duration::from_secs(1)) {
            break message.detach();
        }
    };
    assert_eq!(message.payload(), Some("hello".as_bytes()));
    println!("consumed {:?} after", start.elapsed());

    kafka.freeze().unwrap();
    assert!(kafka.probe().is_err());
    kafka.thaw().unwrap();
    println!("thawed, and back after {:?}", kafka.wait_ready().unwrap());
    let stopping = Instant::now();
    kafka.stop().unwrap();
    println!("stopped within {:?}", stopping.elapsed());
    println!("stopped, and back after {:?}", kafka.start_again().unwrap());
}
