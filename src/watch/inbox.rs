//! Signs that wait to be judged, in bounded memory however many come.
//!
//! For each guest and host the latest sign of a kind counts: of its power, of a reset, of its agent. What is dropped is
//! what a later sign has overtaken; that a guest stopped and started in between is kept as a reset.

use std::collections::{BTreeMap, BTreeSet};

use super::cause::Sign;
use crate::model::ids::{GuestId, HostId};
use crate::model::lifecycle::Lifecycle;

#[derive(Debug, Clone, Default)]
struct Slot {
    power: Option<(u64, Lifecycle)>,
    reset: Option<u64>,
    agent: Option<(u64, bool)>,
    answered: Option<(u64, bool)>,
    listed: Option<(u64, Sign)>,
}

/// What has come in and was not taken out yet: at most one entry for each watched guest and host.
#[derive(Debug, Clone, Default)]
pub struct Inbox {
    slots: BTreeMap<(GuestId, HostId), Slot>,
    lost_hosts: BTreeSet<HostId>,
    next: u64,
    overtaken: u64,
}

impl Inbox {
    /// Takes a sign in that came from `host`.
    pub fn put(&mut self, guest: GuestId, host: &HostId, sign: Sign) {
        let at = self.next;
        // Of these nothing follows.
        if let Sign::Lifecycle(
            Lifecycle::Defined | Lifecycle::Undefined | Lifecycle::ShuttingDown { .. } | Lifecycle::Other(..),
        ) = sign
        {
            self.overtaken += 1;
            return;
        }
        self.next += 1;
        let slot = self.slots.entry((guest, host.clone())).or_default();
        let overtaken = match sign {
            Sign::Lifecycle(event) => {
                let starts = matches!(event, Lifecycle::Started { .. });
                let before = slot.power.replace((at, event));
                if starts && matches!(before, Some((_, Lifecycle::Stopped(_) | Lifecycle::Crashed))) {
                    slot.reset = Some(at);
                }
                before.is_some()
            }
            Sign::Rebooted => slot.reset.replace(at).is_some(),
            Sign::Agent(open) => slot.agent.replace((at, open)).is_some(),
            Sign::Answered(yes) => slot.answered.replace((at, yes)).is_some(),
            Sign::Listed { .. } | Sign::Absent => slot.listed.replace((at, sign)).is_some(),
        };
        self.overtaken += u64::from(overtaken);
    }

    /// The connection to a host was lost.
    pub fn lost(&mut self, host: &HostId) {
        self.lost_hosts.insert(host.clone());
    }

    /// How many entries wait.
    pub fn len(&self) -> usize {
        self.slots.len() + self.lost_hosts.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many signs were overtaken by later ones so far; for metrics.
    pub fn overtaken(&self) -> u64 {
        self.overtaken
    }

    /// Takes everything out: the hosts that were lost, and the signs in the order in which they came.
    pub fn drain(&mut self) -> (BTreeSet<HostId>, Vec<(GuestId, HostId, Sign)>) {
        let mut signs = Vec::new();
        for ((guest, host), slot) in std::mem::take(&mut self.slots) {
            let mut put = |sign: Option<(u64, Sign)>| {
                signs.extend(sign.map(|(at, sign)| (at, (guest, host.clone(), sign))));
            };
            put(slot.power.map(|(at, event)| (at, Sign::Lifecycle(event))));
            put(slot.reset.map(|at| (at, Sign::Rebooted)));
            put(slot.agent.map(|(at, open)| (at, Sign::Agent(open))));
            put(slot.answered.map(|(at, yes)| (at, Sign::Answered(yes))));
            put(slot.listed);
        }
        // A start and the reset that it stands for have the same number; the start comes first.
        signs.sort_by_key(|(at, _)| *at);
        let signs = signs.into_iter().map(|(_, sign)| sign).collect();
        (std::mem::take(&mut self.lost_hosts), signs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lifecycle::StopReason;

    const STOPPED: Sign = Sign::Lifecycle(Lifecycle::Stopped(StopReason::Failed));
    const STARTED: Sign = Sign::Lifecycle(Lifecycle::Started { migrated: false });

    fn guest(n: u128) -> GuestId {
        GuestId(uuid::Uuid::from_u128(n))
    }

    fn host(n: u32) -> HostId {
        format!("hv{n}").parse().unwrap()
    }

    fn drained(inbox: &mut Inbox) -> Vec<Sign> {
        inbox.drain().1.into_iter().map(|(_, _, sign)| sign).collect()
    }

    #[test]
    fn signs_come_out_in_the_order_in_which_they_came() {
        let mut inbox = Inbox::default();
        for sign in [Sign::Agent(false), Sign::Rebooted, STOPPED] {
            inbox.put(guest(1), &host(1), sign);
        }
        inbox.put(guest(2), &host(1), Sign::Agent(true));
        inbox.lost(&host(3));
        let (lost, signs) = inbox.drain();
        assert_eq!(lost, BTreeSet::from([host(3)]));
        let signs: Vec<_> = signs.into_iter().map(|(guest, _, sign)| (guest, sign)).collect();
        assert_eq!(
            signs,
            [
                (guest(1), Sign::Agent(false)),
                (guest(1), Sign::Rebooted),
                (guest(1), STOPPED),
                (guest(2), Sign::Agent(true))
            ]
        );
        assert!(inbox.is_empty());
    }

    #[test]
    fn a_guest_that_stopped_and_started_was_reset() {
        let mut inbox = Inbox::default();
        inbox.put(guest(1), &host(1), STOPPED);
        inbox.put(guest(1), &host(1), STARTED);
        assert_eq!(drained(&mut inbox), [STARTED, Sign::Rebooted]);
    }

    #[test]
    fn a_definition_that_goes_does_not_hide_a_death() {
        let mut inbox = Inbox::default();
        inbox.put(guest(1), &host(1), STOPPED);
        inbox.put(guest(1), &host(1), Sign::Lifecycle(Lifecycle::Undefined));
        assert_eq!(drained(&mut inbox), [STOPPED]);
    }

    #[test]
    fn two_hosts_that_speak_of_one_guest_are_both_heard() {
        let mut inbox = Inbox::default();
        inbox.put(guest(1), &host(2), STARTED);
        inbox.put(guest(1), &host(1), STOPPED);
        assert_eq!(drained(&mut inbox), [STARTED, STOPPED]);
    }

    #[test]
    fn a_flood_takes_no_more_room_than_there_are_guests() {
        let mut inbox = Inbox::default();
        for n in 0_u32..10_000 {
            let sign = match n % 7 {
                0 => STOPPED,
                1 => STARTED,
                2 => Sign::Agent(n % 2 == 0),
                3 => Sign::Rebooted,
                4 => Sign::Answered(false),
                _ => Sign::Lifecycle(Lifecycle::Defined),
            };
            inbox.put(guest(u128::from(n % 50)), &host(n % 2), sign);
        }
        assert!(inbox.len() <= 100, "{}", inbox.len());
        let (_, signs) = inbox.drain();
        assert!(signs.len() <= 500);
        assert!(inbox.overtaken() > 9_000);
    }
}
