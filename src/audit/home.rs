//! What a service's home guest should have: its disks in both definitions, its units, and the life that the table wants.

use super::finding::{Kind, Remedy, Repair};
use super::judge::{Checked, runs, units_say};
use super::picture::Asked;
use crate::handover::grant::kept_halves;
use crate::handover::verdict;
use crate::model::disk::{DiskRole, DiskSerial};
use crate::model::guest::{CopyState, GuestDomain};
use crate::model::life::{Enablement, LifeState};

/// Everything about the home guest of a service that no job has.
pub(super) fn check(checked: &mut Checked<'_>) {
    let home = checked.service.guest;
    pool(checked);
    let Some(domain) = checked.picture.guest(home) else {
        return unknown_guest(checked);
    };
    controller(checked, domain);
    let whole = disks(checked, domain);
    if !domain.is_active() {
        return off(checked, domain);
    }
    match checked.picture.copy(&checked.service.id, home) {
        Some(Asked::Seen(copy)) if whole => life(checked, copy),
        Some(Asked::Seen(_)) => {}
        Some(Asked::Silent(why)) => {
            let name = &domain.summary.name;
            let what = format!("{name} does not answer: what runs in it cannot be told");
            let remedy = Remedy::Unknown(format!("see whether qemu-guest-agent works in {name}: {why}"));
            checked.find(Kind::CannotTell, home, what, remedy);
        }
        Some(Asked::Off) | None => {
            let (name, state) = (&domain.summary.name, domain.summary.state.as_str());
            let what = format!("{name} is {state}: what runs in it cannot be told");
            checked.find(
                Kind::CannotTell,
                home,
                what,
                Remedy::Unknown(format!("resume {name}")),
            );
        }
    }
}

/// What must hold while a job has the service: one that is wanted stopped, and is to stay so, runs nowhere.
pub(super) fn stopped_stays_stopped(checked: &mut Checked<'_>) {
    let stays = |open: &crate::handover::record::Handover| {
        open.facts.observed_at.is_some() && !open.facts.wants_running()
    };
    let targets: Vec<_> = checked
        .picture
        .open(&checked.service.id)
        .filter(|open| stays(open) && open.target.guest != checked.service.guest)
        .map(|open| open.target.guest)
        .collect();
    for guest in checked.up_on() {
        if targets.contains(&guest) {
            let name = checked.picture.guest_name(guest);
            let what = format!(
                "{} is stopped and is being moved, and runs on {name}",
                checked.service.id
            );
            checked.find(
                Kind::RunsThoughStopped,
                guest,
                what,
                Remedy::Operator(
                    "nothing is done while a job has it; see `handoverctl jobs`, and audit again after it"
                        .to_owned(),
                ),
            );
        }
    }
}

fn unknown_guest(checked: &mut Checked<'_>) {
    let (home, name) = (checked.service.guest, checked.service.guest_name.clone());
    if let Some(why) = checked.picture.unreadable.get(&home) {
        let what = format!("{name} cannot be looked at");
        checked.find(Kind::CannotTell, home, what, Remedy::Unknown(why.clone()));
    } else if let Some(host) = checked.picture.silent_hosts.first() {
        let what = format!("{name} is not found, and host {host} does not answer");
        let remedy = Remedy::Unknown(format!("see whether libvirtd runs on {host}"));
        checked.find(Kind::CannotTell, home, what, remedy);
    } else {
        let what = format!("{name} ({home}) is not found on any host");
        let remedy = Remedy::Operator(format!(
            "define it again, or remove the service and deploy it elsewhere (handoverctl remove {})",
            checked.service.id
        ));
        checked.find(Kind::GuestUnknown, home, what, remedy);
    }
}

