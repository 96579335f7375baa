//! What is granted on tables and functions: as docs/security.md says, and as the catalogue does. The tests of bonus have this file too.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgExecutor;

const DOCUMENT: &str = include_str!("../../docs/security.md");

/// By the object's name.
pub type Grants = BTreeMap<String, BTreeSet<String>>;

/// Object, and what is granted on it, of the table below `heading` in docs/security.md; `column` 1 is a role that serves.
pub fn documented(heading: &str, column: usize) -> Grants {
    let (_, below) = DOCUMENT.split_once(&format!("\n{heading}\n")).unwrap();
    let rows =
        below.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let privileges = cells[column].split(", ").filter(|cell| *cell != "–").map(str::to_owned).collect();
        (cells[0].trim_matches('`').to_owned(), privileges)
    };
    rows.map(row).filter(|(_, privileges): &(String, BTreeSet<String>)| !privileges.is_empty()).collect()
}

/// What the catalogue says of a role, or of every role, on whatever there is in the schema. Of a function all that have its name.
pub async fn granted(database: impl PgExecutor<'_>, schema: &str, role: &str) -> Grants {
    let granted = "SELECT object.name, acl.privilege_type
          FROM (SELECT relname::text AS name, relacl AS acl, relnamespace AS namespace FROM pg_class
                 UNION ALL
                SELECT proname::text, coalesce(proacl, acldefault('f', proowner)), pronamespace FROM pg_proc) AS object,
               aclexplode(object.acl) AS acl
         WHERE object.namespace = $2::text::regnamespace
           AND acl.grantee = coalesce((SELECT oid FROM pg_roles WHERE rolname = $1), 0)";
    let rows: Vec<(String, String)> =
        sqlx::query_as(granted).bind(role).bind(schema).fetch_all(database).await.unwrap();
    let mut found = Grants::new();
    for (object, privilege) in rows {
        found.entry(object).or_default().insert(privilege);
    }
    found
}
