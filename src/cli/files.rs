//! Files that the operator gives: bundle images, config and secrets.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use zbus::{Fd, Variant};

use super::args::{EnvironmentFiles, NamedFile};
use super::client::{Call, Client, limited};
use super::exit::Failure;
use super::output::Ui;
use super::proxy::Options;
use super::render::text::{bytes, short_digest};
use crate::model::ids::Digest;

/// Most bytes of one config or secret file.
const FILE_LIMIT: u64 = 1 << 20;

/// A bundle that was given on the command line.
#[derive(Debug, PartialEq, Eq)]
pub enum Given<'a> {
    /// An image file.
    File(&'a Path),
    /// A registered bundle: its digest, the beginning of it, or `SERVICE@VERSION`.
    Registered(&'a str),
}

/// Tells an image file from the name of a registered bundle. What exists as a file is one.
///
/// # Errors
/// A folder; or neither a file nor what could name a bundle.
pub fn given(text: &str) -> Result<Given<'_>, Failure> {
    let path = Path::new(text);
    if path.is_dir() {
        return Err(Failure::invalid(format!(
            "{text} is a folder; build its bundle first: `handoverctl bundle build {text} -o FILE`"
        )));
    }
    if path.exists() {
        return Ok(Given::File(path));
    }
    let digest = (8..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let versioned = !text.contains('/')
        && matches!(text.split_once('@'), Some((service, version)) if !service.is_empty() && !version.is_empty());
    if digest || versioned {
        return Ok(Given::Registered(text));
    }
    Err(Failure::invalid(format!(
        "{text} is not a file, and does not name a registered bundle either (a digest or its first 8 digits or more, or SERVICE@VERSION); see `handoverctl bundle list`"
    )))
}

/// The bundle's name for the daemon; a file is registered first.
///
/// # Errors
/// See [`given`] and [`register`].
pub async fn bundle_name(ui: &Ui, client: &Client, text: &str) -> Result<String, Failure> {
    match given(text)? {
        Given::Registered(name) => Ok(name.to_owned()),
        Given::File(path) => {
            let (digest, _) = register(ui, client, path).await?;
            Ok(digest)
        }
    }
}

/// Registers an image file; its digest and its size in bytes.
///
/// # Errors
/// It cannot be read, or the daemon refused it.
pub async fn register(ui: &Ui, client: &Client, path: &Path) -> Result<(String, u64), Failure> {
    let shown = path.display().to_string();
    let owned = path.to_owned();
    let hashed = tokio::task::spawn_blocking(move || hash(&owned)).await;
    let (file, digest, size) = hashed
        .map_err(|error| Failure::Failed(format!("cannot read {shown}: {error}")))?
        .map_err(|error| Failure::invalid(format!("cannot read {shown}: {error}")))?;
    ui.note(&format!(
        "registering {shown} ({}, {})",
        short_digest(digest.as_str()),
        bytes(size)
    ));
    let options = Options::from([("sha256", Variant::from(digest.as_str()))]);
    let image = Fd::from(OwnedFd::from(file));
    let digest = limited(Call::Long, client.manager().register_bundle(image, options)).await?;
    Ok((digest, size))
}

/// Opens and hashes a file; it is at its beginning again afterwards.
fn hash(path: &Path) -> std::io::Result<(File, Digest, u64)> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut size = 0u64;
    loop {
        let count = file.read(&mut buffer)?;
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else {
            break;
        };
        hasher.update(part);
        size = size.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
    file.rewind()?;
    let sum: [u8; 32] = hasher.finalize().into();
    Ok((file, Digest::from_sha256(&sum), size))
}

/// Puts the contents of config and secret files into a request's options; nothing where none were given.
///
/// # Errors
/// One cannot be read, is too long, or a name is given twice.
pub fn add_files(options: &mut Options<'_>, files: &EnvironmentFiles) -> Result<(), Failure> {
    let mut contents: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for file in files.config.iter().chain(&files.secret) {
        if contents.insert(file.name.clone(), content(file)?).is_some() {
            return Err(Failure::Usage(format!("the file {} is given twice", file.name)));
        }
    }
    if !contents.is_empty() {
        let contents: HashMap<String, Vec<u8>> = contents.into_iter().collect();
        options.insert("files", contents.into());
    }
    Ok(())
}

fn content(file: &NamedFile) -> Result<Vec<u8>, Failure> {
    let shown = file.path.display();
    let read = || {
        let mut content = Vec::new();
        // One byte more than allowed, so that what is too long is seen without being read to its end.
        File::open(&file.path)?
            .take(FILE_LIMIT + 1)
            .read_to_end(&mut content)?;
        Ok::<_, std::io::Error>(content)
    };
    let content = read()
        .map_err(|error| Failure::invalid(format!("cannot read {shown}, given as {}: {error}", file.name)))?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > FILE_LIMIT {
        return Err(Failure::invalid(format!(
            "{shown}, given as {}, is longer than {}; config and secrets are small files, data belongs into the bundle",
            file.name,
            bytes(FILE_LIMIT)
        )));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn bundle_names_are_told_from_files() {
        for name in ["abcdef01", &"0".repeat(64), "web@1.2"] {
            assert_eq!(given(name).unwrap(), Given::Registered(name));
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(given(path).unwrap(), Given::File(file.path()));
        for bad in [
            "abcdef0",
            "web",
            "no/such@1",
            "@1",
            "web@",
            "web.img",
            &"0".repeat(65),
        ] {
            assert_eq!(given(bad).unwrap_err().code(), 3, "{bad}");
        }
    }

    #[test]
    fn a_folder_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let failure = given(folder.path().to_str().unwrap()).unwrap_err();
        assert!(failure.to_string().contains("bundle build"), "{failure}");
    }

    #[test]
    fn an_image_is_hashed_and_rewound() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"abc").unwrap();
        let (mut open, digest, size) = hash(file.path()).unwrap();
        assert_eq!(
            digest.as_str(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(size, 3);
        let mut again = String::new();
        open.read_to_string(&mut again).unwrap();
        assert_eq!(again, "abc");
    }

    fn named(name: &str, path: &Path) -> NamedFile {
        NamedFile {
            name: name.into(),
            path: path.into(),
        }
    }

    #[test]
    fn a_file_given_twice_or_too_long_is_refused() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"x").unwrap();
        let twice = EnvironmentFiles {
            config: vec![named("a", file.path())],
            secret: vec![named("a", file.path())],
        };
        assert_eq!(add_files(&mut Options::new(), &twice).unwrap_err().code(), 2);

        file.as_file().set_len(FILE_LIMIT + 1).unwrap();
        let long = EnvironmentFiles {
            config: vec![named("a", file.path())],
            secret: vec![],
        };
        assert_eq!(add_files(&mut Options::new(), &long).unwrap_err().code(), 3);
    }

    #[test]
    fn files_are_sent_as_bytes_by_name() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0, 255]).unwrap();
        let files = EnvironmentFiles {
            config: vec![named("a", file.path())],
            secret: vec![],
        };
        let mut options = Options::new();
        add_files(&mut options, &files).unwrap();
        let value = options.remove("files").unwrap();
        assert_eq!(value.value_signature(), "a{say}");
        let mut none = Options::new();
        add_files(&mut none, &EnvironmentFiles::default()).unwrap();
        assert!(none.is_empty());
    }
}
