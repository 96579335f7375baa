//! Wiring, and the order of stopping.
//!
//! The HTTP interface is up first, so that liveness and readiness answer while Postgres or Kafka are still on their way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, ArbiterHandle};
use actix_web::dev::Server;
use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use crate::config::Config;
use crate::consumer::{Consumer, Crash, Gone};
use crate::dead_letter::DeadLetters;
use crate::feed::Feed;
use crate::health::HealthBoard;
use crate::supervise::{End, supervise};
use crate::{database, http};

/// Longest that a stop waits for the consumer: its batch in hand (10 s at most), its offsets, and leaving the group. A commit
/// of offsets has no deadline of its own when Kafka has just died; without it the batch comes again, and is absorbed.
const STOP_CONSUMER_TIMEOUT: Duration = Duration::from_secs(12);
const STOP_POOL_TIMEOUT: Duration = Duration::from_secs(3);

pub struct App {
    server: Server,
    http_addr: SocketAddr,
    http_pool: PgPool,
    launcher: Launcher,
    stopping: watch::Sender<bool>,
}

/// Lets tests make the consumer panic.
pub struct Crasher(watch::Receiver<Option<Addr<Consumer>>>);

impl Crasher {
    pub fn crash(&self) {
        if let Some(consumer) = self.0.borrow().as_ref() {
            consumer.do_send(Crash);
        }
    }
}

impl App {
    /// Binds the HTTP address. Needs neither Postgres nor Kafka yet.
    pub fn build(config: Config, metrics: PrometheusHandle) -> anyhow::Result<Self> {
        let health = HealthBoard::default();
        let stopping = watch::Sender::new(false);
        let http_pool = database::pool(&config.database, config.http_db_connections_max);
        let state = http::State { pool: http_pool.clone(), health: health.clone(), metrics };
        let (server, http_addr) = http::serve(config.http_addr, state)
            .with_context(|| format!("BONUS_HTTP_ADDR={} cannot be listened on", config.http_addr))?;
        let launcher = Launcher {
            config: Arc::new(config),
            health,
            stopping: stopping.subscribe(),
            current: watch::Sender::new(None),
        };
        Ok(Self { server, http_addr, http_pool, launcher, stopping })
    }

    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    pub fn crasher(&self) -> Crasher {
        Crasher(self.launcher.current.subscribe())
    }

    /// Serves until `shutdown`, then stops in the order of flow: take no more messages, finish the batch in hand, commit
    /// its offsets, leave the group; finish requests; close their connections.
    pub async fn run_until(self, shutdown: impl Future<Output = &'static str>) -> anyhow::Result<()> {
        info!(url = format!("http://{}/", self.http_addr), "The bonus service listens");
        let server_handle = self.server.handle();
        let mut server = actix_rt::spawn(self.server);
        let mut consumer = actix_rt::spawn(self.launcher.run());
        let outcome = tokio::select! {
            reason = shutdown => {
                info!(reason, "Stopping");
                Ok(())
            }
            ended = &mut server => Err(anyhow::anyhow!("the HTTP server ended by itself: {ended:?}")),
            ended = &mut consumer => Err(anyhow::anyhow!("the consumer's supervisor ended by itself: {ended:?}")),
        };
        self.stopping.send_replace(true);
        if outcome.is_ok() && tokio::time::timeout(STOP_CONSUMER_TIMEOUT, consumer).await.is_err() {
            warn!("The consumer did not stop in time; what it had in hand comes again");
        }
        server_handle.stop(true).await;
        // Postgres may be frozen; then closing politely would wait for it.
        let _ = tokio::time::timeout(STOP_POOL_TIMEOUT, self.http_pool.close()).await;
        info!("Stopped");
        outcome
    }
}

/// All that a consumer needs to be started, any number of times.
struct Launcher {
    config: Arc<Config>,
    health: HealthBoard,
    stopping: watch::Receiver<bool>,
    current: watch::Sender<Option<Addr<Consumer>>>,
}

impl Launcher {
    async fn run(self) {
        let mut stopping = self.stopping.clone();
        if !database::migrate_when_reachable(&self.config.database, &mut stopping).await {
            return;
        }
        // One arbiter for all restarts: a panic ends the actor, not its thread.
        let arbiter = Arbiter::new();
        let handle = arbiter.handle();
        supervise(|| self.start(&handle), &self.health, stopping).await;
        self.current.send_replace(None);
        arbiter.stop();
    }

    /// Starts the actor and, on a thread of its own, its feed.
    fn start(&self, arbiter: &ArbiterHandle) -> End {
        let gone = Arc::new(AtomicBool::new(false));
        let actor = {
            let (connect, stopping) =
                (database::connect_options(&self.config.database), self.stopping.clone());
            let dead_letters = DeadLetters::new(&self.config);
            let gone = Gone(Arc::clone(&gone));
            Consumer::start_in_arbiter(arbiter, move |_| Consumer::new(connect, dead_letters, stopping, gone))
        };
        self.current.send_replace(Some(actor.clone()));
        let (config, health, stopping) =
            (Arc::clone(&self.config), self.health.clone(), self.stopping.clone());
        let (end, ended) = oneshot::channel();
        let runtime = Handle::current();
        let thread = std::thread::Builder::new().name("kafka-feed".to_owned()).spawn(move || {
            let result = Feed::new(&config, health, actor, gone, stopping, runtime).and_then(Feed::run);
            // Nobody listens any more only when the process is ending.
            let _ = end.send(result.map_err(|error| error.to_string()));
        });
        if let Err(error) = thread {
            // The sender went down with the closure, so the supervisor sees an end and tries again.
            warn!(%error, "No thread could be started for the feed");
        }
        ended
    }
}
