//! What a schema has of the migrations, what it lacks, and whether the session's role may apply that.

use std::collections::HashMap;

use kit::cli::migrate::Step;
use kit::settings::Migrate;
use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::{FromRow, PgConnection};

/// Why a schema is not that of this binary.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{0}")]
    Migrate(#[from] MigrateError),
    /// Nothing was changed: it is for somebody else to do. What is missing, why, and how.
    #[error("{0}")]
    Left(String),
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Migrate(error.into())
    }
}

/// The session's role, and what is there.
#[derive(Debug, FromRow)]
struct Standing {
    role: String,
    /// `None`: none of its search path, or it may not use it.
    schema: Option<String>,
    may_create: bool,
    is_there: bool,
    owner: Option<String>,
    owns: bool,
}

impl Standing {
    async fn of(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        sqlx::query_as(include_str!("sql/standing.sql")).fetch_one(connection).await
    }

    /// What a start that changes nothing says. `program` has the command that migrates.
    fn left(&self, missing: &[Step], when: Migrate, program: &str) -> String {
        let what = match (self.is_there, missing) {
            (true, [step, ..]) => {
                let Step { version, description } = step;
                let number = missing.len();
                format!(
                    "the schema is of an earlier version: {number} to apply, from migration {version} ({description}) on"
                )
            }
            _ => "the schema has no tables of this service".to_owned(),
        };
        let why = match (when, self.owns) {
            (Migrate::Off, _) => "this start is told not to migrate".to_owned(),
            (Migrate::Auto, false) => {
                format!("the role {} does not own them", self.role)
            }
            (Migrate::Auto, true) => {
                let schema = self.schema.as_deref().unwrap_or("of its search_path");
                format!("the role {} may not create in the schema {schema}", self.role)
            }
        };
        let owner = self.owner.as_ref().map_or_else(
            || "as the role that is to own them".to_owned(),
            |owner| format!("as the role that owns them, {owner}"),
        );
        format!("{what}, and {why}. Nothing was changed: run `{program} migrate` {owner}, then start again")
    }
}

/// What is missing, in order.
///
/// # Errors
/// A schema that this binary does not fit: of a later version, edited, or half migrated.
pub async fn missing(
    connection: &mut PgConnection,
    migrations: &Migrator,
) -> Result<Vec<Step>, MigrateError> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    let mut applied: HashMap<i64, (bool, Vec<u8>)> = HashMap::new();
    if there {
        let rows: Vec<(i64, bool, Vec<u8>)> =
            sqlx::query_as("SELECT version, success, checksum FROM _sqlx_migrations")
                .fetch_all(connection)
                .await?;
        applied.extend(rows.into_iter().map(|(version, success, checksum)| (version, (success, checksum))));
    }
    let mut missing = Vec::new();
    for Migration { version, description, checksum, .. } in migrations.iter() {
        match applied.remove(version) {
            None => missing.push(Step { version: *version, description: description.to_string() }),
            Some((false, _)) => return Err(MigrateError::Dirty(*version)),
            Some((true, found)) if *found != **checksum => {
                return Err(MigrateError::VersionMismatch(*version));
            }
            Some(_) => {}
        }
    }
    match applied.keys().max() {
        Some(unknown) => Err(MigrateError::VersionMissing(*unknown)),
        None => Ok(missing),
    }
}

/// Applies what is missing, if this start may: sqlx would ask for the right to create even when nothing is missing.
///
/// # Errors
/// [`ApplyError::Left`] if it may not, and as sqlx's migrator.
pub async fn apply(
    connection: &mut PgConnection,
    migrations: &Migrator,
    when: Migrate,
    program: &str,
) -> Result<(), ApplyError> {
    let missing = missing(connection, migrations).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let standing = Standing::of(connection).await?;
    if when == Migrate::Off || !standing.owns || !standing.may_create {
        return Err(ApplyError::Left(standing.left(&missing, when, program)));
    }
    Ok(migrations.run(connection).await?)
}
