//! What customers have gained and lost, as the database tells it after a credit or a sweep.

use sqlx::FromRow;
use tracing::debug;
use uuid::Uuid;

use crate::policy::Policy;
use crate::standing::{self, Standing, StandingChange};
use crate::telemetry::metric;

/// One change of one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountChange {
    pub customer_id: Uuid,
    pub change: StandingChange,
}

/// Accounts before and after a transaction. Parallel arrays, one element an account.
#[derive(FromRow)]
pub struct Standings {
    changed: Vec<Uuid>,
    points_before: Vec<i64>,
    points_after: Vec<i64>,
    vip_before: Vec<bool>,
    vip_after: Vec<bool>,
}

impl Standings {
    pub fn changes(self, policy: &Policy) -> Vec<AccountChange> {
        let standing = |(points, vip)| Standing { grade: policy.grade(points), vip };
        let before = self.points_before.into_iter().zip(self.vip_before).map(standing);
        let after = self.points_after.into_iter().zip(self.vip_after).map(standing);
        let accounts = self.changed.into_iter().zip(before.zip(after));
        let changes = accounts.flat_map(|(customer_id, (before, after))| {
            let changes = standing::changes(before, after).into_iter();
            changes.map(move |change| AccountChange { customer_id, change })
        });
        changes.collect()
    }
}

/// Counts the changes. A line for each is a matter of `RUST_LOG=bonus=debug`: under load there are many.
pub fn report(changes: &[AccountChange]) {
    for AccountChange { customer_id, change } in changes {
        metric::standing_change(change.name());
        debug!(customer.id = %customer_id, ?change, "A customer's standing has changed");
    }
}
