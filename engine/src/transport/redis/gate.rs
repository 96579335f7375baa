//! The gate in front of the streams: nothing is appended before it is known that they have what was published before.
//!
//! ```text
//! Idle ──a lane wants to append──> Wanted ──the keeper──> Restoring ──> Open(tenure)
//!  ^                                  └──Redis fails──> Failed             │
//!  └────────────── the streams are not what they were ────────────────────┘
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How often a lane says that it waits, while what was lost is sent again.
const WAITING_SIGNAL_PAUSE: Duration = Duration::from_millis(500);

/// The right to append, as the streams know it.
#[derive(Debug)]
pub(super) struct Tenure {
    pub(super) topic_id: String,
    /// Unique; empty for copies, which any client may append.
    pub(super) token: String,
    pub(super) partitions: u32,
    /// The highest number of appends that Redis has told.
    appended: AtomicI64,
}

impl Tenure {
    pub(super) fn new(topic_id: String, token: String, partitions: u32, appended: i64) -> Self {
        Self { topic_id, token, partitions, appended: AtomicI64::new(appended) }
    }

    pub(super) fn of_copies(topic_id: String, partitions: u32) -> Self {
        Self::new(topic_id, String::new(), partitions, 0)
    }

    pub(super) fn appended(&self) -> i64 {
        self.appended.load(Ordering::Acquire)
    }

    pub(super) fn has_appended(&self, appended: i64) {
        self.appended.fetch_max(appended, Ordering::AcqRel);
    }
}

#[derive(Debug, Clone)]
enum State {
    Idle,
    Wanted,
    Restoring,
    Open(Arc<Tenure>),
    Failed(Refusal),
}

/// Why the gate stays closed.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) cause: String,
    /// Redis cannot be reached.
    pub(super) unreachable: bool,
}

#[derive(Debug)]
pub(super) struct Gate(watch::Sender<State>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(State::Idle))
    }
}

impl Gate {
    /// One that is open from the beginning.
    pub(super) fn opened(tenure: Tenure) -> Self {
        Self(watch::Sender::new(State::Open(Arc::new(tenure))))
    }

    /// Waits until the gate is open, or cannot be opened. `waiting` is called now and then while lost events are sent again.
    pub(super) async fn enter(&self, waiting: impl Fn(Duration)) -> Result<Arc<Tenure>, Refusal> {
        let mut states = self.0.subscribe();
        let mut has_waited = false;
        loop {
            let state = states.borrow_and_update().clone();
            match state {
                State::Open(tenure) => return Ok(tenure),
                State::Failed(refusal) if has_waited => return Err(refusal),
                State::Idle | State::Failed(_) => self.want(),
                State::Wanted => has_waited = true,
                State::Restoring => {
                    has_waited = true;
                    waiting(2 * WAITING_SIGNAL_PAUSE);
                }
            }
            let _ = timeout(WAITING_SIGNAL_PAUSE, states.changed()).await;
        }
    }

    fn want(&self) {
        self.0.send_if_modified(|state| {
            let closed = matches!(state, State::Idle | State::Failed(_));
            if closed {
                *state = State::Wanted;
            }
            closed
        });
    }

    pub(super) async fn wanted(&self) {
        let mut states = self.0.subscribe();
        let _ = states.wait_for(|state| matches!(state, State::Wanted)).await;
    }

    pub(super) fn tenure(&self) -> Option<Arc<Tenure>> {
        match &*self.0.borrow() {
            State::Open(tenure) => Some(Arc::clone(tenure)),
            _ => None,
        }
    }

    /// Whether this instance appends, new events or lost ones.
    pub(super) fn is_in_use(&self) -> bool {
        matches!(&*self.0.borrow(), State::Open(_) | State::Restoring)
    }

    pub(super) fn restoring(&self) {
        self.0.send_replace(State::Restoring);
    }

    pub(super) fn open(&self, tenure: Arc<Tenure>) {
        self.0.send_replace(State::Open(tenure));
    }

    pub(super) fn failed(&self, refusal: Refusal) {
        self.0.send_replace(State::Failed(refusal));
    }

    /// The streams have refused this tenure.
    pub(super) fn close(&self, token: &str) {
        self.0.send_if_modified(|state| {
            let open = matches!(state, State::Open(tenure) if tenure.token == token);
            if open {
                *state = State::Idle;
            }
            open
        });
    }

    /// A keeper begins. What its predecessor had begun is wanted again.
    pub(super) fn begin(&self) {
        self.0.send_if_modified(|state| {
            let interrupted = matches!(state, State::Restoring);
            if interrupted {
                *state = State::Wanted;
            }
            interrupted
        });
    }
}
