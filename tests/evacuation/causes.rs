//! What is an evacuation's cause, and what is not.

use handoverd::adapters::sim::cast::Cast;
use handoverd::adapters::sim::happening::Happening;
use handoverd::model::life::LifeState;
use handoverd::requests::watching::Terms;
use handoverd::watch::cause::{Policy, Treatment};

use crate::stage::{ACCESSIBLE, Stage, guest, host, id, many, world};
use crate::ward::terms;

#[test]
fn a_killed_guests_services_go_elsewhere_each_by_its_own_life_state() {
    let cast = [
        ("web", ACCESSIBLE),
        ("job", Cast::of(LifeState::Running)),
        ("off", Cast::of(LifeState::Stopped)),
        ("db", ACCESSIBLE.with_volume()),
    ];
    let mut stage = Stage::watching(world(3, &cast));
    let died = stage.now();
    stage.happen([Happening::Die(guest(1))]);
    let (job, members) = stage.evacuated();
    assert_eq!(
        (
            job.object.as_str(),
            job.started_by.as_str(),
            job.result.as_deref()
        ),
        ("g1", "handoverd", Some("done")),
        "{}",
        job.error_details
    );
    assert!(
        job.started - died < 300,
        "it begins at once: {} ms",
        job.started - died
    );
    let order: Vec<&str> = members.iter().map(|member| member.service.as_str()).collect();
    assert_eq!(order.last(), Some(&"off"), "what runs goes first: {order:?}");
    assert_eq!(stage.on("g1"), 0);
    let wanted = |service| stage.service(service).wanted;
    assert_eq!(
        ["web", "job", "off", "db"].map(wanted),
        [
            LifeState::Accessible,
            LifeState::Running,
            LifeState::Stopped,
            LifeState::Accessible
        ]
    );
    let why = stage.ask(|requests| async move { requests.why("web").await.unwrap() });
    assert_eq!(
        (why.who.as_str(), why.what.as_str()),
        ("handoverd", "evacuate g1: its QEMU process died")
    );
    stage.settle();
}

#[test]
fn what_was_seen_to_have_failed_stays_down_elsewhere() {
    let mut world = world(3, &[("web", ACCESSIBLE), ("job", Cast::of(LifeState::Running))]);
    for table in world.tables.values_mut() {
        table.services.get_mut(&id("job")).unwrap().observed = LifeState::Failed;
    }
    let copy = world
        .guests
        .get_mut(&guest(1))
        .unwrap()
        .copies
        .get_mut(&id("job"))
        .unwrap();
    (copy.running, copy.failed) = (false, true);
    let mut stage = Stage::watching(world);
    stage.happen([Happening::Die(guest(1))]);
    let (job, _) = stage.evacuated();
    assert_eq!(job.result.as_deref(), Some("done"), "{}", job.error_details);
    assert_eq!(
        (stage.on("g1"), stage.service("job").wanted),
        (0, LifeState::Failed)
    );
    assert_eq!(stage.service("web").wanted, LifeState::Accessible);
    stage.settle();
}

#[test]
fn a_guest_that_powers_off_or_is_destroyed_has_time_to_come_back() {
    for (happening, grace) in [
        (Happening::PowerOff(guest(1)), 60_000),
        (Happening::Destroy(guest(1)), 5_000),
    ] {
        let mut stage = Stage::watching(many(2, 2));
        stage.happen([happening.clone()]);
        stage.pass(grace - 500);
        assert_eq!(stage.evacuations(), [], "{happening:?}");
        stage.pass(1_000);
        assert_eq!(stage.evacuations().len(), 1, "{happening:?}");
        stage.end();
        assert_eq!(stage.on("g2"), 2);
        stage.settle();

        let mut stage = Stage::watching(many(2, 2));
        stage.happen([happening.clone()]);
        stage.pass(grace / 2);
        stage.happen([Happening::Boot(guest(1))]);
        stage.pass(600_000);
        assert_eq!(stage.evacuations(), [], "it was back in time: {happening:?}");
        assert_eq!(stage.on("g1"), 2);
        stage.settle();
    }
}

