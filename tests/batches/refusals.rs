//! What is refused, and loses nothing.

use handoverd::requests::{BatchChoices, MoveOptions};

use crate::stage::{Stage, choosing, guest, host, id, manifest, many, results};

#[test]
fn a_guest_is_not_moved_onto_itself() {
    let mut stage = Stage::of(many(2, 2));
    for target in ["g1".to_owned(), guest(1).to_string()] {
        let refused = stage.begin("g1", &target, MoveOptions::default()).unwrap_err();
        assert_eq!(refused.name(), "InvalidArgument");
        assert!(refused.to_string().contains("g1 itself"), "{refused}");
    }
    assert_eq!(stage.table(|table| table.jobs.len()), 0);
}

#[test]
fn what_is_neither_a_service_nor_a_guest_is_told_so() {
    let mut stage = Stage::of(many(2, 2));
    let refused = stage.begin("g9", "g2", MoveOptions::default()).unwrap_err();
    assert_eq!(refused.name(), "NoSuchObject");
    let refused = stage.begin("g1", "g9", MoveOptions::default()).unwrap_err();
    assert_eq!(refused.name(), "NoSuchGuest");
}

#[test]
fn a_name_that_is_two_guests_is_refused_with_their_uuids() {
    let mut world = many(3, 2);
    world.guests.get_mut(&guest(3)).unwrap().name = "g1".to_owned();
    let mut stage = Stage::of(world);
    let refused = stage.begin("g1", "g2", MoveOptions::default()).unwrap_err();
    assert_eq!(refused.name(), "AmbiguousGuest");
    for uuid in [guest(1), guest(3)] {
        assert!(refused.to_string().contains(&uuid.to_string()), "{refused}");
    }
    stage
        .begin(&guest(1).to_string(), "g2", MoveOptions::default())
        .unwrap();
    stage.end();
    assert_eq!(stage.on("g2"), 2);
}

#[test]
fn nothing_is_begun_where_a_service_has_no_home_unless_that_is_all_right() {
    let mut world = many(3, 3);
    manifest(&mut world, "s01", |m| {
        m.needs.labels = vec!["ssd".parse().unwrap()];
    });
    let mut stage = Stage::of(world);
    let refused = stage.begin("g1", "spread", MoveOptions::default()).unwrap_err();
    assert_eq!(refused.name(), "NoGuestFits");
    let text = refused.to_string();
    for part in ["1 of 3 services of g1", "s01", "lacks the label ssd", "--partial"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(
        stage.table(|table| (table.jobs.len(), table.batches.len())),
        (0, 0)
    );

    let partial = BatchChoices {
        partial: true,
        ..BatchChoices::default()
    };
    let (job, members) = stage.moved("g1", "spread", choosing(partial));
    assert_eq!(
        results(&members),
        [("s00", "done"), ("s01", "failed"), ("s02", "done")]
    );
    assert_eq!(
        (job.result.as_deref(), job.error_name.as_str()),
        (Some("failed"), "Incomplete")
    );
    assert!(
        job.error_details
            .starts_with("1 of 3 services of g1 were not moved: s01"),
        "{}",
        job.error_details
    );
    assert_eq!(stage.service("s01").guest_name, "g1");
    stage.settle();
}

#[test]
fn where_nothing_fits_anywhere_not_even_partial_begins_something() {
    let mut world = many(2, 2);
    for service in ["s00", "s01"] {
        manifest(&mut world, service, |m| {
            m.needs.labels = vec!["ssd".parse().unwrap()];
        });
    }
    let mut stage = Stage::of(world);
    let partial = BatchChoices {
        partial: true,
        ..BatchChoices::default()
    };
    let refused = stage.begin("g1", "spread", choosing(partial)).unwrap_err();
    assert_eq!(refused.name(), "NoGuestFits");
    assert_eq!(stage.table(|table| table.jobs.len()), 0);
}

#[test]
fn services_that_come_after_each_other_in_a_circle_are_named() {
    let mut world = many(2, 3);
    manifest(&mut world, "s00", |m| m.needs.after = vec![id("s01")]);
    manifest(&mut world, "s01", |m| m.needs.after = vec![id("s00")]);
    let mut stage = Stage::of(world);
    let refused = stage.begin("g1", "g2", MoveOptions::default()).unwrap_err();
    assert_eq!(refused.name(), "NoOrder");
    assert!(
        refused.to_string().contains("s00") && refused.to_string().contains("s01"),
        "{refused}"
    );
    assert_eq!(stage.table(|table| table.jobs.len()), 0);
}

#[test]
fn options_of_a_batch_are_refused_for_one_service() {
    let mut stage = Stage::of(many(2, 1));
    let choices = BatchChoices {
        per_guest: Some(2),
        ..BatchChoices::default()
    };
    for target in ["g2", "spread"] {
        let refused = stage.begin("s00", target, choosing(choices.clone())).unwrap_err();
        assert_eq!(refused.name(), "InvalidArgument", "{target}");
    }
}

#[test]
fn a_frozen_or_bound_service_has_no_home_and_says_why() {
    let mut world = many(2, 3);
    manifest(&mut world, "s00", |m| m.movable = false);
    let table = world.tables.get_mut(&host()).unwrap();
    table.services.get_mut(&id("s01")).unwrap().frozen = Some("stuck at retire".to_owned());
    let mut stage = Stage::of(world);
    let refused = stage
        .begin("g1", "g2", MoveOptions::default())
        .unwrap_err()
        .to_string();
    assert!(refused.contains("2 of 3"), "{refused}");
    assert!(
        refused.contains("movable = false") && refused.contains("stuck at retire"),
        "{refused}"
    );
}

#[test]
fn a_service_about_which_nothing_was_decided_says_so() {
    let mut stage = Stage::of(many(2, 1));
    let why = stage.ask(|requests| async move { requests.why("s00").await });
    assert_eq!(why.unwrap_err().name(), "NoDecision");
    let why = stage.ask(|requests| async move { requests.why("nobody").await });
    assert_eq!(why.unwrap_err().name(), "NoSuchService");
}
