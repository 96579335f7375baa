//! Messages that break the contract.

mod support;

use std::collections::BTreeMap;

use rdkafka::Message;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use std::time::Duration;
use support::kafka::{self, committed_and_end, header, produce};
use support::process::Bonus;
use support::{World, event, eventually};
use uuid::Uuid;

#[tokio::test]
async fn what_cannot_be_read_is_set_aside_whole_with_the_reason_and_the_rest_goes_on() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let customer = Uuid::now_v7();
    let mut mistyped = event("OrderCreated", Uuid::now_v7(), 1, customer);
    mistyped.value["version"] = "one".into();
    let broken: [(&str, Option<&[u8]>, &str); 4] = [
        ("not-json", Some(b"{\"event_type\""), "EOF"),
        ("binary", Some(b"\xff\x00\x01"), "not a JSON object"),
        ("empty", None, "no value"),
        ("mistyped", Some(&mistyped.value.to_string().into_bytes()), "invalid type"),
    ];
    let producer = kafka::producer(&world.brokers);
    let mut origins = BTreeMap::new();
    for (key, value, _) in broken {
        let headers = OwnedHeaders::new().insert(Header { key: "traceparent", value: Some("00-abc-def-01") });
        let mut record = FutureRecord::<str, [u8]>::to(&world.topic).key(key).headers(headers);
        record.payload = value;
        let origin = producer.send(record, Duration::from_secs(10)).await.unwrap();
        origins.insert(key, (origin.partition, origin.offset));
    }
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, customer)]).await;
    world.points_become(&BTreeMap::from([(customer, 40)])).await;

    let letters = kafka::read(&world.brokers, &format!("{}.dlq", world.topic), broken.len()).await;
    for (key, value, reason) in broken {
        let letter = letters.iter().find(|letter| letter.key() == Some(key.as_bytes())).unwrap();
        assert_eq!(letter.payload(), value, "{key}");
        let (partition, offset) = origins[key];
        let said = header(letter, "dead_letter_reason").unwrap();
        assert!(said.contains(reason), "{key}: {said}");
        assert_eq!(header(letter, "dead_letter_topic").as_ref(), Some(&world.topic), "{key}");
        assert_eq!(header(letter, "dead_letter_partition"), Some(partition.to_string()), "{key}");
        assert_eq!(header(letter, "dead_letter_offset"), Some(offset.to_string()), "{key}");
        assert_eq!(header(letter, "dead_letter_group").as_ref(), Some(&world.group), "{key}");
        assert_eq!(header(letter, "traceparent").as_deref(), Some("00-abc-def-01"), "{key}");
    }
    eventually("the offsets pass the dead letters", async || {
        let (committed, end) = committed_and_end(&world);
        if committed == end { Ok(()) } else { Err(format!("{committed} of {end}")) }
    })
    .await;
    assert_eq!(bonus.metric("bonus_dead_letters_total").await, 4.0);
}

#[tokio::test]
async fn a_dead_letter_that_its_headers_make_too_large_goes_without_its_value() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    // The broker takes at most 1048588 bytes with all overhead: this fits, but not with our headers on top.
    let size = 1_048_400;
    let value = vec![b'x'; size];
    let producer = kafka::producer(&world.brokers);
    let record = FutureRecord::<str, [u8]>::to(&world.topic).key("big").payload(&value);
    producer.send(record, Duration::from_secs(10)).await.unwrap();
    let letters = kafka::read(&world.brokers, &format!("{}.dlq", world.topic), 1).await;
    assert_eq!(letters[0].payload(), None);
    assert_eq!(letters[0].key(), Some(&b"big"[..]));
    assert_eq!(header(&letters[0], "dead_letter_value_bytes"), Some(size.to_string()));
    eventually("the offset passes it", async || {
        let (committed, end) = committed_and_end(&world);
        if committed == end { Ok(()) } else { Err(format!("{committed} of {end}")) }
    })
    .await;
    drop(bonus);
}

