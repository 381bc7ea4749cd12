//! Reservation, commit, end, and what a stale actor is refused.

use std::sync::{Arc, Barrier};

use handoverd::handover::goals::{Goal, Kind};
use handoverd::handover::record::Handover;
use handoverd::model::ids::{Generation, JobId};
use handoverd::model::life::LifeState;
use handoverd::model::service::ServiceRecord;
use handoverd::ports::{JobRecord, Table, TableError};

use crate::records::{
    Fixture, assert_conflict, at, commit, digest, done, duty, ended, entry, handover, id, job, service,
    stuck, undone,
};

#[tokio::test]
async fn a_second_handover_of_a_service_is_busy_and_names_the_job() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let first = f.begin_move("web", 2).await;
    assert_eq!(first.job, JobId(2));
    let second = f.table.begin(&job("stop"), &handover("web", Kind::Stop, 1)).await;
    match second {
        Err(TableError::Busy { service, job, kind }) => {
            assert_eq!((service, job, kind), (id("web"), first.job, "move"));
        }
        other => panic!("{other:?}"),
    }
    // Nothing of the second is left behind, and another service is free.
    assert_eq!(f.table.jobs(None, 10).await.unwrap().len(), 2);
    f.deploy("api").await;
}

#[test]
fn of_eight_threads_that_reserve_a_service_one_wins() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let f = Arc::new(runtime.block_on(Fixture::new()));
    runtime.block_on(f.deploy("web"));
    for round in 0..10 {
        let barrier = Arc::new(Barrier::new(8));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (f, barrier) = (Arc::clone(&f), Arc::clone(&barrier));
                let runtime = runtime.handle().clone();
                std::thread::spawn(move || {
                    barrier.wait();
                    runtime.block_on(f.table.begin(&job("move"), &handover("web", Kind::Move, 2)))
                })
            })
            .collect();
        let (won, lost): (Vec<_>, Vec<_>) = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .partition(Result::is_ok);
        assert_eq!(won.len(), 1, "round {round}");
        let winner = won.into_iter().next().unwrap().unwrap();
        for busy in lost {
            assert!(matches!(busy, Err(TableError::Busy { job, .. }) if job == winner.job));
        }
        runtime
            .block_on(
                f.table
                    .finish(&undone(&winner), &ended(&winner, "failed"), &entry("end")),
            )
            .unwrap();
    }
}

#[test]
fn the_index_itself_refuses_a_second_reservation() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let f = runtime.block_on(Fixture::new());
    runtime.block_on(f.deploy("web"));
    runtime.block_on(f.begin_move("web", 2));
    let other = rusqlite::Connection::open(&f.path).unwrap();
    let error = other
        .execute("UPDATE handover SET reserved = 1 WHERE service = 'web'", [])
        .unwrap_err();
    assert!(error.to_string().contains("UNIQUE"), "{error}");
}

#[tokio::test]
async fn a_handover_is_told_as_it_was_saved() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let begun = f.begin_move("web", 2).await;
    assert_eq!(f.table.handover(begun.job).await.unwrap().as_ref(), Some(&begun));
    let mut staged = at(&begun, Goal::Stage);
    staged.facts.sent = true;
    staged.target.files.push(duty("web", 1, 1).files.remove(0));
    f.table.save(&staged, &entry("reserve -> stage")).await.unwrap();
    assert_eq!(f.table.handover(begun.job).await.unwrap(), Some(staged));
}

