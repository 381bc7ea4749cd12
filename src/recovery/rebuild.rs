//! The rebuilding: evidence in, rows out, and for each service what was found, what is uncertain and what is left out.

use super::evidence::{CopySeen, Evidence, Holder};
use crate::handover::verdict;
use crate::model::guest::{CopyState, GuestDomain};
use crate::model::ids::{Digest, Generation, ServiceId};
use crate::model::life::{Enablement, LifeState};
use crate::model::name::{NameRecords, Owner, Ownership};
use crate::model::placement::PlacedFile;
use crate::model::service::{BundleRecord, ServiceRecord};
use crate::model::volume::Volume;

/// What became of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The service.
    pub service: ServiceId,
    /// Its row; `None`: it is left out.
    pub row: Option<Box<ServiceRecord>>,
    /// What was taken although it could not be proved.
    pub uncertain: Vec<String>,
    /// Why it is left out, and what to do; empty if it is not.
    pub left_out: Vec<String>,
}

/// A rebuilt table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Every bundle.
    pub bundles: Vec<BundleRecord>,
    /// Every service of which a bundle was found, by id.
    pub services: Vec<Told>,
    /// The attempt number from which each service's scripts count on: higher than any that a guest can have seen.
    pub attempts_from: u64,
    /// What belongs to no service, or cannot be recovered at all.
    pub notes: Vec<String>,
}

impl Rebuilt {
    /// The rows of the new table.
    pub fn rows(&self) -> impl Iterator<Item = &ServiceRecord> {
        self.services.iter().filter_map(|told| told.row.as_deref())
    }
}

/// Rebuilds the table.
pub fn rebuild(evidence: &Evidence) -> Rebuilt {
    let mut notes: Vec<String> = evidence
        .silent_hosts
        .iter()
        .map(|(host, why)| format!("host {host} does not answer, so what it has is not seen: {why}"))
        .collect();
    notes.extend(evidence.bad_images.iter().map(|(host, digest, why)| {
        format!("image {} on host {host} is not a bundle: {why}", digest.short())
    }));
    notes.extend(unknown_disks(evidence));
    notes.extend(spent_grants(evidence));
    notes.push(
        "jobs, their journals and what duties were owed are gone; `handoverctl audit` finds what they left"
            .into(),
    );
    Rebuilt {
        bundles: evidence.bundles.clone(),
        services: evidence
            .services()
            .iter()
            .filter_map(|service| tell(evidence, service))
            .collect(),
        // Numbers rise by one for each script; no table lives long enough to reach the time in milliseconds.
        attempts_from: evidence.now,
        notes,
    }
}

/// Definitions that somebody put back after their licence was taken.
fn spent_grants(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    for domain in &evidence.guests {
        let disks = domain.config.iter().flat_map(|definition| &definition.disks);
        for disk in disks.filter(|disk| evidence.is_spent(domain, disk)) {
            found.push(format!(
                "the persistent definition of {} names a grant that is gone ({}): it is an old one, and is not counted; \
                 `handoverctl audit --repair` takes the disk out of it",
                domain.summary.name,
                disk.source.as_deref().unwrap_or_default()
            ));
        }
    }
    found
}

/// The generation that the guest's grant says; without one 1 is taken, which is uncertain because of `why`.
fn granted_generation(home: &Holder, why: &str, uncertain: &mut Vec<String>) -> Generation {
    match home.grants.last() {
        Some(generation) => *generation,
        None => {
            uncertain.push(format!("its generation: {why}, 1 is taken"));
            Generation(1)
        }
    }
}

/// Why nothing may be written: what a host that does not answer has would be missing in the new table, and a second guest
/// with a service's disk may be there.
pub fn obstacle(evidence: &Evidence) -> Option<String> {
    let (host, why) = evidence.silent_hosts.first_key_value()?;
    Some(format!(
        "host {host} does not answer ({why}); see to that and run this again, or, if it is gone for good, take it out of the \
         configuration first"
    ))
}

