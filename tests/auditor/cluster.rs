//! A small cluster behind the ports: guests that keep what they are given, a zone, a pool; and a real table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use handoverd::adapters::sqlite::SqliteTable;
use handoverd::handover::world::{Limits, World};
use handoverd::model::disk::{DiskSerial, GuestDisk};
use handoverd::model::grant::{Grant, GrantFile};
use handoverd::model::guest::{
    AgentInfo, CopyState, Definition, DomainDisk, DomainState, GuestDomain, GuestSummary, ProbeReport,
    ScsiController, UnitState,
};
use handoverd::model::ids::{Attempt, Digest, GuestId, HandoverId, HostId, ServiceId};
use handoverd::model::life::Enablement;
use handoverd::model::name::{DnsName, NameChange, NameRecords};
use handoverd::model::placement::Placement;
use handoverd::model::service::Millis;
use handoverd::ports::{
    Authority, Clock, Guest, GuestFiles, GuestStep, Half, Hypervisor, ImagePool, NameServer, PortError,
    Swapped, Tries,
};

pub const NOW: Millis = 1_795_543_199_000;

/// What an owner is marked with that a repair writes.
pub const MARK: HandoverId = HandoverId(uuid::Uuid::from_u128(9));

/// What the cluster is like.
#[derive(Default)]
pub struct State {
    pub guests: BTreeMap<GuestId, GuestDomain>,
    pub copies: BTreeMap<(ServiceId, GuestId), CopyState>,
    pub silent: BTreeSet<GuestId>,
    pub images: BTreeMap<Digest, Vec<u8>>,
    pub volumes: BTreeMap<ServiceId, (String, u64)>,
    pub grants: BTreeSet<Grant>,
    pub names: BTreeMap<DnsName, NameRecords>,
    pub files: BTreeMap<(GuestId, String), Vec<u8>>,
    /// Everything that was done, in order.
    pub deeds: Vec<String>,
}

/// The ports.
#[derive(Clone, Default)]
pub struct Cluster(Arc<Mutex<State>>);

pub fn guest(number: u8) -> GuestId {
    format!("6f1d5a2e-0000-4000-8000-00000000000{number}")
        .parse()
        .unwrap()
}

pub fn host() -> HostId {
    "hv1".parse().unwrap()
}

