//! The worker that runs the fallback job, as a supervised actor: it passes the job on to this instance's publisher.

use actix::prelude::*;
use kit::supervision::{Child, Crash, Lifeline};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{info, warn};

use super::Publisher;
use super::attempts::{JobRescheduled, RunRetry, milliseconds_until};
use crate::fallback::{Fallback, Verdict, WorkerEvent};

pub struct FallbackWorker {
    fallback: Fallback,
    publisher: Child<Publisher>,
    runtime: Handle,
    lifeline: Lifeline,
    /// Ends the worker when this actor ends.
    stop: watch::Sender<bool>,
}

impl FallbackWorker {
    pub fn new(fallback: Fallback, publisher: Child<Publisher>, runtime: Handle, lifeline: Lifeline) -> Self {
        Self { fallback, publisher, runtime, lifeline, stop: watch::Sender::new(false) }
    }
}

impl Actor for FallbackWorker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (fallback, publisher, actor) = (self.fallback.clone(), self.publisher.clone(), ctx.address());
        let shutdown = self.stop.subscribe();
        self.runtime.spawn(async move {
            let run = move |attempt| {
                let publisher = publisher.clone();
                // A publisher that dies during the attempt has not finished it: the job continues.
                async move { publisher.ask(RunRetry { attempt }).await.unwrap_or(Verdict::Again) }
            };
            let tell = move |event: WorkerEvent| actor.do_send(event);
            fallback.run_worker(run, tell, shutdown).await;
        });
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.stop.send_replace(true);
    }
}

impl Message for WorkerEvent {
    type Result = ();
}

impl Handler<WorkerEvent> for FallbackWorker {
    type Result = ();

    fn handle(&mut self, event: WorkerEvent, _: &mut Self::Context) {
        let vitals = self.lifeline.vitals();
        match event {
            WorkerEvent::Up => vitals.detail("redis", "up"),
            WorkerEvent::Down(error) => {
                vitals.detail("redis", "down");
                vitals.failed(error);
            }
            WorkerEvent::JobStarted { attempt } => info!(attempt, "Running the retry job"),
            WorkerEvent::Rescheduled(scheduled) => {
                warn!(
                    attempt = scheduled.attempt,
                    due_at = %scheduled.due_at,
                    next_in_ms = milliseconds_until(scheduled.due_at),
                    "The retry job is rescheduled"
                );
                self.publisher.tell(JobRescheduled(scheduled));
            }
            WorkerEvent::Finished { attempts } => {
                info!(attempts, "The retry job is done: the backlog is published")
            }
        }
    }
}

/// The process is stopping: run no more jobs.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopWorker;

impl Handler<StopWorker> for FallbackWorker {
    type Result = ();

    fn handle(&mut self, _: StopWorker, ctx: &mut Self::Context) {
        let _handling = self.lifeline.handling();
        ctx.stop();
    }
}

impl Handler<Crash> for FallbackWorker {
    type Result = ();

    fn handle(&mut self, crash: Crash, _: &mut Self::Context) {
        crash.now()
    }
}
