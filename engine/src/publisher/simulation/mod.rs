//! Runs the two machines of each instance, publication and retry, against a model of everything around them. One seed decides a
//! whole schedule. The invariants are checked after every step.
//! (After FoundationDB's and TigerBeetle's simulations: a pure core makes every schedule repeatable.)

mod instance;
mod redis;
mod world;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};

use self::world::World;

/// Two million schedules take less than a minute on two cores, because most are short: faults show in few steps.
const RUNS: u64 = 2_000_000;
/// Far more rounds than healing has ever needed; reaching it means that something is stuck.
const HEALING_ROUNDS_MAX: usize = 5_000;

fn steps(seed: u64) -> u64 {
    if seed.is_multiple_of(100) { 400 } else { 15 + seed % 30 }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..steps(seed) {
        world.step();
    }
    // The partition that stays down: at times none, at times one that the topic does not have.
    world.partitions_down = [(seed % 5) as u32].into();
    let healed = (0..HEALING_ROUNDS_MAX).any(|_| world.heal_but_one());
    assert!(healed, "one partition stops others: {}", world.state());
    world.append();
    let healed = (0..HEALING_ROUNDS_MAX).any(|_| world.heal_but_one());
    assert!(healed, "one partition stops new events of others: {}", world.state());
    let healed = (0..HEALING_ROUNDS_MAX).any(|_| world.heal());
    assert!(healed, "stuck: {}", world.state());
    assert_eq!(world.missing(), None, "not every event was delivered");
}

/// The cursor jumped to a released event that lay ahead of the journal's reader.
#[test]
fn a_released_event_ahead_does_not_pull_the_cursor() {
    run(115_400);
}

/// Redis loses the job while every breaker is open: an instance must notice.
#[test]
fn a_forgotten_job_is_missed() {
    run(883);
}

/// An attempt from memory forfeited the lease, and no longer wanted it when the keeper ended the tenure: no retry was coming.
#[test]
fn an_attempt_that_forfeits_the_lease_goes_on() {
    run(1_500);
}

/// Redis died when the job's attempt failed on an instance that had waited in memory before: there was no timer, and no date to
/// watch.
#[test]
fn a_job_that_fails_as_redis_dies_is_missed() {
    run(23_500);
}

/// A lane that failed again before the journal was read far enough was drained at once: an event that an earlier publisher had
/// deferred was taken from its row and from the journal, and blocked itself.
#[test]
fn what_a_former_publisher_deferred_is_taken_once() {
    run(2_084_400);
}

/// An event that a release had delivered ahead of the journal was parked again when it was read from the journal, behind the rows
/// that the release had read: no further release sent it.
#[test]
fn what_a_release_delivered_is_not_parked_again() {
    run(2_208_400);
}

/// Prints the seed of a schedule that breaks an invariant. `SIMULATION_SEED` replays one, `SIMULATION_RUNS` sets how many.
#[test]
fn random_schedules_keep_every_invariant() {
    let from_environment = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = from_environment("SIMULATION_SEED") {
        return run(seed);
    }
    let (runs, next) = (from_environment("SIMULATION_RUNS").unwrap_or(RUNS), AtomicU64::new(0));
    let broken = |seed: u64| catch_unwind(|| run(seed)).is_err().then_some(seed);
    let search = || {
        std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed))
            .take_while(|seed| *seed < runs)
            .find_map(broken)
    };
    let found = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let searches: Vec<_> = (0..threads).map(|_| scope.spawn(search)).collect();
        searches.into_iter().filter_map(|search| search.join().ok().flatten()).min()
    });
    if let Some(seed) = found {
        panic!("schedule {seed} broke an invariant; replay it with SIMULATION_SEED={seed}");
    }
}
