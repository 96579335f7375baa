//! What this binary makes of its database: the engine's tables for orders, and the list's own; and what roles may do with them.

use std::sync::LazyLock;

use engine::Names;
use engine::migration::migrations;
use engine::privileges::{Privilege, of_engine};
use sqlx::migrate::Migrator;

use crate::order::Order;

pub static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| migrations::<Order>(&sqlx::migrate!()));

/// On the tables of the list: object, a role that serves, a role that only reads.
const LIST: [(&str, &str, &str); 4] = [
    ("order_summary", "SELECT, INSERT, UPDATE, DELETE", "SELECT"),
    ("projection_cursor", "SELECT, UPDATE", "SELECT"),
    // Where `orders rebuild list` derives it anew.
    ("order_summary_rebuilt", "SELECT, INSERT, UPDATE, DELETE, TRUNCATE", "SELECT"),
    ("rebuild_cursor", "SELECT, UPDATE", "SELECT"),
];

/// All that roles other than the owner may do here.
pub static PRIVILEGES: LazyLock<Vec<Privilege>> = LazyLock::new(|| {
    let list = LIST.into_iter().map(|(object, service, reading)| Privilege::new(object, service, reading));
    of_engine(&Names::of::<Order>()).chain(list).collect()
});

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// Databases have these: a file that is edited, or worded otherwise, would end the next start of every deployment.
    const RELEASED: [(i64, &str); 10] = [
        (1, "5b24b229206d06be"),
        (2, "da22be39fb610ebb"),
        (3, "367aaeaa4667a2e3"),
        (4, "46f40a22a4a42a99"),
        (5, "192d19a7f38d343d"),
        (6, "022b50e2e0aa6007"),
        (7, "a573737a0c740c39"),
        (8, "a6d9501c1569009c"),
        (9, "a3b0f0554082dade"),
        (10, "62f6d4d22ce6e40d"),
    ];

    #[test]
    fn what_databases_have_is_what_this_binary_would_apply() {
        let beginning = |checksum: &[u8]| {
            checksum.iter().take(8).fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
        };
        for (version, expected) in RELEASED {
            let migration = MIGRATIONS.iter().find(|migration| migration.version == version).unwrap();
            assert_eq!(beginning(&migration.checksum), expected, "{version}");
        }
    }
}
