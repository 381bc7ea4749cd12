//! Recovery of many unfinished handovers when a daemon starts.

use std::sync::{Arc, Mutex};

use handoverd::adapters::sim::call::{Call, Clean, Director, Method, Mishap, PortFault};
use handoverd::adapters::sim::cast::Cast;
use handoverd::adapters::sim::daemon::Simulation;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::handover::record::Handover;
use handoverd::model::ids::{HandoverId, HostId, JobId, ServiceId};
use handoverd::model::life::LifeState;
use handoverd::ports::JobRecord;
use handoverd::requests::MoveOptions;

const SERVICES: u32 = 1_000;
const CAST: Cast = Cast::of(LifeState::Running);

/// Lets no guest script through.
struct Stalled;

impl Director for Stalled {
    fn decide(&mut self, call: &Call, _world: &SimWorld) -> Mishap {
        Mishap {
            fault: call.step.is_some().then_some(PortFault::Hang),
            ..Mishap::default()
        }
    }
}

/// Counts calls by method.
struct Counter(Arc<Mutex<std::collections::BTreeMap<Method, usize>>>);

impl Director for Counter {
    fn decide(&mut self, call: &Call, _world: &SimWorld) -> Mishap {
        *self.0.lock().unwrap().entry(call.method).or_default() += 1;
        Mishap::default()
    }
}

/// A handover that hangs in the middle of its stage, and its job.
fn in_the_middle(host: &HostId) -> (Handover, JobRecord) {
    let world = CAST.world(2).unwrap();
    let mut simulation = Simulation::new(world, host.clone(), Box::new(Stalled));
    drop(simulation.request(|requests| async move {
        requests.move_("web", "g2", MoveOptions::default(), "test").await
    }));
    simulation.run(2_000, |_| false);
    let inner = simulation.shared.lock();
    let table = &inner.world.tables[host];
    (table.unfinished().remove(0), table.jobs[&JobId(1)].clone())
}

#[test]
fn a_thousand_unfinished_handovers_are_taken_up_at_once_when_the_daemon_starts() {
    let host: HostId = "hv1".parse().unwrap();
    let (template, job) = in_the_middle(&host);
    let mut world = SimWorld::new(2).unwrap();
    for number in 0..SERVICES {
        let name = format!("web{number}");
        CAST.add(&mut world, &host, &name).unwrap();
        let mut handover = template.clone();
        handover.id = HandoverId(uuid::Uuid::from_u128(u128::from(number) + 7));
        handover.service = name.parse::<ServiceId>().unwrap();
        let digest = CAST.bundle(&name, '1').unwrap().digest;
        handover.target.digest.clone_from(&digest);
        handover.source.as_mut().unwrap().digest = digest;
        world
            .tables
            .get_mut(&host)
            .unwrap()
            .begin(&job, &handover)
            .unwrap();
    }
    let calls = Arc::new(Mutex::new(std::collections::BTreeMap::new()));
    let mut simulation = Simulation::new(world, host, Box::new(Counter(calls.clone())));
    simulation.shared.lock().checked = false;
    let (begun, before) = (std::time::Instant::now(), simulation.shared.lock().world.now);

    // Not a moment of simulated time passes.
    simulation.run(0, |_| false);
    let wall = begun.elapsed();
    assert_eq!(simulation.shared.lock().world.now, before);
    let requests = simulation.requests();
    let running = (1..=u64::from(SERVICES)).filter(|id| requests.jobs.is_running(JobId(*id)));
    assert_eq!(running.count(), usize::try_from(SERVICES).unwrap());
    let reads = calls.lock().unwrap()[&Method::ReadTable];
    println!(
        "recovery: {SERVICES} handovers taken up in {} ms with {reads} reads",
        wall.as_millis()
    );
    // One for the list, one for each job, and what the few that run at once look at first.
    assert!(reads <= 1_100, "{reads} reads of the table");

    // One simulated second later the first ones have gone on from where they stood.
    simulation.shared.lock().director = Box::new(Clean);
    simulation.run(1_000, |_| false);
    let inner = simulation.shared.lock();
    let gone_on = inner.world.guests[&SimWorld::guest_id(2)].copies.len();
    assert!(gone_on >= 8, "only {gone_on} have gone on");
}
