//! Audits and recovery against ports that are made up, with a real table and real bundle images.

#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod auditing;
mod cluster;
mod recovering;

use std::net::IpAddr;

use cluster::{Cluster, Place, copy, guest, host, running};
use handoverd::adapters::sqlite::SqliteTable;
use handoverd::adapters::sqlite::anew::{Contents, Vacant};
use handoverd::bundle::build_at;
use handoverd::model::disk::DiskSerial;
use handoverd::model::grant::Grant;
use handoverd::model::guest::DomainDisk;
use handoverd::model::ids::{Generation, ServiceId};
use handoverd::model::life::{Enablement, LifeState};
use handoverd::model::name::{NameRecords, Owner, Ownership};
use handoverd::model::placement::{PlacedFile, Placement};
use handoverd::model::service::{BundleRecord, ServiceRecord};

const NAME: &str = "web.svc.lab";
const KEY: &str = "/etc/web/key";

fn web() -> ServiceId {
    "web".parse().unwrap()
}

fn address() -> IpAddr {
    IpAddr::from([10, 77, 0, 101])
}

/// A bundle image of `web` and its record.
fn bundle() -> (BundleRecord, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("web");
    std::fs::create_dir_all(dir.join("units")).unwrap();
    let manifest = format!(
        "service = \"web\"\nversion = \"1\"\nunits = [\"web.service\"]\n[dns]\nname = \"{NAME}\"\nttl = 5\n\
         [[secrets]]\nname = \"key\"\npath = \"{KEY}\"\n"
    );
    std::fs::write(dir.join("handover.toml"), manifest).unwrap();
    let unit = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";
    std::fs::write(dir.join("units/web.service"), unit).unwrap();
    let out = folder.path().join("web.img");
    let built = build_at(&dir, &out, 0).unwrap().bundle;
    let record = BundleRecord {
        digest: built.digest,
        size: built.size,
        manifest: built.manifest,
        units: built.units,
        registered: 1,
    };
    (record, std::fs::read(out).unwrap())
}

fn secret(bundle: &BundleRecord) -> PlacedFile {
    let wanted = &bundle.manifest.secrets[0];
    PlacedFile {
        path: wanted.path.clone(),
        content: b"correct horse".to_vec(),
        mode: wanted.mode,
        owner: wanted.owner.clone(),
        group: wanted.group.clone(),
    }
}

/// `web` as it is accessible on g1 at generation 3.
fn row(bundle: &BundleRecord) -> ServiceRecord {
    ServiceRecord {
        id: web(),
        bundle: bundle.digest.clone(),
        guest: guest(1),
        guest_name: "g1".into(),
        host: host(),
        addresses: vec![address()],
        wanted: LifeState::Accessible,
        observed: LifeState::Accessible,
        observed_at: 1,
        enablement: Enablement::Enabled,
        dns: bundle.manifest.dns.clone(),
        generation: Generation(3),
        uid: None,
        frozen: None,
        volume: None,
        files: vec![secret(bundle)],
    }
}

/// The grant by which a guest has the bundle at generation 3.
fn grant(number: u8) -> Grant {
    Grant {
        service: web(),
        guest: guest(number),
        generation: Generation(3),
    }
}

/// The disk of the bundle, as a guest has it by its grant.
fn disk(bundle: &BundleRecord, number: u8) -> DomainDisk {
    DomainDisk {
        target: "sda".into(),
        bus: "scsi".into(),
        serial: Some(DiskSerial::of(&web(), &bundle.digest).as_str().into()),
        source: Some(cluster::path_of(&grant(number))),
        scsi: Some(handoverd::model::disk::ScsiAddress {
            controller: 0,
            unit: 0,
        }),
    }
}

/// A cluster in which all agree that `web` is on g1, beside an empty g2; and the place of a table that says so.
struct Healthy {
    cluster: Cluster,
    place: Place,
    bundle: BundleRecord,
    placement: Placement,
}

impl Healthy {
    fn new() -> Self {
        let (bundle, image) = bundle();
        let placement = Placement::of(&bundle, &[secret(&bundle)]);
        let cluster = Cluster::default();
        {
            let mut state = cluster.state();
            let mut home = running(1);
            for definition in [&mut home.live, &mut home.config] {
                definition.as_mut().unwrap().disks.push(disk(&bundle, 1));
            }
            state.grants.insert(grant(1));
            state.guests.insert(guest(1), home);
            state.guests.insert(guest(2), running(2));
            state.images.insert(bundle.digest.clone(), image);
            state.copies.insert((web(), guest(1)), copy(&placement, "active"));
            state
                .files
                .insert((guest(1), KEY.into()), secret(&bundle).content);
            let owner = Ownership::Free(Owner {
                generation: Generation(3),
                host: host(),
                guest: guest(1),
                after: None,
            });
            let records = NameRecords {
                addresses: vec![address()],
                ttl: 5,
                cname: None,
                ownership: vec![owner.to_string()],
                ..NameRecords::default()
            };
            state.names.insert(NAME.parse().unwrap(), records);
        }
        let place = Place::new();
        let service = row(&bundle);
        let contents = Contents {
            bundles: std::slice::from_ref(&bundle),
            services: &[&service],
            attempts: &[],
        };
        Vacant::take(&place.path).unwrap().write(contents).unwrap();
        Self {
            cluster,
            place,
            bundle,
            placement,
        }
    }

    fn table(&self) -> SqliteTable {
        SqliteTable::open(&self.place.path).unwrap()
    }
}