fn controller(checked: &mut Checked<'_>, domain: &GuestDomain) {
    let (home, name) = (checked.service.guest, domain.summary.name.clone());
    if let Some(other) = domain.summary.other_controller(&checked.picture.own) {
        let what = format!("the handoverd of host {other} controls {name}, as its metadata says");
        let remedy = Remedy::Operator(format!(
            "ask that daemon to move {} away, or, if it is gone for good, virsh metadata {name} --uri \
             urn:handoverd:domain:1 --remove --config --live",
            checked.service.id
        ));
        checked.find(Kind::OtherController, home, what, remedy);
    } else if domain.summary.controller.is_none() {
        let what = format!("the metadata of {name} does not say who controls it");
        let remedy = Remedy::WhenTold(
            Repair::Control(home),
            format!("writes host {} there", checked.picture.own),
        );
        checked.find(Kind::NoController, home, what, remedy);
    }
}

fn pool(checked: &mut Checked<'_>) {
    let (service, picture) = (checked.service, checked.picture);
    let host = picture
        .guest(service.guest)
        .map_or(&service.host, |domain| &domain.summary.host)
        .clone();
    let digest = &service.bundle;
    let size = |host| picture.images.get(&(host, digest.clone()));
    let whole = |found: &Option<u64>| found.is_some_and(|found| found >= checked.bundle.size);
    match size(host.clone()) {
        Some(Ok(found)) if !whole(found) => {
            let elsewhere = picture
                .images
                .iter()
                .find(|((at, of), found)| {
                    *at != host && of == digest && matches!(found, Ok(found) if whole(found))
                })
                .map(|((at, _), _)| at.clone());
            let what = format!(
                "the image of bundle {} is {} in the pool of host {host}",
                digest.short(),
                if found.is_some() { "cut off" } else { "missing" }
            );
            let remedy = match elsewhere {
                Some(from) => Remedy::WhenTold(
                    Repair::CopyImage(host, from.clone()),
                    format!("brings it there from host {from}"),
                ),
                None => Remedy::Operator(
                    "register the bundle again (handoverctl bundle register FILE)".to_owned(),
                ),
            };
            checked.find_anywhere(Kind::ImageMissing, what, remedy);
        }
        Some(Err(why)) => {
            let what = format!("the pool of host {host} does not answer");
            checked.find_anywhere(Kind::CannotTell, what, Remedy::Unknown(why.clone()));
        }
        _ => {}
    }
    let Some(volume) = &service.volume else { return };
    match picture.volumes.get(&(volume.host.clone(), service.id.clone())) {
        Some(Ok(Some(found))) if *found >= volume.size => {}
        Some(Ok(found)) => {
            let what = match found {
                Some(found) => format!(
                    "the data volume {} has {found} bytes, and {} in the table",
                    volume.path, volume.size
                ),
                None => format!(
                    "the data volume {} is not in the pool of host {}",
                    volume.path, volume.host
                ),
            };
            checked.find_anywhere(
                Kind::VolumeMissing,
                what,
                Remedy::Operator(format!("restore {} from a backup", volume.path)),
            );
        }
        Some(Err(_)) | None => {}
    }
}

/// Whether the home guest has every disk where it should; each that is missing is a finding.
fn disks(checked: &mut Checked<'_>, domain: &GuestDomain) -> bool {
    let (home, name) = (checked.service.guest, domain.summary.name.clone());
    if domain.config.is_none() {
        checked.find(
            Kind::NotPersistent,
            home,
            format!("{name} has no persistent definition: it will not come back after a power-off"),
            Remedy::Operator(format!(
                "virsh dumpxml {name} > {name}.xml && virsh define {name}.xml"
            )),
        );
    }
    let mut wanted = vec![(DiskRole::Bundle, checked.placement.serial.clone())];
    if let Some(data) = &checked.placement.data {
        wanted.push((DiskRole::Volume, data.serial.clone()));
    }
    let mut whole = true;
    for (role, serial) in wanted {
        let (live, config) = kept_halves(domain, role, &serial);
        let lacks_live = domain.is_active() && !live;
        let lacks_config = domain.config.is_some() && !config;
        let place = match (lacks_live, lacks_config) {
            (false, false) => continue,
            (true, false) => "in its running machine",
            (false, true) => "in its persistent definition",
            (true, true) => "in its running machine and in its persistent definition",
        };
        whole &= !lacks_live;
        let what = format!("{name} lacks {} {place}", word(role));
        let gives = |serial: DiskSerial| {
            Remedy::WhenTold(
                Repair::GiveDisk(role, serial),
                format!("gives {name} {} again", word(role)),
            )
        };
        let remedy = gives(serial);
        checked.find(Kind::DiskMissing, home, what, remedy);
    }
    whole
}

