//! Opening the table's file: lock, checks that change nothing, creation, migration.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};

use super::{damaged, rows, schema};

/// How long a statement waits for another program that holds the file, such as a backup.
const BUSY: Duration = Duration::from_secs(10);

/// Why the table cannot be opened. The file is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("table {} is in use by another handoverd ({}): only one may have it open; stop that one first",
        .path.display(), .pid.map_or_else(|| "its pid is not known".to_owned(), |pid| format!("pid {pid}")))]
    InUse {
        /// The table's file.
        path: PathBuf,
        /// That process, if it has said so.
        pid: Option<u32>,
    },
    /// A newer handoverd has written it.
    #[error("table {} has version {found}, but this handoverd knows versions up to {known} only: \
        install a handoverd that knows version {found}, or restore a backup of the table", .path.display())]
    Newer {
        /// The table's file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// It holds handovers that a newer handoverd has journalled.
    #[error("table {} holds a handover (job {job}) in format {found}, but this handoverd reads formats up to {known} only: \
        install the handoverd that wrote it, or restore a backup of the table", .path.display())]
    NewerRecord {
        /// The table's file.
        path: PathBuf,
        /// The job of that handover.
        job: i64,
        /// Its format.
        found: i64,
        /// The newest format that this program reads.
        known: u32,
    },
    /// It is not what was written.
    #[error("table {} is damaged: {why}; {}; stop handoverd and run `handoverctl recover-table`, or restore a backup of it",
        .path.display(), aside(.copy))]
    Damaged {
        /// The table's file.
        path: PathBuf,
        /// What SQLite found.
        why: String,
        /// The copy that was made of it, or why there is none.
        copy: Result<PathBuf, String>,
    },
    /// It is an SQLite file of some other program.
    #[error("{} is a database, but not a handoverd service table: check the configured path", .0.display())]
    Foreign(PathBuf),
    /// The file system refused.
    #[error("table {} cannot be {action}: {source}", .path.display())]
    Io {
        /// The file, its lock or its folder.
        path: PathBuf,
        /// What was tried, such as `created`.
        action: &'static str,
        /// The reason.
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("table {} cannot be opened: {source}", .path.display())]
    Sqlite {
        /// The table's file.
        path: PathBuf,
        /// The reason.
        source: rusqlite::Error,
    },
}

impl OpenError {
    /// Whether opening it again cannot help before somebody has done something about the file.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Newer { .. } | Self::NewerRecord { .. } | Self::Damaged { .. } | Self::Foreign(_) => true,
            Self::InUse { .. } | Self::Io { .. } | Self::Sqlite { .. } => false,
        }
    }
}

fn aside(copy: &Result<PathBuf, String>) -> String {
    match copy {
        Ok(copy) => format!("it was left as it is, and copied to {}", copy.display()),
        Err(why) => format!("it was left as it is, and could not be copied aside ({why})"),
    }
}

/// An opened table. The lock is declared last, so that it is given back after the connection was closed.
pub struct Opened {
    /// The only connection.
    pub connection: Connection,
    /// Held as long as the connection.
    pub lock: Flock<File>,
}

/// Opens the table at `path`, makes it if there is none, and migrates an older one.
pub fn open(path: &Path) -> Result<Opened, OpenError> {
    let lock = lock(path)?;
    if path.try_exists().map_err(io(path, "looked at"))? {
        examine(path).map_err(copy_aside)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(io(path, "made private (mode 0600)"))?;
    } else {
        create(path)?;
    }
    let connection = connect(path).map_err(|source| copy_aside(sqlite(path, source)))?;
    Ok(Opened { connection, lock })
}

/// Keeps a damaged table from what is done about it next.
fn copy_aside(error: OpenError) -> OpenError {
    match error {
        OpenError::Damaged { path, why, .. } => {
            let copy = damaged::keep(&path).map_err(|error| error.to_string());
            OpenError::Damaged { path, why, copy }
        }
        other => other,
    }
}

/// The file's name with something appended: `table.db` and `.lock` make `table.db.lock`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, action, source }
}

pub(super) fn sqlite(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => OpenError::Damaged {
            path,
            why: source.to_string(),
            copy: Err("nobody did so yet".to_owned()),
        },
        _ => OpenError::Sqlite { path, source },
    }
}

/// Takes the lock beside the table and leaves our pid there. The lock file stays for good: deleting it would let
/// two daemons hold locks on two files of the same name.
pub(super) fn lock(path: &Path) -> Result<Flock<File>, OpenError> {
    let at = beside(path, ".lock");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&at)
        .map_err(io(&at, "locked"))?;
    let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut text = String::new();
            // Who it is is only told to people; an unreadable file is the same as an empty one.
            let pid = match file.read_to_string(&mut text) {
                Ok(_) => text.trim().parse().ok(),
                Err(_) => None,
            };
            return Err(OpenError::InUse {
                path: path.to_owned(),
                pid,
            });
        }
        Err((_, errno)) => return Err(io(&at, "locked")(errno.into())),
    };
    let written = lock
        .set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| writeln!(lock, "{}", std::process::id()));
    written.map_err(io(&at, "locked"))?;
    Ok(lock)
}

