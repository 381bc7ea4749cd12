//! Standbys: kept as guests come and go, and what an evacuation to one does in the guest.

use handoverd::adapters::sim::call::{Clean, Director, Entry, Method};
use handoverd::adapters::sim::happening::Happening;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::model::ids::GuestId;
use handoverd::model::standby::StandbyState;
use handoverd::ports::GuestStep;

use crate::stage::{ACCESSIBLE, Stage, guest, id, manifest, world};
use crate::ward::terms;

/// A daemon that watches guests and keeps standbys, with so many of `web`.
fn keeping(mut world: SimWorld, standbys: u32, director: Box<dyn Director>) -> Stage {
    manifest(&mut world, "web", |m| m.needs.standbys = standbys);
    let mut stage = Stage::watching_by(world, terms(), director);
    stage.0.keep_standbys();
    stage.pass(30_000);
    stage
}

/// The guests that the table calls standbys of `web`, and how far they are.
fn standbys(stage: &Stage) -> Vec<(GuestId, StandbyState)> {
    stage.table(|table| {
        let rows = table.standbys.values();
        rows.map(|row| (row.guest, row.state)).collect()
    })
}

/// The steps that a guest's agent was told since `from` entries of the trail.
fn steps(stage: &Stage, of: GuestId, from: usize) -> Vec<GuestStep> {
    let inner = stage.0.shared.lock();
    let calls = inner.trail[from..].iter().filter_map(|(_, entry)| match entry {
        Entry::Call(call, _) if call.method == Method::Act && call.guest == Some(of) => call.step,
        _ => None,
    });
    calls.collect()
}

fn length(stage: &Stage) -> usize {
    stage.0.shared.lock().trail.len()
}

const READY: StandbyState = StandbyState::Ready;

#[test]
fn an_evacuation_to_a_standby_plugs_the_disk_and_installs_nothing() {
    let mut stage = keeping(world(3, &[("web", ACCESSIBLE)]), 1, Box::new(Clean));
    let before = standbys(&stage);
    assert_eq!(before.len(), 1, "{}", stage.0.story());
    let (target, state) = before[0];
    assert_eq!(state, READY);
    let from = length(&stage);
    stage.happen([Happening::Die(guest(1))]);
    let (job, members) = stage.evacuated();
    assert_eq!(
        job.result.as_deref(),
        Some("done"),
        "{members:?}\n{}",
        stage.0.story()
    );
    assert_eq!(stage.table(|table| table.services[&id("web")].guest), target);
    assert!(
        !steps(&stage, target, from).contains(&GuestStep::Install),
        "{}",
        stage.0.story()
    );
    stage.settle();
}
