//! Who reads the streams. Redis has groups in the streams, and loses them with the streams. Those of a topic that is made anew are made
//! again, from what the journal's database remembers: a group whose consumers are away would otherwise be nobody's, and what is published
//! again would be trimmed before they are back.

use redis::aio::MultiplexedConnection;
use redis::{Script, ScriptInvocation};
use tracing::warn;
use uuid::Uuid;

use super::restore::RestoreError;
use super::script::{GROUPS, REGROUP};
use super::settings::StreamSettings;
use crate::transport::TopicHistory;

pub(super) struct Groups {
    history: TopicHistory,
    /// What is on record.
    recorded: Option<Seen>,
}

#[derive(PartialEq, Eq)]
struct Seen {
    topic_id: Uuid,
    /// Whether those of a former topic are there again.
    made_again: bool,
    /// Each as `partition:group`, in order.
    groups: Vec<String>,
}

impl Groups {
    pub(super) fn new(history: TopicHistory) -> Self {
        Self { history, recorded: None }
    }

    /// Whether the groups of this moment are all there and on record. Until then nothing may be trimmed.
    pub(super) async fn keep(
        &mut self,
        connection: &mut MultiplexedConnection,
        settings: &StreamSettings,
        partitions: u32,
    ) -> Result<bool, RestoreError> {
        let Some(seen) = Seen::look(connection, settings, partitions).await? else { return Ok(false) };
        if !seen.made_again {
            // The next look finds them.
            self.make_again(connection, settings, partitions, &seen).await?;
            return Ok(false);
        }
        if self.recorded.as_ref() != Some(&seen) {
            self.history.groups_seen(seen.topic_id, &seen.groups).await?;
            self.recorded = Some(seen);
        }
        Ok(true)
    }

    async fn make_again(
        &self,
        connection: &mut MultiplexedConnection,
        settings: &StreamSettings,
        partitions: u32,
        seen: &Seen,
    ) -> Result<(), RestoreError> {
        // Of a topic that was not written down yet they are not known.
        let Some(known) = self.history.groups(seen.topic_id).await? else { return Ok(()) };
        let mut script = on_streams(&REGROUP, settings, partitions);
        script.arg(seen.topic_id.to_string()).arg(&known);
        let made: bool = script.invoke_async(connection).await?;
        if made && known.iter().any(|group| !seen.groups.contains(group)) {
            warn!(
                topic = settings.topic,
                groups = known.join(", "),
                "Groups that had read the former streams are made again: what is published again waits for them"
            );
        }
        Ok(())
    }
}

/// A script of the topic and all its streams.
fn on_streams<'a>(script: &'a Script, settings: &StreamSettings, partitions: u32) -> ScriptInvocation<'a> {
    let mut invocation = script.key(&settings.topic);
    for partition in 0..partitions {
        invocation.key(settings.stream_key(partition));
    }
    invocation
}

impl Seen {
    /// `None`: the topic is not there.
    async fn look(
        connection: &mut MultiplexedConnection,
        settings: &StreamSettings,
        partitions: u32,
    ) -> Result<Option<Self>, RestoreError> {
        let script = on_streams(&GROUPS, settings, partitions);
        let (topic_id, made_again, mut groups): (String, bool, Vec<String>) =
            script.invoke_async(connection).await?;
        groups.sort_unstable();
        Ok(topic_id.parse().ok().map(|topic_id| Self { topic_id, made_again, groups }))
    }
}
