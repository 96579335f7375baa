//! Sends the letters that are stored in Postgres to the dead-letter topic.

use std::sync::Arc;
use std::time::Duration;

use kit::postgres::Pool;
use kit::supervision::Lifeline;
use tokio::sync::{Notify, watch};
use tracing::{error, warn};

use super::delivery::{Failure, SendOutcome};
use super::outbox::{self, Letter, LetterOutcome};
use super::queue::Queue;

use crate::config::Config;
use crate::error::LedgerError;
use crate::telemetry::metric;

/// How often letters are looked for without a wake-up: those that are due again, or were stored by another process.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// After a failure of Postgres.
const PAUSE: Duration = Duration::from_secs(2);

/// Tells the sender that a letter is there.
#[derive(Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

pub struct Sender {
    queue: Queue,
    topic: String,
    pool: Pool,
    wake: Wake,
}

impl Sender {
    pub fn new(config: &Config, pool: Pool, wake: Wake) -> Self {
        Self { queue: Queue::new(&config.topics), topic: config.topics.dead_letter_topic(), pool, wake }
    }

    /// Until `stopping`; letters that are left stay in Postgres.
    pub async fn run(mut self, mut stopping: watch::Receiver<bool>, lifeline: Lifeline) {
        let wake = self.wake.clone();
        tokio::select! {
            () = async {
                loop {
                    if let Err(error) = self.send_what_is_due(&lifeline).await {
                        lifeline.vitals().failed(error.to_string());
                        warn!(%error, "Dead letters could not be sent, trying again");
                        tokio::time::sleep(PAUSE).await;
                    }
                    tokio::select! {
                        () = wake.0.notified() => {}
                        () = tokio::time::sleep(LOOK_INTERVAL) => {}
                    }
                }
            } => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }

    async fn send_what_is_due(&mut self, lifeline: &Lifeline) -> Result<(), LedgerError> {
        loop {
            let letters = outbox::claim(&self.pool).await?;
            if letters.is_empty() {
                let counts = outbox::count(&self.pool).await?;
                metric::letters(counts.waiting, counts.refused);
                lifeline.vitals().detail("waiting", counts.waiting);
                lifeline.vitals().detail("refused", counts.refused);
                return Ok(());
            }
            let _handling = lifeline.handling();
            let outcomes = self.queue.send(&letters).await;
            self.report_what_waits(&outcomes);
            for (letter, outcome) in letters.iter().zip(outcomes) {
                let outcome = match outcome {
                    SendOutcome::Delivered => LetterOutcome::Delivered,
                    SendOutcome::Waits(_) => LetterOutcome::Waits,
                    SendOutcome::Refused(refusal) => {
                        report_refusal(letter, &refusal);
                        LetterOutcome::Refused(refusal)
                    }
                };
                outbox::settle(&self.pool, letter.letter_no, outcome).await?;
            }
        }
    }

    /// One line for all of them: they wait for the same topic.
    fn report_what_waits(&self, outcomes: &[SendOutcome]) {
        let causes = || {
            outcomes.iter().filter_map(|outcome| match outcome {
                SendOutcome::Waits(cause) => Some(cause),
                _ => None,
            })
        };
        let (letters, Some(failure)) = (causes().count(), causes().next()) else { return };
        let Failure { cause, hint, needs_operator } = failure;
        if *needs_operator {
            error!(%cause, hint, letters, topic = self.topic, "The dead-letter topic takes no letters; they wait in the table dead_letter");
        } else {
            warn!(%cause, hint, letters, topic = self.topic, "Dead letters were not acknowledged; they are sent again");
        }
    }
}

fn report_refusal(letter: &Letter, refusal: &str) {
    metric::dead_letter_given_up();
    let Letter { topic, partition, topic_offset: offset, entry_id: entry, reason, .. } = letter;
    error!(
        %refusal,
        topic,
        partition,
        offset,
        entry,
        reason,
        "The dead-letter topic takes a letter in no form; it stays in the table dead_letter"
    );
}
