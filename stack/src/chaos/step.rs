//! PURE: the life cycle of an order, as its users are told.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Pay,
    Ship,
    Complete,
    Cancel,
}

pub(super) const STEPS: [Step; 4] = [Step::Pay, Step::Ship, Step::Complete, Step::Cancel];

impl Step {
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::Ship => "ship",
            Self::Complete => "complete",
            Self::Cancel => "cancel",
        }
    }

    pub(super) fn event_type(self) -> &'static str {
        match self {
            Self::Pay => "OrderPaid",
            Self::Ship => "OrderShipped",
            Self::Complete => "OrderCompleted",
            Self::Cancel => "OrderCancelled",
        }
    }

    /// The order's customer takes it, or else an operator.
    pub(super) fn is_a_customer_s(self) -> bool {
        matches!(self, Self::Pay | Self::Cancel)
    }

    pub(super) fn is_legal_after(self, last: &str) -> bool {
        matches!(
            (last, self),
            ("OrderCreated", Self::Pay | Self::Cancel)
                | ("OrderPaid", Self::Ship | Self::Cancel)
                | ("OrderShipped", Self::Complete)
        )
    }
}
