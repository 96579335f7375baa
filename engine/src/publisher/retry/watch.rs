//! While the breaker is open: is the retry in Redis still coming?

use chrono::{DateTime, Utc};

use super::rules::Retry;
use super::{Note, OVERDUE, Output, Place, Plan};
use crate::fallback::Scheduled;

impl Retry {
    pub(super) fn watch_the_job(&mut self, now: DateTime<Utc>) {
        let is_open = self.is_open();
        let Some(plan) = self.plan.as_mut().filter(|plan| is_open && plan.place == Place::Redis) else {
            return;
        };
        let due_at = plan.due_at;
        if due_at - now > self.delay_max + OVERDUE {
            plan.due_at = now;
            self.note(Note::ClockSetBack { due_at });
            self.outputs.push(Output::BringForward);
        } else if now - due_at > OVERDUE && self.job.is_none() {
            self.outputs.push(Output::LookForJob);
        }
    }

    pub(super) fn job_looked_for(&mut self, found: Option<Scheduled>, now: DateTime<Utc>) {
        let Some(plan) = self.plan else { return };
        match found {
            // Another instance runs the job; this is its next date.
            Some(scheduled) if scheduled.due_at > plan.due_at => self.plan_in_redis(&scheduled),
            _ if self.is_open() && self.job.is_none() => {
                self.note(Note::Overdue { attempt: plan.attempt });
                self.plan = Some(Plan { place: Place::Memory, due_at: now, ..plan });
                self.begin(plan.attempt);
            }
            _ => {}
        }
    }
}
