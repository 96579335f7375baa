//! PURE: the promises, checked on evidence alone. Shares nothing with the services, and knows of them only what their
//! users are told: the life cycle of an order, and what an event is worth.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::facts::{Evidence, Kind, Logged, Violation};
use super::ledger::{expected_points, ledger};
use super::publication::publication;
use super::standing::standing;

pub(super) fn check(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    commands(evidence, &mut found);
    histories(evidence, &mut found);
    publication(evidence, &mut found);
    forks(evidence, &mut found);
    points(evidence, &mut found);
    ledger(evidence, &mut found);
    standing(evidence, &mut found);
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
    for left in &evidence.left {
        found.push(Violation::new(Kind::NotCaughtUp, left.clone()));
    }
    for unread in &evidence.unread {
        found.push(Violation::new(Kind::Unread, unread.clone()));
    }
    if evidence.letters > 0 {
        found.push(Violation::new(Kind::DeadLetter, format!("{} dead letters", evidence.letters)));
    }
    for job in &evidence.jobs {
        found.push(Violation::new(Kind::RetryLeft, job.clone()));
    }
}
