//! Tests of the tests: rules that no single fault shows, but one moment does.

use std::collections::BTreeSet;

use handoverd::adapters::sim::call::{Call, Director, Method, Mishap, PortFault};
use handoverd::adapters::sim::happening::Happening;
use handoverd::adapters::sim::world::{SimWorld, WorldRules};
use handoverd::handover::protocol::{Protocol, Rule};
use handoverd::model::ids::GuestId;
use handoverd::ports::Half;

use crate::kinds::{KINDS, Kind};
use crate::runs::{self, End};

fn kind() -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == "move accessible").unwrap()
}

/// The target's checks fail, so that the handover goes back; and where a disk is taken from a definition, its guest is
/// started anew just before: with what is still in it.
#[derive(Default)]
struct BootsBetween(BTreeSet<GuestId>);

impl Director for BootsBetween {
    fn decide(&mut self, call: &Call, _world: &SimWorld) -> Mishap {
        let before = match (call.method, call.guest) {
            (Method::Check, Some(guest)) => vec![(0, Happening::ChecksFail(guest))],
            (Method::Take, Some(guest)) if call.half == Some(Half::Config) && self.0.insert(guest) => {
                vec![(0, Happening::Die(guest)), (0, Happening::Boot(guest))]
            }
            _ => Vec::new(),
        };
        Mishap {
            before,
            ..Mishap::default()
        }
    }
}

fn boots_between(protocol: Protocol) -> End {
    let director = Box::new(BootsBetween::default());
    let (simulation, answer) = kind().begin_with(director, protocol, WorldRules::default());
    runs::to_rest(simulation, || answer.lock().unwrap().is_some())
}

/// A daemon that looks again after its act takes what a boot has brought back once more: only one that does not look is
/// harmed, as in the protocol's model on paper.
#[test]
fn taking_the_live_disk_before_the_one_in_the_config_is_found_out() {
    let kept = boots_between(Protocol::default());
    assert!(
        kept.violations.is_empty(),
        "{:?}\n{}",
        kept.violations,
        kept.story
    );
    let believes = boots_between(Protocol::without(Rule::LookAgain));
    assert!(
        believes.violations.is_empty(),
        "{:?}\n{}",
        believes.violations,
        believes.story
    );
    let broken = boots_between(Protocol::without(Rule::ConfigFirst).also_without(Rule::LookAgain));
    assert!(
        !broken.violations.is_empty(),
        "nothing found it out: {}",
        broken.result
    );
    println!("taking live first: {}", broken.violations[0]);
}

/// The zone cannot be reached for a while when the commit is to be written, and the target's checks fail from then on.
struct SickMeanwhile {
    swaps: u32,
    until: u64,
}

impl Director for SickMeanwhile {
    fn decide(&mut self, call: &Call, world: &SimWorld) -> Mishap {
        if call.method != Method::Swap {
            return Mishap::default();
        }
        self.swaps += 1;
        let mut mishap = Mishap::default();
        // The first one claims the name.
        if self.swaps == 2 {
            mishap.before = vec![(0, Happening::ChecksFail(SimWorld::guest_id(2)))];
            self.until = world.now + 20_000;
        }
        if self.swaps >= 2 && world.now < self.until {
            mishap.fault = Some(PortFault::Unavailable);
        }
        mishap
    }
}

/// How a move ends whose target falls ill between its confirmation and the commit.
fn sick_meanwhile(protocol: Protocol) -> String {
    let director = Box::new(SickMeanwhile { swaps: 0, until: 0 });
    let (simulation, answer) = kind().begin_with(director, protocol, WorldRules::default());
    runs::to_rest(simulation, || answer.lock().unwrap().is_some()).result
}

/// No invariant shows this rule, in the model on paper neither: the target may fall ill just after the commit too. What
/// shows it is where the name leads when the target was ill for long before.
#[test]
fn committing_on_an_old_confirmation_is_found_out() {
    assert_eq!(sick_meanwhile(Protocol::default()), "failed");
    assert_eq!(sick_meanwhile(Protocol::without(Rule::Reconfirm)), "done");
}