#[tokio::test]
async fn dead_letters_that_travel_together_keep_their_values() {
    let world = World::new().await;
    let (dead_letters, value) = (format!("{}.dlq", world.topic), vec![b'x'; 300]);
    // Each fits, two or three of them do, all of them do not.
    kafka::create_narrow_topic(&world.brokers, &dead_letters, "2000").await;
    let producer = kafka::producer(&world.brokers);
    for _ in 0..20 {
        let record = FutureRecord::<str, [u8]>::to(&world.topic).key("broken").payload(&value);
        producer.send(record, Duration::from_secs(10)).await.unwrap();
    }
    let bonus = Bonus::start_ready(&world).await;
    let letters = kafka::read(&world.brokers, &dead_letters, 20).await;
    assert!(letters.iter().all(|letter| letter.payload() == Some(&value[..])));
    drop(bonus);
}

#[tokio::test]
async fn a_fork_is_an_error_and_a_dead_letter_and_not_a_duplicate() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    let (order, customer) = (Uuid::now_v7(), Uuid::now_v7());
    let (booked, fork) =
        (event("OrderCreated", order, 1, customer), event("OrderCancelled", order, 1, customer));
    produce(&world, &[booked.clone(), booked.clone(), fork.clone()]).await;
    let letters = kafka::read(&world.brokers, &format!("{}.dlq", world.topic), 1).await;
    assert_eq!(letters[0].payload(), Some(fork.value.to_string().as_bytes()));
    let reason = header(&letters[0], "dead_letter_reason").unwrap();
    for named in [&booked, &fork].map(|event| event.value["event_id"].as_str().unwrap()) {
        assert!(reason.starts_with("a fork") && reason.contains(named), "{reason}");
    }
    let line = bonus
        .logged("Two events of one order have the same version; the second one goes to the dead-letter topic")
        .await;
    assert_eq!((&line["level"], &line["order.id"]), (&"ERROR".into(), &order.to_string().into()), "{line}");
    assert_eq!(bonus.metric("bonus_forks_total").await, 1.0);
    assert_eq!(bonus.metric("bonus_duplicates_absorbed_total").await, 1.0);
    assert_eq!(world.points().await, BTreeMap::from([(customer, 40)]));
}

/// The topic takes 100 kB, the message has 110 kB of headers.
#[tokio::test]
async fn a_letter_with_too_large_headers_is_reduced_and_everybody_else_is_credited() {
    let world = World::new().await;
    let dead_letters = format!("{}.dlq", world.topic);
    kafka::create_narrow_topic(&world.brokers, &dead_letters, "100000").await;
    let bonus = Bonus::start_ready(&world).await;
    let large = "x".repeat(110_000);
    let headers = OwnedHeaders::new().insert(Header { key: "large", value: Some(&large) });
    let record = FutureRecord::<str, str>::to(&world.topic).key("broken").payload("{").headers(headers);
    kafka::producer(&world.brokers).send(record, Duration::from_secs(10)).await.unwrap();
    let customer = Uuid::now_v7();
    let events: Vec<_> = (0..30).map(|_| event("OrderCreated", Uuid::now_v7(), 1, customer)).collect();
    produce(&world, &events).await;
    world.points_become(&BTreeMap::from([(customer, 1_200)])).await;
    let letters = kafka::read(&world.brokers, &dead_letters, 1).await;
    assert_eq!((letters[0].key(), letters[0].payload()), (Some(&b"broken"[..]), Some(&b"{"[..])));
    assert_eq!(header(&letters[0], "large"), None);
    assert_eq!(header(&letters[0], "dead_letter_left_out").as_deref(), Some("headers (110005 bytes)"));
    assert!(header(&letters[0], "dead_letter_reason").unwrap().contains("EOF"));
    bonus.logged("A dead letter was too large for its topic and was reduced").await;
}

