//! A small aggregate for the engine's own tests.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, DecodeError, Name, Recorded};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counter(pub(crate) usize);

#[derive(Debug, Clone)]
pub(crate) enum CounterCommand {
    Add(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Added;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("it cannot count so far")]
pub(crate) struct TooFar;

impl Aggregate for Counter {
    const NAME: Name = Name { one: "counter", many: "counters" };
    type Command = CounterCommand;
    type Event = Added;
    type Rejection = TooFar;

    fn is_creation(_: &CounterCommand) -> bool {
        false
    }

    fn decide(
        &self,
        CounterCommand::Add(times): CounterCommand,
        _: DateTime<Utc>,
    ) -> Result<Vec<Added>, TooFar> {
        Ok(vec![Added; times])
    }

    fn evolve(self, _: &Recorded<Added>) -> Self {
        Self(self.0 + 1)
    }

    fn event_type(_: &Added) -> &'static str {
        "Added"
    }

    fn schema_version(_: &Added) -> u32 {
        2
    }

    fn encode(_: &Recorded<Added>) -> Result<String, serde_json::Error> {
        Ok("{}".into())
    }

    fn decode(_: &str, schema_version: u32, _: &str) -> Result<Added, DecodeError> {
        if schema_version == 2 { Ok(Added) } else { Err(format!("version {schema_version}").into()) }
    }
}
