//! What a plan costs, counted.

use std::time::{Duration, Instant};

use super::super::decided::Terms;
use super::super::samples::{MIB, NOW, guest, guest_id, id, leave, memory, needing};
use super::super::what_if::dies;
use super::*;
use crate::model::needs::Needs;

const RANDOM: Strategy = Strategy::Random { seed: 7 };

/// 1,000 guests on 50 hosts with 20,000 services, of which guest 0 has 500; `kinds` different needs among them.
fn large(kinds: u64) -> Cluster {
    let guests = (0..1000).map(|n| {
        let mut made = guest(n, n * 7 % 60);
        made.host = format!("hv{}", n % 50).parse().unwrap();
        made.capacity = Resources {
            memory: (16 + u64::from(n % 3) * 16) * 1024 * MIB,
            cpu: 64_000,
        };
        if n % 4 == 0 {
            made.labels.insert("ssd".parse().unwrap());
        }
        made
    });
    let services = (0..20_000_u32).map(|n| {
        let kind = u64::from(n) % kinds;
        let mut needs = Needs {
            memory: Some((16 + kind) * MIB),
            cpu: Some(10 + kind),
            ..Needs::default()
        };
        if kind.is_multiple_of(5) {
            needs.labels = vec!["ssd".parse().unwrap()];
        }
        if n % 50 == 0 {
            needs.anti_affinity = vec![id(&format!("s{}", (n + 1) % 20_000))];
        }
        let home = if n < 500 { 0 } else { 1 + n % 999 };
        needing(&format!("s{n}"), home, needs)
    });
    Cluster::of(guests.collect(), services.collect())
}

#[test]
fn a_step_costs_no_more_than_the_logarithm_of_the_guests() {
    let (services, guests, log) = (500, 1000, 10);
    for kinds in [1, 8, 24] {
        let cluster = large(kinds);
        for strategy in [Strategy::LeastLoaded, Strategy::Spread, RANDOM] {
            let placements = leave(&cluster, 0, strategy);
            assert!(placements.is_whole());
            // Each kind is looked through once; each service is one choice, and one old place in each other's heap.
            let allowed = kinds * guests + 3 * services * log + services * kinds * log / 2;
            assert!(
                placements.steps <= allowed,
                "{strategy} with {kinds} kinds: {} steps, {allowed} allowed",
                placements.steps
            );
        }
    }
}

#[test]
fn a_cluster_that_is_full_of_small_guests_is_not_searched_again_for_each_service() {
    // The small ones are idle, so each service would look at all of them first.
    let guests = (0..1000).map(|n| {
        let mut made = guest(n, if n < 900 { 0 } else { 50 });
        made.capacity.memory = if n < 900 { 64 * MIB } else { 64 * 1024 * MIB };
        made
    });
    let services = (0..500).map(|n| needing(&format!("s{n}"), 0, memory(100)));
    let cluster = Cluster::of(guests.collect(), services.collect());
    let placements = leave(&cluster, 0, Strategy::LeastLoaded);
    assert!(placements.is_whole());
    // Building, dropping 900 guests once, and 500 choices.
    assert!(
        placements.steps <= 1000 + 900 * 11 + 500 * 3 * 8,
        "{} steps",
        placements.steps
    );
}

#[test]
#[ignore = "a time, and so for optimized code on a quiet machine: `make bench` runs it"]
fn a_plan_for_500_of_20000_services_on_1000_guests_is_made_in_less_than_20_ms() {
    for kinds in [1, 8, 24, 500] {
        let cluster = large(kinds);
        for strategy in [Strategy::LeastLoaded, Strategy::Spread, RANDOM] {
            // The shortest of some: what else the machine does makes them longer, and nothing makes them shorter.
            let times = (0..5).map(|_| {
                let (guests, services) = (cluster.guests().to_vec(), cluster.services().to_vec());
                let begun = Instant::now();
                let cluster = Cluster::of(guests, services);
                let plan = dies(&cluster, guest_id(0), strategy, Terms::default(), NOW).unwrap();
                let took = begun.elapsed();
                assert_eq!(plan.homeless().count(), 0);
                took
            });
            let took = times.min().unwrap();
            println!("{kinds} kinds, {strategy}: {took:?}");
            assert!(
                took < Duration::from_millis(20),
                "{kinds} kinds, {strategy}: {took:?}"
            );
        }
    }
}
