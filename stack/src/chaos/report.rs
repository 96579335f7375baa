//! What a run found: a table for people, JSON for machines, and the line that others look at.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Utc};
use comfy_table::{Table, presets};
use serde::Serialize;

use super::cluster::Failovers;
use super::drill::{Spread, Summary};
use super::facts::{Kind, Violation};
use super::pulse::Beat;
use crate::machine::Machine;
use crate::say;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) pass: bool,
    pub(super) seed: u64,
    pub(super) intensity: u8,
    pub(super) clients: u64,
    pub(super) started_at: DateTime<Utc>,
    pub(super) load_seconds: f64,
    pub(super) message_queue: String,
    pub(super) machine: Machine,
    pub(super) commands_acknowledged: u64,
    pub(super) commands_refused: usize,
    pub(super) requests_repeated: u64,
    pub(super) answers_replayed: u64,
    pub(super) events: usize,
    /// Messages whose event was in the topic already; the ledger has absorbed them all if the points are right.
    pub(super) duplicates_delivered: usize,
    /// Grades and VIP statuses that customers gained or lost, each of which bonus has published.
    pub(super) standing_changes: usize,
    /// Topics that were deleted, or losses of streams.
    pub(super) topics_lost: usize,
    /// Entries of streams that were read and then lost. The journal has brought all of them back if nothing is missing.
    pub(super) lost_entries: usize,
    /// Events that came behind later versions of their order, because the topic was deleted before anybody had read them.
    pub(super) late_events: usize,
    pub(super) storms: u64,
    pub(super) faults: usize,
    pub(super) faults_by_kind: BTreeMap<String, usize>,
    /// Processes that ended without having been killed.
    pub(super) ended_by_themselves: Vec<String>,
    /// From all servers' readiness after a storm until all that was committed then is delivered.
    pub(super) recovery_seconds: Vec<f64>,
    /// Of brokers: those that were away for longer than the others wait for them.
    pub(super) failovers: Failovers,
    /// Each kind of fault by itself, among the load alone.
    pub(super) by_fault: BTreeMap<String, Summary>,
    /// What all clients together met in each second of all planned failovers of Postgres by themselves.
    pub(super) planned_failovers_by_second: Vec<Beat>,
    pub(super) planted: usize,
    pub(super) plants_missed: Vec<&'static str>,
    /// For want of evidence, or because they are no corruption with this message queue.
    pub(super) plants_left_out: Vec<&'static str>,
    pub(super) violations: Vec<String>,
    #[serde(skip)]
    pub(super) by_promise: String,
}

/// In words of the summary line: the three promises always, the rest if there is something to tell.
pub(super) fn by_promise(violations: &[Violation]) -> String {
    let promises = [
        ("lost", [Kind::Lost, Kind::Unpublished].as_slice()),
        ("doubled", &[Kind::Doubled]),
        ("out of order", &[Kind::OutOfOrder]),
        ("illegal histories", &[Kind::IllegalHistory]),
        ("forked", &[Kind::Forked]),
        ("wrong points", &[Kind::WrongPoints, Kind::WrongLedger, Kind::DeadLetter]),
        ("wrong standings", &[Kind::WrongStanding]),
        ("trimmed unread", &[Kind::Unread]),
        ("not caught up", &[Kind::NotCaughtUp, Kind::RetryLeft]),
        ("wrong answers", &[Kind::WrongAnswer]),
    ];
    let told = promises.iter().enumerate().filter_map(|(place, (promise, kinds))| {
        let count = violations.iter().filter(|violation| kinds.contains(&violation.kind)).count();
        (place < 3 || count > 0).then(|| format!("{count} {promise}"))
    });
    told.collect::<Vec<_>>().join(", ")
}

impl Report {
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(file, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }

    pub(super) fn print(&self) {
        let mut recoveries = self.recovery_seconds.clone();
        recoveries.sort_by(f64::total_cmp);
        let longest = recoveries.last().copied().unwrap_or_default();
        let median = recoveries.get(recoveries.len() / 2).copied().unwrap_or_default();
        let seconds = |seconds: f64| say::seconds(Duration::from_secs_f64(seconds));
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY);
        let kinds = self.faults_by_kind.iter().map(|(kind, count)| format!("{count} {kind}"));
        for (what, value) in [
            ("commands acknowledged", self.commands_acknowledged.to_string()),
            ("commands refused by a rule", self.commands_refused.to_string()),
            ("requests sent again", self.requests_repeated.to_string()),
            ("answers given again", self.answers_replayed.to_string()),
            ("events", self.events.to_string()),
            ("duplicates delivered", self.duplicates_delivered.to_string()),
            ("changes of customers' standing", self.standing_changes.to_string()),
            ("faults", format!("{} in {} storms", self.faults, self.storms)),
            ("", kinds.collect::<Vec<_>>().join("\n")),
            ("failovers", self.failovers.to_string()),
            (
                "losses of the topic",
                format!(
                    "{}, of {} stream entries; {} events came late",
                    self.topics_lost, self.lost_entries, self.late_events
                ),
            ),
            ("recovery after a storm", format!("median {}, longest {}", seconds(median), seconds(longest))),
            (
                "violations planted and found",
                format!("{} of {}", self.planted - self.plants_missed.len(), self.planted),
            ),
            ("violations", self.violations.len().to_string()),
        ] {
            table.add_row([what.to_owned(), value]);
        }
        say::put(table);
        self.print_drills();
        for missed in &self.plants_missed {
            say::line(format_args!("planted and not found: {missed}"));
        }
        for violation in self.violations.iter().take(20) {
            say::line(violation);
        }
    }

    /// What each kind of fault costs by itself.
    fn print_drills(&self) {
        if self.by_fault.is_empty() {
            return;
        }
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY);
        table.set_header(["one fault by itself", "times", "no command for", "recovery"]);
        for (fault, summary) in &self.by_fault {
            let spread = |spread: &Spread| format!("{:.2} s, worst {:.2} s", spread.median, spread.worst);
            table.add_row([
                fault.clone(),
                summary.times.to_string(),
                spread(&summary.commands_gap_seconds),
                spread(&summary.recovery_seconds),
            ]);
        }
        say::put(table);
        if !self.planned_failovers_by_second.is_empty() {
            say::line("planned failovers of Postgres, all added up, second by second:");
        }
        for (second, beat) in self.planned_failovers_by_second.iter().enumerate() {
            let Beat { acknowledged, unavailable, failed, unanswered } = beat;
            say::line(format_args!(
                "{second:>5} s   {acknowledged:>6} acknowledged   {unavailable:>5} times 503   {failed:>5} other errors   {unanswered:>5} unanswered"
            ));
        }
    }

    pub(super) fn verdict(&self) -> String {
        let word = if self.pass { "PASS" } else { "FAIL" };
        format!(
            "chaos: {word} seed={} commands={} faults={}: {}",
            self.seed, self.commands_acknowledged, self.faults, self.by_promise
        )
    }
}
