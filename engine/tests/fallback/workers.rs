//! Workers: the job of one that dies or stops, tasks that nobody needs, and what is left behind.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine::fallback::{Verdict, WorkerEvent};
use redis::AsyncCommands;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::{AT_ONCE, QUICK, SLOW, SOON, Server, TestQueue, Worker, done, eventually, took_less};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_of_a_dead_worker_is_taken_over() {
    let queue = TestQueue::new();
    let (ran, mut runs) = unbounded_channel();
    // Its runtime is dropped in mid-job: nothing is acknowledged, nothing is released, no more heartbeats.
    let doomed = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (fallback, (_stop, stopped)) = (queue.instance(QUICK), watch::channel(false));
    doomed.spawn(async move {
        fallback.hand_off(3).await.unwrap();
        let run = move |attempt| {
            ran.send(attempt).unwrap();
            std::future::pending()
        };
        fallback.run_worker(run, |_| {}, stopped).await;
    });
    assert_eq!(timeout(SOON, runs.recv()).await.expect("the first worker runs the job"), Some(3));
    let survivor = queue.instance(QUICK);
    let mut worker = Worker::start(&survivor, done);
    worker.up().await;
    doomed.shutdown_background();
    let from = Instant::now();
    assert_eq!(worker.started().await, 3, "the run that was cut off is not counted");
    took_less("taken over from a dead worker", from, Duration::from_millis(5_500));
    assert_eq!(worker.finished().await, 3);
    eventually("the dead worker's set is gone", async || queue.no_job_is_left().await).await;
    for key in queue.keys().await.iter().filter(|key| key.contains("metadata")) {
        let seconds: i64 = queue.redis().await.ttl(format!("{}{key}", queue.queue)).await.unwrap();
        assert!(seconds > 0, "the name of a worker is not kept for ever: {key}");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_the_record_does_not_name_does_nothing() {
    let queue = TestQueue::new();
    let fallback = queue.instance(SLOW);
    let mut worker = Worker::start(&fallback, done);
    worker.up().await;
    queue.push_stray_task().await;
    eventually("a stray task without any job is thrown away", async || queue.no_job_is_left().await).await;

    let scheduled = fallback.hand_off(2).await.unwrap();
    queue.push_stray_task().await;
    queue.push_stray_task().await;
    eventually("stray tasks beside a job are thrown away", async || queue.payloads().await == 1).await;
    assert_eq!(fallback.pending().await.unwrap(), Some(scheduled), "the job waits undisturbed");
    worker.has_run_nothing_since();
    worker.stop().await;
}

/// The worker dies between the new record and the acknowledgement of the old task, which is then delivered again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_delivered_again_after_its_job_has_moved_on_does_nothing() {
    let queue = TestQueue::new();
    let fallback = queue.instance(SLOW);
    let crashed = AtomicBool::new(false);
    let crash = move |event: &WorkerEvent| {
        let due = matches!(event, WorkerEvent::Rescheduled(_)) && !crashed.swap(true, Ordering::SeqCst);
        assert!(!due, "the crash of this test");
    };
    let mut worker = Worker::start_listened(&fallback, async |_| Verdict::Again, crash);
    worker.up().await;
    fallback.hand_off(1).await.unwrap();
    let first = queue.record("task").await.unwrap();
    fallback.bring_forward().await.unwrap();
    assert_eq!(worker.started().await, 1);
    let scheduled = worker.rescheduled().await;
    assert_eq!(scheduled.attempt, 2);
    worker.down().await;
    assert_eq!(queue.payloads().await, 2, "the first task was not acknowledged");
    worker.up().await;
    eventually("the first task is delivered again and thrown away", async || {
        !queue.redis().await.hexists::<_, _, bool>(queue.key("data"), &first).await.unwrap()
    })
    .await;
    assert_eq!(fallback.pending().await.unwrap(), Some(scheduled));
    worker.has_run_nothing_since();
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_attempts_pile_up_nothing() {
    const ATTEMPTS: u32 = 500;
    let queue = TestQueue::new();
    let fallback = queue.instance(AT_ONCE);
    let run = async |attempt| if attempt < ATTEMPTS { Verdict::Again } else { Verdict::Done };
    let mut worker = Worker::start(&fallback, run);
    worker.up().await;
    let from = Instant::now();
    fallback.hand_off(1).await.unwrap();
    let (mut keys_max, mut payloads_max, mut looks) = (0, 0, 0);
    loop {
        match timeout(SOON, worker.events.recv()).await.expect("it goes on").unwrap() {
            WorkerEvent::Finished { attempts } => break assert_eq!(attempts, ATTEMPTS),
            WorkerEvent::Rescheduled(next) if next.attempt % 25 == 0 => {
                looks += 1;
                keys_max = keys_max.max(queue.keys().await.len());
                payloads_max = payloads_max.max(queue.payloads().await);
            }
            _ => {}
        }
    }
    println!("{ATTEMPTS} attempts in {:?}; at most {keys_max} keys, {payloads_max} payloads", from.elapsed());
    assert!(looks > 10 && keys_max < 200 && payloads_max < 200, "{looks} {keys_max} {payloads_max}");
    eventually("nothing is left", async || queue.no_job_is_left().await).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_attempt_is_a_failed_attempt() {
    let queue = TestQueue::new();
    let fallback = queue.instance(QUICK);
    let run = async |attempt| {
        assert_ne!(attempt, 1, "the panic of this test");
        Verdict::Done
    };
    let mut worker = Worker::start(&fallback, run);
    fallback.hand_off(1).await.unwrap();
    assert_eq!(worker.started().await, 1);
    assert_eq!(worker.started().await, 2);
    assert_eq!(worker.finished().await, 2);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stops_passes_the_job_on_at_once() {
    // One says so in time; the other has to be cut off.
    for (obedient, limit) in [(true, Duration::from_millis(1_500)), (false, Duration::from_millis(5_500))] {
        let queue = TestQueue::new();
        let (leaving, staying) = (queue.instance(QUICK), queue.instance(QUICK));
        let (tell_to_stop, told) = watch::channel(false);
        let run = move |_| {
            let mut told = told.clone();
            async move {
                let _ = told.wait_for(|told| *told && obedient).await;
                Verdict::Keep
            }
        };
        let mut first = Worker::start(&leaving, run);
        leaving.hand_off(4).await.unwrap();
        assert_eq!(first.started().await, 4);
        let mut second = Worker::start(&staying, done);
        second.up().await;
        let from = Instant::now();
        tell_to_stop.send_replace(true);
        first.stop().await;
        assert_eq!(second.started().await, 4);
        took_less(&format!("passed on at shutdown (obedient: {obedient})"), from, limit);
        assert_eq!(second.finished().await, 4);
        second.stop().await;
        assert_eq!(queue.keys().await, BTreeSet::new());
    }
}

/// apalis' worker dies of every fetch of a task without a payload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_has_lost_its_payload_counts_as_none_and_harms_nobody() {
    let queue = TestQueue::new();
    let fallback = queue.instance(QUICK);
    let lose_payloads = async || queue.redis().await.del::<_, ()>(queue.key("data")).await.unwrap();

    // Before there is a worker.
    fallback.hand_off(6).await.unwrap();
    lose_payloads().await;
    assert_eq!(fallback.pending().await.unwrap(), None);
    let mut worker = Worker::start(&fallback, done);
    worker.up().await;
    assert_eq!(fallback.hand_off(1).await.unwrap().attempt, 1);
    assert_eq!(worker.finished().await, 1);

    // With a worker, which dies of it once.
    fallback.hand_off(6).await.unwrap();
    lose_payloads().await;
    eventually("the queue is rid of the task", async || {
        !queue.keys().await.iter().any(|key| key == ":scheduled" || key.starts_with(":inflight"))
    })
    .await;
    assert_eq!(fallback.hand_off(2).await.unwrap().attempt, 2);
    assert_eq!(worker.finished().await, 2);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_is_modest() {
    let server = Server::start().await;
    let queue = TestQueue::on(server.url());
    let mut worker = Worker::start(&queue.instance(SLOW), done);
    worker.up().await;
    let scripts = async || -> u32 {
        let stats: String =
            redis::cmd("INFO").arg("commandstats").query_async(&mut queue.redis().await).await.unwrap();
        let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap();
        line.split(['=', ',']).nth(1).unwrap().parse().unwrap()
    };
    // A rate is measured over a time; nothing is waited for.
    let (before, from) = (scripts().await, Instant::now());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let rate = f64::from(scripts().await - before) / from.elapsed().as_secs_f64();
    println!("idle: {rate:.1} scripts a second");
    assert!((1.0..8.0).contains(&rate), "{rate:.1} scripts a second");
    worker.stop().await;
}
