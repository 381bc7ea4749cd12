//! Guests whose evacuation has left something: when they are looked at again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::after;
use crate::model::ids::GuestId;
use crate::model::service::Millis;

/// How soon what could not be done is tried again; doubled up to [`LONGEST`].
pub(super) const AGAIN: Duration = Duration::from_secs(5);
/// How soon services that found no home are looked at again; doubled up to [`LONGEST`].
pub(super) const HOMELESS: Duration = Duration::from_secs(60);
/// The longest wait before either.
pub(super) const LONGEST: Duration = Duration::from_secs(900);

/// What is looked at again, and when.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    guests: BTreeMap<GuestId, Wait>,
    /// When it was last told that there may be a home where there was none.
    room: Option<Millis>,
}

#[derive(Debug)]
struct Wait {
    until: Millis,
    span: Duration,
}

impl Waiting {
    /// A look at the guest that began at `begun` has left something: the first wait is `first`, each further one twice as long
    /// as the one before. Where room was told of since, that look may not have seen it.
    pub(super) fn wait(&mut self, now: Millis, guest: GuestId, begun: Millis, first: Duration) {
        let before = self.guests.get(&guest).map(|wait| wait.span);
        let span = match before {
            _ if self.room.is_some_and(|room| room >= begun) => AGAIN,
            Some(span) => span.saturating_mul(2).min(LONGEST),
            None => first,
        };
        let until = after(now, span);
        self.guests.insert(guest, Wait { until, span });
    }

    /// Nothing is left, or the guest is not dead any more.
    pub(super) fn forget(&mut self, guest: GuestId) {
        self.guests.remove(&guest);
    }

    /// Whether something is left of the guest's last evacuation.
    pub(super) fn has(&self, guest: GuestId) -> bool {
        self.guests.contains_key(&guest)
    }

    /// There may be a home where there was none, or soon: a guest whose agent speaks has not booted yet. So waits begin with
    /// [`AGAIN`] anew.
    pub(super) fn hasten(&mut self, now: Millis) {
        self.room = Some(now);
        let soon = after(now, AGAIN);
        for wait in self.guests.values_mut() {
            wait.until = wait.until.min(soon);
            wait.span = AGAIN;
        }
    }

    /// When the next of those is due that `may` be looked at.
    pub(super) fn next(&self, may: impl Fn(&GuestId) -> bool) -> Option<Millis> {
        let waits = self.guests.iter().filter(|(guest, _)| may(guest));
        waits.map(|(_, wait)| wait.until).min()
    }

    /// Those that are due now, of those that `may` be looked at.
    pub(super) fn due(&self, now: Millis, may: impl Fn(&GuestId) -> bool) -> Vec<GuestId> {
        let waits = self.guests.iter();
        let due = waits.filter(|(guest, wait)| wait.until <= now && may(guest));
        due.map(|(guest, _)| *guest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: fn(&GuestId) -> bool = |_| true;

    fn guest(n: u128) -> GuestId {
        GuestId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_once_nothing_is_left() {
        let mut waiting = Waiting::default();
        let spans: Vec<Millis> = (0..6)
            .map(|_| {
                waiting.wait(1000, guest(1), 500, HOMELESS);
                waiting.next(ALL).unwrap() - 1000
            })
            .collect();
        assert_eq!(spans, [60_000, 120_000, 240_000, 480_000, 900_000, 900_000]);
        waiting.forget(guest(1));
        assert_eq!((waiting.next(ALL), waiting.has(guest(1))), (None, false));
        waiting.wait(0, guest(1), 0, AGAIN);
        assert_eq!(waiting.next(ALL), Some(5_000));
    }

    #[test]
    fn room_makes_waits_shorter_and_never_longer() {
        let mut waiting = Waiting::default();
        waiting.wait(0, guest(1), 0, HOMELESS);
        waiting.wait(0, guest(2), 0, AGAIN);
        waiting.hasten(1_000);
        assert_eq!(waiting.due(5_000, ALL), [guest(2)]);
        assert_eq!(waiting.due(6_000, ALL), [guest(1), guest(2)]);
        // A guest that has just come may not be ready at the first look.
        waiting.wait(6_000, guest(1), 5_900, HOMELESS);
        assert_eq!(waiting.next(|one| *one == guest(1)), Some(16_000));
    }

    #[test]
    fn room_that_is_told_of_during_a_look_is_looked_for_after_it() {
        let mut waiting = Waiting::default();
        waiting.hasten(1_500);
        waiting.wait(2_000, guest(1), 1_000, HOMELESS);
        assert_eq!(waiting.next(ALL), Some(7_000));
        waiting.forget(guest(1));
        waiting.wait(2_000, guest(1), 1_600, HOMELESS);
        assert_eq!(waiting.next(ALL), Some(62_000));
    }

    #[test]
    fn a_guest_that_is_looked_at_is_not_due() {
        let mut waiting = Waiting::default();
        waiting.wait(0, guest(1), 0, AGAIN);
        let nobody = |_: &GuestId| false;
        assert_eq!(
            (waiting.due(9_000, nobody), waiting.next(nobody)),
            (Vec::new(), None)
        );
    }
}
