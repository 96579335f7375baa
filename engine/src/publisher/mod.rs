//! Publication: every committed event to the broker, in each aggregate's order, whatever fails meanwhile.
//!
//! # Overview
//! One instance in the deployment holds the [`lease`] and is the publisher. It follows the journal from the cursor on. Batches
//! reach it in memory right after their commit; events that do not continue the sequence are read from the table. The pure
//! [`machine`] has the rules: gating, breaker, cursor, quarantine. This actor feeds it inputs and carries out its outputs.
//!
//! # Who is authoritative for what
//! - The table `aggregate_event`: which events exist.
//! - The row in `publisher_cursor`: which of them are published.
//! - Postgres' advisory lock: who publishes.
//! - The job in Redis: when to try again. Losing it loses no event.
//!
//! # Under failure
//! - One partition fails: its aggregates' events wait in `deferred_event`, in order. All other events are published ([`lanes`]).
//! - The broker is slow: the bytes in flight are bounded by the rate at which it acknowledges ([`flow`]).
//! - The broker is down: the breaker opens, a job in Redis schedules the retry, and the lease is released. Any instance's worker
//!   may run the job. When the broker answers again, the job is brought forward. These rules are a pure machine too ([`retry`]).
//! - Redis is down too: the lease is kept, and the retries run from memory, by the same policy.
//! - Postgres is down, or this instance was frozen: the lease is lost and nothing more is sent. The next holder starts from the
//!   cursor.
//! - This actor panics, or the process is killed: the same. Events that were delivered but lie behind the cursor are delivered
//!   twice; consumers recognise them by event id.

mod attempts;
pub mod discard;
mod drain;
mod era;
mod flow;
mod inputs;
mod lanes;
pub mod lease;
mod listen;
pub mod machine;
mod outages;
pub mod outbox;
mod pace;
mod partitions;
mod probe;
mod publication;
mod retry;
#[cfg(test)]
mod simulation;
mod status;
mod worker;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use actix::prelude::*;
use kit::postgres::Connector;
use kit::supervision::Lifeline;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::{error, info};

use self::attempts::{AbortOnDrop, Attempts};
pub use self::attempts::{RetryStatus, RunRetry};
use self::drain::Drain;
use self::lanes::Lanes;
pub use self::lanes::StuckLane;
use self::lease::{Lease, LeaseSettings};
use self::machine::{Breaker, Input, Output, PublicationMachine};
pub use self::outages::{Outage, OutageLog};
use self::outbox::OutboxReader;
use self::pace::Pace;
use self::partitions::Partitions;
use self::probe::Probe;
pub use self::publication::Publication;
pub use self::status::{Finish, GetStatus, PublisherStatus};
pub use self::worker::{FallbackWorker, StopWorker};
use crate::fallback::{Backoff, Fallback};
use crate::journal::{JournalState, Reader};
use crate::metric;
use crate::transport::{Client, Transport};

#[derive(Clone)]
pub struct PublisherSettings {
    pub transport: Arc<dyn Transport>,
    pub lease: LeaseSettings,
    /// For the session that listens for appends of other processes.
    pub listen: Connector,
    pub backoff: Backoff,
    /// Most events held in memory, and with the producer, at a time.
    pub window: usize,
}

#[derive(Clone)]
pub struct PublisherDependencies {
    pub reader: Reader,
    pub outbox: OutboxReader,
    pub outages: OutageLog,
    pub journal: Arc<JournalState>,
    pub fallback: Fallback,
    /// Runs work that must not block an arbiter.
    pub runtime: Handle,
}

pub struct Publisher {
    settings: PublisherSettings,
    dependencies: PublisherDependencies,
    lifeline: Lifeline,
    machine: PublicationMachine,
    lease: Option<Lease>,
    client: Option<Box<dyn Client>>,
    attempts: Attempts,
    probe: Probe,
    /// Tasks that end with this actor.
    tasks: Vec<AbortOnDrop>,
    stopping: Option<oneshot::Sender<()>>,
    outage_began: Option<Instant>,
    drain: Option<Drain>,
    pace: Pace,
    lanes: Lanes,
    partitions: Partitions,
    /// This tenure has ended here; the lease's keeper has not reported it yet.
    forfeited: bool,
    /// The journal's, when this tenure began.
    era: u64,
    /// It is logged already that the server takes no writes.
    read_only_logged: bool,
}

impl Publisher {
    pub fn new(settings: PublisherSettings, dependencies: PublisherDependencies, lifeline: Lifeline) -> Self {
        Self {
            machine: PublicationMachine::new(settings.window),
            lanes: Lanes::new(settings.transport.delivery_timeout()),
            attempts: Attempts::new(&settings.backoff),
            settings,
            dependencies,
            lifeline,
            lease: None,
            client: None,
            probe: Probe::default(),
            tasks: Vec::new(),
            stopping: None,
            outage_began: None,
            drain: None,
            pace: Pace::default(),
            partitions: Partitions::default(),
            forfeited: false,
            era: 0,
            read_only_logged: false,
        }
    }

