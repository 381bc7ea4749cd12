//! Tables that older versions wrote.

use handoverd::adapters::sqlite::SqliteTable;
use handoverd::handover::goals::{Goal, Kind};
use handoverd::handover::machine::State;
use handoverd::handover::record::Handover;
use handoverd::model::ids::{HandoverId, JobId};
use handoverd::model::life::LifeState;
use handoverd::model::service::{BundleRecord, ServiceRecord};
use handoverd::ports::{StandbyTable as _, Table};
use uuid::Uuid;

use crate::batches::{asked, batch};
use crate::records::{Fixture, at, bundle, duty, entry, handover, id, service};

/// The records in `version_1.sql`, a dump of a table that version 1 wrote: nothing of it knew data volumes, dead sources
/// or silent guests, and its handovers had a field `disk`.
fn version_1_move() -> Handover {
    let mut begun = handover("web", Kind::Move, 2);
    begun.id = HandoverId(Uuid::from_u128(77));
    let facts = &mut begun.facts;
    (facts.source_dead, facts.volume_made, facts.delete_data) = (false, false, false);
    facts.standby = false;
    (facts.volume, facts.silent, facts.revoked) = (None, None, None);
    (facts.gap_began, facts.gap) = (None, None);
    (facts.spread_at, facts.unasked) = (None, Vec::new());
    (facts.lowering, facts.lead, facts.held_by) = (None, None, None);
    facts.srv.clear();
    // One address was all that older versions knew.
    facts.claimed_from.clear();
    facts.target_addresses = vec!["2001:db8::7".parse().unwrap()];
    begun
}

fn version_1_service() -> ServiceRecord {
    ServiceRecord {
        volume: None,
        addresses: vec!["192.0.2.7".parse().unwrap()],
        ..service("web", 2, 2)
    }
}

fn version_1_bundle() -> BundleRecord {
    let mut bundle = bundle("web", 1);
    bundle.manifest.data = None;
    // Its manifest says nothing of placement: it asks nothing.
    bundle.manifest.needs = handoverd::model::needs::Needs::default();
    bundle
}

#[tokio::test]
async fn a_table_of_version_1_is_migrated_and_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch(include_str!("version_1.sql"))
        .unwrap();
    let table = SqliteTable::open(&path).unwrap();
    assert_eq!(table.services().await.unwrap(), [version_1_service()]);
    assert_eq!(table.duties().await.unwrap(), [duty("web", 1, 2)]);
    assert_eq!(table.bundles().await.unwrap()[1], version_1_bundle());
    let mut expected = at(&version_1_move(), Goal::Drain);
    expected.job = JobId(2);
    assert_eq!(table.unfinished().await.unwrap(), [expected]);
    let first = table.handover(JobId(1)).await.unwrap().unwrap();
    assert_eq!(first.state, State::Done { owed: true });
    assert_eq!(table.journal(JobId(2)).await.unwrap(), [entry("commit")]);
    assert_eq!(table.jobs(None, 9).await.unwrap().len(), 2);
    assert_eq!(table.next_attempt(&id("web")).await.unwrap().0, 2);
    assert_eq!(table.maintenance().await.unwrap(), []);
    assert_eq!(table.standbys().await.unwrap(), []);
}

#[tokio::test]
async fn what_an_older_version_saw_as_failed_is_not_known_to_have_failed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(include_str!("version_1.sql")).unwrap();
    old.execute("UPDATE service SET observed = 'failed', wanted = 'running'", [])
        .unwrap();
    drop(old);
    let table = SqliteTable::open(&path).unwrap();
    let known: Vec<_> = table.services().await.unwrap();
    assert_eq!(known[0].observed, LifeState::Running);
    assert_eq!(known[0].last_known(), LifeState::Running);
}

