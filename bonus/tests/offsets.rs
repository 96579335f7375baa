//! The topic is not what it was: messages removed, another topic under the name, more partitions.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;

use support::kafka::{self, committed_and_end, produce};
use support::process::Bonus;
use support::{World, eventually, histories};
use uuid::Uuid;

async fn all_is_committed(world: &World) {
    eventually("all is committed", async || {
        let (committed, end) = committed_and_end(world);
        if committed == end { Ok(()) } else { Err(format!("{committed} of {end}")) }
    })
    .await;
}

const REMOVED: &str = "Messages were removed before they were read; going on behind them";
const MADE_ANEW: &str = "The topic was made anew; reading it from its beginning";

#[tokio::test]
async fn messages_removed_before_they_were_read_are_an_error_with_their_range() {
    let world = World::new().await;
    let (before, expected) = histories(30, 3);
    let bonus = Bonus::start_ready(&world).await;
    produce(&world, &before).await;
    world.points_become(&expected).await;
    all_is_committed(&world).await;
    bonus.terminate().await;
    let read = kafka::ends(&world);
    let (lost, _) = histories(60, 3);
    produce(&world, &lost).await;
    kafka::remove_all(&world).await;
    let removed = kafka::ends(&world);
    let (after, more) = histories(30, 3);
    produce(&world, &after).await;

    let bonus = Bonus::start(&world).await;
    let expected: BTreeMap<Uuid, i64> = expected.into_iter().chain(more).collect();
    world.points_become(&expected).await;
    let mut said: Vec<(i64, i64, i64)> = Vec::new();
    for line in bonus.logged_so_far(REMOVED) {
        assert_eq!(line["level"], "ERROR", "{line}");
        let number = |field: &str| line[field].as_i64().unwrap();
        said.push((number("partition"), number("lost_from"), number("lost_to")));
    }
    said.sort_unstable();
    let ranges: Vec<(i64, i64, i64)> =
        (0..).zip(read.iter().zip(&removed)).map(|(partition, (from, to))| (partition, *from, *to)).collect();
    assert_eq!(said, ranges);
    let gone: i64 = ranges.iter().map(|(_, from, to)| to - from).sum();
    assert_eq!(bonus.metric("bonus_offsets_lost_total").await, f64::from(i32::try_from(gone).unwrap()));
    assert_eq!(bonus.metric("bonus_topic_gaps_total{cause=\"deleted\"}").await, 3.0);
    assert_eq!(bonus.metric("bonus_offset_holes_total").await, 0.0);
    all_is_committed(&world).await;
}

#[tokio::test]
async fn a_topic_made_anew_is_read_from_its_beginning_while_running_and_over_a_restart() {
    let world = World::new().await;
    let (before, mut expected) = histories(200, 10);
    let bonus = Bonus::start_ready(&world).await;
    produce(&world, &before).await;
    world.points_become(&expected).await;
    all_is_committed(&world).await;
    // More than the old one held, so that the old offsets are places in the new topic.
    kafka::make_anew(&world.brokers, &world.topic, 3).await;
    let (during, more) = histories(600, 10);
    produce(&world, &during).await;
    expected.extend(more);
    world.points_become(&expected).await;
    assert_eq!(bonus.logged(MADE_ANEW).await["level"], "ERROR");
    assert_eq!(bonus.metric("bonus_topic_gaps_total{cause=\"made_anew\"}").await, 3.0);
    all_is_committed(&world).await;
    bonus.terminate().await;

    kafka::make_anew(&world.brokers, &world.topic, 3).await;
    let (after, more) = histories(900, 10);
    produce(&world, &after).await;
    expected.extend(more);
    let bonus = Bonus::start(&world).await;
    world.points_become(&expected).await;
    assert_eq!(bonus.logged_so_far(MADE_ANEW).len(), 3);
    world.books_balance().await;
}

#[tokio::test]
async fn partitions_that_are_added_are_told_and_read_from_their_beginning() {
    let world = World::new().await;
    let (before, mut expected) = histories(60, 3);
    let bonus = Bonus::start_ready(&world).await;
    produce(&world, &before).await;
    world.points_become(&expected).await;
    kafka::add_partitions(&world, 6).await;
    let (after, more) = histories(300, 3);
    produce(&world, &after).await;
    expected.extend(more);
    world.points_become(&expected).await;
    let added = bonus.logged_so_far("A partition was added; reading it from its beginning");
    let mut partitions: Vec<i64> = added.iter().map(|line| line["partition"].as_i64().unwrap()).collect();
    partitions.sort_unstable();
    assert_eq!(partitions, [3, 4, 5]);
    assert_eq!(bonus.metric("bonus_consumer_restarts_total").await, 0.0);
    world.books_balance().await;
}
