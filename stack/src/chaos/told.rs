//! What clients were told, all of them together.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use super::facts::{Acknowledged, Kind, Violation};
use super::pulse::Pulse;

#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) order: Uuid,
    pub(super) customer: Uuid,
    pub(super) version: i64,
    pub(super) last: &'static str,
}

/// What all clients know together.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) acknowledged: Mutex<Vec<Acknowledged>>,
    pub(super) refused: Mutex<HashSet<String>>,
    violations: Mutex<Vec<Violation>>,
    pub(super) contested: Mutex<Vec<Known>>,
    pub(super) commands: AtomicU64,
    /// Requests that were sent again because the outcome was not known, and such that were sent twice on purpose.
    pub(super) repeated: AtomicU64,
    /// Answers that said they were given before.
    pub(super) replayed: AtomicU64,
    pub(super) enough: AtomicBool,
    pub(super) pulse: Pulse,
}

pub(super) fn open<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Told {
    pub(super) fn take(&self) -> (Vec<Acknowledged>, HashSet<String>, Vec<Violation>) {
        fn take<T: Default>(mutex: &Mutex<T>) -> T {
            std::mem::take(&mut open(mutex))
        }
        (take(&self.acknowledged), take(&self.refused), take(&self.violations))
    }

    pub(super) fn violation(&self, kind: Kind, detail: String) {
        open(&self.violations).push(Violation::new(kind, detail));
    }
}
