//! One aggregate: load, decide, append, evolve, reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix::prelude::*;
use chrono::{SubsecRound, Utc};
use kit::supervision::Crash;
use opentelemetry::trace::SpanContext;
use tokio::time::timeout_at;
use uuid::Uuid;

use super::trace::Creation;
use crate::aggregate::{Aggregate, Current, Recorded};
use crate::command::{CommandError, Outcome, Perform};
use crate::journal::metadata::Metadata;
use crate::journal::{Append, AppendError, Journal, NewEvent, NewReceipt, Reader, Receipt, Refusal};
use crate::{metric, traces};

/// How often a command is decided when other writers keep changing the aggregate.
const DECISIONS_MAX: u32 = 8;

#[derive(Clone)]
pub struct ActorDependencies {
    pub journal: Journal,
    pub reader: Reader,
    /// A command's time, from its arrival at the service to its answer.
    pub timeout: Duration,
    /// Decisions of this shard that were outdated: another instance, or an earlier life of the actor, had written first.
    pub conflicts: Arc<AtomicU64>,
}

/// A [`Perform`] with its deadline. `begun` tells, after a crash, whether the actor had begun it.
#[derive(Message)]
#[rtype(result = "Result<Outcome<A>, CommandError<A::Rejection>>")]
pub(super) struct TimedPerform<A: Aggregate> {
    pub(super) perform: Perform<A>,
    pub(super) deadline: Instant,
    pub(super) begun: Arc<AtomicBool>,
}

/// The registry has forgotten this aggregate; commands already in the mailbox are still handled.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Passivate;

/// The answer to a command.
pub type CommandResult<A> = Result<Outcome<A>, CommandError<<A as Aggregate>::Rejection>>;

pub(super) struct AggregateActor<A> {
    dependencies: ActorDependencies,
    /// The state as of the last commit seen; `None` when it has to be loaded.
    cached: Option<CachedState<A>>,
}

/// A committed state, and the journal's era in which it was loaded. In a later era its events may not exist.
struct CachedState<A> {
    current: Current<A>,
    era: u64,
}

impl<A: Aggregate> CachedState<A> {
    /// Nothing is cached of an aggregate without events: another instance may begin it.
    fn of(current: Current<A>, era: u64) -> Option<Self> {
        (current.version > 0).then_some(Self { current, era })
    }
}

impl<A: Aggregate> AggregateActor<A> {
    pub(super) fn new(dependencies: ActorDependencies) -> Self {
        Self { dependencies, cached: None }
    }
}

impl<A: Aggregate> Actor for AggregateActor<A> {
    type Context = Context<Self>;
}

impl<A: Aggregate> Handler<TimedPerform<A>> for AggregateActor<A> {
    // AtomicResponse, not ResponseActFuture: otherwise the next command would run while this one's append is awaited, and both
    // would decide on the same state.
    type Result = AtomicResponse<Self, CommandResult<A>>;

    fn handle(&mut self, begin: TimedPerform<A>, _: &mut Self::Context) -> Self::Result {
        begin.begun.store(true, Ordering::Release);
        let (dependencies, cached) = (self.dependencies.clone(), self.cached.take());
        let work = perform(dependencies, cached, begin.perform, begin.deadline);
        AtomicResponse::new(Box::pin(work.into_actor(self).map(|(cached, answer), actor, _| {
            actor.cached = cached;
            answer
        })))
    }
}

impl<A: Aggregate> Handler<Passivate> for AggregateActor<A> {
    type Result = ();

