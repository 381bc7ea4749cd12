//! Everything that one audit looked at, as values: table, libvirt, guests and zones at about the same moment.

use std::collections::{BTreeMap, BTreeSet};

use crate::handover::record::{Duty, Handover};
use crate::model::disk::{DiskRole, DiskSerial};
use crate::model::grant::GrantFile;
use crate::model::guest::{CopyState, Definition, GuestDomain};
use crate::model::ids::{Digest, GuestId, HostId, ServiceId};
use crate::model::name::{DnsName, NameRecords};
use crate::model::placement::{PlacedFile, Placement};
use crate::model::service::{BundleRecord, ServiceRecord};
use crate::model::standby::Standby;

/// What a guest answered about one service's copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It was looked at.
    Seen(Box<CopyState>),
    /// It runs, and its agent did not answer: why.
    Silent(String),
    /// No QEMU process runs it, or it is paused: nothing can be asked.
    Off,
}

/// What one audit saw. Every text is for people.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The daemon's own host.
    pub own: HostId,
    /// All rows of the service table.
    pub services: Vec<ServiceRecord>,
    /// All bundles of the table.
    pub bundles: Vec<BundleRecord>,
    /// Handovers that have not ended.
    pub handovers: Vec<Handover>,
    /// Open duties.
    pub duties: Vec<Duty>,
    /// Standbys of services.
    pub standbys: Vec<Standby>,
    /// Every guest, as each host has it.
    pub guests: BTreeMap<GuestId, Vec<GuestDomain>>,
    /// Hosts that did not answer.
    pub silent_hosts: BTreeSet<HostId>,
    /// Guests that could not be read: why.
    pub unreadable: BTreeMap<GuestId, String>,
    /// What guests answered about copies.
    pub copies: BTreeMap<(ServiceId, GuestId), Asked>,
    /// What the zones' primaries say.
    pub names: BTreeMap<DnsName, Result<NameRecords, String>>,
    /// Sizes in bytes of bundle images in the hosts' pools.
    pub images: BTreeMap<(HostId, Digest), Result<Option<u64>, String>>,
    /// Sizes in bytes of data volumes in the hosts' pools.
    pub volumes: BTreeMap<(HostId, ServiceId), Result<Option<u64>, String>>,
    /// Files of grants that no definition and no saved memory needs.
    pub spent_grants: Vec<GrantFile>,
}

/// What a disk with a serial of ours is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnDisk {
    /// Of which service.
    pub service: ServiceId,
    /// Its bundle, or its data volume.
    pub role: DiskRole,
    /// The bundle; of a volume the one of which it was learnt.
    pub digest: Digest,
}

/// A copy that may be there: of which bundle, with which files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The service.
    pub service: ServiceId,
    /// The guest.
    pub guest: GuestId,
    /// The bundle of the copy.
    pub digest: Digest,
    /// Config and secrets of the copy.
    pub files: Vec<PlacedFile>,
}

