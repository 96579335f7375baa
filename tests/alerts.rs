//! The alert rules by `promtool`, and that rules, dashboard and runbook speak of the same things.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

const RUNBOOK: &str = include_str!("../docs/operations.md");
const ALERTS: &str = include_str!("../ops/prometheus/alerts.yml");
const ALERT_TESTS: &str = include_str!("../ops/prometheus/alerts.test.yml");
const ERRORS: &str = include_str!("../engine/src/command.rs");
const COMPOSE: &str = include_str!("../docker-compose.yml");
const DATA_SOURCES: &str = include_str!("../ops/grafana/provisioning/datasources/prometheus.yml");
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
    // The configuration, and with it the rules that it names.
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["test", "rules", "alerts.test.yml"]);
}

/// All values of this key, however deep.
fn found<'a>(key: &str, value: &'a Value) -> Vec<&'a Value> {
    let inside: Vec<&Value> = match value {
        Value::Object(fields) => fields.values().collect(),
        Value::Array(items) => items.iter().collect(),
        _ => Vec::new(),
    };
    value.get(key).into_iter().chain(inside.into_iter().flat_map(|value| found(key, value))).collect()
}

#[test]
fn the_dashboard_asks_what_prometheus_understands() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let questions = found("expr", &dashboard);
    assert!(questions.len() > 20, "the dashboard's questions were not found");
    let rules: Vec<Value> =
        questions.iter().map(|question| json!({ "record": "question", "expr": question })).collect();
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("questions.yml");
    // JSON is YAML.
    std::fs::write(&file, json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string())
        .unwrap();
    promtool(&["check", "rules", "--lint=none", file.to_str().unwrap()]);
    let sources = found("datasource", &dashboard);
    assert!(!sources.is_empty(), "the dashboard's sources were not found");
    for source in sources {
        let provided = DATA_SOURCES.contains(&format!("uid: {}\n", source["uid"].as_str().unwrap()));
        assert!(provided, "{source} is not provisioned");
    }
}

#[test]
fn compose_mounts_what_is_there() {
    let words = COMPOSE.split(|c: char| c.is_whitespace() || "[],\"".contains(c));
    let mounted: Vec<&str> =
        words.filter(|word| word.starts_with("./")).filter_map(|word| word.split(':').next()).collect();
    assert!(mounted.len() >= 3, "the mounts were not found: {mounted:?}");
    for folder in mounted {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).exists(), "{folder} is mounted");
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
}

fn is_metric(word: &&str) -> bool {
    ["orders_", "bonus_", "customers_"].iter().any(|prefix| word.starts_with(prefix))
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

/// A name that no command's outcome has would never fire.
#[test]
fn the_outcomes_that_alert_exist() {
    let (_, rest) = ALERTS.split_once("outcome=~\"").unwrap();
    let (outcomes, _) = rest.split_once('"').unwrap();
    for outcome in outcomes.split('|') {
        assert!(ERRORS.contains(&format!("=> \"{outcome}\"")), "{outcome} is no outcome");
    }
}

#[test]
fn every_alert_has_a_test_and_leads_to_its_place_in_the_runbook() {
    let alerts: Vec<&str> = ALERTS.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 5, "the alerts were not found: {alerts:?}");
    for rule in alerts {
        let alert = words(rule).next().unwrap();
        assert!(words(ALERT_TESTS).any(|word| word == alert), "{alert} has no test");
        let place = RUNBOOK.lines().any(|line| line == format!("### {alert}"));
        assert!(place, "docs/operations.md does not say what {alert} means");
        let link = format!("runbook: docs/operations.md#{}\n", alert.to_lowercase());
        assert!(rule.contains(&link), "{alert} does not lead to its place in the runbook");
    }
}

/// What whoever is woken by an alert asks, in this order.
#[test]
fn every_place_in_the_runbook_says_what_to_do() {
    let (_, alerts) = RUNBOOK.split_once("\n## Alerts\n").unwrap();
    let (alerts, _) = alerts.split_once("\n## ").unwrap();
    let places: Vec<&str> = alerts.split("\n### ").skip(1).collect();
    assert!(places.len() > 5, "{places:?}");
    for place in places {
        let titles = ["**Means**", "**By itself**", "**Look at**", "**Do**", "**Do not**"];
        let said = titles.map(|title| place.find(title));
        assert!(said.iter().all(Option::is_some) && said.is_sorted(), "{place}");
    }
}
