//! A guest's services go elsewhere, each by its own life state.

use std::collections::BTreeMap;

use handoverd::adapters::sim::cast::Cast;
use handoverd::adapters::sim::happening::Happening;
use handoverd::model::ids::GuestId;
use handoverd::model::life::LifeState;
use handoverd::requests::{BatchChoices, MoveOptions};

use crate::stage::{ACCESSIBLE, Stage, choosing, guest, host, id, manifest, many, results, world};

const RUNNING: Cast = Cast::of(LifeState::Running);
const STOPPED: Cast = Cast::of(LifeState::Stopped);
const FAILED: Cast = Cast::of(LifeState::Failed);

#[test]
fn every_service_of_a_guest_moves_and_keeps_its_life_state() {
    let cast = [
        ("web", ACCESSIBLE),
        ("job", RUNNING),
        ("off", STOPPED),
        ("bad", FAILED),
        ("db", ACCESSIBLE.with_volume()),
    ];
    let mut stage = Stage::of(world(2, &cast));
    let (job, members) = stage.moved("g1", "g2", MoveOptions::default());
    assert_eq!(
        (job.operation.as_str(), job.object.as_str(), job.target.as_str()),
        ("move", "g1", "g2")
    );
    assert_eq!(
        (job.result.as_deref(), job.error_details.as_str()),
        (Some("done"), "")
    );
    assert!(
        members
            .iter()
            .all(|member| member.is_done() && member.job.is_some())
    );
    assert_eq!((stage.on("g1"), stage.on("g2")), (0, 5));
    let observed = |service| stage.service(service).observed;
    assert_eq!(
        [observed("web"), observed("job"), observed("off"), observed("db")],
        [
            LifeState::Accessible,
            LifeState::Running,
            LifeState::Stopped,
            LifeState::Accessible
        ]
    );
    let inner = stage.0.shared.lock();
    let copies = &inner.world.guests[&guest(2)].copies;
    assert!(
        !copies[&id("off")].running,
        "a stopped service is never started on the way"
    );
    drop(inner);
    stage.settle();
}

#[test]
fn a_guest_is_named_by_its_name_uuid_or_address() {
    for object in ["g1".to_owned(), guest(1).to_string(), {
        let world = many(2, 1);
        world.guests[&guest(1)].addresses[0].to_string()
    }] {
        let mut stage = Stage::of(many(2, 2));
        let (job, _) = stage.moved(&object, "g2", MoveOptions::default());
        assert_eq!((job.object.as_str(), stage.on("g2")), ("g1", 2), "{object}");
    }
}

#[test]
fn a_guest_without_services_is_done_at_once() {
    let mut stage = Stage::of(many(3, 2));
    let (job, members) = stage.moved("g2", "spread", MoveOptions::default());
    assert_eq!((job.result.as_deref(), members.len()), (Some("done"), 0));
    let requests = stage.0.requests();
    let rows = stage.ask(move |_| async move { requests.job_rows(None, 9, Some("g2")).await.unwrap() });
    assert_eq!(rows.len(), 1, "it is a job as any other");
}

#[test]
fn services_are_spread_over_the_guests_that_fit() {
    let mut stage = Stage::of(many(4, 9));
    let (job, members) = stage.moved("g1", "spread", MoveOptions::default());
    assert_eq!(job.result.as_deref(), Some("done"), "{}", job.error_details);
    assert_eq!([stage.on("g2"), stage.on("g3"), stage.on("g4")], [3, 3, 3]);
    assert!(
        members.iter().all(|member| member.why.contains("of this batch")),
        "{members:?}"
    );
    stage.settle();
}

#[test]
fn the_least_loaded_are_those_that_have_the_fewest_services_while_nothing_is_measured() {
    let mut stage = Stage::of(many(3, 6));
    let (_, members) = stage.moved("g1", "least-loaded", MoveOptions::default());
    assert_eq!([stage.on("g2"), stage.on("g3")], [3, 3], "{members:?}");
}

#[test]
fn the_same_seed_gives_the_same_plan() {
    let homes = |target: &str| {
        let mut stage = Stage::of(many(4, 12));
        let (job, _) = stage.moved("g1", target, MoveOptions::default());
        assert_eq!(
            job.target, target,
            "the seed is told, so that it can be given again"
        );
        stage.homes()
    };
    let first = homes("random:7");
    assert_eq!(first, homes("random:7"));
    assert!(
        ["random:8", "random:9", "random:10"]
            .iter()
            .any(|other| homes(other) != first)
    );
}

