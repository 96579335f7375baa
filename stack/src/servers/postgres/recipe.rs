//! A server's command line.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use sqlx::{Connection, PgConnection};

use super::APP;
use super::encryption::Verification;
use super::site::Site;
use crate::servers::ask;
use crate::servers::process::Launch;
use crate::servers::server::Recipe;

pub(super) struct PostgresRecipe(pub(super) Arc<Site>);

impl Recipe for PostgresRecipe {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn prepare(&self) -> Result<()> {
        if self.0.data.join("PG_VERSION").exists() {
            self.0.remove_dead_lock()?;
        } else {
            self.0.make(self.0.origin)?;
        }
        self.0.take_certificates()
    }

    fn launch(&self) -> Result<Launch> {
        let settings = [
            format!("port={}", self.0.port.number()),
            "listen_addresses=127.0.0.1".into(),
            "unix_socket_directories=".into(),
            "fsync=on".into(),
            "synchronous_commit=on".into(),
            "max_connections=300".into(),
            "logging_collector=off".into(),
        ];
        let mut arguments = vec!["-D".to_owned(), self.0.data.to_string_lossy().into_owned()];
        let settings = settings.into_iter().chain(self.0.settings.iter().cloned());
        let settings = settings.chain(self.0.encryption_settings());
        arguments.extend(settings.flat_map(|setting| ["-c".to_owned(), setting]));
        Ok(Launch {
            program: self.0.binaries.join("postgres"),
            arguments,
            environment: vec![self.0.home()],
            directory: self.0.data.clone(),
            log: self.0.log.clone(),
            user: self.0.user,
        })
    }

    fn probe(&self) -> Result<()> {
        let url = self.0.url(APP, Verification::None);
        ask(Duration::from_secs(2), async move {
            let mut connection = PgConnection::connect(&url).await?;
            sqlx::query("SELECT 1").execute(&mut connection).await?;
            Ok(connection.close().await?)
        })
    }

    /// Does not wait for clients to go; each is told.
    fn stop_signal(&self) -> Signal {
        Signal::SIGINT
    }

    /// Gives its shared memory back, which a killed one cannot.
    fn drop_signal(&self) -> Option<Signal> {
        Some(Signal::SIGQUIT)
    }
}
