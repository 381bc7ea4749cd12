//! Packing a directory into an image, reproducibly.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use backhand::compression::Compressor;
use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};

use super::{
    Bundle, BundleError, IMAGE_ALIGNMENT, MAX_DEPTH, MAX_ENTRIES, MAX_MANIFEST, foreign, inspect, leaves,
    leaving, manifest_toml,
};
use crate::model::ids::ServiceId;

/// A finished build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildReport {
    /// Where the image is.
    pub path: PathBuf,
    /// What an inspection of it says.
    pub bundle: Bundle,
}

/// Packs the directory `dir` into the image `out`, which takes its name only when it is whole and was inspected; an
/// image that was there is replaced in one step.
///
/// The same tree gives the same image, byte for byte, from the same version of handoverd: entries are sorted, every
/// time is 1970 (or `SOURCE_DATE_EPOCH`, in seconds), owner and group are root, modes are 0755 for folders and what
/// somebody may execute and 0644 for the rest, and extended attributes, hard links and holes are not kept. Blocks are
/// 128 KiB of zstd, which kernels read since 4.14; memory is about one block.
///
/// # Errors
/// Whatever [`inspect`] refuses, with the path in `dir`; an `out` inside `dir`; reading and writing.
pub fn build(dir: &Path, out: &Path) -> Result<BuildReport, BundleError> {
    let time = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.parse().map_err(|_| BundleError::Write {
            reason: format!("SOURCE_DATE_EPOCH is {text:?}; it must be seconds since 1970, below 4294967296"),
        })?,
        Err(_) => 0,
    };
    build_at(dir, out, time)
}

/// As [`build`], with `time` (seconds since 1970) for every entry.
///
/// # Errors
/// As [`build`].
pub fn build_at(dir: &Path, out: &Path, time: u32) -> Result<BuildReport, BundleError> {
    let (dir, out) = places(dir, out)?;
    let service = service_of(&dir)?;
    let entries = collect(&dir, &service)?;

    let mut temporary = Temporary::create(&out)?;
    pack(&dir, entries, &mut temporary.file, time)?;
    pad(&mut temporary.file).map_err(failed("cannot write", &temporary.path))?;
    let bundle = inspect(&mut temporary.file)?;
    temporary
        .file
        .sync_all()
        .map_err(failed("cannot write", &temporary.path))?;
    temporary.publish(&out)?;
    Ok(BuildReport { path: out, bundle })
}

fn failed<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> BundleError + 'a {
    move |source| BundleError::Io {
        what: format!("{what} {}", path.display()),
        source,
    }
}

/// Both paths with their symlinks resolved, so that one cannot lie inside the other unseen.
fn places(dir: &Path, out: &Path) -> Result<(PathBuf, PathBuf), BundleError> {
    let dir = fs::canonicalize(dir).map_err(failed("cannot read the directory", dir))?;
    let name = out.file_name().ok_or_else(|| BundleError::Write {
        reason: format!("{} is no file name", out.display()),
    })?;
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let out = fs::canonicalize(folder)
        .map_err(failed("cannot write to the folder", folder))?
        .join(name);
    if out.starts_with(&dir) {
        return Err(BundleError::OutInside {
            out: out.display().to_string(),
            dir: dir.display().to_string(),
        });
    }
    if out.is_dir() {
        return Err(BundleError::Write {
            reason: format!("{} is a folder; name the image's file", out.display()),
        });
    }
    Ok((dir, out))
}

