//! What the observe goal journals: source, target and zone as they are before anything is done, asked at the same time.

use std::net::IpAddr;

use futures_util::future::try_join3;

use super::goals::{Goal, Kind};
use super::run::Run;
use super::world::StepError;
use crate::model::guest::CopyState;
use crate::model::name::NameRecords;

/// What can be told of the source.
pub(super) enum Source {
    /// There is none yet.
    None,
    /// It was looked at.
    Copy(Box<CopyState>),
    /// Its guest is off.
    Off,
    /// Its guest's agent does not answer.
    Silent,
}

/// What was seen.
pub(super) struct Observation {
    /// The copy on the source.
    pub(super) source: Source,
    /// The service's name in the zone.
    pub(super) records: Option<NameRecords>,
    /// The target's addresses, where it needs one.
    pub(super) addresses: Vec<IpAddr>,
}

impl Run<'_> {
    /// Whether something is to run on the target that was not there before.
    pub(super) fn needs_target(&self) -> bool {
        !matches!(self.handover.kind, Kind::Stop | Kind::Remove)
    }

    /// Asks source, target and zone at the same time.
    ///
    /// # Errors
    /// One of them does not answer; a source that may be moved or removed all the same only for a while.
    pub(super) async fn observe_all(&mut self) -> Result<Observation, StepError> {
        let world = self.world;
        let leaves = matches!(self.handover.kind, Kind::Move | Kind::Remove);
        let source = self.source_copy().ok();
        let off = match &source {
            Some((place, _)) if leaves => world
                .hypervisor
                .inspect(place.guest)
                .await?
                .is_none_or(|domain| !domain.is_active()),
            _ => false,
        };
        let name = self.handover.facts.name.clone();
        let (needs_target, target) = (self.needs_target(), self.handover.target.guest);
        let copy = async {
            Ok(match &source {
                Some((place, placement)) if !off => Some(world.guest.look(place.guest, placement).await),
                _ => None,
            })
        };
        let records = async {
            match &name {
                Some(name) => world.names.read(name).await.map(Some),
                None => Ok(None),
            }
        };
        let addresses = async {
            if needs_target {
                world.guest.addresses(target).await
            } else {
                Ok(Vec::new())
            }
        };
        let (copy, records, addresses) = try_join3(copy, records, addresses).await?;
        let seen = match (copy, &source) {
            (Some(Ok(copy)), _) => Source::Copy(Box::new(copy)),
            (Some(Err(error)), Some((place, _))) if leaves => match StepError::from(error) {
                StepError::Failed(why) => {
                    self.wait_for_silence(Goal::Observe, place, &why).await?;
                    Source::Silent
                }
                refused => return Err(refused),
            },
            (Some(Err(error)), _) => return Err(error.into()),
            (None, Some(_)) => Source::Off,
            (None, None) => Source::None,
        };
        Ok(Observation {
            source: seen,
            records,
            addresses,
        })
    }
}
