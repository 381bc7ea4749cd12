//! Guests that hang: destroyed first where that is said, never where anything speaks against it.

use std::time::Duration;

use handoverd::adapters::sim::call::{Call, Clean, Director, Method, Mishap, PortFault};
use handoverd::adapters::sim::cast::Cast;
use handoverd::adapters::sim::happening::Happening;
use handoverd::adapters::sim::world::{Power, SimWorld};
use handoverd::model::life::LifeState;
use handoverd::requests::MoveOptions;
use handoverd::requests::maintenance::Begins;
use handoverd::requests::watching::Terms;
use handoverd::watch::cause::Policy;

use crate::freezing::one_each;
use crate::stage::{ACCESSIBLE, Stage, guest, many, world};
use crate::ward::terms;

/// Guests that are silent for 5 s are destroyed; a boot may take a minute.
fn destroying() -> Terms {
    Terms {
        policy: Policy {
            may_destroy: true,
            silence: Duration::from_secs(5),
            boot: Duration::from_secs(60),
            ..Policy::default()
        },
        ..terms()
    }
}

fn fencing(world: SimWorld) -> Stage {
    Stage::watching_by(world, destroying(), Box::new(Clean))
}

fn power(stage: &Stage, number: u8) -> Power {
    stage.0.shared.lock().world.guests[&guest(number)].power
}

/// What the audit says of guests that were destroyed.
fn destroyed(stage: &Stage) -> Vec<(String, String)> {
    stage.table(|table| {
        let all = table.audit.iter();
        all.filter(|(_, _, what, _)| what.starts_with("destroy "))
            .map(|(_, who, what, _)| (who.clone(), what.clone()))
            .collect()
    })
}

#[test]
fn a_guest_that_hangs_is_destroyed_and_then_evacuated() {
    for happening in [Happening::Hang(guest(1)), Happening::AgentSilent(guest(1))] {
        let cast = [("web", ACCESSIBLE), ("db", ACCESSIBLE.with_volume())];
        let mut stage = fencing(world(3, &cast));
        let hung = stage.now();
        stage.happen([happening.clone()]);
        stage.pass(4_900);
        assert_eq!(destroyed(&stage), [], "{happening:?}: it may speak again");
        let (job, _) = stage.evacuated();
        assert_eq!(job.result.as_deref(), Some("done"), "{}", job.error_details);
        assert!(
            (5_000..9_000).contains(&(job.started - hung)),
            "{happening:?}: {} ms",
            job.started - hung
        );
        assert_eq!(power(&stage, 1), Power::Off);
        assert_eq!(
            destroyed(&stage),
            [(
                "handoverd".to_owned(),
                "destroy g1: its agent is silent".to_owned()
            )]
        );
        assert_eq!(stage.on("g1"), 0);
        stage.settle();
    }
}

#[test]
fn without_the_word_for_it_nothing_is_destroyed() {
    for happening in [Happening::Hang(guest(1)), Happening::AgentSilent(guest(1))] {
        let mut stage = Stage::watching(many(2, 2));
        stage.happen([happening]);
        stage.pass(900_000);
        assert_eq!((destroyed(&stage), stage.evacuations()), (vec![], vec![]));
        assert_ne!(power(&stage, 1), Power::Off);
    }
}

