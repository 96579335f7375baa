//! `bonus ready`

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::OutputArgs;

#[derive(Args)]
pub struct Ready {
    /// Where the service listens
    #[arg(long = "http-addr", env = "BONUS_HTTP_ADDR", default_value = "127.0.0.1:3003")]
    address: SocketAddr,
    /// The certificate that the service shows, if it is served by TLS
    #[arg(long = "tls-cert-file", env = "BONUS_TLS_CERT_FILE")]
    certificate: Option<PathBuf>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

impl Ready {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let certificate = self.certificate.as_deref().map(|file| ("BONUS_TLS_CERT_FILE", file));
        let answer = kit::cli::ready::ask(self.address, certificate).await?;
        self.output.write(&answer, |_| "ready")
    }
}
