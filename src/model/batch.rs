//! A batch: services moved by one request; all of one guest, or those that even out the loads of all.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ids::{GuestId, JobId, ServiceId};
use super::service::Millis;

/// How a batch goes about its members.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BatchOptions {
    /// How long each old copy serves on after its commit, in milliseconds; `None`: the old TTL and the margin.
    pub drain: Option<Millis>,
    /// How many members are worked on at once, from 1.
    pub parallel: u32,
    /// How many of them on one target guest, from 1.
    pub per_guest: u32,
    /// How many of them on the target guests of one host, from 1.
    pub per_host: u32,
}

/// The guest of a batch that moves services of several: no domain has the nil UUID (RFC 9562, 5.9). As of any guest,
/// there is one such batch at a time.
pub const NO_SINGLE_GUEST: GuestId = GuestId(Uuid::nil());

/// A batch as the table keeps it, beside its job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Batch {
    /// The job that shows it.
    pub job: JobId,
    /// The guest whose services are moved, or [`NO_SINGLE_GUEST`].
    pub guest: GuestId,
    /// The target as it was asked for: a guest or a strategy; empty where each service has its own.
    pub target: String,
    /// How it goes about its members.
    pub options: BatchOptions,
    /// One for each service, in the order in which they are to begin.
    pub members: Vec<BatchMember>,
}

/// One service of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BatchMember {
    /// Its place in the order, from 0.
    pub seq: u32,
    /// The service.
    pub service: ServiceId,
    /// Where it goes; `None`: no guest fits.
    pub target: Option<GuestId>,
    /// That guest's name, for people; empty without one.
    pub target_name: String,
    /// Why there.
    pub why: String,
    /// Its own job, once that has begun.
    pub job: Option<JobId>,
    /// `None` while it has not ended; then as a job's result.
    pub result: Option<String>,
    /// What went wrong; empty if nothing did.
    pub details: String,
}

impl BatchMember {
    /// Whether nothing was done about it yet.
    pub fn is_waiting(&self) -> bool {
        self.job.is_none() && self.result.is_none()
    }

    /// Whether it is where it was to be.
    pub fn is_done(&self) -> bool {
        self.result.as_deref() == Some("done")
    }
}

/// Why a service was put, or is to be put, where it is: what `why` tells.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decision {
    /// When.
    pub at: Millis,
    /// Who asked.
    pub who: String,
    /// What was asked for.
    pub what: String,
    /// The service.
    pub service: ServiceId,
    /// What was decided, and why.
    pub decision: String,
    /// What it was decided from: pairs of a thing (a guest, a setting) and what was known of it.
    pub inputs: Vec<(String, String)>,
}