/// Whether a serial has the form of ours: `ho` and 18 lower-case hex digits.
pub fn is_our_pattern(serial: &str) -> bool {
    serial.len() == 20
        && serial.strip_prefix("ho").is_some_and(|hex| {
            hex.bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
}

impl Picture {
    /// The guest as the host has it that says most about it: where it runs, where it is active, where it is defined.
    pub fn guest(&self, id: GuestId) -> Option<&GuestDomain> {
        let rank = |domain: &&GuestDomain| (domain.summary.is_running(), domain.is_active());
        self.guests.get(&id)?.iter().max_by_key(rank)
    }

    /// A guest's name, or its UUID where no host knows it.
    pub fn guest_name(&self, id: GuestId) -> String {
        self.guest(id)
            .map_or_else(|| id.to_string(), |domain| domain.summary.name.clone())
    }

    /// The row of a service.
    pub fn service(&self, id: &ServiceId) -> Option<&ServiceRecord> {
        self.services.iter().find(|service| service.id == *id)
    }

    /// A bundle of the table.
    pub fn bundle(&self, digest: &Digest) -> Option<&BundleRecord> {
        self.bundles.iter().find(|bundle| bundle.digest == *digest)
    }

    /// The open handovers of a service.
    pub fn open<'a>(&'a self, service: &'a ServiceId) -> impl Iterator<Item = &'a Handover> {
        self.handovers.iter().filter(move |open| open.service == *service)
    }

    /// Whether a job has the service, or a stuck one has frozen it: then only what must hold at every moment is judged.
    pub fn is_busy(&self, service: &ServiceId) -> bool {
        self.open(service).next().is_some()
            || self
                .service(service)
                .is_some_and(|service| service.frozen.is_some())
    }

    /// What every serial that can be computed stands for.
    pub fn own_disks(&self) -> BTreeMap<String, OwnDisk> {
        let mut known = BTreeMap::new();
        for bundle in &self.bundles {
            let service = &bundle.manifest.service;
            let disk = |role| OwnDisk {
                service: service.clone(),
                role,
                digest: bundle.digest.clone(),
            };
            let serial = DiskSerial::of(service, &bundle.digest);
            known.insert(serial.as_str().to_owned(), disk(DiskRole::Bundle));
            if bundle.manifest.data.is_some() {
                let serial = DiskSerial::of_volume(service);
                known.insert(serial.as_str().to_owned(), disk(DiskRole::Volume));
            }
        }
        known
    }

    /// Every definition of a guest: which half, and what stands in it.
    pub fn definitions(domain: &GuestDomain) -> impl Iterator<Item = (&'static str, &Definition)> {
        let live = domain.live.iter().map(|definition| ("live", definition));
        live.chain(domain.config.iter().map(|definition| ("config", definition)))
    }

    /// The places where a copy of a service may run: its home, what duties and handovers name, and every guest that
    /// has one of its disks live. Of services without a row too.
    pub fn candidates(&self) -> Vec<Candidate> {
        let mut found: BTreeMap<(ServiceId, GuestId), Candidate> = BTreeMap::new();
        let mut add = |service: &ServiceId, guest: GuestId, digest: &Digest, files: &[PlacedFile]| {
            found
                .entry((service.clone(), guest))
                .or_insert_with(|| Candidate {
                    service: service.clone(),
                    guest,
                    digest: digest.clone(),
                    files: files.to_vec(),
                });
        };
        for service in &self.services {
            add(&service.id, service.guest, &service.bundle, &service.files);
        }
        for open in &self.handovers {
            for place in open.source.iter().chain([&open.target]) {
                add(&open.service, place.guest, &place.digest, &place.files);
            }
        }
        for duty in &self.duties {
            add(&duty.service, duty.guest, &duty.digest, &duty.files);
        }
        for standby in &self.standbys {
            let installed = &standby.installed;
            add(
                &standby.service,
                standby.guest,
                &installed.digest,
                &installed.files,
            );
        }
        let known = self.own_disks();
        for (id, domains) in &self.guests {
            let live = domains.iter().filter_map(|domain| domain.live.as_ref());
            for serial in live
                .flat_map(|definition| &definition.disks)
                .filter_map(|disk| disk.serial.as_ref())
            {
                if let Some(disk) = known.get(serial) {
                    let row = self.service(&disk.service);
                    let digest = match disk.role {
                        DiskRole::Bundle => &disk.digest,
                        DiskRole::Volume => row.map_or(&disk.digest, |row| &row.bundle),
                    };
                    add(&disk.service, *id, digest, &[]);
                }
            }
        }
        found.into_values().collect()
    }

    /// What a candidate's copy consists of; `None` where its bundle is not in the table.
    pub fn placement(&self, candidate: &Candidate) -> Option<Placement> {
        self.bundle(&candidate.digest)
            .map(|bundle| Placement::of(bundle, &candidate.files))
    }

    /// Whether the table has something to do with a service on a guest: its home, an open handover, an open duty.
    pub fn accounts_for(&self, service: &ServiceId, guest: GuestId) -> bool {
        self.service(service).is_some_and(|row| row.guest == guest)
            || self.open(service).any(|open| {
                open.target.guest == guest || open.source.as_ref().is_some_and(|p| p.guest == guest)
            })
            || self
                .duties
                .iter()
                .any(|duty| duty.service == *service && duty.guest == guest)
    }

    /// What a guest answered about a service's copy.
    pub fn copy(&self, service: &ServiceId, guest: GuestId) -> Option<&Asked> {
        self.copies.get(&(service.clone(), guest))
    }
}
