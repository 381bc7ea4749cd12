//! What a copy of a service on a guest consists of: computed once, the same for install, look and uninstall.

use serde::{Deserialize, Serialize};

use super::disk::DiskSerial;
use super::ids::{Digest, ServiceId};
use super::manifest::Check;
use super::unit::UnitName;

/// A file that is written into the guest.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantsLink {
    /// Path of the symlink: `/etc/systemd/system/<device unit>.wants/<unit>`.
    pub path: String,
    /// What it points at: `/etc/systemd/system.attached/<unit file>`.
    pub target: String,
}

/// One copy of a service on a guest: every path, unit and link of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Mount unit and rewritten unit files, below `/etc/systemd/system.attached/`, each beginning with the
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
}
