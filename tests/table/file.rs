//! What the table's file survives, and which files are refused.

use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use handoverd::adapters::sqlite::{OpenError, SqliteTable};
use handoverd::handover::goals::{Goal, Kind};
use handoverd::model::ids::JobId;
use handoverd::ports::{Table, TableError};

use crate::records::{Fixture, at, done, ended, entry, handover, id, job, service};

/// Tells the child of the kill test where its table is.
const CHILD: &str = "TABLE_TEST_CHILD";

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", path.display()).into()
}

#[tokio::test]
async fn the_file_and_all_beside_it_are_private() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    for suffix in ["", "-wal", "-shm", ".lock"] {
        assert_eq!(mode(&beside(&f.path, suffix)), 0o600, "{suffix:?}");
    }
    std::fs::set_permissions(&f.path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let f = f.reopen();
    assert_eq!(mode(&f.path), 0o600);
}

#[tokio::test]
async fn all_that_was_acknowledged_is_there_after_a_drop() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let begun = f.begin_move("web", 2).await;
    let staged = at(&begun, Goal::Stage);
    f.table.save(&staged, &entry("staged")).await.unwrap();
    let f = f.reopen();
    assert_eq!(f.table.unfinished().await.unwrap(), std::slice::from_ref(&staged));
    assert_eq!(f.table.journal(begun.job).await.unwrap(), [entry("staged")]);
    assert_eq!(
        f.table.service(&id("web")).await.unwrap(),
        Some(service("web", 1, 1))
    );
    // The reservation holds too.
    let other = f.table.begin(&job("move"), &handover("web", Kind::Move, 2)).await;
    assert!(matches!(other, Err(TableError::Busy { .. })));
}

#[tokio::test]
async fn unfinished_leaves_out_what_has_ended() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let api = f
        .table
        .begin(&job("deploy"), &handover("api", Kind::Deploy, 1))
        .await
        .unwrap();
    let web = f.begin_move("web", 2).await;
    let f = f.reopen();
    assert_eq!(f.table.unfinished().await.unwrap(), [api.clone(), web]);
    f.table
        .finish(&done(&api), &ended(&api, "failed"), &entry("end"))
        .await
        .unwrap();
    let left = f.table.unfinished().await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].service, id("web"));
}

#[tokio::test]
async fn a_jobs_number_is_not_used_again_although_its_row_is_gone() {
    let f = Fixture::new().await;
    let first = f
        .table
        .begin(&job("deploy"), &handover("web", Kind::Deploy, 1))
        .await
        .unwrap();
    rusqlite::Connection::open(&f.path)
        .unwrap()
        .execute_batch("DELETE FROM handover; DELETE FROM journal; DELETE FROM job;")
        .unwrap();
    let f = f.reopen();
    let second = f
        .table
        .begin(&job("deploy"), &handover("web", Kind::Deploy, 1))
        .await
        .unwrap();
    assert_eq!((first.job, second.job), (JobId(1), JobId(2)));
}

/// Not a test of its own: the process that the next test kills.
#[test]
#[ignore = "run by what_a_killed_process_acknowledged_is_there"]
fn child_that_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let table = SqliteTable::open(Path::new(&path)).unwrap();
        let begun = table
            .begin(&job("deploy"), &handover("web", Kind::Deploy, 1))
            .await
            .unwrap();
        loop {
            let attempt = table.next_attempt(&id("web")).await.unwrap();
            table.save(&begun, &entry(&attempt.0.to_string())).await.unwrap();
            let mut out = std::io::stdout();
            writeln!(out, "\nacknowledged {}", attempt.0).unwrap();
            out.flush().unwrap();
        }
    });
}

