//! The data volume of a service: writable, in the libvirt pool, granted to one guest at a time (design section 3).

use serde::{Deserialize, Serialize};

use super::disk::DiskSerial;
use super::ids::{HostId, ServiceId};
use super::unit::escape_path;

/// A file system that a volume is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileSystem {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
}

impl FileSystem {
    /// Its name, as mount(8) and mkfs know it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// What a manifest says of data: `[data]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DataSpec {
    /// Bytes; a multiple of 4096.
    pub size: u64,
    /// What it is formatted with, once, when it is made.
    pub filesystem: FileSystem,
    /// Absolute path in the guest, outside `/opt` and the system's own folders.
    pub mount_point: String,
}

/// A volume as the service table knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Volume {
    /// The host in whose pool it is.
    pub host: HostId,
    /// Its path on that host: what every definition that has it must name as the disk's source.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its file system.
    pub filesystem: FileSystem,
}

/// The name of a service's volume in the pool: by it a volume is found again after its service was removed.
pub fn volume_name(service: &ServiceId) -> String {
    format!("{service}.data.raw")
}

/// A data volume's part of a placement.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlacedData {
    /// The disk's serial.
    pub serial: DiskSerial,
    /// Where it is mounted.
    pub mount_point: String,
    /// The unit that mounts it, such as `srv-web.mount`.
    pub mount_unit: String,
    /// What it is formatted with.
    pub filesystem: FileSystem,
}

impl PlacedData {
    /// The data of a service as every guest places it.
    pub fn of(service: &ServiceId, spec: &DataSpec) -> Self {
        Self {
            serial: DiskSerial::of_volume(service),
            mount_point: spec.mount_point.clone(),
            mount_unit: format!("{}.mount", escape_path(&spec.mount_point)),
            filesystem: spec.filesystem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_named_and_numbered_by_its_service_alone() {
        let web: ServiceId = "my-app.v2".parse().unwrap();
        let spec = DataSpec {
            size: 4096,
            filesystem: FileSystem::Ext4,
            mount_point: "/srv/my-app".into(),
        };
        let data = PlacedData::of(&web, &spec);
        assert_eq!(volume_name(&web), "my-app.v2.data.raw");
        assert_eq!(data.mount_unit, "srv-my\\x2dapp.mount");
        assert_eq!(data.serial.as_str().len(), 20);
        assert!(
            data.serial.as_str().starts_with("ho"),
            "what multipath configurations exclude"
        );
    }
}
