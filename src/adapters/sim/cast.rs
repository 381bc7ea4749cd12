//! Worlds to begin with: one service on guest `g1`, as it would be after a deploy.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::ports::{grant_path, volume_path};
use super::world::{SimDisk, SimUnits, SimVolume, SimWorld};
use super::zone::SimSecondary;
use crate::model::disk::{DiskRole, DiskSerial, GuestDisk, ScsiAddress};
use crate::model::grant::Grant;
use crate::model::ids::{Digest, Generation, GuestId, HostId, InvalidId, ServiceId};
use crate::model::life::{Enablement, LifeState};
use crate::model::manifest::{Check, CheckProbe, DnsEntry, Manifest, UnitFile};
use crate::model::name::{Owner, Ownership, Srv, SrvSet};
use crate::model::needs::Needs;
use crate::model::placement::Placement;
use crate::model::service::{BundleRecord, Millis, ServiceRecord};
use crate::model::volume::{DataSpec, FileSystem, Volume};

/// What the service of a world is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cast {
    /// Its life state.
    pub life: LifeState,
    /// Its enablement.
    pub enablement: Enablement,
    /// Whether it has a data volume.
    pub volume: bool,
    /// Whether two copies may run for a while.
    pub overlap: bool,
    /// Whether it is there at all, or only its bundles.
    pub deployed: bool,
    /// The TTL of its name, in seconds.
    pub ttl: u32,
    /// By how many milliseconds a second server of its zone lags; `None`: there is none.
    pub lag: Option<Millis>,
}

impl Cast {
    /// An enabled service without a volume, in this life state.
    pub const fn of(life: LifeState) -> Self {
        Self {
            life,
            enablement: Enablement::Enabled,
            volume: false,
            overlap: true,
            deployed: true,
            ttl: 5,
            lag: None,
        }
    }

    /// With a data volume.
    pub const fn with_volume(self) -> Self {
        Self { volume: true, ..self }
    }

    /// With a name of this TTL, in seconds.
    pub const fn with_ttl(self, ttl: u32) -> Self {
        Self { ttl, ..self }
    }

    /// In a zone whose second server has each change so many milliseconds later.
    pub const fn with_lag(self, lag: Millis) -> Self {
        Self {
            lag: Some(lag),
            ..self
        }
    }

    /// A bundle of the service: the version is a digit.
    ///
    /// # Errors
    /// A service id that is none.
    pub fn bundle(self, service: &str, version: char) -> Result<BundleRecord, InvalidId> {
        let unit = format!("{service}.service").parse()?;
        let named = !matches!(self.life, LifeState::Running);
        let dns = DnsEntry {
            name: format!("{service}.svc.lab").parse()?,
            ttl: self.ttl,
        };
        let check = Check {
            probe: CheckProbe::Tcp("127.0.0.1".to_owned(), 8080),
            interval: Duration::from_millis(500),
            timeout: Duration::from_secs(20),
            successes: 2,
        };
        let data = DataSpec {
            size: 1 << 20,
            filesystem: FileSystem::Ext4,
            mount_point: format!("/srv/{service}"),
        };
        Ok(BundleRecord {
            digest: Digest::from_sha256(&Sha256::digest(format!("{service} {version}").as_bytes()).into()),
            size: 8192,
            manifest: Manifest {
                service: service.parse()?,
                version: version.to_string(),
                units: vec![unit],
                check: Some(check),
                dns: named.then_some(dns),
                user: None,
                config: Vec::new(),
                secrets: Vec::new(),
                ports: vec![8080],
                data: self.volume.then_some(data),
                needs: Needs::default(),
                srv: if named { srv_of(version)? } else { Vec::new() },
                overlap: self.overlap,
                movable: true,
            },
            units: vec![UnitFile {
                name: format!("{service}.service").parse()?,
                text: "[Service]\nExecStart=/opt/web/run\n[Install]\nWantedBy=multi-user.target\n".to_owned(),
            }],
            registered: SimWorld::BEGINNING,
        })
    }

    /// A world of this many guests with the service `web` on `g1`, and a second bundle of it.
    ///
    /// # Errors
    /// Never with valid names.
    pub fn world(self, guests: u8) -> Result<SimWorld, InvalidId> {
        let mut world = SimWorld::new(guests)?;
        let host: HostId = "hv1".parse()?;
        self.add(&mut world, &host, "web")?;
        if let Some(lag) = self.lag {
            let names = world.zone.names.clone();
            world.zone.secondaries.push(SimSecondary {
                name: "ns2.svc.lab".to_owned(),
                lag,
                answers: true,
                names,
            });
        }
        Ok(world)
    }

    /// Adds a service by this name on `g1`, its row in the table of `own`'s daemon.
    ///
    /// # Errors
    /// A name that is none.
    pub fn add(self, world: &mut SimWorld, own: &HostId, service: &str) -> Result<(), InvalidId> {
        let bundles = [
            self.bundle(service, '1')?,
            self.bundle(service, '2')?,
            self.bundle(service, '3')?,
        ];
        let home = self.deployed.then(|| SimWorld::guest_id(1));
        self.add_on(world, own, home, &bundles);
        Ok(())
    }

