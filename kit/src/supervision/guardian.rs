//! The Guardian: starts every long-lived actor, is notified when one ends, and restarts it (one for one) with back-off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use futures_util::stream::unfold;
use metrics::{counter, describe_counter};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::child::{ChildEnded, Lifeline};
use super::dashboard;
use super::part::{Part, Supervise};
use super::vitals::{ActorReport, Vitals};
use crate::backoff::Backoff;
use crate::telemetry::LogFormat;

/// First restart after 50 ms, then doubling: quick for a single panic, no busy loop for a lasting cause.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(5) };
/// An actor that lived this long is healthy: its next restart starts from the base again.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// Every change is logged as a line. The whole table follows it at most once in this time, so that an actor that keeps crashing
/// does not fill the disk.
const TABLE_PAUSE: Duration = Duration::from_secs(5);

struct Supervised {
    vitals: Arc<Vitals>,
    part: Box<dyn Part>,
    epoch: u64,
    failures_in_a_row: u32,
}

/// Settings of a Guardian.
#[derive(Debug, Clone, Copy)]
pub struct GuardianSettings {
    /// Between two dashboards in the log; changes come as they happen.
    pub dashboard_interval: Duration,
    /// How the log is written, and so the dashboard.
    pub format: LogFormat,
    /// The metric that counts restarts, by actor.
    pub restarts_metric: &'static str,
}

/// The actor that starts all others, and starts them again.
pub struct Guardian {
    children: Vec<Supervised>,
    settings: GuardianSettings,
    logged_at: Option<Instant>,
    stopping: bool,
}

impl Guardian {
    /// Supervises nothing yet: see [`Supervise`].
    pub fn new(settings: GuardianSettings) -> Self {
        describe_counter!(settings.restarts_metric, "Restarts of supervised actors, by actor");
        Self { children: Vec::new(), settings, logged_at: None, stopping: false }
    }

    fn start_child(&mut self, index: usize, ctx: &mut Context<Self>) {
        let guardian = ctx.address().recipient();
        let Some(child) = self.children.get_mut(index) else { return };
        child.epoch += 1;
        child.vitals.up();
        child.part.start(Lifeline::new(guardian, index, child.epoch, &child.vitals));
    }

    fn log_dashboard(&mut self, reason: &str) {
        self.logged_at = Some(Instant::now());
        dashboard::log(reason, &self.reports(), self.settings.format);
    }

    fn log_change(&mut self, reason: &str) {
        if self.logged_at.is_none_or(|at| at.elapsed() >= TABLE_PAUSE) {
            self.log_dashboard(reason);
        }
    }

    fn reports(&self) -> Vec<ActorReport> {
        self.children.iter().map(|child| child.vitals.report()).collect()
    }
}

impl Actor for Guardian {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.settings.dashboard_interval, |guardian, _| guardian.log_dashboard("interval"));
        match signal(SignalKind::user_defined1()) {
            Ok(requests) => {
                let requests = unfold(requests, async |mut requests| {
                    requests.recv().await.map(|()| (DashboardRequested, requests))
                });
                ctx.add_stream(requests);
            }
            Err(error) => warn!(%error, "SIGUSR1 cannot be heard; the dashboard comes at its interval alone"),
        }
    }
}

/// SIGUSR1 was received.
struct DashboardRequested;

impl StreamHandler<DashboardRequested> for Guardian {
    fn handle(&mut self, _: DashboardRequested, _: &mut Self::Context) {
        self.log_dashboard("SIGUSR1");
    }
}

impl Handler<Supervise> for Guardian {
    type Result = ();

    fn handle(&mut self, Supervise { vitals, part }: Supervise, ctx: &mut Self::Context) {
        // A counter that appears late hides its first increments.
        counter!(self.settings.restarts_metric, "actor" => vitals.name().to_owned()).absolute(0);
        self.children.push(Supervised { vitals, part, epoch: 0, failures_in_a_row: 0 });
        self.start_child(self.children.len() - 1, ctx);
    }
}

impl Handler<ChildEnded> for Guardian {
    type Result = ();

    fn handle(&mut self, down: ChildEnded, ctx: &mut Self::Context) {
        let Some(child) = self.children.get_mut(down.child) else { return };
        // A late message about an earlier life of this child must not restart the present one.
        if down.epoch != child.epoch {
            return;
        }
        child.part.ended();
        if self.stopping {
            child.vitals.stopped();
            return;
        }
        let cause = down.cause.unwrap_or_else(|| "stopped by itself".to_owned());
        if child.vitals.uptime() >= HEALTHY_AFTER {
            child.failures_in_a_row = 0;
        }
        child.failures_in_a_row = child.failures_in_a_row.saturating_add(1);
        let backoff = BACKOFF.ceiling(child.failures_in_a_row);
        let restarts = child.vitals.restarted();
        let actor = child.vitals.name().to_owned();
        counter!(self.settings.restarts_metric, "actor" => actor.clone()).increment(1);
        warn!(
            actor,
            restarts,
            backoff_ms = u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX),
            cause,
            "An actor went down; restarting it"
        );
        child.vitals.down(cause);
        self.log_change("an actor went down");
        ctx.run_later(backoff, move |guardian, ctx| {
            if !guardian.stopping {
                guardian.start_child(down.child, ctx);
                info!(actor, restarts, "An actor runs again");
                guardian.log_change("an actor was restarted");
            }
        });
    }
}

/// Asks for the supervision tree, one row an actor.
#[derive(Message)]
#[rtype(result = "Vec<ActorReport>")]
pub struct GetActors;

impl Handler<GetActors> for Guardian {
    type Result = MessageResult<GetActors>;

    fn handle(&mut self, _: GetActors, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.reports())
    }
}

/// Crashes the child of this name; false when there is none or it is down.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct CrashChild(pub String);

impl Handler<CrashChild> for Guardian {
    type Result = bool;

    fn handle(&mut self, CrashChild(name): CrashChild, _: &mut Self::Context) -> bool {
        self.children.iter().find(|child| child.vitals.name() == name).is_some_and(|child| child.part.crash())
    }
}

/// The service is stopping: a part that ends from now on is not restarted.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopRestarting;

impl Handler<StopRestarting> for Guardian {
    type Result = ();

    fn handle(&mut self, _: StopRestarting, _: &mut Self::Context) {
        self.stopping = true;
        info!("Supervision ends: the service is stopping");
    }
}
