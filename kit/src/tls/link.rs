//! How far a link can be trusted: for warnings at the start, and for the command `check`.

use tracing::warn;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Encrypted, and the server has shown that it is the one that was meant.
    Verified,
    /// Encrypted, to whoever answers.
    Encrypted,
    None,
}

/// A connection to a server, as it is set.
#[derive(Debug, Clone)]
pub struct Link {
    /// Such as `Postgres at db:5432/orders`.
    pub place: String,
    /// It does not leave this machine.
    pub is_local: bool,
    pub protection: Protection,
    /// What says so, such as `sslmode=require`.
    pub setting: String,
    /// How it is verified.
    pub advice: &'static str,
}

impl Link {
    /// Somebody between here and the server could read what is sent, or answer in the server's place.
    pub fn is_exposed(&self) -> bool {
        !self.is_local && self.protection != Protection::Verified
    }

    /// In words.
    pub fn state(&self) -> &'static str {
        match self.protection {
            Protection::Verified => "encrypted, and the server is verified",
            Protection::Encrypted => "encrypted, and the server is not verified",
            Protection::None => "not encrypted",
        }
    }

    /// At the start of a service.
    pub fn warn_if_exposed(&self) {
        if self.is_exposed() {
            let Self { place, setting, advice, .. } = self;
            warn!(
                link = place,
                setting,
                "The link is {}: whoever is on the way can read or change it. {advice}",
                self.state()
            );
        }
    }
}
