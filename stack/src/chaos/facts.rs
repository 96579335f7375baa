//! What clients were told and what was found afterwards, and the promises that it may break.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use uuid::Uuid;

use crate::local::Mq;
use crate::topic::{Change, Published, PublishedChange};

/// What clients were told, and what was found afterwards.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    pub(super) mq: Mq,
    pub(super) acknowledged: Vec<Acknowledged>,
    /// Idempotency keys of commands that were refused for good.
    pub(super) refused: HashSet<String>,
    pub(super) log: Vec<Logged>,
    /// Topics that were deleted, or what streams held before each loss; the oldest first.
    pub(super) former: Vec<Generation>,
    /// The topic of now.
    pub(super) topic: Vec<Published>,
    /// Entries of streams that are gone although a group had not read them.
    pub(super) unread: Vec<String>,
    /// Rows of bonus' ledger.
    pub(super) ledger: Vec<Booked>,
    /// Of customers' standing.
    pub(super) changes: Changes,
    /// As the bonus service tells them; customers without an account have none.
    pub(super) points: BTreeMap<Uuid, i64>,
    pub(super) cursor: i64,
    /// Events that the outbox shows as waiting, and those set aside.
    pub(super) waiting: i64,
    /// Entries that streams lack, and such that no consumer has acknowledged.
    pub(super) left: Vec<String>,
    /// Dead letters in their topic, and those that wait for it.
    pub(super) letters: u64,
    /// Whatever is left of a retry: keys in Redis, and what the instances say of themselves.
    pub(super) jobs: Vec<String>,
}

impl Evidence {
    /// Every message of every topic, in the order of topics.
    pub(super) fn messages(&self) -> impl Iterator<Item = &Published> {
        self.former.iter().flat_map(|generation| &generation.topic).chain(&self.topic)
    }
}

/// A topic that was deleted, or what streams held before a loss.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    /// As it was read shortly before.
    pub(super) topic: Vec<Published>,
    /// No event behind this position was ever published to it. `None` of streams: there nothing depends on it.
    pub(super) until: Option<i64>,
}

/// A command that a client was told to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) key: String,
    pub(super) order: Uuid,
    pub(super) version: i64,
    /// The event that it stands for.
    pub(super) event_type: &'static str,
    pub(super) customer: Uuid,
}

/// A row of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Logged {
    pub(super) seq: i64,
    pub(super) event_id: String,
    pub(super) order: Uuid,
    pub(super) version: i64,
    pub(super) event_type: String,
    pub(super) key: Option<String>,
}

/// A row of bonus' ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Booked {
    pub(super) event_id: String,
    pub(super) order: Uuid,
    pub(super) version: i64,
    pub(super) customer: Uuid,
    pub(super) event_type: String,
    pub(super) points: i64,
}

/// What was found of the changes of customers' standing.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    /// As bonus has stored them, each with its position.
    pub(super) stored: Vec<(i64, Change)>,
    /// What streams held before each loss; the oldest first.
    pub(super) former: Vec<Vec<PublishedChange>>,
    /// The topic of now.
    pub(super) topic: Vec<PublishedChange>,
}

/// The kinds of broken promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Acknowledged, and not in the log.
    Lost,
    /// In the log more than once, or never asked for, or asked for and refused.
    Doubled,
    /// The log or an order's history in it is not what the life cycle allows.
    IllegalHistory,
    /// In the log and not in the topic, or the other way round.
    Unpublished,
    OutOfOrder,
    /// One version of an order is two events: some consumer has the one, some the other.
    Forked,
    WrongPoints,
    /// bonus' ledger has not exactly one row for each event that is worth something or takes something back.
    WrongLedger,
    /// A customer's changes do not lead, step by step, to the standing that follows from the points.
    WrongStanding,
    /// A stream has dropped an entry that a registered group had not acknowledged.
    Unread,
    /// bonus took an event for a message that cannot be credited.
    DeadLetter,
    /// The cursor is not at the head, or something waits still.
    NotCaughtUp,
    RetryLeft,
    /// A client got an answer that contradicts an earlier one.
    WrongAnswer,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) kind: Kind,
    pub(super) detail: String,
}

impl Violation {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.detail)
    }
}
