//! Keeps balancing from being restless.
//!
//! ```text
//!            gap > begin for `patience`
//!   Calm  ------------------------------>  Active: moves are allowed, `per_window` in any `window`
//!    ^                                        |
//!    +----------------------------------------+
//!                 gap <= end
//! ```
//! A service that was moved rests: it is not moved for balance again before `rest` has passed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use super::decided::about;
use super::load::Share;
use super::rebalance::Balance;
use crate::model::ids::ServiceId;
use crate::model::service::Millis;

/// How restless balancing may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damping {
    /// How long the gap must have been too large without a break.
    pub patience: Duration,
    /// The span in which moves are counted.
    pub window: Duration,
    /// How many moves are allowed in any window.
    pub per_window: usize,
    /// How long a service that was moved stays.
    pub rest: Duration,
}

impl Default for Damping {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(300),
            window: Duration::from_secs(600),
            per_window: 4,
            rest: Duration::from_secs(3600),
        }
    }
}

/// What is allowed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// The loads are close enough.
    Balanced,
    /// They are far apart, but not for long enough yet: how long is left.
    Patience(Duration),
    /// All moves of this window are made: how long until the next one.
    Spent(Duration),
    /// So many moves.
    Moves(usize),
}

impl fmt::Display for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Balanced => f.write_str("the loads are close enough"),
            Self::Patience(left) => write!(
                f,
                "the loads are far apart; moves begin if they still are in {}",
                about(*left)
            ),
            Self::Spent(left) => write!(
                f,
                "enough was moved for now; the next move is allowed in {}",
                about(*left)
            ),
            Self::Moves(count) => write!(f, "the loads are far apart; up to {count} services may move"),
        }
    }
}

/// What was seen and moved so far. Its memory is bounded by the number of services.
#[derive(Debug, Clone, Default)]
pub struct Damper {
    above_since: Option<Millis>,
    active: bool,
    moves: VecDeque<Millis>,
    moved: BTreeMap<ServiceId, Millis>,
}

impl Damper {
    /// Takes the gap of this moment in and says what is allowed.
    pub fn look(&mut self, now: Millis, gap: Share, balance: Balance, damping: Damping) -> Permit {
        self.forget(now, damping);
        if self.active && gap <= balance.end {
            self.active = false;
        }
        if !self.active {
            if gap <= balance.begin {
                self.above_since = None;
                return Permit::Balanced;
            }
            let since = *self.above_since.get_or_insert(now);
            let seen = Duration::from_millis(now.saturating_sub(since));
            if let Some(left) = damping.patience.checked_sub(seen).filter(|left| !left.is_zero()) {
                return Permit::Patience(left);
            }
            self.active = true;
            self.above_since = None;
        }
        match (
            damping.per_window.saturating_sub(self.moves.len()),
            self.moves.front(),
        ) {
            (0, Some(first)) => {
                let age = Duration::from_millis(now.saturating_sub(*first));
                Permit::Spent(damping.window.saturating_sub(age))
            }
            (0, None) => Permit::Spent(damping.window),
            (left, _) => Permit::Moves(left),
        }
    }

    /// The gap cannot be judged now: for how long it was too large is counted anew.
    pub fn interrupt(&mut self) {
        self.above_since = None;
    }

    /// A service was sent on its way for balance.
    pub fn moved(&mut self, now: Millis, service: ServiceId) {
        self.moves.push_back(now);
        self.moved.insert(service, now);
    }

    /// The services that rest.
    pub fn resting(&mut self, now: Millis, damping: Damping) -> BTreeSet<ServiceId> {
        self.forget(now, damping);
        self.moved.keys().cloned().collect()
    }

