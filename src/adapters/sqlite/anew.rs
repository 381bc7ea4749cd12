//! A new table in the place of one that is lost: only where there is none, or where the one that is there is damaged.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::open::{self, OpenError, beside, io, sqlite};
use super::rows::{self, Outcome, to_sql};
use super::{damaged, schema};
use crate::model::ids::ServiceId;
use crate::model::service::{BundleRecord, ServiceRecord};
use crate::ports::TableError;

/// Why no new table can be made.
#[derive(Debug, thiserror::Error)]
pub enum AnewError {
    /// The table is whole.
    #[error("table {} is whole: there is nothing to recover, and it is not touched; to rebuild it all the same, move it away \
        with its -wal and -shm", .0.display())]
    Whole(PathBuf),
    /// It is in use, of a newer version, another program's, or not accessible.
    #[error(transparent)]
    Refused(#[from] OpenError),
    /// It was rebuilt, and cannot be written. What was there is as it was.
    #[error("the new table cannot be written: {0}")]
    Write(#[from] TableError),
}

/// A place where a table may be made anew. Held, no daemon can open a table there.
#[derive(Debug)]
pub struct Vacant {
    path: PathBuf,
    is_damaged: Option<String>,
    _lock: Flock<File>,
}

/// What stands in a new table.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    /// Every bundle.
    pub bundles: &'a [BundleRecord],
    /// Every service; each one's bundle is among them.
    pub services: &'a [&'a ServiceRecord],
    /// The services that guests may have seen scripts of, and the attempt from which theirs count on.
    pub attempts: &'a [(ServiceId, u64)],
}

impl Vacant {
    /// Takes the place at `path`, if there is no table or a damaged one. Changes nothing but the lock.
    ///
    /// # Errors
    /// [`AnewError::Whole`], or what keeps it from being looked at.
    pub fn take(path: &Path) -> Result<Self, AnewError> {
        let lock = open::lock(path)?;
        let is_damaged = if path.try_exists().map_err(io(path, "looked at"))? {
            match open::examine(path) {
                Ok(()) => return Err(AnewError::Whole(path.to_owned())),
                Err(OpenError::Damaged { why, .. }) => Some(why),
                Err(other) => return Err(other.into()),
            }
        } else {
            None
        };
        Ok(Self {
            path: path.to_owned(),
            is_damaged,
            _lock: lock,
        })
    }

    /// What is wrong with the table that is there; `None`: there is none.
    pub fn damage(&self) -> Option<&str> {
        self.is_damaged.as_deref()
    }

    /// Writes the new table, and tells where the damaged one was copied. The new one takes the old one's name only when it
    /// is whole, and belongs to whom its folder belongs to.
    ///
    /// # Errors
    /// The file system's, or SQLite's; then what was there is still there.
    pub fn write(&self, contents: Contents<'_>) -> Result<Option<PathBuf>, AnewError> {
        let path = &self.path;
        let draft = beside(path, ".new");
        for leftover in [draft.clone(), beside(&draft, "-journal")] {
            match std::fs::remove_file(&leftover) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io(&leftover, "deleted")(error).into());
                }
                _ => {}
            }
        }
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .map_err(io(&draft, "created"))?;
        let mut connection = Connection::open_with_flags(&draft, open::read_write())
            .and_then(|mut connection| {
                connection.pragma_update(None, "synchronous", "FULL")?;
                schema::migrate(&mut connection, schema::STEPS)?;
                connection.pragma_update(None, "foreign_keys", true)?;
                Ok(connection)
            })
            .map_err(|source| sqlite(&draft, source))?;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|source| sqlite(&draft, source))?;
        fill(&transaction, contents)?;
        transaction.commit().map_err(|source| sqlite(&draft, source))?;
        drop(connection);
        let copy = match self.is_damaged {
            Some(_) => Some(damaged::keep(path).map_err(io(path, "copied aside"))?),
            None => None,
        };
        // What is in the log belongs to the damaged file, and was copied with it.
        for suffix in ["-wal", "-shm"] {
            let log = beside(path, suffix);
            match std::fs::remove_file(&log) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io(&log, "deleted")(error).into());
                }
                _ => {}
            }
        }
        self.hand_over(&draft)?;
        std::fs::rename(&draft, path).map_err(io(path, "created"))?;
        let folder = self.folder();
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(io(folder, "created"))?;
        Ok(copy)
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// Root makes the table for the daemon's user: to whom the folder belongs, the files belong as well.
    fn hand_over(&self, draft: &Path) -> Result<(), OpenError> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(());
        }
        let folder = self.folder();
        let owner = std::fs::metadata(folder).map_err(io(folder, "looked at"))?;
        let lock = beside(&self.path, ".lock");
        for file in [draft, lock.as_path()] {
            std::os::unix::fs::chown(file, Some(owner.uid()), Some(owner.gid()))
                .map_err(io(file, "given to the daemon's user"))?;
        }
        Ok(())
    }
}

fn fill(tx: &Transaction<'_>, contents: Contents<'_>) -> Outcome<()> {
    for bundle in contents.bundles {
        rows::put_bundle(tx, bundle)?;
    }
    for service in contents.services {
        rows::put_service(tx, service)?;
    }
    for (service, attempt) in contents.attempts {
        tx.prepare_cached("INSERT INTO attempt (service, last) VALUES (?1, ?2)")?
            .execute(params![service.as_str(), to_sql("an attempt", *attempt)?])?;
    }
    Ok(())
}
