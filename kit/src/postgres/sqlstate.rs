//! PURE: what a failure means for the statement that was sent. One table for both services.
//!
//! Each statement of the services is a transaction of its own or the last one of a transaction. So an error that the server reports
//! has rolled back everything, unless the error says otherwise. What remains to be decided is whether the values or the server are
//! at fault.

/// What a failure means for a statement that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The values were refused, and would be refused again. In a batch: find the command at fault. The connection is good.
    Refused,
    /// The server could not do it. Nothing was written. Drop the connection, try once more on a fresh one, then answer 503.
    NothingWritten,
    /// The statement may have been carried out or not. Ask a fresh connection, with a statement that recognises what is there.
    OutcomeUnknown,
}

/// The first row whose prefix matches decides. A code without a row is the server's fault: it has rolled the statement back.
const TABLE: [(&str, Meaning, &str); 16] = [
    // Whole codes stand before their class.
    (
        "08001",
        Meaning::NothingWritten,
        "a connection could not be established, by a foreign server or pooler",
    ),
    ("08004", Meaning::NothingWritten, "the server rejected the connection"),
    (
        "08",
        Meaning::OutcomeUnknown,
        "a connection broke on the way; poolers report the server's loss like this",
    ),
    ("40003", Meaning::OutcomeUnknown, "statement completion unknown, in its own words"),
    // An administrator or a crash may end a session between the commit and its report. 57P03 comes before any statement,
    // 57P05 while none was running, 57014 (cancelled, statement_timeout) never after the commit has begun.
    ("57P01", Meaning::OutcomeUnknown, "ended by an administrator, as in a planned restart"),
    ("57P02", Meaning::OutcomeUnknown, "ended because another session crashed the server"),
    ("57P04", Meaning::OutcomeUnknown, "the database was dropped"),
    // Errors of the values.
    ("0B", Meaning::Refused, "invalid transaction initiation: a fault of the program"),
    ("21", Meaning::Refused, "cardinality: one row was expected"),
    ("22", Meaning::Refused, "data exception: out of range, invalid text, division by zero"),
    ("23", Meaning::Refused, "integrity constraint"),
    ("44", Meaning::Refused, "WITH CHECK OPTION"),
    ("54", Meaning::Refused, "program limit: a row too large for its index"),
    ("P0", Meaning::Refused, "raised by a function of ours"),
    ("42804", Meaning::Refused, "datatype mismatch: a fault of the program"),
    ("42P18", Meaning::Refused, "indeterminate datatype: a fault of the program"),
    // Everything else is NothingWritten. What that rests on:
    // 25006 read-only: a demoted primary, or writes were stopped. 25P03, 25P04: a transaction that was idle or ran for too long.
    // 26, 42P05: prepared statements are not where they were, as behind a transaction pooler; 0A000: a cached plan is outdated.
    // 28, 3D, 3F: the role, the database or the schema is not there, as while a server is being set up.
    // 40001, 40P01: lost against another transaction. 42501, 42P01, 42883: privileges, tables, functions: the schema's state.
    // 53: disk full (53100), memory, connections. 55P03: lock_timeout; 55000: recovery is in progress. 57014, 57P03, 57P05: above.
    // 58, XX: the server's disk or the server itself.
];

/// What this code means.
pub fn of_code(sqlstate: &str) -> Meaning {
    let row = TABLE.iter().find(|(prefix, ..)| sqlstate.starts_with(prefix));
    row.map_or(Meaning::NothingWritten, |(_, meaning, _)| *meaning)
}

/// What it means for a statement that was sent, or was to be.
pub fn meaning(error: &sqlx::Error) -> Meaning {
    use sqlx::Error;
    match error {
        // Without a code it is no answer of Postgres'.
        Error::Database(error) => error.code().map_or(Meaning::OutcomeUnknown, |code| of_code(&code)),
        // Never left the process.
        Error::Encode(_) | Error::InvalidArgument(_) => Meaning::Refused,
        Error::Configuration(_) | Error::PoolTimedOut | Error::PoolClosed => Meaning::NothingWritten,
        // The connection broke, or an answer came that cannot be read: the statement may well have been carried out.
        _ => Meaning::OutcomeUnknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_means_one_thing() {
        use Meaning::{NothingWritten, OutcomeUnknown, Refused};
        let expected = [
            ("08000", OutcomeUnknown),
            ("08001", NothingWritten),
            ("08006", OutcomeUnknown),
            ("08007", OutcomeUnknown),
            ("08P01", OutcomeUnknown),
            ("0A000", NothingWritten),
            ("21000", Refused),
            ("22003", Refused),
            ("22P02", Refused),
            ("23502", Refused),
            ("23505", Refused),
            ("23514", Refused),
            ("25006", NothingWritten),
            ("25P02", NothingWritten),
            ("25P03", NothingWritten),
            ("26000", NothingWritten),
            ("28P01", NothingWritten),
            ("3D000", NothingWritten),
            ("3F000", NothingWritten),
            ("40001", NothingWritten),
            ("40003", OutcomeUnknown),
            ("40P01", NothingWritten),
            ("42501", NothingWritten),
            ("42P01", NothingWritten),
            ("42P05", NothingWritten),
            ("53100", NothingWritten),
            ("53200", NothingWritten),
            ("53300", NothingWritten),
            ("54000", Refused),
            ("55P03", NothingWritten),
            ("55000", NothingWritten),
            ("57014", NothingWritten),
            ("57P01", OutcomeUnknown),
            ("57P02", OutcomeUnknown),
            ("57P03", NothingWritten),
            ("57P05", NothingWritten),
            ("58030", NothingWritten),
            ("P0001", Refused),
            ("XX000", NothingWritten),
            ("XX001", NothingWritten),
        ];
        for (code, meaning) in expected {
            assert_eq!(of_code(code), meaning, "{code}");
        }
    }

    #[test]
    fn every_row_can_be_reached() {
        for (prefix, meaning, reason) in TABLE {
            assert_eq!(of_code(prefix), meaning, "{prefix} ({reason}) is hidden by a row above it");
        }
    }

    #[test]
    fn a_broken_connection_leaves_the_outcome_open() {
        let broken = sqlx::Error::Io(std::io::ErrorKind::UnexpectedEof.into());
        assert_eq!(meaning(&broken), Meaning::OutcomeUnknown);
        assert_eq!(meaning(&sqlx::Error::PoolTimedOut), Meaning::NothingWritten);
    }
}
