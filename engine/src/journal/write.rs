//! Writes one batch: the connection, one repetition on a fresh one, and the replies if both fail.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use kit::postgres::{ConnectError, Meaning, meaning};
use sqlx::PgConnection;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::append::{self, WrittenBatch};
use super::continuity::{self, JournalState};
use super::trace::WriteSpans;
use super::{Append, AppendError, Appended, JournalSettings, StoredEvent, Write};
use crate::metric;

/// A command that waits for its transaction, or for its answer.
pub(super) struct PendingAppend {
    pub(super) write: Write,
    /// Closed when the command's time is over: then nobody waits for it.
    pub(super) reply: oneshot::Sender<Result<Appended, AppendError>>,
    /// Whether it was sent to the database.
    pub(super) sent: Rc<Cell<bool>>,
}

/// The result of a batch, whether it was written or not.
pub(super) struct BatchResult {
    /// `None` if it must not be used again.
    pub(super) connection: Option<PgConnection>,
    pub(super) events: Vec<StoredEvent>,
    /// Why the server failed: it would fail for the waiting commands as well.
    pub(super) failure: Option<String>,
}

/// Writes a batch and answers its commands.
pub(super) async fn write_batch(
    connection: Option<PgConnection>,
    settings: JournalSettings,
    batch: Vec<PendingAppend>,
    state: Arc<JournalState>,
) -> BatchResult {
    let started = Instant::now();
    let appends: Vec<&Append> = batch.iter().map(|pending| &pending.write.append).collect();
    let writing = WriteSpans::begin(&appends, &settings.names, settings.connector.options());
    let mut writer = Writer { connection, settings: &settings, state: &state, failure: None };
    let (outcomes, events) = match writer.write_twice(&appends).await {
        Ok(written) => (written.outcomes, written.events),
        Err(WriteError::Refused(reason)) if appends.len() > 1 => {
            // The database refused the values, and still works: find the command at fault.
            warn!(
                commands = appends.len(),
                error = reason,
                "A batch was refused; writing its commands one by one"
            );
            writer.write_singly(&appends).await
        }
        Err(failed) => (vec![Err(failed.into()); appends.len()], Vec::new()),
    };
    writing.end(&outcomes);
    metric::journal_batch(appends.len(), started.elapsed());
    let Writer { connection, failure, .. } = writer;
    for (pending, outcome) in batch.into_iter().zip(outcomes) {
        // The caller may be gone; its events are written all the same.
        let _ = pending.reply.send(outcome);
    }
    BatchResult { connection, events, failure }
}

#[derive(Debug)]
enum WriteError {
    NothingWritten(String),
    Refused(String),
    OutcomeUnknown(String),
    /// Not sent, since it was decided on what another database had.
    Outdated,
}

impl From<WriteError> for AppendError {
    fn from(failed: WriteError) -> Self {
        match failed {
            WriteError::NothingWritten(reason) => Self::Unavailable(reason),
            WriteError::Refused(reason) => Self::Refused(reason),
            WriteError::OutcomeUnknown(reason) => Self::OutcomeUnknown(reason),
            WriteError::Outdated => Self::VersionConflict,
        }
    }
}

impl From<ConnectError> for WriteError {
    fn from(error: ConnectError) -> Self {
        Self::NothingWritten(error.to_string())
    }
}

struct Writer<'a> {
    connection: Option<PgConnection>,
    settings: &'a JournalSettings,
    state: &'a JournalState,
    /// Why the server failed, if it did.
    failure: Option<String>,
}

