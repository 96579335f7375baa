//! The commands of one consumer of a group. Each is one round trip.

use std::collections::BTreeSet;
use std::time::Duration;

use redis::{Cmd, Connection, ErrorKind, RedisError, RedisResult, Script, Value};

use super::start::{GroupState, StreamState};
use crate::streams::{self, Claimed, EntryId, StreamEntry};

/// Most ids in one command.
const IDS_MAX: usize = 1_000;

/// An entry's place: partition and id.
pub type Place = (i32, EntryId);

/// Partition and entries of an answer.
pub type Found = Vec<(i32, Vec<StreamEntry>)>;

pub struct Group {
    pub topic: String,
    pub name: String,
    pub consumer: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Remove {
    /// This consumer.
    Own,
    /// Others that were idle for this long.
    Others(Duration),
}

impl Group {
    /// `None`: there is no stream.
    pub fn look(&self, connection: &mut Connection, partition: i32) -> RedisResult<Option<StreamState>> {
        let script = Script::new(include_str!("lua/look.lua"));
        let mut invocation = script.prepare_invoke();
        let state: Vec<String> = invocation.key(self.stream(partition)).arg(&self.name).invoke(connection)?;
        let malformed = || -> RedisError {
            (ErrorKind::UnexpectedReturnType, "a stream's state cannot be read", state.join(" ")).into()
        };
        let number = |place: usize| state.get(place).and_then(|text| text.parse::<i64>().ok());
        let known = |place: usize| number(place).map(|number| (number >= 0).then_some(number));
        let id = |place: usize| state.get(place).and_then(|text| text.parse::<EntryId>().ok());
        if state.is_empty() {
            return Ok(None);
        }
        let group = || {
            let (delivered, read, lag) = (id(4)?, known(5)?, known(6)?);
            Some(GroupState { delivered, read, lag, pending: number(7)? })
        };
        let stream = || {
            let (added, length, last) = (number(0)?, number(1)?, id(2)?);
            let group = if state.len() > 4 { Some(group()?) } else { None };
            Some(StreamState { added, length, last, first: id(3), group })
        };
        stream().map(Some).ok_or_else(malformed)
    }

    /// Makes the group, and the stream if it is missing, to be read from its beginning. Fine if it is there. `removed` entries of the
    /// stream are gone, and are not the group's loss.
    pub fn create(&self, connection: &mut Connection, partition: i32, removed: i64) -> RedisResult<()> {
        let mut create = redis::cmd("XGROUP");
        create.arg("CREATE").arg(self.stream(partition)).arg(&self.name).arg("0").arg("MKSTREAM");
        create.arg("ENTRIESREAD").arg(removed);
        match create.exec(connection) {
            Err(error) if error.code() != Some("BUSYGROUP") => Err(error),
            _ => Ok(()),
        }
    }

    /// `lost` more entries count as read: they never can be. False: the group has moved since `seen`, or another process was first.
    pub fn pass_over(
        &self,
        connection: &mut Connection,
        partition: i32,
        seen: GroupState,
        lost: i64,
    ) -> RedisResult<bool> {
        let script = Script::new(include_str!("lua/correct_read.lua"));
        let mut invocation = script.prepare_invoke();
        invocation.key(self.stream(partition)).arg(&self.name).arg(seen.delivered.to_string());
        invocation.arg(seen.read.unwrap_or(-1)).arg(seen.read.unwrap_or(0) + lost).invoke(connection)
    }

