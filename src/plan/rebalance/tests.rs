use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::cluster::{GuestView, ServiceView};
use super::super::load::Load;
use super::super::samples::{MIB, guest, id, memory, needing, service};
use super::*;
use crate::model::needs::Needs;

/// A service that uses so many percent of a guest's four cores.
fn using(name: &str, home: u32, percent: u64) -> ServiceView {
    ServiceView {
        measured: Some(Resources {
            memory: 0,
            cpu: percent * 40,
        }),
        ..service(name, home)
    }
}

fn moves(cluster: &Cluster, most: usize) -> Vec<(String, String, String)> {
    rebalance(cluster, Balance::default(), most, &BTreeSet::new())
        .unwrap()
        .iter()
        .map(|made| {
            (
                made.service.to_string(),
                cluster.name_of(made.to),
                made.to_string(),
            )
        })
        .collect()
}

#[test]
fn one_move_that_evens_the_loads_is_preferred_to_several_small_ones() {
    let services = vec![
        using("a", 1, 5),
        using("b", 1, 10),
        using("c", 1, 30),
        using("d", 1, 45),
    ];
    let cluster = Cluster::of(vec![guest(1, 90), guest(2, 30)], services);
    assert_eq!(gap(&cluster).unwrap().gap, Share::percent(60));
    assert_eq!(
        moves(&cluster, 9),
        [(
            "c".to_owned(),
            "g2".to_owned(),
            "load 90 % and 30 % become 60 % and 60 %".to_owned()
        )]
    );
}

#[test]
fn a_service_that_would_only_carry_the_load_with_it_stays() {
    let cluster = Cluster::of(vec![guest(1, 80), guest(2, 5)], vec![using("big", 1, 75)]);
    // 5 % and 80 % afterwards: nothing is won.
    assert!(moves(&cluster, 9).is_empty());
}

#[test]
fn guests_in_maintenance_or_of_unknown_load_take_no_part() {
    let mut away = guest(2, 0);
    away.maintenance = Some("for another hour".into());
    let mut unknown = guest(3, 0);
    unknown.load = None;
    let cluster = Cluster::of(vec![guest(1, 90), away, unknown], vec![using("a", 1, 40)]);
    assert_eq!(gap(&cluster), None);
    assert!(moves(&cluster, 9).is_empty());
}

#[test]
fn what_stays_with_others_rests_is_bound_or_does_not_run_is_not_moved() {
    let mut bound = using("bound", 1, 20);
    bound.movable = false;
    let mut stopped = using("stopped", 1, 20);
    stopped.wanted = LifeState::Stopped;
    let mut pair = using("pair", 1, 20);
    pair.needs.affinity = vec![id("bound")];
    let services = vec![bound, stopped, pair, using("resting", 1, 20)];
    let cluster = Cluster::of(vec![guest(1, 90), guest(2, 0)], services);
    let resting = BTreeSet::from([id("resting")]);
    assert_eq!(rebalance(&cluster, Balance::default(), 9, &resting).unwrap(), []);
    assert_eq!(moves(&cluster, 9).len(), 1);
}

#[test]
fn no_more_moves_are_made_than_are_allowed_and_each_target_has_room() {
    let services = (0..6).map(|n| {
        let mut made = using(&format!("s{n}"), 1, 12);
        made.needs = memory(1000);
        made
    });
    let mut small = guest(2, 0);
    small.capacity.memory = 1500 * MIB;
    let mut large = guest(1, 90);
    large.capacity.memory = 8192 * MIB;
    let cluster = Cluster::of(vec![large, small, guest(3, 60)], services.collect());
    let made = moves(&cluster, 9);
    assert_eq!(made.iter().filter(|(_, to, _)| to == "g2").count(), 1, "{made:?}");
    assert_eq!(moves(&cluster, 1).len(), 1);
    assert!(moves(&cluster, 0).is_empty());
}

#[test]
fn two_that_must_be_apart_do_not_follow_each_other() {
    let mut one = using("one", 1, 20);
    one.needs = Needs {
        anti_affinity: vec![id("two")],
        ..Needs::default()
    };
    let mut two = using("two", 1, 20);
    two.needs.cpu = Some(1);
    let cluster = Cluster::of(vec![guest(1, 90), guest(2, 0)], vec![one, two]);
    // The gap asks for both to go; when one has gone, the other must not follow it.
    assert_eq!(moves(&cluster, 9).len(), 1);
    let cluster = Cluster::of(
        vec![guest(1, 90), guest(2, 0)],
        vec![using("one", 1, 20), using("two", 1, 20)],
    );
    assert_eq!(moves(&cluster, 9).len(), 2);
}

