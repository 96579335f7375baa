//! The table that the projection fills: the list that is read, or one beside it that is derived anew.

use std::borrow::Cow;

use sqlx::AssertSqlSafe;

/// What the statements name, and what a rebuild has instead: the table, by which its cursor is called too, and the table of cursors.
const REBUILT: [(&str, &str); 2] =
    [("order_summary", "order_summary_rebuilt"), ("projection_cursor", "rebuild_cursor")];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Live,
    Rebuilt,
}

impl Table {
    /// A statement on the list, for this table. Safe: nothing comes into it but these names.
    pub(super) fn sql(self, statement: &'static str) -> AssertSqlSafe<Cow<'static, str>> {
        AssertSqlSafe(match self {
            Self::Live => Cow::Borrowed(statement),
            Self::Rebuilt => Cow::Owned(
                REBUILT
                    .iter()
                    .fold(statement.to_owned(), |text, (live, rebuilt)| text.replace(live, rebuilt)),
            ),
        })
    }
}
