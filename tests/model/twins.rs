//! Two daemons with a table each are twins: who is called the first makes no difference, nor which text stands behind an
//! owner that nobody will write again.
//!
//! **Why that is sound.** Both have the same bundles, the same row of the service, and were asked for the same move. All that
//! tells them apart is whose table and whose place among the actors each has, and the number of its handover, which is
//! compared for equality alone. So a state and the one with both exchanged have the same future, exchanged, and the
//! invariants ask for no name. Of such a pair one is explored.
//!
//! ` after=<handover>` behind an owner is compared for equality alone too. Of a handover that has ended nobody writes it any
//! more, and where two daemons race no message that was sent with it is under way. So where all that is known of the owner
//! before is one and the same text, another one in its place makes no difference.

use std::hash::{Hash, Hasher};

use handoverd::adapters::sim::part::{Mixer, Part};
use handoverd::adapters::sim::table::SimTable;
use handoverd::handover::record::Handover;
use handoverd::model::ids::{Generation, HandoverId};
use handoverd::model::name::{NameRecords, Owner, Ownership};
use handoverd::ports::Swapped;

use super::answers::Answer;
use super::life::Actor;
use super::state::Whole;

/// The generation that the service has before anybody has moved it.
const BEFORE: Generation = Generation(1);

/// What is put in the place of a handover's number, and of an owner.
struct Change<'c> {
    id: &'c dyn Fn(HandoverId) -> HandoverId,
    owner: &'c dyn Fn(&Owner) -> Owner,
}

impl Change<'_> {
    fn ownership(&self, text: &Ownership) -> Ownership {
        let owner = |owner: &Option<Owner>| owner.as_ref().map(self.owner);
        match text {
            Ownership::Free(owner) => Ownership::Free((self.owner)(owner)),
            Ownership::Claimed(id, before) => Ownership::Claimed((self.id)(*id), owner(before)),
            Ownership::Aborted(id, before) => Ownership::Aborted((self.id)(*id), owner(before)),
        }
    }

    fn records(&self, records: &mut NameRecords) {
        for text in &mut records.ownership {
            if let Ok(parsed) = text.parse::<Ownership>() {
                *text = self.ownership(&parsed).to_string();
            }
        }
    }

    fn handover(&self, handover: &mut Handover) {
        handover.id = (self.id)(handover.id);
        let before = &mut handover.facts.old_owner;
        *before = before.as_ref().map(self.owner);
        for from in &mut handover.facts.claimed_from {
            from.ownership = from.ownership.as_ref().map(|text| self.ownership(text));
        }
    }

    fn answer(&self, answer: &mut Answer) {
        match answer {
            Answer::Name(Ok(records)) | Answer::Swapped(Ok(Swapped::No(records))) => self.records(records),
            Answer::Begun(Ok(handover)) | Answer::Handover(Ok(Some(handover))) => self.handover(handover),
            Answer::Handovers(Ok(all)) => all.iter_mut().for_each(|handover| self.handover(handover)),
            Answer::Authorities(Ok(all)) => {
                let told = all.iter_mut().filter_map(|(_, kept)| kept.as_mut().ok());
                told.for_each(|records| self.records(records));
            }
            _ => {}
        }
    }

    fn history(&self, history: &mut [Part<Answer>]) {
        for answer in history.iter_mut().filter(|answer| names(answer)) {
            self.answer(answer);
        }
    }

    fn apply(&self, whole: &mut Whole) {
        for records in whole.world.zone.names.values_mut() {
            self.records(records);
        }
        for table in whole.world.tables.values_mut() {
            for row in table.handovers.values_mut() {
                self.handover(&mut row.handover);
            }
        }
        for actor in &mut whole.actors {
            match actor {
                Actor::Asked(asked) => self.handover(&mut asked.1),
                Actor::Driving(life) => {
                    self.handover(&mut life.memory.handover);
                    self.history(&mut life.history);
                }
                Actor::Ended => {}
            }
        }
        for carrier in whole.carriers.iter_mut().flatten() {
            self.history(&mut carrier.history);
        }
    }
}

/// Whether an answer may name a handover or an owner.
fn names(answer: &Answer) -> bool {
    matches!(
        answer,
        Answer::Name(_)
            | Answer::Swapped(_)
            | Answer::Begun(_)
            | Answer::Handover(_)
            | Answer::Handovers(_)
            | Answer::Authorities(_)
    )
}

/// Of a state and the one with both daemons exchanged, always the same one.
pub fn choose(whole: &mut Whole) {
    let ranks: Vec<u64> = whole.actors.iter().map(rank).collect();
    match ranks[0].cmp(&ranks[1]) {
        std::cmp::Ordering::Less => {}
        std::cmp::Ordering::Greater => exchange(whole),
        std::cmp::Ordering::Equal => {
            let mut other = whole.clone();
            exchange(&mut other);
            if hash(&other) < hash(whole) {
                *whole = other;
            }
        }
    }
}

fn exchange(whole: &mut Whole) {
    whole.actors.reverse();
    whole.carriers.reverse();
    let mut tables = whole.world.tables.values_mut();
    if let (Some(one), Some(other)) = (tables.next(), tables.next()) {
        std::mem::swap(one, other);
    }
    let id = |id: HandoverId| HandoverId(uuid::Uuid::from_u128(3_u128.saturating_sub(id.0.as_u128())));
    let owner = |owner: &Owner| Owner {
        after: owner.after.map(id),
        ..owner.clone()
    };
    let change = Change {
        id: &id,
        owner: &owner,
    };
    change.apply(whole);
}

