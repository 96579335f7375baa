//! The brokers of a run whose message queue is Kafka.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::secured::Secured;
use crate::servers::kafka::{Access, ClusterSettings, QuotaOf, bootstrap};
use crate::servers::process::Life;
use crate::servers::{KafkaCluster, Link, Server};
use crate::topic::{
    self, CHANGES_TOPIC, Published, PublishedChange, Reading, TOPIC, published, published_change,
};

/// How long replicas may take to catch up before the topic is read; then it is read all the same.
const SYNC_PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Brokers(KafkaCluster);

impl Brokers {
    /// Starts nothing yet, except the links: for each client one to each broker.
    pub(super) async fn behind(
        directory: &Path,
        brokers: usize,
        clients: usize,
        secured: Option<&Secured>,
        life: Life,
    ) -> Result<(Self, Vec<Vec<Link>>)> {
        let mut settings = match brokers {
            1 => ClusterSettings { brokers: 1, replication: 1, min_in_sync: 1, ..ClusterSettings::default() },
            brokers => ClusterSettings { brokers, ..ClusterSettings::default() },
        };
        if let Some(secured) = secured {
            (settings.security, settings.doors) = (secured.brokers()?, secured.listener());
        }
        let (cluster, links) = KafkaCluster::behind(directory, &settings, clients, life).await?;
        Ok((Self(cluster), links))
    }

    pub(super) fn node(&self, number: usize) -> Option<&Server> {
        self.0.nodes().get(number).map(|node| &**node)
    }

    /// Of a service whose settings begin with `prefix`, by the direct way.
    pub(super) fn settings(&self, prefix: &str) -> Vec<(String, String)> {
        self.0.access().environment(prefix)
    }

    /// Of a service whose settings begin with `prefix`, and that goes over these links.
    pub(super) fn settings_by(
        links: &[Link],
        secured: Option<&Secured>,
        prefix: &str,
    ) -> Result<Vec<(String, String)>> {
        let security = secured.map(Secured::client_of_brokers).transpose()?.unwrap_or_default();
        Ok(Access { brokers: bootstrap(links), security }.environment(prefix))
    }

    /// Bytes a second of each client, at each broker.
    pub(super) fn set_quota(&self, quota: Option<f64>) -> Result<()> {
        self.0.admin()?.set_quota(QuotaOf::EachClient, "producer_byte_rate", quota)
    }

    pub(super) fn wait_in_sync(&self, patience: Duration) -> Result<()> {
        self.0.admin()?.wait_in_sync(patience)
    }

    /// The whole topic. Blocks.
    pub(super) fn read(&self) -> Result<Vec<Published>> {
        topic::read(&self.0.access())
    }

    /// All changes of customers' standing. Blocks.
    pub(super) fn read_changes(&self) -> Result<Vec<PublishedChange>> {
        let mut reading = Reading::begin(&self.0.access(), CHANGES_TOPIC, published_change)?;
        reading.catch_up()?;
        Ok(reading.messages)
    }

    /// How many messages a topic has; none if it is not there. Blocks.
    pub(super) fn count(&self, topic: &str) -> Result<u64> {
        topic::count(&self.0.access(), topic)
    }

    /// What the topic had when its deletion began. Blocks.
    pub(super) fn read_and_delete(&self) -> Result<Vec<Published>> {
        let admin = self.0.admin()?;
        let _ = admin.wait_in_sync(SYNC_PATIENCE);
        let mut reading = Reading::begin(&self.0.access(), TOPIC, published)?;
        // Twice: what is published during the first pass would be lost without having been seen.
        reading.catch_up()?;
        reading.catch_up()?;
        admin.begin_deletion(TOPIC)?;
        Ok(reading.messages)
    }
}
