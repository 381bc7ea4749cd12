//! How a guest fares: what its host counts of it, and what it says of itself. Raw numbers; [`crate::plan::gauge`] makes a
//! load of them.

use std::time::Duration;

/// What libvirt counts of a running guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Counters {
    /// CPU time that it has used since its QEMU process began; `None`: libvirt does not tell.
    pub cpu_time: Option<Duration>,
    /// Its virtual CPUs now.
    pub cpus: u32,
    /// Its memory now, in bytes (the balloon's size).
    pub memory: u64,
    /// Of that, what its programs could still have; `None`: its balloon does not tell, or not lately.
    pub available: Option<u64>,
}

/// What a guest says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vitals {
    /// `MemTotal` of /proc/meminfo, in bytes.
    pub memory: u64,
    /// `MemAvailable`, in bytes; at most `memory`.
    pub available: u64,
    /// The largest `some avg10` of /proc/pressure, in hundredths of a percent, at most 10000; `None`: its kernel tells
    /// none.
    pub pressure: Option<u32>,
}
