//! `orders ready`

use std::net::SocketAddr;

use clap::Args;

use super::OutputArgs;

#[derive(Args)]
pub struct Ready {
    /// Where the service listens
    #[arg(long = "http-addr", env = "ORDERS_HTTP_ADDR", default_value = "127.0.0.1:3001")]
    address: SocketAddr,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

impl Ready {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let answer = kit::cli::ready::ask(self.address).await?;
        self.output.write(&answer, |_| "ready")
    }
}
