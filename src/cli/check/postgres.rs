//! Postgres: reachable, recent, migrated, durable, on time; and what its tables say about publication.

use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use engine::privileges;
use kit::cli::check::{self, Finding, Level};
use kit::cli::counted;
use kit::postgres::{Purpose, link_of, pooler};
use sqlx::{FromRow, PgConnection};
use tokio::time::timeout;

use super::super::database::{self, Journal, SESSIONS};
use super::super::status::LeaseHolder;
use super::server;
use crate::config::Postgres;
use crate::migration::{MIGRATIONS, PRIVILEGES};

/// Has the command that migrates and grants.
const PROGRAM: &str = "orders";
/// Longest that all questions may take together.
const PATIENCE: Duration = Duration::from_secs(15);
/// The oldest that has all that the lease needs.
const VERSION_MIN: i32 = 140_000;
/// Clocks that differ by less are not reported.
const CLOCK_DIFFERENCE_MAX: TimeDelta = TimeDelta::seconds(2);
/// Events that wait for longer than the longest pause between two retries are not being published.
const WAITING_AGE_MAX: Duration = Duration::from_secs(60);

#[derive(FromRow)]
struct AppliedMigration {
    version: i64,
    success: bool,
    checksum: Vec<u8>,
}

pub(super) async fn check(settings: &Postgres) -> Vec<Finding> {
    let mut found = Vec::new();
    let asked = timeout(PATIENCE, ask(settings, &mut found)).await;
    let failed = match asked {
        Ok(Ok(())) => return found,
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    found.push(Finding::fail(
        "postgres",
        failed,
        "Start it, or set DATABASE_URL. Without it commands are answered 503.",
    ));
    found
}

async fn ask(settings: &Postgres, found: &mut Vec<Finding>) -> Result<()> {
    let connector = settings.sessions().connector(SESSIONS, Purpose::Requests);
    // First: behind such a pooler the other queries, and sqlx's prepared statements, may fail with misleading errors. An
    // unreachable server is reported below.
    let pooled = pooler::shares_sessions(&connector).await.unwrap_or_default();
    if pooled {
        found.push(server::between(pooled));
        return Ok(());
    }
    let (database, mut connection) = database::connect(settings).await?;
    found.push(version(&mut connection).await?);
    let link = link_of(&mut connection, database.link()).await?;
    found.push(check::link("postgres link", &link));
    found.push(server::between(pooled));
    found.extend(server::check(&mut connection).await?);
    found.push(durability(&mut connection).await?);
    found.push(clock(&mut connection).await?);
    let standing = privileges::standing(&mut connection, &PRIVILEGES).await?;
    found.push(privileges::role(&standing, PROGRAM));
    let lacking = privileges::lacking(&standing, PROGRAM);
    if lacking.level == Level::Fail {
        // The queries that follow would fail.
        found.push(lacking);
        return Ok(());
    }
    let schema = schema(&mut connection).await?;
    let is_there = schema.is_some();
    let is_migrated = schema.as_ref().is_some_and(|schema| schema.level == Level::Ok);
    found.push(schema.unwrap_or_else(|| {
        Finding::warn(
            "schema",
            "not there yet",
            "`orders migrate` makes it, or the first start as a role that may. Is DATABASE_URL right?",
        )
    }));
    found.push(if is_migrated { lacking } else { privileges::migrating(&standing, PROGRAM) });
    if is_there {
        let journal = database::open(settings).await?;
        found.push(publisher(&journal).await?);
        found.push(cursor(&journal).await?);
        found.push(quarantine(&journal).await?);
    }
    Ok(())
}

async fn version(connection: &mut PgConnection) -> Result<Finding> {
    let (number, name): (i32, String) = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version')",
    )
    .fetch_one(connection)
    .await?;
    Ok(match number >= VERSION_MIN {
        true => Finding::ok("postgres", format!("reachable, version {name}")),
        false => {
            Finding::fail("postgres", format!("version {name} is too old"), "Postgres 14 or newer is needed.")
        }
    })
}

