//! Services, bundles, jobs, journal, attempts, duties and audit.

use handoverd::handover::goals::Kind;
use handoverd::model::ids::{Attempt, Generation, JobId};
use handoverd::model::life::{Enablement, LifeState};
use handoverd::model::service::ServiceRecord;
use handoverd::ports::{Table, TableError};

use crate::records::{
    Fixture, bundle, commit, digest, done, ended, entry, guest, handover, id, job, service,
};

#[tokio::test]
async fn services_are_told_as_they_were_committed_and_by_id() {
    let f = Fixture::new().await;
    assert_eq!(f.table.services().await.unwrap(), []);
    let web = f.deploy("web").await;
    let api = f.deploy("api").await;
    assert_eq!(f.table.services().await.unwrap(), [api, web.clone()]);
    assert_eq!(f.table.service(&id("web")).await.unwrap(), Some(web));
    assert_eq!(f.table.service(&id("nobody")).await.unwrap(), None);
}

#[tokio::test]
async fn a_service_without_name_address_uid_and_files_keeps_them_absent() {
    let f = Fixture::new().await;
    let handover = f
        .table
        .begin(&job("deploy"), &handover("web", Kind::Deploy, 1))
        .await
        .unwrap();
    let bare = ServiceRecord {
        addresses: Vec::new(),
        dns: None,
        uid: None,
        files: Vec::new(),
        ..service("web", 1, 1)
    };
    f.commit(&handover, &bare, None).await;
    assert_eq!(f.table.service(&id("web")).await.unwrap(), Some(bare));
}

#[tokio::test]
async fn an_observation_changes_what_is_seen_and_nothing_else() {
    let f = Fixture::new().await;
    let before = f.deploy("web").await;
    let seen = ServiceRecord {
        guest_name: "renamed".to_owned(),
        host: "hv2".parse().unwrap(),
        addresses: Vec::new(),
        wanted: LifeState::Stopped,
        observed: LifeState::Stopped,
        observed_at: 6_000,
        enablement: Enablement::Masked,
        uid: None,
        ..before.clone()
    };
    let claimed = ServiceRecord {
        guest: guest(9),
        bundle: digest(2),
        frozen: Some("no".to_owned()),
        dns: None,
        files: Vec::new(),
        ..seen.clone()
    };
    f.table.observe(&claimed).await.unwrap();
    assert_eq!(f.table.service(&id("web")).await.unwrap(), Some(seen));
}

#[tokio::test]
async fn an_observation_of_another_generation_changes_nothing() {
    let f = Fixture::new().await;
    let before = f.deploy("web").await;
    for generation in [0, 2] {
        let late = ServiceRecord {
            wanted: LifeState::Failed,
            generation: Generation(generation),
            ..before.clone()
        };
        f.table.observe(&late).await.unwrap();
        assert_eq!(f.table.service(&id("web")).await.unwrap().as_ref(), Some(&before));
    }
    // Nor does it bring a service into being.
    f.table.observe(&service("api", 1, 1)).await.unwrap();
    assert_eq!(f.table.service(&id("api")).await.unwrap(), None);
}

#[tokio::test]
async fn bundles_are_told_by_service_and_registration_and_the_first_of_a_digest_stays() {
    let f = Fixture::new().await;
    let mut again = bundle("web", 1);
    again.registered = 9_999;
    f.table.put_bundle(&again).await.unwrap();
    let expected = [bundle("api", 3), bundle("web", 1), bundle("web", 2)];
    assert_eq!(f.table.bundles().await.unwrap(), expected);
    assert_eq!(f.table.bundle(&digest(2)).await.unwrap(), Some(bundle("web", 2)));
    assert_eq!(f.table.bundle(&digest(9)).await.unwrap(), None);
}

