use super::*;
use crate::model::guest::DomainState;
use crate::model::lifecycle::{Lifecycle, ShutoffReason, StopReason};

const KILLED: Sign = Sign::Lifecycle(Lifecycle::Stopped(StopReason::Failed));
const STARTED: Sign = Sign::Lifecycle(Lifecycle::Started { migrated: false });
const SHUT: Sign = Sign::Lifecycle(Lifecycle::Stopped(StopReason::Shutdown));

fn guest(n: u64) -> GuestId {
    GuestId(uuid::Uuid::from_u128(u128::from(n)))
}

fn host(n: u64) -> HostId {
    format!("hv{n}").parse().unwrap()
}

/// So many guests, spread over so many hosts.
fn census(guests: u64, hosts: u64) -> Census {
    let mut census = Census::default();
    for n in 0..guests {
        census.watch(guest(n), &host(n % hosts), OnCrash::Destroy);
    }
    census
}

fn step(census: &mut Census, second: u64) -> Vec<Order> {
    census.step(second * 1000, Policy::default(), blast::Limits::default())
}

fn listed(state: DomainState, shutoff: ShutoffReason) -> Sign {
    Sign::Listed {
        state,
        shutoff,
        managed_save: false,
    }
}

#[test]
fn a_death_is_ordered_once_and_taken_back_when_the_guest_is_back() {
    let mut census = census(4, 1);
    census.put(guest(1), &host(0), KILLED);
    assert_eq!(step(&mut census, 0), [Order::Evacuate(guest(1), Cause::QemuDied)]);
    census.put(
        guest(1),
        &host(0),
        listed(DomainState::Shutoff, ShutoffReason::Crashed),
    );
    assert!(step(&mut census, 1).is_empty());
    census.put(guest(1), &host(0), STARTED);
    assert_eq!(
        step(&mut census, 2),
        [Order::CancelEvacuation(guest(1), Cause::SeenRunning)]
    );
    census.put(guest(1), &host(0), Sign::Agent(true));
    assert_eq!(step(&mut census, 3), [Order::Leftovers(guest(1))]);
}

#[test]
fn guests_without_services_are_dropped_and_counted() {
    let mut census = census(1, 1);
    for n in 5..105 {
        census.put(guest(n), &host(0), KILLED);
    }
    assert_eq!(census.unwatched(), 100);
    assert!(step(&mut census, 0).is_empty());
    census.unwatch(guest(0));
    census.put(guest(0), &host(0), KILLED);
    assert!(step(&mut census, 0).is_empty());
}

#[test]
fn a_failed_incoming_migration_is_no_death() {
    let mut census = census(2, 2);
    // Guest 0 is at home on hv0, and comes to hv1.
    census.incoming(guest(0), &host(1), true);
    census.put(guest(0), &host(1), KILLED);
    assert!(step(&mut census, 0).is_empty());
    // It is known to run at home: what hv1 finds off there is not it.
    census.put(
        guest(0),
        &host(0),
        listed(DomainState::Running, ShutoffReason::Unknown),
    );
    census.put(
        guest(0),
        &host(1),
        listed(DomainState::Shutoff, ShutoffReason::Failed),
    );
    assert!(step(&mut census, 1).is_empty());
    // A migration back home that fails there.
    census.put(guest(0), &host(1), STARTED);
    step(&mut census, 2);
    census.incoming(guest(0), &host(0), true);
    census.put(guest(0), &host(0), KILLED);
    assert!(step(&mut census, 3).is_empty());
}

#[test]
fn a_guest_that_was_migrated_dies_where_it_is_now() {
    let mut census = census(2, 2);
    census.put(
        guest(0),
        &host(1),
        Sign::Lifecycle(Lifecycle::Started { migrated: true }),
    );
    census.put(
        guest(0),
        &host(0),
        Sign::Lifecycle(Lifecycle::Stopped(StopReason::Migrated)),
    );
    assert!(step(&mut census, 0).is_empty());
    census.watch(guest(0), &host(1), OnCrash::Destroy);
    census.put(guest(0), &host(1), KILLED);
    assert_eq!(step(&mut census, 9), [Order::Evacuate(guest(0), Cause::QemuDied)]);
}

