//! Duties: taken over, given back, replaced, fulfilled.

use handoverd::handover::goals::Kind;
use handoverd::handover::record::Handover;
use handoverd::model::ids::Generation;
use handoverd::ports::Table;

use crate::records::{
    Fixture, assert_conflict, commit, done, duty, ended, entry, guest, handover, id, job, service, undone,
};

/// A service on guest 1 with a duty on guest 2, and a move to guest 2 begun.
async fn with_displaced_duty(f: &Fixture) -> Handover {
    f.deploy("web").await;
    let first = f.begin_move("web", 2).await;
    f.commit(&first, &service("web", 2, 1), Some(&duty("web", 2, 2)))
        .await;
    f.begin_move("web", 3).await
}

#[tokio::test]
async fn only_a_move_takes_over_a_duty_of_a_service_that_is_there() {
    for (kind, generation, displaced) in [
        (Kind::Start, 1, None),
        (Kind::Stop, 1, None),
        (Kind::Remove, 1, None),
        (Kind::Replace, 2, None),
        (Kind::Move, 2, Some(duty("web", 2, 1))),
    ] {
        let f = Fixture::new().await;
        f.deploy("web").await;
        // Duties on the guests of both ends.
        let owed = [duty("web", 1, 1), duty("web", 2, 1)];
        for duty in &owed {
            let first = f
                .table
                .begin(&job("stop"), &handover("web", Kind::Stop, 1))
                .await
                .unwrap();
            f.commit(&first, &service("web", 1, 1), Some(duty)).await;
            f.table
                .finish(&done(&first), &ended(&first, "done"), &entry("end"))
                .await
                .unwrap();
        }
        let begun = f
            .table
            .begin(&job("any"), &handover("web", kind, generation))
            .await
            .unwrap();
        assert_eq!(begun.facts.displaced, displaced, "{kind:?}");
        let left: Vec<_> = owed
            .iter()
            .filter(|duty| Some(*duty) != displaced.as_ref())
            .cloned()
            .collect();
        assert_eq!(f.table.duties().await.unwrap(), left, "{kind:?}");
        f.table
            .finish(&undone(&begun), &ended(&begun, "failed"), &entry("undone"))
            .await
            .unwrap();
        assert_eq!(f.table.duties().await.unwrap(), owed, "{kind:?}");
    }
}

#[tokio::test]
async fn a_displaced_duty_is_handed_over_and_given_back_when_undone() {
    let f = Fixture::new().await;
    let begun = with_displaced_duty(&f).await;
    assert_eq!(begun.facts.displaced, Some(duty("web", 2, 2)));
    assert_eq!(f.table.duties().await.unwrap(), []);
    let f = f.reopen();
    let read = f.table.handover(begun.job).await.unwrap().unwrap();
    assert_eq!(read, begun);
    f.table
        .finish(&undone(&read), &ended(&read, "failed"), &entry("undone"))
        .await
        .unwrap();
    assert_eq!(f.table.duties().await.unwrap(), [duty("web", 2, 2)]);
    assert_eq!(f.table.duties().await.unwrap()[0].guest, guest(2));
}

#[tokio::test]
async fn a_displaced_duty_is_gone_once_its_handover_is_done() {
    let f = Fixture::new().await;
    let begun = with_displaced_duty(&f).await;
    f.commit(&begun, &service("web", 3, 2), None).await;
    f.table
        .finish(&done(&begun), &ended(&begun, "done"), &entry("end"))
        .await
        .unwrap();
    assert_eq!(f.table.duties().await.unwrap(), []);
}

#[tokio::test]
async fn an_ended_handover_can_neither_be_saved_nor_committed_nor_ended_again() {
    let f = Fixture::new().await;
    let begun = with_displaced_duty(&f).await;
    let undone = undone(&begun);
    f.table
        .finish(&undone, &ended(&begun, "cancelled"), &entry("end"))
        .await
        .unwrap();
    f.table.fulfil(&id("web"), guest(2), Generation(2)).await.unwrap();
    let (row, last) = (service("web", 3, 2), entry("late"));
    assert_conflict(f.table.save(&begun, &last).await, "ended already (cancelled)");
    assert_conflict(
        f.table.commit(commit(&begun, &row, None, &last)).await,
        "has ended (cancelled)",
    );
    let again = f.table.finish(&undone, &ended(&begun, "done"), &last).await;
    assert_conflict(again, "ended already (cancelled)");
    // Above all: the duty that was fulfilled does not come back.
    assert_eq!(f.table.duties().await.unwrap(), []);
    f.begin_move("web", 3).await;
}

#[tokio::test]
async fn a_duty_stays_until_it_is_fulfilled_and_a_new_commit_replaces_it() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let first = f.begin_move("web", 2).await;
    f.commit(&first, &service("web", 2, 2), Some(&duty("web", 1, 2)))
        .await;
    let second = f.begin_move("web", 3).await;
    f.commit(&second, &service("web", 3, 2), Some(&duty("web", 1, 3)))
        .await;
    assert_eq!(f.table.duties().await.unwrap(), [duty("web", 1, 3)]);
    // Another service's, another guest's, the one that was replaced, and one that is not there yet.
    for (name, home, generation) in [("api", 1, 3), ("web", 5, 3), ("web", 1, 2), ("web", 1, 4)] {
        f.table
            .fulfil(&id(name), guest(home), Generation(generation))
            .await
            .unwrap();
        assert_eq!(f.table.duties().await.unwrap(), [duty("web", 1, 3)]);
    }
    f.table.fulfil(&id("web"), guest(1), Generation(3)).await.unwrap();
    assert_eq!(f.table.duties().await.unwrap(), []);
}

#[tokio::test]
async fn a_duty_is_postponed_unless_it_is_of_another_generation_or_gone() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let first = f.begin_move("web", 2).await;
    f.commit(&first, &service("web", 2, 2), Some(&duty("web", 1, 2)))
        .await;
    for (name, home, generation) in [("api", 1, 2), ("web", 5, 2), ("web", 1, 3)] {
        f.table
            .postpone(&id(name), guest(home), Generation(generation), 77)
            .await
            .unwrap();
        assert_eq!(f.table.duties().await.unwrap(), [duty("web", 1, 2)]);
    }
    f.table
        .postpone(&id("web"), guest(1), Generation(2), 77)
        .await
        .unwrap();
    let postponed = handoverd::handover::record::Duty {
        serve_until: 77,
        ..duty("web", 1, 2)
    };
    assert_eq!(f.table.duties().await.unwrap(), [postponed]);
}
