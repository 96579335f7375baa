//! Progress of a long command, on standard error.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal.
const LINE_PAUSE: Duration = Duration::from_secs(2);

/// On a terminal one line that changes, else a line now and then.
pub struct Progress {
    what: &'static str,
    begun: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    /// `what` is what it counts, such as `events sent`.
    pub fn new(what: &'static str) -> Self {
        Self { what, begun: Instant::now(), shown: None, terminal: std::io::stderr().is_terminal() }
    }

    /// `done` of `of` are done.
    pub fn show(&mut self, done: i64, of: i64) {
        if !self.terminal && self.shown.is_some_and(|shown| shown.elapsed() < LINE_PAUSE) {
            return;
        }
        self.shown = Some(Instant::now());
        let line = format!("{done} of {of} {}, {}", self.what, rate(done, self.begun.elapsed()));
        let mut stderr = std::io::stderr().lock();
        // An error is ignored: progress is not part of the command's result.
        let _ = match self.terminal {
            true => write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush()),
            false => writeln!(stderr, "{line}"),
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && self.shown.is_some() {
            eprintln!();
        }
    }
}

fn rate(done: i64, elapsed: Duration) -> String {
    let per_second =
        i128::from(done) * 1000 / i128::try_from(elapsed.as_millis().max(1)).unwrap_or(i128::MAX);
    format!("{per_second} a second")
}
