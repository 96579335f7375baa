//! A disk that is full.

use stack::servers::{Condition, Postgres, Small, SmallDisk};

use super::eventually;

fn skipped(test: &str) -> bool {
    let reason = SmallDisk::unavailable();
    if let Some(reason) = reason {
        eprintln!("SKIPPED {test}: {reason}");
    }
    reason.is_some()
}

#[test]
fn full_tables_refuse_and_recover_by_themselves() {
    if skipped("full_tables_refuse_and_recover_by_themselves") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (postgres, disk) = Postgres::start_on_small_disk(directory.path(), Small::Tables, 64).unwrap();
    postgres.execute(&["CREATE TABLE t (n int, text text)", "INSERT INTO t VALUES (1)"]).unwrap();
    disk.fill().unwrap();
    let more = "INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 100) n";
    let error = format!("{:#}", postgres.execute(&[more]).unwrap_err());
    assert!(error.contains("could not extend file"), "{error}");
    postgres.execute(&["SELECT count(*) FROM t"]).unwrap();
    disk.free().unwrap();
    postgres.execute(&[more]).unwrap();
}

#[test]
fn a_full_log_ends_the_server_and_what_was_committed_is_there_afterwards() {
    if skipped("a_full_log_ends_the_server_and_what_was_committed_is_there_afterwards") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (postgres, disk) = Postgres::start_on_small_disk(directory.path(), Small::WriteAheadLog, 96).unwrap();
    postgres.execute(&["CREATE TABLE t (n int, text text)", "INSERT INTO t VALUES (1)"]).unwrap();
    disk.fill().unwrap();
    // More than what is left of the segments there are.
    let more = "INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 100000) n";
    postgres.execute(&[more]).unwrap_err();
    // With room too early it would recover by itself, and be half there while this test goes on.
    eventually("the server has ended itself", || postgres.condition() == Condition::Down);
    disk.free().unwrap();
    postgres.start_again().unwrap();
    let kept = "DO $$ BEGIN ASSERT (SELECT count(*) FROM t) = 1; END $$";
    postgres.execute(&[kept, "INSERT INTO t VALUES (2)"]).unwrap();
}
