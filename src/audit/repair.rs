//! Acts: one for each repair, each safe to repeat and looking first. The caller holds the service's lock, and looks again.

use super::finding::Repair;
use super::picture::Picture;
use crate::handover::goals::Goal;
use crate::handover::grant::{given_source, kept_halves};
use crate::handover::machine::Direction;
use crate::handover::record::Reason;
use crate::handover::verdict;
use crate::handover::world::{StepError, World};
use crate::model::disk::{DiskRole, DiskSerial};
use crate::model::grant::Grant;
use crate::model::guest::GuestDomain;
use crate::model::ids::{Digest, GuestId, ServiceId};
use crate::model::life::{Enablement, LifeState};
use crate::model::placement::{PlacedFile, Placement};
use crate::model::service::{BundleRecord, ServiceRecord};
use crate::model::standby::{Standby, StandbyState};
use crate::plan::disk_slot;
use crate::ports::{GuestStep, Half, Swapped};

type Act = Result<(), StepError>;

/// Does one repair of a service.
///
/// # Errors
/// It was refused, failed, or its effect is unknown; also where a job has the service by now, or needs to begin.
pub async fn carry_out(world: &World, picture: &Picture, service: &ServiceId, repair: &Repair) -> Act {
    if is_busy(world, service).await? {
        return Err(refused(
            "Busy",
            format!("a job has {service} by now; nothing is done"),
        ));
    }
    match repair {
        Repair::TakeDisk(guest, serial) => {
            take(world, *guest, serial).await?;
            return Ok(world.hypervisor.delete_spent_grants(*guest, service).await?);
        }
        Repair::DeleteGrants(guest) => {
            controlled(world, *guest).await?;
            return Ok(world.hypervisor.delete_spent_grants(*guest, service).await?);
        }
        Repair::Standby(standby) => return install_standby(world, standby).await,
        Repair::RemoveCopy(guest, digest, files) => {
            return remove_copy(world, picture, service, *guest, digest, files).await;
        }
        _ => {}
    }
    let row = world.table.service(service).await?;
    let row = row.ok_or_else(|| {
        refused(
            "NoSuchService",
            format!("service {service} is gone from the table"),
        )
    })?;
    let home = Home::of(world, row).await?;
    match repair {
        Repair::Start => home.start(home.row.enablement).await,
        Repair::Stop => home.step(Goal::Quiesce, GuestStep::Stop).await,
        Repair::Link(enablement) => home.step(Goal::Start, GuestStep::Link(*enablement)).await,
        Repair::Mark => home.step(Goal::Start, GuestStep::Link(home.row.enablement)).await,
        Repair::AdoptStop(enablement) => home.adopt(LifeState::Stopped, *enablement).await,
        Repair::AdoptStart(enablement) => {
            let life = if home.row.dns.is_some() {
                LifeState::Accessible
            } else {
                LifeState::Running
            };
            home.adopt(life, *enablement).await
        }
        Repair::AdoptEnablement(enablement) => home.adopt(home.row.wanted, *enablement).await,
        Repair::Install => home.install().await,
        Repair::GiveDisk(role, serial) => home.give(picture, *role, serial).await,
        Repair::CopyImage(to, from) => {
            let (digest, size) = (&home.row.bundle, home.bundle.size);
            world.hypervisor.copy_image(from, to, digest, size).await?;
            Ok(())
        }
        Repair::SwapName(change) => match world.names.swap(change).await? {
            Swapped::Yes => Ok(()),
            Swapped::No(standing) => Err(refused(
                "NameChanged",
                format!(
                    "{} was changed meanwhile: the zone says {}",
                    change.name,
                    verdict::describe(&standing)
                ),
            )),
        },
        Repair::Control(guest) => {
            controlled(world, *guest).await?;
            Ok(world.hypervisor.claim_guest(*guest, &world.host).await?)
        }
        Repair::StartJob => Err(refused("NeedsJob", "a job is needed for it".to_owned())),
        Repair::TakeDisk(..) | Repair::RemoveCopy(..) | Repair::DeleteGrants(_) | Repair::Standby(_) => {
            Ok(())
        }
    }
}

/// Whether a job has the service now, or a stuck one has frozen it.
///
/// # Errors
/// The table cannot be read.
pub async fn is_busy(world: &World, service: &ServiceId) -> Result<bool, crate::ports::TableError> {
    let open = world.table.unfinished().await?;
    let row = world.table.service(service).await?;
    Ok(open.iter().any(|handover| handover.service == *service)
        || row.is_some_and(|row| row.frozen.is_some()))
}

fn refused(name: &str, text: String) -> StepError {
    StepError::Refused(Reason::new(name, text))
}

/// The guest as it is now; refused if another daemon controls it.
async fn controlled(world: &World, guest: GuestId) -> Result<GuestDomain, StepError> {
    let domain = world.hypervisor.inspect(guest).await?;
    let domain =
        domain.ok_or_else(|| StepError::Failed(format!("guest {guest} is not found on any host")))?;
    match domain.summary.other_controller(&world.host) {
        Some(other) => Err(refused(
            "Unsuitable",
            format!(
                "the handoverd of host {other} controls {}; nothing is done to it",
                domain.summary.name
            ),
        )),
        None => Ok(domain),
    }
}

