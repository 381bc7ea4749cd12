//! Recovery of many unfinished handovers when a daemon starts.

use handoverd::adapters::sim::call::{Call, Clean, Director, Mishap, PortFault};
use handoverd::adapters::sim::cast::Cast;
use handoverd::adapters::sim::daemon::Simulation;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::handover::machine::{Direction, State};
use handoverd::model::life::LifeState;
use handoverd::requests::MoveOptions;

const SERVICES: usize = 1_000;

/// Lets all begin, and none go on: every call but the table's hangs.
struct Stalled;

impl Director for Stalled {
    fn decide(&mut self, call: &Call, _world: &SimWorld) -> Mishap {
        let moves = call.step.is_some();
        Mishap {
            fault: moves.then_some(PortFault::Hang),
            ..Mishap::default()
        }
    }
}

#[test]
fn a_thousand_unfinished_handovers_are_decided_at_once_when_the_daemon_starts() {
    let mut world = SimWorld::new(2).unwrap();
    let host = "hv1".parse().unwrap();
    for number in 0..SERVICES {
        let cast = Cast::of(LifeState::Running);
        cast.add(&mut world, &host, &format!("web{number}")).unwrap();
    }
    let mut simulation = Simulation::new(world, host.clone(), Box::new(Stalled));
    for number in 0..SERVICES {
        drop(simulation.request(move |requests| async move {
            let name = format!("web{number}");
            requests.move_(&name, "g2", MoveOptions::default(), "test").await
        }));
    }
    simulation.run(60_000, |inner| {
        inner
            .world
            .tables
            .values()
            .all(|t| t.unfinished().len() == SERVICES)
    });
    let mut world = simulation.shared.lock().world.clone();
    drop(simulation);
    world.agenda.clear();
    assert_eq!(world.tables[&host].unfinished().len(), SERVICES);

    let begun = std::time::Instant::now();
    let mut simulation = Simulation::new(world, host, Box::new(Clean));
    let reached = simulation.run(1_000, |inner| {
        inner
            .world
            .tables
            .values()
            .all(|t| t.unfinished().len() < SERVICES)
    });
    let decided = begun.elapsed();
    let directions = simulation
        .shared
        .lock()
        .world
        .tables
        .values()
        .flat_map(|t| t.unfinished())
        .filter(|h| {
            matches!(
                h.state,
                State::At {
                    direction: Direction::Forward,
                    ..
                }
            )
        })
        .count();
    println!(
        "recovery: {SERVICES} taken up in {} ms, {directions} go on",
        decided.as_millis()
    );
    assert!(reached, "within one simulated second none had gone on");
}
