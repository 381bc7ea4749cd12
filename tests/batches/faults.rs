//! Members that fail, batches that are cancelled, daemons that are killed.

use handoverd::adapters::sim::call::{Call, Director, Method, Mishap, PortFault};
use handoverd::adapters::sim::world::SimWorld;
use handoverd::model::ids::{GuestId, JobId};
use handoverd::requests::{BatchChoices, MoveOptions};

use crate::stage::{ACCESSIBLE, Stage, choosing, guest, id, many, results, world};

/// Nothing can be plugged into this guest.
struct NoPlug(GuestId);

impl Director for NoPlug {
    fn decide(&mut self, call: &Call, _world: &SimWorld) -> Mishap {
        let refuses = call.method == Method::Give && call.guest == Some(self.0);
        Mishap {
            fault: refuses.then_some(PortFault::Refuse),
            ..Mishap::default()
        }
    }
}

#[test]
fn one_failing_service_does_not_stop_the_others_and_each_ones_end_is_told() {
    let mut stage = Stage::with(many(3, 8), Box::new(NoPlug(guest(3))));
    let (job, members) = stage.moved("g1", "spread", MoveOptions::default());
    assert_eq!(
        (job.result.as_deref(), job.error_name.as_str()),
        (Some("failed"), "Incomplete")
    );
    assert_eq!([stage.on("g1"), stage.on("g2"), stage.on("g3")], [4, 4, 0]);
    for member in &members {
        let done = member.target_name == "g2";
        assert_eq!(member.is_done(), done, "{member:?}");
        assert_eq!(member.details.is_empty(), done, "{member:?}");
    }
    assert!(
        job.error_details
            .starts_with("4 of 8 services of g1 were not moved: "),
        "{}",
        job.error_details
    );
    assert!(
        job.error_details.contains("Give is refused"),
        "{}",
        job.error_details
    );
    stage.settle();
}

#[test]
fn a_service_whose_predecessor_fails_begins_all_the_same() {
    let mut world = world(2, &[("first", ACCESSIBLE), ("second", ACCESSIBLE)]);
    crate::stage::manifest(&mut world, "second", |m| m.needs.after = vec![id("first")]);
    let mut stage = Stage::with(world, Box::new(NoPlug(guest(2))));
    let (_, members) = stage.moved("g1", "g2", MoveOptions::default());
    assert_eq!(results(&members), [("first", "failed"), ("second", "failed")]);
    assert!(
        members.iter().all(|member| member.job.is_some()),
        "both were tried: {members:?}"
    );
}

#[test]
fn cancel_stops_what_has_not_begun_and_undoes_what_may_be() {
    let mut stage = Stage::of(many(3, 10));
    let choices = BatchChoices {
        parallel: Some(2),
        ..BatchChoices::default()
    };
    let job = stage.begin("g1", "spread", choosing(choices)).unwrap();
    stage.until("the third member's job", |table| {
        table.batches[&job]
            .members
            .iter()
            .filter(|m| m.job.is_some())
            .count()
            >= 3
    });
    stage
        .ask(move |requests| async move { requests.jobs.cancel(job, "somebody").await })
        .unwrap();
    stage.end();
    let (record, members) = stage.told(job);
    assert_eq!(
        (record.result.as_deref(), record.error_name.as_str()),
        (Some("cancelled"), "Cancelled")
    );
    let count = |word| {
        results(&members)
            .iter()
            .filter(|(_, result)| *result == word)
            .count()
    };
    assert_eq!(count("done") + count("cancelled"), 10, "{members:?}");
    assert!(count("done") >= 1 && count("cancelled") >= 7, "{members:?}");
    let not_begun = members.iter().filter(|member| member.job.is_none());
    for member in not_begun {
        assert!(member.details.contains("cancelled by somebody"), "{member:?}");
    }
    for member in &members {
        let home = stage.service(member.service.as_str()).guest_name;
        assert_eq!(home == "g1", !member.is_done(), "{member:?} is on {home}");
    }
    let again = stage.ask(move |requests| async move { requests.jobs.cancel(job, "x").await });
    assert_eq!(again.unwrap_err().name(), "NotCancelable");
    stage.settle();
}

