//! Messages from Redis Streams instead of Kafka.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use stack::servers::Link;
use stack::servers::port::Port;
use support::process::Bonus;
use support::streams::RedisWorld;
use support::{event, eventually, histories};
use uuid::Uuid;

/// While this is open, no batch is credited.
async fn stop_crediting(world: &RedisWorld) -> PgConnection {
    let mut holder = world.connect().await;
    holder.execute("BEGIN; LOCK TABLE ledger IN EXCLUSIVE MODE").await.unwrap();
    holder
}

async fn metric_is(bonus: &Bonus, name: &str, expected: f64) {
    eventually(&format!("{name} is {expected}"), async || {
        let value = bonus.metric(name).await;
        if value == expected { Ok(()) } else { Err(value.to_string()) }
    })
    .await;
}

async fn redis_is(bonus: &Bonus, state: &str) {
    eventually(&format!("Redis is {state}, and the service is ready"), async || {
        let (status, body) = bonus.get("/readyz").await;
        if status == 200 && body["redis"] == state { Ok(()) } else { Err(body.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn what_is_in_the_streams_is_credited_once_and_acknowledged() {
    let world = RedisWorld::new().await;
    let (events, expected) = histories(500, 20);
    world.publish(&events);
    let bonus = world.start().await;
    world.publish(&events);
    world.points_become(&expected).await;
    world.nothing_is_pending().await;
    metric_is(&bonus, "bonus_consumer_lag_messages", 0.0).await;
    metric_is(&bonus, "bonus_redis_up", 1.0).await;
    let summary = bonus.get("/api/summary").await.1;
    assert_eq!((&summary["redis"], summary.get("kafka")), (&"connected".into(), None), "{summary}");
    assert_eq!(world.consumers().len(), 1, "{:?}", world.consumers());
    assert!(bonus.terminate().await.1);
    assert!(world.consumers().is_empty(), "left after an orderly end: {:?}", world.consumers());
    world.books_balance().await;
}

#[tokio::test]
async fn a_new_group_reads_everything_again_and_credits_nothing() {
    let world = RedisWorld::new().await;
    let (events, expected) = histories(60, 6);
    world.publish(&events);
    let first = world.start().await;
    world.points_become(&expected).await;
    assert!(first.terminate().await.1);
    let second = world.start_with(&[("BONUS_GROUP_ID", "another")]).await;
    let valued = |event: &&support::TestEvent| {
        !["OrderPaid", "OrderShipped"].contains(&event.value["event_type"].as_str().unwrap())
    };
    let valued = u32::try_from(events.iter().filter(valued).count()).unwrap();
    metric_is(&second, "bonus_duplicates_absorbed_total", f64::from(valued)).await;
    assert_eq!(world.points().await, expected);
}

/// Killed with entries in hand that are not credited: they are pending for a consumer that is no more.
#[tokio::test]
async fn what_a_killed_process_left_is_taken_over_and_its_name_is_removed() {
    let world = RedisWorld::new().await;
    let small = [("BONUS_BATCH_MESSAGES_MAX", "50")];
    let (victim, other) = (world.start_with(&small).await, world.start_with(&small).await);
    victim.becomes_ready().await;
    other.becomes_ready().await;
    let mut holder = stop_crediting(&world).await;
    let (events, expected) = histories(400, 10);
    world.publish(&events);
    eventually("both have entries in hand", async || {
        let pending = world.consumers();
        if pending.len() == 2 && pending.values().all(|pending| *pending > 1) {
            Ok(())
        } else {
            Err(format!("{pending:?}"))
        }
    })
    .await;
    victim.kill();
    holder.execute("ROLLBACK").await.unwrap();
    world.points_become(&expected).await;
    world.nothing_is_pending().await;
    other.logged("Entries that a consumer has left are taken over").await;
    eventually("the dead consumer's name is gone", async || match world.consumers() {
        names if names.len() == 1 => Ok(()),
        names => Err(format!("{names:?}")),
    })
    .await;
    world.books_balance().await;
}

/// Redis stands still between the entries' delivery and their acknowledgement; the process dies in between.
#[tokio::test]
async fn killed_between_its_commit_and_the_acknowledgement() {
    let world = RedisWorld::new().await;
    let customer = Uuid::now_v7();
    let victim = world.start().await;
    let mut holder = stop_crediting(&world).await;
    world.publish(&[event("OrderCreated", Uuid::now_v7(), 1, customer)]);
    world.something_is_pending().await;
    world.redis.freeze().unwrap();
    holder.execute("ROLLBACK").await.unwrap();
    let expected = BTreeMap::from([(customer, 40)]);
    world.points_become(&expected).await;
    victim.kill();
    world.redis.thaw().unwrap();
    assert_eq!(world.pending(), 1, "the entry was acknowledged after all");
    let next = world.start().await;
    metric_is(&next, "bonus_duplicates_absorbed_total", 1.0).await;
    world.nothing_is_pending().await;
    assert_eq!(world.points().await, expected);
    world.books_balance().await;
}

/// The name is the instance id: what the former process left is the next one's at once.
#[tokio::test]
async fn with_an_instance_id_a_process_goes_on_with_what_it_left() {
    let world = RedisWorld::new().await;
    // Nobody else may take it over within the test.
    let named = [("BONUS_INSTANCE_ID", "one"), ("BONUS_SESSION_TIMEOUT_MS", "300000")];
    let victim = world.start_with(&named).await;
    victim.becomes_ready().await;
    let holder = stop_crediting(&world).await;
    let (events, expected) = histories(40, 4);
    world.publish(&events);
    world.something_is_pending().await;
    assert!(world.consumers().into_keys().eq(["one"]));
    victim.kill();
    holder.close().await.unwrap();
    let _next = world.start_with(&named).await;
    world.points_become(&expected).await;
    world.nothing_is_pending().await;
}

/// At a stop what was read and not credited is left to the others, without their waiting for the session's time.
#[tokio::test]
async fn a_stop_leaves_to_others_what_it_has_only_read() {
    let world = RedisWorld::new().await;
    let patient = [("BONUS_BATCH_MESSAGES_MAX", "10"), ("BONUS_SESSION_TIMEOUT_MS", "300000")];
    let stopped = world.start_with(&patient).await;
    stopped.becomes_ready().await;
    let mut holder = stop_crediting(&world).await;
    let (events, expected) = histories(8, 4);
    world.publish(&events);
    eventually("a second batch waits behind the first", async || match world.pending() {
        pending if pending > 10 => Ok(()),
        pending => Err(format!("{pending} pending")),
    })
    .await;
    stopped.signal(Signal::SIGTERM);
    stopped.logged("Stopping").await;
    holder.execute("ROLLBACK").await.unwrap();
    assert!(stopped.terminate().await.1);
    let _next = world.start_with(&patient).await;
    world.points_become(&expected).await;
    world.nothing_is_pending().await;
}

#[tokio::test]
async fn after_flushall_what_is_published_again_is_credited_once() {
    let world = RedisWorld::new().await;
    let bonus = world.start().await;
    let (before, mut expected) = histories(60, 6);
    world.publish(&before);
    world.points_become(&expected).await;

    let _: String = world.ask("FLUSHALL", &[]);
    bonus.logged("The topic does not exist yet, waiting for it").await;
    world.create_topic(support::streams::PARTITIONS);
    let (after, more) = histories(60, 6);
    expected.extend(more);
    world.publish(&[before, after].concat());
    world.points_become(&expected).await;
    world.nothing_is_pending().await;
    let line = bonus.logged("The topic was made anew; reading it from its beginning").await;
    assert_eq!(line["level"], "ERROR", "{line}");
    assert_eq!(bonus.metric("bonus_consumer_restarts_total").await, 0.0);
    world.books_balance().await;
}

/// Also while no process runs: which topic was read is in Postgres.
#[tokio::test]
async fn a_topic_made_anew_and_a_group_that_is_gone_are_told() {
    let world = RedisWorld::new().await;
    let (events, expected) = histories(30, 3);
    world.publish(&events);
    let bonus = world.start().await;
    world.points_become(&expected).await;
    for partition in 0..support::streams::PARTITIONS {
        let _: i64 = world.ask("XGROUP", &["DESTROY", &world.stream(partition), &world.group]);
    }
    let line = bonus.logged("The group is gone; reading the stream from its beginning").await;
    assert_eq!(line["level"], "WARN", "{line}");
    world.nothing_is_pending().await;
    assert!(bonus.terminate().await.1);

    let _: String = world.ask("FLUSHALL", &[]);
    world.create_topic(support::streams::PARTITIONS);
    world.publish(&events);
    let next = world.start().await;
    next.logged("The topic was made anew; reading it from its beginning").await;
    let anew = next.logged_so_far("The topic was made anew; reading it from its beginning");
    assert!(anew.iter().all(|line| line["stream"].as_str().unwrap().starts_with(&world.topic)));
    world.nothing_is_pending().await;
    assert_eq!(world.points().await, expected);
}

#[tokio::test]
async fn entries_removed_before_they_were_read_are_an_error_with_their_range() {
    let world = RedisWorld::new().await;
    let first = world.start().await;
    let customer = Uuid::now_v7();
    let add = || {
        let created = event("OrderCreated", Uuid::now_v7(), 1, customer);
        world.add(0, &created.order_id.to_string(), &created.value.to_string())
    };
    let read = add();
    world.points_become(&BTreeMap::from([(customer, 40)])).await;
    world.nothing_is_pending().await;
    assert!(first.terminate().await.1);
    // Three are removed, one is left.
    let ids: Vec<String> = (0..4).map(|_| add()).collect();
    let _: i64 = world.ask("XTRIM", &[&world.stream(0), "MINID", &ids[3]]);
    let next = world.start().await;
    let line = next.logged("Entries were removed before they were read; going on behind them").await;
    assert_eq!(line["level"], "ERROR", "{line}");
    let told = ["stream", "behind", "before"].map(|name| line[name].as_str().unwrap().to_owned());
    assert_eq!(told, [world.stream(0), read, ids[3].clone()], "{line}");
    assert_eq!(line["lost"], 3, "{line}");
    world.points_become(&BTreeMap::from([(customer, 80)])).await;
    world.nothing_is_pending().await;
    assert!(next.terminate().await.1);
    // Told once: not again after a restart, and not because what was read is trimmed.
    let _: i64 = world.ask("XTRIM", &[&world.stream(0), "MAXLEN", "0"]);
    add();
    let last = world.start().await;
    world.points_become(&BTreeMap::from([(customer, 120)])).await;
    metric_is(&last, "bonus_consumer_lag_messages", 0.0).await;
    assert_eq!(last.metric("bonus_offsets_lost_total").await, 0.0);
}

#[tokio::test]
async fn an_entry_removed_while_it_was_pending_is_an_error() {
    let world = RedisWorld::new().await;
    let victim = world.start().await;
    let _holder = stop_crediting(&world).await;
    let customer = Uuid::now_v7();
    let created = event("OrderCreated", Uuid::now_v7(), 1, customer);
    let id = world.add(1, &created.order_id.to_string(), &created.value.to_string());
    world.something_is_pending().await;
    victim.kill();
    let _: i64 = world.ask("XDEL", &[&world.stream(1), &id]);
    let next = world.start().await;
    let message = "An entry was removed before it was acknowledged; if it was not credited, it is lost";
    let line = next.logged(message).await;
    assert_eq!((line["stream"].as_str(), line["entry"].as_str()), (Some(&*world.stream(1)), Some(&*id)));
    world.nothing_is_pending().await;
}

#[tokio::test]
async fn partitions_that_are_added_are_told_and_read() {
    let world = RedisWorld::new().await;
    let bonus = world.start().await;
    let customer = Uuid::now_v7();
    let created = event("OrderCreated", Uuid::now_v7(), 1, customer);
    let _: i64 = world.ask("HSET", &[&world.topic, "partitions", "5"]);
    world.add(4, &created.order_id.to_string(), &created.value.to_string());
    world.points_become(&BTreeMap::from([(customer, 40)])).await;
    bonus.logged("A partition was added; reading it from its beginning").await;
    assert_eq!(bonus.get("/readyz").await.1["partitions"], 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_frozen_killed_and_restarted_is_said_and_readiness_stays() {
    let world = RedisWorld::new().await;
    let bonus = world.start().await;
    redis_is(&bonus, "connected").await;
    world.redis.freeze().unwrap();
    redis_is(&bonus, "unreachable").await;
    metric_is(&bonus, "bonus_redis_up", 0.0).await;
    world.redis.thaw().unwrap();
    redis_is(&bonus, "connected").await;
    let (events, mut expected) = histories(60, 6);
    world.publish(&events);
    world.points_become(&expected).await;

    let (more, points) = histories(60, 6);
    expected.extend(points);
    let mut holder = stop_crediting(&world).await;
    world.publish(&more);
    world.something_is_pending().await;
    world.redis.kill().unwrap();
    redis_is(&bonus, "unreachable").await;
    holder.execute("ROLLBACK").await.unwrap();
    world.redis.start_again().unwrap();
    redis_is(&bonus, "connected").await;
    world.points_become(&expected).await;
    world.nothing_is_pending().await;
    assert_eq!(bonus.logged_so_far("Redis is back").len(), 2);
    assert_eq!(bonus.metric("bonus_consumer_restarts_total").await, 0.0);
    world.redis.freeze().unwrap();
    assert!(bonus.terminate().await.1, "a stop does not wait for Redis");
}

/// The replica is promoted without the end of the streams: the publisher sends that again from its journal, here the test does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_that_lost_the_end_what_is_published_again_is_credited_once() {
    let mut world = RedisWorld::new().await;
    let (_place, replica) = world.replica().await;
    let link = Link::open(Port::free().unwrap(), world.redis.port()).await.unwrap();
    let url = format!("redis://127.0.0.1:{}", link.port());
    let bonus = world.start_with(&[("REDIS_URL", url.as_str())]).await;
    bonus.becomes_ready().await;
    let (both_have, mut expected) = histories(60, 6);
    world.publish(&both_have);
    world.points_become(&expected).await;
    world.nothing_is_pending().await;
    world.is_replicated_to(&replica).await;
    // It takes writes no more, and is a replica still.
    RedisWorld::ask_at::<String>(&replica, "REPLICAOF", &["127.0.0.1", "9"]);
    let (lost, more) = histories(60, 6);
    expected.extend(more);
    world.publish(&lost);
    world.points_become(&expected).await;

    world.redis.kill().unwrap();
    link.redirect(replica.port());
    redis_is(&bonus, "unreachable").await;
    RedisWorld::ask_at::<String>(&replica, "REPLICAOF", &["NO", "ONE"]);
    world.redis = replica;
    redis_is(&bonus, "connected").await;
    let (after, more) = histories(30, 3);
    expected.extend(more);
    world.publish(&[lost, after].concat());
    world.points_become(&expected).await;
    world.nothing_is_pending().await;
    world.books_balance().await;
}

#[tokio::test]
async fn postgres_away_for_longer_than_the_session_makes_nobody_take_over() {
    let world = RedisWorld::new().await;
    let (one, two) = (world.start().await, world.start().await);
    let mut holder = stop_crediting(&world).await;
    let (events, expected) = histories(100, 10);
    world.publish(&events);
    world.something_is_pending().await;
    // Longer than the session's 6 s, which the second look at the idle time shows.
    eventually("a batch was tried for longer than a session", async || {
        let tried =
            one.metric("bonus_batch_retries_total").await + two.metric("bonus_batch_retries_total").await;
        if tried >= 4.0 { Ok(()) } else { Err(tried.to_string()) }
    })
    .await;
    for bonus in [&one, &two] {
        assert!(bonus.logged_so_far("Entries that a consumer has left are taken over").is_empty());
    }
    holder.execute("ROLLBACK").await.unwrap();
    world.points_become(&expected).await;
    world.nothing_is_pending().await;
}

#[tokio::test]
async fn an_unreadable_entry_becomes_a_dead_letter_and_stops_nobody() {
    let world = RedisWorld::new().await;
    let _bonus = world.start().await;
    let (customer, order) = (Uuid::now_v7(), Uuid::now_v7());
    let broken = world.add(2, "broken", "{");
    world.add(2, &order.to_string(), &event("OrderCreated", order, 1, customer).value.to_string());
    world.points_become(&BTreeMap::from([(customer, 40)])).await;
    world.nothing_is_pending().await;
    let dead_letters = format!("{}.dlq", world.topic);
    eventually("the letter is in its stream", async || {
        let letters: i64 = world.ask("XLEN", &[&format!("{dead_letters}:0")]);
        if letters == 1 { Ok(()) } else { Err(letters.to_string()) }
    })
    .await;
    let (_, fields): (String, std::collections::HashMap<String, String>) =
        world.ask::<Vec<_>>("XRANGE", &[&format!("{dead_letters}:0"), "-", "+"]).remove(0);
    for (name, value) in [
        ("key", "broken"),
        ("value", "{"),
        ("ce_specversion", "1.0"),
        ("dead_letter_topic", &world.topic),
        ("dead_letter_partition", "2"),
        ("dead_letter_offset", &broken),
    ] {
        assert_eq!(fields.get(name).map(String::as_str), Some(value), "{name}: {fields:?}");
    }
    let partitions: String = world.ask("HGET", &[&dead_letters, "partitions"]);
    assert_eq!(partitions, "1");

    let listed = world.run(&["dead-letters", "list", "--json"]).await;
    let letter = &listed["letters"][0];
    assert_eq!((letter["value"].as_str(), letter["key"].as_str()), (Some("{"), Some("broken")), "{listed}");
    assert_eq!(letter["origin"], format!("{}/2/{broken}", world.topic), "{listed}");
    let replayed = world.run(&["dead-letters", "replay", "--json"]).await;
    assert_eq!((&replayed["letters"], &replayed["credited"]), (&1.into(), &0.into()), "{replayed}");
}

/// A letter that can be read after all, as after the reader was mended.
#[tokio::test]
async fn dead_letters_are_replayed_from_their_stream_once() {
    let world = RedisWorld::new().await;
    let bonus = world.start().await;
    let customer = Uuid::now_v7();
    let dead_letters = format!("{}.dlq:0", world.topic);
    for _ in 0..250 {
        let created = event("OrderCreated", Uuid::now_v7(), 1, customer).value.to_string();
        let _: String = world.ask("XADD", &[&dead_letters, "*", "key", "k", "value", &created]);
    }
    assert!(bonus.terminate().await.1);
    for credited in [250, 0] {
        let replayed = world.run(&["dead-letters", "replay", "--json"]).await;
        assert_eq!(
            (&replayed["letters"], &replayed["credited"]),
            (&250.into(), &credited.into()),
            "{replayed}"
        );
    }
    assert_eq!(world.points().await, BTreeMap::from([(customer, 10_000)]));
    let listed = world.run(&["dead-letters", "list", "--limit", "7", "--json"]).await;
    assert_eq!(listed["letters"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn check_tells_of_redis_and_the_group() {
    let world = RedisWorld::new().await;
    let finding = async |name: &str| {
        let report = world.run(&["check", "--json"]).await;
        let findings = report["checks"].as_array().unwrap_or_else(|| panic!("{report}")).clone();
        findings
            .into_iter()
            .find(|finding| finding["name"] == name)
            .unwrap_or_else(|| panic!("{name}: {report}"))
    };
    assert!(finding("topic").await["message"].as_str().unwrap().ends_with("has 3 partitions"));
    assert!(finding("group").await["message"].as_str().unwrap().ends_with("has read nothing yet"));
    let bonus = world.start().await;
    assert!(bonus.terminate().await.1);
    world.publish(&[event("OrderCreated", Uuid::now_v7(), 1, Uuid::now_v7())]);
    let group = finding("group").await;
    assert!(group["message"].as_str().unwrap().ends_with("1 messages unread, 0 not acknowledged"), "{group}");
    let _: String = world.ask("CONFIG", &["SET", "maxmemory-policy", "allkeys-lru"]);
    let _: String = world.ask("CONFIG", &["SET", "maxmemory", "1gb"]);
    assert_eq!(finding("redis memory").await["status"], "fail");
}

/// Redis that takes nothing more is read to the end; a dead letter waits in Postgres.
#[tokio::test]
async fn at_maxmemory_crediting_goes_on_and_dead_letters_wait() {
    let world = RedisWorld::new().await;
    let bonus = world.start().await;
    let (events, expected) = histories(60, 6);
    let mut holder = stop_crediting(&world).await;
    world.publish(&events);
    world.add(0, "broken", "{");
    let _: String = world.ask("CONFIG", &["SET", "maxmemory", "1"]);
    holder.execute("ROLLBACK").await.unwrap();
    world.points_become(&expected).await;
    world.nothing_is_pending().await;
    let line =
        bonus.logged("The dead-letter topic takes no letters; they wait in the table dead_letter").await;
    assert!(line["hint"].as_str().unwrap().contains("maxmemory"), "{line}");
    redis_is(&bonus, "connected").await;
    let _: String = world.ask("CONFIG", &["SET", "maxmemory", "0"]);
    eventually("the letter arrives", async || {
        let letters: i64 = world.ask("XLEN", &[&format!("{}.dlq:0", world.topic)]);
        if letters == 1 { Ok(()) } else { Err(letters.to_string()) }
    })
    .await;
}
