//! Asks for confirmation before a step that cannot be undone.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

/// `None`: go on. Otherwise nothing is to be done, and the process ends with this code.
pub fn refused(question: &str, yes: bool) -> std::io::Result<Option<ExitCode>> {
    if yes {
        return Ok(None);
    }
    if !std::io::stdin().is_terminal() {
        eprintln!("orders: {question}\nThere is no terminal to ask on: say --yes to do it.");
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
