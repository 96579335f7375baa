//! Redis is killed, frozen or emptied.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use engine::fallback::{Fallback, ScheduledRetry, Verdict};

use crate::support::{QUICK, SLOW, Server, TestQueue, Worker, done, took_less};

/// After an outage: the job that was scheduled before it is found by the first call, and runs.
async fn the_job_runs_soon(fallback: &Fallback, worker: &mut Worker, scheduled: ScheduledRetry, what: &str) {
    let from = Instant::now();
    assert_eq!(
        fallback.pending().await.unwrap(),
        Some(scheduled),
        "the first call after the outage succeeds"
    );
    fallback.bring_forward().await.unwrap();
    assert_eq!(worker.started().await, 6);
    took_less(what, from, Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_and_started_again() {
    let mut server = Server::start().await;
    let queue = TestQueue::on(server.url());
    let fallback = queue.instance(SLOW);
    let mut worker = Worker::start(&fallback, done);
    worker.up().await;
    let scheduled = fallback.hand_off(6).await.unwrap();
    server.kill();
    for _ in 0..3 {
        let from = Instant::now();
        fallback.hand_off(6).await.expect_err("Redis is down");
        took_less("hand-off while Redis is down", from, Duration::from_millis(500));
    }
    worker.down().await;
    server.start_again().await;
    the_job_runs_soon(&fallback, &mut worker, scheduled, "the job runs after Redis is back").await;
    assert_eq!(worker.finished().await, 6);
    worker.up().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_that_has_died_is_not_an_error() {
    let mut server = Server::start().await;
    let fallback = TestQueue::on(server.url()).instance(SLOW);
    let scheduled = fallback.hand_off(1).await.unwrap();
    server.kill();
    server.start_again().await;
    assert_eq!(fallback.hand_off(1).await.unwrap(), scheduled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_frozen_and_thawed() {
    let server = Server::start().await;
    let queue = TestQueue::on(server.url());
    let fallback = queue.instance(SLOW);
    let mut worker = Worker::start(&fallback, done);
    worker.up().await;
    let scheduled = fallback.hand_off(6).await.unwrap();
    server.signal("-STOP");
    // Once over the idle connection, then over new ones, which are accepted and never answered.
    for _ in 0..3 {
        let from = Instant::now();
        fallback.hand_off(1).await.expect_err("Redis is frozen");
        took_less("hand-off while Redis is frozen", from, Duration::from_secs(1));
    }
    worker.down().await;
    server.signal("-CONT");
    the_job_runs_soon(&fallback, &mut worker, scheduled, "the job runs after Redis has thawed").await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_in_mid_attempt() {
    let mut server = Server::start().await;
    let queue = TestQueue::on(server.url());
    let fallback = queue.instance(QUICK);
    let runs = Arc::new(AtomicU32::new(0));
    let run = move |_| {
        let first = runs.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if first { std::future::pending().await } else { Verdict::Done } }
    };
    let mut worker = Worker::start(&fallback, run);
    fallback.hand_off(2).await.unwrap();
    assert_eq!(worker.started().await, 2);
    server.kill();
    worker.down().await;
    server.start_again().await;
    let from = Instant::now();
    assert_eq!(worker.started().await, 2, "the run that was cut off is not counted");
    took_less("a job cut off in mid-attempt runs after Redis is back", from, Duration::from_secs(2));
    assert_eq!(worker.finished().await, 2);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_emptied_while_the_job_waits() {
    let server = Server::start().await;
    let queue = TestQueue::on(server.url());
    let fallback = queue.instance(SLOW);
    let mut worker = Worker::start(&fallback, done);
    worker.up().await;
    fallback.hand_off(6).await.unwrap();
    redis::cmd("FLUSHALL").exec_async(&mut queue.redis().await).await.unwrap();
    assert_eq!(fallback.pending().await.unwrap(), None);
    assert_eq!(fallback.hand_off(1).await.unwrap().attempt, 1, "the next job is a new one");
    fallback.bring_forward().await.unwrap();
    assert_eq!(worker.started().await, 1);
    assert_eq!(worker.finished().await, 1);
    worker.stop().await;
}
