//! Plans are shown, and begun as they were shown or not at all.

use handoverd::adapters::sim::happening::Happening;
use handoverd::model::ids::JobId;
use handoverd::model::life::LifeState;
use handoverd::requests::plans::Plan;
use handoverd::requests::refusal::Refusal;
use handoverd::requests::{BatchChoices, MoveOptions};

use crate::names::{long_lived, seconds};
use crate::stage::{Stage, choosing, guest, host, id, manifest, many};

impl Stage {
    fn plan(&mut self, object: &str, target: &str, options: MoveOptions) -> Result<Plan, Refusal> {
        let (object, target) = (object.to_owned(), target.to_owned());
        self.ask(move |requests| async move {
            let (plan, _) = requests.plan(&object, &target, options).await?;
            Ok(requests.plans.get(&plan).unwrap())
        })
    }

    fn apply(&mut self, plan: &Plan) -> Result<JobId, Refusal> {
        let plan = plan.id.clone();
        self.ask(move |requests| async move { requests.apply(&plan, "test").await })
    }
}

#[test]
fn a_plan_begins_nothing_and_is_begun_as_it_was_shown() {
    let mut stage = Stage::of(many(3, 5));
    let plan = stage.plan("g1", "spread", MoveOptions::default()).unwrap();
    assert_eq!(plan.decided.entries.len(), 5);
    assert_eq!(
        stage.table(|table| (table.jobs.len(), table.batches.len())),
        (0, 0)
    );
    let job = stage.apply(&plan).unwrap();
    stage.end();
    let (record, members) = stage.told(job);
    assert_eq!(record.result.as_deref(), Some("done"), "{}", record.error_details);
    for (member, entry) in members.iter().zip(&plan.decided.entries) {
        assert_eq!(member.service, entry.service);
        assert_eq!(member.target_name, entry.target.as_ref().unwrap().name);
        assert_eq!(
            stage.service(member.service.as_str()).guest_name,
            member.target_name
        );
    }
}

#[test]
fn a_plan_tells_for_each_service_why_and_why_not_the_others() {
    let mut world = many(4, 2);
    manifest(&mut world, "s01", |m| m.needs.anti_affinity = vec![id("s00")]);
    world.happen(&Happening::Die(guest(4)));
    let mut stage = Stage::of(world);
    let plan = stage.plan("g1", "least-loaded", MoveOptions::default()).unwrap();
    let targets: Vec<_> = plan
        .decided
        .entries
        .iter()
        .map(|e| e.target.clone().unwrap().name)
        .collect();
    assert_eq!(targets, ["g2", "g3"]);
    let second = &plan.decided.entries[1];
    let rejected = |guest: &str| {
        let found = second.rejected.iter().find(|(guests, _)| guests == guest);
        found
            .unwrap_or_else(|| panic!("{guest}: {:?}", second.rejected))
            .1
            .clone()
    };
    assert!(rejected("g1").contains("there already"), "{second:?}");
    assert!(rejected("g2").contains("s00 is there"), "{second:?}");
    assert!(rejected("g4").contains("running"), "{second:?}");
    assert_eq!(
        plan.decided.load, "",
        "it is measured, so there is nothing to say"
    );
}

#[test]
fn the_expected_time_counts_one_wait_for_resolvers_and_is_what_it_takes() {
    let mut stage = Stage::of(long_lived(4, 300));
    // There, where nothing is known yet; and back, where the last times are, with the wait of then in them.
    for (from, to) in [("g1", "g2"), ("g2", "g1")] {
        let plan = stage.plan(from, to, MoveOptions::default()).unwrap();
        let expected = plan.decided.expected.unwrap().as_secs();
        for entry in &plan.decided.entries {
            let alone = entry.expected.unwrap().as_secs();
            assert!((302..330).contains(&alone), "{entry:?}");
        }
        let job = stage.apply(&plan).unwrap();
        stage.end();
        let (record, _) = stage.told(job);
        assert_eq!(record.result.as_deref(), Some("done"), "{}", record.error_details);
        let took = seconds(&record);
        assert!(
            expected.abs_diff(took) < 15,
            "{from} to {to}: expected {expected} s, took {took} s"
        );
    }
}

