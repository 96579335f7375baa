//! The pages that are open, and the past that they are shown.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::web::Bytes;
use chrono::{DateTime, Utc};
use engine::publisher::OutageLog;
use futures_util::{Stream, StreamExt, stream};
use kit::http::{Caller, Kind, Problem};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender};
use uuid::Uuid;

use super::bonus::BonusClient;
use super::sampler;
use super::snapshot::{Point, Snapshot, Welcome};
use crate::config::Mq;
use crate::http::{Services, access};
use crate::telemetry::meter::Meter;

/// Ten minutes, one a second.
const POINTS_MAX: usize = 600;
/// Each has a connection that stays open.
const WATCHERS_MAX: usize = 100;
/// Watchers may take this part of all connections at most.
const WATCHERS_PART: usize = 4;
/// A watcher that is further behind than this misses some messages. That is harmless: each snapshot is complete.
const MESSAGES_BEHIND_MAX: usize = 4;

const NO_FEED: Kind = Kind::unavailable(
    "no-feed",
    "The service is stopping, or too many pages are open already. Try again.",
    1,
);

/// Shared by the sampler, the pages' connections, and those that the sampler asks.
#[derive(Clone)]
pub struct ControlRoom {
    state: Arc<Mutex<State>>,
    pub meter: Meter,
    pub(super) bonus: BonusClient,
    pub(super) outages: OutageLog,
    instance: Uuid,
    started_at: DateTime<Utc>,
    mq: Mq,
    faults: bool,
    watchers_max: usize,
}

struct State {
    past: VecDeque<Point>,
    /// `None` when the service is stopping.
    watchers: Option<Sender<Bytes>>,
}

impl ControlRoom {
    pub fn new(
        bonus: BonusClient,
        outages: OutageLog,
        mq: Mq,
        faults: bool,
        connections_max: usize,
    ) -> anyhow::Result<Self> {
        let state = State { past: VecDeque::new(), watchers: Some(Sender::new(MESSAGES_BEHIND_MAX)) };
        Ok(Self {
            state: Arc::new(Mutex::new(state)),
            meter: Meter::new()?,
            bonus,
            outages,
            instance: Uuid::now_v7(),
            started_at: Utc::now(),
            mq,
            faults,
            watchers_max: WATCHERS_MAX.min(connections_max / WATCHERS_PART),
        })
    }

    /// Begins to sample, on `runtime`, until [`Self::close`].
    pub fn open(&self, services: Services, runtime: &Handle) {
        runtime.spawn(sampler::run(services));
    }

    /// Ends the connections of all pages, since they never end by themselves and a stop would wait for them.
    pub fn close(&self) {
        self.state().watchers = None;
    }

    /// The messages for a caller's page: the past, then each snapshot.
    pub(super) fn listen(&self, caller: &Caller) -> Result<impl Stream<Item = Bytes> + use<>, Problem> {
        // Under one lock, so that no point comes twice and none is missed.
        let state = self.state();
        let watchers =
            state.watchers.as_ref().filter(|watchers| watchers.receiver_count() < self.watchers_max);
        let receiver = watchers.ok_or_else(full)?.subscribe();
        let past = state.past.iter().collect();
        let (instance, started_at) = (self.instance, self.started_at);
        let (mq, faults) = (self.mq.value(), self.faults && access::may_crash(caller));
        let (commands, signed_in) = (access::commands(caller), caller.identity.is_some());
        let welcome =
            message("welcome", &Welcome { instance, started_at, mq, faults, commands, signed_in, past });
        Ok(stream::iter([welcome]).chain(stream::unfold(receiver, next)))
    }

    pub(super) fn is_watched(&self) -> bool {
        self.state().watchers.as_ref().is_some_and(|watchers| watchers.receiver_count() > 0)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().watchers.is_none()
    }

    /// Keeps the snapshot's point, and shows the snapshot to all who watch.
    pub(super) fn show(&self, snapshot: &Snapshot<'_>) {
        let mut state = self.state();
        if state.past.len() == POINTS_MAX {
            state.past.pop_front();
        }
        state.past.push_back(snapshot.point.clone());
        if let Some(watchers) = state.watchers.as_ref().filter(|watchers| watchers.receiver_count() > 0) {
            let _ = watchers.send(message("snapshot", snapshot));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message of an event stream. JSON has no line breaks of its own.
fn message(event: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_default();
    Bytes::from(format!("event: {event}\ndata: {data}\n\n"))
}

async fn next(mut receiver: Receiver<Bytes>) -> Option<(Bytes, Receiver<Bytes>)> {
    loop {
        match receiver.recv().await {
            Ok(message) => return Some((message, receiver)),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

fn full() -> Problem {
    Problem::new(&NO_FEED, NO_FEED.example)
}