#[tokio::test]
async fn a_table_of_version_2_is_migrated_and_batches_begin_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.db");
    let before = rusqlite::Connection::open(&path).unwrap();
    before.execute_batch(include_str!("version_1.sql")).unwrap();
    before
        .execute_batch(include_str!("../../src/adapters/sqlite/version_2.sql"))
        .unwrap();
    before
        .execute_batch(
            "UPDATE service SET volume = '{\"host\":\"hv1\",\"path\":\"/pool/web.data.raw\",\"size\":1073741824,
                 \"filesystem\":\"xfs\"}';
             INSERT INTO audit (at, who, what, decision) VALUES (1, 'uid 0', 'move web', 'job 2');
             PRAGMA user_version = 2;",
        )
        .unwrap();
    drop(before);
    let table = SqliteTable::open(&path).unwrap();
    let expected = ServiceRecord {
        addresses: vec!["192.0.2.7".parse().unwrap()],
        ..service("web", 2, 2)
    };
    assert_eq!(table.services().await.unwrap(), [expected]);
    assert_eq!(table.jobs(None, 9).await.unwrap().len(), 2);
    assert_eq!(table.last_decision(&id("web")).await.unwrap(), None);
    let batch = batch(1, &["web", "api"]);
    let number = table.begin_batch(&asked(), &batch).await.unwrap();
    assert_eq!(number, JobId(3), "numbers go on where they were");
    drop(table);
    let table = SqliteTable::open(&path).unwrap();
    assert_eq!(
        table.unfinished_batches().await.unwrap()[0].members,
        batch.members
    );
}

/// A move as version 1 journalled it: without what version 2 observes, and with where the disk sat on the target.
const VERSION_1_RECORD: &str = r#"{"id":"00000000-0000-0000-0000-00000000004d","job":2,"kind":"move","service":"web",
"source":{"guest":"00000000-0000-0000-0000-000000000001","guest_name":"vm1","host":"hv1",
"digest":"0101010101010101010101010101010101010101010101010101010101010101","files":[]},
"target":{"guest":"00000000-0000-0000-0000-000000000002","guest_name":"vm2","host":"hv1",
"digest":"0101010101010101010101010101010101010101010101010101010101010101","files":[]},
"generation":2,"state":{"at":{"direction":"forward","goal":"stage","phase":"acting","tries":2}},"committed":false,
"reason":null,"facts":{"name":"web.svc.lab.","ttl":30,"overlap":true,"life":"accessible","observed_at":1500,
"observed":"accessible","enablement":"enabled","uid":998,"target_address":"2001:db8::7",
"old_addresses":["192.0.2.6"],"old_ttl":60,"old_owner":null,"claim_sent":true,"take_over":false,"sent":true,
"published_at":null,"drain":null,"disk":{"serial":"ho29fafd8cae40921ae1","source":"/pool/a.squashfs",
"target":"sdc","address":{"controller":1,"unit":2}},"displaced":null,"retire_owed":false}}"#;

#[tokio::test]
async fn a_handover_that_version_1_journalled_is_understood() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let begun = f.begin_move("web", 2).await;
    rusqlite::Connection::open(&f.path)
        .unwrap()
        .execute(
            "UPDATE handover SET record = ?1, id = json_extract(?1, '$.id') WHERE job = 2",
            [VERSION_1_RECORD],
        )
        .unwrap();
    let f = f.reopen();
    let mut expected = at(&version_1_move(), Goal::Stage);
    expected.job = begun.job;
    expected.reason = None;
    let facts = &mut expected.facts;
    (facts.take_over, facts.sent, facts.retire_owed) = (false, true, false);
    (facts.published_at, facts.drain, facts.old_owner) = (None, None, None);
    assert_eq!(f.table.unfinished().await.unwrap(), [expected.clone()]);
    // It is carried on, in the form of today.
    let staged = at(&expected, Goal::Start);
    f.table.save(&staged, &entry("staged")).await.unwrap();
    assert_eq!(f.table.handover(begun.job).await.unwrap(), Some(staged));
}
