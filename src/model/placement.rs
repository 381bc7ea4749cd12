//! What a copy of a service on a guest consists of: computed once, the same for install, look and uninstall.

use serde::{Deserialize, Serialize};

use super::disk::DiskSerial;
use super::ids::{Digest, ServiceId};
use super::manifest::{Check, EnvironmentFile, Manifest, file_of};
use super::service::BundleRecord;
use super::unit::UnitName;
use super::unit_file;
use super::volume::PlacedData;

/// Where unit files are placed: systemd reads them there, and `mask`, `enable` and drop-ins in `/etc/systemd/system`
/// keep their meaning (design section 3).
const UNIT_FOLDER: &str = "/etc/systemd/system.attached";

/// The largest file of the environment, in bytes: it goes through the guest agent, whose one message should stay small.
pub const MAX_ENVIRONMENT_FILE: usize = 64 * 1024;

/// The largest environment of a service, all files together, in bytes.
pub const MAX_ENVIRONMENT: usize = 200 * 1024;

/// A file that is written into the guest.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlacedFile {
    /// Absolute path in the guest.
    pub path: String,
    /// Content.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner's name in the guest.
    pub owner: String,
    /// Group's name in the guest.
    pub group: String,
}

impl std::fmt::Debug for PlacedFile {
    /// Shows everything but the content, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlacedFile")
            .field("path", &self.path)
            .field("bytes", &self.content.len())
            .finish_non_exhaustive()
    }
}

/// A wants link below `/etc/systemd/system`, by which the arrival of the disk starts a unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WantsLink {
    /// Path of the symlink: `/etc/systemd/system/<device unit>.wants/<unit>`.
    pub path: String,
    /// What it points at: `/etc/systemd/system.attached/<unit file>`.
    pub target: String,
}

/// One copy of a service on a guest: every path, unit and link of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// The service.
    pub service: ServiceId,
    /// Its bundle.
    pub digest: Digest,
    /// The bundle disk's serial.
    pub serial: DiskSerial,
    /// `/opt/<service>`.
    pub mount_point: String,
    /// The bundle's mount unit, such as `opt-my\x2dapp.v2.mount`.
    pub mount_unit: String,
    /// Its data volume, if it has one.
    pub data: Option<PlacedData>,
    /// Mount units and rewritten unit files, below `/etc/systemd/system.attached/`, each beginning with the
    /// marker line of [`Placement::marker`].
    pub unit_files: Vec<PlacedFile>,
    /// Links that are there while the service is wanted running and enabled.
    pub links: Vec<WantsLink>,
    /// Units to start, stop and look at.
    pub units: Vec<UnitName>,
    /// Config and secrets.
    pub files: Vec<PlacedFile>,
    /// The user whose uid must agree between guests.
    pub user: Option<String>,
    /// Ports that must be free on a target.
    pub ports: Vec<u16>,
    /// The check.
    pub check: Option<Check>,
}

impl Placement {
    /// The first line of every unit file that handoverd writes for `service`: what makes it ours.
    pub fn marker(service: &ServiceId) -> String {
        format!("# Placed by handoverd for service {service}; do not edit, use drop-ins.")
    }

    /// The copy of a bundle's service on any guest, with the environment's files as [`environment`] made them.
    ///
    /// The links are those of the manifest's units whose file has an `[Install]` section (`inspect` refuses a bundle
    /// without any); the other units of the manifest are started by a start step and by what pulls them in, not by
    /// the disk.
    pub fn of(bundle: &BundleRecord, files: &[PlacedFile]) -> Self {
        let manifest = &bundle.manifest;
        let service = manifest.service.clone();
        let serial = DiskSerial::of(&service, &bundle.digest);
        let (mount_unit, device_unit) = (unit_file::mount_unit_name(&service), serial.device_unit());
        let data = manifest.data.as_ref().map(|spec| PlacedData::of(&service, spec));
        let mut unit_files = vec![placed_unit(
            &mount_unit,
            unit_file::mount_unit(&service, &bundle.digest, &serial),
        )];
        let mut mounts = vec![mount_unit.as_str()];
        if let Some(data) = &data {
            unit_files.push(placed_unit(
                &data.mount_unit,
                unit_file::data_mount_unit(&service, data),
            ));
            mounts.push(&data.mount_unit);
        }
        for file in &bundle.units {
            let text = unit_file::rewrite(&file.text, &service, &mounts, &device_unit);
            unit_files.push(placed_unit(file.name.as_str(), text));
        }

        let mut links = Vec::new();
        for unit in &manifest.units {
            let Some(file) = file_of(&bundle.units, unit) else {
                continue;
            };
            if unit_file::has_install(&file.text) {
                links.push(WantsLink {
                    path: format!("/etc/systemd/system/{device_unit}.wants/{unit}"),
                    target: format!("{UNIT_FOLDER}/{}", file.name),
                });
            }
        }

        Self {
            mount_point: format!("/opt/{service}"),
            digest: bundle.digest.clone(),
            units: manifest.units.clone(),
            files: files.to_vec(),
            user: manifest.user.clone(),
            ports: manifest.ports.clone(),
            check: manifest.check.clone(),
            service,
            serial,
            mount_unit,
            data,
            unit_files,
            links,
        }
    }

