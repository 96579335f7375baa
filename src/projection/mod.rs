//! The list of orders: a projection that follows the journal with a cursor of its own, off the write path.
//!
//! - Events and cursor move in one transaction, so each event is applied once.
//! - Any instance may take a step. The row lock of the cursor decides which one does.
//! - An event that this version does not know leaves its order's status as it was. Other orders are not affected.
//! - The list may be behind, by [`OrderList::lag`] events. A single order is always read from its events.

mod step;

use std::collections::HashSet;
use std::time::Duration;

use actix::prelude::*;
use chrono::{DateTime, Utc};
use kit::supervision::{Crash, Lifeline};
use sqlx::FromRow;
use tracing::warn;
use uuid::Uuid;

use self::step::{Step, Unknown};

use crate::journal::{Committed, ReadError, Reader};
use crate::order::Status;
use crate::telemetry::metric;

/// Between two transactions that are not in arrears. They share the disk with the journal, and few large ones take less of it.
const PAUSE: Duration = Duration::from_millis(25);
/// How often the journal is looked at when nobody here appends.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// Most types of events that are named in the log because this version does not know them.
const UNKNOWN_TYPES_MAX: usize = 100;

pub struct Projector {
    list: OrderList,
    lifeline: Lifeline,
    /// In a step, or in the pause after it.
    working: bool,
    more: bool,
    /// Events that this version does not know, since the actor started.
    unknown: i64,
    /// Their types, each of which is logged once.
    unknown_types: HashSet<String>,
}

impl Projector {
    pub fn new(list: OrderList, lifeline: Lifeline) -> Self {
        let unknown_types = HashSet::new();
        Self { list, lifeline, working: false, more: false, unknown: 0, unknown_types }
    }

    /// One step at a time; whatever asks meanwhile, or in the pause after it, is served by the next.
    fn work(&mut self, ctx: &mut Context<Self>) {
        if self.working {
            self.more = true;
            return;
        }
        (self.working, self.more) = (true, false);
        let list = self.list.clone();
        let step = async move { list.catch_up_a_step().await };
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
}

impl Projector {
    /// They are no failure: a newer instance beside this one, or the one before a rollback, knows them.
    fn passed_over(&mut self, unknown: Vec<Unknown>) {
        for Unknown { event_type, events, first_seq } in unknown {
            self.unknown += events;
            metric::projection_unknown(events);
            if self.unknown_types.len() < UNKNOWN_TYPES_MAX && self.unknown_types.insert(event_type.clone()) {
                warn!(
                    event_type,
                    first_seq,
                    "The journal has events that this version does not know: the list shows their orders as they were before"
                );
            }
        }
        self.lifeline.vitals().detail("unknown_events", self.unknown);
    }
}

impl Actor for Projector {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(IDLE_INTERVAL, |projector, ctx| projector.work(ctx));
        self.work(ctx);
    }
}

impl Handler<Committed> for Projector {
    type Result = ();

    fn handle(&mut self, _: Committed, ctx: &mut Self::Context) {
        let _handling = self.lifeline.handling();
        self.work(ctx);
    }
}

impl Handler<Crash> for Projector {
    type Result = ();

    fn handle(&mut self, crash: Crash, _: &mut Self::Context) {
        crash.now()
    }
}

#[derive(Debug, Clone, FromRow)]
pub struct Listed {
    pub order_id: Uuid,
    pub customer_id: Uuid,
    pub status: String,
    pub currency: String,
    pub items: String,
    pub total_minor: i64,
    pub version: i64,
    pub created_seq: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Which orders, and which page of them.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    pub customer_id: Option<Uuid>,
    pub status: Option<Status>,
    /// Only orders created before this position.
    pub before: Option<i64>,
    pub limit: i64,
}

#[derive(Clone)]
pub struct OrderList {
    reader: Reader,
}

impl OrderList {
    pub fn new(reader: Reader) -> Self {
        Self { reader }
    }

    pub async fn page(&self, query: ListQuery) -> Result<Vec<Listed>, ReadError> {
        let select = sqlx::query_as(include_str!("sql/list.sql"))
            .bind(query.customer_id)
            .bind(query.status.map(Status::as_str))
            .bind(query.before)
            .bind(query.limit);
        self.reader.run(async move |mut connection| Ok(select.fetch_all(&mut *connection).await?)).await
    }

    /// Events in the journal that the list does not show yet.
    pub async fn lag(&self) -> Result<i64, ReadError> {
        self.reader
            .run(async move |mut connection| {
                Ok(sqlx::query_scalar(include_str!("sql/lag.sql")).fetch_one(&mut *connection).await?)
            })
            .await
    }

    async fn catch_up_a_step(&self) -> Result<Step, ReadError> {
        self.reader.run(async move |mut connection| Ok(step::catch_up(&mut connection).await?)).await
    }
}
