//! PURE: what goes wrong, and when. The same seed gives the same storms.

use std::fmt;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

pub(super) const ORDERS: usize = 3;
pub(super) const BONUSES: usize = 2;

/// A process that faults befall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Kafka,
    Redis,
    Postgres,
    Orders(usize),
    Bonus(usize),
}

/// A server at the other end of a service's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peer {
    Kafka,
    Redis,
    Postgres,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// SIGKILL, and a new start.
    Kill,
    /// SIGSTOP and SIGCONT.
    Freeze,
    /// SIGTERM, an orderly end, and a new start.
    Restart,
    /// Redis loses all it holds.
    Forget,
    /// The service's connections to this server are reset, and refused.
    Cut(Peer),
    /// The service's packets to and from this server are lost.
    Stall(Peer),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// Since the storm's beginning.
    pub(super) at: Duration,
    pub(super) target: Target,
    pub(super) kind: Kind,
    pub(super) lasts: Duration,
}

impl Fault {
    fn end(&self) -> Duration {
        self.at + self.lasts
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kafka => f.write_str("kafka"),
            Self::Redis => f.write_str("redis"),
            Self::Postgres => f.write_str("postgres"),
            Self::Orders(number) => write!(f, "orders-{}", number + 1),
            Self::Bonus(number) => write!(f, "bonus-{}", number + 1),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kafka => "kafka",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("kill"),
            Self::Freeze => f.write_str("freeze"),
            Self::Restart => f.write_str("restart"),
            Self::Forget => f.write_str("forget"),
            Self::Cut(peer) => write!(f, "cut from {peer}"),
            Self::Stall(peer) => write!(f, "stalled to {peer}"),
        }
    }
}

fn kinds(target: Target) -> &'static [Kind] {
    match target {
        Target::Kafka | Target::Postgres => &[Kind::Kill, Kind::Freeze, Kind::Restart],
        Target::Redis => &[Kind::Kill, Kind::Freeze, Kind::Restart, Kind::Forget],
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

fn targets() -> Vec<Target> {
    let servers = [Target::Kafka, Target::Redis, Target::Postgres];
    servers
        .into_iter()
        .chain((0..ORDERS).map(Target::Orders))
        .chain((0..BONUSES).map(Target::Bonus))
        .collect()
}

/// The `number`th storm of a seed: up to `intensity` faults at once, never two at once on one target, ordered by their beginning.
pub(super) fn storm(seed: u64, number: u64, intensity: usize) -> Vec<Fault> {
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
            let free: Vec<Target> = targets()
                .into_iter()
                .filter(|target| {
                    let mut own = faults.iter().filter(|fault| fault.target == *target);
                    own.all(|fault| fault.end() < at || at + lasts < fault.at)
                })
                .collect();
            if let Some(&target) = free.choose(&mut rng)
                && let Some(&kind) = kinds(target).choose(&mut rng)
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

    #[test]
    fn a_seed_names_its_storms() {
        for seed in 0..200 {
            let faults = storm(seed, 3, 4);
            assert_eq!(faults, storm(seed, 3, 4));
            assert_ne!(faults, storm(seed, 4, 4));
            for (place, fault) in faults.iter().enumerate() {
                let mut others = faults.iter().skip(place + 1).filter(|other| other.target == fault.target);
                assert!(others.all(|other| other.at > fault.end()), "two faults at once on {}", fault.target);
            }
        }
    }
}
