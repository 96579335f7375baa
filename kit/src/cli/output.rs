//! Where an answer goes, and how it looks.

use std::fmt::Display;
use std::io::Write;

use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

// What every command takes, with `L`, the service's settings of the log. (A doc comment here would end up in the help of every command.)
#[derive(Debug, Clone, Args)]
pub struct Output<L: Args> {
    /// Answer with one JSON document
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub logging: L,
}

impl<L: Args> Output<L> {
    /// The answer: `document` for machines, else what `text` makes of it.
    pub fn answer<T: Serialize, D: Display>(
        &self,
        document: &T,
        text: impl FnOnce(&T) -> D,
    ) -> anyhow::Result<()> {
        let answer = match self.json {
            true => serde_json::to_string_pretty(document)?,
            false => text(document).to_string(),
        };
        Ok(writeln!(std::io::stdout().lock(), "{answer}")?)
    }
}

/// Aligned columns, without lines; on a terminal no wider than that.
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
