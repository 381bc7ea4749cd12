//! What a request's target is: a guest, or a way of choosing one for each service.

use std::fmt;

use super::classify::GuestName;
use crate::model::ids::GuestId;

/// How a guest is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// This one for every service.
    Named(GuestId),
    /// By lot; the same seed over the same cluster gives the same plan.
    Random {
        /// What the lots are drawn from; logged, so that a plan can be made again.
        seed: u64,
    },
    /// The guest with the lowest score, what is on its way to it included.
    LeastLoaded,
    /// The guest that has got the fewest services of this batch; the least loaded of those.
    Spread,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(guest) => write!(f, "guest {guest}"),
            Self::Random { seed } => write!(f, "random:{seed}"),
            Self::LeastLoaded => f.write_str("least-loaded"),
            Self::Spread => f.write_str("spread"),
        }
    }
}

/// A request's target as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetName {
    /// `random`, or `random:SEED` to make an earlier plan again.
    Random(Option<u64>),
    /// `least-loaded`.
    LeastLoaded,
    /// `spread`.
    Spread,
    /// Everything else.
    Guest(GuestName),
}

impl TargetName {
    /// The words of strategies are taken as such: a guest of such a name is named by its UUID.
    pub fn of(text: &str) -> Self {
        match text {
            "random" => Self::Random(None),
            "least-loaded" => Self::LeastLoaded,
            "spread" => Self::Spread,
            _ => match text.strip_prefix("random:").map(str::parse) {
                Some(Ok(seed)) => Self::Random(Some(seed)),
                _ => Self::Guest(GuestName::of(text)),
            },
        }
    }
}

/// A source of numbers that seem random and are the same for the same seed (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Lots(u64);

impl Lots {
    pub(super) fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_strategy_or_a_guest() {
        for (text, target) in [
            ("random", TargetName::Random(None)),
            ("random:7", TargetName::Random(Some(7))),
            ("least-loaded", TargetName::LeastLoaded),
            ("spread", TargetName::Spread),
            ("random:x", TargetName::Guest(GuestName::Name("random:x".into()))),
            ("Spread", TargetName::Guest(GuestName::Name("Spread".into()))),
            ("g1", TargetName::Guest(GuestName::Name("g1".into()))),
        ] {
            assert_eq!(TargetName::of(text), target, "{text}");
        }
    }

    #[test]
    fn a_strategy_with_its_seed_is_written_as_it_is_read() {
        let seed = u64::MAX;
        let written = Strategy::Random { seed }.to_string();
        assert_eq!(TargetName::of(&written), TargetName::Random(Some(seed)));
    }

    #[test]
    fn the_same_seed_draws_the_same_lots() {
        // The first numbers of splitmix64 for seed 0, as its author's program prints them.
        let mut lots = Lots::of(0);
        assert_eq!(
            [lots.draw(), lots.draw()],
            [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]
        );
    }
}
