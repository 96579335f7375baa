//! PURE: what bonus tells of its customers' standing, against a model of the acknowledged commands.
//!
//! The model knows how each customer stands at the end: grade and VIP follow from the points, and no run is as long as the 30 days in which
//! points count for VIP. Which changes came on the way is a matter of the order in which events were credited. So the changes of a
//! customer, in the order of versions, must be steps from one standing to the next one, beginning with bronze and no VIP, and end there.
//! What was published must be these changes, in this order.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use uuid::Uuid;

use super::facts::{Evidence, Kind, Violation};
use super::ledger::expected_points;
use super::publication::in_each_history;
use crate::topic::{Change, PublishedChange};

/// Above bronze, each with the points from which on it holds.
const GRADES: [(&str, i64); 3] = [("silver", 100), ("gold", 300), ("platinum", 1_000)];
const VIP_POINTS: i64 = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Standing {
    /// How many of [`GRADES`] are held.
    grades: usize,
    vip: bool,
}

impl Standing {
    fn of(points: i64) -> Self {
        let grades = GRADES.iter().filter(|(_, bound)| points >= *bound).count();
        Self { grades, vip: points >= VIP_POINTS }
    }

    /// `None`: no such step can be taken from here.
    fn after(self, change: &Change) -> Option<Self> {
        let grade =
            |place: usize| GRADES.get(place).filter(|(name, _)| change.grade.as_deref() == Some(*name));
        match (change.event_type.as_str(), self.vip) {
            ("GradeAttained", _) => {
                let (_, bound) = grade(self.grades)?;
                (change.points? >= *bound).then_some(Self { grades: self.grades + 1, ..self })
            }
            ("GradeLost", _) => {
                let below = self.grades.checked_sub(1)?;
                let (_, bound) = grade(below)?;
                (change.points? < *bound).then_some(Self { grades: below, ..self })
            }
            ("VipAcquired", false) => Some(Self { vip: true, ..self }),
            ("VipLost", true) => Some(Self { vip: false, ..self }),
            _ => None,
        }
    }
}

pub(super) fn standing(evidence: &Evidence, found: &mut Vec<Violation>) {
    let changes = &evidence.changes;
    steps(evidence, found);
    let former = changes.former.iter().map(Vec::as_slice);
    let histories: Vec<Vec<_>> = former
        .chain([changes.topic.as_slice()])
        .map(|history| history.iter().map(PublishedChange::published).collect())
        .collect();
    in_each_history("customer", histories.iter().map(Vec::as_slice), found);
    let stored: HashMap<&str, &Change> =
        changes.stored.iter().map(|(_, change)| (change.event_id.as_str(), change)).collect();
    let present: HashSet<&str> =
        changes.topic.iter().map(|message| message.change.event_id.as_str()).collect();
    for change in stored.values().filter(|change| !present.contains(change.event_id.as_str())) {
        found.push(Violation::new(Kind::Unpublished, format!("{change:?} is not in the topic")));
    }
    let mut told = BTreeSet::new();
    for PublishedChange { change, .. } in changes.former.iter().flatten().chain(&changes.topic) {
        if stored.get(change.event_id.as_str()) != Some(&change) && told.insert(&change.event_id) {
            let text = format!("{change:?} was published, and is not stored as such");
            found.push(Violation::new(Kind::Unpublished, text));
        }
    }
}

/// Each customer's changes lead, one after the other, to the standing that follows from the acknowledged commands.
fn steps(evidence: &Evidence, found: &mut Vec<Violation>) {
    let mut customers: BTreeMap<Uuid, Vec<&Change>> = BTreeMap::new();
    let mut ids = HashSet::new();
    let mut stored: Vec<&(i64, Change)> = evidence.changes.stored.iter().collect();
    stored.sort_by_key(|(seq, _)| *seq);
    for (place, (seq, change)) in (1..).zip(stored) {
        if *seq != place || !ids.insert(&change.event_id) {
            let text =
                format!("position {seq} where {place} should be, or not the first of its id: {change:?}");
            found.push(Violation::new(Kind::WrongStanding, text));
        }
        customers.entry(change.customer).or_default().push(change);
    }
    let mut expected = expected_points(&evidence.acknowledged);
    for customer in customers.keys() {
        expected.entry(*customer).or_default();
    }
    for (customer, points) in expected {
        let changes = customers.remove(&customer).unwrap_or_default();
        if let Err(text) = walk(&changes, points) {
            found.push(Violation::new(Kind::WrongStanding, format!("customer {customer}: {text}")));
        }
    }
}

