//! How real time drives a simulated world that people and programs work with.

use std::time::{Duration, Instant};

use crate::model::service::Millis;

/// Time that passes by itself, at or above the speed of the real one.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    began: Instant,
    from: Millis,
    speed: u32,
}

impl Pace {
    /// Beginning now at time `from` of the world; so many of its seconds pass in a real one, 0 counts as 1.
    pub fn new(from: Millis, speed: u32) -> Self {
        Self {
            began: Instant::now(),
            from,
            speed: speed.max(1),
        }
    }

    /// What time it is in the world.
    pub fn now(&self) -> Millis {
        self.after(self.began.elapsed())
    }

    /// What time it is in the world when so much real time has passed.
    fn after(&self, real: Duration) -> Millis {
        let passed = real.saturating_mul(self.speed);
        self.from
            .saturating_add(Millis::try_from(passed.as_millis()).unwrap_or(Millis::MAX))
    }

    /// How long so much of the world's time really lasts.
    pub fn real(&self, duration: Duration) -> Duration {
        duration / self.speed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_at_speed_100_passes_its_minute_in_600_milliseconds() {
        let pace = Pace::new(1_000, 100);
        assert_eq!(pace.real(Duration::from_secs(60)), Duration::from_millis(600));
        assert_eq!(pace.after(Duration::from_millis(600)), 1_000 + 60_000);
        assert!(pace.now() >= 1_000);
    }
}
