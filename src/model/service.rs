//! A service as the service table knows it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::ids::{Digest, Generation, GuestId, HostId, ServiceId};
use super::life::{Enablement, LifeState};
use super::manifest::{DnsEntry, Manifest, UnitFile};
use super::placement::PlacedFile;
use super::volume::Volume;

/// Milliseconds since 1970-01-01 UTC.
pub type Millis = u64;

/// A registered bundle.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BundleRecord {
    /// Its identity.
    pub digest: Digest,
    /// The image's size in bytes, padding included.
    pub size: u64,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its unit files.
    pub units: Vec<UnitFile>,
    /// When it was registered.
    pub registered: Millis,
}

/// A row of the service table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its id.
    pub id: ServiceId,
    /// The bundle that it runs.
    pub bundle: Digest,
    /// Its home guest.
    pub guest: GuestId,
    /// The home guest's name when it was last seen.
    pub guest_name: String,
    /// The home guest's host when it was last seen.
    pub host: HostId,
    /// The addresses that were published or would be, sorted.
    pub addresses: Vec<IpAddr>,
    /// What it is to be: the wanted life state.
    pub wanted: LifeState,
    /// What it was seen to be.
    pub observed: LifeState,
    /// When it was seen so.
    pub observed_at: Millis,
    /// Whether it starts with its disk.
    pub enablement: Enablement,
    /// Its name.
    pub dns: Option<DnsEntry>,
    /// Raised by each commit.
    pub generation: Generation,
    /// The uid of its user on its home guest.
    pub uid: Option<u32>,
    /// Why it is frozen (a stuck handover), if it is.
    pub frozen: Option<String>,
    /// Its data volume, if it has one.
    pub volume: Option<Volume>,
    /// Config and secrets as given at deploy.
    pub files: Vec<PlacedFile>,
}

impl ServiceRecord {
    /// What it was when its guest could be asked last: what is wanted of it, unless it was seen to have failed.
    pub fn last_known(&self) -> LifeState {
        if self.observed == LifeState::Failed && self.wanted.wants_running() {
            LifeState::Failed
        } else {
            self.wanted
        }
    }

    /// The first of its addresses, for those who want one only.
    pub fn address(&self) -> Option<IpAddr> {
        self.addresses.first().copied()
    }
}
