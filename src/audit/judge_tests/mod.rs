//! A healthy picture, and what is found when one thing in it changes.

mod disks;
mod life;
mod sides;
mod standbys;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::*;
use crate::audit::finding::{Repair, Rule};
use crate::audit::home::observed;
use crate::handover::goals::Kind as HandoverKind;
use crate::handover::machine::State;
use crate::handover::record::tests::facts;
use crate::handover::record::{Duty, Handover, Place};
use crate::model::disk::{DiskSerial, ScsiAddress};
use crate::model::guest::{
    DataState, Definition, DomainDisk, DomainState, GuestDomain, GuestSummary, UnitState,
};
use crate::model::ids::{Generation, HandoverId, HostId, JobId};
use crate::model::life::{Enablement, LifeState};
use crate::model::manifest::{DnsEntry, Manifest, UnitFile};
use crate::model::name::{NameRecords, Owner, Ownership};
use crate::model::volume::{DataSpec, FileSystem, Volume};

const NAME: &str = "web.svc.lab";
const PATH: &str = "/pool/web.data.raw";

fn guest(number: u8) -> GuestId {
    format!("6f1d5a2e-0000-4000-8000-00000000000{number}")
        .parse()
        .unwrap()
}

fn host() -> HostId {
    "hv1".parse().unwrap()
}

fn web() -> ServiceId {
    "web".parse().unwrap()
}

fn bundle(digit: char, data: bool) -> BundleRecord {
    BundleRecord {
        digest: digit.to_string().repeat(64).parse().unwrap(),
        size: 4096,
        manifest: Manifest {
            service: web(),
            version: "1".into(),
            units: vec!["web.service".parse().unwrap()],
            check: None,
            dns: None,
            user: None,
            config: vec![],
            secrets: vec![],
            ports: vec![],
            data: data.then(|| DataSpec {
                size: 8192,
                filesystem: FileSystem::Ext4,
                mount_point: "/srv/web".into(),
            }),
            needs: crate::model::needs::Needs::default(),
            srv: Vec::new(),
            overlap: true,
            movable: true,
        },
        units: vec![UnitFile {
            name: "web.service".parse().unwrap(),
            text: "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n".into(),
        }],
        registered: 0,
    }
}

fn disk(serial: &str, source: &str) -> DomainDisk {
    DomainDisk {
        target: "sda".into(),
        bus: "scsi".into(),
        serial: Some(serial.into()),
        source: Some(source.into()),
        scsi: Some(ScsiAddress {
            controller: 0,
            unit: 0,
        }),
    }
}

fn bundle_disk(digit: char) -> DomainDisk {
    let digest = digit.to_string().repeat(64).parse().unwrap();
    disk(DiskSerial::of(&web(), &digest).as_str(), "/pool/bundle.img")
}

fn volume_disk() -> DomainDisk {
    disk(DiskSerial::of_volume(&web()).as_str(), PATH)
}

fn domain(number: u8, disks: &[DomainDisk]) -> GuestDomain {
    let definition = Definition {
        disks: disks.to_vec(),
        ..Definition::default()
    };
    GuestDomain {
        summary: GuestSummary {
            id: guest(number),
            name: format!("g{number}"),
            host: host(),
            state: DomainState::Running,
            agent_connected: true,
            persistent: true,
            managed_save: false,
            controller: Some("hv1".into()),
            labels: Vec::new(),
        },
        live: Some(definition.clone()),
        config: Some(definition),
    }
}

fn unit(active: &str) -> UnitState {
    let sub = match active {
        "active" => "running",
        "inactive" => "dead",
        other => other,
    };
    UnitState {
        unit: "web.service".into(),
        load: "loaded".into(),
        active: active.into(),
        sub: sub.into(),
        result: String::new(),
    }
}

/// A copy of `web` that is up, linked and whole.
fn up() -> CopyState {
    CopyState {
        units: vec![unit("active")],
        device: true,
        mounted: true,
        installed: true,
        present: vec!["/opt/web".into()],
        links: 1,
        enablement: Enablement::Enabled,
        ..CopyState::default()
    }
}

/// A copy that is down, linked and whole; `was_up`: since its guest booted.
fn down(was_up: bool) -> CopyState {
    CopyState {
        units: vec![unit("inactive")],
        mounted: false,
        was_up,
        system: "running".into(),
        ..up()
    }
}

fn owner(generation: u64, number: u8) -> Owner {
    Owner {
        generation: Generation(generation),
        host: host(),
        guest: guest(number),
        after: None,
    }
}

fn zone(last: u8, ownership: &[Ownership]) -> NameRecords {
    NameRecords {
        addresses: if last == 0 {
            vec![]
        } else {
            vec![IpAddr::from([10, 77, 0, last])]
        },
        ttl: 5,
        cname: None,
        ownership: ownership.iter().map(ToString::to_string).collect(),
        ..NameRecords::default()
    }
}

