//! State and statistics of a long-lived part, shared by the part, its callers and the Guardian without messages.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::telemetry::Durations;

/// The state of a supervised part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not under supervision yet.
    Starting,
    Running,
    /// Down; it comes back after a pause.
    Restarting,
    /// Down for good: the service is stopping.
    Stopped,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
        }
    }
}

/// State and statistics of a supervised part, over all its lives.
#[derive(Debug)]
pub struct Vitals {
    name: String,
    parent: &'static str,
    state: watch::Sender<State>,
    restarts: AtomicU64,
    handled: AtomicU64,
    depth: AtomicU64,
    depth_peak: AtomicU64,
    /// Since the last start. `None` if its bounds were refused, which they are not.
    handling: Mutex<Option<Durations>>,
    changing: Mutex<MutableVitals>,
}

#[derive(Debug)]
struct MutableVitals {
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
    /// `restarting` while its back-off runs, `stopped` for good.
    #[schema(schema_with = actor_state)]
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

fn actor_state() -> utoipa::openapi::schema::Object {
    crate::schema::one_of(&["running", "restarting", "stopped"])
}

impl Vitals {
    /// For a part that will be started. `parent`: the name of the row above it in the tree.
    pub fn new(name: String, parent: &'static str) -> Self {
        Self {
            name,
            parent,
            state: watch::Sender::new(State::Starting),
            restarts: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            depth: AtomicU64::new(0),
            depth_peak: AtomicU64::new(0),
            handling: Mutex::new(Durations::new().ok()),
            changing: Mutex::new(MutableVitals {
                since: Instant::now(),
                last_error: None,
                details: BTreeMap::new(),
            }),
        }
    }

    /// Its name in the log, in metrics and in the supervision tree.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its state.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// How often it was started again.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Resolves when it is not running: at once if it is not running now.
    pub async fn until_down(&self) {
        // The sender lives as long as this borrow.
        let _ = self.state.subscribe().wait_for(|state| *state != State::Running).await;
    }

    /// A value of this actor, shown in its row. A value that is true or false means that the actor holds what `key` names, or does
    /// not.
    pub fn detail(&self, key: &'static str, value: impl Into<Value>) {
        self.changing().details.insert(key, value.into());
    }

    /// Records an error after which the part continues.
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
        self.state.send_replace(State::Running);
        self.changing().since = Instant::now();
    }

    pub(super) fn down(&self, error: String) {
        self.changing().last_error = Some(error);
        self.state.send_replace(State::Restarting);
    }

    pub(super) fn stopped(&self) {
        self.state.send_replace(State::Stopped);
    }

    /// Counts a restart of this part, or of an actor that this one manages.
    pub fn restarted(&self) -> u64 {
        self.restarts.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn uptime(&self) -> Duration {
        self.changing().since.elapsed()
    }

    pub(super) fn report(&self) -> ActorReport {
        let state = self.state().name().to_owned();
        let changing = self.changing();
        ActorReport {
            name: self.name.clone(),
            parent: self.parent.to_owned(),
            state,
            restarts: self.restarts(),
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

    fn changing(&self) -> MutexGuard<'_, MutableVitals> {
        unpoisoned(&self.changing)
    }
}

/// Ignores poisoning: the data is valid after every statement.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