#[test]
fn no_wait_for_resolvers_is_expected_where_none_will_be() {
    let short = MoveOptions {
        drain: Some(0),
        ..MoveOptions::default()
    };
    let mut stage = Stage::of(long_lived(2, 300));
    let plan = stage.plan("g1", "g2", short).unwrap();
    assert_eq!(plan.decided.expected, None, "nothing is known of these services");
    stage.0.shared.lock().happen(vec![(0, Happening::Die(guest(1)))]);
    let plan = stage.plan("g1", "g2", MoveOptions::default()).unwrap();
    assert_eq!(plan.decided.expected, None, "the source is dead");
}

#[test]
fn a_plan_is_begun_once() {
    let mut stage = Stage::of(many(2, 2));
    let plan = stage.plan("g1", "g2", MoveOptions::default()).unwrap();
    let job = stage.apply(&plan).unwrap();
    for _ in 0..2 {
        let refused = stage.apply(&plan).unwrap_err();
        assert_eq!(refused.name(), "PlanOutdated");
        assert!(
            refused.to_string().contains(&format!("as job {job}")),
            "{refused}"
        );
        stage.end();
    }
}

/// What changed, how, and what the refusal says of it.
type Change = (&'static str, fn(&mut Stage), &'static str);

#[test]
fn a_plan_of_a_world_that_has_changed_is_refused_and_says_what() {
    let cases: [Change; 5] = [
        (
            "moved",
            |stage| {
                stage.begin("s00", "g3", MoveOptions::default()).unwrap();
                stage.end();
            },
            "s00",
        ),
        (
            "stopped",
            |stage| {
                stage
                    .ask(|requests| async move { requests.stop("s01", "test").await })
                    .unwrap();
                stage.end();
            },
            "s01",
        ),
        (
            "removed",
            |stage| {
                stage
                    .ask(|requests| async move { requests.remove("s01", false, "test").await })
                    .unwrap();
                stage.end();
            },
            "s01",
        ),
        (
            "a target that died",
            |stage| stage.0.shared.lock().happen(vec![(0, Happening::Die(guest(2)))]),
            "g2",
        ),
        (
            "frozen",
            |stage| {
                let mut inner = stage.0.shared.lock();
                let table = inner.world.tables.get_mut(&host()).unwrap();
                table.services.get_mut(&id("s00")).unwrap().frozen = Some("stuck".to_owned());
            },
            "s00",
        ),
    ];
    for (name, change, part) in cases {
        let mut stage = Stage::of(many(3, 2));
        let plan = stage.plan("g1", "g2", MoveOptions::default()).unwrap();
        change(&mut stage);
        let refused = stage.apply(&plan).unwrap_err();
        assert_eq!(refused.name(), "PlanOutdated", "{name}");
        assert!(refused.to_string().contains(part), "{name}: {refused}");
        assert_eq!(stage.table(|table| table.batches.len()), 0, "{name}");
    }
}

#[test]
fn a_service_that_came_to_the_guest_meanwhile_is_told() {
    let mut stage = Stage::of(many(3, 2));
    stage.begin("s00", "g3", MoveOptions::default()).unwrap();
    stage.end();
    let plan = stage.plan("g1", "g2", MoveOptions::default()).unwrap();
    stage.begin("s00", "g1", MoveOptions::default()).unwrap();
    stage.end();
    let refused = stage.apply(&plan).unwrap_err();
    assert!(refused.to_string().contains("s00"), "{refused}");
}

