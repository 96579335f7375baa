//! A command of either service, as an operator or a script runs it. The tests of bonus have this file too.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::DEADLINE;

/// What a command came to.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The one document on standard output.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    /// It ended with this code; its document.
    pub fn ended(&self, code: i32) -> Value {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self.json()
    }

    /// It ended with this code and said this on standard error, and nothing on standard output.
    pub fn failed(&self, code: i32, why: &str) {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.err.contains(why), "{why:?} is not in {}", self.err);
        assert_eq!(self.out, "");
    }
}

/// Starts it without a terminal. Ends with the value.
pub fn without_terminal(command: &mut Command) -> Child {
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.kill_on_drop(true).spawn().unwrap()
}

pub async fn ended(child: Child) -> Ran {
    let output = timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}
