//! The judgement: a picture in, findings out. Pure, and in the same order for the same picture.

use std::collections::BTreeSet;

use super::finding::{Copies, Finding, Kind, Remedy, Says};
use super::picture::{Asked, OwnDisk, Picture, is_our_pattern};
use super::{disks, grants, home, naming, standby};
use crate::handover::verdict;
use crate::model::disk::DiskRole;
use crate::model::guest::CopyState;
use crate::model::ids::{GuestId, ServiceId};
use crate::model::placement::Placement;
use crate::model::service::{BundleRecord, ServiceRecord};

/// Everything that is wrong in a picture: service by service, then what belongs to none.
pub fn findings(picture: &Picture) -> Vec<Finding> {
    let mut all = Vec::new();
    for service in &picture.services {
        all.extend(of_service(picture, service));
    }
    all.extend(disks::of_nobody(picture));
    all.extend(grants::of_nobody(picture));
    all
}

/// Everything that is wrong with one service.
pub fn of_service(picture: &Picture, service: &ServiceRecord) -> Vec<Finding> {
    let Some(bundle) = picture.bundle(&service.bundle) else {
        return Vec::new();
    };
    let mut checked = Checked {
        picture,
        service,
        bundle,
        placement: Placement::of(bundle, &service.files),
        says: says(picture, Some(service), &service.id),
        copies: copies(picture, &service.id),
        found: Vec::new(),
    };
    disks::never_two(&mut checked);
    if picture.is_busy(&service.id) {
        home::stopped_stays_stopped(&mut checked);
        return checked.found;
    }
    home::check(&mut checked);
    disks::strays(&mut checked);
    standby::check(&mut checked);
    grants::spent(&mut checked);
    naming::check(&mut checked);
    checked.found
}

/// One service under judgement, and what was found so far.
pub(super) struct Checked<'a> {
    pub(super) picture: &'a Picture,
    pub(super) service: &'a ServiceRecord,
    pub(super) bundle: &'a BundleRecord,
    pub(super) placement: Placement,
    says: Says,
    copies: Copies,
    found: Vec<Finding>,
}

impl Checked<'_> {
    /// Whether it may run once only: it has a data volume, or says `overlap = false`.
    pub(super) fn runs_once(&self) -> bool {
        self.service.volume.is_some() || !self.bundle.manifest.overlap
    }

    /// Adds a finding about a guest.
    pub(super) fn find(&mut self, kind: Kind, guest: GuestId, what: String, remedy: Remedy) {
        let guest = Some((guest, self.picture.guest_name(guest)));
        self.add(kind, guest, what, remedy);
    }

    /// Adds a finding that no guest is part of.
    pub(super) fn find_anywhere(&mut self, kind: Kind, what: String, remedy: Remedy) {
        self.add(kind, None, what, remedy);
    }

    fn add(&mut self, kind: Kind, guest: Option<(GuestId, String)>, what: String, remedy: Remedy) {
        self.found.push(Finding {
            kind,
            service: Some(self.service.id.clone()),
            guest,
            what,
            says: self.says.clone(),
            copies: self.copies,
            remedy,
        });
    }

    /// Guests where a copy of it was seen up.
    pub(super) fn up_on(&self) -> Vec<GuestId> {
        up_on(self.picture, &self.service.id)
    }
}

pub(super) fn up_on(picture: &Picture, service: &ServiceId) -> Vec<GuestId> {
    let up = |asked: &Asked| matches!(asked, Asked::Seen(copy) if runs(copy));
    picture
        .copies
        .iter()
        .filter(|((id, _), asked)| id == service && up(asked))
        .map(|((_, guest), _)| *guest)
        .collect()
}

/// Whether anything of a copy is up. A unit that is neither up nor down counts: it may be either in a moment.
pub(super) fn runs(copy: &CopyState) -> bool {
    copy.units.iter().any(crate::model::guest::UnitState::is_active)
}

/// How many copies run, and how many cannot be told.
pub(super) fn copies(picture: &Picture, service: &ServiceId) -> Copies {
    let silent = picture
        .copies
        .iter()
        .filter(|((id, _), asked)| id == service && matches!(asked, Asked::Silent(_)));
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Copies {
        up: count(up_on(picture, service).len()),
        unasked: count(silent.count()),
    }
}

