//! The ports over a simulated world; every call goes through [`Shared::call`].

use std::fs::File;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::call::{Method, Plan, PortFault, Shared};
use super::happening::{Happening, Message};
use super::world::{Power, SimDisk, SimVolume, SimWorld};
use super::{grants, look};
use crate::model::disk::{DiskRole, DiskSerial, GuestDisk};
use crate::model::grant::{Grant, GrantFile};
use crate::model::guest::{AgentInfo, CopyState, GuestDomain, GuestSummary, ProbeReport};
use crate::model::ids::{Attempt, Digest, GuestId, HostId, ServiceId};
use crate::model::name::{DnsName, NameChange, NameRecords};
use crate::model::placement::Placement;
use crate::model::service::Millis;
use crate::model::volume::volume_name;
use crate::ports::{
    Authority, Clock, Guest, GuestStep, Half, Hypervisor, NameServer, PortError, Swapped, Tries,
};

/// The ports of one daemon.
#[derive(Clone)]
pub struct SimPorts {
    pub(super) shared: Arc<Shared>,
    /// The daemon's own host: whose table it has.
    pub(super) own: HostId,
}

/// How long libvirt waits for a guest to let go of a disk.
const RELEASE: Duration = Duration::from_secs(30);
/// How long a silent agent is waited for.
const AGENT: Duration = Duration::from_secs(5);

impl SimPorts {
    /// The ports of the daemon of host `own`.
    pub fn new(shared: Arc<Shared>, own: HostId) -> Self {
        Self { shared, own }
    }

    /// Waits as for an agent that does not answer, where this one does not.
    pub(super) async fn reach_agent(&self, guest: GuestId, effect: bool) -> Result<(), PortError> {
        let (up, speaks) = {
            let inner = self.shared.lock();
            let found = inner.world.guests.get(&guest);
            (
                found.is_some_and(|g| g.power == Power::Up),
                found.is_some_and(|g| g.agent_speaks),
            )
        };
        if up && speaks {
            return Ok(());
        }
        let text = format!("the guest agent of {guest} does not answer");
        if up {
            self.shared.sleep(AGENT).await;
            if effect {
                return Err(PortError::unknown(text));
            }
        }
        Err(PortError::unavailable(text))
    }
}

#[async_trait]
impl Hypervisor for SimPorts {
    fn hosts(&self) -> Vec<HostId> {
        self.shared.lock().world.hosts.keys().cloned().collect()
    }

    async fn guests(&self) -> Vec<Result<GuestSummary, (HostId, PortError)>> {
        let plan = Plan::of(Method::Guests, 2);
        match self.shared.call(plan, |world| Ok(look::list(world))).await {
            Ok(list) => list,
            Err(error) => vec![Err((self.own.clone(), error))],
        }
    }

    async fn inspect(&self, guest: GuestId) -> Result<Option<GuestDomain>, PortError> {
        let plan = Plan::of(Method::Inspect, 1).on(guest);
        self.shared.call(plan, |world| look::inspect(world, guest)).await
    }

    async fn claim_guest(&self, guest: GuestId, own: &HostId) -> Result<(), PortError> {
        let plan = Plan::of(Method::ClaimGuest, 2).on(guest);
        self.shared
            .call(plan, |world| {
                look::reachable(world, guest)?;
                if let Some(guest) = world.guests.get_mut(&guest) {
                    guest.controller = Some(own.as_str().to_owned());
                }
                Ok(())
            })
            .await
    }

    async fn everywhere(&self, guest: GuestId) -> Result<Vec<GuestDomain>, PortError> {
        let plan = Plan::of(Method::Everywhere, 2).on(guest);
        self.shared
            .call(plan, |world| look::everywhere(world, guest))
            .await
    }

    async fn destroy(&self, guest: GuestId) -> Result<(), PortError> {
        let plan = Plan::of(Method::Destroy, 200).on(guest);
        self.shared
            .call(plan, |world| {
                look::reachable(world, guest)?;
                if !look::guest_mut(world, guest)?.is_active() {
                    return Err(PortError::unavailable(format!("guest {guest} is not running")));
                }
                // On the agenda, so that hosts tell of it.
                world.schedule(0, Happening::Destroy(guest));
                Ok(())
            })
            .await?;
        self.shared.sleep(Duration::from_millis(1)).await;
        Ok(())
    }

    async fn give(&self, guest: GuestId, half: Half, disk: &GuestDisk) -> Result<(), PortError> {
        let mut plan = Plan::of(Method::Give, 15).on(guest);
        plan.call.half = Some(half);
        self.shared
            .call(plan, |world| give(world, guest, half, disk))
            .await
    }

