//! Targets that fail, targets that die.

use std::time::Duration;

use handoverd::adapters::sim::call::{Call, Director, Method, Mishap, PortFault};
use handoverd::adapters::sim::happening::Happening;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::model::ids::GuestId;
use handoverd::requests::MoveOptions;
use handoverd::requests::maintenance::Begins;

use crate::stage::{ACCESSIBLE, Stage, guest, id, manifest, many, results, world};
use crate::ward::terms;

/// Nothing can be plugged into these guests.
struct NoPlug(Vec<GuestId>);

impl Director for NoPlug {
    fn decide(&mut self, call: &Call, _world: &SimWorld) -> Mishap {
        let refuses = call.method == Method::Give && call.guest.is_some_and(|guest| self.0.contains(&guest));
        Mishap {
            fault: refuses.then_some(PortFault::Refuse),
            ..Mishap::default()
        }
    }
}

#[test]
fn a_service_whose_target_fails_goes_to_the_next_best_one() {
    let no_plug = NoPlug(vec![guest(2), guest(4)]);
    let mut stage = Stage::watching_by(many(4, 6), terms(), Box::new(no_plug));
    stage.happen([Happening::Die(guest(1))]);
    let (job, members) = stage.evacuated();
    assert_eq!(job.result.as_deref(), Some("done"), "{}", job.error_details);
    assert_eq!(stage.on("g3"), 6, "{members:?}");
    let journal = stage.table(|table| table.journal[&job.id].clone());
    let again = journal.iter().find(|entry| entry.text.contains("next to g"));
    assert!(
        again.is_some_and(|entry| entry.text.contains("Give is refused")),
        "{journal:?}"
    );
    stage.settle();
}

#[test]
fn a_service_that_no_guest_takes_is_told_and_tried_again_later_and_holds_nobody_up() {
    let mut world = many(3, 3);
    manifest(&mut world, "s01", |m| {
        m.needs.labels = vec!["gpu".parse().unwrap()];
    });
    let mut stage = Stage::watching_by(world, terms(), Box::new(NoPlug(vec![guest(2)])));
    stage.happen([Happening::Die(guest(1))]);
    let (job, members) = stage.evacuated();
    assert_eq!(job.result.as_deref(), Some("failed"));
    assert_eq!(
        results(&members),
        [("s00", "done"), ("s01", "failed"), ("s02", "done")]
    );
    assert!(
        job.error_details.contains("it lacks the label gpu"),
        "{}",
        job.error_details
    );
    // Tried again with growing waits: a look at the guests each, and no job as long as there is no home.
    stage.pass(3_600_000);
    assert_eq!(stage.evacuations().len(), 1);
    manifest(&mut stage.0.shared.lock().world, "s01", |m| {
        m.needs.labels.clear();
    });
    stage.pass(1_800_000);
    assert_eq!(stage.on("g3"), 3, "{:?}", stage.homes());
    stage.settle();
}

#[test]
fn what_waits_for_a_home_has_one_soon_after_a_guest_is_no_longer_in_maintenance() {
    let mut stage = Stage::watching(many(2, 3));
    let maintained = |stage: &mut Stage, begins| {
        stage
            .ask(|requests| async move { requests.set_maintenance("guest", "g2", begins, "root").await })
            .unwrap();
    };
    maintained(
        &mut stage,
        Some(Begins {
            length: Duration::from_secs(86_400),
            reason: "kernel".to_owned(),
            drains: false,
        }),
    );
    stage.happen([Happening::Die(guest(1))]);
    // Between two looks, which are 15 minutes apart by now: the next would come after some 600 s.
    stage.pass(3_000_000);
    assert_eq!((stage.on("g1"), stage.evacuations().len()), (3, 0));
    maintained(&mut stage, None);
    let ended = stage.now();
    stage.until("all on g2", |table| {
        table.services.values().all(|service| service.guest == guest(2))
    });
    let took = stage.now() - ended;
    assert!(took < 30_000, "{took} ms");
    stage.settle();
}

#[test]
fn what_waits_for_a_home_has_one_soon_after_another_guest_has_booted() {
    let mut stage = Stage::watching(many(2, 3));
    stage.happen([Happening::Die(guest(2)), Happening::Die(guest(1))]);
    stage.pass(3_000_000);
    assert_eq!(stage.on("g1"), 3, "{:?}", stage.homes());
    stage.happen([Happening::Boot(guest(2))]);
    let booted = stage.now();
    stage.until("all on g2", |table| {
        table.services.values().all(|service| service.guest == guest(2))
    });
    let took = stage.now() - booted;
    assert!(took < 90_000, "{took} ms");
    stage.settle();
}

#[test]
fn a_target_that_dies_on_the_way_is_not_the_end() {
    let mut stage = Stage::watching(many(3, 4));
    stage.happen([Happening::Die(guest(1))]);
    stage.until("a member under way to g2", |table| {
        table.unfinished().iter().any(|h| h.target.guest == guest(2))
    });
    stage.happen([Happening::Die(guest(2))]);
    stage.evacuated();
    stage.pass(600_000);
    stage.end();
    assert_eq!(stage.on("g3"), 4, "{:?}\n{}", stage.homes(), stage.0.story());
    stage.settle();
}

#[test]
fn a_target_that_dies_while_the_old_source_drains_goes_back_to_it_at_once() {
    let mut stage = Stage::watching(world(4, &[("web", ACCESSIBLE)]));
    for records in stage.0.shared.lock().world.zone.names.values_mut() {
        records.ttl = 300;
    }
    let job = stage.begin("web", "g2", MoveOptions::default()).unwrap();
    stage.until("the commit", |table| table.services[&id("web")].guest == guest(2));
    stage.pass(2_000);
    let died = stage.now();
    stage.happen([Happening::Die(guest(2))]);
    stage.until("web on g1", |table| table.services[&id("web")].guest == guest(1));
    let took = stage.now() - died;
    assert!(
        took < 5_000,
        "{took} ms: its copy there was up all the time\n{}",
        stage.0.story()
    );
    let why = stage.ask(|requests| async move { requests.why("web").await.unwrap() });
    assert!(why.decision.starts_with("g1: "), "{}", why.decision);
    stage.end();
    let result = stage.table(|table| table.jobs[&job].result.clone());
    assert!(result.is_some());
    stage.settle();
}

#[test]
fn two_guests_that_die_in_the_same_instant_are_both_evacuated() {
    let mut stage = Stage::watching(many(5, 6));
    for service in ["s00", "s01", "s02"] {
        stage.begin(service, "g2", MoveOptions::default()).unwrap();
    }
    stage.end();
    stage.happen([Happening::Die(guest(1)), Happening::Die(guest(2))]);
    stage.evacuated();
    stage.pass(60_000);
    stage.end();
    let told = stage.evacuations();
    assert_eq!(told.len(), 2);
    assert!(
        told.iter().all(|(job, _)| job.result.as_deref() == Some("done")),
        "{told:?}"
    );
    assert_eq!((stage.on("g1"), stage.on("g2")), (0, 0));
    stage.settle();
}

#[test]
fn a_guest_that_dies_while_an_operator_empties_it_is_evacuated_after_that() {
    let mut stage = Stage::watching(many(3, 6));
    stage.begin("g1", "g2", MoveOptions::default()).unwrap();
    stage.until("a member at work", |table| table.unfinished().len() > 2);
    stage.happen([Happening::Die(guest(1))]);
    stage.end();
    stage.pass(120_000);
    stage.end();
    assert_eq!(stage.on("g1"), 0, "{:?}", stage.homes());
    stage.settle();
}
