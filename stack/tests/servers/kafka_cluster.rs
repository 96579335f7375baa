//! Three brokers, and what operators do to them.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset};
use stack::servers::kafka::{ClusterSettings, Layout, QuotaOf};
use stack::servers::{Condition, KafkaCluster};

use super::{PATIENCE, eventually};

fn client(cluster: &KafkaCluster) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", cluster.brokers()).set("log_level", "0").set("acks", "all");
    settings
}

/// Whether a record is written within `patience`.
fn takes(cluster: &KafkaCluster, topic: &str, partition: i32, patience: Duration) -> bool {
    let producer: BaseProducer = client(cluster).create().unwrap();
    producer.send(BaseRecord::<(), str>::to(topic).partition(partition).payload("x")).unwrap();
    producer.flush(patience).is_ok()
}

#[test]
fn one_of_three_brokers_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let cluster = KafkaCluster::start(directory.path(), &ClusterSettings::default()).unwrap();
    println!("three brokers start within {:?}", begun.elapsed());
    let admin = cluster.admin().unwrap();
    admin.create_topic("everywhere", Layout::Spread { partitions: 1, replication: 3 }, &[]).unwrap();
    let layout = Layout::Assigned(&[&[1], &[1], &[1], &[1], &[1], &[2]]);
    admin.create_topic("here-and-there", layout, &[("min.insync.replicas", "1")]).unwrap();
    // Each broker learns of a new topic by itself.
    eventually("every broker knows who leads", || {
        admin.leader("here-and-there", 5).is_ok_and(|leader| leader == Some(2))
    });

    let second = cluster.broker(2).unwrap();
    second.kill().unwrap();
    eventually("nobody leads what was on broker 2 only", || {
        admin.leader("here-and-there", 5).is_ok_and(|leader| leader.is_none())
    });
    assert!(!takes(&cluster, "here-and-there", 5, Duration::from_millis(500)));
    assert!(takes(&cluster, "here-and-there", 0, PATIENCE), "the other partitions go on");
    assert!(takes(&cluster, "everywhere", 0, PATIENCE), "two replicas are enough");
    println!("broker 2 is back after {:?}", second.start_again().unwrap());
    admin.wait_in_sync(PATIENCE).unwrap();
    assert!(takes(&cluster, "here-and-there", 5, PATIENCE));

    let leader = admin.leader("everywhere", 0).unwrap().unwrap();
    let frozen = cluster.broker(leader.try_into().unwrap()).unwrap();
    frozen.freeze().unwrap();
    assert_eq!(frozen.condition(), Condition::Frozen);
    assert!(takes(&cluster, "everywhere", 0, PATIENCE), "another one leads");
    frozen.thaw().unwrap();
    admin.wait_in_sync(PATIENCE).unwrap();
    let begun = Instant::now();
    cluster.roll(PATIENCE).unwrap();
    println!("all three were restarted, one by one, within {:?}", begun.elapsed());
}

/// One broker is a cluster, too: the same for `Kafka`.
#[test]
fn topics_are_emptied_and_remade_and_producers_throttled() {
    let directory = tempfile::tempdir().unwrap();
    let settings =
        ClusterSettings { brokers: 1, replication: 1, min_in_sync: 1, ..ClusterSettings::default() };
    let cluster = KafkaCluster::start(directory.path(), &settings).unwrap();
    let admin = cluster.admin().unwrap();
    let layout = Layout::Spread { partitions: 2, replication: 1 };
    admin.create_topic("topic", layout, &[("retention.ms", "-1")]).unwrap();
    assert!(admin.create_topic("topic", layout, &[]).is_err(), "it is there already");
    for _ in 0..3 {
        assert!(takes(&cluster, "topic", 1, PATIENCE));
    }
    let consumer: BaseConsumer = client(&cluster).create().unwrap();
    let offsets = || consumer.fetch_watermarks("topic", 1, PATIENCE).unwrap();
    assert_eq!(offsets(), (0, 3));
    admin.delete_records("topic", &[(1, Offset::Offset(2))]).unwrap();
    assert_eq!(offsets(), (2, 3));
    admin.delete_topic("topic").unwrap();
    admin.create_topic("topic", layout, &[]).unwrap();
    assert_eq!(offsets(), (0, 0));

    let produce = |kilobytes: usize| {
        let producer: BaseProducer = client(&cluster).set("batch.size", "16000").create().unwrap();
        let begun = Instant::now();
        for _ in 0..kilobytes {
            producer.send(BaseRecord::<(), [u8]>::to("topic").partition(0).payload(&[0; 1_000])).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
        begun.elapsed()
    };
    let free = produce(250);
    // What ten seconds may carry goes at once.
    admin.set_quota(QuotaOf::EachClient, "producer_byte_rate", Some(20_000.0)).unwrap();
    let throttled = produce(250);
    admin.set_quota(QuotaOf::EachClient, "producer_byte_rate", None).unwrap();
    println!("250 kB took {free:?}, throttled {throttled:?}");
    // Of 250 kB the quota lets 200 go at once, and the rest in two and a half seconds.
    assert!(throttled > Duration::from_secs(2), "{free:?}, throttled {throttled:?}");
    assert!(admin.set_quota(QuotaOf::EachClient, "no_such_rate", Some(1.0)).is_err());
    eventually("it is as quick as before", || produce(300) < Duration::from_secs(3));
}
