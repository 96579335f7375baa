//! Keeps the consumer running: starts it again after a panic or an error, with backoff, and counts.
//!
//! actix's own Supervisor restarts an actor that stops itself, but not one whose handler panics. Here the sign of life is the
//! feed's thread: it ends when the actor is gone, leaves the group on the way out, and takes the actor with it when it ends
//! first. So one end to wait for covers both, and a new pair never competes with the old one for partitions.

use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tracing::{error, info};

use crate::health::{ConsumerState, HealthBoard};
use crate::telemetry::metric;
use kit::backoff::Pauses;

/// Quick after a single panic, no busy loop for a lasting cause.
const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_CAP: Duration = Duration::from_secs(10);
/// A consumer that lived this long is healthy: the next restart starts from the base again.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);

/// How a consumer ended: told to (Ok), or why. The sender is dropped without a word when the thread panics.
pub type End = oneshot::Receiver<Result<(), String>>;

/// Runs what `start` starts until `stopping` says so.
pub async fn supervise(
    mut start: impl FnMut() -> End,
    health: &HealthBoard,
    mut stopping: watch::Receiver<bool>,
) {
    let mut pauses = Pauses::new(BACKOFF_BASE, BACKOFF_CAP);
    while !*stopping.borrow() {
        let started = Instant::now();
        let end = start();
        health.update(|health| health.consumer = ConsumerState::Running);
        let reason = match end.await {
            Ok(Ok(())) => "ended by itself".to_owned(),
            Ok(Err(reason)) => reason,
            Err(_) => "its thread panicked".to_owned(),
        };
        if *stopping.borrow() {
            break;
        }
        if started.elapsed() >= HEALTHY_AFTER {
            pauses.reset();
        }
        let pause = pauses.pause();
        let mut restarts = 0;
        health.update(|health| {
            health.consumer = ConsumerState::Restarting;
            health.consumer_restarts += 1;
            restarts = health.consumer_restarts;
        });
        metric::consumer_restarted();
        error!(
            reason,
            restarts,
            restart_in_ms = pause.as_millis(),
            "The consumer went down and is started again"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }
    health.update(|health| health.consumer = ConsumerState::Stopped);
    info!("The consumer has stopped");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn starts_again_after_every_kind_of_end_until_told_to_stop() {
        let health = HealthBoard::default();
        let (stop, stopping) = watch::channel(false);
        let mut starts = 0;
        let start = || {
            starts += 1;
            let (end, ended) = oneshot::channel();
            match starts {
                1 => drop(end),
                2 => end.send(Err("failed".to_owned())).unwrap(),
                _ => {
                    stop.send_replace(true);
                    end.send(Ok(())).unwrap();
                }
            }
            ended
        };
        supervise(start, &health, stopping).await;
        assert_eq!(starts, 3);
        assert_eq!(health.get().consumer_restarts, 2);
        assert_eq!(health.get().consumer, ConsumerState::Stopped);
    }
}