/// Disks with a serial of our form that no bundle of the pools has.
fn unknown_disks(evidence: &Evidence) -> Vec<String> {
    let services = evidence.services();
    let known: Vec<Holder> = services.iter().flat_map(|id| evidence.holders(id)).collect();
    let mut found = Vec::new();
    for domain in &evidence.guests {
        let definitions = domain.live.iter().chain(&domain.config);
        for disk in definitions.flat_map(|definition| &definition.disks) {
            let serial = disk.serial.as_deref().unwrap_or_default();
            let ours = crate::audit::picture::is_our_pattern(serial);
            if ours && !is_known(evidence, &known, serial) {
                let text = format!(
                    "guest {} has a disk with serial {serial}, and no bundle in any pool has it: its service cannot be \
                     recovered (register its bundle again, and run this again)",
                    domain.summary.name
                );
                if !found.contains(&text) {
                    found.push(text);
                }
            }
        }
    }
    found
}

fn is_known(evidence: &Evidence, holders: &[Holder], serial: &str) -> bool {
    use crate::model::disk::DiskSerial;
    let of_bundle = |digest: &Digest| {
        evidence
            .bundle(digest)
            .is_some_and(|bundle| DiskSerial::of(&bundle.manifest.service, digest).as_str() == serial)
    };
    let of_volume = evidence
        .services()
        .iter()
        .any(|service| DiskSerial::of_volume(service).as_str() == serial);
    of_volume || holders.iter().flat_map(|holder| &holder.bundles).any(of_bundle)
}

/// What is left of one service; `None` if it has bundles only: it is not deployed.
fn tell(evidence: &Evidence, service: &ServiceId) -> Option<Told> {
    let holders = evidence.holders(service);
    let mut uncertain = Vec::new();
    let row = match holders.as_slice() {
        [] => return None,
        [home] => row(evidence, service, home, &mut uncertain),
        many => {
            let names: Vec<&str> = many.iter().map(|holder| holder.name.as_str()).collect();
            Err(vec![format!(
                "{} have a disk of it, and which of them is its home is not guessed{}; take it from the others (virsh \
                 detach-disk GUEST TARGET --live --config) and run this again",
                names.join(" and "),
                zone_says(evidence, service, many)
            )])
        }
    };
    let (row, left_out) = match row {
        Ok(row) => (Some(Box::new(row)), Vec::new()),
        Err(why) => (None, why),
    };
    Some(Told {
        service: service.clone(),
        row,
        uncertain,
        left_out,
    })
}

/// `; the zone names g2`, for the operator who decides.
fn zone_says(evidence: &Evidence, service: &ServiceId, holders: &[Holder]) -> String {
    let names = evidence
        .bundles
        .iter()
        .filter(|bundle| bundle.manifest.service == *service)
        .filter_map(|bundle| bundle.manifest.dns.as_ref());
    for dns in names {
        if let Some(Ok(records)) = evidence.names.get(&dns.name)
            && let Some(owner) = owner_of(records)
            && let Some(holder) = holders.iter().find(|holder| holder.guest == owner.guest)
        {
            return format!(" (the zone names {})", holder.name);
        }
    }
    String::new()
}

fn owner_of(records: &NameRecords) -> Option<Owner> {
    match verdict::owner_text(records)? {
        Ownership::Free(owner) => Some(owner),
        Ownership::Claimed(_, owner) | Ownership::Aborted(_, owner) => owner,
    }
}

type Left = Vec<String>;

