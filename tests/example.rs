//! The example: another aggregate on the same engine, on real servers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[expect(dead_code, reason = "its main is not run here")]
#[path = "../examples/stock/main.rs"]
mod stock;
mod support;

use clap::Parser;
use engine::aggregate::AggregateId;
use engine::journal::Refusal;
use engine::{CommandError, Perform};
use serde_json::{Value, json};
use stock::aggregate::{Command, Rejection};
use support::{Servers, Stage, read_messages};
use tokio::runtime::Runtime;
use uuid::Uuid;

fn arguments(stage: &Stage) -> stock::Arguments {
    let Servers { kafka, redis, .. } = &stage.servers;
    let options = [
        ("--database-url", &stage.database_url),
        ("--topic", &stage.topic),
        ("--kafka-brokers", kafka),
        ("--redis-url", redis),
    ];
    let words = options.into_iter().flat_map(|(option, value)| [option, value.as_str()]);
    stock::Arguments::parse_from(["stock"].into_iter().chain(words))
}

#[test]
fn an_aggregate_that_is_no_order_is_decided_stored_and_published() {
    let runtime = Runtime::new().unwrap();
    let stage = runtime.block_on(Stage::new());
    assert_eq!(stock::play(&arguments(&stage)).unwrap(), 6);

    let stored: Vec<(i64, String, Value)> = runtime.block_on(async {
        let events = "SELECT version, event_type, payload FROM stock_event ORDER BY seq";
        sqlx::query_as(events).fetch_all(&stage.database).await.unwrap()
    });
    let expected = [
        (1, "StockListed", json!({ "version": 1, "event": "listed", "name": "teapot" })),
        (2, "StockReceived", json!({ "version": 2, "event": "received", "pieces": 10 })),
        (3, "StockPicked", json!({ "version": 3, "event": "picked", "pieces": 4 })),
    ];
    assert_eq!(stored, expected.clone().map(|(version, kind, data)| (version, kind.to_owned(), data)));
    let sent = read_messages(&stage.servers.kafka, &stage.topic);
    assert_eq!(
        sent.iter().map(|message| &message.value).collect::<Vec<_>>(),
        expected.each_ref().map(|(.., data)| data)
    );
    for message in &sent {
        let header = |name: &str| message.headers.iter().find(|(key, _)| key == name).unwrap().1.as_str();
        assert_eq!((header("ce_source"), header("ce_subject")), ("/stock", message.key.as_str()));
    }
}

/// Of two instances the second one has read nothing of what the first one has begun.
#[test]
fn a_creation_is_refused_and_nothing_is_not_found_by_what_is_committed() {
    let stage = Runtime::new().unwrap().block_on(Stage::new());
    kit::system().unwrap().block_on(async {
        let (one, other) = (stock::start(&arguments(&stage)).await, stock::start(&arguments(&stage)).await);
        let (one, other) = (one.unwrap(), other.unwrap());
        let list = || Command::List { name: "teapot".to_owned() };
        let id = || AggregateId(Uuid::now_v7());

        let taken = id();
        one.aggregates.perform(Perform::new(taken, list())).await.unwrap();
        let refused = other.aggregates.perform(Perform::new(taken, list())).await.unwrap_err();
        assert_eq!(refused, CommandError::Refused(Refusal::Rejected(Rejection::AlreadyListed)));

        let new = id();
        let receive = |pieces| Perform::new(new, Command::Receive { pieces });
        assert_eq!(other.aggregates.perform(receive(1)).await.unwrap_err(), CommandError::NotFound);
        let unseen =
            other.aggregates.perform(Perform { expected_version: Some(7), ..Perform::new(new, list()) });
        let actual = Refusal::VersionMismatch { expected: 7, actual: 0 };
        assert_eq!(unseen.await.unwrap_err(), CommandError::Refused(actual));
        one.aggregates.perform(Perform::new(new, list())).await.unwrap();
        let received = other.aggregates.perform(receive(3)).await.unwrap();
        assert_eq!((received.current.state.pieces, received.current.version), (3, 2));
        let nothing = other.aggregates.perform(receive(0)).await.unwrap();
        assert_eq!(nothing.current.version, 2, "no event");
        for engine in [one, other] {
            engine.stop(stock::GRACE).await;
        }
    });
}
