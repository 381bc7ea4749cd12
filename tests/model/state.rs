//! States of the checker, in a normal form: what makes no difference to anything that can happen is made equal.
//!
//! Time stands still at [`SimWorld::BEGINNING`]. What was to be over at some time is over when the checker says so: it
//! then carries time 0, which is longer ago than any limit. So every deadline, TTL and silence passes at any moment, or
//! never.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use handoverd::adapters::sim::happening::{Happening, Message};
use handoverd::adapters::sim::table::SimTable;
use handoverd::adapters::sim::world::{SimGuest, SimWorld};
use handoverd::handover::driver::Memory;
use handoverd::handover::goals::Goal;
use handoverd::handover::machine::{Phase, State as At};
use handoverd::handover::record::{Handover, Since};
use handoverd::model::ids::Attempt;

use super::answers::Answer;
use super::judge::Kinds;
use super::life::{Actor, Carry, Life};

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Whole {
    pub world: SimWorld,
    /// The coordinators.
    pub actors: Vec<Actor>,
    /// Who carries duties, by table.
    pub carriers: Vec<Option<Arc<Carry>>>,
    /// What is broken.
    pub broken: Kinds,
}

/// A state: everything, and its key, by which it is known again.
#[derive(Debug, Clone)]
pub struct State {
    pub whole: Arc<Whole>,
    pub key: u64,
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.key);
    }
}

impl State {
    /// The state of these parts, in its normal form; what is broken is not told yet.
    pub fn of(mut whole: Whole) -> Self {
        whole.broken = Kinds::default();
        normalize(&mut whole);
        let mut hasher = Murmur(0);
        whole.hash(&mut hasher);
        Self {
            whole: Arc::new(whole),
            key: hasher.finish(),
        }
    }

    /// With what is broken in it.
    pub fn with(mut self, broken: Kinds) -> Self {
        if !broken.is_empty() {
            Arc::make_mut(&mut self.whole).broken = broken;
        }
        self
    }
}

/// A world without anything, in the place of one that is taken out for a step.
pub fn nothing() -> SimWorld {
    SimWorld::empty(&[], &"hv1".parse().unwrap())
}

/// MurmurHash3's mixing, one word of 64 bits at a time: a state has some thousand of them, and the library's own hash took
/// a third of all time.
struct Murmur(u64);

impl Murmur {
    fn mix(&mut self, word: u64) {
        let word = word.wrapping_mul(0x87c3_7b91_1142_53d5).rotate_left(31);
        self.0 ^= word.wrapping_mul(0x4cf5_ad43_2745_937f);
        self.0 = self.0.rotate_left(27).wrapping_mul(5).wrapping_add(0x52dc_e729);
    }
}

