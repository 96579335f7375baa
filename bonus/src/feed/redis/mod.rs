//! Entries from Redis Streams. Every process of the group reads every stream, and Redis gives each entry to one of them.
//!
//! An entry that was given to a consumer is pending until it is acknowledged, which happens after its effect is committed. What a
//! process has left pending for the session's time is taken over by the others. So an entry may be credited by two processes, and
//! entries of one order side by side: the ledger books an event once, and the balance does not depend on the order (ADR 16).
//!
//! The connection is a blocking one, on the feed's thread. Its waits are bounded, so that answers of the actor and a stop are noticed.

mod group;
mod start;
mod taking;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kit::backoff::Pauses;
use kit::redis::RedisServer;
use redis::{Connection, RedisError, RedisResult};
use tokio::runtime::Handle;
use tracing::{debug, info, warn};

use self::group::{Group, Place, Remove};
use self::watch::Repeats;
use super::Intake;
use super::connection::ConnectionReport;
use super::memory::TopicMemory;
use crate::batch::Batch;
use crate::config::{Config, Mq};
use crate::health::HealthBoard;
use crate::streams::{self, EntryId, TopicIdentity};

/// Between two attempts to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
const CONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Between two attempts to find out what is to be read.
const SETTLE_PAUSE: Duration = Duration::from_millis(250);
const SETTLE_PAUSE_MAX: Duration = Duration::from_secs(4);
/// What an entry is expected to take before any was read.
const ENTRY_BYTES: usize = 4 * 1024;

/// How far the entries of one stream were asked for. `None`: all were.
struct StreamProgress {
    /// Of those that this consumer was given earlier.
    own_behind: Option<EntryId>,
    /// Of those that others have left.
    claim_from: Option<EntryId>,
}

pub struct RedisIntake {
    server: RedisServer,
    group: Group,
    topic_name: Arc<str>,
    /// How long a consumer may leave an entry before others take it over.
    session_timeout: Duration,
    batch_messages_max: usize,
    report: ConnectionReport,
    memory: TopicMemory,
    connection: Option<Connection>,
    connect_at: Option<Instant>,
    connect_pauses: Pauses,
    /// Which topic is read; `None` until that is settled.
    topic: Option<TopicIdentity>,
    settle_at: Option<Instant>,
    settle_pauses: Pauses,
    unsettled: Repeats,
    /// By partition.
    streams: BTreeMap<i32, StreamProgress>,
    looked_at: Option<Instant>,
    /// Entries that were taken and not handed over; that the actor has; that have taken effect.
    gathered: BTreeSet<Place>,
    in_hand: BTreeSet<Place>,
    credited: BTreeSet<Place>,
    /// When it was last certain that nobody else takes over what is in hand.
    held_at: Instant,
    /// The largest entry of late.
    entry_bytes: usize,
    paused: bool,
}

impl RedisIntake {
    pub fn new(config: &Config, consumer: String, health: HealthBoard, runtime: Handle) -> Self {
        let topic = config.topics.orders_topic.clone();
        Self {
            server: config.topics.redis.server(),
            topic_name: topic.as_str().into(),
            group: Group { topic, name: config.group_id.clone(), consumer },
            session_timeout: config.session_timeout(),
            batch_messages_max: config.batch_messages_max(),
            report: ConnectionReport::new(Mq::Redis, health),
            memory: TopicMemory::new(config, runtime),
            connection: None,
            connect_at: None,
            connect_pauses: Pauses::new(CONNECT_PAUSE, CONNECT_PAUSE_MAX),
            topic: None,
            settle_at: None,
            settle_pauses: Pauses::new(SETTLE_PAUSE, SETTLE_PAUSE_MAX),
            unsettled: Repeats::default(),
            streams: BTreeMap::new(),
            looked_at: None,
            gathered: BTreeSet::new(),
            in_hand: BTreeSet::new(),
            credited: BTreeSet::new(),
            held_at: Instant::now(),
            entry_bytes: ENTRY_BYTES,
            paused: false,
        }
    }

