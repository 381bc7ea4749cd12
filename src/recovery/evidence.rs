//! What a table can be rebuilt from, as values.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::disk::DiskSerial;
use crate::model::grant::{Grant, GrantFile};
use crate::model::guest::{CopyState, DomainDisk, GuestDomain};
use crate::model::ids::{Digest, Generation, GuestId, HostId, ServiceId};
use crate::model::name::{DnsName, NameRecords};
use crate::model::placement::PlacedFile;
use crate::model::service::{BundleRecord, Millis};

/// What a guest's agent told of one copy.
#[derive(Debug, Clone)]
pub enum CopySeen {
    /// It was looked at; its config and secrets as they were read back, or why that did not succeed.
    Seen(Box<CopyState>, Result<Vec<PlacedFile>, String>),
    /// Its guest is off.
    Off,
    /// Its guest does not answer: why.
    Silent(String),
}

/// Everything that was found.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The daemon's own host.
    pub own: HostId,
    /// When it was gathered.
    pub now: Millis,
    /// Every bundle of every pool.
    pub bundles: Vec<BundleRecord>,
    /// Images that are no bundle any more: their names, and why.
    pub bad_images: Vec<(HostId, Digest, String)>,
    /// Hosts that did not answer, or whose pool did not: why.
    pub silent_hosts: BTreeMap<HostId, String>,
    /// Every guest as each host has it.
    pub guests: Vec<GuestDomain>,
    /// What the zones say.
    pub names: BTreeMap<DnsName, Result<NameRecords, String>>,
    /// What guests say of copies, by service, guest and bundle.
    pub copies: BTreeMap<(ServiceId, GuestId, Digest), CopySeen>,
    /// The addresses that each guest would publish, sorted.
    pub addresses: BTreeMap<GuestId, Vec<IpAddr>>,
    /// The files of all grants; those of a host that does not answer are not there.
    pub grants: Vec<GrantFile>,
    /// Data volumes: path and size in bytes, by host and service.
    pub volumes: BTreeMap<(HostId, ServiceId), (String, u64)>,
}

/// A guest that has a disk of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The guest.
    pub guest: GuestId,
    /// Its name.
    pub name: String,
    /// The bundles whose disk it has.
    pub bundles: BTreeSet<Digest>,
    /// The generations of the grants by which it has them.
    pub grants: BTreeSet<Generation>,
    /// The sources of the data volume's disk in its definitions.
    pub volumes: BTreeSet<String>,
}

impl Evidence {
    /// The services that the bundles are of.
    pub fn services(&self) -> BTreeSet<ServiceId> {
        self.bundles
            .iter()
            .map(|bundle| bundle.manifest.service.clone())
            .collect()
    }

    /// The bundle with this digest.
    pub fn bundle(&self, digest: &Digest) -> Option<&BundleRecord> {
        self.bundles.iter().find(|bundle| bundle.digest == *digest)
    }

    /// The guest as the host has it that says most about it.
    pub fn guest(&self, id: GuestId) -> Option<&GuestDomain> {
        let rank = |domain: &&GuestDomain| (domain.summary.is_running(), domain.is_active());
        let all = self.guests.iter().filter(|domain| domain.summary.id == id);
        all.max_by_key(rank)
    }

    /// Every guest with a disk of the service in any definition on any host: serials are computed over all bundles.
    pub fn holders(&self, service: &ServiceId) -> Vec<Holder> {
        let volume = DiskSerial::of_volume(service);
        let serials: BTreeMap<String, &Digest> = self
            .bundles
            .iter()
            .filter(|bundle| bundle.manifest.service == *service)
            .map(|bundle| {
                let serial = DiskSerial::of(service, &bundle.digest);
                (serial.as_str().to_owned(), &bundle.digest)
            })
            .collect();
        let mut found: BTreeMap<GuestId, Holder> = BTreeMap::new();
        for domain in &self.guests {
            for disk in self.licences(domain) {
                let Some(serial) = &disk.serial else { continue };
                let bundle = serials.get(serial);
                let is_volume = serial == volume.as_str();
                if bundle.is_none() && !is_volume {
                    continue;
                }
                let holder = found.entry(domain.summary.id).or_insert_with(|| Holder {
                    guest: domain.summary.id,
                    name: domain.summary.name.clone(),
                    bundles: BTreeSet::new(),
                    grants: BTreeSet::new(),
                    volumes: BTreeSet::new(),
                });
                holder.bundles.extend(bundle.map(|digest| (*digest).clone()));
                let grant = disk.source.as_deref().and_then(Grant::named_by);
                holder.grants.extend(grant.map(|grant| grant.generation));
                if is_volume {
                    holder.volumes.extend(disk.source.clone());
                }
            }
        }
        found.into_values().collect()
    }

    /// The disks by which a guest may run something: all that its running machine has, and of its persistent definition
    /// those whose grant is there. One that is gone is an old definition's: the guest boots without that disk.
    fn licences<'a>(&'a self, domain: &'a GuestDomain) -> impl Iterator<Item = &'a DomainDisk> {
        let disks = |definition: &'a Option<crate::model::guest::Definition>| {
            definition.iter().flat_map(|definition| &definition.disks)
        };
        disks(&domain.live).chain(disks(&domain.config).filter(|disk| !self.is_spent(domain, disk)))
    }

    /// Whether a disk of a persistent definition names a grant that is gone.
    pub fn is_spent(&self, domain: &GuestDomain, disk: &DomainDisk) -> bool {
        let host = &domain.summary.host;
        let Some(grant) = disk.source.as_deref().and_then(Grant::named_by) else {
            return false;
        };
        let there = |file: &GrantFile| file.grant == grant && file.host == *host;
        !self.silent_hosts.contains_key(host) && !self.grants.iter().any(there)
    }
}