#[test]
fn a_move_that_was_under_way_before_is_not_cancelled_with_the_batch() {
    let mut stage = Stage::of(many(3, 4));
    let own = stage.begin("s00", "g3", MoveOptions::default()).unwrap();
    let batch = stage.begin("g1", "g2", MoveOptions::default()).unwrap();
    stage
        .ask(move |requests| async move { requests.jobs.cancel(batch, "somebody").await })
        .unwrap();
    stage.end();
    assert_eq!(
        stage.table(|table| table.jobs[&own].result.clone()).as_deref(),
        Some("done")
    );
    assert_eq!(stage.service("s00").guest_name, "g3");
    assert_eq!(stage.told(batch).0.result.as_deref(), Some("cancelled"));
    stage.settle();
}

#[test]
fn a_batch_can_be_neither_resumed_nor_abandoned() {
    let mut stage = Stage::of(many(2, 1));
    let job = stage.begin("g1", "g2", MoveOptions::default()).unwrap();
    stage.end();
    let resumed = stage.ask(move |requests| async move { requests.jobs.resume(job).await });
    assert_eq!(resumed.unwrap_err().name(), "NotStuck");
    let abandoned = stage.ask(move |requests| async move { requests.jobs.abandon(job, "x").await });
    assert_eq!(abandoned.unwrap_err().name(), "NotStuck");
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
fn a_killed_daemon_takes_the_batch_up_wherever_it_stood() {
    let calls = {
        let mut stage = Stage::of(many(3, 2));
        stage.moved("g1", "spread", MoveOptions::default());
        let inner = stage.0.shared.lock();
        inner.calls
    };
    let mut taken_up = 0;
    for call in 0..calls {
        for fault in [PortFault::KillBefore, PortFault::KillAfter] {
            let mut stage = Stage::with(many(3, 2), Box::new(KillAt { call, fault }));
            let answer = stage.send("g1", "spread");
            let moved = |inner: &handoverd::adapters::sim::call::Inner| {
                let table = &inner.world.tables[&crate::stage::host()];
                !table.batches.is_empty() && table.jobs.values().all(|job| job.result.is_some())
            };
            let begun = stage.0.run(1_800_000, |inner| {
                !inner.violations.is_empty() || moved(inner) || answer.lock().unwrap().is_some()
            });
            stage.unbroken();
            if !begun {
                // Killed before the batch was in the table: nothing was begun.
                assert_eq!(stage.table(|t| t.batches.len()), 0, "call {call}");
                assert_eq!(stage.on("g1"), 2, "call {call}");
                continue;
            }
            stage.end();
            let batches: Vec<JobId> = stage.table(|table| table.batches.keys().copied().collect());
            let [batch] = batches.as_slice() else {
                panic!("call {call}, {fault:?}: {batches:?}");
            };
            let (record, members) = stage.told(*batch);
            assert_eq!(
                record.result.as_deref(),
                Some("done"),
                "call {call}, {fault:?}: {}\n{}",
                record.error_details,
                stage.0.story()
            );
            assert_eq!(stage.on("g1"), 0, "call {call}, {fault:?}: {members:?}");
            taken_up += u32::from(stage.0.kills > 0);
            stage.settle();
        }
    }
    assert!(taken_up > 100, "only {taken_up} kills fell into a batch");
}

#[test]
fn a_cancel_outlives_the_daemon() {
    let mut stage = Stage::of(many(3, 10));
    let choices = BatchChoices {
        parallel: Some(1),
        ..BatchChoices::default()
    };
    let job = stage.begin("g1", "spread", choosing(choices)).unwrap();
    stage.until("a member's job", |table| {
        table.batches[&job].members[0].job.is_some()
    });
    stage
        .ask(move |requests| async move { requests.jobs.cancel(job, "somebody").await })
        .unwrap();
    stage.until("the cancel in the table", |table| {
        table.batches[&job]
            .members
            .iter()
            .filter(|m| m.result.is_some())
            .count()
            >= 9
    });
    stage.0.shared.lock().killed = true;
    stage.end();
    let (_, members) = stage.told(job);
    assert!(stage.0.kills == 1 && stage.on("g1") >= 9, "{members:?}");
    assert_eq!(stage.open_batches(), []);
    stage.settle();
}
