//! The standby becomes the primary.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::plan::Primary;
use super::Cluster;
use crate::servers::{Passage, Server};

impl Cluster {
    /// Returns when the other server takes writes and all links lead to it. The former primary is not its standby yet.
    pub(super) async fn fail_over(self: &Arc<Self>, primary: Primary) -> Result<()> {
        // One that is behind must not be promoted: it would lose what was acknowledged.
        self.blocking(|cluster| cluster.pair()?.wait_streaming()).await?;
        match primary {
            Primary::Planned => {
                self.blocking(|cluster| cluster.pair()?.primary().stop()).await?;
                self.promote().await?;
                self.lead_to_primary(false)?;
            }
            // The address moves at once, as a virtual one does: clients meet a standby before it is promoted.
            Primary::Killed => {
                self.blocking(|cluster| cluster.pair()?.primary().kill()).await?;
                self.lead_to_standby(false)?;
                self.promote().await?;
            }
            Primary::CutOff => {
                self.lead_to_standby(true)?;
                self.promote().await?;
            }
        }
        self.observe()
    }

    /// After as long as `lasts`: the former primary, dead or alive, becomes the standby.
    pub(super) async fn rejoin(self: &Arc<Self>, lasts: Duration) -> Result<()> {
        tokio::time::sleep(lasts).await;
        self.blocking(|cluster| cluster.pair()?.rejoin().map(drop)).await
    }

    fn pair(&self) -> Result<&crate::servers::PostgresPair> {
        self.database.pair().context("there is no standby")
    }

    async fn promote(self: &Arc<Self>) -> Result<()> {
        self.blocking(|cluster| cluster.pair()?.promote().map(drop)).await
    }

    fn lead_to_standby(&self, silently: bool) -> Result<()> {
        let port = self.pair()?.standby().port();
        self.lead_to(port, silently);
        Ok(())
    }

    fn lead_to_primary(&self, silently: bool) -> Result<()> {
        let port = self.pair()?.primary().port();
        self.lead_to(port, silently);
        Ok(())
    }

    fn lead_to(&self, port: u16, silently: bool) {
        for link in self.database_links() {
            link.redirect(port);
            if silently {
                link.abandon();
            }
        }
    }

    /// The checker is told.
    fn observe(&self) -> Result<()> {
        self.observer.redirect(self.pair()?.primary().port());
        self.observer.set(Passage::Cut);
        self.observer.set(Passage::Open);
        Ok(())
    }

    /// Postgres' disk is full for as long as `lasts`; a server that has ended by it is started again.
    pub(super) async fn fill_disk(self: &Arc<Self>, lasts: Duration) -> Result<()> {
        self.blocking(|cluster| cluster.database.disk().context("there is no small disk")?.fill()).await?;
        tokio::time::sleep(lasts).await;
        self.blocking(|cluster| {
            cluster.database.disk().context("there is no small disk")?.free()?;
            let standby = cluster.database.pair().map(|pair| &**pair.standby());
            let servers: [Option<&Server>; 2] = [Some(cluster.database.primary()), standby];
            servers.into_iter().flatten().try_for_each(Server::launch)
        })
        .await
    }
}
