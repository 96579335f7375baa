//! PURE: the rules by which events become points, a grade and a VIP status. No IO, no clock.
//!
//! A policy has a version, which is stored with every ledger row. A released policy is never edited: other values are a new version.

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
}

/// One version of the rules.
#[derive(Debug)]
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

/// What events are credited by at present.
pub const CURRENT: &Policy = &V1;

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
