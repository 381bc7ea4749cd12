//! Looks: fresh readings of libvirt, the guest, the zone and the table, judged by [`super::verdict`].

use std::time::Duration;

use super::goals::{Goal, Kind};
use super::grant::kept_halves;
use super::licence::Licence;
use super::protocol::Rule;
use super::record::{Place, Reason};
use super::run::Run;
use super::verdict::{self, Seen};
use super::world::StepError;
use crate::model::disk::DiskRole;
use crate::model::guest::{CopyState, GuestDomain, UnitState};
use crate::model::ids::{GuestId, ServiceId};
use crate::model::placement::Placement;
use crate::model::service::ServiceRecord;
use crate::ports::Tries;

type Look = Result<Seen, StepError>;

/// How long one run of a check may take.
pub(super) const LONGEST_CHECK: Duration = Duration::from_secs(30);

impl Run<'_> {
    /// Whether a goal holds.
    ///
    /// # Errors
    /// A port that did not answer, or refused.
    pub async fn look(&mut self, goal: Goal) -> Look {
        match goal {
            Goal::Reserve => self.look_reserve().await,
            Goal::Observe => self.look_observed().await,
            Goal::Lower => self.look_lowered().await,
            Goal::Fence => self.look_fenced().await,
            Goal::Lead => self.look_led().await,
            Goal::Stage => self.look_stage().await,
            Goal::Adopt => self.look_adopted().await,
            Goal::Quiesce if self.handover.kind == Kind::Move => self.look_quiesced().await,
            Goal::Quiesce => {
                let (place, placement) = self.source()?;
                let (place, placement) = (place.clone(), placement.clone());
                let copy = self.copy(&place, &placement).await?;
                Ok(Seen::holds_if(
                    copy.is_down() && !copy.mounted && !copy.data_mounted() && copy.links == 0,
                    "the source's units are up",
                ))
            }
            Goal::Switch => {
                let (place, placement) = (self.handover.target.clone(), self.target.clone());
                let copy = self.copy(&place, &placement).await?;
                Ok(Seen::holds_if(
                    copy.installed && !copy.files_differ,
                    "the units are those of the old bundle",
                ))
            }
            Goal::Start => {
                let seen = self.look_start().await;
                self.unless_target_is_off(seen).await
            }
            Goal::Confirm => {
                let seen = self.look_confirm().await;
                self.unless_target_is_off(seen).await
            }
            Goal::Publish => {
                let Some(name) = self.handover.facts.name.clone() else {
                    return Ok(Seen::Holds);
                };
                let records = self.world.names.read(&name).await?;
                Ok(match verdict::published(&self.handover, &records) {
                    Seen::Never(_) if !self.keeps(Rule::Claim) => Seen::missing("nothing was claimed"),
                    seen => seen,
                })
            }
            Goal::Unpublish => {
                let Some(name) = self.handover.facts.name.clone() else {
                    return Ok(Seen::Holds);
                };
                let records = self.world.names.read(&name).await?;
                Ok(verdict::unpublished(&self.handover, &records))
            }
            Goal::Record => self.look_record().await,
            Goal::Drain => self.look_drain().await,
            Goal::Retire => self.look_retire().await,
            Goal::Forget => {
                let there = self.world.table.service(&self.handover.service).await?.is_some();
                let seen = Seen::holds_if(!there, "the service is in the table");
                self.unless_recorded(seen).await
            }
        }
    }

    /// Whether the undo of a goal holds: nothing of it is left.
    ///
    /// # Errors
    /// A port that did not answer, or refused.
    pub async fn look_undone(&mut self, goal: Goal) -> Look {
        self.recent.supersedes = false;
        match goal {
            Goal::Reserve => {
                let Some(name) = self.handover.facts.name.clone() else {
                    return Ok(Seen::Holds);
                };
                if !self.handover.facts.claim_sent {
                    return Ok(Seen::Holds);
                }
                let records = self.world.names.read(&name).await?;
                Ok(verdict::released(&self.handover, &records))
            }
            Goal::Fence => self.look_licence_returned(Licence::Whole).await,
            Goal::Stage => self.look_unstaged().await,
            Goal::Adopt => self.look_unadopted().await,
            Goal::Quiesce if self.handover.kind == Kind::Move => {
                self.look_licence_returned(Licence::Sole).await
            }
            Goal::Quiesce => {
                let (place, placement) = self.source()?;
                let (place, placement) = (place.clone(), placement.clone());
                if !self.was_up() && !self.had_failed().await? {
                    return Ok(Seen::Holds);
                }
                if !self.was_up() {
                    return self.look_put_back(&place, &placement).await;
                }
                let copy = self.copy(&place, &placement).await?;
                let started = verdict::started(&self.handover.facts, &copy, placement.links.len());
                match self.unless_late(place.guest, started) {
                    Seen::Holds => self.look_serving_again(place.guest, &placement).await,
                    other => Ok(other),
                }
            }
            Goal::Switch => {
                let (place, placement) = self.source()?;
                let (place, placement) = (place.clone(), placement.clone());
                let copy = self.copy(&place, &placement).await?;
                let seen = Seen::holds_if(
                    copy.installed && !copy.files_differ,
                    "the units are those of the new bundle",
                );
                Ok(self.unless_late(place.guest, seen))
            }
            Goal::Start => self.look_unstarted().await,
            Goal::Publish | Goal::Unpublish => {
                let Some(name) = self.handover.facts.name.clone() else {
                    return Ok(Seen::Holds);
                };
                if !self.handover.facts.sent || !self.keeps(Rule::Settle) {
                    return Ok(Seen::Holds);
                }
                let records = self.world.names.read(&name).await?;
                let seen = match goal {
                    Goal::Unpublish => verdict::republished(&self.handover, &records),
                    _ => verdict::withdrawn(&self.handover, &records),
                };
                Ok(match seen {
                    Seen::Missing(_) if !self.keeps(Rule::AbortSwap) => Seen::Holds,
                    seen => seen,
                })
            }
            // What lower and lead did is undone with the claim, in one message: see `Run::release`.
            Goal::Lower
            | Goal::Lead
            | Goal::Observe
            | Goal::Confirm
            | Goal::Record
            | Goal::Drain
            | Goal::Retire
            | Goal::Forget => Ok(Seen::Holds),
        }
    }

    async fn look_reserve(&mut self) -> Look {
        let claims = !matches!(self.handover.kind, Kind::Start | Kind::Stop);
        let Some(name) = self.handover.facts.name.clone().filter(|_| claims) else {
            return Ok(Seen::Holds);
        };
        if !self.keeps(Rule::Claim) {
            return Ok(Seen::Holds);
        }
        let records = self.world.names.read(&name).await?;
        if verdict::is_left_alone(self.handover.kind, &records) {
            return Ok(Seen::Holds);
        }
        let service = self.world.table.service(&self.handover.service).await?;
        Ok(
            match verdict::claimable(&self.handover, service.as_ref(), &records) {
                verdict::Claimable::Ours => {
                    self.handover.facts.claim_seen = !self.handover.facts.claim_again;
                    Seen::Holds
                }
                verdict::Claimable::From { .. } => Seen::missing("the name is not claimed yet"),
                verdict::Claimable::No(reason) => Seen::Never(reason),
            },
        )
    }

    async fn look_stage(&mut self) -> Look {
        let (place, placement) = (self.handover.target.clone(), self.target.clone());
        let domain = self.inspect(&place).await?;
        if !domain.summary.is_running() {
            return Ok(Seen::Never(off(&place, &domain)));
        }
        let halves = kept_halves(&domain, DiskRole::Bundle, &placement.serial);
        if let Some(seen) = verdict::stage_lacks_disk(&place.guest_name, halves) {
            return Ok(seen);
        }
        let stored = self
            .world
            .hypervisor
            .image(&domain.summary.host, &place.digest)
            .await?;
        // A cut-off upload is shorter.
        let image = stored.is_some_and(|(_, size)| size >= self.image_size);
        if self.recent.plugged && image && halves == (true, true) {
            return Ok(Seen::Holds);
        }
        let copy = self.copy(&place, &placement).await?;
        let seen = verdict::stage(
            &self.handover.facts,
            &place.guest_name,
            placement.user.as_deref(),
            image,
            halves,
            &copy,
            self.in_place(),
        );
        self.recent.staged = (!self.in_place() && !copy.is_up()).then_some(copy);
        Ok(seen)
    }

    /// Whether nothing is left on the target. What a silent guest keeps of the units is left to a duty, once it has lost
    /// the disk.
    async fn look_unstaged(&mut self) -> Look {
        if self.old_copy_serves() {
            return Ok(Seen::Holds);
        }
        let (place, placement) = self.target_copy();
        let domain = self.inspect(&place).await?;
        let halves = verdict::disk_halves(&domain, &placement.serial);
        if !domain.is_active() {
            let seen = self.without_grant(&place, verdict::gone(halves, None)).await?;
            // Units stay on a guest that is off, and disks in the image of one that is asleep, until it is back.
            if seen == Seen::Holds && (!self.in_place() || domain.summary.managed_save) {
                self.leave_to_a_duty(Goal::Stage).await?;
            }
            return Ok(seen);
        }
        if self.in_place() {
            return self.without_grant(&place, verdict::gone(halves, None)).await;
        }
        match self.copy(&place, &placement).await {
            Ok(copy) => {
                let seen = verdict::gone(halves, Some(&copy));
                let seen = self.without_grant(&place, seen).await?;
                Ok(self.unless_late(place.guest, seen))
            }
            Err(StepError::Failed(_)) if halves != (false, false) => Ok(verdict::gone(halves, None)),
            Err(StepError::Failed(why)) => {
                self.wait_for_silence(Goal::Stage, &place, &why).await?;
                let seen = self.without_grant(&place, Seen::Holds).await?;
                if seen == Seen::Holds {
                    self.leave_to_a_duty(Goal::Stage).await?;
                }
                Ok(seen)
            }
            Err(refused) => Err(refused),
        }
    }

    /// Whether the source answers its check again after an undo started it. It may not have passed before either, so it
    /// is waited for no longer than the check's own timeout.
    pub(super) async fn look_serving_again(&mut self, guest: GuestId, placement: &Placement) -> Look {
        let Some(check) = &placement.check else {
            return Ok(Seen::Holds);
        };
        let now = self.world.clock.now();
        let since = *self.recent.restored_at.get_or_insert(now);
        let limit = u64::try_from(check.timeout.as_millis()).unwrap_or(u64::MAX);
        if now.saturating_sub(since) > limit {
            return Ok(Seen::Holds);
        }
        match self
            .world
            .guest
            .check(guest, placement, Tries::ONE, LONGEST_CHECK.min(check.timeout))
            .await?
        {
            Ok(()) => Ok(Seen::Holds),
            Err(why) => Ok(Seen::Pending {
                why: format!(
                    "{} is started again and does not answer yet: {why}",
                    placement.service
                ),
                again_in: check.interval,
            }),
        }
    }

    /// Whether the target's copy is up. While it is not, and must not run beside another, it waits for where an old one may run.
    async fn look_start(&mut self) -> Look {
        let seen = self.look_started().await?;
        if matches!(seen, Seen::Missing(_)) && !self.handover.facts.may_overlap() {
            self.runs_nowhere_else().await?;
        }
        Ok(seen)
    }

    async fn look_started(&mut self) -> Look {
        if std::mem::take(&mut self.recent.plugged) {
            return Ok(Seen::Pending {
                why: "the disk to start it".to_owned(),
                again_in: super::standby::STARTS_BY_ITSELF,
            });
        }
        let (place, placement) = self.target_copy();
        let copy = match self.recent.staged.take() {
            Some(copy) => copy,
            None => self.copy(&place, &placement).await?,
        };
        Ok(verdict::started(
            &self.handover.facts,
            &copy,
            placement.links.len(),
        ))
    }

    /// A target that answers nothing because it is off is not waited for: the source may be stopped already.
    async fn unless_target_is_off(&mut self, seen: Look) -> Look {
        if !matches!(seen, Err(StepError::Failed(_))) {
            return seen;
        }
        let place = self.handover.target.clone();
        let domain = self.inspect(&place).await?;
        if domain.is_active() {
            return seen;
        }
        Ok(Seen::Never(off(&place, &domain)))
    }

    async fn look_confirm(&mut self) -> Look {
        let (place, placement) = self.target_copy();
        if let Some(seen) = self.look_check(&place).await? {
            return Ok(seen);
        }
        // A unit may have gone down since it was started, and a check need not notice.
        let copy = self.world.guest.look(place.guest, &placement).await?;
        let seen = stays_up(&self.handover.service, &place.guest_name, &copy);
        if seen == Seen::Holds {
            self.recent.confirmed_at = Some(self.world.clock.now());
        }
        Ok(seen)
    }

    /// What keeps the target's check from passing; `None` if it passes, or there is none.
    async fn look_check(&mut self, place: &Place) -> Result<Option<Seen>, StepError> {
        let Some(check) = self.manifest.check.clone() else {
            return Ok(None);
        };
        let guest = place.guest;
        let tries = Tries {
            passes: check.successes,
            interval: check.interval,
        };
        let deadline = check.timeout.min(LONGEST_CHECK);
        if let Err(why) = self
            .world
            .guest
            .check(guest, &self.target, tries, deadline)
            .await?
        {
            return Ok(Some(Seen::Pending {
                why: format!(
                    "the check of {} on {} fails: {why}",
                    self.handover.service, place.guest_name
                ),
                again_in: check.interval,
            }));
        }
        Ok(None)
    }

    /// Whether the service was observed, and nobody has written its row since: a request looks before it has the service.
    async fn look_observed(&mut self) -> Look {
        let facts = &self.handover.facts;
        if facts.observed_at.is_none() {
            return Ok(Seen::missing("the service's true state is not known yet"));
        }
        let row = self.world.table.service(&self.handover.service).await?;
        let same = match (facts.observed_row, row) {
            (Some(seen), Some(row)) => row.observed_at == seen,
            _ => true,
        };
        Ok(Seen::holds_if(
            same,
            "the service has changed since it was looked at",
        ))
    }

    async fn look_record(&mut self) -> Look {
        let row = self.world.table.service(&self.handover.service).await?;
        let h = &self.handover;
        let same = |row: &ServiceRecord| {
            row.generation == h.generation && row.guest == h.target.guest && row.bundle == h.target.digest
        };
        let seen = match row {
            None => Seen::missing("the service is not in the table"),
            Some(row) if matches!(h.kind, Kind::Start | Kind::Stop) => {
                let holds = row.wanted == h.facts.life;
                return Ok(Seen::holds_if(holds, "the table has the state before"));
            }
            Some(row) => Seen::holds_if(same(&row), "the table has the state before"),
        };
        self.unless_recorded(seen).await
    }

    /// What the table's row says, unless this handover has recorded its end: with that its reservation ended, and what the
    /// row says since then may be another handover's.
    async fn unless_recorded(&self, seen: Seen) -> Look {
        match seen {
            Seen::Missing(_) if !self.world.table.holds(self.handover.job).await? => Ok(Seen::Holds),
            seen => Ok(seen),
        }
    }

    async fn look_retire(&mut self) -> Look {
        if let Some(seen) = self.retired_by_another().await? {
            return Ok(seen);
        }
        let (place, placement) = self.source_copy()?;
        let domain = self.inspect(&place).await?;
        if self.in_place() {
            let halves = verdict::any_halves(&domain, self.left_behind().iter());
            let seen = self.without_grant(&place, verdict::gone(halves, None)).await?;
            return Ok(match seen {
                Seen::Holds if domain.summary.managed_save => {
                    Seen::Never(verdict::asleep(&place.guest_name, &domain))
                }
                seen => seen,
            });
        }
        let halves = verdict::any_halves(&domain, self.every_serial.iter());
        if !domain.is_active() {
            let seen = self.without_grant(&place, verdict::gone(halves, None)).await?;
            return Ok(if seen == Seen::Holds {
                Seen::Never(Reason::new(
                    "GuestOff",
                    format!(
                        "guest {} is off: its units of {} go when it is back",
                        place.guest_name, placement.service
                    ),
                ))
            } else {
                seen
            });
        }
        if halves == (false, false) || self.handover.kind == Kind::Remove {
            let copy = self.copy(&place, &placement).await?;
            let seen = verdict::gone(halves, Some(&copy));
            return self.without_grant(&place, seen).await;
        }
        Ok(verdict::gone(halves, None))
    }
}

