//! What bonus publishes: each change of a customer's standing once, in the customer's order, whatever fails meanwhile.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use bonus::message::Event;
use bonus::points::Valued;
use bonus::{ledger, outbox, sweep};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use stack::servers::Kafka;
use support::command::{run, run_with};
use support::events::{
    Row, assert_histories, assert_ordered, assert_published, completed_order, headers, journal, journal_has,
    outbox_empties, published, value,
};
use support::kafka::{create_narrow_topic, make_anew, produce};
use support::process::Bonus;
use support::streams::RedisWorld;
use support::{World, event, eventually, kafka, migrate, migrated};
use tempfile::TempDir;
use uuid::Uuid;

const NEVER: (&str, &str) = ("BONUS_SWEEP_SCHEDULE", "0 0 0 1 1 * 2099");

fn types(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| row.event_type.as_str()).collect()
}

fn cancellation(of: &[Event]) -> Event {
    let Event { order_id, customer_id, occurred_at, .. } = of[0];
    let (event_id, valued) = (Uuid::now_v7(), Valued::Cancelled);
    Event { event_id, order_id, version: 9, customer_id, valued, occurred_at }
}

async fn credit(database: &mut PgConnection, events: &[Event]) {
    ledger::transact(database, &outbox::appender(), events, None).await.unwrap();
}

// --- appending --------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_credit_that_is_rolled_back_leaves_no_event() {
    let (world, _) = migrated().await;
    let mut database = world.connect().await;
    let customer = Uuid::now_v7();
    let mut given_up = database.begin().await.unwrap();
    credit(&mut given_up, &completed_order(customer, Utc::now())).await;
    let inside: i64 =
        sqlx::query_scalar("SELECT count(*) FROM customer_event").fetch_one(&mut *given_up).await.unwrap();
    assert_eq!(inside, 1, "Silver");
    given_up.rollback().await.unwrap();
    assert_eq!(journal(&world).await, []);

    credit(&mut database, &completed_order(customer, Utc::now())).await;
    let rows = journal(&world).await;
    assert_eq!((types(&rows), rows[0].version), (vec!["GradeAttained"], 1));
}

#[tokio::test]
async fn what_changes_nothing_is_no_event() {
    let (world, _) = migrated().await;
    let mut database = world.connect().await;
    let order = completed_order(Uuid::now_v7(), Utc::now());
    credit(&mut database, &order[..1]).await;
    assert_eq!(journal(&world).await, [], "40 points");
    credit(&mut database, &order).await;
    credit(&mut database, &order).await;
    assert_eq!(types(&journal(&world).await), ["GradeAttained"], "what comes again changes nothing");
}

/// Clocks of several machines, or of one that was put back.
#[tokio::test]
async fn a_history_does_not_run_back_when_the_clock_does() {
    let (world, _) = migrated().await;
    let mut database = world.connect().await;
    let (customer, now) = (Uuid::now_v7(), Utc::now());
    for (order, at) in [(0, now), (1, now - TimeDelta::hours(1)), (2, now + TimeDelta::hours(1))] {
        let events = completed_order(customer, now - TimeDelta::days(order + 1));
        ledger::transact(&mut database, &outbox::appender(), &events, Some(at)).await.unwrap();
    }
    let rows = journal(&world).await;
    assert_histories(&rows);
    assert_eq!(types(&rows), ["GradeAttained", "VipAcquired", "GradeAttained"]);
    assert_eq!(rows[0].occurred_at, rows[1].occurred_at, "the second one was decided before the first");
}

/// The grade and VIP status that somebody has who follows the events.
fn followed(messages: impl Iterator<Item = Value>) -> BTreeMap<Uuid, (String, bool)> {
    const RISING: [&str; 4] = ["bronze", "silver", "gold", "platinum"];
    let mut standings: BTreeMap<Uuid, (String, bool)> = BTreeMap::new();
    for event in messages {
        let customer = event["customer_id"].as_str().unwrap().parse().unwrap();
        let (grade, vip) = standings.entry(customer).or_insert(("bronze".to_owned(), false));
        let named = |event: &Value| RISING.iter().position(|name| event["grade"] == *name).unwrap();
        match event["event_type"].as_str().unwrap() {
            "GradeAttained" => {
                let attained = named(&event);
                assert_eq!(*grade, RISING[attained - 1], "{event}");
                *grade = RISING[attained].to_owned();
            }
            "GradeLost" => {
                let lost = named(&event);
                assert_eq!(*grade, RISING[lost], "{event}");
                *grade = RISING[lost - 1].to_owned();
            }
            "VipAcquired" => assert!(!std::mem::replace(vip, true), "{event}"),
            "VipLost" => assert!(std::mem::replace(vip, false), "{event}"),
            other => unreachable!("{other}"),
        }
    }
    standings
}

