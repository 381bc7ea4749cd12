//! Whether services would have a home if their guest died: known before it does.

use handoverd::adapters::sim::happening::Happening;
use handoverd::plan::what_if::Survival;

use crate::stage::{Stage, guest, manifest, many};

fn losses(stage: &mut Stage) -> Vec<String> {
    stage
        .ask(|requests| async move { requests.look_for_homes().await })
        .unwrap();
    let standing = stage.0.requests().homes.standing().unwrap();
    standing.losses.iter().map(Survival::to_string).collect()
}

#[test]
fn a_service_without_a_spare_home_is_known_while_its_guest_lives() {
    let mut world = many(3, 3);
    manifest(&mut world, "s01", |m| {
        m.needs.labels = vec!["gpu".parse().unwrap()];
    });
    let mut stage = Stage::watching(world);
    assert_eq!(
        losses(&mut stage),
        ["if g1 dies, 1 of 3 services has no home: s01"]
    );
    let since = stage.0.requests().homes.standing().unwrap().since;
    let rows = stage
        .ask(|requests| async move { requests.guest_rows(None, false).await })
        .unwrap();
    let g1 = rows.iter().find(|row| row.summary.name == "g1").unwrap();
    assert_eq!(
        (g1.homeless.as_slice(), g1.watch),
        (&["s01".to_owned()][..], "up")
    );
    assert_eq!(rows.iter().filter(|row| row.watch.is_empty()).count(), 2);

    // As long as nothing changes it stands since then.
    stage.pass(60_000);
    losses(&mut stage);
    assert_eq!(stage.0.requests().homes.standing().unwrap().since, since);
    manifest(&mut stage.0.shared.lock().world, "s01", |m| {
        m.needs.labels.clear();
    });
    assert!(losses(&mut stage).is_empty());
    assert!(stage.0.requests().homes.standing().unwrap().since > since);
}

#[test]
fn the_daemon_looks_by_itself_when_a_guest_without_services_goes() {
    let mut stage = Stage::watching(many(2, 3));
    stage.0.keep_up();
    stage.pass(20_000);
    let known = |stage: &Stage| stage.0.requests().homes.standing().unwrap().losses.len();
    assert_eq!(known(&stage), 0);
    stage.happen([Happening::Die(guest(2))]);
    stage.pass(10_000);
    assert_eq!(known(&stage), 1, "nothing could take g1's services");
    stage.happen([Happening::Boot(guest(2))]);
    stage.pass(180_000);
    assert_eq!(known(&stage), 0);
}
