//! Where things are: the repository, the tool's own directory, programs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The repository's root: above the working directory, else above this program, else where this crate was built.
pub fn repository() -> PathBuf {
    let is_root = |path: &&Path| path.join("stack/kafka/pom.xml").exists();
    let above = |path: PathBuf| path.ancestors().find(is_root).map(Path::to_owned);
    std::env::current_dir()
        .ok()
        .and_then(above)
        .or_else(|| std::env::current_exe().ok().and_then(above))
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
}

/// The tool's own directory: caches, data, logs. `.stack` in the repository, or `STACK_HOME`.
pub fn home() -> PathBuf {
    std::env::var_os("STACK_HOME").map_or_else(|| repository().join(".stack"), PathBuf::from)
}

/// A program on the PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|path| path.join(program))
        .find(|path| path.is_file())
}

/// One of the workspace's own programs: told by `variable`, else beside this one, else where some build has left it.
pub fn workspace_program(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(told) = std::env::var_os(variable).filter(|told| !told.is_empty()) {
        let told = PathBuf::from(told);
        return std::fs::canonicalize(&told)
            .with_context(|| format!("{variable}={} is no file", told.display()));
    }
    let beside = std::env::current_exe().ok().and_then(|exe| {
        // Cargo puts test programs into `deps`, one below.
        let directory = exe.parent()?;
        Some(if directory.ends_with("deps") { directory.parent()?.join(name) } else { directory.join(name) })
    });
    let built = ["release", "play", "debug"].map(|profile| target().join(profile).join(name));
    let found = beside.into_iter().chain(built).find(|path| path.is_file());
    let found = found.with_context(|| format!("{name} is not built; run `make build`, or set {variable}"))?;
    // Absolute, since it will be started in another directory.
    Ok(std::fs::canonicalize(found)?)
}

/// Cargo's output directory.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}
