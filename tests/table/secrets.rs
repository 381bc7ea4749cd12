//! Config and secrets: kept for each end of a handover, and gone from the disk with the last row that needs them.

use base64::Engine as _;
use handoverd::handover::goals::{Goal, Kind};
use handoverd::handover::record::{Duty, Handover};
use handoverd::model::ids::Generation;
use handoverd::model::placement::PlacedFile;
use handoverd::ports::Table;

use crate::records::{
    Fixture, at, commit, done, duty, ended, entry, guest, handover, id, job, old_secret, secret, service,
    stuck, undone,
};

/// How many different sets of files the table holds.
fn sets(f: &Fixture) -> usize {
    f.column("SELECT digest FROM file_set").len()
}

/// Whether these files' contents can be found in the table's file or its log, as they are or as they are stored.
fn is_on_disk(f: &Fixture, file: &PlacedFile) -> bool {
    let stored = base64::engine::general_purpose::STANDARD.encode(&file.content);
    ["", "-wal"].iter().any(|suffix| {
        let bytes = std::fs::read(format!("{}{suffix}", f.path.display())).unwrap();
        [file.content.as_slice(), stored.as_bytes()]
            .iter()
            .any(|wanted| bytes.windows(wanted.len()).any(|window| window == *wanted))
    })
}

async fn end(f: &Fixture, handover: &Handover, result: &str) {
    f.table
        .finish(handover, &ended(handover, result), &entry("end"))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_files_of_source_and_target_are_kept_apart_until_the_job_has_ended() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let begun = f.begin_move("web", 2).await;
    let f = f.reopen();
    let mut expected = begun.clone();
    for goal in [Goal::Stage, Goal::Drain] {
        let read = f.table.handover(begun.job).await.unwrap().unwrap();
        assert_eq!(read, expected);
        assert_eq!(read.target.files, [secret()]);
        assert_eq!(read.source.unwrap().files, [old_secret()]);
        expected = at(&expected, goal);
        f.table.save(&expected, &entry("step")).await.unwrap();
    }
    // After the commit too: draining and retiring need the source's.
    f.commit(&expected, &service("web", 2, 2), None).await;
    assert_eq!(
        f.table.unfinished().await.unwrap(),
        std::slice::from_ref(&expected)
    );

    end(&f, &done(&expected), "done").await;
    let read = f.table.handover(begun.job).await.unwrap().unwrap();
    assert_eq!(read.target.files, []);
    assert_eq!(read.source.unwrap().files, []);
    // The service has its own still.
    let row = f.table.service(&id("web")).await.unwrap().unwrap();
    assert_eq!(row.files, [secret()]);
}

#[tokio::test]
async fn the_record_itself_holds_no_files() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let first = f.begin_move("web", 2).await;
    f.commit(&first, &service("web", 2, 1), Some(&duty("web", 2, 2)))
        .await;
    let second = f.begin_move("web", 3).await;
    assert!(second.facts.displaced.is_some());
    for record in f.column("SELECT record FROM handover") {
        assert!(!record.contains("/etc/web/key"), "{record}");
    }
    let keys = f.column(
        "SELECT value FROM handover, json_each(json_array(target_files, source_files, displaced_files))
         WHERE job = (SELECT max(job) FROM handover)",
    );
    assert_eq!(keys.len(), 3);
    assert!(
        keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2],
        "{keys:?}"
    );
}

#[tokio::test]
async fn a_secret_leaves_the_file_when_the_job_has_ended() {
    for (result, committed) in [("done", true), ("failed", false)] {
        let f = Fixture::new().await;
        f.deploy("web").await;
        let begun = f.begin_move("web", 2).await;
        assert!(is_on_disk(&f, &old_secret()), "{result}: the test finds nothing");
        let last = if committed {
            f.commit(&begun, &service("web", 2, 2), None).await;
            done(&begun)
        } else {
            undone(&begun)
        };
        assert!(is_on_disk(&f, &old_secret()), "{result}: gone too early");
        end(&f, &last, result).await;
        assert!(!is_on_disk(&f, &old_secret()), "{result}");
        assert_eq!(sets(&f), 1, "{result}");
        let f = f.reopen();
        assert_eq!(f.table.services().await.unwrap()[0].files, [secret()]);
    }
}

#[tokio::test]
async fn a_stuck_job_keeps_its_secrets_until_it_is_abandoned() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let begun = f.begin_move("web", 2).await;
    let stuck = stuck(&begun);
    end(&f, &stuck, "stuck").await;
    assert!(is_on_disk(&f, &old_secret()));
    end(&f, &stuck, "failed").await;
    assert!(!is_on_disk(&f, &old_secret()));
}

#[tokio::test]
async fn a_reader_of_the_file_delays_no_end_of_a_job() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let begun = f.begin_move("web", 2).await;
    let other = rusqlite::Connection::open(&f.path).unwrap();
    other.execute_batch("BEGIN; SELECT count(*) FROM job;").unwrap();
    let began = std::time::Instant::now();
    end(&f, &undone(&begun), "failed").await;
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "it waited");
    assert_eq!(f.table.unfinished().await.unwrap(), []);
    // With the reader gone, the last close takes the log away.
    drop(other);
    let f = f.reopen();
    assert_eq!(f.table.unfinished().await.unwrap(), []);
    assert!(!is_on_disk(&f, &old_secret()));
}

#[tokio::test]
async fn secrets_of_a_removed_service_go_with_its_duty() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    // The row's and the ended deploy's sets are equal, so one is kept.
    assert_eq!(sets(&f), 1);
    let removal = f
        .table
        .begin(&job("remove"), &handover("web", Kind::Remove, 1))
        .await
        .unwrap();
    let owed = Duty {
        files: vec![old_secret()],
        ..duty("web", 1, 1)
    };
    let (row, last) = (service("web", 1, 1), entry("forgotten"));
    f.table
        .forget(commit(&removal, &row, Some(&owed), &last))
        .await
        .unwrap();
    assert_eq!(sets(&f), 2);
    end(&f, &done(&removal), "done").await;
    // What the duty has still to delete is known.
    assert_eq!(sets(&f), 1);
    assert!(is_on_disk(&f, &old_secret()));
    assert_eq!(f.table.duties().await.unwrap(), [owed]);
    f.table.fulfil(&id("web"), guest(1), Generation(1)).await.unwrap();
    assert_eq!(sets(&f), 0);
    assert!(!is_on_disk(&f, &old_secret()));
}
