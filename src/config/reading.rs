//! The reading layer: files, key files, credentials and the machine's host name.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::error::{ConfigError, Place, Problem};
use super::inputs::Fragment;

/// The longest configuration file, in bytes.
const LONGEST_FRAGMENT: u64 = 1 << 20;
/// The longest key file or credential, in bytes; a TSIG secret has some 44 to 88.
const LONGEST_KEY: u64 = 4096;

/// What settings are made of besides the fragments. Errors are texts: what happened and what to do.
pub trait Surroundings {
    /// The machine's host name.
    ///
    /// # Errors
    /// Why it is not known.
    fn host_name(&self) -> Result<String, String>;

    /// The text of a file that must be readable by its owner only.
    ///
    /// # Errors
    /// It is not there, not a file, too long, or group or others may touch it.
    fn key_file(&self, path: &Path) -> Result<String, String>;

    /// The text of a systemd credential (systemd.exec(5), LoadCredential=). `name` is one path component.
    ///
    /// # Errors
    /// It is not there, or the daemon was not started with credentials.
    fn credential(&self, name: &str) -> Result<String, String>;
}

/// The machine that this process runs on.
#[derive(Debug, Clone, Copy)]
pub struct Machine;

impl Surroundings for Machine {
    fn host_name(&self) -> Result<String, String> {
        let name = nix::unistd::gethostname().map_err(|error| {
            format!("the machine's host name cannot be asked for: {error}; set `host` in the configuration")
        })?;
        name.into_string()
            .map_err(|name| format!("the machine's host name {} is not UTF-8", name.display()))
    }

    fn key_file(&self, path: &Path) -> Result<String, String> {
        let shown = path.display();
        let file = open(path).map_err(|error| format!("the key file {shown} cannot be opened: {error}"))?;
        let mode = file
            .metadata()
            .map_err(|error| format!("the key file {shown} cannot be looked at: {error}"))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            return Err(format!(
                "the key file {shown} has mode {:04o}: group or others may touch the secret; run `chmod 600 {shown}` \
                 and consider a new key",
                mode & 0o7777
            ));
        }
        text_of(file, LONGEST_KEY).map_err(|why| format!("the key file {shown} cannot be read: {why}"))
    }

    fn credential(&self, name: &str) -> Result<String, String> {
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
            format!(
                "there is no credential {name}: the daemon was started without credentials; \
                 add `LoadCredential={name}:/path/of/the/key` to its unit, or use key_file"
            )
        })?;
        // Modes are not looked at: systemd guards that folder, by ACL where it can, which shows as group bits.
        let path = Path::new(&folder).join(name);
        open(&path)
            .map_err(|error| error.to_string())
            .and_then(|file| text_of(file, LONGEST_KEY))
            .map_err(|why| {
                format!(
                    "the credential {name} cannot be read from {}: {why}; is LoadCredential={name}:… in the unit?",
                    path.display()
                )
            })
    }
}

/// Opens an ordinary file; anything else is refused without waiting for it (a FIFO has no writer).
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    Ok(file)
}

/// The whole text of a file of at most `longest` bytes.
fn text_of(file: File, longest: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = file
        .take(longest + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if u64::try_from(read).is_ok_and(|read| read > longest) {
        return Err(format!("it is longer than {longest} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

/// The main file and its drop-ins, in the order in which they are laid over each other.
///
/// Drop-ins are the files `*.toml` of the folder that is named as the main file with `.d` for its extension, sorted
/// by name in byte order; hidden files are left out, and the folder need not be there.
///
/// # Errors
/// Every file that is not there, not readable or not text.
pub fn fragments(main: &Path) -> Result<Vec<Fragment>, ConfigError> {
    let mut problems = Vec::new();
    let mut paths = vec![main.to_owned()];
    match drop_ins(&main.with_extension("d")) {
        Ok(found) => paths.extend(found),
        Err(problem) => problems.push(problem),
    }
    let mut fragments = Vec::new();
    for (order, path) in paths.into_iter().enumerate() {
        let read = open(&path).map_err(|error| error.to_string());
        match read.and_then(|file| text_of(file, LONGEST_FRAGMENT)) {
            Ok(text) => fragments.push(Fragment { path, text }),
            Err(why) => problems.push(unreadable(order, path, &why)),
        }
    }
    ConfigError::unless_empty(problems)?;
    Ok(fragments)
}

/// One file by itself.
///
/// # Errors
/// It is not there, not readable or not text.
pub fn one(path: &Path) -> Result<Fragment, ConfigError> {
    let read = open(path).map_err(|error| error.to_string());
    let text = read.and_then(|file| text_of(file, LONGEST_FRAGMENT));
    let text = text.map_err(|why| ConfigError::from(unreadable(0, path.to_owned(), &why)))?;
    Ok(Fragment {
        path: path.to_owned(),
        text,
    })
}

fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let failed = |error: io::Error| unreadable(1, folder.to_owned(), &error.to_string());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension() == Some(OsStr::new("toml")) && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn unreadable(order: usize, file: PathBuf, why: &str) -> Problem {
    Problem {
        place: Place {
            order,
            file,
            line: None,
        },
        key: String::new(),
        what: format!("it cannot be read: {why}"),
    }
}
