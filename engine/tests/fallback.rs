//! The fallback job on a real Redis. Every test has a queue of its own; those that harm Redis have a server of their own.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::TaskId;
use chrono::{DateTime, Utc};
use engine::fallback::{Backoff, Fallback, FallbackSettings, ScheduledRetry, Verdict, WorkerEvent};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(10);
const QUICK: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_millis(400) };
const SLOW: Backoff = Backoff { base: Duration::from_secs(60), cap: Duration::from_secs(120) };
const AT_ONCE: Backoff = Backoff { base: Duration::ZERO, cap: Duration::ZERO };

/// A queue, and the means to look at it from outside.
#[derive(Clone)]
struct Bench {
    url: String,
    queue: String,
}

impl Bench {
    fn new() -> Self {
        Self::on(std::env::var("REDIS_URL").expect("REDIS_URL is not set: run through make test"))
    }

    fn on(url: String) -> Self {
        Self { url, queue: format!("test:{}:publish-backlog", Uuid::new_v4().simple()) }
    }

    fn instance(&self, backoff: Backoff) -> Fallback {
        let (redis_url, queue) = (self.url.clone(), self.queue.clone());
        let instance = Uuid::new_v4().simple().to_string();
        Fallback::new(FallbackSettings { redis_url, queue, backoff, instance }).unwrap()
    }

    async fn redis(&self) -> MultiplexedConnection {
        redis::Client::open(self.url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.queue)
    }

    /// The queue's keys, without the queue's name.
    async fn keys(&self) -> BTreeSet<String> {
        let keys: Vec<String> = self.redis().await.keys(format!("{}*", self.queue)).await.unwrap();
        keys.iter().map(|key| key[self.queue.len()..].to_owned()).collect()
    }

    async fn no_job_is_left(&self) -> bool {
        self.keys().await.iter().all(|key| key.starts_with(":workers"))
    }

    async fn record(&self, field: &str) -> Option<String> {
        self.redis().await.hget(self.key("outage"), field).await.unwrap()
    }

    async fn payloads(&self) -> u32 {
        self.redis().await.hlen(self.key("data")).await.unwrap()
    }

    /// What a process leaves behind that is killed after it has pushed its task.
    async fn push_stray_task(&self) {
        let config = apalis_redis::Config::default().queue(&self.queue);
        let id = TaskId::from_string(Uuid::new_v4().to_string());
        let task = TaskBuilder::new(br#"{"attempt":7}"#.to_vec()).task_id(id).build();
        apalis_redis::queries::push_tasks(&mut self.redis().await, &config, &[task]).await.unwrap();
    }
}

/// A worker on the test's runtime.
struct Worker {
    events: UnboundedReceiver<WorkerEvent>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Worker {
    fn start(fallback: &Fallback, run: impl AsyncRun) -> Self {
        Self::start_listened(fallback, run, |_| {})
    }

    /// `listen` is called in the worker, after the event has been recorded.
    fn start_listened(
        fallback: &Fallback,
        run: impl AsyncRun,
        listen: impl Fn(&WorkerEvent) + Send + Sync + 'static,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (tell, events) = unbounded_channel();
        let (fallback, run) = (fallback.clone(), Arc::new(run));
        let task = tokio::spawn(async move {
            let run = move |attempt| {
                let run = Arc::clone(&run);
                async move { run.run(attempt).await }
            };
            let on_event = move |event: WorkerEvent| {
                let _ = tell.send(event.clone());
                listen(&event);
            };
            fallback.run_worker(run, on_event, stopped).await;
        });
        Self { events, stop, task }
    }

    async fn until<T>(&mut self, what: &str, pick: impl Fn(&WorkerEvent) -> Option<T>) -> T {
        let picked = timeout(SOON, async {
            loop {
                let event = self.events.recv().await.expect("the worker has ended");
                if let Some(picked) = pick(&event) {
                    return picked;
                }
            }
        });
        picked.await.unwrap_or_else(|_| panic!("not within {SOON:?}: {what}"))
    }

    async fn up(&mut self) {
        self.until("up", |event| matches!(event, WorkerEvent::Up).then_some(())).await;
    }

    async fn down(&mut self) {
        self.until("down", |event| matches!(event, WorkerEvent::Down(_)).then_some(())).await;
    }

    async fn started(&mut self) -> u32 {
        let attempt = |event: &WorkerEvent| match event {
            WorkerEvent::JobStarted { attempt } => Some(*attempt),
            _ => None,
        };
        self.until("a run", attempt).await
    }

    async fn rescheduled(&mut self) -> ScheduledRetry {
        let date = |event: &WorkerEvent| match event {
            WorkerEvent::Rescheduled(scheduled) => Some(scheduled.clone()),
            _ => None,
        };
        self.until("a new date", date).await
    }

    async fn finished(&mut self) -> u32 {
        let attempts = |event: &WorkerEvent| match event {
            WorkerEvent::Finished { attempts } => Some(*attempts),
            _ => None,
        };
        self.until("the end of the job", attempts).await
    }

    fn has_run_nothing_since(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            assert!(!matches!(event, WorkerEvent::JobStarted { .. }), "{event:?}");
        }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        timeout(SOON, self.task).await.expect("run_worker returns at shutdown").unwrap();
    }
}

/// An attempt; closures from the attempt's number to a future of its verdict are some.
trait AsyncRun: Send + Sync + 'static {
    fn run(&self, attempt: u32) -> impl Future<Output = Verdict> + Send;
}

