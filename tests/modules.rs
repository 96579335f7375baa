//! The graph of modules runs one way: inside a crate no module depends on one that depends on it. Between crates cargo sees to that.
//!
//! Compared are siblings: what anything in `a` uses of anything in `b`, below the module that has both. A file may use what its parent has:
//! the parts of an actor lie in files of their own.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Module = Vec<String>;

/// Not looked into, and why.
const EXCUSED: [(&str, &[&str], &str); 1] = [(
    "engine",
    &["publisher", "simulation"],
    "a model that is a test: instances and their world act on each other, as they do in life",
)];

/// Every module of a crate, with its code.
fn modules(crate_folder: &str) -> BTreeMap<Module, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(crate_folder).join("src");
    let (mut found, mut open) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let place = path.strip_prefix(&root).unwrap().with_extension("");
                let mut module: Module = place.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
                if ["lib", "main", "mod"].contains(&module.last().unwrap().as_str()) {
                    module.pop();
                }
                let text = std::fs::read_to_string(&path).unwrap();
                found.entry(module).or_insert_with(String::new).push_str(&code(&text));
            }
        }
    }
    found
}

/// Without comments, and without the tests at a file's end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect()
}

/// Every path in `code` that begins with `crate`, `super` or `self`; of a group in braces one for each member.
fn paths(code: &str) -> Vec<Module> {
    let mut found = Vec::new();
    let bytes = code.as_bytes();
    for start in ["crate::", "super::", "self::"] {
        for (place, _) in code.match_indices(start) {
            let inside_a_path = place > 0 && (bytes[place - 1] == b':' || is_word(bytes[place - 1]));
            if !inside_a_path {
                tree(&code[place..], &mut Vec::new(), &mut found);
            }
        }
    }
    found
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Reads one path or one group. Returns how many bytes it takes.
fn tree(text: &str, before: &mut Module, found: &mut Vec<Module>) -> usize {
    let spaces = text.len() - text.trim_start().len();
    let rest = &text[spaces..];
    if rest.starts_with('{') {
        let mut at = 1;
        loop {
            at += tree(&rest[at..], before, found);
            let gap = rest[at..].len() - rest[at..].trim_start().len();
            at += gap;
            match rest[at..].chars().next() {
                Some(',') => at += 1,
                _ => return spaces + at + 1,
            }
        }
    }
    let word = rest.bytes().take_while(|byte| is_word(*byte)).count();
    before.push(rest[..word].to_owned());
    let taken = match rest[word..].strip_prefix("::") {
        Some(further) => word + 2 + tree(further, before, found),
        None => {
            found.push(before.clone());
            let renamed = rest[word..]
                .strip_prefix(" as ")
                .map_or(0, |alias| 4 + alias.bytes().take_while(|byte| is_word(*byte)).count());
            word + renamed
        }
    };
    before.pop();
    spaces + taken
}

/// The module that a path from `from` leads to, or into.
fn target(from: &Module, path: &Module, modules: &BTreeMap<Module, String>) -> Option<Module> {
    let mut at = if path[0] == "crate" { Module::new() } else { from.clone() };
    for part in path {
        match part.as_str() {
            "crate" | "self" => {}
            "super" => {
                at.pop()?;
            }
            name => {
                at.push(name.to_owned());
                if !modules.contains_key(&at) {
                    at.pop();
                    break;
                }
            }
        }
    }
    Some(at)
}

/// Which siblings use which.
fn edges(modules: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut edges: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (from, code) in modules {
        for to in paths(code).iter().filter_map(|path| target(from, path, modules)) {
            let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
            // One of them is inside the other.
            if common == from.len() || common == to.len() {
                continue;
            }
            edges.entry(from[..=common].to_vec()).or_default().insert(to[..=common].to_vec());
        }
    }
    edges
}

/// A way from a module back to itself.
fn cycle(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<String>> {
    fn walk(
        at: &Module,
        edges: &BTreeMap<Module, BTreeSet<Module>>,
        way: &mut Vec<Module>,
        done: &mut BTreeSet<Module>,
    ) -> Option<Vec<String>> {
        if let Some(begin) = way.iter().position(|module| module == at) {
            way.push(at.clone());
            return Some(way[begin..].iter().map(|module| module.join("::")).collect());
        }
        if !done.insert(at.clone()) {
            return None;
        }
        way.push(at.clone());
        let found = edges.get(at).into_iter().flatten().find_map(|next| walk(next, edges, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|module| walk(module, edges, &mut Vec::new(), &mut done))
}

#[test]
fn no_module_depends_on_one_that_depends_on_it() {
    for folder in [".", "engine", "kit", "operations", "bonus", "stack"] {
        let mut modules = modules(folder);
        for (_, excused, _) in EXCUSED.iter().filter(|(of, ..)| *of == folder) {
            let before = modules.len();
            modules.retain(|module, _| {
                !module.iter().map(String::as_str).take(excused.len()).eq(excused.iter().copied())
            });
            assert!(modules.len() < before, "{excused:?} is not there any more");
        }
        let edges = edges(&modules);
        assert!(edges.len() > 2, "{folder}: the modules were not found");
        let cycle = cycle(&edges);
        assert_eq!(cycle, None, "in {folder}");
    }
}

#[test]
fn paths_are_found_in_groups_and_in_the_middle_of_code() {
    let code =
        "use super::{a::{X, self as y}, b::Z};\nlet x = crate::c::d::f(crate::E, 1);\nuse kit::super_b;";
    let found: Vec<String> = paths(code).iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["crate::c::d::f", "crate::E", "super::a::X", "super::a::self", "super::b::Z"]);
}

#[test]
fn a_cycle_is_found_whatever_its_length() {
    let module = |name: &str| vec![name.to_owned()];
    let graph = |edges: &[(&str, &str)]| {
        let mut graph: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        for (from, to) in edges {
            graph.entry(module(from)).or_default().insert(module(to));
        }
        graph
    };
    assert_eq!(cycle(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    let found = cycle(&graph(&[("a", "b"), ("b", "c"), ("c", "b")])).unwrap();
    assert_eq!(found, ["b", "c", "b"]);
}

/// What no manifest can forbid.
#[test]
fn the_engine_knows_no_order_no_http_and_no_environment() {
    for (module, code) in modules("engine") {
        if module.iter().any(|part| part == "simulation") {
            continue;
        }
        for foreign in ["OrderId", "order_id", "order_event", "actix_web", "utoipa", "std::env", "http::"] {
            assert!(!code.contains(foreign), "{} has {foreign}", module.join("::"));
        }
        let may_know_kafka =
            module.first().is_some_and(|part| ["transport", "traces"].contains(&part.as_str()));
        assert!(may_know_kafka || !code.contains("kafka"), "{} knows Kafka", module.join("::"));
    }
}
