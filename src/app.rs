//! Wiring, and the order of stopping.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use actix_rt::ArbiterHandle;
use actix_web::dev::{Server, ServerHandle};
use anyhow::Context as _;
use kit::postgres::{Pool, Purpose};
use kit::supervision::{Child, Crash, Guardian, GuardianSettings, Lifeline, Supervise};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::runtime::Handle;
use tracing::info;

use crate::actor::{OrderDependencies, Orders, Registry, RegistryLimits};
use crate::config::Config;
use crate::http::{self, ControlRoom, Services};
use crate::journal::{Committed, Followers, Journal, JournalActor, JournalSettings, JournalState, Reader};
use crate::migration;
use crate::projection::{OrderList, Projector};
use crate::publisher::outbox::OutboxReader;
use crate::publisher::{OutageLog, Publication, PublisherDependencies};
use crate::telemetry::metric;

/// The name of the service's database sessions: by it a command sees that an instance is there.
pub const SESSIONS: &str = "orders";

/// The running service.
pub struct App {
    addresses: Vec<SocketAddr>,
    server: Server,
    handle: ServerHandle,
    publication: Publication,
    room: ControlRoom,
    arbiters: Vec<Arbiter>,
    pool: Pool,
    grace: Duration,
}

impl App {
    /// Connects, migrates, starts every actor and binds. Waits for the database as long as it takes; Kafka and Redis may be down.
    pub async fn build(config: &Config, metrics: PrometheusHandle) -> anyhow::Result<Self> {
        let runtime = Handle::current();
        let database = config.database.sessions();
        migration::migrate(&database, SESSIONS).await?;

        let connector = database.connector(SESSIONS, Purpose::Requests);
        let pool = Pool::new(connector.clone(), config.database_connections_max, runtime.clone());
        let reader = Reader::new(pool.clone());
        let outbox = OutboxReader::new(reader.clone());
        let list = OrderList::new(reader.clone());
        let journal_state = Arc::new(JournalState::default());
        let fallback = config.publication.retry.fallback()?;

        let guardian = Guardian::new(GuardianSettings {
            dashboard_interval: Duration::from_secs(config.dashboard_interval_seconds),
            format: config.logging.log_format,
            restarts_metric: metric::RESTARTS,
        })
        .start();
        let mut arbiters = Arbiters::default();

        let projector: Child<Projector> = Child::named("projector", "guardian");
        let journal: Child<JournalActor> = Child::named("journal", "guardian");

        let outages = OutageLog::default();
        let dependencies = PublisherDependencies {
            reader: reader.clone(),
            outbox: outbox.clone(),
            outages: outages.clone(),
            journal: Arc::clone(&journal_state),
            fallback: fallback.clone(),
            runtime: runtime.clone(),
        };
        let background = arbiters.start();
        let publication = Publication::start(
            &guardian,
            config.publication.publisher(&database, SESSIONS),
            dependencies,
            [arbiters.start(), background.clone()],
        )
        .await
        .context("the guardian is gone")?;
        let projected = list.clone();
        supervise(&guardian, &projector, background, move |lifeline| {
            Projector::new(projected.clone(), lifeline)
        })
        .await?;

        let followers: Followers = Arc::new([follower(&publication.publisher), follower(&projector)]);
        let journal_settings =
            JournalSettings { connector, batch_commands_max: config.journal_batch_commands_max };
        let state = Arc::clone(&journal_state);
        supervise(&guardian, &journal, arbiters.start(), move |lifeline| {
            JournalActor::new(journal_settings.clone(), Arc::clone(&state), Arc::clone(&followers), lifeline)
        })
        .await?;

        let dependencies = OrderDependencies {
            journal: Journal::new(journal, config.journal_commands_max, Arc::clone(&journal_state)),
            reader: reader.clone(),
            timeout: database.timeout(),
            conflicts: Arc::default(),
        };
        let orders = registries(config, &guardian, &mut arbiters, &dependencies).await?;

        let limits = http::limits(config)?;
        let room =
            ControlRoom::new(&config.bonus_url, outages, config.enable_faults, limits.connections_max)?;
        let services = Services {
            orders,
            journal: dependencies.journal,
            reader,
            outbox,
            list,
            publisher: publication.publisher.clone(),
            fallback,
            guardian: guardian.clone(),
            room: room.clone(),
            metrics,
            enable_faults: config.enable_faults,
        };
        room.open(services.clone(), &runtime);
        let (server, addresses) = http::serve(config, limits, services)?;
        let handle = server.handle();
        let (arbiters, grace) = (arbiters.0, config.shutdown_grace());
        Ok(Self { addresses, server, handle, publication, room, arbiters, pool, grace })
    }

    /// The port that was bound, for a configuration that asked for any.
    pub fn port(&self) -> u16 {
        self.addresses.first().map_or(0, SocketAddr::port)
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `shutdown` resolves, then stops in the order of flow: accepts no more, finishes the commands in hand, flushes the
    /// deliveries in flight, gives the lease up, closes the pool.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let server = actix_rt::spawn(self.server);
        tokio::pin!(shutdown);
        tokio::select! {
            () = &mut shutdown => info!("Stopping: no new requests are accepted"),
            ended = server => {
                ended.context("the HTTP server's task failed")?.context("the HTTP server failed")?;
                anyhow::bail!("the HTTP server ended by itself");
            }
        }
        // Before the server: the connections of open pages never end by themselves, and the stop would wait for them.
        self.room.close();
        self.handle.stop(true).await;
        self.publication.stop(self.grace).await;
        // A database that hangs must not hold the process.
        let _ = tokio::time::timeout(self.grace, self.pool.close()).await;
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        info!("Stopped");
        Ok(())
    }
}

/// One registry an arbiter: its orders live on the same thread.
async fn registries(
    config: &Config,
    guardian: &Addr<Guardian>,
    arbiters: &mut Arbiters,
    dependencies: &OrderDependencies,
) -> anyhow::Result<Orders> {
    let limits = RegistryLimits {
        live_max: config.live_orders_max_per_arbiter(),
        idle_max: Duration::from_secs(config.order_idle_seconds_max),
    };
    let mut shards = Vec::new();
    for shard in 0..config.arbiters() {
        let child: Child<Registry> = Child::named(format!("registry-{shard}"), "guardian");
        let dependencies = dependencies.clone();
        supervise(guardian, &child, arbiters.start(), move |lifeline| {
            Registry::new(shard, limits, dependencies.clone(), lifeline)
        })
        .await?;
        shards.push(child);
    }
    Ok(Orders::new(shards))
}

async fn supervise<A, F>(
    guardian: &Addr<Guardian>,
    child: &Child<A>,
    arbiter: ArbiterHandle,
    make: F,
) -> anyhow::Result<()>
where
    A: Actor<Context = Context<A>> + Handler<Crash>,
    F: Fn(Lifeline) -> A + Clone + Send + 'static,
{
    guardian.send(Supervise::new(child, arbiter, make)).await.context("the guardian is gone")
}

/// A follower of the journal that is told without waiting: one that is behind reads the table.
fn follower<A>(child: &Child<A>) -> Box<dyn Fn(Committed) + Send + Sync>
where
    A: Actor<Context = Context<A>> + Handler<Committed>,
{
    let child = child.clone();
    Box::new(move |committed| {
        child.tell(committed);
    })
}

#[derive(Default)]
struct Arbiters(Vec<Arbiter>);

impl Arbiters {
    fn start(&mut self) -> ArbiterHandle {
        let arbiter = Arbiter::new();
        let handle = arbiter.handle();
        self.0.push(arbiter);
        handle
    }
}
