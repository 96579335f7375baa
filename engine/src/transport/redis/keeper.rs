//! The keeper: makes the topic, watches it, and opens the gate once the streams have what was published before.
//!
//! # What is known, and where
//! - The cursor, in Postgres: what is published.
//! - `published_seq` in `{topic}:position`: up to there the streams have every event. It is written behind the cursor, twice a second,
//!   and only if nothing was lost. Redis keeps it or loses it together with the entries before it. So what lies between it and the
//!   cursor is all that a restart can have lost.
//! - `appended` there: the number of appends. A tenure knows how many it was told of. If Redis has fewer, the streams have lost their end.
//! - In memory: what was delivered beyond the cursor, or late ([`super::unconfirmed`]).
//!
//! # When the streams are not what they were
//! The gate closes. The next tenure sends the lost events again, in position order, and only then opens the gate. Meanwhile the lanes
//! wait, as for a slow broker. If nobody publishes, the keeper of any instance does it once no tenure has confirmed for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, error, info};
use uuid::Uuid;

use super::answer::{Outcome, describe, outcome};
use super::checkpoints::{self, Common, Cursor};
use super::connection::connect;
use super::gate::{Refusal, Tenure};
use super::restore::{Restoration, RestoreError, cursor, retained_from};
use super::script::{self, TAKE};
use super::shared::Shared;
use super::topic::{StreamPosition, StreamTopic};
use crate::journal::{ReadError, Reader};
use crate::metric;
use crate::transport::TopicHistory;

/// Between two looks. What was published since the last one is published again after a takeover.
const PAUSE: Duration = Duration::from_millis(500);
/// For one answer of Redis.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks whether the lanes have read every answer.
const SETTLE_PAUSE: Duration = Duration::from_millis(5);
/// A position that no tenure has confirmed for so many seconds may be completed by any instance.
const ABANDONED_SECONDS: i64 = 5;

/// The topic's id and partitions, its appends, up to where it has every event, and its checkpoints.
type Taken = (String, u32, i64, Option<i64>, Option<String>);