#[test]
fn a_plan_with_homeless_services_is_begun_only_if_that_was_asked_for() {
    let mut world = many(2, 2);
    manifest(&mut world, "s01", |m| {
        m.needs.labels = vec!["ssd".parse().unwrap()];
    });
    let mut stage = Stage::of(world);
    let plan = stage.plan("g1", "g2", MoveOptions::default()).unwrap();
    assert_eq!(plan.decided.homeless().count(), 1);
    assert_eq!(stage.apply(&plan).unwrap_err().name(), "NoGuestFits");
    let partial = BatchChoices {
        partial: true,
        ..BatchChoices::default()
    };
    let plan = stage.plan("g1", "g2", choosing(partial)).unwrap();
    stage.apply(&plan).unwrap();
    stage.end();
    assert_eq!([stage.on("g1"), stage.on("g2")], [1, 1]);
}

#[test]
fn a_plan_of_one_service_is_a_move_of_it() {
    let mut stage = Stage::of(many(3, 2));
    let plan = stage.plan("s00", "spread", MoveOptions::default()).unwrap();
    assert_eq!((plan.object.as_str(), plan.decided.entries.len()), ("s00", 1));
    stage.apply(&plan).unwrap();
    stage.end();
    assert_eq!(
        stage.service("s00").guest_name,
        plan.decided.entries[0].target.as_ref().unwrap().name
    );
    assert_eq!(stage.table(|table| table.batches.len()), 0);
}

#[test]
fn a_plan_that_nobody_made_or_that_is_long_gone_is_not_there() {
    let mut stage = Stage::of(many(2, 1));
    let plan = stage.plan("g1", "g2", MoveOptions::default()).unwrap();
    let gone = stage.ask(|requests| async move {
        let mut gone = Vec::new();
        for _ in 0..32 {
            gone.extend(requests.plan("g1", "g2", MoveOptions::default()).await.unwrap().1);
        }
        gone
    });
    assert_eq!(
        gone,
        [plan.id.as_str()],
        "the oldest goes when there are too many"
    );
    assert_eq!(stage.apply(&plan).unwrap_err().name(), "NoSuchPlan");
}

#[test]
fn what_a_death_would_leave_homeless_is_told_before_it_happens() {
    let mut world = many(3, 3);
    manifest(&mut world, "s02", |m| {
        m.needs.hosts = vec!["elsewhere".parse().unwrap()];
    });
    let mut stage = Stage::of(world);
    let losses = stage.ask(|requests| async move { requests.what_if_dies(None).await.unwrap() });
    let homeless: Vec<(&str, usize, usize)> = losses
        .iter()
        .map(|(guest, entries)| {
            let homeless = entries.iter().filter(|entry| entry.target.is_none());
            (guest.as_str(), entries.len(), homeless.count())
        })
        .collect();
    assert_eq!(homeless, [("g1", 3, 1), ("g2", 0, 0), ("g3", 0, 0)]);
    let one = stage.ask(|requests| async move { requests.what_if_dies(Some("g1")).await.unwrap() });
    let (_, entries) = &one[0];
    let s02 = entries.iter().find(|entry| entry.service == id("s02")).unwrap();
    assert!(
        s02.rejected.iter().any(|(_, why)| why.contains("elsewhere only")),
        "{s02:?}"
    );
    assert_eq!(stage.table(|table| table.jobs.len()), 0, "it is only a question");
    let unknown = stage.ask(|requests| async move { requests.what_if_dies(Some("g9")).await });
    assert_eq!(unknown.unwrap_err().name(), "NoSuchGuest");
}

#[test]
fn a_state_that_was_seen_long_ago_is_told_with_its_age() {
    let mut stage = Stage::of(many(2, 1));
    stage.0.run(600_000, |_| false);
    let plan = stage.plan("g1", "g2", MoveOptions::default()).unwrap();
    let entry = &plan.decided.entries[0];
    assert_eq!(entry.wanted, LifeState::Accessible);
    assert!(entry.stale.is_some_and(|age| age.as_secs() >= 600), "{entry:?}");
}
