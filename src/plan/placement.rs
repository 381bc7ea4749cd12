//! Which guest each service goes to.
//!
//! The groups of services that must stay together choose one after the other, in the order of [`super::group`]. Each takes
//! the guest that its strategy puts first among those that fulfil every condition; what it takes there is counted before
//! the next one chooses. Nothing is tried twice and nothing is taken back, so that the plan can be told step by step.
//!
//! What a group asks (needs, labels, hosts) is its *kind*; each kind has a heap of the guests that fulfil it, the first
//! choice on top. What is free on a guest only falls and its score only rises while a plan is made: a guest that has become
//! too small leaves the heap for good, and one whose score has risen is put back where it belongs when it comes to the
//! top. So a plan costs O(kinds × guests) once, and O(log guests) for each service and for each guest that a kind drops.
//! Manifests have few kinds. [`Placements::steps`] counts, and a test holds it to that.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::choice::{Choice, NoHome, PlaceError, Reason};
use super::cluster::{Cluster, GuestView};
use super::fit::{Rejected, Rejection};
use super::group::{Group, Kind, Traits, groups};
use super::load::Share;
use super::strategy::{Lots, Strategy};
use crate::model::ids::{GuestId, ServiceId};
use crate::model::needs::Resources;

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The services; naming one twice is naming it once.
    pub services: &'a [ServiceId],
    /// How guests are chosen.
    pub strategy: Strategy,
    /// Guests that are lost: no targets, and no companions that a service must stay with.
    pub gone: &'a BTreeSet<GuestId>,
}

/// Where each service goes, or why nowhere.
#[derive(Debug, Clone)]
pub struct Placements {
    /// By service.
    pub chosen: BTreeMap<ServiceId, Result<Choice, NoHome>>,
    /// About how many comparisons it took.
    pub steps: u64,
    strategy: Strategy,
    gone: BTreeSet<GuestId>,
    /// What the groups took, in the order in which they chose.
    taken: Vec<(Group, Option<usize>)>,
}

/// Places services.
///
/// # Errors
/// A service or a named guest that is not there. That nothing fits is an answer, not an error.
pub fn place(cluster: &Cluster, question: Question<'_>) -> Result<Placements, PlaceError> {
    let mut chosen = BTreeMap::new();
    let mut to_place = BTreeSet::new();
    if let Strategy::Named(guest) = question.strategy
        && cluster.guest(guest).is_none()
    {
        return Err(PlaceError::NoSuchGuest(guest));
    }
    for id in question.services {
        let index = cluster
            .service_index(id)
            .ok_or_else(|| PlaceError::NoSuchService(id.clone()))?;
        match stays(cluster, index) {
            Some(why) => drop(chosen.insert(id.clone(), Err(why))),
            None => drop(to_place.insert(index)),
        }
    }
    let mut chooser = Chooser::of(cluster, question.strategy, question.gone);
    let mut taken = Vec::new();
    for group in groups(cluster, &to_place, question.gone) {
        let answer = match &group.contradiction {
            Some((a, b)) => Err(NoHome::Contradiction(a.clone(), b.clone())),
            None => chooser.choose(&group).ok_or(NoHome::NoneFits),
        };
        let guest = answer.as_ref().ok().map(|(guest, _)| *guest);
        let answer = answer.map(|(guest, reason)| chooser.take(guest, &group, reason));
        for member in &group.members {
            chosen.insert(cluster.services()[*member].id.clone(), answer.clone());
        }
        taken.push((group, guest));
    }
    Ok(Placements {
        chosen,
        steps: chooser.steps,
        strategy: question.strategy,
        gone: question.gone.clone(),
        taken,
    })
}

/// Every guest that could take `service` now, by UUID, with the score that it would have then. Costs a look at each guest.
///
/// # Errors
/// A service that is not there.
pub fn candidates(cluster: &Cluster, service: &ServiceId) -> Result<Vec<(GuestId, Share)>, PlaceError> {
    let index = cluster
        .service_index(service)
        .ok_or_else(|| PlaceError::NoSuchService(service.clone()))?;
    let gone = BTreeSet::new();
    let chooser = Chooser::of(cluster, Strategy::LeastLoaded, &gone);
    let groups = groups(cluster, &BTreeSet::from([index]), &gone);
    let fit = groups.iter().flat_map(|group| {
        let fit = (0..cluster.guests().len()).filter(|guest| chooser.takes(group, *guest));
        let told = |guest: usize| (cluster.guests()[guest].id, cluster.score(guest, group.weight));
        fit.map(told).collect::<Vec<_>>()
    });
    Ok(fit.collect())
}

