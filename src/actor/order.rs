//! One order: load, decide, append, evolve, reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix::prelude::*;
use chrono::{DateTime, SubsecRound, Utc};
use kit::supervision::Crash;
use opentelemetry::trace::SpanContext;
use serde::Serialize;
use tokio::time::timeout_at;
use uuid::Uuid;

use super::trace::Creation;
use crate::error::CommandError;
use crate::journal::{Append, AppendError, Journal, NewEvent, NewReceipt, Reader, Receipt, Refusal, wire};
use crate::order::{Command, Order, OrderEvent, OrderId, Placed, decide, evolve};
use crate::telemetry::{metric, traces};

/// How often a command is decided again when others keep changing the order under it.
const DECISIONS_MAX: u32 = 8;

/// A command on its way to its order.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Outcome, CommandError>")]
pub struct Perform {
    pub order_id: OrderId,
    pub command: Command,
    /// `If-Match`: the version the caller has seen.
    pub expected_version: Option<i64>,
    pub key: Option<IdempotencyKey>,
    pub trace: Trace,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    pub key: String,
    /// SHA-256 of what is asked under the key.
    pub fingerprint: [u8; 32],
}

/// Where a command came from, carried through the event's metadata to the message's headers.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    pub correlation_id: String,
    /// W3C trace context: what the command's spans are made below, or the caller's own.
    pub context: Option<SpanContext>,
}

/// The command was carried out, now or when its key was first used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub order: Placed,
    pub replayed: bool,
}

#[derive(Clone)]
pub struct OrderDependencies {
    pub journal: Journal,
    pub reader: Reader,
    /// A command's time, from its arrival at the service to its answer.
    pub timeout: Duration,
    /// Decisions of this shard that another instance, or an earlier life of the actor, had overtaken.
    pub conflicts: Arc<AtomicU64>,
}

/// A [`Perform`] with the end of its time, and a mark that tells, after a crash, whether it had been begun.
#[derive(Message)]
#[rtype(result = "Result<Outcome, CommandError>")]
pub(super) struct Begin {
    pub(super) perform: Perform,
    pub(super) deadline: Instant,
    pub(super) begun: Arc<AtomicBool>,
}

/// The registry has forgotten this order; commands already in the mailbox are still handled.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Passivate;

pub(super) struct OrderActor {
    dependencies: OrderDependencies,
    /// The state as of the last commit seen; `None` when it has to be loaded.
    remembered: Option<Remembered>,
}

/// A state, and the journal's era in which it was what is committed. In a later one it may never have happened.
struct Remembered {
    order: Order,
    era: u64,
}

impl OrderActor {
    pub(super) fn new(dependencies: OrderDependencies) -> Self {
        Self { dependencies, remembered: None }
    }
}

impl Actor for OrderActor {
    type Context = Context<Self>;
}

impl Handler<Begin> for OrderActor {
    // AtomicResponse, not ResponseActFuture: with that, the next command would run while this one's append is awaited, and
    // both would decide on the same state.
    type Result = AtomicResponse<Self, Result<Outcome, CommandError>>;

    fn handle(&mut self, begin: Begin, _: &mut Self::Context) -> Self::Result {
        begin.begun.store(true, Ordering::Release);
        let (dependencies, remembered) = (self.dependencies.clone(), self.remembered.take());
        let work = perform(dependencies, remembered, begin.perform, begin.deadline);
        AtomicResponse::new(Box::pin(work.into_actor(self).map(|(remembered, result), actor, _| {
            actor.remembered = remembered;
            result
        })))
    }
}

impl Handler<Passivate> for OrderActor {
    type Result = ();

