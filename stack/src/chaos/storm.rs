//! PURE: what goes wrong, and when. The same seed gives the same storms.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::plan::{BONUSES, Fault, Kind, ORDERS, Peer, Primary, Stage, Target};

/// Before which of the drills the topic is deleted, at the latest.
const REMAKE_PLACE_MAX: usize = 1;
/// An operator is quicker than this, in a run that has little time.
const REMAKE_REACTION_SECONDS: u64 = 6;

/// What befalls a target on any stage.
fn usual(target: Target) -> &'static [Kind] {
    match target {
        Target::Kafka(_) | Target::Postgres => &[Kind::Kill, Kind::Freeze, Kind::Restart],
        Target::Redis => &[Kind::Kill, Kind::Freeze, Kind::Restart, Kind::Forget],
        Target::Brokers | Target::Standby => &[],
        Target::Orders(_) => &[
            Kind::Kill,
            Kind::Kill,
            Kind::Freeze,
            Kind::Restart,
            Kind::Cut(Peer::Kafka),
            Kind::Cut(Peer::Postgres),
            Kind::Cut(Peer::Redis),
            Kind::Stall(Peer::Kafka),
            Kind::Stall(Peer::Postgres),
            Kind::Stall(Peer::Redis),
        ],
        Target::Bonus(_) => &[
            Kind::Kill,
            Kind::Kill,
            Kind::Freeze,
            Kind::Restart,
            Kind::Cut(Peer::Kafka),
            Kind::Cut(Peer::Postgres),
            Kind::Stall(Peer::Kafka),
            Kind::Stall(Peer::Postgres),
        ],
    }
}

/// What befalls it besides on a stage with failovers.
fn gray(target: Target) -> &'static [Kind] {
    match target {
        Target::Kafka(_) | Target::Redis => &[],
        Target::Brokers => &[Kind::Roll, Kind::Quota],
        Target::Standby => &[Kind::Freeze, Kind::Kill],
        Target::Postgres => &[
            Kind::Failover(Primary::Planned),
            Kind::Failover(Primary::Planned),
            Kind::Failover(Primary::Killed),
            Kind::Failover(Primary::Killed),
            Kind::Failover(Primary::CutOff),
            Kind::Failover(Primary::CutOff),
        ],
        Target::Orders(_) => &[
            Kind::Abandon(Peer::Kafka),
            Kind::Abandon(Peer::Postgres),
            Kind::Abandon(Peer::Redis),
            Kind::Slow(Peer::Kafka),
            Kind::Slow(Peer::Postgres),
        ],
        Target::Bonus(_) => {
            &[Kind::Abandon(Peer::Kafka), Kind::Abandon(Peer::Postgres), Kind::Slow(Peer::Kafka)]
        }
    }
}

impl Stage {
    fn kinds(self, target: Target) -> Vec<Kind> {
        let mut kinds = usual(target).to_vec();
        if self.failovers {
            kinds.extend(gray(target));
        }
        if self.small_disk && target == Target::Postgres {
            kinds.push(Kind::Full);
        }
        kinds
    }

    pub(super) fn targets(self) -> Vec<Target> {
        let standby = self.failovers.then_some([Target::Standby, Target::Brokers]);
        (0..self.brokers)
            .map(Target::Kafka)
            .chain([Target::Redis, Target::Postgres])
            .chain(standby.into_iter().flatten())
            .chain((0..ORDERS).map(Target::Orders))
            .chain((0..BONUSES).map(Target::Bonus))
            .collect()
    }

    /// What befalls everything once by itself, in turn, so that its own recovery can be measured. None without failovers.
    pub(super) fn drills(self, seed: u64) -> Vec<Fault> {
        let drill = |target, kind, seconds| {
            let lasts = Duration::from_secs(seconds);
            Fault { at: Duration::ZERO, target, kind, lasts }
        };
        let failover = |primary, seconds| drill(Target::Postgres, Kind::Failover(primary), seconds);
        // Failovers twice: a run of 40 minutes has some seventy drills, and thirty of them are to be failovers of Postgres.
        let mut drills = vec![
            failover(Primary::Planned, 1),
            drill(Target::Kafka(0), Kind::Kill, 4),
            failover(Primary::Killed, 1),
            drill(Target::Kafka(1), Kind::Freeze, 5),
            failover(Primary::CutOff, 3),
            drill(Target::Brokers, Kind::Roll, 0),
            failover(Primary::Planned, 1),
            drill(Target::Brokers, Kind::Quota, 10),
            failover(Primary::Killed, 1),
            drill(Target::Standby, Kind::Freeze, 3),
            failover(Primary::CutOff, 3),
            drill(Target::Kafka(2), Kind::Restart, 2),
            drill(Target::Orders(0), Kind::Abandon(Peer::Postgres), 0),
            drill(Target::Orders(0), Kind::Slow(Peer::Kafka), 10),
        ];
        if self.small_disk {
            drills.push(drill(Target::Postgres, Kind::Full, 4));
        }
        // Early, so that short runs have it, too; with an operator who may be quick or slow.
        let mut rng = SmallRng::seed_from_u64(seed);
        let place = rng.random_range(0..=REMAKE_PLACE_MAX);
        drills.insert(
            place,
            drill(Target::Brokers, Kind::Remake, rng.random_range(0..REMAKE_REACTION_SECONDS)),
        );
        if self.failovers { drills } else { Vec::new() }
    }
}