/// What a look at a file tells.
struct Looked {
    application: i32,
    version: u32,
    /// What the check found: `ok`, or what is wrong.
    found: Vec<String>,
    /// A table, column or index that its version has and it has not.
    missing: Option<String>,
    /// A handover that cannot be read: job and format.
    record: Option<(i64, i64)>,
}

fn newer_record(connection: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    connection
        .prepare("SELECT job, format FROM handover WHERE format > ?1 LIMIT 1")?
        .query_row([rows::FORMAT], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// Looks at a file that is there, without changing it: is it ours, do we know its version, is it whole?
pub(super) fn examine(path: &Path) -> Result<(), OpenError> {
    let damaged = |why: String| OpenError::Damaged {
        path: path.to_owned(),
        why,
        copy: Err("nobody did so yet".to_owned()),
    };
    let length = std::fs::metadata(path).map_err(io(path, "looked at"))?.len();
    if length == 0 {
        // SQLite would take it for a new database, and all services for gone. We never leave such a file: see
        // `create`.
        return Err(damaged("the file is empty".to_owned()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let look = || -> rusqlite::Result<Looked> {
        let connection = Connection::open_with_flags(path, flags)?;
        // A write-ahead log that a killed daemon left belongs to the file: it is read, and stays as it is.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.busy_timeout(BUSY)?;
        let application = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version = schema::version(&connection)?;
        let mut found = Vec::new();
        connection.pragma_query(None, "quick_check", |row| {
            found.push(row.get(0)?);
            Ok(())
        })?;
        let readable = application == schema::APPLICATION_ID && version <= schema::newest(schema::STEPS);
        let missing = if readable {
            schema::missing(&connection, version)?
        } else {
            None
        };
        let record = match (readable, &missing) {
            (true, None) if version > 0 => newer_record(&connection)?,
            _ => None,
        };
        Ok(Looked {
            application,
            version,
            found,
            missing,
            record,
        })
    };
    let Looked {
        application,
        version,
        found,
        missing,
        record,
    } = look().map_err(|source| sqlite(path, source))?;
    if application != schema::APPLICATION_ID {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    let known = schema::newest(schema::STEPS);
    if version > known {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found: version,
            known,
        });
    }
    if let Some((job, found)) = record {
        return Err(OpenError::NewerRecord {
            path: path.to_owned(),
            job,
            found,
            known: rows::FORMAT,
        });
    }
    match found.as_slice() {
        [ok] if ok == "ok" => match missing {
            Some(what) => Err(damaged(format!("{what} is missing"))),
            None => Ok(()),
        },
        [] => Err(damaged("the check gave no answer".to_owned())),
        // One finding tells enough, and a damaged file may have a hundred.
        [first, ..] => Err(damaged(first.replace('\n', " "))),
    }
}

/// Makes a new table under another name and renames it: a table that is there is always whole, whenever we are
/// killed.
fn create(path: &Path) -> Result<(), OpenError> {
    let draft = beside(path, ".new");
    for leftover in [draft.clone(), beside(&draft, "-journal")] {
        match std::fs::remove_file(&leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io(&leftover, "deleted")(error));
            }
            _ => {}
        }
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(io(&draft, "created"))?;
    let fill = || -> rusqlite::Result<()> {
        let mut connection = Connection::open_with_flags(&draft, read_write())?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        schema::migrate(&mut connection, schema::STEPS)
    };
    fill().map_err(|source| sqlite(&draft, source))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::rename(&draft, path).map_err(io(path, "created"))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io(folder, "created"))
}

pub(super) fn read_write() -> OpenFlags {
    // No SQLITE_OPEN_CREATE: `create` makes the file, with its mode.
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// Opens for writing, with the settings that the table's promises rest on, and migrates.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_with_flags(path, read_write())?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // In WAL mode only FULL makes each commit durable (NORMAL may lose the last ones with the power).
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Secrets that were deleted are overwritten.
    connection.pragma_update(None, "secure_delete", true)?;
    schema::migrate(&mut connection, schema::STEPS)?;
    Ok(connection)
}

/// Moves the whole log into the file and cuts it to nothing, because pages with deleted secrets stay in it otherwise
/// until it is written over. Not waited for: while another program reads, the log stays until the next time, or
/// until the table is closed.
pub fn empty_log(connection: &Connection) {
    let emptied = (|| {
        connection.busy_timeout(Duration::ZERO)?;
        let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        Ok::<_, rusqlite::Error>(!busy)
    })();
    match emptied {
        Ok(true) => {}
        Ok(false) => tracing::debug!("the service table's log is in use and keeps deleted secrets for now"),
        Err(error) => tracing::warn!(%error, "the service table's log keeps deleted secrets for now"),
    }
    if let Err(error) = connection.busy_timeout(BUSY) {
        tracing::warn!(%error, "the service table does not wait for other programs any more");
    }
}
