//! The servers of a stack: one of each, or a database with a standby, three brokers, or no broker but Redis.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::Part;
use crate::servers::port::Port;
use crate::servers::process::Life;
use crate::servers::{Address, Encryption, Postgres, PostgresPair, Replication, Server};

/// The message queue that events are published to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mq {
    Kafka,
    /// Redis Streams, in the Redis that every stack has.
    Redis,
}

impl Default for Mq {
    fn default() -> Self {
        if cfg!(feature = "kafka") { Self::Kafka } else { Self::Redis }
    }
}

impl Mq {
    /// The value of the settings `MQ`, `ORDERS_MQ` and `BONUS_MQ`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Redis => "redis",
        }
    }

    /// In prose.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Kafka => "Kafka",
            Self::Redis => "Redis",
        }
    }

    /// The server that has it; of several brokers the first.
    pub(crate) fn part(self) -> Part {
        match self {
            Self::Kafka => Part::Kafka,
            Self::Redis => Part::Redis,
        }
    }

    /// As `MQ` says; `None` if it does not.
    pub fn wanted() -> Result<Option<Self>> {
        match std::env::var("MQ").unwrap_or_default().as_str() {
            "" => Ok(None),
            "kafka" if !cfg!(feature = "kafka") => {
                bail!("this tool was built without Kafka; make it with MQ=kafka or without MQ")
            }
            "kafka" => Ok(Some(Self::Kafka)),
            "redis" => Ok(Some(Self::Redis)),
            other => bail!("MQ={other} is neither kafka nor redis"),
        }
    }
}

/// Which servers a stack has. Chosen when it is made, and kept until it is wiped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    #[serde(default = "kafka")]
    pub mq: Mq,
    /// Standbys of Postgres: none or one.
    pub replicas: u8,
    /// Brokers of Kafka: one or three, if it is the message queue.
    pub brokers: u8,
    /// Every link encrypted, and nobody let in without a login or a token.
    #[serde(default)]
    pub secure: bool,
}

/// Of a stack that was made before there was a choice.
fn kafka() -> Mq {
    Mq::Kafka
}

impl Default for Shape {
    fn default() -> Self {
        Self { mq: Mq::default(), replicas: 0, brokers: 1, secure: false }
    }
}

impl Shape {
    /// As `MQ`, `REPLICAS`, `BROKERS` and `SECURE` say; `None` where none of them does.
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
        let (mq, replicas, brokers, secure) =
            (Mq::wanted()?, number("REPLICAS", [0, 1])?, number("BROKERS", [1, 3])?, secure_wanted()?);
        let usual = Self::default();
        let shape = Self {
            mq: mq.unwrap_or(usual.mq),
            replicas: replicas.unwrap_or(usual.replicas),
            brokers: brokers.unwrap_or(usual.brokers),
            secure: secure.unwrap_or(usual.secure),
        };
        ensure!(
            shape.mq == Mq::Kafka || shape.brokers == usual.brokers,
            "BROKERS is for Kafka, and MQ=redis has none: unset one of them"
        );
        let any = mq.is_some() || replicas.is_some() || brokers.is_some() || secure.is_some();
        Ok(any.then_some(shape))
    }

    /// Its parts, in the order in which they are started: each stage at once, the next one when all of it is ready.
    pub fn stages(self) -> Vec<Vec<Part>> {
        let mut servers = vec![Part::Postgres, Part::Redis];
        match (self.mq, self.brokers) {
            (Mq::Redis, _) => {}
            (Mq::Kafka, 1) => servers.push(Part::Kafka),
            (Mq::Kafka, _) => servers.extend([Part::Kafka, Part::Kafka2, Part::Kafka3]),
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
        match self.mq {
            Mq::Kafka => write!(f, "REPLICAS={} BROKERS={}", self.replicas, self.brokers)?,
            Mq::Redis => write!(f, "MQ=redis REPLICAS={}", self.replicas)?,
        }
        write!(f, " SECURE={}", u8::from(self.secure))
    }
}

/// As `SECURE` says; `None` if it does not.
pub(crate) fn secure_wanted() -> Result<Option<bool>> {
    match std::env::var("SECURE").unwrap_or_default().as_str() {
        "" => Ok(None),
        "0" => Ok(Some(false)),
        "1" => Ok(Some(true)),
        other => bail!("SECURE={other} is neither 0 nor 1"),
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
        encryption: Option<Encryption>,
        life: Life,
    ) -> Result<Self> {
        let mut ports = ports.into_iter();
        let mut next = || ports.next().context("a port is missing");
        let first = next()?;
        if shape.replicas == 0 {
            return Ok(Self::Single(Box::new(Postgres::new(directory, first, encryption, life)?)));
        }
        let pair = Box::new(PostgresPair::new(directory, [first, next()?], encryption, life)?);
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
