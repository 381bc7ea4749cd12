//! What a list of all guests says beside what is known: where each is at home, and how it is there; and what libvirt's hook
//! has noted while nobody looked.

use std::collections::BTreeMap;

use super::cause::{OnCrash, Sign};
use super::census::Census;
use super::spool::{self, NotSpooled, SpoolFile, Spooled};
use crate::model::guest::DomainState;
use crate::model::ids::{GuestId, HostId};
use crate::model::lifecycle::{Lifecycle, ShutoffReason, StopReason};
use crate::model::service::Millis;

/// A guest as a host lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its UUID.
    pub guest: GuestId,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: DomainState,
    /// Why it is off, where it is.
    pub shutoff: ShutoffReason,
    /// Whether a managed-save image waits.
    pub managed_save: bool,
}

impl Listed {
    fn is_active(&self) -> bool {
        !matches!(self.state, DomainState::Shutoff | DomainState::Unknown)
    }

    /// It is off, and not only a definition that a guest has left behind.
    fn is_off(&self) -> bool {
        self.state == DomainState::Shutoff && self.shutoff != ShutoffReason::Migrated
    }
}

/// Whether a sign says something that only a list tells fully: that a guest may be at home on another host than before, or that it
/// crashed, and its QEMU may be kept.
pub fn moves(sign: Sign) -> bool {
    matches!(
        sign,
        Sign::Lifecycle(
            Lifecycle::Started { .. } | Lifecycle::Stopped(StopReason::Migrated) | Lifecycle::Crashed
        )
    )
}

/// Whether a sign says that a guest has gone down.
pub fn stops(sign: Sign) -> bool {
    matches!(sign, Sign::Lifecycle(Lifecycle::Stopped(_) | Lifecycle::Crashed))
}

/// What the hook's files say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Guests that are off: since when, on which host, and what is to be judged of that. Oldest first.
    pub signs: Vec<(Millis, GuestId, HostId, Sign)>,
    /// Files that are not the hook's, and why.
    pub refused: Vec<(String, NotSpooled)>,
    /// Files that are not needed any more.
    pub spent: Vec<String>,
}

/// One list of all hosts.
#[derive(Debug, Default)]
pub struct Roll {
    /// The guests that are watched, and where each is at home.
    homes: BTreeMap<GuestId, HostId>,
    lines: BTreeMap<GuestId, Vec<(HostId, Listed)>>,
    answered: Vec<HostId>,
    silent: Vec<HostId>,
}

impl Roll {
    /// Of what the hosts have answered (`None`: nothing) about the guests that have services or owe something, with the
    /// host on which the table has each.
    pub fn of(
        watched: &BTreeMap<GuestId, HostId>,
        answers: Vec<(HostId, Option<Vec<Listed>>)>,
        before: &Census,
    ) -> Self {
        let mut roll = Self::default();
        for (host, answer) in answers {
            let Some(list) = answer else {
                roll.silent.push(host);
                continue;
            };
            for listed in list
                .into_iter()
                .filter(|listed| watched.contains_key(&listed.guest))
            {
                let lines = roll.lines.entry(listed.guest).or_default();
                lines.push((host.clone(), listed));
            }
            roll.answered.push(host);
        }
        for (guest, table) in watched {
            let known = before.home(*guest).unwrap_or(table);
            let home = roll.home_of(*guest, known).clone();
            roll.homes.insert(*guest, home);
        }
        roll
    }

    fn of_guest(&self, guest: GuestId) -> &[(HostId, Listed)] {
        self.lines.get(&guest).map(Vec::as_slice).unwrap_or_default()
    }