#[tokio::test]
async fn a_letter_that_its_topic_takes_in_no_form_is_given_up_loudly_and_kept() {
    let world = World::new().await;
    kafka::create_narrow_topic(&world.brokers, &format!("{}.dlq", world.topic), "100").await;
    let bonus = Bonus::start_ready(&world).await;
    let record = FutureRecord::<str, str>::to(&world.topic).key("broken").payload("{");
    let origin = kafka::producer(&world.brokers).send(record, Duration::from_secs(10)).await.unwrap();
    let customer = Uuid::now_v7();
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, customer)]).await;
    world.points_become(&BTreeMap::from([(customer, 40)])).await;
    let line = bonus
        .logged("The dead-letter topic takes a letter in no form; it stays in the table dead_letter")
        .await;
    assert_eq!(line["level"], "ERROR", "{line}");
    assert_eq!((&line["partition"], &line["offset"]), (&origin.partition.into(), &origin.offset.into()));
    assert_eq!(bonus.metric("bonus_dead_letters_given_up_total").await, 1.0);
    eventually("the letter is counted as refused", async || {
        let (waiting, refused) = (
            bonus.metric("bonus_dead_letters_waiting").await,
            bonus.metric("bonus_dead_letters_refused").await,
        );
        if (waiting, refused) == (0.0, 1.0) { Ok(()) } else { Err(format!("{waiting}, {refused}")) }
    })
    .await;
    let kept: Vec<u8> = sqlx::query_scalar("SELECT value FROM dead_letter WHERE refused_at IS NOT NULL")
        .fetch_one(&mut world.connect().await)
        .await
        .unwrap();
    assert_eq!(kept, b"{");
}

#[tokio::test]
async fn a_dead_letter_topic_that_is_away_holds_up_nobody_and_gets_its_letters_later() {
    let world = World::new().await;
    let dead_letters = format!("{}.dlq", world.topic);
    kafka::create_topic_that_waits(&world.brokers, &dead_letters).await;
    let bonus = Bonus::start_ready(&world).await;
    let record = FutureRecord::<str, str>::to(&world.topic).key("broken").payload("{");
    kafka::producer(&world.brokers).send(record, Duration::from_secs(10)).await.unwrap();
    let customer = Uuid::now_v7();
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, customer)]).await;
    world.points_become(&BTreeMap::from([(customer, 40)])).await;
    eventually("the offsets pass the letter", async || {
        let (committed, end) = committed_and_end(&world);
        if committed == end { Ok(()) } else { Err(format!("{committed} of {end}")) }
    })
    .await;
    kafka::set(&world.brokers, &dead_letters, "min.insync.replicas", "1").await;
    let letters = kafka::read(&world.brokers, &dead_letters, 1).await;
    assert_eq!(letters[0].payload(), Some(&b"{"[..]));
    eventually("no letter is left in Postgres", async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM dead_letter")
            .fetch_one(&mut world.connect().await)
            .await
            .unwrap();
        if left == 0 { Ok(()) } else { Err(left.to_string()) }
    })
    .await;
    drop(bonus);
}

/// By a constraint that somebody has added: any other reason would do.
#[tokio::test]
async fn an_event_that_the_ledger_refuses_costs_nobody_else_their_points() {
    let world = World::new().await;
    let bonus = Bonus::start_ready(&world).await;
    sqlx::query("ALTER TABLE ledger ADD CONSTRAINT small CHECK (version < 1000)")
        .execute(&mut world.connect().await)
        .await
        .unwrap();
    let (anna, ben) = (Uuid::now_v7(), Uuid::now_v7());
    let refused = event("OrderCreated", Uuid::now_v7(), 1_000, anna);
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, ben), refused.clone()]).await;
    produce(&world, &[event("OrderCreated", Uuid::now_v7(), 1, ben)]).await;
    world.points_become(&BTreeMap::from([(ben, 80)])).await;
    let letters = kafka::read(&world.brokers, &format!("{}.dlq", world.topic), 1).await;
    assert_eq!(letters[0].payload(), Some(refused.value.to_string().as_bytes()));
    assert!(header(&letters[0], "dead_letter_reason").unwrap().contains("small"));
    drop(bonus);
}