/// The `number`th storm of a seed: up to `intensity` faults at once, never two at once on one target, ordered by their beginning.
pub(super) fn storm(stage: Stage, seed: u64, number: u64, intensity: usize) -> Vec<Fault> {
    let mut rng = SmallRng::seed_from_u64(seed ^ number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let length = Duration::from_millis(rng.random_range(6_000..16_000));
    let mut faults: Vec<Fault> = Vec::new();
    for _ in 0..intensity {
        let mut at = Duration::from_millis(rng.random_range(0..1_500));
        while at < length {
            // Mostly short: what goes wrong during a recovery is worth more than a longer silence.
            let lasts = Duration::from_millis(if rng.random_bool(0.7) {
                rng.random_range(100..2_000)
            } else {
                rng.random_range(2_000..9_000)
            });
            let free: Vec<Target> = stage
                .targets()
                .into_iter()
                .filter(|target| {
                    let mut own = faults.iter().filter(|fault| fault.target.lane() == target.lane());
                    own.all(|fault| fault.end() < at || at + lasts < fault.at)
                })
                .collect();
            if let Some(&target) = free.choose(&mut rng)
                && let Some(&kind) = stage.kinds(target).choose(&mut rng)
            {
                faults.push(Fault { at, target, kind, lasts });
            }
            at += lasts + Duration::from_millis(rng.random_range(50..1_000));
        }
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGES: [Stage; 2] = [
        Stage { brokers: 1, failovers: false, small_disk: false },
        Stage { brokers: 3, failovers: true, small_disk: true },
    ];

    #[test]
    fn a_seed_names_its_storms() {
        for (stage, seed) in STAGES.into_iter().flat_map(|stage| (0..200).map(move |seed| (stage, seed))) {
            let faults = storm(stage, seed, 3, 4);
            assert_eq!(faults, storm(stage, seed, 3, 4));
            assert_ne!(faults, storm(stage, seed, 4, 4));
            for (place, fault) in faults.iter().enumerate() {
                let lane = fault.target.lane();
                let mut others = faults.iter().skip(place + 1).filter(|other| other.target.lane() == lane);
                assert!(others.all(|other| other.at > fault.end()), "two faults at once on {}", fault.target);
            }
        }
    }

    /// Two minutes have two drills at the least.
    #[test]
    fn the_topic_is_deleted_once_in_each_round_of_drills_and_early() {
        let [alone, with_failovers] = STAGES;
        assert_eq!(alone.drills(1), []);
        let place = |seed| {
            let drills = with_failovers.drills(seed);
            let remakes = drills.iter().enumerate().filter(|(_, fault)| fault.kind == Kind::Remake);
            remakes.map(|(place, _)| place).collect::<Vec<_>>()
        };
        let places: std::collections::BTreeSet<Vec<usize>> = (0..50).map(place).collect();
        assert_eq!(places, [vec![0], vec![1]].into());
    }

    /// 40 minutes are some hundred storms: the failovers that a long run is for are in them.
    #[test]
    fn failovers_are_frequent_where_there_is_a_standby_and_absent_where_there_is_none() {
        for stage in STAGES {
            let faults: Vec<Fault> = (0..60).flat_map(|number| storm(stage, 1, number, 3)).collect();
            let postgres: usize = faults.iter().map(Fault::postgres_failovers).sum();
            let brokers: usize = faults.iter().map(|fault| fault.broker_failovers(stage.brokers)).sum();
            assert_eq!(stage.failovers, postgres > 30, "{postgres}");
            assert_eq!(stage.failovers, brokers > 60, "{brokers}");
        }
    }
}
