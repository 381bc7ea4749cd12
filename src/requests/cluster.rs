//! What the planner is told: guests and services as they are now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};

use super::Requests;
use super::loads::{Measured, UNKNOWN};
use super::refusal::Refusal;
use crate::handover::record::Handover;
use crate::model::batch::BatchMember;
use crate::model::guest::GuestSummary;
use crate::model::ids::{Digest, GuestId, JobId, ServiceId};
use crate::model::manifest::Manifest;
use crate::model::needs::Needs;
use crate::model::obstacle::Obstacle;
use crate::model::service::{BundleRecord, Millis, ServiceRecord};
use crate::model::standby::StandbyState;
use crate::plan::cluster::{Cluster, GuestView, ServiceView};
use crate::plan::preflight;
use crate::plan::strategy::Strategy;
use crate::ports::JobRecord;

/// How many guests are asked at the same time.
const ASKED_AT_ONCE: usize = 16;
/// How many of the last jobs tell how long a service's handover takes.
pub(super) const LAST_JOBS: u32 = 500;
/// How long a service that came to a guest is counted on top of that guest's load, in milliseconds: longer than guests are not
/// asked how they fare.
pub(super) const SETTLES: Millis = 150_000;

/// How closely guests are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// As libvirt lists them.
    Listed,
    /// One of them is asked what is in the way there, the others are as libvirt lists them.
    One(GuestId),
    /// Each but this one is asked what is in the way there.
    AllBut(GuestId),
    /// Each is asked what is in the way there.
    All,
}

impl Look {
    /// What a decision by this strategy needs to know; `source` is no target.
    pub(super) fn of(strategy: Strategy, source: GuestId) -> Self {
        match strategy {
            Strategy::Named(guest) => Self::One(guest),
            Strategy::Random { .. } | Strategy::LeastLoaded | Strategy::Spread => Self::AllBut(source),
        }
    }

    fn asks(self, guest: &GuestSummary) -> bool {
        match self {
            Self::Listed => false,
            Self::One(only) => guest.id == only,
            Self::AllBut(source) => guest.id != source,
            Self::All => true,
        }
    }
}

/// The services that a decision may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moving {
    /// None.
    None,
    /// Those of one guest.
    Of(GuestId),
    /// All.
    All,
}

impl Moving {
    fn has(self, service: &ServiceRecord) -> bool {
        match self {
            Self::None => false,
            Self::Of(guest) => service.guest == guest,
            Self::All => true,
        }
    }
}

impl Requests {
    /// Guests and services as they are now. What the table says against targets for single services is looked up for those
    /// that are `moving` only: it costs a look at every guest for each of their ports.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(super) async fn cluster(&self, look: Look, moving: Moving) -> Result<Cluster, Refusal> {
        let guests = self.guests().await;
        let measured = self.loads.of(&guests).await;
        let known = Known::read(self).await?;
        let (now, maintenance) = (self.world.clock.now(), self.maintenance().await?);
        let asked = guests.into_iter().map(|guest| {
            let measured = measured.get(&guest.id).copied();
            let maintained = maintenance.of_guest(now, guest.id, &guest.host);
            self.guest_view(guest, look, measured, maintained)
        });
        let guests = stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await;
        let view = |service: &ServiceRecord| known.view(service, moving.has(service));
        let services = known.services.iter().map(view).collect();
        Ok(Cluster::of(guests, services))
    }

    async fn guest_view(
        &self,
        guest: GuestSummary,
        look: Look,
        measured: Option<Measured>,
        maintenance: Option<String>,
    ) -> GuestView {
        let obstacles = if look.asks(&guest) {
            match self.ask(&guest, &preflight::any_service(), None, true).await {
                Ok(asked) => asked.obstacles,
                Err(refusal) => vec![Obstacle::NoAgent(refusal.to_string())],
            }
        } else {
            listed_obstacles(&guest, self.world.host.as_str())
        };
        GuestView {
            labels: self.labels.of(&guest),
            id: guest.id,
            name: guest.name,
            host: guest.host,
            capacity: measured.map_or(UNKNOWN, |measured| measured.capacity),
            load: measured.and_then(|measured| measured.load),
            obstacles,
            maintenance,
        }
    }
}

