//! The victims: servers, instances of the services, and the links between them; and what the nemesis does to them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::Mutex;

use super::plan::{BONUSES, Fault, Kind, ORDERS, Peer, Target};
use crate::servers::kafka::{Distribution, Door};
use crate::servers::port::Port;
use crate::servers::process::Life;
use crate::servers::{Kafka, Link, Passage, Postgres, Redis, Server, Service, ServiceSettings};

/// A service and what connects it to the servers.
struct Instance {
    service: Service,
    links: BTreeMap<Peer, Link>,
}

pub(super) struct Cluster {
    pub(super) postgres: Postgres,
    pub(super) redis: Redis,
    pub(super) kafka: Kafka,
    orders: Vec<Instance>,
    bonuses: Vec<Instance>,
    /// One fault at a time on a target, even if healing the last one took longer than planned.
    busy: BTreeMap<Target, Mutex<()>>,
    faults: AtomicUsize,
}

impl Cluster {
    /// Starts everything below `directory`, and waits until all are ready. Ends with this value.
    pub(super) async fn start(directory: &Path, kafka: Distribution) -> Result<Arc<Self>> {
        let life = Life::Owned;
        let (port, controller_port) = (Port::free()?, Port::free()?);
        let (mut doors, mut kafka_links) = (Vec::new(), Vec::new());
        for _ in 0..ORDERS + BONUSES {
            let door = Port::free()?;
            let link = Link::open(Port::free()?, door.number()).await?;
            doors.push(Door { port: door, advertised: link.port() });
            kafka_links.push(link);
        }
        let kafka = Kafka::behind(directory, kafka, port, controller_port, doors, life)?;
        let postgres = Postgres::new(directory, Port::free()?, life)?;
        let redis = Redis::new(directory, Port::free()?, life)?;
        let mut instances = Vec::new();
        for (number, kafka_link) in kafka_links.into_iter().enumerate() {
            let links = BTreeMap::from([
                (Peer::Kafka, kafka_link),
                (Peer::Postgres, Link::open(Port::free()?, postgres.port()).await?),
                (Peer::Redis, Link::open(Port::free()?, redis.port()).await?),
            ]);
            let target =
                if number < ORDERS { Target::Orders(number) } else { Target::Bonus(number - ORDERS) };
            let settings = settings(target, &links, &postgres)?;
            instances
                .push(Instance { service: Service::new(directory, settings, Port::free()?, life)?, links });
        }
        let bonuses = instances.split_off(ORDERS);
        let mut cluster = Self {
            postgres,
            redis,
            kafka,
            orders: instances,
            bonuses,
            busy: BTreeMap::new(),
            faults: AtomicUsize::new(0),
        };
        cluster.busy = cluster.targets().into_iter().map(|target| (target, Mutex::new(()))).collect();
        let cluster = Arc::new(cluster);
        cluster.ready().await?;
        Ok(cluster)
    }

    fn targets(&self) -> Vec<Target> {
        let servers = [Target::Postgres, Target::Redis, Target::Kafka];
        let orders = (0..self.orders.len()).map(Target::Orders);
        servers.into_iter().chain(orders).chain((0..self.bonuses.len()).map(Target::Bonus)).collect()
    }

    fn instance(&self, target: Target) -> Option<&Instance> {
        match target {
            Target::Orders(number) => self.orders.get(number),
            Target::Bonus(number) => self.bonuses.get(number),
            Target::Kafka | Target::Redis | Target::Postgres => None,
        }
    }

