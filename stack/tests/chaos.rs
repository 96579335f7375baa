//! Some seconds of chaos on Redis Streams: the whole run, from the start of the servers to the verdict. `make test` plays it on Kafka.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;

/// This seed's first storm lasts eleven seconds. Twice a replica of Redis that lags takes over, once Redis is restarted without data, once flushed.
const SEED: &str = "47";

#[test]
fn chaos_on_redis_streams_breaks_no_promise_and_finds_what_is_planted() {
    no_promise_is_broken("chaos-test", "");
}

#[test]
fn nor_does_it_where_every_link_is_encrypted_and_nobody_is_let_in_without_a_login_or_a_token() {
    let told = no_promise_is_broken("secured-chaos-test", "1");
    assert!(told.contains("every link encrypted"), "{told}");
}

/// What was said.
fn no_promise_is_broken(stack: &str, secure: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("chaos.json");
    let mut chaos = support::tool();
    chaos.env("MQ", "redis").env("SECURE", secure).args(["--stack", stack, "chaos", "--report"]).arg(&file);
    chaos.args(["--seed", SEED, "--duration", "10", "--clients", "8"]);
    let output = chaos.output().unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!((&report["pass"], &report["violations"]), (&true.into(), &Value::Array(Vec::new())), "{told}");
    assert!(report["message_queue"].as_str().unwrap().starts_with("Redis Streams"), "{told}");
    let figure = |name: &str| report[name].as_u64().unwrap();
    assert!(figure("commands_acknowledged") > 0 && figure("topics_lost") == 4, "{told}");
    assert!(figure("standing_changes") > 0 && figure("planted") > 40, "{told}");
    told
}
