//! `stack up` and what one does with it, on a stack of this test's own.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use stack::local::{Home, Part};

const NAME: &str = "up-test";

fn run(arguments: &[&str]) -> String {
    said(support::tool().args(["--stack", NAME]), arguments)
}

fn said(tool: &mut Command, arguments: &[&str]) -> String {
    let output = tool.args(arguments).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

#[test]
fn up_is_idempotent_parts_die_and_return_and_down_leaves_nothing() {
    let home = Home::named(NAME).unwrap();
    run(&["down", "--wipe"]);
    let said = run(&["up"]);
    assert_eq!(said.matches("ready in").count(), 5, "{said}");
    let first = home.load();
    let said = run(&["up"]);
    assert_eq!(said.matches("was running").count(), 5, "{said}");

    for part in ["kafka", "postgres", "orders"] {
        run(&["kill", part]);
        assert!(run(&["status"]).contains("down"));
        run(&["start", part]);
    }
    run(&["freeze", "redis"]);
    assert!(run(&["status"]).contains("frozen"));
    run(&["thaw", "redis"]);

    // Somebody kills a part behind our back: up brings back that part alone.
    let processes = |state: stack::local::State| state.parts.into_values().filter_map(|entry| entry.process);
    home.load().parts[&Part::Bonus].process.unwrap().kill_tree();
    let said = run(&["up"]);
    assert_eq!((said.matches("ready in").count(), said.matches("was running").count()), (1, 4), "{said}");
    let last = home.load();
    for part in Part::ALL {
        assert_eq!(first.parts[&part].port, last.parts[&part].port, "{part} has moved");
    }

    run(&["down", "--wipe"]);
    assert!(processes(first).chain(processes(last)).all(|process| !process.is_alive()));
    assert!(!home.directory.exists());
}

/// It takes a port of its own choice, and only then is that known.
#[test]
fn status_tells_where_the_stand_in_for_kafka_is() {
    let run = |arguments: &[&str]| {
        said(support::tool().env("KAFKA", "embedded").args(["--stack", "embedded-test"]), arguments)
    };
    run(&["down", "--wipe"]);
    let up = run(&["up"]);
    let address = up.lines().find_map(|line| line.trim().strip_prefix("Kafka ")).unwrap().trim();
    let status = run(&["status"]);
    run(&["down", "--wipe"]);
    let line = status.lines().find(|line| line.trim().starts_with("kafka")).unwrap();
    assert!(line.contains(address), "{address}: {line}");
}
