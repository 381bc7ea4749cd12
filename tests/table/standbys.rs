//! Rows of standbys: written before anything is done, and only while no handover has the service.

use handoverd::handover::goals::Kind;
use handoverd::model::ids::Attempt;
use handoverd::model::life::Enablement;
use handoverd::model::standby::{Installed, Standby, StandbyState};
use handoverd::ports::{StandbyTable as _, Table as _, TableError};

use crate::records::{
    Fixture, digest, done, duty, ended, entry, guest, handover, id, secret, service, undone,
};

/// Guest 2 as a standby of `web`, with what the move of [`handover`] would install there.
fn standby(state: StandbyState) -> Standby {
    let target = handover("web", Kind::Move, 2).target;
    Standby {
        service: id("web"),
        guest: guest(2),
        guest_name: "vm2".to_owned(),
        installed: Installed {
            digest: target.digest,
            link: Enablement::Enabled,
            files: target.files,
        },
        state,
        attempt: Attempt(0),
    }
}

async fn rows(f: &Fixture) -> Vec<Standby> {
    f.table.standbys().await.unwrap()
}

async fn ready(f: &Fixture) -> Attempt {
    let attempt = f
        .table
        .touch_standby(&standby(StandbyState::Changing))
        .await
        .unwrap();
    f.table
        .standby_is_ready(&id("web"), guest(2), attempt)
        .await
        .unwrap();
    attempt
}

#[tokio::test]
async fn a_standby_is_there_before_it_is_ready_and_survives_the_daemon() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let attempt = f
        .table
        .touch_standby(&standby(StandbyState::Changing))
        .await
        .unwrap();
    let f = f.reopen();
    let expected = Standby {
        attempt,
        ..standby(StandbyState::Changing)
    };
    assert_eq!(rows(&f).await.remove(0), expected);
    f.table
        .standby_is_ready(&id("web"), guest(2), attempt)
        .await
        .unwrap();
    assert_eq!(
        rows(&f).await,
        [Standby {
            state: StandbyState::Ready,
            ..expected
        }]
    );
    assert!(f.table.next_attempt(&id("web")).await.unwrap() > attempt);
}

#[tokio::test]
async fn what_is_said_of_an_older_attempt_changes_nothing() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let old = f
        .table
        .touch_standby(&standby(StandbyState::Changing))
        .await
        .unwrap();
    let new = f
        .table
        .touch_standby(&standby(StandbyState::Dropping))
        .await
        .unwrap();
    f.table.standby_is_ready(&id("web"), guest(2), old).await.unwrap();
    f.table.forget_standby(&id("web"), guest(2), old).await.unwrap();
    f.table.standby_is_ready(&id("web"), guest(2), new).await.unwrap();
    assert_eq!(rows(&f).await[0].state, StandbyState::Dropping);
    f.table.forget_standby(&id("web"), guest(2), new).await.unwrap();
    assert_eq!(rows(&f).await, []);
}

#[tokio::test]
async fn a_handover_takes_the_standby_over_and_its_commit_deletes_it() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let attempt = ready(&f).await;
    let begun = f.begin_move("web", 2).await;
    assert!(begun.facts.standby, "only the disk is missing there");
    let row = rows(&f).await.remove(0);
    assert_eq!((row.state, row.attempt), (StandbyState::Changing, Attempt(0)));
    // Whoever was at it when the handover began has come too late.
    let busy = f.table.touch_standby(&standby(StandbyState::Dropping)).await;
    assert!(matches!(busy, Err(TableError::Busy { .. })), "{busy:?}");
    f.table
        .standby_is_ready(&id("web"), guest(2), attempt)
        .await
        .unwrap();
    assert_eq!(rows(&f).await[0].state, StandbyState::Changing);

    f.commit(&done(&begun), &service("web", 2, 2), Some(&duty("web", 1, 2)))
        .await;
    assert_eq!(rows(&f).await, []);
    // Its home is no standby, and neither is a guest with an old copy.
    for home in [2, 1] {
        let row = Standby {
            guest: guest(home),
            ..standby(StandbyState::Changing)
        };
        let refused = f.table.touch_standby(&row).await;
        assert!(matches!(refused, Err(TableError::Conflict(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_handover_that_was_undone_leaves_a_standby_that_is_to_be_made_anew() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    ready(&f).await;
    let begun = f.begin_move("web", 2).await;
    f.table
        .finish(&undone(&begun), &ended(&begun, "failed"), &entry("end"))
        .await
        .unwrap();
    assert_eq!(rows(&f).await[0].state, StandbyState::Changing);
    let again = f.begin_move("web", 2).await;
    assert!(!again.facts.standby, "what is there is not known");
}

#[tokio::test]
async fn a_standby_with_something_else_is_not_taken_for_ready() {
    let f = Fixture::new().await;
    f.deploy("web").await;
    let mut other = standby(StandbyState::Changing);
    other.installed.files.clear();
    let attempt = f.table.touch_standby(&other).await.unwrap();
    f.table
        .standby_is_ready(&id("web"), guest(2), attempt)
        .await
        .unwrap();
    assert!(!f.begin_move("web", 2).await.facts.standby);
}

#[tokio::test]
async fn the_secrets_of_a_standby_are_kept_as_long_as_its_row() {
    let f = Fixture::new().await;
    let mut own = standby(StandbyState::Changing);
    own.service = id("api");
    own.installed.digest = digest(3);
    own.installed.files = vec![secret()];
    let attempt = f.table.touch_standby(&own).await.unwrap();
    assert_eq!(f.column("SELECT digest FROM file_set").len(), 1);
    assert_eq!(rows(&f).await[0].installed.files, [secret()]);
    f.table
        .forget_standby(&id("api"), guest(2), attempt)
        .await
        .unwrap();
    assert_eq!(f.column("SELECT digest FROM file_set"), Vec::<String>::new());
}
