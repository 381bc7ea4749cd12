//! The heartbeat of guests that may be destroyed when they hang, and that destroying.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Done, Watcher, after};
use crate::model::ids::GuestId;
use crate::model::service::Millis;
use crate::watch::cause::{Cause, Policy, Sign};
use crate::watch::guest_watch::{GuestWatch, State};

/// How many agents are asked at the same time: each that hangs is waited for.
const ASKED_AT_ONCE: usize = 16;
/// How often an agent is asked: a fourth of the silence that counts, but not more seldom than this.
const EVERY: Duration = Duration::from_secs(15);
/// How long an agent may take to answer: half of that silence, but not longer than this.
const DEADLINE: Duration = Duration::from_secs(5);
/// Neither is shorter than this: libvirt knows whole seconds.
const LEAST: Duration = Duration::from_secs(1);

/// When agents are asked whether they live.
pub(super) struct Heartbeats {
    /// No guest may be destroyed: nobody is asked.
    off: bool,
    every: Duration,
    deadline: Duration,
    next: BTreeMap<GuestId, Millis>,
    asked: BTreeSet<GuestId>,
}

impl Heartbeats {
    /// As often as the policy needs.
    pub(super) fn of(policy: Policy) -> Self {
        Self {
            off: !policy.may_destroy,
            every: (policy.silence / 4).clamp(LEAST, EVERY),
            deadline: (policy.silence / 2).clamp(LEAST, DEADLINE),
            next: BTreeMap::new(),
            asked: BTreeSet::new(),
        }
    }

    /// When the next one is to be asked; `None`: nobody is, or as many as may be are asked now.
    pub(super) fn due(&self) -> Option<Millis> {
        let waits = self.next.iter().filter(|(guest, _)| !self.asked.contains(*guest));
        (self.asked.len() < ASKED_AT_ONCE)
            .then(|| waits.map(|(_, at)| *at).min())
            .flatten()
    }

    /// The guests that are to be asked now, those that have waited longest first. `heard` are all that can be asked.
    fn take(&mut self, now: Millis, heard: &BTreeSet<GuestId>) -> Vec<GuestId> {
        self.next.retain(|guest, _| heard.contains(guest));
        for guest in heard {
            self.next.entry(*guest).or_insert(now);
        }
        let mut due: Vec<(Millis, GuestId)> = self
            .next
            .iter()
            .filter(|(guest, at)| **at <= now && !self.asked.contains(*guest))
            .map(|(guest, at)| (*at, *guest))
            .collect();
        due.sort_unstable();
        due.truncate(ASKED_AT_ONCE.saturating_sub(self.asked.len()));
        let guests: Vec<GuestId> = due.into_iter().map(|(_, guest)| guest).collect();
        self.asked.extend(guests.iter().copied());
        guests
    }

    /// A guest was asked; the next time is counted from now.
    fn answered(&mut self, now: Millis, guest: GuestId) {
        self.asked.remove(&guest);
        self.next.insert(guest, after(now, self.every));
    }
}

impl Watcher {
    /// Asks the agents whose time it is.
    pub(super) fn ask_agents(&mut self, now: Millis) {
        if self.heartbeats.off {
            return;
        }
        let runs = |guest: &GuestId| {
            self.census.guest(*guest).is_some_and(|watch| {
                let state = matches!(watch.state(), State::Up | State::Silent { .. } | State::Returned);
                state && !watch.is_blind()
            })
        };
        let heard: BTreeSet<GuestId> = self.census.guests().filter(runs).collect();
        let deadline = self.heartbeats.deadline;
        for guest in self.heartbeats.take(now, &heard) {
            let agents = self.senses.agents.clone();
            self.running.push(Box::pin(async move {
                let asked = agents.pulse(guest, deadline).await;
                if let Err(error) = &asked {
                    tracing::debug!(%guest, %error, "whether its agent lives is not known");
                }
                Done::Heard(guest, asked.ok())
            }));
        }
    }

    pub(super) fn agent_asked(&mut self, guest: GuestId, speaks: Option<bool>) {
        self.heartbeats.answered(self.now(), guest);
        let home = self.census.home(guest).cloned();
        // An answer that was waited for when its host was lost tells nothing of the guest.
        let blind = self.census.guest(guest).is_none_or(GuestWatch::is_blind);
        if let (Some(speaks), Some(home)) = (speaks, home)
            && (speaks || !blind)
        {
            self.census.put(guest, &home, Sign::Answered(speaks));
        }
    }

    /// Destroys a guest that hangs, unless something speaks against it.
    pub(super) fn fence(&mut self, guest: GuestId, cause: Cause) {
        let hung: BTreeSet<GuestId> = self.census.hung().into_keys().collect();
        let (requests, agents) = (self.requests.clone(), self.senses.agents.clone());
        let deadline = self.heartbeats.deadline;
        self.running.push(Box::pin(async move {
            let done = requests
                .destroy_hung(guest, cause, &hung, agents.as_ref(), deadline)
                .await;
            if let Err(spared) = &done {
                tracing::warn!(%guest, %cause, %spared, "it seems to hang, and is not destroyed");
            }
            Done::Fenced(guest, done.is_ok())
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guests(numbers: std::ops::Range<u128>) -> BTreeSet<GuestId> {
        numbers.map(|n| GuestId(uuid::Uuid::from_u128(n))).collect()
    }

    fn heartbeats(silence: u64) -> Heartbeats {
        Heartbeats::of(Policy {
            may_destroy: true,
            silence: Duration::from_secs(silence),
            ..Policy::default()
        })
    }

    #[test]
    fn agents_that_hang_leave_places_to_the_others_and_those_that_wait_longest_are_next() {
        let (mut beats, all) = (heartbeats(120), guests(0..20));
        let first = beats.take(0, &all);
        assert_eq!(first.len(), ASKED_AT_ONCE);
        assert_eq!(beats.take(1, &all), [], "as many as may be are asked");
        assert_eq!(beats.due(), None);
        beats.answered(2, first[0]);
        let next = beats.take(3, &all);
        assert_eq!(next.len(), 1);
        assert!(!first.contains(&next[0]));
        for guest in first.iter().chain(&next) {
            beats.answered(10, *guest);
        }
        assert_eq!(beats.take(11, &all).len(), 3);
        assert_eq!(beats.due(), Some(15_010));
    }

    #[test]
    fn a_guest_that_is_gone_is_not_asked_any_more() {
        let mut beats = heartbeats(120);
        beats.take(0, &guests(0..2));
        for guest in guests(0..2) {
            beats.answered(0, guest);
        }
        assert_eq!(beats.take(20_000, &guests(1..2)).len(), 1);
        assert_eq!(beats.due(), None);
    }

    #[test]
    fn a_short_silence_is_heard_in_time() {
        let beats = heartbeats(5);
        assert_eq!(
            (beats.every, beats.deadline),
            (Duration::from_millis(1250), Duration::from_millis(2500))
        );
        let beats = heartbeats(3600);
        assert_eq!((beats.every, beats.deadline), (EVERY, DEADLINE));
    }
}