#[tokio::test]
async fn a_new_place_or_bundle_follows_on_the_generation_and_all_else_keeps_it() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    for (kind, generation) in [
        (Kind::Move, 2),
        (Kind::Replace, 2),
        (Kind::Start, 1),
        (Kind::Stop, 1),
        (Kind::Remove, 1),
    ] {
        let begun = f
            .table
            .begin(&job("any"), &handover("web", kind, generation))
            .await
            .unwrap_or_else(|error| panic!("{kind:?} at {generation}: {error}"));
        f.table
            .finish(&undone(&begun), &ended(&begun, "failed"), &entry("end"))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn begin_refuses_what_does_not_fit_the_services_generation() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    for (name, kind, generation, part) in [
        ("web", Kind::Deploy, 1, "deployed already"),
        ("web", Kind::Deploy, 2, "deployed already"),
        ("web", Kind::Move, 1, "at generation 1"),
        ("web", Kind::Move, 3, "at generation 1"),
        ("web", Kind::Replace, 1, "at generation 1"),
        ("web", Kind::Replace, 3, "at generation 1"),
        ("web", Kind::Start, 0, "at generation 1"),
        ("web", Kind::Start, 2, "at generation 1"),
        ("web", Kind::Stop, 0, "at generation 1"),
        ("web", Kind::Stop, 2, "at generation 1"),
        ("web", Kind::Remove, 0, "at generation 1"),
        ("web", Kind::Remove, 2, "at generation 1"),
        ("api", Kind::Move, 2, "no service api"),
        ("api", Kind::Start, 1, "no service api"),
    ] {
        let refused = f
            .table
            .begin(&job("move"), &handover(name, kind, generation))
            .await;
        assert_conflict(refused.map(drop), part);
    }
}

#[tokio::test]
async fn a_commit_changes_row_duty_handover_and_journal_and_frees_the_service() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let begun = f.begin_move("web", 2).await;
    let recorded = Handover {
        committed: true,
        ..at(&begun, Goal::Drain)
    };
    let (row, owed) = (service("web", 2, 2), duty("web", 1, 2));
    f.commit(&recorded, &row, Some(&owed)).await;
    assert_eq!(f.table.service(&id("web")).await.unwrap(), Some(row));
    assert_eq!(f.table.duties().await.unwrap(), [owed]);
    assert_eq!(f.table.journal(begun.job).await.unwrap(), [entry("commit")]);
    assert_eq!(
        f.table.handover(begun.job).await.unwrap().as_ref(),
        Some(&recorded)
    );
    // Draining goes on while the next handover is under way.
    assert_eq!(
        f.table.unfinished().await.unwrap(),
        std::slice::from_ref(&recorded)
    );
    f.begin_move("web", 3).await;
    f.table.save(&recorded, &entry("drained")).await.unwrap();
}

#[tokio::test]
async fn a_start_commits_at_the_generation_of_the_row_and_at_no_other() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let begun = f
        .table
        .begin(&job("start"), &handover("web", Kind::Start, 1))
        .await
        .unwrap();
    let raised = Handover {
        generation: Generation(2),
        ..begun.clone()
    };
    let last = entry("commit");
    let refused = f
        .table
        .commit(commit(&raised, &service("web", 2, 1), None, &last))
        .await;
    assert_conflict(refused, "does not follow");
    let row = ServiceRecord {
        wanted: LifeState::Running,
        ..service("web", 1, 1)
    };
    f.commit(&begun, &row, None).await;
    assert_eq!(f.table.service(&id("web")).await.unwrap(), Some(row));
    // The generation is as before the commit, so it is the reservation that refuses a second one.
    let again = service("web", 1, 2);
    assert_conflict(
        f.table.commit(commit(&begun, &again, None, &last)).await,
        "no longer holds",
    );
}

