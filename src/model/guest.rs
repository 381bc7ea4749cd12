//! What is known about a guest: its domain as libvirt tells it, its agent, a copy of a service in it.

use serde::{Deserialize, Serialize};

use super::disk::{DiskSerial, ScsiAddress};
use super::ids::{GuestId, HostId};
use super::life::Enablement;
use super::needs::Label;

/// A domain's state (virDomainState).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DomainState {
    /// VIR_DOMAIN_RUNNING or BLOCKED.
    Running,
    /// VIR_DOMAIN_PAUSED.
    Paused,
    /// VIR_DOMAIN_SHUTDOWN: on its way down.
    ShuttingDown,
    /// VIR_DOMAIN_SHUTOFF.
    Shutoff,
    /// VIR_DOMAIN_CRASHED.
    Crashed,
    /// VIR_DOMAIN_PMSUSPENDED.
    Suspended,
    /// VIR_DOMAIN_NOSTATE or one that this version does not know.
    Unknown,
}

impl DomainState {
    /// The word for tables and the bus.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::ShuttingDown => "shutting-down",
            Self::Shutoff => "shutoff",
            Self::Crashed => "crashed",
            Self::Suspended => "suspended",
            Self::Unknown => "unknown",
        }
    }
}

/// One disk of a domain definition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DomainDisk {
    /// `<target dev>`.
    pub target: String,
    /// `<target bus>`.
    pub bus: String,
    /// `<serial>`.
    pub serial: Option<String>,
    /// `<source file>` (or dev, or volume), if any.
    pub source: Option<String>,
    /// Its SCSI address where it has one.
    pub scsi: Option<ScsiAddress>,
}

/// A SCSI controller of a domain definition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScsiController {
    /// `index`.
    pub index: u32,
    /// `model`, such as `virtio-scsi` or `lsilogic`; libvirt fills it in.
    pub model: String,
}

/// One definition of a domain: the live one or the persistent one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Definition {
    /// All disks.
    pub disks: Vec<DomainDisk>,
    /// All SCSI controllers.
    pub scsi_controllers: Vec<ScsiController>,
    /// Machine type, such as `pc-q35-7.2`.
    pub machine: String,
    /// PCIe root ports that nothing is plugged into; hot-plugging a controller on q35 takes one.
    pub free_pcie_ports: u32,
}

impl Definition {
    /// The disk with this serial.
    pub fn disk(&self, serial: &DiskSerial) -> Option<&DomainDisk> {
        self.disks
            .iter()
            .find(|disk| disk.serial.as_deref() == Some(serial.as_str()))
    }
}

/// A domain on one host, as listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GuestSummary {
    /// Its UUID.
    pub id: GuestId,
    /// Its libvirt name.
    pub name: String,
    /// The host where it was seen.
    pub host: HostId,
    /// Its state.
    pub state: DomainState,
    /// Whether libvirt holds a channel to its agent right now (`<target type='virtio' … state='connected'>`).
    pub agent_connected: bool,
    /// Whether it has a persistent definition.
    pub persistent: bool,
    /// Whether a managed-save image waits.
    pub managed_save: bool,
    /// The daemon that controls it, by the id of that daemon's own host, as its metadata says; `None`: nobody yet.
    pub controller: Option<String>,
    /// The labels that its metadata gives it; those of the configuration are not among them.
    pub labels: Vec<Label>,
}

impl GuestSummary {
    /// The daemon that controls it, if that is another than the one of host `own`.
    pub fn other_controller(&self, own: &HostId) -> Option<&str> {
        self.controller.as_deref().filter(|id| *id != own.as_str())
    }

    /// Whether its services can run there now.
    pub fn is_running(&self) -> bool {
        self.state == DomainState::Running
    }
}

/// A fresh, whole look at a domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GuestDomain {
    /// As listed.
    pub summary: GuestSummary,
    /// The live definition, while it is active.
    pub live: Option<Definition>,
    /// The persistent definition, unless it is transient.
    pub config: Option<Definition>,
}

impl GuestDomain {
    /// Whether a QEMU process runs it (or holds it paused): only then has it a live definition.
    pub fn is_active(&self) -> bool {
        self.live.is_some()
    }
}

/// What the guest agent says of itself (`guest-info`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AgentInfo {
    /// Its version.
    pub version: String,
    /// Commands that handoverd needs and that are disabled there, such as `guest-exec`.
    pub disabled: Vec<String>,
}

/// One systemd unit as `systemctl show` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UnitState {
    /// `Id`.
    pub unit: String,
    /// `LoadState`.
    pub load: String,
    /// `ActiveState`.
    pub active: String,
    /// `SubState`.
    pub sub: String,
    /// `Result`.
    pub result: String,
}

