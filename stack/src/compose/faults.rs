//! The steps in which something is stopped, killed, frozen or comes back.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use serde_json::json;
use uuid::Uuid;

use super::engine::text;
use super::story::{PATIENCE, Story};
use crate::demo::eventually;
use crate::say;
use crate::site::first_answer;

/// From the broker's first answer to the engine's word that it is healthy: the check's interval and its time limit, and the
/// engine's own leisure.
const HEALTH_LATE_MAX: Duration = Duration::from_secs(8);

impl Story {
    pub(super) async fn kafka_is_stopped(&mut self) -> Result<String> {
        self.project.run(&["stop", "kafka"])?;
        let found = self.nobody_notices().await?;
        let report = self.project.output(&["exec", "-T", "orders", "orders", "check"])?;
        let said = text(&report.stdout);
        let names_kafka = said.lines().any(|line| line.contains("kafka") && line.contains("FAIL"));
        ensure!(report.status.code() == Some(1) && names_kafka, "`orders check`, {}: {said}", report.status);
        Ok(format!("{found}; `orders check` names Kafka"))
    }

    pub(super) async fn kafka_is_killed(&mut self) -> Result<String> {
        self.project.run(&["kill", "kafka"])?;
        self.nobody_notices().await
    }

    pub(super) async fn kafka_is_frozen(&mut self) -> Result<String> {
        self.project.run(&["pause", "kafka"])?;
        self.nobody_notices().await
    }

    pub(super) async fn kafka_is_back(&mut self) -> Result<String> {
        self.project.run(&["start", "kafka"])?;
        let brokers = self.project.address("kafka");
        let broker = tokio::task::spawn_blocking(move || first_answer(&brokers));
        let healthy = self.health("kafka", "healthy").await?;
        let late = healthy.saturating_duration_since(broker.await??);
        ensure!(late < HEALTH_LATE_MAX, "Kafka's health was told {} late", say::seconds(late));
        let arrived = self.all_arrives().await?;
        Ok(format!("healthy {} after its first answer; {arrived}", say::seconds(late)))
    }

    pub(super) async fn kafka_goes_on(&mut self) -> Result<String> {
        self.project.run(&["unpause", "kafka"])?;
        self.all_arrives().await
    }

    pub(super) async fn redis_is_stopped(&mut self) -> Result<String> {
        self.project.run(&["stop", "redis"])?;
        let traded = self.trade().await?;
        let arrived = self.all_arrives().await?;
        self.project.run(&["start", "redis"])?;
        self.health("redis", "healthy").await?;
        Ok(format!("{traded}; {arrived}"))
    }

    pub(super) async fn both_are_stopped(&mut self) -> Result<String> {
        self.project.run(&["stop", "kafka", "redis"])?;
        self.nobody_notices().await
    }

    pub(super) async fn both_are_back(&mut self) -> Result<String> {
        self.project.run(&["start", "kafka", "redis"])?;
        self.all_arrives().await
    }

    /// Without Postgres no command can be taken: a quick refusal, no hanging, no restart.
    pub(super) async fn postgres_is_stopped(&mut self) -> Result<String> {
        self.project.run(&["stop", "postgres"])?;
        let order = json!({
            "customer_id": Uuid::new_v4(),
            "currency": "EUR",
            "items": [{"sku": "tea", "quantity": 1, "unit_price_minor": 450}],
        });
        let url = format!("http://{}/api/orders", self.project.address("orders"));
        let answer = self.http.post(&url).json(&order).send().await?;
        let (status, retry) = (answer.status(), answer.headers().contains_key("retry-after"));
        ensure!(status == 503, "POST /api/orders answers {status}");
        let readiness = self.readiness().await?;
        ensure!(readiness == 503, "GET /readyz answers {readiness}");
        self.health("orders", "unhealthy").await?;
        Ok(format!("503{}; not ready; unhealthy", if retry { " with Retry-After" } else { "" }))
    }

    pub(super) async fn postgres_is_back(&mut self) -> Result<String> {
        self.project.run(&["start", "postgres"])?;
        self.health("orders", "healthy").await?;
        self.health("bonus", "healthy").await?;
        for service in ["orders", "bonus"] {
            let restarts = self.project.container(service)?.restarts;
            ensure!(restarts == 0, "{service} was restarted {restarts} times");
        }
        let traded = self.trade().await?;
        let arrived = self.all_arrives().await?;
        Ok(format!("no restart; {traded}; {arrived}"))
    }

    pub(super) async fn crashed_services_return(&mut self) -> Result<String> {
        for service in ["orders", "bonus"] {
            self.project.crash(service)?;
            let restarted = async || {
                let container = self.project.container(service)?;
                Ok((container.restarts == 1 && container.health() == "healthy").then_some(()))
            };
            eventually(PATIENCE, &format!("{service} to be restarted"), restarted).await?;
        }
        let traded = self.trade().await?;
        let arrived = self.all_arrives().await?;
        Ok(format!("`kill -9` of both services, each restarted once; {traded}; {arrived}"))
    }

    /// During an outage of Kafka: every command is answered, every event waits, both services are ready.
    async fn nobody_notices(&mut self) -> Result<String> {
        let traded = self.trade().await?;
        let (pending, expected) = (self.pending()?, Self::traded(1));
        if pending != expected {
            return Err(anyhow!("{expected} events should wait, {pending} do"));
        }
        self.services_are_ready().await?;
        Ok(format!("{traded}; {pending} events wait"))
    }
}
