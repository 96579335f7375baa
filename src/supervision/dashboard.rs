//! The supervision tree as a log entry: an aligned table for people, fields for machines.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use tracing::info;

use super::vitals::ActorReport;
use crate::telemetry::LogFormat;

pub(super) fn log(reason: &str, actors: &[ActorReport], format: LogFormat) {
    match format {
        LogFormat::Pretty => info!(reason, "Supervision dashboard\n{}", table(actors)),
        LogFormat::Json => {
            let actors = serde_json::to_string(actors).unwrap_or_default();
            info!(reason, actors, "Supervision dashboard");
        }
    }
}

fn table(actors: &[ActorReport]) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header([
        "actor",
        "state",
        "restarts",
        "mailbox",
        "peak",
        "handled",
        "up",
        "details",
        "last error",
    ]);
    for actor in actors {
        let details: Vec<String> =
            actor.details.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect();
        table.add_row([
            format!("{} / {}", actor.parent, actor.name),
            actor.state.clone(),
            actor.restarts.to_string(),
            actor.mailbox_depth.to_string(),
            actor.mailbox_depth_peak.to_string(),
            actor.messages_handled.to_string(),
            format!("{} s", actor.uptime_seconds),
            details.join(" "),
            actor.last_error.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
