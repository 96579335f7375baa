//! The Consumer actor: credits a batch, and answers only then.
//!
//! After its answer the feed commits the offsets. So the actor retries until everything is in Postgres: first the credits, in one
//! transaction, then the dead letters, which another part sends from there. Each step may happen twice; the ledger books every
//! event once.
//!
//! Actor and feed end together. The actor starts the feed's thread, which holds the lifeline. When the actor ends, the thread
//! leaves the group and ends too. When the thread ends first, the actor ends with it. Only then does the Guardian start the next
//! pair.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix::prelude::*;
use engine::journal::Appender;
use kit::backoff::Pauses;
use kit::postgres::Connector;
use kit::supervision::{Crash, Handling, Vitals};
use kit::telemetry::last_panic;
use tokio::sync::{Mutex, watch};
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::batch::{Batch, DeadLetter};
use crate::batch_log::{self, BatchLog, BatchTotals};
use crate::changes;
use crate::dead_letter::Wake;
use crate::error::{Abandoned, DeadLetterReason, LedgerError};
use crate::health::HealthBoard;
use crate::ledger::{Credited, LedgerConnection, RefusedEvent};
use crate::message::Event;
use crate::spans::BatchSpan;
use crate::telemetry::metric;

/// First retry quickly: most failures are a connection that broke. The cap bounds how late a recovery is noticed.
const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_CAP: Duration = Duration::from_secs(2);

impl Message for Batch {
    type Result = Result<(), Abandoned>;
}

/// Whether the actor has ended, and why. The feed reads it, also after a panic of the actor.
#[derive(Clone, Default)]
pub struct ActorEnd(Arc<OnceLock<String>>);

impl ActorEnd {
    /// `None` while it lives.
    pub fn cause(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// Records the actor's end when it is dropped with the actor.
struct EndGuard(ActorEnd);

impl Drop for EndGuard {
    fn drop(&mut self) {
        let cause = match std::thread::panicking() {
            true => last_panic(),
            false => "stopped by itself".to_owned(),
        };
        let _ = self.0.0.set(cause);
    }
}

/// Starts the feed of a consumer. The feed has the lifeline, so the consumer ends with it.
pub type StartFeed = Box<dyn FnOnce(Addr<Consumer>, ActorEnd)>;

pub struct Consumer {
    effects: Arc<Effects>,
    start_feed: Option<StartFeed>,
    end: EndGuard,
}

/// What the consumer needs from the rest of the service. Cloned for each of its lives.
#[derive(Clone)]
pub struct ConsumerDependencies {
    pub connector: Connector,
    pub appender: Appender,
    pub group_id: String,
    pub health: HealthBoard,
    pub vitals: Arc<Vitals>,
    /// Wakes the sender of dead letters.
    pub wake: Wake,
    pub stopping: watch::Receiver<bool>,
}

impl Consumer {
    pub fn new(dependencies: ConsumerDependencies, start_feed: StartFeed) -> Self {
        let ledger =
            Mutex::new(LedgerConnection::new(dependencies.connector.clone(), dependencies.appender.clone()));
        let effects = Effects { ledger, dependencies, batch_log: BatchLog::default() };
        Self { effects: Arc::new(effects), start_feed: Some(start_feed), end: EndGuard(ActorEnd::default()) }
    }
}

impl Actor for Consumer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        metric::consumer_restarts(self.effects.dependencies.vitals.restarts());
        ctx.run_interval(batch_log::PAUSE, |consumer, _| consumer.effects.batch_log.log_the_rest());
        if let Some(start_feed) = self.start_feed.take() {
            start_feed(ctx.address(), self.end.0.clone());
        }
    }
}

impl Handler<Batch> for Consumer {
    // Atomic: a second batch must not start before the first one is done, or offsets could pass events that are not credited yet.
    type Result = AtomicResponse<Self, Result<(), Abandoned>>;

    fn handle(&mut self, batch: Batch, _: &mut Context<Self>) -> Self::Result {
        let effects = Arc::clone(&self.effects);
        let handling = Handling::begin(&effects.dependencies.vitals);
        let apply = async move {
            let outcome = effects.apply(batch).await;
            drop(handling);
            outcome
        };
        AtomicResponse::new(Box::pin(apply.into_actor(self)))
    }
}

impl Handler<Crash> for Consumer {
    type Result = ();

    fn handle(&mut self, crash: Crash, _: &mut Context<Self>) {
        crash.now();
    }
}

struct Effects {
    /// Never contended: there is one batch at a time.
    ledger: Mutex<LedgerConnection>,
    dependencies: ConsumerDependencies,
    batch_log: BatchLog,
}

impl Effects {
    async fn apply(&self, batch: Batch) -> Result<(), Abandoned> {
        let work = BatchSpan::begin(&batch);
        let outcome = self.carry_out(batch, &work).await;
        work.end(&outcome);
        outcome
    }

