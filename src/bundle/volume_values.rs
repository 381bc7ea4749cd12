//! The values of a manifest's `[data]`: size, file system and mount point of the data volume.

use super::values::is_in;
use crate::model::volume::FileSystem;

/// What a size looks like.
pub(super) const SIZE: &str =
    "a size is a whole number of bytes, or one with KiB, MiB, GiB or TiB, such as \"1GiB\"";

/// A volume consists of whole blocks of this size.
const BLOCK: u64 = 4096;
const MIB: u64 = 1 << 20;
/// The largest file of ext4 with blocks of 4 KiB, on which a pool may well lie.
const LARGEST: u64 = 16 << 40;

/// Folders that are the system's with all that is in them.
const SYSTEM: [&str; 13] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/opt", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp",
    "/usr",
];
/// Folders that are the system's, while those of its services lie in them.
const SHARED: [&str; 3] = ["/home", "/var", "/var/lib"];
/// Folders in /var that are the system's with all that is in them: /var/run and /var/lock lead to /run.
const VAR: [&str; 4] = ["/var/run", "/var/lock", "/var/tmp", "/var/lib/systemd"];

/// A size as text, in bytes.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(SIZE.to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| SIZE.to_owned())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "it is more than can be counted".to_owned())
}

/// The size of a volume with this file system.
pub(super) fn size(bytes: u64, filesystem: FileSystem) -> Result<u64, String> {
    let least = match filesystem {
        FileSystem::Ext4 => 16 * MIB,
        // Less is refused by mkfs.xfs.
        FileSystem::Xfs => 300 * MIB,
    };
    let name = filesystem.as_str();
    if bytes < least {
        return Err(format!("{name} needs at least {} MiB", least / MIB));
    }
    if bytes > LARGEST {
        return Err("a data volume has at most 16 TiB".to_owned());
    }
    if !bytes.is_multiple_of(BLOCK) {
        return Err(format!("it must be a multiple of {BLOCK} bytes"));
    }
    Ok(bytes)
}

/// A file system that volumes are made with.
pub(super) fn filesystem(text: &str) -> Result<FileSystem, String> {
    [FileSystem::Ext4, FileSystem::Xfs]
        .into_iter()
        .find(|known| known.as_str() == text)
        .ok_or_else(|| "it is ext4 or xfs".to_owned())
}

/// Where a volume is mounted: absolute, normal, and no folder that the system needs.
pub(super) fn mount_point(text: &str) -> Result<String, String> {
    let Some(inner) = text.strip_prefix('/') else {
        return Err("a mount point must be absolute, such as /srv/web".to_owned());
    };
    if text.len() > 200 {
        return Err("a mount point may have at most 200 characters".to_owned());
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/._-+@".contains(&b);
    if !text.bytes().all(allowed) {
        return Err("only letters, digits and / . _ - + @ may stand in a mount point".to_owned());
    }
    if inner.is_empty() {
        return Err("/ is the guest's own file system; use a folder such as /srv/web".to_owned());
    }
    if inner
        .split('/')
        .any(|part| part.is_empty() || part == "." || part == ".." || part.len() > 255)
    {
        return Err("a mount point must be normal: no `..`, no `.`, no `//`, no `/` at its end".to_owned());
    }
    // /lib32, /lib64, /libx32
    let whole = SYSTEM.iter().chain(&VAR).find(|folder| is_in(text, folder));
    let lib = inner.split('/').next().filter(|first| first.starts_with("lib"));
    let shared = SHARED.iter().find(|folder| text == **folder);
    match (whole, lib, shared) {
        (None, None, None) => Ok(text.to_owned()),
        (Some(folder), _, _) => Err(taken(folder)),
        (_, Some(first), _) => Err(taken(&format!("/{first}"))),
        (_, _, Some(folder)) => Err(format!(
            "{folder} itself is the system's; use a folder below it, such as {folder}/web"
        )),
    }
}

fn taken(folder: &str) -> String {
    format!("{folder} is the system's; use a folder such as /srv/web or /var/lib/web")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_binary_units() {
        for (text, expected) in [
            ("16777216", Some(16_777_216)),
            ("20480KiB", Some(20_971_520)),
            ("16MiB", Some(16 << 20)),
            ("1GiB", Some(1 << 30)),
            ("2TiB", Some(2 << 40)),
            ("1GB", None),
            ("1 GiB", None),
            ("GiB", None),
            ("-1GiB", None),
            ("1.5GiB", None),
            ("99999999999TiB", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_size_fits_its_file_system() {
        for (bytes, filesystem, good) in [
            (16 * MIB, FileSystem::Ext4, true),
            (16 * MIB - BLOCK, FileSystem::Ext4, false),
            (299 * MIB, FileSystem::Xfs, false),
            (300 * MIB, FileSystem::Xfs, true),
            (16 * MIB + 1, FileSystem::Ext4, false),
            (LARGEST, FileSystem::Ext4, true),
            (LARGEST + BLOCK, FileSystem::Ext4, false),
        ] {
            assert_eq!(size(bytes, filesystem).is_ok(), good, "{bytes} {filesystem:?}");
        }
    }

    #[test]
    fn a_mount_point_is_outside_what_the_system_needs() {
        for good in [
            "/srv/web",
            "/srv",
            "/var/lib/web",
            "/mnt",
            "/data",
            "/data/web",
            "/home/web",
            "/var/www",
        ] {
            assert!(mount_point(good).is_ok(), "{good}: {:?}", mount_point(good));
        }
        for bad in [
            "",
            "/",
            "srv/web",
            "/srv/",
            "/srv//web",
            "/srv/./web",
            "/srv/../etc",
            "/opt",
            "/opt/web",
            "/etc/web",
            "/bin",
            "/boot/x",
            "/dev/shm",
            "/home",
            "/lib",
            "/lib64/x",
            "/libx32",
            "/proc/x",
            "/root",
            "/run/web",
            "/sbin",
            "/sys",
            "/tmp/web",
            "/usr/local",
            "/var",
            "/var/lib",
            "/var/run/web",
            "/var/lib/systemd/x",
            "/srv/a b",
            "/srv/a\\b",
            "/srv/ä",
        ] {
            assert!(mount_point(bad).is_err(), "{bad}");
        }
    }
}
