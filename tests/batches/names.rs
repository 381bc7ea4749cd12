//! What a move waits for in the zone: servers that lag, and the TTLs that they gave.

use handoverd::adapters::sim::call::Entry;
use handoverd::adapters::sim::happening::Happening;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::adapters::sim::zone::SimSecondary;
use handoverd::handover::goals::Goal;
use handoverd::handover::machine::State;
use handoverd::model::ids::JobId;
use handoverd::model::life::LifeState;
use handoverd::model::service::Millis;
use handoverd::ports::JobRecord;
use handoverd::requests::{BatchChoices, MoveOptions};

use crate::stage::{ACCESSIBLE, Stage, choosing, guest, host, id, world};

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

/// So many services with names of this TTL.
pub fn long_lived(services: usize, ttl: u32) -> SimWorld {
    let names: Vec<String> = (0..services).map(|n| format!("s{n:02}")).collect();
    let cast: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), ACCESSIBLE.with_ttl(ttl)))
        .collect();
    world(3, &cast)
}

fn ttls(stage: &Stage) -> Vec<u32> {
    let inner = stage.0.shared.lock();
    inner
        .world
        .zone
        .names
        .values()
        .map(|records| records.ttl)
        .collect()
}

/// Seconds that a batch took from its beginning to the end of its last member.
pub fn seconds(job: &JobRecord) -> u64 {
    (job.finished.unwrap() - job.started) / 1000
}

#[test]
fn fifty_services_with_long_ttls_cost_one_ttl_and_not_fifty() {
    let mut stage = Stage::of(long_lived(50, 300));
    let (job, members) = stage.moved("g1", "spread", MoveOptions::default());
    assert_eq!(job.result.as_deref(), Some("done"), "{}", job.error_details);
    assert_eq!((members.len(), stage.on("g1")), (50, 0));
    // One wait of 300 s, and the work itself.
    let took = seconds(&job);
    assert!((300..450).contains(&took), "it took {took} s");
    assert!(
        ttls(&stage).iter().all(|ttl| *ttl == 300),
        "every name has its TTL back"
    );
    stage.settle();
}

#[test]
fn no_more_services_are_worked_on_at_once_after_a_common_wait_than_the_limits_allow() {
    let mut stage = Stage::of(long_lived(12, 60));
    let choices = BatchChoices {
        per_guest: Some(2),
        ..BatchChoices::default()
    };
    stage.begin("g1", "g2", choosing(choices)).unwrap();
    let mut most = 0;
    stage.until("the end", |table| {
        let open = table.unfinished();
        let at_work = open.iter().filter(|handover| {
            let waits = matches!(
                handover.state,
                State::At {
                    goal: Goal::Reserve | Goal::Observe | Goal::Lower,
                    ..
                }
            );
            !handover.committed && !waits
        });
        most = most.max(at_work.count());
        table.jobs.values().all(|job| job.result.is_some())
    });
    assert!((1..=2).contains(&most), "{most} at once");
    assert_eq!(stage.on("g2"), 12);
    stage.settle();
}

#[test]
fn a_daemon_that_is_killed_while_a_batch_waits_for_resolvers_waits_on_for_all_of_them() {
    let mut stage = Stage::of(long_lived(12, 100));
    let job = stage.begin("g1", "spread", MoveOptions::default()).unwrap();
    stage.0.run(50_000, |_| false);
    assert!(
        ttls(&stage).iter().all(|ttl| *ttl == 5),
        "every TTL is lowered by then"
    );
    stage.0.shared.lock().killed = true;
    stage.end();
    let (job, _) = stage.told(job);
    assert_eq!(job.result.as_deref(), Some("done"), "{}", job.error_details);
    let took = seconds(&job);
    assert!((100..180).contains(&took), "it took {took} s");
    let facts = stage.table(|table| {
        table
            .handovers
            .values()
            .map(|row| row.handover.facts.clone())
            .collect::<Vec<_>>()
    });
    assert!(
        facts.iter().all(|facts| facts.old_ttl == 100),
        "the lowered TTL was taken for the old one"
    );
    stage.settle();
}

