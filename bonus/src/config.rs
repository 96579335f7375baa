//! Every setting: what it is, unit, default, bound. The only reader of the environment.

mod auth;
mod clients;
mod http;
mod kafka;
mod postgres;
mod publication;
mod redis;
mod topics;

use std::time::Duration;

use clap::{Args, Parser};
use kit::postgres::Database as Sessions;
use kit::settings::{Migrate, TraceSettings, not_blank};
use kit::telemetry::LogFormat;

pub use self::auth::AuthSettings;
pub use self::clients::ClientSettings;
pub use self::http::Http;
pub use self::kafka::KafkaSecurity;
pub use self::postgres::Postgres;
pub use self::publication::Publication;
pub use self::redis::Redis;
pub use self::topics::{Mq, Topics};
use crate::schedule::SweepSchedule;

/// Credits loyalty points from the order events, each exactly once.
///
/// Every option can be given by the environment variable beside it.
#[derive(Clone, Parser)]
#[command(name = "bonus", version)]
pub struct Config {
    #[command(flatten)]
    pub http: Http,

    #[command(flatten)]
    pub auth: AuthSettings,

    #[command(flatten)]
    pub clients: ClientSettings,

    #[command(flatten)]
    pub database: Database,

    /// Whether a start makes the schema and applies the migrations that are missing: `auto`, if its role owns the tables, or `off`. What
    /// it does not apply it waits for nobody to apply: it ends, and says which command does.
    #[arg(long, env = "BONUS_MIGRATE", default_value_t = Migrate::Auto, value_enum)]
    pub migrate: Migrate,

    #[command(flatten)]
    pub topics: Topics,

    #[command(flatten)]
    pub publication: Publication,

    /// Most connections that HTTP requests hold at once, 1 to 100. Crediting has a connection of its own, so that requests
    /// never make it wait.
    #[arg(long, env = "BONUS_HTTP_DB_CONNECTIONS_MAX", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub http_db_connections_max: u32,

    /// Consumer group. Processes of one group share the topic's partitions; a new group reads the topic from its start,
    /// which credits nothing twice: the ledger knows what was credited.
    #[arg(long, env = "BONUS_GROUP_ID", default_value = "bonus", value_parser = not_blank)]
    pub group_id: String,

    /// Name of this process in its group, unique and the same after every restart (Kafka's static membership; in Redis the
    /// consumer's name). With it the process gets its partitions, or what it had not acknowledged, back at once after a kill, a restart or Kafka's return; without it, and when it was
    /// killed or Kafka was away, only after the session timeout. The price: partitions of a process that stops for good are
    /// taken over after the session timeout instead of at once.
    #[arg(long, env = "BONUS_INSTANCE_ID", value_parser = parse_kafka_name)]
    pub instance_id: Option<String>,

    /// How long the group waits for a silent process before it gives its partitions to the others, in milliseconds, 6000 (the
    /// least a broker accepts by default) to 300000. Shorter takes over sooner from a process that was killed; longer keeps
    /// the partitions through an outage of Kafka, so that crediting goes on the moment it is back. Too short costs repeated
    /// deliveries, never points. Default: 6000, or 45000 with an instance id, which needs no takeover to restart.
    #[arg(long, env = "BONUS_SESSION_TIMEOUT_MS", value_parser = clap::value_parser!(u64).range(6_000..=300_000))]
    session_timeout_ms: Option<u64>,

    /// Most messages credited by one transaction, 1 to 10000. More gains throughput while there is a backlog; without one a
    /// batch is whatever has arrived meanwhile, and nobody waits for it to fill.
    #[arg(long, env = "BONUS_BATCH_MESSAGES_MAX", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch_messages_max: u32,

    /// When to look for VIP statuses that have ended: a cron expression with seconds, in UTC. Every process is told, one sweeps. A
    /// sweep that finds nothing is one look into an index. Rarer makes changes known later; what the service answers about a
    /// customer is right at any time.
    #[arg(long, env = "BONUS_SWEEP_SCHEDULE", default_value = "*/10 * * * * *")]
    pub sweep_schedule: SweepSchedule,

    /// Seconds between two supervision dashboards in the log; every change is logged as it happens.
    #[arg(long, env = "DASHBOARD_INTERVAL_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub dashboard_interval_seconds: u64,

