//! Redis as the message queue: the server, the topic's streams, and how far the group has come.

use kit::cli::check::{self, Finding};
use redis::{Connection, RedisResult, Value};

use crate::config::Config;
use crate::streams::{self, TopicIdentity, info_value, too_old};

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let asked = config.clone();
    let asking = tokio::task::spawn_blocking(move || ask(&asked)).await;
    match asking {
        Ok(Ok(findings)) => findings,
        Ok(Err(error)) => {
            let message = format!("{}: {error}", config.topics.redis.server());
            vec![Finding::fail("redis", message, "Check REDIS_URL and the server.")]
        }
        Err(error) => vec![Finding::fail("redis", error.to_string(), "Report this: the check has panicked.")],
    }
}

fn ask(config: &Config) -> RedisResult<Vec<Finding>> {
    let server = config.topics.redis.server();
    let mut connection = streams::connect(&server)?;
    let info: String = redis::cmd("INFO").query(&mut connection)?;
    let link = check::link("redis link", &server.link());
    let mut findings = vec![on_server(&info, &server.to_string()), link, on_memory(&info)];
    let topic = &config.topics.orders_topic;
    match streams::topic_identity(&mut connection, topic)? {
        None => {
            let message = format!("{topic} is missing");
            findings.push(Finding::warn("topic", message, "The order service makes it when it starts."));
        }
        Some(identity) => {
            findings.push(Finding::ok("topic", format!("{topic} has {} partitions", identity.partitions)));
            findings.push(on_group(&mut connection, config, identity)?);
        }
    }
    let letters = config.topics.dead_letter_topic();
    findings.push(match streams::topic_identity(&mut connection, &letters)? {
        Some(_) => Finding::ok("dead-letter topic", format!("{letters} is there")),
        None => Finding::ok("dead-letter topic", format!("{letters} is made with the first letter")),
    });
    Ok(findings)
}

fn on_server(info: &str, place: &str) -> Finding {
    let (version, role) = (info_value(info, "redis_version"), info_value(info, "role"));
    if let Some(version) = too_old(info) {
        let message = format!("{place} is Redis {version}");
        return Finding::fail("redis", message, "Use Redis 7 or later.");
    }
    if role != "master" {
        let message = format!("{place} is a {role}");
        return Finding::fail("redis", message, "Point REDIS_URL to the primary.");
    }
    Finding::ok("redis", format!("{place} is Redis {version}"))
}

fn on_memory(info: &str) -> Finding {
    let (policy, max) = (info_value(info, "maxmemory_policy"), info_value(info, "maxmemory"));
    let message = format!("maxmemory-policy {policy}, maxmemory {max}");
    if policy == "noeviction" || max == "0" {
        return Finding::ok("redis memory", message);
    }
    Finding::fail("redis memory", message, "A stream may be evicted, unread. Set noeviction.")
}

fn on_group(connection: &mut Connection, config: &Config, topic: TopicIdentity) -> RedisResult<Finding> {
    let (name, group) = (&config.topics.orders_topic, &config.group_id);
    let (mut unread, mut pending, mut any, mut unknown) = (0, 0, false, false);
    for partition in 0..topic.partitions {
        let stream = streams::stream(name, partition);
        let groups: RedisResult<Vec<std::collections::HashMap<String, Value>>> =
            redis::cmd("XINFO").arg("GROUPS").arg(&stream).query(connection);
        // A stream without entries is not there.
        let Some(found) = groups.unwrap_or_default().into_iter().find(|found| is(found.get("name"), group))
        else {
            continue;
        };
        let number = |name: &str| match found.get(name) {
            Some(Value::Int(number)) => Some(*number),
            _ => None,
        };
        any = true;
        unknown |= number("lag").is_none();
        unread += number("lag").unwrap_or_default();
        pending += number("pending").unwrap_or_default();
    }
    Ok(match (any, unknown) {
        (false, _) => Finding::ok("group", format!("{group} has read nothing yet")),
        (true, false) => {
            Finding::ok("group", format!("{group}: {unread} messages unread, {pending} not acknowledged"))
        }
        (true, true) => Finding::ok(
            "group",
            format!("{group}: {pending} messages not acknowledged; Redis cannot tell how many are unread"),
        ),
    })
}

fn is(value: Option<&Value>, text: &str) -> bool {
    matches!(value, Some(Value::BulkString(bytes)) if bytes == text.as_bytes())
}
