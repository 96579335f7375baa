//! Notices when the journal is not the one that this process knows, or has lost acknowledged commits.
//!
//! Postgres keeps what it has committed, unless it is replaced: an asynchronous standby is promoted before the last commits reached
//! it, or a backup is restored under a running service. Then positions and versions are used a second time, and a cached state may
//! contain events that do not exist. Two things show it:
//! - the server's timeline, read whenever the journal or the lease opens a session; it does not change during a session;
//! - the head in an append's answer, which otherwise is never below what was committed before the append was sent.
//!
//! Either begins a new era. A state that was loaded in an earlier era is not decided on, and an append that was decided in an
//! earlier era is not sent.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use sqlx::PgConnection;
use tracing::{error, warn};

use super::health::WriteHealth;
use crate::metric;
use crate::names::Names;

/// What the journal and its followers share without messages.
#[derive(Default)]
pub struct JournalState {
    /// The last position known to be committed; never ahead of the table, unless the table has lost it.
    pub head: AtomicI64,
    /// Whether this instance publishes; if not, appends NOTIFY the one that does.
    pub publishes_here: AtomicBool,
    /// Whether this instance's breaker is open: then appends need not NOTIFY the publisher.
    pub breaker_open: AtomicBool,
    /// Counts up when commits were lost or the database is another one.
    era: AtomicU64,
    /// The era in which the journal's session was opened.
    session_era: AtomicU64,
    timeline: Mutex<Option<String>>,
    /// How the last writes went.
    pub(super) writes: WriteHealth,
}

impl JournalState {
    pub(super) fn notify_wanted(&self) -> bool {
        !self.publishes_here.load(Ordering::Acquire) && !self.breaker_open.load(Ordering::Acquire)
    }

    /// Must be read before a state is loaded.
    pub fn era(&self) -> u64 {
        self.era.load(Ordering::Acquire)
    }

    /// Whether an append that was decided in `era` may be sent on the journal's session.
    pub(super) fn is_current(&self, era: u64) -> bool {
        era == self.era()
    }

    /// Whether the journal's session leads to the database that was last seen. If not, another session has found another database
    /// since.
    pub(super) fn session_is_current(&self) -> bool {
        self.session_era.load(Ordering::Acquire) == self.era()
    }

    /// A session was opened on a server of this timeline, where the journal ends at `head`. `timeline` is `None` if the server does
    /// not tell it.
    pub fn opened(&self, timeline: Option<String>, head: i64) {
        let Some(timeline) = timeline else { return };
        let mut known = self.timeline.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let changed = known.as_ref().filter(|known| **known != timeline).cloned();
        *known = Some(timeline.clone());
        let Some(before) = changed else { return };
        warn!(
            before,
            now = timeline,
            head,
            "Postgres is on another timeline: every aggregate is loaded anew before it is decided on"
        );
        // Nothing was appended on the new timeline yet, so positions beyond its head are gone.
        self.begin_era(head);
    }

    /// An append has found the journal's end at `head`; before it was sent, `known` was committed.
    pub(super) fn answered(&self, known: i64, head: i64) {
        if head < known {
            self.begin_era(head);
        }
    }

    fn begin_era(&self, head: i64) {
        let known = self.head.swap(head, Ordering::AcqRel);
        // After the head, so that a reader of the new era sees the new head.
        self.era.fetch_add(1, Ordering::AcqRel);
        metric::journal_era();
        if known > head {
            metric::commits_lost(known - head);
            error!(
                known,
                head,
                lost = known - head,
                "Committed events are gone from the journal: this instance discards its cached states"
            );
        }
    }
}

/// Reads the timeline on a fresh session. A standby is refused: its sessions outlive a promotion, and would then write on a
/// timeline that this process does not know.
pub(super) async fn examine(
    connection: &mut PgConnection,
    names: &Names,
    state: &JournalState,
) -> Result<(), sqlx::Error> {
    let (timeline, standby, head): (Option<String>, bool, i64) =
        sqlx::query_as(names.sql(include_str!("sql/timeline.sql"))).fetch_one(connection).await?;
    if standby {
        return Err(sqlx::Error::Protocol("the server is a standby".into()));
    }
    state.opened(timeline, head);
    state.session_era.store(state.era(), Ordering::Release);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known_to(head: i64) -> JournalState {
        let state = JournalState::default();
        state.opened(Some("7/1".into()), 0);
        state.head.store(head, Ordering::Release);
        state
    }

    #[test]
    fn a_session_on_the_same_timeline_changes_nothing() {
        let state = known_to(5);
        for (timeline, head) in [(Some("7/1"), 5), (Some("7/1"), 9), (None, 3)] {
            state.opened(timeline.map(str::to_owned), head);
            assert_eq!((state.era(), state.head.load(Ordering::Acquire)), (0, 5));
        }
    }

    #[test]
    fn another_timeline_begins_an_era_even_where_nothing_is_missing() {
        for (timeline, head) in [("7/2", 5), ("7/2", 4), ("8/1", 9)] {
            let state = known_to(5);
            state.opened(Some(timeline.into()), head);
            assert_eq!((state.era(), state.head.load(Ordering::Acquire)), (1, head));
            state.opened(Some(timeline.into()), head);
            assert_eq!(state.era(), 1, "noticed once");
        }
    }

    #[test]
    fn an_append_that_finds_less_than_was_committed_begins_an_era() {
        let state = known_to(5);
        state.answered(5, 5);
        state.answered(5, 7);
        assert_eq!(state.era(), 0, "others have appended");
        state.answered(5, 4);
        assert_eq!((state.era(), state.head.load(Ordering::Acquire)), (1, 4));
    }
}
