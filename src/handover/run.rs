//! One handover under way: its record, the copies it is about, and what was seen a moment ago.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::goals::{Goal, Kind};
use super::machine::State;
use super::protocol::Rule;
use super::record::{Handover, Place, Reason};
use super::verdict::Seen;
use super::world::{StepError, World};
use crate::model::disk::DiskSerial;
use crate::model::guest::{CopyState, GuestDomain};
use crate::model::ids::{Digest, GuestId};
use crate::model::manifest::Manifest;
use crate::model::placement::Placement;
use crate::ports::{Fault, GuestStep, JournalEntry};

/// One handover under way.
pub struct Run<'w> {
    /// The world.
    pub world: &'w World,
    /// Its record.
    pub handover: Handover,
    /// The source's copy; `None` at a deploy.
    pub source: Option<Arc<Placement>>,
    /// The target's copy.
    pub target: Arc<Placement>,
    /// The target bundle's manifest.
    pub manifest: Arc<Manifest>,
    /// The size of the target bundle's image, in bytes.
    pub image_size: u64,
    /// The serials of every disk that the service may have had anywhere: of each of its bundles, and the data volume's.
    pub(super) every_serial: Arc<[DiskSerial]>,
    /// What was seen a moment ago.
    pub(super) recent: Recent,
}

/// The copies that a handover is about, as the bundles in the table tell them: the same for as long as it runs, and
/// cheap to clone.
#[derive(Debug, Clone)]
pub struct Copies {
    source: Option<Arc<Placement>>,
    target: Arc<Placement>,
    manifest: Arc<Manifest>,
    image_size: u64,
    every_serial: Arc<[DiskSerial]>,
}

impl Copies {
    /// Those of this handover.
    ///
    /// # Errors
    /// A bundle of it is not in the table, or the table cannot be read.
    pub async fn read(world: &World, handover: &Handover) -> Result<Self, StepError> {
        let (target, bundle) = world.placement(&handover.target).await?;
        let source = match &handover.source {
            Some(place) => Some(world.placement(place).await?.0.into()),
            None => None,
        };
        let bundles = world.table.bundles().await?;
        let service = &handover.service;
        let every_serial = bundles
            .iter()
            .filter(|bundle| bundle.manifest.service == *service)
            .map(|bundle| DiskSerial::of(service, &bundle.digest))
            .chain([DiskSerial::of_volume(service)])
            .collect();
        Ok(Self {
            source,
            target: target.into(),
            manifest: bundle.manifest.into(),
            image_size: bundle.size,
            every_serial,
        })
    }
}

/// What was seen a moment ago, by this daemon and in this life of it: lost with it, and never journalled.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Recent {
    /// When an undo was first seen to have started the source again, in milliseconds since 1970.
    pub restored_at: Option<u64>,
    /// When the check passed last, in milliseconds since 1970.
    pub confirmed_at: Option<u64>,
    /// The undo at hand has only to make sure that no script comes late.
    pub supersedes: bool,
    /// Guests that were sent a script whose answer did not come: it may still arrive.
    pub unanswered: BTreeSet<GuestId>,
    /// A look at a copy that the act just before brought back: used once, by the look that follows, if that is about the
    /// same bundle's copy.
    pub fresh: Option<(GuestId, Digest, CopyState)>,
    /// What the stage goal saw of a target that is down. Start's first look is spared by it: it can only say that the
    /// act is needed, and that looks itself.
    pub staged: Option<CopyState>,
    /// The target is a standby that has just been given its disk, which starts it: the look of the start goal is the first that
    /// is spent on it.
    pub plugged: bool,
    /// An undo has tried once to start what was down against its will before.
    pub tried_again: bool,
}

impl<'w> Run<'w> {
    /// Takes up a handover that is about these copies.
    pub fn take_up(world: &'w World, handover: Handover, copies: Copies) -> Self {
        // Scripts of a daemon that was killed may still be under way.
        let unanswered = match handover.state == State::first(handover.kind) {
            true => BTreeSet::new(),
            false => handover
                .source
                .iter()
                .chain([&handover.target])
                .map(|p| p.guest)
                .collect(),
        };
        Self {
            world,
            handover,
            source: copies.source,
            target: copies.target,
            manifest: copies.manifest,
            image_size: copies.image_size,
            every_serial: copies.every_serial,
            recent: Recent {
                unanswered,
                ..Recent::default()
            },
        }
    }

    /// The bundle disks that an upgrade in place leaves behind: of every bundle but the new one.
    pub(super) fn left_behind(&self) -> Vec<DiskSerial> {
        let volume = DiskSerial::of_volume(&self.handover.service);
        let all = self.every_serial.iter();
        all.filter(|serial| **serial != self.target.serial && **serial != volume)
            .cloned()
            .collect()
    }

    /// Whether this handover keeps a rule: always, but in a test that takes one away.
    pub(super) fn keeps(&self, rule: Rule) -> bool {
        self.world.protocol.keeps(rule)
    }

    /// Whether source and target are one guest with two bundles.
    pub fn in_place(&self) -> bool {
        self.handover.kind == Kind::Replace
    }

