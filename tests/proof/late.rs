//! A claim that arrives when its handover has long gone back finds nothing to change, whatever it was sent for.

use handoverd::adapters::sim::call::{Call, Director, Method, Mishap, PortFault};
use handoverd::adapters::sim::cast::Cast;
use handoverd::adapters::sim::daemon::Simulation;
use handoverd::adapters::sim::happening::{Happening, Message};
use handoverd::adapters::sim::world::SimWorld;
use handoverd::handover::machine::{Direction, State};
use handoverd::handover::verdict;
use handoverd::model::ids::{Generation, HandoverId};
use handoverd::model::life::LifeState;
use handoverd::model::name::{NameRecords, Owner, Ownership};
use handoverd::requests::DeployOptions;

/// When the first claim arrives: long after its handover has given up.
const LATE: u64 = 3_600_000;

const ANOTHER: HandoverId = HandoverId(uuid::Uuid::from_u128(77));

/// Nothing reaches the zone while the handover goes forward, but that its first claim arrives in the end.
#[derive(Default)]
struct FirstClaimIsLate {
    sent: bool,
}

impl Director for FirstClaimIsLate {
    fn decide(&mut self, call: &Call, world: &SimWorld) -> Mishap {
        let mut rows = world.tables.values().flat_map(|table| table.handovers.values());
        let goes_on = rows.any(|row| {
            matches!(
                row.handover.state,
                State::At {
                    direction: Direction::Forward,
                    ..
                }
            )
        });
        let mut mishap = Mishap::default();
        if call.method == Method::Swap && goes_on {
            let again = std::mem::replace(&mut self.sent, true);
            mishap.fault = Some(match again {
                false => PortFault::Late(LATE),
                true => PortFault::Unavailable,
            });
        }
        mishap
    }
}

/// What stands at the name once the late claim has arrived, and what became of the job, where a service is deployed over
/// what these records say.
fn deployed_over(records: NameRecords, take_over: bool) -> (NameRecords, String) {
    let cast = Cast {
        deployed: false,
        ..Cast::of(LifeState::Accessible)
    };
    let mut world = cast.world(2).unwrap();
    let name = "web.svc.lab".parse().unwrap();
    world.zone.names.insert(name, records);
    let director = Box::new(FirstClaimIsLate::default());
    let mut simulation = Simulation::new(world, "hv1".parse().unwrap(), director);
    let bundle = cast.bundle("web", '1').unwrap().digest.to_string();
    let _answer = simulation.request(move |requests| async move {
        let options = DeployOptions {
            take_over,
            ..DeployOptions::default()
        };
        requests.deploy(&bundle, "g2", options, "test").await
    });
    simulation.run(LATE + 600_000, |_| false);
    let inner = simulation.shared.lock();
    let late = |happening: &Happening| matches!(happening, Happening::Arrives(Message::Update(_)));
    assert!(!inner.world.agenda.values().any(late), "it has arrived");
    let mut jobs = inner.world.tables.values().flat_map(|table| table.jobs.values());
    let result = jobs.next().and_then(|job| job.result.clone());
    let standing = inner.world.zone.names.values().next().cloned();
    (standing.unwrap_or_default(), result.unwrap_or_default())
}

fn standing(text: &Ownership, addresses: &[&str]) -> NameRecords {
    NameRecords {
        ownership: vec![text.to_string()],
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        ttl: 5,
        ..NameRecords::default()
    }
}

fn owner() -> Owner {
    Owner {
        generation: Generation(3),
        host: "hv9".parse().unwrap(),
        guest: SimWorld::guest_id(9),
        after: None,
    }
}

/// The claim is given up, what it expected does not stand any more, and nobody has the name claimed.
#[track_caller]
fn is_let_go(before: &NameRecords, take_over: bool) {
    let (after, result) = deployed_over(before.clone(), take_over);
    assert_eq!(result, "failed");
    assert_eq!(after.addresses, before.addresses);
    assert_ne!(after.ownership, before.ownership);
    let text = verdict::owner_text(&after);
    assert!(!matches!(text, Some(Ownership::Claimed(..))), "{text:?}");
}

#[test]
fn a_claim_that_was_sent_over_the_withdrawal_of_another_deploy_changes_nothing_when_it_comes_late() {
    is_let_go(&standing(&Ownership::Aborted(ANOTHER, None), &[]), false);
}

#[test]
fn a_claim_that_was_to_take_a_name_over_changes_nothing_when_it_comes_late() {
    for text in [
        Ownership::Free(owner()),
        Ownership::Claimed(ANOTHER, Some(owner())),
        Ownership::Aborted(ANOTHER, Some(owner())),
    ] {
        is_let_go(&standing(&text, &["10.77.0.9"]), true);
    }
}

#[test]
fn a_claim_that_was_to_take_over_addresses_without_an_owner_changes_nothing_when_it_comes_late() {
    let mut addresses = standing(&Ownership::Free(owner()), &["10.77.0.9"]);
    addresses.ownership.clear();
    is_let_go(&addresses, true);
}

#[test]
fn a_first_claim_of_a_name_changes_nothing_when_it_comes_late() {
    let (after, result) = deployed_over(NameRecords::default(), false);
    assert_eq!(result, "failed");
    let text = verdict::owner_text(&after);
    assert!(matches!(text, Some(Ownership::Aborted(_, None))), "{text:?}");
}
