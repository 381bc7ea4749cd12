//! Building and inspecting bundle images. Needs nothing but a temporary folder; where `unsquashfs` is installed, it
//! is asked whether it agrees.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "these are tests, what they call included"
)]

mod building;
mod inspecting;
mod raw_image;

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use handoverd::bundle::{Bundle, BundleError, build_at, inspect};

const MANIFEST: &str = "service = \"web\"\nversion = \"1.0\"\nunits = [\"web.service\"]\n";
const UNIT: &str = "[Service]\nExecStart=/opt/web/bin/web\n[Install]\nWantedBy=multi-user.target\n";

/// The whole chain of an error, as it is printed at the edge.
fn told(error: &BundleError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn write(dir: &Path, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let full = dir.join(path);
    fs::create_dir_all(full.parent().unwrap()).unwrap();
    fs::write(&full, content).unwrap();
    full
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Bytes that do not compress, the same for the same seed (xorshift64).
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}

/// A directory with everything that a bundle may hold.
fn sample(dir: &Path) {
    write(dir, "handover.toml", MANIFEST);
    write(dir, "units/web.service", UNIT);
    chmod(&write(dir, "bin/web", "#!/bin/sh\n"), 0o755);
    write(dir, "share/empty", "");
    write(dir, "share/large", noise(1, 300_000));
    write(dir, "share/zeros", vec![0; 400_000]);
    fs::create_dir_all(dir.join("share/nothing")).unwrap();
    symlink("../share/large", dir.join("bin/link")).unwrap();
    symlink("/opt/web/bin/web", dir.join("absolute")).unwrap();
}

fn built(dir: &Path) -> Result<(Bundle, Vec<u8>), BundleError> {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("x.img");
    let result = build_at(dir, &path, 0);
    let left: Vec<_> = fs::read_dir(out.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    match result {
        Ok(report) => {
            assert_eq!(left, ["x.img"], "only the image is left");
            Ok((report.bundle, fs::read(path).unwrap()))
        }
        Err(error) => {
            assert!(
                left.is_empty(),
                "a failed build leaves nothing behind, not {left:?}"
            );
            Err(error)
        }
    }
}

fn look(bytes: &[u8]) -> Result<Bundle, BundleError> {
    inspect(&mut Cursor::new(bytes))
}