#[tokio::test]
async fn what_a_killed_process_acknowledged_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "file::child_that_writes_until_it_is_killed",
            "--nocapture",
        ])
        .env(CHILD, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut last = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Some(number) = line.unwrap().strip_prefix("acknowledged ") {
            last = number.parse().unwrap();
        }
        if last == 40 {
            break;
        }
    }
    assert_eq!(last, 40, "the child ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(beside(&path, "-wal").exists(), "it was not killed in the middle");

    let table = SqliteTable::open(&path).unwrap();
    let journal = table.journal(JobId(1)).await.unwrap();
    let numbers: Vec<u64> = journal.iter().map(|entry| entry.text.parse().unwrap()).collect();
    assert!(numbers.len() >= 40, "{numbers:?}");
    assert_eq!(numbers, (1..).take(numbers.len()).collect::<Vec<u64>>());
    assert!(table.next_attempt(&id("web")).await.unwrap().0 > 40);
    assert_eq!(table.unfinished().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_table_that_is_open_is_refused_to_a_second_daemon() {
    let f = Fixture::new().await;
    let refused = SqliteTable::open(&f.path).unwrap_err();
    assert!(matches!(&refused, OpenError::InUse { pid: Some(pid), .. } if *pid == std::process::id()));
    let text = refused.to_string();
    assert!(text.contains("in use by another handoverd (pid "), "{text}");
    // The first is none the worse for it, and its end gives the table back.
    f.deploy("web").await;
    f.reopen();
}

/// Copies a table and its log while both are in use, as a power cut would leave them.
fn cut_the_power(f: &Fixture) -> PathBuf {
    let copy = f.folder.path().join("copy.db");
    for suffix in ["", "-wal"] {
        std::fs::copy(beside(&f.path, suffix), beside(&copy, suffix)).unwrap();
    }
    copy
}

fn file_and_log(path: &Path) -> [Vec<u8>; 2] {
    [path.to_owned(), beside(path, "-wal")].map(|file| std::fs::read(file).unwrap_or_default())
}

#[tokio::test]
async fn a_newer_version_is_refused_and_left_as_it_is() {
    let f = Fixture::new().await;
    let other = rusqlite::Connection::open(&f.path).unwrap();
    other.pragma_update(None, "user_version", 8).unwrap();
    // Once with the version in the log only, once in the file itself.
    let killed = cut_the_power(&f);
    drop((other, f.table));
    for path in [&killed, &f.path] {
        let before = file_and_log(path);
        let text = SqliteTable::open(path).unwrap_err().to_string();
        assert!(text.contains("version 8") && text.contains("up to 7"), "{text}");
        assert!(before == file_and_log(path), "{} was changed", path.display());
    }
}

/// Opens a file that must be refused as damaged, and must not have changed.
fn assert_damaged(path: &Path, how: &str) {
    let before = file_and_log(path);
    match SqliteTable::open(path) {
        Err(error @ OpenError::Damaged { .. }) => {
            assert!(error.is_lasting());
            let text = error.to_string();
            let OpenError::Damaged { why, copy, .. } = error else {
                unreachable!()
            };
            let copy = copy.unwrap();
            assert!(!why.is_empty());
            assert!(before == file_and_log(&copy), "{how}: the copy is another file");
            assert_eq!(mode(&copy), 0o600);
            let name = copy.file_name().unwrap().to_str().unwrap();
            assert!(name.contains(".db.damaged-20"), "{name}");
            assert!(
                text.contains(name) && text.contains("handoverctl recover-table"),
                "{text}"
            );
        }
        other => panic!("{how}: {other:?}"),
    }
    assert!(before == file_and_log(path), "{how}: the file was changed");
    assert!(!beside(path, ".new").exists());
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    drop(f.table);
    let whole = std::fs::read(&f.path).unwrap();
    let page = 4096;
    let flip = |from: usize, to: usize| {
        let mut bytes = whole.clone();
        for byte in &mut bytes[from..to] {
            *byte ^= 0xff;
        }
        bytes
    };
    for (how, bytes) in [
        ("empty", Vec::new()),
        ("text", b"not a database at all, but long enough".repeat(40)),
        ("cut in the middle", whole[..whole.len() / 2].to_vec()),
        ("cut in the first page", whole[..700].to_vec()),
        ("last page lost", whole[..whole.len() - page].to_vec()),
        ("header flipped", flip(0, 16)),
        ("schema flipped", flip(100, 140)),
        ("a table's page flipped", flip(page, page + 16)),
        ("only the count of free pages wrong", flip(36, 40)),
        ("every page but the first flipped", flip(page, whole.len())),
    ] {
        std::fs::write(&f.path, bytes).unwrap();
        assert_damaged(&f.path, how);
    }
    std::fs::write(&f.path, &whole).unwrap();
    let table = SqliteTable::open(&f.path).unwrap();
    assert_eq!(table.services().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_killed_daemons_log_beside_a_damaged_file_is_left_too() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let copy = cut_the_power(&f);
    let log = std::fs::read(beside(&copy, "-wal")).unwrap();
    let whole = std::fs::read(&copy).unwrap();
    assert!(log.len() > 4096);
    std::fs::write(&copy, b"not a database at all, but long enough".repeat(40)).unwrap();
    assert_damaged(&copy, "text with a log");
    std::fs::write(&copy, whole).unwrap();
    let table = SqliteTable::open(&copy).unwrap();
    assert_eq!(table.services().await.unwrap(), [service("web", 1, 1)]);
}

#[test]
fn another_programs_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE cookies (a);")
        .unwrap();
    let before = std::fs::read(&path).unwrap();
    let refused = SqliteTable::open(&path).unwrap_err();
    assert!(matches!(refused, OpenError::Foreign(_)), "{refused}");
    assert!(before == std::fs::read(&path).unwrap());
}

#[test]
fn a_missing_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/table.db");
    let text = SqliteTable::open(&path).unwrap_err().to_string();
    assert!(
        text.contains("missing/table.db") && text.contains("No such file"),
        "{text}"
    );
}

#[tokio::test]
async fn a_draft_that_a_killed_daemon_left_does_not_hinder_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.db");
    std::fs::write(beside(&path, ".new"), b"half a table").unwrap();
    let table = SqliteTable::open(&path).unwrap();
    assert_eq!(table.services().await.unwrap(), []);
    assert!(!beside(&path, ".new").exists());
}

