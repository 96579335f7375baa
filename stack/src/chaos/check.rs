//! PURE: the promises, checked on evidence alone. Shares nothing with the services, and knows of them only what their
//! users are told: the life cycle of an order, and what an event is worth.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use uuid::Uuid;

use super::publication::publication;
use crate::topic::Published;

/// What clients were told, and what was found afterwards.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    pub(super) acknowledged: Vec<Acknowledged>,
    /// Idempotency keys of commands that were refused for good.
    pub(super) refused: HashSet<String>,
    pub(super) log: Vec<Logged>,
    /// Topics that were deleted, the oldest first.
    pub(super) former: Vec<Generation>,
    /// The topic of now.
    pub(super) topic: Vec<Published>,
    /// As the bonus service tells them; customers without an account have none.
    pub(super) points: BTreeMap<Uuid, i64>,
    pub(super) cursor: i64,
    /// Events that the outbox shows as waiting, and those set aside.
    pub(super) waiting: i64,
    /// Whatever is left of a retry: keys in Redis, and what the instances say of themselves.
    pub(super) jobs: Vec<String>,
}

impl Evidence {
    /// Every message of every topic, in the order of topics.
    pub(super) fn messages(&self) -> impl Iterator<Item = &Published> {
        self.former.iter().flat_map(|generation| &generation.topic).chain(&self.topic)
    }
}

/// A topic that was deleted.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    /// As it was read shortly before.
    pub(super) topic: Vec<Published>,
    /// No event behind this position was ever published to it.
    pub(super) until: i64,
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

pub(super) fn check(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    commands(evidence, &mut found);
    histories(evidence, &mut found);
    publication(evidence, &mut found);
    forks(evidence, &mut found);
    points(evidence, &mut found);
    rest(evidence, &mut found);
    found
}

/// Every acknowledged command is in the log exactly once, as it was answered, and nothing else is.
fn commands(evidence: &Evidence, found: &mut Vec<Violation>) {
    let mut logged: HashMap<&str, Vec<&Logged>> = HashMap::new();
    for event in &evidence.log {
        match &event.key {
            Some(key) => logged.entry(key).or_default().push(event),
            None => found
                .push(Violation::new(Kind::Doubled, format!("event {} without a command", event.event_id))),
        }
    }
    for command in &evidence.acknowledged {
        let key = command.key.as_str();
        match logged.remove(key).unwrap_or_default().as_slice() {
            [] => found.push(Violation::new(Kind::Lost, format!("{command:?}"))),
            [event] => {
                let same = (event.order, event.version, event.event_type.as_str())
                    == (command.order, command.version, command.event_type);
                if !same {
                    found.push(Violation::new(Kind::Lost, format!("{command:?} is in the log as {event:?}")));
                }
            }
            several => found
                .push(Violation::new(Kind::Doubled, format!("{key} is in the log {} times", several.len()))),
        }
    }
    for key in logged.into_keys() {
        let why = if evidence.refused.contains(key) { "was refused" } else { "is nobody's" };
        found.push(Violation::new(Kind::Doubled, format!("command {key} is in the log and {why}")));
    }
}

/// Positions without gaps; every order's versions without gaps, in the order of positions, along the life cycle.
fn histories(evidence: &Evidence, found: &mut Vec<Violation>) {
    let mut log: Vec<&Logged> = evidence.log.iter().collect();
    log.sort_by_key(|event| event.seq);
    let mut orders: HashMap<Uuid, (i64, &str)> = HashMap::new();
    for (place, event) in (1..).zip(log) {
        if event.seq != place {
            found.push(Violation::new(
                Kind::IllegalHistory,
                format!("position {} where {place} should be", event.seq),
            ));
            return;
        }
        let (version, last) = orders.get(&event.order).copied().unwrap_or((0, ""));
        let event_type = event.event_type.as_str();
        let legal = matches!(
            (last, event_type),
            ("", "OrderCreated")
                | ("OrderCreated", "OrderPaid" | "OrderCancelled")
                | ("OrderPaid", "OrderShipped" | "OrderCancelled")
                | ("OrderShipped", "OrderCompleted")
        );
        if !legal || event.version != version + 1 {
            let text = format!(
                "order {}: {event_type} as version {} after {last} as version {version}",
                event.order, event.version
            );
            found.push(Violation::new(Kind::IllegalHistory, text));
        }
        orders.insert(event.order, (event.version, event_type));
    }
}

/// An order's version is the same event everywhere, in the log and in the topic.
fn forks(evidence: &Evidence, found: &mut Vec<Violation>) {
    let logged = evidence.log.iter().map(|event| (event.order, event.version, event.event_id.as_str()));
    let published = evidence.messages().map(|event| (event.order, event.version, event.event_id.as_str()));
    let mut events: HashMap<(Uuid, i64), &str> = HashMap::new();
    for (order, version, event_id) in logged.chain(published) {
        let first = *events.entry((order, version)).or_insert(event_id);
        if first != event_id {
            let text = format!("version {version} of order {order} is event {first} and event {event_id}");
            found.push(Violation::new(Kind::Forked, text));
        }
    }
}

/// Every customer's points, from what was acknowledged alone: 40 for an order, 100 more when it is completed, nothing for one
/// that was cancelled.
pub(super) fn expected_points(acknowledged: &[Acknowledged]) -> BTreeMap<Uuid, i64> {
    let mut orders: HashMap<Uuid, (Uuid, i64, bool)> = HashMap::new();
    for command in acknowledged {
        let (_, points, cancelled) = orders.entry(command.order).or_insert((command.customer, 0, false));
        match command.event_type {
            "OrderCreated" => *points += 40,
            "OrderCompleted" => *points += 100,
            "OrderCancelled" => *cancelled = true,
            _ => {}
        }
    }
    let mut customers = BTreeMap::new();
    for (customer, points, cancelled) in orders.into_values() {
        *customers.entry(customer).or_default() += if cancelled { 0 } else { points };
    }
    customers
}

fn points(evidence: &Evidence, found: &mut Vec<Violation>) {
    let expected = expected_points(&evidence.acknowledged);
    let customers: BTreeSet<&Uuid> = expected.keys().chain(evidence.points.keys()).collect();
    for customer in customers {
        let of = |points: &BTreeMap<Uuid, i64>| points.get(customer).copied().unwrap_or_default();
        let (wanted, got) = (of(&expected), of(&evidence.points));
        if wanted != got {
            let text = format!("customer {customer} has {got} points where {wanted} are due");
            found.push(Violation::new(Kind::WrongPoints, text));
        }
    }
}

fn rest(evidence: &Evidence, found: &mut Vec<Violation>) {
    let head = evidence.log.iter().map(|event| event.seq).max().unwrap_or_default();
    if evidence.cursor != head || evidence.waiting != 0 {
        let text = format!("cursor {} of {head}, {} waiting or set aside", evidence.cursor, evidence.waiting);
        found.push(Violation::new(Kind::NotCaughtUp, text));
    }
    for job in &evidence.jobs {
        found.push(Violation::new(Kind::RetryLeft, job.clone()));
    }
}
