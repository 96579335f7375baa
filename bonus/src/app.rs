//! Wiring, and the order of stopping.
//!
//! The HTTP interface starts first, so that liveness and readiness answer while Postgres or Kafka are not available yet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, ArbiterHandle};
use actix_web::dev::Server;
use anyhow::Context;
use kit::postgres::{Pool, Purpose};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use crate::config::Config;
use crate::consumer::{Consumer, Crash, Gone, Surroundings};
use crate::dead_letter::{self, Wake};
use crate::feed::Feed;
use crate::health::HealthBoard;
use crate::partitions::{self, TopicId};
use crate::supervise::{End, supervise};
use crate::{database, http};

/// Longest that a stop waits for the consumer: its batch in hand (10 s at most), its offsets, and leaving the group. A commit
/// of offsets has no deadline of its own when Kafka has just died; without it the batch comes again, and is absorbed.
const STOP_CONSUMER_TIMEOUT: Duration = Duration::from_secs(12);
const STOP_POOL_TIMEOUT: Duration = Duration::from_secs(3);
const RESTART_SENDER_PAUSE: Duration = Duration::from_secs(1);

pub struct App {
    server: Server,
    http_addr: SocketAddr,
    http_pool: Pool,
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
        let http_pool = database::pool(&config.database, config.http_db_connections_max, Handle::current());
        let state = http::State { pool: http_pool.clone(), health: health.clone(), metrics };
        let (server, http_addr) = http::serve(config.http_addr, state)
            .with_context(|| format!("BONUS_HTTP_ADDR={} cannot be listened on", config.http_addr))?;
        let launcher = Launcher {
            config: Arc::new(config),
            health,
            stopping: stopping.subscribe(),
            wake: Wake::default(),
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
            ended = &mut consumer => match ended {
                Ok(Err(error)) => Err(error),
                ended => Err(anyhow::anyhow!("the consumer's supervisor ended by itself: {ended:?}")),
            },
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
    wake: Wake,
    current: watch::Sender<Option<Addr<Consumer>>>,
}

impl Launcher {
    /// Until told to stop, or until something is wrong that waiting does not mend.
    async fn run(self) -> anyhow::Result<()> {
        let mut stopping = self.stopping.clone();
        let database = &self.config.database;
        let migrated = database::migrate_when_reachable(database, &mut stopping).await;
        if !migrated.with_context(|| format!("{:?}", database.database_url))? {
            return Ok(());
        }
        let sender = actix_rt::spawn(self.send_dead_letters());
        let topic_id = partitions::watch(&self.config.topics);
        // One arbiter for all restarts: a panic ends the actor, not its thread.
        let arbiter = Arbiter::new();
        let handle = arbiter.handle();
        supervise(|| self.start(&handle, &topic_id), &self.health, stopping).await;
        self.current.send_replace(None);
        arbiter.stop();
        // It has been told to stop; what it has not sent stays in Postgres.
        sender.abort();
        Ok(())
    }

    /// Sends dead letters for as long as the service runs, also after a panic.
    fn send_dead_letters(&self) -> impl Future<Output = ()> + 'static {
        let (config, wake, stopping) = (Arc::clone(&self.config), self.wake.clone(), self.stopping.clone());
        let pool = database::pool(&config.database, 1, Handle::current());
        async move {
            while !*stopping.borrow() {
                let sender = dead_letter::Sender::new(&config, pool.clone(), wake.clone());
                if let Err(error) = actix_rt::spawn(sender.run(stopping.clone())).await {
                    error!(%error, "The sender of dead letters went down and is started again");
                    tokio::time::sleep(RESTART_SENDER_PAUSE).await;
                }
            }
        }
    }

    /// Starts the actor and, on a thread of its own, its feed.
    fn start(&self, arbiter: &ArbiterHandle, topic_id: &TopicId) -> End {
        let gone = Arc::new(AtomicBool::new(false));
        let actor = {
            let surroundings = Surroundings {
                connector: database::connector(&self.config.database, Purpose::Requests),
                group_id: self.config.group_id.clone(),
                health: self.health.clone(),
                wake: self.wake.clone(),
                stopping: self.stopping.clone(),
            };
            let gone = Gone(Arc::clone(&gone));
            Consumer::start_in_arbiter(arbiter, move |_| Consumer::new(surroundings, gone))
        };
        self.current.send_replace(Some(actor.clone()));
        let (config, health, stopping) =
            (Arc::clone(&self.config), self.health.clone(), self.stopping.clone());
        let (end, ended) = oneshot::channel();
        let (topic_id, runtime) = (topic_id.clone(), Handle::current());
        let thread = std::thread::Builder::new().name("kafka-feed".to_owned()).spawn(move || {
            let result =
                Feed::new(&config, health, actor, gone, stopping, topic_id, runtime).and_then(Feed::run);
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
