//! The checker checked: each kind of violation is planted in real evidence, and must be found.

use uuid::Uuid;

use super::check::check;
use super::facts::{Acknowledged, Evidence, Generation, Kind, Logged};
use crate::topic::Published;

type Plant = fn(&mut Evidence) -> Option<()>;

/// What is planted, how, and what the checker must call it. A plant is `None` where the evidence is too little for it.
const PLANTS: [(&str, Kind, Plant); 25] = [
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
        evidence.former.push(Generation { topic: vec![message], until: head(evidence) });
        Some(())
    }),
    (
        "an event that was read before its topic was deleted is not sent again",
        Kind::Unpublished,
        |evidence| {
            let topic = evidence.topic.clone();
            let lost = topic.first()?.event_id.clone();
            evidence.former.push(Generation { topic, until: head(evidence) });
            evidence.topic.retain(|message| message.event_id != lost);
            Some(())
        },
    ),
    ("an event that was lost with its topic is not sent again", Kind::Unpublished, |evidence| {
        let [_, second] = commit_two(evidence);
        evidence.former.push(Generation { topic: evidence.topic.clone(), until: head(evidence) });
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
        evidence.former.push(Generation { topic: Vec::new(), until: head(evidence) });
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

/// Where events appear for the first time, and none is excused.
fn first_topic(evidence: &mut Evidence) -> &mut Vec<Published> {
    evidence.former.first_mut().map_or(&mut evidence.topic, |generation| &mut generation.topic)
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

/// How many were planted, and which were not found.
pub(super) fn plant_all(evidence: &Evidence) -> (usize, Vec<&'static str>) {
    let missed = PLANTS.iter().filter_map(|(what, kind, plant)| {
        let mut planted = evidence.clone();
        plant(&mut planted)?;
        let found = check(&planted).iter().any(|violation| violation.kind == *kind);
        (!found).then_some(*what)
    });
    (PLANTS.len(), missed.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    /// One order of two events, one of one, published as they should be.
    fn sound() -> Evidence {
        let (first, second, customer) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let mut evidence = Evidence { cursor: 3, ..Evidence::default() };
        for (seq, order, version, event_type) in
            [(1, first, 1, "OrderCreated"), (2, second, 1, "OrderCreated"), (3, first, 2, "OrderPaid")]
        {
            let (key, event_id) = (format!("key-{seq}"), format!("event-{seq}"));
            let command = Acknowledged { key: key.clone(), order, version, event_type, customer };
            evidence.acknowledged.push(command);
            evidence.topic.push(Published { partition: 0, order, version, event_id: event_id.clone() });
            let event_type = event_type.to_owned();
            evidence.log.push(Logged { seq, event_id, order, version, event_type, key: Some(key) });
        }
        // At least once: the first message came again.
        let again = evidence.topic.first().unwrap().clone();
        evidence.topic.push(again);
        evidence.points.insert(customer, 80);
        evidence
    }

    /// The same, but the topic was deleted when two of the events had been read. The other one is there by a replay.
    fn sound_with_a_topic_made_anew() -> Evidence {
        let mut evidence = sound();
        let [first, second, third] = [0, 1, 2].map(|place| evidence.topic.get(place).unwrap().clone());
        let topic = vec![first.clone(), third.clone()];
        evidence.former.push(Generation { topic, until: 3 });
        evidence.topic = vec![first, second, third];
        evidence
    }

    #[test]
    fn sound_evidence_is_left_alone() {
        assert_eq!(check(&sound()), []);
        assert_eq!(check(&sound_with_a_topic_made_anew()), []);
    }

    #[test]
    fn every_plant_is_found() {
        for sound in [sound, sound_with_a_topic_made_anew] {
            for (what, _, plant) in PLANTS {
                assert!(plant(&mut sound()).is_some(), "not planted: {what}");
            }
            assert_eq!(plant_all(&sound()), (PLANTS.len(), vec![]));
        }
    }
}
