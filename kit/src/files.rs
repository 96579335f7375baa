//! Files that settings name: passwords, certificates, keys.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, ensure};

const PASSWORD_BYTES_MAX: usize = 4_096;

/// The content of a regular file of at most so many bytes. An error has the path, and nothing of the content.
pub fn read(path: &Path, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let unreadable = || format!("{shown} cannot be read");
    let metadata = fs::metadata(path).with_context(unreadable)?;
    ensure!(!metadata.is_dir(), "{shown} is a directory: name a file in it");
    // A pipe may never answer.
    ensure!(metadata.is_file(), "{shown} is no regular file");
    let mut content = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)
        .with_context(unreadable)?
        .take(limit)
        .read_to_end(&mut content)
        .with_context(unreadable)?;
    ensure!(content.len() <= bytes_max, "{shown} has more than {bytes_max} bytes");
    Ok(content)
}

/// A file with a password. It is read for each connection, so it may be replaced at any time.
#[derive(Debug, Clone)]
pub struct PasswordFile(PathBuf);

impl PasswordFile {
    /// Without the line break at its end, which editors add.
    pub fn read(&self) -> anyhow::Result<String> {
        let shown = self.0.display();
        let content = read(&self.0, PASSWORD_BYTES_MAX)?;
        let Ok(mut password) = String::from_utf8(content) else { anyhow::bail!("{shown} is not UTF-8") };
        if password.ends_with('\n') {
            password.pop();
            if password.ends_with('\r') {
                password.pop();
            }
        }
        ensure!(!password.is_empty(), "{shown} is empty");
        Ok(password)
    }
}

impl From<PathBuf> for PasswordFile {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl FromStr for PasswordFile {
    type Err = std::convert::Infallible;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        Ok(Self(path.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(content: &[u8]) -> Result<String, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        fs::write(&path, content).unwrap();
        PasswordFile(path).read().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn one_line_break_at_the_end_does_not_count() {
        for (content, read) in [
            ("hush", "hush"),
            ("hush\n", "hush"),
            ("hush\r\n", "hush"),
            ("hush\n\n", "hush\n"),
            (" h u s h ", " h u s h "),
        ] {
            assert_eq!(password(content.as_bytes()).unwrap(), read);
        }
    }

    #[test]
    fn what_is_no_password_is_refused_and_not_shown() {
        for (content, reason) in [
            (b"".as_slice(), "is empty"),
            (b"\n", "is empty"),
            (b"hush\xff", "is not UTF-8"),
            (&[b'h'; PASSWORD_BYTES_MAX + 1], "has more than 4096 bytes"),
        ] {
            let error = password(content).unwrap_err();
            assert!(error.contains(reason) && !error.contains("hh") && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn what_is_no_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = read(directory.path(), 1).unwrap_err().to_string();
        assert!(error.ends_with("is a directory: name a file in it"), "{error}");
        let error = read(Path::new("/dev/null"), 1).unwrap_err().to_string();
        assert_eq!(error, "/dev/null is no regular file");
        let error = format!("{:#}", read(&directory.path().join("x"), 1).unwrap_err());
        assert!(error.contains("x cannot be read: No such file"), "{error}");
    }
}