impl Writer<'_> {
    /// One command a transaction, until the server fails; the commands after that are not sent.
    async fn write_singly(
        &mut self,
        appends: &[&Append],
    ) -> (Vec<Result<Appended, AppendError>>, Vec<StoredEvent>) {
        let (mut outcomes, mut events) = (Vec::new(), Vec::new());
        for append in appends {
            if let Some(reason) = &self.failure {
                outcomes.push(Err(AppendError::Unavailable(format!("not sent: {reason}"))));
                continue;
            }
            if append.deadline <= Instant::now() {
                outcomes.push(Err(AppendError::Unavailable("not sent within the command's time".into())));
                continue;
            }
            match self.write_twice(&[append]).await {
                Ok(written) => {
                    outcomes.extend(written.outcomes);
                    events.extend(written.events);
                }
                Err(failed) => outcomes.push(Err(failed.into())),
            }
        }
        (outcomes, events)
    }

    /// Writes on the open connection. If the server fails, writes once more on a fresh one, where it recognises what it has already
    /// written. A repetition takes as long again, so it is made only if half of the time is left.
    async fn write_twice(&mut self, appends: &[&Append]) -> Result<WrittenBatch, WriteError> {
        let written = self.repeat_once(appends).await;
        if let Err(WriteError::NothingWritten(reason) | WriteError::OutcomeUnknown(reason)) = &written {
            self.failure = Some(reason.clone());
        }
        written
    }

    async fn repeat_once(&mut self, appends: &[&Append]) -> Result<WrittenBatch, WriteError> {
        let deadline = appends.iter().map(|append| append.deadline).max().unwrap_or_else(Instant::now);
        let first = match self.write_once(appends).await {
            Err(failed @ (WriteError::Refused(_) | WriteError::Outdated)) => return Err(failed),
            Err(failed) => failed,
            written => return written,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        match first {
            WriteError::NothingWritten(_) if left < self.settings.connector.limit() / 2 => {
                return Err(first);
            }
            WriteError::OutcomeUnknown(_) if left.is_zero() => return Err(first),
            _ => {}
        }
        debug!(failure = ?first, "The journal's connection was dropped; trying once more on a fresh one");
        match (first, self.write_once(appends).await) {
            // The first attempt's outcome stays unknown, unless the database answered the second one.
            (WriteError::OutcomeUnknown(_), Err(WriteError::NothingWritten(reason))) => {
                Err(WriteError::OutcomeUnknown(reason))
            }
            (WriteError::OutcomeUnknown(_), Err(WriteError::Outdated)) => {
                Err(WriteError::OutcomeUnknown("the database is another one than before".into()))
            }
            (_, second) => second,
        }
    }

    /// Keeps the connection if the server has answered, even with a refusal.
    async fn write_once(&mut self, appends: &[&Append]) -> Result<WrittenBatch, WriteError> {
        let mut open = match self.connection.take().filter(|_| self.state.session_is_current()) {
            Some(open) => open,
            None => self.connect().await?,
        };
        // After the session is open: opening it shows whether the database is another one.
        if !appends.iter().all(|append| self.state.is_current(append.era)) {
            self.connection = Some(open);
            return Err(WriteError::Outdated);
        }
        let (known, notify) = (self.state.head.load(Ordering::Acquire), self.state.notify_wanted());
        let limit = self.settings.connector.limit();
        match timeout(limit, append::write(&mut open, &self.settings.names, appends, notify)).await {
            Ok(Ok(written)) => {
                self.state.answered(known, written.head);
                self.connection = Some(open);
                Ok(written)
            }
            Ok(Err(error)) => match meaning(&error) {
                Meaning::Refused => {
                    self.connection = Some(open);
                    Err(WriteError::Refused(error.to_string()))
                }
                Meaning::NothingWritten => Err(WriteError::NothingWritten(error.to_string())),
                Meaning::OutcomeUnknown => Err(WriteError::OutcomeUnknown(error.to_string())),
            },
            Err(_) => Err(WriteError::OutcomeUnknown(format!("no answer within {limit:?}"))),
        }
    }

    async fn connect(&self) -> Result<PgConnection, ConnectError> {
        let limit = self.settings.connector.limit();
        let opening = async {
            let mut connection = self.settings.connector.connect().await?;
            continuity::examine(&mut connection, &self.settings.names, self.state).await?;
            Ok(connection)
        };
        timeout(limit, opening).await.unwrap_or(Err(ConnectError::TimedOut(limit)))
    }
}