pub(super) fn word(role: DiskRole) -> &'static str {
    match role {
        DiskRole::Bundle => "the bundle disk",
        DiskRole::Volume => "the data volume",
    }
}

fn off(checked: &mut Checked<'_>, domain: &GuestDomain) {
    if !checked.service.wanted.wants_running() {
        return;
    }
    let (id, name) = (&checked.service.id, &domain.summary.name);
    let (state, todo) = if domain.summary.managed_save {
        ("saved", format!("start it (virsh start {name})"))
    } else {
        (
            domain.summary.state.as_str(),
            format!("start it (virsh start {name}), or move the service away (handoverctl move {id} GUEST)"),
        )
    };
    let what = format!("{name} is {state}, and {id} is wanted {}", checked.service.wanted);
    checked.find(Kind::GuestOff, domain.summary.id, what, Remedy::Operator(todo));
}

/// What the copy on a running home guest that has its disks should be.
fn life(checked: &mut Checked<'_>, copy: &CopyState) {
    if copy.is_changing() {
        let what = format!(
            "{} is changing at this moment: {}",
            checked.service.id,
            units_say(copy)
        );
        let remedy = Remedy::Unknown("look again in a minute".to_owned());
        return checked.find(Kind::CannotTell, checked.service.guest, what, remedy);
    }
    if !copy.installed {
        let name = checked.picture.guest_name(checked.service.guest);
        let what = format!(
            "the unit files of {} in {name} are missing or differ",
            checked.service.id
        );
        let remedy = Remedy::WhenTold(
            Repair::Install,
            "places them again, and starts it if it is wanted running".to_owned(),
        );
        return checked.find(Kind::UnitsDiffer, checked.service.guest, what, remedy);
    }
    if copy.files_differ {
        let name = checked.picture.guest_name(checked.service.guest);
        let what = format!(
            "config or secret files of {} in {name} are missing or differ",
            checked.service.id
        );
        let remedy = Remedy::WhenTold(
            Repair::Install,
            "writes them as they were given at deploy; the service is not restarted".to_owned(),
        );
        checked.find(Kind::FilesDiffer, checked.service.guest, what, remedy);
    }
    if checked.service.wanted.wants_running() {
        wanted_running(checked, copy);
    } else {
        wanted_stopped(checked, copy);
    }
}

fn wanted_running(checked: &mut Checked<'_>, copy: &CopyState) {
    let (service, home) = (checked.service, checked.service.guest);
    let (id, name) = (&service.id, checked.picture.guest_name(home));
    if copy.is_up() {
        return linked_as_wanted(checked, copy);
    }
    if runs(copy) || copy.has_failed() {
        let what = format!("{id} is wanted {} on {name}: {}", service.wanted, units_say(copy));
        let remedy = Remedy::WhenTold(Repair::StartJob, "begins a job that starts it".to_owned());
        return checked.find(Kind::Down, home, what, remedy);
    }
    if copy.was_up {
        let (_, enablement) = verdict::observed(service, copy, None);
        let what = format!("{id} was stopped in {name}");
        let remedy = Remedy::ByItself(
            Repair::AdoptStop(enablement),
            "the table takes over that it is stopped".to_owned(),
        );
        return checked.find(Kind::StoppedByHand, home, what, remedy);
    }
    let what = format!(
        "{id} is down since {name} booted, and is wanted {}",
        service.wanted
    );
    let remedy = Remedy::ByItself(Repair::Start, "starts it".to_owned());
    checked.find(Kind::DownAfterBoot, home, what, remedy);
}

