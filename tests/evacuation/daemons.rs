//! Daemons that were away or are killed.

use handoverd::adapters::sim::call::{Call, Director, Inner, Mishap, PortFault};
use handoverd::adapters::sim::happening::Happening;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::watch::spool::SpoolFile;

use crate::stage::{ACCESSIBLE, Stage, guest, host, many, world};
use crate::ward::terms;

#[test]
fn a_guest_that_died_while_no_daemon_ran_is_found_when_one_starts() {
    let mut dead = many(2, 2);
    dead.happen(&Happening::Die(guest(1)));
    let mut stage = Stage::watching(dead);
    let (job, _) = stage.evacuated();
    assert_eq!(job.result.as_deref(), Some("done"), "{}", job.error_details);
    assert_eq!(stage.on("g2"), 2);
    stage.settle();
}

#[test]
fn a_grace_period_that_ended_while_no_daemon_ran_is_over_when_one_starts() {
    let begun = |noted: bool| {
        let mut world = many(2, 2);
        world.happen(&Happening::PowerOff(guest(1)));
        let mut stage = Stage::of(world);
        let uuid = guest(1);
        let off_since = stage.now() - 300_000;
        let content = format!("handoverd-spool 1\nuuid={uuid}\nname=g1\nop=release\nsubop=end\nextra=-\n");
        if noted {
            stage.0.shared.lock().spool.push(SpoolFile {
                name: format!("{uuid}.release"),
                modified: off_since,
                content: content.into_bytes(),
            });
        }
        let started = stage.now();
        stage.0.watch_guests(terms());
        let (job, _) = stage.evacuated();
        stage.settle();
        job.started - started
    };
    assert!(
        begun(true) < 1_000,
        "the hook has noted that it is off for five minutes"
    );
    assert!(begun(false) >= 60_000, "nobody knows since when it is off");
}

#[test]
fn a_guest_that_died_while_its_libvirtd_did_not_answer_is_found_when_it_does() {
    let mut stage = Stage::watching(many(2, 2));
    stage.happen([Happening::HostDown(host()), Happening::Die(guest(1))]);
    stage.pass(300_000);
    assert_eq!(stage.evacuations(), [], "what cannot be seen is not dead");
    stage.happen([Happening::HostUp(host())]);
    stage.evacuated();
    assert_eq!(stage.on("g2"), 2);
    stage.settle();
}

/// The daemon is killed at this call.
struct KillAt {
    call: u64,
    fault: PortFault,
}

impl Director for KillAt {
    fn decide(&mut self, call: &Call, _world: &SimWorld) -> Mishap {
        Mishap {
            fault: (call.number == self.call).then_some(self.fault),
            ..Mishap::default()
        }
    }
}

#[test]
fn a_daemon_that_is_killed_anywhere_in_an_evacuation_comes_to_the_same_end() {
    let start = || {
        let cast = [("web", ACCESSIBLE), ("db", ACCESSIBLE.with_volume())];
        world(3, &cast)
    };
    let (first, last) = {
        let mut stage = Stage::watching(start());
        let first = stage.0.shared.lock().calls;
        stage.happen([Happening::Die(guest(1))]);
        stage.evacuated();
        let last = stage.0.shared.lock().calls;
        (first, last)
    };
    let mut kills = 0;
    for call in first..last {
        for fault in [PortFault::KillBefore, PortFault::KillAfter] {
            let mut stage = Stage::watching_by(start(), terms(), Box::new(KillAt { call, fault }));
            stage.happen([Happening::Die(guest(1))]);
            let moved = |inner: &Inner| {
                let table = &inner.world.tables[&host()];
                let away = table.services.values().all(|row| row.guest != guest(1));
                away && table.jobs.values().all(|job| job.result.is_some())
            };
            let reached = stage
                .0
                .run(900_000, |inner| !inner.violations.is_empty() || moved(inner));
            stage.unbroken();
            assert!(
                reached,
                "call {call}, {fault:?}: {:?}\n{}",
                stage.homes(),
                stage.0.story()
            );
            kills += stage.0.kills;
            let evacuations = stage.evacuations();
            assert_eq!(evacuations.len(), 1, "call {call}, {fault:?}: {evacuations:?}");
            stage.settle();
        }
    }
    assert!(kills > 100, "only {kills} kills fell into an evacuation");
}