/// Why a service is not placed at all.
fn stays(cluster: &Cluster, service: usize) -> Option<NoHome> {
    let service = &cluster.services()[service];
    if let Some(going) = service.going {
        return Some(NoHome::Busy(cluster.name_of(going)));
    }
    if let Some(why) = &service.frozen {
        return Some(NoHome::Frozen(why.clone()));
    }
    (!service.movable).then_some(NoHome::Bound)
}

impl Placements {
    /// Every guest that `service` was not given, with every reason, as things stood when it chose. Costs a look at each
    /// guest, so it is made when somebody reads it. Empty for a service that was not to be placed.
    ///
    /// `cluster` is the one that the placements were made with.
    pub fn explain(&self, cluster: &Cluster, service: &ServiceId) -> Vec<Rejected> {
        let Some(index) = cluster.service_index(service) else {
            return Vec::new();
        };
        let mut chooser = Chooser::of(cluster, self.strategy, &self.gone);
        for (group, guest) in &self.taken {
            if group.members.binary_search(&index).is_ok() {
                return chooser.rejected(group, *guest);
            }
            if let Some(guest) = guest {
                chooser.take(*guest, group, Reason::LeastLoaded);
            }
        }
        Vec::new()
    }

    /// Whether every service has a target.
    pub fn is_whole(&self) -> bool {
        self.chosen.values().all(Result::is_ok)
    }
}

/// What a guest is compared by, lowest first: what the strategy counts, then its score, then its place in the list.
type Key = (u64, Share, usize);

/// A guest, with what the plan has put on it so far.
#[derive(Debug, Clone, Copy)]
struct Seat {
    /// What is left of what was free.
    free: Resources,
    /// What came.
    weight: Resources,
    /// Its score with that.
    score: Share,
    services: u32,
    /// When its lot comes up next.
    lot: u64,
}

struct Chooser<'a> {
    cluster: &'a Cluster,
    strategy: Strategy,
    gone: &'a BTreeSet<GuestId>,
    seats: Vec<Seat>,
    lots: Lots,
    /// The guests that have the traits, by their place in the list.
    traits: BTreeMap<Traits, Vec<usize>>,
    kinds: BTreeMap<Kind, BinaryHeap<Reverse<Key>>>,
    placed: BTreeMap<usize, usize>,
    steps: u64,
}

impl<'a> Chooser<'a> {
    fn of(cluster: &'a Cluster, strategy: Strategy, gone: &'a BTreeSet<GuestId>) -> Self {
        let seed = match strategy {
            Strategy::Random { seed } => seed,
            _ => 0,
        };
        let mut lots = Lots::of(seed);
        let seats = (0..cluster.guests().len()).map(|guest| Seat {
            free: cluster.free(guest),
            weight: Resources::NONE,
            score: cluster.score(guest, Resources::NONE),
            services: 0,
            lot: lots.draw() >> 16,
        });
        Self {
            cluster,
            strategy,
            gone,
            seats: seats.collect(),
            lots,
            traits: BTreeMap::new(),
            kinds: BTreeMap::new(),
            placed: BTreeMap::new(),
            steps: 0,
        }
    }

    fn key(&self, guest: usize) -> Key {
        let seat = &self.seats[guest];
        let first = match self.strategy {
            Strategy::Random { .. } => seat.lot,
            Strategy::Spread => u64::from(seat.services),
            Strategy::LeastLoaded | Strategy::Named(_) => 0,
        };
        (first, seat.score, guest)
    }

    /// The guest for this group; `None`: none fits.
    fn choose(&mut self, group: &Group) -> Option<(usize, Reason)> {
        if let Strategy::Named(guest) = self.strategy {
            let guest = self.cluster.guest_index(guest)?;
            return self.takes(group, guest).then_some((guest, Reason::Named));
        }
        if let Some(service) = group.with.first() {
            let guest = self.cluster.guest_index(self.place_of(*service)?)?;
            let with = group.with.iter().map(|s| self.cluster.services()[*s].id.clone());
            return self
                .takes(group, guest)
                .then(|| (guest, Reason::Together(with.collect())));
        }
        self.preferred(group).or_else(|| {
            let guest = self.first_of_kind(group)?;
            let reason = match self.strategy {
                Strategy::Random { seed } => Reason::Random { seed },
                Strategy::Spread => Reason::Spread {
                    before: self.seats[guest].services,
                },
                Strategy::LeastLoaded | Strategy::Named(_) => Reason::LeastLoaded,
            };
            Some((guest, reason))
        })
    }

