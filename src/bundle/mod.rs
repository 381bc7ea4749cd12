//! Bundles: immutable squashfs images that hold a service's program, units and manifest.
//!
//! ```text
//! directory --build--> image --inspect--> Bundle {digest, manifest, units, contents, warnings}
//!   handover.toml          (temporary file,
//!   units/web.service       inspected before it
//!   bin/web …               takes its name)
//! ```
//!
//! An image's identity is the sha256 of its file. [`build`] gives the same image for the same directory, whatever
//! its times, owners and order; [`inspect`] trusts nothing in an image, and refuses exactly what `build` refuses.

use std::fmt;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use crate::model::ids::{Digest, InvalidId, ServiceId};
use crate::model::manifest::{Manifest, UnitFile};
use crate::model::unit::UnitName;
use crate::model::unit_file::UnitSyntaxError;

mod advice;
mod image;
mod inspect;
pub mod manifest_toml;
mod squashfs;
mod values;
mod volume_values;

pub use image::{BuildReport, build, build_at};
pub use inspect::inspect;
pub use manifest_toml::ManifestError;

/// A bundle image's size is a multiple of this, in bytes: QEMU rounds a disk down to whole sectors and a storage
/// with 4 KiB sectors would cut its tail.
pub const IMAGE_ALIGNMENT: u64 = 4096;
/// The largest `handover.toml`, in bytes.
pub const MAX_MANIFEST: usize = 64 * 1024;
/// The largest unit file, in bytes.
pub const MAX_UNIT_FILE: usize = 64 * 1024;
/// All unit files together, in bytes: they are written through the guest agent.
pub const MAX_UNIT_FILES: usize = 200 * 1024;
/// The most unit files.
pub const MAX_UNITS: usize = 64;
/// The most files, folders and symlinks of a bundle.
pub const MAX_ENTRIES: usize = 200_000;
/// The deepest folder of a bundle.
pub const MAX_DEPTH: usize = 64;

/// What stands in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// sha256 of the image file, padding included.
    pub digest: Digest,
    /// Size of the image file in bytes, padding included.
    pub size: u64,
    /// Its manifest.
    pub manifest: Manifest,
    /// The files of `units/`, by name.
    pub units: Vec<UnitFile>,
    /// What it holds in all.
    pub contents: Contents,
    /// What its author should know; none of it keeps the bundle from being used.
    pub warnings: Vec<Warning>,
}

/// Counts over everything in an image, the root left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents {
    /// Regular files.
    pub files: usize,
    /// Folders.
    pub folders: usize,
    /// Symlinks.
    pub symlinks: usize,
    /// Bytes of all files, unpacked.
    pub bytes: u64,
}

