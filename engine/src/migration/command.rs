//! Migrating as a command: what is missing is applied step by step, then the roles are granted what they need.

use std::time::Instant;

use anyhow::{Context, bail, ensure};
use kit::cli::migrate::{MigrateArgs, MigrateReport, Step};
use kit::postgres::{Connector, pooler};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{POOLED, explained, missing};
use crate::privileges::{Grantee, Privilege, objection, statements};

/// Ends a command behind a pooler that shares sessions: the migrator's lock is none there.
///
/// # Errors
/// Such a pooler, and what a session needs.
pub async fn ensure_own_session(requests: &Connector) -> anyhow::Result<()> {
    ensure!(!pooler::shares_sessions(requests).await?, POOLED);
    Ok(())
}

/// Migrates, and grants. A dry run changes nothing, and says what would be done.
///
/// # Errors
/// What cannot be applied or granted. Each migration is a transaction, and all grants together are one.
pub async fn run(
    connection: &mut PgConnection,
    migrations: &Migrator,
    privileges: &[Privilege],
    asked: &MigrateArgs,
) -> anyhow::Result<MigrateReport> {
    // Else each step is told that the migrator's table is there. What could not be granted is found below.
    sqlx::raw_sql("SET client_min_messages = error").execute(&mut *connection).await?;
    // First, so that nothing is changed for the sake of a role that is not there.
    for role in asked.grant_to.iter().chain(&asked.read_only) {
        if let Some(objection) = objection(connection, role).await? {
            bail!(objection);
        }
    }
    let steps = match missing(connection, migrations).await {
        Ok(steps) => steps,
        Err(error) => return Err(explained(error, connection).await),
    };
    if !asked.dry_run {
        for step in &steps {
            apply(connection, migrations, step).await?;
        }
    }
    let grants = if asked.dry_run {
        needed(connection, privileges, asked).await?
    } else {
        grant(connection, privileges, asked).await?
    };
    let version = migrations.iter().map(|migration| migration.version).max().unwrap_or_default();
    Ok(MigrateReport { dry_run: asked.dry_run, version, migrations: steps, grants })
}

async fn apply(connection: &mut PgConnection, migrations: &Migrator, step: &Step) -> anyhow::Result<()> {
    let begun = Instant::now();
    if let Err(error) = migrations.run_to(step.version, &mut *connection).await {
        let error = explained(error, connection).await;
        return Err(error.context(format!("{step} cannot be applied; what was before it is")));
    }
    // Progress is not part of the result.
    eprintln!("{step}: applied in {:.3} s", begun.elapsed().as_secs_f64());
    Ok(())
}

async fn needed(
    connection: &mut PgConnection,
    privileges: &[Privilege],
    asked: &MigrateArgs,
) -> sqlx::Result<Vec<String>> {
    let mut all = Vec::new();
    let services = asked.grant_to.iter().map(|role| Grantee::Service(role));
    let readers = asked.read_only.iter().map(|role| Grantee::Reading(role));
    // What everybody may is taken away only where the role that serves is named: it might be one of everybody.
    let public = asked.grant_to.first().map(|_| Grantee::Public);
    for grantee in services.chain(readers).chain(public) {
        all.extend(statements(connection, privileges, grantee).await?);
    }
    Ok(all)
}

/// In one transaction: a role that serves meanwhile loses nothing that it is granted again.
async fn grant(
    connection: &mut PgConnection,
    privileges: &[Privilege],
    asked: &MigrateArgs,
) -> anyhow::Result<Vec<String>> {
    let mut transaction = connection.begin().await?;
    let statements = needed(&mut transaction, privileges, asked).await?;
    for statement in &statements {
        let text = AssertSqlSafe(statement.clone());
        sqlx::raw_sql(text).execute(&mut *transaction).await.with_context(|| statement.clone())?;
    }
    // A GRANT by a role that may not grant is a warning to Postgres, not an error.
    let left = needed(&mut transaction, privileges, asked).await?;
    if let Some(statement) = left.first() {
        bail!(
            "{statement}: this role may not do that. Migrate as the role that owns the tables and the schema, or have them do it"
        );
    }
    transaction.commit().await?;
    Ok(statements)
}
