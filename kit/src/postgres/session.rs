//! How a session is opened: from a URL, under a name, for a purpose, and with every setting pinned that the code relies on.
//!
//! The settings are sent in the startup message (`options=-c …`). There they take precedence over those of a role, a database and
//! the configuration file.
//!
//! One setting is not pinned, on purpose: `default_transaction_read_only`. Operators and hosting providers switch it on to stop
//! writes, as before a switchover or on a full disk. A service must not override that.

use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::timeout;
use tracing::log::LevelFilter;

use super::encryption;
use crate::files::PasswordFile;
use crate::tls::Link;

/// Postgres' own default. Pinned where neither the URL nor [`Database::schema`] names a schema.
const SEARCH_PATH: &str = r#""$user", public"#;

/// A database, and how long it may take to answer.
#[derive(Debug, Clone)]
pub struct Database {
    options: PgConnectOptions,
    password: Option<Password>,
    timeout: Duration,
}

/// A password that is read for each session, and what its setting is called.
#[derive(Debug, Clone)]
struct Password {
    file: PasswordFile,
    setting: &'static str,
}

/// What a session is for. It decides the limits that the server sets to its statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Short statements: commands, reads, background work in small steps, `LISTEN`.
    Requests,
    /// A lock that the session holds. A session that was idle for `frozen_after` ends, and the lock with it.
    Lease { frozen_after: Duration },
    /// Work of unknown duration: migrations, the wait for another process that runs them, a rebuild.
    Unbounded,
}

impl Database {
    /// `timeout` bounds connecting, and every statement of the purpose [`Purpose::Requests`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use kit::postgres::{Database, Purpose};
    /// let database = Database::from_url("postgresql://app@localhost:5432/app", Duration::from_secs(5))?;
    /// let connector = database.connector("orders", Purpose::Requests);
    /// assert_eq!(connector.limit(), Duration::from_secs(5));
    /// # Ok::<(), sqlx::Error>(())
    /// ```
    pub fn from_url(url: &str, timeout: Duration) -> Result<Self, sqlx::Error> {
        Ok(Self::new(url.parse()?, timeout))
    }

    pub fn new(options: PgConnectOptions, timeout: Duration) -> Self {
        Self { options, password: None, timeout }
    }

    /// Each session has the password that is in the file then, instead of the URL's. `setting` is what the file is called in messages.
    #[must_use]
    pub fn password_from(self, file: Option<PasswordFile>, setting: &'static str) -> Self {
        Self { password: file.map(|file| Password { file, setting }), ..self }
    }

    /// Every session sees this schema alone. The name goes into a setting, not into a statement; it is quoted here.
    #[must_use]
    pub fn schema(self, name: &str) -> Self {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        Self { options: self.options.options([("search_path", quoted)]), ..self }
    }

    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How sessions of this purpose are opened. `application` is their name in `pg_stat_activity`.
    pub fn connector(&self, application: &str, purpose: Purpose) -> Connector {
        let has_search_path = self.options.get_options().is_some_and(|set| set.contains("search_path"));
        let mut options = self.options.clone().application_name(application).log_statements(LevelFilter::Off);
        if !has_search_path {
            options = options.options([("search_path", SEARCH_PATH)]);
        }
        if matches!(purpose, Purpose::Lease { .. }) {
            // Waiting is what it is for.
            options = options.log_slow_statements(LevelFilter::Off, Duration::ZERO);
        }
        options = options.options(pinned(purpose, self.timeout));
        let (password, limit) = (self.password.clone(), limit(purpose, self.timeout));
        Connector { options, password, connect_timeout: self.timeout, limit }
    }

    /// How the way to it is protected.
    pub fn link(&self) -> Link {
        encryption::link(&self.options, self.place())
    }

    /// Where it is, for messages: without role and password.
    pub fn place(&self) -> String {
        let database = self.options.get_database().unwrap_or_default();
        format!("Postgres at {}:{}/{database}", self.options.get_host(), self.options.get_port())
    }
}

/// Opens sessions of one purpose.
#[derive(Debug, Clone)]
pub struct Connector {
    options: PgConnectOptions,
    password: Option<Password>,
    connect_timeout: Duration,
    limit: Duration,
}

impl Connector {
    /// A fresh session, within the database's timeout.
    pub async fn connect(&self) -> Result<PgConnection, ConnectError> {
        let options = self.session_options()?;
        match timeout(self.connect_timeout, options.connect()).await {
            Ok(connected) => connected.map_err(|error| self.failure(error)),
            Err(_) => Err(ConnectError::TimedOut(self.connect_timeout)),
        }
    }

    /// How long the process waits for a statement: slightly longer than the server works on it.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// For names in traces.
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// For a session that sqlx opens itself: with the present password.
    pub(super) fn session_options(&self) -> Result<PgConnectOptions, ConnectError> {
        let Some(Password { file, setting }) = &self.password else { return Ok(self.options.clone()) };
        let password = file.read().map_err(|error| ConnectError::Refused(format!("{setting}: {error:#}")))?;
        Ok(self.options.clone().password(&password))
    }