/// In the order of positions.
fn walk(changes: &[&Change], points: i64) -> Result<(), String> {
    let mut standing = Standing::default();
    let mut told_points = None;
    for (version, change) in (1..).zip(changes) {
        if change.version != version {
            return Err(format!("version {version} is due, and there is {change:?}"));
        }
        standing =
            standing.after(change).ok_or_else(|| format!("{change:?} does not follow {standing:?}"))?;
        told_points = change.points.or(told_points);
    }
    let due = Standing::of(points);
    if standing != due {
        return Err(format!("{changes:?} lead to {standing:?}, and {points} points to {due:?}"));
    }
    match told_points {
        Some(told) if Standing::of(told).grades != due.grades => {
            Err(format!("the last change of the grade tells {told} points, and there are {points}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    const CUSTOMER: Uuid = Uuid::from_u128(3);

    /// In the order of versions: type, grade, points.
    fn changes(told: &[(&str, &str, i64)]) -> Vec<Change> {
        let change = |(version, (event_type, grade, points)): (i64, &(&str, &str, i64))| Change {
            event_id: format!("change-{version}"),
            customer: CUSTOMER,
            version,
            event_type: (*event_type).to_owned(),
            grade: (!grade.is_empty()).then(|| (*grade).to_owned()),
            points: (!grade.is_empty()).then_some(*points),
        };
        (1..).zip(told).map(change).collect()
    }

    #[test]
    fn changes_are_steps_that_end_where_the_points_are() {
        let (attained, lost) = ("GradeAttained", "GradeLost");
        type Told<'a> = &'a [(&'a str, &'a str, i64)];
        let cases: [(&str, Told<'_>, i64, bool); 15] = [
            ("nothing has changed", &[], 99, true),
            ("a change is missing", &[], 100, false),
            ("silver", &[(attained, "silver", 140)], 140, true),
            ("silver, and more points since", &[(attained, "silver", 140)], 180, true),
            ("a grade too high", &[(attained, "gold", 320)], 140, false),
            ("silver twice", &[(attained, "silver", 140), (attained, "silver", 140)], 140, false),
            ("silver with too few points", &[(attained, "silver", 80)], 140, false),
            ("attained and lost", &[(attained, "silver", 120), (lost, "silver", 80)], 80, true),
            ("lost with enough points", &[(attained, "silver", 120), (lost, "silver", 100)], 80, false),
            ("what was not held is lost", &[(lost, "silver", 0)], 0, false),
            (
                "two grades at once",
                &[(attained, "silver", 320), (attained, "gold", 320), ("VipAcquired", "", 0)],
                320,
                true,
            ),
            ("VIP is missing", &[(attained, "silver", 320), (attained, "gold", 320)], 320, false),
            ("VIP that is lost without having been acquired", &[("VipLost", "", 0)], 0, false),
            (
                "VIP twice",
                &[(attained, "silver", 240), ("VipAcquired", "", 0), ("VipAcquired", "", 0)],
                240,
                false,
            ),
            (
                "the last points are of another grade",
                &[(attained, "silver", 320), ("VipAcquired", "", 0)],
                240,
                false,
            ),
        ];
        for (what, told, points, sound) in cases {
            let changes = changes(told);
            let changes: Vec<&Change> = changes.iter().collect();
            assert_eq!(walk(&changes, points).is_ok(), sound, "{what}: {:?}", walk(&changes, points));
        }
    }

    #[test]
    fn versions_have_no_gap() {
        let mut changes = changes(&[("GradeAttained", "silver", 120), ("GradeLost", "silver", 80)]);
        changes.last_mut().unwrap().version = 3;
        assert!(walk(&changes.iter().collect::<Vec<_>>(), 80).is_err());
    }
}
