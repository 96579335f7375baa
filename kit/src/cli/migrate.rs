//! The command `migrate`: what it takes, and what it tells.

use std::fmt;

use clap::Args;
use serde::Serialize;

// What it takes besides the database. (A doc comment here would end up in the help of whatever takes the group.)
#[derive(Debug, Clone, Default, Args)]
pub struct MigrateArgs {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,

    /// A role that the service runs as: it is granted what serving and the other commands need, what it has besides on the service's tables
    /// is revoked, and so is what every role has. May be given several times
    #[arg(long, value_name = "ROLE")]
    pub grant_to: Vec<String>,

    /// A role for dashboards and people: it is granted to read, and nothing else. May be given several times
    #[arg(long, value_name = "ROLE")]
    pub read_only: Vec<String>,
}

/// A migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    pub version: i64,
    pub description: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "migration {} ({})", self.version, self.description)
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct MigrateReport {
    /// Nothing was done: what is listed would be.
    pub dry_run: bool,
    /// The version that the schema has then.
    pub version: i64,
    pub migrations: Vec<Step>,
    /// Statements that were carried out.
    pub grants: Vec<String>,
}

impl MigrateReport {
    pub fn text(&self) -> String {
        let migrations = self.migrations.iter().map(ToString::to_string);
        let mut lines: Vec<String> = migrations.chain(self.grants.iter().cloned()).collect();
        lines.push(match (self.dry_run, lines.is_empty()) {
            (_, true) => format!("The schema is of version {}, and nothing is to do", self.version),
            (true, false) => "That would be done; nothing was".to_owned(),
            (false, false) => format!("The schema is of version {}", self.version),
        });
        if self.dry_run && !self.migrations.is_empty() && !self.grants.is_empty() {
            lines.push("What the migrations make is granted as well, once it is there".to_owned());
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_says_whether_anything_was_done() {
        let step = Step { version: 7, description: "a table".to_owned() };
        let report = |dry_run, migrations: &[Step], grants: &[&str]| MigrateReport {
            dry_run,
            version: 7,
            migrations: migrations.to_vec(),
            grants: grants.iter().map(|grant| (*grant).to_owned()).collect(),
        };
        let nothing = "The schema is of version 7, and nothing is to do";
        assert_eq!(report(true, &[], &[]).text(), nothing);
        assert_eq!(report(false, &[], &[]).text(), nothing);
        let done = report(false, std::slice::from_ref(&step), &["GRANT"]).text();
        assert_eq!(done, "migration 7 (a table)\nGRANT\nThe schema is of version 7");
        assert!(report(true, &[step], &[]).text().ends_with("That would be done; nothing was"));
    }
}