fn row(
    evidence: &Evidence,
    service: &ServiceId,
    home: &Holder,
    uncertain: &mut Vec<String>,
) -> Result<ServiceRecord, Left> {
    let name = &home.name;
    let Some(domain) = evidence.guest(home.guest) else {
        return Err(vec![format!("guest {name} is gone; run this again")]);
    };
    if let Some(other) = domain.summary.other_controller(&evidence.own) {
        return Err(vec![format!(
            "the handoverd of host {other} controls {name}, as its metadata says: it is in that daemon's table"
        )]);
    }
    let bundle = bundle_of(evidence, service, home)?;
    let seen = evidence
        .copies
        .get(&(service.clone(), home.guest, bundle.digest.clone()));
    let files = files_of(bundle, name, seen)?;
    let volume = volume_of(evidence, bundle, home, domain)?;
    let (generation, addresses) = name_of(evidence, bundle, home, uncertain)?;
    let (wanted, enablement, uid) = life_of(bundle, name, seen, uncertain);
    Ok(ServiceRecord {
        id: service.clone(),
        bundle: bundle.digest.clone(),
        guest: home.guest,
        guest_name: name.clone(),
        host: domain.summary.host.clone(),
        addresses: match addresses.is_empty() {
            false => addresses,
            true => evidence.addresses.get(&home.guest).cloned().unwrap_or_default(),
        },
        wanted,
        observed: wanted,
        observed_at: evidence.now,
        enablement,
        dns: bundle.manifest.dns.clone(),
        generation,
        uid,
        frozen: None,
        volume,
        files,
    })
}

/// The one bundle that the guest has a disk of; of two that of which the guest has the units.
fn bundle_of<'a>(
    evidence: &'a Evidence,
    service: &ServiceId,
    home: &Holder,
) -> Result<&'a BundleRecord, Left> {
    let installed = |digest: &&Digest| {
        let key = (service.clone(), home.guest, (*digest).clone());
        matches!(evidence.copies.get(&key), Some(CopySeen::Seen(copy, _)) if copy.installed)
    };
    let digests: Vec<&Digest> = home.bundles.iter().collect();
    let one = match digests.as_slice() {
        [] => {
            return Err(vec![format!(
                "{} has its data volume, and the disk of none of its bundles; deploy it there again: the data is found",
                home.name
            )]);
        }
        [one] => Some(*one),
        many => {
            let mut with_units = many.iter().copied().filter(installed);
            match (with_units.next(), with_units.next()) {
                (Some(one), None) => Some(one),
                _ => None,
            }
        }
    };
    one.and_then(|digest| evidence.bundle(digest)).ok_or_else(|| {
        vec![format!(
            "{} has the disks of {} of its bundles, and which of them it runs cannot be told; take the others from it and \
             run this again",
            home.name,
            digests.len()
        )]
    })
}

/// Config and secrets stand nowhere but in the guest: without them the next move would leave them behind.
fn files_of(bundle: &BundleRecord, name: &str, seen: Option<&CopySeen>) -> Result<Vec<PlacedFile>, Left> {
    if bundle.manifest.config.is_empty() && bundle.manifest.secrets.is_empty() {
        return Ok(Vec::new());
    }
    let why = match seen {
        Some(CopySeen::Seen(_, Ok(files))) => return Ok(files.clone()),
        Some(CopySeen::Seen(_, Err(why))) => why.clone(),
        Some(CopySeen::Silent(why)) => format!("{name} does not answer: {why}"),
        Some(CopySeen::Off) | None => format!("{name} is off"),
    };
    Err(vec![format!(
        "its config and secrets are in {name} only, and cannot be read back: {why}; see to that and run this again, or \
         remove it from the guest by hand and deploy it anew"
    )])
}

fn volume_of(
    evidence: &Evidence,
    bundle: &BundleRecord,
    home: &Holder,
    domain: &GuestDomain,
) -> Result<Option<Volume>, Left> {
    let Some(spec) = &bundle.manifest.data else {
        return Ok(None);
    };
    let host = &domain.summary.host;
    let key = (host.clone(), bundle.manifest.service.clone());
    let Some((path, size)) = evidence.volumes.get(&key) else {
        return Err(vec![format!(
            "its data volume is not in the pool of host {host}; bring it back and run this again"
        )]);
    };
    if let Some(other) = home.volumes.iter().find(|source| *source != path) {
        return Err(vec![format!(
            "its data volume is {other} in {}, and {path} in the pool; a snapshot may have moved it: merge it (virsh \
             blockcommit) and run this again",
            home.name
        )]);
    }
    Ok(Some(Volume {
        host: host.clone(),
        path: path.clone(),
        size: *size,
        filesystem: spec.filesystem,
    }))
}

