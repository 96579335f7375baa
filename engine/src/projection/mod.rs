//! Runs a projection: a table derived from the journal, which follows it with its own cursor, off the write path.
//!
//! A [`Projection`] defines a step; the [`Projector`] decides when to take one. Losing a notification of commits is harmless, since
//! it also looks at an interval.

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use actix::prelude::*;
use kit::supervision::{Crash, Lifeline};
use tracing::warn;

use crate::journal::{Committed, ReadError};
use crate::metric;

/// Between two transactions of a projection that is not behind. They share the disk with the journal, and few large ones cost less.
const PAUSE: Duration = Duration::from_millis(25);
/// How often the journal is looked at when nobody here appends.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// Most types of events that are named in the log because this version does not know them.
const UNKNOWN_TYPES_MAX: usize = 100;

/// What is derived from the journal.
pub trait Projection: Clone + Send + Unpin + 'static {
    /// Applies the next events and moves the cursor past them, in one transaction, so that each event is applied once. Any instance
    /// may take a step at any time: the projection must ensure that only one does.
    fn step(&self) -> impl Future<Output = Result<Step, ReadError>> + Send;
}

/// What a step has done.
#[derive(Debug, Clone)]
pub struct Step {
    /// Events of the journal that it has not applied.
    pub lag: i64,
    /// Whether it has applied events; another instance may be taking a step.
    pub moved: bool,
    pub unknown: Vec<UnknownEvents>,
}

/// Events of one type that were passed over, because this version does not know them.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct UnknownEvents {
    pub event_type: String,
    pub events: i64,
    pub first_seq: i64,
}

pub struct Projector<P> {
    projection: P,
    lifeline: Lifeline,
    /// In a step, or in the pause after it.
    working: bool,
    more: bool,
    /// Events that this version does not know, since the actor started.
    unknown: i64,
    /// Their types, each of which is logged once.
    unknown_types: HashSet<String>,
}

impl<P: Projection> Projector<P> {
    pub fn new(projection: P, lifeline: Lifeline) -> Self {
        let unknown_types = HashSet::new();
        Self { projection, lifeline, working: false, more: false, unknown: 0, unknown_types }
    }

    /// One step at a time. Requests during a step, or in the pause after it, are served by the next step.
    fn work(&mut self, ctx: &mut Context<Self>) {
        if self.working {
            self.more = true;
            return;
        }
        (self.working, self.more) = (true, false);
        let projection = self.projection.clone();
        let step = async move { projection.step().await };
        ctx.spawn(step.into_actor(self).map(|stepped, projector, ctx| {
            let mut pause = PAUSE;
            match stepped {
                Ok(Step { lag, moved, unknown }) => {
                    projector.passed_over(unknown);
                    projector.lifeline.vitals().detail("lag_events", lag);
                    metric::projection_lag(lag);
                    if moved && lag > 0 {
                        (pause, projector.more) = (Duration::ZERO, true);
                    }
                }
                // The next tick tries again; the journal waits.
                Err(error) => {
                    projector.lifeline.vitals().failed(error.to_string());
                    projector.more = false;
                }
            }
            ctx.run_later(pause, |projector, ctx| {
                projector.working = false;
                if projector.more {
                    projector.work(ctx);
                }
            });
        }));
    }

    /// No failure: a newer instance knows them, which runs beside this one or ran before a rollback.
    fn passed_over(&mut self, unknown: Vec<UnknownEvents>) {
        for UnknownEvents { event_type, events, first_seq } in unknown {
            self.unknown += events;
            metric::projection_unknown(events);
            if self.unknown_types.len() < UNKNOWN_TYPES_MAX && self.unknown_types.insert(event_type.clone()) {
                warn!(
                    event_type,
                    first_seq,
                    "The journal has events that this version does not know: the projection passes them over"
                );
            }
        }
        self.lifeline.vitals().detail("unknown_events", self.unknown);
    }
}

impl<P: Projection> Actor for Projector<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(IDLE_INTERVAL, |projector, ctx| projector.work(ctx));
        self.work(ctx);
    }
}

impl<P: Projection> Handler<Committed> for Projector<P> {
    type Result = ();

    fn handle(&mut self, _: Committed, ctx: &mut Self::Context) {
        let _handling = self.lifeline.handling();
        self.work(ctx);
    }
}

impl<P: Projection> Handler<Crash> for Projector<P> {
    type Result = ();

    fn handle(&mut self, crash: Crash, _: &mut Self::Context) {
        crash.now()
    }
}