#[test]
fn what_is_not_dead_is_left_alone() {
    for happenings in [
        vec![Happening::Save(guest(1))],
        vec![Happening::WarmReboot(guest(1))],
        vec![Happening::AgentSilent(guest(1))],
        vec![Happening::Snapshot(guest(1))],
        vec![Happening::Migrate(guest(1), "hv2".parse().unwrap())],
        vec![Happening::HostDown(host())],
        vec![Happening::HostDown(host()), Happening::HostUp(host())],
    ] {
        let mut stage = Stage::watching(many(2, 2));
        stage.happen(happenings.clone());
        stage.pass(900_000);
        assert_eq!(stage.evacuations(), [], "{happenings:?}");
        assert_eq!(stage.on("g1"), 2, "{happenings:?}");
    }
}

#[test]
fn a_guest_that_was_migrated_is_dead_when_it_dies_where_it_went() {
    let mut stage = Stage::watching(many(2, 2));
    stage.happen([Happening::Migrate(guest(1), "hv2".parse().unwrap())]);
    stage.pass(5_000);
    let rows = stage.ask(|requests| async move { requests.service_rows(None, None, 9).await.unwrap() });
    let hosts: Vec<&str> = rows.iter().map(|row| row.host.as_str()).collect();
    assert_eq!(hosts, ["hv2", "hv2"], "a list shows where its guest is now");
    stage.happen([Happening::Die(guest(1))]);
    let (job, _) = stage.evacuated();
    assert_eq!(job.result.as_deref(), Some("done"), "{}", job.error_details);
    assert_eq!(stage.on("g2"), 2);
}

#[test]
fn policy_may_leave_what_was_switched_off_where_it_is_and_evacuation_may_be_off() {
    let leave = Terms {
        policy: Policy {
            power_off: Treatment::Leave,
            ..terms().policy
        },
        ..terms()
    };
    let disabled = Terms {
        enabled: false,
        ..terms()
    };
    for (terms, happening) in [
        (leave, Happening::PowerOff(guest(1))),
        (disabled, Happening::Die(guest(1))),
        (disabled, Happening::PowerOff(guest(1))),
    ] {
        let mut stage =
            Stage::watching_by(many(2, 2), terms, Box::new(handoverd::adapters::sim::call::Clean));
        stage.happen([happening]);
        stage.pass(900_000);
        assert_eq!(stage.evacuations(), []);
        assert_eq!(stage.on("g1"), 2);
        stage.settle();
    }
}

#[test]
fn a_guest_without_services_may_die() {
    let mut stage = Stage::watching(many(3, 2));
    stage.happen([Happening::Die(guest(2))]);
    stage.pass(300_000);
    assert_eq!(stage.evacuations(), []);
    assert_eq!(stage.on("g1"), 2);
}

#[test]
fn a_returned_guest_runs_nothing_of_them_and_is_rid_of_its_leftovers_when_its_agent_speaks() {
    let cast = [("web", ACCESSIBLE), ("db", ACCESSIBLE.with_volume())];
    let mut stage = Stage::watching(world(2, &cast));
    stage.happen([Happening::Die(guest(1))]);
    stage.evacuated();
    let owed = stage.table(|table| table.duties.len());
    assert_eq!(owed, 2, "the old copies are still to be removed");
    stage.happen([Happening::Boot(guest(1))]);
    let back = stage.now();
    stage.until("the leftovers gone", |table| table.duties.is_empty());
    let took = stage.now() - back;
    assert!(
        took < handoverd::adapters::sim::happening::BOOT + 4_000,
        "{took} ms"
    );
    {
        let inner = stage.0.shared.lock();
        let copies = &inner.world.guests[&guest(1)].copies;
        for service in ["web", "db"] {
            let copy = &copies[&id(service)];
            assert!(
                copy.units.is_none() && !copy.running && !copy.was_up,
                "{service}: {copy:?}"
            );
        }
    }
    assert_eq!(stage.on("g2"), 2);
    stage.settle();
}

#[test]
fn a_guest_that_is_back_before_anything_has_committed_keeps_its_services() {
    let mut stage = Stage::watching(many(2, 12));
    stage.happen([Happening::Die(guest(1))]);
    stage.until("the evacuation's first member", |table| {
        table.jobs.values().any(|job| job.operation == "move")
    });
    stage.happen([Happening::Boot(guest(1))]);
    stage.end();
    let (job, _) = stage.evacuations().pop().unwrap();
    assert_eq!(job.result.as_deref(), Some("cancelled"), "{}", job.error_details);
    assert!(stage.on("g1") >= 4, "{:?}", stage.homes());
    stage.pass(900_000);
    assert_eq!(stage.evacuations().len(), 1);
    stage.settle();
}
