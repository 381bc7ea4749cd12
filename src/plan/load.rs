//! How loaded a guest is: samples smoothed over time, and one number to compare guests by.
//!
//! A sample that is `dt` younger than the one before counts with `dt / (constant + dt)`, all earlier ones together with
//! the rest: an exponential filter in whole numbers. After the time constant a change has gone 50 % (one sample in that
//! time) to 63 % (many) of its way; a burst of samples in no time changes nothing.
//!
//! The **score** of a guest is the largest of its shares of CPU, memory and pressure (PSI "some", of CPU, memory or IO):
//! what is scarcest decides. An average would hide a guest that is out of memory behind its idle CPU.

use std::fmt;
use std::time::Duration;

use crate::model::service::Millis;

/// A share of something, in millionths; never above one whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Share(u32);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// All of it.
    pub const WHOLE: Self = Self(1_000_000);

    /// So many millionths; more than all is all.
    pub fn millionths(parts: u32) -> Self {
        Self(parts.min(Self::WHOLE.0))
    }

    /// So many hundredths; more than all is all.
    pub fn percent(parts: u32) -> Self {
        Self::millionths(parts.saturating_mul(10_000))
    }

    /// `part` of `whole`; all of it where there is no whole.
    pub fn of(part: u64, whole: u64) -> Self {
        if whole == 0 {
            return if part == 0 { Self::NONE } else { Self::WHOLE };
        }
        let millionths = u128::from(part) * u128::from(Self::WHOLE.0) / u128::from(whole);
        u32::try_from(millionths).map_or(Self::WHOLE, Self::millionths)
    }

    /// This share of `whole`, rounded down.
    pub fn part(self, whole: u64) -> u64 {
        let part = u128::from(whole) * u128::from(self.0) / u128::from(Self::WHOLE.0);
        u64::try_from(part).unwrap_or(whole)
    }

    /// In millionths.
    pub fn as_millionths(self) -> u32 {
        self.0
    }

    /// Both together, at most all.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self::millionths(self.0.saturating_add(other.0))
    }

    /// What is left without `other`, at least nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Share {
    /// As whole percent, `37 %`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", (self.0 + 5_000) / 10_000)
    }
}

/// How loaded a guest was at one moment, each as the share of what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Of all its virtual CPUs.
    pub cpu: Share,
    /// Of its memory, what is not available to programs.
    pub memory: Share,
    /// Of the last seconds, in which something waited for CPU, memory or IO (the largest of PSI's `some avg10`).
    pub pressure: Share,
}

impl Load {
    /// The scarcest resource's share.
    pub fn score(&self) -> Share {
        self.cpu.max(self.memory).max(self.pressure)
    }
}

/// How samples become a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Smoothing {
    /// The time constant: after it a change has gone at least half of its way.
    pub constant: Duration,
    /// A load without a sample for longer than this is not known any more.
    pub limit: Duration,
}

impl Default for Smoothing {
    /// A time constant of 30 s; unknown after 3 min.
    fn default() -> Self {
        Self {
            constant: Duration::from_secs(30),
            limit: Duration::from_secs(180),
        }
    }
}

/// A share over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Smoothed {
    seen: Option<(Millis, Share)>,
}

impl Smoothed {
    /// Takes a sample of time `at` in. One that is not younger than the last is ignored (the clock was set back, or two
    /// arrive in the wrong order); after a gap longer than the limit, the sample alone counts.
    pub fn take(&mut self, at: Millis, sample: Share, by: Smoothing) {
        let Some((last, before)) = self.seen else {
            self.seen = Some((at, sample));
            return;
        };
        let Some(gap) = at.checked_sub(last).filter(|gap| *gap > 0) else {
            return;
        };
        let share = if gap > millis(by.limit) {
            sample
        } else {
            mixed(before, sample, gap, millis(by.constant))
        };
        self.seen = Some((at, share));
    }