impl UnitState {
    /// Whether it is up.
    pub fn is_active(&self) -> bool {
        self.active == "active" || self.active == "reloading"
    }

    /// Whether it is down and nothing of it runs.
    pub fn is_down(&self) -> bool {
        self.active == "inactive" || self.active == "failed"
    }
}

/// A fresh look at one service's copy inside a guest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct CopyState {
    /// The manifest's units, in the placement's order.
    pub units: Vec<UnitState>,
    /// The disk's `/dev/disk/by-id` link is there.
    pub device: bool,
    /// The bundle of this placement is mounted at its mount point.
    pub mounted: bool,
    /// Every unit file of the placement is there with the wanted content.
    pub installed: bool,
    /// Files, folders and links of the service that are in the guest (ours); empty when there is no trace.
    pub present: Vec<String>,
    /// How many of the placement's wants links are there.
    pub links: u32,
    /// Whether it is enabled, disabled or masked there (links, `/dev/null` masks).
    pub enablement: Enablement,
    /// A config or secret file is missing or differs.
    pub files_differ: bool,
    /// The uid of the manifest's user, if it has one and it exists there.
    pub uid: Option<u32>,
    /// Its data volume there; `None` for a service without one.
    #[serde(default)]
    pub data: Option<DataState>,
    /// It has been up since the guest booted, as far as the guest can tell; only a look tells, not an act.
    #[serde(default)]
    pub was_up: bool,
    /// What systemd says of the whole guest, such as `running`, `starting` or `stopping`; only a look tells, and only of
    /// a copy that is there and not up.
    #[serde(default)]
    pub system: String,
}

/// A data volume as a guest sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct DataState {
    /// The disk's `/dev/disk/by-id` link is there.
    pub device: bool,
    /// It is mounted at its mount point.
    pub mounted: bool,
    /// The file system on it, such as `ext4`; `None`: it is blank, or the disk is not there.
    pub filesystem: Option<String>,
    /// It is not mounted because its mount unit failed: `Result` of that unit.
    #[serde(default)]
    pub failed: Option<String>,
}

impl CopyState {
    /// Whether every unit is up.
    pub fn is_up(&self) -> bool {
        !self.units.is_empty() && self.units.iter().all(UnitState::is_active)
    }

    /// Whether every unit is down.
    pub fn is_down(&self) -> bool {
        self.units.iter().all(UnitState::is_down)
    }

    /// Whether a unit has failed.
    pub fn has_failed(&self) -> bool {
        self.units.iter().any(|unit| unit.active == "failed")
    }

    /// Whether a unit is on its way up or down, or the whole guest is.
    pub fn is_changing(&self) -> bool {
        let on_its_way = self.units.iter().any(|unit| !unit.is_active() && !unit.is_down());
        let linked = self.links > 0 && self.system == "starting";
        on_its_way
            || (!self.is_up()
                && (linked
                    || matches!(
                        self.system.as_str(),
                        "initializing" | "stopping" | "maintenance" | "offline"
                    )))
    }

    /// Whether its data volume is mounted.
    pub fn data_mounted(&self) -> bool {
        self.data.as_ref().is_some_and(|data| data.mounted)
    }

    /// Whether nothing of the service is left in the guest.
    pub fn is_gone(&self) -> bool {
        self.present.is_empty() && !self.mounted && !self.data_mounted() && self.is_down()
    }
}

/// What a guest that may become a target says before anything is done to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ProbeReport {
    /// Major version of systemd.
    pub systemd: u32,
    /// Machine, as `uname -m`.
    pub machine: String,
    /// `/etc` can be written to.
    pub etc_writable: bool,
    /// The kernel mounts squashfs (built in, loaded, or loadable).
    pub squashfs: bool,
    /// What would grab a new disk: `multipathd`, `udisks2`.
    pub claimers: Vec<String>,
    /// Ports of the placement that something listens on, with what (as far as `ss` or /proc tells).
    pub ports_in_use: Vec<u16>,
    /// The uid of the placement's user; `None` if there is no such user.
    pub uid: Option<u32>,
    /// Unit files of the placement's names that are there and not ours.
    pub foreign_units: Vec<String>,
    /// What is mounted at the mount point and not ours.
    pub foreign_mount: Option<String>,
    /// The mount point exists and is not ours.
    pub foreign_folder: bool,
    /// Config or secret files that are there and not ours.
    pub foreign_files: Vec<String>,
    /// Programs that the check needs and the guest lacks.
    pub missing_tools: Vec<String>,
    /// What is mounted at the data mount point and not ours.
    pub foreign_data_mount: Option<String>,
    /// The data mount point is a folder of somebody else's with something in it, or no folder.
    pub foreign_data_folder: bool,
    /// Programs that a data volume needs and the guest lacks.
    pub missing_data_tools: Vec<String>,
}