/// What each side says about a service; `row`: unless the table has forgotten it.
pub(super) fn says(picture: &Picture, row: Option<&ServiceRecord>, service: &ServiceId) -> Says {
    Says {
        table: row.map_or_else(|| "no such service".to_owned(), table_says),
        dns: row.map_or_else(String::new, |row| dns_says(picture, row)),
        libvirt: libvirt_says(picture, service),
        guest: guests_say(picture, service),
    }
}

fn table_says(row: &ServiceRecord) -> String {
    let address = match row.addresses.as_slice() {
        [] => String::new(),
        all => format!(" at {}", verdict::list(all)),
    };
    format!(
        "{}, {}, on {}{address}, generation {}",
        row.wanted,
        row.enablement.as_str(),
        row.guest_name,
        row.generation
    )
}

fn dns_says(picture: &Picture, row: &ServiceRecord) -> String {
    let Some(dns) = &row.dns else {
        return "it has no name".to_owned();
    };
    match picture.names.get(&dns.name) {
        Some(Ok(records)) => verdict::describe(records),
        Some(Err(why)) => format!("no answer: {why}"),
        None => "not asked".to_owned(),
    }
}

fn libvirt_says(picture: &Picture, service: &ServiceId) -> String {
    let known = picture.own_disks();
    let mut words = Vec::new();
    for domain in picture.guests.values().flatten() {
        let mut has = BTreeSet::new();
        for (half, definition) in Picture::definitions(domain) {
            for disk in &definition.disks {
                let own = disk.serial.as_ref().and_then(|serial| known.get(serial));
                if let Some(own) = own.filter(|own| own.service == *service) {
                    has.insert(format!("{} {half}", disk_word(picture, own)));
                }
            }
        }
        if !has.is_empty() {
            let has: Vec<String> = has.into_iter().collect();
            words.push(format!("{} has {}", domain.summary.name, has.join(", ")));
        }
    }
    if words.is_empty() {
        "no guest has a disk of it".to_owned()
    } else {
        words.join("; ")
    }
}

/// `bundle`, `volume`, or `bundle 0123456789ab` where it is not the one that the service runs.
pub(super) fn disk_word(picture: &Picture, own: &OwnDisk) -> String {
    let runs = picture
        .service(&own.service)
        .is_some_and(|row| row.bundle == own.digest);
    match own.role {
        DiskRole::Volume => "volume".to_owned(),
        DiskRole::Bundle if runs => "bundle".to_owned(),
        DiskRole::Bundle => format!("bundle {}", own.digest.short()),
    }
}

fn guests_say(picture: &Picture, service: &ServiceId) -> String {
    let of_it = picture.copies.iter().filter(|((id, _), _)| id == service);
    let words: Vec<String> = of_it
        .map(|((_, guest), asked)| {
            let name = picture.guest_name(*guest);
            match asked {
                Asked::Off => format!("{name} is off"),
                Asked::Silent(_) => format!("{name} does not answer"),
                Asked::Seen(copy) => format!("{name}: {}", units_say(copy)),
            }
        })
        .collect();
    words.join("; ")
}

/// `web.service active (running), web.socket inactive (dead)`.
pub(super) fn units_say(copy: &CopyState) -> String {
    let units: Vec<String> = copy
        .units
        .iter()
        .map(|unit| {
            let result = match unit.result.as_str() {
                "" | "success" => String::new(),
                result => format!(", {result}"),
            };
            format!("{} {} ({}{result})", unit.unit, unit.active, unit.sub)
        })
        .collect();
    units.join(", ")
}

/// The serials of a definition's disks that have the form of ours.
pub(super) fn our_serials(definition: &crate::model::guest::Definition) -> impl Iterator<Item = &str> {
    definition
        .disks
        .iter()
        .filter_map(|disk| disk.serial.as_deref())
        .filter(|serial| is_our_pattern(serial))
}

#[cfg(test)]
#[path = "judge_tests/mod.rs"]
mod tests;
