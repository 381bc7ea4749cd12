//! The whole simulated world as plain state: what is true, not what a daemon believes.
//!
//! No clock, no randomness, ordered maps only, so that a world can be cloned, compared and hashed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::gauges::SimGauge;
use super::happening::Happening;
use super::part::Part;
use super::table::SimTable;
use super::zone::SimZone;
use crate::model::disk::{DiskRole, GuestDisk, ScsiAddress};
use crate::model::ids::{Attempt, Digest, GuestId, HostId, ServiceId};
use crate::model::lifecycle::ShutoffReason;
use crate::model::name::{DnsName, NameChange};
use crate::model::needs::Label;
use crate::model::placement::{PlacedFile, Placement};
use crate::model::service::Millis;
use crate::model::volume::FileSystem;
use crate::ports::Swapped;

/// Rules that stand outside the daemon and hold in the real world; a model checker switches them off one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WorldRules {
    /// Units are bound to the data mount too: no volume, no service (model rule `databound`).
    pub bound_to_data: bool,
    /// A guest refuses a script with a lower attempt number than it has seen (`attempt`).
    pub attempts: bool,
    /// libvirt is asked on every host, by UUID (`byuuid`); else only the host where the guest was first is.
    pub by_uuid: bool,
    /// QEMU's image lock keeps a second guest from a volume.
    pub image_lock: bool,
}

impl Default for WorldRules {
    fn default() -> Self {
        Self {
            bound_to_data: true,
            attempts: true,
            by_uuid: true,
            image_lock: true,
        }
    }
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SimWorld {
    /// Now, in milliseconds since 1970.
    pub now: Millis,
    /// The hosts.
    pub hosts: Part<BTreeMap<HostId, SimHost>>,
    /// The guests.
    pub guests: BTreeMap<GuestId, Part<SimGuest>>,
    /// Files of grants, by path, with the bundle that each stands on; every host sees them.
    pub grants: BTreeMap<String, Digest>,
    /// Data volumes, by path; every host sees them.
    pub volumes: BTreeMap<String, SimVolume>,
    /// The zone and what resolvers may still believe.
    pub zone: Part<SimZone>,
    /// The service table of each daemon, by its own host.
    pub tables: BTreeMap<HostId, Part<SimTable>>,
    /// How many writes to each volume were acknowledged as synced.
    pub acknowledged: BTreeMap<String, u64>,
    /// What will happen, by time and order.
    pub agenda: BTreeMap<(Millis, u64), Happening>,
    /// The number of the next entry of the agenda.
    pub next_entry: u64,
    /// Late messages that changed something though their handover had ended: each a breach of invariant 6.
    pub late_effects: Vec<String>,
    /// Names that were claimed by a message which arrived after their service had been removed.
    pub claimed_late: BTreeSet<DnsName>,
    /// Which rules of the outside hold.
    pub rules: WorldRules,
}

/// A hypervisor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SimHost {
    /// Whether its libvirtd answers.
    pub answers: bool,
    /// Bundle images in its pool, with their sizes in bytes.
    pub images: BTreeMap<Digest, u64>,
}

/// A data volume.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SimVolume {
    /// The service.
    pub service: ServiceId,
    /// Bytes.
    pub size: u64,
    /// Its file system.
    pub filesystem: Option<FileSystem>,
    /// How many writes were fsynced to it: one whenever its service starts.
    pub synced: u64,
}

/// Whether and how a guest runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Power {
    /// No QEMU process.
    Off,
    /// QEMU runs; the kernel does not answer yet, and ignores an unplug.
    Booting,
    /// systemd has started what is to start.
    Up,
    /// A managed-save image waits; nothing runs.
    Asleep,
}

/// A guest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SimGuest {
    /// libvirt's name.
    pub name: String,
    /// Its addresses, sorted.
    pub addresses: Vec<IpAddr>,
    /// Whether it runs.
    pub power: Power,
    /// Why it is off, where it is.
    pub off: ShutoffReason,
    /// How often it was booted: a message of an earlier boot is lost.
    pub boots: u64,
    /// Whether its agent answers.
    pub agent_speaks: bool,
    /// Its systemd's version.
    pub systemd: u32,
    /// What it has, and what of that is used by others than services.
    pub gauge: SimGauge,
    /// Where it is active, or was last.
    pub host: HostId,
    /// Where it was when the world began: what a daemon that does not ask by UUID believes.
    pub first_host: HostId,
    /// What runs, or what is in the managed-save image.
    pub live: SimDefinition,
    /// The persistent definition on each host that has one.
    pub configs: BTreeMap<HostId, SimDefinition>,
    /// An old XML that somebody kept in a file.
    pub old_xml: SimDefinition,
    /// Disks of the persistent definition that somebody else gave, took or moved, until the daemon does either again.
    pub touched: BTreeSet<String>,
    /// Such disks that it was booted with, until the daemon takes them.
    pub booted_with: BTreeSet<String>,
    /// The daemon that controls it.
    pub controller: Option<String>,
    /// The labels in its metadata.
    pub labels: Vec<Label>,
    /// What is inside, by service.
    pub copies: BTreeMap<ServiceId, SimCopy>,
}

