//! A table that an old copy has replaced: what it owes somewhere may have become the service's home since.

use handoverd::adapters::sim::call::Clean;
use handoverd::adapters::sim::cast::Cast;
use handoverd::adapters::sim::daemon::Simulation;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::handover::record::Duty;
use handoverd::model::ids::{Generation, HostId, ServiceId};
use handoverd::model::life::LifeState;
use handoverd::model::name::{Owner, Ownership};

/// The service runs on g1, where the zone leads by this generation. The table has its first one, says that g2 is its home, and
/// owes its end on g1. Returns whether it still runs on g1 after two minutes, and whether that is still owed.
fn owed_at_home(zone: u64) -> (bool, bool) {
    let cast = Cast::of(LifeState::Accessible);
    let mut world = cast.world(2).unwrap();
    let host: HostId = "hv1".parse().unwrap();
    let service: ServiceId = "web".parse().unwrap();
    let (g1, g2) = (SimWorld::guest_id(1), SimWorld::guest_id(2));
    for records in world.zone.names.values_mut() {
        let owner = Owner {
            generation: Generation(zone),
            host: host.clone(),
            guest: g1,
            after: None,
        };
        records.ownership = vec![Ownership::Free(owner).to_string()];
    }
    let table = world.tables.get_mut(&host).unwrap();
    let row = table.services.get_mut(&service).unwrap();
    row.guest = g2;
    let duty = Duty {
        service: service.clone(),
        guest: g1,
        digest: row.bundle.clone(),
        generation: row.generation,
        serve_until: 0,
        files: Vec::new(),
    };
    table.duties.insert((service.clone(), g1), duty);
    let mut simulation = Simulation::new(world, host.clone(), Box::new(Clean));
    simulation.run(120_000, |_| false);
    let inner = simulation.shared.lock();
    let copy = inner.world.guests[&g1].copies.get(&service);
    let owed = !inner.world.tables[&host].duties.is_empty();
    (copy.is_some_and(|copy| copy.units.is_some()), owed)
}

#[test]
fn what_a_table_owes_that_is_older_than_the_zone_is_left_alone() {
    assert_eq!(owed_at_home(2), (true, true));
}

#[test]
fn what_a_table_owes_that_is_as_new_as_the_zone_is_taken_away() {
    assert_eq!(owed_at_home(1), (false, false));
}
