//! Redis Streams as the message queue: what befalls them, and what they held. Whatever takes entries away is done together with the reading
//! of them: what was there before it and what it left are known.

use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sqlx::PgPool;
use tokio::sync::Mutex;

use super::super::facts::Generation;
use super::super::plan::{Peer, Primary, Target};
use super::findings::TopicFindings;
use super::progress::{changes_head, progress};
use super::readings::Readings;
use super::redis_servers::connect;
use super::{Cluster, DEAD_LETTER_TOPIC, Queue};
use crate::servers::Link;
use crate::servers::port::Port;
use crate::topic::{CHANGES_TOPIC, TOPIC};

const READ_PAUSE: Duration = Duration::from_millis(100);
/// Between two attempts to give Redis its memory back.
const HEAL_PAUSE: Duration = Duration::from_millis(100);

impl Cluster {
    fn readings(&self) -> Result<&Mutex<Readings>> {
        match &self.queue {
            Queue::Kafka(_) => bail!("Redis is not the message queue"),
            Queue::Redis(readings) => Ok(readings),
        }
    }

    fn redis_links(&self) -> impl Iterator<Item = &Link> {
        let instances = self.orders.iter().chain(&self.bonuses);
        instances.filter_map(|instance| instance.links.get(&Peer::Redis)).flatten()
    }

    fn lead_redis_to(&self, port: u16) {
        self.redis_links().for_each(|link| link.redirect(port));
    }

    /// Before any service is there: so nothing is trimmed that was not read.
    pub(super) async fn register(self: &Arc<Self>) -> Result<()> {
        self.on(Target::Redis, |server| server.start_again().map(drop)).await?;
        self.readings()?.lock().await.register(&mut self.redis.connect().await?).await?;
        tokio::spawn(follow(Arc::downgrade(self)));
        Ok(())
    }

    /// FLUSHALL. One that is just starting takes no command: then this fault does not happen.
    pub(super) async fn forget(&self) -> Result<()> {
        let Ok(mut redis) = self.redis.connect().await else { return Ok(()) };
        let Queue::Redis(readings) = &self.queue else {
            let _: Result<(), _> = redis::cmd("FLUSHALL").query_async(&mut redis).await;
            return Ok(());
        };
        let mut readings = readings.lock().await;
        if readings.catch_up(&mut redis).await.is_err() {
            return Ok(());
        }
        readings.flush(&mut redis).await.context("FLUSHALL")
    }

    /// Redis is killed, and comes back after `lasts` without its data.
    pub(super) async fn restart_without_data(self: &Arc<Self>, lasts: Duration) -> Result<()> {
        let mut readings = self.readings()?.lock().await;
        // Nobody reaches it until the checker's groups are there again.
        let nowhere = Port::free()?;
        self.lead_redis_to(nowhere.number());
        if let Ok(mut redis) = self.redis.connect().await {
            let _ = readings.catch_up(&mut redis).await;
        }
        self.blocking(|cluster| {
            cluster.redis.primary().kill()?;
            cluster.redis.remove_data(cluster.redis.primary())
        })
        .await?;
        tokio::time::sleep(lasts).await;
        self.on(Target::Redis, |server| server.start_again().map(drop)).await?;
        readings.register(&mut self.redis.connect().await?).await?;
        readings.lose_everything();
        self.lead_redis_to(self.redis.primary().port());
        Ok(())
    }

