//! Another service on the engine: the stock of articles. `make example` runs it on servers of its own.
//!
//! [`aggregate`] is what somebody else would write. The rest of this file is what any service does: it reads its settings, migrates,
//! starts the engine under a guardian, takes commands, and stops.

pub mod aggregate;

use std::sync::Arc;
use std::time::Duration;

use actix::Actor;
use anyhow::{Context, ensure};
use clap::Parser;
use engine::aggregate::AggregateId;
use engine::fallback::{Backoff, Fallback, FallbackSettings};
use engine::migration::{migrate, migrations};
use engine::transport::kafka::{KafkaSettings, TopicSettings};
use engine::{CommandError, Engine, Perform, PublicationSettings, Settings};
use kit::kafka::{Cluster, Security};
use kit::settings::Migrate;
use kit::supervision::{Guardian, GuardianSettings};
use kit::telemetry::LogFormat;
use sqlx::migrate::Migrator;
use uuid::Uuid;

use self::aggregate::{Command, Stock};

pub const GRACE: Duration = Duration::from_secs(10);
const PUBLISHED_WITHIN: Duration = Duration::from_secs(30);
const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };

kit::postgres_settings!(Postgres, "STOCK");
kit::redis_settings!(Redis, "STOCK");

#[derive(Parser)]
#[command(about = "Lists an article, receives and picks some of it, and publishes that")]
pub struct Arguments {
    #[command(flatten)]
    database: Postgres,
    #[arg(long, env = "KAFKA_BROKERS", default_value = "localhost:9092")]
    kafka_brokers: String,
    #[arg(long, default_value = "stock.events")]
    topic: String,
    #[command(flatten)]
    redis: Redis,
}

fn main() -> anyhow::Result<()> {
    kit::telemetry::start_logs("info,apalis_core=off", LogFormat::Pretty)?;
    let left = play(&Arguments::parse())?;
    println!("All is published. {left} pieces are left.");
    Ok(())
}

/// Returns how many pieces are left at the end, when every event is published.
pub fn play(arguments: &Arguments) -> anyhow::Result<u32> {
    kit::system()?.block_on(async {
        let engine = start(arguments).await?;
        let left = work(&engine).await;
        engine.stop(GRACE).await;
        left
    })
}

/// One instance of the service.
pub async fn start(arguments: &Arguments) -> anyhow::Result<Engine<Stock>> {
    let settings = settings(arguments)?;
    // A service with tables of its own gives its migrations here.
    let tables = migrations::<Stock>(&Migrator::DEFAULT);
    migrate(&settings.database, &settings.sessions, &tables, Migrate::Auto).await?;
    let guardian = Guardian::new(GuardianSettings {
        dashboard_interval: Duration::from_secs(30),
        format: LogFormat::Pretty,
        restarts_metric: "stocks_actor_restarts_total",
    })
    .start();
    Engine::<Stock>::start(&settings, &guardian, Vec::new()).await
}

async fn work(engine: &Engine<Stock>) -> anyhow::Result<u32> {
    let article = AggregateId(Uuid::now_v7());
    let perform = |command| engine.aggregates.perform(Perform::new(article, command));
    perform(Command::List { name: "teapot".to_owned() }).await?;
    match perform(Command::List { name: "another teapot".to_owned() }).await {
        Err(CommandError::Refused(why)) => println!("It cannot be listed twice: {why}."),
        other => anyhow::bail!("it was listed twice: {other:?}"),
    }
    perform(Command::Receive { pieces: 10 }).await?;
    let left = perform(Command::Pick { pieces: 4 }).await?.current.state.pieces;
    println!("10 teapots came and 4 went.");
    match perform(Command::Pick { pieces: 7 }).await {
        Err(CommandError::Refused(why)) => println!("7 more cannot be picked: {why}."),
        other => anyhow::bail!("7 of {left} pieces were picked: {other:?}"),
    }
    tokio::time::timeout(PUBLISHED_WITHIN, published(engine)).await.context("not published in time")??;
    let read = engine.outbox.reader.load::<Stock>(article).await?;
    ensure!(read.state.pieces == left && read.version == 3, "the journal has {read:?}");
    Ok(left)
}

async fn published(engine: &Engine<Stock>) -> anyhow::Result<()> {
    while engine.outbox.numbers.numbers().await?.pending > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn settings(arguments: &Arguments) -> anyhow::Result<Settings> {
    let topic = TopicSettings {
        name: arguments.topic.clone(),
        partitions: 3,
        replication: None,
        min_insync_replicas: None,
        retention: None,
    };
    let kafka = KafkaSettings {
        cluster: Cluster::new(&arguments.kafka_brokers, Security::plaintext("KAFKA")),
        client_id: "stock".to_owned(),
        source: "/stock".to_owned(),
        resend: "stock replay".to_owned(),
        topic,
        delivery_timeout: Duration::from_secs(5),
        in_flight_max: 10_000,
    };
    let fallback = Fallback::new(FallbackSettings {
        redis: arguments.redis.server(),
        queue: format!("{}:publish-backlog", arguments.topic),
        backoff: BACKOFF,
        instance: Uuid::new_v4().simple().to_string(),
    });
    let publication = PublicationSettings {
        transport: Arc::new(kafka),
        fallback,
        backoff: BACKOFF,
        lease_timeout: Duration::from_secs(5),
        window: 10_000,
    };
    Ok(Settings::new(arguments.database.sessions(), "stock", publication))
}
