//! `fuzz/corpus/`, which `make fuzz-bytes` begins with, read once more. What it finds to be wrong is put there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "../fuzz/checks/orders.rs"]
mod checks;

use std::path::Path;

use stack::corpus;

#[test]
fn stored_events_are_read_and_written_again() {
    corpus::play(Path::new("fuzz/corpus/event"), checks::event).unwrap();
}

#[test]
fn bodies_are_taken_or_refused_with_a_reason() {
    corpus::play(Path::new("fuzz/corpus/body"), checks::body).unwrap();
}
