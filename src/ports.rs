//! The traits behind which everything that touches the world sits.
//!
//! Implemented by `adapters/`; the core sees only these. Every call has a deadline inside its adapter or as an
//! argument; no call returns only because something was *sent*: what counts is the look that follows.

mod measuring;
mod recovering;
mod tries;
mod watching;

mod standbys;

pub use standbys::StandbyTable;

use std::fs::File;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::handover::record::{Duty, Handover};
use crate::model::batch::{Batch, BatchMember, Decision};
use crate::model::disk::{DiskSerial, GuestDisk};
use crate::model::grant::{Grant, GrantFile};
use crate::model::guest::{AgentInfo, CopyState, GuestDomain, GuestSummary, ProbeReport};
use crate::model::ids::{Attempt, Digest, Generation, GuestId, HostId, JobId, ServiceId};
use crate::model::name::{DnsName, NameChange, NameRecords, Ownership};
use crate::model::placement::Placement;
use crate::model::service::{BundleRecord, Millis, ServiceRecord};
use crate::watch::blast::Alarm;
use crate::watch::maintenance::{Entry as Maintained, Object};

pub use measuring::{GuestGauges, HostCounts, HostGauges};
pub use recovering::{GuestFiles, ImagePool};
pub use tries::Tries;
pub use watching::{Heard, Heartbeat, Listening, Spool, Watching};

/// What is known about the effect of a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

    /// Writes into the metadata of both definitions that the daemon of host `own` controls this guest.
    async fn claim_guest(&self, guest: GuestId, own: &HostId) -> Result<(), PortError>;

    /// A fresh look at one guest on every host that knows its UUID: an error if a host does not answer, for that proves
    /// nothing. Empty: no host knows it.
    async fn everywhere(&self, guest: GuestId) -> Result<Vec<GuestDomain>, PortError>;

    /// Ends the QEMU process of a guest, found by its UUID at this moment, as if its power were cut. When this returns without
    /// an error the process is gone. Refused or `Unavailable`, with nothing done, where it does not run, runs on two hosts or is
    /// worked on (migration, save). After `Unknown` look.
    async fn destroy(&self, guest: GuestId) -> Result<(), PortError>;

    /// Gives `disk` as its role asks (a bundle read-only, by its grant or by the shared image; a volume for this guest alone) to one half. Refused by libvirt where it is there already: look first.
    async fn give(&self, guest: GuestId, half: Half, disk: &GuestDisk) -> Result<(), PortError>;

    /// Takes the disk with this serial from one half. `Config` is every host's definition of the guest. `Live` waits for DEVICE_REMOVED within a deadline; a guest
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

    /// Puts the image that host `from` has into the pool of host `to`, verified as by [`Hypervisor::store_image`].
    async fn copy_image(
        &self,
        from: &HostId,
        to: &HostId,
        digest: &Digest,
        size: u64,
    ) -> Result<String, PortError>;

    /// Deletes a bundle image that neither a guest nor a grant uses (`Refused`); absent is fine.
    async fn delete_image(&self, host: &HostId, digest: &Digest) -> Result<(), PortError>;

    /// Makes the file of a grant in the pool of `host`, on that host's image of `digest`, and tells what the disk is to
    /// have as its source: that file, or the image itself where the pool has no files (of block devices). One that
    /// is there stays. Without the image it is `Refused`.
    async fn make_grant(&self, host: &HostId, grant: &Grant, digest: &Digest) -> Result<String, PortError>;

    /// The files of a service's grants for a guest that nothing needs any more: no definition of the guest names them,
    /// nor does a managed-save image or a snapshot with memory, which libvirt would refuse to restore without its disk's
    /// file. Hosts that do not answer are passed over; if none does, that is the error.
    async fn spent_grants(&self, guest: GuestId, service: &ServiceId) -> Result<Vec<GrantFile>, PortError>;

    /// Deletes what [`Hypervisor::spent_grants`] tells; none is fine. To be called when the disk is taken from both halves.
    async fn delete_spent_grants(&self, guest: GuestId, service: &ServiceId) -> Result<(), PortError>;

    /// The file of every grant in the pool of every host that answers, needed or not; a host that does not is an error
    /// of its own in the list.
    async fn grants(&self) -> Vec<Result<GrantFile, (HostId, PortError)>>;

    /// The data volume of a service in a host's pool: its path and its size in bytes; `None` if it is not there.
    async fn volume(&self, host: &HostId, service: &ServiceId) -> Result<Option<(String, u64)>, PortError>;

    /// Makes a blank data volume of `size` bytes and tells its path; one that is there already stays as it is. A pool
    /// without room for all of it is `Refused` and says so.
    async fn make_volume(&self, host: &HostId, service: &ServiceId, size: u64) -> Result<String, PortError>;

    /// Deletes the data volume of a service, which no definition may have any more (`Refused`); absent is fine.
    async fn delete_volume(&self, host: &HostId, service: &ServiceId) -> Result<(), PortError>;
}

