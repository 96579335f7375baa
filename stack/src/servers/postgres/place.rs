//! Where the server's programs and data are, and whose they are.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::unistd::{User, geteuid};

use crate::place;

/// The directory of the server's programs: on the PATH, else the newest of Debian's.
pub(crate) fn binaries() -> Result<PathBuf> {
    if let Some(initdb) = place::on_path("initdb") {
        // `postgres` finds its files relative to itself, and may be linked alone into a common directory.
        let real = fs::canonicalize(&initdb)?;
        if let Some(directory) = real.parent().filter(|directory| directory.join("postgres").exists()) {
            return Ok(directory.to_owned());
        }
    }
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("bin/initdb").exists())
        .max_by_key(version)
        .map(|path| path.join("bin"))
        .context("PostgreSQL's server programs are not installed (Debian: the package postgresql); `make deps` helps")
}

/// PostgreSQL refuses to run as root.
pub(in crate::servers) fn unprivileged_user() -> Result<Option<(u32, u32)>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some((user.uid.as_raw(), user.gid.as_raw())));
        }
    }
    bail!(
        "PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody to run it as"
    )
}

/// Where the data go: into `directory`, if the server's user gets there.
pub(in crate::servers) fn data_home(directory: &Path, user: Option<(u32, u32)>) -> Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let directory = fs::canonicalize(directory)?;
    if user.is_none() {
        return Ok(directory);
    }
    let passable = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o001 != 0);
    if directory.ancestors().skip(1).all(passable) {
        let mode = fs::metadata(&directory)?.mode();
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode | 0o011))?;
        return Ok(directory);
    }
    let home = elsewhere(&directory);
    fs::create_dir_all(&home)?;
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755))?;
    Ok(home)
}

/// The directory that stands in for one whose ancestors the server's user may not pass.
pub(crate) fn elsewhere(directory: &Path) -> PathBuf {
    // FNV-1a: the name must stay the same over versions of the compiler, which std's hasher does not promise.
    let hash =
        directory.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    PathBuf::from(format!("/var/tmp/orders-stack-{hash:016x}"))
}
