//! What is running where, on disk, so that later commands find it: also after a crash.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::parts::Shape;
use crate::place;
use crate::servers::identity::Identity;
use crate::servers::{SmallDisk, elsewhere};

/// The parts, in the order in which they are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Postgres,
    /// Of a stack with a standby. Which of the two is the primary changes.
    #[value(name = "postgres-2")]
    Postgres2,
    /// The address that leads to the primary.
    PostgresAddress,
    Redis,
    /// The first broker, if there are three.
    Kafka,
    #[value(name = "kafka-2")]
    Kafka2,
    #[value(name = "kafka-3")]
    Kafka3,
    Bonus,
    Orders,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Postgres2 => "postgres-2",
            Self::PostgresAddress => "postgres-address",
            Self::Redis => "redis",
            Self::Kafka => "kafka",
            Self::Kafka2 => "kafka-2",
            Self::Kafka3 => "kafka-3",
            Self::Bonus => "bonus",
            Self::Orders => "orders",
        }
    }

    /// The one that clients expect it on; a server that has an address before it needs none.
    pub(super) fn standard_port(self, shape: Shape) -> Option<u16> {
        match self {
            Self::Postgres => (shape.replicas == 0).then_some(5432),
            Self::PostgresAddress => Some(5432),
            Self::Postgres2 => None,
            Self::Redis => Some(6379),
            Self::Kafka => Some(9092),
            Self::Kafka2 => Some(9093),
            Self::Kafka3 => Some(9094),
            Self::Bonus => Some(3003),
            Self::Orders => Some(3001),
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Entry {
    pub port: u16,
    pub process: Option<Identity>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    pub parts: BTreeMap<Part, Entry>,
    #[serde(default)]
    pub shape: Shape,
    /// Which Postgres is the primary: 0 or 1.
    #[serde(default)]
    pub primary: usize,
    /// Of the brokers that are controllers, too.
    #[serde(default)]
    pub controller_ports: Vec<u16>,
    /// Of the order service's operators and of the bonus service's, if the stack is secured.
    #[serde(default)]
    pub operator_ports: Vec<u16>,
}

impl State {
    /// Whether anything of it lives.
    pub fn is_alive(&self) -> bool {
        self.parts.values().any(|entry| entry.process.is_some_and(Identity::is_alive))
    }
}

/// A stack's directory: data, logs and state of one stack.
#[derive(Debug, Clone)]
pub struct Home {
    pub name: String,
    pub directory: PathBuf,
}

impl Home {
    /// `up` is the one of `stack up`. The name is a directory's, and that directory may be wiped: so nothing but small
    /// letters, digits and hyphens.
    pub fn named(name: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !name.is_empty() && name.chars().all(plain),
            "a stack's name is made of a-z, 0-9 and -, not {name:?}"
        );
        Ok(Self { name: name.to_owned(), directory: place::home().join(name) })
    }

    fn state_file(&self) -> PathBuf {
        self.directory.join("state.json")
    }

    /// Nothing if there is none. An unreadable one counts as none: what it named is found by other means.
    pub fn load(&self) -> State {
        fs::read(self.state_file())
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    pub fn save(&self, state: &State) -> Result<()> {
        fs::create_dir_all(&self.directory)?;
        let draft = self.state_file().with_extension("new");
        fs::write(&draft, serde_json::to_vec_pretty(state)?)?;
        Ok(fs::rename(draft, self.state_file())?)
    }

    /// Held by whoever starts or stops parts.
    pub fn lock(&self) -> Result<File> {
        fs::create_dir_all(place::home())?;
        // Beside the directory, which may be wiped while the lock is held.
        let lock = File::create(self.directory.with_extension("lock"))?;
        lock.try_lock()
            .with_context(|| format!("another command is at work on the stack `{}`", self.name))?;
        Ok(lock)
    }

    /// All directories that may hold something of it.
    pub fn directories(&self) -> Vec<PathBuf> {
        let directory = fs::canonicalize(&self.directory).unwrap_or_else(|_| self.directory.clone());
        vec![elsewhere(&directory), directory]
    }

    pub fn log(&self, part: Part) -> PathBuf {
        // The first of several has a number as well.
        let several = part == Part::Kafka && self.load().shape.brokers > 1;
        let name = if several { "kafka-1" } else { part.name() };
        self.directory.join("logs").join(format!("{name}.log"))
    }

    pub fn wipe(&self) -> Result<()> {
        for directory in self.directories().iter().filter(|directory| directory.exists()) {
            SmallDisk::unmount_below(directory);
            remove(directory)?;
        }
        Ok(())
    }
}

fn remove(directory: &Path) -> Result<()> {
    fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for wrong in ["", ".", "..", "../up", "/tmp", "a/b", "kafka-4.4.0"] {
            assert!(Home::named(wrong).is_err(), "{wrong:?}");
        }
        assert!(Home::named("demo-2").is_ok());
    }
}
