//! A publisher in a command: the same as in the service, under the same lease, without HTTP, orders and journal.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Arbiter};
use engine::fallback::Fallback;
use engine::journal::JournalState;
use engine::publisher::{OutageLog, Publication, PublisherDependencies};
use kit::supervision::{Guardian, GuardianSettings};
use kit::telemetry::LogFormat;
use tokio::runtime::Handle;

use super::database::{Journal, SESSIONS};
use crate::config;
use crate::telemetry;

/// How long the deliveries in flight may take at the end.
const GRACE: Duration = Duration::from_secs(10);
const DASHBOARD_INTERVAL: Duration = Duration::from_secs(30);

pub struct Publishing {
    publication: Publication,
    arbiters: [Arbiter; 2],
}

impl Publishing {
    /// Waits for the lease, and publishes while it has it.
    pub async fn start(
        settings: &config::Publication,
        log_format: LogFormat,
        journal: &Journal,
        fallback: &Fallback,
    ) -> anyhow::Result<Self> {
        let guardian = Guardian::new(GuardianSettings {
            dashboard_interval: DASHBOARD_INTERVAL,
            format: log_format,
            restarts_metric: telemetry::RESTARTS,
        })
        .start();
        let arbiters = [Arbiter::new(), Arbiter::new()];
        let dependencies = PublisherDependencies {
            reader: journal.reader.clone(),
            outbox: journal.outbox.clone(),
            outages: OutageLog::default(),
            journal: Arc::new(JournalState::default()),
            fallback: fallback.clone(),
            runtime: Handle::current(),
        };
        let names = journal.reader.names().clone();
        let settings = settings.settings()?.publisher(&journal.database, SESSIONS, names);
        let handles = [arbiters[0].handle(), arbiters[1].handle()];
        let publication = Publication::new(&guardian);
        publication.start(settings, dependencies, handles).await?;
        Ok(Self { publication, arbiters })
    }

    pub async fn stop(self) {
        self.publication.stop(GRACE).await;
        for arbiter in self.arbiters {
            arbiter.stop();
        }
    }
}
