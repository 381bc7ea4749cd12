//! When too many guests die at once, the trouble is larger than guests: nothing moves by itself until somebody has looked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::ids::{GuestId, HostId};
use crate::model::service::Millis;
use crate::plan::load::Share;

/// How many deaths are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// More than this share of the guests of one host, or of all hosts.
    pub share: Share,
    /// But not fewer than this many.
    pub least: usize,
    /// More than this many, whatever share they are.
    pub most: usize,
    /// Within this time.
    pub window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            share: Share::percent(50),
            least: 3,
            most: 25,
            window: Duration::from_secs(60),
        }
    }
}

/// How many guests there are, dead ones included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Population {
    /// On the host of the guest that died.
    pub on_host: usize,
    /// On all hosts.
    pub in_all: usize,
}

/// Why everything was frozen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Alarm {
    /// When.
    pub at: Millis,
    /// What happened.
    pub why: Why,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Too many guests died.
    Deaths {
        /// How many.
        dead: usize,
        /// Of how many.
        of: usize,
        /// On this host; `None`: on all hosts.
        host: Option<HostId>,
        /// Within this time.
        window: Duration,
    },
    /// Too many guests seem to hang, or have died of late: none is destroyed for it.
    Hangs {
        /// How many.
        lost: usize,
        /// Of how many.
        of: usize,
        /// On this host; `None`: on all hosts.
        host: Option<HostId>,
    },
    /// A host shuts down.
    HostGoesDown(HostId),
    /// An operator asked for it.
    Asked {
        /// Who.
        by: String,
        /// Why; may be empty.
        reason: String,
    },
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Deaths {
                dead,
                of,
                host,
                window,
            } => {
                let place = place(host.as_ref());
                write!(
                    f,
                    "{dead} of {of} guests{place} died within {} s",
                    window.as_secs()
                )?;
            }
            Why::Hangs { lost, of, host } => {
                let place = place(host.as_ref());
                write!(
                    f,
                    "{lost} of {of} guests{place} seem to hang or have died; none of them is destroyed"
                )?;
            }
            Why::HostGoesDown(host) => write!(f, "host {host} is shutting down")?,
            Why::Asked { by, reason } => {
                let reason = match reason.as_str() {
                    "" => String::new(),
                    reason => format!(" ({reason})"),
                };
                return write!(
                    f,
                    "{by} froze it{reason}; no service is moved automatically until `handoverctl thaw`"
                );
            }
        }
        f.write_str(
            "; no service is moved automatically any more: look at the hosts, then run `handoverctl thaw`",
        )
    }
}

fn place(host: Option<&HostId>) -> String {
    host.map_or_else(String::new, |host| format!(" of host {host}"))
}

/// What becomes of an evacuation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It may begin.
    Open,
    /// It is held, and so is everything from here on: the one alarm.
    Freeze(Alarm),
    /// It is held: everything is frozen already.
    Held,
}

/// Deaths of late, and whether everything is frozen.
#[derive(Debug, Clone, Default)]
pub struct Blast {
    deaths: BTreeMap<GuestId, (Millis, HostId)>,
    frozen: Option<Alarm>,
    held: BTreeSet<GuestId>,
}

impl Blast {
    /// The alarm of a freeze that lasts.
    pub fn frozen(&self) -> Option<&Alarm> {
        self.frozen.as_ref()
    }

    /// The guests whose evacuation is held.
    pub fn held(&self) -> &BTreeSet<GuestId> {
        &self.held
    }

    /// A guest has died. While everything is frozen, it is held.
    pub fn death(
        &mut self,
        now: Millis,
        guest: GuestId,
        host: &HostId,
        there: Population,
        limits: Limits,
    ) -> Gate {
        self.forget_old(now, limits);
        self.deaths.insert(guest, (now, host.clone()));
        if self.frozen.is_some() {
            self.held.insert(guest);
            return Gate::Held;
        }
        let Some((dead, of, host)) = self.too_many(host, &BTreeMap::new(), there, limits) else {
            return Gate::Open;
        };
        self.held.insert(guest);
        let window = limits.window;
        self.freeze(
            now,
            Why::Deaths {
                dead,
                of,
                host,
                window,
            },
        )
    }

    /// A guest that hangs is to be destroyed. All that seem to hang, each with its host, count as deaths: trouble of a host
    /// silences many guests, and none of them may be destroyed for it.
    pub fn hangs(
        &mut self,
        now: Millis,
        host: &HostId,
        hung: &BTreeMap<GuestId, HostId>,
        there: Population,
        limits: Limits,
    ) -> Gate {
        self.forget_old(now, limits);
        if self.frozen.is_some() {
            return Gate::Held;
        }
        match self.too_many(host, hung, there, limits) {
            Some((lost, of, host)) => self.freeze(now, Why::Hangs { lost, of, host }),
            None => Gate::Open,
        }
    }