#[test]
fn a_batch_that_is_cancelled_while_it_waits_for_resolvers_leaves_everything_as_it_was() {
    let mut stage = Stage::of(long_lived(12, 100));
    let job = stage.begin("g1", "spread", MoveOptions::default()).unwrap();
    stage.0.run(50_000, |_| false);
    stage.ask(move |requests| async move { requests.jobs.cancel(job, "test").await.unwrap() });
    stage.end();
    let (_, members) = stage.told(job);
    assert!(
        members.iter().all(|m| m.result.as_deref() == Some("cancelled")),
        "{members:?}"
    );
    assert_eq!(stage.on("g1"), 12);
    assert!(ttls(&stage).iter().all(|ttl| *ttl == 100));
    stage.settle();
}

#[test]
fn a_move_tells_until_when_it_waits_for_resolvers_and_drains_for_the_lowered_ttl_only() {
    let mut stage = Stage::of(long_lived(1, 100));
    let job = stage.begin("s00", "g2", MoveOptions::default()).unwrap();
    let text = waiting(&mut stage, job, 20_000);
    assert!(
        text.starts_with("resolvers to forget the old TTL of 100 s: until 2026-01-01 00:01:42 UTC"),
        "{text}"
    );
    stage.until("the commit", |table| {
        table.unfinished().iter().any(|h| h.committed)
    });
    let at = stage.now();
    stage.end();
    let finished = stage.table(|table| table.jobs[&job].finished).unwrap();
    let after = finished - at;
    assert!((7_000..12_000).contains(&after), "it drained for {after} ms");
    stage.settle();
}

#[test]
fn nothing_is_lowered_where_an_operator_says_how_long_the_drain_is_or_the_ttl_is_short() {
    for (ttl, drain) in [(100, Some(0)), (100, Some(30_000)), (20, None)] {
        let mut stage = Stage::of(long_lived(1, ttl));
        stage.0.shared.lock().checked = false;
        let begun = stage.now();
        let job = stage.begin("s00", "g2", draining_for(drain)).unwrap();
        stage.until("the commit", |table| {
            table.unfinished().iter().any(|h| h.committed)
        });
        let took = stage.now() - begun;
        assert!(
            took < 10_000,
            "ttl {ttl}, drain {drain:?}: the commit came after {took} ms"
        );
        stage.end();
        let facts = stage.table(|table| table.handovers[&job].handover.facts.clone());
        assert_eq!(facts.lowering.and_then(|lowering| lowering.sent_at), None);
    }
}

#[test]
fn a_service_whose_guest_dies_while_its_ttl_is_waited_out_moves_at_once() {
    let mut stage = Stage::of(long_lived(1, 300));
    let job = stage.begin("s00", "g2", MoveOptions::default()).unwrap();
    stage.0.run(50_000, |_| false);
    stage.0.shared.lock().happen(vec![(0, Happening::Die(guest(1)))]);
    let begun = stage.now();
    stage.until("the commit", |table| table.handovers[&job].handover.committed);
    let took = stage.now() - begun;
    assert!(took < 20_000, "the commit came after {took} ms");
    stage.settle();
}

#[test]
fn a_server_that_never_gives_the_lower_ttl_does_not_keep_a_service_from_moving() {
    let mut world = long_lived(1, 100);
    let names = world.zone.names.clone();
    world.zone.secondaries.push(SimSecondary {
        name: "ns2.svc.lab".to_owned(),
        lag: 200_000,
        answers: true,
        names,
    });
    let mut stage = Stage::of(world);
    let job = stage.begin("s00", "g2", MoveOptions::default()).unwrap();
    stage.until("the commit", |table| table.handovers[&job].handover.committed);
    let journal = stage.table(|table| table.journal[&job].clone());
    let why = "goes on with the old TTL: ns2.svc.lab still gives the old TTL";
    assert!(journal.iter().any(|entry| entry.text == why), "{journal:?}");
    let at = stage.now();
    stage.end();
    let finished = stage.table(|table| table.jobs[&job].finished).unwrap();
    let claimed = stage.table(|table| table.jobs[&job].started);
    // The first transfer comes 200 s after the claim; then the old TTL and the margin.
    let after = finished - claimed;
    assert!(
        (302_000..310_000).contains(&after) && finished > at,
        "it drained until {after} ms after the claim"
    );
    stage.settle();
}

