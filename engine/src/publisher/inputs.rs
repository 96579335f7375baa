//! What reaches the publisher: commits, delivery reports, events of the lease, the clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix::prelude::*;
use futures_util::StreamExt;
use kit::supervision::Crash;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::Publisher;
use super::drain::Drain;
use super::lease::{Lease, LeaseEvent};
use super::listen::{JournalNotified, listen};
use super::machine::{Input, message_bytes};
use super::retry;
use crate::journal::Committed;
use crate::transport::{DeliveryReport, Signal};

/// How often the machine gets a tick, other instances are watched and the actor's details are updated.
const TICK: Duration = Duration::from_secs(1);
/// Most delivery reports handled together, with one move of the cursor.
const SIGNALS_AT_ONCE: usize = 4096;
/// Most batches of commits in the mailbox. Further ones are dropped and read from the table.
const MAILBOX: usize = 1024;

impl Actor for Publisher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        // The previous life of this actor may have ended in an outage; this one begins with the breaker closed.
        self.dependencies.outages.ended();
        let (signals, signalled) = mpsc::unbounded_channel();
        let client = match self.settings.transport.connect(signals) {
            Ok(client) => client,
            Err(cause) => {
                error!(%cause, "The broker's client could not be made; check its settings");
                return ctx.stop();
            }
        };
        self.client = Some(client);
        let background = self.settings.transport.run_beside(self.dependencies.reader.clone());
        let background = self.dependencies.runtime.spawn(background);
        self.tasks.push(background.abort_handle().into());
        ctx.add_stream(tokio_stream(signalled).ready_chunks(SIGNALS_AT_ONCE));

        let address = ctx.address();
        let lease = Lease::start(self.settings.lease.clone(), &self.dependencies.runtime, move |event| {
            address.do_send(event);
        });
        lease.want(true);
        self.lease = Some(lease);

        let listening = listen(self.settings.listen.clone(), ctx.address().recipient());
        let listening = self.dependencies.runtime.spawn(listening);
        self.tasks.push(listening.abort_handle().into());
        ctx.run_interval(TICK, Self::tick);
        ctx.run_interval(self.look_interval(), Self::watch_lanes);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.dependencies.journal.publishes_here.store(false, Ordering::Release);
    }
}

fn tokio_stream<T>(mut receiver: mpsc::UnboundedReceiver<T>) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))
}

impl Handler<JournalNotified> for Publisher {
    type Result = ();

    fn handle(&mut self, _: JournalNotified, ctx: &mut Self::Context) {
        if self.machine.holds_lease() {
            self.feed(Input::JournalNotified, ctx);
        }
    }
}

impl Handler<Committed> for Publisher {
    type Result = ();

    fn handle(&mut self, Committed(events): Committed, ctx: &mut Self::Context) {
        let _handling = self.lifeline.handling();
        // Before the events are taken: if the journal has lost commits, their positions are used a second time.
        self.watch_era(ctx);
        let events = events.iter().cloned().map(Arc::new).collect();
        self.feed(Input::Committed(events), ctx);
    }
}

impl StreamHandler<Vec<Signal>> for Publisher {
    fn handle(&mut self, signals: Vec<Signal>, ctx: &mut Self::Context) {
        let epoch = self.machine.epoch();
        let mut reports = Vec::with_capacity(signals.len());
        let (mut lost, mut slowest, mut acknowledged) = (BTreeMap::new(), None, 0);
        for signal in signals {
            match signal {
                Signal::Report { lane, epoch: of, seq, report, bytes, took } => {
                    self.lanes.report_seen(lane);
                    if of == epoch {
                        if report == DeliveryReport::Delivered {
                            slowest = slowest.max(Some(took));
                            acknowledged += message_bytes(bytes);
                        }
                        reports.push((seq, report));
                    }
                }
                Signal::BrokerLost { lane, cause } => {
                    lost.insert(lane, cause);
                }
                Signal::Throttled { lane, time } => self.lanes.throttled(lane, time),
            }
        }
        self.probe.broker_lost(!lost.is_empty());
        if let Some(slowest) = slowest {
            let limited = self.machine.is_limited();
            self.lanes.flow.acknowledged(Instant::now(), acknowledged, slowest, limited);
        }
        self.feed(Input::Reports { epoch, reports }, ctx);
        for (lane, cause) in lost {
            self.feed(Input::BrokerLost { lane, cause }, ctx);
        }
    }
}

impl Message for LeaseEvent {
    type Result = ();
}

impl Handler<LeaseEvent> for Publisher {
    type Result = ();

    fn handle(&mut self, event: LeaseEvent, ctx: &mut Self::Context) {
        match event {
            LeaseEvent::Gained { published, head, quarantined, timeline, partitions, deferred } => {
                self.read_only_logged = false;
                self.dependencies.journal.opened(timeline, head);
                self.era = self.dependencies.journal.era();
                // In an outage the lease is gained and released with every retry: not worth a line each.
                if self.outage_began.is_none() {
                    info!(
                        published,
                        head,
                        pending = head - published,
                        "Lease gained: this instance publishes"
                    );
                }
                self.dependencies.journal.publishes_here.store(true, Ordering::Release);
                self.forfeited = false;
                let head = head.max(self.dependencies.journal.head.load(Ordering::Acquire));
                self.drain = Drain::of(published, head);
                let gained = Input::LeaseGained { published, head, quarantined, partitions, deferred };
                self.ensure_lanes(partitions, ctx);
                self.retry(retry::Input::LeaseGained, ctx);
                self.feed(gained, ctx);
            }
            LeaseEvent::Lost { error } => {
                match error {
                    Some(error) => {
                        warn!(error, "Lease lost: this instance sends nothing more until it is regained")
                    }
                    None if self.outage_began.is_some() => {}
                    None => info!("Lease released"),
                }
                self.dependencies.journal.publishes_here.store(false, Ordering::Release);
                self.retry(retry::Input::LeaseLost, ctx);
                self.drain = None;
                self.forget_lanes(ctx);
                self.feed(Input::LeaseLost, ctx);
            }
            LeaseEvent::Seen { head } => self.feed(Input::HeadSeen(head), ctx),
            LeaseEvent::Released(aggregates) => self.feed(Input::Released(aggregates), ctx),
            LeaseEvent::Rows { of, token, events } => {
                let events = events.into_iter().map(Arc::new).collect();
                self.feed(Input::Rows { of, token, events }, ctx);
            }
            LeaseEvent::Unreachable(error) => self.lifeline.vitals().failed(error),
            LeaseEvent::ReadOnly { standby } => self.refused_by_read_only(standby),
        }
        self.show();
    }
}

impl Handler<Crash> for Publisher {
    type Result = ();

    fn handle(&mut self, crash: Crash, _: &mut Self::Context) {
        crash.now()
    }
}
