//! What comes of sending a letter.

use std::time::Duration;

use tracing::warn;

use super::outbox::Letter;
use super::record::Omissions;

/// How long one attempt may take before it counts as failed.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

pub enum SendOutcome {
    Delivered,
    /// Too large, in every form.
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

pub fn report_reduced(letter: &Letter, left_out: Omissions) {
    let Letter { topic, partition, topic_offset: offset, entry_id: entry, .. } = letter;
    warn!(
        ?left_out,
        topic, partition, offset, entry, "A dead letter was too large for its topic and was reduced"
    );
}