    /// Adds a service by its bundles: the first of them on guest `home`, or nowhere.
    pub fn add_on(self, world: &mut SimWorld, own: &HostId, home: Option<GuestId>, bundles: &[BundleRecord]) {
        for bundle in bundles {
            for pool in world.hosts.values_mut() {
                pool.images.insert(bundle.digest.clone(), bundle.size);
            }
            if let Some(table) = world.tables.get_mut(own) {
                table.bundles.insert(bundle.digest.clone(), bundle.clone());
            }
        }
        if let (Some(home), Some(bundle)) = (home, bundles.first()) {
            self.place(world, own, home, bundle);
        }
        for guest in world.guests.values_mut() {
            guest.old_xml = guest.configs.get(&guest.host).cloned().unwrap_or_default();
        }
    }

    fn place(self, world: &mut SimWorld, own: &HostId, home: GuestId, bundle: &BundleRecord) {
        let id: ServiceId = bundle.manifest.service.clone();
        let placement = Placement::of(bundle, &[]);
        let path = volume_path(&id);
        let granted = grant_path(&Grant {
            service: id.clone(),
            guest: home,
            generation: Generation(1),
        });
        let Some(guest) = world.guests.get_mut(&home).map(|guest| &mut **guest) else {
            return;
        };
        let size = bundle.manifest.data.as_ref().map_or(0, |data| data.size);
        let host = guest.host.clone();
        let (name, addresses) = (guest.name.clone(), guest.addresses.clone());
        let first = u32::try_from(guest.live.disks.len()).unwrap_or(0);
        let mut disks = vec![(DiskRole::Bundle, placement.serial.clone(), granted.clone())];
        world.grants.insert(granted, bundle.digest.clone());
        if self.volume {
            disks.push((DiskRole::Volume, DiskSerial::of_volume(&id), path.clone()));
            world.volumes.insert(
                path.clone(),
                SimVolume {
                    service: id.clone(),
                    size,
                    filesystem: Some(FileSystem::Ext4),
                    synced: 1,
                },
            );
            world.acknowledged.insert(path.clone(), 1);
        }
        for (unit, (role, serial, source)) in (first..).zip(disks) {
            let disk = SimDisk::of(&GuestDisk {
                role,
                serial: serial.clone(),
                source,
                target: format!("sd{}", char::from_u32(97 + unit).unwrap_or('z')),
                address: ScsiAddress { controller: 0, unit },
            });
            guest.live.disks.insert(serial.as_str().to_owned(), disk.clone());
            if let Some(config) = guest.configs.get_mut(&guest.host) {
                config.disks.insert(serial.as_str().to_owned(), disk);
            }
        }
        let (up, wants) = (self.life.wants_running(), self.life != LifeState::Stopped);
        guest.controller = Some(own.as_str().to_owned());
        let copy = guest.copies.entry(id.clone()).or_default();
        copy.units = Some(SimUnits::of(&placement));
        copy.linked =
            (wants && self.enablement == Enablement::Enabled).then(|| placement.serial.as_str().to_owned());
        copy.masked = self.enablement == Enablement::Masked;
        copy.running = up;
        copy.was_up = up;
        copy.failed = self.life == LifeState::Failed;
        copy.healthy = true;
        copy.mounted = up.then(|| placement.serial.as_str().to_owned());
        copy.data_mounted = up && self.volume;
        let wanted = match self.life {
            LifeState::Failed => LifeState::Accessible,
            life => life,
        };
        let generation = Generation(1);
        if let Some(dns) = &bundle.manifest.dns {
            let records = world.zone.names.entry(dns.name.clone()).or_default();
            records.addresses.clone_from(&addresses);
            records.ttl = dns.ttl;
            records.srv.clone_from(&bundle.manifest.srv);
            let owner = Owner {
                generation,
                host: host.clone(),
                guest: home,
                after: None,
            };
            records.ownership = vec![Ownership::Free(owner).to_string()];
        }
        let row = ServiceRecord {
            id: id.clone(),
            bundle: bundle.digest.clone(),
            guest: home,
            guest_name: name,
            host: host.clone(),
            addresses,
            wanted,
            observed: self.life,
            observed_at: world.now,
            enablement: self.enablement,
            dns: bundle.manifest.dns.clone(),
            generation,
            uid: None,
            frozen: None,
            volume: self.volume.then(|| Volume {
                host: host.clone(),
                path,
                size,
                filesystem: FileSystem::Ext4,
            }),
            files: Vec::new(),
        };
        if let Some(table) = world.tables.get_mut(own) {
            table.services.insert(id, row);
        }
    }
}

/// Each version tells of its port at one label that both have, and at one of its own.
fn srv_of(version: char) -> Result<Vec<SrvSet>, InvalidId> {
    let port = if version == '1' { 8080 } else { 8081 };
    let own = if version == '1' {
        "_admin._tcp"
    } else {
        "_metrics._tcp"
    };
    let set = |label: &str| {
        Ok(SrvSet {
            label: label.parse()?,
            records: vec![Srv {
                priority: 0,
                weight: 0,
                port,
            }],
        })
    };
    // Sorted by label, as the zone gives them.
    let mut sets = vec![set("_http._tcp")?, set(own)?];
    sets.sort_by(|a: &SrvSet, b| a.label.cmp(&b.label));
    Ok(sets)
}
