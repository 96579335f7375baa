//! What the publisher does when the database is not the one it was, or takes no writes.

use actix::prelude::*;
use tracing::warn;

use super::machine::Input;
use super::{Publisher, retry};

impl Publisher {
    /// If the journal has lost commits, positions are used a second time, and the window may be ahead of the table. So this tenure
    /// ends. The next one begins with what the database has.
    pub(super) fn watch_era(&mut self, ctx: &mut Context<Self>) {
        let era = self.dependencies.journal.era();
        if era == self.era {
            return;
        }
        self.era = era;
        if self.machine.holds_lease() && !self.forfeited {
            self.forfeited = true;
            if let Some(lease) = &self.lease {
                lease.forfeit();
            }
            self.retry(retry::Input::LeaseLost, ctx);
            self.feed(Input::LeaseLost, ctx);
        }
    }

    pub(super) fn refused_by_read_only(&mut self, standby: bool) {
        let what = if standby { "a standby" } else { "read-only" };
        self.lifeline.vitals().failed(format!("Postgres is {what}: no lease there"));
        if !self.read_only_logged {
            self.read_only_logged = true;
            warn!(
                "Postgres is {what}: it is not asked for the lease until it takes writes; DATABASE_URL must lead to the primary"
            );
        }
    }
}
