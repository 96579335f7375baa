//! The command line of a service: without a command it serves; its other commands are for operators.
//!
//! An answer goes to standard output, as a table or, with `--json`, as one JSON document; logs, progress and errors go to standard
//! error.

pub mod check;
pub mod confirm;
mod escape;
pub mod migrate;
mod output;
mod progress;
pub mod ready;

use std::ffi::OsString;
use std::process::ExitCode;

pub use self::escape::for_terminal;
pub use self::output::{OutputArgs, counted, table};
pub use self::progress::Progress;

/// The text below the program's help.
pub fn after_help(program: &str) -> String {
    format!(
        "`{program}` alone, or with options only, serves: `{program} serve --help` lists them. Every option can be given as an \
environment variable; the command line wins.

Exit codes: 0 done, or all is well; 1 failed, or something is wrong; 2 wrong usage, or a setting that cannot be read."
    )
}

/// The arguments of the process; without a command among them, the command is `serve`.
pub fn or_serve(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let for_the_whole = ["-h", "--help", "-V", "--version"];
    let serves = arguments.get(1).is_none_or(|first| {
        let first = first.to_string_lossy();
        first.starts_with('-') && !for_the_whole.contains(&first.as_ref())
    });
    if serves {
        arguments.insert(arguments.len().min(1), "serve".into());
    }
    arguments
}

/// How the process ends. An error is written to standard error, below the program's name, and is a failure.
pub fn exit(program: &str, done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|cause| {
        eprintln!("{program}: {}", for_terminal(&format!("{cause:#}")));
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_alone_are_those_of_serve_and_help_is_for_the_whole() {
        let of = |arguments: &[&str]| {
            let arguments = std::iter::once("service").chain(arguments.iter().copied()).map(OsString::from);
            or_serve(arguments.collect()).join(" ".as_ref()).into_string().unwrap()
        };
        assert_eq!(of(&[]), "service serve");
        assert_eq!(of(&["--http-addr", "a"]), "service serve --http-addr a");
        assert_eq!(of(&["check", "--json"]), "service check --json");
        for whole in ["-h", "--help", "-V", "--version"] {
            assert_eq!(of(&[whole]), format!("service {whole}"));
        }
        assert_eq!(or_serve(Vec::new()), ["serve"], "a caller may leave out the program's name");
    }
}
