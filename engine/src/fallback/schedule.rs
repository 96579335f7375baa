//! The Redis side: the record of the pending job, and the apalis tasks that wake a worker for it.
//!
//! Keys, with `{q}` for the queue. Ours: `{q}:outage`, a hash (`task`, `outage`, `attempt`, `due_at_ms`, `hand_offs`,
//! `wanted_attempt`, `forwards`). apalis': `{q}:data` payload by task, `{q}:meta:<task>`, `{q}:scheduled` by whole second of the due
//! time, `{q}:active`, `{q}:inflight:<worker>`, `{q}:done`, `{q}:dead`, `{q}:workers` by last heartbeat, `{q}:workers:metadata:<worker>`.
//! The scripts change apalis' keys where it has no function for it: to move a date, and to delete what it would keep for ever.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::context::WorkerContext;
use apalis_redis::{Config, queries};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use kit::redis::RedisServer;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{CALL_PATIENCE, FallbackError, ScheduledRetry};

/// For one answer to a caller. Two of them nearly fit into [`CALL_PATIENCE`].
const ANSWER_PATIENCE: Duration = Duration::from_millis(500);
/// For one answer to the worker, which may wait longer: a timeout costs it a restart.
const WORKER_PATIENCE: Duration = Duration::from_secs(1);
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);
/// A worker that dies is replaced after three heartbeats, and up to one second more, since apalis counts whole seconds.
const HEARTBEAT: Duration = Duration::from_secs(1);
const HEARTBEATS_MISSED_MAX: usize = 3;
/// A task that was pushed and never named is discarded after this time.
const PARKED: Duration = Duration::from_secs(60);
/// How long Redis keeps the name of a worker that was killed.
const WORKER_METADATA_SECONDS: i64 = 3_600;
/// Most tasks that a sweep looks at in each key. Bounds how long it blocks Redis; far above what there can be.
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

/// The payload of the apalis task, for people who look into Redis. The record is authoritative, and can change while the task
/// waits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PublishBacklog {
    outage: Uuid,
    attempt: u32,
    due_at: DateTime<Utc>,
}

/// A job that is not in Redis yet: its task, and the record it would have.
#[derive(Clone, Debug)]
pub(super) struct NewJob {
    task: String,
    pub(super) outage: Uuid,
    attempt: u32,
    due_at: DateTime<Utc>,
}

impl NewJob {
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

    pub(super) fn scheduled(&self) -> ScheduledRetry {
        ScheduledRetry { attempt: self.attempt, due_at: self.due_at }
    }
}

/// The pending job as read from Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobRecord {
    pub(super) task: String,
    pub(super) outage: Uuid,
    pub(super) attempt: u32,
    pub(super) due_at: DateTime<Utc>,
    /// How often the job was handed off again since this task was made, and the attempt asked for last.
    pub(super) hand_offs: u64,
    pub(super) wanted_attempt: u32,
    pub(super) forwards: u64,
}

type Fields = Option<(String, String, u32, i64, u64, u32, u64)>;

impl JobRecord {
    fn parse(fields: Fields) -> Option<Self> {
        let (task, outage, attempt, due_at_ms, hand_offs, wanted_attempt, forwards) = fields?;
        let due_at = DateTime::from_timestamp_millis(due_at_ms)?;
        let outage = outage.parse().unwrap_or_default();
        Some(Self { task, outage, attempt, due_at, hand_offs, wanted_attempt, forwards })
    }

    pub(super) fn scheduled(&self) -> ScheduledRetry {
        ScheduledRetry { attempt: self.attempt, due_at: self.due_at }
    }
}

#[derive(Debug)]
pub(super) struct Schedule {
    redis: RedisServer,
    config: Config,
    record_key: String,
    /// Not a `ConnectionManager`: the first call after an outage would get the error of its last failed reconnection.
    idle: Mutex<Option<MultiplexedConnection>>,
}

