//! `orders migrate`: makes the tables what this binary needs, as the role that owns them, and grants to the roles that use them.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use engine::migration::command;
use kit::cli::migrate::{MigrateArgs, MigrateReport};
use kit::postgres::Purpose;

use super::OutputArgs;
use super::database::SESSIONS;
use crate::config::Postgres;
use crate::migration::{MIGRATIONS, PRIVILEGES};

#[derive(Args)]
pub struct Migrate {
    #[command(flatten)]
    asked: MigrateArgs,
    #[command(flatten)]
    database: Postgres,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let database = self.database.sessions();
        let place = database.place();
        let unreachable = || format!("{place} cannot be reached");
        command::ensure_own_session(&database.connector(SESSIONS, Purpose::Requests)).await?;
        let mut connection =
            database.connector(SESSIONS, Purpose::Unbounded).connect().await.with_context(unreachable)?;
        let report = command::run(&mut connection, &MIGRATIONS, &PRIVILEGES, &self.asked).await?;
        self.output.write(&report, MigrateReport::text)?;
        Ok(ExitCode::SUCCESS)
    }
}
