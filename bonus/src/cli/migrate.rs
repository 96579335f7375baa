//! `bonus migrate`: makes the schema what this binary needs, as the role that owns it, and grants to the roles that use it.

use anyhow::Context as _;
use clap::Args;
use engine::migration::command;
use kit::cli::migrate::{MigrateArgs, MigrateReport};
use kit::postgres::Purpose;

use super::OutputArgs;
use crate::config::Database;
use crate::database;
use crate::outbox::{MIGRATIONS, PRIVILEGES};

#[derive(Args)]
pub struct Migrate {
    #[command(flatten)]
    asked: MigrateArgs,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let place = self.database.place();
        command::ensure_own_session(&database::connector(&self.database, Purpose::Requests)).await?;
        let mut connection = database::connect_patiently(&self.database)
            .await
            .with_context(|| format!("{place} cannot be reached"))?;
        if !self.asked.dry_run {
            database::create_schema(&mut connection, &self.database.db_schema).await?;
        }
        let report = command::run(&mut connection, &MIGRATIONS, &PRIVILEGES, &self.asked).await?;
        self.output.write(&report, MigrateReport::text)
    }
}
