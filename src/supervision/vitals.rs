//! What is known about one long-lived actor, shared without messages between it, its callers and the Guardian.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::telemetry::meter::Durations;

#[derive(Debug)]
pub struct Vitals {
    name: String,
    parent: &'static str,
    running: AtomicBool,
    restarts: AtomicU64,
    handled: AtomicU64,
    depth: AtomicU64,
    depth_peak: AtomicU64,
    /// Since the last start. `None` if its bounds were refused, which they are not.
    handling: Mutex<Option<Durations>>,
    changing: Mutex<Changing>,
}

#[derive(Debug)]
struct Changing {
    since: Instant,
    last_error: Option<String>,
    details: BTreeMap<&'static str, Value>,
}

/// One row of the supervision tree.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ActorReport {
    #[schema(example = "journal")]
    pub name: String,
    #[schema(example = "guardian")]
    pub parent: String,
    /// `running`, or `restarting` while its back-off runs.
    #[schema(example = "running")]
    pub state: String,
    pub restarts: u64,
    /// Messages sent to the actor that it has not begun to handle.
    pub mailbox_depth: u64,
    pub mailbox_depth_peak: u64,
    pub messages_handled: u64,
    /// 99 of 100 messages since the last start were answered within this time, from the moment their handler began. Null before the first.
    pub handling_p99_ms: Option<f64>,
    pub last_error: Option<String>,
    /// Since the last start.
    pub uptime_seconds: u64,
    /// What this actor alone can say, such as the number of live orders.
    #[schema(value_type = Object)]
    pub details: BTreeMap<&'static str, Value>,
}

impl Vitals {
    pub(super) fn new(name: String, parent: &'static str) -> Self {
        Self {
            name,
            parent,
            running: AtomicBool::new(false),
            restarts: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            depth: AtomicU64::new(0),
            depth_peak: AtomicU64::new(0),
            handling: Mutex::new(Durations::new().ok()),
            changing: Mutex::new(Changing {
                since: Instant::now(),
                last_error: None,
                details: BTreeMap::new(),
            }),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A value only this actor knows, shown with its row.
    pub fn detail(&self, key: &'static str, value: impl Into<Value>) {
        self.changing().details.insert(key, value.into());
    }

    pub fn failed(&self, error: impl Into<String>) {
        self.changing().last_error = Some(error.into());
    }

    pub(super) fn entered(&self) {
        let depth = self.depth.fetch_add(1, Ordering::Relaxed) + 1;
        self.depth_peak.fetch_max(depth, Ordering::Relaxed);
    }

    pub(super) fn left(&self) {
        // Never below zero: a restart resets the count while late messages may still be on their way.
        let _ = self.depth.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |depth| depth.checked_sub(1));
    }

    /// A message has left the mailbox.
    pub(super) fn begun(&self) {
        self.left();
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, took: Duration) {
        if let Some(handling) = &mut *unpoisoned(&self.handling) {
            handling.record(took);
        }
    }

    pub(super) fn up(&self) {
        self.depth.store(0, Ordering::Relaxed);
        if let Some(handling) = &mut *unpoisoned(&self.handling) {
            handling.reset();
        }
        self.running.store(true, Ordering::Release);
        self.changing().since = Instant::now();
    }

    pub(super) fn down(&self, error: String) {
        self.running.store(false, Ordering::Release);
        self.changing().last_error = Some(error);
    }

    /// Counts a restart, here or of an actor this one looks after.
    pub fn restarted(&self) -> u64 {
        self.restarts.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn uptime(&self) -> Duration {
        self.changing().since.elapsed()
    }

    pub(super) fn report(&self) -> ActorReport {
        let running = self.running.load(Ordering::Acquire);
        let changing = self.changing();
        ActorReport {
            name: self.name.clone(),
            parent: self.parent.to_owned(),
            state: if running { "running" } else { "restarting" }.to_owned(),
            restarts: self.restarts.load(Ordering::Relaxed),
            mailbox_depth: self.depth.load(Ordering::Relaxed),
            mailbox_depth_peak: self.depth_peak.load(Ordering::Relaxed),
            messages_handled: self.handled.load(Ordering::Relaxed),
            handling_p99_ms: self.handling_p99_ms(),
            last_error: changing.last_error.clone(),
            uptime_seconds: changing.since.elapsed().as_secs(),
            details: changing.details.clone(),
        }
    }

    fn handling_p99_ms(&self) -> Option<f64> {
        let p99 = unpoisoned(&self.handling).as_ref()?.quantile(0.99)?;
        Some(p99.as_secs_f64() * 1_000.0)
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        unpoisoned(&self.changing)
    }
}

/// Plain data: a panic while it was held leaves nothing half-changed that matters.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
