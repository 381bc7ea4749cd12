//! Reading an image that nobody vouches for.

use std::io::{Read, Seek, SeekFrom};

use super::squashfs::{FileNode, Image, InodeRef, Listing, Node};
use super::{
    Bundle, BundleError, Contents, IMAGE_ALIGNMENT, MAX_DEPTH, MAX_ENTRIES, MAX_MANIFEST, MAX_UNIT_FILE,
    MAX_UNIT_FILES, MAX_UNITS, advice, digest_of, foreign, leaves, leaving, manifest_toml,
};
use crate::model::ids::ServiceId;
use crate::model::manifest::{Manifest, UnitFile, file_of};
use crate::model::unit_file;

/// Paths named in unit files that are looked up in the image; more are taken to be there.
const MAX_LOOKS: u32 = 64;

/// Reads an image from its beginning and tells what stands in it, with its digest.
///
/// Memory is bounded whatever the image holds; nothing of it is run, mounted or written.
///
/// # Errors
/// Whatever [`BundleError`] names but `OutInside` and `Write`.
pub fn inspect<R: Read + Seek>(reader: &mut R) -> Result<Bundle, BundleError> {
    let io = |source| BundleError::Io {
        what: "cannot read the image".to_owned(),
        source,
    };
    let size = reader.seek(SeekFrom::End(0)).map_err(io)?;
    let mut image = Image::open(reader, size)?;
    if size % IMAGE_ALIGNMENT != 0 {
        return Err(BundleError::Padding { size });
    }
    let root = image.root()?;
    let manifest = read_manifest(&mut image, root)?;
    let contents = walk(&mut image, root, &manifest.service)?;
    let units = read_units(&mut image, root, &manifest)?;
    let mut looks = 0;
    let warnings = advice::warnings(&manifest, &units, &mut |path| {
        looks += 1;
        // Each look may go through the largest folder.
        if looks > MAX_LOOKS {
            Ok(advice::Found::Something)
        } else {
            find(&mut image, root, path)
        }
    })?;

    reader.seek(SeekFrom::Start(0)).map_err(io)?;
    let (digest, read) = digest_of(reader).map_err(io)?;
    if read != size {
        return Err(BundleError::Damaged {
            reason: "it changed while it was read".to_owned(),
        });
    }
    Ok(Bundle {
        digest,
        size,
        manifest,
        units,
        contents,
        warnings,
    })
}

/// The inode of an entry of this name; two of them are damage.
fn child<R: Read + Seek>(
    image: &mut Image<'_, R>,
    folder: Listing,
    name: &[u8],
) -> Result<Option<InodeRef>, BundleError> {
    let entries = image.list(folder, MAX_ENTRIES)?;
    let mut found = entries.iter().filter(|entry| entry.name == name);
    let first = found.next().map(|entry| entry.inode);
    if found.next().is_some() {
        let reason = format!("it has two entries named {:?}", String::from_utf8_lossy(name));
        return Err(BundleError::Damaged { reason });
    }
    Ok(first)
}

/// A regular file's text within a limit in bytes.
fn text<R: Read + Seek>(
    image: &mut Image<'_, R>,
    path: &str,
    node: &Node,
    limit: usize,
) -> Result<String, BundleError> {
    let Node::File { file, .. } = node else {
        return Err(BundleError::Refused {
            path: path.to_owned(),
            reason: "it must be a regular file".to_owned(),
        });
    };
    let too_large = || BundleError::TooLarge {
        what: path.to_owned(),
        limit,
    };
    let bytes = image.content(file, limit)?.ok_or_else(too_large)?;
    String::from_utf8(bytes).map_err(|_| BundleError::Refused {
        path: path.to_owned(),
        reason: "it is not UTF-8 text".to_owned(),
    })
}

fn read_manifest<R: Read + Seek>(image: &mut Image<'_, R>, root: Listing) -> Result<Manifest, BundleError> {
    let name = "handover.toml";
    let inode = child(image, root, name.as_bytes())?.ok_or_else(|| BundleError::NoManifest {
        place: "the image".to_owned(),
    })?;
    let node = image.node(inode)?;
    Ok(manifest_toml::parse(&text(image, name, &node, MAX_MANIFEST)?)?)
}