/// Config first, then live, each only where it is there.
async fn take(world: &World, guest: GuestId, serial: &DiskSerial) -> Act {
    let domain = controlled(world, guest).await?;
    for host in world.hypervisor.everywhere(guest).await? {
        if verdict::disk_halves(&host, serial).1 {
            world.hypervisor.take(guest, Half::Config, serial).await?;
            break;
        }
    }
    if verdict::disk_halves(&domain, serial).0 {
        world.hypervisor.take(guest, Half::Live, serial).await?;
    }
    Ok(())
}

/// Every disk of the service on the guest, and between its two halves the units, if the guest's agent answers: a silent
/// one loses its licence all the same.
async fn remove_copy(
    world: &World,
    picture: &Picture,
    service: &ServiceId,
    guest: GuestId,
    digest: &Digest,
    files: &[PlacedFile],
) -> Act {
    let domain = controlled(world, guest).await?;
    let Some(bundle) = world.table.bundle(digest).await? else {
        return Err(refused(
            "NoSuchBundle",
            format!("bundle {} is not in the table", digest.short()),
        ));
    };
    let placement = Placement::of(&bundle, files);
    let known = picture.own_disks();
    let serials: Vec<DiskSerial> = known
        .values()
        .filter(|own| own.service == *service)
        .map(|own| match own.role {
            DiskRole::Bundle => DiskSerial::of(service, &own.digest),
            DiskRole::Volume => DiskSerial::of_volume(service),
        })
        .collect();
    let everywhere = world.hypervisor.everywhere(guest).await?;
    for serial in &serials {
        if everywhere.iter().any(|host| verdict::disk_halves(host, serial).1) {
            world.hypervisor.take(guest, Half::Config, serial).await?;
        }
    }
    if !domain.is_active() {
        return Ok(world.hypervisor.delete_spent_grants(guest, service).await?);
    }
    let attempt = world.table.next_attempt(service).await?;
    let deadline = deadline(world, Goal::Retire, &bundle);
    let uninstalled = world
        .guest
        .act(guest, &placement, GuestStep::Uninstall, attempt, deadline)
        .await;
    for serial in &serials {
        if verdict::disk_halves(&domain, serial).0 {
            world.hypervisor.take(guest, Half::Live, serial).await?;
        }
    }
    world.hypervisor.delete_spent_grants(guest, service).await?;
    uninstalled?;
    Ok(())
}

/// The row says first that it is changing: whoever keeps standbys goes on where this ends.
async fn install_standby(world: &World, standby: &Standby) -> Act {
    controlled(world, standby.guest).await?;
    let installed = &standby.installed;
    let Some(bundle) = world.table.bundle(&installed.digest).await? else {
        return Err(refused(
            "NoSuchBundle",
            format!("bundle {} is not in the table", installed.digest.short()),
        ));
    };
    let placement = Placement::of(&bundle, &installed.files);
    let row = Standby {
        state: StandbyState::Changing,
        ..standby.clone()
    };
    let attempt = world.table.touch_standby(&row).await?;
    let deadline = deadline(world, Goal::Stage, &bundle);
    let act = |step| {
        world
            .guest
            .act(standby.guest, &placement, step, attempt, deadline)
    };
    let mut copy = act(GuestStep::Install).await?;
    if installed.link != Enablement::Disabled {
        copy = act(GuestStep::Link(installed.link)).await?;
    }
    match installed.differs(&copy, placement.links.len()) {
        Some(why) => Err(StepError::Failed(why)),
        None => Ok(world
            .table
            .standby_is_ready(&standby.service, standby.guest, attempt)
            .await?),
    }
}

fn deadline(world: &World, goal: Goal, bundle: &BundleRecord) -> std::time::Duration {
    world
        .limits
        .deadline(goal, Direction::Forward, &bundle.manifest)
        .unwrap_or(world.limits.undo)
}

/// A service on its home guest.
struct Home<'w> {
    world: &'w World,
    row: ServiceRecord,
    bundle: BundleRecord,
    placement: Placement,
}

impl<'w> Home<'w> {
    async fn of(world: &'w World, row: ServiceRecord) -> Result<Self, StepError> {
        let bundle = world.table.bundle(&row.bundle).await?.ok_or_else(|| {
            refused(
                "NoSuchBundle",
                format!("bundle {} is not in the table", row.bundle.short()),
            )
        })?;
        Ok(Self {
            world,
            placement: Placement::of(&bundle, &row.files),
            bundle,
            row,
        })
    }

    async fn step(&self, goal: Goal, step: GuestStep) -> Act {
        controlled(self.world, self.row.guest).await?;
        let attempt = self.world.table.next_attempt(&self.row.id).await?;
        let deadline = deadline(self.world, goal, &self.bundle);
        self.world
            .guest
            .act(self.row.guest, &self.placement, step, attempt, deadline)
            .await?;
        Ok(())
    }

