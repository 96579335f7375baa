//! Steps a to g: the message queue dies, nobody notices, it comes back.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;
use uuid::Uuid;

use super::book::Command;
use super::latency::{self, Latency};
use super::report::Figures;
use super::story::{COUNT_LEDGER, LogWatch, PATIENCE, Story, eventually, figures, in_seconds};
use crate::local::up::start_all;
use crate::local::{Mq, Part};
use crate::say;
use crate::topic::keep_streams;

/// Requests before the measured ones: connections, caches and the JVM warm up.
const WARM_UP: usize = 150;
pub(super) const ORDERS: usize = 200;
/// Milliseconds that the median may differ by on a busy machine whatever Kafka does; a command that waited for Kafka would
/// take seconds.
const MEDIAN_SLACK_MS: f64 = 20.0;
const SLOWEST_MS_MAX: f64 = 2_000.0;

pub(super) fn customers(count: usize) -> Vec<Uuid> {
    (0..count).map(|_| Uuid::new_v4()).collect()
}

impl Story {
    pub(super) async fn all_is_well(&mut self) -> Result<Figures> {
        let begin = Instant::now();
        tokio::task::block_in_place(|| start_all(&self.stack, &self.report.mq, &[]))?;
        let up = begin.elapsed();
        if self.stack.shape.mq == Mq::Redis {
            // The last check of an outage reads what was published.
            let keep = async || Ok(keep_streams(&mut self.clients.redis().await?).await.ok());
            eventually(PATIENCE, "the topic to be made", keep).await?;
        }
        let url = self.stack.orders.url();
        let few = customers(3);
        say::command(format_args!("curl -X POST {url}/api/orders -d '{{\"customer_id\": …}}'   # 6 times"));
        let (orders, _) = self.create(&few, 6).await?;
        say::command(format_args!("curl -X POST {url}/api/orders/…/pay   # and ship, complete, cancel some"));
        let life = [Command::Pay, Command::Ship, Command::Complete];
        for (order, commands) in
            orders.iter().zip([&life[..1], &life[..1], &life, &life[..2], &[Command::Cancel]])
        {
            self.command(*order, commands).await?;
        }
        self.outbox_empty().await?;
        self.points_right().await?;
        for customer in &few {
            say::command(format_args!("curl {}/api/bonuses/{customer}", self.stack.bonus.url()));
            say::answer(self.clients.account(*customer).await?.unwrap_or_default());
        }
        let pending = self.show_outbox_count().await?;
        ensure!(pending == 0, "{pending} events await publication");

        say::line(format_args!(
            "For comparison, {ORDERS} orders while all is well (after {WARM_UP} to warm up):"
        ));
        let many = customers(10);
        self.create(&many, WARM_UP).await?;
        let (_, before) = self.create(&many, ORDERS).await?;
        latency::show("all well", &before);
        self.outbox_empty().await?;
        self.points_right().await?;
        let figures =
            figures(json!({"up_seconds": in_seconds(up), "p50_ms": before.p50_ms, "p99_ms": before.p99_ms}));
        self.report.latencies.before_outage = Some(before);
        Ok(figures)
    }

    pub(super) async fn the_queue_is_killed(&mut self) -> Result<Figures> {
        let mq = self.stack.shape.mq;
        let server = self.stack.server(mq.part())?;
        let pid = server.identity().map(|process| process.pid).unwrap_or_default();
        say::command(format_args!("kill -9 {pid}   # {}", self.report.mq));
        tokio::task::block_in_place(|| server.kill())?;
        ensure!(tokio::task::block_in_place(|| server.probe()).is_err(), "{} still answers", mq.title());
        say::answer(format!("nobody answers on 127.0.0.1:{} any more", self.stack.port(mq.part())?));
        Ok(figures(json!({"pid": pid})))
    }

    pub(super) async fn nobody_notices(&mut self) -> Result<Figures> {
        let log = LogWatch::new(self.stack.orders.log())?;
        self.outage_customers = customers(10);
        say::command(format_args!(
            "curl -X POST {}/api/orders …   # {ORDERS} times",
            self.stack.orders.url()
        ));
        let (orders, during) = self.create(&self.outage_customers.clone(), ORDERS).await?;
        self.waiting = orders;
        say::answer(format!("{ORDERS} answers, every one 201 Created"));
        if let Some(before) = &self.report.latencies.before_outage {
            latency::show("all well", before);
            latency::show(&format!("{} dead", self.stack.shape.mq.title()), &during);
            same_latency(before, &during)?;
        }
        say::command("grep WARN orders.log");
        say::answer(log.complaint("Publish attempt failed").await?);
        let figures = figures(json!({"created": ORDERS, "p50_ms": during.p50_ms, "p99_ms": during.p99_ms}));
        let latencies = &mut self.report.latencies;
        match self.stack.shape.mq {
            Mq::Kafka => latencies.kafka_down = Some(during),
            Mq::Redis => latencies.redis_down = Some(during),
        }
        Ok(figures)
    }

