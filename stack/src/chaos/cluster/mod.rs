//! The victims: servers, instances of the services, and the links between them.

#[cfg(feature = "kafka")]
mod brokers;
#[cfg(not(feature = "kafka"))]
#[path = "no_brokers.rs"]
mod brokers;
mod database;
mod failover;
mod faults;
mod findings;
mod instance;
mod progress;
mod reading;
mod readings;
mod redis_servers;
mod remake;
mod streams;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use redis::aio::MultiplexedConnection;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::Mutex;

use self::brokers::Brokers;
use self::database::Database;
use self::instance::{Instance, Servers, relayed};
use self::readings::Readings;
use self::redis_servers::RedisServers;
use super::RECOVERY_MAX;
use super::facts::Generation;
use super::plan::{BONUSES, ORDERS, Peer, Stage, Target};
use crate::local::{Mq, roles};
use crate::secured::{Callers, Secured};
use crate::servers::port::Port;
use crate::servers::process::Life;
use crate::servers::{Link, Server};

/// Between two looks at the cursor.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// A look that takes longer is made again.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);
/// Where messages that bonus cannot credit go.
const DEAD_LETTER_TOPIC: &str = "orders.events.dlq";

/// What has the topic.
enum Queue {
    Kafka(Brokers),
    /// As the checker has read its streams.
    Redis(Box<Mutex<Readings>>),
}

/// How often another server took over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(super) struct Failovers {
    pub(super) postgres: usize,
    pub(super) brokers: usize,
    pub(super) redis: usize,
}

impl fmt::Display for Failovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of Postgres, {} of brokers, {} of Redis", self.postgres, self.brokers, self.redis)
    }
}

pub(super) struct Cluster {
    database: Database,
    redis: RedisServers,
    queue: Queue,
    orders: Vec<Instance>,
    bonuses: Vec<Instance>,
    secured: Option<Secured>,
    /// The checker's own way to whichever Postgres is the primary.
    observer: Link,
    stage: Stage,
    /// One fault at a time on a lane, even if healing the last one took longer than planned.
    busy: BTreeMap<Target, Mutex<()>>,
    /// Topics that were deleted.
    former: Mutex<Vec<Generation>>,
    faults: AtomicUsize,
    postgres_failovers: AtomicUsize,
    broker_failovers: AtomicUsize,
    redis_failovers: AtomicUsize,
}

impl Cluster {
    /// Starts everything below `directory`, and waits until all are ready. Ends with this value.
    pub(super) async fn start(directory: &Path, stage: Stage) -> Result<Arc<Self>> {
        let life = Life::Owned;
        let secured = stage.secure.then(|| Secured::at(directory)).transpose()?;
        let (queue, mut kafka_links) = match stage.mq {
            Mq::Kafka => {
                let (brokers, links) =
                    Brokers::behind(directory, stage.brokers, ORDERS + BONUSES, secured.as_ref(), life)
                        .await?;
                (Queue::Kafka(brokers), links)
            }
            Mq::Redis => (Queue::Redis(Box::new(Mutex::new(Readings::new()))), Vec::new()),
        };
        kafka_links.resize_with(ORDERS + BONUSES, Vec::new);
        let encryption = secured.as_ref().map(Secured::postgres);
        let database = Database::new(directory, stage, encryption, life)?;
        let redis = RedisServers::new(directory, secured.as_ref(), life)?;
        let servers =
            Servers { postgres: database.primary(), redis: redis.primary(), secured: secured.as_ref() };
        let mut instances = Vec::new();
        for (number, kafka_links) in kafka_links.into_iter().enumerate() {
            let links = BTreeMap::from([
                (Peer::Kafka, kafka_links),
                (Peer::Postgres, vec![Link::open(Port::free()?, database.primary().port()).await?]),
                (Peer::Redis, vec![Link::open(Port::free()?, redis.primary().port()).await?]),
            ]);
            let target =
                if number < ORDERS { Target::Orders(number) } else { Target::Bonus(number - ORDERS) };
            instances.push(Instance::new(directory, target, stage.mq, links, &servers, life)?);
        }
        let bonuses = instances.split_off(ORDERS);
        let cluster = Arc::new(Self {
            observer: Link::open(Port::free()?, database.primary().port()).await?,
            database,
            redis,
            queue,
            orders: instances,
            bonuses,
            secured,
            stage,
            busy: stage.targets().into_iter().map(|target| (target, Mutex::new(()))).collect(),
            former: Mutex::default(),
            faults: AtomicUsize::new(0),
            postgres_failovers: AtomicUsize::new(0),
            broker_failovers: AtomicUsize::new(0),
            redis_failovers: AtomicUsize::new(0),
        });
        if stage.mq == Mq::Redis {
            cluster.register().await?;
        }
        if stage.secure {
            cluster.on(Target::Postgres, |server| server.start_again().map(drop)).await?;
            cluster.blocking(|cluster| roles::prepare(cluster.database.primary())).await?;
        }
        cluster.ready().await?;
        cluster.blocking(|cluster| cluster.database.replicate()).await?;
        Ok(cluster)
    }