impl Run<'_> {
    /// Whether a later handover of the service has to do with the old copy now, and what that makes of its retirement: a
    /// move onto that guest has taken the duty over, and an upgrade there may need the disk of the bundle before.
    pub(super) async fn retired_by_another(&self) -> Result<Option<Seen>, StepError> {
        let (kind, job, service) = (self.handover.kind, self.handover.job, &self.handover.service);
        if !matches!(kind, Kind::Move | Kind::Replace) || !self.keeps(Rule::RetireByDuty) {
            return Ok(None);
        }
        if self.own_duty().await?.is_none() {
            return Ok(Some(Seen::Holds));
        }
        if kind == Kind::Move {
            return Ok(None);
        }
        let open = self.world.table.unfinished().await?;
        let later = open.iter().find(|h| h.service == *service && h.job > job);
        Ok(later.map(|h| {
            Seen::Never(Reason::new(
                "Busy",
                format!("job {} has {service} now: the rest goes after it", h.job),
            ))
        }))
    }
}

fn off(place: &Place, domain: &GuestDomain) -> Reason {
    let (name, state) = (&place.guest_name, domain.summary.state.as_str());
    Reason::new(
        "Unsuitable",
        format!("guest {name} is not running any more ({state})"),
    )
}

/// Confirm: units that were started and went down again do not start; others may come up by themselves.
pub(super) fn stays_up(service: &ServiceId, guest_name: &str, copy: &CopyState) -> Seen {
    if copy.is_up() {
        return Seen::Holds;
    }
    if copy.units.iter().any(UnitState::is_down) {
        return Seen::Never(Reason::new(
            "StartFailed",
            format!(
                "{service} does not start on {guest_name}: {}",
                verdict::unit_states(copy)
            ),
        ));
    }
    Seen::Pending {
        why: verdict::unit_states(copy),
        again_in: Duration::from_millis(500),
    }
}
