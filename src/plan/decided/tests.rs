use super::super::samples::{MIB, NOW, guest, guest_id, id, memory, needing, service};
use super::*;
use crate::model::ids::Generation;
use crate::model::needs::Needs;
use crate::model::obstacle::Obstacle;

fn plan(cluster: &Cluster, terms: Terms) -> Result<Plan, PlanError> {
    let services: Vec<ServiceId> = cluster.residents(guest_id(1)).map(|s| s.id.clone()).collect();
    let gone = BTreeSet::new();
    let question = Question {
        services: &services,
        strategy: Strategy::LeastLoaded,
        gone: &gone,
    };
    Plan::of(cluster, question, terms, NOW)
}

fn after(names: &[&str]) -> Needs {
    Needs {
        after: names.iter().map(|name| id(name)).collect(),
        ..Needs::default()
    }
}

fn guests() -> Vec<GuestView> {
    vec![guest(1, 50), guest(2, 10), guest(3, 20)]
}

#[test]
fn a_plan_tells_order_targets_reasons_and_time() {
    let mut db = service("db", 1);
    db.expected = Some(Duration::from_secs(4));
    let cluster = Cluster::of(
        guests(),
        vec![
            needing("web", 1, after(&["db"])),
            db,
            needing("big", 1, memory(9000)),
        ],
    );
    let plan = plan(&cluster, Terms::default()).unwrap();
    let order: Vec<_> = plan.entries.iter().map(|entry| entry.service.as_str()).collect();
    assert_eq!(order, ["db", "web", "big"]);
    assert_eq!(plan.expected, Duration::from_secs(14));
    assert_eq!(
        plan.entries[0].told(),
        "it is the least loaded that fits; load 10 %, then 13 %"
    );
    assert_eq!(plan.entries[2].told(), "no guest fits");
    let homeless: Vec<_> = plan.homeless().map(|entry| entry.service.as_str()).collect();
    assert_eq!(homeless, ["big"]);
    let rejected = plan.rejected(&cluster, &id("big"));
    assert_eq!(rejected.len(), 3);
    assert!(plan.notes.is_empty());
    // What has no home is not begun.
    assert_eq!(plan.batch(Limits::default()).unwrap().progress().count(), 2);
}

#[test]
fn a_guest_without_services_has_a_plan_of_nothing() {
    let plan = plan(&Cluster::of(guests(), Vec::new()), Terms::default()).unwrap();
    assert!(plan.entries.is_empty() && plan.expected == Duration::ZERO);
}

#[test]
fn a_life_state_that_nobody_has_seen_lately_is_said_to_be_old() {
    let mut old = service("old", 1);
    old.observed_at = NOW - 300_000;
    let mut young = service("young", 1);
    young.observed_at = NOW - 120_000;
    let cluster = Cluster::of(guests(), vec![old, young]);
    let plan = plan(&cluster, Terms::default()).unwrap();
    let of = |name| {
        plan.entries
            .iter()
            .find(|entry| entry.service == id(name))
            .unwrap()
    };
    assert_eq!(of("young").stale, None);
    assert_eq!(of("old").stale, Some(Duration::from_secs(300)));
    assert!(
        of("old")
            .told()
            .ends_with("; it was last seen accessible 5 min ago and may be something else by now")
    );
}

#[test]
fn a_circle_is_refused_or_opened_and_told() {
    let services = || {
        vec![
            needing("a", 1, after(&["b"])),
            needing("b", 1, after(&["c"])),
            needing("c", 1, after(&["a", "b"])),
        ]
    };
    let cluster = Cluster::of(guests(), services());
    let error = plan(&cluster, Terms::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("no order is possible: a is after b"),
        "{error}"
    );
    let terms = Terms {
        circles: Circles::Open,
        ..Terms::default()
    };
    let plan = plan(&cluster, terms).unwrap();
    assert_eq!(plan.batch(Limits::default()).unwrap().progress().count(), 3);
    assert_eq!(plan.notes.len(), 2);
    assert!(
        plan.notes[0].ends_with("the first of these was passed over"),
        "{:?}",
        plan.notes
    );
}

#[test]
fn a_plan_whose_world_has_changed_names_what_has() {
    let services = || vec![needing("web", 1, memory(1000)), needing("db", 1, memory(1000))];
    let before = Cluster::of(guests(), services());
    let made = plan(&before, Terms::default()).unwrap();
    assert!(made.changes(&before).is_empty());
    let changes = |guests: Vec<GuestView>, services: Vec<ServiceView>| -> Vec<String> {
        let now = Cluster::of(guests, services);
        made.changes(&now).iter().map(ToString::to_string).collect()
    };

    // Loads come and go, and so do guests that were not chosen.
    let mut calm = guests();
    calm.push(guest(9, 0));
    calm[1].load = None;
    assert!(changes(calm, services()).is_empty());

    let mut moved = services();
    (moved[0].home, moved[0].generation) = (Some(guest_id(3)), Generation(2));
    assert_eq!(
        changes(guests(), moved),
        ["service web was on g1, generation 1, accessible, and is now on g3, generation 2, accessible"]
    );
    let mut begun = services();
    begun[1].going = Some(guest_id(2));
    assert_eq!(
        changes(guests(), begun)[0],
        "service db was on g1, generation 1, accessible, and is now on g1, generation 1, accessible, on its way to g2"
    );
    assert_eq!(
        changes(guests(), services()[..1].to_vec()),
        ["service db was on g1, generation 1, accessible, and is now gone"]
    );
    let mut drained = guests();
    drained[1].maintenance = Some("for another hour".into());
    drained[2].obstacles = vec![Obstacle::EtcReadOnly];
    assert_eq!(
        changes(drained, services()),
        [
            "guest g2 was on host hv1, fit for services, and is now on host hv1, in maintenance, fit for services",
            "guest g3 was on host hv1, fit for services, and is now on host hv1, etc-read-only"
        ]
    );
    let mut more = services();
    more.push(needing("new", 2, memory(3500)));
    assert_eq!(
        changes(guests(), more),
        [
            "guest g2 was large enough, and is now too full: 1000 MiB of memory are needed, and 596 MiB are free"
        ]
    );
}

#[test]
fn the_fingerprint_is_that_of_what_the_plan_relies_on() {
    let services = || vec![service("web", 1)];
    let of = |guests, services| {
        plan(&Cluster::of(guests, services), Terms::default())
            .unwrap()
            .fingerprint
    };
    let first = of(guests(), services());
    assert_eq!(first, of(guests(), services()));
    assert_eq!(first.to_string().len(), 16);
    let mut stopped = services();
    stopped[0].wanted = LifeState::Stopped;
    assert_ne!(first, of(guests(), stopped));
    let mut labelled = guests();
    labelled[1].labels.insert("ssd".parse().unwrap());
    assert_ne!(first, of(labelled, services()));
    let mut larger = guests();
    larger[1].capacity.memory += MIB;
    assert_eq!(first, of(larger, services()));
}
