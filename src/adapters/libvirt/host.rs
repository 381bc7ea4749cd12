//! One host: its identity and its connections, one for each purpose.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::link::{Keepalive, Link};
use crate::model::ids::{GuestId, HostId};

/// Calls at once for looks and changes. libvirtd serves 5 requests of one connection at a time by default
/// (`max_client_requests`); one place is left for keepalive and lookups of other kinds.
const CONTROL_CALLS: usize = 4;

/// Agent calls at once: each holds a worker of libvirtd for as long as the guest takes.
const AGENT_CALLS: usize = 4;

/// Agents that are asked at once whether they live. Each that hangs holds its place until the deadline.
const PULSES: usize = 4;

/// Image transfers at once, so that two bundles do not race for the pool's last free space.
const TRANSFERS: usize = 1;

/// A host that is controlled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// Its name in handoverd's configuration.
    pub id: HostId,
    /// libvirt's connection URI, such as `qemu:///system` or `qemu+tls://hv2/system`.
    pub uri: String,
    /// The storage pool for bundle images.
    pub pool: String,
}

/// How long things may take. libvirtd itself waits up to 30 s for a guest that something else works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// A look: listing, reading XML, looking for an image.
    pub look: Duration,
    /// One change: attach, one request to detach. More than libvirtd's 30 s, so that its answer is heard.
    pub change: Duration,
    /// Until a guest has let go of a disk, asking again included.
    pub release: Duration,
    /// A transfer of an image: this long, and a second more for each MiB.
    pub transfer: Duration,
    /// How a dead libvirtd is noticed.
    pub keepalive: Keepalive,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(10),
            change: Duration::from_secs(40),
            release: Duration::from_secs(15),
            transfer: Duration::from_secs(120),
            keepalive: Keepalive {
                interval: 5,
                count: 3,
            },
        }
    }
}

/// One host and its connections.
pub(super) struct Host {
    pub(super) id: HostId,
    pub(super) uri: String,
    pub(super) pool: String,
    pub(super) timeouts: Timeouts,
    /// Looks and changes.
    pub(super) control: Link,
    /// What guests use. libvirt asks QEMU for some of it, and waits for one that does not answer: nothing else is to.
    pub(super) gauges: Link,
    /// Guest agent commands, which may take long.
    pub(super) agent: Link,
    /// Whether agents live: apart, so that those that hang keep no other command waiting.
    pub(super) pulse: Link,
    /// Images.
    pub(super) transfer: Link,
}

impl Host {
    pub(super) fn new(config: HostConfig, timeouts: Timeouts) -> Self {
        let link = |calls| Link::new(config.id.clone(), config.uri.clone(), timeouts.keepalive, calls);
        Self {
            control: link(CONTROL_CALLS),
            gauges: link(1),
            agent: link(AGENT_CALLS),
            pulse: link(PULSES),
            transfer: link(TRANSFERS),
            id: config.id,
            uri: config.uri,
            pool: config.pool,
            timeouts,
        }
    }
}

/// One turn at a time for each guest's agent. libvirt has the same rule, but lets the next caller wait 30 s in one of
/// its workers; here callers queue without a thread and with their own deadlines.
#[derive(Default)]
pub(super) struct AgentQueue {
    turns: Mutex<HashMap<GuestId, Arc<tokio::sync::Mutex<()>>>>,
    sightings: Mutex<HashMap<GuestId, (HostId, Instant)>>,
}

/// How long a guest is taken to run where it was seen: a script is one command and many looks whether it has ended.
const SIGHTING: Duration = Duration::from_secs(1);

impl AgentQueue {
    /// Where the guest was seen running a moment ago. A command sent there after it has left does nothing, and says so.
    pub(super) fn last_seen(&self, guest: GuestId) -> Option<HostId> {
        let mut sightings = self.sightings();
        sightings.retain(|_, (_, at)| at.elapsed() < SIGHTING);
        sightings.get(&guest).map(|(host, _)| host.clone())
    }

    /// The guest runs on this host, or was not found where it was last seen.
    pub(super) fn saw(&self, guest: GuestId, host: Option<&HostId>) {
        let mut sightings = self.sightings();
        match host {
            Some(host) => sightings.insert(guest, (host.clone(), Instant::now())),
            None => sightings.remove(&guest),
        };
    }

    fn sightings(&self) -> MutexGuard<'_, HashMap<GuestId, (HostId, Instant)>> {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock of this guest's agent.
    pub(super) fn of(&self, guest: GuestId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody else can take a clone while the map is locked, so one reference means that nobody waits or holds.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(guest).or_default())
    }
}
