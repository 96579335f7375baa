//! Trimming never drops what a registered group has not acknowledged.

use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;

use super::streams::{PARTITIONS, Streams, ask};
use super::support::eventually;

/// Entries of a stream's node. What is trimmed is whole nodes.
const NODE: usize = 10;
const EVENTS: i32 = 900;

/// An entry's id, and its fields and values.
type Read = (String, Vec<String>);

async fn register(streams: &Streams, connection: &mut MultiplexedConnection, group: &str) {
    for partition in 0..PARTITIONS {
        let stream = streams.stream(partition);
        let _: () = ask(connection, &["XGROUP", "CREATE", &stream, group, "0", "MKSTREAM"]).await;
    }
}

/// Takes `count` further entries of each stream, and returns their ids.
async fn take(
    streams: &Streams,
    connection: &mut MultiplexedConnection,
    group: &str,
    count: usize,
) -> Vec<(String, Vec<String>)> {
    let mut taken = Vec::new();
    for partition in 0..PARTITIONS {
        let stream = streams.stream(partition);
        let count = count.to_string();
        let words = ["XREADGROUP", "GROUP", group, "reader", "COUNT", &count, "STREAMS", &stream, ">"];
        let read: redis::Value = ask(connection, &words).await;
        let ids = match read {
            redis::Value::Nil => Vec::new(),
            read => {
                let read: Vec<(String, Vec<Read>)> = FromRedisValue::from_redis_value(read).unwrap();
                read.into_iter().flat_map(|(_, entries)| entries).map(|(id, _)| id).collect()
            }
        };
        taken.push((stream, ids));
    }
    taken
}

async fn acknowledge(connection: &mut MultiplexedConnection, group: &str, taken: &[(String, Vec<String>)]) {
    for (stream, ids) in taken.iter().filter(|(_, ids)| !ids.is_empty()) {
        let ids = ids.iter().map(String::as_str);
        let words: Vec<&str> = ["XACK", stream, group].into_iter().chain(ids).collect();
        let _: i64 = ask(connection, &words).await;
    }
}

async fn length(streams: &Streams, connection: &mut MultiplexedConnection) -> usize {
    let mut length = 0;
    for partition in 0..PARTITIONS {
        let of: usize = ask(connection, &["XLEN", &streams.stream(partition)]).await;
        length += of;
    }
    length
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slowest_group_decides_what_is_trimmed() {
    let streams = Streams::new().await;
    let mut connection = streams.connection().await;
    let node = NODE.to_string();
    let _: () = ask(&mut connection, &["CONFIG", "SET", "stream-node-max-entries", &node]).await;
    for group in ["quick", "slow"] {
        register(&streams, &mut connection, group).await;
    }
    let orders = streams.start().await;
    orders.blocking(|service| service.stop());
    streams.stage.fill_journal(EVENTS).await;
    orders.blocking(|service| service.start_again());
    streams.stage.outbox_empties().await;
    streams.assert_published_in_order().await;

    let all = take(&streams, &mut connection, "quick", EVENTS as usize).await;
    acknowledge(&mut connection, "quick", &all).await;
    // The slow one has taken some entries, and has acknowledged all of them but the first of each stream.
    let some = take(&streams, &mut connection, "slow", 100).await;
    let but_the_first: Vec<_> =
        some.iter().map(|(stream, ids)| (stream.clone(), ids[1..].to_vec())).collect();
    acknowledge(&mut connection, "slow", &but_the_first).await;
    trimmer_passes(&streams).await;
    assert_eq!(length(&streams, &mut connection).await, EVENTS as usize, "the first one is pending");

    acknowledge(&mut connection, "slow", &some).await;
    let kept = EVENTS as usize - 100 * PARTITIONS as usize;
    let bound = kept + PARTITIONS as usize * (NODE + 1);
    eventually("what both have acknowledged is dropped", async || {
        (length(&streams, &mut connection).await <= bound).then_some(())
    })
    .await;
    trimmer_passes(&streams).await;
    assert!(
        length(&streams, &mut connection).await >= kept,
        "nothing that the slow one has not seen is dropped"
    );
    // It reads the rest, without a gap.
    let rest = take(&streams, &mut connection, "slow", EVENTS as usize).await;
    assert_eq!(rest.iter().map(|(_, ids)| ids.len()).sum::<usize>(), kept);

    for group in ["quick", "slow"] {
        for partition in 0..PARTITIONS {
            let _: i64 =
                ask(&mut connection, &["XGROUP", "DESTROY", &streams.stream(partition), group]).await;
        }
    }
    trimmer_passes(&streams).await;
    assert!(length(&streams, &mut connection).await >= kept, "a stream without groups keeps what is young");
}

/// Redis forgets everything while a group's consumers are away. Another group is back first, and acknowledges what is published again.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_away_while_the_streams_are_lost_misses_nothing() {
    let streams = Streams::new().await;
    let mut connection = streams.connection().await;
    let node = NODE.to_string();
    let _: () = ask(&mut connection, &["CONFIG", "SET", "stream-node-max-entries", &node]).await;
    for group in ["there", "away"] {
        register(&streams, &mut connection, group).await;
    }
    let orders = streams.start().await;
    eventually("the groups are known", async || {
        let known: i32 =
            sqlx::query_scalar("SELECT coalesce(max(cardinality(consumer_groups)), 0) FROM published_topic")
                .fetch_one(&streams.stage.database)
                .await
                .unwrap();
        (known.unsigned_abs() == 2 * PARTITIONS).then_some(())
    })
    .await;
    orders.blocking(|service| service.stop());
    let _: () = ask(&mut connection, &["FLUSHALL"]).await;
    register(&streams, &mut connection, "there").await;
    streams.stage.fill_journal(EVENTS).await;
    orders.blocking(|service| service.start_again());
    streams.stage.outbox_empties().await;

    let all = take(&streams, &mut connection, "there", EVENTS as usize).await;
    assert_eq!(all.iter().map(|(_, ids)| ids.len()).sum::<usize>(), EVENTS as usize);
    acknowledge(&mut connection, "there", &all).await;
    trimmer_passes(&streams).await;
    let rest = take(&streams, &mut connection, "away", EVENTS as usize).await;
    assert_eq!(rest.iter().map(|(_, ids)| ids.len()).sum::<usize>(), EVENTS as usize);
}

/// The trimmer has been at every stream since.
async fn trimmer_passes(streams: &Streams) {
    let mut connection = streams.connection().await;
    let calls = async |connection: &mut MultiplexedConnection| -> u64 {
        let told: String = ask(connection, &["INFO", "commandstats"]).await;
        let line = told.lines().find(|line| line.starts_with("cmdstat_xinfo|groups:")).unwrap_or_default();
        let calls = line.split("calls=").nth(1).and_then(|rest| rest.split(',').next());
        calls.and_then(|calls| calls.parse().ok()).unwrap_or_default()
    };
    let before = calls(&mut connection).await;
    // Two rounds: the first may have begun before.
    eventually("the trimmer has passed", async || {
        (calls(&mut connection).await >= before + 2 * u64::from(PARTITIONS)).then_some(())
    })
    .await;
}