    /// The serials of all its disks, the bundle's first.
    pub fn serials(&self) -> impl Iterator<Item = &DiskSerial> {
        std::iter::once(&self.serial).chain(self.data.as_ref().map(|data| &data.serial))
    }
}

fn placed_unit(name: &str, text: String) -> PlacedFile {
    PlacedFile {
        path: format!("{UNIT_FOLDER}/{name}"),
        content: text.into_bytes(),
        mode: 0o644,
        owner: "root".to_owned(),
        group: "root".to_owned(),
    }
}

/// Why the files given at deploy do not fit a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EnvironmentError {
    /// The manifest asks for a file that was not given.
    #[error(
        "service {service} needs the file {name} (for {path}) and it was not given; add {option} {name}=FILE"
    )]
    Missing {
        /// The service.
        service: ServiceId,
        /// The file's name in the manifest.
        name: String,
        /// Its path in the guest.
        path: String,
        /// The option by which it is given: `--config` or `--secret`.
        option: &'static str,
    },
    /// A file was given that the manifest does not know.
    #[error("service {service} has no config or secret named {name:?}; its manifest knows {known}")]
    Unknown {
        /// The service.
        service: ServiceId,
        /// The name given, cut to 80 characters.
        name: String,
        /// The names that the manifest knows, or `none`.
        known: String,
    },
    /// A file was given twice.
    #[error("service {service}: the file {name} was given twice; give it once")]
    Twice {
        /// The service.
        service: ServiceId,
        /// The file's name in the manifest.
        name: String,
    },
    /// One file, or all together, is too large to be written through the guest agent.
    #[error(
        "service {service}: {what} has {bytes} bytes and may have {limit}; put what is large into the bundle"
    )]
    TooLarge {
        /// The service.
        service: ServiceId,
        /// Which file, or all of them.
        what: String,
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

/// Joins the files given at deploy, by name, with what the manifest says of them: config first, then secrets, each in
/// the manifest's order.
///
/// # Errors
/// A file that is missing, unknown, given twice, larger than [`MAX_ENVIRONMENT_FILE`], or all together larger than
/// [`MAX_ENVIRONMENT`].
pub fn environment(
    manifest: &Manifest,
    given: &[(String, Vec<u8>)],
) -> Result<Vec<PlacedFile>, EnvironmentError> {
    let service = || manifest.service.clone();
    let wanted = || {
        let config = manifest.config.iter().map(|file| (file, "--config"));
        config.chain(manifest.secrets.iter().map(|file| (file, "--secret")))
    };
    for (index, (name, content)) in given.iter().enumerate() {
        if !wanted().any(|(file, _)| file.name == *name) {
            let known: Vec<_> = wanted().map(|(file, _)| file.name.as_str()).collect();
            return Err(EnvironmentError::Unknown {
                service: service(),
                name: name.chars().take(80).collect(),
                known: if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                },
            });
        }
        if given.iter().take(index).any(|(earlier, _)| earlier == name) {
            return Err(EnvironmentError::Twice {
                service: service(),
                name: name.clone(),
            });
        }
        if content.len() > MAX_ENVIRONMENT_FILE {
            return Err(EnvironmentError::TooLarge {
                service: service(),
                what: format!("the file {name}"),
                bytes: content.len(),
                limit: MAX_ENVIRONMENT_FILE,
            });
        }
    }
    let bytes = given.iter().map(|(_, content)| content.len()).sum();
    if bytes > MAX_ENVIRONMENT {
        return Err(EnvironmentError::TooLarge {
            service: service(),
            what: "its environment (config and secrets together)".to_owned(),
            bytes,
            limit: MAX_ENVIRONMENT,
        });
    }
    wanted()
        .map(
            |(file, option)| match given.iter().find(|(name, _)| *name == file.name) {
                Some((_, content)) => Ok(placed_environment(file, content)),
                None => Err(EnvironmentError::Missing {
                    service: service(),
                    name: file.name.clone(),
                    path: file.path.clone(),
                    option,
                }),
            },
        )
        .collect()
}

