//! The [`HostGauges`] port: what libvirt counts of running guests (virConnectGetAllDomainStats).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use virt_sys as sys;

use super::ffi::{self, Counted};
use super::host::Host;
use super::link::Call;
use super::{LibvirtHosts, failure::Failure};
use crate::model::ids::GuestId;
use crate::model::vitals::Counters;
use crate::ports::{HostCounts, HostGauges, PortError};

/// The groups that are asked for.
const GROUPS: u32 =
    sys::VIR_DOMAIN_STATS_CPU_TOTAL | sys::VIR_DOMAIN_STATS_BALLOON | sys::VIR_DOMAIN_STATS_VCPU;
/// Of running guests, and only what is told without waiting for one that somebody works on.
const FLAGS: u32 =
    sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
/// A guest's balloon tells by itself only where its definition says how often (`<stats period=…/>`). What it told longer ago
/// than this, in seconds, says nothing.
const LATELY: u64 = 180;

#[async_trait]
impl HostGauges for LibvirtHosts {
    async fn counters(&self) -> Vec<HostCounts> {
        let answers = self.on_every_host(Host::counters).await;
        answers
            .into_iter()
            .map(|(host, answer)| answer.map_err(|error| (host.id.clone(), error)))
            .collect()
    }
}

impl Host {
    async fn counters(&self) -> Result<Vec<(GuestId, Counters)>, PortError> {
        let call = Call::reads("read what its guests use", self.timeouts.look);
        self.gauges
            .call(call, |connection, _| {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default()
                    .as_secs();
                let all = ffi::all_domain_stats(connection, GROUPS, FLAGS).map_err(Failure::from)?;
                let counters = all
                    .into_iter()
                    .filter_map(|(id, counted)| Some((GuestId(id), counters(&counted, now)?)));
                Ok(counters.collect())
            })
            .await
    }
}

/// The counters among what libvirt has told; `None`: it does not tell what the guest has. `now` in seconds since 1970.
fn counters(counted: &[Counted], now: u64) -> Option<Counters> {
    let find = |name: &str| {
        let found = counted.iter().find(|counted| counted.name == name);
        found.map(|counted| counted.value)
    };
    let kib = |name: &str| find(name).and_then(|kib| kib.checked_mul(1024));
    let lately = find("balloon.last-update").is_some_and(|at| now.saturating_sub(at) <= LATELY);
    let memory = kib("balloon.current")?;
    Some(Counters {
        cpu_time: find("cpu.time").map(Duration::from_nanos),
        cpus: u32::try_from(find("vcpu.current")?).ok()?,
        memory,
        available: kib("balloon.usable")
            .filter(|_| lately)
            .map(|available| available.min(memory)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(list: &[(&str, u64)]) -> Vec<Counted> {
        let counted = |(name, value): &(&str, u64)| Counted {
            name: (*name).to_owned(),
            value: *value,
        };
        list.iter().map(counted).collect()
    }

    const LIST: [(&str, u64); 6] = [
        ("cpu.time", 11_000_000_000),
        ("vcpu.current", 2),
        ("balloon.current", 1024),
        ("balloon.maximum", 2048),
        ("balloon.usable", 512),
        ("balloon.last-update", 1000),
    ];

    #[test]
    fn counters_are_found_by_their_names() {
        let known = Counters {
            cpu_time: Some(Duration::from_secs(11)),
            cpus: 2,
            memory: 1 << 20,
            available: Some(1 << 19),
        };
        assert_eq!(counters(&told(&LIST), 1180), Some(known));
    }

    #[test]
    fn what_the_balloon_told_long_ago_or_never_is_not_known() {
        let old = counters(&told(&LIST), 1181).unwrap();
        assert_eq!(old.available, None);
        let never = counters(&told(&LIST[..4]), 1000).unwrap();
        assert_eq!(never.available, None);
    }

    #[test]
    fn a_guest_of_which_libvirt_tells_too_little_is_passed_over() {
        assert_eq!(counters(&told(&LIST[..2]), 0), None);
        assert_eq!(counters(&told(&LIST[2..]), 0), None);
        let no_time = counters(&told(&LIST[1..]), 1000).unwrap();
        assert_eq!(no_time.cpu_time, None);
    }
}
