//! A target that is a standby: where nothing else is to be done, it gets its disk, which starts what is linked.

use std::time::Duration;

use super::record::Place;
use super::run::Run;
use super::world::StepError;
use crate::model::guest::CopyState;
use crate::model::life::Enablement;
use crate::model::placement::Placement;

/// How long a standby that was given its disk is left alone: a look takes the guest's processor from what it looks for.
pub(super) const STARTS_BY_ITSELF: Duration = Duration::from_millis(1500);

impl Run<'_> {
    /// Whether the target is a standby as the service wants it, and its disk may start it at once: no script is sent to
    /// it before. One of this handover that may still be under way would come after the disk; then it is installed anew.
    pub(super) async fn lacks_only_its_disk(
        &mut self,
        place: &Place,
        placement: &Placement,
    ) -> Result<bool, StepError> {
        let facts = &self.handover.facts;
        let left_alone = facts.standby && facts.displaced.is_none();
        // Started by its disk, it would not wait until nothing else can run it; with a volume it waits for that.
        let starts_late = facts.wants_running() && facts.volume.is_none() && !facts.may_overlap();
        if !left_alone || starts_late || self.recent.unanswered.contains(&place.guest) {
            return Ok(false);
        }
        if self.starts_by_its_disk() {
            return Ok(true);
        }
        let copy = self.world.guest.look(place.guest, placement).await?;
        Ok(self.is_as_wanted(&copy, placement.links.len()))
    }

    /// Whether the disk may go to the standby unseen: it is wanted up at once, and nothing else can run it. Whatever its guest
    /// has otherwise than its row says is found by the start, or by the looks after it.
    pub(super) fn starts_by_its_disk(&self) -> bool {
        let facts = &self.handover.facts;
        facts.source_dead && facts.wants_running() && facts.enablement == Enablement::Enabled
    }

    /// Linked only where it may run beside its source, or its source is dead.
    fn is_as_wanted(&self, copy: &CopyState, links: usize) -> bool {
        let facts = &self.handover.facts;
        let masked = copy.enablement == Enablement::Masked;
        let linked = usize::try_from(copy.links).is_ok_and(|found| found == links);
        let may_start = facts.wants_running()
            && facts.enablement == Enablement::Enabled
            && (facts.may_overlap() || facts.source_dead);
        copy.installed
            && !copy.files_differ
            && masked == (facts.enablement == Enablement::Masked)
            && (copy.links == 0 || (linked && may_start))
    }
}
