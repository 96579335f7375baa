//! The commands of the `bonus` binary, as an operator or a script runs them.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use serde_json::Value;
use support::command::{run, run_with};
use support::kafka::{self, create_topic, produce};
use support::process::Bonus;
use support::{TestEvent, World, event, eventually, histories};
use uuid::Uuid;

#[tokio::test]
async fn rebuild_makes_accounts_what_the_ledger_says() {
    let world = World::new().await;
    run(&world, &["rebuild"]).await.failed(1, "were left as they are");
    let _bonus = Bonus::start_ready(&world).await;
    let (events, expected) = histories(200, 10);
    produce(&world, &events).await;
    world.points_become(&expected).await;
    let well = run(&world, &["rebuild", "--json"]).await.ended(0);
    assert_eq!((&well["accounts"], &well["differences"]), (&10.into(), &Value::Array(vec![])), "{well}");

    let customers: Vec<Uuid> = expected.keys().copied().collect();
    let stranger = Uuid::now_v7();
    for (statement, customer) in [
        ("UPDATE account SET points = points + 1000 WHERE customer_id = $1", customers[0]),
        ("UPDATE account SET credited_events = 1 WHERE customer_id = $1", customers[1]),
        ("DELETE FROM account WHERE customer_id = $1", customers[2]),
        ("INSERT INTO account (customer_id, points, credited_events) VALUES ($1, 5, 1)", stranger),
        ("UPDATE account SET vip = false WHERE customer_id = $1", customers[3]),
        // Looked at too late, though right for now.
        (
            "UPDATE account SET vip_review_at = vip_review_at + interval '1 day' WHERE customer_id = $1",
            customers[4],
        ),
    ] {
        let changed =
            sqlx::query(statement).bind(customer).execute(&mut world.connect().await).await.unwrap();
        assert_eq!(changed.rows_affected(), 1);
    }
    // Nobody was told of the damage, so there is nothing to tell of the mending.
    let told = "SELECT count(*) FROM customer_event";
    let told =
        async || -> i64 { sqlx::query_scalar(told).fetch_one(&mut world.connect().await).await.unwrap() };
    let told_before = told().await;
    let tried = run(&world, &["rebuild", "--dry-run", "--json"]).await.ended(0);
    let rebuilt = run(&world, &["rebuild", "--json"]).await.ended(0);
    assert_eq!((told_before > 0, told().await), (true, told_before), "{rebuilt}");
    for report in [&tried, &rebuilt] {
        let changes = report["changes"].as_object().unwrap();
        assert!(changes.values().all(|number| number == 0), "{report}");
    }
    let differences = rebuilt["differences"].as_array().unwrap();
    let of = |customer: Uuid| {
        let found = differences.iter().find(|difference| difference["customer_id"] == customer.to_string());
        let found = found.unwrap_or_else(|| panic!("nothing about {customer} in {rebuilt}"));
        (found["points_before"].as_i64(), found["points_after"].as_i64())
    };
    let points = |place: usize| expected[&customers[place]];
    assert_eq!(differences.len(), 6);
    assert_eq!(of(customers[0]), (Some(points(0) + 1000), Some(points(0))));
    assert_eq!(of(customers[1]), (Some(points(1)), Some(points(1))));
    assert_eq!(of(customers[2]), (None, Some(points(2))));
    assert_eq!(of(stranger), (Some(5), None));
    let vip = differences.iter().find(|difference| difference["customer_id"] == customers[3].to_string());
    assert_eq!(vip.map(|vip| (&vip["vip_before"], &vip["vip_after"])), Some((&false.into(), &true.into())));
    assert_eq!(world.points().await, expected);
    world.books_balance().await;
    let exact = "SELECT count(*) FROM account, policy AS rules, vip_standing(account.customer_id, now(), rules) AS exact
                 WHERE rules.version = account.policy_version AND account.vip AND account.vip_review_at <= exact.vip_until";
    let exact: i64 = sqlx::query_scalar(exact).fetch_one(&mut world.connect().await).await.unwrap();
    assert_eq!(exact, 10, "every customer here is VIP");
    // The service goes on with them.
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, stranger)]).await;
    let mut more = expected.clone();
    more.insert(stranger, 40);
    world.points_become(&more).await;
    let table = run(&world, &["rebuild"]).await;
    assert_eq!(table.out, "11 accounts: every one is what its ledger rows come to.\n");
}

/// An earlier version of the service booked a cancellation as what it had of the order, and kept an award that came after it.
#[tokio::test]
async fn rebuild_mends_what_was_booked_in_the_wrong_order() {
    let world = World::new().await;
    let _bonus = Bonus::start_ready(&world).await;
    let (order, customer) = (Uuid::now_v7(), Uuid::now_v7());
    let mut database = world.connect().await;
    for (event_type, version, points) in [("OrderCancelled", 2, 0), ("OrderCreated", 1, 40)] {
        let insert = "INSERT INTO ledger (event_id, order_id, version, customer_id, event_type, points, policy_version, occurred_at)
                      VALUES ($1, $2, $3, $4, $5, $6, 1, now())";
        let insert = sqlx::query(insert).bind(Uuid::now_v7()).bind(order).bind(version).bind(customer);
        insert.bind(event_type).bind(points).execute(&mut database).await.unwrap();
    }
    let open = "INSERT INTO account (customer_id, points, credited_events) VALUES ($1, 40, 2)";
    sqlx::query(open).bind(customer).execute(&mut database).await.unwrap();
    let rebuilt = run(&world, &["rebuild", "--json"]).await.ended(0);
    let difference = &rebuilt["differences"][0];
    assert_eq!(
        (&difference["customer_id"], &difference["points_before"], &difference["points_after"]),
        (&customer.to_string().into(), &40.into(), &0.into()),
        "{rebuilt}"
    );
    assert_eq!(world.points().await, BTreeMap::from([(customer, 0)]));
}