    /// Where the old copy of a member still serves, else a standby of a member: the one with the lowest score.
    fn preferred(&self, group: &Group) -> Option<(usize, Reason)> {
        let services = || {
            group
                .members
                .iter()
                .map(|member| &self.cluster.services()[*member])
        };
        let draining: BTreeSet<GuestId> = services().filter_map(|s| s.draining).collect();
        let standbys: BTreeSet<GuestId> = services().flat_map(|s| s.standbys.iter().copied()).collect();
        [(draining, Reason::Draining), (standbys, Reason::Standby)]
            .into_iter()
            .find_map(|(guests, reason)| {
                let fit = guests
                    .into_iter()
                    .filter_map(|guest| self.cluster.guest_index(guest))
                    .filter(|guest| self.takes(group, *guest));
                let best = fit.min_by_key(|guest| (self.seats[*guest].score, *guest))?;
                Some((best, reason))
            })
    }

    /// The first guest of the group's kind that it may be on.
    fn first_of_kind(&mut self, group: &Group) -> Option<usize> {
        let mut heap = match self.kinds.remove(&group.kind) {
            Some(heap) => heap,
            None => self.candidates(&group.kind),
        };
        let excluded = self.excluded(group);
        let mut aside = Vec::new();
        let mut chosen = None;
        while let Some(Reverse((first, score, guest))) = heap.pop() {
            self.steps += u64::from(heap.len().checked_ilog2().unwrap_or(0)) + 1;
            let now = self.key(guest);
            if (first, score, guest) != now {
                heap.push(Reverse(now));
                continue;
            }
            if !self.seats[guest].free.covers(group.kind.demand) {
                continue;
            }
            aside.push(Reverse(now));
            if !excluded.contains(&guest) {
                chosen = Some(guest);
                break;
            }
        }
        for key in aside {
            heap.push(key);
        }
        self.kinds.insert(group.kind.clone(), heap);
        chosen
    }

    /// The guests that a kind may be on as things stand. What does not fit now never will.
    fn candidates(&mut self, kind: &Kind) -> BinaryHeap<Reverse<Key>> {
        if !self.traits.contains_key(&kind.traits) {
            let all = self.cluster.guests().iter().enumerate();
            let fit = all.filter(|(_, guest)| self.unfit(&kind.traits, guest).next().is_none());
            let fit = fit.map(|(index, _)| index).collect();
            self.traits.insert(kind.traits.clone(), fit);
        }
        let fit = self.traits.get(&kind.traits).into_iter().flatten();
        self.steps += u64::try_from(fit.clone().count()).unwrap_or(u64::MAX);
        fit.filter(|guest| self.seats[**guest].free.covers(kind.demand))
            .map(|guest| Reverse(self.key(*guest)))
            .collect()
    }

    /// Guests where the group may not be, for what is there or for what a probe found: few, unlike those of the kind.
    fn excluded(&mut self, group: &Group) -> BTreeSet<usize> {
        let all = self.cluster.services();
        let members = group.members.iter().map(|member| &all[*member]);
        let homes = members.clone().filter_map(|s| s.home);
        let probed = members.flat_map(|s| {
            s.obstacles
                .iter()
                .filter(|(_, found)| !found.is_empty())
                .map(|(g, _)| *g)
        });
        let others = group.apart.iter().flat_map(|other| self.places(*other));
        let found: BTreeSet<usize> = homes
            .chain(probed)
            .chain(others)
            .filter_map(|guest| self.cluster.guest_index(guest))
            .collect();
        self.steps += u64::try_from(found.len()).unwrap_or(u64::MAX);
        found
    }

    /// Every guest where a service is or will be: while it moves it is on two.
    fn places(&self, service: usize) -> impl Iterator<Item = GuestId> + use<> {
        let view = &self.cluster.services()[service];
        let planned = self
            .placed
            .get(&service)
            .map(|guest| self.cluster.guests()[*guest].id);
        [view.home, view.going, planned].into_iter().flatten()
    }

    /// Where a service will be in the end.
    fn place_of(&self, service: usize) -> Option<GuestId> {
        let view = &self.cluster.services()[service];
        view.going.or(view.home)
    }

    fn takes(&self, group: &Group, guest: usize) -> bool {
        self.against(group, guest).is_empty()
    }

