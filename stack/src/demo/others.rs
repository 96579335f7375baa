//! Steps h to j: Redis dies, both die, and the end.

use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use serde_json::json;

use super::latency;
use super::outage::{customers, same_latency};
use super::report::Figures;
use super::story::{Story, figures, in_seconds};
use crate::local::{Part, down};
use crate::say;
use crate::servers::identity::{Identity, wait_gone};

const ORDERS: usize = 100;

impl Story {
    pub(super) async fn redis_is_killed(&mut self) -> Result<Figures> {
        say::command("kill -9 …   # Redis");
        tokio::task::block_in_place(|| self.stack.redis.kill())?;
        ensure!(tokio::task::block_in_place(|| self.stack.redis.probe()).is_err(), "Redis still answers");
        let (_, during) = self.create(&customers(5), ORDERS).await?;
        say::answer(format!("{ORDERS} orders created, every one 201 Created"));
        latency::show("Redis dead", &during);
        if let Some(before) = &self.report.latencies.before_outage {
            same_latency(before, &during)?;
        }
        let published = self.outbox_empty().await?;
        self.show_outbox_count().await?;
        self.points_right().await?;
        say::line("Published and credited all the same. Redis starts again:");
        let took = tokio::task::block_in_place(|| self.stack.start(Part::Redis))?;
        say::answer(format!("ready in {}; nothing to do for it", say::seconds(took)));
        self.breaker_closed().await?;
        let figures = figures(json!({
            "created": ORDERS,
            "p50_ms": during.p50_ms,
            "p99_ms": during.p99_ms,
            "outbox_empty_seconds": in_seconds(published),
        }));
        self.report.latencies.redis_down = Some(during);
        Ok(figures)
    }

    pub(super) async fn both_are_killed(&mut self) -> Result<Figures> {
        say::command("kill -9 … …   # Kafka and Redis");
        tokio::task::block_in_place(|| {
            self.stack.server(Part::Kafka)?.kill().and_then(|()| self.stack.redis.kill())
        })?;
        let (_, during) = self.create(&customers(5), ORDERS).await?;
        say::answer(format!("{ORDERS} orders created, every one 201 Created"));
        latency::show("both dead", &during);
        if let Some(before) = &self.report.latencies.before_outage {
            same_latency(before, &during)?;
        }
        let pending = self.show_outbox_count().await?;
        ensure!(pending == i64::try_from(ORDERS)?, "{ORDERS} events should wait, {pending} do");
        let retry = self.retry_in("memory").await?;
        self.show_outbox().await?;
        say::line(format_args!("The retry runs from memory (attempt {}). Both start again:", retry.attempt));
        let begin = Instant::now();
        tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                let redis = scope.spawn(|| self.stack.start(Part::Redis));
                self.stack.start(Part::Kafka)?;
                redis.join().map_err(|_| anyhow!("starting Redis panicked"))?
            })
        })?;
        let drained = self.outbox_empty().await?;
        let total = begin.elapsed();
        say::answer(format!("outbox empty {} after the broker answered", say::seconds(drained)));
        let credited = self.points_right().await?;
        let topic = self.topic_in_order().await?;
        self.breaker_closed().await?;
        self.report.recoveries.kafka_and_redis_outage_seconds = Some(in_seconds(drained));
        let figures = figures(json!({
            "created": ORDERS,
            "p50_ms": during.p50_ms,
            "p99_ms": during.p99_ms,
            "outbox_empty_seconds": in_seconds(drained),
            "since_start_seconds": in_seconds(total),
            "credited_seconds": in_seconds(credited),
            "repeated_messages": topic.repeated,
        }));
        self.report.latencies.kafka_and_redis_down = Some(during);
        Ok(figures)
    }

    pub(super) async fn nothing_remains(&mut self) -> Result<Figures> {
        let events = self.book.events();
        let stored = self.clients.count("SELECT count(*) FROM order_event").await?;
        ensure!(stored == events, "{events} events were commanded, {stored} are stored");
        self.clients.database.close().await;
        let processes: Vec<Identity> = self.stack.processes().into_iter().flat_map(Identity::tree).collect();
        let begin = Instant::now();
        tokio::task::block_in_place(|| down(&self.stack.home, |part, how| say::done(part, how)))?;
        ensure!(wait_gone(&processes, std::time::Duration::ZERO), "some processes live on");
        say::answer(format!("all {} processes are gone", processes.len()));
        Ok(figures(json!({"events_in_all": events, "stopped_seconds": in_seconds(begin.elapsed())})))
    }
}
