//! This service, as the commands see it that every service with an outbox has.

use anyhow::{Context as _, ensure};
use engine::journal::Reader;
use kit::postgres::Purpose;
use operations::cli::{Service, Target};
use tokio::runtime::Handle;

use crate::config::{Database, Logging, Mq, Publication, Topics};
use crate::{database, outbox};

/// A command asks one thing after the other.
const CONNECTIONS_MAX: u32 = 1;

pub enum BonusService {}

impl Service for BonusService {
    const PROGRAM: &'static str = "bonus";
    type Logging = Logging;
    type Database = Database;
    type Broker = Queue;

    async fn open(database: &Database) -> anyhow::Result<Reader> {
        let connection = database::connector(database, Purpose::Requests).connect().await;
        let mut connection = connection.with_context(|| format!("{} cannot be reached", database.place()))?;
        let is_there = sqlx::query_scalar("SELECT to_regclass('publisher_cursor') IS NOT NULL");
        let there: bool = is_there.fetch_one(&mut connection).await.with_context(|| database.place())?;
        ensure!(
            there,
            "{} has no tables of the bonus service in the schema {}: are DATABASE_URL and BONUS_DB_SCHEMA right? The service makes \
             them at its first start",
            database.place(),
            database.db_schema
        );
        Ok(outbox::reader(database::pool(database, CONNECTIONS_MAX, Handle::current())))
    }

    fn target(Queue { topics, publication }: &Queue) -> anyhow::Result<Target> {
        Ok(Target {
            transport: publication.transport(topics)?,
            topic: publication.topic.name.clone(),
            place: place(topics),
            delivery_timeout: publication.delivery_timeout(),
        })
    }
}

/// Which message queue it is, and where, for people. An address of Redis may hold a password.
fn place(topics: &Topics) -> String {
    match topics.mq {
        #[cfg(feature = "kafka")]
        Mq::Kafka => format!("Kafka at {}", topics.kafka_brokers),
        Mq::Redis => "Redis".to_owned(),
    }
}

// The message queue, wherever it is.
#[derive(clap::Args)]
pub struct Queue {
    #[command(flatten)]
    topics: Topics,
    #[command(flatten)]
    publication: Publication,
}