    /// The source's place and copy.
    ///
    /// # Errors
    /// The handover has none.
    pub fn source(&self) -> Result<(&Place, &Arc<Placement>), StepError> {
        match (&self.handover.source, &self.source) {
            (Some(place), Some(placement)) => Ok((place, placement)),
            _ => Err(StepError::Refused(Reason::new(
                "Internal",
                format!("handover {} has no source", self.handover.id),
            ))),
        }
    }

    /// The source's place and copy, to be kept while the run is changed.
    ///
    /// # Errors
    /// As [`Run::source`].
    pub fn source_copy(&self) -> Result<(Place, Arc<Placement>), StepError> {
        self.source()
            .map(|(place, placement)| (place.clone(), placement.clone()))
    }

    /// The target's place and copy, to be kept while the run is changed.
    pub fn target_copy(&self) -> (Place, Arc<Placement>) {
        (self.handover.target.clone(), self.target.clone())
    }

    /// Whether an old copy on the target still serves, so that an undo leaves it alone.
    pub fn old_copy_serves(&self) -> bool {
        self.handover.facts.displaced.is_some() && self.handover.facts.may_overlap()
    }

    /// Where the undo of a goal works.
    pub(super) fn place_of_undo(&self, goal: Goal) -> Result<(Place, Arc<Placement>), StepError> {
        match goal {
            Goal::Stage | Goal::Adopt | Goal::Start => Ok(self.target_copy()),
            _ => self.source_copy(),
        }
    }

    /// A fresh look at a guest by its UUID, wherever it is now.
    ///
    /// # Errors
    /// No reachable host knows it.
    pub async fn inspect(&self, place: &Place) -> Result<GuestDomain, StepError> {
        self.world.hypervisor.inspect(place.guest).await?.ok_or_else(|| {
            StepError::Failed(format!(
                "guest {} ({}) is not found on any host",
                place.guest_name, place.guest
            ))
        })
    }

    /// A look at a copy: what the act just before brought back, or a new one.
    ///
    /// # Errors
    /// As the port.
    pub async fn copy(&mut self, place: &Place, placement: &Placement) -> Result<CopyState, StepError> {
        match self.recent.fresh.take() {
            Some((guest, digest, copy)) if guest == place.guest && digest == placement.digest => Ok(copy),
            _ => Ok(self.world.guest.look(place.guest, placement).await?),
        }
    }

    /// Runs a guest step under the next attempt number; what it saw at its end is kept for the look that follows.
    ///
    /// # Errors
    /// As the port.
    pub async fn step(
        &mut self,
        goal: Goal,
        place: &Place,
        placement: &Placement,
        step: GuestStep,
    ) -> Result<(), StepError> {
        self.recent.fresh = None;
        let attempt = self.world.table.next_attempt(&self.handover.service).await?;
        let deadline = self
            .world
            .limits
            .deadline(goal, super::machine::Direction::Forward, &self.manifest)
            .unwrap_or(self.world.limits.undo);
        let earlier = !self.recent.unanswered.insert(place.guest);
        let done = self
            .world
            .guest
            .act(place.guest, placement, step, attempt, deadline)
            .await;
        // One that was never sent says nothing of an earlier one.
        let may_arrive = match &done {
            Ok(_) => false,
            Err(error) => error.fault == Fault::Unknown || earlier,
        };
        if !may_arrive {
            self.recent.unanswered.remove(&place.guest);
        }
        self.recent.fresh = Some((place.guest, placement.digest.clone(), done?));
        Ok(())
    }

    /// An undo that holds does not hold for long where a script of this handover may still arrive in the guest: it is
    /// superseded first.
    pub(super) fn unless_late(&mut self, guest: GuestId, seen: Seen) -> Seen {
        if seen != Seen::Holds || !self.recent.unanswered.contains(&guest) || !self.keeps(Rule::Supersede) {
            return seen;
        }
        self.recent.supersedes = true;
        Seen::missing("a script that was not answered may still arrive")
    }

    /// Forgets what was seen: time has passed.
    pub fn forget_fresh(&mut self) {
        self.recent.fresh = None;
    }

    /// Journals a decision or an observation before what depends on it is done.
    ///
    /// # Errors
    /// The table cannot be written: nothing may be done.
    pub async fn journal(&self, goal: Goal, text: impl Into<String>) -> Result<(), StepError> {
        let entry = JournalEntry {
            at: self.world.clock.now(),
            step: goal.as_str().to_owned(),
            text: text.into(),
        };
        Ok(self.world.table.save(&self.handover, &entry).await?)
    }

    /// The duty that this handover's commit makes, if its source has a copy to be retired.
    pub fn duty(&self) -> Option<super::record::Duty> {
        let place = self.handover.source.as_ref()?;
        let copy_on_target_guest = place.guest == self.handover.target.guest;
        if copy_on_target_guest && !matches!(self.handover.kind, Kind::Remove | Kind::Replace) {
            return None;
        }
        let drain = self.longest_drain();
        let published = self
            .handover
            .facts
            .published_at
            .unwrap_or_else(|| self.world.clock.now());
        let drains = super::goals::applies(Goal::Drain, self.handover.kind, &self.handover.facts)
            && self.handover.kind != Kind::Remove;
        Some(super::record::Duty {
            service: self.handover.service.clone(),
            guest: place.guest,
            digest: place.digest.clone(),
            generation: self.handover.generation,
            serve_until: if drains {
                published.saturating_add(drain)
            } else {
                published
            },
            files: place.files.clone(),
        })
    }
}
