//! The supervision tree as a log entry: an aligned table for people, fields for machines.

use std::io::{IsTerminal, Write, stdout};

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Color, Table};
use tracing::info;

use super::vitals::ActorReport;
use crate::telemetry::LogFormat;

const HEADER: [&str; 10] =
    ["actor", "state", "restarts", "mailbox", "peak", "handled", "p99 ms", "up s", "details", "last error"];
/// The columns of numbers: restarts to uptime.
const NUMBERS: std::ops::RangeInclusive<usize> = 2..=7;

pub(super) fn log(reason: &str, actors: &[ActorReport], format: LogFormat) {
    match format {
        LogFormat::Json => {
            let actors = serde_json::to_string(actors).unwrap_or_default();
            info!(reason, actors, "Supervision dashboard");
        }
        LogFormat::Pretty if stdout().is_terminal() => {
            info!("Supervision dashboard ({reason})");
            // Printed beside the log, which would remove the colours. An error is ignored: the terminal may be gone.
            let _ = writeln!(stdout(), "{}", table(actors));
        }
        LogFormat::Pretty => info!("Supervision dashboard ({reason})\n{}", table(actors)),
    }
}

fn table(actors: &[ActorReport]) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(HEADER);
    table.add_row(["guardian"]);
    for (at, actor) in actors.iter().enumerate() {
        let branch = if at + 1 == actors.len() { "└─" } else { "├─" };
        table.add_row(row(branch, actor));
        for (what, held) in held(actor) {
            let (state, colour) = if held { ("held", Color::Green) } else { ("not held", Color::Reset) };
            table.add_row([Cell::new(format!("│  └─ {what}")), Cell::new(state).fg(colour)]);
        }
    }
    for column in NUMBERS {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A detail that is true or false names something that the actor holds or not, such as a lease. It gets a row of its own.
fn held(actor: &ActorReport) -> impl Iterator<Item = (&'static str, bool)> {
    actor.details.iter().filter_map(|(what, value)| value.as_bool().map(|held| (*what, held)))
}

fn row(branch: &str, actor: &ActorReport) -> Vec<Cell> {
    let details: Vec<String> = actor
        .details
        .iter()
        .filter(|(_, value)| !value.is_boolean())
        .map(|(key, value)| format!("{key}={}", plain(value)))
        .collect();
    let colour = if actor.state == "running" { Color::Green } else { Color::Red };
    let restarts = Cell::new(actor.restarts);
    vec![
        Cell::new(format!("{branch} {}", actor.name)),
        Cell::new(&actor.state).fg(colour),
        if actor.restarts > 0 { restarts.fg(Color::Yellow) } else { restarts },
        Cell::new(actor.mailbox_depth),
        Cell::new(actor.mailbox_depth_peak),
        Cell::new(actor.messages_handled),
        Cell::new(actor.handling_p99_ms.map(|ms| format!("{ms:.2}")).unwrap_or_default()),
        Cell::new(actor.uptime_seconds),
        Cell::new(details.join(" ")),
        Cell::new(actor.last_error.as_deref().unwrap_or_default()),
    ]
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
