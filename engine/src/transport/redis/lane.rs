//! A lane: one connection, over which events are appended in the order in which they were sent.
//!
//! What waits is appended together, by one pipeline at a time. Redis closes the connection at an entry that it cannot take, and the
//! answers before it are lost. So the events of a pipeline whose connection was closed are sent once more, one by one. Only an event
//! that is refused alone is at fault.

use std::collections::VecDeque;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError, RedisResult};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::answer::{Outcome, describe, leads_elsewhere, outcome};
use super::connection::connect;
use super::gate::{Refusal, Tenure};
use super::script::{self, Appended};
use super::sending::{Sending, Ticket};
use super::shared::Shared;
use crate::journal::StoredEvent;
use crate::transport::{DeliveryReport, Signal, Signals, partition_of};

/// Most events in one pipeline, and about how many bytes of payload.
const BATCH_EVENTS_MAX: usize = 500;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// How often an event is sent again.
const REPEATED_MAX: u32 = 5;

/// Its task ends with this value. What it has in flight is reported as failed then.
pub(super) struct Lane {
    number: u32,
    queue: UnboundedSender<Sending>,
    signals: Signals,
    client_id: String,
    task: AbortHandle,
}

impl Lane {
    pub(super) fn start(number: u32, shared: Arc<Shared>, signals: Signals, runtime: &Handle) -> Self {
        let (queue, waiting) = unbounded_channel();
        let client_id = shared.settings.client_id.clone();
        let appender = Appender {
            lane: number,
            shared,
            signals: signals.clone(),
            waiting,
            batch: VecDeque::new(),
            alone: 0,
            connection: None,
            is_kept: false,
        };
        let task = runtime.spawn(appender.run()).abort_handle();
        Self { number, queue, signals, client_id, task }
    }

    /// Bounded in fact: the publisher bounds what is in flight.
    pub(super) fn send(&self, epoch: u64, event: &StoredEvent, attempt: Option<u32>) {
        let ticket = Ticket::of(event, self.number, epoch, attempt, &self.client_id, self.signals.clone());
        // If the task is gone, the ticket reports that as it is dropped.
        let _ = self.queue.send(Sending { event: event.clone(), ticket, repeated: 0 });
    }

