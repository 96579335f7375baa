//! `fuzz/corpus/`, which `make fuzz-bytes` begins with, read once more. What it finds to be wrong is put there.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "../../fuzz/checks/bonus.rs"]
mod checks;

use std::path::Path;

use stack::corpus;

#[test]
fn messages_are_credited_ignored_or_dead_letters() {
    corpus::play(Path::new("../fuzz/corpus/message"), checks::message).unwrap();
}

#[test]
fn entries_of_streams_are_messages_or_errors() {
    corpus::play(Path::new("../fuzz/corpus/entry"), checks::entry).unwrap();
}