    fn connect(&mut self) -> RedisResult<()> {
        if self.connection.is_some() || self.connect_at.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        let mut connection = streams::connect(&self.server)?;
        streams::require_version(&mut connection)?;
        self.connection = Some(connection);
        // Before the outage Redis may have given entries to this consumer in an answer that never arrived.
        self.streams.values_mut().for_each(|stream| stream.own_behind = Some(EntryId::START));
        self.looked_at = None;
        Ok(())
    }

    /// Whatever it was: a fresh connection finds out. After a failover the address leads to another server.
    fn failed(&mut self, error: &RedisError) {
        if streams::is_group_missing(error) {
            debug!(%error, "A stream or its group is gone");
            return self.unsettle();
        }
        self.connection = None;
        self.connect_at = Some(Instant::now() + self.connect_pauses.pause());
        self.report.unreachable(&error.to_string());
    }

    /// What was taken belongs to groups that may be gone: in new ones it is pending for nobody, or for this consumer, which then reads
    /// it again.
    fn unsettle(&mut self) {
        self.topic = None;
        self.gathered.clear();
        self.in_hand.clear();
        self.credited.clear();
    }

    fn acknowledge(&mut self) -> RedisResult<()> {
        let Some(connection) = self.connection.as_mut().filter(|_| !self.credited.is_empty()) else {
            return Ok(());
        };
        self.group.acknowledge(connection, &self.credited)?;
        self.credited.clear();
        Ok(())
    }

    /// Nobody is to take over what waits for Postgres here. That would do no harm, but every process would do it, again and again.
    fn hold(&mut self) -> RedisResult<()> {
        let is_due = self.held_at.elapsed() >= self.session_timeout / 3 && !self.in_hand.is_empty();
        let Some(connection) = self.connection.as_mut().filter(|_| is_due) else { return Ok(()) };
        self.held_at = Instant::now();
        self.group.set_idle(connection, &self.in_hand, Duration::ZERO)?;
        self.group.set_idle(connection, &self.gathered, Duration::ZERO)
    }

    fn leave(&mut self) -> RedisResult<()> {
        self.acknowledge()?;
        let Some(connection) = self.connection.as_mut() else { return Ok(()) };
        if !self.gathered.is_empty() {
            // Others need not wait for the session's time.
            self.group.set_idle(connection, &self.gathered, self.session_timeout)?;
        }
        for partition in self.streams.keys() {
            self.group.remove(connection, *partition, Remove::Own)?;
        }
        Ok(())
    }
}

impl Intake for RedisIntake {
    /// Whatever Redis does, the next attempt may do better.
    type Error = Infallible;

    fn attend(&mut self) -> Result<(), Infallible> {
        let steps = [Self::connect, Self::settle, Self::acknowledge, Self::hold, Self::look];
        if let Err(error) = steps.into_iter().try_for_each(|step| step(self)) {
            self.failed(&error);
        }
        Ok(())
    }

    fn take(&mut self, wait: Duration, batch: &mut Batch) -> bool {
        if self.paused {
            return false;
        }
        self.take_some(wait, batch).unwrap_or_else(|error| {
            self.failed(&error);
            false
        })
    }

    fn handed_over(&mut self) {
        self.in_hand = std::mem::take(&mut self.gathered);
        self.held_at = Instant::now();
    }

    fn credited(&mut self) {
        self.credited.append(&mut self.in_hand);
    }

    fn pause(&mut self) {
        if !std::mem::replace(&mut self.paused, true) {
            info!("The consumer is paused until the batch in hand is done");
        }
    }

    fn resume(&mut self) {
        if std::mem::replace(&mut self.paused, false) {
            info!("The consumer goes on");
        }
    }

    fn finish(&mut self) {
        self.report.closing();
        if let Err(error) = self.leave() {
            warn!(%error, "The last entries could not be acknowledged; they will come again");
        }
    }
}
