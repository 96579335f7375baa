//! A real bonus process, killed when the test ends.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use uuid::Uuid;

use super::{World, eventually, http};

pub struct Bonus {
    child: Child,
    log: PathBuf,
    pub url: String,
}

impl Bonus {
    pub async fn start(world: &World) -> Self {
        Self::start_with(world, &[]).await
    }

    /// Starts the process with more or other settings, and waits until it listens.
    pub async fn start_with(world: &World, settings: &[(&str, &str)]) -> Self {
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bonus-{}.log", Uuid::now_v7()));
        let output = File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_bonus"))
            .env("BONUS_HTTP_ADDR", "127.0.0.1:0")
            .env("BONUS_AUTH", "off")
            .env("DATABASE_URL", &world.database_url)
            .env("KAFKA_BROKERS", &world.brokers)
            .env("ORDERS_TOPIC", &world.topic)
            .env("BONUS_GROUP_ID", &world.group)
            .env("BONUS_EVENTS_TOPIC", &world.events_topic)
            .env("BONUS_EVENTS_TOPIC_PARTITIONS", "1")
            .env("BONUS_RETRY_QUEUE", format!("{}:publish-backlog", world.group))
            .env("RUST_LOG", std::env::var("BONUS_LOG").unwrap_or("info,apalis_core=off".into()))
            .env("LOG_FORMAT", "json")
            .envs(settings.iter().copied())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut bonus = Self { child, log, url: String::new() };
        let line = bonus.logged("The bonus service listens").await;
        bonus.url = line["url"].as_str().unwrap().trim_end_matches('/').to_owned();
        bonus
    }

    pub async fn start_ready(world: &World) -> Self {
        let bonus = Self::start(world).await;
        bonus.becomes_ready().await;
        bonus
    }

    pub async fn becomes_ready(&self) {
        eventually("the service is ready and reads partitions", async || {
            let (status, body) = self.get("/readyz").await;
            let reads = body["partitions"].as_u64().unwrap_or_default() > 0;
            if status == 200 && reads { Ok(()) } else { Err(body.to_string()) }
        })
        .await;
    }

    /// Status and JSON body.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let response = http().get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub async fn metric(&self, name: &str) -> f64 {
        let text = http().get(format!("{}/metrics", self.url)).send().await.unwrap().text().await.unwrap();
        stack::scrape::value(&text, name)
    }

    pub fn log_lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub fn logged_so_far(&self, message: &str) -> Vec<Value> {
        self.log_lines().into_iter().filter(|line| line["message"] == message).collect()
    }

    /// Waits for a line with exactly this message.
    pub async fn logged(&self, message: &str) -> Value {
        eventually(&format!("logged: {message}"), async || {
            let mut lines = self.logged_so_far(message);
            lines.pop().ok_or_else(|| fs::read_to_string(&self.log).unwrap_or_default())
        })
        .await
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// kill -9: no chance to finish anything.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for the end. Returns the log and whether the exit status was 0.
    pub async fn terminate(mut self) -> (Vec<Value>, bool) {
        self.signal(Signal::SIGTERM);
        let status = eventually("the process ends after SIGTERM", async || {
            self.child.try_wait().unwrap().ok_or_else(|| "still running".to_owned())
        })
        .await;
        (self.log_lines(), status.success())
    }
}

impl Drop for Bonus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- log of a bonus process, {}:\n{}",
                self.log.display(),
                fs::read_to_string(&self.log).unwrap_or_default()
            );
        }
        let _ = fs::remove_file(&self.log);
    }
}