/// The cluster after the moves: homes changed, and loads as they were projected.
fn after(cluster: &Cluster, made: &[Move]) -> Cluster {
    let mut guests: BTreeMap<GuestId, GuestView> =
        cluster.guests().iter().map(|g| (g.id, g.clone())).collect();
    let mut services: BTreeMap<ServiceId, ServiceView> = cluster
        .services()
        .iter()
        .map(|s| (s.id.clone(), s.clone()))
        .collect();
    for one in made {
        let service = services.get_mut(&one.service).unwrap();
        service.home = Some(one.to);
        let cpu = |guest: &GuestView| Share::of(service.weight().cpu, guest.capacity.cpu);
        let from = guests.get_mut(&one.from).unwrap();
        let load = from.load.unwrap();
        from.load = Some(Load {
            cpu: load.cpu.minus(cpu(from)),
            ..load
        });
        let to = guests.get_mut(&one.to).unwrap();
        let load = to.load.unwrap();
        to.load = Some(Load {
            cpu: load.cpu.plus(cpu(to)),
            ..load
        });
    }
    Cluster::of(guests.into_values().collect(), services.into_values().collect())
}

fn any_cluster() -> impl Strategy<Value = Cluster> {
    let services = proptest::collection::vec((0_u32..5, 1_u64..15), 1..25);
    (proptest::collection::vec(0_u32..20, 2..6), services).prop_map(|(idle, services)| {
        let hosts = u32::try_from(idle.len()).unwrap();
        let services: Vec<_> = services
            .into_iter()
            .map(|(home, percent)| (home % hosts, percent))
            .collect();
        let guests = (0..hosts).zip(&idle).map(|(n, idle)| {
            let own: u64 = services
                .iter()
                .filter(|(home, _)| *home == n)
                .map(|(_, percent)| percent)
                .sum();
            guest(n, (idle + u32::try_from(own).unwrap()).min(100))
        });
        let guests: Vec<_> = guests.collect();
        let services = services
            .iter()
            .enumerate()
            .map(|(n, (home, percent))| using(&format!("s{n}"), *home, *percent));
        Cluster::of(guests, services.collect())
    })
}

proptest! {
    #[test]
    fn every_move_lowers_the_larger_load_and_none_is_taken_back(cluster in any_cluster(), most in 1_usize..8) {
        let balance = Balance::default();
        let none = BTreeSet::new();
        let made = rebalance(&cluster, balance, most, &none).unwrap();
        prop_assert!(made.len() <= most);
        for one in &made {
            prop_assert!(one.after.0.max(one.after.1).plus(balance.gain) <= one.before.0);
        }
        let each: BTreeSet<_> = made.iter().map(|one| &one.service).collect();
        prop_assert_eq!(each.len(), made.len(), "a service is moved once");
        // Looking again and again comes to rest, and no service returns to where it was.
        let mut homes: BTreeSet<(ServiceId, GuestId)> = BTreeSet::new();
        let mut now = cluster;
        let mut made = made;
        for _ in 0..100 {
            if made.is_empty() {
                break;
            }
            homes.extend(made.iter().map(|one| (one.service.clone(), one.from)));
            now = after(&now, &made);
            made = rebalance(&now, balance, most, &none).unwrap();
            for one in &made {
                prop_assert!(!homes.contains(&(one.service.clone(), one.to)), "{} returns", one.service);
            }
        }
        prop_assert!(made.is_empty());
    }

    #[test]
    fn loads_that_are_close_enough_are_left_alone(cluster in any_cluster()) {
        let gap = gap(&cluster).map_or(Share::NONE, |gap| gap.gap);
        let balance = Balance { end: gap, ..Balance::default() };
        prop_assert!(rebalance(&cluster, balance, 9, &BTreeSet::new()).unwrap().is_empty());
    }
}

#[test]
fn a_service_with_declared_needs_is_weighed_by_them_where_nothing_was_measured() {
    let needs = Needs {
        cpu: Some(1200),
        ..Needs::default()
    };
    let cluster = Cluster::of(vec![guest(1, 90), guest(2, 30)], vec![needing("a", 1, needs)]);
    assert_eq!(moves(&cluster, 9).len(), 1);
}
