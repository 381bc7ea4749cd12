//! A table rebuilt from made-up evidence.

mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::*;
use crate::model::disk::DiskSerial;
use crate::model::guest::{Definition, DomainDisk, DomainState, GuestSummary, UnitState};
use crate::model::ids::{GuestId, HandoverId};
use crate::model::manifest::{DnsEntry, EnvironmentFile, Manifest, UnitFile};
use crate::model::volume::{DataSpec, FileSystem};

const NAME: &str = "web.svc.lab";
const PATH: &str = "/pool/web.data.raw";

fn guest(number: u8) -> GuestId {
    format!("6f1d5a2e-0000-4000-8000-00000000000{number}")
        .parse()
        .unwrap()
}

fn web() -> ServiceId {
    "web".parse().unwrap()
}

fn digest(digit: char) -> Digest {
    digit.to_string().repeat(64).parse().unwrap()
}

fn bundle(digit: char) -> BundleRecord {
    BundleRecord {
        digest: digest(digit),
        size: 4096,
        manifest: Manifest {
            service: web(),
            version: "1".into(),
            units: vec!["web.service".parse().unwrap()],
            check: None,
            dns: Some(DnsEntry {
                name: NAME.parse().unwrap(),
                ttl: 5,
            }),
            user: None,
            config: vec![],
            secrets: vec![],
            ports: vec![],
            data: None,
            needs: crate::model::needs::Needs::default(),
            srv: Vec::new(),
            overlap: true,
            movable: true,
        },
        units: vec![UnitFile {
            name: "web.service".parse().unwrap(),
            text: "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n".into(),
        }],
        registered: 9,
    }
}

fn disk(serial: &DiskSerial, source: &str) -> DomainDisk {
    DomainDisk {
        target: "sda".into(),
        bus: "scsi".into(),
        serial: Some(serial.as_str().into()),
        source: Some(source.into()),
        scsi: None,
    }
}

