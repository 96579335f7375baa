//! What the Dockerfile makes before its first `cargo build` is accepted by cargo: every manifest with every target it names.
//! Without an engine: the steps are carried out in a folder, on what .dockerignore lets in.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const DOCKERFILE: &str = include_str!("../Dockerfile");
const IGNORED: &str = include_str!("../.dockerignore");
/// As it was while every member and target had to be remembered here; the benches were forgotten, and so would be later members.
const BY_HAND: &str = "FROM rust AS build\n\
    RUN apt-get update\n\
    WORKDIR /build\n\
    COPY Cargo.toml Cargo.lock ./\n\
    COPY bonus/Cargo.toml bonus/\n\
    COPY stack/Cargo.toml stack/\n\
    RUN mkdir -p src bonus/src stack/src \\\n\
     && touch src/lib.rs bonus/src/lib.rs stack/src/lib.rs \\\n\
     && for crate in . bonus stack; do echo 'fn main() {}' > \"$crate/src/main.rs\"; done \\\n\
     && cargo build --release --locked -p orders -p bonus\n";

/// A pattern of .dockerignore against a path, segment by segment: `*` stands for any part of one, `**` for any number of them.
fn matches(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, _) => path.is_empty(),
        (Some((&"**", rest)), _) => (0..=path.len()).any(|skipped| matches(rest, &path[skipped..])),
        (Some((first, rest)), Some((name, more))) => segment_matches(first, name) && matches(rest, more),
        (Some(_), None) => false,
    }
}

fn segment_matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && segment_matches(after, &rest[at..]))
        }),
    }
}

/// What `docker build .` sends to the engine.
fn context(ignored: &str) -> tempfile::TempDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let patterns: Vec<Vec<&str>> = ignored
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split('/').collect())
        .collect();
    let lets_in = |path: &Path| {
        let path: Vec<&str> =
            path.strip_prefix(root).unwrap().iter().map(|segment| segment.to_str().unwrap()).collect();
        !patterns.iter().any(|pattern| matches(pattern, &path))
    };
    let sent = tempfile::tempdir().unwrap();
    copy(root, sent.path(), &lets_in);
    sent
}

/// A file, or what is in a folder.
fn copy(from: &Path, to: &Path, wanted: &dyn Fn(&Path) -> bool) {
    if from.is_file() {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
        return;
    }
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if wanted(&path) {
            copy(&path, &to.join(path.file_name().unwrap()), wanted);
        }
    }
}

/// Carries a Dockerfile out as far as its first `cargo build`, each stage in a folder of its own.
struct Build<'a> {
    context: &'a Path,
    stages: tempfile::TempDir,
    names: BTreeMap<String, usize>,
    /// The values of `--build-arg`, by name.
    arguments: BTreeMap<String, String>,
    /// The present stage, and its working directory below the stage's folder.
    stage: usize,
    workdir: String,
}

impl<'a> Build<'a> {
    fn new(context: &'a Path) -> Self {
        let stages = tempfile::tempdir().unwrap();
        let (names, arguments) = (BTreeMap::new(), BTreeMap::new());
        Self { context, stages, names, arguments, stage: 0, workdir: String::new() }
    }

    fn with(mut self, argument: &str, value: &str) -> Self {
        self.arguments.insert(argument.to_owned(), value.to_owned());
        self
    }

    /// What cargo says against the manifests that its first build would find.
    fn first_build(mut self, dockerfile: &str) -> Result<(), String> {
        let whole = dockerfile.replace("\\\n", " ");
        for line in whole.lines().filter(|line| !line.starts_with('#')) {
            let (instruction, rest) = line.split_once(' ').unwrap_or((line, ""));
            match instruction {
                "FROM" => {
                    self.stage += 1;
                    self.workdir.clear();
                    self.names.extend(rest.split_once(" AS ").map(|(_, name)| (name.to_owned(), self.stage)));
                }
                "WORKDIR" => rest.trim_start_matches('/').clone_into(&mut self.workdir),
                "COPY" => self.copy(rest),
                "ARG" => {
                    let (name, default) = rest.split_once('=').unwrap_or((rest, ""));
                    let default = default.trim_matches('"').to_owned();
                    self.arguments.entry(name.to_owned()).or_insert(default);
                }
                // Of the image's system, which this machine has in its own way.
                "RUN" if rest.starts_with("apt-get ") => {}
                "RUN" => match rest.split_once("cargo build") {
                    None => self.run(rest)?,
                    Some((before, arguments)) => {
                        self.run(before.trim_end().trim_end_matches("&&"))?;
                        let arguments = arguments.split("&&").next().unwrap().to_owned();
                        let expanded = self
                            .arguments
                            .iter()
                            .fold(arguments, |text, (name, value)| text.replace(&format!("${name}"), value));
                        return self.cargo_build(&expanded);
                    }
                },
                _ => {}
            }
        }
        Err("there is no `cargo build`".to_owned())
    }

