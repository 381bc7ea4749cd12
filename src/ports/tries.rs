//! How often a check is to pass.

use std::time::Duration;

/// How many tries of a check are wanted to pass in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tries {
    /// How many; 0 counts as 1.
    pub passes: u32,
    /// Time from the end of one to the next.
    pub interval: Duration,
}

impl Tries {
    /// Just one.
    pub const ONE: Self = Self {
        passes: 1,
        interval: Duration::ZERO,
    };

    /// How long all of them take at most when each takes `one`.
    pub fn lasting(self, one: Duration) -> Duration {
        let passes = self.passes.max(1);
        one.saturating_mul(passes)
            .saturating_add(self.interval.saturating_mul(passes - 1))
    }
}