/// An acknowledged command must survive the server's crash.
async fn durability(connection: &mut PgConnection) -> Result<Finding> {
    let (fsync, commit, pages): (String, String, String) = sqlx::query_as(
        "SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes')",
    )
    .fetch_one(connection)
    .await?;
    let settings = [("fsync", fsync), ("synchronous_commit", commit), ("full_page_writes", pages)];
    let off: Vec<&str> = settings.iter().filter(|(_, value)| value == "off").map(|(name, _)| *name).collect();
    if off.is_empty() {
        let [(_, fsync), (_, commit), _] = &settings;
        return Ok(Finding::ok("durability", format!("fsync {fsync}, synchronous_commit {commit}")));
    }
    let message =
        format!("{} off: acknowledged commands can be lost when the server crashes", off.join(", "));
    Ok(Finding::fail("durability", message, "Switch it on."))
}

async fn clock(connection: &mut PgConnection) -> Result<Finding> {
    let asked = Utc::now();
    let theirs: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(connection).await?;
    let ours = asked + (Utc::now() - asked) / 2;
    let difference_ms = (ours - theirs).num_milliseconds();
    Ok(match (ours - theirs).abs() <= CLOCK_DIFFERENCE_MAX {
        true => Finding::ok("clock", format!("{difference_ms} ms from Postgres' clock")),
        false => {
            let message = format!("{difference_ms} ms from Postgres' clock");
            Finding::warn(
                "clock",
                message,
                "Synchronise the clocks: ages and the dates of retries go by them.",
            )
        }
    })
}

/// `None`: there is none.
async fn schema(connection: &mut PgConnection) -> Result<Option<Finding>> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(None);
    }
    let applied: Vec<AppliedMigration> =
        sqlx::query_as("SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version")
            .fetch_all(connection)
            .await?;
    let Some(at) = applied.last().map(|last| last.version) else { return Ok(None) };
    let known = |version: i64| MIGRATIONS.iter().find(|migration| migration.version == version);
    let head = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    let foreign = applied
        .iter()
        .find(|row| known(row.version).is_none_or(|migration| *migration.checksum != *row.checksum));
    if let Some(row) = applied.iter().find(|row| !row.success) {
        let message = format!("migration {} ended half-way", row.version);
        return Ok(Some(Finding::fail("schema", message, "Mend it by hand; the service does not start.")));
    }
    if let Some(row) = foreign {
        let message = format!("migration {} is not this binary's; it knows up to {head}", row.version);
        return Ok(Some(Finding::fail("schema", message, "Use the binary that fits the database.")));
    }
    Ok(Some(match at == head {
        true => Finding::ok("schema", format!("version {at}, as this binary has it")),
        false => {
            let message = format!("version {at}, and this binary has {head}");
            Finding::warn("schema", message, "`orders migrate` does it, or the next start as its owner.")
        }
    }))
}

async fn publisher(journal: &Journal) -> Result<Finding> {
    let sessions = journal.outbox.sessions(crate::app::SESSIONS).await?;
    Ok(match LeaseHolder::of(sessions.lease) {
        Some(holder) => Finding::ok("publisher", holder.describe()),
        None if sessions.service_sessions > 0 => {
            let advice = "Normal during an outage of the message queue: see `orders outbox status`.";
            Finding::warn("publisher", "nobody holds the lease at the moment", advice)
        }
        None => Finding::warn("publisher", "no instance of the service is connected", "Start one."),
    })
}

async fn cursor(journal: &Journal) -> Result<Finding> {
    let numbers = journal.outbox.numbers().await?;
    let (at, head) = (numbers.published_seq, numbers.head_seq);
    if at > head {
        let message = format!("the cursor is at {at}, beyond the journal's head {head}");
        let advice = "The journal was restored from an earlier state: new events up to there would never be published. \
                      Set publisher_cursor.published_seq back to the head, with the service stopped.";
        return Ok(Finding::fail("cursor", message, advice));
    }
    let message = format!("at {at} of {head}");
    let waits = numbers.oldest_pending_age();
    Ok(match waits > WAITING_AGE_MAX {
        true => {
            let message = format!("{message}; the oldest event waits for {} s", waits.as_secs());
            Finding::warn("cursor", message, "See `orders outbox status`.")
        }
        false => Finding::ok("cursor", message),
    })
}

async fn quarantine(journal: &Journal) -> Result<Finding> {
    let orders = journal.outbox.numbers().await?.quarantined;
    Ok(match orders {
        0 => Finding::ok("quarantine", "empty"),
        _ => Finding::warn("quarantine", counted(orders, "order"), "See `orders dead-letters list`."),
    })
}
