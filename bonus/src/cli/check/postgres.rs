//! The server, the role's privileges, the schema, and the letters that wait in it.

use std::time::Duration;

use engine::{migration, privileges};
use kit::cli::check::{self, Finding};
use kit::cli::counted;
use kit::postgres::{Purpose, link_of};
use sqlx::FromRow;
use sqlx::postgres::PgConnection;

use crate::config::Database;
use crate::{database, outbox, policy, rebuild};

/// For all questions together.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(FromRow)]
struct Server {
    encoding: String,
    read_only: bool,
    role: String,
    /// `None`: there is no such schema.
    may_use_schema: Option<bool>,
    may_create_schema: bool,
}

pub(super) async fn check(database: &Database) -> Vec<Finding> {
    let place = database.place();
    let connecting = database::connector(database, Purpose::Requests);
    let mut connection = match connecting.connect().await {
        Ok(connection) => connection,
        Err(error) => {
            let message = format!("{place} cannot be reached: {error}");
            return vec![Finding::fail("postgres", message, "Check DATABASE_URL and the server.")];
        }
    };
    let asking = tokio::time::timeout(PATIENCE, ask(&mut connection, database, &place)).await;
    let cause = match asking {
        Ok(Ok(findings)) => return findings,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {PATIENCE:?}"),
    };
    vec![Finding::fail("postgres", format!("{place}: {cause}"), "Check the server's log.")]
}

async fn ask(connection: &mut PgConnection, database: &Database, place: &str) -> sqlx::Result<Vec<Finding>> {
    let schema = &database.db_schema;
    let server: Server = sqlx::query_as(include_str!("../../sql/check_server.sql"))
        .bind(schema)
        .fetch_one(&mut *connection)
        .await?;
    let link = link_of(connection, database.sessions().link()).await?;
    let mut findings = vec![on_server(&server, place), check::link("postgres link", &link)];
    let usable = server.may_use_schema == Some(true);
    findings.push(on_schema(&server, schema));
    if usable {
        let standing = privileges::standing(connection, &outbox::PRIVILEGES).await?;
        findings.push(privileges::role(&standing, outbox::SESSIONS));
        let missing = migration::missing(connection, &outbox::MIGRATIONS).await;
        let lacking = privileges::lacking(&standing, outbox::SESSIONS);
        findings.push(match &missing {
            Ok(missing) if !missing.is_empty() => privileges::migrating(&standing, outbox::SESSIONS),
            _ => lacking,
        });
        findings.extend(on_policy(connection).await);
        findings.extend(on_letters(connection).await);
    }
    Ok(findings)
}

fn on_server(server: &Server, place: &str) -> Finding {
    if server.read_only {
        let advice = "Point DATABASE_URL to the primary, or let it write again.";
        return Finding::fail("postgres", format!("{place} takes no writes"), advice);
    }
    if server.encoding != "UTF8" {
        let message = format!("{place} has the encoding {}", server.encoding);
        return Finding::fail("postgres", message, "Make a database with ENCODING 'UTF8'.");
    }
    Finding::ok("postgres", format!("{place} takes writes"))
}

fn on_schema(server: &Server, schema: &str) -> Finding {
    let name = "schema";
    match server.may_use_schema {
        Some(true) => Finding::ok(name, format!("{schema} is there")),
        Some(false) => {
            let message = format!("{} may not use the schema {schema}", server.role);
            Finding::fail(
                name,
                message,
                "`bonus migrate --grant-to` grants it, or let the role own the schema.",
            )
        }
        None if server.may_create_schema => {
            Finding::ok(name, format!("{schema} is made by `bonus migrate`, or at the first start"))
        }
        None => {
            let message = format!("{schema} is missing, and {} may not make it", server.role);
            Finding::fail(name, message, "Grant CREATE on the database, or make the schema for the role.")
        }
    }
}

/// None before the first start.
async fn on_policy(connection: &mut PgConnection) -> Option<Finding> {
    let name = "policy";
    let version = rebuild::in_force(connection).await.ok()?;
    let Some(policy) = policy::of_version(version) else {
        let message =
            format!("policy {version} is in force, and this version does not know it: nothing is credited");
        let advice =
            "Run a newer version, or put a policy in force that it knows: `bonus rebuild --policy VERSION`.";
        return Some(Finding::fail(name, message, advice));
    };
    let accounts = rebuild::accounts(connection, policy).await.ok()?;
    Some(match accounts.behind {
        0 => Finding::ok(name, format!("{version} is in force, and every account is by it")),
        behind => {
            let message = format!("{version} is in force, and {} by another one", counted(behind, "account"));
            Finding::warn(name, message, format!("`bonus rebuild --policy {version}` derives the rest."))
        }
    })
}

/// None before the first start.
async fn on_letters(connection: &mut PgConnection) -> Option<Finding> {
    let count = sqlx::query_as::<_, (i64, i64)>(include_str!("../../sql/count_letters.sql"));
    let (waiting, refused) = count.fetch_one(connection).await.ok()?;
    Some(match (waiting, refused) {
        (0, 0) => Finding::ok("dead letters", "none waits to be sent"),
        _ => {
            let message = format!("{waiting} wait in Postgres, {refused} are refused by their topic");
            Finding::warn("dead letters", message, "The log says why: docs/operations.md#deadletterswait.")
        }
    })
}