async fn standings(world: &World) -> BTreeMap<Uuid, (String, bool)> {
    let rows: Vec<(Uuid, i64, bool)> = sqlx::query_as("SELECT customer_id, points, vip FROM account")
        .fetch_all(&mut world.connect().await)
        .await
        .unwrap();
    let grade = |points| bonus::policy::V1.grade(points).name().to_owned();
    rows.into_iter().map(|(customer, points, vip)| (customer, (grade(points), vip))).collect()
}

/// Two processes' transactions and a sweep, on the same few customers: nobody gets a deadlock or a gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_credit_the_same_customers_at_once_leave_no_gap() {
    const ROUNDS: usize = 60;
    let (world, _) = migrated().await;
    let customers: Vec<Uuid> = (0..5).map(|_| Uuid::now_v7()).collect();
    let instance = |number: usize| {
        let (customers, url) = (customers.clone(), world.database_url.clone());
        tokio::spawn(async move {
            let mut database = PgConnection::connect(&url).await.unwrap();
            sqlx::raw_sql("SET search_path TO bonus").execute(&mut database).await.unwrap();
            let mut before: Vec<Vec<Event>> = Vec::new();
            for round in 0..ROUNDS {
                // Customers in another order each time, some awards from before the window; every other round takes all back.
                let age =
                    |place: usize| TimeDelta::days(if (place + round).is_multiple_of(3) { 40 } else { 1 });
                let of = |place: usize| customers[(place * (number + 1) + round) % customers.len()];
                let orders = if round.is_multiple_of(2) { 0..10 } else { 0..0 };
                let orders: Vec<Vec<Event>> =
                    orders.map(|place| completed_order(of(place), Utc::now() - age(place))).collect();
                let taken = before.iter().map(|order| cancellation(order));
                let events: Vec<Event> = orders.iter().flatten().cloned().chain(taken).collect();
                credit(&mut database, &events).await;
                sweep::step(&mut database, &outbox::appender(), 3, None).await.unwrap();
                before = orders;
            }
        })
    };
    for instance in [instance(0), instance(1), instance(2)] {
        instance.await.unwrap();
    }
    let rows = journal(&world).await;
    assert_histories(&rows);
    assert!(rows.len() > ROUNDS, "too little has happened: {}", rows.len());
    assert_eq!(rows.iter().map(|row| row.customer_id).collect::<BTreeSet<_>>().len(), customers.len());
    let payloads: Vec<Value> = sqlx::query_scalar("SELECT payload FROM customer_event ORDER BY seq")
        .fetch_all(&mut world.connect().await)
        .await
        .unwrap();
    assert_eq!(followed(payloads.into_iter()), standings(&world).await);
    println!("{} events", rows.len());
}

