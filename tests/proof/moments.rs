//! Tests of the tests: rules that no single fault shows, but one moment does.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use handoverd::adapters::sim::call::{Call, Director, Method, Mishap, PortFault};
use handoverd::adapters::sim::happening::{Happening, Message};
use handoverd::adapters::sim::world::{SimWorld, WorldRules};
use handoverd::handover::protocol::{Protocol, Rule};
use handoverd::handover::verdict;
use handoverd::model::ids::{GuestId, HandoverId};
use handoverd::model::name::{NameChange, Ownership};
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

/// No UPDATE arrives, so that the move goes back without having seen its claim; and just before one reading of the
/// name, or one UPDATE, another daemon, whose UPDATE the zone does take, claims it.
struct ClaimedByAnother {
    asked: u32,
    before: u32,
    /// Whether it did: our claim, or the end of it all, may have come first.
    claimed: Arc<Mutex<bool>>,
}

const ANOTHER: HandoverId = HandoverId(uuid::Uuid::from_u128(77));

fn standing(world: &SimWorld) -> Option<Ownership> {
    world.zone.names.values().next().and_then(verdict::owner_text)
}

impl Director for ClaimedByAnother {
    fn decide(&mut self, call: &Call, world: &SimWorld) -> Mishap {
        let mut mishap = Mishap::default();
        if matches!(call.method, Method::ReadName | Method::Swap) {
            self.asked += 1;
            let name = world.zone.names.keys().next().cloned();
            if let (true, Some(name), Some(Ownership::Free(owner))) =
                (self.asked == self.before, name, standing(world))
            {
                *self.claimed.lock().unwrap() = true;
                let claim = NameChange {
                    name,
                    expect_ownership: Some(Ownership::Free(owner.clone())),
                    expect_addresses: None,
                    ownership: Some(Ownership::Claimed(ANOTHER, Some(owner))),
                    addresses: None,
                    srv: Vec::new(),
                };
                mishap.before = vec![(0, Happening::Arrives(Message::Update(claim.into())))];
            }
        }
        // Once another has it the zone takes everything: what is sent now counts.
        if call.method == Method::Swap && !*self.claimed.lock().unwrap() {
            mishap.fault = Some(PortFault::Hang);
        }
        mishap
    }
}

/// A claim that goes back is looked at, read once more to be changed, and changed: whose it is in between counts.
#[test]
fn what_another_daemon_claims_at_any_moment_is_never_taken_from_it() {
    let mut times = 0;
    for before in 1..60 {
        let claimed = Arc::new(Mutex::new(false));
        let director = ClaimedByAnother {
            asked: 0,
            before,
            claimed: claimed.clone(),
        };
        let (mut simulation, _answer) =
            kind().begin_with(Box::new(director), Protocol::default(), WorldRules::default());
        simulation.run(600_000, |_| false);
        if *claimed.lock().unwrap() {
            times += 1;
            let inner = simulation.shared.lock();
            let stands = standing(&inner.world);
            assert!(
                matches!(stands, Some(Ownership::Claimed(ANOTHER, _))),
                "question {before}: {stands:?}"
            );
            let jobs = inner.world.tables.values().flat_map(|table| table.jobs.values());
            let results: Vec<_> = jobs.filter_map(|job| job.result.as_deref()).collect();
            assert_eq!(
                results,
                ["failed"],
                "question {before}: it looks again, and is not stuck"
            );
        }
    }
    assert!(times > 5, "{times} times only");
}
