//! What is in maintenance outlives the daemon.

use handoverd::model::ids::GuestId;
use handoverd::ports::Table as _;
use handoverd::watch::maintenance::{Entry, Object};
use uuid::Uuid;

use crate::records::Fixture;

fn entry(object: Object, until: u64) -> Entry {
    Entry {
        object,
        until,
        by: "uid 0".into(),
        reason: "new \"kernel\"".into(),
    }
}

#[tokio::test]
async fn what_is_in_maintenance_is_there_again_and_each_has_one_end() {
    let f = Fixture::new().await;
    let guest = Object::Guest(GuestId(Uuid::from_u128(1)));
    let host = Object::Host("hv1".parse().unwrap());
    assert_eq!(f.table.maintenance().await.unwrap(), []);
    for entry in [
        entry(guest.clone(), 1000),
        entry(host.clone(), 2000),
        entry(guest.clone(), 3000),
    ] {
        f.table
            .keep_maintenance(&entry.object, Some(&entry))
            .await
            .unwrap();
    }
    let f = f.reopen();
    let mut kept = f.table.maintenance().await.unwrap();
    kept.sort_by_key(|entry| entry.until);
    assert_eq!(kept, [entry(host.clone(), 2000), entry(guest.clone(), 3000)]);
    for _ in 0..2 {
        f.table.keep_maintenance(&host, None).await.unwrap();
    }
    assert_eq!(f.table.maintenance().await.unwrap(), [entry(guest, 3000)]);
}
