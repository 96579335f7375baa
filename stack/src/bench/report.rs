//! What was measured: one figure a line, beside its reference and its target.

use std::fs;
use std::path::Path;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::say;

/// What a figure is held to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    /// Value over reference.
    RatioAtLeast(f64),
    RatioAtMost(f64),
    /// Above the reference by no more than this.
    OverAtMost(f64),
    AtMost(f64),
    Shown,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Figure {
    pub(super) row: u8,
    pub(super) name: String,
    /// The median of all rounds, and its range.
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) unit: String,
    /// What was measured beside it, and the median of that.
    pub(super) against: String,
    pub(super) reference: Option<f64>,
    /// The median of each round's ratio.
    pub(super) ratio: Option<f64>,
    pub(super) target: String,
    pub(super) pass: bool,
    pub(super) rounds: usize,
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (Some(below), Some(above)) if sorted.len().is_multiple_of(2) => (below + above) / 2.0,
        (_, value) => value.copied().unwrap_or(f64::NAN),
    }
}

impl Figure {
    /// From the rounds' values and, in the same order, the references of the same rounds (or none).
    pub(super) fn of(
        row: u8,
        name: impl Into<String>,
        unit: &str,
        values: &[f64],
        (against, references): (&str, &[f64]),
        target: Target,
    ) -> Self {
        let value = median(values);
        let reference = (!references.is_empty()).then(|| median(references));
        let ratios: Vec<f64> =
            values.iter().zip(references).map(|(value, reference)| value / reference).collect();
        let ratio = (!ratios.is_empty()).then(|| median(&ratios));
        let over = reference.map_or(f64::NAN, |reference| value - reference);
        let (text, pass) = match target {
            Target::RatioAtLeast(least) => {
                (format!(">= {least} x"), ratio.is_some_and(|ratio| ratio >= least))
            }
            Target::RatioAtMost(most) => (format!("<= {most} x"), ratio.is_some_and(|ratio| ratio <= most)),
            Target::OverAtMost(most) => (format!("<= + {most} {unit}"), over <= most),
            Target::AtMost(most) => (format!("<= {most} {unit}"), value <= most),
            Target::Shown => (String::new(), true),
        };
        Self {
            row,
            name: name.into(),
            value,
            low: values.iter().copied().fold(f64::INFINITY, f64::min),
            high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            unit: unit.to_owned(),
            against: against.to_owned(),
            reference,
            ratio,
            target: text,
            pass,
            rounds: values.len(),
        }
    }

    fn cells(&self) -> [String; 7] {
        let number = |value: f64| match value.abs() {
            100.0.. => format!("{value:.0}"),
            10.0.. => format!("{value:.1}"),
            _ => format!("{value:.2}"),
        };
        let range = match self.rounds {
            0 | 1 => String::new(),
            _ => format!("{} – {}", number(self.low), number(self.high)),
        };
        let reference = self.reference.map(|reference| format!("{} ({})", number(reference), self.against));
        let word = match (self.target.is_empty(), self.pass) {
            (true, _) => "",
            (_, true) => "met",
            (_, false) => "missed",
        };
        [
            format!("{} {}", self.row, self.name),
            format!("{} {}", number(self.value), self.unit),
            range,
            reference.unwrap_or_default(),
            self.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            self.target.clone(),
            word.to_owned(),
        ]
    }
}

const HEADER: [&str; 7] = ["", "figure", "range", "reference", "ratio", "target", ""];

#[derive(Debug, Serialize, Deserialize, Default)]
struct File {
    machine: serde_json::Value,
    rows: Vec<Figure>,
}

/// Puts the figures of the rows that were measured in the place of older ones, and shows what is there now.
pub(super) fn write(file: &Path, document: &Path, figures: Vec<Figure>) -> Result<bool> {
    let mut all: File =
        fs::read_to_string(file).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    all.rows.retain(|old| figures.iter().all(|new| new.row != old.row));
    all.rows.extend(figures);
    all.rows.sort_by_key(|figure| figure.row);
    all.machine = serde_json::to_value(Machine::look())?;
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(file, serde_json::to_string_pretty(&all)? + "\n")?;
    fill_in(document, &all.rows)?;
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(HEADER);
    for figure in &all.rows {
        table.add_row(figure.cells());
    }
    for column in [1, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    say::put(format_args!("\n{table}"));
    say::line(format_args!("as JSON: {}", file.display()));
    Ok(all.rows.iter().all(|figure| figure.pass))
}

const BEGIN: &str = "<!-- make bench writes from here -->\n";
const END: &str = "<!-- to here -->";

/// Writes the table into the document, between two marks.
fn fill_in(document: &Path, figures: &[Figure]) -> Result<()> {
    let text = fs::read_to_string(document)?;
    if let Some((before, rest)) = text.split_once(BEGIN)
        && let Some((table, after)) = rest.split_once(END)
    {
        fs::write(document, format!("{before}{BEGIN}\n{}\n{END}{after}", markdown(table, figures)))?;
    }
    Ok(())
}

/// The table with these figures. Lines of rows that none of them is of stay: the file of figures may be younger than the document, as in a
/// fresh clone.
fn markdown(table: &str, figures: &[Figure]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut lines: Vec<(u8, String)> =
        table.lines().filter_map(|line| Some((row_of(line)?, format!("{line}\n")))).collect();
    lines.retain(|(row, _)| figures.iter().all(|figure| figure.row != *row));
    lines.extend(figures.iter().map(|figure| (figure.row, line(&figure.cells()))));
    lines.sort_by_key(|(row, _)| *row);
    let head = line(&HEADER.map(str::to_owned)) + &line(&HEADER.map(|_| "---".to_owned()));
    lines.into_iter().fold(head, |text, (_, line)| text + &line)
}

/// The row that a line of the table is of: its first word.
fn row_of(line: &str) -> Option<u8> {
    line.strip_prefix("| ")?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_rows_that_were_not_measured_stay() {
        let figure = |row, name: &str| Figure::of(row, name, "ms", &[2.0], ("", &[]), Target::Shown);
        let table = markdown("", &[figure(4, "old"), figure(10, "kept")]);
        let newer = markdown(&table, &[figure(4, "new"), figure(9, "first")]);
        let names: Vec<_> = newer.lines().skip(2).filter_map(|line| line.split(" | ").next()).collect();
        assert_eq!(names, ["| 4 new", "| 9 first", "| 10 kept"]);
    }

    #[test]
    fn a_figure_is_the_median_of_rounds_and_its_ratio_that_of_their_ratios() {
        let figure = Figure::of(
            1,
            "n",
            "x",
            &[10.0, 30.0, 20.0],
            ("r", &[10.0, 10.0, 5.0]),
            Target::RatioAtLeast(3.0),
        );
        assert_eq!((figure.value, figure.low, figure.high), (20.0, 10.0, 30.0));
        assert_eq!((figure.reference, figure.ratio, figure.pass), (Some(10.0), Some(3.0), true));
        let missed = Figure::of(1, "n", "ms", &[2.0], ("r", &[1.0]), Target::OverAtMost(0.5));
        assert!(!missed.pass);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
    }
}