    fn server(&self, target: Target) -> Option<&Server> {
        match target {
            Target::Kafka => Some(&self.kafka),
            Target::Redis => Some(&self.redis),
            Target::Postgres => Some(&self.postgres),
            Target::Orders(_) | Target::Bonus(_) => self.instance(target).map(|instance| &*instance.service),
        }
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

    /// Lets one fault happen and pass.
    pub(super) async fn suffer(self: &Arc<Self>, fault: Fault) -> Result<()> {
        let _alone = match self.busy.get(&fault.target) {
            Some(busy) => Some(busy.lock().await),
            None => None,
        };
        self.faults.fetch_add(1, Ordering::Relaxed);
        let result = self.suffer_alone(fault).await;
        self.faults.fetch_sub(1, Ordering::Relaxed);
        result.with_context(|| format!("{} {}", fault.target, fault.kind))
    }

    async fn suffer_alone(self: &Arc<Self>, Fault { target, kind, lasts, .. }: Fault) -> Result<()> {
        match kind {
            Kind::Cut(peer) | Kind::Stall(peer) => {
                let link = self.instance(target).and_then(|instance| instance.links.get(&peer));
                let link = link.context("there is no such link")?;
                link.set(if matches!(kind, Kind::Cut(_)) { Passage::Cut } else { Passage::Stalled });
                tokio::time::sleep(lasts).await;
                link.set(Passage::Open);
                Ok(())
            }
            Kind::Forget => {
                let redis = redis::Client::open(self.redis.url())?;
                let mut redis = redis.get_multiplexed_async_connection().await?;
                Ok(redis::cmd("FLUSHALL").query_async(&mut redis).await?)
            }
            Kind::Freeze => {
                self.blocking(target, Server::freeze).await?;
                tokio::time::sleep(lasts).await;
                self.blocking(target, Server::thaw).await
            }
            Kind::Kill | Kind::Restart => {
                self.blocking(target, if kind == Kind::Kill { Server::kill } else { Server::stop }).await?;
                tokio::time::sleep(lasts).await;
                self.blocking(target, Server::launch).await
            }
        }
    }

    /// What a service manager does all the time, done once: what has ended is started. Names what had to be.
    pub(super) async fn ready(self: &Arc<Self>) -> Result<Vec<Target>> {
        let mut ended = Vec::new();
        for target in self.targets() {
            if self.server(target).is_some_and(|server| server.identity().is_none()) {
                ended.push(target);
                self.blocking(target, Server::launch).await?;
            }
        }
        for target in self.targets() {
            self.blocking(target, |server| server.wait_ready().map(drop)).await?;
        }
        Ok(ended)
    }

    async fn blocking(
        self: &Arc<Self>,
        target: Target,
        work: impl FnOnce(&Server) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let cluster = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(cluster.server(target).context("there is no such process")?))
            .await?
    }

    /// Whether all that was committed before this call is delivered, waiting for it as long as `patience`; how long it took.
    pub(super) async fn caught_up(
        &self,
        database: &sqlx::PgPool,
        patience: Duration,
    ) -> Result<Option<Duration>> {
        let begun = Instant::now();
        let head: i64 =
            sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM order_event").fetch_one(database).await?;
        while begun.elapsed() < patience {
            let cursor: i64 =
                sqlx::query_scalar("SELECT published_seq FROM publisher_cursor").fetch_one(database).await?;
            if cursor >= head {
                return Ok(Some(begun.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(None)
    }
}

fn settings(target: Target, links: &BTreeMap<Peer, Link>, postgres: &Postgres) -> Result<ServiceSettings> {
    let port = |peer| links.get(&peer).map(Link::port).unwrap_or_default();
    let database =
        postgres.url().replace(&format!(":{}/", postgres.port()), &format!(":{}/", port(Peer::Postgres)));
    let mut settings = match target {
        Target::Bonus(_) => ServiceSettings::bonus()?.with("BONUS_INSTANCE_ID", target.to_string()),
        _ => ServiceSettings::orders()?,
    };
    settings.name = target.to_string();
    Ok(settings
        .with("DATABASE_URL", database)
        .with("KAFKA_BROKERS", format!("127.0.0.1:{}", port(Peer::Kafka)))
        .with("REDIS_URL", format!("redis://127.0.0.1:{}", port(Peer::Redis)))
        .with("LOG_FORMAT", "pretty"))
}