    async fn take(&self, guest: GuestId, half: Half, serial: &DiskSerial) -> Result<(), PortError> {
        let mut plan = Plan::of(Method::Take, 60).on(guest);
        plan.call.half = Some(half);
        plan.deadline = RELEASE;
        let ignored = self
            .shared
            .call(plan, |world| take(world, guest, half, serial))
            .await?;
        if ignored {
            self.shared.sleep(RELEASE).await;
            let mut inner = self.shared.lock();
            if take(&mut inner.world, guest, half, serial)? {
                return Err(PortError::unknown(format!("{guest} has not let go of {serial}")));
            }
        }
        Ok(())
    }

    async fn add_scsi_controller(&self, guest: GuestId, half: Half, index: u32) -> Result<(), PortError> {
        let mut plan = Plan::of(Method::AddController, 15).on(guest);
        plan.call.half = Some(half);
        self.shared
            .call(plan, |_world| {
                Err(PortError::refused(format!(
                    "controller {index} of {guest} is there"
                )))
            })
            .await
    }

    async fn image(&self, host: &HostId, digest: &Digest) -> Result<Option<(String, u64)>, PortError> {
        let plan = Plan::of(Method::Image, 1);
        self.shared
            .call(plan, |world| {
                let host = look::host(world, host)?;
                Ok(host.images.get(digest).map(|size| (image_path(digest), *size)))
            })
            .await
    }

    async fn store_image(
        &self,
        host: &HostId,
        digest: &Digest,
        _image: File,
        size: u64,
    ) -> Result<String, PortError> {
        self.put_image(host, digest, size).await
    }

    async fn copy_image(
        &self,
        _from: &HostId,
        to: &HostId,
        digest: &Digest,
        size: u64,
    ) -> Result<String, PortError> {
        self.put_image(to, digest, size).await
    }

    async fn delete_image(&self, host: &HostId, digest: &Digest) -> Result<(), PortError> {
        let plan = Plan::of(Method::DeleteImage, 5);
        self.shared
            .call(plan, |world| {
                look::host(world, host)?;
                if let Some(host) = world.hosts.get_mut(host) {
                    host.images.remove(digest);
                }
                Ok(())
            })
            .await
    }

    async fn make_grant(&self, host: &HostId, grant: &Grant, digest: &Digest) -> Result<String, PortError> {
        let plan = Plan::of(Method::MakeGrant, 12).on(grant.guest);
        self.shared
            .call(plan, |world| grants::make(world, host, grant, digest))
            .await
    }

    async fn spent_grants(&self, guest: GuestId, service: &ServiceId) -> Result<Vec<GrantFile>, PortError> {
        let plan = Plan::of(Method::Grants, 2).on(guest);
        self.shared
            .call(plan, |world| grants::spent(world, guest, service))
            .await
    }

    async fn delete_spent_grants(&self, guest: GuestId, service: &ServiceId) -> Result<(), PortError> {
        let plan = Plan::of(Method::DeleteGrants, 4).on(guest);
        self.shared
            .call(plan, |world| {
                for file in grants::spent(world, guest, service)? {
                    world.grants.remove(&file.path);
                }
                Ok(())
            })
            .await
    }

    async fn grants(&self) -> Vec<Result<GrantFile, (HostId, PortError)>> {
        let plan = Plan::of(Method::Grants, 2);
        match self.shared.call(plan, |world| Ok(grants::all(world))).await {
            Ok(files) => files.into_iter().map(Ok).collect(),
            Err(error) => vec![Err((self.own.clone(), error))],
        }
    }

    async fn volume(&self, host: &HostId, service: &ServiceId) -> Result<Option<(String, u64)>, PortError> {
        let plan = Plan::of(Method::Volume, 1);
        self.shared
            .call(plan, |world| {
                look::host(world, host)?;
                let path = volume_path(service);
                Ok(world.volumes.get(&path).map(|volume| (path.clone(), volume.size)))
            })
            .await
    }

    async fn make_volume(&self, host: &HostId, service: &ServiceId, size: u64) -> Result<String, PortError> {
        let plan = Plan::of(Method::MakeVolume, 10);
        self.shared
            .call(plan, |world| {
                look::host(world, host)?;
                let path = volume_path(service);
                world.volumes.entry(path.clone()).or_insert_with(|| SimVolume {
                    service: service.clone(),
                    size,
                    filesystem: None,
                    synced: 0,
                });
                Ok(path)
            })
            .await
    }

    async fn delete_volume(&self, host: &HostId, service: &ServiceId) -> Result<(), PortError> {
        let plan = Plan::of(Method::DeleteVolume, 10);
        self.shared
            .call(plan, |world| {
                look::host(world, host)?;
                let path = volume_path(service);
                if look::is_defined_somewhere(world, &path) {
                    return Err(PortError::refused(format!("{path} is a guest's disk")));
                }
                world.volumes.remove(&path);
                Ok(())
            })
            .await
    }
}

