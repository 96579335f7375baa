//! What the nemesis does to the victims.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::plan::{Fault, Kind, Target};
use super::Cluster;
use crate::servers::{Passage, Server, Throttle};

/// A link far away: what one connection of a bad office line carries.
const SLOW: Throttle = Throttle { bytes_per_second: Some(60_000), delay: Duration::from_millis(100) };
/// Bytes a second, of each client and broker: less than what the load produces.
const QUOTA: f64 = 20_000.0;
/// How long replicas may take to catch up between two brokers of a rolling restart; then the next one is taken all the same.
const ROLL_PATIENCE: Duration = Duration::from_secs(30);

impl Cluster {
    /// Lets one fault happen and pass.
    pub(in super::super) async fn suffer(self: &Arc<Self>, fault: Fault) -> Result<()> {
        self.alone(fault, async {
            match (fault.target, fault.kind) {
                (Target::Postgres, Kind::Failover(primary)) => {
                    self.fail_over(primary).await?;
                    self.rejoin(fault.lasts).await
                }
                _ => self.hurt(fault).await,
            }
        })
        .await
    }

    /// The same, and as soon as users may expect all to be well again, `then`: while a former primary still rejoins, say.
    pub(in super::super) async fn suffer_then<T>(
        self: &Arc<Self>,
        fault: Fault,
        then: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.alone(fault, async {
            if let (Target::Postgres, Kind::Failover(primary)) = (fault.target, fault.kind) {
                self.fail_over(primary).await?;
                let (seen, rejoined) = tokio::join!(then, self.rejoin(fault.lasts));
                return rejoined.and(seen);
            }
            self.hurt(fault).await?;
            then.await
        })
        .await
    }

    async fn alone<T>(&self, fault: Fault, work: impl Future<Output = Result<T>>) -> Result<T> {
        let _alone = match self.busy.get(&fault.target.lane()) {
            Some(busy) => Some(busy.lock().await),
            None => None,
        };
        self.faults.fetch_add(1, Ordering::Relaxed);
        let result = work.await;
        self.faults.fetch_sub(1, Ordering::Relaxed);
        self.postgres_failovers.fetch_add(fault.postgres_failovers(), Ordering::Relaxed);
        self.redis_failovers.fetch_add(fault.redis_failovers(), Ordering::Relaxed);
        self.broker_failovers.fetch_add(fault.broker_failovers(self.stage.brokers), Ordering::Relaxed);
        result.with_context(|| format!("{} {}", fault.target, fault.kind))
    }

    async fn hurt(self: &Arc<Self>, Fault { target, kind, lasts, .. }: Fault) -> Result<()> {
        match kind {
            Kind::Cut(peer) | Kind::Stall(peer) => {
                let links = self.links(target, peer)?;
                let passage = if matches!(kind, Kind::Cut(_)) { Passage::Cut } else { Passage::Stalled };
                links.iter().for_each(|link| link.set(passage));
                tokio::time::sleep(lasts).await;
                links.iter().for_each(|link| link.set(Passage::Open));
                Ok(())
            }
            Kind::Abandon(peer) => {
                self.links(target, peer)?.iter().for_each(crate::servers::Link::abandon);
                Ok(())
            }
            Kind::Slow(peer) => {
                let links = self.links(target, peer)?;
                links.iter().for_each(|link| link.throttle(SLOW));
                tokio::time::sleep(lasts).await;
                links.iter().for_each(|link| link.throttle(Throttle::default()));
                Ok(())
            }
            Kind::Forget => self.forget().await,
            Kind::Empty => self.restart_without_data(lasts).await,
            Kind::MemoryFull => self.fill_memory(lasts).await,
            Kind::Freeze => {
                self.on(target, Server::freeze).await?;
                tokio::time::sleep(lasts).await;
                self.on(target, Server::thaw).await
            }
            Kind::Kill | Kind::Restart => {
                self.on(target, if kind == Kind::Kill { Server::kill } else { Server::stop }).await?;
                tokio::time::sleep(lasts).await;
                self.on(target, Server::launch).await
            }
            Kind::Failover(primary) if target == Target::Redis => self.fail_redis_over(primary, lasts).await,
            Kind::Failover(primary) => self.fail_over(primary).await,
            Kind::Roll => self.roll().await,
            Kind::Quota => {
                let quota = |value| self.blocking(move |cluster| cluster.brokers()?.set_quota(value));
                // A cluster that is on its knees takes no settings: then this fault does not happen.
                let _ = quota(Some(QUOTA)).await;
                tokio::time::sleep(lasts).await;
                while quota(None).await.is_err() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Ok(())
            }
            Kind::Remake => self.remake_topic(lasts).await,
            Kind::Full => self.fill_disk(lasts).await,
        }
    }

    /// One broker after the other, each by itself among whatever else befalls it.
    async fn roll(self: &Arc<Self>) -> Result<()> {
        for number in 0..self.stage.brokers {
            let target = Target::Kafka(number);
            let Some(busy) = self.busy.get(&target) else { continue };
            let _alone = busy.lock().await;
            self.on(target, Server::stop).await?;
            self.on(target, |server| server.start_again().map(drop)).await?;
            let _ = self.blocking(|cluster| cluster.brokers()?.wait_in_sync(ROLL_PATIENCE)).await;
        }
        Ok(())
    }
}
