//! Wiring, and the order of stopping.

use std::net::SocketAddr;
use std::time::Duration;

use actix::prelude::*;
use engine::actor::RegistryLimits;
use engine::projection::Projector;
use engine::{Engine, Settings, follower, migration, supervise};
use kit::http::{Gate, Servers};
use kit::supervision::{Child, Guardian, GuardianSettings};
use kit::tls::{Protection, ServedCertificate};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::runtime::Handle;
use tracing::info;

use crate::config::Config;
use crate::http::{self, BonusClient, ControlRoom, Services};
use crate::list::OrderList;
use crate::migration::MIGRATIONS;
use crate::order::Order;
use crate::telemetry;

/// The name of the service's database sessions. By it a command recognises that an instance is running.
pub const SESSIONS: &str = "orders";
/// Most commands in one transaction over TLS: as a rule they fit a record of 16 KiB. sqlx writes record by record and leaves Nagle's algorithm
/// on, so a second record waits until Postgres acknowledges the first one, which it delays by 40 ms.
const ENCRYPTED_BATCH_COMMANDS_MAX: usize = 12;

/// The running service.
pub struct App {
    servers: Servers,
    engine: Engine<Order>,
    room: ControlRoom,
    grace: Duration,
}

impl App {
    /// Connects, migrates if it may, starts every actor and binds. Waits for the database as long as it takes; the message queue and Redis may be down.
    pub async fn build(config: &Config, metrics: PrometheusHandle) -> anyhow::Result<Self> {
        let rate = config.clients.rate(telemetry::metric::RATE_LIMITED);
        let gate = Gate::of(config.auth.chosen(&config.http.addresses())?, rate).await?;
        let certificate = match config.http.certificate()? {
            Some(files) => Some(ServedCertificate::start(files).await?),
            None => None,
        };
        let settings = settings(config)?;
        settings.database.link().warn_if_exposed();
        config.publication.retry.redis.server().link().warn_if_exposed();
        migration::migrate(&settings.database, SESSIONS, &MIGRATIONS, config.migrate).await?;

        let guardian = Guardian::new(GuardianSettings {
            dashboard_interval: Duration::from_secs(config.dashboard_interval_seconds),
            format: config.logging.log_format,
            restarts_metric: telemetry::RESTARTS,
        })
        .start();
        let projector: Child<Projector<OrderList>> = Child::named("projector", "guardian");
        let followers = vec![follower(&projector)];
        let engine = Engine::<Order>::start(&settings, &guardian, followers).await?;
        let list = OrderList::new(engine.outbox.reader.clone());
        let projected = list.clone();
        supervise(&guardian, &projector, engine.background(), move |lifeline| {
            Projector::new(projected.clone(), lifeline)
        })
        .await?;

        let limits = http::limits(config)?;
        let outages = engine.outbox.outages.clone();
        let mq = config.publication.broker.mq;
        let bonus = BonusClient::new(config)?;
        let pages_max = kit::http::operators_connections_max(config.http.admin_addr, &limits);
        let room = ControlRoom::new(bonus, outages, mq, config.enable_faults, pages_max)?;
        let services = Services {
            orders: engine.aggregates.clone(),
            journal: engine.journal.clone(),
            reader: engine.outbox.reader.clone(),
            outbox: engine.outbox.numbers.clone(),
            list,
            publisher: engine.outbox.publication.publisher.clone(),
            fallback: settings.publication.fallback.clone(),
            guardian,
            room: room.clone(),
            metrics,
            mq,
            enable_faults: config.enable_faults,
        };
        room.open(services.clone(), &Handle::current());
        let servers = http::serve(config, limits, gate, certificate, services)?;
        Ok(Self { servers, engine, room, grace: config.shutdown_grace() })
    }

    /// The port that was bound, for a configuration that asked for any.
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        self.servers.scheme()
    }

    /// Where everybody is served.
    pub fn address(&self) -> SocketAddr {
        self.servers.public()
    }

    /// Where the operators' side is served, if that is elsewhere.
    pub fn operators(&self) -> Option<SocketAddr> {
        self.servers.operators()
    }

    /// Serves until `shutdown` resolves, then stops in the order of flow: stops accepting, finishes running commands, flushes the
    /// deliveries in flight, releases the lease, closes the pool.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut servers = self.servers.run();
        tokio::pin!(shutdown);
        tokio::select! {
            () = &mut shutdown => info!("Stopping: no new requests are accepted"),
            failure = servers.failure() => return Err(failure),
        }
        // Before the server: the connections of open pages never end by themselves, and the stop would wait for them.
        self.room.close();
        servers.stop().await;
        self.engine.stop(self.grace).await;
        info!("Stopped");
        Ok(())
    }
}

fn settings(config: &Config) -> anyhow::Result<Settings> {
    Ok(Settings {
        database: config.database.sessions(),
        sessions: SESSIONS.to_owned(),
        connections_max: config.database_connections_max,
        journal_commands_max: config.journal_commands_max,
        batch_commands_max: match config.database.sessions().link().protection {
            Protection::None => config.journal_batch_commands_max,
            Protection::Verified | Protection::Encrypted => {
                config.journal_batch_commands_max.min(ENCRYPTED_BATCH_COMMANDS_MAX)
            }
        },
        shards: config.arbiters(),
        limits: RegistryLimits {
            live_max: config.live_orders_max_per_arbiter(),
            idle_max: Duration::from_secs(config.order_idle_seconds_max),
        },
        publication: config.publication.settings()?,
    })
}