#[test]
fn a_single_service_goes_where_a_strategy_puts_it() {
    let mut world = many(3, 3);
    manifest(&mut world, "s01", |m| m.needs.anti_affinity = vec![id("s00")]);
    let mut stage = Stage::of(world);
    stage.begin("s00", "g2", MoveOptions::default()).unwrap();
    stage.end();
    stage
        .begin("s01", "least-loaded", MoveOptions::default())
        .unwrap();
    stage.end();
    assert_eq!(stage.service("s01").guest_name, "g3");
    let why = stage.ask(|requests| async move { requests.why("s01").await.unwrap() });
    assert_eq!(why.what, "move s01 least-loaded");
    assert!(why.decision.starts_with("g3: "), "{}", why.decision);
    let of_g2 = why.inputs.iter().find(|(of, _)| of == "g2").unwrap();
    assert!(of_g2.1.contains("s00 is there"), "{of_g2:?}");
}

#[test]
fn a_dead_guests_services_go_elsewhere() {
    let cast = [
        ("web", ACCESSIBLE),
        ("db", ACCESSIBLE.with_volume()),
        ("off", STOPPED),
    ];
    let mut world = world(3, &cast);
    world.happen(&Happening::Die(guest(1)));
    let mut stage = Stage::of(world);
    let (job, _) = stage.moved("g1", "spread", MoveOptions::default());
    assert_eq!(job.result.as_deref(), Some("done"), "{}", job.error_details);
    assert_eq!(stage.on("g1"), 0);
    stage.settle();
}

/// Moves that are at work (not those that drain or clean up), by target.
fn at_work(table: &handoverd::adapters::sim::table::SimTable) -> BTreeMap<GuestId, usize> {
    let mut count = BTreeMap::new();
    for handover in table.unfinished().iter().filter(|handover| !handover.committed) {
        *count.entry(handover.target.guest).or_default() += 1;
    }
    count
}

#[test]
fn no_more_services_are_worked_on_at_once_than_the_limits_allow() {
    for (choices, per_guest, in_all) in [
        (
            BatchChoices {
                per_guest: Some(2),
                ..BatchChoices::default()
            },
            2,
            4,
        ),
        (
            BatchChoices {
                per_host: Some(3),
                ..BatchChoices::default()
            },
            3,
            3,
        ),
        (
            BatchChoices {
                parallel: Some(1),
                ..BatchChoices::default()
            },
            1,
            1,
        ),
        (BatchChoices::default(), 4, 8),
    ] {
        let mut stage = Stage::of(many(3, 16));
        stage.begin("g1", "spread", choosing(choices.clone())).unwrap();
        let (mut most_on_one, mut most) = (0, 0);
        stage.until("the end", |table| {
            let at_work = at_work(table);
            most_on_one = most_on_one.max(at_work.values().copied().max().unwrap_or(0));
            most = most.max(at_work.values().sum());
            table.jobs.values().all(|job| job.result.is_some())
        });
        assert!(
            most_on_one <= per_guest && most <= in_all,
            "{choices:?}: {most_on_one}, {most}"
        );
        assert_eq!(most, in_all, "{choices:?}: as many as are allowed are begun");
        assert_eq!(stage.on("g1"), 0);
    }
}

#[test]
fn fifty_services_cost_about_one_drain() {
    let time = |services| {
        let mut stage = Stage::of(many(3, services));
        for records in stage.0.shared.lock().world.zone.names.values_mut() {
            records.ttl = 300;
        }
        let began = stage.now();
        let (job, _) = stage.moved("g1", "spread", MoveOptions::default());
        assert_eq!(job.result.as_deref(), Some("done"), "{}", job.error_details);
        stage.now() - began
    };
    let (one, fifty) = (time(1), time(50));
    assert!(one > 300_000, "a drain is the TTL and a margin: {one}");
    assert!(fifty < one + 120_000, "{one} ms for one, {fifty} ms for fifty");
}

#[test]
fn a_service_begins_when_those_that_it_comes_after_are_there_and_the_urgent_ones_first() {
    let mut world = many(3, 3);
    manifest(&mut world, "s00", |m| m.needs.after = vec![id("s02")]);
    manifest(&mut world, "s01", |m| m.needs.priority = -5);
    let mut stage = Stage::of(world);
    let choices = BatchChoices {
        parallel: Some(1),
        ..BatchChoices::default()
    };
    let (_, members) = stage.moved("g1", "spread", choosing(choices));
    let order: Vec<&str> = members.iter().map(|member| member.service.as_str()).collect();
    assert_eq!(order, ["s02", "s00", "s01"]);
    let jobs: Vec<_> = members.iter().map(|member| member.job.unwrap()).collect();
    assert!(jobs.is_sorted(), "{jobs:?}");
}

