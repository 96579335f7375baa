//! PURE: a customer's grade and VIP status, and what a change of them is. No IO, no clock: the moment is an argument.
//!
//! An award counts in the window from the moment its event occurred, for as long as the policy says: at the end of that time it does
//! not count any more. Who has the policy's points in the window is VIP. So VIP is a function of the set of events and of the moment:
//! it is gained and lost by events, whenever they arrive, and lost by the mere passing of time. An event whose clock is ahead counts
//! from its own time on.
//!
//! The database computes the same (the function `vip_standing`, `migrations/0007…`); `tests/vip.rs` compares both.

use chrono::{DateTime, Utc};

use crate::policy::{Grade, Policy};

/// Points that count, and when they were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Award {
    pub occurred_at: DateTime<Utc>,
    pub points: i64,
}

/// The points in the window that ends at `now`.
pub fn window_points(policy: &Policy, awards: &[Award], now: DateTime<Utc>) -> i64 {
    let counts = |award: &&Award| award.occurred_at <= now && now < award.occurred_at + policy.vip_window;
    awards.iter().filter(counts).map(|award| award.points).sum()
}

/// Until when the awards that have occurred by `now` keep the customer VIP; `None`: the customer is not VIP at `now`.
pub fn vip_until(policy: &Policy, awards: &[Award], now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let mut in_window: Vec<Award> = awards
        .iter()
        .filter(|award| award.occurred_at <= now && now < award.occurred_at + policy.vip_window)
        .copied()
        .collect();
    in_window.sort_by_key(|award| std::cmp::Reverse(award.occurred_at));
    // Of the newest awards that are enough, the oldest leaves the window first.
    let needed = in_window.into_iter().scan(0, |points, award| {
        *points += award.points;
        Some((*points, award.occurred_at))
    });
    let mut enough = needed.filter(|(points, _)| *points >= policy.vip_points);
    enough.next().map(|(_, oldest)| oldest + policy.vip_window)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub grade: Grade,
    pub vip: bool,
}

impl Standing {
    /// Of a customer who was never told of any.
    pub const LOWEST: Self = Self { grade: Grade::Bronze, vip: false };
}

/// What a customer has gained or lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandingChange {
    GradeAttained(Grade),
    GradeLost(Grade),
    VipAcquired,
    VipLost,
}

impl StandingChange {
    /// As a label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::GradeAttained(_) => "grade_attained",
            Self::GradeLost(_) => "grade_lost",
            Self::VipAcquired => "vip_acquired",
            Self::VipLost => "vip_lost",
        }
    }
}

