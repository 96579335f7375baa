//! What a machine can check of the documents: links, make targets, test files, paths, and samples that must be of today.
//! (`tests/tidy.rs` looks for the tests they name, `tests/settings.rs` for the settings.)
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Markdown file of the repository with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 20, "only {} documents", found.len());
    found
}

fn text_of(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// The names of files in a folder, without their extension.
fn stems(folder: &str, extension: &str) -> Vec<String> {
    let files = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// The lines of code blocks, and what stands between backticks elsewhere.
fn code(text: &str) -> Vec<&str> {
    let (mut found, mut in_block) = (Vec::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            found.push(line);
        } else {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// As GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

#[test]
fn links_lead_somewhere() {
    let mut counted = 0;
    for (path, text) in documents() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ', '"']).next()) {
            if link.contains("://") {
                continue;
            }
            counted += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} leads nowhere", path.display());
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let there =
                    headings.map(|line| anchor(line.trim_start_matches('#'))).any(|found| found == heading);
                assert!(there, "{}: {link} names no heading", path.display());
            }
        }
    }
    assert!(counted > 50, "{counted} links were found");
}

/// `make X` in code, and in blocks of commands.
#[test]
fn make_targets_exist() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let exists = |target: &str| {
        let part = ["-down", "-up", "-freeze", "-thaw"].iter().find_map(|verb| target.strip_suffix(verb));
        let of_a_part = part.is_some_and(|part| {
            part == "X" || makefile.lines().any(|line| line.starts_with("PARTS") && line.contains(part))
        });
        of_a_part || makefile.lines().any(|line| line.starts_with(&format!("{target}:")))
    };
    let mut counted = 0;
    for (path, text) in documents() {
        for code in code(&text) {
            let mut words = code.split_whitespace().skip_while(|word| word.contains('='));
            if words.next() != Some("make") {
                continue;
            }
            for target in words.take_while(|word| *word != "#").filter(|word| !word.contains('=')) {
                assert!(exists(target), "{}: `make {target}` is no target", path.display());
                counted += 1;
            }
        }
    }
    assert!(counted > 30, "{counted} targets were found");
}

#[test]
fn test_files_exist() {
    let files = [stems("tests", "rs"), stems("bonus/tests", "rs"), stems("stack/tests", "rs")].concat();
    let mut counted = 0;
    for (path, text) in documents() {
        for name in text.split("--test ").skip(1) {
            let name = name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            let folder = ["tests", "engine/tests", "bonus/tests"]
                .iter()
                .any(|folder| root().join(folder).join(name).is_dir());
            assert!(folder || files.iter().any(|file| file == name), "{}: --test {name}", path.display());
            counted += 1;
        }
    }
    assert!(counted > 2, "{counted} test files were found");
}

/// Paths in code, as far as they say a file: `src/order/decide.rs`, `stack/kafka`.
#[test]
fn files_that_are_named_exist() {
    const FOLDERS: [&str; 13] = [
        "src",
        "tests",
        "engine",
        "bonus",
        "kit",
        "operations",
        "stack",
        "docs",
        "ops",
        "contract",
        "migrations",
        "benches",
        "examples",
    ];
    let mut counted = 0;
    for (path, text) in documents() {
        // What was so at its time stays as it was.
        if path.starts_with(root().join("docs/adr")) || path.ends_with("CHANGELOG.md") {
            continue;
        }
        for code in code(&text) {
            let plain = code.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
            let inside = code.split_once('/').is_some_and(|(folder, _)| FOLDERS.contains(&folder));
            if plain && inside {
                assert!(root().join(code).exists(), "{}: there is no {code}", path.display());
                counted += 1;
            }
        }
    }
    assert!(counted > 20, "{counted} files were found");
}

