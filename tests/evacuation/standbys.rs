//! Standbys: kept as guests come and go, and what an evacuation to one does in the guest.

use handoverd::adapters::sim::call::{Call, Clean, Director, Entry, Method, Mishap, PortFault};
use handoverd::adapters::sim::happening::Happening;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::model::ids::GuestId;
use handoverd::model::life::LifeState;
use handoverd::model::standby::StandbyState;
use handoverd::ports::GuestStep;
use handoverd::requests::MoveOptions;

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

#[test]
fn a_service_with_a_volume_starts_at_its_standby_as_soon_as_the_volume_is_there() {
    let with_volume = ACCESSIBLE.with_volume();
    let mut stage = keeping(world(3, &[("web", with_volume)]), 1, Box::new(Clean));
    let (target, _) = standbys(&stage)[0];
    let from = length(&stage);
    stage.happen([Happening::Die(guest(1))]);
    let (job, _) = stage.evacuated();
    assert_eq!(job.result.as_deref(), Some("done"), "{}", stage.0.story());
    assert_eq!(stage.service("web").guest, target);
    assert!(!steps(&stage, target, from).contains(&GuestStep::Install));
    stage.settle();
}

#[test]
fn a_planned_move_to_a_standby_of_a_service_that_runs_once_takes_its_links_away_first() {
    let with_volume = ACCESSIBLE.with_volume();
    let mut stage = keeping(world(2, &[("web", with_volume)]), 1, Box::new(Clean));
    let from = length(&stage);
    let job = stage.begin("web", "g2", MoveOptions::default()).unwrap();
    stage.end();
    assert_eq!(
        stage.table(|table| table.jobs[&job].result.clone()).as_deref(),
        Some("done")
    );
    assert!(steps(&stage, guest(2), from).contains(&GuestStep::Install));
    stage.pass(60_000);
    assert_eq!(standbys(&stage), [(guest(1), READY)], "{}", stage.0.story());
    stage.settle();
}

#[test]
fn the_standby_of_a_stopped_service_has_no_links_and_its_disk_starts_nothing() {
    let mut stage = keeping(world(3, &[("web", ACCESSIBLE)]), 1, Box::new(Clean));
    let (target, _) = standbys(&stage)[0];
    let linked = |stage: &Stage| {
        let inner = stage.0.shared.lock();
        inner.world.guests[&target].copies[&id("web")].linked.is_some()
    };
    assert!(linked(&stage));
    stage
        .ask(|requests| async move { requests.stop("web", "test").await })
        .unwrap();
    stage.end();
    stage.pass(10_000);
    assert_eq!(standbys(&stage), [(target, READY)]);
    assert!(!linked(&stage), "{}", stage.0.story());
    let from = length(&stage);
    stage.happen([Happening::Die(guest(1))]);
    let (job, _) = stage.evacuated();
    assert_eq!(job.result.as_deref(), Some("done"));
    assert_eq!(
        (stage.service("web").guest, stage.service("web").wanted),
        (target, LifeState::Stopped)
    );
    assert!(!steps(&stage, target, from).contains(&GuestStep::Install));
    stage.settle();
}

#[test]
fn a_stop_that_the_standby_has_not_heard_of_keeps_its_links_from_starting_anything() {
    let mut stage = keeping(world(3, &[("web", ACCESSIBLE)]), 1, Box::new(Clean));
    let (target, _) = standbys(&stage)[0];
    stage
        .ask(|requests| async move { requests.stop("web", "test").await })
        .unwrap();
    stage.until("the stop", |table| {
        table.services[&id("web")].wanted == LifeState::Stopped
    });
    let job = stage.begin("web", name(target), MoveOptions::default()).unwrap();
    stage.end();
    assert_eq!(
        stage.table(|table| table.jobs[&job].result.clone()).as_deref(),
        Some("done")
    );
    stage.settle();
}

fn name(of: GuestId) -> &'static str {
    ["g1", "g2", "g3"]
        .into_iter()
        .zip(1..)
        .find(|(_, n)| guest(*n) == of)
        .unwrap()
        .0
}

