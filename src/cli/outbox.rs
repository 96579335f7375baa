//! This service, as the commands see it that every service with an outbox has.

use engine::journal::Reader;
use operations::cli::{Service, Target};

use super::database;
use crate::config::{Broker, Logging, Postgres, Redis};

pub enum OrderService {}

impl Service for OrderService {
    const PROGRAM: &'static str = "orders";
    type Logging = Logging;
    type Database = Postgres;
    type Broker = Queue;

    async fn open(database: &Postgres) -> anyhow::Result<Reader> {
        Ok(database::open(database).await?.reader)
    }

    fn target(Queue { broker, redis }: &Queue) -> anyhow::Result<Target> {
        Ok(Target {
            transport: broker.transport(redis)?,
            topic: broker.topic.name.clone(),
            place: broker.place(),
            delivery_timeout: broker.delivery_timeout(),
        })
    }
}

// The message queue, wherever it is.
#[derive(clap::Args)]
pub struct Queue {
    #[command(flatten)]
    broker: Broker,
    #[command(flatten)]
    redis: Redis,
}