    fn forget(&mut self, now: Millis, damping: Damping) {
        let over = |at: Millis, span: Duration| u128::from(now.saturating_sub(at)) >= span.as_millis();
        while self.moves.front().is_some_and(|at| over(*at, damping.window)) {
            self.moves.pop_front();
        }
        self.moved.retain(|_, at| !over(*at, damping.rest));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::id;
    use super::*;

    const DAMPING: Damping = Damping {
        patience: Duration::from_secs(60),
        window: Duration::from_secs(100),
        per_window: 2,
        rest: Duration::from_secs(1000),
    };

    fn look(damper: &mut Damper, second: u64, percent: u32) -> Permit {
        damper.look(
            second * 1000,
            Share::percent(percent),
            Balance::default(),
            DAMPING,
        )
    }

    #[test]
    fn a_gap_must_last_before_anything_moves() {
        let mut damper = Damper::default();
        assert_eq!(look(&mut damper, 0, 30), Permit::Balanced);
        assert_eq!(
            look(&mut damper, 10, 50),
            Permit::Patience(Duration::from_secs(60))
        );
        assert_eq!(
            look(&mut damper, 50, 50).to_string(),
            "the loads are far apart; moves begin if they still are in 20 s"
        );
        // A break begins the count anew.
        assert_eq!(look(&mut damper, 60, 20), Permit::Balanced);
        assert_eq!(
            look(&mut damper, 69, 50),
            Permit::Patience(Duration::from_secs(60))
        );
        assert_eq!(look(&mut damper, 129, 50), Permit::Moves(2));
    }

    #[test]
    fn a_time_in_which_the_gap_cannot_be_judged_is_no_patience() {
        let mut damper = Damper::default();
        look(&mut damper, 0, 50);
        damper.interrupt();
        assert_eq!(
            look(&mut damper, 60, 50),
            Permit::Patience(Duration::from_secs(60))
        );
        assert_eq!(look(&mut damper, 120, 50), Permit::Moves(2));
        // What has begun goes on afterwards.
        damper.interrupt();
        assert_eq!(look(&mut damper, 130, 50), Permit::Moves(2));
    }

    #[test]
    fn once_begun_it_goes_on_until_the_gap_is_small() {
        let mut damper = Damper::default();
        look(&mut damper, 0, 50);
        assert_eq!(look(&mut damper, 60, 50), Permit::Moves(2));
        // Less than what began it, more than what ends it.
        assert_eq!(look(&mut damper, 70, 20), Permit::Moves(2));
        assert_eq!(look(&mut damper, 80, 15), Permit::Balanced);
        assert_eq!(look(&mut damper, 90, 20), Permit::Balanced);
    }

    #[test]
    fn the_moves_of_a_window_are_limited() {
        let mut damper = Damper::default();
        look(&mut damper, 0, 50);
        damper.moved(60_000, id("a"));
        assert_eq!(look(&mut damper, 61, 50), Permit::Moves(1));
        damper.moved(80_000, id("b"));
        assert_eq!(look(&mut damper, 90, 50), Permit::Spent(Duration::from_secs(70)));
        assert_eq!(look(&mut damper, 160, 50), Permit::Moves(1));
    }

    #[test]
    fn a_service_that_was_moved_rests() {
        let mut damper = Damper::default();
        damper.moved(5_000, id("a"));
        assert_eq!(damper.resting(1_004_999, DAMPING), BTreeSet::from([id("a")]));
        assert!(damper.resting(1_005_000, DAMPING).is_empty());
    }

    proptest! {
        #[test]
        fn loads_that_swing_between_the_two_limits_move_nothing(
            steps in proptest::collection::vec((1_u64..100, 0_u32..=30), 1..60),
        ) {
            let (mut damper, mut now) = (Damper::default(), 0);
            for (seconds, percent) in steps {
                now += seconds;
                prop_assert_eq!(look(&mut damper, now, percent), Permit::Balanced);
            }
        }

        #[test]
        fn no_window_sees_more_moves_than_allowed_and_no_service_moves_twice_in_its_rest(
            steps in proptest::collection::vec((1_u64..40, 0_u32..100, 0_u8..6), 1..200),
        ) {
            let (mut damper, mut now) = (Damper::default(), 0);
            let mut made: Vec<(u64, u8)> = Vec::new();
            for (seconds, percent, service) in steps {
                now += seconds;
                let permit = look(&mut damper, now, percent);
                let name = id(&format!("s{service}"));
                if matches!(permit, Permit::Moves(_)) && !damper.resting(now * 1000, DAMPING).contains(&name) {
                    damper.moved(now * 1000, name);
                    made.push((now, service));
                }
            }
            for (at, service) in &made {
                let window = made.iter().filter(|(other, _)| (*at..at + 100).contains(other)).count();
                prop_assert!(window <= 2);
                let again = made.iter().filter(|(other, s)| s == service && (*at..at + 1000).contains(other)).count();
                prop_assert_eq!(again, 1);
            }
        }
    }
}
