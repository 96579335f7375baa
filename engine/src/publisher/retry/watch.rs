//! While the breaker is open: checks that the retry in Redis is still coming.

use chrono::{DateTime, Utc};

use super::rules::RetryMachine;
use super::{Note, OVERDUE, Output, Plan, RetryPlace};
use crate::fallback::ScheduledRetry;

impl RetryMachine {
    pub(super) fn watch_job(&mut self, now: DateTime<Utc>) {
        let is_open = self.is_open();
        let Some(plan) = self.plan.as_mut().filter(|plan| is_open && plan.place == RetryPlace::Redis) else {
            return;
        };
        let due_at = plan.due_at;
        if due_at - now > self.delay_max + OVERDUE {
            plan.due_at = now;
            self.note(Note::ClockSetBack { due_at });
            self.outputs.push(Output::BringForward);
        } else if now - due_at > OVERDUE && self.job.is_none() {
            self.outputs.push(Output::FindJob);
        }
    }

    pub(super) fn job_found(&mut self, found: Option<ScheduledRetry>, now: DateTime<Utc>) {
        let Some(plan) = self.plan else { return };
        match found {
            // Another instance runs the job; this is its next date.
            Some(scheduled) if scheduled.due_at > plan.due_at => self.plan_in_redis(&scheduled),
            _ if self.is_open() && self.job.is_none() => {
                self.note(Note::Overdue { attempt: plan.attempt });
                self.plan = Some(Plan { place: RetryPlace::Memory, due_at: now, ..plan });
                self.begin(plan.attempt);
            }
            _ => {}
        }
    }
}
