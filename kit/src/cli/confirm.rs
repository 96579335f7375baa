//! Asks for confirmation before a step that cannot be undone.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

/// `None`: go on. Otherwise nothing is to be done, and the process ends with this code. `yes` answers before it is asked.
pub fn refused(program: &str, question: &str, yes: bool) -> std::io::Result<Option<ExitCode>> {
    if yes {
        return Ok(None);
    }
    if !std::io::stdin().is_terminal() {
        eprintln!("{program}: {question}\nThere is no terminal to ask on: say --yes to do it.");
        return Ok(Some(ExitCode::from(2)));
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(None);
    }
    eprintln!("Nothing was done.");
    Ok(Some(ExitCode::FAILURE))
}
