//! The spans of a transaction: one in the trace of each command that it carries.

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use sqlx::postgres::PgConnectOptions;

use super::{Append, AppendError, Appended};
use crate::names::Names;
use crate::traces::{self, Span, attribute};

impl AppendError {
    /// Its `error.type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::VersionConflict => "version_conflict",
            Self::KeyUsed => "key_used",
            Self::Busy => "busy",
            Self::Unavailable(_) => "unavailable",
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::Refused(_) => "refused",
        }
    }
}

/// Commands of a batch wait for each other's commit, so their spans begin and end together.
pub(super) struct WriteSpans(Vec<Span>);

impl WriteSpans {
    pub(super) fn begin(appends: &[&Append], names: &Names, database: &PgConnectOptions) -> Self {
        let Some(traces) = traces::on() else { return Self(Vec::new()) };
        let function = names.word("append_aggregate_events");
        let statement = format!("SELECT {function}");
        let commands = i64::try_from(appends.len()).unwrap_or(i64::MAX);
        let span = |append: &&Append| {
            let attributes = [
                KeyValue::new(attribute::DB_SYSTEM_NAME, "postgresql"),
                KeyValue::new(
                    attribute::DB_NAMESPACE,
                    database.get_database().unwrap_or_default().to_owned(),
                ),
                KeyValue::new(attribute::DB_QUERY_SUMMARY, statement.clone()),
                KeyValue::new(attribute::DB_STORED_PROCEDURE_NAME, function.clone()),
                KeyValue::new(attribute::SERVER_ADDRESS, database.get_host().to_owned()),
                KeyValue::new(attribute::SERVER_PORT, i64::from(database.get_port())),
                KeyValue::new(traces.keys.batch_commands.clone(), commands),
            ];
            traces.start(statement.clone(), SpanKind::Client, append.context.as_ref(), attributes)
        };
        Self(appends.iter().map(span).collect())
    }

    /// A conflict is no failure of the statement.
    pub(super) fn end(self, outcomes: &[Result<Appended, AppendError>]) {
        for (mut span, outcome) in self.0.into_iter().zip(outcomes) {
            match outcome {
                Ok(_) | Err(AppendError::VersionConflict | AppendError::KeyUsed) => {}
                Err(error) => traces::failed(&mut span, error.kind(), error),
            }
        }
    }
}
