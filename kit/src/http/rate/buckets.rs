//! What each caller has left, in a bounded table.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use governor::clock::Clock;
use governor::nanos::Nanos;
use governor::state::StateStore;

/// One lock each, so that workers seldom wait for one another.
const SHARDS: usize = 64;
/// Seven eighths of 2,048: what a table of so many places holds. It takes 35 KB.
const SHARD_KEYS_MAX: usize = 1_792;
/// Callers that are known at a time: at least so many that asked within the time in which a burst is made good. 2.2 MB.
#[cfg(test)]
pub(super) const KEYS_MAX: usize = SHARDS * SHARD_KEYS_MAX;
/// Shortest time between two looks for callers to be forgotten, in nanoseconds. A look takes some microseconds.
const LOOK_PAUSE: u64 = 10_000_000;
/// The key of all who come when there is no room.
const OTHERS: u64 = 0;

/// By key the moment at which the caller has their whole burst again; from then on they are as unknown as before. If a shard is full
/// of callers who still owe something, those who come share one allowance, and those who are known keep theirs.
pub(super) struct Buckets<C> {
    shards: Vec<Mutex<Shard>>,
    clock: C,
}

#[derive(Default)]
struct Shard {
    whole_at: HashMap<u64, u64>,
    look_at: u64,
}

impl<C> Buckets<C> {
    pub(super) fn new(clock: C) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), clock }
    }

    #[expect(clippy::indexing_slicing, reason = "below the number of shards")]
    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        // The upper bits: the table goes by the others.
        let shard = usize::try_from(key >> 32).unwrap_or_default() % SHARDS;
        // A table is whole after any panic.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard>| shard.lock().map_or(0, |shard| shard.whole_at.len());
        self.shards.iter().map(len).sum()
    }
}

impl<C: Clock<Instant = Nanos>> StateStore for Buckets<C> {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut shard = self.shard(*key);
        let known = shard.whole_at.contains_key(key) || shard.has_room(&self.clock);
        let key = if known { *key } else { OTHERS };
        let (outcome, whole_at) = measure(shard.whole_at.get(&key).copied().map(Nanos::from))?;
        shard.whole_at.insert(key, whole_at.as_u64());
        Ok(outcome)
    }
}

impl Shard {
    /// Forgets callers if there is none.
    fn has_room(&mut self, clock: &impl Clock<Instant = Nanos>) -> bool {
        // One place is for the others.
        let full = |shard: &Self| shard.whole_at.len() >= SHARD_KEYS_MAX - 1;
        if full(self) {
            let now = clock.now().as_u64();
            if now >= self.look_at {
                self.look_at = now + LOOK_PAUSE;
                self.whole_at.retain(|_, whole_at| *whole_at > now);
            }
        }
        !full(self)
    }
}
