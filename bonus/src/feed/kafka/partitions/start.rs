//! PURE: the offset at which reading a partition starts, and whether reading had ended there.
//!
//! Kafka's client would decide by itself (`auto.offset.reset`), and would not report the messages that it skips.

use std::ops::Range;

use uuid::Uuid;

/// The position that this service remembers of the partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KnownPosition {
    /// The group's offset: the next message to read.
    pub committed: Option<i64>,
    /// The topic that the offset belongs to.
    pub topic_id: Option<Uuid>,
    /// The partition did not exist when the group last looked at this very topic.
    pub is_added: bool,
}

/// The partition's offsets, as the brokers report them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerOffsets {
    /// Its first offset, and the offset after its last message.
    pub low: i64,
    pub high: i64,
    /// `None` if no broker answers this question.
    pub topic_id: Option<Uuid>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub offset: i64,
    pub gap: Option<Gap>,
    /// Offsets that were to be read and are gone.
    pub lost: Range<i64>,
    /// The group's offset.
    pub committed: Option<i64>,
}

/// Why reading does not continue where it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// Removed before they were read: by retention, or by hand.
    Deleted,
    /// Another topic has the name now. The old topic's messages after the offset are gone.
    MadeAnew,
    /// The topic ends before the offset: brokers have lost messages that they had acknowledged.
    Truncated,
    /// The partition is new. Nothing is lost, but keys have moved.
    Added,
    /// The group's offset is gone, as after `offsets.retention.minutes`. Messages that come again are not credited twice.
    Forgotten,
}

impl Gap {
    /// The metric's label.
    pub fn cause(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::MadeAnew => "made_anew",
            Self::Truncated => "truncated",
            Self::Added => "added",
            Self::Forgotten => "forgotten",
        }
    }
}

pub fn start(known: KnownPosition, found: BrokerOffsets) -> Start {
    let committed = known.committed;
    let BrokerOffsets { low, high, topic_id } = found;
    let from_the_beginning =
        |gap, expected| Start { offset: low, gap: Some(gap), lost: expected..low.max(expected), committed };
    if known.topic_id.zip(topic_id).is_some_and(|(known, found)| known != found) {
        return from_the_beginning(Gap::MadeAnew, 0);
    }
    match known.committed {
        Some(committed) if committed < low => from_the_beginning(Gap::Deleted, committed),
        Some(committed) if committed > high => from_the_beginning(Gap::Truncated, low),
        Some(offset) => Start { offset, gap: None, lost: 0..0, committed },
        None if known.is_added => from_the_beginning(Gap::Added, 0),
        None if known.topic_id.is_some() => from_the_beginning(Gap::Forgotten, low),
        None => Start { offset: low, gap: None, lost: 0..0, committed },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_goes_on_or_says_why_not() {
        let (old, new) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let known = |committed, topic_id| KnownPosition { committed, topic_id, is_added: false };
        let added = KnownPosition { is_added: true, ..KnownPosition::default() };
        let found = |low, high| BrokerOffsets { low, high, topic_id: Some(new) };
        for (known, found, offset, gap, lost) in [
            (known(Some(7), Some(new)), found(0, 9), 7, None, 0..0),
            (known(Some(9), Some(new)), found(9, 9), 9, None, 0..0),
            // A first start, also of a group that was there before ids were remembered.
            (known(None, None), found(4, 9), 4, None, 0..0),
            (known(Some(7), None), found(0, 9), 7, None, 0..0),
            // Brokers that do not tell the id.
            (known(Some(7), Some(old)), BrokerOffsets { topic_id: None, ..found(0, 9) }, 7, None, 0..0),
            (known(Some(3), Some(new)), found(5, 9), 5, Some(Gap::Deleted), 3..5),
            (known(Some(3), Some(new)), found(9, 9), 9, Some(Gap::Deleted), 3..9),
            (known(Some(12), Some(new)), found(2, 9), 2, Some(Gap::Truncated), 2..2),
            // In the old topic 7 was far; in the new one it is a place among others.
            (known(Some(7), Some(old)), found(0, 9), 0, Some(Gap::MadeAnew), 0..0),
            (known(Some(7), Some(old)), found(2, 9), 2, Some(Gap::MadeAnew), 0..2),
            (known(None, Some(old)), found(0, 9), 0, Some(Gap::MadeAnew), 0..0),
            (known(None, Some(new)), found(2, 9), 2, Some(Gap::Forgotten), 2..2),
            (added, found(0, 9), 0, Some(Gap::Added), 0..0),
            (added, found(2, 9), 2, Some(Gap::Added), 0..2),
        ] {
            let expected = Start { offset, gap, lost, committed: known.committed };
            assert_eq!(start(known, found), expected, "{known:?} {found:?}");
        }
    }
}
