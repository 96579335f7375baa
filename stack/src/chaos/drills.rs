//! PURE: which faults happen by themselves, and in which order.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::plan::{Fault, Kind, Peer, Primary, Stage, Target};
use crate::local::Mq;

/// Before which of the drills the topic is deleted, at the latest.
const REMAKE_PLACE_MAX: usize = 1;
/// An operator is quicker than this, in a run that has little time.
const REMAKE_REACTION_SECONDS: u64 = 6;

fn drill(target: Target, kind: Kind, seconds: u64) -> Fault {
    Fault { at: Duration::ZERO, target, kind, lasts: Duration::from_secs(seconds) }
}

impl Stage {
    /// What befalls everything once by itself, in turn, so that its own recovery can be measured. None without failovers.
    pub(super) fn drills(self, seed: u64) -> Vec<Fault> {
        if !self.failovers {
            return Vec::new();
        }
        let mut drills = match self.mq {
            Mq::Kafka => on_kafka(seed),
            Mq::Redis => on_redis(),
        };
        if self.small_disk {
            drills.push(drill(Target::Postgres, Kind::Full, 4));
        }
        drills
    }
}

fn on_kafka(seed: u64) -> Vec<Fault> {
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
    // Early, so that short runs have it, too; with an operator who may be quick or slow.
    let mut rng = SmallRng::seed_from_u64(seed);
    let place = rng.random_range(0..=REMAKE_PLACE_MAX);
    let remake = drill(Target::Brokers, Kind::Remake, rng.random_range(0..REMAKE_REACTION_SECONDS));
    drills.insert(place, remake);
    drills
}

fn on_redis() -> Vec<Fault> {
    let postgres = |primary, seconds| drill(Target::Postgres, Kind::Failover(primary), seconds);
    let redis = |kind, seconds| drill(Target::Redis, kind, seconds);
    vec![
        redis(Kind::Forget, 0),
        postgres(Primary::Planned, 1),
        redis(Kind::Failover(Primary::Killed), 1),
        postgres(Primary::Killed, 1),
        redis(Kind::Empty, 2),
        postgres(Primary::CutOff, 3),
        redis(Kind::Failover(Primary::CutOff), 1),
        redis(Kind::MemoryFull, 4),
        redis(Kind::Kill, 4),
        redis(Kind::Freeze, 5),
        drill(Target::Standby, Kind::Freeze, 3),
        drill(Target::Orders(0), Kind::Abandon(Peer::Redis), 0),
        drill(Target::Orders(0), Kind::Abandon(Peer::Postgres), 0),
        drill(Target::Orders(0), Kind::Slow(Peer::Redis), 10),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(mq: Mq, failovers: bool) -> Stage {
        let brokers = if mq == Mq::Kafka { 3 } else { 0 };
        Stage { mq, brokers, failovers, small_disk: failovers, secure: false }
    }

    /// Two minutes have two drills at the least.
    #[test]
    fn the_topic_is_deleted_once_in_each_round_of_drills_and_early() {
        assert_eq!(stage(Mq::Kafka, false).drills(1), []);
        let place = |seed| {
            let drills = stage(Mq::Kafka, true).drills(seed);
            let remakes = drills.iter().enumerate().filter(|(_, fault)| fault.kind == Kind::Remake);
            remakes.map(|(place, _)| place).collect::<Vec<_>>()
        };
        let places: std::collections::BTreeSet<Vec<usize>> = (0..50).map(place).collect();
        assert_eq!(places, [vec![0], vec![1]].into());
    }

    #[test]
    fn a_drill_befalls_what_is_there() {
        for (mq, failovers) in [(Mq::Kafka, true), (Mq::Redis, true), (Mq::Redis, false)] {
            let stage = stage(mq, failovers);
            for fault in stage.drills(1) {
                assert!(stage.targets().contains(&fault.target), "{fault:?}");
            }
        }
    }
}
