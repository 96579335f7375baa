//! What a user of the engine writes: the rules of one kind of aggregate, and its events as they are stored.

use std::error::Error;
use std::fmt::{self, Debug};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// An aggregate: its state is the sum of its events, and only its own rules add to them.
///
/// Every function is pure: no IO, no clock, no randomness. They run again whenever a decision was overtaken, and whenever the state is
/// loaded. The split into `decide` and `evolve` is Jérémie Chassaing's decider.
///
/// [`Default`] is the state before the first event.
pub trait Aggregate: Clone + Debug + Default + Send + Sync + Unpin + 'static {
    /// Names tables, metrics and messages. Never changed once there are events.
    const NAME: Name;

    type Command: Clone + Debug + Send + Sync + 'static;
    type Event: Clone + Debug + Send + Sync + 'static;
    /// Why a rule said no. Serialised into the receipt of a command with an idempotency key.
    type Rejection: Error + Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Whether this command begins an aggregate, under an id that was just made for it. Then nothing is read before it is decided.
    /// Any other command finds an aggregate, or is answered [`NotFound`](crate::CommandError::NotFound).
    fn is_creation(command: &Self::Command) -> bool;

    /// What happens when `command` meets this state at the time `at`. All events are written, or none.
    ///
    /// # Errors
    /// The rule that says no. It is decided once more on what is committed before the caller hears of it.
    fn decide(&self, command: Self::Command, at: DateTime<Utc>) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// The state after `event`. Total: what has happened cannot be refused.
    #[must_use]
    fn evolve(self, event: &Recorded<Self::Event>) -> Self;

    /// The event's name in the journal and on the wire, such as `OrderPaid`. Part of the contract.
    fn event_type(event: &Self::Event) -> &'static str;

    /// Under which version of its schema an event of this type is written now.
    fn schema_version(_event: &Self::Event) -> u32 {
        FIRST_SCHEMA_VERSION
    }

    /// The event as JSON: what the table holds and the broker carries, byte for byte.
    ///
    /// # Errors
    /// When it cannot be written as JSON; the command is then answered as broken, and nothing is written.
    fn encode(event: &Recorded<Self::Event>) -> Result<String, serde_json::Error>;

    /// Reads what [`encode`](Self::encode) wrote, in this version of the service or an earlier one.
    ///
    /// # Errors
    /// When this version does not know the type, the schema version or a value. Commands of this aggregate then fail; others go on.
    fn decode(event_type: &str, schema_version: u32, payload: &str) -> Result<Self::Event, DecodeError>;
}

/// What every event has that says nothing else.
pub const FIRST_SCHEMA_VERSION: u32 = 1;

/// Why an event cannot be read, in words.
pub type DecodeError = Box<dyn Error + Send + Sync>;

/// What an aggregate is called: `order` and `orders`. Lower-case letters and `_`, at most 15 in the singular, so that they can be part of
/// a table's name. `event` and `command` are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    pub one: &'static str,
    pub many: &'static str,
}

/// Identity of an aggregate. Made by the service, version 7, so that new ones sort after old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AggregateId(pub Uuid);

impl fmt::Display for AggregateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl From<Uuid> for AggregateId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

/// An event with its place in its aggregate's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded<Event> {
    pub event_id: Uuid,
    pub aggregate_id: AggregateId,
    /// Counts from 1 without gaps within the aggregate.
    pub version: i64,
    /// Never before the aggregate's previous event, even if the clock stepped back in between. Microseconds are the finest.
    pub occurred_at: DateTime<Utc>,
    pub data: Event,
}

/// A state, and how many events it is the sum of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current<A> {
    pub state: A,
    /// The version of the last event; 0 before the first.
    pub version: i64,
    last_at: Option<DateTime<Utc>>,
}

impl<A: Aggregate> Default for Current<A> {
    fn default() -> Self {
        Self { state: A::default(), version: 0, last_at: None }
    }
}

impl<A: Aggregate> Current<A> {
    /// The state that a history adds up to.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Recorded<A::Event>>) -> Self {
        events.into_iter().fold(Self::default(), Self::after)
    }

    #[must_use]
    pub fn after(self, event: &Recorded<A::Event>) -> Self {
        Self { state: self.state.evolve(event), version: event.version, last_at: Some(event.occurred_at) }
    }

    /// When the next event occurs. The clock may have stepped back since the last one; a history never does.
    pub(crate) fn next_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.last_at.map_or(now, |last| now.max(last))
    }

    /// Gives the events of a decision their places behind this state.
    pub(crate) fn record(
        &self,
        aggregate_id: AggregateId,
        events: Vec<A::Event>,
        occurred_at: DateTime<Utc>,
    ) -> Vec<Recorded<A::Event>> {
        (self.version + 1..)
            .zip(events)
            .map(|(version, data)| Recorded {
                event_id: Uuid::now_v7(),
                aggregate_id,
                version,
                occurred_at,
                data,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;
    use crate::sample::{Counter, CounterCommand};

    proptest! {
        /// Whatever is decided, and however the clock jumps: versions count up by one, and time never runs back.
        #[test]
        fn a_history_has_no_gaps_and_never_runs_back(
            commands in prop::collection::vec((1_usize..4, -100_i64..100), 0..20),
        ) {
            let id = AggregateId(Uuid::from_u128(1));
            let (mut current, mut history) = (Current::<Counter>::default(), Vec::new());
            for (events, second) in commands {
                let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(second);
                let at = current.next_at(now);
                let decided = current.state.decide(CounterCommand::Add(events), at).unwrap();
                let recorded = current.record(id, decided, at);
                current = recorded.iter().fold(current, Current::after);
                history.extend(recorded);
            }
            prop_assert!(history.iter().map(|event| event.version).eq(1..=history.len() as i64));
            prop_assert!(history.is_sorted_by_key(|event| event.occurred_at));
            prop_assert_eq!(Current::of(&history), current);
        }
    }
}
