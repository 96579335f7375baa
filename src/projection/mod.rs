//! The list of orders: a projection that tails the journal with a cursor of its own, off the write path.
//!
//! Events and cursor move in one transaction, so each event is applied once. Any instance may do it; the cursor's row lock
//! decides who. The list may be behind by what [`OrderList::lag`] says; a single order is always read from its events.

use std::time::Duration;

use actix::prelude::*;
use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use crate::journal::{Committed, ReadError, Reader};
use crate::order::Status;
use crate::supervision::{Crash, Lifeline};
use crate::telemetry::metric;

/// Events applied in one transaction.
const EVENTS_AT_ONCE: i64 = 2_000;
/// Between two transactions that are not in arrears. They share the disk with the journal, and few large ones take less of it.
const PAUSE: Duration = Duration::from_millis(25);
/// How often the journal is looked at when nobody here appends.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);

pub struct Projector {
    list: OrderList,
    lifeline: Lifeline,
    /// In a step, or in the pause after it.
    working: bool,
    more: bool,
}

impl Projector {
    pub fn new(list: OrderList, lifeline: Lifeline) -> Self {
        Self { list, lifeline, working: false, more: false }
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
                Ok(Step { lag, moved }) => {
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

#[derive(Debug, Clone, Copy)]
struct Step {
    lag: i64,
    moved: bool,
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
        self.reader.run(async move |pool| Ok(select.fetch_all(&pool).await?)).await
    }

    /// Events in the journal that the list does not show yet.
    pub async fn lag(&self) -> Result<i64, ReadError> {
        self.reader
            .run(async move |pool| {
                Ok(sqlx::query_scalar(include_str!("sql/lag.sql")).fetch_one(&pool).await?)
            })
            .await
    }

    async fn catch_up_a_step(&self) -> Result<Step, ReadError> {
        self.reader.run(async move |pool| Ok(catch_up_a_step(&pool).await?)).await
    }
}

async fn catch_up_a_step(pool: &PgPool) -> Result<Step, sqlx::Error> {
    let head: i64 = sqlx::query_scalar(include_str!("../journal/sql/head.sql")).fetch_one(pool).await?;
    let mut transaction = pool.begin().await?;
    let claimed: Option<i64> =
        sqlx::query_scalar(include_str!("sql/claim.sql")).fetch_optional(&mut *transaction).await?;
    let Some(projected) = claimed else { return Ok(Step { lag: 0, moved: false }) };
    let upto = head.min(projected + EVENTS_AT_ONCE);
    if upto <= projected {
        return Ok(Step { lag: 0, moved: false });
    }
    for statement in [include_str!("sql/add_created.sql"), include_str!("sql/apply_changes.sql")] {
        sqlx::query(statement).bind(projected).bind(upto).execute(&mut *transaction).await?;
    }
    sqlx::query(include_str!("sql/advance.sql")).bind(upto).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Step { lag: head - upto, moved: true })
}
