//! Whether a service that starts may migrate.

use clap::ValueEnum;

/// Whether a start applies the migrations that are missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Migrate {
    /// If its role owns the tables.
    #[default]
    Auto,
    /// Never: `migrate` is a command of its own.
    Off,
}
