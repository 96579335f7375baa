//! A batch: the messages that the feed hands to the consumer together.

use crate::error::{DeadLetterReason, Undecodable};
use crate::message::{Event, Ignored, Incoming};
use crate::source::SourceMessage;
use crate::traces::Origin;

/// Most bytes of messages in a batch, headers included. It bounds memory when messages are large, since they are kept whole.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A message that cannot be credited, whole, with the reason.
#[derive(Debug)]
pub struct DeadLetter {
    pub message: SourceMessage,
    pub reason: DeadLetterReason,
}

/// The content of a message. A message that may become a dead letter is kept whole.
pub enum Content {
    Valued(Event, SourceMessage),
    Ignored(Ignored),
    Unreadable(DeadLetter),
}

impl Content {
    /// `whole` makes the message that is kept.
    pub fn new(decoded: Result<Incoming, Undecodable>, whole: impl FnOnce() -> SourceMessage) -> Self {
        match decoded {
            Ok(Incoming::Valued(event)) => Self::Valued(event, whole()),
            Ok(Incoming::Ignored(ignored)) => Self::Ignored(ignored),
            Err(reason) => Self::Unreadable(DeadLetter { message: whole(), reason: reason.into() }),
        }
    }
}

/// One message as the feed took it from the topic.
pub struct ReceivedMessage {
    pub bytes: usize,
    pub content: Content,
    pub origin: Option<Origin>,
}

#[derive(Default)]
pub struct Batch {
    pub messages: usize,
    pub events: Vec<Event>,
    /// The message of each event, at the same index.
    pub sources: Vec<SourceMessage>,
    pub dead_letters: Vec<DeadLetter>,
    pub without_points: usize,
    pub unknown_type: usize,
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

    fn taken(bytes: usize) -> ReceivedMessage {
        ReceivedMessage { bytes, content: Content::Ignored(Ignored::UnknownType), origin: None }
    }

    #[test]
    fn is_full_by_messages_or_by_bytes() {
        let mut batch = Batch::default();
        batch.push(taken(10));
        assert!(!batch.is_full(2));
        batch.push(taken(10));
        assert!(batch.is_full(2));
        assert!(!batch.is_full(3));
        batch.push(taken(BATCH_BYTES_MAX));
        assert!(batch.is_full(1_000));
    }
}
