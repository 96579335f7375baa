//! What is planted in evidence. Each plant breaks one promise.

use uuid::Uuid;

use super::facts::{Acknowledged, Booked, Evidence, Generation, Kind, Logged};
use crate::local::Mq;
use crate::topic::Published;

pub(super) type Plant = fn(&mut Evidence) -> Option<()>;

/// What is planted, how, and what the checker must call it. A plant is `None` where the evidence is too little for it.
pub(super) const PLANTS: [(&str, Kind, Plant); 36] = [
    ("an acknowledged command is missing in the log", Kind::Lost, |evidence| {
        let lost =
            Acknowledged { key: "planted".into(), version: 99, ..evidence.acknowledged.first()?.clone() };
        evidence.acknowledged.push(lost);
        Some(())
    }),
    ("the log holds another version than was acknowledged", Kind::Lost, |evidence| {
        evidence.acknowledged.first_mut()?.version += 1;
        Some(())
    }),
    ("a command is in the log twice", Kind::Doubled, |evidence| {
        let key = evidence.log.first()?.key.clone();
        evidence.log.last_mut()?.key = key;
        Some(())
    }),
    ("an event is in the log that nobody asked for", Kind::Doubled, |evidence| {
        evidence.acknowledged.pop().map(drop)
    }),
    ("a refused command is in the log", Kind::Doubled, |evidence| {
        let command = evidence.acknowledged.pop()?;
        evidence.refused.insert(command.key);
        Some(())
    }),
    ("the log has a gap", Kind::IllegalHistory, |evidence| {
        let middle = evidence.log.len() / 2;
        (middle > 0).then(|| drop(evidence.log.remove(middle)))
    }),
    ("an order takes a step that its life cycle does not have", Kind::IllegalHistory, |evidence| {
        evidence.log.iter_mut().find(|event| event.version == 1)?.event_type = "OrderShipped".into();
        Some(())
    }),
    ("an order's version is there twice", Kind::IllegalHistory, |evidence| {
        evidence.log.iter_mut().find(|event| event.version == 2)?.version = 1;
        Some(())
    }),
    ("a position was given out twice", Kind::IllegalHistory, |evidence| {
        let (first, last) = (evidence.log.first()?.seq, evidence.log.last_mut()?);
        (last.seq != first).then(|| last.seq = first)
    }),
    ("an order's first version is missing, and positions have no gap", Kind::IllegalHistory, |evidence| {
        let order = evidence.log.iter().find(|event| event.version == 2)?.order;
        let hole = evidence.log.iter().find(|event| event.order == order && event.version == 1)?.seq;
        evidence.log.retain(|event| event.seq != hole);
        evidence.log.iter_mut().filter(|event| event.seq > hole).for_each(|event| event.seq -= 1);
        Some(())
    }),
    ("the topic has another event for an order's version than the log", Kind::Forked, |evidence| {
        evidence.topic.last_mut()?.event_id = "planted".into();
        Some(())
    }),
    ("an order's version is two events in the topic", Kind::Forked, |evidence| {
        let fork = Published { event_id: "planted".into(), ..evidence.topic.last()?.clone() };
        evidence.topic.push(fork);
        Some(())
    }),
    ("an event of the log is not in the topic", Kind::Unpublished, |evidence| {
        let lost = evidence.topic.first()?.event_id.clone();
        evidence.topic.retain(|message| message.event_id != lost);
        Some(())
    }),
    ("an event of the topic is not in the log", Kind::Unpublished, |evidence| {
        let event_id = Uuid::nil().to_string();
        let stray = Published { order: Uuid::nil(), version: 1, event_id, partition: 0 };
        evidence.topic.push(stray);
        Some(())
    }),
    ("an event of a former topic is not in the log", Kind::Unpublished, |evidence| {
        let message = Published { event_id: "planted".into(), order: Uuid::nil(), version: 1, partition: 0 };
        evidence.former.push(Generation { topic: vec![message], until: Some(head(evidence)) });
        Some(())
    }),
    (
        "an event that was read before its topic was deleted is not sent again",
        Kind::Unpublished,
        |evidence| {
            let topic = evidence.topic.clone();
            let lost = topic.first()?.event_id.clone();
            evidence.former.push(Generation { topic, until: Some(head(evidence)) });
            evidence.topic.retain(|message| message.event_id != lost);
            Some(())
        },
    ),
    ("an event that was lost with its topic is not sent again", Kind::Unpublished, |evidence| {
        let [_, second] = commit_two(evidence);
        evidence.former.push(Generation { topic: evidence.topic.clone(), until: Some(head(evidence)) });
        evidence.topic.push(second);
        Some(())
    }),
    ("an order's second event is in the topic before its first", Kind::OutOfOrder, |evidence| {
        let topic = first_topic(evidence);
        let second = topic.iter().position(|message| message.version == 2)?;
        let message = topic.remove(second);
        topic.insert(0, message);
        Some(())
    }),
    ("an order's second event is in a topic made anew before its first", Kind::OutOfOrder, |evidence| {
        // Everything but these two may have been lost.
        evidence.former.push(Generation { topic: Vec::new(), until: Some(head(evidence)) });
        let [first, second] = commit_two(evidence);
        evidence.topic.extend([second, first]);
        Some(())
    }),
    ("an order's events are in two partitions", Kind::OutOfOrder, |evidence| {
        let topic = first_topic(evidence);
        let second = topic.iter().find(|message| message.version == 2)?.event_id.clone();
        for message in topic.iter_mut().filter(|message| message.event_id == second) {
            message.partition += 1;
        }
        Some(())
    }),
    ("an order's second event is in the topic of now before its first", Kind::OutOfOrder, |evidence| {
        // Nothing excuses it: all that was there before has been read.
        let topic = evidence.topic.clone();
        let (first, second) = first_two(&topic)?;
        evidence.former.push(Generation { topic: vec![first.clone()], until: Some(head(evidence)) });
        evidence.topic.retain(|message| message.order != first.order);
        evidence.topic.extend([second, first]);
        (evidence.mq == Mq::Redis).then_some(())
    }),
    ("an event that the streams lost comes again behind a later one", Kind::OutOfOrder, |evidence| {
        let topic = evidence.topic.clone();
        let (first, second) = first_two(&topic)?;
        let left = topic.into_iter().filter(|message| message.order != first.order).collect();
        // Where Kafka is the message queue it is excused: it may have been lost unread.
        evidence.former.insert(0, Generation { topic: Vec::new(), until: Some(head(evidence)) });
        evidence.topic = left;
        evidence.topic.extend([second, first]);
        (evidence.mq == Mq::Redis).then_some(())
    }),
    ("a stream has dropped an entry that was not acknowledged", Kind::Unread, |evidence| {
        evidence.unread.push("planted".into());
        Some(())
    }),
    ("an event is not in the ledger", Kind::WrongLedger, |evidence| evidence.ledger.pop().map(drop)),
    ("an event is in the ledger twice", Kind::WrongLedger, |evidence| {
        let again = evidence.ledger.last()?.clone();
        evidence.ledger.push(again);
        Some(())
    }),
    ("an event is in the ledger with other points", Kind::WrongLedger, |evidence| {
        evidence.ledger.last_mut()?.points += 1;
        Some(())
    }),
    ("an event is in the ledger for another customer", Kind::WrongLedger, |evidence| {
        evidence.ledger.last_mut()?.customer = Uuid::nil();
        Some(())
    }),
    ("another event is in the ledger under an order's version", Kind::WrongLedger, |evidence| {
        evidence.ledger.last_mut()?.event_id = "planted".into();
        Some(())
    }),
    ("the ledger has what nobody asked for", Kind::WrongLedger, |evidence| {
        let stray = Booked { version: 99, ..evidence.ledger.last()?.clone() };
        evidence.ledger.push(stray);
        Some(())
    }),
    ("a message became a dead letter", Kind::DeadLetter, |evidence| {
        evidence.letters += 1;
        Some(())
    }),
    ("an entry was taken by nobody", Kind::NotCaughtUp, |evidence| {
        evidence.left.push("planted".into());
        Some(())
    }),
    ("a customer was credited twice", Kind::WrongPoints, |evidence| {
        *evidence.points.values_mut().next()? += 40;
        Some(())
    }),
    ("a customer was not credited", Kind::WrongPoints, |evidence| {
        *evidence.points.values_mut().find(|points| **points > 0)? -= 40;
        Some(())
    }),
    ("the cursor is behind the head", Kind::NotCaughtUp, |evidence| {
        evidence.cursor -= 1;
        Some(())
    }),
    ("an event is set aside", Kind::NotCaughtUp, |evidence| {
        evidence.waiting += 1;
        Some(())
    }),
    ("a retry is left", Kind::RetryLeft, |evidence| {
        evidence.jobs.push("planted".into());
        Some(())
    }),
];

