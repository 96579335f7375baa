//! Publication: every committed event to Kafka, in each order's order, whatever fails meanwhile.
//!
//! # Overview
//! One instance in the deployment holds the [`lease`] and is the publisher. It follows the journal from the cursor on:
//! batches come in memory right after their commit, and whatever does not continue the sequence is read from the table. The rules
//! (gating, breaker, cursor, quarantine) are the pure [`machine`]; this actor feeds it inputs and carries out its outputs.
//!
//! # Who is authoritative for what
//! - The table `order_event`: which events exist. - The row in `publisher_cursor`: which of them are published.
//! - Postgres' advisory lock: who publishes. - The job in Redis: when to try again. Losing it loses no event.
//!
//! # Under failure
//! - Kafka is down: the breaker opens, the retry goes to a job in Redis, and the lease is given up with it; any instance's worker runs
//!   the job ([`retry`]). When the broker answers again the job is brought forward.
//! - Redis is down too: the lease is kept, and the same retries run from memory.
//! - Postgres is down, or this instance was frozen: the lease is lost and nothing more is sent; who gains it next starts from the cursor.
//! - This actor panics, or the process is killed: the same. What was delivered behind the cursor is delivered twice; consumers
//!   recognise it by its event id.

pub mod lease;
pub mod machine;
pub mod outbox;
mod retry;
#[cfg(test)]
mod simulation;
mod worker;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix::prelude::*;
use futures_util::StreamExt;
use serde::Deserialize;
use sqlx::postgres::PgListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use self::lease::{Lease, LeaseEvent, LeaseSettings};
use self::machine::{Breaker, Input, Machine, Output};
use self::outbox::OutboxReader;
use self::retry::Attempting;
pub use self::retry::{RetryStatus, RunRetry};
pub use self::worker::{FallbackWorker, StopWorker};
use crate::fallback::{Backoff, Fallback};
use crate::journal::{APPENDED_CHANNEL, Committed, JournalState, Reader, StoredEvent};
use crate::supervision::{Crash, Lifeline};
use crate::telemetry::metric;
use crate::transport::{Kafka, KafkaSettings, Signal};

/// How often the machine is poked, other instances are watched and numbers are shown anew.
const TICK: Duration = Duration::from_secs(1);
/// Delivery reports taken together: one cursor move for all of them.
const SIGNALS_AT_ONCE: usize = 4096;
/// Batches of commits waiting in the mailbox; beyond it they are dropped here and read from the table.
const MAILBOX: usize = 1024;

#[derive(Clone)]
pub struct PublisherSettings {
    pub kafka: KafkaSettings,
    pub lease: LeaseSettings,
    pub backoff: Backoff,
    /// Most events held in memory, and with the producer, at a time.
    pub window: usize,
}

#[derive(Clone)]
pub struct PublisherDependencies {
    pub reader: Reader,
    pub outbox: OutboxReader,
    pub journal: Arc<JournalState>,
    pub fallback: Fallback,
    /// Where everything runs that must not block an arbiter.
    pub runtime: Handle,
}

pub struct Publisher {
    settings: PublisherSettings,
    dependencies: PublisherDependencies,
    lifeline: Lifeline,
    machine: Machine,
    lease: Option<Lease>,
    kafka: Option<Kafka>,
    attempting: Attempting,
    stopping: Option<oneshot::Sender<()>>,
    outage_began: Option<Instant>,
    /// Records given to the lease in this tenure.
    recorded: u64,
}

impl Publisher {
    pub fn new(settings: PublisherSettings, dependencies: PublisherDependencies, lifeline: Lifeline) -> Self {
        Self {
            machine: Machine::new(settings.window),
            settings,
            dependencies,
            lifeline,
            lease: None,
            kafka: None,
            attempting: Attempting::default(),
            stopping: None,
            outage_began: None,
            recorded: 0,
        }
    }

    fn feed(&mut self, input: Input, ctx: &mut Context<Self>) {
        let mut outputs: VecDeque<Output> = self.machine.handle(input).into();
        // The clock is asked once for the sends of one input: they leave within microseconds of each other.
        let may_send = self.lease.as_ref().is_some_and(Lease::is_valid);
        while let Some(output) = outputs.pop_front() {
            match output {
                Output::Send(event) if may_send => self.send(&event),
                // Frozen for longer than the lease lasts: somebody else may be publishing by now.
                Output::Send(_) => self.want_lease(false),
                Output::Read { after, limit } => self.read(after, limit, ctx),
                Output::Progress(progress) => {
                    let recorded = self.lease.as_ref().is_some_and(|lease| lease.record(progress));
                    self.recorded += 1;
                    if !recorded {
                        // The database hangs. Forget the window; whoever holds the lease next starts from the cursor.
                        self.want_lease(false);
                    }
                }
                Output::Abandon => {
                    if let Some(Err(cause)) = self.kafka.as_mut().map(Kafka::abandon) {
                        error!(%cause, "The Kafka producer could not be replaced");
                        ctx.stop();
                    }
                }
                Output::HandOff { attempt, cause } => self.hand_off(attempt, cause, ctx),
                Output::BreakerChanged { from, to } => self.breaker_changed(from, to, ctx),
            }
        }
        self.finish_stopping();
    }

