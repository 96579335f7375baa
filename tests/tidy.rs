//! What a machine can check of the house's rules.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};

/// One subject a file; beyond this many lines there are usually two.
const LINES_MAX: usize = 300;
/// Files that are longer, and why.
const LONGER: [(&str, &str); 1] =
    [("engine/src/publisher/simulation/world.rs", "one model of the world around the machine; it is a test")];

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
    for (name, text) in
        files(&["src", "engine/src", "bonus/src", "kit/src", "operations/src", "stack/src"], ".rs")
    {
        let excused = LONGER.iter().any(|(longer, _)| *longer == name);
        let lines = text.lines().count();
        assert!(
            excused || lines <= LINES_MAX,
            "{name} has {lines} lines; {LINES_MAX} are enough for one subject"
        );
    }
}

/// An excuse that nobody needs any more is withdrawn.
#[test]
fn what_is_excused_is_still_long() {
    let files = files(&["src", "engine/src", "bonus/src", "kit/src", "operations/src", "stack/src"], ".rs");
    for (longer, _) in LONGER {
        let found = files.iter().find(|(name, _)| name == longer);
        let lines = found.map_or(0, |(_, text)| text.lines().count());
        assert!(lines > LINES_MAX, "{longer} has {lines} lines: take it off the list");
    }
}

/// One screen a function.
const FUNCTION_LINES_MAX: usize = 70;
/// Every function with its number of lines. rustfmt sees to it that the brace that closes a function stands under its `fn`.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let words: Vec<&str> = code.split_whitespace().take_while(|word| !word.starts_with("fn(")).collect();
        let Some(place) = words.iter().position(|word| *word == "fn") else { continue };
        let qualifies =
            |word: &&str| word.starts_with("pub") || ["async", "const", "in", "crate)"].contains(word);
        let without_body = line.ends_with("{}") || line.ends_with(';');
        if without_body || !words[..place].iter().all(qualifies) {
            continue;
        }
        let name: String =
            words[place + 1].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let closing = format!("{indent}}}");
        let length = lines[start..].iter().position(|line| *line == closing);
        found.push((name, length.unwrap_or(usize::MAX - 1) + 1));
    }
    found
}

#[test]
fn functions_are_short() {
    let mut counted = 0;
    for (name, text) in
        files(&["src", "engine/src", "bonus/src", "kit/src", "operations/src", "stack/src"], ".rs")
    {
        for (function, lines) in functions(&text) {
            counted += 1;
            assert!(lines <= FUNCTION_LINES_MAX, "{name}: {function} has {lines} lines");
        }
    }
    assert!(counted > 500, "the functions were not found: {counted}");
}

#[test]
fn a_function_is_measured_from_its_name_to_its_brace() {
    let text = "impl A {\n    pub(super) async fn first(&self) {\n        one();\n    }\n\n    fn told(&self);\n}\n\nfn last() {\n}\n";
    let expected = [("first", 3), ("last", 2)];
    assert_eq!(functions(text), expected.map(|(name, lines)| (name.to_owned(), lines)));
}

/// Clippy refuses it too, but not where a file allows it for itself.
#[test]
fn nothing_is_unwrapped_outside_tests() {
    for (name, text) in
        files(&["src", "engine/src", "bonus/src", "kit/src", "operations/src", "stack/src"], ".rs")
    {
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in (1..).zip(code.lines()).filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            let panics = line.contains(".unwrap()") || line.contains(".expect(");
            assert!(!panics, "{name}:{number}: {line}");
        }
    }
}

#[test]
fn the_rules_are_pure() {
    let mut pure = files(&["examples/stock"], "aggregate.rs");
    pure.extend(files(&["src/order"], ".rs"));
    pure.extend(files(&["engine/src/publisher/machine", "engine/src/publisher/retry"], ".rs"));
    pure.extend(files(&["engine/src/publisher/lease"], "tenure.rs"));
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
    for (name, text) in files(&["src", "engine/src", "bonus/src"], ".sql") {
        assert!(text.starts_with("-- "), "{name} has no header");
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
        assert!(
            !code.contains("SELECT *") && !code.contains(".*"),
            "{name} reads columns that it does not name"
        );
    }
}

/// One that is not would ask for the table `aggregate_event`.
#[test]
fn every_statement_of_the_engine_is_worded_for_its_aggregate() {
    let mut counted = 0;
    for (name, text) in files(&["engine/src"], ".rs") {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(&name).parent().unwrap().to_owned();
        for (place, _) in text.match_indices("include_str!(\"") {
            let file = text[place..].split('"').nth(1).unwrap();
            let is_worded = text[..place].ends_with(".sql(");
            let statement = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
            assert!(is_worded || !statement.contains("aggregate"), "{name}: {file}");
            counted += usize::from(is_worded);
        }
    }
    assert!(counted > 20, "the statements were not found: {counted}");
}

#[test]
fn nothing_is_left_for_later() {
    for (name, text) in files(
        &[
            "src",
            "engine",
            "bonus/src",
            "kit/src",
            "operations/src",
            "stack/src",
            "migrations",
            "bonus/migrations",
        ],
        "",
    ) {
        for mark in ["TODO", "FIXME", "XXX", "HACK"] {
            assert!(!text.contains(mark), "{name}: {mark}");
        }
    }
}

/// As long as the name of a test, and named in tables, but something else: a value of a setting, or a metric, which have tests of their own.
fn is_no_test(name: &str) -> bool {
    ["parentbased_always_on", "synchronous_standby_names"].contains(&name)
        || ["orders_", "bonus_", "customers_"].iter().any(|service| name.starts_with(service))
}

/// A test that a table names is there to be read. Names of tests have at least three words; hardly anything else in the tables has.
#[test]
fn the_tests_that_the_documents_name_exist() {
    let tests: Vec<String> =
        files(&["src", "tests", "engine", "bonus", "kit", "operations", "stack/src"], ".rs")
            .iter()
            .flat_map(|(_, text)| functions(text).into_iter().map(|(name, _)| name).collect::<Vec<_>>())
            .collect();
    let mut named = 0;
    for (document, text) in files(&["docs"], ".md").into_iter().chain(readme()) {
        // Tables and functions of Postgres have such names too.
        let is_of_postgres = |line: &&str| {
            ["| SELECT", "| EXECUTE", "| – | – |"].iter().any(|privilege| line.contains(privilege))
        };
        for line in text.lines().filter(|line| line.starts_with('|') && !is_of_postgres(line)) {
            let quoted = line.split('`').skip(1).step_by(2);
            let name = |word: &&str| {
                word.split('_').count() > 2 && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            };
            for test in quoted.filter(name).filter(|name| !is_no_test(name)) {
                assert!(tests.iter().any(|name| name == test), "{document} names {test}, which is no test");
                named += 1;
            }
        }
    }
    assert!(named > 40, "{named} names were found");
}

fn readme() -> Option<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    Some(("README.md".to_owned(), std::fs::read_to_string(file).unwrap()))
}