    pub(super) fn has_ended(&self) -> bool {
        self.queue.is_closed()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Appender {
    lane: u32,
    shared: Arc<Shared>,
    signals: Signals,
    waiting: UnboundedReceiver<Sending>,
    /// In order. What is sent again is in front.
    batch: VecDeque<Sending>,
    /// How many of the batch are sent one by one.
    alone: usize,
    /// With how many of the keeper's had failed when it was made.
    connection: Option<(u64, MultiplexedConnection)>,
    /// The connection has carried a pipeline before.
    is_kept: bool,
}

impl Appender {
    async fn run(mut self) {
        while self.fill().await {
            let waiting = |time| {
                let _ = self.signals.send(Signal::Throttled { lane: self.lane, time });
            };
            match self.shared.gate.enter(waiting).await {
                Ok(tenure) => self.append(&tenure).await,
                Err(Refusal { cause, unreachable }) => self.fail(&cause, unreachable),
            }
        }
    }

    /// Waits for an event, and takes what else is there. False: the lane has ended.
    async fn fill(&mut self) -> bool {
        if self.batch.is_empty() {
            match self.waiting.recv().await {
                Some(first) => self.batch.push_back(first),
                None => return false,
            }
        }
        let mut bytes: usize = self.batch.iter().map(|sending| sending.ticket.bytes).sum();
        while self.batch.len() < BATCH_EVENTS_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(next) = self.waiting.try_recv() else { break };
            bytes += next.ticket.bytes;
            self.batch.push_back(next);
        }
        true
    }

    async fn append(&mut self, tenure: &Tenure) {
        let count = if self.alone > 0 { 1 } else { self.batch.len() };
        match self.exchange(tenure, count).await {
            Ok(answers) => {
                self.is_kept = true;
                self.alone = self.alone.saturating_sub(1);
                self.settle(tenure, answers);
            }
            Err(error) => {
                let was_kept = std::mem::take(&mut self.is_kept);
                self.connection = None;
                // A connection that was idle may have been closed since: then a fresh one is tried before this is a failure.
                if !(was_kept && error.is_connection_dropped()) {
                    self.broken(count, &error);
                }
            }
        }
    }

    async fn exchange(&mut self, tenure: &Tenure, count: usize) -> RedisResult<Vec<RedisResult<Appended>>> {
        let failed = self.shared.failed_connections();
        let connection = match &mut self.connection {
            Some((made_after, connection)) if *made_after == failed => connection,
            none => {
                let patience = self.shared.settings.delivery_timeout;
                let mut fresh = connect(&self.shared.settings.redis, patience).await?;
                script::load(&mut fresh).await?;
                &mut none.insert((failed, fresh)).1
            }
        };
        let mut pipeline = Pipeline::with_capacity(count);
        pipeline.ignore_errors();
        for sending in self.batch.iter().take(count) {
            script::append(&mut pipeline, &self.shared.settings, tenure, &sending.event);
        }
        pipeline.query_async(connection).await
    }

    fn settle(&mut self, tenure: &Tenure, answers: Vec<RedisResult<Appended>>) {
        let mut again = VecDeque::new();
        for answer in answers {
            let Some(mut sending) = self.batch.pop_front() else { break };
            let error = match answer {
                Ok((_, appended)) => {
                    tenure.has_appended(appended);
                    sending
                        .ticket
                        .appended_to(partition_of(sending.event.aggregate_id, tenure.partitions.max(1)));
                    self.shared.unconfirmed.delivered((sending.ticket.seq, sending.event.event_id));
                    sending.ticket.report(DeliveryReport::Delivered);
                    continue;
                }
                Err(error) => error,
            };
            if leads_elsewhere(&error) {
                self.connection = None;
            }
            match outcome(&error) {
                Outcome::Failed(report) => sending.ticket.report(report),
                _ if sending.repeated == REPEATED_MAX => {
                    sending.ticket.report(DeliveryReport::Unavailable(describe(&error)));
                }
                Outcome::Closed => {
                    self.shared.gate.close(&tenure.token);
                    sending.repeated += 1;
                    again.push_back(sending);
                }
                Outcome::ScriptUnknown => {
                    // A fresh connection loads it.
                    self.connection = None;
                    sending.repeated += 1;
                    again.push_back(sending);
                }
            }
        }
        // In front of what came later: the order is kept.
        again.append(&mut self.batch);
        self.batch = again;
    }

    /// There is no answer. Whether the events were appended is unknown.
    fn broken(&mut self, count: usize, error: &RedisError) {
        let refused = match outcome(error) {
            Outcome::Failed(report @ DeliveryReport::Refused(_)) => Some(report),
            _ => None,
        };
        let dropped = error.is_connection_dropped() && !error.is_connection_refusal();
        match (refused, self.batch.front_mut()) {
            (Some(report), Some(sending)) if count == 1 => {
                sending.ticket.report(report);
                self.alone = self.alone.saturating_sub(1);
                self.batch.pop_front();
            }
            (refused, _) if self.alone == 0 && count > 1 && (refused.is_some() || dropped) => {
                self.alone = count
            }
            // Redis' answer is lost if it closes the connection while the event is being written: another time it is read.
            (None, Some(sending)) if count == 1 && dropped && sending.repeated < REPEATED_MAX => {
                sending.repeated += 1;
            }
            _ => self.fail(&describe(error), error.is_io_error()),
        }
    }

    fn fail(&mut self, cause: &str, unreachable: bool) {
        self.alone = 0;
        if unreachable {
            let _ = self.signals.send(Signal::BrokerLost { lane: self.lane, cause: cause.to_owned() });
        }
        for mut sending in self.batch.drain(..) {
            sending.ticket.report(DeliveryReport::Unavailable(cause.to_owned()));
        }
    }
}
