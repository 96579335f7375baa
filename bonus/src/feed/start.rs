//! The feed's thread, which ends the consumer's life: see `consumer.rs`.

use std::sync::Arc;

use actix::Addr;
use kit::supervision::Lifeline;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::warn;

use super::kafka::{KafkaIntake, TopicId};
use super::{Feed, FeedError};
use crate::config::Config;
use crate::consumer::{ActorEnd, Consumer};
use crate::health::HealthBoard;

/// What a feed needs to be started, any number of times.
#[derive(Clone)]
pub struct FeedParts {
    pub config: Arc<Config>,
    pub health: HealthBoard,
    pub stopping: watch::Receiver<bool>,
    pub topic_id: TopicId,
    /// Carries messages to the actor.
    pub runtime: Handle,
}

impl FeedParts {
    fn feed(self, actor: Addr<Consumer>, actor_end: ActorEnd) -> Result<Feed<KafkaIntake>, FeedError> {
        let intake = KafkaIntake::new(&self.config, self.health, self.topic_id, self.runtime.clone())
            .map_err(FeedError::of_queue)?;
        Ok(Feed::new(intake, self.config.batch_messages_max(), actor, actor_end, self.stopping, self.runtime))
    }

    /// Starts the thread. The lifeline ends after the group was left: the next consumer never competes with this one for partitions.
    pub fn start(self, actor: Addr<Consumer>, actor_end: ActorEnd, lifeline: Lifeline) {
        let thread = std::thread::Builder::new().name("kafka-feed".to_owned()).spawn(move || {
            match self.feed(actor, actor_end.clone()).and_then(Feed::run) {
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