#[tokio::test]
async fn attempts_rise_by_one_for_each_service_and_outlive_it() {
    let f = Fixture::new().await;
    for expected in [1, 2, 3] {
        assert_eq!(f.table.next_attempt(&id("web")).await.unwrap(), Attempt(expected));
    }
    assert_eq!(f.table.next_attempt(&id("api")).await.unwrap(), Attempt(1));
    f.deploy("web").await;
    let removal = f
        .table
        .begin(&job("remove"), &handover("web", Kind::Remove, 1))
        .await
        .unwrap();
    let row = service("web", 1, 1);
    let last = entry("forgotten");
    f.table.forget(commit(&removal, &row, None, &last)).await.unwrap();
    let f = f.reopen();
    assert_eq!(f.table.next_attempt(&id("web")).await.unwrap(), Attempt(4));
}

#[tokio::test]
async fn jobs_are_paged_from_the_newest_down() {
    let f = Fixture::new().await;
    for name in ["a", "b", "c", "d", "e"] {
        f.table
            .begin(&job("deploy"), &handover(name, Kind::Deploy, 1))
            .await
            .unwrap();
    }
    let page = async |before: Option<u64>, limit| -> Vec<u64> {
        let jobs = f.table.jobs(before.map(JobId), limit).await.unwrap();
        jobs.iter().map(|job| job.id.0).collect()
    };
    assert_eq!(page(None, 2).await, [5, 4]);
    assert_eq!(page(Some(4), 2).await, [3, 2]);
    assert_eq!(page(Some(2), 2).await, [1]);
    assert_eq!(page(Some(1), 2).await, [0; 0]);
    assert_eq!(page(None, 0).await, [0; 0]);
    assert_eq!(page(None, u32::MAX).await, [5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn a_job_is_told_as_it_began_and_as_it_ended() {
    let f = Fixture::new().await;
    let handover = f
        .table
        .begin(&job("deploy"), &handover("web", Kind::Deploy, 1))
        .await
        .unwrap();
    let mut expected = job("deploy");
    expected.id = handover.job;
    assert_eq!(f.table.job(handover.job).await.unwrap(), Some(expected.clone()));
    f.table
        .finish(&done(&handover), &ended(&handover, "failed"), &entry("end"))
        .await
        .unwrap();
    expected.finished = Some(3_000);
    expected.result = Some("failed".to_owned());
    expected.error_name = "CheckFailed".to_owned();
    expected.error_details = "it answers 503".to_owned();
    assert_eq!(f.table.job(handover.job).await.unwrap(), Some(expected));
    assert_eq!(f.table.job(JobId(77)).await.unwrap(), None);
    assert_eq!(f.table.handover(JobId(77)).await.unwrap(), None);
}

#[tokio::test]
async fn a_journal_keeps_the_order_of_its_entries_for_each_job() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let web = f.begin_move("web", 2).await;
    let api = f
        .table
        .begin(&job("deploy"), &handover("api", Kind::Deploy, 1))
        .await
        .unwrap();
    for text in ["c", "a", "b"] {
        f.table.save(&web, &entry(text)).await.unwrap();
        f.table.save(&api, &entry("x")).await.unwrap();
    }
    let journal = f.table.journal(web.job).await.unwrap();
    assert_eq!(journal, [entry("c"), entry("a"), entry("b")]);
    assert_eq!(f.table.journal(JobId(77)).await.unwrap(), []);
}

#[tokio::test]
async fn the_audit_keeps_who_asked_for_what_and_the_decision() {
    let f = Fixture::new().await;
    f.table.audit(1, "uid 0", "Move web", "allowed").await.unwrap();
    f.table
        .audit(2, "uid 7", "Remove web", "refused: polkit")
        .await
        .unwrap();
    let rows = f.column("SELECT at || who || what || decision FROM audit ORDER BY seq");
    assert_eq!(rows, ["1uid 0Move weballowed", "2uid 7Remove webrefused: polkit"]);
}

#[tokio::test]
async fn a_number_beyond_63_bits_is_refused_not_wrapped() {
    let f = Fixture::new().await;
    let refused = f.table.audit(u64::MAX, "a", "b", "c").await.unwrap_err();
    assert!(matches!(refused, TableError::Storage(text) if text.contains("63 bits")));
}
