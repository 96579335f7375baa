//! The scripts. Each is one step that Redis carries out whole or not at all.

use std::sync::LazyLock;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult, Script};

use super::checkpoints::Cursor;
use super::gate::Tenure;
use super::settings::StreamSettings;
use crate::journal::StoredEvent;
use crate::transport::message::MessageAttributes;
use crate::transport::partition_of;

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!($file)));
    };
}
script!(APPEND, "lua/append.lua");
script!(CONFIRM, "lua/confirm.lua");
script!(GROUPS, "lua/groups.lua");
script!(LOOK, "lua/look.lua");
script!(REGROUP, "lua/regroup.lua");
script!(TAKE, "lua/take.lua");
script!(TRIM, "lua/trim.lua");

/// What `append.lua` answers: the entry's id, and the appends so far.
pub(super) type Appended = (String, i64);

/// Adds the append of one event to a pipeline. The script must be loaded.
pub(super) fn append(
    pipeline: &mut Pipeline,
    settings: &StreamSettings,
    tenure: &Tenure,
    event: &StoredEvent,
) {
    let message = MessageAttributes::of(event);
    let partition = partition_of(event.aggregate_id, tenure.partitions.max(1));
    let command = pipeline.cmd("EVALSHA").arg(APPEND.get_hash()).arg(3);
    command.arg(&settings.topic).arg(settings.position_key()).arg(settings.stream_key(partition));
    command.arg(&tenure.topic_id).arg(&tenure.token).arg(tenure.appended());
    command.arg("key").arg(message.key()).arg("value").arg(&event.payload);
    for (name, value) in message.all(&settings.source) {
        command.arg(name).arg(value);
    }
}

/// Redis forgets scripts when it is restarted.
pub(super) async fn load(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    APPEND.load_async(connection).await.map(drop)
}

/// Writes down that the streams have every event up to the cursor.
pub(super) async fn confirm(
    connection: &mut MultiplexedConnection,
    settings: &StreamSettings,
    tenure: &Tenure,
    cursor: Cursor,
) -> RedisResult<()> {
    let mut script = CONFIRM.key(&settings.topic);
    script.key(settings.position_key()).arg(&tenure.topic_id).arg(&tenure.token);
    let event_id = cursor.event_id.map(|id| id.to_string()).unwrap_or_default();
    script.arg(tenure.appended()).arg(cursor.seq).arg(event_id);
    script.invoke_async(connection).await
}