/// It is up, as wanted: what an operator enabled, disabled or masked is adopted.
fn linked_as_wanted(checked: &mut Checked<'_>, copy: &CopyState) {
    let (service, home) = (checked.service, checked.service.guest);
    let (id, name) = (&service.id, checked.picture.guest_name(home));
    let all = u32::try_from(checked.placement.links.len()).unwrap_or(u32::MAX);
    if copy.links > 0 && copy.links < all && copy.enablement != Enablement::Masked {
        let what = format!("{} of {all} links of {id} are there in {name}", copy.links);
        let remedy = Remedy::WhenTold(
            Repair::Link(service.enablement),
            "makes its links as they should be".to_owned(),
        );
        return checked.find(Kind::LinkMissing, home, what, remedy);
    }
    if copy.enablement != service.enablement {
        let what = format!(
            "{id} is {} in {name}, and {} in the table",
            copy.enablement.as_str(),
            service.enablement.as_str()
        );
        let remedy = Remedy::ByItself(
            Repair::AdoptEnablement(copy.enablement),
            format!("the table takes over that it is {}", copy.enablement.as_str()),
        );
        checked.find(Kind::EnablementByHand, home, what, remedy);
    }
}

fn wanted_stopped(checked: &mut Checked<'_>, copy: &CopyState) {
    let (service, home) = (checked.service, checked.service.guest);
    let (id, name) = (&service.id, checked.picture.guest_name(home));
    let linked = copy.links > 0;
    if runs(copy) && linked {
        // Only its disk can have started it: a stopped service has no links.
        let what = format!(
            "{id} is wanted {}, and its disk has started it in {name}",
            service.wanted
        );
        let remedy = Remedy::WhenTold(Repair::Stop, "stops it, and removes its links".to_owned());
        checked.find(Kind::RunsThoughStopped, home, what, remedy);
    } else if copy.is_up() {
        let enablement = match copy.enablement {
            Enablement::Masked => Enablement::Masked,
            Enablement::Enabled | Enablement::Disabled => service.enablement,
        };
        let what = format!("{id} was started in {name}");
        let remedy = Remedy::ByItself(
            Repair::AdoptStart(enablement),
            "the table takes over that it runs".to_owned(),
        );
        checked.find(Kind::StartedByHand, home, what, remedy);
    } else if linked {
        let what = format!(
            "{id} is wanted {}, and its disk would start it in {name}",
            service.wanted
        );
        let remedy = Remedy::WhenTold(Repair::Link(Enablement::Disabled), "removes its links".to_owned());
        checked.find(Kind::LinkLeft, home, what, remedy);
    }
}

/// What a service is seen to be on its home guest; `None` where that cannot be told, or is no state of the service's own: its
/// guest is off, or has booted and not started it. What was seen before is what it goes by if it has to go elsewhere.
pub fn observed(
    checked: &super::picture::Picture,
    service: &crate::model::service::ServiceRecord,
) -> Option<LifeState> {
    let domain = checked.guest(service.guest)?;
    if !domain.is_active() {
        return (!service.wanted.wants_running()).then_some(service.wanted);
    }
    let Some(Asked::Seen(copy)) = checked.copy(&service.id, service.guest) else {
        return None;
    };
    if copy.system == "stopping" {
        return None;
    }
    let records = match &service.dns {
        Some(dns) => match checked.names.get(&dns.name) {
            Some(Ok(records)) => Some(records),
            // Whether clients are led to it cannot be told.
            Some(Err(_)) | None if runs(copy) => return None,
            Some(Err(_)) | None => None,
        },
        None => None,
    };
    let life = verdict::observed(service, copy, records).0;
    (!verdict::is_down_unwanted(copy, life)).then_some(life)
}