    async fn carry_out(&self, mut batch: Batch, work: &BatchSpan) -> Result<(), Abandoned> {
        let started = Instant::now();
        let (credited, refused) = self.credit(&batch.events, work).await?;
        let mut letters = std::mem::take(&mut batch.dead_letters);
        letters.extend(not_booked(&batch, &credited, refused));
        self.keep(&letters).await?;
        let took = started.elapsed();
        metric::batch(batch.messages, took);
        metric::credited(credited.new, credited.duplicates);
        changes::report(&credited.changes);
        metric::ignored(batch.without_points, batch.unknown_type);
        self.batch_log.add(BatchTotals {
            batches: 1,
            messages: batch.messages,
            new: credited.new,
            duplicates: credited.duplicates,
            ignored: batch.without_points + batch.unknown_type,
            dead_letters: letters.len(),
            points: credited.points,
            standing_changes: credited.changes.len(),
            took,
        });
        Ok(())
    }

    /// Retries until Postgres has booked `events`. Returns those whose values it refuses.
    async fn credit(
        &self,
        events: &[Event],
        work: &BatchSpan,
    ) -> Result<(Credited, Vec<RefusedEvent>), Abandoned> {
        self.until_done(events.len(), async || {
            let attempt = work.attempt(events.len());
            let mut ledger = self.ledger.lock().await;
            let done = match ledger.credit(events).await {
                Err(error) if error.is_of_the_values() => ledger.credit_each(events).await,
                done => done.map(|credited| (credited, Vec::new())),
            };
            done.inspect_err(|error| attempt.failed(error))
        })
        .await
    }

    /// Retries until the letters are in Postgres.
    async fn keep(&self, letters: &[DeadLetter]) -> Result<(), Abandoned> {
        if letters.is_empty() {
            return Ok(());
        }
        letters.iter().for_each(report);
        let group_id = &self.dependencies.group_id;
        self.until_done(letters.len(), async || self.ledger.lock().await.keep(letters, group_id).await)
            .await?;
        metric::dead_letters(letters.len());
        self.dependencies.wake.wake();
        Ok(())
    }

    async fn until_done<T>(
        &self,
        events: usize,
        attempt: impl AsyncFn() -> Result<T, LedgerError>,
    ) -> Result<T, Abandoned> {
        let mut pauses = Pauses::new(BACKOFF_BASE, BACKOFF_CAP);
        let mut failed_since: Option<Instant> = None;
        loop {
            let error = match attempt().await {
                Ok(done) => {
                    if let Some(since) = failed_since {
                        self.dependencies.health.update(|health| health.crediting_error = None);
                        info!(
                            outage_seconds = since.elapsed().as_secs_f64(),
                            "Postgres is back, the batch is credited"
                        );
                    }
                    return Ok(done);
                }
                Err(error) => error,
            };
            failed_since.get_or_insert_with(Instant::now);
            self.dependencies.health.update(|health| health.crediting_error = Some(error.to_string()));
            metric::batch_retry();
            self.dependencies.vitals.failed(error.to_string());
            let pause = pauses.pause();
            warn!(%error, events, retry_in_ms = pause.as_millis(), "The batch could not be credited, trying again");
            self.pause(pause).await?;
        }
    }

    /// Waits, unless the service is stopping: then the batch comes again after the next start.
    async fn pause(&self, pause: Duration) -> Result<(), Abandoned> {
        let mut stopping = self.dependencies.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            _ = stopping.wait_for(|stop| *stop) => Err(Abandoned),
        }
    }
}

/// The letters for events that the ledger refuses, or in whose place it has another event.
fn not_booked(batch: &Batch, credited: &Credited, refused: Vec<RefusedEvent>) -> Vec<DeadLetter> {
    let letter = |event_id: Uuid, reason: &dyn Fn(&Event) -> DeadLetterReason| {
        let place = batch.events.iter().position(|event| event.event_id == event_id)?;
        let (event, message) = (batch.events.get(place)?, batch.sources.get(place)?.clone());
        Some(DeadLetter { message, reason: reason(event) })
    };
    let forks = credited.forks.iter().filter_map(|fork| {
        letter(fork.event_id, &|event| DeadLetterReason::Forked {
            order_id: event.order_id,
            version: event.version,
            event_id: fork.event_id,
            booked: fork.booked,
        })
    });
    let refused = refused.into_iter().filter_map(|refused| {
        letter(refused.event_id, &|_| DeadLetterReason::RefusedByLedger(refused.refusal.clone()))
    });
    forks.chain(refused).collect()
}

fn report(letter: &DeadLetter) {
    let (partition, position) = (letter.message.partition(), letter.message.position());
    let (offset, entry) = (position.offset(), position.entry().map(tracing::field::display));
    match &letter.reason {
        DeadLetterReason::Undecodable(reason) => {
            warn!(%reason, partition, offset, entry, "A message cannot be read and goes to the dead-letter topic");
        }
        DeadLetterReason::RefusedByLedger(refusal) => {
            error!(
                refusal,
                partition,
                offset,
                entry,
                "The ledger refuses an event for its own sake; it goes to the dead-letter topic"
            );
        }
        DeadLetterReason::Forked { order_id, version, event_id, booked } => {
            metric::fork();
            error!(
                order.id = %order_id,
                event.version = version,
                event.id = %event_id,
                booked = %booked,
                partition,
                offset,
                entry,
                "Two events of one order have the same version; the second one goes to the dead-letter topic"
            );
        }
    }
}
