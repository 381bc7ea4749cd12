use super::super::samples::{guest, guest_id, id, leave, memory, needing, service, target};
use super::*;
use crate::model::needs::Needs;
use crate::model::obstacle::Obstacle;
use crate::plan::cluster::ServiceView;

const RANDOM: Strategy = Strategy::Random { seed: 7 };

fn ids(names: &[&str]) -> Vec<ServiceId> {
    names.iter().map(|name| id(name)).collect()
}

fn answer(cluster: &Cluster, services: &[ServiceId], strategy: Strategy) -> Placements {
    let gone = BTreeSet::new();
    let question = Question {
        services,
        strategy,
        gone: &gone,
    };
    place(cluster, question).unwrap()
}

/// Why `service` was not given `guest`.
fn why_not(cluster: &Cluster, placements: &Placements, service: &str, guest: &str) -> Vec<String> {
    let rejected = placements.explain(cluster, &id(service));
    let found = rejected.into_iter().find(|r| r.name == guest).unwrap();
    found.why.iter().map(ToString::to_string).collect()
}

#[test]
fn the_least_loaded_guest_that_fits_is_taken() {
    let cluster = Cluster::of(
        vec![guest(1, 10), guest(2, 50), guest(3, 30)],
        vec![service("web", 1)],
    );
    let placements = leave(&cluster, 1, Strategy::LeastLoaded);
    let choice = placements.chosen[&id("web")].as_ref().unwrap();
    assert_eq!(cluster.name_of(choice.guest), "g3");
    assert_eq!(
        choice.to_string(),
        "it is the least loaded that fits; load 30 %, then 33 %"
    );
    assert_eq!(
        why_not(&cluster, &placements, "web", "g1"),
        ["it is the guest that is lost"]
    );
    assert_eq!(
        why_not(&cluster, &placements, "web", "g2"),
        ["it would do; its load would be 53 %"]
    );
}

#[test]
fn what_came_lately_counts_on_top_of_a_load_that_does_not_show_it_yet() {
    let lately = ServiceView {
        settling: true,
        ..needing(
            "db",
            2,
            Needs {
                cpu: Some(1000),
                ..Needs::default()
            },
        )
    };
    let of = |db: ServiceView| {
        let cluster = Cluster::of(
            vec![guest(1, 10), guest(2, 20), guest(3, 40)],
            vec![service("web", 1), db],
        );
        let placements = leave(&cluster, 1, Strategy::LeastLoaded);
        target(&cluster, &placements, "web").unwrap()
    };
    assert_eq!(of(lately.clone()), "g3");
    let shown = ServiceView {
        settling: false,
        ..lately
    };
    assert_eq!(of(shown), "g2");
}

#[test]
fn what_was_placed_before_and_what_is_on_its_way_counts() {
    let mut coming = needing(
        "db",
        4,
        Needs {
            cpu: Some(2000),
            ..Needs::default()
        },
    );
    coming.going = Some(guest_id(2));
    let services = ["a", "b", "c"].map(|name| {
        needing(
            name,
            1,
            Needs {
                cpu: Some(800),
                ..Needs::default()
            },
        )
    });
    let cluster = Cluster::of(
        vec![guest(1, 0), guest(2, 0), guest(3, 25), guest(4, 95)],
        services.into_iter().chain([coming]).collect(),
    );
    let placements = leave(&cluster, 1, Strategy::LeastLoaded);
    // g2 has 0 % and 50 % on its way; g3 25 %, then 45 %, then 65 %.
    let targets = ["a", "b", "c"].map(|name| target(&cluster, &placements, name).unwrap());
    assert_eq!(targets, ["g3", "g3", "g2"]);
}

#[test]
fn a_guest_whose_load_is_unknown_is_judged_by_what_its_services_need() {
    let mut unknown = guest(2, 0);
    unknown.load = None;
    let cluster = Cluster::of(
        vec![guest(1, 0), unknown, guest(3, 40)],
        vec![service("web", 1), needing("big", 2, memory(3072))],
    );
    let placements = leave(&cluster, 1, Strategy::LeastLoaded);
    assert_eq!(target(&cluster, &placements, "web").unwrap(), "g3");
}

