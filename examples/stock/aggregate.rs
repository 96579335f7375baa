//! The stock of one article in a warehouse. Nothing here but what is the article's own.

use chrono::{DateTime, Utc};
use engine::aggregate::{Aggregate, DecodeError, Name, Recorded};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stock {
    pub is_listed: bool,
    pub pieces: u32,
}

#[derive(Debug, Clone)]
pub enum Command {
    /// Begins to keep an article.
    List {
        name: String,
    },
    Receive {
        pieces: u32,
    },
    Pick {
        pieces: u32,
    },
}

/// The payload of a message is this event as JSON, and where it stands in the article's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Listed { name: String },
    Received { pieces: u32 },
    Picked { pieces: u32 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    #[error("the article is listed already")]
    AlreadyListed,
    #[error("there are only {left} pieces left")]
    TooFew { left: u32 },
    #[error("no warehouse takes so many pieces")]
    TooMany,
}

impl Aggregate for Stock {
    // Tables are called `stock_event`, metrics `stocks_…`.
    const NAME: Name = Name { one: "stock", many: "stocks" };

    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn is_creation(command: &Command) -> bool {
        matches!(command, Command::List { .. })
    }

    fn decide(&self, command: Command, _: DateTime<Utc>) -> Result<Vec<Event>, Rejection> {
        Ok(match command {
            Command::List { .. } if self.is_listed => return Err(Rejection::AlreadyListed),
            Command::List { name } => vec![Event::Listed { name }],
            Command::Receive { pieces } if self.pieces.checked_add(pieces).is_none() => {
                return Err(Rejection::TooMany);
            }
            Command::Pick { pieces } if pieces > self.pieces => {
                return Err(Rejection::TooFew { left: self.pieces });
            }
            // Nothing happens, and that is no mistake.
            Command::Receive { pieces: 0 } | Command::Pick { pieces: 0 } => Vec::new(),
            Command::Receive { pieces } => vec![Event::Received { pieces }],
            Command::Pick { pieces } => vec![Event::Picked { pieces }],
        })
    }

    fn evolve(self, event: &Recorded<Event>) -> Self {
        let pieces = match &event.data {
            Event::Listed { .. } => 0,
            Event::Received { pieces } => self.pieces.saturating_add(*pieces),
            Event::Picked { pieces } => self.pieces.saturating_sub(*pieces),
        };
        Self { is_listed: true, pieces }
    }

    fn event_type(event: &Event) -> &'static str {
        match event {
            Event::Listed { .. } => "StockListed",
            Event::Received { .. } => "StockReceived",
            Event::Picked { .. } => "StockPicked",
        }
    }

    fn encode(event: &Recorded<Event>) -> Result<String, serde_json::Error> {
        #[derive(Serialize)]
        struct Message<'a> {
            version: i64,
            #[serde(flatten)]
            event: &'a Event,
        }
        serde_json::to_string(&Message { version: event.version, event: &event.data })
    }

    fn decode(_: &str, schema_version: u32, payload: &str) -> Result<Event, DecodeError> {
        match schema_version {
            1 => Ok(serde_json::from_str(payload)?),
            later => Err(format!("schema version {later} is not known here").into()),
        }
    }
}
