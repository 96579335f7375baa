//! Redis: whether it is reachable, and keeps the retry.

use std::time::Duration;

use anyhow::Result;
use kit::cli::check::{self, Finding};
use kit::redis::RedisServer;

const PATIENCE: Duration = Duration::from_secs(2);

pub async fn check(redis: &RedisServer) -> Vec<Finding> {
    match ask(redis).await {
        Ok(memory) => {
            let link = check::link("redis link", &redis.link());
            vec![Finding::ok("redis", "reachable"), link, eviction(&memory)]
        }
        Err(error) => {
            let advice = "Start it, or set REDIS_URL. Until then an outage of the message queue is retried from memory.";
            vec![Finding::fail("redis", format!("{error:#}"), advice)]
        }
    }
}

async fn ask(redis: &RedisServer) -> Result<String> {
    let mut connection = redis.connect(PATIENCE, PATIENCE).await?;
    Ok(redis::cmd("INFO").arg("memory").query_async(&mut connection).await?)
}

fn eviction(memory: &str) -> Finding {
    let value = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or("unknown").trim()
    };
    let (policy, max) = (value("maxmemory_policy"), value("maxmemory"));
    let message = format!("maxmemory-policy {policy}, maxmemory {max}");
    if policy == "noeviction" || max == "0" {
        return Finding::ok("redis memory", message);
    }
    let advice = "The retry's date may be evicted, which costs seconds, never an event. Set noeviction.";
    Finding::warn("redis memory", message, advice)
}