    /// What a failure to open a session means.
    pub(super) fn failure(&self, error: sqlx::Error) -> ConnectError {
        encryption::refusal(&self.options, &error)
            .map_or(ConnectError::Postgres(error), ConnectError::Refused)
    }
}

/// No session was opened, so nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// The link cannot be made as the settings want it. Says what to change.
    #[error("{0}")]
    Refused(String),
    #[error("{0}{advice}", advice = encryption::advice(.0))]
    Postgres(#[from] sqlx::Error),
}

/// The server's limit as tenths of the process's limit.
const STATEMENT_TENTHS: u32 = 9;
/// A wait for a lock ends before the statement does, so that the error names the lock.
const LOCK_TENTHS: u32 = 8;

fn limit(purpose: Purpose, timeout: Duration) -> Duration {
    match purpose {
        Purpose::Requests => timeout,
        Purpose::Lease { frozen_after } => frozen_after,
        Purpose::Unbounded => Duration::MAX,
    }
}

/// The startup options. Times are milliseconds unless the value says otherwise; 0 switches a limit off.
fn pinned(purpose: Purpose, timeout: Duration) -> Vec<(&'static str, String)> {
    let tenths = |tenths: u32| match limit(purpose, timeout) {
        Duration::MAX => "0".to_owned(),
        limit => (limit * tenths / 10).as_millis().max(1).to_string(),
    };
    let idle_session_ms = match purpose {
        Purpose::Lease { frozen_after } => frozen_after.as_millis(),
        Purpose::Requests | Purpose::Unbounded => 0,
    };
    let set = |name, value: &str| (name, value.to_owned());
    vec![
        // With a snapshot from before a lock was granted, an append would not see the head that the lock protects.
        set("default_transaction_isolation", "read committed"),
        // An acknowledged command is on disk, here and on the synchronous standbys. Nothing reads on a standby, so `remote_apply`
        // is not needed.
        set("synchronous_commit", "on"),
        // The server ends a slow statement before the process gives it up, so that no session keeps working on it.
        ("statement_timeout", tenths(STATEMENT_TENTHS)),
        ("lock_timeout", tenths(LOCK_TENTHS)),
        // A process frozen inside a transaction keeps its row locks no longer than this. Other sessions may be idle for ever.
        ("idle_in_transaction_session_timeout", timeout.as_millis().max(1).to_string()),
        ("idle_session_timeout", idle_session_ms.to_string()),
        // A statement whose client has closed its connection, as by being killed, ends within a second.
        set("client_connection_check_interval", "1000"),
        // A client that is gone without closing, with its host or its network, is noticed after 5 s + 3 x 2 s of silence…
        set("tcp_keepalives_idle", "5s"),
        set("tcp_keepalives_interval", "2s"),
        set("tcp_keepalives_count", "3"),
        // …or when it has acknowledged nothing for 10 s.
        set("tcp_user_timeout", "10000"),
        // sqlx pins client_encoding, DateStyle and TimeZone itself.
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(purpose: Purpose, name: &str) -> String {
        let timeout = Duration::from_secs(5);
        pinned(purpose, timeout).into_iter().find(|(pinned, _)| *pinned == name).unwrap_or_default().1
    }

    #[test]
    fn the_server_gives_up_before_the_process_does() {
        assert_eq!(value(Purpose::Requests, "lock_timeout"), "4000");
        assert_eq!(value(Purpose::Requests, "statement_timeout"), "4500");
        let database = Database::new(PgConnectOptions::new(), Duration::from_secs(5));
        assert_eq!(database.connector("test", Purpose::Requests).limit(), Duration::from_secs(5));
    }

    #[test]
    fn only_the_lease_ends_when_it_is_idle() {
        let lease = Purpose::Lease { frozen_after: Duration::from_secs(3) };
        assert_eq!(value(lease, "idle_session_timeout"), "3000");
        assert_eq!(value(lease, "statement_timeout"), "2700");
        assert_eq!(value(Purpose::Requests, "idle_session_timeout"), "0");
    }

    #[test]
    fn work_of_unknown_length_has_no_limit() {
        assert_eq!(value(Purpose::Unbounded, "statement_timeout"), "0");
        assert_eq!(value(Purpose::Unbounded, "lock_timeout"), "0");
        assert_eq!(value(Purpose::Unbounded, "idle_in_transaction_session_timeout"), "5000");
    }

    #[test]
    fn a_search_path_of_the_url_is_kept_and_else_the_default_is_pinned() {
        let options = |url: &str| {
            let database = Database::from_url(url, Duration::from_secs(5));
            let database = database.unwrap_or_else(|error| panic!("{url}: {error}"));
            database
                .connector("test", Purpose::Requests)
                .options()
                .get_options()
                .unwrap_or_default()
                .to_owned()
        };
        let plain = options("postgresql://app@localhost/app");
        assert!(plain.contains(r#"search_path="$user",\ public"#), "{plain}");
        let named = options("postgresql://app@localhost/app?options=-c%20search_path%3Dshop");
        assert_eq!(named.matches("search_path").count(), 1, "{named}");
    }
}
