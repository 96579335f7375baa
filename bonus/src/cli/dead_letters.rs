//! `bonus dead-letters`: what could not be read, and another try.
//!
//! A replay reads the whole dead-letter topic with the reader of this binary, and credits what it can read now straight to the ledger.
//! It sends nothing: other consumers of the orders topic are not bothered with a message a second time, and a letter that stays
//! unreadable does not become two. The ledger knows what was credited, so it may be repeated, and run beside the service.

use anyhow::Context;
use clap::{Args, Subcommand};
use comfy_table::Table;
use kit::cli::{counted, table};
use serde::Serialize;
use sqlx::PgConnection;

use super::OutputArgs;
use super::letters::{Letter, Letters};
use crate::config::{Database, Topics};
use crate::message::{self, Event, Incoming};
use crate::source::SourceMessage;
use crate::{database, ledger, outbox};

/// Events credited by one transaction.
const BATCH: usize = 500;
/// Characters of a value in the table; the JSON document has all.
const VALUE_SHOWN: usize = 60;

#[derive(Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one in the process")]
pub enum DeadLetters {
    /// List the newest dead letters, the oldest of them first
    List(List),
    /// Credit what can be read now, after the reader was mended
    ///
    /// Every letter of the topic is read again. What can be read is credited straight to the ledger, once; what cannot stays where it
    /// is and is listed. Nothing is sent to any topic. May be repeated, and run beside the service.
    Replay(Replay),
}

#[derive(Args)]
pub struct List {
    /// Most letters to list
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    #[command(flatten)]
    topics: Topics,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args)]
pub struct Replay {
    #[command(flatten)]
    topics: Topics,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct ListReport {
    topic: String,
    letters: Vec<Letter>,
}

#[derive(Default, Serialize)]
struct ReplayReport {
    topic: String,
    letters: usize,
    /// Events that the ledger did not hold before.
    credited: usize,
    points: i64,
    /// Events that it held.
    duplicates: usize,
    /// Of the credited: awards of orders that were cancelled since, and so worth nothing.
    cancelled: usize,
    /// Refused: the ledger holds another event of the same order and version.
    forks: usize,
    /// Can be read, and are worth nothing here.
    without_value: usize,
    unreadable: Vec<Letter>,
}

impl DeadLetters {
    pub(super) fn output(&self) -> &OutputArgs {
        match self {
            Self::List(list) => &list.output,
            Self::Replay(replay) => &replay.output,
        }
    }

    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run().await,
            Self::Replay(replay) => replay.run().await,
        }
    }
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let mut topic = Letters::open(&self.topics, Some(self.limit.into()))?;
        let mut letters = Vec::new();
        while let Some(message) = topic.next().await? {
            letters.push(Letter::of(&message));
        }
        letters.sort_by_key(|letter| letter.buried_at);
        letters.drain(..letters.len().saturating_sub(self.limit.into()));
        let listed = ListReport { topic: self.topics.dead_letter_topic(), letters };
        self.output.write(&listed, |listed| match listed.letters.is_empty() {
            true => format!("{} holds no letters.", listed.topic),
            false => shown(&listed.letters).to_string(),
        })
    }
}

fn shown(letters: &[Letter]) -> Table {
    let mut table = table(["letter", "buried at", "from", "reason", "bytes", "value"]);
    let or_nothing = |text: &Option<String>| text.clone().unwrap_or_default();
    for letter in letters {
        let value = letter.value.as_deref().unwrap_or("(none)").replace(|c: char| c.is_control(), " ");
        table.add_row([
            letter.place(),
            letter.buried_at.map(|at| at.to_string()).unwrap_or_default(),
            or_nothing(&letter.origin),
            or_nothing(&letter.reason),
            letter.value_bytes.to_string(),
            value.chars().take(VALUE_SHOWN).collect(),
        ]);
    }
    table
}

impl Replay {
    async fn run(self) -> anyhow::Result<()> {
        // First: with the database away the topic need not be read.
        let place = format!("Postgres at {}", self.database.place());
        let mut connection = database::connect_patiently(&self.database)
            .await
            .with_context(|| format!("{place} cannot be reached"))?;
        let mut topic = Letters::open(&self.topics, None)?;
        let mut replayed = ReplayReport { topic: self.topics.dead_letter_topic(), ..ReplayReport::default() };
        let mut events = Vec::new();
        while let Some(message) = topic.next().await? {
            events.extend(replayed.take(&message));
            if events.len() >= BATCH {
                replayed.credit(&mut connection, std::mem::take(&mut events)).await?;
            }
        }
        replayed.credit(&mut connection, events).await?;
        self.output.write(&replayed, text)
    }
}

impl ReplayReport {
    /// The event to credit, if it is one.
    fn take(&mut self, message: &SourceMessage) -> Option<Event> {
        self.letters += 1;
        match message::decode(message.value()) {
            Ok(Incoming::Valued(event)) => return Some(event),
            Ok(Incoming::Ignored(_)) => self.without_value += 1,
            Err(reason) => {
                // As it is seen now: the reason in the letter's header is an earlier reader's.
                let reason = Some(reason.to_string());
                self.unreadable.push(Letter { reason, ..Letter::of(message) });
            }
        }
        None
    }

    async fn credit(&mut self, connection: &mut PgConnection, events: Vec<Event>) -> anyhow::Result<()> {
        if !events.is_empty() {
            let credited = ledger::transact(connection, &outbox::appender(), &events, None).await?;
            self.credited += credited.new;
            self.duplicates += credited.duplicates;
            self.points += credited.points;
            self.cancelled += credited.cancelled;
            self.forks += credited.forks.len();
        }
        Ok(())
    }
}

fn text(replayed: &ReplayReport) -> String {
    let ReplayReport {
        topic,
        letters,
        credited,
        points,
        duplicates,
        cancelled,
        forks,
        without_value,
        unreadable,
    } = replayed;
    let mut text = format!(
        "{topic}: {} read again. Credited: {credited} ({}; {cancelled} of orders cancelled since), credited before: \
         {duplicates}, forks: {forks}, worth nothing: {without_value}, unreadable: {}.",
        counted(*letters, "letter"),
        counted(*points, "point"),
        unreadable.len()
    );
    if !unreadable.is_empty() {
        text += &format!("\n{}", shown(unreadable));
    }
    text
}
