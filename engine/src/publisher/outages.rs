//! The outages that this instance has seen, for display. Bounded, and kept in memory only: nothing depends on them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;

/// Most outages remembered; the oldest goes first.
const OUTAGES_MAX: usize = 50;

/// From the breaker's opening to its closing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outage {
    pub began_at: DateTime<Utc>,
    /// `None` while it lasts.
    pub ended_at: Option<DateTime<Utc>>,
    /// Retries that have failed.
    pub failed_retries: u32,
    /// The last failure's cause.
    pub cause: String,
}

/// Written by the publisher, read by whatever displays it. Survives the publisher's restarts.
#[derive(Clone, Default)]
pub struct OutageLog(Arc<Mutex<VecDeque<Outage>>>);

impl OutageLog {
    /// The breaker has opened, or retry number `attempt - 1` of the present outage has failed.
    pub(super) fn failed(&self, attempt: u32, cause: &str) {
        let mut outages = self.outages();
        if outages.back().is_none_or(|last| last.ended_at.is_some()) {
            if outages.len() == OUTAGES_MAX {
                outages.pop_front();
            }
            let (failed_retries, cause) = (0, String::new());
            outages.push_back(Outage { began_at: Utc::now(), ended_at: None, failed_retries, cause });
        }
        if let Some(present) = outages.back_mut() {
            present.failed_retries = attempt.saturating_sub(1);
            cause.clone_into(&mut present.cause);
        }
    }

    /// The breaker is closed.
    pub(super) fn ended(&self) {
        if let Some(present) = self.outages().back_mut().filter(|last| last.ended_at.is_none()) {
            present.ended_at = Some(Utc::now());
        }
    }

    /// The oldest first.
    pub fn all(&self) -> Vec<Outage> {
        self.outages().iter().cloned().collect()
    }

    fn outages(&self) -> MutexGuard<'_, VecDeque<Outage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_belong_to_one_outage_until_it_ends() {
        let log = OutageLog::default();
        log.ended();
        assert_eq!(log.all(), []);
        log.failed(1, "refused");
        log.failed(2, "timed out");
        let outages = log.all();
        let [outage] = &outages[..] else { panic!("{outages:?}") };
        assert_eq!((outage.failed_retries, outage.cause.as_str(), outage.ended_at), (1, "timed out", None));
        log.ended();
        let ended_at = log.all()[0].ended_at;
        log.ended();
        assert!(ended_at.is_some() && log.all()[0].ended_at == ended_at, "it ends once");
        for _ in 0..OUTAGES_MAX {
            log.failed(1, "refused");
            log.ended();
        }
        assert_eq!(log.all().len(), OUTAGES_MAX);
    }
}
