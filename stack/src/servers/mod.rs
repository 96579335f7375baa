//! Private servers: real programs on the loopback interface, each on its own port with its own data, that can be
//! killed, frozen and started again where they were.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let directory = tempfile::tempdir()?;
//! let postgres = stack::servers::Postgres::start(directory.path())?;
//! postgres.kill()?;
//! postgres.start_again()?; // same port, same data
//! println!("{}", postgres.url());
//! # Ok(())
//! # }
//! ```
//!
//! | wanted | by |
//! |---|---|
//! | a network that loses packets, is cut, slow, or leads elsewhere; connections that go silent for ever | [`Link`] |
//! | a standby that is promoted, with and without loss; an old primary that rejoins | [`PostgresPair`] |
//! | a server that turns read-only; a disk that is full, of Postgres or of Kafka | [`Postgres::set_read_only`], [`SmallDisk`] |
//! | a server that takes encrypted connections alone, and asks clients for certificates or a user | [`Postgres::start_encrypted`], [`Redis::start_encrypted`] |
//! | a partition without a leader, too few replicas, a rolling restart | [`KafkaCluster`] |
//! | listeners that ask for TLS, certificates and logins | [`kafka::Door`], [`kafka::Security`] |
//! | topics with replicas where a test wants them, remade, emptied; quotas; rights that are taken away | [`kafka::Admin`] |
//!
//! Everything blocks, see [`Server`]. What a value has started ends with the value, or with the process, even if that is killed.

mod address;
mod browser;
mod disk;
mod encryption;
pub mod identity;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(not(feature = "kafka"))]
#[path = "no_kafka.rs"]
pub mod kafka;
mod link;
pub mod port;
pub(crate) mod postgres;
pub mod process;
mod redis;
mod server;
mod service;

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

pub(crate) use self::address::Address;
pub use self::address::run_address;
pub use self::browser::Browser;
pub use self::disk::SmallDisk;
pub use self::encryption::Encryption;
#[cfg(feature = "kafka")]
pub use self::kafka::{Kafka, KafkaCluster};
pub use self::link::{Link, Passage, Throttle};
pub(crate) use self::postgres::elsewhere;
pub use self::postgres::{Postgres, PostgresPair, Replication, Small};
pub use self::redis::{Redis, RedisUser};
pub use self::server::{Condition, Server};
pub use self::service::{Service, ServiceSettings};

/// Runs a short question on a thread and runtime of its own, so that it may be asked inside any other runtime.
pub(crate) fn ask<T: Send>(
    patience: Duration,
    question: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    std::thread::scope(|scope| {
        let asking = scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                tokio::time::timeout(patience, question).await.context("no answer in time")?
            })
        });
        asking.join().map_err(|_| anyhow!("the question panicked"))?
    })
}
