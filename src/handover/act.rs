//! Acts: what is done for a goal that does not hold, and for an undo that does not. Each is safe to repeat.

use super::goals::Goal;
use super::record::Reason;
use super::run::Run;
use super::verdict;
use super::world::StepError;
use crate::model::guest::GuestDomain;
use crate::model::ids::HostId;
use crate::model::life::{Enablement, LifeState};
use crate::model::service::ServiceRecord;
use crate::plan::disk_slot;
use crate::ports::{Commit, GuestStep, Half, JournalEntry};

type Act = Result<(), StepError>;

impl Run<'_> {
    /// Does what a goal needs.
    ///
    /// # Errors
    /// A port that refused, failed, or whose effect is unknown.
    pub async fn act(&mut self, goal: Goal) -> Act {
        match goal {
            Goal::Reserve => self.claim().await,
            Goal::Observe => self.observe().await,
            Goal::Stage => self.stage().await,
            Goal::Quiesce => {
                let (place, placement) = self.source()?;
                let (place, placement) = (place.clone(), placement.clone());
                self.step(goal, &place, &placement, GuestStep::Stop).await
            }
            Goal::Switch => {
                let (place, old) = self.source()?;
                let (place, old, new) = (place.clone(), old.clone(), self.target.clone());
                self.step(goal, &place, &old, GuestStep::Uninstall).await?;
                self.step(goal, &place, &new, GuestStep::Install).await
            }
            Goal::Start => self.start(goal).await,
            Goal::Confirm | Goal::Drain => Ok(()),
            Goal::Publish => self.publish().await,
            Goal::Unpublish => self.unpublish().await,
            Goal::Record => self.record().await,
            Goal::Retire => self.retire().await,
            Goal::Forget => self.forget().await,
        }
    }

    /// Does what the undo of a goal needs.
    ///
    /// # Errors
    /// As [`Run::act`].
    pub async fn undo(&mut self, goal: Goal) -> Act {
        match goal {
            Goal::Reserve => self.release().await,
            Goal::Stage => self.unstage().await,
            Goal::Quiesce => {
                let (place, placement) = self.source()?;
                let (place, placement) = (place.clone(), placement.clone());
                self.link_and_start(goal, &place, &placement).await
            }
            Goal::Switch => {
                let (place, old) = self.source()?;
                let (place, old, new) = (place.clone(), old.clone(), self.target.clone());
                self.step(goal, &place, &new, GuestStep::Uninstall).await?;
                self.step(goal, &place, &old, GuestStep::Install).await
            }
            Goal::Start => {
                let (place, placement) = (self.handover.target.clone(), self.target.clone());
                self.step(goal, &place, &placement, GuestStep::Stop).await
            }
            Goal::Publish => self.withdraw().await,
            Goal::Observe
            | Goal::Confirm
            | Goal::Unpublish
            | Goal::Record
            | Goal::Drain
            | Goal::Retire
            | Goal::Forget => Ok(()),
        }
    }

    async fn observe(&mut self) -> Act {
        let (copy, records, addresses) = self.observe_all().await?;
        let service = self.world.table.service(&self.handover.service).await?;
        let target_name = self.handover.target.guest_name.clone();
        self.handover.facts.target_address = (self.world.address_rule)(&addresses);
        if self.handover.facts.name.is_some() && self.handover.facts.target_address.is_none() {
            return Err(StepError::Refused(Reason::new(
                "Unsuitable",
                format!(
                    "guest {target_name} will not do: {}",
                    crate::model::obstacle::Obstacle::NoAddress
                ),
            )));
        }
        if let (Some(copy), Some(service)) = (&copy, &service) {
            let (life, enablement) = verdict::observed(service, copy, records.as_ref());
            self.handover.facts.observed = Some(life);
            self.handover.facts.enablement = enablement;
            self.handover.facts.uid = copy.uid;
            if !matches!(
                self.handover.kind,
                super::goals::Kind::Start | super::goals::Kind::Stop
            ) {
                self.handover.facts.life = life;
            }
        }
        self.handover.facts.observed_at = Some(self.world.clock.now());
        let seen = self
            .handover
            .facts
            .observed
            .map_or("not there yet", LifeState::as_str);
        let address = self
            .handover
            .facts
            .target_address
            .map_or_else(|| "no address".to_owned(), |a| a.to_string());
        self.journal(
            Goal::Observe,
            format!(
                "{} is {seen}, {}; {target_name} serves at {address}; old TTL {} s",
                self.handover.service,
                self.handover.facts.enablement.as_str(),
                self.handover.facts.old_ttl
            ),
        )
        .await
    }

    async fn stage(&mut self) -> Act {
        let (place, placement) = (self.handover.target.clone(), self.target.clone());
        let domain = self.inspect(&place).await?;
        let halves = verdict::disk_halves(&domain, &placement.serial);
        if halves == (true, true) && self.in_place() {
            return Ok(());
        }
        if self.in_place() {
            return self.give_disk(&domain, halves).await;
        }
        // The links are taken away before the disk is given, so that its arrival starts nothing.
        self.step(Goal::Stage, &place, &placement, GuestStep::Install)
            .await?;
        if self.handover.facts.enablement == Enablement::Masked {
            self.step(
                Goal::Stage,
                &place,
                &placement,
                GuestStep::Link(Enablement::Masked),
            )
            .await?;
        }
        if halves != (true, true) {
            self.give_disk(&domain, halves).await?;
        }
        Ok(())
    }

    /// The path of the target bundle's image on a host; brought there from the daemon's own host if need be.
    async fn image(&self, host: &HostId) -> Result<String, StepError> {
        let digest = &self.handover.target.digest;
        let hypervisor = &self.world.hypervisor;
        match hypervisor.image(host, digest).await? {
            Some((path, size)) if size >= self.image_size => Ok(path),
            _ if *host == self.world.host => Err(StepError::Refused(Reason::new(
                "NoSuchBundle",
                format!(
                    "the image of bundle {} is not in the pool of host {host}; register it again",
                    digest.short()
                ),
            ))),
            _ => {
                self.journal(Goal::Stage, format!("brings the image to host {host}"))
                    .await?;
                Ok(hypervisor
                    .copy_image(&self.world.host, host, digest, self.image_size)
                    .await?)
            }
        }
    }

    /// Gives the bundle disk: live, then config; each only where it is missing.
    async fn give_disk(&mut self, domain: &GuestDomain, halves: (bool, bool)) -> Act {
        let place = self.handover.target.clone();
        let host = &domain.summary.host;
        let source = self.image(host).await?;
        let _guard = self.world.guest_lock(place.guest).await;
        let domain = self.inspect(&place).await?;
        let slot = disk_slot::choose(&domain, &self.target.serial).map_err(|obstacle| {
            StepError::Refused(Reason::new(
                "Unsuitable",
                format!("guest {} will not do: {obstacle}", place.guest_name),
            ))
        })?;
        let disk = slot.disk(self.target.serial.clone(), source);
        if self.handover.facts.disk.as_ref() != Some(&disk) {
            self.handover.facts.disk = Some(disk.clone());
            self.journal(
                Goal::Stage,
                format!(
                    "gives {} disk {} at unit {}",
                    place.guest_name, disk.target, disk.address.unit
                ),
            )
            .await?;
        }
        let hypervisor = &self.world.hypervisor;
        if slot.add_live_controller {
            hypervisor
                .add_scsi_controller(place.guest, Half::Live, slot.address.controller)
                .await?;
        }
        if slot.add_config_controller {
            hypervisor
                .add_scsi_controller(place.guest, Half::Config, slot.address.controller)
                .await?;
        }
        if !halves.0 {
            hypervisor.give(place.guest, Half::Live, &disk).await?;
        }
        if !halves.1 {
            hypervisor.give(place.guest, Half::Config, &disk).await?;
        }
        Ok(())
    }

    /// Takes everything from the target: config first, units, then live.
    async fn unstage(&mut self) -> Act {
        let (place, placement) = (self.handover.target.clone(), self.target.clone());
        let uninstall = !self.in_place();
        self.take_away(Goal::Stage, &place, &placement, uninstall).await
    }

    async fn retire(&mut self) -> Act {
        let (place, placement) = self.source()?;
        let (place, placement) = (place.clone(), placement.clone());
        let uninstall = !self.in_place();
        self.take_away(Goal::Retire, &place, &placement, uninstall).await
    }

    /// Config first, then the units by the agent, then live: a guest whose agent is silent loses its licence all the
    /// same (design section 3), and its leftovers stay owed.
    async fn take_away(
        &mut self,
        goal: Goal,
        place: &super::record::Place,
        placement: &crate::model::placement::Placement,
        uninstall: bool,
    ) -> Act {
        let domain = self.inspect(place).await?;
        let (live, config) = verdict::disk_halves(&domain, &placement.serial);
        if config {
            self.world
                .hypervisor
                .take(place.guest, Half::Config, &placement.serial)
                .await?;
        }
        if !domain.summary.is_running() {
            return Ok(());
        }
        let units = if uninstall {
            self.step(goal, place, placement, GuestStep::Uninstall).await
        } else {
            Ok(())
        };
        if live {
            self.world
                .hypervisor
                .take(place.guest, Half::Live, &placement.serial)
                .await?;
        }
        units
    }

    async fn start(&mut self, goal: Goal) -> Act {
        let (place, placement) = (self.handover.target.clone(), self.target.clone());
        self.link_and_start(goal, &place, &placement).await
    }

    /// A masked unit cannot be started: it is masked again afterwards.
    async fn link_and_start(
        &mut self,
        goal: Goal,
        place: &super::record::Place,
        placement: &crate::model::placement::Placement,
    ) -> Act {
        let enablement = self.handover.facts.enablement;
        self.step(goal, place, placement, GuestStep::Start(enablement))
            .await?;
        if enablement == Enablement::Masked {
            self.step(goal, place, placement, GuestStep::Link(Enablement::Masked))
                .await?;
        }
        Ok(())
    }

    async fn record(&mut self) -> Act {
        let before = self.world.table.service(&self.handover.service).await?;
        let row = self.service_row(before.as_ref());
        if matches!(
            self.handover.kind,
            super::goals::Kind::Start | super::goals::Kind::Stop
        ) {
            return Ok(self.world.table.observe(&row).await?);
        }
        let entry = self.entry(
            Goal::Record,
            format!(
                "{} is on {} at generation {}",
                row.id, row.guest_name, row.generation
            ),
        );
        let duty = self.duty();
        self.handover.committed = true;
        let commit = Commit {
            handover: &self.handover,
            service: &row,
            duty: duty.as_ref(),
            entry: &entry,
        };
        match self.world.table.commit(commit).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.handover.committed = self.handover.facts.name.is_some();
                Err(error.into())
            }
        }
    }

    async fn forget(&mut self) -> Act {
        let Some(row) = self.world.table.service(&self.handover.service).await? else {
            return Ok(());
        };
        let duty = if self.handover.facts.retire_owed {
            self.duty()
        } else {
            None
        };
        let entry = self.entry(Goal::Forget, format!("{} is removed", row.id));
        let commit = Commit {
            handover: &self.handover,
            service: &row,
            duty: duty.as_ref(),
            entry: &entry,
        };
        Ok(self.world.table.forget(commit).await?)
    }

    fn entry(&self, goal: Goal, text: String) -> JournalEntry {
        JournalEntry {
            at: self.world.clock.now(),
            step: goal.as_str().to_owned(),
            text,
        }
    }

    /// The service's row as it is once this handover is recorded.
    fn service_row(&self, before: Option<&ServiceRecord>) -> ServiceRecord {
        let h = &self.handover;
        let life = match (h.facts.life.wants_running(), &h.facts.name) {
            (true, Some(_)) => LifeState::Accessible,
            (true, None) => LifeState::Running,
            (false, _) => h.facts.life,
        };
        ServiceRecord {
            id: h.service.clone(),
            bundle: h.target.digest.clone(),
            guest: h.target.guest,
            guest_name: h.target.guest_name.clone(),
            host: h.target.host.clone(),
            address: h.facts.target_address.or(before.and_then(|b| b.address)),
            wanted: life,
            observed: life,
            observed_at: self.world.clock.now(),
            enablement: h.facts.enablement,
            dns: self.manifest.dns.clone(),
            generation: h.generation,
            uid: h.facts.uid.or(before.and_then(|b| b.uid)),
            frozen: None,
            files: h.target.files.clone(),
        }
    }
}
