//! Redis. Where it is the message queue there are two: the other one becomes a replica, and takes over.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;

use crate::secured::Secured;
use crate::servers::Redis;
use crate::servers::port::Port;
use crate::servers::process::Life;

/// For one answer: a frozen server gives none.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// How long a replica may take to have what its primary has.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(30);
const LOOK_PAUSE: Duration = Duration::from_millis(10);

pub(super) struct RedisServers {
    servers: [Redis; 2],
    /// Where each has its data.
    data: [PathBuf; 2],
    primary: AtomicUsize,
}

impl RedisServers {
    /// Starts nothing. The first one is the primary.
    pub(super) fn new(directory: &Path, secured: Option<&Secured>, life: Life) -> Result<Self> {
        let homes = [directory.to_owned(), directory.join("second")];
        let [first, second] = homes.each_ref().map(|home| {
            let (encryption, user) = secured.map(Secured::redis).transpose()?.unzip();
            Redis::new(home, Port::free()?, encryption, user, life)
        });
        let data = homes.map(|home| home.join("redis"));
        Ok(Self { servers: [first?, second?], data, primary: AtomicUsize::new(0) })
    }

    fn at(&self, place: usize) -> &Redis {
        let [first, second] = &self.servers;
        if place == 0 { first } else { second }
    }

    /// The one that clients are led to.
    pub(super) fn primary(&self) -> &Redis {
        self.at(self.primary.load(Ordering::SeqCst))
    }

    pub(super) fn other(&self) -> &Redis {
        self.at(1 - self.primary.load(Ordering::SeqCst))
    }

    /// They change places.
    pub(super) fn swap(&self) {
        self.primary.fetch_xor(1, Ordering::SeqCst);
    }

    /// Removes the data of one that is down.
    pub(super) fn remove_data(&self, of: &Redis) -> Result<()> {
        let place = usize::from(of.port() != self.servers[0].port());
        let data = self.data.get(place).context("there is no such Redis")?;
        if data.exists() {
            fs::remove_dir_all(data).with_context(|| format!("{} cannot be removed", data.display()))?;
        }
        Ok(())
    }

    /// Directly, not over a link.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection> {
        connect(self.primary()).await
    }

    /// Makes the other one a replica from nothing, and a server of its own once it has everything: from now on it lags.
    pub(super) async fn split_off(&self) -> Result<()> {
        let mut redis = connect(self.other()).await?;
        for (setting, value) in self.other().replication() {
            let _: () =
                redis::cmd("CONFIG").arg("SET").arg(setting).arg(value).query_async(&mut redis).await?;
        }
        let port = self.primary().port();
        let _: () = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port).query_async(&mut redis).await?;
        let begun = Instant::now();
        loop {
            let told: String = redis::cmd("INFO").arg("replication").query_async(&mut redis).await?;
            if told.contains("master_link_status:up") {
                break;
            }
            if begun.elapsed() > FOLLOW_PATIENCE {
                bail!("the replica of Redis does not follow: {told}");
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        let _: () = redis::cmd("REPLICAOF").arg("NO").arg("ONE").query_async(&mut redis).await?;
        Ok(())
    }
}

pub(super) async fn connect(redis: &Redis) -> Result<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_PATIENCE))
        .set_response_timeout(Some(ANSWER_PATIENCE));
    Ok(redis.client()?.get_multiplexed_async_connection_with_config(&config).await?)
}