#[test]
fn a_standby_that_is_off_is_made_up_for_and_what_is_too_many_goes_when_it_is_back() {
    let mut stage = keeping(world(4, &[("web", ACCESSIBLE)]), 1, Box::new(Clean));
    let (first, _) = standbys(&stage)[0];
    stage.happen([Happening::Die(first)]);
    stage.pass(120_000);
    let now = standbys(&stage);
    assert_eq!(now.len(), 2, "{now:?}");
    assert!(
        now.iter()
            .any(|(other, state)| *other != first && *state == READY)
    );
    stage.happen([Happening::Boot(first)]);
    stage.pass(180_000);
    let now = standbys(&stage);
    assert_eq!(now.len(), 1, "{now:?}\n{}", stage.0.story());
    stage.settle();
}

#[test]
fn a_hung_guest_holds_no_other_standby_up() {
    let mut world = world(4, &[("web", ACCESSIBLE)]);
    world.guests.get_mut(&guest(2)).unwrap().agent_speaks = false;
    let mut stage = keeping(world, 3, Box::new(Clean));
    let ready: Vec<GuestId> = standbys(&stage)
        .into_iter()
        .filter(|(_, state)| *state == READY)
        .map(|(guest, _)| guest)
        .collect();
    assert_eq!(ready, [guest(3), guest(4)], "{}", stage.0.story());
    stage.settle();
    stage.pass(700_000);
    assert_eq!(standbys(&stage).len(), 3, "{}", stage.0.story());
}

#[test]
fn the_standbys_of_a_removed_service_are_remembered_until_nothing_is_left_of_them() {
    let mut stage = keeping(world(3, &[("web", ACCESSIBLE)]), 2, Box::new(Clean));
    assert_eq!(standbys(&stage), [(guest(2), READY), (guest(3), READY)]);
    stage.happen([Happening::Die(guest(3))]);
    stage
        .ask(|requests| async move { requests.remove("web", false, "test").await })
        .unwrap();
    stage.end();
    stage.pass(60_000);
    let left = standbys(&stage);
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].0, guest(3));
    stage.settle();
    assert_eq!(standbys(&stage), []);
}

/// The daemon is killed at the nth call of these methods.
struct KillAt {
    left: u32,
    fault: PortFault,
}

impl Director for KillAt {
    fn decide(&mut self, call: &Call, _world: &SimWorld) -> Mishap {
        let counted = matches!(call.method, Method::Act | Method::Standby | Method::Give);
        if counted {
            self.left = self.left.wrapping_sub(1);
        }
        Mishap {
            fault: (counted && self.left == 0).then_some(self.fault),
            ..Mishap::default()
        }
    }
}

/// A standby is made, its service is evacuated to it, and the dead guest becomes the standby, with one fault at one call.
fn survives(number: u32, fault: PortFault) {
    let killer = KillAt { left: number, fault };
    let mut stage = keeping(world(2, &[("web", ACCESSIBLE)]), 1, Box::new(killer));
    stage.pass(60_000);
    stage.happen([Happening::Die(guest(1))]);
    stage.pass(120_000);
    stage.end();
    stage.happen([Happening::Boot(guest(1))]);
    stage.pass(180_000);
    stage.settle();
    assert_eq!(stage.service("web").guest, guest(2), "call {number}, {fault:?}");
    assert_eq!(
        standbys(&stage),
        [(guest(1), READY)],
        "call {number}, {fault:?}\n{}",
        stage.0.story()
    );
}

#[test]
fn nothing_is_forgotten_whatever_happens_to_a_call() {
    use PortFault::{Hang, KillAfter, KillBefore, Late, LoseAnswer, Refuse, Twice, Unavailable};
    for number in 1..=14 {
        for fault in [
            KillBefore,
            KillAfter,
            LoseAnswer,
            Twice,
            Refuse,
            Unavailable,
            Hang,
            Late(20_000),
            Late(90_000),
        ] {
            survives(number, fault);
        }
    }
}
