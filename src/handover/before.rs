//! How a service was before its handover, and how an undo puts one back that was down against its will.

use super::goals::{Goal, Kind};
use super::record::Place;
use super::run::Run;
use super::verdict::{self, Seen};
use super::world::StepError;
use crate::model::guest::CopyState;
use crate::model::life::{Enablement, LifeState};
use crate::model::placement::Placement;
use crate::ports::GuestStep;

type Act = Result<(), StepError>;
type Look = Result<Seen, StepError>;

impl Run<'_> {
    /// Whether the table, which the commit has not changed yet, has the service up.
    pub(super) async fn is_wanted(&self) -> Result<bool, StepError> {
        let row = self.world.table.service(&self.handover.service).await?;
        Ok(row.is_some_and(|row| row.wanted.wants_running()))
    }

    /// Whether the service was to be up before anything was done, and had failed, or was not up yet.
    pub(super) async fn had_failed(&self) -> Result<bool, StepError> {
        Ok(self.handover.facts.was_down_unwanted() && self.is_wanted().await?)
    }

    /// Whether the service was up before anything was done.
    pub(super) fn was_up(&self) -> bool {
        let facts = &self.handover.facts;
        let observed = facts.observed;
        !facts.down && observed.is_some_and(LifeState::wants_running)
    }

    /// Whether a service that was to be up before, and was not, is not worse off: it has its links, so that a boot tries
    /// again, and it is not left inactive. That is how an operator's stop looks; but it may have come up meanwhile, or
    /// systemd was to try again (`Restart=`), and this handover stopped it.
    pub(super) async fn look_put_back(&mut self, place: &Place, placement: &Placement) -> Look {
        let copy = self.copy(place, placement).await?;
        let linked = match self.handover.kind {
            // The pause left them alone: where some are missing an operator took them away.
            Kind::Move => Seen::Holds,
            _ => verdict::is_linked(&self.handover.facts, &copy, placement.links.len()),
        };
        let seen = match linked {
            Seen::Holds if self.is_to_start_again(&copy) => {
                Seen::missing("it is inactive, and was not started again yet")
            }
            linked => linked,
        };
        Ok(self.unless_late(place.guest, seen))
    }

    /// Puts a service back that was to be up before, and was not: its links, and, once, a start where it is inactive. Whether
    /// it comes up is its own affair.
    pub(super) async fn put_back(&mut self, goal: Goal, place: &Place, placement: &Placement) -> Act {
        let copy = self.world.guest.look(place.guest, placement).await?;
        let enablement = self.enablement_to_put_back(&copy);
        if !self.is_to_start_again(&copy) {
            return self
                .step(goal, place, placement, GuestStep::Link(enablement))
                .await;
        }
        let started = self
            .step(goal, place, placement, GuestStep::Start(enablement))
            .await;
        self.recent.tried_again = !matches!(started, Err(StepError::Failed(_)));
        match started {
            // Such as a data mount point that somebody mounted something else at: it was down, and stays so.
            Err(StepError::Refused(_)) => Ok(()),
            other => other,
        }
    }

    /// Whether the undo has a start to try yet. What is masked cannot be started.
    fn is_to_start_again(&self, copy: &CopyState) -> bool {
        let masked = self.enablement_to_put_back(copy) == Enablement::Masked;
        !masked && !self.recent.tried_again && verdict::is_inactive(copy)
    }

    fn enablement_to_put_back(&self, copy: &CopyState) -> Enablement {
        match self.handover.kind {
            Kind::Move => copy.enablement,
            _ => self.handover.facts.enablement,
        }
    }
}