#[test]
fn the_sample_of_orders_check_has_the_newest_schema() {
    let page = text_of("docs/command-line.md");
    let files = [stems("engine/migrations", "sql"), stems("migrations", "sql")].concat();
    let newest = files.iter().map(|name| name[..4].parse::<u32>().unwrap()).max().unwrap();
    let line = page.lines().find(|line| line.starts_with(" schema ")).unwrap();
    assert!(line.contains(&format!(" version {newest}, as this binary has it")), "{line}: it is {newest}");
}

/// A stranger reads it in three minutes; the rest is in docs/.
const README_LINES_MAX: usize = 150;

#[test]
fn the_readme_is_short() {
    let lines = text_of("README.md").lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines");
}

/// Every document in docs/ can be reached from the README.
#[test]
fn the_readme_leads_to_every_document() {
    let readme = text_of("README.md");
    let documents = stems("docs", "md");
    assert!(documents.len() > 8, "{documents:?}");
    for document in documents {
        assert!(
            readme.contains(&format!("](docs/{document}.md)")),
            "README.md has no link to docs/{document}.md"
        );
    }
}

/// Name and title of each step that the source plays.
fn steps_of(source: &str) -> Vec<(&str, &str)> {
    let played = source.split("play(\"").skip(1).map(|rest| {
        let mut quoted = rest.split('"').step_by(2);
        (quoted.next().unwrap(), quoted.next().unwrap())
    });
    played.collect()
}

#[test]
fn the_steps_of_the_demo_with_redis_are_listed() {
    let (page, source) = (text_of("docs/demo.md"), text_of("stack/src/demo/streams.rs"));
    let steps = steps_of(&source);
    assert_eq!(steps.len(), 9, "{steps:?}");
    for (name, title) in steps {
        assert!(page.contains(&format!("| {name} | {title} |")), "docs/demo.md does not list step {name}");
    }
}

/// The README's summary of the demo and the output in docs/demo.md: the steps are the demo's, the figures one run's.
#[test]
fn the_summary_of_the_demo_is_of_the_run_that_is_shown() {
    let (readme, page) = (text_of("README.md"), text_of("docs/demo.md"));
    let source = text_of("stack/src/demo/mod.rs");
    let steps = steps_of(&source);
    assert_eq!(steps.len(), 10, "{steps:?}");
    for (name, title) in steps {
        assert!(page.contains(&format!("\n{name}) {title}\n")), "docs/demo.md does not have step {name}");
        let row = format!("| {name} | {title} | pass | ");
        let row = readme.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("README.md does not have step {name}"));
        let words = row.split('|').nth(4).unwrap().split([' ', ',']);
        for figure in words.filter(|word| word.parse::<f64>().is_ok()) {
            let there = page.contains(&format!(" {figure} ")) || page.contains(&format!(" {figure}\n"));
            assert!(there, "README.md, step {name}: {figure} is not in docs/demo.md");
        }
    }
}

/// A row of docs/failures.md names a test, or the command that shows it: one for each message queue where the queues have columns and
/// the fault exists. (`tests/tidy.rs` looks for the tests.)
#[test]
fn every_fault_names_what_shows_it() {
    let page = text_of("docs/failures.md");
    let mut has_queues = false;
    let mut faults = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        if row.starts_with("| down |") {
            has_queues = row.starts_with("| down | with Kafka | with Redis Streams |");
        } else {
            faults.push((row, has_queues));
        }
    }
    assert!(faults.len() > 40, "{} faults", faults.len());
    assert!(faults.iter().filter(|(_, has_queues)| *has_queues).count() > 20);
    for (row, has_queues) in &faults {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 5, "{row}");
        // What is claimed, and what shows it. Where the queues have no columns of their own, the row as a whole.
        let claims: &[(usize, usize)] = if *has_queues { &[(1, 3), (2, 4)] } else { &[(0, 4)] };
        for (claim, by) in claims {
            let is_claimed = !cells[*claim].trim().starts_with('–');
            assert!(!is_claimed || cells[*by].contains('`'), "nothing shows it: {row}");
        }
    }
}