#[test]
fn a_restart_of_libvirtd_orders_nothing_and_the_next_listing_tells_who_died() {
    let mut census = census(3, 1);
    census.put(guest(2), &host(0), SHUT);
    step(&mut census, 0);
    census.host_lost(&host(0));
    assert!(step(&mut census, 1).is_empty());
    assert!(census.guest(guest(0)).unwrap().is_blind());
    assert!(census.due().is_none());
    assert!(step(&mut census, 600).is_empty());
    census.put(
        guest(0),
        &host(0),
        listed(DomainState::Running, ShutoffReason::Unknown),
    );
    census.put(
        guest(1),
        &host(0),
        listed(DomainState::Shutoff, ShutoffReason::Daemon),
    );
    census.put(
        guest(2),
        &host(0),
        listed(DomainState::Running, ShutoffReason::Unknown),
    );
    census.host_listed(&host(0));
    assert_eq!(
        step(&mut census, 601),
        [Order::Evacuate(guest(1), Cause::FoundOff)]
    );
}

#[test]
fn a_guest_that_no_host_knows_is_dead_only_when_every_host_answers() {
    let mut census = census(4, 2);
    census.host_lost(&host(1));
    census.put(guest(0), &host(0), Sign::Absent);
    assert!(step(&mut census, 0).is_empty());
    census.host_listed(&host(1));
    census.put(guest(0), &host(0), Sign::Absent);
    assert_eq!(
        step(&mut census, 1),
        [Order::Evacuate(guest(0), Cause::Undefined)]
    );
}

#[test]
fn four_guests_that_die_in_one_instant_give_two_evacuations_and_one_alarm() {
    let mut census = census(4, 1);
    for n in 0..4 {
        census.put(guest(n), &host(0), KILLED);
    }
    let orders = step(&mut census, 0);
    assert_eq!(orders.len(), 3, "{orders:?}");
    assert!(matches!(orders[2], Order::Freeze(_)));
    assert!(census.frozen().is_some());
    // One of those that are held is back, and nothing of it need be cancelled.
    census.put(guest(3), &host(0), STARTED);
    assert!(step(&mut census, 5).is_empty());
    assert_eq!(census.thaw(), [guest(2)]);
    assert!(census.frozen().is_none());
}

#[test]
fn guests_that_go_down_with_their_host_stay() {
    let mut census = census(8, 2);
    let alarm = census.host_goes_down(0, &host(0), true);
    assert!(matches!(alarm, Some(Order::Freeze(_))));
    assert!(census.host_goes_down(0, &host(0), true).is_none());
    for n in [0, 2, 4] {
        census.put(guest(n), &host(0), SHUT);
    }
    assert!(step(&mut census, 0).is_empty());
    assert!(step(&mut census, 3600).is_empty());
    assert!(census.thaw().is_empty());
}

#[test]
fn a_flood_of_ten_thousand_events_is_judged_in_one_step_and_in_bounded_memory() {
    let mut census = census(1000, 50);
    for n in 0..10_000_u64 {
        let sign = match n % 5 {
            0 => KILLED,
            1 => STARTED,
            2 => Sign::Agent(false),
            3 => Sign::Rebooted,
            _ => Sign::Agent(true),
        };
        census.put(guest(n % 2000), &host(n % 50), sign);
    }
    assert!(census.inbox.len() <= 1000, "{}", census.inbox.len());
    let orders = step(&mut census, 0);
    // Each guest hears the same sign again and again: every fifth is dead, and that is far too many.
    let freezes = orders
        .iter()
        .filter(|order| matches!(order, Order::Freeze(_)))
        .count();
    assert_eq!(freezes, 1);
    assert!(orders.len() <= 27, "{}", orders.len());
    assert!(census.inbox.is_empty());
}

