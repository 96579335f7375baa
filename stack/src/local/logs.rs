//! `stack logs`: the ends of the log files, and what is added to them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use console::style;

use super::{Home, Part};
use crate::say;

const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// From here back the last lines are looked for; a bound, so that a log of gigabytes costs nothing.
const TAIL_BYTES_MAX: u64 = 1 << 20;

struct Log {
    part: Part,
    path: PathBuf,
    read: u64,
}

/// The last `lines` lines of one part or of all; then, if `follow`, whatever comes, until a signal.
pub fn logs(home: &Home, part: Option<Part>, lines: usize, follow: bool) -> Result<()> {
    let wanted = home.load().shape.parts().into_iter().filter(|one| part.is_none_or(|part| part == *one));
    let mut logs: Vec<Log> = wanted
        .map(|part| Log { part, path: home.log(part), read: 0 })
        .filter(|log| follow || log.path.exists())
        .collect();
    if logs.is_empty() {
        bail!("no logs yet of the stack `{}`; `make up` starts it", home.name);
    }
    let prefixed = logs.len() > 1;
    for log in &mut logs {
        let last = log.tail(lines).unwrap_or_default();
        if !last.iter().all(|line| print(log.part, prefixed, line)) {
            return Ok(());
        }
    }
    if !follow {
        return Ok(());
    }
    loop {
        for log in &mut logs {
            let new = log.more().unwrap_or_default();
            if !new.iter().all(|line| print(log.part, prefixed, line)) {
                return Ok(());
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn print(part: Part, prefixed: bool, line: &str) -> bool {
    if prefixed {
        say::put(format_args!("{} {line}", style(format!("{part:<8}")).cyan()))
    } else {
        say::put(line)
    }
}

impl Log {
    fn tail(&mut self, lines: usize) -> Result<Vec<String>> {
        let length = std::fs::metadata(&self.path)?.len();
        self.read = length.saturating_sub(TAIL_BYTES_MAX);
        let all = self.more()?;
        Ok(all.into_iter().rev().take(lines).rev().collect())
    }

    /// Whole lines only; the rest is read with the next ones.
    fn more(&mut self) -> Result<Vec<String>> {
        let mut file = File::open(&self.path)?;
        if file.metadata()?.len() < self.read {
            self.read = 0;
        }
        file.seek(SeekFrom::Start(self.read))?;
        let mut reader = BufReader::new(file.take(TAIL_BYTES_MAX));
        let mut lines = Vec::new();
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes)? > 0 && bytes.ends_with(b"\n") {
            self.read += bytes.len() as u64;
            lines.push(String::from_utf8_lossy(&bytes).trim_end().to_owned());
            bytes.clear();
        }
        Ok(lines)
    }
}