impl Schedule {
    pub(super) fn new(redis: RedisServer, queue: &str) -> Self {
        let config = Config::default()
            .queue(queue)
            .batch_size(1)
            .heartbeat_interval(HEARTBEAT)
            .missed_heartbeats(HEARTBEATS_MISSED_MAX)
            // A fetch puts the task into its worker's set. A take-over needs no more.
            .lock_tasks(false)
            .emit_events(false);
        Self { redis, record_key: format!("{queue}:outage"), config, idle: Mutex::new(None) }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// A connection of its own for one life of the worker.
    pub(super) async fn connect_worker(&self) -> RedisResult<MultiplexedConnection> {
        self.connect(WORKER_PATIENCE).await
    }

    pub(super) async fn current(&self) -> Result<Option<JobRecord>, FallbackError> {
        self.call(|mut redis| async move {
            let mut script = CURRENT.key(&self.record_key);
            let fields: Fields = script.key(self.config.job_data_hash()).invoke_async(&mut redis).await?;
            Ok(JobRecord::parse(fields))
        })
        .await
    }

    /// Returns the job that is pending afterwards: `new_job`, or the one that was pending already.
    pub(super) async fn hand_off(&self, new_job: &NewJob) -> Result<JobRecord, FallbackError> {
        self.call(|redis| async move {
            if let Some(record) = self.claim(redis.clone(), new_job, false).await? {
                return Ok(record);
            }
            self.push(redis.clone(), new_job).await?;
            let claimed = self.claim(redis, new_job, true).await?;
            claimed.ok_or_else(|| FallbackError::Apalis("the task was gone before it was named".into()))
        })
        .await
    }

    /// Replaces the job `seen` by `next`, or ends it. False: the record has changed since `seen` was read.
    pub(super) async fn replace(
        &self,
        seen: &JobRecord,
        next: Option<&NewJob>,
    ) -> Result<bool, FallbackError> {
        self.call(|mut redis| async move {
            let mut script = REPLACE.key(&self.record_key);
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
            let mut script = FORWARD.key(&self.record_key);
            script.key(self.config.job_data_hash()).key(self.config.scheduled_jobs_set());
            script.arg(now.timestamp_millis());
            Ok(script.invoke_async(&mut redis).await?)
        })
        .await
    }

    /// Returns how many tasks remain in Redis besides the pending job's.
    pub(super) async fn tidy(&self) -> Result<u64, FallbackError> {
        self.call(|mut redis| async move {
            let mut script = TIDY.key(&self.record_key);
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
            // apalis never deletes this hash. It adds to an existing one and keeps its expiry.
            let key = self.config.worker_metadata_key(worker);
            let mut pipeline = redis::pipe();
            pipeline.hset(&key, "started_at", Utc::now().to_rfc3339()).expire(&key, WORKER_METADATA_SECONDS);
            Ok(pipeline.exec_async(&mut redis).await?)
        })
        .await
    }

    /// For a worker that has certainly ended: another worker may take its tasks at once.
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
        new_job: &NewJob,
        pushed: bool,
    ) -> Result<Option<JobRecord>, FallbackError> {
        let mut script = CLAIM.key(&self.record_key);
        script.key(self.config.job_data_hash()).key(self.config.scheduled_jobs_set()).arg(new_job.attempt);
        if pushed {
            script.arg(&new_job.task).arg(new_job.outage.to_string()).arg(new_job.due_at.timestamp_millis());
        }
        Ok(JobRecord::parse(script.invoke_async(&mut redis).await?))
    }

    /// Parks the task: its date is so far off that no worker fetches it before the record names it. The script that names it sets
    /// its date. (apalis counts whole seconds. The date is rounded down, so that the task is delivered in time; the worker waits
    /// for the rest.)
    async fn push(&self, mut redis: MultiplexedConnection, new_job: &NewJob) -> Result<(), FallbackError> {
        let NewJob { outage, attempt, due_at, .. } = *new_job;
        let payload = serde_json::to_vec(&PublishBacklog { outage, attempt, due_at });
        let payload = payload.map_err(|error| FallbackError::Apalis(error.to_string()))?;
        let id = TaskId::from_string(new_job.task.clone());
        let task = TaskBuilder::new(payload).task_id(id).run_after(PARKED).build();
        // As `RedisStorage::push_task` does, except that its error would not show whether the connection is broken.
        match queries::push_tasks(&mut redis, &self.config, &[task]).await {
            Ok(_) => Ok(()),
            Err(apalis_redis::Error::Database(error)) => Err(FallbackError::Redis(error)),
            Err(error) => Err(FallbackError::Apalis(error.to_string())),
        }
    }

    /// Carries out one operation within [`CALL_PATIENCE`]. An idle connection that has broken meanwhile is replaced once, so every
    /// operation may be carried out twice.
    async fn call<T, Fut>(&self, operation: impl Fn(MultiplexedConnection) -> Fut) -> Result<T, FallbackError>
    where
        Fut: Future<Output = Result<T, FallbackError>>,
    {
        let attempts = async {
            // Taken out, and put back only after success: the next call does not get a connection that has failed or hung.
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
        self.redis.connect(CONNECT_PATIENCE, answer_patience).await
    }
}
