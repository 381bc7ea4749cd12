//! The traits behind which everything that touches the world sits.
//!
//! Implemented by `adapters/`; the core sees only these. Every call has a deadline inside its adapter or as an
//! argument; no call returns only because something was *sent*: what counts is the look that follows.

use std::fs::File;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::disk::{BundleDisk, DiskSerial};
use crate::model::guest::{AgentInfo, CopyState, GuestDomain, GuestSummary, ProbeReport};
use crate::model::ids::{Attempt, Digest, GuestId, HostId};
use crate::model::name::{DnsName, NameChange, NameRecords};
use crate::model::placement::Placement;
use crate::model::service::Millis;

/// What is known about the effect of a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It was refused for a reason that asking again will not change: go back.
    Refused,
    /// Nothing was done, and it may work later (busy, unreachable before anything was sent).
    Unavailable,
    /// It may or may not have happened (time-out, connection lost): look.
    Unknown,
}

/// A port's failure: what is known of its effect, what happened, to which object.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct PortError {
    /// What is known about the effect.
    pub fault: Fault,
    /// What happened, to which object, and what to do next.
    pub message: String,
}

impl PortError {
    /// A failure that asking again will not change.
    pub fn refused(message: impl Into<String>) -> Self {
        Self {
            fault: Fault::Refused,
            message: message.into(),
        }
    }

    /// A failure before anything was done, which may pass.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self {
            fault: Fault::Unavailable,
            message: message.into(),
        }
    }

    /// A failure after which only a look tells.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self {
            fault: Fault::Unknown,
            message: message.into(),
        }
    }
}

/// Which of a domain's two definitions an effect is for (design section 4, "Two effects").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The running machine (VIR_DOMAIN_AFFECT_LIVE).
    Live,
    /// The persistent definition (VIR_DOMAIN_AFFECT_CONFIG).
    Config,
}

/// libvirt, on every configured host.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// The hosts that this daemon controls.
    fn hosts(&self) -> Vec<HostId>;

    /// Every domain of every host that answers; a host that does not is an error of its own in the list.
    async fn guests(&self) -> Vec<Result<GuestSummary, (HostId, PortError)>>;

    /// A fresh look at one guest, wherever it is now; `None`: no reachable host knows this UUID.
    /// If two hosts define it, the one where it is active is told.
    async fn inspect(&self, guest: GuestId) -> Result<Option<GuestDomain>, PortError>;

    /// Gives `disk` (readonly, shareable) to one half. Refused by libvirt where it is there already: look first.
    async fn give(&self, guest: GuestId, half: Half, disk: &BundleDisk) -> Result<(), PortError>;

    /// Takes the disk with this serial from one half. `Live` waits for DEVICE_REMOVED within a deadline; a guest
    /// that does not let go is `Unknown`.
    async fn take(&self, guest: GuestId, half: Half, serial: &DiskSerial) -> Result<(), PortError>;

    /// Adds a virtio-scsi controller with this index to one half.
    async fn add_scsi_controller(&self, guest: GuestId, half: Half, index: u32) -> Result<(), PortError>;

    /// The image of a bundle in a host's pool: its path and its size in bytes; `None` if it is not there.
    async fn image(&self, host: &HostId, digest: &Digest) -> Result<Option<(String, u64)>, PortError>;

    /// Puts a bundle image of `size` bytes (a multiple of 4096) into a host's pool, verifies its sha256 there, and
    /// tells its path. A half-written volume is deleted again. A full pool is `Refused` and says so.
    async fn store_image(
        &self,
        host: &HostId,
        digest: &Digest,
        image: File,
        size: u64,
    ) -> Result<String, PortError>;

    /// Deletes a bundle image that nothing uses; absent is fine.
    async fn delete_image(&self, host: &HostId, digest: &Digest) -> Result<(), PortError>;
}

/// Whether and how a step changes the life of the units it places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestStep {
    /// Writes unit files, mount point, config and secrets; removes the wants links; starts nothing. Refuses what is
    /// there and not ours.
    Install,
    /// Makes the wants links (`Enabled`), removes them (`Disabled`), or masks the units.
    Link(crate::model::life::Enablement),
    /// Starts the units (and with them the mount). Waits until systemd has answered.
    Start,
    /// Removes the wants links, stops the units, then the mount.
    Stop,
    /// `Stop`, then removes unit files, masks, config, secrets and the empty mount point.
    Uninstall,
}

/// The inside of guests, through qemu-guest-agent.
///
/// A guest is not trusted: answers are bounded, parsed strictly and time-limited.
#[async_trait]
pub trait Guest: Send + Sync {
    /// Version and disabled commands. `Unavailable` when the agent does not answer.
    async fn agent(&self, guest: GuestId) -> Result<AgentInfo, PortError>;

    /// Addresses of its interfaces, loopback and link-local left out, in the agent's order.
    async fn addresses(&self, guest: GuestId) -> Result<Vec<IpAddr>, PortError>;

    /// What a target says before anything is done to it. Reads only.
    async fn probe(&self, guest: GuestId, placement: &Placement) -> Result<ProbeReport, PortError>;

    /// A fresh look at one service's copy. Reads only.
    async fn look(&self, guest: GuestId, placement: &Placement) -> Result<CopyState, PortError>;

    /// Runs one step, under the guest's lock for that service, unless a higher attempt is recorded there
    /// (`Refused`), and tells what a look right after it saw. Safe to repeat.
    async fn act(
        &self,
        guest: GuestId,
        placement: &Placement,
        step: GuestStep,
        attempt: Attempt,
        deadline: Duration,
    ) -> Result<CopyState, PortError>;

    /// Runs the placement's check once: `Ok(Ok(()))` passed, `Ok(Err(why))` did not.
    async fn check(
        &self,
        guest: GuestId,
        placement: &Placement,
        deadline: Duration,
    ) -> Result<Result<(), String>, PortError>;
}

/// The end of a compare-and-swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swapped {
    /// It holds now (written and read back).
    Yes,
    /// A prerequisite did not hold; nothing was written. What stands there instead.
    No(NameRecords),
}

/// The primaries of the configured zones.
#[async_trait]
pub trait NameServer: Send + Sync {
    /// Whether a configured zone covers the name; its origin if so.
    fn zone_of(&self, name: &DnsName) -> Option<DnsName>;

    /// What the zone's primary says of the name now (authoritative answers only).
    async fn read(&self, name: &DnsName) -> Result<NameRecords, PortError>;

    /// One UPDATE message with prerequisites, answered and verified, and read back.
    async fn swap(&self, change: &NameChange) -> Result<Swapped, PortError>;
}

/// Time.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now, in milliseconds since 1970 (UTC).
    fn now(&self) -> Millis;

    /// Returns after `duration`.
    async fn sleep(&self, duration: Duration);
}