/// A world, what is done to it before, and what happens then.
type Case = (&'static str, fn() -> SimWorld, fn(&mut Stage), Vec<Happening>);

fn nothing(_stage: &mut Stage) {}

fn others(world: &mut SimWorld) {
    world.guests.get_mut(&guest(1)).unwrap().controller = Some("hv9".to_owned());
}

#[test]
fn whatever_speaks_against_it_spares_a_guest_that_seems_to_hang() {
    let silent = || vec![Happening::AgentSilent(guest(1))];
    let two: fn() -> SimWorld = || many(2, 2);
    let cases: Vec<Case> = vec![
        (
            "in maintenance",
            two,
            |stage| {
                let begins = Begins {
                    length: Duration::from_secs(3600),
                    reason: "kernel".to_owned(),
                    drains: false,
                };
                stage
                    .ask(|requests| async move {
                        requests
                            .set_maintenance("guest", "g1", Some(begins), "root")
                            .await
                    })
                    .unwrap();
            },
            silent(),
        ),
        (
            "frozen",
            two,
            |stage| {
                stage
                    .ask(|requests| async move { requests.freeze("", "root").await })
                    .unwrap();
            },
            silent(),
        ),
        (
            "another daemon's",
            two,
            |stage| others(&mut stage.0.shared.lock().world),
            silent(),
        ),
        ("no other home", || many(1, 2), nothing, silent()),
        (
            "the others are silent too",
            two,
            nothing,
            vec![Happening::AgentSilent(guest(1)), Happening::AgentSilent(guest(2))],
        ),
        (
            "nothing is to run there",
            || world(2, &[("off", Cast::of(LifeState::Stopped))]),
            nothing,
            silent(),
        ),
        (
            "its libvirtd does not answer",
            two,
            nothing,
            vec![
                Happening::HostDown("hv1".parse().unwrap()),
                Happening::AgentSilent(guest(1)),
            ],
        ),
        ("it reboots", two, nothing, vec![Happening::WarmReboot(guest(1))]),
        (
            "it is saved",
            two,
            nothing,
            vec![Happening::AgentSilent(guest(1)), Happening::Save(guest(1))],
        ),
    ];
    for (why, start, before, happenings) in cases {
        let mut stage = fencing(start());
        before(&mut stage);
        stage.happen(happenings);
        stage.pass(55_000);
        assert_eq!(destroyed(&stage), [], "{why}");
        assert_eq!(stage.evacuations(), [], "{why}");
        assert_ne!(power(&stage, 1), Power::Off, "{why}");
    }
}

#[test]
fn a_job_that_has_one_of_its_services_spares_a_guest() {
    let mut stage = fencing(world(2, &[("web", ACCESSIBLE)]));
    // It waits for its check, and so has not committed.
    stage.happen([Happening::ChecksFail(guest(2))]);
    stage.begin("web", "g2", MoveOptions::default()).unwrap();
    stage.happen([Happening::AgentSilent(guest(1))]);
    stage.pass(12_000);
    assert_eq!((destroyed(&stage), stage.evacuations()), (vec![], vec![]));
}

#[test]
fn an_agent_that_speaks_again_in_time_saves_its_guest() {
    let mut stage = fencing(many(2, 2));
    for _ in 0..5 {
        stage.happen([Happening::AgentSilent(guest(1))]);
        stage.pass(4_000);
        stage.happen([Happening::AgentSpeaks(guest(1))]);
        stage.pass(20_000);
    }
    assert_eq!(destroyed(&stage), []);
    stage.settle();
}

#[test]
fn many_guests_that_are_silent_at_once_freeze_everything_and_none_is_destroyed() {
    let mut stage = fencing(one_each(4));
    stage.happen((1..=3).map(|number| Happening::AgentSilent(guest(number))));
    stage.pass(120_000);
    assert_eq!((destroyed(&stage), stage.evacuations()), (vec![], vec![]));
    let alarm = stage.0.requests().evacuations.alarm().unwrap().to_string();
    assert!(
        alarm.starts_with("3 of 4 guests of host hv1 seem to hang or have died; none of them is destroyed;"),
        "{alarm}"
    );
    // Somebody has mended the host before he thaws.
    stage.happen((1..=3).map(|number| Happening::AgentSpeaks(guest(number))));
    stage.pass(5_000);
    stage
        .ask(|requests| async move { requests.thaw("root").await })
        .unwrap();
    stage.pass(60_000);
    assert_eq!((destroyed(&stage), stage.evacuations()), (vec![], vec![]));
    // One alone is destroyed as ever.
    stage.happen([Happening::Hang(guest(1))]);
    stage.evacuated();
    assert_eq!(stage.on("g1"), 0);
}

/// The first destroying goes wrong like this.
struct First(Option<PortFault>);

impl Director for First {
    fn decide(&mut self, call: &Call, _world: &SimWorld) -> Mishap {
        let fault = match call.method {
            Method::Destroy => self.0.take(),
            _ => None,
        };
        Mishap {
            fault,
            ..Mishap::default()
        }
    }
}

#[test]
fn a_destroying_that_goes_wrong_is_looked_at_again_and_comes_to_the_same_end() {
    for fault in [
        PortFault::Refuse,
        PortFault::Unavailable,
        PortFault::Hang,
        PortFault::LoseAnswer,
        PortFault::Twice,
        PortFault::KillBefore,
        PortFault::KillAfter,
    ] {
        let mut stage = Stage::watching_by(many(3, 2), destroying(), Box::new(First(Some(fault))));
        stage.happen([Happening::Hang(guest(1))]);
        stage.evacuated();
        assert_eq!(stage.on("g1"), 0, "{fault:?}: {:?}", stage.homes());
        assert_eq!(power(&stage, 1), Power::Off, "{fault:?}");
        stage.settle();
    }
}
