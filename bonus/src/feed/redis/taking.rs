//! Taking entries: first what this consumer was given earlier, then what others have left, then new ones.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisResult;
use tracing::info;

use super::RedisIntake;
use super::group::{Found, Place};
use crate::batch::{Batch, Content, ReceivedMessage};
use crate::message;
use crate::source::{Position, SourceMessage};
use crate::streams::{Claimed, Entry, EntryId};
use crate::traces::Origin;

/// Most bytes of one answer, as far as the entries before it tell.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
impl RedisIntake {
    /// False: there is nothing more at the moment.
    pub(super) fn take_some(&mut self, wait: Duration, batch: &mut Batch) -> RedisResult<bool> {
        let (Some(connection), Some(topic)) = (self.connection.as_mut(), self.topic) else {
            std::thread::sleep(wait);
            return Ok(false);
        };
        let room = self.batch_messages_max.saturating_sub(batch.messages);
        let count = count(room, self.entry_bytes, topic.partitions);
        let streams = self.streams.iter();
        let own: Vec<Place> =
            streams.filter_map(|(partition, stream)| Some((*partition, stream.own_behind?))).collect();
        if !own.is_empty() {
            let found = self.group.read_own(connection, &own, count)?;
            for (partition, stream) in &mut self.streams {
                let of_stream = found.iter().find(|(of, _)| of == partition);
                stream.own_behind = of_stream.and_then(|(_, entries)| entries.last()).map(|(id, _)| *id);
            }
            self.push(found, batch);
            return Ok(true);
        }
        let mut streams = self.streams.iter_mut();
        if let Some((partition, stream)) = streams.find(|(_, stream)| stream.claim_from.is_some()) {
            let (partition, from) = (*partition, stream.claim_from.unwrap_or_default());
            let claimed = self.group.claim(connection, (partition, from), self.session_timeout, count)?;
            stream.claim_from = Some(claimed.next).filter(|next| *next != EntryId::START);
            self.taken_over(partition, claimed, batch);
            return Ok(true);
        }
        let found = self.group.read_new(connection, topic.partitions, count, wait)?;
        let any = !found.is_empty();
        self.push(found, batch);
        Ok(any)
    }

    fn taken_over(&mut self, partition: i32, claimed: Claimed, batch: &mut Batch) {
        for id in claimed.removed {
            self.report_removed(partition, id);
        }
        if !claimed.entries.is_empty() {
            info!(
                partition,
                entries = claimed.entries.len(),
                "Entries that a consumer has left are taken over"
            );
        }
        self.push(vec![(partition, claimed.entries)], batch);
    }

    fn push(&mut self, found: Found, batch: &mut Batch) {
        self.entry_bytes = (self.entry_bytes / 2).max(1);
        let entries = found
            .into_iter()
            .flat_map(|(partition, entries)| entries.into_iter().map(move |entry| (partition, entry)));
        for (partition, (id, fields)) in entries {
            let place = (partition, id);
            if [&self.gathered, &self.in_hand, &self.credited].iter().any(|held| held.contains(&place)) {
                continue;
            }
            let Some(fields) = fields else {
                self.report_removed(partition, id);
                self.credited.insert(place);
                continue;
            };
            let entry = Entry { topic: Arc::clone(&self.topic_name), partition, id, fields };
            let bytes = entry.bytes();
            self.entry_bytes = self.entry_bytes.max(bytes);
            self.gathered.insert(place);
            let decoded = message::decode(entry.value());
            batch.push(ReceivedMessage {
                bytes,
                origin: Origin::of(
                    (partition, Position::Entry(id)),
                    entry.key(),
                    |name| entry.header(name),
                    &decoded,
                ),
                content: Content::new(decoded, || SourceMessage::Redis(entry)),
            });
        }
    }
}

/// How many entries to ask each stream for. `room` is for all of them; when it is smaller than their number, it is exceeded.
fn count(room: usize, entry_bytes: usize, partitions: i32) -> usize {
    let partitions = usize::try_from(partitions).unwrap_or(1).max(1);
    (room.min(READ_BYTES_MAX / entry_bytes.max(1)) / partitions).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_fits_the_batch_and_the_memory() {
        for (room, entry_bytes, partitions, expected) in [
            (1_000, 1_024, 1, 1_000),
            (1_000, 1_024, 6, 166),
            (1_000, 100 * 1_024, 1, 40),
            (1_000, 100 * 1_024 * 1_024, 6, 1),
            (2, 1_024, 6, 1),
            (0, 0, 0, 1),
        ] {
            assert_eq!(count(room, entry_bytes, partitions), expected, "{room} {entry_bytes} {partitions}");
        }
    }
}
