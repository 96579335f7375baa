//! The Consumer actor: makes a batch take effect, and answers only then.
//!
//! Its answer lets the feed commit the offsets, so it retries until everything is done: first the credits, in one
//! transaction, then the dead letters, each acknowledged by Kafka. Anything may happen twice on the way; the ledger makes
//! the credits count once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix::prelude::*;
use rdkafka::Message as _;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Mutex, watch};
use tracing::{error, info, warn};

use crate::backoff::Backoff;
use crate::batch::{Batch, DeadLetter, Positions};
use crate::dead_letter::DeadLetters;
use crate::error::{Abandoned, Refusal};
use crate::ledger::{Credited, Fork, LedgerConnection};
use crate::message::Event;
use crate::received::{self, Received, ReceivedLog};
use crate::telemetry::metric;
use crate::traces::Work;

/// First retry quickly: most failures are a connection that broke. The cap bounds how late a recovery is noticed.
const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_CAP: Duration = Duration::from_secs(2);

impl Message for Batch {
    type Result = Result<Positions, Abandoned>;
}

/// Makes the actor panic. Only tests send it, to see the supervision at work.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Crash;

/// Tells the feed that the actor ended, however it ended: it is dropped with the actor, also by a panic.
pub struct Gone(pub Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

pub struct Consumer {
    effects: Arc<Effects>,
    _gone: Gone,
}

impl Consumer {
    pub fn new(
        connect: PgConnectOptions,
        dead_letters: DeadLetters,
        stopping: watch::Receiver<bool>,
        gone: Gone,
    ) -> Self {
        let ledger = Mutex::new(LedgerConnection::new(connect));
        let effects = Effects { ledger, dead_letters, stopping, received: ReceivedLog::default() };
        Self { effects: Arc::new(effects), _gone: gone }
    }
}

impl Actor for Consumer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(received::PAUSE, |consumer, _| consumer.effects.received.say_the_rest());
    }
}

impl Handler<Batch> for Consumer {
    // Atomic: a second batch must not start before the first one is done, or offsets could pass events that have no effect yet.
    type Result = AtomicResponse<Self, Result<Positions, Abandoned>>;

    fn handle(&mut self, batch: Batch, _: &mut Context<Self>) -> Self::Result {
        let effects = Arc::clone(&self.effects);
        AtomicResponse::new(Box::pin(async move { effects.apply(batch).await }.into_actor(self)))
    }
}

impl Handler<Crash> for Consumer {
    type Result = ();

    #[expect(clippy::panic, reason = "that is what it is for")]
    fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("the consumer was told to crash");
    }
}

struct Effects {
    /// Never waited for: there is one batch in hand at a time.
    ledger: Mutex<LedgerConnection>,
    dead_letters: DeadLetters,
    stopping: watch::Receiver<bool>,
    received: ReceivedLog,
}

impl Effects {
    async fn apply(&self, batch: Batch) -> Result<Positions, Abandoned> {
        let work = Work::begin(&batch);
        let outcome = self.carry_out(batch, &work).await;
        work.end(&outcome);
        outcome
    }

    async fn carry_out(&self, mut batch: Batch, work: &Work) -> Result<Positions, Abandoned> {
        let started = Instant::now();
        let credited = self.credit(&batch.events, work).await?;
        let mut letters = std::mem::take(&mut batch.dead_letters);
        letters.extend(credited.forks.iter().filter_map(|fork| forked(&batch, *fork)));
        let dead_letters = letters.len();
        self.bury(letters).await?;
        let took = started.elapsed();
        metric::batch(batch.messages, took);
        metric::credited(credited.new, credited.duplicates);
        metric::ignored(batch.without_points, batch.unknown_type);
        self.received.add(Received {
            batches: 1,
            messages: batch.messages,
            new: credited.new,
            duplicates: credited.duplicates,
            ignored: batch.without_points + batch.unknown_type,
            dead_letters,
            points: credited.points,
            took,
        });
        Ok(batch.positions)
    }

    async fn credit(&self, events: &[Event], work: &Work) -> Result<Credited, Abandoned> {
        let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_CAP);
        let mut failed_since: Option<Instant> = None;
        loop {
            let attempt = work.attempt(events.len());
            let error = match self.ledger.lock().await.credit(events).await {
                Ok(credited) => {
                    if let Some(since) = failed_since {
                        info!(
                            outage_seconds = since.elapsed().as_secs_f64(),
                            "Postgres is back, the batch is credited"
                        );
                    }
                    return Ok(credited);
                }
                Err(error) => error,
            };
            attempt.failed(&error);
            failed_since.get_or_insert_with(Instant::now);
            metric::batch_retry("postgres");
            let pause = backoff.pause();
            warn!(%error, events = events.len(), retry_in_ms = pause.as_millis(), "The batch could not be credited, trying again");
            self.pause(pause).await?;
        }
    }

    async fn bury(&self, mut letters: Vec<DeadLetter>) -> Result<(), Abandoned> {
        letters.iter().for_each(report);
        let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_CAP);
        while !letters.is_empty() {
            let (undelivered, error) = self.dead_letters.deliver(letters).await;
            letters = undelivered;
            if let Some(error) = error {
                metric::batch_retry("dead_letter");
                let pause = backoff.pause();
                warn!(%error, letters = letters.len(), retry_in_ms = pause.as_millis(), "Dead letters were not acknowledged, trying again");
                self.pause(pause).await?;
            }
        }
        Ok(())
    }

    /// Waits, unless the service is stopping: then what failed is left for the next start.
    async fn pause(&self, pause: Duration) -> Result<(), Abandoned> {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            _ = stopping.wait_for(|stop| *stop) => Err(Abandoned),
        }
    }
}

/// The letter for the message that `fork` came in.
fn forked(batch: &Batch, fork: Fork) -> Option<DeadLetter> {
    let place = batch.events.iter().position(|event| event.event_id == fork.event_id)?;
    let (event, message) = (batch.events.get(place)?, batch.sources.get(place)?.clone());
    let reason = Refusal::Forked {
        order_id: event.order_id,
        version: event.version,
        event_id: fork.event_id,
        booked: fork.booked,
    };
    Some(DeadLetter { message, reason })
}

fn report(letter: &DeadLetter) {
    let (partition, offset) = (letter.message.partition(), letter.message.offset());
    match &letter.reason {
        Refusal::Undecodable(reason) => {
            warn!(%reason, partition, offset, "A message cannot be read and goes to the dead-letter topic");
        }
        Refusal::Forked { order_id, version, event_id, booked } => {
            metric::fork();
            error!(
                order.id = %order_id,
                event.version = version,
                event.id = %event_id,
                booked = %booked,
                partition,
                offset,
                "Two events of one order have the same version; the second one goes to the dead-letter topic"
            );
        }
    }
}
