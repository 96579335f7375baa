//! The publisher and the worker of its retries, started and stopped together. Used by the engine, and by a tool that drains the
//! outbox.

use std::time::Duration;

use actix::{Addr, MailboxError};
use actix_rt::ArbiterHandle;
use kit::supervision::{Child, Guardian, StopRestarting, Supervise};
use tracing::warn;

use super::{FallbackWorker, Finish, Publisher, PublisherDependencies, PublisherSettings, StopWorker};

#[derive(Clone)]
pub struct Publication {
    pub publisher: Child<Publisher>,
    worker: Child<FallbackWorker>,
    guardian: Addr<Guardian>,
}

impl Publication {
    /// Nothing runs yet. Messages to the publisher are answered [`ActorGone`](kit::supervision::ActorGone).
    pub fn new(guardian: &Addr<Guardian>) -> Self {
        Self {
            publisher: Child::named("publisher", "guardian"),
            worker: Child::named("fallback", "guardian"),
            guardian: guardian.clone(),
        }
    }

    /// Under supervision, the publisher in the first of `arbiters`, the worker in the second. Once.
    ///
    /// # Errors
    /// When the guardian is gone.
    pub async fn start(
        &self,
        settings: PublisherSettings,
        dependencies: PublisherDependencies,
        arbiters: [ArbiterHandle; 2],
    ) -> Result<(), MailboxError> {
        let [of_publisher, of_worker] = arbiters;
        let (retry, to) = (dependencies.fallback.clone(), self.publisher.clone());
        let runtime = dependencies.runtime.clone();
        let publish = Supervise::new(&self.publisher, of_publisher, move |lifeline| {
            Publisher::new(settings.clone(), dependencies.clone(), lifeline)
        });
        self.guardian.send(publish).await?;
        let retry = Supervise::new(&self.worker, of_worker, move |lifeline| {
            FallbackWorker::new(retry.clone(), to.clone(), runtime.clone(), lifeline)
        });
        self.guardian.send(retry).await
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
