//! All guests that have services, watched together.
//!
//! Signs go into the [`Inbox`]; [`Census::step`] judges them, lets time pass, and says what is to be done. What it says of
//! evacuations has passed the gate of [`super::blast`].

use std::collections::BTreeMap;

use super::blast::{self, Alarm, Blast, Gate, Population};
use super::cause::{Cause, Circumstances, OnCrash, Policy, Sign};
use super::guest_watch::{Decision, GuestWatch, Input, State};
use super::inbox::Inbox;
use crate::model::ids::{GuestId, HostId};
use crate::model::lifecycle::Lifecycle;
use crate::model::service::Millis;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Move all services of this guest elsewhere.
    Evacuate(GuestId, Cause),
    /// The guest is back: give back what has not committed, begin nothing more.
    CancelEvacuation(GuestId, Cause),
    /// Destroy it: it hangs, and not too many others do. Answer with [`Census::destroyed`].
    Destroy(GuestId, Cause),
    /// Remove what is left in it of services that went elsewhere.
    Leftovers(GuestId),
    /// Nothing moves by itself any more. What of running evacuations has not begun is not begun.
    Freeze(Alarm),
}

/// A guest that is watched.
#[derive(Debug, Clone)]
struct Watched {
    watch: GuestWatch,
    home: HostId,
    on_crash: OnCrash,
    /// Where an incoming migration of it was seen.
    incoming: Option<HostId>,
    /// Where it was seen running last.
    active: Option<HostId>,
    /// Its agent has spoken since it was started or reset.
    spoke: bool,
}

/// What is known of hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Host {
    lost: bool,
    goes_down: bool,
}

/// All watches.
#[derive(Debug, Clone, Default)]
pub struct Census {
    guests: BTreeMap<GuestId, Watched>,
    hosts: BTreeMap<HostId, Host>,
    inbox: Inbox,
    blast: Blast,
    unwatched: u64,
}

impl Census {
    /// Watches a guest, which is at home on this host; or says where it is at home from now on.
    pub fn watch(&mut self, guest: GuestId, home: &HostId, on_crash: OnCrash) {
        self.hosts.entry(home.clone()).or_default();
        let watched = self.guests.entry(guest).or_insert_with(|| Watched {
            watch: GuestWatch::default(),
            home: home.clone(),
            on_crash,
            incoming: None,
            active: None,
            spoke: false,
        });
        watched.home = home.clone();
        watched.on_crash = on_crash;
    }

    /// Forgets a guest that has no services any more and owes nothing.
    pub fn unwatch(&mut self, guest: GuestId) {
        self.guests.remove(&guest);
        self.blast.back(guest);
    }

    /// One guest's watch.
    pub fn guest(&self, guest: GuestId) -> Option<&GuestWatch> {
        self.guests.get(&guest).map(|watched| &watched.watch)
    }

    /// The alarm, while everything is frozen.
    pub fn frozen(&self) -> Option<&Alarm> {
        self.blast.frozen()
    }

    /// Everything is frozen by this alarm from now on, or has been since before the daemon was restarted.
    pub fn frozen_by(&mut self, alarm: Alarm) {
        self.blast.frozen_by(alarm);
    }

    /// The evacuation of this guest was ordered and has not begun; now that everything is frozen, it is held.
    pub fn hold(&mut self, guest: GuestId) {
        self.blast.hold(guest);
    }

    /// The guests that are watched.
    pub fn guests(&self) -> impl Iterator<Item = GuestId> {
        self.guests.keys().copied()
    }

    /// Where each of them stands and is at home, in the order of their ids.
    pub fn standings(&self) -> impl Iterator<Item = (GuestId, &'static str, &HostId)> + Clone {
        let watched = self.guests.iter();
        watched.map(|(guest, watched)| (*guest, watched.watch.state().word(), &watched.home))
    }

    /// Where a guest is at home.
    pub fn home(&self, guest: GuestId) -> Option<&HostId> {
        self.guests.get(&guest).map(|watched| &watched.home)
    }

    /// How many signs came of guests that nobody watches; for metrics.
    pub fn unwatched(&self) -> u64 {
        self.unwatched
    }

    /// A sign of a guest, from this host. Those of guests without services are counted and dropped.
    pub fn put(&mut self, guest: GuestId, host: &HostId, sign: Sign) {
        if self.guests.contains_key(&guest) {
            self.inbox.put(guest, host, sign);
        } else {
            self.unwatched = self.unwatched.saturating_add(1);
        }
    }

