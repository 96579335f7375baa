//! PURE: the rules by which events become points, a grade and a VIP status. No IO, no clock.
//!
//! A policy has a version. Accounts are by one policy each, and one is in force: `bonus rebuild --policy N` puts another one in force and
//! derives the accounts anew. A released policy is never edited: other values are a new version, in [`ALL`] and, since the database prices
//! by it too, as a row of the table `policy` in a new migration.

use std::fmt;

use chrono::TimeDelta;
use serde::Serialize;
use utoipa::ToSchema;

/// Standing by lifetime points: all that was given, less what cancellations took back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub enum Grade {
    Bronze,
    Silver,
    Gold,
    Platinum,
}

impl Grade {
    /// As events have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bronze => "bronze",
            Self::Silver => "silver",
            Self::Gold => "gold",
            Self::Platinum => "platinum",
        }
    }

    /// Rising, as in the bounds of a policy.
    pub const ALL: [Self; 4] = [Self::Bronze, Self::Silver, Self::Gold, Self::Platinum];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grade| grade.name() == name)
    }

    /// The next lower one; of the lowest itself.
    pub fn below(self) -> Self {
        Self::ALL.into_iter().rev().find(|grade| *grade < self).unwrap_or(self)
    }

    /// How the database tells a grade: how many bounds are reached.
    pub fn ranked(bounds_reached: i32) -> Self {
        let rank = usize::try_from(bounds_reached).unwrap_or_default();
        Self::ALL.get(rank).copied().unwrap_or(Self::Platinum)
    }
}

/// One version of the rules.
#[derive(Debug, PartialEq, Eq)]
pub struct Policy {
    pub version: i16,
    /// Points of an order that is created, and of one that is completed.
    pub created_points: i64,
    pub completed_points: i64,
    /// The lifetime points from which on Silver, Gold and Platinum hold, rising. Below is Bronze.
    pub grade_bounds: [i64; 3],
    /// Who has this many points in the window is VIP.
    pub vip_points: i64,
    /// How long an award counts, from the moment its event occurred: a fixed time, the same in every time zone and year.
    pub vip_window: TimeDelta,
}

/// Version 1: created 40 points, completed 100; Silver from 100, Gold from 300, Platinum from 1000; VIP with 200 points of 30 days.
pub const V1: Policy = Policy {
    version: 1,
    created_points: 40,
    completed_points: 100,
    grade_bounds: [100, 300, 1_000],
    vip_points: 200,
    vip_window: TimeDelta::hours(30 * 24),
};

/// Version 2, another policy to rebuild by and to come back from: it values what is completed, and looks at twice the time. Created 20
/// points, completed 150; Silver from 150, Gold from 500, Platinum from 1500; VIP with 300 points of 60 days.
pub const V2: Policy = Policy {
    version: 2,
    created_points: 20,
    completed_points: 150,
    grade_bounds: [150, 500, 1_500],
    vip_points: 300,
    vip_window: TimeDelta::hours(60 * 24),
};

/// Every policy that this version of the service knows. It credits by no other.
pub const ALL: [&Policy; 2] = [&V1, &V2];

pub const VERSIONS: [i16; ALL.len()] = [V1.version, V2.version];

/// `None`: a policy of a later version of the service.
pub fn of_version(version: i16) -> Option<&'static Policy> {
    ALL.into_iter().find(|policy| policy.version == version)
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, created_points, completed_points, grade_bounds, vip_points, vip_window } = self;
        let [silver, gold, platinum] = grade_bounds;
        let days = vip_window.num_days();
        write!(
            f,
            "{version} (created {created_points} points, completed {completed_points}; Silver from {silver}, Gold from {gold}, \
             Platinum from {platinum}; VIP with {vip_points} points of {days} days)"
        )
    }
}

impl Policy {
    pub fn grade(&self, lifetime_points: i64) -> Grade {
        let attained = self.grades().filter(|(_, bound)| lifetime_points >= *bound).last();
        attained.map_or(Grade::Bronze, |(grade, _)| grade)
    }

    /// The grade above, and from how many points on it holds; `None` at the top.
    pub fn next_grade(&self, lifetime_points: i64) -> Option<(Grade, i64)> {
        self.grades().find(|(_, bound)| lifetime_points < *bound)
    }

    /// The grades above the lowest, rising, with their bounds.
    fn grades(&self) -> impl Iterator<Item = (Grade, i64)> {
        [Grade::Silver, Grade::Gold, Grade::Platinum].into_iter().zip(self.grade_bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_name_each_policy_once() {
        assert_eq!(ALL.map(|policy| policy.version), VERSIONS);
        for policy in ALL {
            assert_eq!(of_version(policy.version), Some(policy));
            assert!(policy.grade_bounds.is_sorted_by(|lower, upper| lower < upper), "{policy}");
        }
        assert_eq!(of_version(0), None);
    }

    #[test]
    fn a_rank_is_the_number_of_bounds_that_are_reached() {
        for policy in ALL {
            for points in [0, 99, 100, 149, 150, 300, 499, 500, 1_000, 1_499, 1_500, i64::MAX] {
                let reached = policy.grade_bounds.iter().filter(|bound| points >= **bound).count();
                assert_eq!(Grade::ranked(i32::try_from(reached).unwrap()), policy.grade(points), "{policy}");
            }
        }
    }

    #[test]
    fn grades_change_exactly_at_their_bounds() {
        for (points, grade, next) in [
            (0, Grade::Bronze, Some((Grade::Silver, 100))),
            (99, Grade::Bronze, Some((Grade::Silver, 100))),
            (100, Grade::Silver, Some((Grade::Gold, 300))),
            (299, Grade::Silver, Some((Grade::Gold, 300))),
            (300, Grade::Gold, Some((Grade::Platinum, 1_000))),
            (999, Grade::Gold, Some((Grade::Platinum, 1_000))),
            (1_000, Grade::Platinum, None),
            (i64::MAX, Grade::Platinum, None),
        ] {
            assert_eq!((V1.grade(points), V1.next_grade(points)), (grade, next), "{points} points");
        }
    }
}
