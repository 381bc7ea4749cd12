//! A table that is lost is rebuilt from what the ports say.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use handoverd::adapters::sqlite::SqliteTable;
use handoverd::adapters::sqlite::anew::{AnewError, Contents, Vacant};
use handoverd::model::ids::ServiceId;
use handoverd::model::life::{Enablement, LifeState};
use handoverd::model::service::ServiceRecord;
use handoverd::ports::Table as _;
use handoverd::recovery::describe::describe;
use handoverd::recovery::gather::{Sources, gather};
use handoverd::recovery::rebuild::{Rebuilt, rebuild};

use super::cluster::{NOW, copy, guest, host};
use super::{Healthy, disk, row, web};

async fn rebuilt(f: &Healthy) -> Rebuilt {
    let ports = Arc::new(f.cluster.clone());
    let sources = Sources {
        hypervisor: ports.clone(),
        pools: ports.clone(),
        guest: ports.clone(),
        files: ports.clone(),
        names: ports,
        address_rule: Arc::new(|addresses: &[IpAddr]| addresses.to_vec()),
        own: host(),
    };
    rebuild(&gather(&sources, NOW).await)
}

/// Writes a rebuilt table into the place of a lost one.
fn write(f: &Healthy, rebuilt: &Rebuilt) -> Option<PathBuf> {
    let services: Vec<&ServiceRecord> = rebuilt.rows().collect();
    let attempts: Vec<(ServiceId, u64)> = vec![(web(), rebuilt.attempts_from)];
    let contents = Contents {
        bundles: &rebuilt.bundles,
        services: &services,
        attempts: &attempts,
    };
    Vacant::take(&f.place.path).unwrap().write(contents).unwrap()
}

#[tokio::test]
async fn a_deleted_table_comes_back_as_it_was() {
    let f = Healthy::new();
    let before = f.table().services().await.unwrap();
    std::fs::remove_file(&f.place.path).unwrap();
    let rebuilt = rebuilt(&f).await;
    assert_eq!(write(&f, &rebuilt), None);
    let table = f.table();
    let after = table.services().await.unwrap();
    let same: Vec<ServiceRecord> = after
        .iter()
        .map(|service| ServiceRecord {
            observed_at: 1,
            ..service.clone()
        })
        .collect();
    assert_eq!(same, before, "its secret was read back too");
    let bundle = table.bundle(&f.bundle.digest).await.unwrap().unwrap();
    assert_eq!(
        (bundle.manifest, bundle.units),
        (f.bundle.manifest.clone(), f.bundle.units.clone())
    );
    let attempt = table.next_attempt(&web()).await.unwrap();
    assert!(attempt.0 > NOW, "no guest has seen a higher one");
}

#[tokio::test]
async fn a_damaged_table_is_copied_aside_and_a_whole_one_is_not_touched() {
    let f = Healthy::new();
    let whole = std::fs::read(&f.place.path).unwrap();
    assert!(matches!(Vacant::take(&f.place.path), Err(AnewError::Whole(_))));
    assert_eq!(std::fs::read(&f.place.path).unwrap(), whole);

    let damage = vec![b'x'; whole.len()];
    std::fs::write(&f.place.path, &damage).unwrap();
    let vacant = Vacant::take(&f.place.path).unwrap();
    assert!(vacant.damage().is_some());
    drop(vacant);
    let rebuilt = rebuilt(&f).await;
    let kept = write(&f, &rebuilt).unwrap();
    assert_eq!(std::fs::read(&kept).unwrap(), damage);
    assert_eq!(f.table().services().await.unwrap().len(), 1);
    let text = describe(&f.place.path, &rebuilt, Some("it is x"), Some(Some(&kept)));
    for part in [
        "is damaged: it is x\n",
        "web: on g1 (hv1) at 10.77.0.101, bundle ",
        "generation 3, accessible, enabled, 1 config or secret file read back\n",
        "1 service recovered, 0 left out; ",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[tokio::test]
async fn a_table_that_a_daemon_has_open_cannot_be_rebuilt() {
    let f = Healthy::new();
    let _daemon = f.table();
    let error = Vacant::take(&f.place.path).unwrap_err();
    assert!(
        error.to_string().contains("in use by another handoverd"),
        "{error}"
    );
    drop(error);
}

#[tokio::test]
async fn a_daemon_cannot_open_a_table_while_it_is_rebuilt() {
    let f = Healthy::new();
    std::fs::remove_file(&f.place.path).unwrap();
    let _vacant = Vacant::take(&f.place.path).unwrap();
    assert!(
        SqliteTable::open(&f.place.path)
            .unwrap_err()
            .to_string()
            .contains("in use")
    );
    assert!(!f.place.path.exists(), "it would be empty");
}

#[tokio::test]
async fn what_two_guests_claim_is_left_out_and_all_else_is_written() {
    let f = Healthy::new();
    std::fs::remove_file(&f.place.path).unwrap();
    {
        let mut state = f.cluster.state();
        let config = state.guests.get_mut(&guest(2)).unwrap().config.as_mut().unwrap();
        config.disks.push(disk(&f.bundle, 2));
        state.grants.insert(super::grant(2));
    }
    let rebuilt = rebuilt(&f).await;
    assert!(rebuilt.services[0].left_out[0].contains("g1 and g2 have a disk of it"));
    write(&f, &rebuilt);
    let table = f.table();
    assert!(table.services().await.unwrap().is_empty());
    assert_eq!(table.bundles().await.unwrap().len(), 1);
    let text = describe(&f.place.path, &rebuilt, None, None);
    assert!(
        text.contains("web: LEFT OUT\n  left out: g1 and g2 have a disk"),
        "{text}"
    );
    assert!(
        text.ends_with("0 services recovered, 1 left out; nothing was written: this was a dry run\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_stopped_service_comes_back_stopped() {
    let f = Healthy::new();
    std::fs::remove_file(&f.place.path).unwrap();
    let stopped = handoverd::model::guest::CopyState {
        links: 0,
        enablement: Enablement::Disabled,
        ..copy(&f.placement, "inactive")
    };
    f.cluster.state().copies.insert((web(), guest(1)), stopped);
    let rebuilt = rebuilt(&f).await;
    let found = rebuilt.rows().next().unwrap();
    assert_eq!(
        (found.wanted, found.enablement),
        (LifeState::Stopped, Enablement::Enabled)
    );
    assert_eq!(found.files, row(&f.bundle).files);
    assert_eq!(
        f.cluster.deeds(),
        Vec::<String>::new(),
        "nothing was changed anywhere"
    );
}

#[tokio::test]
async fn a_definition_that_names_a_grant_that_is_gone_is_no_second_home() {
    let f = Healthy::new();
    std::fs::remove_file(&f.place.path).unwrap();
    {
        let mut state = f.cluster.state();
        let config = state.guests.get_mut(&guest(2)).unwrap().config.as_mut().unwrap();
        config.disks.push(disk(&f.bundle, 2));
    }
    let rebuilt = rebuilt(&f).await;
    assert_eq!(
        rebuilt.rows().next().unwrap().guest,
        guest(1),
        "{:?}",
        rebuilt.services
    );
    assert!(
        rebuilt
            .notes
            .iter()
            .any(|note| note.contains("g2 names a grant that is gone")),
        "{:?}",
        rebuilt.notes
    );
}
