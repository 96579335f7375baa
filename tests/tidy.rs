//! What a machine can check of the house's rules.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};

/// One subject a file; beyond this many lines there are usually two.
const LINES_MAX: usize = 300;
/// Files that are longer, and why.
const LONGER: [(&str, &str); 3] = [
    ("src/publisher/simulation.rs", "one model of the world around the machine; it is a test"),
    ("src/publisher/machine/rules.rs", "the rules of publication stand in one place"),
    ("src/fallback/schedule.rs", "one script of Redis after the other, all of one record"),
];

fn files(roots: &[&str], ending: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = roots.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "nothing ends in {ending} below {roots:?}");
    found
}

#[test]
fn files_are_short() {
    for (name, text) in files(&["src", "bonus/src", "stack/src"], ".rs") {
        let excused = LONGER.iter().any(|(longer, _)| *longer == name);
        let lines = text.lines().count();
        assert!(
            excused || lines <= LINES_MAX,
            "{name} has {lines} lines; {LINES_MAX} are enough for one subject"
        );
    }
}

#[test]
fn the_rules_are_pure() {
    let mut pure = files(&["src/order"], ".rs");
    pure.extend(files(&["src/publisher/machine"], ".rs"));
    for (name, text) in pure {
        let code = text.split("#[cfg(test)]").next().unwrap();
        for impure in [
            "async ",
            ".await",
            "sqlx",
            "tokio",
            "actix",
            "rdkafka",
            "std::time",
            "Utc::now",
            "rand::",
            "now_v7",
            "std::io",
            "std::fs",
        ] {
            assert!(!code.contains(impure), "{name} is to be pure, and has {impure:?}");
        }
    }
}

#[test]
fn every_statement_says_what_it_is_for_and_what_it_reads() {
    for (name, text) in files(&["src", "bonus/src"], ".sql") {
        assert!(text.starts_with("-- "), "{name} has no header");
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
        assert!(
            !code.contains("SELECT *") && !code.contains(".*"),
            "{name} reads columns that it does not name"
        );
    }
}

#[test]
fn nothing_is_left_for_later() {
    for (name, text) in files(&["src", "bonus/src", "stack/src", "migrations", "bonus/migrations"], "") {
        for mark in ["TODO", "FIXME", "XXX", "HACK"] {
            assert!(!text.contains(mark), "{name}: {mark}");
        }
    }
}