#[test]
fn srv_records_come_with_an_upgrade_and_go_with_the_service() {
    let mut stage = Stage::of(world(2, &[("web", ACCESSIBLE)]));
    let name = "web.svc.lab".parse().unwrap();
    let labels = |stage: &Stage| {
        let records = stage.0.shared.lock().world.zone.read(&name);
        let told = records
            .srv
            .iter()
            .map(|set| format!("{} {}", set.label, set.records[0].port));
        told.collect::<Vec<_>>()
    };
    assert_eq!(labels(&stage), ["_admin._tcp 8080", "_http._tcp 8080"]);
    stage.begin("web", "g2", MoveOptions::default()).unwrap();
    stage.end();
    assert_eq!(labels(&stage), ["_admin._tcp 8080", "_http._tcp 8080"]);
    let next = ACCESSIBLE.bundle("web", '2').unwrap().digest.to_string();
    stage.ask(move |requests| async move {
        let options = MoveOptions::default();
        requests
            .upgrade("web", &next, Some("g1"), options, "test")
            .await
            .unwrap();
    });
    stage.end();
    assert_eq!(labels(&stage), ["_http._tcp 8081", "_metrics._tcp 8081"]);
    stage.ask(|requests| async move {
        requests.remove("web", false, "test").await.unwrap();
    });
    stage.end();
    assert_eq!(labels(&stage), Vec::<String>::new());
    stage.settle();
}

#[test]
fn every_address_of_a_guest_is_published_and_none_of_the_old_ones_stays() {
    let mut stage = Stage::of(world(2, &[("web", ACCESSIBLE)]));
    let name = "web.svc.lab".parse().unwrap();
    stage.begin("web", "g2", MoveOptions::default()).unwrap();
    stage.end();
    let (published, of_guest) = {
        let inner = stage.0.shared.lock();
        let world = &inner.world;
        (
            world.zone.read(&name).addresses,
            world.guests[&guest(2)].addresses.clone(),
        )
    };
    assert_eq!((published.len(), &published), (2, &of_guest));
    let row = stage.service("web");
    assert_eq!(
        (row.address(), &row.addresses),
        (of_guest.first().copied(), &of_guest)
    );
    stage.settle();
}

#[test]
fn an_address_that_a_guest_gets_later_is_published_with_the_next_move() {
    let mut world = world(2, &[("web", ACCESSIBLE)]);
    let second = world.guests.get_mut(&guest(2)).unwrap().addresses.pop().unwrap();
    let mut stage = Stage::of(world);
    stage.begin("web", "g2", MoveOptions::default()).unwrap();
    stage.end();
    {
        let mut inner = stage.0.shared.lock();
        inner
            .world
            .guests
            .get_mut(&guest(2))
            .unwrap()
            .addresses
            .push(second);
    }
    // A stop and a start leave the name as it is: what the table says of it stays true.
    stage.ask(|requests| async move {
        requests.stop("web", "test").await.unwrap();
    });
    stage.end();
    stage.ask(|requests| async move {
        requests.start("web", "test").await.unwrap();
    });
    stage.end();
    assert_eq!(stage.service("web").addresses.len(), 1);
    for target in ["g1", "g2"] {
        stage.begin("web", target, MoveOptions::default()).unwrap();
        stage.end();
        assert_eq!(stage.service("web").addresses.len(), 2, "on {target}");
    }
    stage.settle();
}

#[test]
fn what_becomes_of_a_service_while_its_batch_holds_it_is_seen_before_it_moves() {
    let mut stage = Stage::of(long_lived(6, 60));
    let choices = BatchChoices {
        per_guest: Some(1),
        ..BatchChoices::default()
    };
    stage.begin("g1", "g2", choosing(choices)).unwrap();
    // The wait is over, and the first of them move.
    stage.0.run(66_000, |_| false);
    let last = {
        let mut inner = stage.0.shared.lock();
        let table = &inner.world.tables[&host()];
        let held = table.unfinished().into_iter().rfind(|handover| {
            matches!(
                handover.state,
                State::At {
                    goal: Goal::Lower,
                    ..
                }
            )
        });
        let service = held.expect("one is held").service;
        let home = inner.world.guests.get_mut(&guest(1)).unwrap();
        let copy = home.copies.get_mut(&service).unwrap();
        (copy.running, copy.failed) = (false, true);
        service
    };
    stage.end();
    assert_eq!(stage.service(last.as_str()).observed, LifeState::Failed);
    let inner = stage.0.shared.lock();
    let copies = &inner.world.guests[&guest(2)].copies;
    assert!(
        !copies[&last].running,
        "what has failed is not started on the way"
    );
    drop(inner);
    stage.settle();
}