/// A running guest with a virtio-scsi controller and no disk.
pub fn running(number: u8) -> GuestDomain {
    let definition = Definition {
        disks: vec![],
        scsi_controllers: vec![ScsiController {
            index: 0,
            model: "virtio-scsi".into(),
        }],
        machine: "pc-q35-7.2".into(),
        free_pcie_ports: 1,
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

/// A copy whose units are in this state.
pub fn copy(placement: &Placement, active: &str) -> CopyState {
    let unit = |name: &handoverd::model::unit::UnitName| UnitState {
        unit: name.to_string(),
        load: "loaded".into(),
        active: active.into(),
        sub: "x".into(),
        result: String::new(),
    };
    CopyState {
        units: placement.units.iter().map(unit).collect(),
        device: true,
        mounted: active == "active",
        installed: true,
        links: u32::try_from(placement.links.len()).unwrap(),
        enablement: Enablement::Enabled,
        was_up: active == "active",
        system: "running".into(),
        ..CopyState::default()
    }
}

impl Cluster {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What was done since it was last asked.
    pub fn deeds(&self) -> Vec<String> {
        std::mem::take(&mut self.state().deeds)
    }

    /// The world of a daemon with this table.
    pub fn world(&self, table: SqliteTable) -> World {
        let ports = Arc::new(self.clone());
        let limits = Limits {
            deadlines: HashMap::new(),
            confirm: Duration::ZERO,
            undo: Duration::from_secs(300),
            silence: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(10),
            drain_margin: Duration::ZERO,
            lower_above: 60,
            lead: true,
            unreachable: Duration::ZERO,
        };
        World::new(
            ports.clone(),
            ports.clone(),
            ports.clone(),
            Arc::new(table),
            ports,
            limits,
            Arc::new(|addresses: &[IpAddr]| addresses.to_vec()),
            host(),
        )
    }
}

/// The file of a grant.
pub fn path_of(grant: &Grant) -> String {
    format!("/pool/{}", grant.file_name())
}

fn file_of(grant: &Grant) -> GrantFile {
    GrantFile {
        grant: grant.clone(),
        host: host(),
        path: path_of(grant),
    }
}

fn half(domain: &mut GuestDomain, half: Half) -> Result<&mut Definition, PortError> {
    let definition = match half {
        Half::Live => domain.live.as_mut(),
        Half::Config => domain.config.as_mut(),
    };
    definition.ok_or_else(|| PortError::refused("there is no such half"))
}

fn no_guest() -> PortError {
    PortError::refused("there is no such guest")
}

#[async_trait]
impl Hypervisor for Cluster {
    fn hosts(&self) -> Vec<HostId> {
        vec![host()]
    }

    async fn guests(&self) -> Vec<Result<GuestSummary, (HostId, PortError)>> {
        self.state()
            .guests
            .values()
            .map(|domain| Ok(domain.summary.clone()))
            .collect()
    }

    async fn inspect(&self, guest: GuestId) -> Result<Option<GuestDomain>, PortError> {
        Ok(self.state().guests.get(&guest).cloned())
    }

    async fn claim_guest(&self, guest: GuestId, own: &HostId) -> Result<(), PortError> {
        let mut state = self.state();
        state.deeds.push(format!("claim {own}"));
        let domain = state.guests.get_mut(&guest).ok_or_else(no_guest)?;
        domain.summary.controller = Some(own.to_string());
        Ok(())
    }

    async fn everywhere(&self, guest: GuestId) -> Result<Vec<GuestDomain>, PortError> {
        Ok(self.state().guests.get(&guest).cloned().into_iter().collect())
    }

    async fn destroy(&self, _guest: GuestId) -> Result<(), PortError> {
        Err(PortError::refused("an audit destroys no guest"))
    }

    async fn give(&self, guest: GuestId, which: Half, disk: &GuestDisk) -> Result<(), PortError> {
        let mut state = self.state();
        state.deeds.push(format!("give {which:?}"));
        let domain = state.guests.get_mut(&guest).ok_or_else(no_guest)?;
        half(domain, which)?.disks.push(DomainDisk {
            target: disk.target.clone(),
            bus: "scsi".into(),
            serial: Some(disk.serial.as_str().into()),
            source: Some(disk.source.clone()),
            scsi: Some(disk.address),
        });
        Ok(())
    }

    async fn take(&self, guest: GuestId, which: Half, serial: &DiskSerial) -> Result<(), PortError> {
        let mut state = self.state();
        state.deeds.push(format!("take {which:?}"));
        let domain = state.guests.get_mut(&guest).ok_or_else(no_guest)?;
        half(domain, which)?
            .disks
            .retain(|disk| disk.serial.as_deref() != Some(serial.as_str()));
        Ok(())
    }

    async fn add_scsi_controller(&self, _: GuestId, _: Half, _: u32) -> Result<(), PortError> {
        Err(PortError::refused("every guest has one"))
    }

    async fn image(&self, _: &HostId, digest: &Digest) -> Result<Option<(String, u64)>, PortError> {
        let found = self.state().images.get(digest).map(Vec::len);
        Ok(found.map(|size| (format!("/pool/{digest}.img"), u64::try_from(size).unwrap())))
    }

    async fn store_image(&self, _: &HostId, _: &Digest, _: File, _: u64) -> Result<String, PortError> {
        Err(PortError::refused("no test stores images"))
    }

    async fn copy_image(&self, _: &HostId, _: &HostId, _: &Digest, _: u64) -> Result<String, PortError> {
        Err(PortError::refused("there is one host"))
    }

    async fn delete_image(&self, _: &HostId, _: &Digest) -> Result<(), PortError> {
        Err(PortError::refused("no test deletes images"))
    }

    async fn make_grant(&self, _: &HostId, grant: &Grant, _: &Digest) -> Result<String, PortError> {
        let mut state = self.state();
        state.deeds.push("grant".into());
        state.grants.insert(grant.clone());
        Ok(path_of(grant))
    }

    async fn spent_grants(&self, guest: GuestId, service: &ServiceId) -> Result<Vec<GrantFile>, PortError> {
        let state = self.state();
        let named = |path: &str| {
            let halves = state.guests.get(&guest).into_iter();
            halves
                .flat_map(|domain| domain.live.iter().chain(&domain.config))
                .flat_map(|definition| &definition.disks)
                .any(|disk| disk.source.as_deref() == Some(path))
        };
        let of = |grant: &&Grant| grant.guest == guest && grant.service == *service;
        Ok(state
            .grants
            .iter()
            .filter(of)
            .map(file_of)
            .filter(|file| !named(&file.path))
            .collect())
    }

    async fn delete_spent_grants(&self, guest: GuestId, service: &ServiceId) -> Result<(), PortError> {
        for file in self.spent_grants(guest, service).await? {
            self.state().grants.remove(&file.grant);
        }
        Ok(())
    }

    async fn grants(&self) -> Vec<Result<GrantFile, (HostId, PortError)>> {
        self.state()
            .grants
            .iter()
            .map(|grant| Ok(file_of(grant)))
            .collect()
    }

    async fn volume(&self, _: &HostId, service: &ServiceId) -> Result<Option<(String, u64)>, PortError> {
        Ok(self.state().volumes.get(service).cloned())
    }

    async fn make_volume(&self, _: &HostId, _: &ServiceId, _: u64) -> Result<String, PortError> {
        Err(PortError::refused("no test makes volumes"))
    }

    async fn delete_volume(&self, _: &HostId, _: &ServiceId) -> Result<(), PortError> {
        Err(PortError::refused("no test deletes volumes"))
    }
}

impl Cluster {
    fn speaks(&self, guest: GuestId) -> Result<(), PortError> {
        if self.state().silent.contains(&guest) {
            return Err(PortError::unavailable("its agent does not answer"));
        }
        Ok(())
    }
}

#[async_trait]
impl Guest for Cluster {
    async fn agent(&self, guest: GuestId) -> Result<AgentInfo, PortError> {
        self.speaks(guest)?;
        Ok(AgentInfo {
            version: "7.2".into(),
            disabled: vec![],
        })
    }

    async fn addresses(&self, guest: GuestId) -> Result<Vec<IpAddr>, PortError> {
        self.speaks(guest)?;
        Ok(vec![IpAddr::from([10, 77, 0, 101])])
    }

    async fn probe(&self, _: GuestId, _: &Placement) -> Result<ProbeReport, PortError> {
        Err(PortError::refused("no test probes"))
    }

    async fn look(&self, guest: GuestId, placement: &Placement) -> Result<CopyState, PortError> {
        self.speaks(guest)?;
        let mut state = self.state();
        let key = (placement.service.clone(), guest);
        Ok(state.copies.entry(key).or_default().clone())
    }

    async fn act(
        &self,
        guest: GuestId,
        placement: &Placement,
        step: GuestStep,
        _: Attempt,
        _: Duration,
    ) -> Result<CopyState, PortError> {
        self.speaks(guest)?;
        let mut state = self.state();
        state.deeds.push(format!("{step:?}"));
        let here = state
            .copies
            .entry((placement.service.clone(), guest))
            .or_default();
        let linked = |enablement| match enablement {
            Enablement::Enabled => u32::try_from(placement.links.len()).unwrap(),
            Enablement::Disabled | Enablement::Masked => 0,
        };
        match step {
            GuestStep::Start(enablement) => {
                let links = linked(enablement);
                *here = CopyState {
                    links,
                    enablement,
                    ..copy(placement, "active")
                };
            }
            GuestStep::Link(enablement) => {
                here.links = linked(enablement);
                here.enablement = enablement;
                here.was_up |= here.is_up();
            }
            GuestStep::Stop | GuestStep::Pause => {
                let was_up = here.was_up;
                *here = CopyState {
                    links: 0,
                    enablement: Enablement::Disabled,
                    was_up,
                    ..copy(placement, "inactive")
                };
            }
            GuestStep::Uninstall => *here = CopyState::default(),
            GuestStep::Install | GuestStep::Format | GuestStep::Supersede => {}
        }
        Ok(here.clone())
    }

    async fn check(
        &self,
        _: GuestId,
        _: &Placement,
        _: Tries,
        _: Duration,
    ) -> Result<Result<(), String>, PortError> {
        Ok(Ok(()))
    }
}

#[async_trait]
impl NameServer for Cluster {
    fn zone_of(&self, _: &DnsName) -> Option<DnsName> {
        "svc.lab".parse().ok()
    }

    async fn read(&self, name: &DnsName) -> Result<NameRecords, PortError> {
        Ok(self.state().names.get(name).cloned().unwrap_or_default())
    }

    async fn read_everywhere(&self, name: &DnsName) -> Result<Vec<Authority>, PortError> {
        Ok(vec![Authority {
            server: "ns".into(),
            records: self.read(name).await,
        }])
    }

    async fn swap(&self, change: &NameChange) -> Result<Swapped, PortError> {
        let mut state = self.state();
        state.deeds.push("swap".into());
        let standing = state.names.entry(change.name.clone()).or_default();
        let expected: Vec<String> = change.expect_ownership.iter().map(ToString::to_string).collect();
        let addresses = change.expect_addresses.as_ref();
        if standing.ownership != expected || addresses.is_some_and(|wanted| *wanted != standing.addresses) {
            return Ok(Swapped::No(standing.clone()));
        }
        standing.ownership = change.ownership.iter().map(ToString::to_string).collect();
        if let Some((addresses, ttl)) = &change.addresses {
            standing.addresses.clone_from(addresses);
            standing.ttl = *ttl;
        }
        Ok(Swapped::Yes)
    }
}

#[async_trait]
impl Clock for Cluster {
    fn now(&self) -> Millis {
        NOW
    }

    async fn sleep(&self, _: Duration) {}
}

#[async_trait]
impl ImagePool for Cluster {
    async fn images(&self, _: &HostId) -> Result<Vec<Digest>, PortError> {
        Ok(self.state().images.keys().cloned().collect())
    }

    async fn read_image(&self, _: &HostId, digest: &Digest) -> Result<File, PortError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&self.state().images[digest]).unwrap();
        Ok(file)
    }
}

#[async_trait]
impl GuestFiles for Cluster {
    async fn read_file(
        &self,
        guest: GuestId,
        _: &Placement,
        path: &str,
        _: usize,
    ) -> Result<Option<Vec<u8>>, PortError> {
        self.speaks(guest)?;
        Ok(self.state().files.get(&(guest, path.to_owned())).cloned())
    }
}

/// Where a test's table is; the folder goes with it.
pub struct Place {
    pub path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            path: folder.path().join("handoverd.sqlite"),
            _folder: folder,
        }
    }
}