    /// Where a guest is active; else where it was known to be, if it is still off there; else where it is off.
    fn home_of<'a>(&'a self, guest: GuestId, known: &'a HostId) -> &'a HostId {
        let lines = self.of_guest(guest);
        let only = |hosts: Vec<&'a HostId>| match hosts.as_slice() {
            [one] => Some(*one),
            _ => None,
        };
        let that_are = |wanted: fn(&Listed) -> bool| -> Vec<&'a HostId> {
            let found = lines.iter().filter(|(_, listed)| wanted(listed));
            found.map(|(host, _)| host).collect()
        };
        let active = that_are(Listed::is_active);
        if !active.is_empty() {
            // On two while it is migrated: where it was until it has arrived.
            return only(active).unwrap_or(known);
        }
        let off = that_are(Listed::is_off);
        if off.contains(&known) || !self.silent.is_empty() {
            return known;
        }
        only(off).unwrap_or(known)
    }

    /// Enters who is watched, where they are at home, and which hosts answer.
    pub fn enter(&self, census: &mut Census) {
        let gone: Vec<GuestId> = census
            .guests()
            .filter(|guest| !self.homes.contains_key(guest))
            .collect();
        for guest in gone {
            census.unwatch(guest);
        }
        for (guest, home) in &self.homes {
            census.watch(*guest, home, OnCrash::Destroy);
        }
        for host in &self.answered {
            census.host_listed(host);
        }
        for host in &self.silent {
            census.host_lost(host);
        }
    }

    /// Takes in what libvirt's hook has noted on host `own`. A reason that libvirt has forgotten since is taken from there.
    pub fn note(&mut self, files: &[SpoolFile], own: &HostId, now: Millis) -> Noted {
        if !self.answered.contains(own) {
            // Which of them are needed is not known.
            return Noted::default();
        }
        let named = |name: &str| -> Vec<GuestId> {
            let all = self.lines.iter();
            all.filter(|(_, lines)| {
                lines
                    .iter()
                    .any(|(host, listed)| host == own && listed.name == name)
            })
            .map(|(guest, _)| *guest)
            .collect()
        };
        let sifted = spool::sift(files, |guest| self.homes.contains_key(&guest), named);
        let of = |spooled: &Spooled| {
            spooled.guest.or_else(|| match named(&spooled.name).as_slice() {
                [one] => Some(*one),
                _ => None,
            })
        };
        let is_off = |guest: GuestId| {
            self.homes.get(&guest) == Some(own)
                && self
                    .of_guest(guest)
                    .iter()
                    .any(|(host, listed)| host == own && listed.is_off())
        };
        let mut noted = Noted {
            signs: Vec::new(),
            refused: sifted.refused,
            spent: spool::spent(files, |spooled| of(spooled).is_some_and(is_off)),
        };
        let off: Vec<GuestId> = self
            .homes
            .keys()
            .copied()
            .filter(|guest| is_off(*guest))
            .collect();
        for guest in off {
            let Some((at, reason)) = spool::last_stop(&sifted.known, guest) else {
                continue;
            };
            let lines = self.lines.get_mut(&guest).into_iter().flatten();
            for (host, listed) in lines.filter(|(host, _)| host == own) {
                if let (ShutoffReason::Unknown | ShutoffReason::Daemon, Some(reason)) =
                    (listed.shutoff, reason)
                {
                    listed.shutoff = reason;
                }
                noted.signs.push((at.min(now), guest, host.clone(), sign(listed)));
            }
        }
        noted.signs.sort_by_key(|(at, ..)| *at);
        noted
    }

    /// What is to be judged of every guest.
    pub fn signs(&self) -> Vec<(GuestId, HostId, Sign)> {
        let mut signs = Vec::new();
        for (guest, home) in &self.homes {
            let lines = self.of_guest(*guest);
            signs.extend(
                lines
                    .iter()
                    .map(|(host, listed)| (*guest, host.clone(), sign(listed))),
            );
            if lines.is_empty() && self.silent.is_empty() {
                signs.push((*guest, home.clone(), Sign::Absent));
            }
        }
        signs
    }
}

