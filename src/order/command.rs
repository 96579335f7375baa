//! The commands of an order. Imperative; every field is already parsed.

use kit::value::ShortText;

use super::value::{Currency, CustomerId, Items};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Create { customer_id: CustomerId, currency: Currency, items: Items },
    Pay { payment_reference: Option<ShortText> },
    Ship { tracking_number: Option<ShortText>, carrier: Option<ShortText> },
    Complete,
    Cancel { reason: Option<ShortText> },
}

impl Command {
    /// The command's name in paths, logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Pay { .. } => "pay",
            Self::Ship { .. } => "ship",
            Self::Complete => "complete",
            Self::Cancel { .. } => "cancel",
        }
    }
}
