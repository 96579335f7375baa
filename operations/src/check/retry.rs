//! Redis: whether it is reachable, and keeps the retry.

use std::time::Duration;

use anyhow::Result;
use kit::cli::check::Finding;
use kit::settings::Redis;
use redis::{AsyncConnectionConfig, Client};

const PATIENCE: Duration = Duration::from_secs(2);

pub async fn check(settings: &Redis) -> Vec<Finding> {
    match ask(settings).await {
        Ok(memory) => vec![Finding::ok("redis", "reachable"), eviction(&memory)],
        Err(error) => {
            let advice = "Start it, or set REDIS_URL. Until then an outage of the message queue is retried from memory.";
            vec![Finding::fail("redis", format!("{error:#}"), advice)]
        }
    }
}

async fn ask(settings: &Redis) -> Result<String> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let client = Client::open(settings.url.as_str())?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
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
