//! PURE: what goes wrong, and when. The same seed gives the same storms.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::plan::{BONUSES, Fault, Kind, ORDERS, Peer, Primary, Stage, Target};
use crate::local::Mq;

/// Which servers the two services are linked to: the message queue first.
fn peers(mq: Mq) -> (&'static [Peer], &'static [Peer]) {
    match mq {
        Mq::Kafka => (&[Peer::Kafka, Peer::Postgres, Peer::Redis], &[Peer::Kafka, Peer::Postgres]),
        Mq::Redis => (&[Peer::Redis, Peer::Postgres], &[Peer::Redis, Peer::Postgres]),
    }
}

/// What befalls a target on any stage.
fn usual(target: Target, mq: Mq) -> Vec<Kind> {
    let (of_orders, of_bonus) = peers(mq);
    let service = |peers: &[Peer]| -> Vec<Kind> {
        let (cut, stalled) = (peers.iter().copied().map(Kind::Cut), peers.iter().copied().map(Kind::Stall));
        [Kind::Kill, Kind::Kill, Kind::Freeze, Kind::Restart].into_iter().chain(cut).chain(stalled).collect()
    };
    match target {
        Target::Kafka(_) | Target::Postgres => vec![Kind::Kill, Kind::Freeze, Kind::Restart],
        Target::Redis if mq == Mq::Redis => vec![
            Kind::Kill,
            Kind::Freeze,
            Kind::Restart,
            Kind::Forget,
            Kind::Empty,
            Kind::MemoryFull,
            Kind::Failover(Primary::Killed),
            Kind::Failover(Primary::CutOff),
        ],
        Target::Redis => vec![Kind::Kill, Kind::Freeze, Kind::Restart, Kind::Forget],
        Target::Brokers | Target::Standby => Vec::new(),
        Target::Orders(_) => service(of_orders),
        Target::Bonus(_) => service(of_bonus),
    }
}

/// What befalls it besides on a stage with failovers.
fn gray(target: Target, mq: Mq) -> Vec<Kind> {
    let (of_orders, of_bonus) = peers(mq);
    let queue = if mq == Mq::Kafka { Peer::Kafka } else { Peer::Redis };
    let abandoned = |peers: &[Peer]| peers.iter().copied().map(Kind::Abandon).collect::<Vec<_>>();
    match target {
        Target::Kafka(_) | Target::Redis => Vec::new(),
        Target::Brokers => vec![Kind::Roll, Kind::Quota],
        Target::Standby => vec![Kind::Freeze, Kind::Kill],
        Target::Postgres => vec![
            Kind::Failover(Primary::Planned),
            Kind::Failover(Primary::Planned),
            Kind::Failover(Primary::Killed),
            Kind::Failover(Primary::Killed),
            Kind::Failover(Primary::CutOff),
            Kind::Failover(Primary::CutOff),
        ],
        Target::Orders(_) => {
            let mut kinds = abandoned(of_orders);
            kinds.extend([Kind::Slow(queue), Kind::Slow(Peer::Postgres)]);
            kinds
        }
        Target::Bonus(_) => {
            let mut kinds = abandoned(of_bonus);
            kinds.push(Kind::Slow(queue));
            kinds
        }
    }
}

impl Stage {
    fn kinds(self, target: Target) -> Vec<Kind> {
        let mut kinds = usual(target, self.mq);
        if self.failovers {
            kinds.extend(gray(target, self.mq));
        }
        if self.small_disk && target == Target::Postgres {
            kinds.push(Kind::Full);
        }
        kinds
    }

    pub(super) fn targets(self) -> Vec<Target> {
        let standby = self.failovers.then_some(Target::Standby);
        let brokers = (self.failovers && self.mq == Mq::Kafka).then_some(Target::Brokers);
        (0..self.brokers)
            .map(Target::Kafka)
            .chain([Target::Redis, Target::Postgres])
            .chain(standby)
            .chain(brokers)
            .chain((0..ORDERS).map(Target::Orders))
            .chain((0..BONUSES).map(Target::Bonus))
            .collect()
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

    const STAGES: [Stage; 4] = [
        Stage { mq: Mq::Kafka, brokers: 1, failovers: false, small_disk: false, secure: false },
        Stage { mq: Mq::Kafka, brokers: 3, failovers: true, small_disk: true, secure: false },
        Stage { mq: Mq::Redis, brokers: 0, failovers: false, small_disk: false, secure: false },
        Stage { mq: Mq::Redis, brokers: 0, failovers: true, small_disk: true, secure: false },
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

    /// Each of them has Redis Streams refill, or wait.
    #[test]
    fn streams_are_lost_in_each_way_and_no_fault_is_of_kafka_where_redis_is_the_message_queue() {
        for stage in STAGES.into_iter().filter(|stage| stage.mq == Mq::Redis) {
            let faults: Vec<Fault> = (0..30).flat_map(|number| storm(stage, 1, number, 3)).collect();
            for kind in usual(Target::Redis, Mq::Redis) {
                let times = faults.iter().filter(|fault| (fault.target, fault.kind) == (Target::Redis, kind));
                assert!(times.count() > 3, "{kind}");
            }
            let of_kafka = |fault: &&Fault| {
                matches!(fault.target, Target::Kafka(_) | Target::Brokers)
                    || matches!(fault.kind, Kind::Cut(Peer::Kafka) | Kind::Stall(Peer::Kafka))
                    || matches!(fault.kind, Kind::Abandon(Peer::Kafka) | Kind::Slow(Peer::Kafka))
            };
            assert_eq!(faults.iter().find(of_kafka), None);
        }
    }

    /// 40 minutes are some hundred storms: the failovers that a long run is for are in them.
    #[test]
    fn failovers_are_frequent_where_there_is_a_standby_and_absent_where_there_is_none() {
        for stage in STAGES {
            let faults: Vec<Fault> = (0..60).flat_map(|number| storm(stage, 1, number, 3)).collect();
            let postgres: usize = faults.iter().map(Fault::postgres_failovers).sum();
            let brokers: usize = faults.iter().map(|fault| fault.broker_failovers(stage.brokers)).sum();
            assert_eq!(stage.failovers, postgres > 30, "{postgres}");
            assert_eq!(stage.failovers && stage.mq == Mq::Kafka, brokers > 60, "{brokers}");
        }
    }
}
