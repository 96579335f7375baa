//! PURE: what streams held, history by history.
//!
//! A history is what the streams hold between two losses: first what the loss before it left of them, then what was appended. An entry
//! that was trimmed after it was read belongs to it. A loss leaves the beginning of a history, as a replica that lagged has it, or nothing.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};

/// An entry's place in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct EntryId {
    milliseconds: u64,
    number: u64,
}

impl FromStr for EntryId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (milliseconds, number) =
            text.split_once('-').with_context(|| format!("{text} is no entry id"))?;
        Ok(Self { milliseconds: milliseconds.parse()?, number: number.parse()? })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.milliseconds, self.number)
    }
}

/// What a stream says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct StreamState {
    pub(super) last: EntryId,
    /// Entries that were ever added, whether they are there or not.
    pub(super) added: u64,
}

/// The streams of one topic.
#[derive(Debug)]
pub(super) struct Histories<T> {
    topic: &'static str,
    /// Of the history of now, by partition.
    streams: Vec<Vec<(EntryId, T)>>,
    /// Of the histories before, the oldest first; each stream by stream.
    former: Vec<Vec<T>>,
    lost: usize,
    unread: Vec<String>,
}

impl<T: Clone> Histories<T> {
    pub(super) fn new(topic: &'static str, partitions: usize) -> Self {
        let streams = vec![Vec::new(); partitions];
        Self { topic, streams, former: Vec::new(), lost: 0, unread: Vec::new() }
    }

    /// The last entry that was read.
    pub(super) fn last(&self, partition: usize) -> EntryId {
        self.streams.get(partition).and_then(|stream| stream.last()).map(|(id, _)| *id).unwrap_or_default()
    }

    pub(super) fn append(&mut self, partition: usize, id: EntryId, entry: T) -> Result<()> {
        let (topic, last) = (self.topic, self.last(partition));
        if id <= last {
            bail!("{topic}:{partition} has entry {id} behind {last}");
        }
        self.streams.get_mut(partition).context("there is no such stream")?.push((id, entry));
        Ok(())
    }

    /// Compares what was read with what the stream has counted. Entries that were added and not read were removed before the reader, whose
    /// group keeps them, was given them.
    pub(super) fn compare(&mut self, partition: usize, state: StreamState) {
        let Some(stream) = self.streams.get(partition) else { return };
        let read = stream.partition_point(|(id, _)| *id <= state.last);
        let back = stream.len() > read && self.last(partition) > state.last;
        if back || u64::try_from(read).unwrap_or(u64::MAX) != state.added {
            let (topic, StreamState { last, added }) = (self.topic, state);
            let text =
                format!("{topic}:{partition} had {added} entries up to {last}, and {read} could be read");
            if !self.unread.contains(&text) {
                self.unread.push(text);
            }
        }
    }

    /// A history has ended. `left`: the last entry of each stream that is still there.
    pub(super) fn lose(&mut self, left: &[EntryId]) {
        self.former.push(self.present());
        for (partition, stream) in self.streams.iter_mut().enumerate() {
            let left = left.get(partition).copied().unwrap_or_default();
            let before = stream.len();
            stream.truncate(stream.partition_point(|(id, _)| *id <= left));
            self.lost += before - stream.len();
        }
    }

    /// The history of now, stream by stream.
    pub(super) fn present(&self) -> Vec<T> {
        self.streams.iter().flatten().map(|(_, entry)| entry.clone()).collect()
    }

    pub(super) fn former(&self) -> &[Vec<T>] {
        &self.former
    }

    /// Entries that were read, and then lost.
    pub(super) fn lost(&self) -> usize {
        self.lost
    }

    pub(super) fn unread(&self) -> &[String] {
        &self.unread
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn id(number: u64) -> EntryId {
        EntryId { milliseconds: 7, number }
    }

    fn read(entries: &[u64]) -> Histories<u64> {
        let mut histories = Histories::new("topic", 1);
        for number in entries {
            histories.append(0, id(*number), *number).unwrap();
        }
        histories
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id: EntryId = "1700000000000-12".parse().unwrap();
        assert_eq!(id.to_string(), "1700000000000-12");
        assert!(id > "1700000000000-9".parse().unwrap());
        assert!("17".parse::<EntryId>().is_err());
    }

    #[test]
    fn a_loss_leaves_the_beginning() {
        let mut histories = read(&[1, 2, 3]);
        histories.lose(&[id(2)]);
        // The lost entry's id is given again.
        histories.append(0, id(3), 30).unwrap();
        assert_eq!(histories.present(), [1, 2, 30]);
        histories.lose(&[EntryId::default()]);
        assert_eq!((histories.present(), histories.last(0)), (vec![], EntryId::default()));
        assert_eq!(histories.former(), [vec![1, 2, 3], vec![1, 2, 30]]);
        assert_eq!(histories.lost(), 4);
        assert!(histories.append(0, id(1), 1).is_ok() && histories.append(0, id(1), 1).is_err());
    }

    #[test]
    fn entries_that_were_removed_unread_are_counted_and_so_is_an_end_that_went_back() {
        let mut histories = read(&[1, 2, 4]);
        histories.compare(0, StreamState { last: id(4), added: 3 });
        // Read further than the stream was when it told its state.
        histories.append(0, id(5), 5).unwrap();
        assert_eq!(histories.unread(), Vec::<String>::new());
        histories.compare(0, StreamState { last: id(5), added: 5 });
        assert_eq!(histories.unread(), ["topic:0 had 5 entries up to 7-5, and 4 could be read"]);
        let mut histories = read(&[1, 2]);
        histories.compare(0, StreamState { last: id(1), added: 1 });
        assert_eq!(histories.unread().len(), 1);
    }
}