impl<F, Fut> AsyncRun for F
where
    F: Fn(u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send,
{
    fn run(&self, attempt: u32) -> impl Future<Output = Verdict> + Send {
        self(attempt)
    }
}

async fn done(_: u32) -> Verdict {
    Verdict::Done
}

/// Polls until `probe` gives true.
async fn eventually(what: &str, probe: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !probe().await {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A Redis of our own, to be killed and frozen.
struct Server {
    port: u16,
    folder: PathBuf,
    process: Child,
}

impl Server {
    async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("fallback-redis-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).unwrap();
        let server = Self { port, process: Self::spawn(port, &folder), folder };
        server.ready().await;
        server
    }

    fn spawn(port: u16, folder: &Path) -> Child {
        Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always", "--save", ""])
            .args(["--port", &port.to_string()])
            .arg("--dir")
            .arg(folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed")
    }

    async fn ready(&self) {
        eventually("Redis answers", async || {
            let client = redis::Client::open(self.url()).unwrap();
            match client.get_multiplexed_async_connection().await {
                Ok(mut redis) => redis.ping::<String>().await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    async fn start_again(&mut self) {
        self.process = Self::spawn(self.port, &self.folder);
        self.ready().await;
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn milliseconds_from_now(due_at: DateTime<Utc>) -> i64 {
    (due_at - Utc::now()).num_milliseconds()
}

/// Prints what was measured, and fails above the limit.
fn took_less(what: &str, since: Instant, limit: Duration) {
    let took = since.elapsed();
    println!("{what}: {took:?}");
    assert!(took < limit, "{what}: {took:?}, allowed {limit:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_hand_offs_make_one_job() {
    let bench = Bench::new();
    let instances: Vec<Fallback> = (0..4).map(|_| bench.instance(SLOW)).collect();
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
    assert_eq!(bench.instance(SLOW).hand_off(99).await.unwrap(), *first, "a newcomer joins too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempt_and_date_are_in_redis() {
    let bench = Bench::new();
    let fallback = bench.instance(SLOW);
    assert_eq!(fallback.pending().await.unwrap(), None);
    let scheduled = fallback.hand_off(2).await.unwrap();
    assert_eq!(scheduled.attempt, 2);
    let wait_ms = milliseconds_from_now(scheduled.due_at);
    assert!((59_000..=120_000).contains(&wait_ms), "{wait_ms}");

    assert_eq!(bench.record("attempt").await.unwrap(), "2");
    assert_eq!(bench.record("due_at_ms").await.unwrap(), scheduled.due_at.timestamp_millis().to_string());
    let task = bench.record("task").await.unwrap();
    let second: i64 = bench.redis().await.zscore(bench.key("scheduled"), &task).await.unwrap();
    assert_eq!(second, scheduled.due_at.timestamp(), "when apalis wakes");
    let payload: String = bench.redis().await.hget(bench.key("data"), &task).await.unwrap();
    assert!(payload.contains(r#""attempt":2"#), "{payload}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_follow_at_growing_distances_and_never_early() {
    let bench = Bench::new();
    let fallback = bench.instance(QUICK);
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
    let bench = Bench::new();
    let fallback = bench.instance(QUICK);
    let run = async |attempt| if attempt < 4 { Verdict::Again } else { Verdict::Done };
    let mut worker = Worker::start(&fallback, run);
    fallback.hand_off(1).await.unwrap();
    assert_eq!(worker.finished().await, 4);
    assert_eq!(fallback.pending().await.unwrap(), None);
    eventually("all keys of the job are gone", async || bench.no_job_is_left().await).await;
    assert!(!bench.keys().await.is_empty(), "the worker has its keys");
    worker.stop().await;
    assert_eq!(bench.keys().await, BTreeSet::new(), "a worker that stops leaves nothing either");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bring_forward_by_this_instance_and_by_another() {
    for here in [true, false] {
        let bench = Bench::new();
        let fallback = bench.instance(SLOW);
        fallback.bring_forward().await.unwrap();
        assert_eq!(bench.keys().await, BTreeSet::new(), "without a job nothing happens");

        let mut worker = Worker::start(&fallback, done);
        worker.up().await;
        let scheduled = fallback.hand_off(3).await.unwrap();
        assert!(milliseconds_from_now(scheduled.due_at) > 50_000);
        let from = Instant::now();
        let caller = if here { fallback.clone() } else { bench.instance(SLOW) };
        caller.bring_forward().await.unwrap();
        assert_eq!(worker.started().await, 3);
        took_less(&format!("brought forward (here: {here})"), from, Duration::from_millis(800));
        assert_eq!(worker.finished().await, 3);
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_seen_during_the_attempt_brings_the_next_one_near() {
    let bench = Bench::new();
    let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1_000) };
    let (fallback, other) = (bench.instance(backoff), bench.instance(backoff));
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
    let bench = Bench::new();
    let (fallback, other) = (bench.instance(QUICK), bench.instance(QUICK));
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
    let bench = Bench::new();
    let (record, scheduled) = (bench.key("outage"), bench.key("scheduled"));
    let mut redis = bench.redis().await;
    let replace = redis::Script::new(include_str!("../src/fallback/lua/replace.lua"));
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
    assert_eq!(bench.record("attempt").await.unwrap(), "4", "a refusal changes nothing");
    assert_eq!(redis.zscore::<_, _, u64>(&scheduled, "parked").await.unwrap(), 9_000_000_000);

    let mut script = replace.prepare_invoke();
    script.key(&record).key(&scheduled).arg(&["t1", "2", "3"]).arg(&["parked", "o", "5", "1234567"]);
    assert!(script.invoke_async::<bool>(&mut redis).await.unwrap());
    assert_eq!(bench.record("task").await.unwrap(), "parked");
    assert_eq!(redis.zscore::<_, _, u64>(&scheduled, "parked").await.unwrap(), 1_234, "in whole seconds");
    let mut script = replace.prepare_invoke();
    script.key(&record).key(&scheduled).arg(&["parked", "0", "0"]);
    assert!(script.invoke_async::<bool>(&mut redis).await.unwrap());
    assert_eq!(bench.record("task").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_of_a_dead_worker_is_taken_over() {
    let bench = Bench::new();
    let (ran, mut runs) = unbounded_channel();
    // Its runtime is dropped in mid-job: nothing is acknowledged, nothing is released, no more heartbeats.
    let doomed = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (fallback, (_stop, stopped)) = (bench.instance(QUICK), watch::channel(false));
    doomed.spawn(async move {
        fallback.hand_off(3).await.unwrap();
        let run = move |attempt| {
            ran.send(attempt).unwrap();
            std::future::pending()
        };
        fallback.run_worker(run, |_| {}, stopped).await;
    });
    assert_eq!(timeout(SOON, runs.recv()).await.expect("the first worker runs the job"), Some(3));
    let survivor = bench.instance(QUICK);
    let mut worker = Worker::start(&survivor, done);
    worker.up().await;
    doomed.shutdown_background();
    let from = Instant::now();
    assert_eq!(worker.started().await, 3, "the run that was cut off is not counted");
    took_less("taken over from a dead worker", from, Duration::from_millis(5_500));
    assert_eq!(worker.finished().await, 3);
    eventually("the dead worker's set is gone", async || bench.no_job_is_left().await).await;
    for key in bench.keys().await.iter().filter(|key| key.contains("metadata")) {
        let seconds: i64 = bench.redis().await.ttl(format!("{}{key}", bench.queue)).await.unwrap();
        assert!(seconds > 0, "the name of a worker is not kept for ever: {key}");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_the_record_does_not_name_does_nothing() {
    let bench = Bench::new();
    let fallback = bench.instance(SLOW);
    let mut worker = Worker::start(&fallback, done);
    worker.up().await;
    bench.push_stray_task().await;
    eventually("a stray task without any job is thrown away", async || bench.no_job_is_left().await).await;

    let scheduled = fallback.hand_off(2).await.unwrap();
    bench.push_stray_task().await;
    bench.push_stray_task().await;
    eventually("stray tasks beside a job are thrown away", async || bench.payloads().await == 1).await;
    assert_eq!(fallback.pending().await.unwrap(), Some(scheduled), "the job waits undisturbed");
    worker.has_run_nothing_since();
    worker.stop().await;
}

/// The worker dies between the new record and the acknowledgement of the old task, which is then delivered again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_delivered_again_after_its_job_has_moved_on_does_nothing() {
    let bench = Bench::new();
    let fallback = bench.instance(SLOW);
    let crashed = AtomicBool::new(false);
    let crash = move |event: &WorkerEvent| {
        let due = matches!(event, WorkerEvent::Rescheduled(_)) && !crashed.swap(true, Ordering::SeqCst);
        assert!(!due, "the crash of this test");
    };
    let mut worker = Worker::start_listened(&fallback, async |_| Verdict::Again, crash);
    worker.up().await;
    fallback.hand_off(1).await.unwrap();
    let first = bench.record("task").await.unwrap();
    fallback.bring_forward().await.unwrap();
    assert_eq!(worker.started().await, 1);
    let scheduled = worker.rescheduled().await;
    assert_eq!(scheduled.attempt, 2);
    worker.down().await;
    assert_eq!(bench.payloads().await, 2, "the first task was not acknowledged");
    worker.up().await;
    eventually("the first task is delivered again and thrown away", async || {
        !bench.redis().await.hexists::<_, _, bool>(bench.key("data"), &first).await.unwrap()
    })
    .await;
    assert_eq!(fallback.pending().await.unwrap(), Some(scheduled));
    worker.has_run_nothing_since();
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_attempts_pile_up_nothing() {
    const ATTEMPTS: u32 = 500;
    let bench = Bench::new();
    let fallback = bench.instance(AT_ONCE);
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
                keys_max = keys_max.max(bench.keys().await.len());
                payloads_max = payloads_max.max(bench.payloads().await);
            }
            _ => {}
        }
    }
    println!("{ATTEMPTS} attempts in {:?}; at most {keys_max} keys, {payloads_max} payloads", from.elapsed());
    assert!(looks > 10 && keys_max < 200 && payloads_max < 200, "{looks} {keys_max} {payloads_max}");
    eventually("nothing is left", async || bench.no_job_is_left().await).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_attempt_is_a_failed_attempt() {
    let bench = Bench::new();
    let fallback = bench.instance(QUICK);
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
        let bench = Bench::new();
        let (leaving, staying) = (bench.instance(QUICK), bench.instance(QUICK));
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
        assert_eq!(bench.keys().await, BTreeSet::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_and_started_again() {
    let mut server = Server::start().await;
    let bench = Bench::on(server.url());
    let fallback = bench.instance(SLOW);
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
    let from = Instant::now();
    assert_eq!(
        fallback.pending().await.unwrap(),
        Some(scheduled),
        "the first call after the outage succeeds"
    );
    fallback.bring_forward().await.unwrap();
    assert_eq!(worker.started().await, 6);
    took_less("the job runs after Redis is back", from, Duration::from_secs(2));
    assert_eq!(worker.finished().await, 6);
    worker.up().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_that_has_died_is_not_an_error() {
    let mut server = Server::start().await;
    let fallback = Bench::on(server.url()).instance(SLOW);
    let scheduled = fallback.hand_off(1).await.unwrap();
    server.kill();
    server.start_again().await;
    assert_eq!(fallback.hand_off(1).await.unwrap(), scheduled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_frozen_and_thawed() {
    let server = Server::start().await;
    let bench = Bench::on(server.url());
    let fallback = bench.instance(SLOW);
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
    let from = Instant::now();
    assert_eq!(
        fallback.pending().await.unwrap(),
        Some(scheduled),
        "the first call after the outage succeeds"
    );
    fallback.bring_forward().await.unwrap();
    assert_eq!(worker.started().await, 6);
    took_less("the job runs after Redis has thawed", from, Duration::from_secs(2));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_in_mid_attempt() {
    let mut server = Server::start().await;
    let bench = Bench::on(server.url());
    let fallback = bench.instance(QUICK);
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
    let bench = Bench::on(server.url());
    let fallback = bench.instance(SLOW);
    let mut worker = Worker::start(&fallback, done);
    worker.up().await;
    fallback.hand_off(6).await.unwrap();
    redis::cmd("FLUSHALL").exec_async(&mut bench.redis().await).await.unwrap();
    assert_eq!(fallback.pending().await.unwrap(), None);
    assert_eq!(fallback.hand_off(1).await.unwrap().attempt, 1, "the next job is a new one");
    fallback.bring_forward().await.unwrap();
    assert_eq!(worker.started().await, 1);
    assert_eq!(worker.finished().await, 1);
    worker.stop().await;
}

/// apalis' worker dies of every fetch of a task without a payload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_has_lost_its_payload_counts_as_none_and_harms_nobody() {
    let bench = Bench::new();
    let fallback = bench.instance(QUICK);
    let lose_payloads = async || bench.redis().await.del::<_, ()>(bench.key("data")).await.unwrap();

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
        !bench.keys().await.iter().any(|key| key == ":scheduled" || key.starts_with(":inflight"))
    })
    .await;
    assert_eq!(fallback.hand_off(2).await.unwrap().attempt, 2);
    assert_eq!(worker.finished().await, 2);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_is_modest() {
    let server = Server::start().await;
    let bench = Bench::on(server.url());
    let mut worker = Worker::start(&bench.instance(SLOW), done);
    worker.up().await;
    let scripts = async || -> u32 {
        let stats: String =
            redis::cmd("INFO").arg("commandstats").query_async(&mut bench.redis().await).await.unwrap();
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
