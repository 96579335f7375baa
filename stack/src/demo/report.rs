//! What the demo found: a table for people, JSON for machines.

use std::fs;
use std::path::Path;

use anyhow::Result;
use chrono::{DateTime, Utc};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::{Map, Value};

use super::latency::Latency;
use crate::machine::Machine;

/// Of the table where there is no terminal, or one that does not tell its width.
const COLUMNS: u16 = 110;
const COLUMNS_LEAST: u16 = 60;

/// What a step measured, by name with unit.
pub(super) type Figures = Map<String, Value>;

#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) pass: bool,
    /// Why not.
    pub(super) why: Option<String>,
    pub(super) took_seconds: f64,
    pub(super) figures: Figures,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Latencies {
    pub(super) before_outage: Option<Latency>,
    pub(super) kafka_down: Option<Latency>,
    pub(super) redis_down: Option<Latency>,
    pub(super) kafka_and_redis_down: Option<Latency>,
}

/// From the first answer of the message queue to an empty outbox.
#[derive(Debug, Default, Serialize)]
pub(super) struct Recoveries {
    pub(super) kafka_outage_seconds: Option<f64>,
    pub(super) redis_outage_seconds: Option<f64>,
    pub(super) kafka_and_redis_outage_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) pass: bool,
    started_at: DateTime<Utc>,
    took_seconds: f64,
    /// The message queue.
    pub(super) mq: String,
    /// Every link encrypted, and nobody let in without a login or a token.
    secure: bool,
    pub(super) steps: Vec<Step>,
    pub(super) latencies: Latencies,
    pub(super) recoveries: Recoveries,
    machine: Machine,
}

impl Report {
    pub(super) fn new(mq: String, secure: bool) -> Self {
        Self {
            pass: false,
            started_at: Utc::now(),
            took_seconds: 0.0,
            mq,
            secure,
            steps: Vec::new(),
            latencies: Latencies::default(),
            recoveries: Recoveries::default(),
            machine: Machine::look(),
        }
    }

    /// The step that failed, and why.
    pub(super) fn failure(&self) -> Option<(&'static str, &str)> {
        self.steps
            .iter()
            .find(|step| !step.pass)
            .map(|step| (step.name, step.why.as_deref().unwrap_or_default()))
    }

    pub(super) fn write(&mut self, file: &Path) -> Result<()> {
        self.pass = self.failure().is_none() && !self.steps.is_empty();
        self.took_seconds = (Utc::now() - self.started_at).as_seconds_f64();
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        Ok(fs::write(file, serde_json::to_vec_pretty(self)?)?)
    }

    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["", "step", "result", "figures"]);
        let terminal = console::Term::stdout().size_checked().map(|(_, columns)| columns);
        table.set_width(terminal.filter(|columns| *columns >= COLUMNS_LEAST).unwrap_or(COLUMNS));
        for step in &self.steps {
            let figures: Vec<String> = step.figures.iter().map(|(name, value)| plain(name, value)).collect();
            let result = if step.pass { "pass" } else { "FAIL" };
            table.add_row([step.name, step.title, result, &figures.join(" · ")]);
        }
        table.to_string()
    }
}

/// `p50_ms` and 1.234 as `p50 1.23 ms`.
fn plain(name: &str, value: &Value) -> String {
    let value = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => format!("{:.2}", number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    };
    let (name, unit) = match (name.strip_suffix("_ms"), name.strip_suffix("_seconds")) {
        (Some(name), _) => (name, " ms"),
        (_, Some(name)) => (name, " s"),
        _ => (name, ""),
    };
    format!("{} {value}{unit}", name.replace('_', " "))
}
