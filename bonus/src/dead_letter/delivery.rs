//! What comes of sending a letter.

pub enum SendOutcome {
    Delivered,
    /// Too large, in every form.
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "Redis finds no letter too large"))]
    Refused(String),
    Waits(Failure),
}

#[derive(Clone)]
pub struct Failure {
    pub cause: String,
    pub hint: &'static str,
    /// It does not go away by waiting.
    pub needs_operator: bool,
}
