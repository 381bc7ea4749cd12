//! A damaged table is copied aside before anything is done about it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::open::beside;
use crate::model::utc::civil;

/// Copies the table and its log to `<path>.damaged-<UTC time>` and `<path>.damaged-<UTC time>-wal`; the copy's path. A
/// copy of the very same bytes is not made twice: a daemon that is started again must not fill the disk.
///
/// # Errors
/// The file system's.
pub fn keep(path: &Path) -> io::Result<PathBuf> {
    for earlier in copies(path)? {
        if same(path, &earlier)? && same(&beside(path, "-wal"), &beside(&earlier, "-wal"))? {
            return Ok(earlier);
        }
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut copy = beside(path, &format!(".damaged-{}", utc(now)));
    let mut number = 1_u32;
    while copy.try_exists()? {
        number = number.saturating_add(1);
        copy = beside(path, &format!(".damaged-{}-{number}", utc(now)));
    }
    let log = beside(path, "-wal");
    if log.try_exists()? {
        write(&log, &beside(&copy, "-wal"))?;
    }
    write(path, &copy)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(copy)
}

fn write(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut copy = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    io::copy(&mut source, &mut copy)?;
    copy.sync_all()
}

/// Copies that were made before.
fn copies(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(Vec::new());
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let mut prefix = OsString::from(name);
    prefix.push(".damaged-");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(prefix.as_encoded_bytes()) && !bytes.ends_with(b"-wal") {
            found.push(folder.join(name));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether two files have the same bytes; two that are not there are the same.
fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let open = |path: &Path| match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    match (open(one)?, open(other)?) {
        (None, None) => Ok(true),
        (Some(one), Some(other)) => {
            if one.metadata()?.len() != other.metadata()?.len() {
                return Ok(false);
            }
            let (mut one, mut other) = (io::BufReader::new(one).bytes(), io::BufReader::new(other).bytes());
            loop {
                match (one.next().transpose()?, other.next().transpose()?) {
                    (None, None) => return Ok(true),
                    (left, right) if left != right => return Ok(false),
                    _ => {}
                }
            }
        }
        _ => Ok(false),
    }
}

/// Seconds since 1970 as `20261124T175900Z`.
fn utc(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let rest = seconds % 86_400;
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_795_543_199, "20261124T175959Z"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }

    #[test]
    fn the_same_damage_is_copied_once_and_another_one_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.db");
        std::fs::write(&path, b"damaged").unwrap();
        std::fs::write(beside(&path, "-wal"), b"log").unwrap();
        let first = keep(&path).unwrap();
        assert_eq!(std::fs::read(&first).unwrap(), b"damaged");
        assert_eq!(std::fs::read(beside(&first, "-wal")).unwrap(), b"log");
        assert_eq!(keep(&path).unwrap(), first);
        std::fs::write(beside(&path, "-wal"), b"gol").unwrap();
        let second = keep(&path).unwrap();
        assert_ne!(second, first);
        assert_eq!(std::fs::read(beside(&second, "-wal")).unwrap(), b"gol");
    }
}