    fn feed(&mut self, input: Input, ctx: &mut Context<Self>) {
        self.machine.limit_lane_bytes(self.lanes.flow.lane_bytes_max(self.machine.lanes()));
        let mut outputs: VecDeque<Output> = self.machine.handle(input).into();
        // One look at the clock covers all sends of an input: they take microseconds.
        let may_send = self.lease.as_ref().is_some_and(Lease::is_valid);
        while let Some(output) = outputs.pop_front() {
            match output {
                Output::Send { lane, event } if may_send && !self.forfeited => self.send(lane, &event),
                // This instance was frozen for longer than the lease lasts: another one may be publishing by now.
                Output::Send { .. } | Output::Forfeit => self.forfeit(&mut outputs, ctx),
                // Nothing may be recorded behind a gap: the cursor could pass an event whose parking was not recorded.
                Output::Progress(_) if self.forfeited => {}
                Output::Progress(progress) => {
                    // Refused when the database hangs. The window is dropped; the next holder of the lease starts from the cursor.
                    if !self.lease.as_ref().is_some_and(|lease| lease.record(progress)) {
                        self.forfeit(&mut outputs, ctx);
                    }
                }
                Output::ReadRows { .. } if self.forfeited => {}
                Output::ReadRows { of, after, limit, token } => {
                    if !self.lease.as_ref().is_some_and(|lease| lease.read_rows(of, after, limit, token)) {
                        self.forfeit(&mut outputs, ctx);
                    }
                }
                Output::Read { after, limit } => self.read(after, limit, ctx),
                Output::Abandon { lane } => {
                    if let Some(Err(cause)) = self.client.as_mut().map(|client| client.abandon(lane)) {
                        error!(%cause, "The broker's client could not be replaced");
                        ctx.stop();
                    }
                }
                Output::HandOff { attempt, cause } => self.failed(attempt, cause, ctx),
                Output::LaneOpened { lane, attempt, cause } => self.lane_opened(lane, attempt, cause, ctx),
                Output::LaneClosed { lane } => self.lane_closed(lane, ctx),
                Output::RetryEarly => self.retry(retry::Input::UntriedLane, ctx),
                Output::BreakerChanged { from, to } => self.breaker_changed(from, to, ctx),
            }
        }
        self.watch_drain();
        self.finish_stopping(ctx);
    }

    /// Ends this tenure of the lease and drops the window. Its events are still behind the cursor in the table.
    fn forfeit(&mut self, outputs: &mut VecDeque<Output>, ctx: &mut Context<Self>) {
        if !self.forfeited {
            self.forfeited = true;
            if let Some(lease) = &self.lease {
                lease.forfeit();
            }
            self.retry(retry::Input::LeaseLost, ctx);
            outputs.extend(self.machine.handle(Input::LeaseLost));
        }
    }

    fn read(&mut self, after: i64, limit: usize, ctx: &mut Context<Self>) {
        let reader = self.dependencies.reader.clone();
        let head = self.dependencies.journal.head.load(Ordering::Acquire);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (pause, limit) = self.pace.next(Instant::now(), after, head, limit);
        let read = async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            reader.after(after, limit).await
        };
        ctx.spawn(read.into_actor(self).map(|answer, publisher, ctx| {
            let input = match answer {
                Ok(events) => Input::Read(events.into_iter().map(Arc::new).collect()),
                Err(error) => {
                    publisher.lifeline.vitals().failed(error.to_string());
                    Input::ReadFailed
                }
            };
            publisher.feed(input, ctx);
        }));
    }

    fn breaker_changed(&mut self, from: Breaker, to: Breaker, ctx: &mut Context<Self>) {
        match to {
            Breaker::Open { attempt } => {
                self.drain = None;
                // Once per outage: later failures are logged by `failed`.
                if self.outage_began.is_none() {
                    self.outage_began = Some(Instant::now());
                    info!(from = from.name(), attempt, "Breaker open: publication stops, commands continue");
                }
                self.watch_broker(ctx);
            }
            Breaker::HalfOpen { attempt, .. } => {
                self.drain = Drain::of(self.machine.published(), self.machine.head());
                info!(attempt, "Breaker half-open: trying one event");
            }
            Breaker::Closed => {
                let outage_ms = self.outage_began.take().map(|began| began.elapsed().as_millis());
                info!(
                    outage_ms,
                    published = self.machine.published(),
                    "Breaker closed: caught up with the journal"
                );
                self.dependencies.outages.ended();
                self.probe.end();
            }
        }
        self.retry(retry::Input::Breaker(to), ctx);
        self.dependencies.journal.breaker_open.store(!matches!(to, Breaker::Closed), Ordering::Release);
        self.show();
    }

    fn show(&self) {
        let breaker = self.machine.breaker();
        let vitals = self.lifeline.vitals();
        vitals.detail("breaker", breaker.name());
        vitals.detail("lease", self.machine.holds_lease());
        vitals.detail("in_flight", self.machine.in_flight());
        vitals.detail("published_seq", self.machine.published());
        metric::breaker(match breaker {
            Breaker::Closed => 0,
            Breaker::HalfOpen { .. } => 1,
            Breaker::Open { .. } => 2,
        });
        metric::lease_held(self.machine.holds_lease());
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.show();
        self.watch_era(ctx);
        let head = self.dependencies.journal.head.load(Ordering::Acquire);
        self.feed(Input::HeadSeen(head), ctx);
        self.log_drain_progress();
        if matches!(self.machine.breaker(), Breaker::Open { .. }) {
            self.watch_outage(ctx);
        }
    }

    /// When stopping: releases the lease once nothing is in flight, and reports the stop once it is released.
    fn finish_stopping(&mut self, ctx: &mut Context<Self>) {
        if self.stopping.is_some() && self.machine.in_flight() == 0 {
            self.retry(retry::Input::Flushed, ctx);
            if !self.machine.holds_lease()
                && let Some(stopped) = self.stopping.take()
            {
                let _ = stopped.send(());
            }
        }
    }
}