fn placed_environment(file: &EnvironmentFile, content: &[u8]) -> PlacedFile {
    PlacedFile {
        path: file.path.clone(),
        content: content.to_vec(),
        mode: file.mode,
        owner: file.owner.clone(),
        group: file.group.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest::UnitFile;

    fn file(name: &str, path: &str) -> EnvironmentFile {
        EnvironmentFile {
            name: name.to_owned(),
            path: path.to_owned(),
            mode: 0o640,
            owner: "root".to_owned(),
            group: "web".to_owned(),
        }
    }

    fn bundle() -> BundleRecord {
        let unit = |name: &str, text: &str| UnitFile {
            name: name.parse().unwrap(),
            text: text.to_owned(),
        };
        BundleRecord {
            digest: "ab".repeat(32).parse().unwrap(),
            size: 4096,
            manifest: Manifest {
                service: "my-app".parse().unwrap(),
                version: "1".to_owned(),
                units: ["app@1.service", "app@2.service", "app.socket", "own.service"]
                    .map(|name| name.parse().unwrap())
                    .to_vec(),
                check: None,
                dns: None,
                srv: Vec::new(),
                user: Some("web".to_owned()),
                config: vec![file("app.conf", "/etc/app/app.conf")],
                secrets: vec![file("key", "/etc/app/key")],
                ports: vec![80],
                data: None,
                needs: crate::model::needs::Needs::default(),
                overlap: true,
                movable: true,
            },
            units: vec![
                unit(
                    "app@.service",
                    "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n",
                ),
                unit("app.socket", "[Unit]\n[Socket]\nListenStream=1\n"),
                unit("own.service", "[Unit]\n[Install]\nWantedBy=a\n"),
                unit("helper.timer", "[Timer]\n[Install]\nWantedBy=timers.target\n"),
            ],
            registered: 0,
        }
    }

    #[test]
    fn a_placement_names_every_path_of_a_copy() {
        let bundle = bundle();
        let placement = Placement::of(&bundle, &[]);
        assert_eq!(placement.mount_point, "/opt/my-app");
        assert_eq!(placement.mount_unit, "opt-my\\x2dapp.mount");
        let paths: Vec<_> = placement.unit_files.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/etc/systemd/system.attached/opt-my\\x2dapp.mount",
                "/etc/systemd/system.attached/app@.service",
                "/etc/systemd/system.attached/app.socket",
                "/etc/systemd/system.attached/own.service",
                "/etc/systemd/system.attached/helper.timer",
            ]
        );
        let marker = Placement::marker(&placement.service);
        for file in &placement.unit_files {
            let text = std::str::from_utf8(&file.content).unwrap();
            assert_eq!(text.lines().next(), Some(marker.as_str()), "{}", file.path);
            assert_eq!(
                (file.mode, file.owner.as_str(), file.group.as_str()),
                (0o644, "root", "root")
            );
        }
    }

    #[test]
    fn units_with_an_install_section_are_linked_to_the_disk_and_instances_to_their_template() {
        let placement = Placement::of(&bundle(), &[]);
        let wants = format!("/etc/systemd/system/{}.wants", placement.serial.device_unit());
        let link = |unit: &str, file: &str| WantsLink {
            path: format!("{wants}/{unit}"),
            target: format!("/etc/systemd/system.attached/{file}"),
        };
        assert_eq!(
            placement.links,
            [
                link("app@1.service", "app@.service"),
                link("app@2.service", "app@.service"),
                link("own.service", "own.service"),
            ]
        );
    }

    #[test]
    fn given_files_are_placed_as_the_manifest_says() {
        let manifest = bundle().manifest;
        let given = [
            ("key".to_owned(), b"k".to_vec()),
            ("app.conf".to_owned(), b"c".to_vec()),
        ];
        let files = environment(&manifest, &given).unwrap();
        let told: Vec<_> = files
            .iter()
            .map(|f| (f.path.as_str(), f.content.as_slice(), f.mode))
            .collect();
        assert_eq!(
            told,
            [
                ("/etc/app/app.conf", &b"c"[..], 0o640),
                ("/etc/app/key", &b"k"[..], 0o640)
            ]
        );
    }

    #[test]
    fn an_environment_that_does_not_fit_is_refused_by_name() {
        let manifest = bundle().manifest;
        let conf = |bytes: usize| ("app.conf".to_owned(), vec![0; bytes]);
        let key = |bytes: usize| ("key".to_owned(), vec![0; bytes]);
        type Given = Vec<(String, Vec<u8>)>;
        let cases: [(&str, Given, &str); 5] = [
            (
                "a missing secret",
                vec![conf(1)],
                "service my-app needs the file key (for /etc/app/key) and it was not given; add --secret key=FILE",
            ),
            (
                "an unknown name",
                vec![conf(1), key(1), ("x".to_owned(), vec![])],
                "service my-app has no config or secret named \"x\"; its manifest knows app.conf, key",
            ),
            (
                "a name given twice",
                vec![key(1), key(1)],
                "service my-app: the file key was given twice; give it once",
            ),
            (
                "a large file",
                vec![conf(65537), key(1)],
                "service my-app: the file app.conf has 65537 bytes and may have 65536; put what is large into the bundle",
            ),
            (
                "nothing",
                vec![],
                "service my-app needs the file app.conf (for /etc/app/app.conf) and it was not given; add --config app.conf=FILE",
            ),
        ];
        for (name, given, expected) in cases {
            assert_eq!(
                environment(&manifest, &given).unwrap_err().to_string(),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn an_environment_that_is_large_in_all_is_refused() {
        let mut manifest = bundle().manifest;
        manifest.config = (0..4)
            .map(|n| file(&format!("f{n}"), &format!("/etc/f{n}")))
            .collect();
        manifest.secrets.clear();
        let given: Vec<_> = (0..4).map(|n| (format!("f{n}"), vec![0; 60_000])).collect();
        assert_eq!(
            environment(&manifest, &given).unwrap_err().to_string(),
            "service my-app: its environment (config and secrets together) has 240000 bytes and may have 204800; put what is large into the bundle"
        );
    }
}
