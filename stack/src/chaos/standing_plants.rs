//! What is planted in evidence of customers' standing.

use uuid::Uuid;

use super::facts::{Evidence, Kind};
use super::plants::Plant;
use crate::topic::Change;

pub(super) const STANDING_PLANTS: [(&str, Kind, Plant); 12] = [
    ("a customer's last change was never made", Kind::WrongStanding, |evidence| {
        let last = evidence.changes.stored.iter().max_by_key(|(seq, _)| *seq)?.1.event_id.clone();
        evidence.changes.stored.retain(|(_, change)| change.event_id != last);
        evidence.changes.topic.retain(|message| message.change.event_id != last);
        Some(())
    }),
    (
        "a customer's first change was never made, and positions have no gap",
        Kind::WrongStanding,
        |evidence| {
            let (first, hole) = (two_grades(evidence)?.0.event_id, position(evidence, 1)?);
            evidence.changes.stored.retain(|(_, change)| change.event_id != first);
            evidence.changes.stored.iter_mut().filter(|(seq, _)| *seq > hole).for_each(|(seq, _)| *seq -= 1);
            Some(())
        },
    ),
    ("a change is not in the topic", Kind::Unpublished, |evidence| {
        let lost = evidence.changes.topic.first()?.change.event_id.clone();
        evidence.changes.topic.retain(|message| message.change.event_id != lost);
        Some(())
    }),
    ("a change is in the topic twice, with two ids", Kind::Unpublished, |evidence| {
        let mut again = evidence.changes.topic.last()?.clone();
        again.change.event_id = "planted".into();
        evidence.changes.topic.push(again);
        Some(())
    }),
    ("a change was made twice, with two ids", Kind::WrongStanding, |evidence| {
        let (seq, last) = evidence.changes.stored.iter().max_by_key(|(seq, _)| *seq)?.clone();
        let again = Change { event_id: "planted".into(), version: last.version + 1, ..last };
        evidence.changes.stored.push((seq + 1, again));
        Some(())
    }),
    ("two changes of a customer are swapped in the topic", Kind::OutOfOrder, |evidence| {
        let (first, second) = two_grades(evidence)?;
        let place = |of: &Change| {
            let mut topic = evidence.changes.topic.iter();
            topic.position(|message| message.change.event_id == of.event_id)
        };
        let (first, second) = (place(&first)?, place(&second)?);
        evidence.changes.topic.swap(first, second);
        Some(())
    }),
    ("two changes of a customer were made the other way round", Kind::WrongStanding, |evidence| {
        let (first, second) = two_grades(evidence)?;
        rewrite(evidence, &first.event_id, |change| {
            *change = Change { event_id: first.event_id.clone(), version: 1, ..second.clone() };
        });
        rewrite(evidence, &second.event_id, |change| {
            *change = Change { event_id: second.event_id.clone(), version: 2, ..first.clone() };
        });
        Some(())
    }),
    ("a change is of another grade", Kind::WrongStanding, |evidence| {
        let attained = two_grades(evidence)?.0.event_id;
        rewrite(evidence, &attained, |change| change.grade = Some("platinum".into()));
        Some(())
    }),
    ("a grade was attained with too few points", Kind::WrongStanding, |evidence| {
        let attained = two_grades(evidence)?.0.event_id;
        rewrite(evidence, &attained, |change| change.points = Some(99));
        Some(())
    }),
    ("somebody is VIP with too few points", Kind::WrongStanding, |evidence| {
        let seq = evidence.changes.stored.iter().map(|(seq, _)| *seq).max().unwrap_or_default() + 1;
        let change = Change {
            event_id: "planted".into(),
            customer: Uuid::nil(),
            version: 1,
            event_type: "VipAcquired".into(),
            grade: None,
            points: None,
        };
        evidence.changes.stored.push((seq, change));
        Some(())
    }),
    ("the topic has another grade than bonus has stored", Kind::Unpublished, |evidence| {
        let told = evidence.changes.topic.iter_mut().find(|message| message.change.grade.is_some())?;
        told.change.grade = Some("bronze".into());
        Some(())
    }),
    ("a customer's changes are in two partitions", Kind::OutOfOrder, |evidence| {
        let second = two_grades(evidence)?.1.event_id;
        for message in evidence.changes.topic.iter_mut().filter(|message| message.change.event_id == second) {
            message.partition += 1;
        }
        Some(())
    }),
];

/// The first two changes of the first customer whose first two are changes of the grade.
fn two_grades(evidence: &Evidence) -> Option<(Change, Change)> {
    let of_version = |version| {
        let stored = evidence.changes.stored.iter().map(|(_, change)| change);
        stored.filter(move |change| change.version == version && change.grade.is_some())
    };
    of_version(2).find_map(|second| {
        let first = of_version(1).find(|first| first.customer == second.customer)?;
        Some((first.clone(), second.clone()))
    })
}

/// Of that customer's change.
fn position(evidence: &Evidence, version: i64) -> Option<i64> {
    let customer = two_grades(evidence)?.0.customer;
    let mut stored = evidence.changes.stored.iter();
    stored.find(|(_, change)| (change.customer, change.version) == (customer, version)).map(|(seq, _)| *seq)
}

/// Wherever it is.
fn rewrite(evidence: &mut Evidence, event_id: &str, write: impl Fn(&mut Change)) {
    let changes = &mut evidence.changes;
    let published = changes.former.iter_mut().flatten().chain(&mut changes.topic);
    let stored = changes.stored.iter_mut().map(|(_, change)| change);
    let all = stored.chain(published.map(|message| &mut message.change));
    all.filter(|change| change.event_id == event_id).for_each(write);
}
