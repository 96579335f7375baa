//! Every setting: its unit, default, bound and trade-off. The only reader of the environment.

mod auth;
mod broker;
mod clients;
mod database;
mod http;
mod kafka;
mod redis;
mod topic;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};
use engine::PublicationSettings;
use engine::fallback::{Backoff, Fallback, FallbackSettings};
use kit::settings::{Migrate, TraceSettings, bounded, not_blank, or_cores};
use kit::telemetry::LogFormat;
use reqwest::Url;
use uuid::Uuid;

pub use self::auth::AuthSettings;
pub use self::broker::Mq;
pub use self::clients::ClientSettings;
pub use self::database::Postgres;
pub use self::http::Http;
pub use self::kafka::KafkaSecurity;
pub use self::redis::Redis;
pub use self::topic::Topic;

/// An order service that outlives its message broker.
///
/// Every option can be given as an environment variable; the command line wins.
#[derive(Debug, Clone, Parser)]
#[command(name = "orders", version)]
pub struct Config {
    #[command(flatten)]
    pub http: Http,

    #[command(flatten)]
    pub auth: AuthSettings,

    #[command(flatten)]
    pub clients: ClientSettings,

    #[command(flatten)]
    pub database: Postgres,

    /// Whether a start applies the migrations that are missing: `auto`, if its role owns the tables, or `off`. What it does not apply it
    /// waits for nobody to apply: it ends, and says which command does.
    #[arg(long, env = "ORDERS_MIGRATE", default_value_t = Migrate::Auto, value_enum)]
    pub migrate: Migrate,

    #[command(flatten)]
    pub publication: Publication,

    /// Threads that order actors live on; 0 takes one a core.
    #[arg(long, env = "ORDERS_ARBITERS", default_value_t = 0, value_parser = bounded(0, 256))]
    pub arbiters: usize,

    /// Most order actors alive at a time. One costs a few kilobytes; one that is gone costs a read when it is next addressed.
    #[arg(long, env = "LIVE_ORDERS_MAX", default_value_t = 20_000, value_parser = bounded(1, 10_000_000))]
    pub live_orders_max: usize,

    /// Seconds without a command after which an order's actor is passivated.
    #[arg(long, env = "ORDER_IDLE_SECONDS_MAX", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    pub order_idle_seconds_max: u64,

    /// Most commands in the journal at a time, waiting or being written; one more is answered 503. Higher bounds only add latency.
    #[arg(long, env = "JOURNAL_COMMANDS_MAX", default_value_t = 4_096, value_parser = bounded(1, 1_000_000))]
    pub journal_commands_max: usize,

    /// Most commands written by one transaction.
    #[arg(long, env = "JOURNAL_BATCH_COMMANDS_MAX", default_value_t = 500, value_parser = bounded(1, 10_000))]
    pub journal_batch_commands_max: usize,

    /// Connections for reads; the journal, the lease and the listener have one each besides.
    #[arg(long, env = "DATABASE_CONNECTIONS_MAX", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub database_connections_max: u32,

    /// Seconds between two supervision dashboards in the log; every change is logged as it happens.
    #[arg(long, env = "DASHBOARD_INTERVAL_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub dashboard_interval_seconds: u64,

    /// Seconds that a stop waits for commands in hand, and again for deliveries in flight.
    #[arg(long, env = "SHUTDOWN_GRACE_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    pub shutdown_grace_seconds: u64,

    /// Where the bonus service answers HTTP, for the control room at `/dashboard` to show. Nothing else asks it, and it may be away.
    #[arg(long, env = "BONUS_URL", default_value = "http://127.0.0.1:3003")]
    pub bonus_url: Url,

    /// A file with a bearer token that the bonus service takes from an operator, for the control room. Read again for each request, so it
    /// may be replaced at any time. Unset: none is sent.
    #[arg(long, env = "BONUS_TOKEN_FILE")]
    pub bonus_token_file: Option<PathBuf>,

    /// The authority of the bonus service's certificate in PEM, if BONUS_URL is https. Unset: the system's authorities.
    #[arg(long, env = "BONUS_CA_FILE")]
    pub bonus_ca_file: Option<PathBuf>,

    /// Offers `POST /api/actors/{name}/crash`. For demonstrations and tests; never in production.
    #[arg(long, env = "ENABLE_FAULTS", default_value = "false", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::Set)]
    pub enable_faults: bool,

    #[command(flatten)]
    pub logging: Logging,

    #[command(flatten)]
    pub traces: TraceSettings,
}

