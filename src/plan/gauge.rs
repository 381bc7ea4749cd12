//! The load of one guest, out of what its host counts and what it says of itself.
//!
//! CPU is what was used between two counts, as the share of all its virtual CPUs. Memory is what is not available to
//! programs, as the balloon or the guest itself tells. Pressure only the guest tells. Each is smoothed by itself
//! ([`super::load`]), for they are asked at different times; what was never told, or too long ago, counts as nothing. A
//! load is known when the CPU is.

use std::time::Duration;

use super::load::{Load, Share, Smoothed, Smoothing};
use crate::model::needs::Resources;
use crate::model::service::Millis;
use crate::model::vitals::{Counters, Vitals};

/// Thousandths of a core in a virtual CPU.
const CORE: u64 = 1000;
/// Two counts that are closer than this tell too little: CPU time is counted in steps of 10 ms.
const CLOSE: Duration = Duration::from_secs(1);

/// What is known of one guest over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauge {
    capacity: Option<Resources>,
    counted: Option<(Millis, Duration)>,
    cpu: Smoothed,
    memory: Smoothed,
    pressure: Smoothed,
}

impl Gauge {
    /// Takes in what the host counted at `at`. A CPU time that is smaller than before is another QEMU process's: it only
    /// begins a new count.
    pub fn count(&mut self, at: Millis, counters: &Counters, by: Smoothing) {
        let cpus = u64::from(counters.cpus);
        self.capacity = Some(Resources {
            memory: counters.memory,
            cpu: cpus.saturating_mul(CORE),
        });
        if let Some(available) = counters.available {
            self.memory.take(at, used(counters.memory, available), by);
        }
        let Some(cpu_time) = counters.cpu_time else {
            return;
        };
        if let Some((last, before)) = self.counted {
            let passed = Duration::from_millis(at.saturating_sub(last));
            if at >= last && passed < CLOSE {
                return;
            }
            if let Some(busy) = cpu_time.checked_sub(before).filter(|_| at > last) {
                let whole = micros(passed).saturating_mul(cpus);
                self.cpu.take(at, Share::of(micros(busy), whole), by);
            }
        }
        self.counted = Some((at, cpu_time));
    }

    /// Takes in what the guest said at `at`.
    pub fn feel(&mut self, at: Millis, vitals: &Vitals, by: Smoothing) {
        self.memory.take(at, used(vitals.memory, vitals.available), by);
        if let Some(pressure) = vitals.pressure {
            let share = Share::millionths(pressure.saturating_mul(100));
            self.pressure.take(at, share, by);
        }
    }

    /// What it has; `None`: it was never counted.
    pub fn capacity(&self) -> Option<Resources> {
        self.capacity
    }

    /// Its load as far as it is known at `now`.
    pub fn load(&self, now: Millis, by: Smoothing) -> Option<Load> {
        Some(Load {
            cpu: self.cpu.at(now, by)?,
            memory: self.memory.at(now, by).unwrap_or_default(),
            pressure: self.pressure.at(now, by).unwrap_or_default(),
        })
    }
}

fn used(whole: u64, available: u64) -> Share {
    Share::WHOLE.minus(Share::of(available, whole))
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY: Smoothing = Smoothing {
        constant: Duration::from_secs(30),
        limit: Duration::from_secs(180),
    };
    const GIB: u64 = 1 << 30;

    fn counted(cpu_seconds: u64) -> Counters {
        Counters {
            cpu_time: Some(Duration::from_secs(cpu_seconds)),
            cpus: 2,
            memory: GIB,
            available: None,
        }
    }

    #[test]
    fn cpu_is_what_was_used_between_two_counts_of_all_virtual_cpus() {
        let mut gauge = Gauge::default();
        gauge.count(1_000, &counted(100), BY);
        assert_eq!(gauge.load(1_000, BY), None, "one count tells nothing");
        let capacity = Resources {
            memory: GIB,
            cpu: 2000,
        };
        assert_eq!(gauge.capacity(), Some(capacity));
        // 6 s of CPU time in 10 s, on two CPUs.
        gauge.count(11_000, &counted(106), BY);
        let load = gauge.load(11_000, BY).unwrap();
        assert_eq!((load.cpu, load.memory), (Share::percent(30), Share::NONE));
        // All of it for as long as the time constant: half of the way.
        gauge.count(41_000, &counted(166), BY);
        assert_eq!(gauge.load(41_000, BY).unwrap().cpu, Share::percent(65));
    }

    #[test]
    fn a_guest_that_was_started_anew_or_a_clock_that_was_set_back_only_begins_a_new_count() {
        let mut gauge = Gauge::default();
        gauge.count(10_000, &counted(100), BY);
        gauge.count(20_000, &counted(2), BY);
        assert_eq!(gauge.load(20_000, BY), None);
        gauge.count(5_000, &counted(4), BY);
        assert_eq!(gauge.load(20_000, BY), None);
        gauge.count(15_000, &counted(9), BY);
        assert_eq!(gauge.load(15_000, BY).unwrap().cpu, Share::percent(25));
    }

    #[test]
    fn counts_in_quick_succession_are_one() {
        let mut gauge = Gauge::default();
        gauge.count(0, &counted(100), BY);
        gauge.count(999, &counted(101), BY);
        assert_eq!(gauge.load(999, BY), None);
        gauge.count(10_000, &counted(105), BY);
        assert_eq!(gauge.load(10_000, BY).unwrap().cpu, Share::percent(25));
    }

    #[test]
    fn memory_and_pressure_are_the_guests_own_word() {
        let mut gauge = Gauge::default();
        let vitals = Vitals {
            memory: GIB,
            available: GIB / 4,
            pressure: Some(1234),
        };
        gauge.feel(0, &vitals, BY);
        assert_eq!(gauge.load(0, BY), None, "without its CPU no load is known");
        gauge.count(0, &counted(0), BY);
        gauge.count(60_000, &counted(12), BY);
        let load = gauge.load(60_000, BY).unwrap();
        assert_eq!(
            (load.cpu, load.memory, load.pressure),
            (Share::percent(10), Share::percent(75), Share::millionths(123_400))
        );
        assert_eq!(load.score(), Share::percent(75));
    }

    #[test]
    fn what_nobody_has_told_for_long_is_forgotten_part_by_part() {
        let mut gauge = Gauge::default();
        let told = Counters {
            available: Some(GIB / 2),
            ..counted(0)
        };
        gauge.count(0, &told, BY);
        gauge.count(120_000, &counted(24), BY);
        let load = gauge.load(120_000, BY).unwrap();
        assert_eq!((load.cpu, load.memory), (Share::percent(10), Share::percent(50)));
        assert_eq!(gauge.load(200_000, BY).unwrap().memory, Share::NONE);
        assert_eq!(gauge.load(300_001, BY), None);
        assert!(gauge.capacity().is_some(), "what a guest has does not age");
    }
}
