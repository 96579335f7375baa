//! Where Apache Kafka's program files come from: `KAFKA_HOME`, the cache, Maven, or an installation on the PATH.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::place;

const POM: &str = include_str!("../../../kafka/pom.xml");
const ARCHIVE: &str = "broker.jsa";
/// Kafka 4 brokers need it.
const JAVA_LEAST: u32 = 17;

/// A runnable Apache Kafka.
#[derive(Debug, Clone)]
pub struct KafkaFiles {
    pub java: PathBuf,
    /// All `.jar` files in here.
    pub libraries: PathBuf,
    pub version: String,
    pub archive: Archive,
    pub manner: Manner,
}

/// How the broker runs.
#[derive(Debug, Clone, Copy, Default)]
pub enum Manner {
    /// Compiled quickly and plainly: the broker is up sooner, and leaves the cores to others.
    #[default]
    Plain,
    /// Compiled as Kafka's own scripts have it: the broker takes both cores of a small machine for half a minute, and a third less from
    /// then on.
    Compiled,
    /// Plain, and with the lowest priority (`nice`): the service notices less of its start, as if it had a machine of its own. Where the
    /// kernel shares the cores out by session (autogroup), that leaves Postgres' backends aside.
    Behind,
}

/// The broker's classes as Java has them in memory: with it a broker is up in about half the time.
#[derive(Debug, Clone)]
pub enum Archive {
    /// Not for files that are not ours.
    None,
    /// If it is there. Java goes on without one that does not suit it.
    Use(PathBuf),
    /// This run writes it, as it ends.
    Write(PathBuf),
}

/// Finds Apache Kafka, fetching it by Maven if need be, which takes seconds to a minute the first time.
pub fn find() -> Result<KafkaFiles> {
    let java = java()?;
    if let Some(home) = std::env::var_os("KAFKA_HOME").filter(|home| !home.is_empty()) {
        let libraries =
            fs::canonicalize(Path::new(&home).join("libs")).context("KAFKA_HOME holds no folder libs")?;
        return Ok(KafkaFiles {
            java,
            version: installed_version(&libraries)?,
            libraries,
            archive: Archive::None,
            manner: Manner::default(),
        });
    }
    let version = pinned_version()?.to_owned();
    let cache = cache(&version);
    let fetched = if is_complete(&cache) { Ok(()) } else { fetch(&cache) };
    match (fetched, on_path()) {
        (Ok(()), _) => {
            let archive = Archive::Use(cache.join(ARCHIVE));
            Ok(KafkaFiles { java, libraries: cache, version, archive, manner: Manner::default() })
        }
        (Err(_), Some(libraries)) => Ok(KafkaFiles {
            java,
            version: installed_version(&libraries)?,
            libraries,
            archive: Archive::None,
            manner: Manner::default(),
        }),
        (Err(error), None) => Err(error),
    }
}

fn pinned_version() -> Result<&'static str> {
    let after = POM.split_once("<kafka.version>").context("the pom pins no kafka.version")?.1;
    Ok(after.split_once('<').context("the pom's kafka.version does not end")?.0)
}

/// `.stack/kafka-<version>`, or `STACK_KAFKA_CACHE` for machines that share one.
fn cache(version: &str) -> PathBuf {
    std::env::var_os("STACK_KAFKA_CACHE")
        .filter(|cache| !cache.is_empty())
        .map_or_else(|| place::home().join(format!("kafka-{version}")), PathBuf::from)
}

fn is_complete(libraries: &Path) -> bool {
    installed_version(libraries).is_ok()
}

fn installed_version(libraries: &Path) -> Result<String> {
    let version = |name: String| Some(name.strip_prefix("kafka_2.13-")?.strip_suffix(".jar")?.to_owned());
    fs::read_dir(libraries)
        .with_context(|| format!("cannot read {}", libraries.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find_map(version)
        .with_context(|| format!("{} holds no Apache Kafka broker", libraries.display()))
}

fn on_path() -> Option<PathBuf> {
    let start = place::on_path("kafka-server-start").or_else(|| place::on_path("kafka-server-start.sh"))?;
    let libraries = fs::canonicalize(start).ok()?.parent()?.parent()?.join("libs");
    is_complete(&libraries).then_some(libraries)
}

/// Copies the pinned files into the cache. Two at a time wait for each other.
fn fetch(cache: &Path) -> Result<()> {
    let maven = place::on_path("mvn").context(
        "Apache Kafka is not here, and neither is Maven to fetch it (Debian: the package maven); \
         `make deps` helps, or set KAFKA_HOME",
    )?;
    let parent = cache.parent().context("the Kafka cache has no parent directory")?;
    fs::create_dir_all(parent)?;
    let lock = File::create(parent.join("kafka-fetch.lock"))?;
    lock.lock()?;
    if is_complete(cache) {
        return Ok(());
    }
    // Made under another name, so that one which was cut short is never taken for a whole one.
    let draft = tempfile::tempdir_in(parent)?;
    fs::write(draft.path().join("pom.xml"), POM)?;
    let libraries = draft.path().join("libs");
    let output = Command::new(maven)
        .args(["-q", "-B", "dependency:copy-dependencies"])
        .arg(format!("-DoutputDirectory={}", libraries.display()))
        .current_dir(draft.path())
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() || !is_complete(&libraries) {
        let (said, erred) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("Maven could not fetch Apache Kafka:\n{said}{erred}");
    }
    if cache.exists() {
        fs::remove_dir_all(cache)?;
    }
    Ok(fs::rename(&libraries, cache)?)
}

fn java() -> Result<PathBuf> {
    let java = std::env::var_os("JAVA_HOME")
        .map(|home| Path::new(&home).join("bin/java"))
        .filter(|java| java.is_file())
        .or_else(|| place::on_path("java"))
        .context("Java is not installed (Debian: openjdk-17-jre-headless or newer); `make deps` helps")?;
    let output = Command::new(&java).arg("-version").stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match major_version(&said) {
        Some(version) if version >= JAVA_LEAST => Ok(java),
        _ => bail!("Apache Kafka needs Java {JAVA_LEAST} or newer; {} says: {said}", java.display()),
    }
}

/// Of `openjdk version "17.0.15" 2025-04-15`; Java 8 called itself 1.8.
fn major_version(said: &str) -> Option<u32> {
    let quoted = said.split('"').nth(1)?;
    quoted.split(['.', '-', '+']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(major_version("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(major_version("java version \"1.8.0_392\""), Some(1));
        assert_eq!(major_version("openjdk version \"25-ea\" 2025-09-16"), Some(25));
        assert_eq!(major_version("command not found"), None);
        assert!(pinned_version().unwrap().starts_with("4."));
    }
}
