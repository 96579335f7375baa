//! The alert rules by `promtool`, and that rules, dashboard and runbook speak of the same things.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::process::Command;

const RUNBOOK: &str = include_str!("../docs/operations.md");
const ALERTS: &str = include_str!("../ops/prometheus/alerts.yml");
const ALERT_TESTS: &str = include_str!("../ops/prometheus/alerts.test.yml");
const DASHBOARD: &str = include_str!("../ops/grafana/dashboards/orders.json");

fn promtool(arguments: &[&str]) {
    let ran = Command::new("promtool")
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/ops/prometheus"))
        .output()
        .expect("promtool can be run; `make test` installs it");
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "promtool {arguments:?}: {said}");
}

#[test]
fn the_rules_are_rules_and_fire_when_they_should() {
    promtool(&["check", "rules", "alerts.yml"]);
    promtool(&["test", "rules", "alerts.test.yml"]);
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
}

fn is_metric(word: &&str) -> bool {
    word.starts_with("orders_") || word.starts_with("bonus_")
}

#[test]
fn every_metric_that_is_named_is_in_the_runbooks_table() {
    let table: BTreeSet<&str> = RUNBOOK
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(is_metric)
        .collect();
    for (file, text) in [("alerts", ALERTS), ("alerts' tests", ALERT_TESTS), ("dashboard", DASHBOARD)] {
        let named: BTreeSet<&str> = words(text).filter(is_metric).collect();
        assert!(named.len() > 5, "the metrics of the {file} were not found: {named:?}");
        for name in named {
            let known = table.contains(name) || table.contains(name.trim_end_matches("_bucket"));
            assert!(known, "the {file} name {name}, which docs/operations.md does not");
        }
    }
}

#[test]
fn every_alert_has_a_test_and_a_place_in_the_runbook() {
    let alerts: Vec<&str> = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 5, "the alerts were not found: {alerts:?}");
    for alert in alerts {
        assert!(words(ALERT_TESTS).any(|word| word == alert), "{alert} has no test");
        assert!(
            RUNBOOK.contains(&format!("`{alert}`")),
            "docs/operations.md does not say what {alert} means"
        );
    }
}
