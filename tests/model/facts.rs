//! What a handover knows and nobody asks for any more: made equal, so that it does not tell states apart.

use handoverd::handover::goals::{Goal, goals};
use handoverd::handover::machine::{Direction, Phase, State as At};
use handoverd::handover::record::{ClaimedFrom, Facts, Handover};
use handoverd::model::name::Ownership;

use super::life::Actor;
use super::state::{self, Whole};

/// Units that were started so often and are not up do not start.
const STARTS: u32 = 2;

fn index(handover: &Handover, goal: Goal) -> Option<usize> {
    goals(handover.kind).iter().position(|other| *other == goal)
}

/// The way that a handover goes and the goal where it stands, or is stuck.
fn place(handover: &Handover) -> Option<(Direction, Goal)> {
    match handover.state {
        At::At { direction, goal, .. } | At::Stuck { direction, goal } => Some((direction, goal)),
        At::Done { .. } | At::Undone => None,
    }
}

/// Whether a goal is at hand or still to come on the way forward. What goes back never comes to it again: it only turns at
/// the commit, which is behind all of them that are asked for here.
pub fn is_to_come(handover: &Handover, goal: Goal) -> bool {
    let at = place(handover).filter(|(direction, _)| *direction == Direction::Forward);
    at.is_some_and(|(_, at)| index(handover, at) <= index(handover, goal))
}

/// Whether the undo of a goal is at hand or still to come on the way back.
fn is_to_be_undone(handover: &Handover, goal: Goal) -> bool {
    let at = place(handover).filter(|(direction, _)| *direction == Direction::Back);
    at.is_some_and(|(_, at)| index(handover, at) >= index(handover, goal))
}

/// Starts are counted up to [`STARTS`]; how often another act was done makes no difference. Nor does how long nobody served;
/// and as time stands still, the commit was now wherever it was.
pub fn normalize(handover: &mut Handover, believes: bool, waits: bool) {
    handover.reason = None;
    if !waits {
        state::age(&mut handover.facts.silent);
        state::age(&mut handover.facts.revoked);
    }
    forget_silence(handover);
    let (quiesces, observes) = (
        is_to_come(handover, Goal::Quiesce),
        is_to_come(handover, Goal::Observe),
    );
    let facts = &mut handover.facts;
    (facts.gap, facts.published_at) = (None, None);
    if !quiesces {
        facts.gap_began = None;
    }
    if !observes {
        (facts.observed_at, facts.observed_row) = (None, None);
    }
    if let At::At {
        goal, phase, tries, ..
    } = &mut handover.state
    {
        *tries = match (*goal, *phase) {
            (Goal::Start, _) => (*tries).min(STARTS),
            (_, Phase::Acting) => 1,
            _ if believes => (*tries).min(1),
            _ => 0,
        };
    }
}

/// That a guest is silent, or lost its licence, is asked for by the goals that work on it: the source's by observe and
/// quiesce on the way forward, the target's by the undos of stage, adopt and start. What is known of the other guest then
/// is as nothing: it is looked for by its guest, and replaced.
fn forget_silence(handover: &mut Handover) {
    let source = handover.source.as_ref().map(|place| place.guest);
    let target = Some(handover.target.guest);
    let of_source = is_to_come(handover, Goal::Quiesce);
    let of_target = is_to_be_undone(handover, Goal::Stage);
    let stops_target = is_to_be_undone(handover, Goal::Start);
    let facts = &mut handover.facts;
    facts.silent = facts.silent.filter(|since| {
        (of_source && source == Some(since.guest)) || (of_target && target == Some(since.guest))
    });
    facts.revoked = facts.revoked.filter(|since| {
        (of_source && source == Some(since.guest)) || (stops_target && target == Some(since.guest))
    });
}

/// Of a handover that has ended only the outcome matters, and what the invariants ask of it.
pub fn keep_outcome(handover: &mut Handover) {
    if let At::Done { owed } = &mut handover.state {
        *owed = false;
    }
    let facts = &mut handover.facts;
    (facts.silent, facts.revoked) = (None, None);
    (facts.observed_at, facts.observed_row, facts.spread_at) = (None, None, None);
    (facts.sent, facts.claim_sent, facts.claim_seen, facts.claim_again) = (false, false, false, false);
    facts.claimed_from.clear();
    (facts.old_owner, facts.old_ttl) = (None, 0);
    (facts.lowering, facts.lead) = (None, None);
    (facts.target_addresses, facts.displaced) = (Vec::new(), None);
    facts.old_addresses.clear();
    facts.unasked.clear();
}

/// How often a claim was sent, and whether it was seen, is asked for only while what it expects stands in the zone: no text
/// comes twice. Where it is sent anew from another owner, that is again the second time.
pub fn forget_claims(whole: &mut Whole) {
    if !claims(whole) {
        return;
    }
    let stands: Vec<Ownership> = whole
        .world
        .zone
        .names
        .values()
        .flat_map(|records| &records.ownership)
        .filter_map(|text| text.parse().ok())
        .collect();
    // What it was sent for and does not stand will not stand again; and that it was sent for the owner before is known without.
    let from = |facts: &Facts| {
        let from = facts.claimed_from.iter();
        let mut left: Vec<_> = from
            .filter(|from| from.ownership.as_ref().is_none_or(|text| stands.contains(text)))
            .cloned()
            .collect();
        let last = ClaimedFrom {
            ownership: facts.old_owner.clone().map(Ownership::Free),
            addresses: facts.old_addresses.clone(),
        };
        if left == [last] {
            left.clear();
        }
        left
    };
    let is_over = |facts: &Facts| {
        let before = facts.old_owner.clone().map(Ownership::Free);
        facts.claim_sent
            && before.is_some_and(|before| !stands.contains(&before))
            && from(facts).is_empty()
            && (facts.claim_again || facts.claim_seen)
    };
    let is_past = |facts: &Facts| is_over(facts) || facts.claimed_from != from(facts);
    let forget = |facts: &mut Facts| {
        facts.claimed_from = from(facts);
        if is_over(facts) {
            (facts.claim_again, facts.claim_seen) = (false, false);
        }
    };
    for table in whole.world.tables.values_mut() {
        if table.handovers.values().any(|row| is_past(&row.handover.facts)) {
            let rows = table.handovers.values_mut();
            rows.filter(|row| is_past(&row.handover.facts))
                .for_each(|row| forget(&mut row.handover.facts));
        }
    }
    for actor in &mut whole.actors {
        // What was answered in the middle of a round is played again with the memory that it was asked with.
        if let Actor::Driving(life) = actor
            && life.history.is_empty()
            && is_past(&life.memory.handover.facts)
        {
            forget(&mut life.memory.handover.facts);
        }
    }
}

/// Whether any handover has sent a claim.
fn claims(whole: &Whole) -> bool {
    let claims = |facts: &Facts| facts.claim_sent || !facts.claimed_from.is_empty();
    let mut tables = whole.world.tables.values();
    let mut actors = whole.actors.iter();
    tables.any(|table| table.handovers.values().any(|row| claims(&row.handover.facts)))
        || actors.any(|actor| matches!(actor, Actor::Driving(life) if claims(&life.memory.handover.facts)))
}