fn sign(listed: &Listed) -> Sign {
    Sign::Listed {
        state: listed.state,
        shutoff: listed.shutoff,
        managed_save: listed.managed_save,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::blast::Limits;
    use crate::watch::cause::{Cause, Policy};
    use crate::watch::census::Order;

    const MINUTE: Millis = 60_000;

    fn guest(n: u128) -> GuestId {
        GuestId(uuid::Uuid::from_u128(n))
    }

    fn host(n: u32) -> HostId {
        format!("hv{n}").parse().unwrap()
    }

    fn running(n: u128) -> Listed {
        Listed {
            guest: guest(n),
            name: format!("g{n}"),
            state: DomainState::Running,
            shutoff: ShutoffReason::Unknown,
            managed_save: false,
        }
    }

    fn off(n: u128, shutoff: ShutoffReason) -> Listed {
        Listed {
            state: DomainState::Shutoff,
            shutoff,
            ..running(n)
        }
    }

    fn at_home(n: u128) -> BTreeMap<GuestId, HostId> {
        [(guest(n), host(1))].into()
    }

    fn file(n: u128, operation: &str, extra: &str, modified: Millis) -> SpoolFile {
        let uuid = guest(n);
        SpoolFile {
            name: format!("{uuid}.{operation}"),
            modified,
            content: format!(
                "handoverd-spool 1\nuuid={uuid}\nname=g{n}\nop={operation}\nsubop=end\nextra={extra}\n"
            )
            .into_bytes(),
        }
    }

    /// A census that has seen this list.
    fn census(watched: &BTreeMap<GuestId, HostId>, answers: Vec<(HostId, Option<Vec<Listed>>)>) -> Census {
        let mut census = Census::default();
        Roll::of(watched, answers, &Census::default()).enter(&mut census);
        census
    }

    #[test]
    fn a_guest_is_at_home_where_it_is_active_or_was_and_never_where_it_only_left_a_definition() {
        let migrated = || off(1, ShutoffReason::Migrated);
        let crashed = || off(1, ShutoffReason::Crashed);
        for (what, one, two, home) in [
            (
                "it runs where the table has it",
                Some(vec![running(1)]),
                Some(vec![]),
                1,
            ),
            (
                "somebody has migrated it",
                Some(vec![migrated()]),
                Some(vec![running(1)]),
                2,
            ),
            (
                "it is being migrated",
                Some(vec![running(1)]),
                Some(vec![running(1)]),
                1,
            ),
            (
                "migrated, and died there",
                Some(vec![migrated()]),
                Some(vec![crashed()]),
                2,
            ),
            (
                "died where it was, defined elsewhere",
                Some(vec![crashed()]),
                Some(vec![crashed()]),
                1,
            ),
            (
                "gone from its home, defined elsewhere",
                Some(vec![]),
                Some(vec![crashed()]),
                2,
            ),
            ("its home is silent", None, Some(vec![crashed()]), 1),
            (
                "its home is silent, and it runs elsewhere",
                None,
                Some(vec![running(1)]),
                2,
            ),
            ("nobody knows it", Some(vec![]), Some(vec![]), 1),
        ] {
            let answers = vec![(host(1), one), (host(2), two)];
            assert_eq!(
                census(&at_home(1), answers).home(guest(1)),
                Some(&host(home)),
                "{what}"
            );
        }
    }

    #[test]
    fn where_it_was_seen_counts_more_than_the_table() {
        let there = vec![(host(1), Some(vec![])), (host(2), Some(vec![running(1)]))];
        let before = census(&at_home(1), there);
        let answers = vec![
            (host(1), Some(vec![off(1, ShutoffReason::Unknown)])),
            (host(2), Some(vec![off(1, ShutoffReason::Crashed)])),
        ];
        let roll = Roll::of(&at_home(1), answers, &before);
        assert_eq!(roll.homes[&guest(1)], host(2));
    }

    #[test]
    fn a_guest_that_no_host_knows_is_absent_only_if_all_answer() {
        let all = vec![(host(1), Some(vec![])), (host(2), Some(vec![]))];
        let signs = Roll::of(&at_home(1), all, &Census::default()).signs();
        assert_eq!(signs, [(guest(1), host(1), Sign::Absent)]);
        let some = vec![(host(1), Some(vec![])), (host(2), None)];
        assert_eq!(Roll::of(&at_home(1), some, &Census::default()).signs(), []);
    }

    #[test]
    fn guests_without_services_are_watched_no_longer() {
        let mut census = census(&at_home(1), vec![(host(1), Some(vec![running(1), running(2)]))]);
        assert_eq!(census.guests().collect::<Vec<_>>(), [guest(1)]);
        let later = Roll::of(&at_home(2), vec![(host(1), Some(vec![running(2)]))], &census);
        later.enter(&mut census);
        assert_eq!(census.guests().collect::<Vec<_>>(), [guest(2)]);
    }

    /// What is ordered when a daemon starts at minute 10 and finds this.
    fn found(listed: Listed, files: &[SpoolFile]) -> (Vec<Order>, Noted) {
        let (policy, limits, now) = (Policy::default(), Limits::default(), 10 * MINUTE);
        let mut census = Census::default();
        let mut roll = Roll::of(&at_home(1), vec![(host(1), Some(vec![listed]))], &census);
        roll.enter(&mut census);
        let noted = roll.note(files, &host(1), now);
        let mut orders = Vec::new();
        for (at, guest, host, sign) in &noted.signs {
            census.put(*guest, host, *sign);
            orders.extend(census.step(*at, policy, limits));
        }
        for (guest, host, sign) in roll.signs() {
            census.put(guest, &host, sign);
        }
        orders.extend(census.step(now, policy, limits));
        (orders, noted)
    }

    #[test]
    fn a_grace_period_that_ended_while_nobody_looked_is_over() {
        let powered_off = || off(1, ShutoffReason::Shutdown);
        let dead = [Order::Evacuate(guest(1), Cause::PoweredOff)];
        // Off for eight minutes.
        let (orders, noted) = found(powered_off(), &[file(1, "release", "-", 2 * MINUTE)]);
        assert_eq!((orders.as_slice(), noted.spent.len()), (&dead[..], 0));
        // For ten seconds, and for nobody knows how long.
        for files in [vec![file(1, "release", "-", 10 * MINUTE - 10_000)], vec![]] {
            assert_eq!(found(powered_off(), &files).0, []);
        }
        // A clock that was set back proves nothing.
        assert_eq!(
            found(powered_off(), &[file(1, "release", "-", 99 * MINUTE)]).0,
            []
        );
    }

    #[test]
    fn a_reason_that_libvirt_has_forgotten_is_taken_from_the_hook() {
        let unknown = || off(1, ShutoffReason::Unknown);
        let crashed = [file(1, "release", "crashed", 9 * MINUTE + 59_000)];
        let dead = [Order::Evacuate(guest(1), Cause::QemuDied)];
        assert_eq!(found(unknown(), &crashed).0, dead);
        let saved = [file(1, "release", "saved", 9 * MINUTE)];
        assert_eq!(found(unknown(), &saved).0, []);
        // What libvirt does know is believed.
        assert_eq!(found(off(1, ShutoffReason::Shutdown), &crashed).0, []);
    }

    #[test]
    fn files_that_are_empty_huge_foreign_or_of_nobody_are_spent_and_change_nothing() {
        let mut files = vec![
            file(7, "release", "crashed", MINUTE),
            file(1, "started", "-", 9 * MINUTE),
        ];
        for (name, content) in [
            ("empty", vec![]),
            ("huge", vec![b'x'; spool::MAX_FILE + 1]),
            ("foreign", b"#!/bin/sh\n".to_vec()),
        ] {
            files.push(SpoolFile {
                name: name.to_owned(),
                modified: MINUTE,
                content,
            });
        }
        let (orders, noted) = found(running(1), &files);
        assert_eq!(orders, []);
        let names: Vec<&str> = noted.refused.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["empty", "huge", "foreign"]);
        assert_eq!(noted.spent.len(), 5);
        // Where its own host does not answer, all of them are kept.
        let mut blind = Roll::of(&at_home(1), vec![(host(1), None)], &Census::default());
        assert_eq!(blind.note(&files, &host(1), 10 * MINUTE), Noted::default());
    }
}
