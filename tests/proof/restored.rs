//! A table that an old copy has replaced: what it owes somewhere may have become the service's home since.

use handoverd::adapters::sim::call::Clean;
use handoverd::adapters::sim::cast::Cast;
use handoverd::adapters::sim::daemon::Simulation;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::handover::record::Duty;
use handoverd::model::ids::{Generation, HandoverId, HostId, ServiceId};
use handoverd::model::life::LifeState;
use handoverd::model::name::{Owner, Ownership};

/// The table of the simulated cluster has generation 1.
const TABLE: u64 = 1;

fn owner(guest: u8, generation: u64) -> Owner {
    Owner {
        generation: Generation(generation),
        host: "hv1".parse().unwrap(),
        guest: SimWorld::guest_id(guest),
        after: None,
    }
}

/// What the table has for the name.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Row {
    OnG1,
    OnG2,
    Gone,
    /// The service was removed, and another one, on g1, has its name.
    OfAnother,
}

/// The service runs on g1, and the table owes its end there. Returns whether it still runs on g1 after two minutes, and
/// whether that is still owed.
fn owed_on_g1(zone: &Ownership, row: Row) -> (bool, bool) {
    let cast = Cast::of(LifeState::Accessible);
    let mut world = cast.world(2).unwrap();
    let host: HostId = "hv1".parse().unwrap();
    let service: ServiceId = "web".parse().unwrap();
    let g1 = SimWorld::guest_id(1);
    for records in world.zone.names.values_mut() {
        records.ownership = vec![zone.to_string()];
    }
    let table = world.tables.get_mut(&host).unwrap();
    let mut had = table.services.remove(&service).unwrap();
    assert_eq!((had.guest, had.generation), (g1, Generation(TABLE)));
    let duty = Duty {
        service: service.clone(),
        guest: g1,
        digest: had.bundle.clone(),
        generation: had.generation,
        serve_until: 0,
        files: Vec::new(),
    };
    table.duties.insert((service.clone(), g1), duty);
    match row {
        Row::OfAnother => had.id = "web2".parse().unwrap(),
        Row::Gone | Row::OnG1 => {}
        Row::OnG2 => had.guest = SimWorld::guest_id(2),
    }
    if row != Row::Gone {
        table.services.insert(had.id.clone(), had);
    }
    let mut simulation = Simulation::new(world, host.clone(), Box::new(Clean));
    simulation.run(120_000, |_| false);
    let inner = simulation.shared.lock();
    let copy = inner.world.guests[&g1].copies.get(&service);
    let owed = !inner.world.tables[&host].duties.is_empty();
    (copy.is_some_and(|copy| copy.units.is_some()), owed)
}

#[test]
fn what_a_table_owes_where_the_zone_leads_is_left_alone() {
    // The last: it was removed, and deployed again, since the old copy was made.
    for generation in [TABLE + 1, TABLE, 0] {
        let zone = Ownership::Free(owner(1, generation));
        for row in [Row::OnG2, Row::Gone] {
            assert_eq!(owed_on_g1(&zone, row), (true, true), "{zone}, {row:?}");
        }
    }
    // It was upgraded in place since, or removed and deployed again: the disk that is owed there may be what it runs on.
    for another in [TABLE + 1, 0] {
        let zone = Ownership::Free(owner(1, another));
        assert_eq!(owed_on_g1(&zone, Row::OnG1), (true, true), "{zone}");
    }
}

#[test]
fn what_a_table_owes_is_left_alone_while_a_handover_that_it_does_not_know_of_may_go_there() {
    let another = HandoverId(uuid::Uuid::from_u128(77));
    let later = Ownership::Claimed(another, Some(owner(9, TABLE + 1)));
    assert_eq!(owed_on_g1(&later, Row::OnG2), (true, true));
}

#[test]
fn what_a_table_owes_where_the_zone_does_not_lead_is_taken_away() {
    for zone in [owner(2, TABLE), owner(9, TABLE + 4)].map(Ownership::Free) {
        for row in [Row::OnG2, Row::Gone] {
            assert_eq!(owed_on_g1(&zone, row), (false, false), "{zone}, {row:?}");
        }
    }
    let of_another = Ownership::Free(owner(1, TABLE));
    assert_eq!(owed_on_g1(&of_another, Row::OfAnother), (false, false));
    // What an abandoned deploy has left.
    let first = Ownership::Claimed(HandoverId(uuid::Uuid::from_u128(78)), None);
    assert_eq!(owed_on_g1(&first, Row::Gone), (false, false));
}
