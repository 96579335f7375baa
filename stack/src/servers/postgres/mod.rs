//! PostgreSQL from the installed binaries, in a data directory of its own; alone ([`Postgres`]), with a streaming standby
//! ([`PostgresPair`]), or on a disk that can be filled ([`SmallDisk`](super::SmallDisk)).

mod disk;
mod encryption;
mod pair;
mod place;
mod recipe;
mod site;

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sqlx::{Connection, PgConnection, Row};

pub use self::disk::Small;
use self::encryption::Verification;
pub use self::pair::{PostgresPair, Replication};
pub(crate) use self::place::{binaries, elsewhere};
pub(super) use self::place::{data_home, unprivileged_user};
use self::recipe::PostgresRecipe;
use self::site::{Origin, Site};
use super::encryption::Encryption;
use super::port::Port;
use super::process::Life;
use super::server::Server;

/// Role, password and database are all of this name.
const APP: &str = "app";
/// How long a server may take for a statement of ours.
const STATEMENT_PATIENCE: Duration = Duration::from_secs(30);
const LOOK_PAUSE: Duration = Duration::from_millis(20);

pub struct Postgres {
    server: Server,
    site: Arc<Site>,
}

impl Postgres {
    /// On a free port, with its data in `directory/postgres`; waits until it answers queries. Ends with this value.
    ///
    /// As root it runs as another user; then `directory` is opened for that user to pass through, or, if one of the
    /// directories above it is closed, the data are put below `/var/tmp`.
    pub fn start(directory: &Path) -> Result<Self> {
        let postgres = Self::new(directory, Port::free()?, None, Life::Owned)?;
        postgres.start_again()?;
        Ok(postgres)
    }

    /// The same, for encrypted connections alone. Roles are asked for their passwords; of `app` that is `app`.
    pub fn start_encrypted(directory: &Path, encryption: Encryption) -> Result<Self> {
        let postgres = Self::new(directory, Port::free()?, Some(encryption), Life::Owned)?;
        postgres.start_again()?;
        Ok(postgres)
    }

    pub(crate) fn new(
        directory: &Path,
        port: Port,
        encryption: Option<Encryption>,
        life: Life,
    ) -> Result<Self> {
        Self::named("postgres", directory, port, Origin::New, &[], encryption, life)
    }

    /// With its data in `directory/name`, and with further settings, `name=value`.
    pub(crate) fn named(
        name: &str,
        directory: &Path,
        port: Port,
        origin: Origin,
        settings: &[&str],
        encryption: Option<Encryption>,
        life: Life,
    ) -> Result<Self> {
        let user = unprivileged_user()?;
        let log = directory.join("logs").join(format!("{name}.log"));
        let site = Arc::new(Site {
            name: name.to_owned(),
            binaries: binaries()?,
            data: data_home(directory, user)?.join(name),
            log: log.clone(),
            port,
            user,
            origin,
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            encryption,
        });
        let recipe = PostgresRecipe(Arc::clone(&site));
        Ok(Self { server: Server::new(recipe, life, log), site })
    }

    pub fn port(&self) -> u16 {
        self.site.port.number()
    }

    /// Of the database `app`, as its superuser.
    pub fn url(&self) -> String {
        self.url_of(APP)
    }

    /// The same of another database. If connections are encrypted, the server is verified.
    pub fn url_of(&self, database: &str) -> String {
        self.site.url(database, Verification::Full)
    }

    /// For the tool itself, which uses a server with the wrong certificate too.
    fn own_url(&self) -> String {
        self.site.url(APP, Verification::None)
    }

    /// Runs statements, each in a transaction of its own.
    pub fn execute(&self, statements: &[&str]) -> Result<()> {
        let url = self.own_url();
        super::ask(STATEMENT_PATIENCE, async move {
            let mut connection = PgConnection::connect(&url).await?;
            for statement in statements {
                let text = sqlx::AssertSqlSafe((*statement).to_owned());
                sqlx::raw_sql(text)
                    .execute(&mut connection)
                    .await
                    .with_context(|| (*statement).to_owned())?;
            }
            Ok(connection.close().await?)
        })
    }

    /// The one value that a query gives.
    fn one<T>(&self, query: &str) -> Result<T>
    where
        T: Send + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        let (url, query) = (self.own_url(), sqlx::AssertSqlSafe(query.to_owned()));
        super::ask(STATEMENT_PATIENCE, async move {
            let mut connection = PgConnection::connect(&url).await?;
            let answer = sqlx::query(query).fetch_one(&mut connection).await?.try_get(0)?;
            connection.close().await?;
            Ok(answer)
        })
    }

    /// Until a query of one boolean says so.
    fn wait_until(&self, what: &str, query: &str, patience: Duration) -> Result<Duration> {
        let begun = Instant::now();
        while !self.one::<bool>(query).unwrap_or_default() {
            if begun.elapsed() > patience {
                bail!("{}: waited {patience:?} until {what}", self.name());
            }
            std::thread::sleep(LOOK_PAUSE);
        }
        Ok(begun.elapsed())
    }

    /// New transactions may only read, as a client of a demoted primary sees it; or may write again. A session that sets
    /// `default_transaction_read_only` itself does not notice: such a one needs a real standby, see [`PostgresPair`].
    pub fn set_read_only(&self, on: bool) -> Result<()> {
        let value = if on { "on" } else { "off" };
        let set = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
        self.execute(&[&set, "SELECT pg_reload_conf()"])?;
        let shown = format!("SELECT current_setting('default_transaction_read_only') = '{value}'");
        self.wait_until("the setting holds", &shown, STATEMENT_PATIENCE).map(drop)
    }
}

impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