/// Generation and addresses as the zone has them.
fn name_of(
    evidence: &Evidence,
    bundle: &BundleRecord,
    home: &Holder,
    uncertain: &mut Vec<String>,
) -> Result<(Generation, Vec<std::net::IpAddr>), Left> {
    let Some(dns) = &bundle.manifest.dns else {
        let generation = granted_generation(home, "neither a name nor a grant says so", uncertain);
        return Ok((generation, Vec::new()));
    };
    let records = match evidence.names.get(&dns.name) {
        Some(Ok(records)) => records,
        Some(Err(why)) => {
            return Err(vec![format!(
                "what the zone says of {} cannot be told: {why}; run this again when it answers",
                dns.name
            )]);
        }
        None => return Err(vec![format!("{} is in no configured zone", dns.name)]),
    };
    let addresses = records.addresses.clone();
    match owner_of(records) {
        Some(owner) if owner.guest == home.guest => {
            if !matches!(verdict::owner_text(records), Some(Ownership::Free(_))) {
                uncertain.push(format!(
                    "a job had claimed {} when the table was lost; `handoverctl audit {} --repair` gives it back",
                    dns.name, bundle.manifest.service
                ));
            }
            Ok((owner.generation, addresses))
        }
        Some(owner) => Err(vec![format!(
            "{} has its disk, and the zone says that {} belongs to guest {}; find out which is right, put the other right and \
             run this again",
            home.name, dns.name, owner.guest
        )]),
        None if records.ownership.is_empty() => {
            let why = format!("the zone does not say who owns {}", dns.name);
            Ok((granted_generation(home, &why, uncertain), addresses))
        }
        None => Err(vec![format!(
            "_handover.{} holds a text that is not ours; remove it and run this again",
            dns.name
        )]),
    }
}

/// What it is to be: it runs, or it would by its links. What cannot be asked is taken for stopped, which starts nothing.
fn life_of(
    bundle: &BundleRecord,
    name: &str,
    seen: Option<&CopySeen>,
    uncertain: &mut Vec<String>,
) -> (LifeState, Enablement, Option<u32>) {
    let runs = if bundle.manifest.dns.is_some() {
        LifeState::Accessible
    } else {
        LifeState::Running
    };
    let copy = match seen {
        Some(CopySeen::Seen(copy, _)) => copy,
        other => {
            let why = match other {
                Some(CopySeen::Silent(why)) => format!("{name} does not answer ({why})"),
                _ => format!("{name} is off"),
            };
            uncertain.push(format!(
                "whether it is wanted running: {why}, so it is taken for stopped; `handoverctl start {}` starts it",
                bundle.manifest.service
            ));
            return (LifeState::Stopped, Enablement::Enabled, None);
        }
    };
    let up = copy.units.iter().any(crate::model::guest::UnitState::is_active);
    let wanted = if up || copy.links > 0 {
        runs
    } else {
        LifeState::Stopped
    };
    if !up && copy.links > 0 {
        uncertain.push(format!(
            "whether it is wanted running: it is down in {name}, and linked to its disk"
        ));
    }
    (wanted, enablement_of(copy, up), copy.uid)
}

fn enablement_of(copy: &CopyState, up: bool) -> Enablement {
    match copy.enablement {
        Enablement::Disabled if !up => Enablement::Enabled,
        told => told,
    }
}

#[cfg(test)]
#[path = "rebuild_tests/mod.rs"]
mod tests;