pub(super) struct Keeper {
    shared: Arc<Shared>,
    reader: Reader,
    history: TopicHistory,
    connection: Option<MultiplexedConnection>,
    /// The topic that was last written into the history.
    recorded: Option<StreamTopic>,
    /// The last tenure of this process.
    tenure: Option<Arc<Tenure>>,
    /// Events of a former topic that were not sent again.
    lost_events: i64,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, reader: Reader) -> Self {
        let history = TopicHistory::new(reader.clone());
        Self { shared, reader, history, connection: None, recorded: None, tenure: None, lost_events: 0 }
    }

    /// Until it is dropped.
    pub(super) async fn run(mut self) {
        self.shared.gate.begin();
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                () = shared.gate.wanted() => self.take().await,
                _ = ticks.tick() => {
                    if let Err(error) = self.look().await {
                        // An outage, which the publisher logs.
                        debug!(%error, "The streams cannot be looked at");
                        self.disconnect(&error);
                    }
                }
            }
        }
    }

    async fn connected(&mut self) -> RedisResult<MultiplexedConnection> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let fresh = connect(&self.shared.settings.redis, PATIENCE).await?;
        self.connection = Some(fresh.clone());
        Ok(fresh)
    }

    fn disconnect(&mut self, error: &RestoreError) {
        let had_connected = self.connection.take().is_some();
        if had_connected && matches!(error, RestoreError::Redis(error) if error.is_io_error()) {
            self.shared.connection_failed();
        }
    }

    async fn look(&mut self) -> Result<(), RestoreError> {
        let mut connection = self.connected().await?;
        let (topic, position) =
            StreamTopic::read(&mut connection, &self.shared.settings, Uuid::new_v4()).await?;
        let published = cursor(&self.reader).await?;
        if self.recorded != Some(topic) {
            self.record(topic).await?;
        }
        let is_wanted = match self.shared.gate.tenure() {
            Some(tenure) => self.confirm(&mut connection, &tenure, published).await?,
            None => {
                position.unconfirmed_seconds > ABANDONED_SECONDS && self.lacks(position, published).await?
            }
        };
        // Without a tenure in hand, whose end it waits for.
        if is_wanted {
            self.take().await;
        }
        if self.lost_events > 0 && self.shared.gate.tenure().is_some() {
            self.history.replayed(&topic.identity(), published.seq).await?;
            self.lost_events = self.history.lost(&topic.identity()).await?;
        }
        metric::topic(topic.identity().partitions, 0, self.lost_events);
        Ok(())
    }

    /// Whether the streams may lack what is published.
    async fn lacks(&self, position: StreamPosition, published: Cursor) -> Result<bool, ReadError> {
        let is_behind = position.published_seq < published.seq;
        Ok(is_behind
            || checkpoints::common(&self.reader, position.newest.as_slice()).await? != Common::Everything)
    }

    /// Whether the streams are to be taken over anew.
    async fn confirm(
        &self,
        connection: &mut MultiplexedConnection,
        tenure: &Tenure,
        published: Cursor,
    ) -> Result<bool, RestoreError> {
        let confirmed = script::confirm(connection, &self.shared.settings, tenure, published).await;
        match confirmed {
            Ok(()) => {
                self.shared.unconfirmed.confirmed(published.seq, Instant::now());
                Ok(false)
            }
            Err(error) if outcome(&error) == Outcome::Closed => {
                self.shared.gate.close(&tenure.token);
                // Who has superseded it restores. Whatever else happened was seen here, and is mended here.
                Ok(error.code() != Some("SUPERSEDED"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Begins a tenure, and opens the gate.
    async fn take(&mut self) {
        match self.restored().await {
            Ok(tenure) => {
                self.tenure = Some(Arc::clone(&tenure));
                self.shared.gate.open(tenure);
            }
            Err(error) => {
                self.disconnect(&error);
                debug!(%error, "The streams cannot be taken over");
                self.shared.gate.failed(Refusal::from(&error));
            }
        }
    }

    async fn restored(&mut self) -> Result<Arc<Tenure>, RestoreError> {
        let mut connection = self.connected().await?;
        let to = cursor(&self.reader).await?;
        let settings = &self.shared.settings;
        let token = Uuid::new_v4().to_string();
        let mut script = TAKE.key(&settings.topic);
        script.key(settings.position_key()).arg(&token).arg(Uuid::new_v4().to_string());
        script.arg(settings.partitions);
        let (topic_id, partitions, appended, published, known): Taken =
            script.invoke_async(&mut connection).await?;
        self.lanes_settle().await;
        let tenure = Tenure::new(topic_id, token, partitions, appended);
        let from = match self.still_true(published, &known.unwrap_or_default()).await? {
            Some(published) => self.remembered_from(&tenure, published),
            None => retained_from(&self.reader, to.seq, settings.retention).await?,
        };
        if from < to.seq {
            self.shared.gate.restoring();
            info!(
                from,
                to = to.seq,
                "What was published from position {} on is sent to the streams again",
                from + 1
            );
        }
        let begun = Instant::now();
        let mut restoration = Restoration {
            shared: &self.shared,
            reader: &self.reader,
            connection: &mut connection,
            tenure: &tenure,
        };
        let sent = restoration.run(from.min(to.seq), to).await?;
        if sent > 0 {
            let took_ms = begun.elapsed().as_millis();
            info!(sent, took_ms, "The streams have every published event again");
        }
        Ok(Arc::new(tenure))
    }

    /// Up to where the streams have the journal's events, of what they were told.
    async fn still_true(&self, published: Option<i64>, known: &str) -> Result<Option<i64>, ReadError> {
        let still_true = match checkpoints::common(&self.reader, &checkpoints::parse(known)).await? {
            Common::Everything => return Ok(published),
            Common::UpTo(seq) => Some(seq),
            Common::Nothing => None,
        };
        error!(
            published_seq = published,
            still_true,
            "The journal is not the one that was published: it was set back. What it has behind that position is sent again; consumers \
             know by `ce_id` what they have had"
        );
        Ok(still_true)
    }

    /// Waits for the lanes that still read answers to the former tenure: what they were told must be known as delivered before it is
    /// compared with what the streams have.
    async fn lanes_settle(&self) {
        let Some(last) = &self.tenure else { return };
        let until = Instant::now() + self.shared.settings.delivery_timeout + PATIENCE;
        // The other one is this keeper's.
        while Arc::strong_count(last) > 1 && Instant::now() < until {
            sleep(SETTLE_PAUSE).await;
        }
    }

    /// From where on the streams may lack events, as far as they and this process know.
    fn remembered_from(&self, taken: &Tenure, published: i64) -> i64 {
        let Some(last) = self.tenure.as_ref().filter(|last| last.topic_id == taken.topic_id) else {
            return published;
        };
        let lost = last.appended() - taken.appended();
        if lost <= 0 {
            return published;
        }
        let from = published.min(self.shared.unconfirmed.position());
        error!(
            lost,
            from,
            "The streams have lost their last {lost} entries: Redis was restarted without them, or a replica that lagged was promoted. \
             What was published from position {} on is sent again, before any later event",
            from + 1
        );
        from
    }

    async fn record(&mut self, topic: StreamTopic) -> Result<(), ReadError> {
        let (name, identity) = (&self.shared.settings.topic, topic.identity());
        // Only the instance that writes the change first gets it.
        if let Some(change) = self.history.record(name, &identity).await? {
            change.log(name, &identity, |lost_seq| {
                format!(
                    "The topic was made anew: its streams are gone, with what was published up to position {lost_seq}. What is not older \
                     than the topic's retention time is sent again, before any later event"
                )
            });
        }
        self.recorded = Some(topic);
        self.lost_events = self.history.lost(&identity).await?;
        Ok(())
    }
}

impl From<&RestoreError> for Refusal {
    fn from(error: &RestoreError) -> Self {
        match error {
            RestoreError::Redis(error) => Self { cause: describe(error), unreachable: error.is_io_error() },
            RestoreError::Journal(error) => Self { cause: error.to_string(), unreachable: false },
        }
    }
}