    fn forget_old(&mut self, now: Millis, limits: Limits) {
        let window = u64::try_from(limits.window.as_millis()).unwrap_or(u64::MAX);
        self.deaths.retain(|_, (at, _)| now.saturating_sub(*at) < window);
    }

    /// Whether deaths of late and guests that hang are too many: how many, of how many, and on which host (`None`: on all).
    fn too_many(
        &self,
        host: &HostId,
        hung: &BTreeMap<GuestId, HostId>,
        there: Population,
        limits: Limits,
    ) -> Option<(usize, usize, Option<HostId>)> {
        let dead = self.deaths.iter().map(|(guest, (_, host))| (guest, host));
        let lost: BTreeMap<&GuestId, &HostId> = hung.iter().chain(dead).collect();
        let in_all = lost.len();
        let on_host = lost.values().filter(|other| **other == host).count();
        let too_many = |dead: usize, of: usize| {
            let (dead_u64, of) = (
                u64::try_from(dead).unwrap_or(u64::MAX),
                u64::try_from(of).unwrap_or(u64::MAX),
            );
            dead > limits.most || (dead >= limits.least && dead_u64 > limits.share.part(of))
        };
        if too_many(on_host, there.on_host) {
            Some((on_host, there.on_host, Some(host.clone())))
        } else if too_many(in_all, there.in_all) {
            Some((in_all, there.in_all, None))
        } else {
            None
        }
    }

    /// A host is shutting down. [`Gate::Held`] if everything was frozen before.
    pub fn host_goes_down(&mut self, now: Millis, host: &HostId) -> Gate {
        if self.frozen.is_some() {
            return Gate::Held;
        }
        self.freeze(now, Why::HostGoesDown(host.clone()))
    }

    /// Everything is frozen by this alarm from now on, or has been since before the daemon was restarted.
    pub fn frozen_by(&mut self, alarm: Alarm) {
        self.frozen = Some(alarm);
    }

    /// An evacuation that was let pass has not begun, and is held now that everything is frozen.
    pub fn hold(&mut self, guest: GuestId) {
        self.held.insert(guest);
    }

    fn freeze(&mut self, now: Millis, why: Why) -> Gate {
        let alarm = Alarm { at: now, why };
        self.frozen = Some(alarm.clone());
        Gate::Freeze(alarm)
    }

    /// A guest is back: it is not evacuated when everything is thawed.
    pub fn back(&mut self, guest: GuestId) {
        self.held.remove(&guest);
    }

