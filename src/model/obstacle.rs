//! What can be in the way on a target, by name.

use std::fmt;

use super::guest::DomainState;

/// One thing that keeps a service from a guest. Its Display says what, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Another daemon controls it.
    ControlledElsewhere(String),
    /// The domain is not running.
    NotRunning(DomainState),
    /// The domain has no persistent definition.
    Transient,
    /// A managed-save image waits.
    ManagedSave,
    /// No virtio-scsi controller, and no free PCIe port to plug one into.
    NoScsiSlot,
    /// The guest agent does not answer.
    NoAgent(String),
    /// The agent answers, but commands that are needed are disabled.
    AgentCommandsDisabled(Vec<String>),
    /// systemd is older than 241.
    SystemdTooOld(u32),
    /// `/etc` is read-only.
    EtcReadOnly,
    /// squashfs cannot be mounted.
    NoSquashfs,
    /// Something claims new disks.
    DiskClaimed(String),
    /// A port of the service is in use.
    PortInUse(u16),
    /// The service's user does not exist.
    NoSuchUser(String),
    /// The service's user has another uid than on the source.
    UidMismatch {
        /// The user.
        user: String,
        /// Its uid on the source.
        source: u32,
        /// Its uid on the target.
        target: u32,
    },
    /// A unit of that name is there and not ours.
    ForeignUnit(String),
    /// Something else is mounted there.
    ForeignMount(String),
    /// The `/opt` folder is there and not ours.
    ForeignFolder(String),
    /// A config or secret file is there and not ours.
    ForeignFile(String),
    /// Something else is mounted at the data mount point: what, where.
    ForeignDataMount(String, String),
    /// The data mount point is there, not ours, and no empty folder.
    ForeignDataFolder(String),
    /// A program that the data volume needs is not there.
    NoDataTool(String),
    /// A program that the check needs is not there.
    NoCheckTool(String),
    /// No address inside the configured networks.
    NoAddress,
    /// The service was brought there a moment ago, and that failed so.
    Tried(String),
}

impl Obstacle {
    /// A stable word for programs, such as `managed-save`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::ControlledElsewhere(_) => "controlled-elsewhere",
            Self::NotRunning(_) => "not-running",
            Self::Transient => "transient",
            Self::ManagedSave => "managed-save",
            Self::NoScsiSlot => "no-scsi-slot",
            Self::NoAgent(_) => "no-agent",
            Self::AgentCommandsDisabled(_) => "agent-commands-disabled",
            Self::SystemdTooOld(_) => "systemd-too-old",
            Self::EtcReadOnly => "etc-read-only",
            Self::NoSquashfs => "no-squashfs",
            Self::DiskClaimed(_) => "disk-claimed",
            Self::PortInUse(_) => "port-in-use",
            Self::Tried(_) => "tried",
            Self::NoSuchUser(_) => "no-such-user",
            Self::UidMismatch { .. } => "uid-mismatch",
            Self::ForeignUnit(_) => "foreign-unit",
            Self::ForeignMount(_) => "foreign-mount",
            Self::ForeignFolder(_) => "foreign-folder",
            Self::ForeignFile(_) => "foreign-file",
            Self::ForeignDataMount(..) => "foreign-data-mount",
            Self::ForeignDataFolder(_) => "foreign-data-folder",
            Self::NoDataTool(_) => "no-data-tool",
            Self::NoCheckTool(_) => "no-check-tool",
            Self::NoAddress => "no-address",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlledElsewhere(host) => write!(
                f,
                "the handoverd of host {host} controls it (its metadata says so); ask there, or, if that daemon is gone for good, `virsh metadata GUEST --uri urn:handoverd:domain:1 --remove --config --live`"
            ),
            Self::NotRunning(state) => write!(f, "it is not running ({}); start it first", state.as_str()),
            Self::Transient => f.write_str("the domain is transient: without a persistent definition a service would not come back after a power-off; define it with `virsh define`"),
            Self::ManagedSave => f.write_str("a managed-save image waits (`virsh managedsave-remove`, or start the guest)"),
            Self::NoScsiSlot => f.write_str("it has no virtio-scsi controller and no free PCIe port to plug one into; add <controller type='scsi' model='virtio-scsi'/> while it is off"),
            Self::NoAgent(why) => write!(f, "its guest agent does not answer ({why}); install and start qemu-guest-agent in it"),
            Self::AgentCommandsDisabled(commands) => write!(
                f,
                "its guest agent has {} disabled; allow them in the guest (BLACKLIST_RPC or --allow-rpcs in /etc/sysconfig/qemu-ga, or block-rpcs/allow-rpcs in /etc/qemu/qemu-ga.conf) and restart qemu-guest-agent",
                commands.join(", ")
            ),
            Self::SystemdTooOld(version) => write!(f, "its systemd is {version}; 241 or newer is needed"),
            Self::EtcReadOnly => f.write_str("its /etc is read-only"),
            Self::NoSquashfs => f.write_str("its kernel cannot mount squashfs (the module is missing or blocked)"),
            Self::DiskClaimed(by) => write!(f, "{by} runs there and would claim the bundle disk; exclude QEMU disks whose serial begins with `ho` from it"),
            Self::Tried(why) => write!(f, "it failed there a moment ago: {why}"),
            Self::PortInUse(port) => write!(f, "port {port} is in use there"),
            Self::NoSuchUser(user) => write!(f, "it has no user {user}"),
            Self::UidMismatch { user, source, target } => {
                write!(f, "user {user} has uid {target} there and {source} on the source; they must agree")
            }
            Self::ForeignUnit(path) => write!(f, "{path} is there and not ours; it is not overwritten"),
            Self::ForeignMount(what) => write!(f, "{what} is mounted at the service's mount point"),
            Self::ForeignFolder(path) => write!(f, "the folder {path} is there and not ours; it is not overwritten"),
            Self::ForeignFile(path) => write!(f, "the file {path} is there and not ours; it is not overwritten"),
            Self::ForeignDataMount(what, place) => write!(f, "{what} is mounted at {place}, where the data volume is to be; unmount it"),
            Self::ForeignDataFolder(path) => write!(
                f,
                "{path} is there, not ours and not empty, and the data volume is to be mounted there; move what is in it away"
            ),
            Self::NoDataTool(tool) => write!(f, "the data volume needs {tool}, which it does not have"),
            Self::NoCheckTool(tool) => write!(f, "the check needs {tool}, which it does not have"),
            Self::NoAddress => f.write_str("it has no address inside the configured networks ([addresses] networks)"),
        }
    }
}