/// Whether and how a step changes the life of the units it places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GuestStep {
    /// Writes unit files, mount point, config and secrets; removes the wants links; starts nothing. Refuses what is
    /// there and not ours.
    Install,
    /// Makes the wants links (`Enabled`), removes them (`Disabled`), or masks the units.
    Link(crate::model::life::Enablement),
    /// Makes the wants links (`Enabled`) or removes them (else), waits for the disks, starts the units (and with them
    /// the mounts), and waits until systemd has answered. A masked unit is unmasked first. Of files, the look after it
    /// tells only whether they are there.
    Start(crate::model::life::Enablement),
    /// Removes the wants links, stops the units, then the mounts.
    Stop,
    /// Stops the units, then the mounts; the wants links stay, so that the service comes back with its disks. Of files,
    /// the look after it tells only whether they are there.
    Pause,
    /// Waits for the data disk and makes its file system if the disk is blank. Refused where another one is on it.
    Format,
    /// Changes nothing: from then on every script that was sent before it is refused as late.
    Supersede,
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

    /// Runs the placement's check as often as `tries` says, each within `deadline`: `Ok(Ok(()))` all passed,
    /// `Ok(Err(why))` one did not, and no further one was made.
    async fn check(
        &self,
        guest: GuestId,
        placement: &Placement,
        tries: Tries,
        deadline: Duration,
    ) -> Result<Result<(), String>, PortError>;
}

/// The end of a compare-and-swap.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Swapped {
    /// It holds now (written and read back).
    Yes,
    /// A prerequisite did not hold; nothing was written. What stands there instead.
    No(NameRecords),
}

/// What one authoritative server of a zone says of a name.
#[derive(Debug, Clone)]
pub struct Authority {
    /// Its name or address.
    pub server: String,
    /// What it gives now, or why that is not known.
    pub records: Result<NameRecords, PortError>,
}

impl Authority {
    /// Whether it is known to give this ownership and these addresses (in any order). One that does not answer is not.
    pub fn gives(&self, ownership: &Ownership, addresses: &[IpAddr]) -> bool {
        let mut wanted = addresses.to_vec();
        wanted.sort();
        wanted.dedup();
        self.records
            .as_ref()
            .is_ok_and(|records| records.addresses == wanted && records.ownership == [ownership.to_string()])
    }
}

/// The servers of the configured zones.
#[async_trait]
pub trait NameServer: Send + Sync {
    /// Whether a configured zone covers the name; its origin if so.
    fn zone_of(&self, name: &DnsName) -> Option<DnsName>;

    /// What the zone's primary says of the name now (authoritative answers only).
    async fn read(&self, name: &DnsName) -> Result<NameRecords, PortError>;

    /// What every authoritative server of the name's zone gives now, the primary first. A server that does not answer
    /// is in the list with its error; an error of the call itself means that the servers are not known.
    async fn read_everywhere(&self, name: &DnsName) -> Result<Vec<Authority>, PortError>;

    /// An UPDATE with prerequisites, answered and verified, and read back. It may share a message with the changes of
    /// other names; what it tells is about this name alone. After `Unknown` the message may still arrive: read the name.
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

/// Why the table refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TableError {
    /// Another handover of the service is open.
    #[error("service {service} is busy: job {job} ({kind}) is under way")]
    Busy {
        /// The service.
        service: ServiceId,
        /// The job that holds it.
        job: JobId,
        /// What that job does.
        kind: &'static str,
    },
    /// A row that must be there is not (or the other way round), or is of another generation.
    #[error("{0}")]
    Conflict(String),
    /// SQLite failed (disk full, damaged, read-only).
    #[error("the service table cannot be written or read: {0}")]
    Storage(String),
}

