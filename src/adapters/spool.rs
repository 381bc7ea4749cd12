//! The folder into which libvirt's hook writes ([`crate::watch::spool`] says what).

use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;

use crate::model::service::Millis;
use crate::ports::{PortError, Spool};
use crate::watch::spool::{MAX_FILE, MAX_FILES, SpoolFile};

/// A spool folder.
#[derive(Debug, Clone)]
pub struct SpoolFolder(PathBuf);

impl SpoolFolder {
    /// The folder at this path, which is made if it is not there: without it the hook writes nothing.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn at(path: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Does blocking work on a thread for that.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, PortError> {
        let path = self.0.clone();
        let told = self.0.display().to_string();
        let unavailable =
            |why: String| PortError::unavailable(format!("the spool folder {told} cannot be used: {why}"));
        match tokio::task::spawn_blocking(move || work(&path)).await {
            Ok(done) => done.map_err(|error| unavailable(error.to_string())),
            Err(error) => Err(unavailable(error.to_string())),
        }
    }
}

#[async_trait]
impl Spool for SpoolFolder {
    async fn read(&self) -> Result<Vec<SpoolFile>, PortError> {
        self.work(|folder| {
            let mut files = Vec::new();
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                let name = path.file_name().and_then(|name| name.to_str());
                // The hook writes into a hidden file first.
                let Some(name) = name.filter(|name| !name.starts_with('.')) else {
                    continue;
                };
                if files.len() >= MAX_FILES {
                    break;
                }
                files.extend(file(&path, name)?);
            }
            Ok(files)
        })
        .await
    }

    async fn remove(&self, names: &[String]) -> Result<(), PortError> {
        let names = names.to_vec();
        self.work(move |folder| {
            for name in names.iter().filter(|name| !name.contains('/')) {
                match std::fs::remove_file(folder.join(name)) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }
}

/// One file as it is; `None`: it has gone, or it is no file. Neither a link is followed nor a pipe waited for.
fn file(path: &Path, name: &str) -> std::io::Result<Option<SpoolFile>> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
    let opened = std::fs::File::options().read(true).custom_flags(flags).open(path);
    let Ok(opened) = opened else { return Ok(None) };
    let about = opened.metadata()?;
    if !about.is_file() {
        return Ok(None);
    }
    let since = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut content = Vec::new();
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX).saturating_add(1);
    opened.take(most).read_to_end(&mut content)?;
    Ok(Some(SpoolFile {
        name: name.to_owned(),
        modified: Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX),
        content,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_read_with_their_times_and_removed_by_name() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("spool");
        let spool = SpoolFolder::at(folder.clone()).unwrap();
        assert_eq!(spool.read().await.unwrap(), []);
        std::fs::write(folder.join("one.release"), "text").unwrap();
        std::fs::write(folder.join("huge.release"), vec![b'x'; MAX_FILE * 3]).unwrap();
        std::fs::write(folder.join(".new.17"), "half").unwrap();
        std::fs::create_dir(folder.join("folder")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).unwrap();
        let mut files = spool.read().await.unwrap();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let told: Vec<(&str, usize)> = files.iter().map(|f| (f.name.as_str(), f.content.len())).collect();
        assert_eq!(told, [("huge.release", MAX_FILE + 1), ("one.release", 4)]);
        assert!(files[1].modified > 1_700_000_000_000);
        let gone = ["one.release", "never.was", "../escape"].map(str::to_owned);
        std::fs::write(root.path().join("escape"), "stays").unwrap();
        spool.remove(&gone).await.unwrap();
        assert!(!folder.join("one.release").exists() && root.path().join("escape").exists());
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_is_told() {
        let root = tempfile::tempdir().unwrap();
        let spool = SpoolFolder::at(root.path().join("spool")).unwrap();
        std::fs::remove_dir(root.path().join("spool")).unwrap();
        let error = spool.read().await.unwrap_err();
        assert!(error.message.contains("the spool folder"), "{error}");
    }
}
