//! The topic: created if it is missing, watched while it exists.
//!
//! Every instance looks at the topic every two seconds, with its own request, because librdkafka does not notice that a topic was
//! deleted and created again. A change is written into the [`TopicHistory`]. The instance that writes it first logs it.
//! - Missing: it is created. If it cannot be created, the reason is logged once, and again when it changes.
//! - Created again: events published before are gone from Kafka. Publication continues; an operator sends them again with a replay.
//! - More partitions: publication continues. An aggregate's key may now map to another partition than before.
//! - No leader, or too few replicas in sync: logged when it begins and when it ends. The events of those partitions wait.

mod health;

use std::time::Duration;

use kit::kafka::{TopicError, TopicIdentity, describe};
use kit::postgres::{Meaning, meaning};
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use self::health::TopicHealth;
use crate::journal::ReadError;
use crate::metric;
use crate::transport::history::{TopicChange, TopicHistory};
use crate::transport::kafka::KafkaSettings;

const PAUSE: Duration = Duration::from_secs(2);
/// While there is no topic, or no broker answers.
const PAUSE_WITHOUT: Duration = Duration::from_millis(500);
/// How long the brokers, together, may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many connections in a row may be closed without an answer. A broker that is stopping closes fewer; after more, it does not
/// know the request.
const NOT_UNDERSTOOD_MAX: u32 = 5;

pub(super) struct TopicWatch {
    settings: KafkaSettings,
    history: TopicHistory,
    /// The topic that was last written into the history.
    recorded: Option<TopicIdentity>,
    health: TopicHealth,
    /// Events of an earlier topic that were not sent again.
    lost_events: i64,
    /// Whether that was counted for this topic. Postgres may be away when the topic is found.
    lost_counted: bool,
    /// The reason that was last logged why there is no topic.
    problem_logged: Option<String>,
    not_understood: u32,
    /// It is logged already that Postgres refuses the row.
    refusal_logged: bool,
}

impl TopicWatch {
    pub(super) fn new(settings: KafkaSettings, history: TopicHistory) -> Self {
        Self {
            settings,
            history,
            recorded: None,
            health: TopicHealth::default(),
            lost_events: 0,
            lost_counted: false,
            problem_logged: None,
            not_understood: 0,
            refusal_logged: false,
        }
    }

    /// Until it is aborted.
    pub(super) async fn run(mut self) {
        loop {
            let found = self.settings.cluster.topic_identity(&self.settings.topic.name, PATIENCE).await;
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
        if self.problem_logged.take().is_some() {
            info!(topic = self.settings.topic.name, "The topic is there now");
        }
        let same = |known: TopicIdentity| known.id == topic.id && known.partitions == topic.partitions;
        let is_known = self.recorded.is_some_and(same);
        if !is_known {
            match self.history.record(&self.settings.topic.name, &topic).await {
                Ok(change) => {
                    self.refusal_logged = false;
                    self.log_change(&topic, change);
                }
                // It is logged only once it is written: the next look tries again.
                Err(error) => {
                    self.not_written(&error);
                    return PAUSE;
                }
            }
            self.recorded = Some(topic);
            self.health.configured(None);
            self.lost_counted = false;
        }
        if self.health.is_to_be_configured() {
            self.health.configured(self.settings.min_insync_replicas().await);
        }
        if !self.lost_counted || self.lost_events > 0 {
            self.count_lost(&topic).await;
        }
        self.health.look(&self.settings.topic.name, &topic);
        metric::topic(topic.partitions, topic.without_leader, self.lost_events);
        PAUSE
    }

    async fn count_lost(&mut self, topic: &TopicIdentity) {
        match self.history.lost(topic).await {
            Ok(lost) => (self.lost_events, self.lost_counted) = (lost, true),
            Err(error) => debug!(%error, "The lost events cannot be counted yet"),
        }
    }

    /// Logs a change. Only the instance that wrote it first gets here with one.
    fn log_change(&self, topic: &TopicIdentity, change: Option<TopicChange>) {
        let (name, resend) = (&self.settings.topic.name, &self.settings.resend);
        let Some(change) = change else { return };
        change.log(name, topic, |lost_seq| {
            format!(
                "The topic was deleted and made anew: events up to position {lost_seq} were published to the former one and are gone from \
                 Kafka. Publication goes on with the new one. When it has passed that position, send them again: {resend}"
            )
        });
    }

    /// Others log that Postgres is unreachable. A row that it refuses would be refused again.
    fn not_written(&mut self, error: &ReadError) {
        let refused = matches!(error, ReadError::Unavailable(cause) if meaning(cause) == Meaning::Refused);
        if refused && !self.refusal_logged {
            self.refusal_logged = true;
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
            // Another instance was faster, or the broker that answered is not up to date.
            Ok(false) => {}
            Err(error) => self.log_problem("The topic is missing and cannot be made", describe(&error)),
        }
        PAUSE_WITHOUT
    }

    fn unknown(&mut self, error: &TopicError) -> Duration {
        match error {
            // An outage, which the publisher logs.
            TopicError::NoAnswer { .. } => debug!(%error, "The topic cannot be looked at"),
            TopicError::NotUnderstood { .. } if self.not_understood < NOT_UNDERSTOOD_MAX => {
                self.not_understood += 1
            }
            _ => self.log_problem("The topic cannot be looked at", error.to_string()),
        }
        PAUSE_WITHOUT
    }

    fn log_problem(&mut self, what: &str, reason: String) {
        if self.problem_logged.as_ref() != Some(&reason) {
            warn!(topic = self.settings.topic.name, reason, "{what}");
            self.problem_logged = Some(reason);
        }
    }
}
