//! How loaded simulated guests are: what runs there beside services is as it was described, and every service that runs
//! takes memory.

use std::time::Duration;

use async_trait::async_trait;

use super::call::{Method, Plan};
use super::look;
use super::ports::SimPorts;
use super::world::{Power, SimGuest, SimWorld};
use crate::model::ids::{GuestId, HostId};
use crate::model::needs::ASSUMED;
use crate::model::vitals::{Counters, Vitals};
use crate::ports::{GuestGauges, HostCounts, HostGauges, PortError};

/// What a guest has, and what of that is used whatever its services do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SimGauge {
    /// Bytes of memory.
    pub memory: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// How many percent of its CPUs are used, 0 to 100.
    pub cpu_used: u32,
    /// How many percent of its memory are not available, 0 to 100.
    pub memory_used: u32,
    /// Its pressure in percent, 0 to 100.
    pub pressure: u32,
}

impl Default for SimGauge {
    /// An idle guest of 4 GiB and two virtual CPUs.
    fn default() -> Self {
        Self {
            memory: 4 << 30,
            cpus: 2,
            cpu_used: 0,
            memory_used: 0,
            pressure: 0,
        }
    }
}

impl SimGauge {
    /// As if it had been up since the world's time began: two counts tell what is used.
    fn counters(self, now: u64) -> Counters {
        let used = u64::from(self.cpus) * u64::from(self.cpu_used);
        Counters {
            // Of each millisecond ten microseconds for each percent.
            cpu_time: Some(Duration::from_micros(now.saturating_mul(used * 10))),
            cpus: self.cpus,
            memory: self.memory,
            available: None,
        }
    }

    fn vitals(self, running: u64) -> Vitals {
        let others = self.memory / 100 * u64::from(self.memory_used);
        let used = others.saturating_add(running.saturating_mul(ASSUMED.memory));
        Vitals {
            memory: self.memory,
            available: self.memory.saturating_sub(used),
            pressure: Some(self.pressure.saturating_mul(100)),
        }
    }
}

fn counters(world: &SimWorld) -> Vec<HostCounts> {
    let of = |host: &HostId| {
        look::host(world, host).map_err(|error| (host.clone(), error))?;
        let here = |guest: &SimGuest| guest.is_active() && guest.host == *host;
        let guests = world.guests.iter().filter(|(_, guest)| here(guest));
        Ok(guests
            .map(|(id, guest)| (*id, guest.gauge.counters(world.now)))
            .collect())
    };
    world.hosts.keys().map(of).collect()
}

fn vitals(world: &SimWorld, id: GuestId) -> Result<Vitals, PortError> {
    look::reachable(world, id)?;
    let found = world.guests.get(&id).filter(|guest| guest.power == Power::Up);
    let guest =
        found.ok_or_else(|| PortError::unavailable(format!("the guest agent of {id} does not answer")))?;
    let running = guest.copies.values().filter(|copy| copy.running).count();
    Ok(guest.gauge.vitals(u64::try_from(running).unwrap_or(u64::MAX)))
}

#[async_trait]
impl HostGauges for SimPorts {
    async fn counters(&self) -> Vec<HostCounts> {
        let plan = Plan::of(Method::Counters, 2);
        match self.shared.call(plan, |world| Ok(counters(world))).await {
            Ok(all) => all,
            Err(error) => vec![Err((self.own.clone(), error))],
        }
    }
}

#[async_trait]
impl GuestGauges for SimPorts {
    async fn vitals(&self, guest: GuestId) -> Result<Vitals, PortError> {
        self.reach_agent(guest, false).await?;
        let plan = Plan::of(Method::Vitals, 40).on(guest);
        self.shared.call(plan, |world| vitals(world, guest)).await
    }
}
