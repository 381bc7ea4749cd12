//! The licence to run (design section 3): taken from a source that is to stop or is dead, given back by an undo.
//!
//! A service with a data volume is licensed by the volume, any other by its bundle disk. Taking: config first, then
//! live. Giving: live, then config. Where a guest is off its persistent definition alone counts: boot does the rest.

use super::goals::{Goal, Kind};
use super::grant::kept_halves;
use super::protocol::Rule;
use super::record::{Handover, Place, Reason, Since};
use super::run::Run;
use super::verdict::{self, Seen};
use super::world::StepError;
use crate::model::disk::{DiskRole, DiskSerial};
use crate::model::guest::GuestDomain;
use crate::model::obstacle::Obstacle;
use crate::model::placement::Placement;
use crate::plan::disk_slot;
use crate::ports::{GuestStep, Half};

type Act = Result<(), StepError>;
type Look = Result<Seen, StepError>;

/// What of a service a guest is licensed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Licence {
    /// The one disk that a second copy must not have: the data volume, or else the bundle.
    Sole,
    /// Every disk.
    Whole,
}

impl Licence {
    /// The disks that it consists of.
    fn disks(self, placement: &Placement) -> Vec<(DiskRole, DiskSerial)> {
        let bundle = (DiskRole::Bundle, placement.serial.clone());
        let volume = placement
            .data
            .as_ref()
            .map(|data| (DiskRole::Volume, data.serial.clone()));
        match (self, volume) {
            (Self::Sole, Some(volume)) => vec![volume],
            (Self::Sole | Self::Whole, None) => vec![bundle],
            (Self::Whole, Some(volume)) => vec![bundle, volume],
        }
    }

    /// Whether the bundle's disk, and with it a grant, is part of it.
    fn has_bundle(self, placement: &Placement) -> bool {
        self.disks(placement)
            .iter()
            .any(|(role, _)| *role == DiskRole::Bundle)
    }
}