// Groups of settings, so that a command reads no more than it needs. (Doc comments here would end up in the help of whatever takes them.)

// All that publishing takes, besides the database.
#[derive(Debug, Clone, Args)]
pub struct Publication {
    #[command(flatten)]
    pub broker: Broker,

    #[command(flatten)]
    pub retry: Retry,

    /// Milliseconds after which a frozen publisher loses its lease. A killed one loses it at once.
    #[arg(long, env = "LEASE_TIMEOUT_MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(500..=600_000))]
    pub lease_timeout_ms: u64,
}

// Where events go, and how they are sent.
#[derive(Debug, Clone, Args)]
pub struct Broker {
    /// The message queue that events are published to: Kafka, or Redis Streams in the Redis of REDIS_URL.
    #[arg(long, env = "ORDERS_MQ", default_value_t = Mq::default(), value_enum)]
    pub mq: Mq,

    /// Kafka's bootstrap servers, separated by commas. They may be down at any time.
    #[arg(long, env = "KAFKA_BROKERS", default_value = "localhost:9092", value_parser = not_blank)]
    pub kafka_brokers: String,

    #[command(flatten)]
    pub kafka_security: KafkaSecurity,

    #[command(flatten)]
    pub topic: Topic,

    /// Most events the publisher holds in memory. Bounds memory in a drain; more orders fly in parallel with more.
    #[arg(long, env = "PUBLISHER_WINDOW_EVENTS", default_value_t = 20_000, value_parser = bounded(1, 1_000_000))]
    pub publisher_window_events: usize,

    /// Milliseconds without any acknowledgement before that counts as a failure, of a partition or of the broker. Slow is no failure.
    #[arg(long, env = "DELIVERY_TIMEOUT_MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(100..=300_000))]
    pub delivery_timeout_ms: u64,
}

// Where a retry waits, and how long.
#[derive(Debug, Clone, Args)]
pub struct Retry {
    #[command(flatten)]
    pub redis: Redis,

    /// Name of the retry's queue in Redis; instances of one deployment share it, deployments must not.
    #[arg(long, env = "RETRY_QUEUE", default_value = "orders:publish-backlog")]
    pub retry_queue: String,

    /// Longest time before the first retry of an outage, in milliseconds; doubles with every retry. Half of it is chance.
    #[arg(long, env = "BACKOFF_BASE_MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub backoff_base_ms: u64,

    /// Longest time between two retries, in milliseconds. The broker's return brings a retry forward anyway.
    #[arg(long, env = "BACKOFF_CAP_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub backoff_cap_ms: u64,
}

// What is written to the log.
#[derive(Debug, Clone, Args)]
pub struct Logging {
    /// What is logged, such as `info` or `orders=debug,engine=debug,info`.
    #[arg(
        long,
        env = "RUST_LOG",
        default_value = "info,apalis_core=off,actix_server=warn,opentelemetry-otlp=off"
    )]
    pub log_filter: String,

    /// How it is logged.
    #[arg(long, env = "LOG_FORMAT", default_value = "pretty", value_enum)]
    pub log_format: LogFormat,
}

impl Config {
    pub fn arbiters(&self) -> usize {
        or_cores(self.arbiters)
    }

    /// The cap on live orders, spread over the arbiters.
    pub fn live_orders_max_per_arbiter(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.live_orders_max.div_ceil(self.arbiters())).unwrap_or(NonZeroUsize::MIN)
    }

    pub fn shutdown_grace(&self) -> Duration {
        Duration::from_secs(self.shutdown_grace_seconds)
    }
}

impl Publication {
    pub fn settings(&self) -> anyhow::Result<PublicationSettings> {
        Ok(PublicationSettings {
            transport: self.broker.transport(&self.retry.redis)?,
            fallback: self.retry.fallback()?,
            backoff: self.retry.backoff(),
            lease_timeout: Duration::from_millis(self.lease_timeout_ms),
            window: self.broker.publisher_window_events,
        })
    }
}

impl Retry {
    pub fn backoff(&self) -> Backoff {
        let base = Duration::from_millis(self.backoff_base_ms);
        Backoff { base, cap: Duration::from_millis(self.backoff_cap_ms).max(base) }
    }

    pub fn fallback(&self) -> anyhow::Result<Fallback> {
        let redis = self.redis.server();
        redis.check()?;
        Ok(Fallback::new(FallbackSettings {
            redis,
            queue: self.retry_queue.clone(),
            backoff: self.backoff(),
            instance: Uuid::new_v4().simple().to_string(),
        }))
    }
}