impl TableError {
    /// That a service is reserved by a job of this operation, as in [`JobRecord`].
    pub fn busy(service: &ServiceId, job: JobId, operation: &str) -> Self {
        let known = ["deploy", "move", "upgrade", "start", "stop", "remove"];
        let kind = known.into_iter().find(|known| *known == operation);
        let (service, kind) = (service.clone(), kind.unwrap_or("another operation"));
        Self::Busy { service, job, kind }
    }
}

/// A job as it is kept for good.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its number.
    pub id: JobId,
    /// `deploy`, `move`, `upgrade`, `start`, `stop`, `remove`.
    pub operation: String,
    /// What it is about: a service id; of a batch the name of the guest that is emptied; of an evening out of loads, how far
    /// they were apart.
    pub object: String,
    /// The source guest's name, or empty.
    pub source: String,
    /// The target guest's name, or empty; of a batch the target as it was asked for. Of an evening out of loads these two are
    /// the most and the least loaded guest.
    pub target: String,
    /// Who asked: `uid 0` or a user name.
    pub started_by: String,
    /// When it began.
    pub started: Millis,
    /// When it ended.
    pub finished: Option<Millis>,
    /// `done`, `failed`, `cancelled`, `stuck`, `superseded`; `None` while it runs.
    pub result: Option<String>,
    /// Last part of the D-Bus error name, such as `CheckFailed`; empty without an error.
    pub error_name: String,
    /// What went wrong; empty without an error.
    pub error_details: String,
}

/// One entry of a handover's journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JournalEntry {
    /// When.
    pub at: Millis,
    /// The goal that it is about.
    pub step: String,
    /// `from -> to: reason`, or what was decided or observed.
    pub text: String,
}

/// What a commit changes, in one transaction with the journal (design section 4, goal 10).
#[derive(Debug, Clone)]
pub struct Commit<'a> {
    /// The handover, as it stands from now on; its row is saved in the same transaction.
    pub handover: &'a Handover,
    /// The service's new row. It must follow on the generation before, or be the first.
    pub service: &'a ServiceRecord,
    /// What is owed from now on; it replaces a duty of the same service and guest.
    pub duty: Option<&'a Duty>,
    /// The journal's entry.
    pub entry: &'a JournalEntry,
}

/// The service table, the journal and the audit (design section 8).
#[async_trait]
pub trait Table: StandbyTable + Send + Sync {
    /// All services, by id.
    async fn services(&self) -> Result<Vec<ServiceRecord>, TableError>;
    /// One service.
    async fn service(&self, id: &ServiceId) -> Result<Option<ServiceRecord>, TableError>;
    /// Writes what was seen of a service; wanted state and enablement too where an operator's doing was adopted.
    /// Changes nothing if the service's generation is no longer this one.
    async fn observe(&self, service: &ServiceRecord) -> Result<(), TableError>;

    /// All bundles, by service and registration time.
    async fn bundles(&self) -> Result<Vec<BundleRecord>, TableError>;
    /// One bundle.
    async fn bundle(&self, digest: &Digest) -> Result<Option<BundleRecord>, TableError>;
    /// Keeps a bundle; one that is there already stays as it is.
    async fn put_bundle(&self, bundle: &BundleRecord) -> Result<(), TableError>;

