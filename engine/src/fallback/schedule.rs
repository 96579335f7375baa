//! The Redis side: the record of the pending job, and the apalis tasks that wake us for it.
//!
//! Keys, with `{q}` for the queue. Ours: `{q}:outage`, a hash (`task`, `outage`, `attempt`, `due_at_ms`, `hand_offs`,
//! `wanted_attempt`, `forwards`). apalis': `{q}:data` payload by task, `{q}:meta:<task>`, `{q}:scheduled` by whole second of the due
//! time, `{q}:active`, `{q}:inflight:<worker>`, `{q}:done`, `{q}:dead`, `{q}:workers` by last heartbeat, `{q}:workers:metadata:<worker>`.
//! Our scripts touch apalis' keys where it offers no way of its own: to move a date, to delete what it keeps for ever.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::context::WorkerContext;
use apalis_redis::{Config, queries};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisResult, Script};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{CALL_PATIENCE, FallbackError, Scheduled};

/// For one answer to a caller; two of them fit into [`CALL_PATIENCE`] nearly.
const ANSWER_PATIENCE: Duration = Duration::from_millis(500);
/// For one answer to the worker, which has time: being cut off costs it a restart.
const WORKER_PATIENCE: Duration = Duration::from_secs(1);
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);
/// A worker that dies is replaced after three beats, and up to one more second since apalis counts whole ones.
const HEARTBEAT: Duration = Duration::from_secs(1);
const HEARTBEATS_MISSED_MAX: usize = 3;
/// A task whose pusher was killed before it could name it is thrown away after so long.
const PARKED: Duration = Duration::from_secs(60);
/// The name of a worker that was killed is remembered for so long.
const WORKER_METADATA_SECONDS: i64 = 3_600;
/// Most tasks a sweep looks at in each place: a bound on how long it blocks Redis, far above what is ever there.
const SWEEP_MAX: usize = 1_000;

macro_rules! script {
    ($name:ident, $file:literal) => {
        static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!($file)));
    };
}
script!(CURRENT, "lua/current.lua");
script!(CLAIM, "lua/claim.lua");
script!(REPLACE, "lua/replace.lua");
script!(FORWARD, "lua/forward.lua");
script!(TIDY, "lua/tidy.lua");
script!(LEAVE, "lua/leave.lua");

/// The payload of the apalis task: for the eye. What counts is the record, which can change while the task waits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PublishBacklog {
    outage: Uuid,
    attempt: u32,
    due_at: DateTime<Utc>,
}

/// A task to be, with the record it would have.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    task: String,
    pub(super) outage: Uuid,
    attempt: u32,
    due_at: DateTime<Utc>,
}

impl Planned {
    pub(super) fn at(due_at: DateTime<Utc>, attempt: u32) -> Self {
        let (task, outage) = (Uuid::now_v7().to_string(), Uuid::now_v7());
        Self { task, outage, attempt, due_at: due_at.trunc_subsecs(3) }
    }

    pub(super) fn after(delay: Duration, attempt: u32) -> Self {
        let due_at = TimeDelta::from_std(delay).ok().and_then(|delay| Utc::now().checked_add_signed(delay));
        Self::at(due_at.unwrap_or(DateTime::<Utc>::MAX_UTC), attempt)
    }

    pub(super) fn of_outage(self, outage: Uuid) -> Self {
        Self { outage, ..self }
    }

    pub(super) fn scheduled(&self) -> Scheduled {
        Scheduled { attempt: self.attempt, due_at: self.due_at }
    }
}

/// The pending job as read from Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) task: String,
    pub(super) outage: Uuid,
    pub(super) attempt: u32,
    pub(super) due_at: DateTime<Utc>,
    /// How often it was handed off again since this task was planned, and the attempt asked for last.
    pub(super) hand_offs: u64,
    pub(super) wanted_attempt: u32,
    pub(super) forwards: u64,
}

type Fields = Option<(String, String, u32, i64, u64, u32, u64)>;

impl Record {
    fn parse(fields: Fields) -> Option<Self> {
        let (task, outage, attempt, due_at_ms, hand_offs, wanted_attempt, forwards) = fields?;
        let due_at = DateTime::from_timestamp_millis(due_at_ms)?;
        let outage = outage.parse().unwrap_or_default();
        Some(Self { task, outage, attempt, due_at, hand_offs, wanted_attempt, forwards })
    }

