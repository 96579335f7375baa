//! The servers of a stack: one of each, or a database with a standby, or three brokers.

use std::ops::Deref;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use super::Part;
use crate::servers::kafka::{ClusterSettings, Distribution};
use crate::servers::port::Port;
use crate::servers::process::Life;
use crate::servers::{Address, Kafka, KafkaCluster, Postgres, PostgresPair, Replication, Server};

/// How many servers a stack has. Chosen when it is made, and kept until it is wiped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Standbys of Postgres: none or one.
    pub replicas: u8,
    /// Brokers of Kafka: one or three.
    pub brokers: u8,
}

impl Default for Shape {
    fn default() -> Self {
        Self { replicas: 0, brokers: 1 }
    }
}

impl Shape {
    /// As `REPLICAS` and `BROKERS` say; `None` where neither does.
    pub fn wanted() -> Result<Option<Self>> {
        let number = |variable: &str, allowed: [u8; 2]| -> Result<Option<u8>> {
            let Ok(text) = std::env::var(variable) else { return Ok(None) };
            if text.is_empty() {
                return Ok(None);
            }
            let number = text.parse().ok().filter(|number| allowed.contains(number));
            let [few, many] = allowed;
            number.map(Some).with_context(|| format!("{variable}={text} is neither {few} nor {many}"))
        };
        let (replicas, brokers) = (number("REPLICAS", [0, 1])?, number("BROKERS", [1, 3])?);
        let usual = Self::default();
        Ok((replicas.is_some() || brokers.is_some()).then(|| Self {
            replicas: replicas.unwrap_or(usual.replicas),
            brokers: brokers.unwrap_or(usual.brokers),
        }))
    }

    /// Its parts, in the order in which they are started: each stage at once, the next one when all of it is ready.
    pub fn stages(self) -> Vec<Vec<Part>> {
        let mut servers = vec![Part::Postgres, Part::Redis, Part::Kafka];
        if self.brokers > 1 {
            servers.extend([Part::Kafka2, Part::Kafka3]);
        }
        let mut stages = vec![servers];
        if self.replicas > 0 {
            // A standby begins as a copy of a primary that runs.
            stages.push(vec![Part::Postgres2, Part::PostgresAddress]);
        }
        stages.push(vec![Part::Bonus, Part::Orders]);
        stages
    }

    pub fn parts(self) -> Vec<Part> {
        self.stages().into_iter().flatten().collect()
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "REPLICAS={} BROKERS={}", self.replicas, self.brokers)
    }
}

/// Postgres alone, or a primary and a synchronous standby behind an address that stays.
pub(crate) enum Database {
    Single(Box<Postgres>),
    Pair { pair: Box<PostgresPair>, address: Box<Address> },
}

impl Database {
    /// `ports`: of the server, and of the standby and the address if there are such.
    /// `primary`: which of two it is, on record.
    pub(super) fn new(
        directory: &Path,
        shape: Shape,
        ports: Vec<Port>,
        primary: usize,
        life: Life,
    ) -> Result<Self> {
        let mut ports = ports.into_iter();
        let mut next = || ports.next().context("a port is missing");
        let first = next()?;
        if shape.replicas == 0 {
            return Ok(Self::Single(Box::new(Postgres::new(directory, first, life)?)));
        }
        let pair = Box::new(PostgresPair::new(directory, [first, next()?], life)?);
        pair.recall(primary, Replication::Synchronous);
        let address = Address::new(Part::PostgresAddress.name(), directory, next()?, life)?;
        Ok(Self::Pair { pair, address: Box::new(address) })
    }

    pub(super) fn pair(&self) -> Result<(&PostgresPair, &Address)> {
        match self {
            Self::Pair { pair, address } => Ok((pair, address)),
            Self::Single(_) => bail!("this stack has no standby: `make wipe` it, and `make up REPLICAS=1`"),
        }
    }

    /// Commits wait for the standby from now on.
    pub(super) fn replicate(&self) -> Result<()> {
        match self {
            Self::Single(_) => Ok(()),
            Self::Pair { pair, .. } => pair.replicate(Replication::Synchronous),
        }
    }

    pub(super) fn place_of_primary(&self) -> usize {
        match self {
            Self::Single(_) => 0,
            Self::Pair { pair, .. } => pair.place_of_primary(),
        }
    }

    /// The address leads to the primary from now on.
    pub(super) fn lead(&self) -> Result<()> {
        match self {
            Self::Single(_) => Ok(()),
            Self::Pair { pair, address } => address.point_at(pair.primary().port()),
        }
    }

    /// What services connect to.
    pub(super) fn address(&self) -> &Server {
        match self {
            Self::Single(postgres) => postgres,
            Self::Pair { address, .. } => address,
        }
    }

    /// The one that services connect to.
    pub fn port(&self) -> u16 {
        match self {
            Self::Single(postgres) => postgres.port(),
            Self::Pair { address, .. } => address.port(),
        }
    }

    pub(super) fn server(&self, place: usize) -> &Postgres {
        match self {
            Self::Single(postgres) => postgres,
            Self::Pair { pair, .. } => pair.at(place),
        }
    }

    /// Of the database `app`, by the address that services use.
    pub fn url(&self) -> String {
        match self {
            Self::Single(postgres) => postgres.url(),
            Self::Pair { pair, address } => {
                let primary = pair.primary();
                primary.url().replace(&format!(":{}/", primary.port()), &format!(":{}/", address.port()))
            }
        }
    }
}

/// Kafka alone, or three brokers. Dereferences to the first one.
pub(crate) enum Brokers {
    Single(Box<Kafka>),
    Three(Box<[Kafka; 3]>),
}

impl Brokers {
    /// As many `ports` as brokers, and as many `controllers`.
    pub(super) fn new(
        directory: &Path,
        kafka: Distribution,
        mut ports: Vec<Port>,
        mut controllers: Vec<Port>,
        life: Life,
    ) -> Result<Self> {
        ensure!(!ports.is_empty() && ports.len() == controllers.len(), "a port is missing");
        if ports.len() == 1 {
            let (port, controller) = (ports.remove(0), controllers.remove(0));
            return Ok(Self::Single(Box::new(Kafka::new(directory, kafka, port, controller, life)?)));
        }
        let Distribution::Apache(files) = kafka else {
            bail!("the embedded stand-in for Kafka is one broker: unset BROKERS or KAFKA=embedded");
        };
        let settings = ClusterSettings { brokers: ports.len(), ..ClusterSettings::default() };
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

    /// From 0 on.
    pub(super) fn node(&self, place: usize) -> &Kafka {
        match (self, place) {
            (Self::Single(kafka), _) => kafka,
            (Self::Three(nodes), 0) => &nodes[0],
            (Self::Three(nodes), 1) => &nodes[1],
            (Self::Three(nodes), _) => &nodes[2],
        }
    }
}

impl Deref for Brokers {
    type Target = Server;

    fn deref(&self) -> &Server {
        self.node(0)
    }
}
