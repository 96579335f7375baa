//! The demo as a test: the real servers, the real services, the whole story.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use serde_json::Value;

/// Plays the demo on a stack of that name, and returns its report.
fn told(stack: &str, report: &Path, mq: &str, secure: &str) -> Value {
    let mut demo = support::tool();
    demo.env("MQ", mq).env("SECURE", secure).args(["--stack", stack, "demo", "--report"]).arg(report);
    let output = demo.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let story = format!("{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{story}");
    assert_eq!(told.lines().last(), Some("demo: PASS"), "{story}");
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(report["pass"], true);
    report
}

fn steps(report: &Value) -> Vec<&str> {
    report["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect()
}

#[test]
fn redis_as_the_message_queue_dies_and_nobody_notices() {
    let directory = tempfile::tempdir().unwrap();
    let report = told("streams-test", &directory.path().join("demo.json"), "redis", "");
    assert_eq!(report["mq"], "Redis Streams");
    assert_eq!(steps(&report), ["a", "b", "c", "d", "e", "f", "g", "h", "i"]);
    assert_eq!(report["steps"][3]["figures"]["pending"], 200);
    assert!(report["recoveries"]["redis_outage_seconds"].as_f64().unwrap() < 30.0);
}

#[test]
fn kafka_dies_and_nobody_notices() {
    let directory = tempfile::tempdir().unwrap();
    let report = told("demo-test", &directory.path().join("demo.json"), "kafka", "");
    assert!(report["mq"].as_str().unwrap().starts_with("Apache Kafka 4."));
    assert_eq!(steps(&report), ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]);
    let figure = |step: usize, name: &str| report["steps"][step]["figures"][name].as_f64().unwrap();
    assert_eq!(figure(3, "pending") as i64, 200);
    assert!(figure(5, "pending") > figure(3, "pending"));
    assert_eq!(figure(6, "drained"), figure(5, "pending"));
    for latency in ["before_outage", "kafka_down", "redis_down", "kafka_and_redis_down"] {
        let p50 = report["latencies"][latency]["p50_ms"].as_f64().unwrap();
        let p99 = report["latencies"][latency]["p99_ms"].as_f64().unwrap();
        assert!(0.0 < p50 && p50 <= p99, "{latency}: p50 {p50}, p99 {p99}");
    }
    for recovery in ["kafka_outage_seconds", "kafka_and_redis_outage_seconds"] {
        assert!(report["recoveries"][recovery].as_f64().unwrap() < 30.0, "{recovery}");
    }
    assert!(report["machine"]["cores"].as_u64().unwrap() > 0);
}

#[test]
fn a_secured_stack_tells_the_same_story() {
    let directory = tempfile::tempdir().unwrap();
    let report = told("secured-demo-test", &directory.path().join("demo.json"), "kafka", "1");
    assert_eq!(steps(&report), ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]);
    assert_eq!(report["secure"], true);
}
