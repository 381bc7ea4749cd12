//! Which services should move so that no guest is much more loaded than the others; few moves rather than a perfect end.
//!
//! As long as the gap between the most and the least loaded guest is more than `end`, the one move is taken that lowers the
//! larger of the two scores the most. A move that does not lower it by at least `gain` is not made: it would cost a
//! handover and could be taken back the next time. When to look at all is for the [`super::damper`].

use std::collections::BTreeSet;
use std::fmt;

use super::choice::PlaceError;
use super::cluster::Cluster;
use super::load::Share;
use super::placement::candidates;
use crate::model::ids::{GuestId, ServiceId};
use crate::model::life::LifeState;
use crate::model::needs::Resources;

/// When loads are far enough apart, and how far moves go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// Moves begin when the gap is larger than this.
    pub begin: Share,
    /// Moves end when the gap is not larger than this; less than `begin`, or every small change would begin anew.
    pub end: Share,
    /// The least by which a move must lower the larger score.
    pub gain: Share,
}

impl Default for Balance {
    fn default() -> Self {
        Self {
            begin: Share::percent(30),
            end: Share::percent(15),
            gain: Share::percent(3),
        }
    }
}

/// How far the loads are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The most loaded guest.
    pub high: GuestId,
    /// The least loaded guest.
    pub low: GuestId,
    /// The difference of their scores.
    pub gap: Share,
}

/// A move for balance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The service.
    pub service: ServiceId,
    /// From the most loaded guest.
    pub from: GuestId,
    /// To this one.
    pub to: GuestId,
    /// The scores of the two before.
    pub before: (Share, Share),
    /// The scores of the two afterwards.
    pub after: (Share, Share),
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "load {} and {} become {} and {}",
            self.before.0, self.before.1, self.after.0, self.after.1
        )
    }
}

/// How far the loads of the guests are apart that take part: those that are known, fit and not in maintenance. `None` with
/// fewer than two.
pub fn gap(cluster: &Cluster) -> Option<Gap> {
    Scales::of(cluster).gap()
}

/// The moves that bring the gap down to `balance.end`, at most `most`, in the order in which they are to be made. Services
/// in `resting`, and those that must be with others, stay.
///
/// # Errors
/// None for a cluster that is consistent.
pub fn rebalance(
    cluster: &Cluster,
    balance: Balance,
    most: usize,
    resting: &BTreeSet<ServiceId>,
) -> Result<Vec<Move>, PlaceError> {
    let mut scales = Scales::of(cluster);
    let mut moves: Vec<Move> = Vec::new();
    let mut moved = resting.clone();
    while moves.len() < most {
        let Some(gap) = scales.gap().filter(|gap| gap.gap > balance.end) else {
            break;
        };
        let Some(best) = scales.best(gap.high, balance.gain, &moved)? else {
            break;
        };
        scales.shift(&best);
        moved.insert(best.service.clone());
        moves.push(best);
    }
    Ok(moves)
}

/// The cluster, with what the moves so far have shifted.
struct Scales<'a> {
    cluster: &'a Cluster,
    /// Guests that take part.
    guests: Vec<usize>,
    /// What came, what went, and the demand that came, for each guest.
    shifted: Vec<(Resources, Resources, Resources)>,
    /// Where the services are that have been moved.
    moved: Vec<(usize, usize)>,
}

impl<'a> Scales<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        let all = cluster.guests().iter().enumerate();
        let part = all.filter(|(_, g)| g.load.is_some() && g.obstacles.is_empty() && g.maintenance.is_none());
        Self {
            cluster,
            guests: part.map(|(index, _)| index).collect(),
            shifted: vec![Default::default(); cluster.guests().len()],
            moved: Vec::new(),
        }
    }

    fn score(&self, guest: usize, more: Resources, less: Resources) -> Share {
        let (came, went, _) = self.shifted[guest];
        self.cluster.score_after(guest, came.plus(more), went.plus(less))
    }

    fn now(&self, guest: usize) -> Share {
        self.score(guest, Resources::NONE, Resources::NONE)
    }

    fn gap(&self) -> Option<Gap> {
        let scores = || self.guests.iter().map(|guest| (self.now(*guest), *guest));
        // Of equals the first in the list, whichever way it is looked at.
        let high = scores().max_by_key(|(score, guest)| (*score, std::cmp::Reverse(*guest)))?;
        let low = scores().filter(|(_, guest)| *guest != high.1).min()?;
        Some(Gap {
            high: self.cluster.guests()[high.1].id,
            low: self.cluster.guests()[low.1].id,
            gap: high.0.minus(low.0),
        })
    }

    /// The move away from `high` that lowers the larger of the two scores the most; of equals the one to the guest that is then
    /// the least loaded.
    fn best(
        &self,
        high: GuestId,
        gain: Share,
        stay: &BTreeSet<ServiceId>,
    ) -> Result<Option<Move>, PlaceError> {
        let Some(from) = self.cluster.guest_index(high) else {
            return Ok(None);
        };
        let before = self.now(from);
        let mut best: Option<((Share, Share), Move)> = None;
        for service in self.cluster.residents(high) {
            let free = service.movable && service.frozen.is_none() && service.going.is_none();
            let index = self.cluster.service_index(&service.id);
            let alone = index.is_some_and(|index| self.cluster.together(index).next().is_none());
            // What is stopped loads nothing.
            let loads = matches!(service.wanted, LifeState::Running | LifeState::Accessible);
            if !free || !alone || !loads || stay.contains(&service.id) {
                continue;
            }
            let weight = service.weight();
            for (to, _) in candidates(self.cluster, &service.id)? {
                let Some(target) = self.cluster.guest_index(to).filter(|to| self.guests.contains(to)) else {
                    continue;
                };
                let (_, _, demand) = self.shifted[target];
                let room = self
                    .cluster
                    .free(target)
                    .minus(demand)
                    .covers(service.needs.demand());
                if !room || index.is_some_and(|index| self.is_kept_apart(index, target)) {
                    continue;
                }
                let after = (
                    self.score(from, Resources::NONE, weight),
                    self.score(target, weight, Resources::NONE),
                );
                let larger = after.0.max(after.1);
                let better = best.as_ref().is_none_or(|(least, _)| (larger, after.1) < *least);
                if better && larger.plus(gain) <= before {
                    let made = Move {
                        service: service.id.clone(),
                        from: high,
                        to,
                        before: (before, self.now(target)),
                        after,
                    };
                    best = Some(((larger, after.1), made));
                }
            }
        }
        Ok(best.map(|(_, made)| made))
    }

    /// Whether a service that was moved to `target` before must not be with this one.
    fn is_kept_apart(&self, service: usize, target: usize) -> bool {
        let there = |other: usize| self.moved.contains(&(other, target));
        self.cluster.apart(service).any(there)
    }

    fn shift(&mut self, made: &Move) {
        let Some(service) = self.cluster.service(&made.service) else {
            return;
        };
        let (weight, demand) = (service.weight(), service.needs.demand());
        if let Some(from) = self.cluster.guest_index(made.from) {
            self.shifted[from].1 = self.shifted[from].1.plus(weight);
        }
        if let Some(to) = self.cluster.guest_index(made.to) {
            self.shifted[to].0 = self.shifted[to].0.plus(weight);
            self.shifted[to].2 = self.shifted[to].2.plus(demand);
            self.moved
                .extend(self.cluster.service_index(&made.service).map(|index| (index, to)));
        }
    }
}

#[cfg(test)]
mod tests;