    fn send(&self, event: &StoredEvent) {
        #[derive(Deserialize)]
        struct Traced {
            traceparent: Option<String>,
        }
        let traced = serde_json::from_str(&event.metadata).unwrap_or(Traced { traceparent: None });
        if let Some(kafka) = &self.kafka {
            kafka.send(self.machine.epoch(), event, traced.traceparent.as_deref());
        }
    }

    fn read(&self, after: i64, limit: usize, ctx: &mut Context<Self>) {
        let reader = self.dependencies.reader.clone();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = async move { reader.after(after, limit).await };
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

    fn want_lease(&self, wanted: bool) {
        if let Some(lease) = &self.lease {
            lease.want(wanted && self.stopping.is_none());
        }
    }

    fn breaker_changed(&mut self, from: Breaker, to: Breaker, ctx: &mut Context<Self>) {
        match to {
            Breaker::Open { attempt } => {
                self.outage_began.get_or_insert_with(Instant::now);
                info!(from = from.name(), attempt, "Breaker open: commands go on, publication waits");
                self.watch_broker(ctx);
            }
            Breaker::HalfOpen { attempt, .. } => info!(attempt, "Breaker half-open: trying one event"),
            Breaker::Closed => {
                let outage_ms = self.outage_began.take().map(|began| began.elapsed().as_millis());
                info!(
                    outage_ms,
                    published = self.machine.published(),
                    "Breaker closed: caught up with the journal"
                );
                self.attempt_succeeded(ctx);
                self.want_lease(true);
            }
        }
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
            Breaker::Closed => 0.0,
            Breaker::HalfOpen { .. } => 1.0,
            Breaker::Open { .. } => 2.0,
        });
        metric::lease_held(self.machine.holds_lease());
        metric::quarantined(self.machine.quarantined_orders());
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.show();
        let head = self.dependencies.journal.head.load(Ordering::Acquire);
        self.feed(Input::HeadSeen(head), ctx);
        if matches!(self.machine.breaker(), Breaker::Open { .. }) {
            self.watch_outage(ctx);
        }
    }

    /// When stopping: once nothing is in flight any more, the lease goes, and with it the last duty.
    fn finish_stopping(&mut self) {
        if self.stopping.is_some() && self.machine.in_flight() == 0 {
            self.want_lease(false);
            if !self.machine.holds_lease()
                && let Some(stopped) = self.stopping.take()
            {
                let _ = stopped.send(());
            }
        }
    }
}

impl Actor for Publisher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        let (signals, signalled) = mpsc::unbounded_channel();
        let kafka = match Kafka::new(self.settings.kafka.clone(), signals) {
            Ok(kafka) => kafka,
            Err(cause) => {
                error!(%cause, "The Kafka producer could not be made; check KAFKA_BROKERS");
                return ctx.stop();
            }
        };
        self.dependencies.runtime.spawn(kafka.ensure_topic());
        self.kafka = Some(kafka);
        ctx.add_stream(tokio_stream(signalled).ready_chunks(SIGNALS_AT_ONCE));

        let address = ctx.address();
        let lease = Lease::start(self.settings.lease.clone(), &self.dependencies.runtime, move |event| {
            address.do_send(LeaseWord(event));
        });
        lease.want(true);
        self.lease = Some(lease);

        let (pool, address) = (self.dependencies.outbox.pool().clone(), ctx.address());
        let listening = self.dependencies.runtime.spawn(listen(pool, address.recipient()));
        self.attempting.listening = Some(listening.abort_handle().into());
        ctx.run_interval(TICK, Self::tick);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.dependencies.journal.publishes_here.store(false, Ordering::Release);
    }
}

fn tokio_stream<T>(mut receiver: mpsc::UnboundedReceiver<T>) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))
}

