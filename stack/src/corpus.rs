//! Bytes that a fuzzer has kept, as files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Calls `check` with each file of a folder. The file that makes it panic is the last one that is named.
pub fn play(folder: &Path, check: fn(&[u8])) -> Result<()> {
    let mut files = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        println!("{}", path.display());
        check(&fs::read(&path)?);
        files += 1;
    }
    ensure!(files > 0, "{} is empty", folder.display());
    Ok(())
}
