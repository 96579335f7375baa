//! Wiring, and the order of stopping.
//!
//! The HTTP interface starts first, so that liveness and readiness answer while Postgres or the message queue are not available yet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter};
use actix_rt::ArbiterHandle;
use anyhow::Context;
use engine::Outbox;
use kit::http::{Gate, Servers};
use kit::postgres::{Pool, Purpose};
use kit::supervision::{Child, CrashChild, Guardian, GuardianSettings, StopRestarting, Supervise, Vitals};
use kit::tls::ServedCertificate;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{info, warn};
use uuid::Uuid;

use crate::config::{Config, Mq};
use crate::consumer::{Consumer, ConsumerDependencies};
use crate::dead_letter::{self, Wake};
#[cfg(feature = "kafka")]
use crate::feed::watch_topic;
use crate::feed::{FeedParts, TopicId};
use crate::health::HealthBoard;
use crate::telemetry::metric;
use crate::{database, http, outbox, sweep};

/// The actor's name in the supervision tree.
const CONSUMER: &str = "consumer";
/// Longest that a stop waits for the consumer: its batch in hand (10 s at most), its offsets, and leaving the group. A commit
/// of offsets has no deadline of its own when Kafka has just died; without it the batch comes again, and is absorbed.
const STOP_CONSUMER_TIMEOUT: Duration = Duration::from_secs(12);
const STOP_POOL_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest that a stop waits for deliveries in flight; what was not reported by then is sent again by the next publisher.
const STOP_OUTBOX_TIMEOUT: Duration = Duration::from_secs(5);

pub struct App {
    servers: Servers,
    http_pool: Pool,
    guardian: Addr<Guardian>,
    outbox: Outbox,
    launcher: Launcher,
    stopping: watch::Sender<bool>,
}

/// Makes the consumer panic, for tests.
pub struct Crasher(Addr<Guardian>);

impl Crasher {
    pub fn crash(&self) {
        self.0.do_send(CrashChild(CONSUMER.to_owned()));
    }
}

impl App {
    /// Binds the HTTP address. Needs neither Postgres nor the message queue yet.
    pub fn build(
        config: Config,
        gate: Gate,
        certificate: Option<Arc<ServedCertificate>>,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<Self> {
        let guardian = Guardian::new(GuardianSettings {
            dashboard_interval: Duration::from_secs(config.dashboard_interval_seconds),
            format: config.logging.log_format,
            restarts_metric: metric::ACTOR_RESTARTS,
        })
        .start();
        let consumer = Child::named(CONSUMER, "guardian");
        let health = HealthBoard::new(config.topics.mq, Arc::clone(consumer.vitals()));
        let stopping = watch::Sender::new(false);
        let outbox = outbox::prepare(&config, &guardian)?;
        config.database.sessions().link().warn_if_exposed();
        config.topics.redis.server().link().warn_if_exposed();
        let http_pool = database::pool(&config.database, config.http_db_connections_max, Handle::current());
        let state = http::State {
            pool: http_pool.clone(),
            health: health.clone(),
            metrics,
            guardian: guardian.clone(),
            outbox: operations::http::Outbox {
                reader: outbox.numbers.clone(),
                publisher: outbox.publication.publisher.clone(),
            },
        };
        let servers = http::serve(&config, gate, certificate, state)?;
        let launcher = Launcher {
            config: Arc::new(config),
            health,
            stopping: stopping.subscribe(),
            wake: Wake::default(),
            guardian: guardian.clone(),
            outbox: outbox.clone(),
            consumer,
        };
        Ok(Self { servers, http_pool, guardian, outbox, launcher, stopping })
    }

    /// Where everybody is served.
    pub fn address(&self) -> SocketAddr {
        self.servers.public()
    }

    pub fn crasher(&self) -> Crasher {
        Crasher(self.guardian.clone())
    }

    /// Serves until `shutdown`, then stops in the order of flow: take no more messages, finish the batch in hand, commit
    /// its offsets, leave the group; flush what is being published; finish requests; close their connections.
    pub async fn run_until(self, shutdown: impl Future<Output = &'static str>) -> anyhow::Result<()> {
        let scheme = self.servers.scheme();
        let address = self.servers.public();
        info!(url = format!("{scheme}://{address}/"), "The bonus service listens");
        if let Some(address) = self.servers.operators() {
            info!(url = format!("{scheme}://{address}/"), "The bonus service listens for operators");
        }
        let mut servers = self.servers.run();
        let mut consumer = actix_rt::spawn(self.launcher.run());
        let outcome = tokio::select! {
            reason = shutdown => {
                info!(reason, "Stopping");
                Ok(())
            }
            failure = servers.failure() => Err(failure),
            ended = &mut consumer => match ended {
                Ok(Err(error)) => Err(error),
                ended => Err(anyhow::anyhow!("the consumer's launcher ended by itself: {ended:?}")),
            },
        };
        // First: a part that ends from here on must not be restarted.
        let _ = self.guardian.send(StopRestarting).await;
        self.stopping.send_replace(true);
        if outcome.is_ok() && tokio::time::timeout(STOP_CONSUMER_TIMEOUT, consumer).await.is_err() {
            warn!("The consumer did not stop in time; what it had in hand comes again");
        }
        if outcome.is_ok() {
            self.outbox.stop(STOP_OUTBOX_TIMEOUT).await;
        }
        servers.stop().await;
        // Postgres may be frozen; then closing politely would wait for it.
        let _ = tokio::time::timeout(STOP_POOL_TIMEOUT, self.http_pool.close()).await;
        info!("Stopped");
        outcome
    }
}

/// Puts the long-lived parts under supervision, once there is a schema.
struct Launcher {
    config: Arc<Config>,
    health: HealthBoard,
    stopping: watch::Receiver<bool>,
    wake: Wake,
    guardian: Addr<Guardian>,
    outbox: Outbox,
    consumer: Child<Consumer>,
}

impl Launcher {
    /// Runs until a stop is requested, or an error occurs that does not go away by waiting.
    async fn run(self) -> anyhow::Result<()> {
        let mut stopping = self.stopping.clone();
        let config = &self.config;
        let database = &config.database;
        let migrated = database::migrate_when_reachable(database, self.config.migrate, &mut stopping).await;
        if !migrated.with_context(|| database.place())? {
            return Ok(());
        }
        let seen = watch::Sender::new(None);
        let topic_id = seen.subscribe();
        let publishing = Arbiter::new();
        self.outbox.start([publishing.handle(), publishing.handle()]).await?;
        // One arbiter for all lives: a panic ends the actor, not its thread.
        let arbiter = Arbiter::new();
        // The feed itself looks at a topic in Redis.
        let topic_watch = match config.topics.mq {
            #[cfg(feature = "kafka")]
            Mq::Kafka => Some(self.topic_watch(seen)),
            Mq::Redis => None,
        };
        let crediting = self.crediting(arbiter.handle(), topic_id);
        for part in
            [Some(self.letters()), Some(self.sweep()), topic_watch, Some(crediting)].into_iter().flatten()
        {
            self.guardian.send(part).await.context("the guardian is gone")?;
        }
        tokio::select! {
            never = outbox::measure(&self.outbox) => match never {},
            // An error: the application is gone.
            _ = stopping.wait_for(|stop| *stop) => {}
        }
        self.consumer.vitals().until_down().await;
        info!("The consumer has stopped");
        arbiter.stop();
        Ok(())
    }