fn hash(what: &impl Hash) -> u64 {
    let mut mixer = Mixer::default();
    what.hash(&mut mixer);
    mixer.finish()
}

/// Where a coordinator is, as far as that is the same by any name.
fn rank(actor: &Actor) -> u64 {
    match actor {
        Actor::Asked(_) => 0,
        Actor::Ended => 1,
        Actor::Driving(life) => {
            let place = (life.memory.handover.state, life.next, life.history.len());
            hash(&place).max(2)
        }
    }
}

/// What is known of the owner before, where it is one and the same everywhere and who wrote it has ended, is as it was at the
/// beginning.
pub fn forget_author(whole: &mut Whole) {
    let ended: Vec<HandoverId> = whole.world.tables.values().flat_map(ended).collect();
    if ended.is_empty() {
        return;
    }
    let mut known: Vec<Owner> = Vec::new();
    each_owner(whole, &mut |owner| {
        if owner.generation == BEFORE && !known.contains(owner) {
            known.push(owner.clone());
        }
    });
    let [one] = known.as_slice() else { return };
    if !one.after.is_some_and(|author| ended.contains(&author)) {
        return;
    }
    let owner = |owner: &Owner| Owner {
        after: owner.after.filter(|_| owner.generation != BEFORE),
        ..owner.clone()
    };
    let change = Change {
        id: &|id| id,
        owner: &owner,
    };
    change.apply(whole);
}

/// The handovers that have ended.
fn ended(table: &Part<SimTable>) -> impl Iterator<Item = HandoverId> {
    let rows = table.handovers.iter().filter(|(job, _)| {
        let result = table.jobs[job].result.as_deref();
        result.is_some_and(|result| result != "stuck")
    });
    rows.map(|(_, row)| row.handover.id)
}

fn each_owner(whole: &Whole, note: &mut impl FnMut(&Owner)) {
    for table in whole.world.tables.values() {
        for row in table.handovers.values() {
            of_handover(&row.handover, note);
        }
    }
    for records in whole.world.zone.names.values() {
        of_records(records, note);
    }
    for actor in &whole.actors {
        if let Actor::Driving(life) = actor {
            of_handover(&life.memory.handover, note);
            life.history.iter().for_each(|answer| of_answer(answer, note));
        }
    }
    for carrier in whole.carriers.iter().flatten() {
        carrier.history.iter().for_each(|answer| of_answer(answer, note));
    }
}

fn of_ownership(text: &Ownership, note: &mut impl FnMut(&Owner)) {
    match text {
        Ownership::Free(owner) => note(owner),
        Ownership::Claimed(_, before) | Ownership::Aborted(_, before) => before.iter().for_each(note),
    }
}

fn of_records(records: &NameRecords, note: &mut impl FnMut(&Owner)) {
    let texts = records.ownership.iter().filter_map(|text| text.parse().ok());
    texts.for_each(|text| of_ownership(&text, note));
}

fn of_handover(handover: &Handover, note: &mut impl FnMut(&Owner)) {
    handover.facts.old_owner.iter().for_each(&mut *note);
    let claimed = handover.facts.claimed_from.iter();
    let texts = claimed.filter_map(|from| from.ownership.as_ref());
    texts.for_each(|text| of_ownership(text, note));
}

fn of_answer(answer: &Answer, note: &mut impl FnMut(&Owner)) {
    match answer {
        Answer::Name(Ok(records)) | Answer::Swapped(Ok(Swapped::No(records))) => of_records(records, note),
        Answer::Begun(Ok(handover)) | Answer::Handover(Ok(Some(handover))) => of_handover(handover, note),
        Answer::Handovers(Ok(all)) => all.iter().for_each(|handover| of_handover(handover, note)),
        Answer::Authorities(Ok(all)) => {
            let told = all.iter().filter_map(|(_, kept)| kept.as_ref().ok());
            told.for_each(|records| of_records(records, note));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use stateright::Model as _;

    use crate::cases::{Case, Rules};
    use crate::explore::Space;
    use crate::life::Fate;
    use crate::state::State;
    use crate::steps::{Step, Turn};

    /// The first of these daemons does its next call again and again, the other one nothing.
    fn alone(space: &Space, index: usize, calls: usize) -> State {
        let go = |state: &State, index| {
            let step = Step::Coordinator(index, Turn::Call(Fate::Goes));
            space.next_state(state, step).expect("a call that can be made")
        };
        let first = space.init_states().remove(0);
        let begun = go(&go(&first, 0), 0);
        assert_eq!(begun.whole.world.tables.len(), 2);
        let mut state = go(&begun, index);
        for _ in 1..calls {
            // Who has done more is not always called the same.
            let history = |index: usize| format!("{:?}", state.whole.actors[index]).len();
            let index = usize::from(history(1) > history(0));
            state = go(&state, index);
        }
        state
    }

    #[test]
    fn whichever_of_two_daemons_goes_on_alone_the_same_states_are_reached() {
        let space = Space::new(*Case::named("two coordinators"), Rules::all());
        for calls in 1..8 {
            let (one, other) = (alone(&space, 0, calls), alone(&space, 1, calls));
            assert_eq!(one.key, other.key, "after {calls} calls");
            assert_eq!(one.whole, other.whole, "after {calls} calls");
        }
    }
}
