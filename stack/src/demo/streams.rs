//! The story with Redis as the message queue: the queue and the place of the retry die together.

use anyhow::Result;
use serde_json::json;

use super::outage::customers;
use super::report::Figures;
use super::story::{PATIENCE, Story, eventually, figures, in_seconds};
use crate::say;

const ORDERS: usize = 100;

pub(super) async fn tell(story: &mut Story, keep: bool) {
    story.play("a", "All is well: orders flow, points arrive, the outbox is empty", Story::all_is_well).await;
    story.play("b", "Redis, the message queue, is killed", Story::the_queue_is_killed).await;
    story.play("c", "Orders go on as before", Story::nobody_notices).await;
    story.play("d", "Every event waits in the outbox; the retry is in memory", Story::everything_waits).await;
    story.play("e", "The bonus service has received none of them", Story::bonus_has_none).await;
    story.play("f", "The order service is killed as well, and comes back", Story::the_service_dies_too).await;
    story.play("g", "Redis is back: everything arrives, in order, once", Story::the_queue_is_back).await;
    story.play("h", "Redis forgets everything: the journal has it", Story::redis_forgets_everything).await;
    if !keep {
        story.play("i", "The end: everything stops, nothing remains", Story::nothing_remains).await;
    }
}

impl Story {
    async fn redis_forgets_everything(&mut self) -> Result<Figures> {
        say::command(format_args!("{} FLUSHALL", self.stack.redis_cli()));
        let _: () = redis::cmd("FLUSHALL").query_async(&mut self.clients.redis().await?).await?;
        let (_, during) = self.create(&customers(5), ORDERS).await?;
        say::answer(format!("{ORDERS} orders created, every one 201 Created"));
        let published = self.outbox_empty().await?;
        let credited = self.points_right().await?;
        // Also what was published before, which nobody but the journal had any more.
        let there = async || self.topic_in_order().await.map(Some);
        let topic = eventually(PATIENCE, "the streams to have every event again", there).await?;
        self.breaker_closed().await?;
        Ok(figures(json!({
            "created": ORDERS,
            "p50_ms": during.p50_ms,
            "p99_ms": during.p99_ms,
            "outbox_empty_seconds": in_seconds(published),
            "credited_seconds": in_seconds(credited),
            "events": topic.events,
            "repeated_messages": topic.repeated,
        })))
    }
}
