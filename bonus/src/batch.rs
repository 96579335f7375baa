//! A batch: the messages that the feed hands to the consumer together, and the offsets that they reach.

use std::collections::BTreeMap;

use rdkafka::message::OwnedMessage;

use crate::error::DeadLetterReason;
use crate::message::{Event, Ignored};
use crate::traces::Origin;

/// Most bytes of messages in a batch, headers included. It bounds memory when messages are large, since they are kept whole.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How far one partition was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The assignment of the partition to this process under which it was read. See [`crate::kafka::Assignment`].
    pub epoch: u64,
    /// The offset to commit: one past the last message read.
    pub next_offset: i64,
}

/// By partition; there is one topic.
pub type Positions = BTreeMap<i32, Position>;

/// A message that cannot be credited, whole, with the reason.
#[derive(Debug)]
pub struct DeadLetter {
    pub message: OwnedMessage,
    pub reason: DeadLetterReason,
}

/// The content of a message. A message that may become a dead letter is kept whole.
pub enum Content {
    Valued(Event, OwnedMessage),
    Ignored(Ignored),
    Unreadable(DeadLetter),
}

/// One message as the feed took it from the topic.
pub struct ReceivedMessage {
    pub partition: i32,
    pub position: Position,
    pub bytes: usize,
    pub content: Content,
    pub origin: Option<Origin>,
}

#[derive(Default)]
pub struct Batch {
    pub messages: usize,
    pub events: Vec<Event>,
    /// The message of each event, at the same index.
    pub sources: Vec<OwnedMessage>,
    pub dead_letters: Vec<DeadLetter>,
    pub without_points: usize,
    pub unknown_type: usize,
    pub positions: Positions,
    /// Of the messages that are in a trace.
    pub origins: Vec<Origin>,
    bytes: usize,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    pub fn is_full(&self, messages_max: usize) -> bool {
        self.messages >= messages_max || self.bytes >= BATCH_BYTES_MAX
    }

    pub fn push(&mut self, taken: ReceivedMessage) {
        self.messages += 1;
        self.bytes += taken.bytes;
        // The latest offset counts, not the highest: after a rebalance a partition may be read again from an earlier offset.
        self.positions.insert(taken.partition, taken.position);
        self.origins.extend(taken.origin);
        match taken.content {
            Content::Valued(event, source) => {
                self.events.push(event);
                self.sources.push(source);
            }
            Content::Ignored(Ignored::WithoutPoints) => self.without_points += 1,
            Content::Ignored(Ignored::UnknownType) => self.unknown_type += 1,
            Content::Unreadable(dead_letter) => self.dead_letters.push(dead_letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(next_offset: i64, bytes: usize) -> ReceivedMessage {
        ReceivedMessage {
            partition: 0,
            position: Position { epoch: 1, next_offset },
            bytes,
            content: Content::Ignored(Ignored::UnknownType),
            origin: None,
        }
    }

    #[test]
    fn is_full_by_messages_or_by_bytes() {
        let mut batch = Batch::default();
        batch.push(taken(1, 10));
        assert!(!batch.is_full(2));
        batch.push(taken(2, 10));
        assert!(batch.is_full(2));
        assert!(!batch.is_full(3));
        batch.push(taken(3, BATCH_BYTES_MAX));
        assert!(batch.is_full(1_000));
    }

    #[test]
    fn the_latest_position_counts_even_when_it_is_lower() {
        let mut batch = Batch::default();
        batch.push(taken(9, 1));
        batch.push(taken(4, 1));
        assert_eq!(batch.positions[&0].next_offset, 4);
    }
}