#[test]
fn services_are_spread_over_the_guests() {
    let names = ["a", "b", "c", "d"];
    let cluster = Cluster::of(
        vec![guest(1, 0), guest(2, 10), guest(3, 20)],
        names.map(|name| service(name, 1)).to_vec(),
    );
    let placements = leave(&cluster, 1, Strategy::Spread);
    let targets = names.map(|name| target(&cluster, &placements, name).unwrap());
    assert_eq!(targets, ["g2", "g3", "g2", "g3"]);
    let reason = placements.chosen[&id("c")].as_ref().unwrap().to_string();
    assert_eq!(
        reason,
        "it has got only 1 of this batch so far; load 13 %, then 15 %"
    );
}

#[test]
fn lots_fall_on_every_guest_and_on_the_same_ones_for_the_same_seed() {
    let names: Vec<String> = (0..60).map(|n| format!("s{n}")).collect();
    let cluster = Cluster::of(
        (1..=4).map(|n| guest(n, n * 10)).collect(),
        names.iter().map(|name| service(name, 1)).collect(),
    );
    let drawn = |seed| {
        let placements = leave(&cluster, 1, Strategy::Random { seed });
        names
            .iter()
            .map(|name| target(&cluster, &placements, name).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
    for guest in ["g2", "g3", "g4"] {
        let count = drawn(1).iter().filter(|name| *name == guest).count();
        assert!((12..=28).contains(&count), "{guest} got {count} of 60");
    }
    // The first service alone: no guest is preferred whatever the seed.
    let mut firsts = BTreeMap::<String, u32>::new();
    for seed in 0..300 {
        *firsts.entry(drawn(seed)[0].clone()).or_default() += 1;
    }
    assert!(
        firsts.len() == 3 && firsts.values().all(|n| (70..=130).contains(n)),
        "{firsts:?}"
    );
}

#[test]
fn a_named_guest_is_taken_or_says_why_not() {
    let mut busy = guest(3, 20);
    busy.maintenance = Some("for another 20 min: kernel".into());
    let cluster = Cluster::of(
        vec![guest(1, 0), guest(2, 90), busy],
        vec![service("web", 1), needing("big", 1, memory(5000))],
    );
    let named = |n| answer(&cluster, &ids(&["big", "web"]), Strategy::Named(guest_id(n)));
    let placements = named(2);
    assert_eq!(target(&cluster, &placements, "web").unwrap(), "g2");
    assert_eq!(
        why_not(&cluster, &placements, "web", "g3"),
        ["it is in maintenance (for another 20 min: kernel)"]
    );
    assert_eq!(placements.chosen[&id("big")], Err(NoHome::NoneFits));
    assert_eq!(
        why_not(&cluster, &placements, "big", "g2"),
        ["4.8 GiB of memory are needed, and 4 GiB are free"]
    );
    assert_eq!(named(3).chosen[&id("web")], Err(NoHome::NoneFits));
    // Where they are already.
    assert_eq!(
        why_not(&cluster, &named(1), "web", "g1"),
        ["the service is there already"]
    );
}

#[test]
fn the_dead_guest_itself_is_no_target() {
    let cluster = Cluster::of(vec![guest(1, 0), guest(2, 0)], vec![service("web", 1)]);
    let placements = leave(&cluster, 1, Strategy::Named(guest_id(1)));
    assert_eq!(placements.chosen[&id("web")], Err(NoHome::NoneFits));
    assert_eq!(
        why_not(&cluster, &placements, "web", "g1"),
        ["it is the guest that is lost"]
    );
}

#[test]
fn what_is_not_there_is_an_error_of_its_own() {
    let cluster = Cluster::of(vec![guest(1, 0)], vec![service("web", 1)]);
    let gone = BTreeSet::new();
    let ask = |services: &[ServiceId], strategy| {
        place(
            &cluster,
            Question {
                services,
                strategy,
                gone: &gone,
            },
        )
        .unwrap_err()
    };
    assert_eq!(
        ask(&ids(&["nope"]), Strategy::Spread).to_string(),
        "there is no service nope; `handoverctl services` lists them"
    );
    assert_eq!(
        ask(&ids(&["web"]), Strategy::Named(guest_id(9))),
        PlaceError::NoSuchGuest(guest_id(9))
    );
}

#[test]
fn labels_hosts_and_obstacles_keep_a_service_away_and_every_reason_is_told() {
    let mut other = guest(2, 0);
    other.host = "hv2".parse().unwrap();
    other.obstacles = vec![Obstacle::EtcReadOnly];
    let mut good = guest(3, 90);
    good.labels = BTreeSet::from(["ssd".parse().unwrap()]);
    let picky = Needs {
        labels: vec!["ssd".parse().unwrap()],
        hosts: vec!["hv1".parse().unwrap()],
        ..Needs::default()
    };
    let cluster = Cluster::of(vec![guest(1, 0), other, good], vec![needing("web", 1, picky)]);
    for strategy in [Strategy::LeastLoaded, Strategy::Spread, RANDOM] {
        let placements = leave(&cluster, 1, strategy);
        assert_eq!(target(&cluster, &placements, "web").unwrap(), "g3");
        assert_eq!(
            why_not(&cluster, &placements, "web", "g2"),
            [
                "its /etc is read-only",
                "it is on host hv2; the service may be on hv1 only",
                "it lacks the label ssd"
            ]
        );
    }
}

#[test]
fn what_a_probe_found_keeps_one_service_away_and_not_the_others() {
    let mut web = service("web", 1);
    web.obstacles.insert(guest_id(2), vec![Obstacle::PortInUse(80)]);
    let cluster = Cluster::of(
        vec![guest(1, 0), guest(2, 0), guest(3, 50)],
        vec![web, service("db", 1)],
    );
    let placements = leave(&cluster, 1, Strategy::LeastLoaded);
    assert_eq!(target(&cluster, &placements, "web").unwrap(), "g3");
    assert_eq!(target(&cluster, &placements, "db").unwrap(), "g2");
    assert_eq!(
        why_not(&cluster, &placements, "web", "g2"),
        ["port 80 is in use there"]
    );
}

#[test]
fn services_that_must_be_apart_never_meet_whoever_names_the_other() {
    let apart = |other: &str| Needs {
        anti_affinity: vec![id(other)],
        ..Needs::default()
    };
    let mut moving = service("moving", 4);
    moving.going = Some(guest_id(3));
    let services = vec![
        needing("web1", 1, apart("web2")),
        service("web2", 2),
        needing("other", 1, apart("moving")),
        moving,
    ];
    let cluster = Cluster::of((1..=5).map(|n| guest(n, n)).collect(), services);
    let placements = leave(&cluster, 1, Strategy::LeastLoaded);
    assert_eq!(target(&cluster, &placements, "web1").unwrap(), "g4");
    assert_eq!(
        why_not(&cluster, &placements, "web1", "g2"),
        ["web2 is there, and the two must not be on one guest"]
    );
    // It is on two guests while it moves.
    assert_eq!(target(&cluster, &placements, "other").unwrap(), "g2");
    let named = answer(&cluster, &ids(&["other"]), Strategy::Named(guest_id(4)));
    assert_eq!(named.chosen[&id("other")], Err(NoHome::NoneFits));
    // web2 does not name web1 itself.
    let named = answer(&cluster, &ids(&["web2"]), Strategy::Named(guest_id(1)));
    assert_eq!(named.chosen[&id("web2")], Err(NoHome::NoneFits));
    // Both in one batch.
    let both = answer(&cluster, &ids(&["web1", "web2"]), Strategy::Named(guest_id(5)));
    let placed = both.chosen.values().filter(|choice| choice.is_ok()).count();
    assert_eq!(placed, 1);
}

#[test]
fn services_that_must_be_together_move_as_one() {
    let with = |other: &str, mib| Needs {
        affinity: vec![id(other)],
        ..memory(mib)
    };
    let services = vec![
        needing("app", 1, with("cache", 2000)),
        needing("cache", 1, memory(1500)),
        needing("third", 1, with("cache", 500)),
        needing("fill", 2, memory(1000)),
    ];
    let cluster = Cluster::of(vec![guest(1, 0), guest(2, 0), guest(3, 80)], services);
    let placements = leave(&cluster, 1, Strategy::LeastLoaded);
    // Each alone would fit on g2; all three need 4000 MiB.
    for name in ["app", "cache", "third"] {
        assert_eq!(target(&cluster, &placements, name).unwrap(), "g3", "{name}");
    }
    assert_eq!(
        why_not(&cluster, &placements, "cache", "g2"),
        ["3.9 GiB of memory are needed, and 3 GiB are free"]
    );
}

#[test]
fn a_service_does_not_leave_the_one_that_it_must_be_with() {
    let needs = Needs {
        affinity: vec![id("cache")],
        ..Needs::default()
    };
    let services = vec![needing("app", 1, needs), service("cache", 1)];
    let cluster = Cluster::of(vec![guest(1, 0), guest(2, 0)], services);
    for name in ["app", "cache"] {
        let placements = answer(&cluster, &ids(&[name]), Strategy::LeastLoaded);
        assert_eq!(placements.chosen[&id(name)], Err(NoHome::NoneFits), "{name}");
    }
    let placements = answer(&cluster, &ids(&["app"]), Strategy::LeastLoaded);
    assert_eq!(
        why_not(&cluster, &placements, "app", "g2"),
        ["it must be on the guest of cache, which is g1"]
    );
}

#[test]
fn a_service_joins_the_one_that_it_must_be_with() {
    let needs = Needs {
        affinity: vec![id("cache")],
        ..Needs::default()
    };
    let mut cache = service("cache", 2);
    cache.going = Some(guest_id(3));
    let services = vec![needing("app", 1, needs), cache];
    let cluster = Cluster::of((1..=4).map(|n| guest(n, n * 20)).collect(), services);
    let placements = leave(&cluster, 1, Strategy::Spread);
    let choice = placements.chosen[&id("app")].as_ref().unwrap();
    assert_eq!(choice.guest, guest_id(3));
    assert!(
        choice
            .to_string()
            .starts_with("it must be on the guest of cache; load 63 %")
    );
}

#[test]
fn a_companion_that_is_lost_or_was_never_there_binds_nobody() {
    let needs = Needs {
        affinity: vec![id("bound"), id("never")],
        ..Needs::default()
    };
    let mut bound = service("bound", 1);
    bound.movable = false;
    let cluster = Cluster::of(
        vec![guest(1, 0), guest(2, 0)],
        vec![needing("app", 1, needs), bound],
    );
    let placements = leave(&cluster, 1, Strategy::LeastLoaded);
    assert_eq!(target(&cluster, &placements, "app").unwrap(), "g2");
    assert_eq!(placements.chosen[&id("bound")], Err(NoHome::Bound));
}

#[test]
fn services_that_must_and_must_not_be_together_have_no_home() {
    let (with, apart) = (
        Needs {
            affinity: vec![id("b")],
            ..Needs::default()
        },
        Needs {
            anti_affinity: vec![id("a")],
            ..Needs::default()
        },
    );
    let cluster = Cluster::of(
        vec![guest(1, 0), guest(2, 0)],
        vec![needing("a", 1, with), needing("b", 1, apart)],
    );
    let placements = leave(&cluster, 1, Strategy::LeastLoaded);
    let why = placements.chosen[&id("a")].as_ref().unwrap_err();
    assert_eq!(
        why.to_string(),
        "by their manifests a and b must be on one guest and must not be; change affinity or anti_affinity of one"
    );
}

#[test]
fn the_guest_that_still_serves_is_neither_too_small_nor_too_much_in_maintenance_for_its_own_copy() {
    let draining = ServiceView {
        draining: Some(guest_id(2)),
        ..needing("web", 1, memory(6))
    };
    let mut old = guest(2, 90);
    old.maintenance = Some("another 2 h, by root".into());
    let placed = |service: &ServiceView| {
        let cluster = Cluster::of(vec![guest(1, 0), old.clone()], vec![service.clone()]);
        let placements = leave(&cluster, 1, Strategy::LeastLoaded);
        placements.chosen[&id("web")]
            .as_ref()
            .map(|choice| choice.guest)
            .ok()
    };
    assert_eq!(placed(&draining), Some(guest_id(2)));
    let another = ServiceView {
        draining: None,
        ..draining
    };
    assert_eq!(placed(&another), None);
}

#[test]
fn the_guest_that_still_serves_comes_first_then_a_standby() {
    let mut web = service("web", 1);
    web.standbys = vec![guest_id(3), guest_id(4)];
    let loads = [0, 10, 80, 60, 90].map(|percent| percent);
    let guests = || {
        (1..)
            .zip(loads)
            .map(|(n, percent)| guest(n, percent))
            .collect::<Vec<_>>()
    };
    let cluster = Cluster::of(guests(), vec![web.clone()]);
    let choice = |cluster: &Cluster| {
        leave(cluster, 1, Strategy::LeastLoaded).chosen[&id("web")]
            .clone()
            .unwrap()
    };
    assert_eq!(
        (choice(&cluster).guest, choice(&cluster).reason),
        (guest_id(4), Reason::Standby)
    );
    web.draining = Some(guest_id(5));
    let cluster = Cluster::of(guests(), vec![web.clone()]);
    assert_eq!(
        (choice(&cluster).guest, choice(&cluster).reason),
        (guest_id(5), Reason::Draining)
    );
    // Neither where something is in the way.
    web.obstacles = [3, 4, 5]
        .map(|n| (guest_id(n), vec![Obstacle::EtcReadOnly]))
        .into();
    let cluster = Cluster::of(guests(), vec![web]);
    assert_eq!(choice(&cluster).guest, guest_id(2));
}

#[test]
fn the_highest_priority_chooses_first_when_there_is_room_for_one() {
    let needs = |priority| Needs {
        priority,
        ..memory(3000)
    };
    let services = vec![needing("a", 1, needs(0)), needing("b", 1, needs(5))];
    let cluster = Cluster::of(vec![guest(1, 0), guest(2, 0)], services);
    let placements = leave(&cluster, 1, Strategy::LeastLoaded);
    assert_eq!(target(&cluster, &placements, "b").unwrap(), "g2");
    assert_eq!(placements.chosen[&id("a")], Err(NoHome::NoneFits));
    // What b took is counted in what is told of a.
    assert_eq!(
        why_not(&cluster, &placements, "a", "g2"),
        ["2.9 GiB of memory are needed, and 1 GiB are free"]
    );
}

#[test]
fn services_that_cannot_move_say_why() {
    let mut frozen = service("frozen", 1);
    frozen.frozen = Some("job 7 is stuck".into());
    let mut going = service("going", 1);
    going.going = Some(guest_id(2));
    let cluster = Cluster::of(vec![guest(1, 0), guest(2, 0)], vec![frozen, going]);
    let placements = leave(&cluster, 1, Strategy::LeastLoaded);
    assert!(!placements.is_whole());
    let told = |name| placements.chosen[&id(name)].as_ref().unwrap_err().to_string();
    assert!(told("frozen").contains("it is frozen (job 7 is stuck)"));
    assert!(told("going").contains("it is on its way to g2 already"));
}

#[test]
fn memory_that_is_in_use_is_not_free_whatever_the_manifests_say() {
    let mut full = guest(2, 0);
    full.load = Some(super::super::load::Load {
        memory: Share::percent(95),
        ..Default::default()
    });
    let cluster = Cluster::of(vec![guest(1, 0), full], vec![needing("web", 1, memory(1024))]);
    let placements = leave(&cluster, 1, Strategy::LeastLoaded);
    assert_eq!(
        why_not(&cluster, &placements, "web", "g2"),
        ["1 GiB of memory are needed, and 204 MiB are free"]
    );
}