    /// The actor, which starts its feed.
    fn crediting(&self, arbiter: ArbiterHandle, topic_id: TopicId) -> Supervise {
        let dependencies = ConsumerDependencies {
            connector: database::connector(&self.config.database, Purpose::Requests),
            appender: self.outbox.appender(),
            group_id: self.config.group_id.clone(),
            health: self.health.clone(),
            vitals: Arc::clone(self.consumer.vitals()),
            wake: self.wake.clone(),
            stopping: self.stopping.clone(),
        };
        let feed = FeedParts {
            config: Arc::clone(&self.config),
            health: self.health.clone(),
            stopping: self.stopping.clone(),
            topic_id,
            consumer: consumer_name(&self.config),
            runtime: Handle::current(),
        };
        Supervise::new(&self.consumer, arbiter, move |lifeline| {
            let feed = feed.clone();
            let start = move |actor, actor_end| feed.start(actor, actor_end, lifeline);
            Consumer::new(dependencies.clone(), Box::new(start))
        })
    }

    fn letters(&self) -> Supervise {
        let (config, wake, stopping) = (Arc::clone(&self.config), self.wake.clone(), self.stopping.clone());
        let pool = database::pool(&config.database, 1, Handle::current());
        let vitals = Arc::new(Vitals::new("dead-letters".to_owned(), "guardian"));
        Supervise::task(&vitals, move |lifeline| {
            dead_letter::Sender::new(&config, pool.clone(), wake.clone()).run(stopping.clone(), lifeline)
        })
    }

    fn sweep(&self) -> Supervise {
        let (schedule, stopping) = (self.config.sweep_schedule.clone(), self.stopping.clone());
        let appender = self.outbox.appender();
        let pool = database::pool(&self.config.database, 1, Handle::current());
        let vitals = Arc::new(Vitals::new("vip-sweep".to_owned(), "guardian"));
        Supervise::task(&vitals, move |lifeline| {
            sweep::run(pool.clone(), appender.clone(), schedule.clone(), stopping.clone(), lifeline)
        })
    }

    #[cfg(feature = "kafka")]
    fn topic_watch(&self, seen: watch::Sender<Option<Uuid>>) -> Supervise {
        let (config, stopping) = (Arc::clone(&self.config), self.stopping.clone());
        let vitals = Arc::new(Vitals::new("topic-watch".to_owned(), "guardian"));
        Supervise::task(&vitals, move |lifeline| {
            let (config, seen, stopping) = (Arc::clone(&config), seen.clone(), stopping.clone());
            async move {
                watch_topic(&config.topics, &seen, stopping).await;
                lifeline.end("told to stop");
            }
        })
    }
}

/// The same in all lives of the consumer, so that the next one finds what the last one has left.
fn consumer_name(config: &Config) -> String {
    let unique = || format!("bonus-{}", Uuid::now_v7().simple());
    config.instance_id.clone().unwrap_or_else(unique)
}