    /// A masked unit cannot be started: it is masked again afterwards.
    async fn start(&self, enablement: Enablement) -> Act {
        self.step(Goal::Start, GuestStep::Start(enablement)).await?;
        if enablement == Enablement::Masked {
            self.step(Goal::Start, GuestStep::Link(enablement)).await?;
        }
        Ok(())
    }

    /// The table first: from then on it is wanted so. Then the guest is made to agree: a stopped service has no links,
    /// and one that runs is linked if it is enabled.
    async fn adopt(&self, wanted: LifeState, enablement: Enablement) -> Act {
        let row = ServiceRecord {
            wanted,
            enablement,
            observed: wanted,
            observed_at: self.world.clock.now(),
            ..self.row.clone()
        };
        self.world.table.observe(&row).await?;
        let what = format!(
            "{} in guest {}: {} and {} in the table before",
            row.id,
            row.guest_name,
            self.row.wanted,
            self.row.enablement.as_str()
        );
        let decision = format!("adopted: {wanted}, {}", enablement.as_str());
        self.world
            .table
            .audit(row.observed_at, "the guest's operator", &what, &decision)
            .await?;
        match (wanted.wants_running(), enablement) {
            (true, _) => self.step(Goal::Start, GuestStep::Link(enablement)).await,
            (false, Enablement::Masked) => self.step(Goal::Quiesce, GuestStep::Link(enablement)).await,
            (false, _) => self.step(Goal::Quiesce, GuestStep::Stop).await,
        }
    }

    /// Installing removes the links, and starts nothing.
    async fn install(&self) -> Act {
        self.step(Goal::Stage, GuestStep::Install).await?;
        if self.row.wanted.wants_running() {
            self.start(self.row.enablement).await?;
        }
        Ok(())
    }

    /// Gives a disk where it is missing: live while the guest runs, then config. A data volume only if no other guest
    /// has it. If the service lost it while it ran, it is started.
    async fn give(&self, picture: &Picture, role: DiskRole, serial: &DiskSerial) -> Act {
        let (world, guest) = (self.world, self.row.guest);
        if role == DiskRole::Volume {
            self.volume_is_free(picture, serial).await?;
        }
        let lost = {
            let _guard = world.guest_lock(guest).await;
            let domain = controlled(world, guest).await?;
            let active = domain.is_active();
            let (live, config) = kept_halves(&domain, role, serial);
            let slot = disk_slot::choose(&domain, serial).map_err(|obstacle| {
                refused(
                    "Unsuitable",
                    format!("guest {} will not do: {obstacle}", domain.summary.name),
                )
            })?;
            let source = self.source(role, serial, &domain).await?;
            let disk = slot.disk(role, serial.clone(), source);
            let hypervisor = &world.hypervisor;
            if active && slot.add_live_controller {
                hypervisor
                    .add_scsi_controller(guest, Half::Live, slot.address.controller)
                    .await?;
            }
            if slot.add_config_controller {
                hypervisor
                    .add_scsi_controller(guest, Half::Config, slot.address.controller)
                    .await?;
            }
            if active && !live {
                hypervisor.give(guest, Half::Live, &disk).await?;
            }
            if !config {
                if verdict::disk_halves(&domain, serial).1 {
                    // Its source is another's, such as a grant that is gone.
                    hypervisor.take(guest, Half::Config, serial).await?;
                }
                hypervisor.give(guest, Half::Config, &disk).await?;
            }
            active && !live
        };
        if lost && self.row.wanted.wants_running() {
            self.start(self.row.enablement).await?;
        }
        Ok(())
    }

    /// What the disk is to have as its source: what the running guest has it by, else its volume or a grant.
    async fn source(
        &self,
        role: DiskRole,
        serial: &DiskSerial,
        domain: &GuestDomain,
    ) -> Result<String, StepError> {
        match (role, &self.row.volume) {
            (DiskRole::Volume, Some(volume)) => Ok(volume.path.clone()),
            (DiskRole::Volume, None) => Err(refused(
                "Unsuitable",
                format!("the table knows no data volume of {}", self.row.id),
            )),
            (DiskRole::Bundle, _) => {
                if let Some(source) = given_source(domain, serial) {
                    return Ok(source.to_owned());
                }
                let grant = Grant {
                    service: self.row.id.clone(),
                    guest: self.row.guest,
                    generation: self.row.generation,
                };
                let (host, digest) = (&domain.summary.host, &self.row.bundle);
                Ok(self.world.hypervisor.make_grant(host, &grant, digest).await?)
            }
        }
    }

    async fn volume_is_free(&self, picture: &Picture, serial: &DiskSerial) -> Act {
        for id in picture.guests.keys().filter(|id| **id != self.row.guest) {
            for domain in self.world.hypervisor.everywhere(*id).await? {
                if verdict::disk_halves(&domain, serial) != (false, false) {
                    return Err(refused(
                        "VolumeInUse",
                        format!(
                            "the data volume of {} is in a definition of {}: it is taken from there first",
                            self.row.id, domain.summary.name
                        ),
                    ));
                }
            }
        }
        Ok(())
    }
}
