//! The publisher and the worker of its retries, started and stopped together. Used by the engine, and by a tool that drains the
//! outbox.

use std::time::Duration;

use actix::{Addr, MailboxError};
use actix_rt::ArbiterHandle;
use kit::supervision::{Child, Guardian, StopRestarting, Supervise};
use tracing::warn;

use super::{FallbackWorker, Finish, Publisher, PublisherDependencies, PublisherSettings, StopWorker};

pub struct Publication {
    pub publisher: Child<Publisher>,
    worker: Child<FallbackWorker>,
    guardian: Addr<Guardian>,
}

impl Publication {
    /// Under supervision, the publisher in the first of `arbiters`, the worker in the second.
    pub async fn start(
        guardian: &Addr<Guardian>,
        settings: PublisherSettings,
        dependencies: PublisherDependencies,
        arbiters: [ArbiterHandle; 2],
    ) -> Result<Self, MailboxError> {
        let publisher: Child<Publisher> = Child::named("publisher", "guardian");
        let worker: Child<FallbackWorker> = Child::named("fallback", "guardian");
        let [of_publisher, of_worker] = arbiters;
        let (retry, to) = (dependencies.fallback.clone(), publisher.clone());
        let runtime = dependencies.runtime.clone();
        let publish = Supervise::new(&publisher, of_publisher, move |lifeline| {
            Publisher::new(settings.clone(), dependencies.clone(), lifeline)
        });
        guardian.send(publish).await?;
        let retry = Supervise::new(&worker, of_worker, move |lifeline| {
            FallbackWorker::new(retry.clone(), to.clone(), runtime.clone(), lifeline)
        });
        guardian.send(retry).await?;
        Ok(Self { publisher, worker, guardian: guardian.clone() })
    }

    /// Flushes the deliveries in flight, within `grace`, and releases the lease. From now on nothing is restarted.
    pub async fn stop(&self, grace: Duration) {
        let _ = self.guardian.send(StopRestarting).await;
        let _ = self.worker.ask(StopWorker).await;
        if tokio::time::timeout(grace, self.publisher.ask(Finish)).await.is_err() {
            warn!(
                "Not every delivery was reported in time; the next publisher repeats those from the cursor"
            );
        }
    }
}
