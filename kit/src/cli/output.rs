//! A command's output: a table for people, or JSON.

use std::fmt::Display;
use std::io::Write;

use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use super::for_terminal;

// What every command takes, with `L`, the service's settings of the log. (A doc comment here would end up in the help of every command.)
#[derive(Debug, Clone, Args)]
pub struct OutputArgs<L: Args> {
    /// Answer with one JSON document
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub logging: L,
}

impl<L: Args> OutputArgs<L> {
    /// Writes `document` as JSON with `--json`, otherwise as `text` formats it, without what a
    /// terminal would obey.
    pub fn write<T: Serialize, D: Display>(
        &self,
        document: &T,
        text: impl FnOnce(&T) -> D,
    ) -> anyhow::Result<()> {
        let answer = match self.json {
            true => serde_json::to_string_pretty(document)?,
            false => for_terminal(&text(document).to_string()).into_owned(),
        };
        Ok(writeln!(std::io::stdout().lock(), "{answer}")?)
    }
}

/// A table with aligned columns, without lines, no wider than the terminal.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    table
}

/// `1 event`, `2 events`.
pub fn counted(number: impl TryInto<i64>, thing: &str) -> String {
    let number = number.try_into().unwrap_or(i64::MAX);
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}
