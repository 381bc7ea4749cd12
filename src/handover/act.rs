//! Acts: what is done for a goal that does not hold, and for an undo that does not. Each is safe to repeat.

use super::goals::{Goal, Kind};
use super::grant::kept_halves;
use super::licence::Licence;
use super::observe::Source;
use super::protocol::Rule;
use super::record::{Duty, Place, Reason};
use super::run::Run;
use super::verdict;
use super::world::StepError;
use crate::model::disk::DiskRole;
use crate::model::ids::{Digest, HostId};
use crate::model::life::{Enablement, LifeState};
use crate::model::placement::Placement;
use crate::model::service::ServiceRecord;
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
            Goal::Lower => self.lower().await,
            Goal::Fence => self.fence().await,
            Goal::Lead => self.lead().await,
            Goal::Stage => self.stage().await,
            Goal::Adopt => self.adopt().await,
            Goal::Quiesce if self.handover.kind == Kind::Move => self.quiesce().await,
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
        if std::mem::take(&mut self.recent.supersedes) {
            let (place, placement) = self.place_of_undo(goal)?;
            return self.step(goal, &place, &placement, GuestStep::Supersede).await;
        }
        match goal {
            Goal::Reserve => self.release().await,
            Goal::Fence => self.return_licence(goal, Licence::Whole).await,
            Goal::Stage => self.unstage().await,
            Goal::Adopt => self.unadopt().await,
            Goal::Quiesce if self.handover.kind == Kind::Move => {
                self.return_licence(goal, Licence::Sole).await
            }
            Goal::Quiesce => {
                let (place, placement) = self.source_copy()?;
                match self.had_failed().await? {
                    true => self.put_back(goal, &place, &placement).await,
                    false => self.link_and_start(goal, &place, &placement).await,
                }
            }
            Goal::Switch => {
                let (place, old) = self.source()?;
                let (place, old, new) = (place.clone(), old.clone(), self.target.clone());
                self.step(goal, &place, &new, GuestStep::Uninstall).await?;
                self.step(goal, &place, &old, GuestStep::Install).await
            }
            Goal::Start => self.unstart().await,
            Goal::Publish | Goal::Unpublish => self.withdraw().await,
            Goal::Observe
            | Goal::Lower
            | Goal::Lead
            | Goal::Confirm
            | Goal::Record
            | Goal::Drain
            | Goal::Retire
            | Goal::Forget => Ok(()),
        }
    }

    pub(super) async fn observe(&mut self) -> Act {
        let seen = self.observe_all().await?;
        let service = self.world.table.service(&self.handover.service).await?;
        let target_name = self.handover.target.guest_name.clone();
        self.handover.facts.target_addresses = (self.world.address_rule)(&seen.addresses);
        if self.needs_target()
            && self.handover.facts.name.is_some()
            && self.handover.facts.target_addresses.is_empty()
        {
            return Err(StepError::Refused(Reason::new(
                "Unsuitable",
                format!(
                    "guest {target_name} will not do: {}",
                    crate::model::obstacle::Obstacle::NoAddress
                ),
            )));
        }
        if let Some(service) = &service {
            let (life, enablement) = match &seen.source {
                Source::Copy(copy) => verdict::observed(service, copy, seen.records.as_ref()),
                // What the table knows is the latest that anybody knows.
                Source::Off | Source::None => (service.last_known(), service.enablement),
                // Somebody may have started it since it was seen.
                Source::Silent => (service.wanted, service.enablement),
            };
            self.handover.facts.observed = Some(life);
            self.handover.facts.down =
                matches!(&seen.source, Source::Copy(copy) if verdict::is_down_unwanted(copy, life));
            self.handover.facts.enablement = enablement;
            self.handover.facts.source_dead = matches!(seen.source, Source::Off);
            if let Source::Copy(copy) = &seen.source {
                self.handover.facts.uid = copy.uid;
            }
            if !matches!(self.handover.kind, Kind::Start | Kind::Stop) {
                self.handover.facts.life = life;
            }
        }
        self.handover.facts.observed_at = Some(self.world.clock.now());
        self.handover.facts.observed_row = service.as_ref().map(|row| row.observed_at);
        let seen = self
            .handover
            .facts
            .observed
            .map_or("not there yet", LifeState::as_str);
        let address = verdict::list(&self.handover.facts.target_addresses);
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
        let halves = kept_halves(&domain, DiskRole::Bundle, &placement.serial);
        if halves == (true, true) && self.in_place() {
            return Ok(());
        }
        if self.in_place() {
            return self.give_bundle(&place).await;
        }
        if self.lacks_only_its_disk(&place, &placement).await? {
            self.give_bundle(&place).await?;
            self.recent.plugged = self.starts_by_its_disk();
            return Ok(());
        }
        // The links are taken away before the disk is given, so that its arrival starts nothing.
        if !self.keeps(Rule::LinkLate) && halves == (false, false) {
            return self.give_bundle(&place).await;
        }
        self.step(Goal::Stage, &place, &placement, GuestStep::Install)
            .await?;
        if self.handover.facts.displaced.is_some() && !self.handover.facts.wants_running() {
            // An old copy still drains there, and the service was stopped meanwhile.
            self.step(Goal::Stage, &place, &placement, GuestStep::Stop)
                .await?;
        }
        if !self.keeps(Rule::LinkLate) && self.handover.facts.wants_running() {
            let link = GuestStep::Link(self.handover.facts.enablement);
            self.step(Goal::Stage, &place, &placement, link).await?;
        }
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
            self.give_bundle(&place).await?;
        }
        Ok(())
    }

    async fn give_bundle(&mut self, place: &Place) -> Act {
        let (serial, generation) = (self.target.serial.clone(), self.handover.generation);
        let source = self.granted(place, &serial, generation).await?;
        self.give_disk(Goal::Stage, place, DiskRole::Bundle, &serial, source)
            .await
    }

    /// Brings a bundle's image to a host from the daemon's own host, if it is not there.
    pub(super) async fn bring_image(&self, host: &HostId, digest: &Digest) -> Act {
        let hypervisor = &self.world.hypervisor;
        let size = if *digest == self.handover.target.digest {
            self.image_size
        } else {
            self.world
                .table
                .bundle(digest)
                .await?
                .map_or(0, |bundle| bundle.size)
        };
        match hypervisor.image(host, digest).await? {
            Some((_, found)) if found >= size => Ok(()),
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
                hypervisor
                    .copy_image(&self.world.host, host, digest, size)
                    .await?;
                Ok(())
            }
        }
    }

    /// Takes everything from the target: config first, units, then live.
    async fn unstage(&mut self) -> Act {
        let (place, placement) = (self.handover.target.clone(), self.target.clone());
        let uninstall = !self.in_place();
        self.take_away(Goal::Stage, &place, &placement, uninstall).await
    }

    async fn retire(&mut self) -> Act {
        // Since the look: only while this holds the service no other handover acts.
        if self.retired_by_another().await?.is_some() {
            return Ok(());
        }
        let (place, placement) = self.source()?;
        let (place, placement) = (place.clone(), placement.clone());
        let uninstall = !self.in_place();
        self.take_away(Goal::Retire, &place, &placement, uninstall).await
    }

    /// Config first, then the units by the agent, then live: a guest whose agent is silent loses its licence all the
    /// same (design section 3), and its leftovers stay owed.
    async fn take_away(&mut self, goal: Goal, place: &Place, placement: &Placement, uninstall: bool) -> Act {
        let domain = self.inspect(place).await?;
        // In place the data volume stays: both bundles' copies have it.
        let serials: Vec<_> = if goal == Goal::Retire && uninstall {
            // An upgrade in place may have left the disk of an earlier bundle there.
            self.every_serial.to_vec()
        } else if uninstall {
            placement.serials().cloned().collect()
        } else if goal == Goal::Retire {
            self.left_behind()
        } else {
            vec![placement.serial.clone()]
        };
        let halves = |serial| verdict::disk_halves(&domain, serial);
        let config_first = self.keeps(Rule::ConfigFirst);
        if config_first {
            for serial in serials.iter().filter(|serial| halves(serial).1) {
                self.world
                    .hypervisor
                    .take(place.guest, Half::Config, serial)
                    .await?;
            }
        }
        let units = if uninstall && domain.is_active() {
            self.step(goal, place, placement, GuestStep::Uninstall).await
        } else {
            Ok(())
        };
        for serial in serials.iter().filter(|serial| halves(serial).0) {
            self.world
                .hypervisor
                .take(place.guest, Half::Live, serial)
                .await?;
        }
        if !config_first {
            for serial in serials.iter().filter(|serial| halves(serial).1) {
                self.world
                    .hypervisor
                    .take(place.guest, Half::Config, serial)
                    .await?;
            }
        }
        self.end_grant(place).await?;
        units
    }

    /// What a silent target keeps of the units goes when its agent speaks: as a duty that the handover's end makes.
    pub(super) async fn leave_to_a_duty(&mut self, goal: Goal) -> Act {
        let place = &self.handover.target;
        self.handover.facts.displaced = Some(Duty {
            service: self.handover.service.clone(),
            guest: place.guest,
            digest: place.digest.clone(),
            generation: self.handover.generation,
            serve_until: self.world.clock.now(),
            files: place.files.clone(),
        });
        self.journal(
            goal,
            format!(
                "the rest on {} is left to a duty",
                self.handover.target.guest_name
            ),
        )
        .await
    }

    async fn start(&mut self, goal: Goal) -> Act {
        let (place, placement) = (self.handover.target.clone(), self.target.clone());
        self.link_and_start(goal, &place, &placement).await
    }

    /// A masked unit cannot be started: it is masked again afterwards.
    pub(super) async fn link_and_start(&mut self, goal: Goal, place: &Place, placement: &Placement) -> Act {
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
        if matches!(self.handover.kind, Kind::Start | Kind::Stop) {
            self.decide_record(&row).await?;
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

    /// A start and a stop commit by the journal, before the row says so: turned back after that, the row would say what was
    /// undone.
    async fn decide_record(&mut self, row: &ServiceRecord) -> Act {
        if self.handover.committed {
            return Ok(());
        }
        self.handover.committed = true;
        let text = format!("{} is wanted {}", row.id, row.wanted.as_str());
        let decided = self.journal(Goal::Record, text).await;
        self.handover.committed = decided.is_ok();
        decided
    }

    async fn forget(&mut self) -> Act {
        let Some(row) = self.world.table.service(&self.handover.service).await? else {
            return Ok(());
        };
        self.discard_volume().await?;
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
        // The zone is left alone by a start and a stop: what it says of the service stays true.
        let published = !matches!(h.kind, Kind::Start | Kind::Stop) && !h.facts.target_addresses.is_empty();
        let addresses = match before {
            Some(before) if !published => before.addresses.clone(),
            _ => h.facts.target_addresses.clone(),
        };
        ServiceRecord {
            id: h.service.clone(),
            bundle: h.target.digest.clone(),
            guest: h.target.guest,
            guest_name: h.target.guest_name.clone(),
            host: h.target.host.clone(),
            addresses,
            wanted: life,
            observed: life,
            observed_at: self.world.clock.now(),
            enablement: h.facts.enablement,
            dns: self.manifest.dns.clone(),
            generation: h.generation,
            uid: h.facts.uid.or(before.and_then(|b| b.uid)),
            frozen: None,
            volume: h.facts.volume.clone().or(before.and_then(|b| b.volume.clone())),
            files: h.target.files.clone(),
        }
    }
}