    /// Somebody has looked: the evacuations that were held begin now. Deaths are counted anew, or the next one would freeze
    /// everything again.
    pub fn thaw(&mut self) -> BTreeSet<GuestId> {
        self.frozen = None;
        self.deaths.clear();
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guest(n: u64) -> GuestId {
        GuestId(uuid::Uuid::from_u128(u128::from(n)))
    }

    fn host(n: u64) -> HostId {
        format!("hv{n}").parse().unwrap()
    }

    fn there(on_host: usize, in_all: usize) -> Population {
        Population { on_host, in_all }
    }

    fn dies(blast: &mut Blast, second: u64, n: u64, at: u64, there: Population) -> Gate {
        blast.death(second * 1000, guest(n), &host(at), there, Limits::default())
    }

    #[test]
    fn two_of_four_are_evacuated_and_the_third_freezes_everything_with_one_alarm() {
        let mut blast = Blast::default();
        assert_eq!(dies(&mut blast, 0, 1, 1, there(4, 4)), Gate::Open);
        assert_eq!(dies(&mut blast, 0, 2, 1, there(4, 4)), Gate::Open);
        let Gate::Freeze(alarm) = dies(&mut blast, 1, 3, 1, there(4, 4)) else {
            panic!("not frozen");
        };
        assert_eq!(
            alarm.to_string(),
            "3 of 4 guests of host hv1 died within 60 s; no service is moved automatically any more: look at the hosts, then run `handoverctl thaw`"
        );
        assert_eq!(dies(&mut blast, 1, 4, 1, there(4, 4)), Gate::Held);
        assert_eq!(blast.frozen(), Some(&alarm));
        assert_eq!(blast.held(), &BTreeSet::from([guest(3), guest(4)]));
        // One of them is back before somebody thaws.
        blast.back(guest(4));
        assert_eq!(blast.thaw(), BTreeSet::from([guest(3)]));
        assert_eq!(blast.frozen(), None);
        assert_eq!(dies(&mut blast, 2, 5, 1, there(4, 4)), Gate::Open);
    }

    #[test]
    fn a_small_host_may_lose_all_of_its_two_guests() {
        let mut blast = Blast::default();
        assert_eq!(dies(&mut blast, 0, 1, 1, there(2, 40)), Gate::Open);
        assert_eq!(dies(&mut blast, 0, 2, 1, there(2, 40)), Gate::Open);
    }

    #[test]
    fn a_whole_host_of_many_guests_freezes_and_so_do_many_deaths_here_and_there() {
        let mut blast = Blast::default();
        let frozen =
            (0..50).position(|n| matches!(dies(&mut blast, 0, n, 7, there(50, 1000)), Gate::Freeze(_)));
        assert_eq!(frozen, Some(25));
        // Fifty of a thousand, each on another host.
        let mut blast = Blast::default();
        let gates: Vec<Gate> = (0..50)
            .map(|n| dies(&mut blast, 0, n, n, there(20, 1000)))
            .collect();
        let Some(Gate::Freeze(alarm)) = gates.iter().find(|gate| **gate != Gate::Open) else {
            panic!("not frozen");
        };
        assert!(
            alarm
                .to_string()
                .starts_with("26 of 1000 guests died within 60 s")
        );
        assert_eq!(
            gates
                .iter()
                .filter(|gate| matches!(gate, Gate::Freeze(_)))
                .count(),
            1
        );
    }

    #[test]
    fn deaths_that_are_far_apart_are_no_disaster() {
        let mut blast = Blast::default();
        for n in 0..100 {
            assert_eq!(dies(&mut blast, n * 31, n, 1, there(4, 4)), Gate::Open, "{n}");
        }
    }

    #[test]
    fn guests_that_hang_count_before_any_of_them_is_destroyed() {
        let hung = |guests: &[u64]| -> BTreeMap<GuestId, HostId> {
            guests.iter().map(|n| (guest(*n), host(1))).collect()
        };
        let asks = |blast: &mut Blast, guests: &[u64]| {
            blast.hangs(0, &host(1), &hung(guests), there(4, 4), Limits::default())
        };
        let mut blast = Blast::default();
        assert_eq!(asks(&mut blast, &[1]), Gate::Open);
        // One that was destroyed counts once, as dead.
        assert_eq!(dies(&mut blast, 0, 1, 1, there(4, 4)), Gate::Open);
        assert_eq!(asks(&mut blast, &[1, 2]), Gate::Open);
        assert!(matches!(asks(&mut blast, &[2, 3]), Gate::Freeze(_)));
        assert_eq!(asks(&mut blast, &[2]), Gate::Held);
        assert!(blast.held().is_empty(), "they are not dead");
    }

    #[test]
    fn a_guest_that_dies_again_and_again_counts_once() {
        let mut blast = Blast::default();
        for second in 0..30 {
            assert_eq!(dies(&mut blast, second, 1, 1, there(4, 4)), Gate::Open);
        }
    }

    #[test]
    fn a_host_that_shuts_down_freezes_everything() {
        let mut blast = Blast::default();
        let Gate::Freeze(alarm) = blast.host_goes_down(0, &host(1)) else {
            panic!("not frozen");
        };
        assert!(
            alarm
                .to_string()
                .starts_with("host hv1 is shutting down; no service")
        );
        assert_eq!(blast.host_goes_down(1, &host(1)), Gate::Held);
        assert_eq!(dies(&mut blast, 1, 1, 1, there(40, 40)), Gate::Held);
        assert_eq!(blast.thaw(), BTreeSet::from([guest(1)]));
    }

    #[test]
    fn what_was_frozen_before_a_restart_or_by_an_operator_holds_every_death() {
        let mut blast = Blast::default();
        let by_hand = Alarm {
            at: 7,
            why: Why::Asked {
                by: "root".to_owned(),
                reason: "the storage is rebuilt".to_owned(),
            },
        };
        let kept: Alarm = serde_json::from_str(&serde_json::to_string(&by_hand).unwrap()).unwrap();
        blast.frozen_by(kept);
        assert_eq!(
            blast.frozen().map(ToString::to_string).unwrap(),
            "root froze it (the storage is rebuilt); no service is moved automatically until `handoverctl thaw`"
        );
        assert_eq!(dies(&mut blast, 1, 1, 1, there(40, 40)), Gate::Held);
        assert_eq!(blast.thaw(), BTreeSet::from([guest(1)]));
    }

    proptest! {
        #[test]
        fn one_alarm_is_given_and_nothing_passes_until_it_is_thawed(
            steps in proptest::collection::vec((0_u64..30, 0_u64..20, any::<u8>()), 1..100),
        ) {
            let (mut blast, mut now, mut frozen) = (Blast::default(), 0, false);
            for (seconds, n, thaw) in steps {
                now += seconds;
                if thaw < 20 {
                    blast.thaw();
                    frozen = false;
                }
                let gate = dies(&mut blast, now, n, n % 3, there(7, 20));
                match gate {
                    Gate::Open => prop_assert!(!frozen),
                    Gate::Freeze(_) => {
                        prop_assert!(!frozen);
                        frozen = true;
                    }
                    Gate::Held => prop_assert!(frozen),
                }
                prop_assert!(blast.held().len() <= 20 && blast.deaths.len() <= 20);
            }
        }
    }
}