/// Passes on the NOTIFYs of instances that append but do not publish. A lost one costs a heartbeat's delay, no more.
async fn listen(pool: sqlx::PgPool, publisher: Recipient<Woken>) {
    loop {
        if let Ok(mut listener) = PgListener::connect_with(&pool).await
            && listener.listen(APPENDED_CHANNEL).await.is_ok()
        {
            while listener.recv().await.is_ok() {
                if publisher.try_send(Woken).is_err() && !publisher.connected() {
                    return;
                }
            }
        }
        tokio::time::sleep(TICK).await;
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Woken;

impl Handler<Woken> for Publisher {
    type Result = ();

    fn handle(&mut self, _: Woken, ctx: &mut Self::Context) {
        if self.machine.holds_lease() {
            self.feed(Input::Woken, ctx);
        }
    }
}

impl Handler<Committed> for Publisher {
    type Result = ();

    fn handle(&mut self, Committed(events): Committed, ctx: &mut Self::Context) {
        self.lifeline.handled();
        let events = events.iter().cloned().map(Arc::new).collect();
        self.feed(Input::Committed(events), ctx);
    }
}

impl StreamHandler<Vec<Signal>> for Publisher {
    fn handle(&mut self, signals: Vec<Signal>, ctx: &mut Self::Context) {
        let epoch = self.machine.epoch();
        let mut reports = Vec::with_capacity(signals.len());
        let mut lost = None;
        for signal in signals {
            match signal {
                Signal::Report { epoch: of, seq, report } if of == epoch => reports.push((seq, report)),
                Signal::Report { .. } => {}
                Signal::BrokerLost(cause) => lost = Some(cause),
            }
        }
        self.attempting.broker_lost = lost.is_some();
        self.feed(Input::Reports { epoch, reports }, ctx);
        if let Some(cause) = lost {
            self.feed(Input::BrokerLost(cause), ctx);
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct LeaseWord(LeaseEvent);

impl Handler<LeaseWord> for Publisher {
    type Result = ();

    fn handle(&mut self, LeaseWord(event): LeaseWord, ctx: &mut Self::Context) {
        match event {
            LeaseEvent::Gained { published, head, quarantined } => {
                info!(published, head, pending = head - published, "Lease gained: this instance publishes");
                self.dependencies.journal.publishes_here.store(true, Ordering::Release);
                self.recorded = 0;
                let head = head.max(self.dependencies.journal.head.load(Ordering::Acquire));
                self.feed(Input::LeaseGained { published, head, quarantined }, ctx);
            }
            LeaseEvent::Lost { error } => {
                match error {
                    Some(error) => {
                        warn!(error, "Lease lost: this instance sends nothing more until it is regained")
                    }
                    None => info!("Lease given up"),
                }
                self.dependencies.journal.publishes_here.store(false, Ordering::Release);
                self.feed(Input::LeaseLost, ctx);
                // With an open breaker the retry decides when to reach for it again.
                self.want_lease(!matches!(self.machine.breaker(), Breaker::Open { .. }));
            }
            LeaseEvent::Seen { head } => self.feed(Input::HeadSeen(head), ctx),
            LeaseEvent::Released { order_id, events, written } => {
                // What is still on its way to the quarantine is not among the events: the next heartbeat tells them all.
                if written == self.recorded {
                    info!(order.id = %order_id, events = events.len(), "An operator released an order");
                    let events = events.into_iter().map(Arc::new).collect();
                    self.feed(Input::Released { order_id, events }, ctx);
                }
            }
            LeaseEvent::Unreachable(error) => self.lifeline.vitals().failed(error),
        }
        self.show();
    }
}

/// What `GET /api/outbox` shows of this instance's publisher.
#[derive(Debug, Clone)]
pub struct PublisherStatus {
    pub breaker: &'static str,
    pub is_publisher: bool,
    pub retry: Option<RetryStatus>,
}

#[derive(Message)]
#[rtype(result = "PublisherStatus")]
pub struct Status;

impl Handler<Status> for Publisher {
    type Result = MessageResult<Status>;

    fn handle(&mut self, _: Status, _: &mut Self::Context) -> Self::Result {
        self.lifeline.handled();
        MessageResult(PublisherStatus {
            breaker: self.machine.breaker().name(),
            is_publisher: self.machine.holds_lease(),
            retry: self.attempting.status(),
        })
    }
}

/// Stop sending, wait for the reports of what is in flight, write the cursor, give the lease up.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Finish;

impl Handler<Finish> for Publisher {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Finish, _: &mut Self::Context) -> Self::Result {
        self.lifeline.handled();
        let (stopped, done) = oneshot::channel();
        self.stopping = Some(stopped);
        self.machine.stop_sending();
        self.finish_stopping();
        Box::pin(async move {
            let _ = done.await;
        })
    }
}

impl Handler<Crash> for Publisher {
    type Result = ();

    fn handle(&mut self, crash: Crash, _: &mut Self::Context) {
        crash.now()
    }
}
