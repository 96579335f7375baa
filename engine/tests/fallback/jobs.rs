//! One job from hand-off to end: its dates, and what may change them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::Utc;
use engine::fallback::{Backoff, Fallback, Verdict};
use redis::AsyncCommands;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

use crate::support::{
    QUICK, SLOW, SOON, TestQueue, Worker, done, eventually, milliseconds_from_now, took_less,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_hand_offs_make_one_job() {
    let queue = TestQueue::new();
    let instances: Vec<Fallback> = (0..4).map(|_| queue.instance(SLOW)).collect();
    let racing = (1..=20_u32).map(|attempt| {
        let fallback = instances[attempt as usize % 4].clone();
        tokio::spawn(async move { fallback.hand_off(attempt).await.unwrap() })
    });
    let mut schedules = Vec::new();
    for hand_off in racing.collect::<Vec<_>>() {
        schedules.push(hand_off.await.unwrap());
    }
    let first = &schedules[0];
    assert!(schedules.iter().all(|scheduled| scheduled == first), "{schedules:?}");
    for instance in &instances {
        assert_eq!(instance.pending().await.unwrap().as_ref(), Some(first));
    }
    assert_eq!(queue.instance(SLOW).hand_off(99).await.unwrap(), *first, "a newcomer joins too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempt_and_date_are_in_redis() {
    let queue = TestQueue::new();
    let fallback = queue.instance(SLOW);
    assert_eq!(fallback.pending().await.unwrap(), None);
    let scheduled = fallback.hand_off(2).await.unwrap();
    assert_eq!(scheduled.attempt, 2);
    let wait_ms = milliseconds_from_now(scheduled.due_at);
    assert!((59_000..=120_000).contains(&wait_ms), "{wait_ms}");

    assert_eq!(queue.record("attempt").await.unwrap(), "2");
    assert_eq!(queue.record("due_at_ms").await.unwrap(), scheduled.due_at.timestamp_millis().to_string());
    let task = queue.record("task").await.unwrap();
    let second: i64 = queue.redis().await.zscore(queue.key("scheduled"), &task).await.unwrap();
    assert_eq!(second, scheduled.due_at.timestamp(), "when apalis wakes");
    let payload: String = queue.redis().await.hget(queue.key("data"), &task).await.unwrap();
    assert!(payload.contains(r#""attempt":2"#), "{payload}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_follow_at_growing_distances_and_never_early() {
    let queue = TestQueue::new();
    let fallback = queue.instance(QUICK);
    let (ran, mut runs) = unbounded_channel();
    let run = move |attempt| {
        ran.send((attempt, Utc::now())).unwrap();
        async move { if attempt < 7 { Verdict::Again } else { Verdict::Done } }
    };
    let mut worker = Worker::start(&fallback, run);
    worker.up().await;
    let mut scheduled = fallback.hand_off(1).await.unwrap();
    for attempt in 1..=7 {
        let (ran, at) = timeout(SOON, runs.recv()).await.expect("a run").unwrap();
        assert_eq!(ran, attempt);
        let late_ms = (at - scheduled.due_at).num_milliseconds();
        println!("attempt {attempt}: {late_ms} ms after its time");
        assert!((-2..=400).contains(&late_ms), "attempt {attempt} ran {late_ms} ms after its time");
        if attempt < 7 {
            scheduled = worker.rescheduled().await;
            assert_eq!(scheduled.attempt, attempt + 1);
            let (delay, ceiling) = ((scheduled.due_at - at).to_std().unwrap(), QUICK.ceiling(attempt + 1));
            assert!(delay >= ceiling / 2 - Duration::from_millis(2), "{delay:?}");
            assert!(delay <= ceiling + Duration::from_millis(100), "{delay:?}");
        }
    }
    assert_eq!(worker.finished().await, 7);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn done_leaves_nothing() {
    let queue = TestQueue::new();
    let fallback = queue.instance(QUICK);
    let run = async |attempt| if attempt < 4 { Verdict::Again } else { Verdict::Done };
    let mut worker = Worker::start(&fallback, run);
    fallback.hand_off(1).await.unwrap();
    assert_eq!(worker.finished().await, 4);
    assert_eq!(fallback.pending().await.unwrap(), None);
    eventually("all keys of the job are gone", async || queue.no_job_is_left().await).await;
    assert!(!queue.keys().await.is_empty(), "the worker has its keys");
    worker.stop().await;
    assert_eq!(queue.keys().await, BTreeSet::new(), "a worker that stops leaves nothing either");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bring_forward_by_this_instance_and_by_another() {
    for here in [true, false] {
        let queue = TestQueue::new();
        let fallback = queue.instance(SLOW);
        fallback.bring_forward().await.unwrap();
        assert_eq!(queue.keys().await, BTreeSet::new(), "without a job nothing happens");

        let mut worker = Worker::start(&fallback, done);
        worker.up().await;
        let scheduled = fallback.hand_off(3).await.unwrap();
        assert!(milliseconds_from_now(scheduled.due_at) > 50_000);
        let from = Instant::now();
        let caller = if here { fallback.clone() } else { queue.instance(SLOW) };
        caller.bring_forward().await.unwrap();
        assert_eq!(worker.started().await, 3);
        took_less(&format!("brought forward (here: {here})"), from, Duration::from_millis(800));
        assert_eq!(worker.finished().await, 3);
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_seen_during_the_attempt_brings_the_next_one_near() {
    let queue = TestQueue::new();
    let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1_000) };
    let (fallback, other) = (queue.instance(backoff), queue.instance(backoff));
    let run = move |attempt| {
        let other = other.clone();
        async move {
            other.bring_forward().await.unwrap();
            if attempt == 12 { Verdict::Again } else { Verdict::Done }
        }
    };
    let mut worker = Worker::start(&fallback, run);
    fallback.hand_off(12).await.unwrap();
    fallback.bring_forward().await.unwrap();
    let next = worker.rescheduled().await;
    assert_eq!(next.attempt, 13);
    assert!(milliseconds_from_now(next.due_at) <= 100, "{next:?}");
    assert_eq!(worker.finished().await, 13);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_off_during_the_attempt_is_not_lost_with_the_end_of_the_job() {
    let queue = TestQueue::new();
    let (fallback, other) = (queue.instance(QUICK), queue.instance(QUICK));
    let run = move |attempt| {
        let other = other.clone();
        async move {
            if attempt == 5 {
                assert_eq!(other.hand_off(1).await.unwrap().attempt, 5, "the job is still there");
            }
            Verdict::Done
        }
    };
    let mut worker = Worker::start(&fallback, run);
    fallback.hand_off(5).await.unwrap();
    assert_eq!(worker.started().await, 5);
    assert_eq!(worker.started().await, 1, "Done, but handed off anew");
    assert_eq!(worker.finished().await, 1);
    worker.stop().await;
}

/// A hand-off, a `bring_forward` or another runner may come between the decision and its execution.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_has_changed_is_not_replaced() {
    let queue = TestQueue::new();
    let (record, scheduled) = (queue.key("outage"), queue.key("scheduled"));
    let mut redis = queue.redis().await;
    let replace = redis::Script::new(include_str!("../../src/fallback/lua/replace.lua"));
    let fields = [("task", "t1"), ("hand_offs", "2"), ("forwards", "3"), ("attempt", "4")];
    let () = redis.hset_multiple(&record, &fields).await.unwrap();
    let () = redis.zadd(&scheduled, "parked", 9_000_000_000_u64).await.unwrap();
    let refused = [["t0", "2", "3"], ["t1", "1", "3"], ["t1", "2", "2"]];
    for read in refused {
        for next in [&[][..], &["parked", "o", "5", "1234567"]] {
            let done: bool = replace
                .key(&record)
                .key(&scheduled)
                .arg(&read)
                .arg(next)
                .invoke_async(&mut redis)
                .await
                .unwrap();
            assert!(!done, "{read:?} {next:?}");
        }
    }
    // Already fetched, as a stray: naming it now would name a task that never comes.
    let mut script = replace.prepare_invoke();
    script.key(&record).key(&scheduled).arg(&["t1", "2", "3"]).arg(&["fetched", "o", "5", "1234567"]);
    assert!(!script.invoke_async::<bool>(&mut redis).await.unwrap());
    assert_eq!(queue.record("attempt").await.unwrap(), "4", "a refusal changes nothing");
    assert_eq!(redis.zscore::<_, _, u64>(&scheduled, "parked").await.unwrap(), 9_000_000_000);

    let mut script = replace.prepare_invoke();
    script.key(&record).key(&scheduled).arg(&["t1", "2", "3"]).arg(&["parked", "o", "5", "1234567"]);
    assert!(script.invoke_async::<bool>(&mut redis).await.unwrap());
    assert_eq!(queue.record("task").await.unwrap(), "parked");
    assert_eq!(redis.zscore::<_, _, u64>(&scheduled, "parked").await.unwrap(), 1_234, "in whole seconds");
    let mut script = replace.prepare_invoke();
    script.key(&record).key(&scheduled).arg(&["parked", "0", "0"]);
    assert!(script.invoke_async::<bool>(&mut redis).await.unwrap());
    assert_eq!(queue.record("task").await, None);
}