    pub(super) async fn everything_waits(&mut self) -> Result<Figures> {
        let pending = self.show_outbox_count().await?;
        ensure!(pending == i64::try_from(ORDERS)?, "{ORDERS} events should wait, {pending} do");
        let retry = match self.stack.shape.mq {
            Mq::Kafka => self.job_waits().await?,
            // The retry's place has died with the message queue.
            Mq::Redis => {
                let retry = self.retry_in("memory").await?;
                self.show_outbox().await?;
                retry
            }
        };
        self.attempt = retry.attempt;
        Ok(figures(json!({"pending": pending, "attempt": retry.attempt, "retry": retry.place})))
    }

    pub(super) async fn bonus_has_none(&mut self) -> Result<Figures> {
        let (customer, rows) = (self.outage_customers.first(), self.clients.count(COUNT_LEDGER).await?);
        say::command(format_args!(
            "curl {}/api/bonuses/{}",
            self.stack.bonus.url(),
            customer.map(Uuid::to_string).unwrap_or_default()
        ));
        for customer in &self.outage_customers {
            let points = self.clients.points(*customer).await?;
            ensure!(points.is_none(), "customer {customer} already has {points:?} points");
        }
        say::answer(format!(
            "404: no account yet; so for all {} customers of the outage",
            self.outage_customers.len()
        ));
        let expected = self.book.ledger_rows() - i64::try_from(ORDERS)?;
        ensure!(rows == expected, "the ledger has {rows} rows, {expected} from before the outage");
        Ok(figures(json!({"credited": 0})))
    }

    pub(super) async fn the_service_dies_too(&mut self) -> Result<Figures> {
        let orders = &self.stack.orders;
        let pid = orders.identity().map(|process| process.pid).unwrap_or_default();
        say::command(format_args!("kill -9 {pid}   # the order service; and start it again"));
        let took = tokio::task::block_in_place(|| {
            orders.kill()?;
            self.stack.start(Part::Orders)
        })?;
        say::answer(format!(
            "ready again in {}, {} still dead",
            say::seconds(took),
            self.stack.shape.mq.title()
        ));
        let pending = self.show_outbox_count().await?;
        ensure!(pending == i64::try_from(ORDERS)?, "{ORDERS} events should wait, {pending} do");
        if let Some(order) = self.waiting.first() {
            ensure!(self.clients.version(*order).await? == 1, "order {order} has changed");
        }
        let customers = self.outage_customers.clone();
        self.create(&customers, 20).await?;
        let waiting = self.waiting.clone();
        for order in waiting.iter().take(20) {
            self.command(*order, &[Command::Pay, Command::Ship, Command::Complete]).await?;
        }
        for order in waiting.iter().skip(20).take(10) {
            self.command(*order, &[Command::Cancel]).await?;
        }
        say::line(
            "20 more orders created, 20 of those that wait taken to completion, 10 cancelled: all answered.",
        );
        let expected = i64::try_from(ORDERS + 20 + 3 * 20 + 10)?;
        let pending = self.show_outbox_count().await?;
        ensure!(pending == expected, "{expected} events should wait, {pending} do");
        let retry = match self.stack.shape.mq {
            Mq::Kafka => self.job_outlives_its_process().await?,
            Mq::Redis => {
                let retry = self.retry_in("memory").await?;
                say::line(format_args!(
                    "The new process has begun a retry of its own (attempt {}).",
                    retry.attempt
                ));
                retry
            }
        };
        Ok(figures(
            json!({"ready_again_seconds": in_seconds(took), "pending": pending, "attempt": retry.attempt}),
        ))
    }

    pub(super) async fn the_queue_is_back(&mut self) -> Result<Figures> {
        let pending = self.clients.count(super::story::COUNT_OUTBOX).await?;
        let mq = self.stack.shape.mq;
        let program = match mq {
            Mq::Kafka => "kafka-server-start.sh",
            Mq::Redis => "redis-server",
        };
        say::command(format_args!("{program} …   # where it was, with the data it had"));
        let begin = Instant::now();
        let ready = tokio::task::block_in_place(|| self.stack.start(mq.part()))?;
        let drained = self.outbox_empty().await?;
        let total = begin.elapsed();
        say::answer(format!(
            "{} answers after {}; outbox empty {} later",
            mq.title(),
            say::seconds(ready),
            say::seconds(drained)
        ));
        self.show_outbox_count().await?;
        let credited = self.points_right().await?;
        let topic = self.topic_in_order().await?;
        self.breaker_closed().await?;
        let recoveries = &mut self.report.recoveries;
        match self.stack.shape.mq {
            Mq::Kafka => recoveries.kafka_outage_seconds = Some(in_seconds(drained)),
            Mq::Redis => recoveries.redis_outage_seconds = Some(in_seconds(drained)),
        }
        Ok(figures(json!({
            "drained": pending,
            "outbox_empty_seconds": in_seconds(drained),
            "since_start_seconds": in_seconds(total),
            "credited_seconds": in_seconds(credited),
            "repeated_messages": topic.repeated,
        })))
    }
}

pub(super) fn same_latency(before: &Latency, during: &Latency) -> Result<()> {
    ensure!(
        during.p50_ms <= 2.0 * before.p50_ms + MEDIAN_SLACK_MS && during.max_ms <= SLOWEST_MS_MAX,
        "users notice: {during}, slowest {:.0} ms; before: {before}",
        during.max_ms
    );
    Ok(())
}