/// The disks of a definition, by serial.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SimDefinition {
    /// The disks.
    pub disks: BTreeMap<String, SimDisk>,
}

/// A disk of a definition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SimDisk {
    /// What it is.
    pub role: DiskRole,
    /// `<source>`.
    pub source: String,
    /// The volume that a snapshot's overlay at `source` stands on.
    pub base: String,
    /// `<target dev>`.
    pub target: String,
    /// Where it sits.
    pub address: ScsiAddress,
}

impl SimDisk {
    /// A disk as it is given.
    pub fn of(disk: &GuestDisk) -> Self {
        Self {
            role: disk.role,
            source: disk.source.clone(),
            base: disk.source.clone(),
            target: disk.target.clone(),
            address: disk.address,
        }
    }
}

/// The unit files of a copy, as they are on the guest's disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SimUnits {
    /// The bundle that they are of.
    pub digest: Digest,
    /// The bundle disk's serial.
    pub serial: String,
    /// The data volume's serial.
    pub data: Option<String>,
    /// Unit names that are started.
    pub names: Vec<String>,
    /// Config and secrets.
    pub files: Vec<PlacedFile>,
}

impl SimUnits {
    /// The unit files that an install of this placement writes.
    pub fn of(placement: &Placement) -> Self {
        Self {
            digest: placement.digest.clone(),
            serial: placement.serial.as_str().to_owned(),
            data: placement.data.as_ref().map(|d| d.serial.as_str().to_owned()),
            names: placement.units.iter().map(ToString::to_string).collect(),
            files: placement.files.clone(),
        }
    }
}

/// One service inside a guest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SimCopy {
    /// Its unit files; survive a boot.
    pub units: Option<SimUnits>,
    /// The serial whose device wants the units; survives a boot.
    pub linked: Option<String>,
    /// Masked by an operator; survives a boot.
    pub masked: bool,
    /// The bundle disk that is mounted.
    pub mounted: Option<String>,
    /// Whether the data volume is mounted.
    pub data_mounted: bool,
    /// Whether its units are active.
    pub running: bool,
    /// Whether they have been active since the guest booted.
    pub was_up: bool,
    /// Whether its units have failed.
    pub failed: bool,
    /// Whether its check passes while it runs.
    pub healthy: bool,
    /// A start that the bundle disk's arrival began waits for the data volume until then.
    pub waits_until: Option<Millis>,
    /// It is down because the guest booted and nothing wants it: an operator disabled it.
    pub down_since_boot: bool,
    /// The highest attempt number seen since the boot.
    pub attempt: Attempt,
}

impl SimGuest {
    /// A guest without services that is up on a host.
    pub fn new(name: &str, address: IpAddr, host: &HostId) -> Self {
        Self {
            name: name.to_owned(),
            addresses: vec![address],
            power: Power::Up,
            off: ShutoffReason::Unknown,
            boots: 1,
            agent_speaks: true,
            systemd: 252,
            gauge: SimGauge::default(),
            host: host.clone(),
            first_host: host.clone(),
            live: SimDefinition::default(),
            configs: [(host.clone(), SimDefinition::default())].into(),
            old_xml: SimDefinition::default(),
            touched: BTreeSet::new(),
            booted_with: BTreeSet::new(),
            controller: None,
            labels: Vec::new(),
            copies: BTreeMap::new(),
        }
    }

    /// Whether a QEMU process runs it.
    pub fn is_active(&self) -> bool {
        matches!(self.power, Power::Booting | Power::Up)
    }

    /// Whether a copy of the service answers clients here now.
    pub fn serves(&self, service: &ServiceId) -> bool {
        self.power == Power::Up && self.copies.get(service).is_some_and(|copy| copy.running)
    }
}

impl SimWorld {
    /// When every simulated world begins: 2026-01-01 UTC.
    pub const BEGINNING: Millis = 1_767_225_600_000;