    /// An incoming migration of a guest to this host has begun, or (`false`) is over.
    pub fn incoming(&mut self, guest: GuestId, host: &HostId, begun: bool) {
        if let Some(watched) = self.guests.get_mut(&guest) {
            watched.incoming = begun.then(|| host.clone());
        }
    }

    /// The connection to a host was lost. Nothing is known of its guests until they are listed.
    pub fn host_lost(&mut self, host: &HostId) {
        self.hosts.entry(host.clone()).or_default().lost = true;
        self.inbox.lost(host);
    }

    /// A host was listed whole: guests that it told of have been put in. `incoming` of that host are over.
    pub fn host_listed(&mut self, host: &HostId) {
        let known = self.hosts.entry(host.clone()).or_default();
        known.lost = false;
    }

    /// A host shuts down, or (`false`) did not after all. The order is the alarm, if there was none.
    pub fn host_goes_down(&mut self, now: Millis, host: &HostId, down: bool) -> Option<Order> {
        self.hosts.entry(host.clone()).or_default().goes_down = down;
        match down.then(|| self.blast.host_goes_down(now, host)) {
            Some(Gate::Freeze(alarm)) => Some(Order::Freeze(alarm)),
            _ => None,
        }
    }

    /// The destroying that was ordered has ended: whether the guest is off now.
    pub fn destroyed(
        &mut self,
        now: Millis,
        guest: GuestId,
        done: bool,
        policy: Policy,
        limits: blast::Limits,
    ) -> Vec<Order> {
        self.input(now, guest, Input::Destroyed(done), policy, limits)
    }

    /// Another evacuation of a dead guest has begun, for what the last one left.
    pub fn evacuating(
        &mut self,
        now: Millis,
        guest: GuestId,
        policy: Policy,
        limits: blast::Limits,
    ) -> Vec<Order> {
        self.input(now, guest, Input::EvacuationBegun, policy, limits)
    }

    /// The evacuation that was ordered has ended.
    pub fn evacuated(
        &mut self,
        now: Millis,
        guest: GuestId,
        policy: Policy,
        limits: blast::Limits,
    ) -> Vec<Order> {
        self.input(now, guest, Input::EvacuationEnded, policy, limits)
    }

    /// Somebody has looked: the guests that are still dead are evacuated now.
    pub fn thaw(&mut self) -> Vec<GuestId> {
        self.blast.thaw().into_iter().collect()
    }

    /// When [`Census::step`] is due even if nothing comes in.
    pub fn due(&self) -> Option<Millis> {
        self.guests
            .values()
            .filter_map(|watched| watched.watch.due())
            .min()
    }

    /// Judges what came in, and lets time pass.
    pub fn step(&mut self, now: Millis, policy: Policy, limits: blast::Limits) -> Vec<Order> {
        let mut orders = Vec::new();
        let (lost, signs) = self.inbox.drain();
        for host in lost {
            let of_host: Vec<GuestId> = self
                .guests
                .iter()
                .filter(|(_, w)| w.home == host)
                .map(|(guest, _)| *guest)
                .collect();
            for guest in of_host {
                orders.extend(self.input(now, guest, Input::HostLost, policy, limits));
            }
        }
        for (guest, host, sign) in signs {
            let around = self.note(guest, &host, sign);
            orders.extend(self.input(now, guest, Input::Seen(sign, around), policy, limits));
        }
        let due: Vec<GuestId> = self
            .guests
            .iter()
            .filter(|(_, watched)| watched.watch.due().is_some_and(|due| due <= now))
            .map(|(guest, _)| *guest)
            .collect();
        for guest in due {
            orders.extend(self.input(now, guest, Input::Tick, policy, limits));
        }
        orders
    }

