//! What a server of this machine proves who it is with, and what its clients need for it.

use std::path::PathBuf;

use anyhow::Result;

use crate::certificates::{Authority, Identity, THIS_MACHINE, Validity};

/// Of a server that takes encrypted connections alone. Its files are read again at each start of the server, so a renewal is new files and
/// a restart.
#[derive(Debug, Clone)]
pub struct Encryption {
    /// The server's own.
    pub server: Identity,
    /// The certificate of the authority that both sides trust.
    pub authority: PathBuf,
    /// What clients show. `None`: they are asked for nothing.
    pub client: Option<Identity>,
}

impl Encryption {
    /// For a server that is reached by the names of this machine, and clients that show no certificate.
    pub fn of(authority: &Authority, server: &str) -> Result<Self> {
        let identity = authority.server(server, &THIS_MACHINE, Validity::Valid)?;
        Ok(Self { server: identity, authority: authority.file().to_owned(), client: None })
    }

    /// Clients have to show a certificate of the authority. The tool itself shows this one.
    #[must_use]
    pub fn with_client(self, client: Identity) -> Self {
        Self { client: Some(client), ..self }
    }
}
