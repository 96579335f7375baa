//! Settings of Postgres. Each service has the one of a file under its own prefix.

use std::fmt;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

/// Defines the settings as a group for clap: `postgres_settings!(Postgres, "ORDERS")`.
#[macro_export]
macro_rules! postgres_settings {
    ($name:ident, $prefix:literal) => {
        // Where the database is, and how long it may take. (A doc comment here would end up in the help of whatever takes the group.)
        #[derive(Debug, Clone, ::clap::Args)]
        pub struct $name {
            /// Postgres, as a URL: postgresql://user:password@host:port/database?sslmode=verify-full. Without sslmode another machine
            /// has to be encrypted and verified; sslmode=disable says that it is not. See docs/security.md for the rest.
            #[arg(
                long,
                env = "DATABASE_URL",
                default_value = "postgresql://app:app@localhost:5432/app",
                hide_env_values = true,
                value_parser = $crate::settings::secret::<$crate::settings::DatabaseUrl>("DATABASE_URL")
            )]
            pub database_url: $crate::settings::DatabaseUrl,

            /// A file with the password of Postgres, as it is; a line break at its end does not count. Taken before the one in the URL.
            #[arg(long, env = concat!($prefix, "_DATABASE_PASSWORD_FILE"))]
            pub database_password_file: Option<$crate::files::PasswordFile>,

            /// Longest wait for the database in milliseconds, 100 to 600000. Then a request is answered 503, and other work is tried
            /// again. Postgres itself ends a statement at nine tenths of it.
            #[arg(long, env = "DATABASE_TIMEOUT_MS", default_value_t = 5_000, value_parser = ::clap::value_parser!(u64).range(100..=600_000))]
            pub database_timeout_ms: u64,
        }

        impl $name {
            /// Longest wait for the database.
            pub fn timeout(&self) -> ::std::time::Duration {
                ::std::time::Duration::from_millis(self.database_timeout_ms)
            }

            /// What sessions are opened from.
            pub fn sessions(&self) -> $crate::postgres::Database {
                let database = $crate::postgres::Database::new(self.database_url.0.clone(), self.timeout());
                let password = self.database_password_file.clone();
                database.password_from(password, concat!($prefix, "_DATABASE_PASSWORD_FILE"))
            }
        }
    };
}

/// A URL of Postgres. Its password is never shown.
#[derive(Clone)]
pub struct DatabaseUrl(pub PgConnectOptions);

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        crate::postgres::options(url).map(Self)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.0.get_host(), self.0.get_port(), self.0.get_database().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;
    use crate::settings::secret;

    #[test]
    fn the_password_is_not_shown() {
        let url = DatabaseUrl::from_str("postgresql://app:secret@db:5433/app").unwrap();
        assert_eq!(format!("{url:?}"), "db:5433/app");
    }

    #[test]
    fn what_is_no_url_of_postgres_is_refused_with_an_example_and_not_shown() {
        let parser = secret::<DatabaseUrl>("DATABASE_URL");
        let command = Command::new("service").arg(Arg::new("url").value_parser(parser));
        for wrong in ["mysql://app:secret@x/y", "app:secret@db/app", "postgresql://app:secret@db:port/app"] {
            let refusal = command.clone().try_get_matches_from(["service", wrong]).unwrap_err();
            let (code, refusal) = (refusal.exit_code(), refusal.to_string());
            assert!(
                refusal.starts_with("error: DATABASE_URL: a Postgres URL is needed, such as"),
                "{refusal}"
            );
            assert!(!refusal.contains("secret"), "{refusal}");
            assert_eq!(code, 2);
        }
    }
}
