//! How a stack ends: its parts in the order of flow, and whatever else was left behind.

use std::time::Duration;

use anyhow::Result;

use super::{Home, Part, Shape, State};
use crate::servers::identity::{Identity, wait_gone, working_in};

/// Programs that a stack's processes run, as the kernel names them.
const PROGRAMS: [&str; 6] = ["postgres", "redis-server", "java", "stack", "bonus", "orders"];

/// In the order of flow. A primary before its standby, which it gives its last words.
const DOWNWARDS: [Part; 9] = [
    Part::Orders,
    Part::Bonus,
    Part::Kafka3,
    Part::Kafka2,
    Part::Kafka,
    Part::Redis,
    Part::PostgresAddress,
    Part::Postgres,
    Part::Postgres2,
];

/// Stops all parts that the stack's state names, in the order of flow, and whatever else an earlier run left behind.
pub fn down(home: &Home, told: impl Fn(Part, &str)) -> Result<()> {
    let mut state = home.load();
    for part in DOWNWARDS {
        let process =
            state.parts.get(&part).and_then(|entry| entry.process).filter(|process| process.is_alive());
        let Some(process) = process else { continue };
        told(part, stop(part, process, state.shape));
    }
    kill_strays(home, &State::default());
    for entry in state.parts.values_mut() {
        entry.process = None;
    }
    if state.parts.is_empty() { Ok(()) } else { home.save(&state) }
}

fn stop(part: Part, process: Identity, shape: Shape) -> &'static str {
    use nix::sys::signal::Signal;
    let (signal, patience) = match part {
        // Does not wait for clients to go.
        Part::Postgres | Part::Postgres2 => (Signal::SIGINT, Duration::from_secs(20)),
        // The last of several brokers ask a majority of controllers for leave, which there is not any more.
        Part::Kafka | Part::Kafka2 | Part::Kafka3 if shape.brokers > 1 => {
            (Signal::SIGTERM, Duration::from_secs(5))
        }
        _ => (Signal::SIGTERM, Duration::from_secs(25)),
    };
    let tree = process.tree();
    process.signal(signal);
    process.thaw_tree();
    let stopped = wait_gone(&tree, patience);
    process.kill_tree();
    if stopped { "stopped" } else { "killed: it did not stop in time" }
}

/// Kills what works in the stack's directories and is not on record.
pub(crate) fn kill_strays(home: &Home, state: &State) -> usize {
    let known: Vec<Identity> =
        state.parts.values().filter_map(|entry| entry.process).flat_map(Identity::tree).collect();
    let directories = home.directories();
    let found = directories.iter().flat_map(|directory| working_in(directory, &PROGRAMS));
    let own = std::process::id();
    let is_own = |process: &Identity| u32::try_from(process.pid).is_ok_and(|pid| pid == own);
    let strays: Vec<Identity> =
        found.filter(|process| !known.contains(process) && !is_own(process)).collect();
    for stray in &strays {
        stray.kill_tree();
    }
    strays.len()
}
