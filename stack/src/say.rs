//! What the tool prints for people: emphasised on a terminal, plain text elsewhere.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use console::style;

/// Prints a line; false if nobody reads any more, which must not stop work in hand.
pub fn put(line: impl Display) -> bool {
    writeln!(std::io::stdout(), "{line}").is_ok()
}

/// Opens a section.
pub fn title(text: impl Display) {
    put(format_args!("\n{}", style(text).bold().cyan()));
}

/// One thing that is done, or ready.
pub fn done(what: impl Display, detail: impl Display) {
    put(format_args!("  {} {:<9} {detail}", style("ok").green(), what.to_string()));
}

pub fn note(text: impl Display) {
    put(format_args!("  {}", style(text).yellow()));
}

pub fn line(text: impl Display) {
    put(format_args!("  {text}"));
}

/// What a person would type.
pub fn command(text: impl Display) {
    put(format_args!("  {} {}", style("$").dim(), style(text).bold()));
}

/// What a person would then see.
pub fn answer(text: impl Display) {
    for line in text.to_string().lines() {
        put(format_args!("    {}", style(line).dim()));
    }
}

pub fn error(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{} {text}", style("error:").for_stderr().red().bold());
}

/// `1.2 s`
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// `1.23 ms`
pub fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1_000.0)
}
