//! Batches with their members, and decisions.

use handoverd::handover::goals::Kind;
use handoverd::model::batch::{Batch, BatchMember, BatchOptions, Decision};
use handoverd::model::ids::JobId;
use handoverd::ports::{JobRecord, Table};

use crate::records::{Fixture, assert_conflict, entry, guest, handover, id, job};

fn member(seq: u32, service: &str) -> BatchMember {
    BatchMember {
        seq,
        service: id(service),
        target: Some(guest(2)),
        target_name: "vm2".to_owned(),
        why: "the least loaded of 3 guests".to_owned(),
        job: None,
        result: None,
        details: String::new(),
    }
}

/// A batch of guest `source` to guest 2.
pub fn batch(source: u128, services: &[&str]) -> Batch {
    Batch {
        job: JobId(0),
        guest: guest(source),
        target: "least-loaded".to_owned(),
        options: BatchOptions {
            drain: Some(7_000),
            parallel: 8,
            per_guest: 2,
            per_host: 4,
        },
        members: (0..).zip(services).map(|(seq, name)| member(seq, name)).collect(),
    }
}

/// The job of such a batch.
pub fn asked() -> JobRecord {
    JobRecord {
        object: "vm1".to_owned(),
        target: "least-loaded".to_owned(),
        ..job("move")
    }
}

fn ended(id: JobId, result: &str) -> JobRecord {
    JobRecord {
        id,
        finished: Some(3_000),
        result: Some(result.to_owned()),
        ..asked()
    }
}

#[tokio::test]
async fn a_batch_is_told_with_its_members_in_order_as_it_was_begun() {
    let f = Fixture::new().await;
    let mut expected = batch(1, &["web", "api", "db"]);
    expected.members[2].target = None;
    expected.members[2].target_name.clear();
    expected.job = f.table.begin_batch(&asked(), &expected).await.unwrap();
    let f = f.reopen();
    assert_eq!(
        f.table.batch(expected.job).await.unwrap().as_ref(),
        Some(&expected)
    );
    assert_eq!(f.table.unfinished_batches().await.unwrap(), [expected.clone()]);
    assert_eq!(
        f.table.unfinished().await.unwrap(),
        [],
        "it has no handover of its own"
    );
    let record = f.table.job(expected.job).await.unwrap().unwrap();
    assert_eq!((record.object.as_str(), record.result), ("vm1", None));
    assert_eq!(f.table.batch(JobId(77)).await.unwrap(), None);
}

#[tokio::test]
async fn a_member_is_saved_with_an_entry_of_the_batchs_journal() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let batch = batch(1, &["web", "api"]);
    let number = f.table.begin_batch(&asked(), &batch).await.unwrap();
    let moving = f.begin_move("web", 2).await;
    let web = BatchMember {
        job: Some(moving.job),
        ..member(0, "web")
    };
    f.table
        .save_member(number, &web, &entry("web: job 3"))
        .await
        .unwrap();
    let failed = BatchMember {
        result: Some("failed".to_owned()),
        details: "it answers 503".to_owned(),
        ..member(1, "api")
    };
    f.table
        .save_member(number, &failed, &entry("api failed"))
        .await
        .unwrap();
    let f = f.reopen();
    let stands = f.table.batch(number).await.unwrap().unwrap();
    assert_eq!(stands.members, [web, failed]);
    assert_eq!(
        f.table.journal(number).await.unwrap(),
        [entry("web: job 3"), entry("api failed")]
    );
}

#[tokio::test]
async fn a_batch_that_has_ended_is_not_taken_up_and_nothing_more_is_recorded_for_it() {
    let f = Fixture::new().await;
    let number = f.table.begin_batch(&asked(), &batch(1, &["web"])).await.unwrap();
    let unended = JobRecord {
        result: None,
        ..ended(number, "")
    };
    assert_conflict(
        f.table.finish_batch(&unended, &entry("end")).await,
        "without a result",
    );
    f.table
        .finish_batch(&ended(number, "done"), &entry("end"))
        .await
        .unwrap();
    assert_eq!(f.table.unfinished_batches().await.unwrap(), []);
    assert_eq!(f.table.job(number).await.unwrap(), Some(ended(number, "done")));
    let late = f.table.save_member(number, &member(0, "web"), &entry("x")).await;
    assert_conflict(late, "has ended already");
    let again = f
        .table
        .finish_batch(&ended(number, "failed"), &entry("end"))
        .await;
    assert_conflict(again, "has ended already");
}

#[tokio::test]
async fn a_guest_is_emptied_by_one_batch_at_a_time() {
    let f = Fixture::new().await;
    let first = f.table.begin_batch(&asked(), &batch(1, &["web"])).await.unwrap();
    let second = f.table.begin_batch(&asked(), &batch(1, &["api"])).await;
    assert_conflict(second.map(drop), &format!("job {first}"));
    assert_eq!(
        f.table.jobs(None, 9).await.unwrap().len(),
        1,
        "nothing of it is left"
    );
    f.table.begin_batch(&asked(), &batch(2, &["api"])).await.unwrap();
    f.table
        .finish_batch(&ended(first, "done"), &entry("end"))
        .await
        .unwrap();
    f.table.begin_batch(&asked(), &batch(1, &["api"])).await.unwrap();
}

#[tokio::test]
async fn a_service_is_a_member_once_and_a_handovers_job_is_no_batch() {
    let f = Fixture::new().await;
    let twice = f.table.begin_batch(&asked(), &batch(1, &["web", "web"])).await;
    assert_conflict(twice.map(drop), "web is a member of the batch twice");
    assert_eq!(f.table.jobs(None, 9).await.unwrap(), []);
    let deploy = f
        .table
        .begin(&job("deploy"), &handover("web", Kind::Deploy, 1))
        .await
        .unwrap();
    let saved = f
        .table
        .save_member(deploy.job, &member(0, "web"), &entry("x"))
        .await;
    assert_conflict(saved, "is not a batch");
    let finished = f
        .table
        .finish_batch(&ended(deploy.job, "done"), &entry("x"))
        .await;
    assert_conflict(finished, "is not a batch");
}

#[tokio::test]
async fn the_last_decision_about_a_service_is_told_with_what_it_was_made_from() {
    let f = Fixture::new().await;
    let decision = |at, service: &str| Decision {
        at,
        who: "uid 0".to_owned(),
        what: "move vm1 least-loaded".to_owned(),
        service: id(service),
        decision: "vm2: the least loaded".to_owned(),
        inputs: vec![
            ("vm2".to_owned(), "fits: 3 services".to_owned()),
            ("vm3".to_owned(), "no label \"ssd\"".to_owned()),
        ],
    };
    let first = [decision(1, "web"), decision(2, "api")];
    f.table.decide(&first).await.unwrap();
    f.table.decide(&[decision(3, "web")]).await.unwrap();
    f.table.audit(4, "uid 0", "stop web", "job 9").await.unwrap();
    let f = f.reopen();
    assert_eq!(
        f.table.last_decision(&id("web")).await.unwrap(),
        Some(decision(3, "web"))
    );
    assert_eq!(
        f.table.last_decision(&id("api")).await.unwrap(),
        Some(decision(2, "api"))
    );
    assert_eq!(f.table.last_decision(&id("db")).await.unwrap(), None);
    let audit = f.column("SELECT at || what FROM audit ORDER BY seq");
    assert_eq!(audit.len(), 4, "decisions are part of the audit");
}
