//! The brokers of a stack whose message queue is Kafka.

use std::path::Path;

use anyhow::{Result, anyhow, bail, ensure};

use crate::secured::Secured;
use crate::servers::kafka::{Access, ClusterSettings, Distribution};
use crate::servers::port::Port;
use crate::servers::process::Life;
use crate::servers::{Kafka, KafkaCluster, Server};

/// Kafka alone, or three brokers.
pub(crate) enum Brokers {
    Single(Box<Kafka>),
    Three(Box<[Kafka; 3]>),
}

impl Brokers {
    /// As many `ports` as brokers, and as many `controllers`.
    pub(super) fn new(
        directory: &Path,
        kafka: Distribution,
        secured: Option<&Secured>,
        mut ports: Vec<Port>,
        mut controllers: Vec<Port>,
        life: Life,
    ) -> Result<Self> {
        ensure!(!ports.is_empty() && ports.len() == controllers.len(), "a port is missing");
        let security = secured.map(Secured::brokers).transpose()?.unwrap_or_default();
        if ports.len() == 1 {
            let (port, controller) = (ports.remove(0), controllers.remove(0));
            let alone = Kafka::behind(directory, kafka, port, controller, Vec::new(), security, life)?;
            return Ok(Self::Single(Box::new(alone)));
        }
        let Distribution::Apache(files) = kafka else {
            bail!("the embedded stand-in for Kafka is one broker: unset BROKERS or KAFKA=embedded");
        };
        let settings = ClusterSettings { brokers: ports.len(), security, ..ClusterSettings::default() };
        let doors = ports.iter().map(|_| Vec::new()).collect();
        let cluster =
            KafkaCluster::with_controllers(directory, files, &settings, ports, controllers, doors, life)?;
        let nodes = cluster.into_nodes().try_into();
        Ok(Self::Three(Box::new(nodes.map_err(|_| anyhow!("a stack has one broker or three"))?)))
    }

    /// The bootstrap servers.
    pub fn brokers(&self) -> String {
        match self {
            Self::Single(kafka) => kafka.brokers(),
            Self::Three(nodes) => nodes.each_ref().map(Kafka::brokers).join(","),
        }
    }

    /// Of a service whose settings begin with `prefix`.
    pub(super) fn settings(&self, prefix: &str) -> Vec<(String, String)> {
        self.access().environment(prefix)
    }

    /// Where they are, and how this tool's clients get in.
    pub fn access(&self) -> Access {
        Access { brokers: self.brokers(), security: self.kafka(0).access().security }
    }

    /// From 0 on.
    pub(super) fn node(&self, place: usize) -> &Server {
        self.kafka(place)
    }

    pub(super) fn port(&self, place: usize) -> u16 {
        self.kafka(place).port()
    }

    fn kafka(&self, place: usize) -> &Kafka {
        match (self, place) {
            (Self::Single(kafka), _) => kafka,
            (Self::Three(nodes), 0) => &nodes[0],
            (Self::Three(nodes), 1) => &nodes[1],
            (Self::Three(nodes), _) => &nodes[2],
        }
    }
}