    fn handle(&mut self, _: Passivate, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl<A: Aggregate> Handler<Crash> for AggregateActor<A> {
    type Result = ();

    fn handle(&mut self, crash: Crash, _: &mut Self::Context) {
        crash.now()
    }
}

/// Carries out one command. Returns the state to cache: `None` unless it is known to be what is committed.
async fn perform<A: Aggregate>(
    dependencies: ActorDependencies,
    mut cached: Option<CachedState<A>>,
    perform: Perform<A>,
    deadline: Instant,
) -> (Option<CachedState<A>>, CommandResult<A>) {
    // The id of a creation is new, as a rule: nothing is read before it is decided. A caller that chooses ids may be wrong.
    let mut may_be_unread = A::is_creation(&perform.command);
    for _ in 0..DECISIONS_MAX {
        // Before the state is loaded: if the era changes in between, the state counts as older than it is, never as newer.
        let era = dependencies.journal.era();
        let known = cached.take().filter(|cached| cached.era == era).map(|of| of.current);
        let is_cached = known.is_some();
        let is_unread = std::mem::take(&mut may_be_unread) && !is_cached;
        let known = if is_unread { Some(Current::default()) } else { known };
        let current = match load(&dependencies.reader, known, &perform, deadline).await {
            Ok(current) => current,
            Err(error) => return (None, Err(error)),
        };
        if is_unknown(&current, &perform) {
            // By a read, as for an aggregate that is not there: the time would tell it otherwise.
            if is_cached {
                continue;
            }
            return (CachedState::of(current, era), Err(CommandError::NotFound));
        }
        let decision = decide(&current, &perform);
        // Nothing to append: the state may not be what is committed, so the decision is made again on what is.
        // An append needs no such check: its version is checked by the database.
        let appends = decision.as_ref().is_ok_and(|events| !events.is_empty());
        if (is_cached || is_unread) && !appends {
            continue;
        }
        if perform.key.is_none() && !appends {
            let (current, answer) = carried_out(current, decision);
            return (CachedState::of(current, era), answer);
        }
        let mut creation = Creation::begin(&perform.trace, appends);
        let context = creation.context(&perform.trace).cloned();
        let append = match to_append(&current, &perform, &decision, era, context, deadline) {
            Ok(append) => append,
            Err(error) => {
                return (None, Err(CommandError::Broken(error.to_string())));
            }
        };
        creation.of(&append);
        let appended = dependencies.journal.append(append).await;
        creation.end(&appended);
        match appended {
            Ok(_) => {
                let (current, answer) = carried_out(current, decision);
                return (CachedState::of(current, era), answer);
            }
            // The state that was decided on is outdated: load what the other writer wrote.
            Err(AppendError::VersionConflict) => {
                dependencies.conflicts.fetch_add(1, Ordering::Relaxed);
                metric::version_conflict();
            }
            Err(AppendError::KeyUsed) => {
                return (None, answer_of_receipt(&dependencies.reader, &perform).await);
            }
            // Busy: nothing has changed, so the state stays cached. After any other error it is discarded.
            Err(AppendError::Busy) => return (CachedState::of(current, era), Err(CommandError::Busy)),
            Err(error) => return (None, Err(error.into())),
        }
    }
    (None, Err(CommandError::Contended { attempts: DECISIONS_MAX }))
}

/// Whether the caller has to find nothing under this id. Decided before anything else: not even a refusal may tell that there is something.
fn is_unknown<A: Aggregate>(current: &Current<A>, perform: &Perform<A>) -> bool {
    match current.version {
        // Without an event there is nothing that a receipt could refer to.
        0 => !A::is_creation(&perform.command),
        _ => !perform.visibility.includes(&current.state),
    }
}

/// The state behind a decision that is committed or needs no commit, and what the caller is told.
fn carried_out<A: Aggregate>(current: Current<A>, decision: Decision<A>) -> (Current<A>, CommandResult<A>) {
    match decision {
        Err(refusal) => (current, Err(CommandError::Refused(refusal))),
        Ok(events) => {
            let current = events.iter().fold(current, Current::after);
            (current.clone(), Ok(Outcome { current, replayed: false }))
        }
    }
}

/// Loads within the command's time. It may have spent part of it waiting for earlier commands of the same aggregate.
async fn load<A: Aggregate>(
    reader: &Reader,
    known: Option<Current<A>>,
    perform: &Perform<A>,
    deadline: Instant,
) -> Result<Current<A>, CommandError<A::Rejection>> {
    let in_time = Instant::now() < deadline;
    let loaded = match known {
        Some(current) if in_time => return Ok(current),
        _ => timeout_at(deadline.into(), reader.load(perform.aggregate_id)).await,
    };
    let too_late = |_| CommandError::Unavailable("the command's time was over before it was sent".into());
    Ok(loaded.map_err(too_late)??)
}

type Decision<A> = Result<Vec<Recorded<<A as Aggregate>::Event>>, Refusal<<A as Aggregate>::Rejection>>;

/// The caller's precondition first, then the rules.
fn decide<A: Aggregate>(current: &Current<A>, perform: &Perform<A>) -> Decision<A> {
    match perform.expected_version {
        Some(expected) if expected != current.version => {
            Err(Refusal::VersionMismatch { expected, actual: current.version })
        }
        _ => {
            // Postgres keeps microseconds: the answer now must equal what is read later.
            let at = current.next_at(Utc::now().trunc_subsecs(6));
            let decided = current.state.decide(perform.command.clone(), at).map_err(Refusal::Rejected)?;
            Ok(current.record(perform.aggregate_id, decided, at))
        }
    }
}

/// What the journal is to write: the events of a decision, or only its receipt.
fn to_append<A: Aggregate>(
    current: &Current<A>,
    perform: &Perform<A>,
    decision: &Decision<A>,
    era: u64,
    context: Option<SpanContext>,
    deadline: Instant,
) -> Result<Append, serde_json::Error> {
    let command_id = Uuid::now_v7();
    let events = decision.as_deref().unwrap_or_default();
    let refusal = decision.as_ref().err().map(serde_json::to_string).transpose()?;
    let traceparent = context.as_ref().map(traces::format);
    let receipt = perform.key.as_ref().map(|key| NewReceipt {
        key: key.key.clone(),
        fingerprint: key.fingerprint,
        version: events.last().map_or(current.version, |event| event.version),
        refusal,
    });
    let new_events = events
        .iter()
        .map(|event| {
            let metadata = Metadata {
                correlation_id: &perform.trace.correlation_id,
                causation_id: command_id,
                traceparent: traceparent.as_deref(),
                idempotency_key: perform.key.as_ref().map(|key| key.key.as_str()),
                schema_version: A::schema_version(&event.data),
            };
            Ok(NewEvent {
                event_id: event.event_id,
                version: event.version,
                event_type: A::event_type(&event.data),
                payload: A::encode(event)?,
                metadata: serde_json::to_string(&metadata)?,
                occurred_at: event.occurred_at,
            })
        })
        .collect::<Result<_, serde_json::Error>>()?;
    let aggregate_id = perform.aggregate_id;
    Ok(Append { command_id, aggregate_id, events: new_events, receipt, era, context, deadline })
}

/// The first outcome of the command's key: the aggregate as it was then, or the refusal as it was then.
async fn answer_of_receipt<A: Aggregate>(reader: &Reader, perform: &Perform<A>) -> CommandResult<A> {
    let Some(key) = &perform.key else { return Err(CommandError::KeyReused) };
    let receipt: Option<Receipt<A::Rejection>> = reader.receipt(key.key.clone()).await?;
    match receipt {
        Some(receipt) if receipt.fingerprint != key.fingerprint => Err(CommandError::KeyReused),
        Some(Receipt { refusal: Some(refusal), .. }) => Err(CommandError::Refused(refusal)),
        Some(receipt) => {
            let current = reader.load_at(receipt.aggregate_id, receipt.version).await?;
            if current.version == receipt.version {
                Ok(Outcome { current, replayed: true })
            } else {
                Err(CommandError::Broken("a receipt without its events".into()))
            }
        }
        None => Err(CommandError::Broken("a used key without a receipt".into())),
    }
}