    fn folder(&self) -> PathBuf {
        let folder = self.stages.path().join(self.stage.to_string()).join(&self.workdir);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn copy(&self, arguments: &str) {
        let mut paths: Vec<&str> = arguments.split_whitespace().collect();
        let to = self.folder().join(paths.pop().unwrap());
        let from = match paths.first().and_then(|first| first.strip_prefix("--from=")) {
            None => self.context.to_owned(),
            Some(stage) => {
                paths.remove(0);
                self.stages.path().join(self.names[stage].to_string())
            }
        };
        for path in paths {
            let from = from.join(path.trim_start_matches('/'));
            let to = if from.is_file() { to.join(from.file_name().unwrap()) } else { to.clone() };
            copy(&from, &to, &|_| true);
        }
    }

    /// As far as the first call of the compiler, which comes after every check of the manifests. `cargo metadata` and `cargo tree`
    /// would not miss a target.
    fn cargo_build(&self, arguments: &str) -> Result<(), String> {
        const ACCEPTED: &str = "the manifests are accepted";
        let wrapper = self.stages.path().join("rustc");
        let questions = "case \" $* \" in *' -vV '* | *' --print='*) exec \"$@\" ;; esac";
        fs::write(&wrapper, format!("#!/bin/sh\n{questions}\necho '{ACCEPTED}' >&2\nexit 1\n")).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--offline", "--jobs=1"]).args(arguments.split_whitespace());
        cargo.env("RUSTC_WRAPPER", wrapper).env_remove("CARGO_TARGET_DIR").current_dir(self.folder());
        let said = String::from_utf8_lossy(&cargo.output().unwrap().stderr).into_owned();
        if said.contains(ACCEPTED) { Ok(()) } else { Err(said) }
    }

    /// On this machine, so only what stays in the folder.
    fn run(&self, command: &str) -> Result<(), String> {
        let absolute = |word: &str| word.starts_with('/') && word != "/dev/null";
        let leaves = command.split([' ', '>', '"', '\'']).any(|word| absolute(word) || word.contains(".."));
        assert!(!leaves, "a step before the first build works on relative paths: {command}");
        let mut shell = Command::new("sh");
        shell.args(["-ec", command]).current_dir(self.folder()).env_remove("CARGO_TARGET_DIR");
        let output = shell.output().unwrap();
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

#[test]
fn cargo_accepts_what_the_image_builds_its_dependencies_from() {
    let context = context(IGNORED);
    Build::new(context.path()).first_build(DOCKERFILE).unwrap();
}

/// As docker-compose.redis.yml has it.
#[test]
fn without_kafka_no_c_library_of_it_is_built() {
    let options = "--no-default-features";
    let context = context(IGNORED);
    Build::new(context.path()).with("CARGO_OPTIONS", options).first_build(DOCKERFILE).unwrap();
    let builds: Vec<&str> = DOCKERFILE.lines().filter(|line| line.contains("cargo build")).collect();
    assert_eq!(builds.len(), 2);
    assert!(builds.iter().all(|line| line.ends_with(" -p orders -p bonus $CARGO_OPTIONS")), "{builds:?}");
    let built = |options: &[&str]| {
        let mut cargo = Command::new("cargo");
        cargo.args(["tree", "--offline", "--locked", "--edges=normal,build", "-p", "orders", "-p", "bonus"]);
        let output = cargo.args(options).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(built(&[]).contains("rdkafka-sys"));
    assert!(!built(&[options]).contains("rdkafka"));
}

#[test]
fn a_forgotten_target_is_noticed() {
    let context = context(IGNORED);
    let refused = |dockerfile: &str| Build::new(context.path()).first_build(dockerfile).unwrap_err();
    // Of a member, or of the bench, whichever cargo meets first.
    let error = refused(BY_HAND);
    assert!(error.contains("Cargo.toml"), "{error}");
    let without_benches = DOCKERFILE.replace(" ! -path '*/benches/*'", "");
    assert_ne!(without_benches, DOCKERFILE);
    let error = refused(&without_benches);
    assert!(error.contains("can't find `hot_paths` bench"), "{error}");
    let ignored = format!("{IGNORED}benches\n");
    let error = Build::new(self::context(&ignored).path()).first_build(DOCKERFILE).unwrap_err();
    assert!(error.contains("can't find `hot_paths` bench"), "{error}");
}

#[test]
fn a_new_member_with_every_kind_of_target_changes_nothing_here() {
    let context = context(IGNORED);
    let member = |file: &str| context.path().join("zzz").join(file);
    let targets =
        ["build.rs", "src/lib.rs", "src/main.rs", "src/bin/tool.rs", "benches/quick.rs", "examples/small.rs"];
    for target in targets {
        fs::create_dir_all(member(target).parent().unwrap()).unwrap();
        fs::write(member(target), "compile_error!(\"only its place matters\");\n").unwrap();
    }
    let manifest = "[package]\nname = \"zzz\"\nversion = \"0.1.0\"\nedition.workspace = true\n\
        [[bin]]\nname = \"tool\"\n[[bench]]\nname = \"quick\"\n[[example]]\nname = \"small\"\n";
    fs::write(member("Cargo.toml"), manifest).unwrap();
    let edit = |file: &str, change: &dyn Fn(String) -> String| {
        let path = context.path().join(file);
        let before = fs::read_to_string(&path).unwrap();
        let after = change(before.clone());
        assert_ne!(before, after, "{file}");
        fs::write(path, after).unwrap();
    };
    edit("Cargo.toml", &|text| text.replacen("members = [", "members = [\"zzz\", ", 1));
    edit("Cargo.lock", &|text| text + "\n[[package]]\nname = \"zzz\"\nversion = \"0.1.0\"\n");
    Build::new(context.path()).first_build(DOCKERFILE).unwrap();
}

#[test]
fn patterns_are_those_of_the_engine() {
    let ignored = |pattern: &str, path: &str| {
        matches(&pattern.split('/').collect::<Vec<_>>(), &path.split('/').collect::<Vec<_>>())
    };
    assert!(ignored("**/target", "target") && ignored("**/target", "bonus/target"));
    assert!(ignored("**/.*", ".git") && ignored("*.md", "README.md") && ignored("*/tests", "bonus/tests"));
    assert!(!ignored("*.md", "migrations/README.md") && !ignored("tests", "bonus/tests"));
    assert!(
        ignored("stack/src/*/*", "stack/src/demo/mod.rs") && !ignored("stack/src/*/*", "stack/src/lib.rs")
    );
    assert!(!IGNORED.lines().any(|line| line.starts_with('!')), "exceptions are not understood here");
}

/// An image begins from nothing: the loader there finds each library there, and the program runs.
#[test]
fn an_image_has_all_that_its_program_is_linked_with() {
    let image = tempfile::tempdir().unwrap();
    let whole = DOCKERFILE.replace("\\\n", " ");
    let (_, stage) = whole.split_once("FROM build AS root\n").unwrap();
    let script = stage.lines().find_map(|line| line.strip_prefix("RUN ")).unwrap();
    let orders = env!("CARGO_BIN_EXE_orders");
    let bonus = Path::new(orders).with_file_name("bonus");
    // On this machine, in a folder, and with the programs of this build.
    let script = script
        .replace("/image", &image.path().display().to_string())
        .replace("target/release/orders", orders)
        .replace("target/release/bonus", &bonus.display().to_string());
    let output = Command::new("sh").args(["-ec", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let files = found(image.path());
    let loader = files.iter().find(|file| file.to_string_lossy().contains("/ld-linux")).unwrap();
    let folders: Vec<String> = files
        .iter()
        .filter(|file| file.to_string_lossy().contains(".so."))
        .map(|file| file.parent().unwrap().display().to_string())
        .collect();
    let run = |arguments: &[&str]| {
        let mut program = Command::new(loader);
        program.args(["--inhibit-cache", "--library-path", &folders.join(":")]).args(arguments);
        let output = program.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let libraries = run(&["--list", orders]);
    let libraries: Vec<&str> =
        libraries.lines().filter_map(|line| line.split_once(" => ")).map(|(_, path)| path).collect();
    assert!(libraries.len() > 3, "{libraries:?}");
    for library in libraries {
        assert!(library.starts_with(image.path().to_str().unwrap()), "{library} is not in the image");
    }
    assert!(run(&[orders, "--version"]).starts_with("orders "));
    assert!(files.iter().any(|file| file.ends_with("etc/ssl/certs/ca-certificates.crt")));
}

fn found(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(found(&path)) } else { files.push(path) }
    }
    files
}
