//! What holds for whatever bytes the order service reads. Played with made-up ones by `make fuzz-bytes`, and with those of
//! `fuzz/corpus/` by `tests/corpus.rs`.

use chrono::DateTime;
use engine::aggregate::{AggregateId, Recorded};
use orders::http::read_body;
use orders::order::wire;
use uuid::Uuid;

/// The operations whose bodies are read, as the OpenAPI document names them.
const OPERATIONS: [&str; 5] = ["create_order", "pay_order", "ship_order", "complete_order", "cancel_order"];
/// Largest problem that a body is answered, in bytes. A body may be larger.
const PROBLEM_BYTES_MAX: usize = 32_768;
const ERRORS_MAX: usize = 20;

/// A stored event: what can be read can be written, and is read as the same again.
pub fn event(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(data) = wire::decode(text) else { return };
    let (event_id, aggregate_id) = (Uuid::nil(), AggregateId(Uuid::nil()));
    let recorded = Recorded { event_id, aggregate_id, version: 1, occurred_at: DateTime::UNIX_EPOCH, data };
    let written = wire::encode(&recorded).expect("an event that was read can be written");
    let again = wire::decode(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(again, recorded.data, "{written}");
}

/// A request's body: what is taken is taken again in the form in which it was understood; what is refused is told so, shortly.
pub fn body(bytes: &[u8]) {
    for operation in OPERATIONS {
        let read = read_body(operation, bytes).expect("the operation has a body");
        match read {
            Ok(understood) => {
                let again = read_body(operation, understood.as_bytes()).and_then(Result::ok);
                assert_eq!(again.as_ref(), Some(&understood), "{operation}");
            }
            Err(problem) => {
                assert!(matches!(problem.status, 400 | 422), "{operation}: {}", problem.status);
                assert!(!problem.detail.is_empty() && problem.errors.len() <= ERRORS_MAX, "{operation}");
                assert_eq!(
                    problem.status == 422,
                    !problem.errors.is_empty(),
                    "{operation}: {}",
                    problem.detail
                );
                let answer = serde_json::to_string(&problem).expect("a problem can be written");
                assert!(answer.len() <= PROBLEM_BYTES_MAX, "{operation}: {} bytes", answer.len());
            }
        }
    }
}
