//! Everything that a handover may touch, and the limits that it keeps.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::lock::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::goals::Goal;
use super::machine::Direction;
use super::protocol::Protocol;
use super::record::{Facts, Place, Reason};
use crate::model::ids::{GuestId, HostId, ServiceId};
use crate::model::manifest::Manifest;
use crate::model::placement::Placement;
use crate::model::service::BundleRecord;
use crate::ports::{Clock, Fault, Guest, Hypervisor, NameServer, PortError, Table, TableError};

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Deadlines by goal, forward.
    pub deadlines: HashMap<Goal, Duration>,
    /// How long a service without a check of its own has to be seen up.
    pub confirm: Duration,
    /// Deadline of every undo.
    pub undo: Duration,
    /// How long a guest agent may be silent before its guest is treated as one that cannot be asked.
    pub silence: Duration,
    /// How long the systemd of a guest that lost its licence may take to stop what ran by it.
    pub stop_timeout: Duration,
    /// Added to the old TTL before a source is stopped.
    pub drain_margin: Duration,
    /// A TTL longer than this, in seconds, is lowered before a planned move.
    pub lower_above: u32,
    /// Whether a dead source's clients are led to the target before the service is there.
    pub lead: bool,
    /// How long a server of a zone that cannot be asked is waited for, from the commit on.
    pub unreachable: Duration,
}

impl Limits {
    /// How long it takes until resolvers have forgotten what had a TTL of so many seconds.
    pub fn wait_for(&self, ttl: u32) -> Duration {
        Duration::from_secs(ttl.into()).saturating_add(self.drain_margin)
    }

    /// The deadline of a goal, for a service with this manifest; `None`: the goal sets its own end.
    pub fn deadline(&self, goal: Goal, direction: Direction, manifest: &Manifest) -> Option<Duration> {
        match (direction, goal) {
            (Direction::Back, _) => Some(self.undo),
            (_, Goal::Drain) => None,
            (_, Goal::Confirm) => Some(
                manifest
                    .check
                    .as_ref()
                    .map_or(self.confirm, |check| check.timeout),
            ),
            (_, goal) => Some(
                self.deadlines
                    .get(&goal)
                    .copied()
                    .unwrap_or(Duration::from_secs(60)),
            ),
        }
    }
}

/// Chooses the addresses that a guest publishes out of those that it reports, sorted; none: none is in the configured networks.
pub type AddressRule = Arc<dyn Fn(&[IpAddr]) -> Vec<IpAddr> + Send + Sync>;

/// The ports, the limits, and the locks that keep one thing done at a time.
pub struct World {
    /// libvirt.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// The inside of guests.
    pub guest: Arc<dyn Guest>,
    /// The zones.
    pub names: Arc<dyn NameServer>,
    /// The service table.
    pub table: Arc<dyn Table>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Limits.
    pub limits: Limits,
    /// Which addresses are published.
    pub address_rule: AddressRule,
    /// This daemon's own host.
    pub host: HostId,
    /// The rules that handovers keep.
    pub protocol: Protocol,
    services: Locks<ServiceId>,
    guests: Locks<GuestId>,
}

impl World {
    /// A world over these ports.
    #[expect(
        clippy::too_many_arguments,
        reason = "each port is named once, where the daemon is put together"
    )]
    pub fn new(
        hypervisor: Arc<dyn Hypervisor>,
        guest: Arc<dyn Guest>,
        names: Arc<dyn NameServer>,
        table: Arc<dyn Table>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        address_rule: AddressRule,
        host: HostId,
    ) -> Self {
        Self {
            hypervisor,
            guest,
            names,
            table,
            clock,
            limits,
            address_rule,
            host,
            protocol: Protocol::default(),
            services: Locks::default(),
            guests: Locks::default(),
        }
    }

    /// The same world under another protocol: for tests that take a rule away.
    pub fn with_protocol(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    /// One look or act of a service at a time: a duty of an old handover never acts between a new one's look and act.
    pub async fn service_lock(&self, service: &ServiceId) -> OwnedMutexGuard<()> {
        self.services.lock(service).await
    }

    /// One choice of a disk's slot on a guest at a time.
    pub async fn guest_lock(&self, guest: GuestId) -> OwnedMutexGuard<()> {
        self.guests.lock(&guest).await
    }

    /// The placement of the copy at `place`, and its bundle.
    ///
    /// # Errors
    /// The bundle is not in the table, or the table cannot be read.
    pub async fn placement(&self, place: &Place) -> Result<(Placement, BundleRecord), StepError> {
        let bundle = self.table.bundle(&place.digest).await?.ok_or_else(|| {
            StepError::Refused(Reason::new(
                "NoSuchBundle",
                format!("bundle {} is not in the table; register it again", place.digest),
            ))
        })?;
        Ok((Placement::of(&bundle, &place.files), bundle))
    }
}

struct Locks<K>(Mutex<HashMap<K, Arc<AsyncMutex<()>>>>);

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: std::hash::Hash + Eq + Clone> Locks<K> {
    async fn lock(&self, key: &K) -> OwnedMutexGuard<()> {
        let lock = {
            let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            map.retain(|k, lock| k == key || Arc::strong_count(lock) > 1);
            map.entry(key.clone()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

/// Why a look or an act did not come to an answer.
#[derive(Debug, Clone)]
pub enum StepError {
    /// For good.
    Refused(Reason),
    /// It may pass, or its effect is unknown: look again.
    Failed(String),
}

impl From<PortError> for StepError {
    fn from(error: PortError) -> Self {
        match error.fault {
            Fault::Refused => Self::Refused(Reason::new("Refused", error.message)),
            Fault::Unavailable | Fault::Unknown => Self::Failed(error.message),
        }
    }
}

impl From<TableError> for StepError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(_) => Self::Failed(error.to_string()),
            TableError::Busy { .. } => Self::Refused(Reason::new("Busy", error.to_string())),
            TableError::Conflict(_) => Self::Refused(Reason::new("Conflict", error.to_string())),
        }
    }
}

/// How long the source keeps serving, in milliseconds: as told, else the old TTL and the margin.
pub fn drain_millis(facts: &Facts, margin: Duration) -> u64 {
    facts.drain.unwrap_or_else(|| {
        u64::from(facts.remembered())
            .saturating_mul(1000)
            .saturating_add(millis(margin))
    })
}

/// A span in milliseconds.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