#[test]
fn a_service_that_is_on_its_way_already_is_waited_for_and_counted() {
    let mut stage = Stage::of(many(3, 3));
    let moving = stage.begin("s01", "g3", MoveOptions::default()).unwrap();
    let (job, members) = stage.moved("g1", "g2", MoveOptions::default());
    assert_eq!(job.result.as_deref(), Some("done"), "{}", job.error_details);
    let member = members.iter().find(|member| member.service == id("s01")).unwrap();
    assert_eq!((member.job, member.target_name.as_str()), (Some(moving), "g3"));
    assert_eq!((stage.on("g2"), stage.on("g3")), (2, 1));
}

#[test]
fn an_equal_request_in_flight_is_the_same_job_and_another_one_is_busy() {
    let mut stage = Stage::of(many(3, 12));
    let first = stage.begin("g1", "spread", MoveOptions::default()).unwrap();
    let again = stage
        .begin(&guest(1).to_string(), "spread", MoveOptions::default())
        .unwrap();
    assert_eq!(again, first);
    let other = stage.begin("g1", "g2", MoveOptions::default()).unwrap_err();
    assert_eq!(other.name(), "Busy");
    assert!(other.to_string().contains(&format!("job {first}")), "{other}");
    let choices = BatchChoices {
        parallel: Some(2),
        ..BatchChoices::default()
    };
    assert_eq!(
        stage.begin("g1", "spread", choosing(choices)).unwrap_err().name(),
        "Busy"
    );
    stage.end();
    assert_eq!(stage.on("g1"), 0);
    let after = stage.begin("g1", "spread", MoveOptions::default()).unwrap();
    assert!(after > first, "what has ended is not in flight");
}

#[test]
fn two_equal_requests_at_the_same_moment_are_one_job() {
    let mut stage = Stage::of(many(3, 4));
    let (first, second) = (stage.send("g1", "g2"), stage.send("g1", "g2"));
    stage.until("both answers", |_| {
        first.lock().unwrap().is_some() && second.lock().unwrap().is_some()
    });
    let answer =
        |slot: &handoverd::adapters::sim::daemon::Answer| slot.lock().unwrap().take().unwrap().unwrap();
    assert_eq!(answer(&first), answer(&second));
    stage.end();
    assert_eq!(stage.table(|table| table.batches.len()), 1);
}

#[test]
fn two_guests_are_emptied_at_the_same_time_and_one_that_is_asked_for_twice_waits_for_nobody() {
    let mut world = many(4, 6);
    let table = world.tables.get_mut(&host()).unwrap();
    assert_eq!(table.services.len(), 6);
    let mut stage = Stage::of(world);
    stage.moved("g1", "g2", MoveOptions::default());
    for service in ["s00", "s01", "s02"] {
        stage.begin(service, "g1", MoveOptions::default()).unwrap();
    }
    stage.end();
    let (one, two) = (
        stage.begin("g1", "spread", MoveOptions::default()).unwrap(),
        stage.begin("g2", "spread", MoveOptions::default()).unwrap(),
    );
    stage.end();
    for job in [one, two] {
        let (record, members) = stage.told(job);
        assert_eq!(record.result.as_deref(), Some("done"), "{}", record.error_details);
        assert_eq!(members.len(), 3);
    }
    stage.settle();
}

#[test]
fn the_decision_about_each_service_is_kept_with_what_it_was_made_from() {
    let mut stage = Stage::of(many(3, 2));
    let (job, members) = stage.moved("g1", "spread", MoveOptions::default());
    assert_eq!(results(&members), [("s00", "done"), ("s01", "done")]);
    let why = stage.ask(|requests| async move { requests.why("s01").await.unwrap() });
    assert_eq!((why.who.as_str(), why.what.as_str()), ("test", "move g1 spread"));
    assert!(
        why.decision.ends_with(&format!("; job {}", job.id)),
        "{}",
        why.decision
    );
    let other = why.inputs.iter().find(|(of, _)| of == "g2").unwrap();
    assert!(other.1.contains("its load would be"), "{other:?}");
}