/// `web` is accessible on g1, g2 is empty, and all agree. With a data volume or without.
fn healthy(data: bool) -> Picture {
    let runs = bundle('a', data);
    let service = ServiceRecord {
        id: web(),
        bundle: runs.digest.clone(),
        guest: guest(1),
        guest_name: "g1".into(),
        host: host(),
        addresses: vec![IpAddr::from([10, 77, 0, 101])],
        wanted: LifeState::Accessible,
        observed: LifeState::Accessible,
        observed_at: 0,
        enablement: Enablement::Enabled,
        dns: Some(DnsEntry {
            name: NAME.parse().unwrap(),
            ttl: 5,
        }),
        generation: Generation(3),
        uid: None,
        frozen: None,
        volume: data.then(|| Volume {
            host: host(),
            path: PATH.into(),
            size: 8192,
            filesystem: FileSystem::Ext4,
        }),
        files: vec![],
    };
    let mut disks = vec![bundle_disk('a')];
    let mut copy = up();
    if data {
        disks.push(volume_disk());
        copy.data = Some(DataState {
            device: true,
            mounted: true,
            filesystem: Some("ext4".into()),
            failed: None,
        });
    }
    let records = zone(101, &[Ownership::Free(owner(3, 1))]);
    Picture {
        own: host(),
        images: BTreeMap::from([((host(), runs.digest.clone()), Ok(Some(4096)))]),
        spent_grants: Vec::new(),
        volumes: if data {
            BTreeMap::from([((host(), web()), Ok(Some(8192)))])
        } else {
            BTreeMap::new()
        },
        services: vec![service],
        bundles: vec![runs, bundle('b', data)],
        handovers: vec![],
        duties: vec![],
        standbys: vec![],
        guests: BTreeMap::from([
            (guest(1), vec![domain(1, &disks)]),
            (guest(2), vec![domain(2, &[])]),
        ]),
        silent_hosts: BTreeSet::new(),
        unreadable: BTreeMap::new(),
        copies: BTreeMap::from([((web(), guest(1)), Asked::Seen(Box::new(copy)))]),
        names: BTreeMap::from([(NAME.parse().unwrap(), Ok(records))]),
    }
}

fn set_copy(picture: &mut Picture, number: u8, copy: CopyState) {
    picture
        .copies
        .insert((web(), guest(number)), Asked::Seen(Box::new(copy)));
}

fn g(picture: &mut Picture, number: u8) -> &mut GuestDomain {
    &mut picture.guests.get_mut(&guest(number)).unwrap()[0]
}

fn live(picture: &mut Picture, number: u8) -> &mut Vec<DomainDisk> {
    &mut g(picture, number).live.as_mut().unwrap().disks
}

fn config(picture: &mut Picture, number: u8) -> &mut Vec<DomainDisk> {
    &mut g(picture, number).config.as_mut().unwrap().disks
}

fn records(picture: &mut Picture, records: NameRecords) {
    picture.names.insert(NAME.parse().unwrap(), Ok(records));
}

fn duty(picture: &mut Picture, number: u8) {
    picture.duties.push(Duty {
        service: web(),
        guest: guest(number),
        digest: "a".repeat(64).parse().unwrap(),
        generation: Generation(3),
        serve_until: 0,
        files: vec![],
    });
}

/// A job is moving `web` from g1 to g2.
fn moving(picture: &mut Picture, life: LifeState) {
    let place = |number: u8| Place {
        guest: guest(number),
        guest_name: format!("g{number}"),
        host: host(),
        digest: "a".repeat(64).parse().unwrap(),
        files: vec![],
    };
    picture.handovers.push(Handover {
        id: HandoverId(guest(9).0),
        job: JobId(1),
        kind: HandoverKind::Move,
        service: web(),
        source: Some(place(1)),
        target: place(2),
        generation: Generation(4),
        state: State::first(HandoverKind::Move),
        committed: false,
        reason: None,
        facts: facts(life, true),
    });
}

fn turn_off(picture: &mut Picture, number: u8) {
    let domain = g(picture, number);
    domain.live = None;
    domain.summary.state = DomainState::Shutoff;
    domain.summary.agent_connected = false;
    picture.copies.insert((web(), guest(number)), Asked::Off);
}

/// What was found: kind, who does something about it, and what.
fn told(picture: &Picture) -> Vec<String> {
    findings(picture)
        .iter()
        .map(|finding| {
            let repair = finding.remedy.repair().map_or("", Repair::as_str);
            let words = [finding.kind.as_str(), finding.remedy.as_str(), repair];
            words.join(" ").trim_end().to_owned()
        })
        .collect()
}

/// What happens to a healthy picture: its name, whether `web` has a data volume, the change, and what is found then.
type Case = (&'static str, bool, fn(&mut Picture), &'static [&'static str]);

#[track_caller]
fn check(cases: &[Case]) {
    for (name, data, change, expected) in cases {
        let mut picture = healthy(*data);
        change(&mut picture);
        assert_eq!(told(&picture), *expected, "{name}");
    }
}