/// From `before` to `after`: each grade on the way, in the order in which it is passed, then VIP.
pub fn changes(before: Standing, after: Standing) -> Vec<StandingChange> {
    let attained = Grade::ALL.into_iter().filter(|grade| before.grade < *grade && *grade <= after.grade);
    let lost = Grade::ALL.into_iter().rev().filter(|grade| after.grade < *grade && *grade <= before.grade);
    let vip = match (before.vip, after.vip) {
        (false, true) => Some(StandingChange::VipAcquired),
        (true, false) => Some(StandingChange::VipLost),
        (true, true) | (false, false) => None,
    };
    attained
        .map(StandingChange::GradeAttained)
        .chain(lost.map(StandingChange::GradeLost))
        .chain(vip)
        .collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;
    use crate::policy::V1;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn award(occurred_at: &str, points: i64) -> Award {
        Award { occurred_at: at(occurred_at), points }
    }

    /// Two hundred points at one moment: until when they count.
    fn lasts_until(occurred_at: &str) -> DateTime<Utc> {
        let awards = [award(occurred_at, 200)];
        vip_until(&V1, &awards, awards[0].occurred_at).unwrap()
    }

    #[test]
    fn the_window_is_thirty_days_of_24_hours_in_every_zone_and_year() {
        for (occurred_at, until) in [
            ("2027-02-15T12:00:00Z", "2027-03-17T12:00:00Z"),
            // A leap day lies between, or is the day itself.
            ("2028-02-15T12:00:00Z", "2028-03-16T12:00:00Z"),
            ("2028-02-29T23:59:59.999999Z", "2028-03-30T23:59:59.999999Z"),
            // The same moment, written in other zones; clocks are put forward in between in most of Europe.
            ("2026-03-20T00:30:00Z", "2026-04-19T00:30:00Z"),
            ("2026-03-20T01:30:00+01:00", "2026-04-19T00:30:00Z"),
            ("2026-03-19T14:30:00-10:00", "2026-04-19T00:30:00Z"),
            ("2026-12-15T00:00:00Z", "2027-01-14T00:00:00Z"),
        ] {
            assert_eq!(lasts_until(occurred_at), at(until), "{occurred_at}");
        }
    }

    #[test]
    fn at_the_edges_of_the_window() {
        let awards = [award("2026-05-01T00:00:00Z", 100), award("2026-05-10T00:00:00Z", 100)];
        let microsecond = TimeDelta::microseconds(1);
        let (gained, lost) = (at("2026-05-10T00:00:00Z"), at("2026-05-31T00:00:00Z"));
        for (now, until) in [
            (gained - microsecond, None),
            (gained, Some(lost)),
            (lost - microsecond, Some(lost)),
            (lost, None),
            (lost + microsecond, None),
        ] {
            assert_eq!(vip_until(&V1, &awards, now), until, "at {now}");
        }
        let one_less = [award("2026-05-01T00:00:00Z", 100), award("2026-05-10T00:00:00Z", 99)];
        assert_eq!(vip_until(&V1, &one_less, gained), None);
    }

    #[test]
    fn an_event_from_the_future_counts_from_its_own_time_on() {
        let awards = [award("2026-05-01T00:00:00Z", 100), award("2026-05-01T00:00:03Z", 100)];
        assert_eq!(vip_until(&V1, &awards, at("2026-05-01T00:00:02.999999Z")), None);
        assert_eq!(
            vip_until(&V1, &awards, at("2026-05-01T00:00:03Z")),
            Some(at("2026-05-31T00:00:00Z")),
            "the older one leaves the window first"
        );
    }

    #[test]
    fn each_grade_on_the_way_is_a_change_of_its_own() {
        use StandingChange::{GradeAttained, GradeLost, VipAcquired, VipLost};
        let (low, high) =
            (Standing { grade: Grade::Bronze, vip: false }, Standing { grade: Grade::Gold, vip: true });
        assert_eq!(
            changes(low, high),
            [GradeAttained(Grade::Silver), GradeAttained(Grade::Gold), VipAcquired]
        );
        assert_eq!(changes(high, low), [GradeLost(Grade::Gold), GradeLost(Grade::Silver), VipLost]);
        assert_eq!(changes(high, high), []);
    }

    /// Moments of a few months, close enough together to coincide and to touch each other's edges.
    fn any_moment() -> impl Strategy<Value = DateTime<Utc>> {
        (0i64..12, -1i64..=1).prop_map(|(tens_of_days, microseconds)| {
            at("2028-01-20T00:00:00Z")
                + TimeDelta::days(tens_of_days * 10)
                + TimeDelta::microseconds(microseconds)
        })
    }

    fn any_awards() -> impl Strategy<Value = Vec<Award>> {
        let award = (any_moment(), prop::sample::select(vec![40, 100, 140]));
        prop::collection::vec(award.prop_map(|(occurred_at, points)| Award { occurred_at, points }), 0..10)
    }

    fn any_standing() -> impl Strategy<Value = Standing> {
        (0i64..2_000, any::<bool>()).prop_map(|(points, vip)| Standing { grade: V1.grade(points), vip })
    }

    proptest! {
        #[test]
        fn vip_is_who_has_the_points_in_the_window(awards in any_awards(), now in any_moment()) {
            let until = vip_until(&V1, &awards, now);
            prop_assert_eq!(until.is_some(), window_points(&V1, &awards, now) >= V1.vip_points);
        }

        /// Up to the moment before the end, and no longer.
        #[test]
        fn vip_lasts_exactly_until_then(awards in any_awards(), now in any_moment(), other in any_moment()) {
            let occurred: Vec<Award> = awards.iter().filter(|award| award.occurred_at <= now).copied().collect();
            if let Some(until) = vip_until(&V1, &awards, now) {
                prop_assert!(until > now);
                let is_vip = |moment| window_points(&V1, &occurred, moment) >= V1.vip_points;
                prop_assert!(is_vip(until - TimeDelta::microseconds(1)));
                prop_assert!(!is_vip(until));
                prop_assert!(!(now..until).contains(&other) || is_vip(other));
            }
        }

        #[test]
        fn vip_depends_on_the_set_of_awards_alone(
            (awards, shuffled) in any_awards().prop_flat_map(|awards| (Just(awards.clone()), Just(awards).prop_shuffle())),
            now in any_moment(),
        ) {
            prop_assert_eq!(vip_until(&V1, &awards, now), vip_until(&V1, &shuffled, now));
        }

        #[test]
        fn whoever_follows_the_changes_arrives_at_the_standing(before in any_standing(), after in any_standing()) {
            let mut followed = before;
            for change in changes(before, after) {
                match change {
                    StandingChange::GradeAttained(grade) => {
                        prop_assert!(grade > followed.grade);
                        followed.grade = grade;
                    }
                    StandingChange::GradeLost(grade) => {
                        prop_assert_eq!(grade, followed.grade);
                        followed.grade = [Grade::Bronze, Grade::Silver, Grade::Gold, Grade::Platinum]
                            .into_iter().rfind(|lower| *lower < grade).unwrap();
                    }
                    StandingChange::VipAcquired => followed.vip = true,
                    StandingChange::VipLost => followed.vip = false,
                }
            }
            prop_assert_eq!(followed, after);
        }
    }
}