fn read_units<R: Read + Seek>(
    image: &mut Image<'_, R>,
    root: Listing,
    manifest: &Manifest,
) -> Result<Vec<UnitFile>, BundleError> {
    let none = || match manifest.units.first() {
        Some(first) => BundleError::NoUnits { first: first.clone() },
        None => BundleError::NothingStarts {
            service: manifest.service.clone(),
        },
    };
    let inode = child(image, root, b"units")?.ok_or_else(none)?;
    let Node::Folder(folder) = image.node(inode)? else {
        return Err(none());
    };
    let mut units: Vec<UnitFile> = Vec::new();
    let mut bytes = 0_usize;
    for entry in image.list(folder, MAX_ENTRIES)? {
        if units.len() >= MAX_UNITS {
            return Err(BundleError::Refused {
                path: "units/".to_owned(),
                reason: format!("it holds more than {MAX_UNITS} files"),
            });
        }
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        let name: crate::model::unit::UnitName = name.parse().map_err(BundleError::UnitName)?;
        let node = image.node(entry.inode)?;
        let text = text(image, &format!("units/{name}"), &node, MAX_UNIT_FILE)?;
        bytes = bytes.saturating_add(text.len());
        if bytes > MAX_UNIT_FILES {
            return Err(BundleError::TooLarge {
                what: "units/ in all".to_owned(),
                limit: MAX_UNIT_FILES,
            });
        }
        unit_file::assignments(&text).map_err(|source| BundleError::UnitSyntax {
            unit: name.clone(),
            source,
        })?;
        if units.iter().any(|unit| unit.name == name) {
            return Err(BundleError::Damaged {
                reason: format!("it has two files units/{name}"),
            });
        }
        units.push(UnitFile { name, text });
    }
    units.sort_by(|a, b| a.name.cmp(&b.name));
    for unit in &manifest.units {
        if file_of(&units, unit).is_none() {
            return Err(BundleError::UnitMissing {
                unit: unit.clone(),
                file: unit.file_name(),
            });
        }
    }
    let starts = |unit| file_of(&units, unit).is_some_and(|file| unit_file::has_install(&file.text));
    if manifest.units.iter().any(starts) {
        Ok(units)
    } else {
        Err(BundleError::NothingStarts {
            service: manifest.service.clone(),
        })
    }
}

/// A folder on the way of the walk; its path is made only where a message needs it.
struct Folder {
    parent: Option<usize>,
    name: Vec<u8>,
    depth: usize,
    listing: Listing,
}

/// Looks at every entry once: counts them, and refuses what a bundle may not hold.
///
/// A list instead of recursion, with a limit of entries and depth, so that a tree that contains itself ends too.
fn walk<R: Read + Seek>(
    image: &mut Image<'_, R>,
    root: Listing,
    service: &ServiceId,
) -> Result<Contents, BundleError> {
    let mut contents = Contents::default();
    let mut folders = vec![Folder {
        parent: None,
        name: Vec::new(),
        depth: 0,
        listing: root,
    }];
    let (mut next, mut seen) = (0, 0_usize);
    while let Some(folder) = folders.get(next) {
        let depth = folder.depth;
        let entries = image.list(folder.listing, MAX_ENTRIES.saturating_sub(seen))?;
        seen = seen.saturating_add(entries.len());
        for entry in entries {
            match image.node(entry.inode)? {
                Node::File {
                    file: FileNode { size, .. },
                    ..
                } => {
                    contents.files += 1;
                    contents.bytes = contents.bytes.saturating_add(size);
                }
                Node::Folder(_) if depth >= MAX_DEPTH => {
                    let reason = format!("folders may lie at most {MAX_DEPTH} deep");
                    return Err(BundleError::Refused {
                        path: path_of(&folders, next, &entry.name),
                        reason,
                    });
                }
                Node::Folder(listing) => {
                    contents.folders += 1;
                    folders.push(Folder {
                        parent: Some(next),
                        name: entry.name,
                        depth: depth + 1,
                        listing,
                    });
                }
                Node::Symlink(target) if leaves(&target, depth, service) => {
                    return Err(leaving(path_of(&folders, next, &entry.name), &target, service));
                }
                Node::Symlink(_) => contents.symlinks += 1,
                Node::Other(what) => return Err(foreign(path_of(&folders, next, &entry.name), what)),
            }
        }
        next += 1;
    }
    Ok(contents)
}

fn path_of(folders: &[Folder], folder: usize, name: &[u8]) -> String {
    let mut parts = vec![String::from_utf8_lossy(name).into_owned()];
    let mut at = folders.get(folder);
    while let Some(folder) = at {
        if !folder.name.is_empty() {
            parts.push(String::from_utf8_lossy(&folder.name).into_owned());
        }
        at = folder.parent.and_then(|parent| folders.get(parent));
    }
    parts.reverse();
    // Names are the image's: nothing that a terminal would act on may come through.
    parts.join("/").escape_debug().to_string()
}

/// What stands at a path of the bundle; symlinks are not followed.
fn find<R: Read + Seek>(
    image: &mut Image<'_, R>,
    root: Listing,
    path: &str,
) -> Result<advice::Found, BundleError> {
    let mut node = Node::Folder(root);
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        node = match node {
            Node::Folder(listing) => match child(image, listing, part.as_bytes())? {
                Some(inode) => image.node(inode)?,
                None => return Ok(advice::Found::Nothing),
            },
            Node::Symlink(_) => return Ok(advice::Found::Something),
            Node::File { .. } | Node::Other(_) => return Ok(advice::Found::Nothing),
        };
    }
    Ok(match node {
        Node::File { mode, .. } => advice::Found::File {
            executable: mode & 0o111 != 0,
        },
        _ => advice::Found::Something,
    })
}