impl Run<'_> {
    /// Whether the source is stopped and has no licence any more.
    pub(super) async fn look_quiesced(&mut self) -> Look {
        let (place, placement) = self.source_copy()?;
        let domain = self.inspect(&place).await?;
        if let Some(had) = Licence::Sole
            .disks(&placement)
            .iter()
            .find(|(_, serial)| verdict::disk_halves(&domain, serial) != (false, false))
        {
            return Ok(Seen::missing(format!("{} has {}", place.guest_name, word(had.0))));
        }
        if Licence::Sole.has_bundle(&placement)
            && let spent @ Seen::Missing(_) = self.without_grant(&place, Seen::Holds).await?
        {
            return Ok(spent);
        }
        if !domain.is_active() {
            let all = self.world.hypervisor.everywhere(place.guest).await?;
            return Ok(verdict::dead(&place.guest_name, &all));
        }
        match self.copy(&place, &placement).await {
            Ok(copy) if copy.is_down() && !copy.data_mounted() => Ok(Seen::Holds),
            Ok(_) => Ok(Seen::missing(format!("the units are up on {}", place.guest_name))),
            Err(StepError::Failed(why)) => Ok(self.revoked(&place, &why)),
            Err(refused) => Err(refused),
        }
    }

    /// A guest that lost its licence and does not answer counts as stopped once its systemd had its time to stop it.
    pub(super) fn revoked(&self, place: &Place, why: &str) -> Seen {
        let Some(revoked) = self.handover.facts.revoked.filter(|r| r.guest == place.guest) else {
            return Seen::missing(format!("{} does not answer: {why}", place.guest_name));
        };
        let stop = u64::try_from(self.world.limits.stop_timeout.as_millis()).unwrap_or(u64::MAX);
        let left = revoked
            .at
            .saturating_add(stop)
            .saturating_sub(self.world.clock.now());
        if left == 0 {
            return Seen::Holds;
        }
        let left = std::time::Duration::from_millis(left);
        Seen::Pending {
            why: format!(
                "{} does not answer; its licence is taken, and it has {:.0} s left to stop the service",
                place.guest_name,
                left.as_secs_f64()
            ),
            again_in: left.min(std::time::Duration::from_secs(5)),
        }
    }

    /// Stops the source by its agent, and takes its licence; from a guest whose agent is silent the licence is revoked.
    pub(super) async fn quiesce(&mut self) -> Act {
        let (place, placement) = self.source_copy()?;
        let domain = self.inspect(&place).await?;
        self.check_volume_source(&place, &placement, &domain)?;
        if self.handover.facts.gap_began.is_none() && self.handover.facts.wants_running() {
            self.handover.facts.gap_began = Some(self.world.clock.now());
            self.journal(Goal::Quiesce, format!("stops {}", place.guest_name))
                .await?;
        }
        let mut silent = false;
        if domain.is_active() {
            match self
                .step(Goal::Quiesce, &place, &placement, GuestStep::Pause)
                .await
            {
                Ok(()) => self.handover.facts.silent = None,
                Err(StepError::Failed(why)) => {
                    self.wait_for_silence(Goal::Quiesce, &place, &why).await?;
                    silent = true;
                }
                Err(refused) => return Err(refused),
            }
        }
        let disks = Licence::Sole.disks(&placement);
        if silent {
            return self.revoke(Goal::Quiesce, &place, &disks).await;
        }
        self.take_licence(&place, &disks).await
    }

    /// Takes the licence from a guest whose agent does not answer: from then on its systemd stops what is bound to it.
    async fn revoke(&mut self, goal: Goal, place: &Place, disks: &[(DiskRole, DiskSerial)]) -> Act {
        let name = &place.guest_name;
        self.journal(
            goal,
            format!("revokes the licence of {name}: its agent does not answer"),
        )
        .await?;
        self.take_licence(place, disks).await?;
        if self.handover.facts.revoked.is_none_or(|r| r.guest != place.guest) {
            self.handover.facts.revoked = Some(Since {
                guest: place.guest,
                at: self.world.clock.now(),
            });
            self.journal(goal, format!("{name} lost its licence")).await?;
        }
        Ok(())
    }

    /// Whether the target's units are down, when an undo takes it back. Where two copies may run for a while a silent
    /// agent is no obstacle: the disk that the undo of an earlier goal takes is what stops the units.
    pub(super) async fn look_unstarted(&mut self) -> Look {
        // What was to be up before it was told to start keeps its links, and what runs.
        let was_to_run = self.handover.kind == Kind::Start && (self.was_up() || self.is_wanted().await?);
        if self.old_copy_serves() || was_to_run {
            return Ok(Seen::Holds);
        }
        let (place, placement) = self.target_copy();
        let domain = self.inspect(&place).await?;
        if !domain.is_active() {
            self.awake_for_undo(&place, &domain)?;
            return self.look_disarmed(&place, &placement, &domain).await;
        }
        match self.copy(&place, &placement).await {
            Ok(copy) => {
                let down = copy.is_down() && copy.links == 0;
                let seen = Seen::holds_if(down, "the target's units are up");
                Ok(self.unless_late(place.guest, seen))
            }
            // At its home the service keeps its disks: nothing would give them back.
            Err(StepError::Failed(why)) if self.is_at_home(&place) => Err(StepError::Failed(why)),
            Err(StepError::Failed(why)) => {
                self.wait_for_silence(Goal::Start, &place, &why).await?;
                let licensed = Licence::Sole
                    .disks(&placement)
                    .iter()
                    .any(|(_, serial)| verdict::disk_halves(&domain, serial) != (false, false));
                Ok(if self.handover.facts.may_overlap() {
                    Seen::Holds
                } else if licensed {
                    Seen::missing(format!("{} has the licence", place.guest_name))
                } else {
                    self.revoked(&place, &why)
                })
            }
            Err(refused) => Err(refused),
        }
    }

    /// Whether a target that is off has no licence to start a copy by when it boots, where the source must not run beside it:
    /// the source gets its licence back before the rest is taken from the target.
    async fn look_disarmed(&self, place: &Place, placement: &Placement, domain: &GuestDomain) -> Look {
        if self.handover.facts.may_overlap() {
            return Ok(Seen::Holds);
        }
        let mut disks = Licence::Sole.disks(placement).into_iter();
        if let Some((role, _)) = disks.find(|(_, s)| verdict::disk_halves(domain, s) != (false, false)) {
            let (name, disk) = (&place.guest_name, word(role));
            return Ok(Seen::missing(format!("{name}, which is off, has {disk}")));
        }
        if Licence::Sole.has_bundle(placement) {
            return self.without_grant(place, Seen::Holds).await;
        }
        Ok(Seen::Holds)
    }

    /// An undo whose guest is off waits for it where nothing that follows would keep its copy from starting, or running on,
    /// when it is back: the service is at home there, or it must not run beside the source and is in a saved image.
    fn awake_for_undo(&self, place: &Place, domain: &GuestDomain) -> Act {
        let name = &place.guest_name;
        if domain.summary.managed_save && !self.handover.facts.may_overlap() {
            return Err(StepError::Failed(verdict::asleep(name, domain).text));
        }
        if self.is_at_home(place) {
            let service = &self.handover.service;
            return Err(StepError::Failed(format!(
                "guest {name} is off, and would start {service} when it is back; start it"
            )));
        }
        Ok(())
    }

    /// Whether a place is the service's home: source and target are one guest.
    fn is_at_home(&self, place: &Place) -> bool {
        self.handover
            .source
            .as_ref()
            .is_some_and(|p| p.guest == place.guest)
    }

    /// Stops the target's units; where its agent is silent, or it is off, and the source must not run beside it, takes its
    /// licence.
    pub(super) async fn unstart(&mut self) -> Act {
        let (place, placement) = self.target_copy();
        let alone = !self.handover.facts.may_overlap() && !self.is_at_home(&place);
        if alone && !self.inspect(&place).await?.is_active() {
            return self.take_licence(&place, &Licence::Sole.disks(&placement)).await;
        }
        match self.step(Goal::Start, &place, &placement, GuestStep::Stop).await {
            Err(StepError::Failed(why)) if alone => {
                self.wait_for_silence(Goal::Start, &place, &why).await?;
                self.revoke(Goal::Start, &place, &Licence::Sole.disks(&placement))
                    .await
            }
            other => other,
        }
    }

    /// `Ok` once an agent has been silent for as long as it may; until then the error that the driver tries again.
    ///
    /// # Errors
    /// It has not been silent for long.
    pub(super) async fn wait_for_silence(&mut self, goal: Goal, place: &Place, why: &str) -> Act {
        let now = self.world.clock.now();
        let since = match self.handover.facts.silent.filter(|s| s.guest == place.guest) {
            Some(since) => since.at,
            None => {
                self.handover.facts.silent = Some(Since {
                    guest: place.guest,
                    at: now,
                });
                self.journal(goal, format!("{} does not answer: {why}", place.guest_name))
                    .await?;
                now
            }
        };
        let limit = u64::try_from(self.world.limits.silence.as_millis()).unwrap_or(u64::MAX);
        if now.saturating_sub(since) < limit {
            return Err(StepError::Failed(why.to_owned()));
        }
        Ok(())
    }

    /// Whether the source has its licence back, and serves again where it did.
    pub(super) async fn look_licence_returned(&mut self, licence: Licence) -> Look {
        let skipped = match licence {
            Licence::Whole => Rule::FenceUndo,
            Licence::Sole => Rule::SourceUndo,
        };
        if !self.keeps(skipped) {
            return Ok(Seen::Holds);
        }
        let (place, placement) = self.source_copy()?;
        let domain = self.inspect(&place).await?;
        let active = domain.is_active();
        if !active && domain.summary.managed_save && self.keeps(Rule::Asleep) {
            // It comes back with the disks that it had when it was saved: neither more nor fewer can be given to it.
            return Err(StepError::Failed(
                verdict::asleep(&place.guest_name, &domain).text,
            ));
        }
        for (role, serial) in licence.disks(&placement) {
            let (live, config) = kept_halves(&domain, role, &serial);
            if (active && !live) || !config {
                return Ok(Seen::missing(format!(
                    "{} lacks {}",
                    place.guest_name,
                    word(role)
                )));
            }
        }
        if active && self.had_failed().await? {
            return self.look_put_back(&place, &placement).await;
        }
        if !active || !self.was_up() {
            return Ok(Seen::Holds);
        }
        let copy = self.copy(&place, &placement).await?;
        let started = verdict::started(&self.handover.facts, &copy, placement.links.len());
        match self.unless_late(place.guest, started) {
            Seen::Holds => self.look_serving_again(place.guest, &placement).await,
            other => Ok(other),
        }
    }

    /// Gives the source its licence back, and starts it where it was up and runs.
    pub(super) async fn return_licence(&mut self, goal: Goal, licence: Licence) -> Act {
        let (place, placement) = self.source_copy()?;
        for (role, serial) in licence.disks(&placement) {
            let source = match role {
                DiskRole::Bundle => self.granted_before(&place, &serial).await?,
                DiskRole::Volume => self.volume_path()?,
            };
            self.give_disk(goal, &place, role, &serial, source).await?;
        }
        self.handover.facts.revoked = None;
        let domain = self.inspect(&place).await?;
        if domain.is_active() && self.was_up() {
            return self.link_and_start(goal, &place, &placement).await;
        }
        if domain.is_active() && self.had_failed().await? {
            return self.put_back(goal, &place, &placement).await;
        }
        Ok(())
    }

    /// Whether the source cannot come back with its copy: no definition has its disks, and it is proved off.
    pub(super) async fn look_fenced(&mut self) -> Look {
        let (place, placement) = self.source_copy()?;
        let all = self.world.hypervisor.everywhere(place.guest).await?;
        if !self.keeps(Rule::FenceCheck) && !verdict::is_armed(&all, &placement) {
            return Ok(Seen::Holds);
        }
        let seen = verdict::fenced(&place.guest_name, &all, &placement);
        self.without_grant(&place, seen).await
    }

    /// Takes every disk of the service from every persistent definition of the source.
    pub(super) async fn fence(&mut self) -> Act {
        let (place, placement) = self.source_copy()?;
        if let Some(domain) = self.world.hypervisor.inspect(place.guest).await? {
            self.check_volume_source(&place, &placement, &domain)?;
        }
        self.journal(
            Goal::Fence,
            format!(
                "takes the disks from the definition of {}, which is off",
                place.guest_name
            ),
        )
        .await?;
        for (_, serial) in Licence::Whole.disks(&placement) {
            self.world
                .hypervisor
                .take(place.guest, Half::Config, &serial)
                .await?;
        }
        self.end_grant(&place).await
    }

    async fn take_licence(&self, place: &Place, disks: &[(DiskRole, DiskSerial)]) -> Act {
        let order = match self.keeps(Rule::ConfigFirst) {
            true => [Half::Config, Half::Live],
            false => [Half::Live, Half::Config],
        };
        for half in order {
            for (_, serial) in disks {
                let domain = self.inspect(place).await?;
                let (live, config) = verdict::disk_halves(&domain, serial);
                if (half == Half::Config && config) || (half == Half::Live && live) {
                    self.world.hypervisor.take(place.guest, half, serial).await?;
                }
            }
        }
        if disks.iter().any(|(role, _)| *role == DiskRole::Bundle) {
            self.end_grant(place).await?;
        }
        Ok(())
    }

    /// Gives one disk to a guest: live while it runs, then config; each only where it is missing.
    pub(super) async fn give_disk(
        &mut self,
        goal: Goal,
        place: &Place,
        role: DiskRole,
        serial: &DiskSerial,
        source: String,
    ) -> Act {
        let _guard = self.world.guest_lock(place.guest).await;
        let domain = self.inspect(place).await?;
        let active = domain.is_active();
        let (live, config) = kept_halves(&domain, role, serial);
        if (live || !active) && config {
            return Ok(());
        }
        if goal == Goal::Adopt && !active {
            // Only where it is opened at once QEMU's lock tells that another guest has it.
            let name = &place.guest_name;
            return Err(StepError::Failed(format!("guest {name} is not running any more")));
        }
        self.control(place, &domain).await?;
        let slot = disk_slot::choose(&domain, serial).map_err(|obstacle| {
            StepError::Refused(Reason::new(
                "Unsuitable",
                format!("guest {} will not do: {obstacle}", place.guest_name),
            ))
        })?;
        let disk = slot.disk(role, serial.clone(), source);
        self.journal(
            goal,
            format!(
                "gives {} {} as {} at unit {}",
                place.guest_name,
                word(role),
                disk.target,
                disk.address.unit
            ),
        )
        .await?;
        let hypervisor = &self.world.hypervisor;
        if active && slot.add_live_controller {
            hypervisor
                .add_scsi_controller(place.guest, Half::Live, slot.address.controller)
                .await?;
        }
        if slot.add_config_controller {
            hypervisor
                .add_scsi_controller(place.guest, Half::Config, slot.address.controller)
                .await?;
        }
        if active && !live {
            hypervisor.give(place.guest, Half::Live, &disk).await?;
        }
        if !config {
            if verdict::disk_halves(&domain, serial).1 {
                // Its source is another's, such as a grant that is gone.
                hypervisor.take(place.guest, Half::Config, serial).await?;
            }
            hypervisor.give(place.guest, Half::Config, &disk).await?;
        }
        Ok(())
    }

    /// One guest is controlled by one daemon: its metadata says by which, before anything is given to it.
    async fn control(&self, place: &Place, domain: &GuestDomain) -> Act {
        let (own, hypervisor) = (&self.world.host, &self.world.hypervisor);
        let refuse = |other: &str| {
            let obstacle = Obstacle::ControlledElsewhere(other.to_owned());
            Err(StepError::Refused(Reason::new(
                "Unsuitable",
                format!("guest {} will not do: {obstacle}", place.guest_name),
            )))
        };
        if let Some(other) = domain.summary.other_controller(own) {
            return refuse(other);
        }
        if domain.summary.controller.is_none() {
            hypervisor.claim_guest(place.guest, own).await?;
            // Two daemons may have written at the same time: the last one won.
            if let Some(other) = self.inspect(place).await?.summary.other_controller(own) {
                return refuse(other);
            }
        }
        Ok(())
    }

    /// The volume's source is read where it is taken: another one than the table's is not touched.
    fn check_volume_source(&self, place: &Place, placement: &Placement, domain: &GuestDomain) -> Act {
        match (&self.handover.facts.volume, &placement.data) {
            (Some(volume), Some(data)) => match verdict::other_source(domain, &data.serial, &volume.path) {
                Some(other) => Err(StepError::Refused(Reason::new(
                    "VolumeChanged",
                    format!(
                        "the data volume of {} is {other} on {}, and {} in the table; a snapshot may have moved it: \
                         merge it (virsh blockcommit) or put it right first",
                        placement.service, place.guest_name, volume.path
                    ),
                ))),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// The path of the service's data volume.
    ///
    /// # Errors
    /// The handover has none.
    pub(super) fn volume_path(&self) -> Result<String, StepError> {
        path_of(&self.handover).ok_or_else(|| {
            StepError::Refused(Reason::new(
                "Internal",
                format!("handover {} has no data volume", self.handover.id),
            ))
        })
    }
}

fn path_of(handover: &Handover) -> Option<String> {
    let volume = handover.facts.volume.as_ref()?;
    (!volume.path.is_empty()).then(|| volume.path.clone())
}

fn word(role: DiskRole) -> &'static str {
    match role {
        DiskRole::Bundle => "the bundle disk",
        DiskRole::Volume => "the data volume",
    }
}