/// The service's id, read first: a wrong manifest is told before anything is packed.
fn service_of(dir: &Path) -> Result<ServiceId, BundleError> {
    let path = dir.join("handover.toml");
    let size = match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() => meta.len(),
        Ok(_) => {
            return Err(BundleError::Refused {
                path: "handover.toml".to_owned(),
                reason: "it must be a regular file".to_owned(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BundleError::NoManifest {
                place: dir.display().to_string(),
            });
        }
        Err(error) => return Err(failed("cannot read", &path)(error)),
    };
    if usize::try_from(size).is_ok_and(|size| size > MAX_MANIFEST) {
        return Err(BundleError::TooLarge {
            what: "handover.toml".to_owned(),
            limit: MAX_MANIFEST,
        });
    }
    let text = fs::read_to_string(&path).map_err(failed("cannot read", &path))?;
    Ok(manifest_toml::parse(&text)?.service)
}

/// What is packed for one entry.
enum Packed {
    Folder,
    File { executable: bool },
    Symlink(PathBuf),
}

/// Every entry below `dir` by its relative path, parents first and sorted.
fn collect(dir: &Path, service: &ServiceId) -> Result<Vec<(PathBuf, Packed)>, BundleError> {
    let mut entries: Vec<(PathBuf, Packed)> = Vec::new();
    let mut folders = vec![(PathBuf::new(), 0_usize)];
    while let Some((folder, depth)) = folders.pop() {
        let full = dir.join(&folder);
        for entry in fs::read_dir(&full).map_err(failed("cannot read", &full))? {
            let name = entry.map_err(failed("cannot read", &full))?.file_name();
            let path = folder.join(&name);
            if entries.len() >= MAX_ENTRIES {
                return Err(BundleError::TooManyEntries { limit: MAX_ENTRIES });
            }
            let packed = look(dir, &path, depth, service)?;
            if matches!(packed, Packed::Folder) {
                if depth >= MAX_DEPTH {
                    let reason = format!("folders may lie at most {MAX_DEPTH} deep");
                    return Err(BundleError::Refused {
                        path: path.display().to_string(),
                        reason,
                    });
                }
                folders.push((path.clone(), depth + 1));
            }
            entries.push((path, packed));
        }
    }
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(entries)
}

fn look(dir: &Path, path: &Path, depth: usize, service: &ServiceId) -> Result<Packed, BundleError> {
    let full = dir.join(path);
    let meta = fs::symlink_metadata(&full).map_err(failed("cannot read", &full))?;
    let kind = meta.file_type();
    if kind.is_dir() {
        return Ok(Packed::Folder);
    }
    if kind.is_file() {
        return Ok(Packed::File {
            executable: meta.permissions().mode() & 0o111 != 0,
        });
    }
    let told = path.display().to_string();
    if kind.is_symlink() {
        let target = fs::read_link(&full).map_err(failed("cannot read", &full))?;
        if leaves(target.as_os_str().as_bytes(), depth, service) {
            return Err(leaving(told, target.as_os_str().as_bytes(), service));
        }
        return Ok(Packed::Symlink(target));
    }
    let what = if kind.is_socket() {
        "a socket"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_block_device() {
        "a block device"
    } else {
        "a character device"
    };
    Err(foreign(told, what))
}

fn pack(dir: &Path, entries: Vec<(PathBuf, Packed)>, file: &mut File, time: u32) -> Result<(), BundleError> {
    let written = |error: backhand::BackhandError| BundleError::Write {
        reason: error.to_string(),
    };
    let mut image = FilesystemWriter::default();
    image.set_compressor(FilesystemCompressor::new(Compressor::Zstd, None).map_err(written)?);
    image.set_time(time);
    image.set_only_root_id();
    image.set_root_mode(0o755);
    image.set_no_padding();
    // Its comparison is by a 64-bit hash that anybody can make collide.
    image.set_no_duplicate_files(false);
    for (path, packed) in entries {
        let header = |permissions| NodeHeader {
            permissions,
            uid: 0,
            gid: 0,
            mtime: time,
        };
        match packed {
            Packed::Folder => image.push_dir(&path, header(0o755)),
            Packed::Symlink(target) => image.push_symlink(target, &path, header(0o777)),
            Packed::File { executable } => {
                let mode = if executable { 0o755 } else { 0o644 };
                image.push_file_from_path(dir.join(&path), &path, header(mode))
            }
        }
        .map_err(written)?;
    }
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    image.write(&mut writer).map_err(written)?;
    writer.flush().map_err(|source| BundleError::Io {
        what: "cannot write the image".to_owned(),
        source,
    })
}

/// Fills the file with zeros up to the next multiple of [`IMAGE_ALIGNMENT`].
fn pad(file: &mut File) -> io::Result<()> {
    let size = file.seek(io::SeekFrom::End(0))?;
    file.set_len(size.next_multiple_of(IMAGE_ALIGNMENT))
}

/// A file beside the image to be, removed unless it is published.
struct Temporary {
    path: PathBuf,
    file: File,
    published: bool,
}

impl Temporary {
    fn create(out: &Path) -> Result<Self, BundleError> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let mut name = OsString::from(".");
        name.push(out.file_name().unwrap_or(OsStr::new("bundle")));
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        name.push(format!(".{}-{number}.tmp", std::process::id()));
        let path = out.with_file_name(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&path)
            .map_err(failed("cannot create", &path))?;
        Ok(Self {
            path,
            file,
            published: false,
        })
    }

    /// Gives the file its name and makes that durable.
    fn publish(mut self, out: &Path) -> Result<(), BundleError> {
        fs::rename(&self.path, out).map_err(failed("cannot replace", out))?;
        self.published = true;
        let folder = out.parent().unwrap_or(Path::new("/"));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("cannot sync the folder", folder))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the unfinished image");
        }
    }
}
