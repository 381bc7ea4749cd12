//! Loads are measured, and decide.

use handoverd::adapters::sim::call::{Call, Director, Method, Mishap, PortFault};
use handoverd::adapters::sim::happening::Happening;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::plan::load::Share;
use handoverd::requests::MoveOptions;

use crate::stage::{Stage, guest, manifest, many};

/// Four guests with these percentages of CPU, memory and pressure in use; the services are on `g1`.
fn loaded(services: usize, used: [(u32, u32, u32); 4]) -> SimWorld {
    let mut world = many(4, services);
    for (number, (cpu, memory, pressure)) in (1..).zip(used) {
        let found = world.guests.get_mut(&guest(number)).unwrap();
        // As if services had been there once: only such guests are asked how they fare.
        found.controller = Some("hv1".to_owned());
        found.gauge.cpu_used = cpu;
        found.gauge.memory_used = memory;
        found.gauge.pressure = pressure;
    }
    world
}

/// Where the services go by `least-loaded`, in order, and the loads of all guests in percent.
fn decided(stage: &mut Stage) -> (Vec<String>, Vec<Option<u32>>) {
    stage.ask(|requests| async move {
        let (id, _) = requests
            .plan("g1", "least-loaded", MoveOptions::default())
            .await
            .unwrap();
        let plan = requests.plans.get(&id).unwrap();
        let targets = plan
            .decided
            .entries
            .iter()
            .map(|entry| entry.target.as_ref().unwrap().name.clone());
        let mut rows = requests.guest_rows(None, false).await.unwrap();
        rows.sort_by(|a, b| a.summary.name.cmp(&b.summary.name));
        let percent = |share: Share| (share.as_millionths() + 5_000) / 10_000;
        let loads = rows.iter().map(|row| row.load.map(|load| percent(load.score())));
        (targets.collect(), loads.collect())
    })
}

#[test]
fn the_guest_whose_scarcest_resource_is_least_used_is_the_least_loaded() {
    let mut stage = Stage::of(loaded(1, [(10, 0, 0), (70, 5, 0), (5, 60, 0), (5, 5, 40)]));
    stage.0.keep_up();
    stage.0.run(60_000, |_| false);
    let (targets, loads) = decided(&mut stage);
    assert_eq!(loads, [Some(10), Some(70), Some(60), Some(40)]);
    assert_eq!(targets, ["g4"]);
}

#[test]
fn a_load_that_is_not_known_yet_keeps_nothing_from_being_placed() {
    let mut stage = Stage::of(loaded(3, [(0, 0, 0), (70, 0, 0), (5, 0, 0), (5, 0, 0)]));
    let (targets, loads) = decided(&mut stage);
    assert_eq!(loads, [None; 4]);
    assert_eq!(targets.len(), 3);
}

#[test]
fn guests_that_are_off_and_guests_that_nobody_asks_are_told_as_far_as_they_are_known() {
    let mut world = loaded(1, [(10, 0, 0), (20, 90, 90), (30, 90, 90), (40, 0, 0)]);
    world.guests.get_mut(&guest(2)).unwrap().controller = None;
    world.happen(&Happening::AgentSilent(guest(3)));
    world.happen(&Happening::Die(guest(4)));
    let mut stage = Stage::of(world);
    stage.0.keep_up();
    stage.0.run(60_000, |_| false);
    let (_, loads) = decided(&mut stage);
    assert_eq!(loads, [Some(10), Some(20), Some(30), None]);
}

#[test]
fn what_services_declare_is_never_more_than_a_guest_has() {
    let mut world = loaded(3, [(0, 0, 0); 4]);
    for service in ["s00", "s01", "s02"] {
        manifest(&mut world, service, |m| m.needs.memory = Some(3 << 30));
    }
    world.guests.get_mut(&guest(4)).unwrap().gauge.memory = 2 << 30;
    let mut stage = Stage::of(world);
    let refused = stage
        .begin("g1", "least-loaded", MoveOptions::default())
        .unwrap_err()
        .to_string();
    assert!(refused.contains("no guest fits for 1 of 3 services"), "{refused}");
    assert!(
        refused.contains("3 GiB of memory are needed, and 1 GiB are free")
            && refused.contains("3 GiB of memory are needed, and 2 GiB are free"),
        "{refused}"
    );
}

/// Nothing that only measures is ever answered.
struct NoGauges(PortFault);

impl Director for NoGauges {
    fn decide(&mut self, call: &Call, _world: &SimWorld) -> Mishap {
        let measures = matches!(call.method, Method::Counters | Method::Vitals);
        Mishap {
            fault: measures.then_some(self.0),
            ..Mishap::default()
        }
    }
}

#[test]
fn services_are_moved_though_nothing_can_be_measured() {
    for fault in [PortFault::Refuse, PortFault::Unavailable, PortFault::Hang] {
        let mut world = loaded(4, [(10, 10, 10); 4]);
        manifest(&mut world, "s00", |m| m.needs.memory = Some(1 << 30));
        let mut stage = Stage::with(world, Box::new(NoGauges(fault)));
        stage.0.keep_up();
        let (record, members) = stage.moved("g1", "least-loaded", MoveOptions::default());
        assert_eq!(record.result.as_deref(), Some("done"), "{}", record.error_details);
        assert!(
            members
                .iter()
                .all(|member| member.result.as_deref() == Some("done"))
        );
    }
}
