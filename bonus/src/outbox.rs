//! The outbox of this service: what customers gain and lose, written in the transaction of the credit or the sweep that caused it, and
//! published by the engine.
//!
//! The journal is the table `customer_event`. An event's place in its customer's history is given while the customer's account is locked.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use actix::Addr;
use engine::aggregate::Name;
use engine::journal::{Appender, Reader};
use engine::migration::numbered_after;
use engine::privileges::{Privilege, of_engine};
use engine::{Names, Outbox, OutboxSettings};
use kit::postgres::Pool;
use kit::supervision::Guardian;
use sqlx::migrate::Migrator;

use crate::config::Config;

/// Names tables and metrics: `customer_event`, `customers_…`.
pub const CUSTOMER: Name = Name { one: "customer", many: "customers" };
/// The service's own migrations have the numbers up to here, and those from 3001 on.
const LAST_BEFORE_THE_ENGINE: i64 = 2_000;
/// The name of the service's database sessions.
pub const SESSIONS: &str = "bonus";
/// For what operators ask, and for the publisher's reads.
const CONNECTIONS_MAX: u32 = 3;

/// Between two looks at what waits. The query is over the few rows that do.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);

/// What this binary makes of its schema.
pub static MIGRATIONS: LazyLock<Migrator> =
    LazyLock::new(|| numbered_after(LAST_BEFORE_THE_ENGINE, &names(), &sqlx::migrate!("./migrations")));

/// On the tables of the ledger and the accounts: object, a role that serves, a role that only reads. Of a function all that have its name.
const LEDGER: [(&str, &str, &str); 17] = [
    ("ledger", "SELECT, INSERT", "SELECT"),
    ("ledger_entry", "SELECT", "SELECT"),
    ("counted_award", "SELECT", "SELECT"),
    ("account", "SELECT, INSERT, UPDATE, DELETE", "SELECT"),
    ("policy", "SELECT", "SELECT"),
    ("policy_in_force", "SELECT, UPDATE", "SELECT"),
    ("partition_read", "SELECT, INSERT, UPDATE", "SELECT"),
    ("dead_letter", "SELECT, INSERT, UPDATE, DELETE", "SELECT"),
    ("credit_events", "EXECUTE", ""),
    ("sweep_vip", "EXECUTE", ""),
    ("rebuild_accounts", "EXECUTE", ""),
    ("derive_accounts", "EXECUTE", ""),
    ("hold_policy", "EXECUTE", ""),
    ("put_policy_in_force", "EXECUTE", ""),
    // The views call the first two.
    ("policy_version_in_force", "EXECUTE", "EXECUTE"),
    ("worth", "EXECUTE", "EXECUTE"),
    ("vip_standing", "EXECUTE", "EXECUTE"),
];

/// All that roles other than the owner may do here.
pub static PRIVILEGES: LazyLock<Vec<Privilege>> = LazyLock::new(|| {
    let ledger =
        LEDGER.into_iter().map(|(object, service, reading)| Privilege::new(object, service, reading));
    of_engine(&names()).chain(ledger).collect()
});

fn names() -> Names {
    Names::new(CUSTOMER)
}

/// For a process that does not publish, such as a command: it notifies the one that does.
pub fn appender() -> Appender {
    Appender::new(names(), Arc::default(), Vec::new())
}

/// For a command: the journal, which has what waits and what is set aside.
pub fn reader(pool: Pool) -> Reader {
    Reader::new(pool, names())
}

/// Nothing is asked of the servers yet.
pub fn prepare(config: &Config, guardian: &Addr<Guardian>) -> anyhow::Result<Outbox> {
    let settings = OutboxSettings {
        names: names(),
        database: config.database.sessions(),
        sessions: SESSIONS.to_owned(),
        connections_max: CONNECTIONS_MAX,
        publication: config.publication.settings(&config.topics)?,
    };
    Ok(Outbox::new(settings, guardian))
}

/// Keeps the gauges of what waits up to date, for ever. While the database is away, what was seen last grows older.
pub async fn measure(outbox: &Outbox) -> Infallible {
    let mut latest = None;
    loop {
        latest = outbox.numbers.numbers().await.ok().or(latest);
        if let Some(numbers) = &latest {
            engine::metric::outbox(numbers.pending, numbers.oldest_pending_age(), numbers.quarantined);
        }
        tokio::time::sleep(MEASURE_INTERVAL).await;
    }
}
