//! Trimming: what every registered group has acknowledged is dropped.
//!
//! A group is registered with a stream by `XGROUP CREATE`. As long as it is there, the stream keeps everything that the group has not
//! acknowledged, whether it was delivered or not; also if the streams were lost and made anew ([`super::groups`]). A stream without groups
//! keeps its entries for the topic's retention time.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::aio::MultiplexedConnection;
use tokio::time::sleep;
use tracing::debug;

use super::connection::connect;
use super::groups::Groups;
use super::restore::RestoreError;
use super::script::TRIM;
use super::shared::Shared;
use crate::transport::TopicHistory;

const PAUSE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(1);
/// Most calls for one stream at a time; one drops a hundred nodes, which are some ten thousand entries.
const CALLS_MAX: u32 = 50;

pub(super) struct Trimmer {
    shared: Arc<Shared>,
    groups: Groups,
    connection: Option<MultiplexedConnection>,
}

impl Trimmer {
    pub(super) fn new(shared: Arc<Shared>, history: TopicHistory) -> Self {
        Self { shared, groups: Groups::new(history), connection: None }
    }

    /// Until it is dropped. Only the instance that appends trims.
    pub(super) async fn run(mut self) {
        loop {
            sleep(PAUSE).await;
            if self.shared.gate.is_in_use()
                && let Err(error) = self.trim().await
            {
                // An outage, which the publisher logs.
                debug!(%error, "The streams cannot be trimmed");
                self.connection = None;
            }
        }
    }

    async fn trim(&mut self) -> Result<(), RestoreError> {
        let settings = &self.shared.settings;
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(&self.shared.settings.redis, PATIENCE).await?),
        };
        let mut read = redis::cmd("HGET");
        read.arg(&settings.topic).arg("partitions");
        let partitions: Option<u32> = read.query_async(connection).await?;
        let partitions = partitions.unwrap_or_default();
        if !self.groups.keep(connection, settings, partitions).await? {
            return Ok(());
        }
        let oldest = settings.retention.map_or_else(String::new, oldest_kept);
        for partition in 0..partitions {
            let stream = settings.stream_key(partition);
            for _ in 0..CALLS_MAX {
                let dropped: u64 = TRIM.key(&stream).arg(&oldest).invoke_async(connection).await?;
                if dropped == 0 {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The id before which entries are older than `retention`.
fn oldest_kept(retention: Duration) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-0", now.saturating_sub(retention).as_millis())
}
