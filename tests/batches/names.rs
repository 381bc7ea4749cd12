//! What a move waits for in the zone: servers that lag, and the TTLs that they gave.

use handoverd::adapters::sim::call::Entry;
use handoverd::adapters::sim::happening::Happening;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::adapters::sim::zone::SimSecondary;
use handoverd::model::ids::JobId;
use handoverd::model::service::Millis;
use handoverd::requests::MoveOptions;

use crate::stage::{ACCESSIBLE, Stage, guest, id, world};

/// `web` on `g1`, in a zone with a second server.
fn with_secondary(lag: Millis, answers: bool) -> SimWorld {
    let mut world = world(2, &[("web", ACCESSIBLE)]);
    let names = world.zone.names.clone();
    world.zone.secondaries.push(SimSecondary {
        name: "ns2.svc.lab".to_owned(),
        lag,
        answers,
        names,
    });
    world
}

fn draining_for(millis: Option<Millis>) -> MoveOptions {
    MoveOptions {
        drain: millis,
        ..MoveOptions::default()
    }
}

/// Begins the move of `web` to `g2`, and lets time pass until the zone leads there; the job, and when that was.
fn published(stage: &mut Stage, options: MoveOptions) -> (JobId, Millis) {
    let job = stage.begin("web", "g2", options).unwrap();
    let seen = |table: &handoverd::adapters::sim::table::SimTable| {
        let found = table.unfinished().into_iter().find(|h| h.job == job);
        found.and_then(|h| h.facts.published_at)
    };
    stage.until("the commit", |table| seen(table).is_some());
    let at = stage.table(seen).unwrap();
    (job, at)
}

/// What a job waits for, so many milliseconds from now.
fn waiting(stage: &mut Stage, job: JobId, after: Millis) -> String {
    stage.0.run(after, |_| false);
    stage.unbroken();
    let view = stage.0.requests().jobs.view(job);
    view.map(|view| view.waiting).unwrap_or_default()
}

fn old_copy_runs(stage: &Stage) -> bool {
    let inner = stage.0.shared.lock();
    let copies = &inner.world.guests[&guest(1)].copies;
    copies.get(&id("web")).is_some_and(|copy| copy.running)
}

/// When the old copy was told to stop, and when its job ended.
fn ended(stage: &mut Stage, job: JobId) -> (Millis, Millis) {
    let stopped = stage.0.run(600_000, |inner| {
        !inner.violations.is_empty() || !inner.world.guests[&guest(1)].copies[&id("web")].running
    });
    stage.unbroken();
    assert!(stopped, "the old copy runs for ever:\n{}", stage.0.story());
    let at = stage.now();
    stage.end();
    (at, stage.table(|table| table.jobs[&job].finished).unwrap())
}

/// The old TTL of 5 s and the margin of 2 s after the first transfer since the commit; the servers are asked once a second.
#[track_caller]
fn assert_stopped_after_transfer(stage: &Stage, commit: Millis, stopped: Millis) {
    let inner = stage.0.shared.lock();
    let transfers = inner
        .trail
        .iter()
        .filter(|(at, entry)| *at > commit && matches!(entry, Entry::Happened(Happening::Transferred(_))));
    let (first, _) = transfers.min_by_key(|(at, _)| *at).unwrap();
    let after = stopped - first;
    assert!(first - commit > 15_000, "the server did not lag");
    assert!(
        (7_000..9_000).contains(&after),
        "stopped {after} ms after the server gave the new address"
    );
}

#[test]
fn the_source_serves_until_a_server_that_lags_gave_the_new_address_and_then_for_the_old_ttl() {
    let mut stage = Stage::of(with_secondary(20_000, true));
    let (job, at) = published(&mut stage, MoveOptions::default());
    let text = waiting(&mut stage, job, 10_000);
    assert!(
        text.starts_with("g1 keeps serving: ns2.svc.lab still gives the old address; then for 7.0 s more"),
        "{text}"
    );
    let text = waiting(&mut stage, job, 12_000);
    assert!(
        text.starts_with("g1 keeps serving until 2026-01-01 00:00:"),
        "the time of the clock is told: {text}"
    );
    assert!(old_copy_runs(&stage), "{}", stage.0.story());
    let (stopped, _) = ended(&mut stage, job);
    assert_stopped_after_transfer(&stage, at, stopped);
    stage.settle();
}

#[test]
fn a_server_that_cannot_be_asked_is_waited_for_no_longer_than_configured_and_named() {
    let mut stage = Stage::of(with_secondary(0, false));
    let (job, at) = published(&mut stage, MoveOptions::default());
    let text = waiting(&mut stage, job, 10_000);
    let bound = "waited for until 2026-01-01 00:01:";
    assert!(
        text.contains(bound) && text.contains("ns2.svc.lab: it does not answer"),
        "{text}"
    );
    let text = waiting(&mut stage, job, 52_000);
    assert!(
        text.contains("what these servers give is not known: ns2.svc.lab"),
        "{text}"
    );
    let (stopped, _) = ended(&mut stage, job);
    let after = stopped - at;
    assert!((67_000..69_500).contains(&after), "stopped after {after} ms");
    let journal = stage.table(|table| table.journal[&job].clone());
    assert!(
        journal.iter().any(|entry| entry
            .text
            .starts_with("goes on without servers that cannot be asked")),
        "{journal:?}"
    );
}

#[test]
fn who_says_how_long_a_drain_is_has_it_so_from_the_commit_on() {
    for (drain, least, most) in [(0, 0, 1_000), (12_000, 12_000, 13_000)] {
        let mut stage = Stage::of(with_secondary(60_000, true));
        // The old address is given longer than that: what is asked for here is not what keeps a service reachable.
        stage.0.shared.lock().checked = false;
        let (job, at) = published(&mut stage, draining_for(Some(drain)));
        let (stopped, _) = ended(&mut stage, job);
        let after = stopped - at;
        assert!(
            (least..=most).contains(&after),
            "drain {drain}: stopped after {after} ms"
        );
    }
}

#[test]
fn a_daemon_that_is_killed_while_a_server_lags_asks_it_again() {
    let mut stage = Stage::of(with_secondary(20_000, true));
    let (job, at) = published(&mut stage, MoveOptions::default());
    waiting(&mut stage, job, 10_000);
    stage.0.shared.lock().killed = true;
    let (stopped, _) = ended(&mut stage, job);
    assert_eq!(stage.0.kills, 1);
    assert_stopped_after_transfer(&stage, at, stopped);
    stage.settle();
}