    /// Makes a job and its handover in one transaction, and so reserves the service: `Busy` while another handover of
    /// it has not been recorded, undone or abandoned, `Conflict` where its generation does not follow on the service's. A
    /// deploy or move deletes a duty of the service on its target guest in the same transaction and hands it over as
    /// `facts.displaced`. The handover's `job` is filled in.
    async fn begin(&self, job: &JobRecord, handover: &Handover) -> Result<Handover, TableError>;
    /// Saves a handover with a journal entry. A stuck one that is saved in a state `At` is taken up again: its job has
    /// no result any more, and the service is thawed.
    async fn save(&self, handover: &Handover, entry: &JournalEntry) -> Result<(), TableError>;
    /// The commit in the table; the reservation ends here.
    async fn commit(&self, commit: Commit<'_>) -> Result<(), TableError>;
    /// A removal's end: the service's row goes, a duty may stay; the reservation ends.
    async fn forget(&self, commit: Commit<'_>) -> Result<(), TableError>;
    /// Ends a job: `result` and error as in [`JobRecord`]; an `Undone` handover gives its displaced duty back. The
    /// reservation ends unless the handover is stuck; then the service is frozen with the reason.
    async fn finish(
        &self,
        handover: &Handover,
        job: &JobRecord,
        entry: &JournalEntry,
    ) -> Result<(), TableError>;
    /// Whether the handover of a job has its service reserved: until it is recorded, undone or abandoned.
    async fn holds(&self, job: JobId) -> Result<bool, TableError>;
    /// Handovers that have not ended: their jobs have no result.
    async fn unfinished(&self) -> Result<Vec<Handover>, TableError>;
    /// The handover of a job.
    async fn handover(&self, job: JobId) -> Result<Option<Handover>, TableError>;

    /// Makes a job and its batch in one transaction, and tells the job's number. `Conflict` while another batch of the
    /// guest has not ended, or where a service is a member twice.
    async fn begin_batch(&self, job: &JobRecord, batch: &Batch) -> Result<JobId, TableError>;
    /// The batch of a job, its members in order.
    async fn batch(&self, job: JobId) -> Result<Option<Batch>, TableError>;
    /// Saves how a member of a batch stands, with an entry of the batch's journal. `Conflict` once the batch has ended.
    async fn save_member(
        &self,
        batch: JobId,
        member: &BatchMember,
        entry: &JournalEntry,
    ) -> Result<(), TableError>;
    /// Ends a batch: `result` and error as in [`JobRecord`].
    async fn finish_batch(&self, job: &JobRecord, entry: &JournalEntry) -> Result<(), TableError>;
    /// Batches that have not ended: their jobs have no result.
    async fn unfinished_batches(&self) -> Result<Vec<Batch>, TableError>;

    /// The next attempt number of a service, durable before it is returned.
    async fn next_attempt(&self, service: &ServiceId) -> Result<Attempt, TableError>;

    /// The newest `limit` jobs, newest first, from below `before` if given.
    async fn jobs(&self, before: Option<JobId>, limit: u32) -> Result<Vec<JobRecord>, TableError>;
    /// One job.
    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, TableError>;
    /// A job's journal, oldest first.
    async fn journal(&self, job: JobId) -> Result<Vec<JournalEntry>, TableError>;

    /// All open duties.
    async fn duties(&self) -> Result<Vec<Duty>, TableError>;
    /// Ends a duty that was met; one of another generation, which a later commit has put in its place, stays.
    async fn fulfil(
        &self,
        service: &ServiceId,
        guest: GuestId,
        generation: Generation,
    ) -> Result<(), TableError>;

    /// Sets until when the copy of a duty serves; one of another generation, or one that is no longer there, is passed over.
    async fn postpone(
        &self,
        service: &ServiceId,
        guest: GuestId,
        generation: Generation,
        serve_until: Millis,
    ) -> Result<(), TableError>;

    /// Keeps who asked for what, when, and what was decided.
    async fn audit(&self, at: Millis, who: &str, what: &str, decision: &str) -> Result<(), TableError>;
    /// Keeps decisions where services are to be, as part of the audit, in one transaction.
    async fn decide(&self, decisions: &[Decision]) -> Result<(), TableError>;
    /// The last decision about a service.
    async fn last_decision(&self, service: &ServiceId) -> Result<Option<Decision>, TableError>;

    /// Keeps why no service is moved automatically any more; `None`: that is over.
    async fn keep_alarm(&self, alarm: Option<&Alarm>) -> Result<(), TableError>;
    /// The alarm that is kept.
    async fn alarm(&self) -> Result<Option<Alarm>, TableError>;

    /// Ends a maintenance that is still as it is here; whether it was.
    async fn end_maintenance(&self, entry: &Maintained) -> Result<bool, TableError>;
    /// Keeps that this is in maintenance; `None`: that is over.
    async fn keep_maintenance(&self, object: &Object, entry: Option<&Maintained>) -> Result<(), TableError>;
    /// All that is kept, over or not.
    async fn maintenance(&self) -> Result<Vec<Maintained>, TableError>;
}
