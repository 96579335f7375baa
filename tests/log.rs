//! Whoever has only the log can tell what happened.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::process::Command;
use std::time::Instant;

use support::fragile::{Fragile, blocking, fragile, recovered, retry_is, ten_orders};
use support::{Orders, Stage, eventually};

/// A line that holds all of these.
fn line<'a>(log: &'a str, parts: &[&str]) -> Option<&'a str> {
    log.lines().find(|line| parts.iter().all(|part| line.contains(part)))
}

/// Where each of these lines begins, in this order and none before the last one.
fn tells_in_order(log: &str, story: &[&str]) {
    let mut rest = log;
    for part in story {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is missing, or too early, in\n{log}"));
        rest = rest.split_at(at + part.len()).1;
    }
}

async fn logged(orders: &Orders, parts: &[&str]) -> String {
    eventually(&format!("the log says {parts:?}"), async || line(&orders.log(), parts).map(str::to_owned))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_in_the_log_and_its_repeats_are_few() {
    let fragile = fragile().await;
    let Fragile { kafka, stage, .. } = &fragile;
    let orders = stage.start().await;
    ten_orders(&orders).await;
    stage.outbox_empties().await;
    blocking(|| kafka.kill());
    ten_orders(&orders).await;
    retry_is(&orders, "redis", 4).await;
    blocking(|| kafka.start_again());
    recovered(stage, &orders, Instant::now()).await;
    logged(&orders, &["Drained", "events=", "per_second="]).await;
    let log = orders.log();
    tells_in_order(
        &log,
        &[
            "Lease gained: this instance publishes",
            "Breaker open",
            "The retry is a job in Redis now",
            "Running the retry job",
            "Publish attempt failed",
            "The retry job is rescheduled",
            "The broker answers again",
            "Breaker half-open",
            "Breaker closed",
            "Drained",
        ],
    );
    assert!(line(&log, &["The retry job is rescheduled", "attempt=3", "next_in_ms="]).is_some(), "{log}");
    assert!(line(&log, &["Breaker closed", "outage_ms="]).is_some(), "{log}");
    for once in ["Breaker open", "The retry is a job in Redis now", "Breaker closed"] {
        assert_eq!(log.matches(once).count(), 1, "{once} in\n{log}");
    }
    let attempts = log.matches("Running the retry job").count();
    let of_attempts = ["Running the retry", "Publish attempt failed", "Breaker half-open", "job goes on"];
    let lines: usize = of_attempts.iter().map(|part| log.matches(part).count()).sum();
    assert!(lines <= 4 * (attempts + 1), "{lines} lines of {attempts} attempts in\n{log}");
    for every_time in ["Lease released", "Lease gained"] {
        assert!(log.matches(every_time).count() <= 2, "{every_time} with every retry in\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_comes_on_sigusr1_and_after_a_crash() {
    let stage = Stage::new().await;
    let orders = stage.start_with(stage.settings("orders").with("ENABLE_FAULTS", "true")).await;
    let order_id = orders.create().await;
    orders.command(order_id, "pay").await;
    stage.outbox_empties().await;
    eventually("a registry counts the order", async || {
        let (_, actors) = orders.get("/api/actors").await;
        let counts = |actor: &serde_json::Value| actor["details"]["activated"] == 1;
        actors.as_array().unwrap().iter().any(counts).then_some(())
    })
    .await;
    orders.blocking(|service| {
        let pid = service.identity().unwrap().pid.to_string();
        Ok(Command::new("kill").args(["-USR1", &pid]).status()?)
    });
    logged(&orders, &["Supervision dashboard (SIGUSR1)"]).await;
    // A row each, under their parent; the journal has answered the two commands, so it has a 99th percentile.
    let log = orders.log();
    for row in [
        "guardian",
        "├─ publisher",
        "│  └─ lease",
        "├─ journal",
        "├─ fallback",
        "├─ registry-",
        "└─ projector",
    ] {
        assert!(line(&log, &[row]).is_some(), "no {row} in\n{log}");
    }
    assert!(line(&log, &["lease", "held"]).is_some(), "{log}");
    assert!(line(&log, &["registry-", "activated=1", "conflicts=0", "live="]).is_some(), "{log}");
    assert!(!log.contains('\u{1b}'), "colours belong on terminals");
    let p99 = orders.actor("journal").await["handling_p99_ms"].as_f64();
    assert!(p99.is_some_and(|ms| ms > 0.0), "{p99:?}");

    let (status, _) = orders.post("/api/actors/journal/crash", serde_json::json!({})).await;
    assert_eq!(status, reqwest::StatusCode::ACCEPTED);
    logged(&orders, &["An actor went down", "journal", "restarts=1", "backoff_ms=", "crashed on request"])
        .await;
    logged(&orders, &["An actor runs again", "journal"]).await;
}