    /// Remembers where a guest runs, and tells what stands around the sign.
    fn note(&mut self, guest: GuestId, host: &HostId, sign: Sign) -> Circumstances {
        let known = self.hosts.get(host).copied().unwrap_or_default();
        let all_hosts_answer = self.hosts.values().all(|host| !host.lost);
        let Some(watched) = self.guests.get_mut(&guest) else {
            return Circumstances::default();
        };
        match seen_running(sign) {
            Some(true) => watched.active = Some(host.clone()),
            Some(false) if watched.active.as_ref() == Some(host) => watched.active = None,
            _ => {}
        }
        match sign {
            Sign::Agent(true) | Sign::Answered(true) => watched.spoke = true,
            Sign::Rebooted
            | Sign::Lifecycle(Lifecycle::Started { migrated: false } | Lifecycle::Stopped(_)) => {
                watched.spoke = false;
            }
            _ => {}
        }
        let around = Circumstances {
            home: watched.home == *host,
            incoming: watched.incoming.as_ref() == Some(host),
            active_elsewhere: watched.active.as_ref().is_some_and(|active| active != host),
            all_hosts_answer,
            host_goes_down: known.goes_down,
            spoke: watched.spoke,
            on_crash: watched.on_crash,
        };
        if around.incoming && seen_running(sign).is_some() {
            watched.incoming = None;
        }
        around
    }

    fn input(
        &mut self,
        now: Millis,
        guest: GuestId,
        input: Input,
        policy: Policy,
        limits: blast::Limits,
    ) -> Vec<Order> {
        let Some(watched) = self.guests.get_mut(&guest) else {
            return Vec::new();
        };
        let decisions = watched.watch.step(now, input, policy);
        let home = watched.home.clone();
        decisions
            .into_iter()
            .filter_map(|decision| match decision {
                Decision::Evacuate(cause) => self.evacuate(now, guest, &home, cause, limits),
                Decision::CancelEvacuation(cause) => {
                    let held = self.blast.held().contains(&guest);
                    self.blast.back(guest);
                    // What never began need not be cancelled.
                    (!held).then_some(Order::CancelEvacuation(guest, cause))
                }
                Decision::Destroy(cause) => self.destroy(now, guest, &home, cause, policy, limits),
                Decision::Leftovers => Some(Order::Leftovers(guest)),
            })
            .collect()
    }

    /// Lets a guest be destroyed, unless too many seem to hang or have died: then it stays as silent as it was.
    fn destroy(
        &mut self,
        now: Millis,
        guest: GuestId,
        home: &HostId,
        cause: Cause,
        policy: Policy,
        limits: blast::Limits,
    ) -> Option<Order> {
        let hung = self.hung();
        match self.blast.hangs(now, home, &hung, self.population(home), limits) {
            Gate::Open => Some(Order::Destroy(guest, cause)),
            gate => {
                if let Some(watched) = self.guests.get_mut(&guest) {
                    watched.watch.step(now, Input::Destroyed(false), policy);
                }
                match gate {
                    Gate::Freeze(alarm) => Some(Order::Freeze(alarm)),
                    Gate::Open | Gate::Held => None,
                }
            }
        }
    }

    /// The guests that seem to hang, and where they are at home.
    pub fn hung(&self) -> BTreeMap<GuestId, HostId> {
        let hangs = |watched: &&Watched| {
            !watched.watch.is_blind()
                && matches!(
                    watched.watch.state(),
                    State::Silent { .. } | State::Fencing { .. }
                )
        };
        let all = self.guests.iter();
        all.filter(|(_, watched)| hangs(watched))
            .map(|(guest, watched)| (*guest, watched.home.clone()))
            .collect()
    }

    fn population(&self, home: &HostId) -> Population {
        let at_home = self.guests.values().filter(|watched| watched.home == *home);
        Population {
            on_host: at_home.count(),
            in_all: self.guests.len(),
        }
    }

    fn evacuate(
        &mut self,
        now: Millis,
        guest: GuestId,
        home: &HostId,
        cause: Cause,
        limits: blast::Limits,
    ) -> Option<Order> {
        let there = self.population(home);
        match self.blast.death(now, guest, home, there, limits) {
            Gate::Open => Some(Order::Evacuate(guest, cause)),
            Gate::Freeze(alarm) => Some(Order::Freeze(alarm)),
            Gate::Held => None,
        }
    }
}

/// Whether a sign says that the guest runs on the host that it comes from; `None`: it says nothing of that.
fn seen_running(sign: Sign) -> Option<bool> {
    use crate::model::guest::DomainState;
    match sign {
        Sign::Lifecycle(Lifecycle::Started { .. } | Lifecycle::Resumed)
        | Sign::Listed {
            state: DomainState::Running,
            ..
        } => Some(true),
        Sign::Lifecycle(Lifecycle::Stopped(_))
        | Sign::Listed {
            state: DomainState::Shutoff,
            ..
        } => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
