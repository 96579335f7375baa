//! The checker checked: each kind of violation is planted in real evidence, and must be found.

use super::check::check;
use super::facts::Evidence;
use super::plants::PLANTS;
use super::standing_plants::STANDING_PLANTS;

/// What became of the plants.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Planting {
    pub(super) planted: usize,
    /// Planted, and not found.
    pub(super) missed: Vec<&'static str>,
    /// Not planted: the evidence is too little for it, or it is no corruption with this message queue.
    pub(super) left_out: Vec<&'static str>,
}

pub(super) fn plant_all(evidence: &Evidence) -> Planting {
    let mut planting = Planting { planted: 0, missed: Vec::new(), left_out: Vec::new() };
    for (what, kind, plant) in PLANTS.into_iter().chain(STANDING_PLANTS) {
        let mut corrupt = evidence.clone();
        if plant(&mut corrupt).is_none() {
            planting.left_out.push(what);
            continue;
        }
        planting.planted += 1;
        if !check(&corrupt).iter().any(|violation| violation.kind == kind) {
            planting.missed.push(what);
        }
    }
    planting
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use uuid::Uuid;

    use super::super::facts::{Acknowledged, Booked, Generation, Logged};
    use super::*;
    use crate::local::Mq;
    use crate::topic::{Change, Published, PublishedChange};

    /// One order of two events, one of one, published as they should be.
    fn sound() -> Evidence {
        let (first, second, customer) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let mut evidence = Evidence { mq: Mq::Kafka, cursor: 3, ..Evidence::default() };
        for (seq, order, version, event_type) in
            [(1, first, 1, "OrderCreated"), (2, second, 1, "OrderCreated"), (3, first, 2, "OrderPaid")]
        {
            let (key, event_id) = (format!("key-{seq}"), format!("event-{seq}"));
            let command = Acknowledged { key: key.clone(), order, version, event_type, customer };
            evidence.acknowledged.push(command);
            evidence.topic.push(Published { partition: 0, order, version, event_id: event_id.clone() });
            let event_type = event_type.to_owned();
            if version == 1 {
                let (event_id, event_type) = (event_id.clone(), event_type.clone());
                evidence.ledger.push(Booked { event_id, order, version, customer, event_type, points: 40 });
            }
            evidence.log.push(Logged { seq, event_id, order, version, event_type, key: Some(key) });
        }
        // At least once: the first message came again.
        let again = evidence.topic.first().unwrap().clone();
        evidence.topic.push(again);
        evidence.points.insert(customer, 80);
        changed(&mut evidence, customer);
        evidence
    }

    /// The customer was silver for a while.
    fn changed(evidence: &mut Evidence, customer: Uuid) {
        for (version, event_type, points) in [(1, "GradeAttained", 120), (2, "GradeLost", 80)] {
            let change = Change {
                event_id: format!("change-{version}"),
                customer,
                version,
                event_type: event_type.to_owned(),
                grade: Some("silver".to_owned()),
                points: Some(points),
            };
            evidence.changes.stored.push((version, change.clone()));
            evidence.changes.topic.push(PublishedChange { partition: 0, change });
        }
        let again = evidence.changes.topic.first().unwrap().clone();
        evidence.changes.topic.push(again);
    }

    /// The same, but the topic was deleted when two of the events had been read. The other one is there by a replay.
    fn sound_with_a_topic_made_anew() -> Evidence {
        let mut evidence = sound();
        let [first, second, third] = [0, 1, 2].map(|place| evidence.topic.get(place).unwrap().clone());
        let topic = vec![first.clone(), third.clone()];
        evidence.former.push(Generation { topic, until: Some(3) });
        evidence.topic = vec![first, second, third];
        evidence
    }

    /// In Redis Streams, which have lost their end once.
    fn sound_in_streams() -> Evidence {
        let mut evidence = Evidence { mq: Mq::Redis, ..sound() };
        evidence.former.push(Generation { topic: evidence.topic.clone(), until: None });
        evidence.changes.former.push(evidence.changes.topic.clone());
        evidence
    }

    #[test]
    fn sound_evidence_is_left_alone() {
        for sound in [sound, sound_with_a_topic_made_anew, sound_in_streams] {
            assert_eq!(check(&sound()), []);
        }
    }

    #[test]
    fn every_plant_is_found() {
        for (sound, of_streams_alone) in
            [(sound(), 2), (sound_with_a_topic_made_anew(), 2), (sound_in_streams(), 0)]
        {
            let Planting { planted, missed, left_out } = plant_all(&sound);
            assert_eq!((planted + left_out.len(), missed), (PLANTS.len() + STANDING_PLANTS.len(), vec![]));
            assert_eq!(left_out.len(), of_streams_alone, "{left_out:?}");
        }
    }
}
