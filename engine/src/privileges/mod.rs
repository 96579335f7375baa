//! What roles of Postgres may do with the tables: a role that serves, and one that only reads. Everything else is the owner's.
//!
//! The roles themselves are made by an administrator. [`statements`] makes their privileges what the tables here say, [`standing`] tells what
//! the role of a session has.

mod check;

use sqlx::{FromRow, PgConnection};

pub use self::check::{lacking, migrating, role};
use crate::names::Names;

/// What both kinds of roles may do with a table, a view or a function, such as `SELECT, INSERT`; nothing if it is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privilege {
    pub object: String,
    pub service: &'static str,
    pub reading: &'static str,
}

impl Privilege {
    pub fn new(object: &str, service: &'static str, reading: &'static str) -> Self {
        Self { object: object.to_owned(), service, reading }
    }
}

const READ: &str = "SELECT";
const CALL: &str = "EXECUTE";
const NOTHING: &str = "";

/// The engine's, worded for an aggregate: object, service, reading.
const ENGINE: [(&str, &str, &str); 17] = [
    ("aggregate_event", READ, READ),
    ("command_receipt", READ, READ),
    ("publisher_cursor", "SELECT, UPDATE", READ),
    ("outbox_message", READ, READ),
    ("quarantined_aggregate", "SELECT, INSERT, UPDATE, DELETE", READ),
    ("quarantined_event", "SELECT, INSERT, DELETE", READ),
    ("discarded_event", "SELECT, INSERT", READ),
    ("deferred_event", "SELECT, INSERT, UPDATE, DELETE", READ),
    ("published_topic", "SELECT, INSERT, UPDATE", READ),
    ("_sqlx_migrations", READ, READ),
    // Writes with the owner's rights: the one way into the first two tables.
    ("append_aggregate_events", CALL, NOTHING),
    ("append_aggregate_events_checked", NOTHING, NOTHING),
    ("append_lock_key", NOTHING, NOTHING),
    ("publisher_lease_key", CALL, CALL),
    ("appended_channel", CALL, NOTHING),
    ("deployment_schema", CALL, CALL),
    ("server_timeline", CALL, NOTHING),
];

/// On the engine's tables and functions.
pub fn of_engine(names: &Names) -> impl Iterator<Item = Privilege> {
    let names = names.clone();
    ENGINE
        .into_iter()
        .map(move |(object, service, reading)| Privilege::new(&names.word(object), service, reading))
}

/// Whose privileges are set.
#[derive(Debug, Clone, Copy)]
pub enum Grantee<'a> {
    Service(&'a str),
    Reading(&'a str),
    /// Every role: nothing.
    Public,
}

impl<'a> Grantee<'a> {
    fn role(self) -> Option<&'a str> {
        match self {
            Self::Service(role) | Self::Reading(role) => Some(role),
            Self::Public => None,
        }
    }

    fn of(self, privilege: &Privilege) -> &'static str {
        match self {
            Self::Service(_) => privilege.service,
            Self::Reading(_) => privilege.reading,
            Self::Public => NOTHING,
        }
    }
}

/// The statements that are needed, none if all is as it should be.
pub async fn statements(
    connection: &mut PgConnection,
    privileges: &[Privilege],
    grantee: Grantee<'_>,
) -> sqlx::Result<Vec<String>> {
    let objects: Vec<&str> = privileges.iter().map(|privilege| privilege.object.as_str()).collect();
    let wanted: Vec<&str> = privileges.iter().map(|privilege| grantee.of(privilege)).collect();
    sqlx::query_scalar(include_str!("sql/statements.sql"))
        .bind(grantee.role())
        .bind(objects)
        .bind(wanted)
        .bind(grantee.role().is_some())
        .fetch_all(connection)
        .await
}

/// Why a role cannot be granted to; `None` if it can, or there are no tables yet.
pub async fn objection(connection: &mut PgConnection, role: &str) -> sqlx::Result<Option<String>> {
    let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
        .bind(role)
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(Some(format!("there is no role {role}: CREATE ROLE {role} LOGIN")));
    }
    let found: Option<(String, bool)> =
        sqlx::query_as(include_str!("sql/grantee.sql")).bind(role).fetch_optional(connection).await?;
    Ok(found.and_then(|(owner, owns)| {
        owns.then(|| {
            format!("the role {role} has all rights of {owner}, the tables' owner: no GRANT makes them fewer. Name another role")
        })
    }))
}

/// What the role of a session is, and what it may do with what is there.
#[derive(Debug, Clone, FromRow)]
pub struct Standing {
    pub role: String,
    pub superuser: bool,
    /// It has the rights of the tables' owner.
    pub owns: bool,
    /// There are tables.
    pub is_there: bool,
    /// In the tables' schema, or where they would be made.
    pub may_create: bool,
    /// What a role that serves needs and this one lacks, such as `SELECT on outbox_message`.
    pub lacking: Vec<String>,
    /// What this one may besides.
    pub beyond: Vec<String>,
}

pub async fn standing(connection: &mut PgConnection, privileges: &[Privilege]) -> sqlx::Result<Standing> {
    let objects: Vec<&str> = privileges.iter().map(|privilege| privilege.object.as_str()).collect();
    let service: Vec<&str> = privileges.iter().map(|privilege| privilege.service).collect();
    sqlx::query_as(include_str!("sql/standing.sql")).bind(objects).bind(service).fetch_one(connection).await
}
