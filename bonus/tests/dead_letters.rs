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