    /// A world with these hosts and no guest, and a daemon on `own`.
    pub fn empty(hosts: &[HostId], own: &HostId) -> Self {
        let host = SimHost {
            answers: true,
            images: BTreeMap::new(),
        };
        Self {
            now: Self::BEGINNING,
            hosts: hosts
                .iter()
                .map(|id| (id.clone(), host.clone()))
                .collect::<BTreeMap<_, _>>()
                .into(),
            guests: BTreeMap::new(),
            grants: BTreeMap::new(),
            volumes: BTreeMap::new(),
            zone: Part::default(),
            tables: [(own.clone(), Part::default())].into(),
            acknowledged: BTreeMap::new(),
            agenda: BTreeMap::new(),
            next_entry: 0,
            late_effects: Vec::new(),
            claimed_late: BTreeSet::new(),
            rules: WorldRules::default(),
        }
    }

    /// A world with hosts `hv1` and `hv2`, a daemon on `hv1`, and this many guests `g1`… on `hv1`, all up.
    ///
    /// # Errors
    /// A number of guests beyond 200, which would leave the network.
    pub fn new(guests: u8) -> Result<Self, crate::model::ids::InvalidId> {
        let hosts: [HostId; 2] = ["hv1".parse()?, "hv2".parse()?];
        let mut world = Self::empty(&hosts, &hosts[0]);
        for number in 1..=guests.min(200) {
            let address = IpAddr::V4(Ipv4Addr::new(10, 77, 0, number));
            let mut guest = SimGuest::new(&format!("g{number}"), address, &hosts[0]);
            let second = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, number.into());
            guest.addresses.push(IpAddr::V6(second));
            world.guests.insert(Self::guest_id(number), guest.into());
        }
        Ok(world)
    }

    /// The same world, beginning at this time instead of its own: what is to happen is as far away as it was.
    #[must_use]
    pub fn beginning_at(mut self, now: Millis) -> Self {
        let (from, agenda) = (self.now, std::mem::take(&mut self.agenda));
        let move_on = |at: Millis| now.saturating_add(at.saturating_sub(from));
        self.agenda = agenda
            .into_iter()
            .map(|((at, number), what)| ((move_on(at), number), what))
            .collect();
        for until in self.zone.cached.values_mut() {
            *until = move_on(*until);
        }
        for table in self.tables.values_mut() {
            for bundle in table.bundles.values_mut() {
                bundle.registered = now;
            }
            for service in table.services.values_mut() {
                service.observed_at = now;
            }
        }
        self.now = now;
        self
    }

    /// The identity of guest `g<number>`.
    pub fn guest_id(number: u8) -> GuestId {
        GuestId(uuid::Uuid::from_u128(
            0x6f1d_5a2e_0000_4000_8000_0000_0000_0000 + u128::from(number),
        ))
    }

    /// Applies one UPDATE. An address that it takes away counts as believed for its TTL only if something answered there.
    pub fn update(&mut self, change: &NameChange) -> Swapped {
        let old = self.zone.read(&change.name).addresses;
        let swapped = self.zone.swap(change, self.now);
        self.forget_dead(old.into_iter().map(|address| (change.name.clone(), address)));
        if swapped == Swapped::Yes {
            for index in 0..self.zone.secondaries.len() {
                let lag = self.zone.secondaries[index].lag;
                self.schedule(lag, Happening::Transferred(index));
            }
        }
        swapped
    }

    /// One of the zone's other servers has what its primary has.
    pub(super) fn transferred(&mut self, index: usize) {
        let gone = self.zone.transfer(index, self.now);
        self.forget_dead(gone.into_iter());
    }

    /// Addresses at which nothing answered when they went do not count as believed.
    fn forget_dead(&mut self, gone: impl Iterator<Item = (DnsName, IpAddr)>) {
        for (name, address) in gone {
            let found = self.guest_at(address).map(|(_, guest)| guest);
            let served =
                found.is_some_and(|g| g.power == Power::Up && g.copies.values().any(|copy| copy.running));
            if !served {
                self.zone.cached.remove(&(name, address));
            }
        }
    }

    /// The guest at an address.
    pub fn guest_at(&self, address: IpAddr) -> Option<(&GuestId, &SimGuest)> {
        let mut guests = self.guests.iter().map(|(id, guest)| (id, &**guest));
        guests.find(|(_, guest)| guest.addresses.contains(&address))
    }

    /// Enters something that will happen `after` milliseconds from now.
    pub fn schedule(&mut self, after: Millis, happening: Happening) {
        let key = (self.now.saturating_add(after), self.next_entry);
        self.next_entry = self.next_entry.saturating_add(1);
        self.agenda.insert(key, happening);
    }

    /// The active guest other than `not` that has the volume open.
    pub fn opener(&self, base: &str, not: GuestId) -> Option<GuestId> {
        self.guests
            .iter()
            .filter(|(id, guest)| **id != not && guest.is_active())
            .find(|(_, guest)| {
                let mut disks = guest.live.disks.values();
                disks.any(|disk| disk.role == DiskRole::Volume && disk.base == base)
            })
            .map(|(id, _)| *id)
    }
}
