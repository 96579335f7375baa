//! The topic: made if it is missing, watched while it is there.
//!
//! Every instance looks at it every two seconds, by a question of its own, because librdkafka takes a topic that was deleted and made anew
//! for the same one. What is new about it goes into [`history`], where one instance is the first to write it: that one tells the log.
//! - Missing: it is made. Why it cannot be made is said once, and again when the reason changes.
//! - Made anew: what was published before is gone from Kafka. Publication goes on; an operator has it sent again by a replay.
//! - More partitions: publication goes on. The key of an aggregate may now lead to another partition than before.
//! - No leader, or too few replicas in sync: said when it begins and when it ends. The events of those partitions wait.

mod health;
mod history;

use std::time::Duration;

use kit::kafka::{TopicError, TopicIdentity, topic_identity, worded};
use kit::postgres::{Meaning, meaning};
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use self::health::TopicHealth;
pub use self::history::TopicHistory;
use self::history::{Change, Sighting};
use crate::journal::ReadError;
use crate::metric;
use crate::transport::kafka::KafkaSettings;

const PAUSE: Duration = Duration::from_secs(2);
/// While there is no topic, or nobody to ask.
const PAUSE_WITHOUT: Duration = Duration::from_millis(500);
/// How long the brokers, together, may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Connections that were closed without an answer, one after the other. More is no broker that stops: it does not know the question.
const NOT_UNDERSTOOD_MAX: u32 = 5;

pub(super) struct TopicWatch {
    settings: KafkaSettings,
    history: TopicHistory,
    /// What was found and written into the history last.
    known: Option<TopicIdentity>,
    health: TopicHealth,
    /// Events of a former topic that nobody has sent again.
    lost_events: i64,
    /// Why there is no topic, as the log was last told.
    complaint: Option<String>,
    not_understood: u32,
    /// The log says that Postgres refuses what was found.
    refusal_told: bool,
}

impl TopicWatch {
    pub(super) fn new(settings: KafkaSettings, history: TopicHistory) -> Self {
        Self {
            settings,
            history,
            known: None,
            health: TopicHealth::default(),
            lost_events: 0,
            complaint: None,
            not_understood: 0,
            refusal_told: false,
        }
    }

    /// Until it is aborted.
    pub(super) async fn run(mut self) {
        loop {
            let found = topic_identity(&self.settings.brokers, &self.settings.topic.name, PATIENCE).await;
            let pause = match found {
                Ok(topic) => self.there(topic).await,
                Err(TopicError::Missing) => self.missing().await,
                Err(error) => self.unknown(&error),
            };
            sleep(pause).await;
        }
    }

    async fn there(&mut self, topic: TopicIdentity) -> Duration {
        self.not_understood = 0;
        if self.complaint.take().is_some() {
            info!(topic = self.settings.topic.name, "The topic is there now");
        }
        let same = |known: TopicIdentity| known.id == topic.id && known.partitions == topic.partitions;
        let is_known = self.known.is_some_and(same);
        if !is_known {
            match self.history.saw(&self.settings.topic.name, &topic).await {
                Ok(sighting) => self.tell(&topic, sighting),
                // Before it is written nobody is told: the next look tries again.
                Err(error) => {
                    self.not_written(&error);
                    return PAUSE;
                }
            }
            self.known = Some(topic);
            self.health.configured(self.settings.min_insync_replicas().await.ok());
        }
        if !is_known || self.lost_events > 0 {
            self.lost_events = self.history.lost(&topic).await.unwrap_or(self.lost_events);
        }
        self.health.look(&self.settings.topic.name, &topic);
        metric::topic(topic.partitions, topic.without_leader, self.lost_events);
        PAUSE
    }

    /// To the log of the one instance that was the first to see it.
    fn tell(&self, topic: &TopicIdentity, sighting: Option<Sighting>) {
        let (name, replay) = (&self.settings.topic.name, &self.settings.replay_command);
        let Some(Sighting { published_seq, change }) = sighting else { return };
        match change {
            Change::First => info!(
                topic = name, topic.id = %topic.id, topic.partitions,
                "The topic is seen for the first time; its id is remembered"
            ),
            Change::MadeAnew { lost_seq: 0, .. } => info!(
                topic = name, topic.id = %topic.id, topic.partitions,
                "The topic was made anew; nothing had been published to the former one"
            ),
            Change::MadeAnew { former, lost_seq } => error!(
                topic = name, topic.id = %topic.id, former.id = %former, published_seq, lost_seq,
                "The topic was deleted and made anew: events up to position {lost_seq} were published to the former one and are gone from \
                 Kafka. Publication goes on with the new one. When it has passed that position, send them again: {replay} --from 1"
            ),
            Change::PartitionsAdded { before } => warn!(
                topic = name,
                topic.partitions,
                before,
                published_seq,
                "Partitions were added to the topic: from position {published_seq} on an aggregate's events may go into another partition than \
                 its earlier ones. Consumers may see the later ones first until they have read what was there before"
            ),
        }
    }

    /// That Postgres is away others say. What it refuses will be refused again.
    fn not_written(&mut self, error: &ReadError) {
        let refused = matches!(error, ReadError::Unavailable(cause) if meaning(cause) == Meaning::Refused);
        if refused && !self.refusal_told {
            self.refusal_told = true;
            error!(%error, topic = self.settings.topic.name, "What was found of the topic cannot be written");
        } else {
            debug!(%error, "What was found of the topic cannot be written yet");
        }
    }

    async fn missing(&mut self) -> Duration {
        self.not_understood = 0;
        match self.settings.ensure_topic().await {
            Ok(true) => info!(
                topic = self.settings.topic.name,
                partitions = self.settings.topic.partitions,
                "The topic was missing and is made"
            ),
            // Another instance was faster, or the broker that was asked is not up to date.
            Ok(false) => {}
            Err(error) => self.complain("The topic is missing and cannot be made", worded(&error)),
        }
        PAUSE_WITHOUT
    }

    fn unknown(&mut self, error: &TopicError) -> Duration {
        match error {
            // An outage, which the publisher tells of.
            TopicError::NoAnswer { .. } => debug!(%error, "The topic cannot be looked at"),
            TopicError::NotUnderstood { .. } if self.not_understood < NOT_UNDERSTOOD_MAX => {
                self.not_understood += 1
            }
            _ => self.complain("The topic cannot be looked at", error.to_string()),
        }
        PAUSE_WITHOUT
    }

    fn complain(&mut self, what: &str, reason: String) {
        if self.complaint.as_ref() != Some(&reason) {
            warn!(topic = self.settings.topic.name, reason, "{what}");
            self.complaint = Some(reason);
        }
    }
}