/// What libvirt's list says against a guest.
fn listed_obstacles(guest: &GuestSummary, own: &str) -> Vec<Obstacle> {
    let mut found = Vec::new();
    if let Some(other) = guest.controller.as_deref().filter(|id| *id != own) {
        found.push(Obstacle::ControlledElsewhere(other.to_owned()));
    }
    if !guest.is_running() {
        found.push(Obstacle::NotRunning(guest.state));
    } else if !guest.agent_connected {
        found.push(Obstacle::NoAgent("libvirt has no channel to it".to_owned()));
    }
    if !guest.persistent {
        found.push(Obstacle::Transient);
    }
    if guest.managed_save {
        found.push(Obstacle::ManagedSave);
    }
    found
}

/// What the table says.
struct Known {
    services: Vec<ServiceRecord>,
    bundles: BTreeMap<String, BundleRecord>,
    open: Vec<Handover>,
    /// Members of batches that have not begun: service and target.
    waiting: BTreeMap<ServiceId, GuestId>,
    /// Guests where services are installed without their disks, or are being.
    standbys: BTreeMap<ServiceId, Vec<GuestId>>,
    /// Guests with an old copy that still serves.
    draining: Vec<(ServiceId, Digest, GuestId)>,
    took: BTreeMap<String, Duration>,
    /// Services that came to their homes so lately that no load shows it yet.
    settling: BTreeSet<String>,
    /// Guests where a service listens on a port.
    listening: BTreeMap<u16, BTreeSet<GuestId>>,
}

impl Known {
    async fn read(requests: &Requests) -> Result<Self, Refusal> {
        let table = &requests.world.table;
        let now = requests.world.clock.now();
        let bundles = table.bundles().await?;
        let batches = table.unfinished_batches().await?;
        let duties = table.duties().await?;
        let jobs = table.jobs(None, LAST_JOBS).await?;
        let mut known = Self {
            services: table.services().await?,
            bundles: bundles
                .into_iter()
                .map(|bundle| (bundle.digest.to_string(), bundle))
                .collect(),
            open: table.unfinished().await?,
            waiting: batches
                .into_iter()
                .flat_map(|batch| batch.members)
                .filter(BatchMember::is_waiting)
                .filter_map(|member| Some((member.service, member.target?)))
                .collect(),
            standbys: BTreeMap::new(),
            draining: duties
                .into_iter()
                .filter(|duty| duty.serve_until > now)
                .map(|duty| (duty.service, duty.digest, duty.guest))
                .collect(),
            took: BTreeMap::new(),
            settling: came_lately(&jobs, now),
            listening: BTreeMap::new(),
        };
        for row in table.standbys().await? {
            if row.state != StandbyState::Dropping {
                known.standbys.entry(row.service).or_default().push(row.guest);
            }
        }
        known.find_listening();
        known.find_times(requests, &jobs).await?;
        Ok(known)
    }

    /// How long the last handover of each service took, without what it waited for resolvers to forget a long TTL: the
    /// next one may wait for another time, or not at all.
    async fn find_times(&mut self, requests: &Requests, jobs: &[JobRecord]) -> Result<(), Refusal> {
        let table = &requests.world.table;
        for (service, (job, mut took)) in last_times(jobs) {
            let limits = &requests.world.limits;
            let long =
                |row: &&ServiceRecord| row.dns.as_ref().is_some_and(|dns| dns.ttl > limits.lower_above);
            let found = self
                .services
                .binary_search_by(|row| row.id.as_str().cmp(service.as_str()));
            let row = found.ok().and_then(|at| self.services.get(at));
            if row.filter(long).is_some()
                && let Some(handover) = table.handover(job).await?
                && let Some(lowering) = handover.facts.lowering.filter(|lowering| !lowering.given_up)
            {
                took = took.saturating_sub(limits.wait_for(lowering.from));
            }
            self.took.insert(service, took);
        }
        Ok(())
    }

