//! `[[config]]` and `[[secrets]]` of a manifest: files that are written into the guest beside the bundle.

use serde::Deserialize;
use toml::Spanned;

use super::{ManifestError, Source, values};
use crate::model::ids::ServiceId;
use crate::model::manifest::EnvironmentFile;
use crate::model::volume::DataSpec;

const MAX_FILES: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    name: Spanned<String>,
    path: Spanned<String>,
    mode: Option<Spanned<String>>,
    owner: Option<Spanned<String>>,
    group: Option<Spanned<String>>,
}

/// Files of the environment are written while the volume is not mounted, which would then hide them.
pub(super) fn keep_off<'a>(
    source: &Source<'_>,
    data: &DataSpec,
    mut files: impl Iterator<Item = &'a RawFile>,
) -> Result<(), ManifestError> {
    let mount = &data.mount_point;
    match files
        .find(|file| values::is_in(file.path.get_ref(), mount) || values::is_in(mount, file.path.get_ref()))
    {
        Some(file) => source.at(
            "path",
            &file.path,
            Err(format!(
                "{:?} lies where the data volume is mounted ({mount}); place it elsewhere",
                file.path.get_ref()
            )),
        ),
        None => Ok(()),
    }
}

pub(super) fn read_files(
    source: &Source<'_>,
    table: &str,
    raw: &[RawFile],
    service: &ServiceId,
) -> Result<Vec<EnvironmentFile>, ManifestError> {
    let secret = table == "secrets";
    let account = |key: &str, value: &Option<Spanned<String>>| match value {
        Some(text) => source.text(&format!("{table}.{key}"), text, values::account),
        None => Ok("root".to_owned()),
    };
    raw.iter()
        .map(|file| {
            Ok(EnvironmentFile {
                name: source.text(&format!("{table}.name"), &file.name, values::file_name)?,
                path: source.text(&format!("{table}.path"), &file.path, |text| {
                    values::guest_path(text, service)
                })?,
                mode: match &file.mode {
                    Some(text) => {
                        source.text(&format!("{table}.mode"), text, |text| values::mode(text, secret))?
                    }
                    None if secret => 0o600,
                    None => 0o644,
                },
                owner: account("owner", &file.owner)?,
                group: account("group", &file.group)?,
            })
        })
        .collect()
}

/// Config and secrets share their names and the guest's folders: none may be named twice, or be the folder of another.
pub(super) fn keep_apart<'a>(
    source: &Source<'_>,
    files: impl Iterator<Item = &'a RawFile>,
) -> Result<(), ManifestError> {
    let mut seen: Vec<&RawFile> = Vec::new();
    for file in files {
        if seen.len() >= MAX_FILES {
            return source.at(
                "config",
                &file.name,
                Err(format!("config and secrets have at most {MAX_FILES} files")),
            );
        }
        for other in &seen {
            let (path, earlier) = (file.path.get_ref(), other.path.get_ref());
            if file.name.get_ref() == other.name.get_ref() {
                return source.at(
                    "name",
                    &file.name,
                    Err(format!(
                        "{:?} is named twice; config and secrets share their names",
                        file.name.get_ref()
                    )),
                );
            }
            if values::is_in(path, earlier) || values::is_in(earlier, path) {
                return source.at(
                    "path",
                    &file.path,
                    Err(format!("{path:?} and {earlier:?} cannot both be files")),
                );
            }
        }
        seen.push(file);
    }
    Ok(())
}