/// Where events appear for the first time, and none is excused. In streams that is everywhere.
fn first_topic(evidence: &mut Evidence) -> &mut Vec<Published> {
    match evidence.former.first_mut() {
        Some(generation) if evidence.mq == Mq::Kafka => &mut generation.topic,
        _ => &mut evidence.topic,
    }
}

fn head(evidence: &Evidence) -> i64 {
    evidence.log.iter().map(|event| event.seq).max().unwrap_or_default()
}

/// An order of two events at the log's end, and the messages that should be published.
fn commit_two(evidence: &mut Evidence) -> [Published; 2] {
    let (head, order) = (head(evidence), Uuid::max());
    [1, 2].map(|version| {
        let (seq, event_id) = (head + version, format!("planted-{version}"));
        let event_type = if version == 1 { "OrderCreated" } else { "OrderPaid" }.to_owned();
        evidence.log.push(Logged { seq, event_id: event_id.clone(), order, version, event_type, key: None });
        Published { partition: 0, order, version, event_id }
    })
}

/// The first two events of an order that has them.
fn first_two(topic: &[Published]) -> Option<(Published, Published)> {
    let second = topic.iter().find(|message| message.version == 2)?;
    let first = topic.iter().find(|message| (message.order, message.version) == (second.order, 1))?;
    Some((first.clone(), second.clone()))
}