    #[command(flatten)]
    pub logging: Logging,

    #[command(flatten)]
    pub traces: TraceSettings,
}

// Groups of settings, so that a command reads no more than it needs. (Doc comments here would end up in the help of whatever takes them.)

// Where the ledger is.
#[derive(Clone, Args)]
pub struct Database {
    #[command(flatten)]
    pub postgres: Postgres,

    /// Schema of the bonus service in that database; made at start-up if it is missing. 1 to 63 of a-z, 0-9 and _, not
    /// starting with a digit or pg_.
    #[arg(long, env = "BONUS_DB_SCHEMA", default_value = "bonus", value_parser = parse_schema)]
    pub db_schema: String,
}

// What is written to the log.
#[derive(Clone, Args)]
pub struct Logging {
    /// Which log lines to write, in the syntax of tracing-subscriber's EnvFilter.
    #[arg(
        long,
        env = "RUST_LOG",
        default_value = "info,apalis_core=off,actix_server=warn,opentelemetry-otlp=off"
    )]
    pub rust_log: String,

    /// How to write them: pretty for people, json for machines.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Pretty)]
    pub log_format: LogFormat,
}

impl Database {
    /// What sessions are opened from: they see the service's schema and no other.
    pub fn sessions(&self) -> Sessions {
        self.postgres.sessions().schema(&self.db_schema)
    }

    /// Where it is, without the password.
    pub fn place(&self) -> String {
        format!("{:?}", self.postgres.database_url)
    }
}

impl Config {
    pub fn session_timeout(&self) -> Duration {
        let default_ms = if self.instance_id.is_some() { 45_000 } else { 6_000 };
        Duration::from_millis(self.session_timeout_ms.unwrap_or(default_ms))
    }

    pub fn batch_messages_max(&self) -> usize {
        usize::try_from(self.batch_messages_max).unwrap_or(usize::MAX)
    }
}

/// Reserved words are fine: the name is quoted wherever it goes into SQL.
fn parse_schema(name: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts_well =
        name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') && !name.starts_with("pg_");
    if starts_well && name.len() <= 63 && name.chars().all(plain) {
        Ok(name.to_owned())
    } else {
        Err("must be 1 to 63 of a-z, 0-9 and _, not starting with a digit or pg_".to_owned())
    }
}

fn parse_kafka_name(name: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.is_empty() && name.len() <= 249 && name.chars().all(allowed) {
        Ok(name.to_owned())
    } else {
        Err("must be 1 to 249 letters, digits, '.', '_' or '-'".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Config, clap::Error> {
        Config::try_parse_from(std::iter::once(&"bonus").chain(arguments))
    }

    #[test]
    fn dead_letters_go_beside_the_orders_unless_told_otherwise() {
        let beside = parse(&["--orders-topic", "t1"]).unwrap();
        assert_eq!(beside.topics.dead_letter_topic(), "t1.dlq");
        let told = parse(&["--orders-topic", "t1", "--dead-letter-topic", "t2"]).unwrap();
        assert_eq!(told.topics.dead_letter_topic(), "t2");
    }

    #[test]
    fn values_out_of_bounds_are_refused_at_start() {
        for wrong in [
            ["--batch-messages-max", "0"],
            ["--batch-messages-max", "10001"],
            ["--session-timeout-ms", "5999"],
            ["--http-db-connections-max", "0"],
            ["--sweep-schedule", "10 minutes"],
            ["--db-schema", "Bonus"],
            ["--db-schema", "a;drop"],
            ["--db-schema", "pg_x"],
            ["--orders-topic", "a b"],
            ["--kafka-brokers", " "],
            ["--mq", "rabbit"],
            ["--redis-url", "http://x"],
            ["--database-url", "mysql://x/y"],
            ["--http-addr", "3003"],
        ] {
            assert!(parse(&wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn an_instance_id_lengthens_the_session_unless_told_otherwise() {
        let seconds = |arguments: &[&str]| parse(arguments).unwrap().session_timeout().as_secs();
        assert_eq!(seconds(&[]), 6);
        assert_eq!(seconds(&["--instance-id", "one"]), 45);
        assert_eq!(seconds(&["--instance-id", "one", "--session-timeout-ms", "7000"]), 7);
    }
}