#[tokio::test]
async fn a_handover_of_an_unknown_format_is_refused_with_both_numbers() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    f.begin_move("web", 2).await;
    rusqlite::Connection::open(&f.path)
        .unwrap()
        .execute("UPDATE handover SET format = 7 WHERE job = 2", [])
        .unwrap();
    let text = f.table.unfinished().await.unwrap_err().to_string();
    assert!(text.contains("format 7") && text.contains("format 1"), "{text}");
    drop(f.table);
    let refused = SqliteTable::open(&f.path).unwrap_err();
    assert!(refused.is_lasting());
    let text = refused.to_string();
    assert!(
        text.contains("job 2") && text.contains("format 7") && text.contains("up to 1"),
        "{text}"
    );
}

#[tokio::test]
async fn a_file_that_lacks_a_table_a_column_or_the_reservation_is_damaged() {
    for (sql, what) in [
        ("DROP TABLE duty", "column digest of table duty is missing"),
        (
            "ALTER TABLE service DROP COLUMN uid",
            "column uid of table service is missing",
        ),
        ("DROP INDEX reservation", "index reservation is missing"),
    ] {
        let f = Fixture::new().await;
        f.deploy("web").await;
        drop(f.table);
        rusqlite::Connection::open(&f.path)
            .unwrap()
            .execute_batch(sql)
            .unwrap();
        let text = SqliteTable::open(&f.path).unwrap_err().to_string();
        assert!(text.contains(what), "{text}");
        assert_damaged(&f.path, sql);
    }
}

#[tokio::test]
async fn a_row_changed_by_hand_is_an_error_that_names_it() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    rusqlite::Connection::open(&f.path)
        .unwrap()
        .execute("UPDATE service SET wanted = 'sideways'", [])
        .unwrap();
    let text = f.table.services().await.unwrap_err().to_string();
    assert!(
        text.contains("service web, wanted") && text.contains("sideways"),
        "{text}"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_write_that_waits_for_the_file_does_not_hold_up_the_runtime() {
    let f = Fixture::new().await;
    let other = rusqlite::Connection::open(&f.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let service = id("web");
    let mut write = f.table.next_attempt(&service);
    // On this single thread the timer fires only if the write does not block it.
    let waited = tokio::time::timeout(Duration::from_millis(100), &mut write).await;
    assert!(waited.is_err(), "it did not wait: {waited:?}");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(write.await.unwrap().0, 1);
}
