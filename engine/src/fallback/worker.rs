//! The apalis worker: its restarts, when it looks for tasks, and its cleaning up.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::backend::ext::poll_strategy::{PollSnapshot, PollStrategy, PollWith};
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::context::WorkerContext;
use apalis_core::worker::event::Event;
use apalis_core::worker::ext::event_listener::EventListenerExt;
use apalis_redis::RedisStorage;
use chrono::{DateTime, Utc};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::schedule::PublishBacklog;
use super::{FallbackError, Inner, Verdict, WorkerEvent};

/// How soon a due job is noticed that this process does not know of. Others are noticed on time.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Pause before a worker that has ended is started again.
const RESTART_DELAY: Duration = Duration::from_millis(500);
/// How long a running job may take to end at shutdown. If it has not ended by then, another instance takes it over.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(3);
/// Pause between a job and a sweep, since apalis acknowledges the job after it ends; and the most sweeps for a job.
const SWEEP_DELAY: Duration = Duration::from_millis(200);
const SWEEPS_MAX: u32 = 10;

pub(super) async fn run<F, Fut>(
    inner: Arc<Inner>,
    run: F,
    on_event: impl Fn(WorkerEvent) + Send + Sync + 'static,
    mut shutdown: watch::Receiver<bool>,
) where
    F: Fn(u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    let tell = Box::new(on_event);
    let health = Mutex::new(Health::Unknown);
    let runner =
        Arc::new(Runner { inner, run, tell, health, shutdown: shutdown.clone(), ended: Notify::new() });
    let mut dead = None;
    while !stopping(&shutdown) {
        // A new name: apalis keeps every name for some seconds, and refuses it meanwhile.
        let worker =
            WorkerContext::new(&format!("{}-{}", runner.inner.settings.instance, Uuid::now_v7().simple()));
        let life = async {
            if let Some(dead) = &dead {
                runner.inner.schedule.leave(dead).await?;
            }
            dead = None;
            runner.inner.schedule.enter(&worker).await?;
            dead = Some(worker.clone());
            live(&runner, worker.clone(), &mut shutdown).await
        };
        // A panic inside apalis must not end the worker for good.
        match AssertUnwindSafe(life).catch_unwind().await {
            Ok(Ok(())) => break,
            Ok(Err(error)) => runner.down(error.to_string()),
            Err(_) => runner.down("the apalis worker panicked".into()),
        }
        tokio::select! {
            () = sleep(RESTART_DELAY) => {}
            () = stop_wanted(&mut shutdown) => {}
        }
    }
    if let Some(dead) = dead {
        // So that other workers need not wait until they notice. If Redis is down they have to.
        let _ = runner.inner.schedule.leave(&dead).await;
        let _ = runner.inner.schedule.tidy().await;
    }
}

pub(super) fn stopping(shutdown: &watch::Receiver<bool>) -> bool {
    *shutdown.borrow() || shutdown.has_changed().is_err()
}

async fn stop_wanted(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and so is the owner.
    let _ = shutdown.wait_for(|wanted| *wanted).await;
}

/// One life of the apalis worker. `Ok`: it was told to stop.
async fn live<F, Fut>(
    runner: &Arc<Runner<F>>,
    context: WorkerContext,
    shutdown: &mut watch::Receiver<bool>,
) -> Result<(), FallbackError>
where
    F: Fn(u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    let schedule = &runner.inner.schedule;
    let connection = schedule.connect_worker().await?;
    let storage = RedisStorage::<PublishBacklog, _>::new(connection).with_config(schedule.config().clone());
    let (listener, handler) = (Arc::clone(runner), Arc::clone(runner));
    let worker = WorkerBuilder::new(context.clone())
        .backend(PollWith::new(storage, Ticks::new(runner.inner.alarm.subscribe())))
        .on_event(move |_, event| match event {
            Event::HeartBeat => listener.heartbeat(),
            Event::Error(error) => error!(%error, "A task of the fallback queue failed"),
            _ => {}
        })
        .build(move |_: PublishBacklog, task: TaskId| {
            let runner = Arc::clone(&handler);
            async move { runner.work(&task.to_string()).await }
        });
    let mut running = pin!(worker.run());
    tokio::select! {
        // The worker must not end by itself, whatever it returns.
        ended = &mut running => {
            let why = ended.err().map_or_else(|| "the worker ended".to_owned(), |error| error.to_string());
            return Err(FallbackError::Apalis(why));
        }
        never = runner.sweep() => match never {},
        () = stop_wanted(shutdown) => {}
    }
    if context.stop().is_ok() {
        let _ = timeout(SHUTDOWN_PATIENCE, running).await;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Unknown,
    Up,
    Down { heartbeats: u32 },
}

/// Carries out the jobs of all lives of one worker.
pub(super) struct Runner<F> {
    pub(super) inner: Arc<Inner>,
    pub(super) run: F,
    pub(super) tell: Box<dyn Fn(WorkerEvent) + Send + Sync>,
    health: Mutex<Health>,
    pub(super) shutdown: watch::Receiver<bool>,
    /// A task has ended and is about to be acknowledged.
    pub(super) ended: Notify,
}

impl<F> Runner<F> {
    async fn sweep(&self) -> Infallible {
        loop {
            self.ended.notified().await;
            for _ in 0..SWEEPS_MAX {
                sleep(SWEEP_DELAY).await;
                if let Ok(0) = self.inner.schedule.tidy().await {
                    break;
                }
            }
        }
    }

    fn heartbeat(&self) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        *health = match *health {
            Health::Up => return,
            // The first heartbeat is the registration. It does not end an outage: the worker may die right after it.
            Health::Down { heartbeats: 0 } => Health::Down { heartbeats: 1 },
            Health::Unknown | Health::Down { .. } => Health::Up,
        };
        if *health == Health::Up {
            info!("The fallback worker is connected to Redis");
            (self.tell)(WorkerEvent::Up);
        }
    }

    fn down(&self, why: String) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let known = matches!(*health, Health::Down { .. });
        *health = Health::Down { heartbeats: 0 };
        if known {
            return debug!(why, "The fallback worker is still down");
        }
        warn!(why, "The fallback worker has lost Redis; it keeps trying");
        (self.tell)(WorkerEvent::Down(why));
    }
}

/// When apalis looks for due tasks: at an interval, when the alarm goes off, and when it is set.
struct Ticks(Pin<Box<dyn Stream<Item = ()> + Send>>);

impl Ticks {
    fn new(alarm: watch::Receiver<Option<DateTime<Utc>>>) -> Self {
        let ticks = stream::unfold(alarm, |mut alarm| async move {
            let due_at = *alarm.borrow_and_update();
            let due_in = due_at.and_then(|due_at| (due_at - Utc::now()).to_std().ok());
            let wait = due_in.filter(|wait| !wait.is_zero()).unwrap_or(POLL_INTERVAL).min(POLL_INTERVAL);
            tokio::select! {
                // An error would repeat itself at once, so it is ignored.
                Ok(()) = alarm.changed() => {}
                () = sleep(wait) => {}
            }
            Some(((), alarm))
        });
        Self(Box::pin(ticks))
    }
}

impl PollStrategy for Ticks {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut ticked = false;
        // Polls to the end, so that the next tick wakes this task. A tick may have come during a fetch that did not see it, so look
        // once more.
        while let Poll::Ready(Some(())) = self.0.poll_next_unpin(cx) {
            ticked = true;
        }
        if !ticked {
            return Poll::Pending;
        }
        cx.waker().wake_by_ref();
        Poll::Ready(Some(()))
    }
}
