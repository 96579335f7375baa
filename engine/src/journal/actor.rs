//! The group-committing actor: the waiting appends, the next batch, and the replies.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::prelude::*;
use kit::supervision::{Crash, Lifeline};
use sqlx::PgConnection;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout_at;

use super::batch::{self, Identity};
use super::write::{self, PendingAppend};
use super::{
    Append, AppendError, Appended, Committed, Follower, JournalSettings, JournalState, StoredEvent, Write,
};
use crate::metric;

pub struct JournalActor {
    settings: JournalSettings,
    state: Arc<JournalState>,
    followers: Arc<[Follower]>,
    lifeline: Lifeline,
    connection: Option<PgConnection>,
    waiting: VecDeque<PendingAppend>,
    writing: bool,
}

impl JournalActor {
    pub fn new(
        settings: JournalSettings,
        state: Arc<JournalState>,
        followers: Arc<[Follower]>,
        lifeline: Lifeline,
    ) -> Self {
        let (connection, waiting) = (None, VecDeque::new());
        Self { settings, state, followers, lifeline, connection, waiting, writing: false }
    }

    /// Starts the next transaction if none is in flight and commands are waiting.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.writing {
            return;
        }
        // A command whose time is over has been answered: it must not be written any more.
        self.waiting.retain(|pending| !pending.reply.is_closed());
        let batch = self.next_batch();
        if batch.is_empty() {
            return;
        }
        self.writing = true;
        let attempt =
            write::write_batch(self.connection.take(), self.settings.clone(), batch, Arc::clone(&self.state));
        ctx.spawn(attempt.into_actor(self).map(|ended, actor, ctx| {
            actor.connection = ended.connection;
            actor.writing = false;
            match ended.failure {
                None => actor.state.writes.succeeded(),
                Some(reason) => actor.refuse_waiting(&reason),
            }
            announce(&actor.state, &actor.followers, ended.events);
            actor.pump(ctx);
        }));
    }

    /// Takes the commands that are written next; the others keep their places.
    fn next_batch(&mut self) -> Vec<PendingAppend> {
        let identities = self.waiting.iter().map(|pending| {
            let Append { aggregate_id, receipt, .. } = &pending.write.append;
            Identity { aggregate: *aggregate_id, key: receipt.as_ref().map(|receipt| receipt.key.as_str()) }
        });
        let chosen = batch::next_batch(identities, self.settings.batch_commands_max);
        let (mut batch, mut passed_over) = (Vec::new(), Vec::new());
        for (pending, is_chosen) in self.waiting.drain(..chosen.len()).zip(chosen) {
            pending.sent.set(is_chosen);
            if is_chosen { batch.push(pending) } else { passed_over.push(pending) }
        }
        for pending in passed_over.into_iter().rev() {
            self.waiting.push_front(pending);
        }
        batch
    }

    /// The server failed for the commands that were sent. Those that wait are answered now, not when their time is over.
    fn refuse_waiting(&mut self, reason: &str) {
        let refused = self.waiting.len();
        for pending in self.waiting.drain(..) {
            let _ = pending.reply.send(Err(AppendError::Unavailable(format!("not sent: {reason}"))));
        }
        self.state.writes.failed(refused + 1, reason);
    }
}

/// Tells whoever follows the journal what is committed.
pub(super) fn announce(state: &JournalState, followers: &[Follower], events: Vec<StoredEvent>) {
    let Some(last) = events.last() else { return };
    metric::appended(events.len());
    state.head.fetch_max(last.seq, Ordering::AcqRel);
    let committed = Committed(events.into());
    for follower in followers {
        follower(committed.clone());
    }
}

impl Actor for JournalActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Never reached: `Journal::append` refuses first.
        ctx.set_mailbox_capacity(Semaphore::MAX_PERMITS.min(1 << 20));
    }
}

impl Handler<Write> for JournalActor {
    type Result = ResponseFuture<Result<Appended, AppendError>>;

    fn handle(&mut self, write: Write, ctx: &mut Self::Context) -> Self::Result {
        let handling = self.lifeline.handling();
        let (reply, answer) = oneshot::channel();
        let (deadline, sent) = (write.append.deadline, Rc::new(Cell::new(false)));
        self.waiting.push_back(PendingAppend { write, reply, sent: Rc::clone(&sent) });
        self.pump(ctx);
        Box::pin(async move {
            let answered = timeout_at(deadline.into(), answer).await;
            drop(handling);
            match answered {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(AppendError::OutcomeUnknown("the journal was restarted".into())),
                Err(_) if sent.get() => {
                    Err(AppendError::OutcomeUnknown("no answer in the command's time".into()))
                }
                Err(_) => Err(AppendError::Unavailable("not sent in the command's time".into())),
            }
        })
    }
}

impl Handler<Crash> for JournalActor {
    type Result = ();

    fn handle(&mut self, crash: Crash, _: &mut Self::Context) {
        crash.now()
    }
}