#[tokio::test]
async fn a_commit_that_does_not_fit_changes_nothing() {
    let f = Fixture::new().await;
    let before = f.deploy("web").await;
    let begun = f.begin_move("web", 2).await;
    let of_generation = |generation| Handover {
        generation: Generation(generation),
        ..begun.clone()
    };
    let foreign = Handover {
        id: handover("web", Kind::Move, 2).id,
        ..begun.clone()
    };
    let row = service("web", 2, 2);
    let unregistered = ServiceRecord {
        bundle: digest(9),
        ..row.clone()
    };
    let owed = duty("web", 1, 2);
    let mut unregistered_duty = owed.clone();
    unregistered_duty.digest = digest(9);
    for (handover, row, duty, part) in [
        (of_generation(1), service("web", 1, 2), &owed, "does not follow"),
        (of_generation(3), service("web", 3, 2), &owed, "does not follow"),
        (begun.clone(), service("web", 3, 2), &owed, "its rows are of"),
        (begun.clone(), service("api", 2, 2), &owed, "its rows are of"),
        (
            begun.clone(),
            row.clone(),
            &crate::records::duty("api", 1, 2),
            "its rows are of",
        ),
        (begun.clone(), unregistered, &owed, "not registered"),
        (begun.clone(), row.clone(), &unregistered_duty, "not registered"),
        (foreign, row.clone(), &owed, "no handover"),
    ] {
        let last = entry("commit");
        let refused = f.table.commit(commit(&handover, &row, Some(duty), &last)).await;
        assert_conflict(refused, part);
        assert_eq!(f.table.service(&id("web")).await.unwrap().as_ref(), Some(&before));
        assert_eq!(f.table.handover(begun.job).await.unwrap().as_ref(), Some(&begun));
        assert_eq!(f.table.duties().await.unwrap(), []);
        assert_eq!(f.table.journal(begun.job).await.unwrap(), []);
    }
    f.commit(&begun, &row, Some(&owed)).await;
}

#[tokio::test]
async fn a_second_commit_is_refused() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let begun = f.begin_move("web", 2).await;
    let (row, last) = (service("web", 2, 2), entry("commit"));
    f.commit(&begun, &row, None).await;
    assert_conflict(
        f.table.commit(commit(&begun, &row, None, &last)).await,
        "no longer holds",
    );
}

#[tokio::test]
async fn a_removal_forgets_the_row_and_may_leave_a_duty() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let removal = f
        .table
        .begin(&job("remove"), &handover("web", Kind::Remove, 1))
        .await
        .unwrap();
    let (row, owed, last) = (service("web", 1, 1), duty("web", 1, 1), entry("forgotten"));
    f.table
        .forget(commit(&removal, &row, Some(&owed), &last))
        .await
        .unwrap();
    assert_eq!(f.table.service(&id("web")).await.unwrap(), None);
    assert_eq!(
        f.table.duties().await.unwrap().as_slice(),
        std::slice::from_ref(&owed)
    );
    // The service may come again, and takes over what was owed on that guest.
    let again = f
        .table
        .begin(&job("deploy"), &handover("web", Kind::Deploy, 1))
        .await
        .unwrap();
    assert_eq!(again.facts.displaced, Some(owed));
}

#[tokio::test]
async fn only_a_removal_forgets_a_service() {
    let f = Fixture::new().await;
    let before = f.deploy("web").await;
    let begun = f.begin_move("web", 2).await;
    let (row, last) = (service("web", 2, 1), entry("forgotten"));
    let refused = f.table.forget(commit(&begun, &row, None, &last)).await;
    assert_conflict(refused, "not a removal");
    assert_eq!(f.table.service(&id("web")).await.unwrap(), Some(before));
}

#[tokio::test]
async fn a_service_is_held_until_its_handover_is_recorded_undone_or_abandoned() {
    let f = Fixture::new().await;
    let holds = |job| f.table.holds(job);
    f.deploy("web").await;
    assert!(!holds(JobId(77)).await.unwrap(), "a job that nobody knows");
    let moved = f.begin_move("web", 2).await;
    assert!(holds(moved.job).await.unwrap());
    f.commit(&moved, &service("web", 2, 2), None).await;
    assert!(!holds(moved.job).await.unwrap(), "recorded, and not ended");
    let next = f.begin_move("web", 3).await;
    assert!(holds(next.job).await.unwrap() && !holds(moved.job).await.unwrap());
    f.table
        .finish(&stuck(&next), &ended(&next, "stuck"), &entry("stuck"))
        .await
        .unwrap();
    assert!(holds(next.job).await.unwrap(), "it may still go on");
    f.table
        .finish(&undone(&next), &ended(&next, "failed"), &entry("abandoned"))
        .await
        .unwrap();
    assert!(!holds(next.job).await.unwrap());
}

