//! A simulated cluster with services on `g1`, and a daemon to ask.

use std::sync::{Arc, Mutex};

use handoverd::adapters::sim::call::{Clean, Director, Inner};
use handoverd::adapters::sim::cast::Cast;
use handoverd::adapters::sim::daemon::{Answer, Simulation};
use handoverd::adapters::sim::table::SimTable;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::model::batch::{Batch, BatchMember};
use handoverd::model::ids::{GuestId, HostId, JobId, ServiceId};
use handoverd::model::life::LifeState;
use handoverd::model::manifest::Manifest;
use handoverd::model::service::{Millis, ServiceRecord};
use handoverd::ports::JobRecord;
use handoverd::requests::refusal::Refusal;
use handoverd::requests::{BatchChoices, MoveOptions, Requests};

/// Longer than any of these tests lasts, in simulated milliseconds.
const PATIENCE: Millis = 1_800_000;

pub const ACCESSIBLE: Cast = Cast::of(LifeState::Accessible);

pub fn host() -> HostId {
    "hv1".parse().unwrap()
}

pub fn guest(number: u8) -> GuestId {
    SimWorld::guest_id(number)
}

pub fn id(service: &str) -> ServiceId {
    service.parse().unwrap()
}

/// A world of this many guests, with these services on `g1`. None of them listens on a port.
pub fn world(guests: u8, services: &[(&str, Cast)]) -> SimWorld {
    let mut world = SimWorld::new(guests).unwrap();
    for (service, cast) in services {
        cast.add(&mut world, &host(), service).unwrap();
    }
    for bundle in world.tables.get_mut(&host()).unwrap().bundles.values_mut() {
        bundle.manifest.ports.clear();
    }
    world
}

/// So many accessible services: `s00`, `s01`, …
pub fn many(guests: u8, services: usize) -> SimWorld {
    let names: Vec<String> = (0..services).map(|n| format!("s{n:02}")).collect();
    let cast: Vec<_> = names.iter().map(|name| (name.as_str(), ACCESSIBLE)).collect();
    world(guests, &cast)
}

/// Changes the manifest of a service, in every bundle of it.
pub fn manifest(world: &mut SimWorld, service: &str, change: impl Fn(&mut Manifest)) {
    let table = world.tables.get_mut(&host()).unwrap();
    let bundles = table.bundles.values_mut();
    for bundle in bundles.filter(|bundle| bundle.manifest.service == id(service)) {
        change(&mut bundle.manifest);
    }
}

/// Options with these choices.
pub fn choosing(batch: BatchChoices) -> MoveOptions {
    MoveOptions {
        batch,
        ..MoveOptions::default()
    }
}

/// The simulation, and what is asked of its daemon.
pub struct Stage(pub Simulation);

impl Stage {
    pub fn of(world: SimWorld) -> Self {
        Self::with(world, Box::new(Clean))
    }

    pub fn with(world: SimWorld, director: Box<dyn Director>) -> Self {
        Self(Simulation::new(world, host(), director))
    }

    /// Asks for something and lets time pass until it is answered.
    pub fn ask<T, F>(&mut self, request: impl FnOnce(Arc<Requests>) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let slot = Arc::new(Mutex::new(None));
        let (answer, asked) = (slot.clone(), request(self.0.requests()));
        self.0.request(move |_| async move {
            let got = asked.await;
            *answer.lock().unwrap() = Some(got);
            Ok(JobId(0))
        });
        let answered = slot.clone();
        assert!(
            self.0.run(PATIENCE, move |_| answered.lock().unwrap().is_some()),
            "no answer"
        );
        slot.lock().unwrap().take().unwrap()
    }

    /// Begins a move and lets time pass until it is answered.
    pub fn begin(&mut self, object: &str, target: &str, options: MoveOptions) -> Result<JobId, Refusal> {
        let (object, target) = (object.to_owned(), target.to_owned());
        self.ask(move |requests| async move { requests.move_(&object, &target, options, "test").await })
    }

