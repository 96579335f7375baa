//! The victims: servers, instances of the services, and the links between them.

mod database;
mod failover;
mod faults;
mod remake;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::Mutex;

use self::database::Database;
use super::RECOVERY_MAX;
use super::facts::Generation;
use super::plan::{BONUSES, ORDERS, Peer, Stage, Target};
use crate::servers::kafka::{ClusterSettings, bootstrap};
use crate::servers::port::Port;
use crate::servers::process::Life;
use crate::servers::{KafkaCluster, Link, Postgres, Redis, Server, Service, ServiceSettings};

/// Between two looks at the cursor.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// A look that takes longer is made again.
const LOOK_PATIENCE: Duration = Duration::from_secs(2);

/// A service and what connects it to the servers: several links to Kafka, one to each broker.
struct Instance {
    service: Service,
    links: BTreeMap<Peer, Vec<Link>>,
}

pub(super) struct Cluster {
    database: Database,
    pub(super) redis: Redis,
    kafka: KafkaCluster,
    orders: Vec<Instance>,
    bonuses: Vec<Instance>,
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
}

impl Cluster {
    /// Starts everything below `directory`, and waits until all are ready. Ends with this value.
    pub(super) async fn start(directory: &Path, stage: Stage) -> Result<Arc<Self>> {
        let life = Life::Owned;
        let settings = match stage.brokers {
            1 => ClusterSettings { brokers: 1, replication: 1, min_in_sync: 1, lines: Vec::new() },
            brokers => ClusterSettings { brokers, ..ClusterSettings::default() },
        };
        let (kafka, kafka_links) = KafkaCluster::behind(directory, &settings, ORDERS + BONUSES, life).await?;
        let database = Database::new(directory, stage, life)?;
        let redis = Redis::new(directory, Port::free()?, life)?;
        let mut instances = Vec::new();
        for (number, kafka_links) in kafka_links.into_iter().enumerate() {
            let links = BTreeMap::from([
                (Peer::Kafka, kafka_links),
                (Peer::Postgres, vec![Link::open(Port::free()?, database.primary().port()).await?]),
                (Peer::Redis, vec![Link::open(Port::free()?, redis.port()).await?]),
            ]);
            let target =
                if number < ORDERS { Target::Orders(number) } else { Target::Bonus(number - ORDERS) };
            let settings = service_settings(target, &links, database.primary())?;
            instances
                .push(Instance { service: Service::new(directory, settings, Port::free()?, life)?, links });
        }
        let bonuses = instances.split_off(ORDERS);
        let cluster = Arc::new(Self {
            observer: Link::open(Port::free()?, database.primary().port()).await?,
            database,
            redis,
            kafka,
            orders: instances,
            bonuses,
            stage,
            busy: stage.targets().into_iter().map(|target| (target, Mutex::new(()))).collect(),
            former: Mutex::default(),
            faults: AtomicUsize::new(0),
            postgres_failovers: AtomicUsize::new(0),
            broker_failovers: AtomicUsize::new(0),
        });
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
            Target::Kafka(number) => Some(self.kafka.nodes().get(number)?),
            Target::Brokers => None,
            Target::Redis => Some(&self.redis),
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

    pub(super) fn brokers(&self) -> String {
        self.kafka.brokers()
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

    pub(super) fn bonus_url(&self) -> String {
        self.bonuses.first().map(|instance| instance.service.url()).unwrap_or_default()
    }

    /// Faults that hold at this moment.
    pub(super) fn faults(&self) -> usize {
        self.faults.load(Ordering::Relaxed)
    }

    /// So far: of Postgres, and of brokers.
    pub(super) fn failovers(&self) -> (usize, usize) {
        (self.postgres_failovers.load(Ordering::Relaxed), self.broker_failovers.load(Ordering::Relaxed))
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

    /// Whether all that was committed before this call is delivered, waiting for it as long as `patience`; how long it took.
    pub(super) async fn caught_up(&self, database: &PgPool, patience: Duration) -> Result<Option<Duration>> {
        let begun = Instant::now();
        let mut head = None;
        while begun.elapsed() < patience {
            // Postgres may be replaced meanwhile: whatever goes wrong is asked again.
            match tokio::time::timeout(LOOK_PATIENCE, progress(database)).await {
                Ok(Ok((_, committed))) if head.is_none() => head = Some(committed),
                Ok(Ok((published, _))) if head.is_some_and(|head| published >= head) => {
                    return Ok(Some(begun.elapsed()));
                }
                _ => tokio::time::sleep(LOOK_PAUSE).await,
            }
        }
        if head.is_none() {
            bail!("Postgres could not be asked for {patience:?}");
        }
        Ok(None)
    }
}

/// The cursor, and the log's head.
async fn progress(database: &PgPool) -> sqlx::Result<(i64, i64)> {
    sqlx::query_as(
        "SELECT published_seq, (SELECT coalesce(max(seq), 0) FROM order_event) FROM publisher_cursor",
    )
    .fetch_one(database)
    .await
}

/// The database's address by way of a link.
fn relayed(postgres: &Postgres, port: u16) -> String {
    postgres.url().replace(&format!(":{}/", postgres.port()), &format!(":{port}/"))
}

fn service_settings(
    target: Target,
    links: &BTreeMap<Peer, Vec<Link>>,
    postgres: &Postgres,
) -> Result<ServiceSettings> {
    let links = |peer| links.get(&peer).map(Vec::as_slice).unwrap_or_default();
    let port = |peer| links(peer).first().map(Link::port).unwrap_or_default();
    let mut settings = match target {
        Target::Bonus(_) => ServiceSettings::bonus()?.with("BONUS_INSTANCE_ID", target.to_string()),
        _ => ServiceSettings::orders()?,
    };
    settings.name = target.to_string();
    Ok(settings
        .with("DATABASE_URL", relayed(postgres, port(Peer::Postgres)))
        .with("KAFKA_BROKERS", bootstrap(links(Peer::Kafka)))
        .with("REDIS_URL", format!("redis://127.0.0.1:{}", port(Peer::Redis)))
        .with("LOG_FORMAT", "pretty"))
}
