//! One batch's way into the table: the connection, one retry, and who is told what when neither helps.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use sqlx::{ConnectOptions, PgConnection};
use tokio::time::timeout;
use tracing::{info, warn};

use super::append::{self, Written};
use super::continuity::{self, JournalState};
use super::trace::Writing;
use super::{Append, AppendError, Appended, JournalSettings, Pending, StoredEvent};
use crate::telemetry::metric;

/// Writes a batch, answers its commands, and returns the connection if it is still good.
pub(super) async fn write_batch(
    mut connection: Option<PgConnection>,
    settings: JournalSettings,
    batch: Vec<Pending>,
    state: Arc<JournalState>,
) -> (Option<PgConnection>, Vec<StoredEvent>) {
    let started = Instant::now();
    let appends: Vec<&Append> = batch.iter().map(|pending| &pending.write.append).collect();
    let writing = Writing::begin(&appends, &settings.connect);
    let (outcomes, events) = match write_twice(&mut connection, &settings, &appends, &state).await {
        Ok(written) => (written.outcomes, written.events),
        Err(WriteFailed::Refused(reason)) if appends.len() > 1 => {
            // The database refused the statement, not the connection: find the one command at fault.
            warn!(
                commands = appends.len(),
                error = reason,
                "A batch was refused; writing its commands one by one"
            );
            write_singly(&mut connection, &settings, &appends, &state).await
        }
        Err(failed) => (vec![Err(failed.into()); appends.len()], Vec::new()),
    };
    writing.end(&outcomes);
    metric::journal_batch(appends.len(), started.elapsed());
    for (pending, outcome) in batch.into_iter().zip(outcomes) {
        // The caller may have gone away; its events stay.
        let _ = pending.reply.send(outcome);
    }
    (connection, events)
}

async fn write_singly(
    connection: &mut Option<PgConnection>,
    settings: &JournalSettings,
    appends: &[&Append],
    state: &JournalState,
) -> (Vec<Result<Appended, AppendError>>, Vec<StoredEvent>) {
    let (mut outcomes, mut events) = (Vec::new(), Vec::new());
    for append in appends {
        match write_twice(connection, settings, &[append], state).await {
            Ok(written) => {
                outcomes.extend(written.outcomes);
                events.extend(written.events);
            }
            Err(failed) => outcomes.push(Err(failed.into())),
        }
    }
    (outcomes, events)
}

#[derive(Debug)]
enum WriteFailed {
    NotSent(String),
    Refused(String),
    AnswerLost(String),
    /// Not sent, since it was decided on what another database held.
    Outdated,
}

impl From<WriteFailed> for AppendError {
    fn from(failed: WriteFailed) -> Self {
        match failed {
            WriteFailed::NotSent(reason) => Self::Unavailable(reason),
            WriteFailed::Refused(reason) => Self::Refused(reason),
            WriteFailed::AnswerLost(reason) => Self::OutcomeUnknown(reason),
            WriteFailed::Outdated => Self::VersionConflict,
        }
    }
}

/// Writes on the open connection; if that one turns out to be dead, once more on a fresh one.
async fn write_twice(
    connection: &mut Option<PgConnection>,
    settings: &JournalSettings,
    appends: &[&Append],
    state: &JournalState,
) -> Result<Written, WriteFailed> {
    let mut sent_before = false;
    loop {
        let mut open = match connection.take().filter(|_| state.session_is_current()) {
            Some(open) => open,
            None => match connect(settings, state).await {
                Ok(open) => open,
                Err(reason) if sent_before => return Err(WriteFailed::AnswerLost(reason)),
                Err(reason) => return Err(WriteFailed::NotSent(reason)),
            },
        };
        // After the session is open: that is where another database is noticed.
        if !appends.iter().all(|append| state.is_current(append.era)) {
            *connection = Some(open);
            return Err(match sent_before {
                true => WriteFailed::AnswerLost("the database is another one than before".into()),
                false => WriteFailed::Outdated,
            });
        }
        let (known, notify) = (state.head.load(Ordering::Acquire), state.notify_wanted());
        let failure = match timeout(settings.write_timeout, append::write(&mut open, appends, notify)).await {
            Ok(Ok(written)) => {
                state.answered(known, written.head);
                *connection = Some(open);
                return Ok(written);
            }
            // The server ends sessions with class 57 errors (shutdown, crash): the connection is gone, not the statement wrong.
            Ok(Err(sqlx::Error::Database(error)))
                if !error.code().is_some_and(|code| code.starts_with("57")) =>
            {
                *connection = Some(open);
                return Err(WriteFailed::Refused(error.to_string()));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                return Err(WriteFailed::AnswerLost(format!(
                    "no answer within {:?}",
                    settings.write_timeout
                )));
            }
        };
        if sent_before {
            return Err(WriteFailed::AnswerLost(failure));
        }
        info!(error = failure, "The journal's connection broke; trying once more on a fresh one");
        sent_before = true;
    }
}

async fn connect(settings: &JournalSettings, state: &JournalState) -> Result<PgConnection, String> {
    let opening = async {
        let mut connection = settings.connect.connect().await?;
        continuity::examine(&mut connection, state).await?;
        Ok::<_, sqlx::Error>(connection)
    };
    match timeout(settings.write_timeout, opening).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no connection within {:?}", settings.write_timeout)),
    }
}