    fn instance(&self, target: Target) -> Option<&Instance> {
        match target {
            Target::Orders(number) => self.orders.get(number),
            Target::Bonus(number) => self.bonuses.get(number),
            _ => None,
        }
    }

    fn server(&self, target: Target) -> Option<&Server> {
        match target {
            Target::Kafka(number) => self.brokers().ok()?.node(number),
            Target::Brokers => None,
            Target::Redis => Some(self.redis.primary()),
            Target::Postgres => Some(self.database.primary()),
            Target::Standby => Some(self.database.pair()?.standby()),
            Target::Orders(_) | Target::Bonus(_) => self.instance(target).map(|instance| &*instance.service),
        }
    }

    /// Between a service and a server: to Kafka one to each broker.
    fn links(&self, target: Target, peer: Peer) -> Result<&[Link]> {
        let links = self.instance(target).and_then(|instance| instance.links.get(&peer));
        links.map(Vec::as_slice).with_context(|| format!("{target} has no link to {peer}"))
    }

    /// All links to Postgres.
    fn database_links(&self) -> impl Iterator<Item = &Link> {
        let instances = self.orders.iter().chain(&self.bonuses);
        instances.filter_map(|instance| instance.links.get(&Peer::Postgres)).flatten()
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    fn brokers(&self) -> Result<&Brokers> {
        match &self.queue {
            Queue::Kafka(brokers) => Ok(brokers),
            Queue::Redis(_) => bail!("Kafka is not the message queue"),
        }
    }

    /// Of the checker, to whichever Redis is the primary.
    pub(super) async fn redis(&self) -> Result<MultiplexedConnection> {
        self.redis.connect().await
    }

    /// What lets clients in to the services.
    pub(super) fn callers(&self) -> Result<Callers> {
        Callers::of(self.secured.as_ref())
    }

    /// For the report.
    pub(super) async fn redis_label(&self) -> Result<String> {
        let mut redis = self.redis.connect().await?;
        let told: String = redis::cmd("INFO").arg("server").query_async(&mut redis).await?;
        let version = told.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("?");
        Ok(format!("Redis Streams of Redis {version}"))
    }

    /// Of the checker, to whichever Postgres is the primary.
    pub(super) fn pool(&self) -> Result<PgPool> {
        let primary = self.database.primary();
        let url = relayed(primary, self.observer.port());
        let pool = PgPoolOptions::new().max_connections(4).acquire_timeout(Duration::from_secs(30));
        Ok(pool.connect_lazy(&url)?)
    }

    pub(super) fn orders_urls(&self) -> Vec<String> {
        self.orders.iter().map(|instance| instance.service.url()).collect()
    }

    /// Where their operators are served.
    pub(super) fn operators_urls(&self) -> Vec<String> {
        self.orders.iter().map(|instance| instance.service.operators_url()).collect()
    }

    pub(super) fn bonus_url(&self) -> String {
        self.bonuses.first().map(|instance| instance.service.url()).unwrap_or_default()
    }

    /// Faults that hold at this moment.
    pub(super) fn faults(&self) -> usize {
        self.faults.load(Ordering::Relaxed)
    }

    /// So far.
    pub(super) fn failovers(&self) -> Failovers {
        Failovers {
            postgres: self.postgres_failovers.load(Ordering::Relaxed),
            brokers: self.broker_failovers.load(Ordering::Relaxed),
            redis: self.redis_failovers.load(Ordering::Relaxed),
        }
    }

    /// Waits until each instance of the services says that it is ready.
    pub(super) async fn services_ready(self: &Arc<Self>) -> Result<()> {
        let is_service = |target: &Target| matches!(target, Target::Orders(_) | Target::Bonus(_));
        for target in self.stage.targets().into_iter().filter(is_service) {
            self.on(target, |server| server.wait_ready().map(drop)).await?;
        }
        Ok(())
    }

    /// What a service manager does all the time, done once: what has ended is started. Names what had to be.
    pub(super) async fn ready(self: &Arc<Self>) -> Result<Vec<Target>> {
        let mut ended = Vec::new();
        for target in self.stage.targets() {
            // A standby begins as a copy of a primary that runs.
            if target == Target::Standby {
                self.on(Target::Postgres, |server| server.wait_ready().map(drop)).await?;
            }
            if self.server(target).is_some_and(|server| server.identity().is_none()) {
                ended.push(target);
                self.on(target, Server::launch).await?;
            }
        }
        for target in self.stage.targets().into_iter().filter(|target| *target != Target::Brokers) {
            self.on(target, |server| server.wait_ready().map(drop)).await?;
        }
        Ok(ended)
    }

    async fn on(
        self: &Arc<Self>,
        target: Target,
        work: impl FnOnce(&Server) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.blocking(move |cluster| work(cluster.server(target).context("there is no such process")?)).await
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let cluster = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&cluster)).await?
    }
}
