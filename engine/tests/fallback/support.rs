//! A queue of its own for each test, a worker to listen to, and a Redis to harm.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
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

pub const SOON: Duration = Duration::from_secs(10);
pub const QUICK: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_millis(400) };
pub const SLOW: Backoff = Backoff { base: Duration::from_secs(60), cap: Duration::from_secs(120) };
pub const AT_ONCE: Backoff = Backoff { base: Duration::ZERO, cap: Duration::ZERO };

/// A queue, and the means to look at it from outside.
#[derive(Clone)]
pub struct TestQueue {
    pub url: String,
    pub queue: String,
}

impl TestQueue {
    pub fn new() -> Self {
        Self::on(std::env::var("REDIS_URL").expect("REDIS_URL is not set: run through make test"))
    }

    pub fn on(url: String) -> Self {
        Self { url, queue: format!("test:{}:publish-backlog", Uuid::new_v4().simple()) }
    }

    pub fn instance(&self, backoff: Backoff) -> Fallback {
        let (redis, queue) = (self.url.parse().unwrap(), self.queue.clone());
        let instance = Uuid::new_v4().simple().to_string();
        Fallback::new(FallbackSettings { redis, queue, backoff, instance })
    }

    pub async fn redis(&self) -> MultiplexedConnection {
        redis::Client::open(self.url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    pub fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.queue)
    }

    /// The queue's keys, without the queue's name.
    pub async fn keys(&self) -> BTreeSet<String> {
        let keys: Vec<String> = self.redis().await.keys(format!("{}*", self.queue)).await.unwrap();
        keys.iter().map(|key| key[self.queue.len()..].to_owned()).collect()
    }

    pub async fn no_job_is_left(&self) -> bool {
        self.keys().await.iter().all(|key| key.starts_with(":workers"))
    }

    pub async fn record(&self, field: &str) -> Option<String> {
        self.redis().await.hget(self.key("outage"), field).await.unwrap()
    }

    pub async fn payloads(&self) -> u32 {
        self.redis().await.hlen(self.key("data")).await.unwrap()
    }

    /// What a process leaves behind that is killed after it has pushed its task.
    pub async fn push_stray_task(&self) {
        let config = apalis_redis::Config::default().queue(&self.queue);
        let id = TaskId::from_string(Uuid::new_v4().to_string());
        let task = TaskBuilder::new(br#"{"attempt":7}"#.to_vec()).task_id(id).build();
        apalis_redis::queries::push_tasks(&mut self.redis().await, &config, &[task]).await.unwrap();
    }
}

/// A worker on the test's runtime.
pub struct Worker {
    pub events: UnboundedReceiver<WorkerEvent>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Worker {
    pub fn start(fallback: &Fallback, run: impl AsyncRun) -> Self {
        Self::start_listened(fallback, run, |_| {})
    }

    /// `listen` is called in the worker, after the event has been recorded.
    pub fn start_listened(
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

    pub async fn until<T>(&mut self, what: &str, pick: impl Fn(&WorkerEvent) -> Option<T>) -> T {
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

    pub async fn up(&mut self) {
        self.until("up", |event| matches!(event, WorkerEvent::Up).then_some(())).await;
    }

    pub async fn down(&mut self) {
        self.until("down", |event| matches!(event, WorkerEvent::Down(_)).then_some(())).await;
    }

    pub async fn started(&mut self) -> u32 {
        let attempt = |event: &WorkerEvent| match event {
            WorkerEvent::JobStarted { attempt } => Some(*attempt),
            _ => None,
        };
        self.until("a run", attempt).await
    }

    pub async fn rescheduled(&mut self) -> ScheduledRetry {
        let date = |event: &WorkerEvent| match event {
            WorkerEvent::Rescheduled(scheduled) => Some(scheduled.clone()),
            _ => None,
        };
        self.until("a new date", date).await
    }

    pub async fn finished(&mut self) -> u32 {
        let attempts = |event: &WorkerEvent| match event {
            WorkerEvent::Finished { attempts } => Some(*attempts),
            _ => None,
        };
        self.until("the end of the job", attempts).await
    }

    pub fn has_run_nothing_since(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            assert!(!matches!(event, WorkerEvent::JobStarted { .. }), "{event:?}");
        }
    }

    pub async fn stop(self) {
        self.stop.send_replace(true);
        timeout(SOON, self.task).await.expect("run_worker returns at shutdown").unwrap();
    }
}

/// An attempt; closures from the attempt's number to a future of its verdict are some.
pub trait AsyncRun: Send + Sync + 'static {
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

pub async fn done(_: u32) -> Verdict {
    Verdict::Done
}

/// Polls until `probe` gives true.
pub async fn eventually(what: &str, probe: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !probe().await {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A Redis of our own, to be killed and frozen.
pub struct Server {
    port: u16,
    folder: PathBuf,
    process: Child,
}

impl Server {
    pub async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("fallback-redis-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).unwrap();
        let server = Self { port, process: Self::spawn(port, &folder), folder };
        server.ready().await;
        server
    }

    pub fn spawn(port: u16, folder: &Path) -> Child {
        Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always", "--save", ""])
            .args(["--port", &port.to_string()])
            .arg("--dir")
            .arg(folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed")
    }

    pub async fn ready(&self) {
        eventually("Redis answers", async || {
            let client = redis::Client::open(self.url()).unwrap();
            match client.get_multiplexed_async_connection().await {
                Ok(mut redis) => redis.ping::<String>().await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub async fn start_again(&mut self) {
        self.process = Self::spawn(self.port, &self.folder);
        self.ready().await;
    }

    pub fn signal(&self, signal: &str) {
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

pub fn milliseconds_from_now(due_at: DateTime<Utc>) -> i64 {
    (due_at - Utc::now()).num_milliseconds()
}

/// Prints what was measured, and fails above the limit.
pub fn took_less(what: &str, since: Instant, limit: Duration) {
    let took = since.elapsed();
    println!("{what}: {took:?}");
    assert!(took < limit, "{what}: {took:?}, allowed {limit:?}");
}
