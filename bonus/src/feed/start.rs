//! The feed's thread, which ends the consumer's life: see `consumer.rs`.

use std::sync::Arc;

use actix::Addr;
use kit::supervision::Lifeline;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::warn;

#[cfg(feature = "kafka")]
use super::kafka::KafkaIntake;
use super::redis::RedisIntake;
use super::topic_watch::TopicId;
use super::{Feed, FeedError, LoopParts};
use crate::config::{Config, Mq};
use crate::consumer::{ActorEnd, Consumer};
use crate::health::HealthBoard;

/// What a feed needs to be started, any number of times.
#[derive(Clone)]
pub struct FeedParts {
    pub config: Arc<Config>,
    pub health: HealthBoard,
    pub stopping: watch::Receiver<bool>,
    pub topic_id: TopicId,
    /// This process's name in its group, if messages come from Redis.
    pub consumer: String,
    /// Carries messages to the actor.
    pub runtime: Handle,
}

impl FeedParts {
    fn run(self, actor: Addr<Consumer>, actor_end: ActorEnd) -> Result<(), FeedError> {
        let Self { config, health, stopping, runtime, .. } = self;
        let batch_messages_max = config.batch_messages_max();
        let feed = LoopParts { batch_messages_max, actor, actor_end, stopping, runtime: runtime.clone() };
        match config.topics.mq {
            #[cfg(feature = "kafka")]
            Mq::Kafka => {
                let intake = KafkaIntake::new(&config, health, self.topic_id, runtime);
                Feed::new(intake.map_err(FeedError::of_queue)?, feed).run()
            }
            Mq::Redis => Feed::new(RedisIntake::new(&config, self.consumer, health, runtime), feed).run(),
        }
    }

    /// Starts the thread. The lifeline ends after the group was left: the next consumer never competes with this one for partitions.
    pub fn start(self, actor: Addr<Consumer>, actor_end: ActorEnd, lifeline: Lifeline) {
        let thread = std::thread::Builder::new().name("feed".to_owned()).spawn(move || {
            match self.run(actor, actor_end.clone()) {
                Ok(()) => lifeline.end("told to stop"),
                Err(error) => lifeline.end(cause(&error, &actor_end)),
            }
        });
        if let Err(error) = thread {
            // The lifeline was dropped with the closure: the Guardian tries again.
            warn!(%error, "No thread could be started for the feed");
        }
    }
}

fn cause(error: &FeedError, actor_end: &ActorEnd) -> String {
    match (error, actor_end.cause()) {
        (FeedError::ActorGone, Some(cause)) => format!("{error}: {cause}"),
        _ => error.to_string(),
    }
}
