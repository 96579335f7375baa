//! The demo as a test: the real servers, the real services, the whole story.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;

#[test]
fn kafka_dies_and_nobody_notices() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("demo.json");
    let mut demo = support::tool();
    demo.args(["--stack", "demo-test", "demo", "--report"]).arg(&report);
    let output = demo.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let story = format!("{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{story}");
    assert_eq!(told.lines().last(), Some("demo: PASS"), "{story}");

    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert_eq!(report["pass"], true);
    assert!(report["kafka"].as_str().unwrap().starts_with("Apache Kafka 4."));
    let steps: Vec<&str> =
        report["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(steps, ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]);
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