    /// What speaks against a guest whatever is placed there.
    fn unfit<'b>(&'b self, traits: &'b Traits, guest: &'b GuestView) -> impl Iterator<Item = Rejection> + 'b {
        let gone = self.gone.contains(&guest.id).then_some(Rejection::Gone);
        let maintenance = guest.maintenance.clone().map(Rejection::Maintenance);
        let obstacles = guest.obstacles.iter().cloned().map(Rejection::Obstacle);
        let host = traits
            .hosts
            .as_ref()
            .filter(|hosts| !hosts.contains(&guest.host))
            .map(|hosts| Rejection::Host {
                host: guest.host.clone(),
                allowed: hosts.iter().cloned().collect(),
            });
        let lacking: Vec<_> = traits.labels.difference(&guest.labels).cloned().collect();
        let labels = (!lacking.is_empty()).then_some(Rejection::Labels(lacking));
        gone.into_iter()
            .chain(maintenance)
            .chain(obstacles)
            .chain(host)
            .chain(labels)
    }

    /// Everything that speaks against a guest as things stand.
    fn against(&self, group: &Group, index: usize) -> Vec<Rejection> {
        let all = self.cluster.services();
        let guest = &self.cluster.guests()[index];
        let mut found: Vec<Rejection> = self.unfit(&group.kind.traits, guest).collect();
        for member in &group.members {
            let member = &all[*member];
            if member.home == Some(guest.id) && !found.contains(&Rejection::Gone) {
                found.push(Rejection::Home);
            }
            let probed = member.obstacles.get(&guest.id).into_iter().flatten();
            found.extend(probed.cloned().map(Rejection::Obstacle));
        }
        for other in &group.apart {
            if self.places(*other).any(|place| place == guest.id) {
                found.push(Rejection::Apart(all[*other].id.clone()));
            }
        }
        for other in &group.with {
            if let Some(place) = self.place_of(*other).filter(|place| *place != guest.id) {
                found.push(Rejection::Together {
                    service: all[*other].id.clone(),
                    guest: self.cluster.name_of(place),
                });
            }
        }
        if self.serves_still(group, guest.id) {
            // What it has is in use there, and nothing is brought there.
            found.retain(|rejection| !matches!(rejection, Rejection::Maintenance(_)));
            return found;
        }
        let (needed, free) = (group.kind.demand, self.seats[index].free);
        if free.memory < needed.memory {
            found.push(Rejection::Memory {
                needed: needed.memory,
                free: free.memory,
            });
        }
        if free.cpu < needed.cpu {
            found.push(Rejection::Cpu {
                needed: needed.cpu,
                free: free.cpu,
            });
        }
        found
    }

    /// Whether an old copy of each member still serves on a guest.
    fn serves_still(&self, group: &Group, guest: GuestId) -> bool {
        let all = self.cluster.services();
        group
            .members
            .iter()
            .all(|member| all[*member].draining == Some(guest))
    }

    /// Puts the group on a guest.
    fn take(&mut self, guest: usize, group: &Group, reason: Reason) -> Choice {
        let before = self.seats[guest].score;
        let count = u32::try_from(group.members.len()).unwrap_or(u32::MAX);
        // A step at random lets each guest come up as often as any other, and seldom twice in a row.
        let step = self.lots.draw() >> 16;
        let seat = &mut self.seats[guest];
        seat.free = seat.free.minus(group.kind.demand);
        seat.weight = seat.weight.plus(group.weight);
        seat.score = self.cluster.score(guest, seat.weight);
        seat.services = seat.services.saturating_add(count);
        seat.lot = seat.lot.saturating_add(step);
        self.placed
            .extend(group.members.iter().map(|member| (*member, guest)));
        Choice {
            guest: self.cluster.guests()[guest].id,
            reason,
            before,
            after: self.seats[guest].score,
        }
    }

    fn rejected(&self, group: &Group, chosen: Option<usize>) -> Vec<Rejected> {
        let reject = |(index, guest): (usize, &GuestView)| {
            let mut why = self.against(group, index);
            if why.is_empty() {
                why.push(match self.strategy {
                    Strategy::Named(_) => Rejection::NotNamed,
                    _ => Rejection::Outdone(
                        self.cluster
                            .score(index, self.seats[index].weight.plus(group.weight)),
                    ),
                });
            }
            Rejected {
                guest: guest.id,
                name: guest.name.clone(),
                why,
            }
        };
        let others = self.cluster.guests().iter().enumerate();
        others
            .filter(|(index, _)| Some(*index) != chosen)
            .map(reject)
            .collect()
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod tests;
