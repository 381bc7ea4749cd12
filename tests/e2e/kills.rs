//! The daemon is killed before and after every step of a real move: the next one finishes what it began.

use crate::agreement::other;
use crate::lab::Lab;
use crate::ledger::Witness;
use crate::moments::{Killer, Log};
use crate::moving::nothing_lost;

/// The moments at which it is killed, as the log tells them: before and after each step's act, and where a step ends that
/// has none.
const MOMENTS: [&str; 15] = [
    "reserve (looking) -> reserve (acting)",
    "reserve (acting) -> reserve (looking)",
    "reserve (looking) -> observe",
    "observe (looking) -> stage",
    "stage (looking) -> stage (acting)",
    "stage (acting) -> stage (looking)",
    "start (looking) -> start (acting)",
    "start (acting) -> start (looking)",
    "confirm (looking) -> publish",
    "publish (looking) -> publish (acting)",
    "publish (acting) -> publish (looking)",
    "record (looking) -> record (acting)",
    "record (acting) -> record (looking)",
    "retire (looking) -> retire (acting)",
    "retire (acting) -> retire (looking)",
];

/// What a service without a volume has besides.
const OF_A_DRAIN: [&str; 2] = ["record (looking) -> drain", "drain (looking) -> drain (waiting)"];

/// What a service with a volume has besides.
const OF_A_VOLUME: [&str; 4] = [
    "quiesce (looking) -> quiesce (acting)",
    "quiesce (acting) -> quiesce (looking)",
    "adopt (looking) -> adopt (acting)",
    "adopt (acting) -> adopt (looking)",
];

/// Moves a service once for each moment and kills the daemon there; `check` is told where it is then.
#[track_caller]
fn kill_at_each(lab: &Lab, service: &str, moments: &[&str], mut check: impl FnMut(&str, &str)) {
    let killer = Killer::new(lab);
    let mut home = "g1".to_owned();
    for moment in moments {
        let log = Log::follow(lab);
        let job = lab.begin(&["move", service, other(&home)]);
        log.reaches(service, moment);
        killer.kill(lab);
        lab.lab(&["daemon", "hv1", "start"]).ok();
        let job = lab.wait_for_end(job);
        assert_eq!(job["result"], "done", "killed at {moment:?}: {job:#}");
        let now = lab.agrees(moment)[service].clone();
        assert_eq!(now, other(&home), "{moment}");
        check(&now, moment);
        home = now;
    }
}

#[test]
fn a_daemon_that_is_killed_before_and_after_every_step_finishes_what_it_began_and_no_request_is_lost() {
    let lab = Lab::take();
    lab.ctl(&[
        "deploy",
        &lab.held_with_ttl("web", 8080, "1", "", 1),
        "--to",
        "g1",
    ])
    .ok();
    let users = lab.load("http://web.svc.lab:8080/", 20);
    kill_at_each(&lab, "web", &[&MOMENTS[..], &OF_A_DRAIN].concat(), |_, _| {});
    nothing_lost(&users.stop());
    lab.ctl(&["remove", "web"]).ok();
}

#[test]
fn a_daemon_that_is_killed_before_and_after_every_step_loses_no_number_and_no_two_ever_write() {
    let lab = Lab::take();
    let witness = Witness::listen(&lab);
    lab.ctl(&["deploy", &lab.named_ledger("16MiB"), "--to", "g1"])
        .ok();
    let moments = [&MOMENTS[..], &OF_A_VOLUME].concat();
    kill_at_each(&lab, "ledger", &moments, |home, moment| {
        witness.nothing_is_lost(&lab, home, moment);
    });
    lab.ctl(&["remove", "ledger"]).ok();
    assert!(lab.numbers_on_the_volume() >= witness.rises("in the end"));
}
