//! PURE: what can go wrong, and with what.

use std::fmt;
use std::time::Duration;

use crate::local::Mq;

pub(super) const ORDERS: usize = 3;
pub(super) const BONUSES: usize = 2;
/// A broker that is silent for longer leads nothing any more: its session (2 s), and a little for the controller.
const BROKER_SESSION: Duration = Duration::from_secs(3);

/// What there is to befall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) mq: Mq,
    /// None if Redis is the message queue.
    pub(super) brokers: usize,
    /// A standby of Postgres, and with it failovers; and the gray faults of networks and brokers.
    pub(super) failovers: bool,
    /// Postgres' disk can be filled.
    pub(super) small_disk: bool,
    /// Every link encrypted, and nobody let in without a login or a token.
    pub(super) secure: bool,
}

/// What faults befall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A broker.
    Kafka(usize),
    /// All brokers together.
    Brokers,
    Redis,
    /// The primary, if there are two.
    Postgres,
    Standby,
    Orders(usize),
    Bonus(usize),
}

impl Target {
    /// Targets of the same lane are not befallen at the same time: a failover needs a standby that is well.
    pub(super) fn lane(self) -> Self {
        if self == Self::Standby { Self::Postgres } else { self }
    }
}

/// A server at the other end of a service's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Peer {
    Kafka,
    Redis,
    Postgres,
}

/// What becomes of the primary when the standby is promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Primary {
    /// Stopped in order, after which the standby has everything.
    Planned,
    Killed,
    /// It lives on where nobody reaches it; connections to it are silent for ever.
    CutOff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// SIGKILL, and a new start.
    Kill,
    /// SIGSTOP and SIGCONT.
    Freeze,
    /// SIGTERM, an orderly end, and a new start.
    Restart,
    /// Redis loses all it holds: FLUSHALL.
    Forget,
    /// SIGKILL to Redis, and a new start without its data.
    Empty,
    /// Redis takes no write: `maxmemory` is reached.
    MemoryFull,
    /// The service's connections to this server are reset, and refused.
    Cut(Peer),
    /// The service's packets to and from this server are lost.
    Stall(Peer),
    /// The service's connections to this server go silent for ever; new ones pass.
    Abandon(Peer),
    /// The service's link to this server is narrow and long.
    Slow(Peer),
    /// Of Postgres: the standby becomes the primary, and the other one its standby. Of Redis: a replica becomes the primary that lacks
    /// what was written in the fault's time.
    Failover(Primary),
    /// One broker after the other is restarted.
    Roll,
    /// Producers may send little.
    Quota,
    /// The topic is deleted. The services make it anew, and after a while an operator has everything sent again.
    Remake,
    /// Postgres' disk is full.
    Full,
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
    pub(super) fn end(&self) -> Duration {
        self.at + self.lasts
    }

    /// For counting: what happened to what kind of thing.
    pub(super) fn name(&self) -> String {
        let Self { target, kind, .. } = self;
        match (target, kind) {
            (Target::Kafka(_), _) => format!("broker: {kind}"),
            (Target::Brokers, _) => format!("brokers: {kind}"),
            (Target::Redis | Target::Postgres | Target::Standby, _) => format!("{target}: {kind}"),
            (Target::Orders(_), _) => format!("orders: {kind}"),
            (Target::Bonus(_), _) => format!("bonus: {kind}"),
        }
    }

    pub(super) fn postgres_failovers(&self) -> usize {
        usize::from(self.target == Target::Postgres && matches!(self.kind, Kind::Failover(_)))
    }

    pub(super) fn redis_failovers(&self) -> usize {
        usize::from(self.target == Target::Redis && matches!(self.kind, Kind::Failover(_)))
    }

    /// How many brokers were away for longer than the others wait for them.
    pub(super) fn broker_failovers(&self, brokers: usize) -> usize {
        match (self.target, self.kind) {
            _ if brokers < 2 => 0,
            (Target::Brokers, Kind::Roll) => brokers,
            (Target::Kafka(_), Kind::Kill | Kind::Restart) => 1,
            (Target::Kafka(_), Kind::Freeze) => usize::from(self.lasts >= BROKER_SESSION),
            _ => 0,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kafka(number) => write!(f, "kafka-{}", number + 1),
            Self::Brokers => f.write_str("brokers"),
            Self::Redis => f.write_str("redis"),
            Self::Postgres => f.write_str("postgres"),
            Self::Standby => f.write_str("standby"),
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
            Self::Empty => f.write_str("restart without data"),
            Self::MemoryFull => f.write_str("memory full"),
            Self::Cut(peer) => write!(f, "cut from {peer}"),
            Self::Stall(peer) => write!(f, "stalled to {peer}"),
            Self::Abandon(peer) => write!(f, "abandoned by {peer}"),
            Self::Slow(peer) => write!(f, "slow to {peer}"),
            Self::Failover(Primary::Planned) => f.write_str("failover, planned"),
            Self::Failover(Primary::Killed) => f.write_str("failover, killed"),
            Self::Failover(Primary::CutOff) => f.write_str("failover, cut off"),
            Self::Roll => f.write_str("rolling restart"),
            Self::Quota => f.write_str("quota"),
            Self::Remake => f.write_str("topic made anew"),
            Self::Full => f.write_str("disk full"),
        }
    }
}