    /// Entries that no consumer was given before, of all partitions below `partitions`. Waits for the first one.
    pub fn read_new(
        &self,
        connection: &mut Connection,
        partitions: i32,
        count: usize,
        wait: Duration,
    ) -> RedisResult<Found> {
        let mut read = self.read(count);
        // 0 would wait for ever.
        if !wait.is_zero() {
            read.arg("BLOCK").arg(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
        }
        let places = (0..partitions).map(|partition| (partition, ">".to_owned()));
        self.read_from(connection, read, places)
    }

    /// What this consumer was given and has not acknowledged, behind these places.
    pub fn read_own(
        &self,
        connection: &mut Connection,
        behind: &[Place],
        count: usize,
    ) -> RedisResult<Found> {
        let places = behind.iter().map(|(partition, id)| (*partition, id.to_string()));
        self.read_from(connection, self.read(count), places)
    }

    fn read(&self, count: usize) -> Cmd {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(&self.name).arg(&self.consumer).arg("COUNT").arg(count);
        read
    }

    fn read_from(
        &self,
        connection: &mut Connection,
        mut read: Cmd,
        places: impl Iterator<Item = (i32, String)>,
    ) -> RedisResult<Found> {
        let (partitions, ids): (Vec<i32>, Vec<String>) = places.unzip();
        let names: Vec<String> = partitions.iter().map(|partition| self.stream(*partition)).collect();
        let reply: Value = read.arg("STREAMS").arg(&names).arg(ids).query(connection)?;
        let found = streams::streams(reply)?.into_iter();
        let partition = |name: &str| {
            let place = names.iter().position(|asked| asked == name)?;
            partitions.get(place).copied()
        };
        Ok(found.filter_map(|(name, entries)| Some((partition(&name)?, entries))).collect())
    }

    /// Takes over what consumers have not acknowledged for `idle`, from the entry `from` on.
    pub fn claim(
        &self,
        connection: &mut Connection,
        (partition, from): Place,
        idle: Duration,
        count: usize,
    ) -> RedisResult<Claimed> {
        let mut claim = redis::cmd("XAUTOCLAIM");
        claim.arg(self.stream(partition)).arg(&self.name).arg(&self.consumer).arg(milliseconds(idle));
        streams::claimed(claim.arg(from.to_string()).arg("COUNT").arg(count).query(connection)?)
    }

    pub fn acknowledge(&self, connection: &mut Connection, places: &BTreeSet<Place>) -> RedisResult<()> {
        let mut commands = redis::pipe();
        for (stream, ids) in self.by_stream(places) {
            commands.cmd("XACK").arg(stream).arg(&self.name).arg(ids).ignore();
        }
        commands.exec(connection)
    }

    /// These entries count as idle for this long from now on, as this consumer's. What is acknowledged already is left alone.
    pub fn set_idle(
        &self,
        connection: &mut Connection,
        places: &BTreeSet<Place>,
        idle: Duration,
    ) -> RedisResult<()> {
        for (stream, ids) in self.by_stream(places) {
            let mut claim = redis::cmd("XCLAIM");
            claim.arg(stream).arg(&self.name).arg(&self.consumer).arg(0).arg(ids);
            claim.arg("IDLE").arg(milliseconds(idle)).arg("JUSTID").exec(connection)?;
        }
        Ok(())
    }

    /// Streams and ids, no more of them than one command takes.
    fn by_stream(&self, places: &BTreeSet<Place>) -> Vec<(String, Vec<String>)> {
        let places: Vec<Place> = places.iter().copied().collect();
        let of_streams = places.chunk_by(|(one, _), (other, _)| one == other);
        let chunks = of_streams.flat_map(|of_stream| of_stream.chunks(IDS_MAX));
        let of_chunk = |chunk: &[Place]| {
            let (partition, _) = chunk.first()?;
            Some((self.stream(*partition), chunk.iter().map(|(_, id)| id.to_string()).collect()))
        };
        chunks.filter_map(of_chunk).collect()
    }

    /// Removes the names of consumers that have nothing pending, and tells them.
    pub fn remove(
        &self,
        connection: &mut Connection,
        partition: i32,
        which: Remove,
    ) -> RedisResult<Vec<String>> {
        let (which, idle) = match which {
            Remove::Own => ("own", Duration::ZERO),
            Remove::Others(idle) => ("others", idle),
        };
        let script = Script::new(include_str!("lua/remove_consumers.lua"));
        let mut invocation = script.prepare_invoke();
        invocation.key(self.stream(partition)).arg(&self.name).arg(&self.consumer).arg(which);
        invocation.arg(milliseconds(idle)).invoke(connection)
    }

    pub fn stream(&self, partition: i32) -> String {
        streams::stream(&self.topic, partition)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