    pub(super) fn scheduled(&self) -> Scheduled {
        Scheduled { attempt: self.attempt, due_at: self.due_at }
    }
}

#[derive(Debug)]
pub(super) struct Schedule {
    client: Client,
    config: Config,
    record: String,
    /// Not a `ConnectionManager`: the first call after an outage would get the error of that one's last vain reconnection.
    idle: Mutex<Option<MultiplexedConnection>>,
}

impl Schedule {
    pub(super) fn new(redis_url: &str, queue: &str) -> Result<Self, FallbackError> {
        let config = Config::default()
            .queue(queue)
            .batch_size(1)
            .heartbeat_interval(HEARTBEAT)
            .missed_heartbeats(HEARTBEATS_MISSED_MAX)
            // A fetch puts the task into its worker's set, which is all that a take-over needs.
            .lock_tasks(false)
            .emit_events(false);
        Ok(Self {
            client: Client::open(redis_url).map_err(FallbackError::Address)?,
            record: format!("{queue}:outage"),
            config,
            idle: Mutex::new(None),
        })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// A connection of its own for one life of the worker.
    pub(super) async fn connect_worker(&self) -> RedisResult<MultiplexedConnection> {
        self.connect(WORKER_PATIENCE).await
    }

    pub(super) async fn current(&self) -> Result<Option<Record>, FallbackError> {
        self.call(|mut redis| async move {
            let mut script = CURRENT.key(&self.record);
            let fields: Fields = script.key(self.config.job_data_hash()).invoke_async(&mut redis).await?;
            Ok(Record::parse(fields))
        })
        .await
    }

    /// Returns the job that is pending afterwards: `planned`, or the one that was pending already.
    pub(super) async fn hand_off(&self, planned: &Planned) -> Result<Record, FallbackError> {
        self.call(|redis| async move {
            if let Some(record) = self.claim(redis.clone(), planned, false).await? {
                return Ok(record);
            }
            self.push(redis.clone(), planned).await?;
            let claimed = self.claim(redis, planned, true).await?;
            claimed.ok_or_else(|| FallbackError::Apalis("the task was gone before it was named".into()))
        })
        .await
    }

    /// Puts `next` in the place of `seen`, or nothing. False: the record has changed since `seen` was read.
    pub(super) async fn replace(&self, seen: &Record, next: Option<&Planned>) -> Result<bool, FallbackError> {
        self.call(|mut redis| async move {
            let mut script = REPLACE.key(&self.record);
            script.key(self.config.scheduled_jobs_set());
            script.arg(&seen.task).arg(seen.hand_offs).arg(seen.forwards);
            if let Some(next) = next {
                // Before the record names it: a record whose task does not exist would wait for ever.
                self.push(redis.clone(), next).await?;
                script.arg(&next.task).arg(next.outage.to_string()).arg(next.attempt);
                script.arg(next.due_at.timestamp_millis());
            }
            Ok(script.invoke_async(&mut redis).await?)
        })
        .await
    }

    /// False: no job is pending.
    pub(super) async fn bring_forward(&self, now: DateTime<Utc>) -> Result<bool, FallbackError> {
        self.call(|mut redis| async move {
            let mut script = FORWARD.key(&self.record);
            script.key(self.config.job_data_hash()).key(self.config.scheduled_jobs_set());
            script.arg(now.timestamp_millis());
            Ok(script.invoke_async(&mut redis).await?)
        })
        .await
    }

    /// Returns how many tasks remain in Redis besides the pending job's.
    pub(super) async fn tidy(&self) -> Result<u64, FallbackError> {
        self.call(|mut redis| async move {
            let mut script = TIDY.key(&self.record);
            let config = &self.config;
            script.key(config.job_data_hash()).key(config.done_jobs_set()).key(config.dead_jobs_set());
            script.key(config.active_jobs_list()).key(config.scheduled_jobs_set()).key(config.workers_set());
            script.arg(config.job_meta_hash()).arg(config.inflight_jobs_set()).arg(SWEEP_MAX);
            Ok(script.invoke_async(&mut redis).await?)
        })
        .await
    }

    /// Prepares for a worker of this name, which apalis then registers.
    pub(super) async fn enter(&self, worker: &WorkerContext) -> Result<(), FallbackError> {
        self.tidy().await?;
        self.call(|mut redis| async move {
            // apalis never deletes this hash. It adds to one that is there and leaves the expiry as it is.
            let key = self.config.worker_metadata_key(worker);
            let mut pipeline = redis::pipe();
            pipeline.hset(&key, "started_at", Utc::now().to_rfc3339()).expire(&key, WORKER_METADATA_SECONDS);
            Ok(pipeline.exec_async(&mut redis).await?)
        })
        .await
    }

    /// For a worker that has certainly ended: whatever it held another may have at once.
    pub(super) async fn leave(&self, worker: &WorkerContext) -> Result<(), FallbackError> {
        self.call(|mut redis| async move {
            let mut script = LEAVE.key(self.config.workers_set());
            script.key(self.config.inflight_set_for(worker)).key(self.config.active_jobs_list());
            script.key(self.config.worker_metadata_key(worker)).arg(worker.name());
            Ok(script.invoke_async(&mut redis).await?)
        })
        .await
    }

    async fn claim(
        &self,
        mut redis: MultiplexedConnection,
        planned: &Planned,
        pushed: bool,
    ) -> Result<Option<Record>, FallbackError> {
        let mut script = CLAIM.key(&self.record);
        script.key(self.config.job_data_hash()).key(self.config.scheduled_jobs_set()).arg(planned.attempt);
        if pushed {
            script.arg(&planned.task).arg(planned.outage.to_string()).arg(planned.due_at.timestamp_millis());
        }
        Ok(Record::parse(script.invoke_async(&mut redis).await?))
    }

    /// Parks the task: far enough off that nobody meets it before the record names it, and the same script gives it its date.
    /// (apalis counts whole seconds. The date is rounded down, so that the task is at hand in time; the worker waits for the rest.)
    async fn push(&self, mut redis: MultiplexedConnection, planned: &Planned) -> Result<(), FallbackError> {
        let Planned { outage, attempt, due_at, .. } = *planned;
        let payload = serde_json::to_vec(&PublishBacklog { outage, attempt, due_at });
        let payload = payload.map_err(|error| FallbackError::Apalis(error.to_string()))?;
        let id = TaskId::from_string(planned.task.clone());
        let task = TaskBuilder::new(payload).task_id(id).run_after(PARKED).build();
        // What `RedisStorage::push_task` does, except that its error could not be told from a broken connection.
        match queries::push_tasks(&mut redis, &self.config, &[task]).await {
            Ok(_) => Ok(()),
            Err(apalis_redis::Error::Database(error)) => Err(FallbackError::Redis(error)),
            Err(error) => Err(FallbackError::Apalis(error.to_string())),
        }
    }

    /// Carries out one operation within [`CALL_PATIENCE`]. An idle connection that has died in the meantime is replaced once;
    /// every operation may be carried out twice.
    async fn call<T, Fut>(&self, operation: impl Fn(MultiplexedConnection) -> Fut) -> Result<T, FallbackError>
    where
        Fut: Future<Output = Result<T, FallbackError>>,
    {
        let attempts = async {
            // Taken, and kept again only after success: whatever has failed or hung is not met by the next call.
            let idle = self.idle().take();
            if let Some(idle) = idle {
                match operation(idle.clone()).await {
                    Err(FallbackError::Redis(error)) if error.is_io_error() && !error.is_timeout() => {}
                    outcome => return outcome.inspect(|_| *self.idle() = Some(idle)),
                }
            }
            let fresh = self.connect(ANSWER_PATIENCE).await?;
            operation(fresh.clone()).await.inspect(|_| *self.idle() = Some(fresh))
        };
        let outcome = tokio::time::timeout(CALL_PATIENCE, attempts).await;
        outcome.unwrap_or(Err(FallbackError::TimedOut))
    }

    fn idle(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self, answer_patience: Duration) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_PATIENCE))
            .set_response_timeout(Some(answer_patience));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}