#[test]
fn fifty_of_a_thousand_guests_that_die_at_once_freeze_everything() {
    for hosts in [20, 1000] {
        let mut census = census(1000, hosts);
        for n in 0..50 {
            // All of one host, or each of another.
            let n = if hosts == 20 { n * 20 } else { n };
            census.put(guest(n), &host(n % hosts), KILLED);
        }
        let orders = step(&mut census, 0);
        assert_eq!(
            orders
                .iter()
                .filter(|order| matches!(order, Order::Freeze(_)))
                .count(),
            1
        );
        assert_eq!(orders.len(), 26);
        assert_eq!(census.thaw().len(), 25);
    }
}

#[test]
fn a_hung_guest_is_destroyed_and_then_evacuated_through_the_same_gate() {
    let mut census = census(4, 1);
    let policy = Policy {
        may_destroy: true,
        ..Policy::default()
    };
    let limits = blast::Limits::default();
    let answers = |census: &mut Census, n: u64, now: Millis, speaks: bool| {
        census.put(guest(n), &host(0), Sign::Answered(speaks));
        census.step(now, policy, limits)
    };
    assert!(answers(&mut census, 0, 0, true).is_empty());
    assert!(answers(&mut census, 0, 0, false).is_empty());
    assert_eq!(census.due(), Some(120_000));
    assert_eq!(
        census.step(120_000, policy, limits),
        [Order::Destroy(guest(0), Cause::AgentSilent)]
    );
    assert_eq!(
        census.destroyed(121_000, guest(0), true, policy, limits),
        [Order::Evacuate(guest(0), Cause::AgentSilent)]
    );
    assert!(census.evacuated(130_000, guest(0), policy, limits).is_empty());
    census.put(guest(0), &host(0), STARTED);
    assert!(census.step(140_000, policy, limits).is_empty());
    // Until its agent has spoken it boots, which may take longer.
    assert!(answers(&mut census, 0, 140_000, false).is_empty());
    assert_eq!(census.due(), Some(140_000 + 300_000));
}

#[test]
fn guests_of_a_host_that_is_lost_do_not_count_as_hung() {
    let mut census = census(4, 1);
    let policy = Policy {
        may_destroy: true,
        ..Policy::default()
    };
    let limits = blast::Limits::default();
    for speaks in [true, false] {
        for n in 0..3 {
            census.put(guest(n), &host(0), Sign::Answered(speaks));
        }
        census.step(0, policy, limits);
    }
    assert_eq!(census.hung().len(), 3);
    census.host_lost(&host(0));
    assert!(census.step(1_000, policy, limits).is_empty());
    assert!(census.hung().is_empty());
    assert!(census.step(600_000, policy, limits).is_empty());
}

#[test]
fn guests_that_are_silent_at_once_freeze_before_the_first_of_them_is_destroyed() {
    let mut census = census(4, 1);
    let policy = Policy {
        may_destroy: true,
        ..Policy::default()
    };
    let limits = blast::Limits::default();
    for speaks in [true, false] {
        for n in 0..3 {
            census.put(guest(n), &host(0), Sign::Answered(speaks));
            // One after the other, as agents time out.
            census.step(n * 1000, policy, limits);
        }
    }
    assert_eq!(census.hung().len(), 3);
    let orders = census.step(120_000, policy, limits);
    assert!(matches!(orders.as_slice(), [Order::Freeze(_)]), "{orders:?}");
    assert!(
        census.step(600_000, policy, limits).is_empty(),
        "frozen, it orders nothing more"
    );
    assert_eq!(census.hung().len(), 3, "they are as silent as before");
    assert!(census.thaw().is_empty(), "none of them is dead");
}