fn bundle_disk(digit: char) -> DomainDisk {
    disk(&DiskSerial::of(&web(), &digest(digit)), "/pool/x.img")
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
            host: "hv1".parse().unwrap(),
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

fn copy(active: &str, links: u32) -> CopyState {
    CopyState {
        units: vec![UnitState {
            unit: "web.service".into(),
            load: "loaded".into(),
            active: active.into(),
            sub: String::new(),
            result: String::new(),
        }],
        installed: true,
        links,
        enablement: if links > 0 {
            Enablement::Enabled
        } else {
            Enablement::Disabled
        },
        uid: Some(998),
        ..CopyState::default()
    }
}

fn owner(generation: u64, number: u8) -> Owner {
    Owner {
        generation: Generation(generation),
        host: "hv1".parse().unwrap(),
        guest: guest(number),
        after: None,
    }
}

fn zone(ownership: &[Ownership]) -> NameRecords {
    NameRecords {
        addresses: vec![IpAddr::from([10, 77, 0, 101])],
        ttl: 5,
        cname: None,
        ownership: ownership.iter().map(ToString::to_string).collect(),
        ..NameRecords::default()
    }
}

fn see(evidence: &mut Evidence, number: u8, digit: char, copy: CopyState) {
    evidence.copies.insert(
        (web(), guest(number), digest(digit)),
        CopySeen::Seen(Box::new(copy), Ok(vec![])),
    );
}

/// `web` runs on g1 at generation 3, and all say so.
fn whole() -> Evidence {
    let mut evidence = Evidence {
        own: "hv1".parse().unwrap(),
        now: 1_795_543_199_000,
        bundles: vec![bundle('a'), bundle('b')],
        bad_images: vec![],
        silent_hosts: BTreeMap::new(),
        guests: vec![domain(1, &[bundle_disk('a')]), domain(2, &[])],
        names: BTreeMap::from([(NAME.parse().unwrap(), Ok(zone(&[Ownership::Free(owner(3, 1))])))]),
        copies: BTreeMap::new(),
        addresses: BTreeMap::new(),
        grants: vec![],
        volumes: BTreeMap::new(),
    };
    see(&mut evidence, 1, 'a', copy("active", 1));
    evidence
}

fn with_volume(evidence: &mut Evidence, source: &str) {
    for bundle in &mut evidence.bundles {
        bundle.manifest.data = Some(DataSpec {
            size: 8192,
            filesystem: FileSystem::Xfs,
            mount_point: "/srv/web".into(),
        });
    }
    evidence.guests[0] = domain(
        1,
        &[bundle_disk('a'), disk(&DiskSerial::of_volume(&web()), source)],
    );
    evidence
        .volumes
        .insert(("hv1".parse().unwrap(), web()), (PATH.into(), 8192));
}

fn with_secret(evidence: &mut Evidence) {
    for bundle in &mut evidence.bundles {
        bundle.manifest.secrets = vec![EnvironmentFile {
            name: "key".into(),
            path: "/etc/web/key".into(),
            mode: 0o600,
            owner: "web".into(),
            group: "web".into(),
        }];
    }
}

/// The one service that was found.
fn told(evidence: &Evidence) -> Told {
    let mut rebuilt = rebuild(evidence);
    assert_eq!(rebuilt.services.len(), 1);
    rebuilt.services.remove(0)
}

#[test]
fn a_service_of_which_all_agree_is_recovered_whole() {
    let rebuilt = rebuild(&whole());
    let told = &rebuilt.services[0];
    let row = told.row.as_ref().unwrap();
    assert_eq!((told.uncertain.len(), told.left_out.len()), (0, 0), "{told:?}");
    assert_eq!(
        (&row.id, &row.bundle, row.guest),
        (&web(), &digest('a'), guest(1))
    );
    assert_eq!((row.guest_name.as_str(), row.host.as_str()), ("g1", "hv1"));
    assert_eq!(row.addresses, [IpAddr::from([10, 77, 0, 101])]);
    assert_eq!(
        (row.wanted, row.enablement),
        (LifeState::Accessible, Enablement::Enabled)
    );
    assert_eq!((row.generation, row.uid), (Generation(3), Some(998)));
    assert_eq!(
        rebuilt.bundles.len(),
        2,
        "bundles that nothing runs stay registered"
    );
    assert!(
        rebuilt.attempts_from > 1_700_000_000_000,
        "beyond what any guest has seen"
    );
}

#[test]
fn a_bundle_without_a_guest_is_no_service() {
    let mut evidence = whole();
    evidence.guests = vec![domain(1, &[])];
    assert!(rebuild(&evidence).services.is_empty());
}

#[test]
fn the_guest_says_what_life_and_enablement_were_wanted() {
    let masked = CopyState {
        enablement: Enablement::Masked,
        ..copy("active", 0)
    };
    let cases = [
        (copy("active", 1), LifeState::Accessible, Enablement::Enabled),
        (copy("active", 0), LifeState::Accessible, Enablement::Disabled),
        (copy("inactive", 0), LifeState::Stopped, Enablement::Enabled),
        (copy("inactive", 1), LifeState::Accessible, Enablement::Enabled),
        (masked, LifeState::Accessible, Enablement::Masked),
    ];
    for (seen, wanted, enablement) in cases {
        let mut evidence = whole();
        see(&mut evidence, 1, 'a', seen.clone());
        let row = told(&evidence).row.unwrap();
        assert_eq!((row.wanted, row.enablement), (wanted, enablement), "{seen:?}");
    }
}

#[test]
fn a_grant_says_the_generation_of_a_service_without_a_name() {
    let mut evidence = whole();
    for bundle in &mut evidence.bundles {
        bundle.manifest.dns = None;
    }
    let grant = crate::model::grant::Grant {
        service: web(),
        guest: guest(1),
        generation: Generation(7),
    };
    let path = format!("/pool/{}", grant.file_name());
    evidence.guests[0] = domain(
        1,
        &[DomainDisk {
            source: Some(path.clone()),
            ..bundle_disk('a')
        }],
    );
    evidence.grants.push(crate::model::grant::GrantFile {
        grant,
        host: "hv1".parse().unwrap(),
        path,
    });
    let told = told(&evidence);
    assert_eq!(told.row.unwrap().generation, Generation(7));
    assert_eq!(told.uncertain, Vec::<String>::new());
}

#[test]
fn of_two_bundles_the_guest_has_the_units_of_the_one_that_it_runs() {
    let mut evidence = whole();
    evidence.guests[0] = domain(1, &[bundle_disk('a'), bundle_disk('b')]);
    let without_units = CopyState {
        installed: false,
        ..copy("inactive", 0)
    };
    see(&mut evidence, 1, 'a', without_units);
    see(&mut evidence, 1, 'b', copy("active", 1));
    assert_eq!(told(&evidence).row.unwrap().bundle, digest('b'));
}

#[test]
fn a_volume_and_files_that_were_read_back_are_recovered() {
    let mut evidence = whole();
    with_volume(&mut evidence, PATH);
    with_secret(&mut evidence);
    let key = PlacedFile {
        path: "/etc/web/key".into(),
        content: b"k".to_vec(),
        mode: 0o600,
        owner: "web".into(),
        group: "web".into(),
    };
    let seen = CopySeen::Seen(Box::new(copy("active", 1)), Ok(vec![key.clone()]));
    evidence.copies.insert((web(), guest(1), digest('a')), seen);
    let row = told(&evidence).row.unwrap();
    let volume = row.volume.unwrap();
    assert_eq!(
        (volume.path.as_str(), volume.size, volume.filesystem),
        (PATH, 8192, FileSystem::Xfs)
    );
    assert_eq!(row.files, [key]);
}

#[test]
fn nothing_may_be_written_while_a_host_is_silent() {
    let mut evidence = whole();
    assert_eq!(obstacle(&evidence), None);
    evidence
        .silent_hosts
        .insert("hv2".parse().unwrap(), "timeout".into());
    let why = obstacle(&evidence).unwrap();
    assert!(why.starts_with("host hv2 does not answer (timeout)"), "{why}");
}

#[test]
fn what_no_bundle_explains_is_noted() {
    let mut evidence = whole();
    evidence.guests[1] = domain(
        2,
        &[DomainDisk {
            serial: Some("ho0123456789abcdef01".into()),
            ..bundle_disk('a')
        }],
    );
    evidence
        .silent_hosts
        .insert("hv2".parse().unwrap(), "timeout".into());
    let notes = rebuild(&evidence).notes;
    let parts: BTreeSet<&str> = [
        "host hv2 does not answer",
        "serial ho0123456789abcdef01",
        "jobs, their journals",
    ]
    .into();
    for part in parts {
        assert!(notes.iter().any(|note| note.contains(part)), "{part}: {notes:?}");
    }
    assert!(
        !notes.iter().any(|note| note.contains("g1 has a disk")),
        "{notes:?}"
    );
}