    /// A replica takes over that had everything once, and since then, for as long as `lag`, nothing.
    pub(super) async fn fail_redis_over(self: &Arc<Self>, primary: Primary, lag: Duration) -> Result<()> {
        self.blocking(|cluster| {
            let (primary, other) = (cluster.redis.primary(), cluster.redis.other());
            primary.wait_ready()?;
            other.kill()?;
            cluster.redis.remove_data(other)?;
            other.start_again()
        })
        .await?;
        self.redis.split_off().await?;
        tokio::time::sleep(lag).await;
        let mut readings = self.readings()?.lock().await;
        let left = readings.ends(&mut connect(self.redis.other()).await?).await?;
        let mut redis = self.redis.connect().await?;
        if primary == Primary::CutOff {
            // It lives on where nobody reaches it: all that it ever took is read.
            self.lead_redis_to(self.redis.other().port());
            self.redis_links().for_each(Link::abandon);
        }
        readings.catch_up(&mut redis).await?;
        self.blocking(|cluster| cluster.redis.primary().kill()).await?;
        self.lead_redis_to(self.redis.other().port());
        readings.lose(&left);
        self.redis.swap();
        Ok(())
    }

    /// Redis takes no write for as long as `lasts`. What it holds stays.
    pub(super) async fn fill_memory(&self, lasts: Duration) -> Result<()> {
        if self.limit_memory("1").await.is_err() {
            return Ok(());
        }
        tokio::time::sleep(lasts).await;
        while self.limit_memory("0").await.is_err() {
            tokio::time::sleep(HEAL_PAUSE).await;
        }
        Ok(())
    }

    async fn limit_memory(&self, bytes: &str) -> Result<()> {
        let mut redis = self.redis.connect().await?;
        let set = ["SET", "maxmemory", bytes];
        Ok(redis::cmd("CONFIG").arg(&set).query_async(&mut redis).await?)
    }

    /// Up to which position of its journal a topic's streams have every event, as they say; `None`: they do not say.
    pub(super) async fn streams_confirmed(&self, topic: &str) -> Result<Option<i64>> {
        let mut redis = self.redis.connect().await?;
        let id: Option<String> = redis::cmd("HGET").arg(topic).arg("id").query_async(&mut redis).await?;
        let position = [format!("{topic}:position"), "topic_id".to_owned(), "published_seq".to_owned()];
        let (of, published): (Option<String>, Option<i64>) =
            redis::cmd("HMGET").arg(&position).query_async(&mut redis).await?;
        Ok(published.filter(|_| id.is_some() && id == of))
    }

    /// What the streams had, and what is left in them.
    pub(super) async fn stream_findings(
        &self,
        readings: &Mutex<Readings>,
        database: &PgPool,
    ) -> Result<TopicFindings> {
        let mut readings = readings.lock().await;
        let mut redis = self.redis.connect().await?;
        readings.catch_up(&mut redis).await?;
        let mut left = readings.orders.unacknowledged(&mut redis).await?;
        let letters: u64 =
            redis::cmd("XLEN").arg(format!("{DEAD_LETTER_TOPIC}:0")).query_async(&mut redis).await?;
        let heads = [(TOPIC, progress(database).await?.1), (CHANGES_TOPIC, changes_head(database).await?)];
        for (topic, head) in heads {
            let confirmed = self.streams_confirmed(topic).await?;
            // A topic that nothing was published to has no position.
            if confirmed.unwrap_or_default() != head {
                left.push(format!("{topic} says that it has every event up to {confirmed:?} of {head}"));
            }
        }
        let (orders, changes) = (&readings.orders.histories, &readings.changes.histories);
        let former = orders.former().iter().cloned();
        Ok(TopicFindings {
            former: former.map(|topic| Generation { topic, until: None }).collect(),
            topic: orders.present(),
            former_changes: changes.former().to_vec(),
            changes: changes.present(),
            lost: orders.lost() + changes.lost(),
            unread: [orders.unread(), changes.unread()].concat(),
            left,
            letters,
        })
    }
}

/// Reads the streams all the time.
async fn follow(cluster: Weak<Cluster>) {
    loop {
        tokio::time::sleep(READ_PAUSE).await;
        let Some(cluster) = cluster.upgrade() else { return };
        let Ok(readings) = cluster.readings() else { return };
        let mut readings = readings.lock().await;
        // Whatever goes wrong is asked again, and shows at the end if it stays so.
        if let Ok(mut redis) = cluster.redis.connect().await {
            let _ = readings.catch_up(&mut redis).await;
        }
    }
}