    fn handle(&mut self, _: Passivate, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Handler<Crash> for OrderActor {
    type Result = ();

    fn handle(&mut self, crash: Crash, _: &mut Self::Context) {
        crash.now()
    }
}

/// Carries out one command. Returns the state to keep, which is `None` unless it is known to be what is committed.
async fn perform(
    dependencies: OrderDependencies,
    mut remembered: Option<Remembered>,
    perform: Perform,
    deadline: Instant,
) -> (Option<Remembered>, Result<Outcome, CommandError>) {
    for _ in 0..DECISIONS_MAX {
        // Before the state is loaded: if the era changes in between, the state is taken for older than it is, and never for newer.
        let era = dependencies.journal.era();
        let known = remembered.take().filter(|remembered| remembered.era == era).map(|of| of.order);
        let is_remembered = known.is_some();
        let order = match load(&dependencies.reader, known, &perform, deadline).await {
            Ok(order) => order,
            Err(error) => return (None, Err(error)),
        };
        // Without an order there is nothing that a receipt could refer to.
        if order == Order::Unplaced && !matches!(perform.command, Command::Create { .. }) {
            return (None, Err(CommandError::NotFound));
        }
        let decision = decision(&order, &perform);
        // Another instance may have moved the order on: only what is committed may refuse. An acceptance needs no such
        // check, the append is one.
        if is_remembered && decision.is_err() {
            continue;
        }
        if let (Err(refusal), None) = (&decision, &perform.key) {
            return (Some(Remembered { order, era }), Err(CommandError::Refused(refusal.clone())));
        }
        let mut creation = Creation::begin(&perform.trace, &decision);
        let context = creation.context(&perform.trace).cloned();
        let (append, events) = match to_append(&order, &perform, &decision, era, context, deadline) {
            Ok(prepared) => prepared,
            Err(error) => {
                return (Some(Remembered { order, era }), Err(CommandError::Broken(error.to_string())));
            }
        };
        creation.of(&append);
        let appended = dependencies.journal.append(append).await;
        creation.end(&appended);
        match appended {
            Ok(_) => {
                let order = events.iter().fold(order, evolve);
                let result = match (decision, &order) {
                    (Err(refusal), _) => Err(CommandError::Refused(refusal)),
                    (Ok(_), Order::Placed(placed)) => Ok(Outcome { order: placed.clone(), replayed: false }),
                    (Ok(_), Order::Unplaced) => Err(CommandError::Broken("an order without events".into())),
                };
                return (Some(Remembered { order, era }), result);
            }
            // The state that was decided on is outdated: load what the winner wrote.
            Err(AppendError::VersionConflict) => {
                dependencies.conflicts.fetch_add(1, Ordering::Relaxed);
                metric::version_conflict();
            }
            Err(AppendError::KeyUsed) => {
                return (None, answer_of_receipt(&dependencies.reader, &perform).await);
            }
            // Busy: nothing changed, the state stays good. Anything else: forget it.
            Err(AppendError::Busy) => return (Some(Remembered { order, era }), Err(CommandError::Busy)),
            Err(error) => return (None, Err(error.into())),
        }
    }
    (None, Err(CommandError::Contended { attempts: DECISIONS_MAX }))
}

/// Within the command's time, part of which it may have spent behind commands of the same order that met a hanging database.
async fn load(
    reader: &Reader,
    known: Option<Order>,
    perform: &Perform,
    deadline: Instant,
) -> Result<Order, CommandError> {
    let in_time = Instant::now() < deadline;
    let loaded = match known {
        Some(order) if in_time => return Ok(order),
        // A new order's id was made a moment ago: there is nothing to read, and if there were, the append would refuse.
        None if in_time && matches!(perform.command, Command::Create { .. }) => return Ok(Order::default()),
        _ => timeout_at(deadline.into(), reader.order(perform.order_id)).await,
    };
    let too_late = |_| CommandError::Unavailable("the command's time was over before it was sent".into());
    Ok(loaded.map_err(too_late)??)
}

/// The caller's precondition first, then the rules.
fn decision(order: &Order, perform: &Perform) -> Result<Vec<OrderEvent>, Refusal> {
    match perform.expected_version {
        Some(expected) if expected != order.version() => {
            Err(Refusal::VersionMismatch { expected, actual: order.version() })
        }
        _ => {
            // Postgres keeps microseconds: what is answered now is what will be read back.
            let now: DateTime<Utc> = Utc::now().trunc_subsecs(6);
            decide(order, perform.command.clone(), now).map_err(Refusal::Rejected)
        }
    }
}

#[derive(Serialize)]
struct Metadata<'a> {
    correlation_id: &'a str,
    causation_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
}

/// What the journal is to write: the events of a decision, or only the receipt of a refusal.
fn to_append(
    order: &Order,
    perform: &Perform,
    decision: &Result<Vec<OrderEvent>, Refusal>,
    era: u64,
    context: Option<SpanContext>,
    deadline: Instant,
) -> Result<(Append, Vec<OrderEvent>), serde_json::Error> {
    let command_id = Uuid::now_v7();
    let events = decision.clone().unwrap_or_default();
    let refusal = decision.as_ref().err().map(serde_json::to_string).transpose()?;
    let metadata = serde_json::to_string(&Metadata {
        correlation_id: &perform.trace.correlation_id,
        causation_id: command_id,
        traceparent: context.as_ref().map(traces::format),
        idempotency_key: perform.key.as_ref().map(|key| key.key.as_str()),
    })?;
    let receipt = perform.key.as_ref().map(|key| NewReceipt {
        key: key.key.clone(),
        fingerprint: key.fingerprint,
        version: events.last().map_or(order.version(), |event| event.version),
        refusal,
    });
    let new_events = events
        .iter()
        .map(|event| {
            let event_id = Uuid::now_v7();
            Ok(NewEvent {
                event_id,
                version: event.version,
                event_type: event.data.event_type(),
                payload: wire::encode(event_id, event)?,
                occurred_at: event.occurred_at,
            })
        })
        .collect::<Result<_, serde_json::Error>>()?;
    let order_id = perform.order_id;
    let append =
        Append { command_id, order_id, events: new_events, metadata, receipt, era, context, deadline };
    Ok((append, events))
}

/// The first outcome of the command's key: the order as it was then, or the refusal as it was then.
async fn answer_of_receipt(reader: &Reader, perform: &Perform) -> Result<Outcome, CommandError> {
    let Some(key) = &perform.key else { return Err(CommandError::KeyReused) };
    let receipt: Option<Receipt> = reader.receipt(key.key.clone()).await?;
    match receipt {
        Some(receipt) if receipt.fingerprint != key.fingerprint => Err(CommandError::KeyReused),
        Some(Receipt { refusal: Some(refusal), .. }) => Err(CommandError::Refused(refusal)),
        Some(receipt) => match reader.order_at(receipt.order_id, receipt.version).await? {
            Order::Placed(order) => Ok(Outcome { order, replayed: true }),
            Order::Unplaced => Err(CommandError::Broken("a receipt without its order".into())),
        },
        None => Err(CommandError::Broken("a used key without a receipt".into())),
    }
}
