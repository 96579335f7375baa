//! What holds for whatever bytes the bonus service receives. Played with made-up ones by `make fuzz-bytes`, and with those of
//! `fuzz/corpus/` by `bonus/tests/corpus.rs`.

use std::sync::Arc;

use bonus::error::Undecodable;
use bonus::message::{self, Incoming};
use bonus::streams::{Entry, claimed, entries, streams};
use chrono::Datelike;

/// Longest reason of a dead letter, in bytes.
const REASON_BYTES_MAX: usize = 2_048;

/// A message's value: credited, ignored, or a dead letter with a short reason; blanks around it change nothing.
pub fn message(bytes: &[u8]) {
    let outcome = message::decode(Some(bytes));
    match &outcome {
        // What Postgres takes.
        Ok(Incoming::Valued(event)) => {
            assert!(event.version >= 1 && (1..=9999).contains(&event.occurred_at.year()), "{event:?}");
        }
        Ok(Incoming::Ignored(_)) => {}
        Err(reason) => {
            let reason = reason.to_string();
            assert!(!reason.is_empty() && reason.len() <= REASON_BYTES_MAX, "{} bytes", reason.len());
        }
    }
    let padded = [b" \n", bytes, b"\t "].concat();
    match (outcome, message::decode(Some(&padded))) {
        (Ok(as_is), Ok(padded)) => assert_eq!(as_is, padded),
        // The reason may tell a place.
        (Err(_), Err(_)) => {}
        (as_is, padded) => panic!("{as_is:?}, with blanks around it {padded:?}"),
    }
}

/// What Redis answers, as bytes: entries, or an error, and each entry a message.
pub fn entry(bytes: &[u8]) {
    let Ok(reply) = redis::parse_redis_value(bytes) else { return };
    // Each is asked for by another command, and may come whatever was asked.
    let of_streams = streams(reply.clone()).unwrap_or_default().into_iter().flat_map(|(_, found)| found);
    let of_claim = claimed(reply.clone()).map(|claimed| claimed.entries).unwrap_or_default();
    for (id, fields) in of_streams.chain(of_claim).chain(entries(reply).unwrap_or_default()) {
        let Some(fields) = fields else { continue };
        let given = fields.len();
        let entry = Entry { topic: Arc::from("orders.events"), partition: 0, id, fields };
        assert!(entry.headers().count() <= given, "{entry:?}");
        assert_eq!(entry.id.to_string().parse(), Ok(entry.id));
        match entry.value() {
            Some(value) => message(value),
            None => assert!(matches!(message::decode(None), Err(Undecodable::NoValue))),
        }
    }
}
