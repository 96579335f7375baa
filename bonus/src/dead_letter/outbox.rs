//! The letters in Postgres.

use kit::postgres::Pool;
use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use crate::batch::DeadLetter;
use crate::error::LedgerError;
use crate::source::Position;

/// Most letters that are kept with their contents, and most bytes of the contents of one. Of others only the place is kept.
const WHOLE_LETTERS_MAX: i64 = 10_000;
const WHOLE_LETTER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 500;
/// How long a process has for the letters that it has taken: longer than it tries each of them.
const CLAIM_SECONDS: f64 = 90.0;
pub const CLAIM_LETTERS_MAX: i64 = 50;

/// A dead letter as it is stored.
#[derive(Debug, Clone, FromRow)]
pub struct Letter {
    pub letter_no: i64,
    pub topic: String,
    pub partition: i32,
    /// Its place in the partition: an offset of Kafka, or the id of an entry of a Redis stream.
    pub topic_offset: Option<i64>,
    pub entry_id: Option<String>,
    pub group_id: String,
    pub reason: String,
    pub message_key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub value_bytes: i64,
    pub header_names: Vec<String>,
    pub header_values: Vec<Option<Vec<u8>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredLetter {
    Whole,
    /// Postgres refuses the contents. Only the message's place is stored.
    PlaceOnly,
}

/// Keeps `letter` until the topic has it.
pub async fn keep(
    connection: &mut PgConnection,
    letter: &DeadLetter,
    group_id: &str,
) -> sqlx::Result<StoredLetter> {
    let whole = Letter::of(letter, group_id);
    match insert(connection, &whole).await {
        Ok(()) => Ok(StoredLetter::Whole),
        Err(error) if is_of_the_contents(&error) => {
            insert(connection, &whole.place_only()).await.map(|()| StoredLetter::PlaceOnly)
        }
        Err(error) => Err(error),
    }
}

/// 22: invalid data. 54: beyond a limit of the server. Neither goes away by trying again.
fn is_of_the_contents(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("54"))
}

async fn insert(connection: &mut PgConnection, letter: &Letter) -> sqlx::Result<()> {
    sqlx::query(include_str!("../sql/keep_letter.sql"))
        .bind(&letter.topic)
        .bind(letter.partition)
        .bind(letter.topic_offset)
        .bind(&letter.group_id)
        .bind(&letter.reason)
        .bind(&letter.message_key)
        .bind(&letter.value)
        .bind(letter.value_bytes)
        .bind(&letter.header_names)
        .bind(&letter.header_values)
        .bind(WHOLE_LETTERS_MAX)
        .bind(&letter.entry_id)
        .execute(connection)
        .await?;
    Ok(())
}

impl Letter {
    fn of(letter: &DeadLetter, group_id: &str) -> Self {
        let DeadLetter { message, reason } = letter;
        let value = message.value();
        let headers = message.headers();
        let (topic_offset, entry_id) = match message.position() {
            Position::Offset(offset) => (Some(offset), None),
            Position::Entry(id) => (None, Some(id.to_string())),
        };
        let letter = Self {
            letter_no: 0,
            topic: message.topic().to_owned(),
            partition: message.partition(),
            topic_offset,
            entry_id,
            group_id: group_id.to_owned(),
            reason: text(reason.to_string()),
            message_key: message.key().map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            value_bytes: value.map_or(0, |value| i64::try_from(value.len()).unwrap_or(i64::MAX)),
            header_names: headers.iter().map(|(name, _)| (*name).to_owned()).collect(),
            header_values: headers.iter().map(|(_, value)| value.map(<[u8]>::to_vec)).collect(),
        };
        if message.bytes() > WHOLE_LETTER_BYTES_MAX { letter.place_only() } else { letter }
    }

    /// Its place in the partition.
    pub fn position(&self) -> String {
        self.topic_offset
            .map(|offset| offset.to_string())
            .or_else(|| self.entry_id.clone())
            .unwrap_or_default()
    }

    fn place_only(self) -> Self {
        Self { message_key: None, value: None, header_names: Vec::new(), header_values: Vec::new(), ..self }
    }
}

/// As Postgres can store it: bounded, without NUL.
fn text(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text.replace('\0', "\u{fffd}")
}

/// The letters that are due, taken for this process.
pub async fn claim(pool: &Pool) -> Result<Vec<Letter>, LedgerError> {
    let claimed: Result<Vec<Letter>, LedgerError> = pool
        .run(async |mut connection| {
            let claim = sqlx::query_as(include_str!("../sql/claim_letters.sql"));
            Ok(claim.bind(CLAIM_SECONDS).bind(CLAIM_LETTERS_MAX).fetch_all(&mut *connection).await?)
        })
        .await;
    let mut letters = claimed?;
    letters.sort_by_key(|letter| letter.letter_no);
    Ok(letters)
}

/// What to do with the row of a letter that was claimed.
pub enum LetterOutcome {
    /// The topic has it.
    Delivered,
    /// It is due again later.
    Waits,
    /// The topic takes it in no form, for this reason.
    Refused(String),
}

pub async fn settle(pool: &Pool, letter_no: i64, outcome: LetterOutcome) -> Result<(), LedgerError> {
    pool.run(async move |mut connection| {
        let statement = match outcome {
            LetterOutcome::Delivered => sqlx::query(include_str!("../sql/remove_letter.sql")).bind(letter_no),
            LetterOutcome::Waits => sqlx::query(include_str!("../sql/postpone_letter.sql")).bind(letter_no),
            LetterOutcome::Refused(refusal) => {
                sqlx::query(include_str!("../sql/refuse_letter.sql")).bind(letter_no).bind(refusal)
            }
        };
        statement.execute(&mut *connection).await?;
        Ok(())
    })
    .await
}

/// Letters in Postgres.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct LetterCounts {
    pub waiting: i64,
    pub refused: i64,
}

pub async fn count(pool: &Pool) -> Result<LetterCounts, LedgerError> {
    pool.run(async |mut connection| {
        Ok(sqlx::query_as(include_str!("../sql/count_letters.sql")).fetch_one(&mut *connection).await?)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        assert_eq!(text("short".into()), "short");
        assert_eq!(text("ü".repeat(400)).len(), REASON_BYTES_MAX);
        assert_eq!(text(format!("x{}", "ü".repeat(400))).len(), REASON_BYTES_MAX - 1);
        assert_eq!(text("a\0b".into()), "a\u{fffd}b");
    }
}
