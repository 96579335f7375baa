//! The transport, and its clients.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{RedisError, RedisResult};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::warn;
use uuid::Uuid;

use super::answer::describe;
use super::connection::connect;
use super::gate::Tenure;
use super::keeper::Keeper;
use super::lane::Lane;
use super::settings::StreamSettings;
use super::shared::Shared;
use super::topic::StreamTopic;
use super::trim::Trimmer;
use crate::journal::{Reader, StoredEvent};
use crate::transport::{
    BoxFuture, Client, PartitionState, Probe, Signals, TopicHistory, Transport, TransportError,
};

/// Publication over Redis Streams. `runtime` carries its connections: what blocks an arbiter must not delay them.
pub struct RedisStreams {
    shared: Arc<Shared>,
    runtime: Handle,
}

impl RedisStreams {
    /// Connects later, so Redis may be down.
    pub fn new(settings: StreamSettings, runtime: Handle) -> Self {
        Self { shared: Arc::new(Shared::new(settings)), runtime }
    }
}

impl fmt::Debug for RedisStreams {
    /// Without the address, which may hold a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RedisStreams")
            .field("topic", &self.shared.settings.topic)
            .finish_non_exhaustive()
    }
}

impl Transport for RedisStreams {
    fn connect(&self, signals: Signals) -> Result<Box<dyn Client>, TransportError> {
        Ok(Box::new(Streams::new(Arc::clone(&self.shared), signals, self.runtime.clone())))
    }

    fn delivery_timeout(&self) -> Duration {
        self.shared.settings.delivery_timeout
    }

    fn run_beside(&self, reader: Reader) -> BoxFuture<()> {
        let trimmer = Trimmer::new(Arc::clone(&self.shared), TopicHistory::new(reader.clone()));
        let keeper = Keeper::new(Arc::clone(&self.shared), reader);
        Box::pin(async move {
            tokio::join!(keeper.run(), trimmer.run());
        })
    }

    fn copies(&self, signals: Signals) -> BoxFuture<Result<Box<dyn Client>, TransportError>> {
        let (shared, runtime) = (Arc::clone(&self.shared), self.runtime.clone());
        Box::pin(async move {
            let topic = topic(&shared).await?;
            let tenure = Tenure::of_copies(topic.id.to_string(), topic.partitions);
            let shared = Shared::open(tenure, shared.settings.clone());
            let client: Box<dyn Client> = Box::new(Streams::new(Arc::new(shared), signals, runtime));
            Ok(client)
        })
    }

    fn replayed(&self, reader: Reader, to: i64) -> BoxFuture<bool> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let Ok(topic) = topic(&shared).await else { return false };
            TopicHistory::new(reader).replayed(&topic.identity(), to).await.unwrap_or_else(|error| {
                warn!(%error, "The events are sent, but the alert about them cannot be ended: repeat the command");
                false
            })
        })
    }

    fn replicas_wanted(&self) -> BoxFuture<Option<i32>> {
        Box::pin(async { Some(1) })
    }
}

struct Streams {
    shared: Arc<Shared>,
    signals: Signals,
    runtime: Handle,
    lanes: Vec<Lane>,
}

impl Streams {
    fn new(shared: Arc<Shared>, signals: Signals, runtime: Handle) -> Self {
        let mut streams = Self { shared, signals, runtime, lanes: Vec::new() };
        streams.lanes.push(streams.lane(0));
        streams
    }

    fn lane(&self, number: u32) -> Lane {
        Lane::start(number, Arc::clone(&self.shared), self.signals.clone(), &self.runtime)
    }

    /// The topic's partitions, asked over a connection of its own on the main runtime. The outer `None`: no answer within `patience`.
    fn ask(&self, patience: Duration) -> impl Fn() -> BoxFuture<Option<Option<u32>>> + Send + 'static {
        let (shared, runtime) = (Arc::clone(&self.shared), self.runtime.clone());
        move || {
            let shared = Arc::clone(&shared);
            let asked = async move { timeout(patience, partitions(&shared, patience)).await };
            let asked = runtime.spawn(asked);
            Box::pin(async move { asked.await.ok()?.ok()?.ok() })
        }
    }
}

async fn partitions(shared: &Shared, patience: Duration) -> RedisResult<Option<u32>> {
    let mut connection = connect(&shared.settings.redis, patience).await?;
    redis::cmd("HGET").arg(&shared.settings.topic).arg("partitions").query_async(&mut connection).await
}

impl Client for Streams {
    fn ensure_lanes(&mut self, lanes: u32) -> Result<(), TransportError> {
        for number in self.lanes.len()..lanes as usize {
            self.lanes.push(self.lane(number as u32));
        }
        Ok(())
    }

    fn send(&self, lane: u32, epoch: u64, event: &StoredEvent, attempt: Option<u32>) {
        if let Some(lane) = self.lanes.get(lane as usize).or_else(|| self.lanes.first()) {
            lane.send(epoch, event, attempt);
        }
    }

    fn replace_failed(&mut self, lane: u32) -> Result<(), TransportError> {
        let ended = self.lanes.get(lane as usize).is_some_and(Lane::has_ended);
        if ended { self.abandon(lane) } else { Ok(()) }
    }

    fn abandon(&mut self, lane: u32) -> Result<(), TransportError> {
        let fresh = self.lane(lane);
        if let Some(lane) = self.lanes.get_mut(lane as usize) {
            *lane = fresh;
        }
        Ok(())
    }

    fn partitions(&self, _: u32, patience: Duration) -> BoxFuture<Option<Vec<PartitionState>>> {
        // The one server has all of them.
        let state = |partition| PartitionState { partition, leader: 0, replicas: 1, in_sync: 1 };
        let asked = self.ask(patience)();
        Box::pin(async move {
            let partitions = i32::try_from(asked.await??).ok()?;
            Some((0..partitions).map(state).collect())
        })
    }

    fn probe(&self, patience: Duration) -> Probe {
        let ask = self.ask(patience);
        Box::new(move || {
            let asked = ask();
            Box::pin(async move { asked.await.is_some() })
        })
    }
}

impl From<RedisError> for TransportError {
    fn from(error: RedisError) -> Self {
        Self(describe(&error))
    }
}

/// As it is now; made if it is missing.
async fn topic(shared: &Shared) -> RedisResult<StreamTopic> {
    let mut connection = connect(&shared.settings.redis, shared.settings.delivery_timeout).await?;
    Ok(StreamTopic::read(&mut connection, &shared.settings, Uuid::new_v4()).await?.0)
}