// --- publishing -------------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_carries_key_value_and_headers() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let (customer, order) = (Uuid::now_v7(), [Uuid::now_v7(), Uuid::now_v7()]);
    let events =
        order.map(|id| [event("OrderCreated", id, 1, customer), event("OrderCompleted", id, 4, customer)]);
    produce(&world, &events.concat()).await;
    world.points_become(&BTreeMap::from([(customer, 280)])).await;
    produce(&world, &[event("OrderCancelled", order[0], 9, customer)]).await;
    journal_has(&world, 3).await;
    outbox_empties(&world).await;
    assert_published(&world).await;
    let mut told = BTreeMap::new();
    for message in published(&world).await {
        let (value, headers) = (value(&message), headers(&message));
        let text = |field: &str| value[field].as_str().unwrap().to_owned();
        assert_eq!(rdkafka::Message::key(&message), Some(customer.to_string().as_bytes()));
        let expected = [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", text("event_id")),
            ("ce_source", "/bonus".to_owned()),
            ("ce_type", text("event_type")),
            ("ce_subject", customer.to_string()),
            ("ce_time", headers["ce_time"].clone()),
            ("ce_sequence", value["version"].to_string()),
            ("content-type", "application/json".to_owned()),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value)).into());
        let instant = |text: &str| DateTime::parse_from_rfc3339(text).unwrap();
        assert_eq!(instant(&headers["ce_time"]), instant(&text("occurred_at")));
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../contract");
        let golden = std::fs::read_to_string(format!("{folder}/{}.v1.json", text("event_type"))).unwrap();
        let golden: Value = serde_json::from_str(&golden).unwrap();
        let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(fields(&value), fields(&golden), "{value}");
        told.insert(text("event_type"), value);
    }
    assert_eq!(told["GradeAttained"]["grade"], "silver");
    let (_, account) = bonus.get(&format!("/api/bonuses/{customer}")).await;
    assert_eq!((&account["vip"], account["points"].as_i64()), (&false.into(), Some(140)));
    assert!(told.contains_key("VipAcquired") && told.contains_key("VipLost"), "{told:?}");
    assert_eq!(bonus.metric("customers_events_published_total").await, 3.0);
    let (_, summary) = bonus.get("/api/summary").await;
    let latest: Vec<&Value> =
        summary["latest_changes"].as_array().unwrap().iter().map(|change| &change["event_type"]).collect();
    assert_eq!(latest, ["VipLost", "VipAcquired", "GradeAttained"], "the newest first: {summary}");
    assert_eq!(summary["latest_changes"][2]["grade"], "silver");
    assert_eq!(summary["latest_changes"][0]["customer_id"], customer.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_is_published_in_order_while_kafka_is_killed_and_comes_back() {
    let directory = TempDir::new().unwrap();
    let kafka = tokio::task::block_in_place(|| Kafka::start(directory.path())).unwrap();
    let world = World::on(kafka.brokers()).await;
    let bonus = Bonus::start_with(&world, &[NEVER]).await;
    bonus.becomes_ready().await;
    let customers: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    let mut database = world.connect().await;
    for round in 0..6 {
        if round == 2 {
            tokio::task::block_in_place(|| kafka.kill()).unwrap();
        }
        // Another process, which has read before.
        let orders: Vec<Vec<Event>> =
            customers.iter().map(|customer| completed_order(*customer, Utc::now())).collect();
        credit(&mut database, &orders.concat()).await;
        let some: Vec<Event> = orders.iter().step_by(3).map(|order| cancellation(order)).collect();
        credit(&mut database, &some).await;
        if round == 3 {
            bonus.logged("Breaker open: publication stops, commands continue").await;
            let (status, readiness) = bonus.get("/readyz").await;
            assert_eq!(status, 200, "publication is no part of readiness: {readiness}");
        }
    }
    eventually("it is seen that events wait", async || {
        let pending = bonus.metric("customers_outbox_pending_events").await;
        if pending > 0.0 { Ok(()) } else { Err(pending.to_string()) }
    })
    .await;
    tokio::task::block_in_place(|| kafka.start_again()).unwrap();
    outbox_empties(&world).await;
    let twice = assert_published(&world).await;
    let messages = published(&world).await;
    let (mut seen, values) = (BTreeSet::new(), messages.iter().map(value));
    let first = values.filter(|value| seen.insert(value["event_id"].to_string()));
    assert_eq!(followed(first), standings(&world).await);
    println!("{} messages, {twice} of them twice", messages.len());
}

/// The test has the publisher's lease, so what is credited stays unpublished until the process is dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_between_credit_and_publication_loses_nothing() {
    let (world, _) = migrated().await;
    let mut publisher = world.connect().await;
    sqlx::query("SELECT pg_advisory_lock(publisher_lease_key())").execute(&mut publisher).await.unwrap();
    let bonus = Bonus::start_ready(&world).await;
    let customers: Vec<Uuid> = (0..30).map(|_| Uuid::now_v7()).collect();
    let order = |customer: &Uuid| {
        let id = Uuid::now_v7();
        [event("OrderCreated", id, 1, *customer), event("OrderCompleted", id, 4, *customer)]
    };
    produce(&world, &customers.iter().flat_map(order).collect::<Vec<_>>()).await;
    journal_has(&world, customers.len()).await;
    bonus.kill();
    let waiting: i64 =
        sqlx::query_scalar("SELECT count(*) FROM outbox_message").fetch_one(&mut publisher).await.unwrap();
    assert_eq!(usize::try_from(waiting), Ok(customers.len()), "nothing was published");
    publisher.close().await.unwrap();

    let _next = Bonus::start(&world).await;
    outbox_empties(&world).await;
    assert_eq!(assert_published(&world).await, 0);
    assert_eq!(journal(&world).await.len(), customers.len(), "what was read again is no second change");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_time_alone_changes_is_published_and_redis_is_not_needed() {
    let (world, _) = migrated().await;
    let (customer, long_ago) = (Uuid::now_v7(), Utc::now().trunc_subsecs(6) - TimeDelta::days(45));
    let mut database = world.connect().await;
    let awards = [completed_order(customer, long_ago), completed_order(customer, long_ago)].concat();
    ledger::transact(&mut database, &outbox::appender(), &awards, Some(long_ago)).await.unwrap();
    let bonus = Bonus::start_with(&world, &[NEVER, ("REDIS_URL", "redis://127.0.0.1:9")]).await;
    bonus.becomes_ready().await;
    journal_has(&world, 3).await;
    outbox_empties(&world).await;
    assert_published(&world).await;
    let told: Vec<Value> = published(&world).await.iter().map(value).collect();
    assert_eq!(told[1]["vip_until"], json!(awards[0].occurred_at + TimeDelta::hours(720)));
    assert_eq!((&told[2]["event_type"], &told[2]["version"]), (&"VipLost".into(), &3.into()));
    assert!(told[2]["occurred_at"].as_str().unwrap() > told[1]["occurred_at"].as_str().unwrap());
}

/// An event as a fault could leave it: larger than the topic takes. The customer's real changes come behind it.
async fn append_large(database: &mut PgConnection, customer: Uuid) {
    let insert = "INSERT INTO customer_event (seq, event_id, customer_id, version, event_type, payload, metadata, occurred_at)
        SELECT coalesce(max(seq), 0) + 1, gen_random_uuid(), $1, 1, 'GradeAttained',
               json_build_object('text', repeat('x', 4000)), '{}', now() - interval '1 minute'
        FROM customer_event";
    sqlx::query(insert).bind(customer).execute(database).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_event_holds_up_its_own_customer_only() {
    let (world, _) = migrated().await;
    create_narrow_topic(&world.brokers, &world.events_topic, "2000").await;
    let (held, free) = (Uuid::now_v7(), Uuid::now_v7());
    let mut database = world.connect().await;
    append_large(&mut database, held).await;
    let bonus = Bonus::start_with(&world, &[NEVER]).await;
    bonus.becomes_ready().await;
    for customer in [held, free] {
        credit(&mut database, &completed_order(customer, Utc::now())).await;
    }
    eventually("the refused event and the one behind it are set aside", async || {
        let aside: Vec<(Uuid, i64)> =
            sqlx::query_as("SELECT customer_id, count(*) FROM quarantined_event GROUP BY 1")
                .fetch_all(&mut database)
                .await
                .unwrap();
        if aside == [(held, 2)] { Ok(()) } else { Err(format!("{aside:?}")) }
    })
    .await;
    eventually("the other customer's is published", async || {
        let told: Vec<Value> = published(&world).await.iter().map(value).collect();
        let of = |value: &Value| value["customer_id"].as_str().map(str::to_owned);
        match told.iter().map(of).collect::<Vec<_>>()[..] {
            [Some(ref only)] if *only == free.to_string() => Ok(()),
            ref all => Err(format!("{all:?}")),
        }
    })
    .await;
    eventually("it is counted", async || {
        let counted = bonus.metric("customers_quarantined_customers").await;
        if counted == 1.0 { Ok(()) } else { Err(counted.to_string()) }
    })
    .await;
    let (status, _) = bonus.get("/readyz").await;
    assert_eq!(status, 200);

    let listed = run(&world, &["quarantine", "list", "--json"]).await.ended(0);
    let listed = &listed["customers"][0];
    assert_eq!((&listed["customer_id"], &listed["waiting_events"]), (&json!(held), &json!(2)));
    let first = listed["first_waiting_seq"].as_i64().unwrap();
    let held_text = held.to_string();
    let discard = async |seq: i64| {
        let by = ["--reason", "too large for anybody", "--by", "kim", "--yes", "--json"];
        let named = ["quarantine", "discard", &held_text, "--seq", &seq.to_string()];
        run(&world, &[&named[..], &by].concat()).await
    };
    discard(first + 1).await.failed(1, "is not the first waiting one");
    for repeated in [false, true] {
        let given_up = discard(first).await.ended(0);
        assert_eq!(given_up["repeated"], json!(repeated), "{given_up}");
    }
    eventually("the rest of the customer's events is published", async || {
        let told: Vec<Value> = published(&world).await.iter().map(value).collect();
        let rest = told.iter().filter(|value| value["customer_id"] == json!(held)).count();
        if rest == 1 { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    let nobody = Uuid::now_v7().to_string();
    let released = run(&world, &["quarantine", "release", &nobody, "--json"]).await.ended(1);
    assert_eq!(released["not_quarantined"], json!([nobody]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_compares_the_topic_that_is_published_to_and_asks_for_the_retrys_redis() {
    let (world, _) = migrated().await;
    let found = async |variables: &[(&str, &str)]| -> BTreeMap<String, (String, String)> {
        let variables = [&[("BONUS_AUTH", "off")], variables].concat();
        let report = run_with(&world, &variables, &["check", "--json"]).await;
        let report: Value = serde_json::from_str(&report.out).unwrap();
        let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
        let checks = report["checks"].as_array().unwrap().iter();
        checks.map(|of| (text(of, "name"), (text(of, "status"), text(of, "message")))).collect()
    };
    let level = |found: &BTreeMap<String, (String, String)>, name: &str| found[name].0.clone();
    let before = found(&[]).await;
    assert_eq!(level(&before, "events topic"), "warn", "it is not there yet: {before:?}");
    assert_eq!(level(&before, "redis"), "ok", "{before:?}");

    let bonus = Bonus::start_ready(&world).await;
    credit(&mut world.connect().await, &completed_order(Uuid::now_v7(), Utc::now())).await;
    outbox_empties(&world).await;
    let one = ("BONUS_EVENTS_TOPIC_PARTITIONS", "1");
    let made = found(&[one]).await;
    for name in ["events topic", "events cleanup", "events retention", "events timestamps"] {
        assert_eq!(level(&made, name), "ok", "{name}: {made:?}");
    }
    let (_, message) = &found(&[]).await["events topic"];
    assert!(message.contains("BONUS_EVENTS_TOPIC_PARTITIONS is 6"), "{message}");
    kafka::set(&world.brokers, &world.events_topic, "cleanup.policy", "compact").await;
    eventually("what would lose changes is told", async || {
        let found = found(&[one]).await;
        if level(&found, "events cleanup") == "fail" { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    let away = found(&[one, ("REDIS_URL", "redis://127.0.0.1:9")]).await;
    assert_eq!(level(&away, "redis"), "fail", "{away:?}");
    drop(bonus);
}

/// Whoever follows the topic with the ids they have seen, as its consumers have to.
fn absorbed(messages: &[rdkafka::message::OwnedMessage], seen: &mut BTreeSet<String>) -> Vec<Value> {
    let values = messages.iter().map(value);
    values.filter(|value| seen.insert(value["event_id"].to_string())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_lost_is_filled_again_by_a_replay_and_nothing_happens_twice() {
    let world = World::new().await;
    let bonus = Bonus::start_with(&world, &[NEVER]).await;
    bonus.becomes_ready().await;
    let mut database = world.connect().await;
    let customers: Vec<Uuid> = (0..8).map(|_| Uuid::now_v7()).collect();
    let mut orders: Vec<Vec<Event>> = Vec::new();
    for _ in 0..3 {
        orders = customers.iter().map(|customer| completed_order(*customer, Utc::now())).collect();
        credit(&mut database, &orders.concat()).await;
    }
    outbox_empties(&world).await;
    assert_eq!(assert_published(&world).await, 0);
    let mut seen = BTreeSet::new();
    let before = absorbed(&published(&world).await, &mut seen);
    assert_eq!(before.len(), 3 * customers.len(), "Silver, VIP, Gold");
    let (lost, points) = (before.len(), world.points().await);

    make_anew(&world.brokers, &world.events_topic, 1).await;
    eventually("the log says what is gone, and what to do", async || {
        let log = format!("{:?}", bonus.log_lines());
        let told = ["deleted and made anew: events up to position 24", "bonus replay --from 1"];
        if told.iter().all(|words| log.contains(words)) { Ok(()) } else { Err(log) }
    })
    .await;
    eventually("what was lost is measured", async || {
        let lost_events = bonus.metric("customers_topic_lost_events").await;
        if lost_events == lost as f64 { Ok(()) } else { Err(lost_events.to_string()) }
    })
    .await;
    // What happens meanwhile is published at once: everybody loses Gold.
    let cancelled: Vec<Event> = orders.iter().map(|order| cancellation(order)).collect();
    credit(&mut database, &cancelled).await;
    outbox_empties(&world).await;

    let replayed = run(&world, &["replay", "--from", "1", "--yes", "--json"]).await.ended(0);
    let sent = usize::try_from(replayed["sent"].as_i64().unwrap()).unwrap();
    assert_eq!((sent, &replayed["restored"]), (journal(&world).await.len(), &json!(true)), "{replayed}");
    // The new topic has one partition: first what came after the loss, then everything in its order.
    let messages = published(&world).await;
    assert_eq!(messages.len(), (sent - lost) + sent);
    let everything: BTreeSet<Uuid> = journal(&world).await.iter().map(|row| row.event_id).collect();
    assert_eq!(assert_ordered(&messages[sent - lost..]), everything);
    eventually("nothing is lost any more", async || {
        let lost_events = bonus.metric("customers_topic_lost_events").await;
        if lost_events == 0.0 { Ok(()) } else { Err(lost_events.to_string()) }
    })
    .await;
    // For a consumer that goes by ids nothing happens that it knows.
    let after = absorbed(&published(&world).await, &mut seen);
    assert!(after.len() == customers.len() && after.iter().all(|event| event["event_type"] == "GradeLost"));
    assert_eq!(followed(before.into_iter().chain(after)), standings(&world).await);
    let left: BTreeMap<Uuid, i64> =
        points.iter().map(|(customer, points)| (*customer, points - 140)).collect();
    assert_eq!(world.points().await, left);
    world.books_balance().await;
}

// --- Redis Streams ----------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_redis_streams_too_and_what_was_credited_while_redis_was_away_comes_later() {
    let world = RedisWorld::new().await;
    migrate(&world.config()).await;
    let bonus = world.start_with(&[NEVER]).await;
    bonus.becomes_ready().await;
    let customers: Vec<Uuid> = (0..10).map(|_| Uuid::now_v7()).collect();
    let order = |customer: &Uuid| {
        let id = Uuid::now_v7();
        [event("OrderCreated", id, 1, *customer), event("OrderCompleted", id, 4, *customer)]
    };
    world.publish(&customers.iter().flat_map(order).collect::<Vec<_>>());
    journal_has(&world, customers.len()).await;
    outbox_empties(&world).await;

    tokio::task::block_in_place(|| world.redis.kill()).unwrap();
    let mut database = world.connect().await;
    for customer in &customers {
        credit(&mut database, &completed_order(*customer, Utc::now())).await;
    }
    bonus.logged("Breaker open: publication stops, commands continue").await;
    tokio::task::block_in_place(|| world.redis.start_again()).unwrap();
    outbox_empties(&world).await;

    let rows = journal(&world).await;
    assert_histories(&rows);
    let entries: Vec<(String, Vec<String>)> =
        world.ask("XRANGE", &[&format!("{}:0", world.events_topic), "-", "+"]);
    let (mut seen, mut last) = (BTreeSet::new(), BTreeMap::<String, i64>::new());
    for (_, fields) in entries {
        let fields: BTreeMap<&str, &str> =
            fields.chunks(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
        let value: Value = serde_json::from_str(fields["value"]).unwrap();
        assert_eq!((fields["ce_source"], fields["key"]), ("/bonus", fields["ce_subject"]));
        if seen.insert(fields["ce_id"].parse::<Uuid>().unwrap()) {
            let last = last.entry(fields["key"].to_owned()).or_default();
            assert_eq!(value["version"].as_i64(), Some(*last + 1), "out of order: {value}");
            *last += 1;
        }
    }
    assert_eq!(seen, rows.iter().map(|row| row.event_id).collect());
}
