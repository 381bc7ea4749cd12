//! What holds for every plan.

use proptest::prelude::{Just, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Arbitrary;

use super::super::cluster::ServiceView;
use super::super::samples::{MIB, guest, guest_id, id, leave, needing};
use super::*;
use crate::model::needs::Needs;
use crate::model::obstacle::Obstacle;

fn any_needs(n: usize) -> impl Arbitrary<Value = Needs> {
    let others = || proptest::collection::vec(0..n, 0..2);
    let amounts = (
        proptest::option::of(64_u64..3000),
        proptest::option::of(100_u64..3000),
    );
    let set = (any::<bool>(), 0_u8..4, -2..2_i32);
    (amounts, others(), others(), set).prop_map(|((mib, cpu), with, apart, (ssd, host, priority))| Needs {
        memory: mib.map(|mib| mib * MIB),
        cpu,
        labels: ssd.then(|| "ssd".parse().unwrap()).into_iter().collect(),
        hosts: (host > 1)
            .then(|| format!("hv{}", host % 2).parse().unwrap())
            .into_iter()
            .collect(),
        affinity: with.iter().map(|n| id(&format!("s{n}"))).collect(),
        anti_affinity: apart.iter().map(|n| id(&format!("s{n}"))).collect(),
        priority,
        ..Needs::default()
    })
}

fn any_cluster() -> impl Arbitrary<Value = Cluster> {
    let guests = proptest::collection::vec((0_u32..100, any::<bool>(), 0_u32..2, 1_u64..9, 0_u8..6), 4..9);
    let services = proptest::collection::vec((any_needs(12), 0_u32..3, 0_u8..12), 1..12);
    (guests, services).prop_map(|(guests, services)| {
        let guests = (0..).zip(guests).map(|(n, (load, ssd, host, gib, odd))| {
            let mut made = guest(n, load);
            made.host = format!("hv{host}").parse().unwrap();
            made.capacity.memory = gib * 512 * MIB;
            made.labels.extend(ssd.then(|| "ssd".parse().unwrap()));
            match odd {
                0 => made.maintenance = Some("for another hour".into()),
                1 => made.obstacles = vec![Obstacle::EtcReadOnly],
                2 => made.load = None,
                _ => {}
            }
            made
        });
        let services = services.into_iter().enumerate().map(|(n, (needs, home, odd))| {
            let mut made = needing(&format!("s{n}"), home, needs);
            match odd {
                0 => made.movable = false,
                1 => made.going = Some(guest_id(2)),
                2 => made.standbys = vec![guest_id(3)],
                3 => made.obstacles = [(guest_id(4), vec![Obstacle::EtcReadOnly])].into(),
                _ => {}
            }
            made
        });
        Cluster::of(guests.collect(), services.collect())
    })
}

fn any_strategy() -> impl Arbitrary<Value = Strategy> {
    prop_oneof![
        Just(Strategy::LeastLoaded),
        Just(Strategy::Spread),
        (0_u64..9).prop_map(|seed| Strategy::Random { seed }),
        (1_u32..4).prop_map(|n| Strategy::Named(guest_id(n))),
    ]
}

/// Where a service is when the plan is done.
fn end(placements: &Placements, service: &ServiceView) -> Option<GuestId> {
    match placements.chosen.get(&service.id) {
        Some(Ok(choice)) => Some(choice.guest),
        _ => service.going.or(service.home),
    }
}

/// Every condition, checked anew from the manifests alone.
fn check(cluster: &Cluster, placements: &Placements, gone: GuestId) {
    let mut before: BTreeMap<GuestId, Resources> = BTreeMap::new();
    let mut added = before.clone();
    for service in cluster.services() {
        let chosen = placements
            .chosen
            .get(&service.id)
            .and_then(|c| c.as_ref().ok())
            .map(|c| c.guest);
        let there: BTreeSet<GuestId> = [service.home, service.going].into_iter().flatten().collect();
        for (old, guest) in there
            .iter()
            .map(|guest| (true, guest))
            .chain(chosen.iter().map(|guest| (false, guest)))
        {
            let sum = if old { &mut before } else { &mut added };
            let sum = sum.entry(*guest).or_default();
            *sum = sum.plus(service.needs.demand());
        }
        let Some(target) = chosen else { continue };
        let guest = cluster.guest(target).unwrap();
        assert!(target != gone && Some(target) != service.home && service.movable && service.going.is_none());
        assert!(
            guest.maintenance.is_none()
                && guest.obstacles.is_empty()
                && !service.obstacles.contains_key(&target)
        );
        assert!(
            service
                .needs
                .labels
                .iter()
                .all(|label| guest.labels.contains(label))
        );
        assert!(service.needs.hosts.is_empty() || service.needs.hosts.contains(&guest.host));
        for other in cluster.services() {
            let names = |list: fn(&Needs) -> &Vec<ServiceId>| {
                list(&service.needs).contains(&other.id) || list(&other.needs).contains(&service.id)
            };
            if other.id == service.id {
                continue;
            }
            let place = end(placements, other);
            if names(|needs| &needs.anti_affinity) {
                assert_ne!(place, Some(target), "{} and {}", service.id, other.id);
            }
            if names(|needs| &needs.affinity) && place != Some(gone) {
                assert_eq!(place, Some(target), "{} and {}", service.id, other.id);
            }
        }
    }
    // A guest may have been too full before; then it got nothing more of that.
    for (guest, added) in added {
        let free = cluster
            .guest(guest)
            .unwrap()
            .capacity
            .minus(before.get(&guest).copied().unwrap_or_default());
        assert!(free.covers(added), "{added:?} were put into {free:?}");
    }
}

proptest! {
    #[test]
    fn no_plan_breaks_a_condition_or_exceeds_a_capacity(cluster in any_cluster(), strategy in any_strategy()) {
        check(&cluster, &leave(&cluster, 0, strategy), guest_id(0));
    }

    #[test]
    fn the_same_question_gets_the_same_plan(cluster in any_cluster(), strategy in any_strategy()) {
        let mut guests = cluster.guests().to_vec();
        let mut services = cluster.services().to_vec();
        guests.reverse();
        services.reverse();
        let again = Cluster::of(guests, services);
        prop_assert_eq!(leave(&cluster, 0, strategy).chosen, leave(&again, 0, strategy).chosen);
    }

    #[test]
    fn every_other_guest_is_told_with_a_reason_and_a_service_without_a_home_fits_nowhere(
        cluster in any_cluster(),
        strategy in any_strategy(),
    ) {
        let placements = leave(&cluster, 0, strategy);
        for (service, choice) in &placements.chosen {
            let rejected = placements.explain(&cluster, service);
            prop_assert!(rejected.iter().all(|guest| !guest.why.is_empty()));
            match choice {
                Ok(choice) => {
                    prop_assert_eq!(rejected.len(), cluster.guests().len() - 1);
                    prop_assert!(rejected.iter().all(|guest| guest.guest != choice.guest));
                }
                Err(NoHome::NoneFits) => {
                    prop_assert_eq!(rejected.len(), cluster.guests().len());
                    let fits = |guest: &&Rejected| guest.why.iter().all(Rejection::would_do);
                    let named = matches!(strategy, Strategy::Named(_));
                    prop_assert!(named || rejected.iter().find(fits).is_none(), "{:?}", rejected);
                }
                Err(_) => {}
            }
        }
    }

    #[test]
    fn no_guest_that_fits_is_less_loaded_than_the_one_that_was_taken(cluster in any_cluster(), n in 0_usize..12) {
        let id = id(&format!("s{}", n % cluster.services().len()));
        let gone = BTreeSet::new();
        let question = Question { services: std::slice::from_ref(&id), strategy: Strategy::LeastLoaded, gone: &gone };
        let placements = place(&cluster, question).unwrap();
        if let Ok(choice) = &placements.chosen[&id] && choice.reason == Reason::LeastLoaded {
            for guest in placements.explain(&cluster, &id).iter().filter(|guest| guest.why[0].would_do()) {
                let index = cluster.guest_index(guest.guest).unwrap();
                prop_assert!(cluster.score(index, Resources::NONE) >= choice.before);
            }
        }
    }
}