/// Something in a unit file that will not do what its author may expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The unit file.
    pub unit: UnitName,
    /// The line, counted from 1; `None` where it is about the file as a whole.
    pub line: Option<usize>,
    /// What will happen, and what to do.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.unit)?;
        if let Some(line) = self.line {
            write!(f, " line {line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Why a directory cannot become a bundle, or an image is none. The causes below it are in `source()`.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Reading or writing failed.
    #[error("{what}")]
    Io {
        /// What was tried, with the file's path.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// Another kind of file.
    #[error("this is no squashfs image; make one with `handoverctl bundle build`")]
    NotSquashfs,
    /// The file is shorter than its superblock says.
    #[error("the image is truncated: {there} of {wanted} bytes; copy it again")]
    Truncated {
        /// Bytes that are there.
        there: u64,
        /// Bytes that it should have.
        wanted: u64,
    },
    /// The file's size is no multiple of [`IMAGE_ALIGNMENT`].
    #[error(
        "the image has {size} bytes, which is no multiple of 4096; build it with `handoverctl bundle build`, or pad it"
    )]
    Padding {
        /// Its size in bytes.
        size: u64,
    },
    /// The image contradicts itself or the format.
    #[error("the image is damaged: {reason}; build or copy it again")]
    Damaged {
        /// What was found.
        reason: String,
    },
    /// A compression that is not read here.
    #[error("the image's compression is {name}; use gzip or zstd")]
    Compression {
        /// Its name.
        name: String,
    },
    /// Too many entries.
    #[error("the bundle has more than {limit} files, folders and symlinks; put large trees into an archive")]
    TooManyEntries {
        /// The limit.
        limit: usize,
    },
    /// There is no `handover.toml`.
    #[error("{place} has no handover.toml at its top; a bundle needs one")]
    NoManifest {
        /// The image or the directory.
        place: String,
    },
    /// There is no `units/`.
    #[error("there is no folder units/ with unit files; put {first} there")]
    NoUnits {
        /// The manifest's first unit.
        first: UnitName,
    },
    /// An entry may not be in a bundle.
    #[error("{path}: {reason}")]
    Refused {
        /// Its path in the bundle.
        path: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A file or all unit files are too large.
    #[error("{what} has more than {limit} bytes")]
    TooLarge {
        /// Which.
        what: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// The manifest is not valid.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file in `units/` whose name no unit can have.
    #[error("units/ holds only unit files")]
    UnitName(#[source] InvalidId),
    /// A unit file that systemd would not load.
    #[error("units/{unit} is not a unit file")]
    UnitSyntax {
        /// The unit file.
        unit: UnitName,
        /// What is wrong with it.
        source: UnitSyntaxError,
    },
    /// The manifest names a unit without a file.
    #[error(
        "handover.toml names the unit {unit}, and units/ has no file {file}; add it, or take it from `units`"
    )]
    UnitMissing {
        /// The unit.
        unit: UnitName,
        /// The file that would define it.
        file: String,
    },
    /// No unit would start with the disk.
    #[error(
        "no unit of service {service} has an [Install] section, so nothing would start it when its guest boots; add [Install] with WantedBy=multi-user.target to the unit that starts the others"
    )]
    NothingStarts {
        /// The service.
        service: ServiceId,
    },
    /// The image would be written into the directory that it is made of.
    #[error("{out} lies inside {dir}, so the next build would pack it; write it elsewhere")]
    OutInside {
        /// The image.
        out: String,
        /// The directory.
        dir: String,
    },
    /// The writer failed.
    #[error("cannot write the image: {reason}")]
    Write {
        /// What it said.
        reason: String,
    },
}

/// The sha256 of everything that `reader` still gives, and how many bytes that was; reads 1 MiB at a time.
///
/// # Errors
/// What the reader fails with.
pub fn digest_of<R: Read>(reader: &mut R) -> io::Result<(Digest, u64)> {
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0_u64, vec![0; 1 << 20]);
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(buffer.get(..count).unwrap_or_default());
        size = size.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
    Ok((Digest::from_sha256(&hash.finalize().into()), size))
}

/// Whether a symlink in a folder `depth` levels below the root leaves the bundle. Decided by its text alone: what other
/// symlinks on its way do is not followed. An absolute target inside `/opt/<service>` stays.
fn leaves(target: &[u8], depth: usize, service: &ServiceId) -> bool {
    let mount_point = format!("/opt/{service}");
    let (rest, mut depth) = match target.strip_prefix(mount_point.as_bytes()) {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => (rest, 0),
        _ if target.starts_with(b"/") => return true,
        _ => (target, depth),
    };
    for part in rest.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}

/// The refusal of a symlink that leaves the bundle.
fn leaving(path: String, target: &[u8], service: &ServiceId) -> BundleError {
    let target = String::from_utf8_lossy(target)
        .chars()
        .take(200)
        .collect::<String>();
    BundleError::Refused {
        path,
        reason: format!(
            "this symlink to {target:?} leaves the bundle; copy what it points at, or point inside /opt/{service}"
        ),
    }
}

/// The refusal of a device, pipe or socket.
fn foreign(path: String, what: &str) -> BundleError {
    BundleError::Refused {
        path,
        reason: format!("it is {what}; a bundle holds only files, folders and symlinks"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symlinks_stay_or_leave_by_their_text() {
        let service = "web".parse().unwrap();
        for (target, depth, expected) in [
            ("x", 0, false),
            ("../x", 1, false),
            ("../x", 0, true),
            ("a/../../x", 0, true),
            ("a/./../x", 0, false),
            ("/opt/web/bin/x", 3, false),
            ("/opt/web", 0, false),
            ("/opt/web/../x", 3, true),
            ("/opt/website/x", 3, true),
            ("/etc/passwd", 3, true),
        ] {
            assert_eq!(
                leaves(target.as_bytes(), depth, &service),
                expected,
                "{target} at {depth}"
            );
        }
    }

    #[test]
    fn a_digest_is_the_sha256_of_all_bytes() {
        let (digest, size) = digest_of(&mut &b"abc"[..]).unwrap();
        assert_eq!(size, 3);
        assert_eq!(
            digest.as_str(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