impl Hasher for Murmur {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(last));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.mix(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    fn finish(&self) -> u64 {
        let mut key = self.0;
        key = (key ^ (key >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        key = (key ^ (key >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        key ^ (key >> 33)
    }
}

/// Units that were started so often and are not up do not start.
const STARTS: u32 = 2;

fn normalize(whole: &mut Whole) {
    let world = &mut whole.world;
    normalize_boots(world);
    let now = world.now;
    world.zone.cached.retain(|_, until| *until > now);
    for guest in world.guests.values_mut() {
        for copy in guest.copies.values_mut() {
            copy.waits_until = copy.waits_until.filter(|until| *until > now);
        }
    }
    // What was lost stays lost; else the number of writes makes no difference.
    for (path, volume) in &mut world.volumes {
        let written = world.acknowledged.entry(path.clone()).or_default();
        volume.synced = u64::from(volume.synced >= *written);
        *written = 1;
    }
    for table in world.tables.values_mut() {
        normalize_table(table, now);
    }
    let agenda = std::mem::take(&mut world.agenda);
    world.next_entry = 0;
    for (_, happening) in agenda {
        world.schedule(0, happening);
    }
    renumber(whole);
}

/// The normal form of what a daemon knows between two rounds; one that `believes` its acts counts its waits since.
pub fn normalize_memory(memory: &mut Memory, believes: bool) {
    normalize_handover(&mut memory.handover, believes);
    memory.at.last.clear();
    memory.at.said.clear();
    memory.at.again_in = None;
    memory.at.began = SimWorld::BEGINNING;
    memory.at.waits = if believes { memory.at.waits.min(1) } else { 0 };
    if !matches!(
        memory.handover.state,
        At::At {
            goal: Goal::Confirm | Goal::Publish,
            ..
        }
    ) {
        memory.seen.confirmed_at = None;
    }
}

/// Starts are counted up to [`STARTS`]; how often another act was done makes no difference.
fn normalize_handover(handover: &mut Handover, believes: bool) {
    handover.reason = None;
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

fn normalize_table(table: &mut SimTable, now: u64) {
    table.journal.clear();
    table.audit.clear();
    for service in table.services.values_mut() {
        service.frozen = service.frozen.take().map(|_| String::new());
    }
    for duty in table.duties.values_mut() {
        if duty.serve_until <= now {
            duty.serve_until = 0;
        }
    }
    for job in table.jobs.values_mut() {
        job.error_name.clear();
        job.error_details.clear();
        job.started_by.clear();
        if job.result.as_deref() == Some("cancelled") {
            job.result = Some("failed".to_owned());
        }
    }
    for row in table.handovers.values_mut() {
        let job = &table.jobs[&row.handover.job];
        normalize_handover(&mut row.handover, false);
        row.handover.state = row.handover.state.after_restart();
        // Of one that has ended only the outcome matters.
        if job.result.as_deref().is_some_and(|result| result != "stuck") {
            let facts = &mut row.handover.facts;
            (facts.silent, facts.revoked) = (None, None);
            (facts.gap, facts.gap_began) = (None, None);
            (facts.published_at, facts.observed_at, facts.spread_at) = (None, None, None);
            (facts.sent, facts.claim_sent, facts.claim_seen) = (false, false, false);
            (facts.old_owner, facts.old_ttl) = (None, 0);
            (facts.target_addresses, facts.displaced) = (Vec::new(), None);
            facts.old_addresses.clear();
        }
    }
}

/// Boots are told apart only as now and before; a script of an earlier boot is lost.
fn normalize_boots(world: &mut SimWorld) {
    let boots: BTreeMap<_, _> = world
        .guests
        .iter()
        .map(|(id, guest)| (*id, guest.boots))
        .collect();
    world.agenda.retain(|_, happening| match happening {
        Happening::Booted(guest, boot) => boots.get(guest) == Some(boot),
        Happening::Arrives(Message::Script { guest, boot, .. }) => boots.get(guest) == Some(boot),
        _ => true,
    });
    for happening in world.agenda.values_mut() {
        match happening {
            Happening::Booted(_, boot) | Happening::Arrives(Message::Script { boot, .. }) => *boot = 1,
            _ => {}
        }
    }
    for guest in world.guests.values_mut() {
        guest.boots = 1;
    }
}

/// Attempt numbers keep their order and lose their size. A script of a lower attempt than its guest has seen never does
/// anything: it is lost. Where nothing is under way to a guest, and there is one coordinator, the guest's own number
/// makes no difference: the next one is higher.
fn renumber(whole: &mut Whole) {
    let alone = whole.actors.len() == 1;
    let world = &mut whole.world;
    if world.rules.attempts {
        let seen: BTreeMap<_, _> = world
            .guests
            .iter()
            .map(|(id, guest)| (*id, attempt_of(guest)))
            .collect();
        world.agenda.retain(|_, happening| match happening {
            Happening::Arrives(Message::Script { guest, attempt, .. }) => *attempt >= seen[guest],
            _ => true,
        });
    }
    if alone {
        for guest in world.guests.values_mut() {
            for copy in guest.copies.values_mut() {
                copy.attempt = Attempt(0);
            }
        }
    }
    let mut seen = BTreeSet::from([0]);
    each_number(&mut whole.world, &mut |attempt| {
        seen.insert(attempt.0);
    });
    seen.extend(histories(whole).flatten().filter_map(|answer| match answer {
        Answer::Attempt(Ok(attempt)) => Some(attempt.0),
        _ => None,
    }));
    let ranks: BTreeMap<u64, u64> = seen.into_iter().zip(0..).collect();
    if ranks.iter().all(|(number, rank)| number == rank) {
        return;
    }
    let rank = &mut |attempt: &mut Attempt| attempt.0 = ranks[&attempt.0];
    each_number(&mut whole.world, rank);
    for actor in &mut whole.actors {
        if let Actor::Driving(life) = actor {
            each_answer(&mut Arc::make_mut(life).history, rank);
        }
    }
    for carrier in whole.carriers.iter_mut().flatten() {
        each_answer(&mut Arc::make_mut(carrier).history, rank);
    }
}

fn attempt_of(guest: &SimGuest) -> Attempt {
    guest
        .copies
        .values()
        .map(|copy| copy.attempt)
        .max()
        .unwrap_or_default()
}

fn histories(whole: &Whole) -> impl Iterator<Item = &Vec<Answer>> {
    let lives = whole.actors.iter().filter_map(|actor| match actor {
        Actor::Driving(life) => Some(&life.history),
        _ => None,
    });
    lives.chain(whole.carriers.iter().flatten().map(|carry| &carry.history))
}

fn each_number(world: &mut SimWorld, visit: &mut impl FnMut(&mut Attempt)) {
    for guest in world.guests.values_mut() {
        for copy in guest.copies.values_mut() {
            visit(&mut copy.attempt);
        }
    }
    for table in world.tables.values_mut() {
        table.attempts.values_mut().for_each(&mut *visit);
    }
    for happening in world.agenda.values_mut() {
        if let Happening::Arrives(Message::Script { attempt, .. }) = happening {
            visit(attempt);
        }
    }
}

fn each_answer(history: &mut [Answer], visit: &mut impl FnMut(&mut Attempt)) {
    for answer in history {
        if let Answer::Attempt(Ok(attempt)) = answer {
            visit(attempt);
        }
    }
}

/// Something that is over when enough time has passed. The deadline of a goal is not among them: see `Turn::Overdue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Span {
    /// A confirmation is fresh.
    Confirmation,
    /// An agent's silence is borne.
    Silence,
    /// A guest that lost its licence has time to stop.
    Stopping,
    /// A source that was started again is waited for.
    Restored,
}

/// All of them.
pub const SPANS: [Span; 4] = [Span::Confirmation, Span::Silence, Span::Stopping, Span::Restored];

fn age(since: &mut Option<Since>) -> bool {
    since
        .as_mut()
        .is_some_and(|since| std::mem::replace(&mut since.at, 0) != 0)
}

/// A span of a coordinator is over; `None` where it does not run. Between two rounds only: within one no time passes that
/// it looks at.
pub fn pass(
    span: Span,
    world: &mut SimWorld,
    owner: &handoverd::model::ids::HostId,
    life: &Life,
) -> Option<Life> {
    if !life.history.is_empty() {
        return None;
    }
    let mut life = life.clone();
    let memory = &mut life.memory;
    let row = world
        .tables
        .get_mut(owner)
        .and_then(|table| table.handovers.get_mut(&life.job))
        .map(|row| &mut row.handover.facts);
    let passed = match span {
        Span::Confirmation => memory.seen.confirmed_at.take().is_some(),
        Span::Silence => {
            let journalled = row.is_some_and(|facts| age(&mut facts.silent));
            age(&mut memory.handover.facts.silent) || journalled
        }
        Span::Stopping => {
            let journalled = row.is_some_and(|facts| age(&mut facts.revoked));
            age(&mut memory.handover.facts.revoked) || journalled
        }
        Span::Restored => {
            let at = memory.seen.restored_at.as_mut();
            at.is_some_and(|at| std::mem::replace(at, 0) != 0)
        }
    };
    passed.then_some(life)
}
