//! Disks of ours where none should be: a licence that came back, a volume that is open twice, and what nobody knows.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Copies, Finding, Kind, Remedy, Repair, Says};
use super::judge::{Checked, copies, disk_word, our_serials, says, up_on};
use super::picture::{OwnDisk, Picture};
use crate::model::disk::{DiskRole, DiskSerial};
use crate::model::guest::{DomainDisk, GuestDomain};
use crate::model::ids::GuestId;

/// What holds at every moment, whatever a job is doing: a service that may run once only does, and its data volume is in
/// the definitions of one guest.
pub(super) fn never_two(checked: &mut Checked<'_>) {
    if !checked.runs_once() {
        return;
    }
    let (service, picture) = (checked.service, checked.picture);
    let busy = picture.is_busy(&service.id);
    let up = checked.up_on();
    if up.len() > 1 {
        let names: Vec<String> = up.iter().map(|guest| picture.guest_name(*guest)).collect();
        let what = format!(
            "{} may run once only, and runs on {}",
            service.id,
            names.join(" and ")
        );
        let other = up.iter().find(|guest| **guest != service.guest).copied();
        let remedy = match other {
            Some(guest) if !busy => remove_copy(checked, guest),
            _ => Remedy::Operator(
                "nothing is done while a job has it; see `handoverctl jobs`, and stop the copy that should not run"
                    .to_owned(),
            ),
        };
        checked.find(Kind::TwoCopies, other.unwrap_or(service.guest), what, remedy);
    }
    if service.volume.is_some() {
        volume_twice(checked, busy);
    }
}

/// The guests that have the volume as a disk, by its serial or by its path.
fn volume_twice(checked: &mut Checked<'_>, busy: bool) {
    let Some(volume) = &checked.service.volume else {
        return;
    };
    let serial = DiskSerial::of_volume(&checked.service.id);
    let (service, picture, path) = (checked.service, checked.picture, volume.path.clone());
    // The same path on another host may be another file.
    let is_it = |domain: &GuestDomain, disk: &DomainDisk| {
        disk.serial.as_deref() == Some(serial.as_str())
            || (domain.summary.host == volume.host
                && !path.is_empty()
                && disk.source.as_deref() == Some(path.as_str()))
    };
    let mut holders = BTreeSet::new();
    let (mut second, mut moved) = (None, None);
    for (id, domain) in all_domains(picture) {
        for (_, definition) in Picture::definitions(domain) {
            let disks: Vec<&DomainDisk> = definition
                .disks
                .iter()
                .filter(|disk| is_it(domain, disk))
                .collect();
            if disks.is_empty() {
                continue;
            }
            holders.insert(id);
            if disks.len() > 1 {
                second = Some(id);
            }
            let by_serial = disks
                .iter()
                .find(|d| d.serial.as_deref() == Some(serial.as_str()));
            if let Some(disk) = by_serial
                && !path.is_empty()
                && disk.source.as_deref() != Some(path.as_str())
            {
                moved = Some((id, disk.source.clone().unwrap_or_else(|| "nothing".to_owned())));
            }
        }
    }
    if let Some((guest, source)) = moved {
        let name = picture.guest_name(guest);
        let what = format!(
            "the data volume of {} is {source} in {name}, and {path} in the table",
            service.id
        );
        let remedy = Remedy::Operator(format!(
            "a snapshot may have moved it: merge it (virsh blockcommit {name}) before anything is moved"
        ));
        checked.find(Kind::VolumeMoved, guest, what, remedy);
    }
    if holders.len() > 1 || second.is_some() {
        let names: Vec<String> = holders.iter().map(|guest| picture.guest_name(*guest)).collect();
        let other = holders.iter().find(|guest| **guest != service.guest).copied();
        let guest = other.or(second).unwrap_or(service.guest);
        let what = if holders.len() > 1 {
            format!(
                "the data volume {path} is in the definitions of {}",
                names.join(" and ")
            )
        } else {
            format!(
                "the data volume {path} is two disks of {}",
                picture.guest_name(guest)
            )
        };
        // By its serial it is a licence that came back.
        let stray = picture.guest(guest).is_some_and(|domain| {
            Picture::definitions(domain).any(|(_, definition)| definition.disk(&serial).is_some())
        });
        let remedy = if !busy && stray && other.is_some() && !picture.accounts_for(&service.id, guest) {
            remove_copy(checked, guest)
        } else {
            Remedy::Operator(format!(
                "take it from {} by hand (virsh detach-disk), unless a job is at it",
                picture.guest_name(guest)
            ))
        };
        checked.find(Kind::VolumeTwice, guest, what, remedy);
    }
}

/// Disks of the service where neither its home nor a duty accounts for them; one finding for each guest, and on the home
/// guest one for each disk.
pub(super) fn strays(checked: &mut Checked<'_>) {
    let (service, picture) = (checked.service, checked.picture);
    let known = picture.own_disks();
    let mut elsewhere: BTreeMap<GuestId, Vec<String>> = BTreeMap::new();
    for (guest, own, halves) in held(picture, &known) {
        if own.service != service.id {
            continue;
        }
        if guest != service.guest {
            if !picture.accounts_for(&service.id, guest) {
                elsewhere
                    .entry(guest)
                    .or_default()
                    .push(stray_text(picture, &own, &halves));
            }
        } else if own.role == DiskRole::Bundle && own.digest != service.bundle {
            let what = format!(
                "{} has {}, and should not",
                picture.guest_name(guest),
                stray_text(picture, &own, &halves)
            );
            let remedy = take(checked, guest, &serial_of(&own));
            checked.find(Kind::DiskStray, guest, what, remedy);
        }
    }
    for (guest, texts) in elsewhere {
        let what = format!(
            "{} has {}, and should not",
            picture.guest_name(guest),
            texts.join(" and ")
        );
        let remedy = remove_copy(checked, guest);
        checked.find(Kind::DiskStray, guest, what, remedy);
    }
}