    /// The share as far as it is known at `now`; `None` without a sample that is young enough.
    pub fn at(&self, now: Millis, by: Smoothing) -> Option<Share> {
        self.seen
            .filter(|(at, _)| now.saturating_sub(*at) <= millis(by.limit))
            .map(|(_, share)| share)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// `old` with weight `constant` and `new` with weight `gap`.
fn mixed(old: Share, new: Share, gap: u64, constant: u64) -> Share {
    let (gap, constant) = (u128::from(gap), u128::from(constant));
    let sum = u128::from(old.0) * constant + u128::from(new.0) * gap;
    // Rounded to the nearest, so that a steady load stays what it is.
    let all = constant + gap;
    u32::try_from((sum + all / 2) / all).map_or(Share::WHOLE, Share::millionths)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BY: Smoothing = Smoothing {
        constant: Duration::from_secs(30),
        limit: Duration::from_secs(180),
    };

    const P: fn(u32) -> Share = Share::percent;

    #[test]
    fn the_scarcest_resource_is_the_score() {
        let load = Load {
            cpu: Share::percent(5),
            memory: Share::percent(93),
            pressure: Share::percent(20),
        };
        assert_eq!(load.score(), Share::percent(93));
        assert_eq!(load.score().to_string(), "93 %");
    }

    #[test]
    fn a_change_goes_half_of_its_way_in_the_time_constant() {
        let mut smoothed = Smoothed::default();
        smoothed.take(1_000, P(0), BY);
        smoothed.take(31_000, P(100), BY);
        assert_eq!(smoothed.at(31_000, BY).unwrap(), Share::percent(50));
    }

    #[test]
    fn one_peak_among_steady_samples_hardly_shows() {
        let mut smoothed = Smoothed::default();
        for second in 0..20 {
            smoothed.take(second * 5_000, P(20), BY);
        }
        smoothed.take(100_000, P(100), BY);
        let peak = smoothed.at(100_000, BY).unwrap();
        assert!(peak < Share::percent(32) && peak > Share::percent(28), "{peak}");
    }

    #[test]
    fn a_load_that_nobody_has_looked_at_for_long_is_unknown() {
        let mut smoothed = Smoothed::default();
        assert_eq!(smoothed.at(0, BY), None);
        smoothed.take(1_000, P(40), BY);
        assert_eq!(smoothed.at(181_000, BY), Some(P(40)));
        assert_eq!(smoothed.at(181_001, BY), None);
        // What was before the gap says nothing any more.
        smoothed.take(300_000, P(80), BY);
        assert_eq!(smoothed.at(300_000, BY), Some(P(80)));
    }

    #[test]
    fn a_sample_from_before_the_last_is_ignored() {
        let mut smoothed = Smoothed::default();
        smoothed.take(10_000, P(40), BY);
        smoothed.take(10_000, P(100), BY);
        smoothed.take(4_000, P(100), BY);
        assert_eq!(smoothed.at(10_000, BY), Some(P(40)));
    }

    #[test]
    fn a_part_of_nothing_is_all_of_it() {
        assert_eq!(Share::of(0, 0), Share::NONE);
        assert_eq!(Share::of(1, 0), Share::WHOLE);
        assert_eq!(Share::of(u64::MAX, 1), Share::WHOLE);
        assert_eq!(Share::percent(25).part(u64::MAX), u64::MAX / 4);
    }

    proptest! {
        #[test]
        fn a_smoothed_load_lies_between_the_samples(
            samples in proptest::collection::vec((1_u64..60_000, 0_u32..=100), 1..40),
        ) {
            let (least, most) = (samples.iter().map(|s| s.1).min().unwrap(), samples.iter().map(|s| s.1).max().unwrap());
            let (mut smoothed, mut now) = (Smoothed::default(), 0);
            for (gap, percent) in &samples {
                now += gap;
                smoothed.take(now, P(*percent), BY);
            }
            let share = smoothed.at(now, BY).unwrap();
            prop_assert!(share >= P(least) && share <= P(most));
        }

        #[test]
        fn a_steady_load_stays_what_it_is(gaps in proptest::collection::vec(1_u64..60_000, 1..40), parts in 0_u32..=1_000_000) {
            let steady = Share::millionths(parts);
            let (mut smoothed, mut now) = (Smoothed::default(), 0);
            for gap in gaps {
                now += gap;
                smoothed.take(now, steady, BY);
            }
            prop_assert_eq!(smoothed.at(now, BY), Some(steady));
        }
    }
}