#[tokio::test]
async fn a_stuck_handover_keeps_the_reservation_and_freezes_the_service() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let begun = f.begin_move("web", 2).await;
    f.table
        .finish(&stuck(&begun), &ended(&begun, "stuck"), &entry("stuck"))
        .await
        .unwrap();
    let row = f.table.service(&id("web")).await.unwrap().unwrap();
    assert_eq!(row.frozen.as_deref(), Some("it answers 503"));
    assert_eq!(f.table.unfinished().await.unwrap(), []);
    let other = f.table.begin(&job("stop"), &handover("web", Kind::Stop, 1)).await;
    assert!(matches!(other, Err(TableError::Busy { job, .. }) if job == begun.job));
    let (new, last) = (service("web", 2, 2), entry("late"));
    let late = f.table.commit(commit(&begun, &new, None, &last)).await;
    assert_conflict(late, "has ended (stuck)");
    // It may still go on or back, so it keeps the files of both ends.
    let kept = f.table.handover(begun.job).await.unwrap().unwrap();
    assert_eq!((kept.target, kept.source), (begun.target, begun.source));
}

#[tokio::test]
async fn a_resumed_handover_is_unfinished_again_and_its_service_thawed() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let begun = f.begin_move("web", 2).await;
    f.table
        .finish(&stuck(&begun), &ended(&begun, "stuck"), &entry("stuck"))
        .await
        .unwrap();
    let resumed = at(&begun, Goal::Publish);
    f.table.save(&resumed, &entry("resumed")).await.unwrap();
    assert_eq!(
        f.table.unfinished().await.unwrap(),
        std::slice::from_ref(&resumed)
    );
    assert_eq!(f.table.service(&id("web")).await.unwrap().unwrap().frozen, None);
    let record = f.table.job(begun.job).await.unwrap().unwrap();
    assert_eq!((record.result, record.finished), (None, None));
    assert_eq!(record.error_name, "");
    f.commit(&resumed, &service("web", 2, 2), None).await;
}

#[tokio::test]
async fn an_abandoned_handover_frees_and_thaws_the_service() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let begun = f.begin_move("web", 2).await;
    let stuck = stuck(&begun);
    f.table
        .finish(&stuck, &ended(&begun, "stuck"), &entry("stuck"))
        .await
        .unwrap();
    f.table
        .finish(&stuck, &ended(&begun, "failed"), &entry("abandoned"))
        .await
        .unwrap();
    assert_eq!(f.table.service(&id("web")).await.unwrap().unwrap().frozen, None);
    f.begin_move("web", 2).await;
}

#[tokio::test]
async fn the_late_end_of_a_drained_handover_does_not_thaw_what_the_next_one_froze() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let first = f.begin_move("web", 2).await;
    f.commit(&first, &service("web", 2, 2), None).await;
    let second = f.begin_move("web", 3).await;
    f.table
        .finish(&stuck(&second), &ended(&second, "stuck"), &entry("stuck"))
        .await
        .unwrap();
    f.table
        .finish(&done(&first), &ended(&first, "done"), &entry("end"))
        .await
        .unwrap();
    let row = f.table.service(&id("web")).await.unwrap().unwrap();
    assert!(row.frozen.is_some());
    let third = f.table.begin(&job("stop"), &handover("web", Kind::Stop, 2)).await;
    assert!(matches!(third, Err(TableError::Busy { job, .. }) if job == second.job));
}

#[tokio::test]
async fn a_job_is_ended_only_with_a_result_and_by_its_own_handover() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let begun = f.begin_move("web", 2).await;
    let without = JobRecord {
        result: None,
        ..ended(&begun, "done")
    };
    let foreign = JobRecord {
        id: JobId(1),
        ..ended(&begun, "done")
    };
    for (handover, job, part) in [
        (done(&begun), without, "without a result"),
        (done(&begun), foreign, "cannot be ended with"),
        (done(&begun), ended(&begun, "stuck"), "cannot be ended as stuck"),
    ] {
        assert_conflict(f.table.finish(&handover, &job, &entry("end")).await, part);
    }
    assert_eq!(f.table.unfinished().await.unwrap(), [begun]);
}
