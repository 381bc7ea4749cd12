//! Labels that a service asks for are honoured however its target is chosen.

use handoverd::adapters::sim::world::SimWorld;
use handoverd::model::manifest::Manifest;
use handoverd::requests::MoveOptions;
use handoverd::requests::refusal::Refusal;

use crate::stage::{Stage, guest, id, manifest, many};

/// Three guests, of which only `g3` has the label `ssd`; `s00` asks for it, `s01` for nothing.
fn labelled() -> SimWorld {
    let mut world = many(3, 2);
    world.guests.get_mut(&guest(3)).unwrap().labels = vec!["ssd".parse().unwrap(), "zone=a".parse().unwrap()];
    manifest(&mut world, "s00", |m: &mut Manifest| {
        m.needs.labels = vec!["ssd".parse().unwrap()];
    });
    world
}

#[test]
fn a_service_goes_only_where_its_labels_are() {
    for strategy in ["least-loaded", "spread", "random:1", "random:2", "random:3"] {
        let mut stage = Stage::of(labelled());
        let (record, _) = stage.moved("g1", strategy, MoveOptions::default());
        assert_eq!(record.result.as_deref(), Some("done"), "{}", record.error_details);
        assert_eq!(stage.service("s00").guest_name, "g3", "{strategy}");
        stage.settle();
    }
}

#[test]
fn a_guest_that_lacks_a_label_is_refused_by_name_as_well() {
    let mut stage = Stage::of(labelled());
    let refused = stage.begin("s00", "g2", MoveOptions::default()).unwrap_err();
    let Refusal::Unsuitable(guest, why) = &refused else {
        panic!("{refused}");
    };
    assert_eq!((guest.as_str(), why.as_str()), ("g2", "it lacks the label ssd"));
    let refused = stage.begin("g1", "g2", MoveOptions::default()).unwrap_err();
    assert!(
        refused.to_string().contains("it lacks the label ssd"),
        "{refused}"
    );
    assert_eq!(
        stage.table(|table| (table.jobs.len(), table.batches.len())),
        (0, 0)
    );
    stage.begin("s00", "g3", MoveOptions::default()).unwrap();
    stage.end();
    assert_eq!(stage.service("s00").guest_name, "g3");
}

#[test]
fn a_host_that_the_manifest_does_not_allow_is_refused_by_name_as_well() {
    let mut world = many(2, 1);
    manifest(&mut world, "s00", |m| {
        m.needs.hosts = vec!["hv2".parse().unwrap()];
    });
    let mut stage = Stage::of(world);
    let refused = stage.begin("s00", "g2", MoveOptions::default()).unwrap_err();
    assert!(
        refused.to_string().contains("the service may be on hv2 only"),
        "{refused}"
    );
}

#[test]
fn where_no_guest_has_the_label_a_plan_says_so_of_each() {
    let mut world = labelled();
    world.guests.get_mut(&guest(3)).unwrap().labels.clear();
    let mut stage = Stage::of(world);
    let entry = stage.ask(|requests| async move {
        let (plan, _) = requests
            .plan("s00", "least-loaded", MoveOptions::default())
            .await
            .unwrap();
        requests.plans.get(&plan).unwrap().decided.entries[0].clone()
    });
    assert_eq!(entry.service, id("s00"));
    assert!(entry.target.is_none());
    let (guests, why) = &entry.rejected[0];
    assert_eq!(
        (guests.as_str(), why.as_str()),
        ("g2, g3", "it lacks the label ssd")
    );
}