impl SimPorts {
    async fn put_image(&self, host: &HostId, digest: &Digest, size: u64) -> Result<String, PortError> {
        let plan = Plan::of(Method::StoreImage, 50);
        self.shared
            .call(plan, |world| {
                look::host(world, host)?;
                if let Some(host) = world.hosts.get_mut(host) {
                    host.images.insert(digest.clone(), size);
                }
                Ok(image_path(digest))
            })
            .await
    }
}

/// Where a bundle's image is on every host.
pub fn image_path(digest: &Digest) -> String {
    format!("/pool/{digest}.img")
}

/// Where the file of a grant is on every host.
pub fn grant_path(grant: &Grant) -> String {
    format!("/pool/{}", grant.file_name())
}

/// Where a service's volume is on every host.
pub fn volume_path(service: &ServiceId) -> String {
    format!("/pool/{}", volume_name(service))
}

fn give(world: &mut SimWorld, id: GuestId, half: Half, disk: &GuestDisk) -> Result<(), PortError> {
    look::reachable(world, id)?;
    let serial = disk.serial.as_str();
    let (lock, locked) = (world.rules.image_lock, world.opener(&disk.source, id));
    let guest = look::guest_mut(world, id)?;
    match half {
        Half::Live => {
            if !guest.is_active() {
                return Err(PortError::unavailable(format!("guest {id} is not running")));
            }
            if disk.role == DiskRole::Volume && lock && locked.is_some() {
                return Err(PortError::unavailable(format!(
                    "Failed to get lock on {}",
                    disk.source
                )));
            }
            if guest.live.disks.contains_key(serial) {
                return Err(PortError::unavailable(format!("{serial} is there already")));
            }
            guest.live.disks.insert(serial.to_owned(), SimDisk::of(disk));
            world.disks_changed(id, Some(serial));
        }
        Half::Config => {
            let host = guest.host.clone();
            let Some(config) = guest.configs.get_mut(&host) else {
                return Err(PortError::refused(format!("guest {id} is transient")));
            };
            if config.disks.contains_key(serial) {
                return Err(PortError::unavailable(format!("{serial} is there already")));
            }
            config.disks.insert(serial.to_owned(), SimDisk::of(disk));
            guest.touched.remove(serial);
        }
    }
    Ok(())
}

/// Takes a disk; whether the guest ignores it for now.
fn take(world: &mut SimWorld, id: GuestId, half: Half, serial: &DiskSerial) -> Result<bool, PortError> {
    match half {
        Half::Config => {
            let hosts: Vec<HostId> = look::guest_mut(world, id)?.configs.keys().cloned().collect();
            let mut silent = None;
            for host in hosts {
                match look::host(world, &host) {
                    Ok(_) => {
                        let guest = look::guest_mut(world, id)?;
                        guest.touched.remove(serial.as_str());
                        if let Some(config) = guest.configs.get_mut(&host) {
                            config.disks.remove(serial.as_str());
                        }
                    }
                    Err(error) => silent = Some(error),
                }
            }
            silent.map_or(Ok(false), Err)
        }
        Half::Live => {
            let asleep = world.guests.get(&id).is_some_and(|guest| !guest.is_active());
            if asleep && world.hosts.values().all(|host| host.answers) {
                return Ok(false);
            }
            look::reachable(world, id)?;
            let guest = look::guest_mut(world, id)?;
            if guest.power == Power::Booting {
                return Ok(guest.live.disks.contains_key(serial.as_str()));
            }
            guest.live.disks.remove(serial.as_str());
            guest.booted_with.remove(serial.as_str());
            world.disks_changed(id, None);
            Ok(false)
        }
    }
}

#[async_trait]
impl Guest for SimPorts {
    async fn agent(&self, guest: GuestId) -> Result<AgentInfo, PortError> {
        self.reach_agent(guest, false).await?;
        let info = || AgentInfo {
            version: "7.2.0".to_owned(),
            disabled: Vec::new(),
        };
        self.shared
            .call(Plan::of(Method::Agent, 2).on(guest), |_| Ok(info()))
            .await
    }

    async fn addresses(&self, guest: GuestId) -> Result<Vec<IpAddr>, PortError> {
        self.reach_agent(guest, false).await?;
        let plan = Plan::of(Method::Addresses, 5).on(guest);
        self.shared
            .call(plan, |world| {
                let found = world.guests.get(&guest);
                Ok(found.map(|g| g.addresses.clone()).unwrap_or_default())
            })
            .await
    }

    async fn probe(&self, guest: GuestId, placement: &Placement) -> Result<ProbeReport, PortError> {
        self.reach_agent(guest, false).await?;
        let systemd = self.shared.lock().world.guests.get(&guest).map(|g| g.systemd);
        let report = || ProbeReport {
            systemd: systemd.unwrap_or_default(),
            machine: "x86_64".to_owned(),
            etc_writable: true,
            squashfs: true,
            uid: placement.user.as_ref().map(|_| 1000),
            ..ProbeReport::default()
        };
        self.shared
            .call(Plan::of(Method::Probe, 40).on(guest), |_| Ok(report()))
            .await
    }

