//! PURE: what a stream's counters tell of entries that the group has not read.

use uuid::Uuid;

use crate::streams::EntryId;

/// A stream at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// Entries ever added, and those that are there.
    pub added: i64,
    pub length: i64,
    pub last: EntryId,
    /// `None`: the stream is empty.
    pub first: Option<EntryId>,
    /// `None`: the stream has no such group.
    pub group: Option<GroupState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupState {
    /// The last entry that was given to a consumer.
    pub delivered: EntryId,
    /// How many entries were. `None`: Redis does not know.
    pub read: Option<i64>,
    /// Entries that no consumer has been given yet. `None`: Redis does not know.
    pub lag: Option<i64>,
    /// Given to a consumer, and not acknowledged.
    pub pending: i64,
}

impl StreamState {
    /// Entries that are not acknowledged. When Redis does not know how many are unread, all that are there count as unread.
    pub fn lag(&self) -> i64 {
        self.group.map_or(self.length, |group| group.lag.unwrap_or(self.length) + group.pending)
    }

    /// Entries that are not there any more.
    pub fn removed(&self) -> i64 {
        (self.added - self.length).max(0)
    }

    /// How many entries were removed before the group read them. `None`: none, or it cannot be told at present.
    ///
    /// All entries up to the group's place are known by number (`read`). If none of these is left, whatever else was removed was
    /// unread. If the group is at the end, Redis has counted as read what it has delivered, and the rest never was.
    pub fn lost(&self) -> Option<i64> {
        let group = self.group?;
        let read = group.read.or((group.delivered == EntryId::START).then_some(0))?;
        let passed = if self.first.is_none_or(|first| first > group.delivered) {
            self.removed()
        } else if group.delivered >= self.last {
            self.added
        } else {
            return None;
        };
        Some(passed - read).filter(|lost| *lost > 0)
    }
}

/// What is remembered of the stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KnownStream {
    /// The topic that it belonged to.
    pub topic_id: Option<Uuid>,
    /// The partition did not exist when the group last looked at this very topic.
    pub is_added: bool,
}

/// Why reading does not continue where it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// Another topic has the name now.
    MadeAnew,
    /// The partition is new.
    Added,
    /// The group is gone, and the topic is the same.
    Forgotten,
}

impl Gap {
    /// The metric's label.
    pub fn cause(self) -> &'static str {
        match self {
            Self::MadeAnew => "made_anew",
            Self::Added => "added",
            Self::Forgotten => "forgotten",
        }
    }
}

/// The gap, and how many entries are gone that this group never read. `None`: reading goes on, or begins. `found` is `None` if there
/// is no stream.
pub fn gap(known: KnownStream, topic_id: Uuid, found: Option<StreamState>) -> Option<(Gap, i64)> {
    let removed = found.map_or(0, |found| found.removed());
    let has_group = found.is_some_and(|found| found.group.is_some());
    match known.topic_id {
        Some(before) if before != topic_id => Some((Gap::MadeAnew, if has_group { 0 } else { removed })),
        Some(_) if !has_group => Some((Gap::Forgotten, 0)),
        None if known.is_added => Some((Gap::Added, removed)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EntryId {
        EntryId { ms, sequence: 0 }
    }

    /// Entries have the ids 1 to `added`; `first` is the oldest that is left.
    fn stream(added: i64, first: Option<u64>, delivered: u64, read: Option<i64>) -> StreamState {
        let last = u64::try_from(added).unwrap();
        let length = first.map_or(0, |first| i64::try_from(last - first + 1).unwrap());
        let group = GroupState { delivered: id(delivered), read, lag: None, pending: 0 };
        StreamState { added, length, last: id(last), first: first.map(id), group: Some(group) }
    }

    #[test]
    fn only_what_was_removed_unread_is_lost() {
        for (added, first, delivered, read, lost) in [
            (0, None, 0, None, None),
            (9, Some(1), 0, None, None),
            (9, Some(4), 0, None, Some(3)),
            // Known to be none of the group's business, when it was made.
            (9, Some(4), 0, Some(3), None),
            // All that was removed had been read.
            (9, Some(4), 3, Some(3), None),
            (9, Some(4), 6, Some(6), None),
            (9, Some(6), 3, Some(3), Some(2)),
            (9, None, 3, Some(3), Some(6)),
            (9, None, 9, Some(9), None),
            (9, Some(4), 9, Some(9), None),
            // Read past the gap: Redis counts what it has delivered.
            (9, Some(6), 9, Some(7), Some(2)),
            (9, Some(6), 5, None, None),
        ] {
            let state = stream(added, first, delivered, read);
            assert_eq!(state.lost(), lost, "{state:?}");
        }
        assert_eq!(StreamState { group: None, ..stream(9, Some(4), 0, None) }.lost(), None);
    }

    #[test]
    fn reading_goes_on_or_says_why_not() {
        let (old, new) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let known = |topic_id| KnownStream { topic_id, is_added: false };
        let added = KnownStream { topic_id: None, is_added: true };
        let there = stream(9, Some(4), 3, Some(3));
        let without_group = StreamState { group: None, ..there };
        for (known, found, expected) in [
            (known(None), None, None),
            (known(None), Some(without_group), None),
            (known(Some(new)), Some(there), None),
            (known(Some(new)), Some(without_group), Some((Gap::Forgotten, 0))),
            (known(Some(new)), None, Some((Gap::Forgotten, 0))),
            (known(Some(old)), None, Some((Gap::MadeAnew, 0))),
            (known(Some(old)), Some(without_group), Some((Gap::MadeAnew, 3))),
            // Another process of the group was first.
            (known(Some(old)), Some(there), Some((Gap::MadeAnew, 0))),
            (added, Some(without_group), Some((Gap::Added, 3))),
        ] {
            assert_eq!(gap(known, new, found), expected, "{known:?} {found:?}");
        }
    }
}