    fn find_listening(&mut self) {
        for service in self
            .services
            .iter()
            .filter(|service| service.wanted.wants_running())
        {
            let bundle = self.bundles.get(service.bundle.as_str());
            for port in bundle.iter().flat_map(|bundle| &bundle.manifest.ports) {
                self.listening.entry(*port).or_default().insert(service.guest);
            }
        }
    }

    fn manifest(&self, service: &ServiceRecord) -> Option<&Manifest> {
        self.bundles
            .get(service.bundle.as_str())
            .map(|bundle| &bundle.manifest)
    }

    fn view(&self, service: &ServiceRecord, moves: bool) -> ServiceView {
        let manifest = self.manifest(service);
        let open = self.open.iter().find(|h| h.service == service.id && !h.committed);
        let going = open
            .map(|handover| handover.target.guest)
            .or_else(|| self.waiting.get(&service.id).copied());
        let mut needs = manifest.map_or_else(Needs::default, |manifest| manifest.needs.clone());
        // A data volume stays in its host's pool.
        if let Some(volume) = &service.volume
            && (needs.hosts.is_empty() || needs.hosts.contains(&volume.host))
        {
            needs.hosts = vec![volume.host.clone()];
        }
        ServiceView {
            id: service.id.clone(),
            home: Some(service.guest),
            settling: self.settling.contains(service.id.as_str())
                || self.open.iter().any(|h| h.service == service.id && h.committed),
            going,
            generation: service.generation,
            wanted: service.last_known(),
            observed_at: service.observed_at,
            movable: manifest.is_some_and(|manifest| manifest.movable),
            frozen: service.frozen.clone(),
            needs,
            standbys: self.standbys.get(&service.id).cloned().unwrap_or_default(),
            draining: self
                .draining
                .iter()
                .find(|(id, digest, _)| *id == service.id && *digest == service.bundle)
                .map(|(_, _, guest)| *guest),
            obstacles: if moves {
                self.ports_in_use(service, manifest)
            } else {
                BTreeMap::new()
            },
            expected: self.took.get(service.id.as_str()).copied(),
            measured: None,
        }
    }

    /// Ports of a service on which others listen, by guest.
    fn ports_in_use(
        &self,
        service: &ServiceRecord,
        manifest: Option<&Manifest>,
    ) -> BTreeMap<GuestId, Vec<Obstacle>> {
        let mut found: BTreeMap<GuestId, Vec<Obstacle>> = BTreeMap::new();
        for port in manifest.iter().flat_map(|manifest| &manifest.ports) {
            let there = self.listening.get(port).into_iter().flatten();
            for guest in there.filter(|guest| **guest != service.guest) {
                found.entry(*guest).or_default().push(Obstacle::PortInUse(*port));
            }
        }
        found
    }
}

/// Services that a handover has brought to another guest lately.
fn came_lately(jobs: &[JobRecord], now: Millis) -> BTreeSet<String> {
    let came = |job: &&JobRecord| {
        matches!(job.operation.as_str(), "deploy" | "move" | "upgrade" | "start")
            && job.result.as_deref() == Some("done")
            && job.source != job.target
            && job.finished.is_some_and(|at| now.saturating_sub(at) < SETTLES)
    };
    jobs.iter().filter(came).map(|job| job.object.clone()).collect()
}

/// The last handover of each service, of those that were done, and how long it took. `jobs` are newest first.
fn last_times(jobs: &[JobRecord]) -> BTreeMap<String, (JobId, Duration)> {
    let mut took = BTreeMap::new();
    for job in jobs {
        let moved = matches!(job.operation.as_str(), "move" | "upgrade");
        if let (true, Some("done"), Some(finished)) = (moved, job.result.as_deref(), job.finished) {
            let time = Duration::from_millis(finished.saturating_sub(job.started));
            took.entry(job.object.clone()).or_insert((job.id, time));
        }
    }
    took
}