    async fn look(&self, guest: GuestId, placement: &Placement) -> Result<CopyState, PortError> {
        self.reach_agent(guest, false).await?;
        let plan = Plan::of(Method::Look, 40).on(guest);
        self.shared
            .call(plan, |world| {
                look::reachable(world, guest)?;
                Ok(world.copy_state(guest, placement))
            })
            .await
    }

    async fn act(
        &self,
        guest: GuestId,
        placement: &Placement,
        step: GuestStep,
        attempt: Attempt,
        deadline: Duration,
    ) -> Result<CopyState, PortError> {
        self.reach_agent(guest, true).await?;
        let mut plan = Plan::of(Method::Act, 400).on(guest);
        plan.call.step = Some(step);
        plan.deadline = deadline;
        plan.message = Some(Message::Script {
            guest,
            boot: self.shared.lock().world.guests.get(&guest).map_or(0, |g| g.boots),
            placement: placement.clone().into(),
            step,
            attempt,
        });
        self.shared
            .call(plan, |world| {
                look::reachable(world, guest)?;
                world.step(guest, placement, step, attempt)
            })
            .await
    }

    async fn check(
        &self,
        guest: GuestId,
        placement: &Placement,
        tries: Tries,
        deadline: Duration,
    ) -> Result<Result<(), String>, PortError> {
        self.reach_agent(guest, false).await?;
        let mut plan = Plan::of(Method::Check, 40).on(guest);
        plan.takes = plan.takes.saturating_add(tries.lasting(Duration::ZERO));
        plan.deadline = deadline;
        self.shared
            .call(plan, |world| {
                look::reachable(world, guest)?;
                let found = world.guests.get(&guest);
                let copy = found.and_then(|g| g.copies.get(&placement.service));
                let passes = copy.is_some_and(|copy| copy.running && copy.healthy)
                    && found.is_some_and(|g| g.power == Power::Up);
                Ok(if passes {
                    Ok(())
                } else {
                    Err("connection refused".to_owned())
                })
            })
            .await
    }
}

#[async_trait]
impl NameServer for SimPorts {
    fn zone_of(&self, name: &DnsName) -> Option<DnsName> {
        self.shared.lock().world.zone.covers(name)
    }

    async fn read(&self, name: &DnsName) -> Result<NameRecords, PortError> {
        let plan = Plan::of(Method::ReadName, 1);
        self.shared
            .call(plan, |world| {
                names_answer(world)?;
                Ok(world.zone.read(name))
            })
            .await
    }

    async fn read_everywhere(&self, name: &DnsName) -> Result<Vec<Authority>, PortError> {
        let plan = Plan::of(Method::ReadEverywhere, 1);
        self.shared
            .call(plan, |world| {
                names_answer(world)?;
                let mut all = vec![Authority {
                    server: "the primary".to_owned(),
                    records: Ok(world.zone.read(name)),
                }];
                all.extend(world.zone.secondaries.iter().map(|server| Authority {
                    server: server.name.clone(),
                    records: match server.answers {
                        true => Ok(server.names.get(name).cloned().unwrap_or_default()),
                        false => Err(PortError::unavailable("it does not answer")),
                    },
                }));
                Ok(all)
            })
            .await
    }

    async fn swap(&self, change: &NameChange) -> Result<Swapped, PortError> {
        let mut plan = Plan::of(Method::Swap, 3);
        plan.deadline = Duration::from_secs(5);
        plan.message = Some(Message::Update(change.clone().into()));
        self.shared
            .call(plan, |world| {
                names_answer(world)?;
                Ok(world.update(change))
            })
            .await
    }
}

fn names_answer(world: &SimWorld) -> Result<(), PortError> {
    if world.zone.answers {
        Ok(())
    } else {
        Err(PortError::unavailable("the zone's primary does not answer"))
    }
}

#[async_trait]
impl Clock for SimPorts {
    fn now(&self) -> Millis {
        self.shared.lock().world.now
    }

    async fn sleep(&self, duration: Duration) {
        self.shared.sleep(duration).await;
    }
}

/// Whether a fault can be told from another at this call: those of messages only where one is sent.
pub fn applies(fault: PortFault, method: Method) -> bool {
    match fault {
        PortFault::Late(_) => matches!(method, Method::Act | Method::Swap),
        PortFault::LoseAnswer | PortFault::Twice => method.is_effect() && !method.is_table(),
        PortFault::Hang | PortFault::Refuse => !method.is_table(),
        PortFault::KillAfter => method.is_effect(),
        PortFault::Unavailable | PortFault::KillBefore => true,
    }
}
