//! The disks of a service: the bundle, which is the licence to run, and the data volume (design section 3).

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ids::{Digest, ServiceId};
use super::unit::escape_path;

/// A disk's serial, at most 20 characters, unique for each service and digest.
///
/// 20 is what virtio-blk keeps and what SCSI shows in `by-id/scsi-0QEMU_QEMU_HARDDISK_<serial>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiskSerial(String);

impl DiskSerial {
    /// The serial of a service's bundle: `ho` and 72 bits of sha256 over service id and digest.
    pub fn of(service: &ServiceId, digest: &Digest) -> Self {
        let hash: [u8; 32] = Sha256::digest(format!("{service}\n{digest}").as_bytes()).into();
        let hex = Digest::from_sha256(&hash);
        Self(format!("ho{}", hex.as_str().get(..18).unwrap_or_default()))
    }

    /// The serial of a service's data volume: the same for every bundle and guest.
    pub fn of_volume(service: &ServiceId) -> Self {
        let hash: [u8; 32] = Sha256::digest(format!("{service}\ndata volume").as_bytes()).into();
        let hex = Digest::from_sha256(&hash);
        Self(format!("ho{}", hex.as_str().get(..18).unwrap_or_default()))
    }

    /// A serial that no disk has: to ask for room before a bundle is known.
    pub fn of_nothing() -> Self {
        Self(String::new())
    }

    /// The serial as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The disk's path in the guest.
    pub fn device_path(&self) -> String {
        format!("/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_{}", self.0)
    }

    /// The guest's device unit of this disk.
    pub fn device_unit(&self) -> String {
        format!("{}.device", escape_path(&self.device_path()))
    }
}

impl fmt::Display for DiskSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a SCSI disk sits: virtio-scsi controller index and unit (LUN); bus and target are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ScsiAddress {
    /// Index of the `<controller type='scsi'>`.
    pub controller: u32,
    /// The unit on it, 0–16383 for virtio-scsi.
    pub unit: u32,
}

/// What a disk is to a service, and so how it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskRole {
    /// The bundle: read-only, shared, and a guest boots without it if its image is missing.
    #[default]
    Bundle,
    /// The data volume: read-write, and QEMU's image lock keeps a second guest from it.
    Volume,
}

/// A disk of a service as it is to be given to a guest, the same in live and persistent config.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GuestDisk {
    /// What it is.
    #[serde(default)]
    pub role: DiskRole,
    /// Its serial, by which it is found again.
    pub serial: DiskSerial,
    /// The image's path on the host.
    pub source: String,
    /// Target name such as `sdc`, after all others.
    pub target: String,
    /// Its address.
    pub address: ScsiAddress,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_has_20_characters_and_differs_by_service_and_digest() {
        let (web, api) = ("web".parse().unwrap(), "api".parse().unwrap());
        let (one, two) = ("0".repeat(64).parse().unwrap(), "1".repeat(64).parse().unwrap());
        let serial = DiskSerial::of(&web, &one);
        assert_eq!(serial.as_str().len(), 20);
        assert_ne!(serial, DiskSerial::of(&api, &one));
        assert_ne!(serial, DiskSerial::of(&web, &two));
        assert!(
            serial
                .device_unit()
                .starts_with("dev-disk-by\\x2did-scsi\\x2d0QEMU_QEMU_HARDDISK_ho")
        );
    }
}
