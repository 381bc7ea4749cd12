//! Which steps are explored first, where their order makes no difference: a partial-order reduction for two daemons.
//!
//! Where a daemon can only do what nobody else sees, and what it comes to depends on nothing that anybody else can still
//! do, its steps are the only ones explored: whatever else happens can as well happen behind them. Each of them brings it
//! nearer to its end, so nothing is put off for ever. Faults of its calls, its death and its deadlines are among its steps.

use handoverd::adapters::sim::call::Method;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::handover::goals::Goal;
use handoverd::handover::machine::{Direction, Phase, State as At};
use handoverd::handover::record::Handover;
use handoverd::model::ids::HostId;
use handoverd::model::name::Ownership;

use super::answers::Answer;
use super::life::Actor;
use super::script::Next;
use super::state::Whole;

/// The coordinator whose steps are explored first; `None`: every step is.
pub fn first(whole: &Whole, owners: &[HostId]) -> Option<usize> {
    let actors = whole.actors.iter().zip(owners);
    let mut all = actors.enumerate();
    let found = all.find(|(_, (actor, owner))| match actor {
        // It makes its job: in its own table alone.
        Actor::Asked(_) => true,
        Actor::Driving(life) => {
            let handover = &life.memory.handover;
            let At::At {
                direction,
                goal: Goal::Reserve,
                phase,
                ..
            } = handover.state
            else {
                return false;
            };
            match life.next {
                Next::Call(call) if call.method == Method::Swap => swaps_in_vain(&whole.world, &life.history),
                Next::Call(call) if call.method == Method::ReadName => {
                    let looks = (direction, phase) == (Direction::Back, Phase::Looking);
                    looks && life.history.is_empty() && has_nothing_to_release(&whole.world, handover)
                }
                _ => false,
            }
        }
        // It is stuck where nothing is left to be done: it is resumed, and ends.
        Actor::Ended => {
            let table = &whole.world.tables[*owner];
            let mut stuck = table
                .stuck()
                .into_iter()
                .map(|job| &table.handovers[&job].handover);
            stuck.any(|handover| {
                let at = At::Stuck {
                    direction: Direction::Back,
                    goal: Goal::Reserve,
                };
                handover.state == at && has_nothing_to_release(&whole.world, handover)
            })
        }
    });
    found.map(|(index, _)| index)
}

fn standing(world: &SimWorld) -> Vec<&String> {
    world
        .zone
        .names
        .values()
        .flat_map(|records| &records.ownership)
        .collect()
}

/// Its UPDATE expects a text that it has read, which does not stand any more. No text comes twice, so it never will.
fn swaps_in_vain(world: &SimWorld, history: &[handoverd::adapters::sim::part::Part<Answer>]) -> bool {
    let read = history.iter().rev().find_map(|answer| match &**answer {
        Answer::Name(Ok(records)) => Some(&records.ownership),
        _ => None,
    });
    read.is_some_and(|read| read.iter().collect::<Vec<_>>() != standing(world))
}

/// Neither its claim stands in the zone nor what its claim expects, and both never will again: the undo of its claim finds
/// nothing to do, whenever it looks.
fn has_nothing_to_release(world: &SimWorld, handover: &Handover) -> bool {
    let before = &handover.facts.old_owner;
    handover.facts.claim_sent
        && standing(world).into_iter().all(|text| match text.parse() {
            Ok(Ownership::Claimed(id, _) | Ownership::Aborted(id, _)) => id != handover.id,
            Ok(Ownership::Free(owner)) => before.as_ref() != Some(&owner),
            Err(_) => false,
        })
}