/// Disks of services that the table has no row of, and disks that nobody knows.
pub(super) fn of_nobody(picture: &Picture) -> Vec<Finding> {
    let known = picture.own_disks();
    let mut found = Vec::new();
    for (guest, own, halves) in held(picture, &known) {
        if picture.service(&own.service).is_some() || picture.accounts_for(&own.service, guest) {
            continue;
        }
        let text = format!(
            "takes it away; the data volume stays in the pool ({} is not deployed)",
            own.service
        );
        found.push(Finding {
            kind: Kind::DiskStray,
            service: Some(own.service.clone()),
            guest: Some((guest, picture.guest_name(guest))),
            what: format!(
                "{} has {}, and should not",
                picture.guest_name(guest),
                stray_text(picture, &own, &halves)
            ),
            says: says(picture, None, &own.service),
            copies: copies(picture, &own.service),
            remedy: unless_controlled(picture, guest, Repair::TakeDisk(guest, serial_of(&own)), text),
        });
    }
    for (guest, domain) in all_domains(picture) {
        let mut unknown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (half, definition) in Picture::definitions(domain) {
            for serial in our_serials(definition).filter(|serial| !known.contains_key(*serial)) {
                unknown.entry(serial).or_default().push(half);
            }
        }
        let name = &domain.summary.name;
        for (serial, halves) in unknown {
            found.push(Finding {
                kind: Kind::DiskUnknown,
                service: None,
                guest: Some((guest, name.clone())),
                what: format!(
                    "{name} has a disk with serial {serial} ({}), and no bundle of the table has it",
                    halves.join(" and ")
                ),
                says: Says::default(),
                copies: Copies::default(),
                remedy: Remedy::Operator(format!(
                    "if nobody needs it, take it away (virsh detach-disk {name} TARGET --live --config)"
                )),
            });
        }
    }
    found
}

fn all_domains(picture: &Picture) -> impl Iterator<Item = (GuestId, &GuestDomain)> {
    let each = |(id, domains): (&GuestId, _)| {
        let id = *id;
        let domains: &Vec<GuestDomain> = domains;
        domains.iter().map(move |domain| (id, domain))
    };
    picture.guests.iter().flat_map(each)
}

/// Every disk that is known, with its guest and the halves that have it.
fn held(picture: &Picture, known: &BTreeMap<String, OwnDisk>) -> Vec<(GuestId, OwnDisk, Vec<&'static str>)> {
    let mut found: BTreeMap<(GuestId, &String), Vec<&'static str>> = BTreeMap::new();
    for (id, domain) in all_domains(picture) {
        for (half, definition) in Picture::definitions(domain) {
            for serial in definition.disks.iter().filter_map(|disk| disk.serial.as_ref()) {
                let halves = found.entry((id, serial)).or_default();
                if !halves.contains(&half) {
                    halves.push(half);
                }
            }
        }
    }
    let mut all = Vec::new();
    for ((guest, serial), halves) in found {
        if let Some(own) = known.get(serial) {
            all.push((guest, own.clone(), halves));
        }
    }
    all
}

fn serial_of(own: &OwnDisk) -> DiskSerial {
    match own.role {
        DiskRole::Bundle => DiskSerial::of(&own.service, &own.digest),
        DiskRole::Volume => DiskSerial::of_volume(&own.service),
    }
}

/// `the bundle disk of web in its persistent definition`.
fn stray_text(picture: &Picture, own: &OwnDisk, halves: &[&str]) -> String {
    let place: Vec<&str> = halves
        .iter()
        .map(|half| match *half {
            "live" => "in its running machine",
            _ => "in its persistent definition",
        })
        .collect();
    format!(
        "the {} disk of {} {}",
        disk_word(picture, own),
        own.service,
        place.join(" and ")
    )
}

fn take(checked: &Checked<'_>, guest: GuestId, serial: &DiskSerial) -> Remedy {
    unless_controlled(
        checked.picture,
        guest,
        Repair::TakeDisk(guest, serial.clone()),
        "takes it away".to_owned(),
    )
}

/// The copy on a guest that should have none goes, with its disks.
fn remove_copy(checked: &Checked<'_>, guest: GuestId) -> Remedy {
    let id = &checked.service.id;
    let candidate = checked
        .picture
        .candidates()
        .into_iter()
        .find(|candidate| candidate.service == *id && candidate.guest == guest);
    let (digest, files) = candidate.map_or_else(
        || (checked.service.bundle.clone(), Vec::new()),
        |candidate| (candidate.digest, candidate.files),
    );
    let runs = up_on(checked.picture, id).contains(&guest);
    let text = if runs {
        "stops the copy there, takes its disks and removes its units"
    } else {
        "takes its disks, and removes its units"
    };
    unless_controlled(
        checked.picture,
        guest,
        Repair::RemoveCopy(guest, digest, files),
        text.to_owned(),
    )
}

/// A guest that another daemon controls is not touched.
pub(super) fn unless_controlled(picture: &Picture, guest: GuestId, repair: Repair, text: String) -> Remedy {
    match picture
        .guest(guest)
        .and_then(|domain| domain.summary.other_controller(&picture.own))
    {
        Some(other) => Remedy::Operator(format!(
            "the handoverd of host {other} controls that guest; ask there"
        )),
        None => Remedy::WhenTold(repair, text),
    }
}