/// As an earlier version of the service buried it, which could not read it.
async fn bury(world: &World, letters: &[TestEvent]) {
    let producer = kafka::producer(&world.brokers);
    let topic = format!("{}.dlq", world.topic);
    for letter in letters {
        let (key, value) = (letter.order_id.to_string(), letter.value.to_string());
        let headers = OwnedHeaders::new()
            .insert(Header { key: "dead_letter_reason", value: Some("an earlier reader could not") });
        let record = FutureRecord::to(&topic).key(&key).payload(&value).headers(headers);
        producer.send(record, Duration::from_secs(10)).await.unwrap();
    }
}

#[tokio::test]
async fn dead_letters_are_listed_and_credited_once_they_can_be_read() {
    let world = World::new().await;
    let empty = run(&world, &["dead-letters", "list", "--json"]).await.ended(0);
    assert_eq!(empty["letters"], Value::Array(vec![]));
    let _bonus = Bonus::start_ready(&world).await;
    let (anna, ben) = (Uuid::now_v7(), Uuid::now_v7());
    let producer = kafka::producer(&world.brokers);
    let garbage = FutureRecord::to(&world.topic).key("garbage").payload("{\"event_type\"");
    producer.send(garbage, Duration::from_secs(10)).await.unwrap();
    let listed = eventually("the garbage is buried", async || {
        let listed = run(&world, &["dead-letters", "list", "--json"]).await.ended(0);
        if listed["letters"].as_array().unwrap().len() == 1 { Ok(listed) } else { Err(listed.to_string()) }
    })
    .await;
    let letter = &listed["letters"][0];
    assert_eq!(
        (&letter["key"], &letter["value"]),
        (&"garbage".into(), &"{\"event_type\"".into()),
        "{letter}"
    );
    assert!(letter["reason"].as_str().unwrap().contains("EOF"), "{letter}");
    assert!(letter["origin"].as_str().unwrap().starts_with(&world.topic), "{letter}");

    // It stays garbage, and does not become two.
    for _ in 0..2 {
        let replayed = run(&world, &["dead-letters", "replay", "--json"]).await.ended(0);
        assert_eq!((&replayed["letters"], &replayed["credited"]), (&1.into(), &0.into()), "{replayed}");
        assert!(replayed["unreadable"][0]["reason"].as_str().unwrap().contains("EOF"), "{replayed}");
    }
    // Of an order that is cancelled meanwhile, and of one that is not.
    let (cancelled, kept) = (Uuid::now_v7(), Uuid::now_v7());
    produce(&world, &[event("OrderCancelled", cancelled, 2, ben)]).await;
    world.points_become(&BTreeMap::from([(ben, 0)])).await;
    let readable = [
        event("OrderCreated", cancelled, 1, ben),
        event("OrderCreated", kept, 1, anna),
        event("OrderPaid", kept, 2, anna),
        event("OrderCompleted", kept, 4, anna),
    ];
    bury(&world, &readable).await;
    let numbers = |replayed: &Value| {
        ["letters", "credited", "points", "duplicates", "cancelled", "without_value", "forks"]
            .map(|name| replayed[name].as_i64().unwrap())
    };
    let replayed = run(&world, &["dead-letters", "replay", "--json"]).await.ended(0);
    assert_eq!(numbers(&replayed), [5, 3, 140, 0, 1, 1, 0], "{replayed}");
    let again = run(&world, &["dead-letters", "replay", "--json"]).await.ended(0);
    assert_eq!(numbers(&again), [5, 0, 0, 3, 0, 1, 0], "{again}");
    assert_eq!(world.points().await, BTreeMap::from([(anna, 140), (ben, 0)]));
    world.books_balance().await;
    let newest = run(&world, &["dead-letters", "list", "--limit", "2"]).await;
    assert_eq!((newest.code, newest.out.lines().count()), (0, 3), "{}", newest.out);
    assert!(newest.out.contains("an earlier reader could not"), "{}", newest.out);
}

#[tokio::test]
async fn what_cannot_be_done_is_said_with_its_exit_code() {
    let world = World::new().await;
    let no_database = [("DATABASE_URL", "postgresql://app:app@127.0.0.1:1/app")];
    run_with(&world, &no_database, &["rebuild"]).await.failed(1, "127.0.0.1:1/app cannot be reached");
    run_with(&world, &no_database, &["dead-letters", "replay"]).await.failed(1, "Postgres");
    let no_kafka = [("KAFKA_BROKERS", "127.0.0.1:1")];
    for command in ["list", "replay"] {
        let ran = run_with(&world, &no_kafka, &["dead-letters", command]).await;
        ran.failed(1, "Kafka at 127.0.0.1:1 cannot be reached");
    }
    // A schema that is not there is named only when there is something to credit.
    create_topic(&world.brokers, &format!("{}.dlq", world.topic), 1).await;
    bury(&world, &[event("OrderCreated", Uuid::now_v7(), 1, Uuid::now_v7())]).await;
    run(&world, &["dead-letters", "replay"]).await.failed(1, "credit_events");
    for wrong in [&["rebuild", "now"][..], &["dead-letters"], &["dead-letters", "list", "--limit", "0"]] {
        run(&world, wrong).await.failed(2, "");
    }
    let garbled = [("BONUS_DB_SCHEMA", "a;b")];
    run_with(&world, &garbled, &["rebuild"]).await.failed(2, "a;b");
}
