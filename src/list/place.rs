//! Where an order stands in the list, as the cursor of a page.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};

/// The list's order, newest first: by time of creation, then by position in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub created_at: DateTime<Utc>,
    pub created_seq: i64,
}

impl fmt::Display for Place {
    /// Microseconds since 1970, as exact as Postgres keeps a time, and the position.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.created_at.timestamp_micros(), self.created_seq)
    }
}

/// Not a [`Place`] as it is displayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPlace;

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let (micros, seq) = text.rsplit_once('-').ok_or(InvalidPlace)?;
        let micros: i64 = micros.parse().map_err(|_| InvalidPlace)?;
        let created_seq = seq.parse().ok().filter(|seq| *seq > 0).ok_or(InvalidPlace)?;
        let place =
            Self { created_at: DateTime::from_timestamp_micros(micros).ok_or(InvalidPlace)?, created_seq };
        // Other spellings of the numbers, such as +1, are none of ours.
        if place.to_string() == text { Ok(place) } else { Err(InvalidPlace) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written_and_nothing_else_is() {
        for text in ["1795744800123456-1042", "-1-1", "0-9223372036854775807"] {
            assert_eq!(text.parse::<Place>().map(|place| place.to_string()), Ok(text.to_owned()));
        }
        for wrong in [
            "",
            "x",
            "-",
            "1",
            "1-",
            "-1",
            "1-0",
            "1--1",
            "+1-1",
            "1-+1",
            "01-1",
            "1-1 ",
            "9223372036854775807-1",
        ] {
            assert_eq!(wrong.parse::<Place>(), Err(InvalidPlace), "{wrong:?}");
        }
    }
}