    /// Asks for a move, whose answer a kill of the daemon may take away.
    pub fn send(&mut self, object: &str, target: &str) -> Answer {
        let (object, target) = (object.to_owned(), target.to_owned());
        self.0.request(move |requests| async move {
            requests
                .move_(&object, &target, MoveOptions::default(), "test")
                .await
        })
    }

    /// Begins a move of a guest and lets it come to its end; its job and members.
    pub fn moved(
        &mut self,
        object: &str,
        target: &str,
        options: MoveOptions,
    ) -> (JobRecord, Vec<BatchMember>) {
        let job = self.begin(object, target, options).unwrap();
        self.end();
        self.told(job)
    }

    /// A batch's job and members, as the table has them.
    pub fn told(&self, job: JobId) -> (JobRecord, Vec<BatchMember>) {
        self.table(|table| (table.jobs[&job].clone(), table.batches[&job].members.clone()))
    }

    /// Lets time pass until no job runs.
    #[track_caller]
    pub fn end(&mut self) {
        let reached = self.0.run(PATIENCE, |inner| {
            !inner.violations.is_empty() || all_jobs(inner).all(|job| job.result.is_some())
        });
        self.unbroken();
        assert!(reached, "jobs go on for ever:\n{}", self.0.story());
    }

    /// Lets time pass until this holds.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&SimTable) -> bool) {
        let reached = self.0.run(PATIENCE, |inner| {
            !inner.violations.is_empty() || holds(&inner.world.tables[&host()])
        });
        self.unbroken();
        assert!(reached, "{what} never:\n{}", self.0.story());
    }

    /// Fails if an invariant was broken on the way.
    #[track_caller]
    pub fn unbroken(&self) {
        let violations: Vec<String> = {
            let inner = self.0.shared.lock();
            inner.violations.iter().map(ToString::to_string).collect()
        };
        assert!(
            violations.is_empty(),
            "{}\n{}",
            violations.join("\n"),
            self.0.story()
        );
    }

    /// Brings all to rest; fails if guests, names and table do not agree then.
    #[track_caller]
    pub fn settle(&mut self) {
        let violations = self.0.settle();
        let told: Vec<String> = violations.iter().map(ToString::to_string).collect();
        assert!(told.is_empty(), "{}\n{}", told.join("\n"), self.0.story());
    }

    pub fn table<T>(&self, read: impl FnOnce(&SimTable) -> T) -> T {
        read(&self.0.shared.lock().world.tables[&host()])
    }

    pub fn service(&self, service: &str) -> ServiceRecord {
        self.table(|table| table.services[&id(service)].clone())
    }

    /// The name of the guest where each service is, by id.
    pub fn homes(&self) -> Vec<(String, String)> {
        self.table(|table| {
            let rows = table.services.values();
            rows.map(|row| (row.id.to_string(), row.guest_name.clone()))
                .collect()
        })
    }

    /// How many services a guest has.
    pub fn on(&self, guest: &str) -> usize {
        self.homes().iter().filter(|(_, home)| home == guest).count()
    }

    /// The batches that have not ended.
    pub fn open_batches(&self) -> Vec<Batch> {
        self.table(SimTable::unfinished_batches)
    }

    pub fn now(&self) -> Millis {
        self.0.shared.lock().world.now
    }
}

pub fn all_jobs(inner: &Inner) -> impl Iterator<Item = &JobRecord> {
    inner.world.tables.values().flat_map(|table| table.jobs.values())
}

/// Each member's service and result.
pub fn results(members: &[BatchMember]) -> Vec<(&str, &str)> {
    let result = |member: &'_ BatchMember| member.result.clone().unwrap_or_default();
    let mut told: Vec<(&str, &str)> = members
        .iter()
        .map(|member| {
            let word = match result(member).as_str() {
                "done" => "done",
                "failed" => "failed",
                "cancelled" => "cancelled",
                "stuck" => "stuck",
                "" => "",
                _ => "other",
            };
            (member.service.as_str(), word)
        })
        .collect();
    told.sort_unstable();
    told
}
