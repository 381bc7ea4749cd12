//! States of the checker, in a normal form: what makes no difference to anything that can happen is made equal.
//!
//! Time stands still at [`SimWorld::BEGINNING`]. What was to be over at some time is over when the checker says so: it
//! then carries time 0, which is longer ago than any limit. So every deadline, TTL and silence passes at any moment, or
//! never.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use handoverd::adapters::sim::happening::{Happening, Message};
use handoverd::adapters::sim::part::{Mixer, Part};
use handoverd::adapters::sim::table::SimTable;
use handoverd::adapters::sim::world::{Power, SimCopy, SimGuest, SimWorld};
use handoverd::handover::driver::Memory;
use handoverd::handover::goals::Goal;
use handoverd::handover::machine::State as At;
use handoverd::handover::record::{Facts, Since};
use handoverd::model::ids::{Attempt, GuestId, HostId};
use handoverd::model::lifecycle::ShutoffReason;

use super::answers::Answer;
use super::judge::Kinds;
use super::life::{Actor, Carry, Life};
use super::{facts, twins};

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Whole {
    pub world: SimWorld,
    /// The coordinators.
    pub actors: Vec<Actor>,
    /// Who carries duties, by table.
    pub carriers: Vec<Option<Part<Carry>>>,
    /// Whether spans pass by a step of their own; else each is over once it was waited for.
    pub waits: bool,
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
    /// The state of these parts, in its normal form; what is broken is not told yet. What it shares with the state
    /// `before` is in its normal form already.
    pub fn of(mut whole: Whole, before: Option<&Whole>) -> Self {
        whole.broken = Kinds::default();
        normalize(&mut whole, before);
        let mut hasher = Mixer::default();
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

fn normalize(whole: &mut Whole, before: Option<&Whole>) {
    let world = &mut whole.world;
    lose_scripts(world);
    let now = world.now;
    if world.zone.cached.values().any(|until| *until <= now) {
        world.zone.cached.retain(|_, until| *until > now);
    }
    for (id, guest) in &mut world.guests {
        let known = before.and_then(|before| before.world.guests.get(id));
        if known.is_none_or(|known| !guest.is_shared(known)) {
            normalize_guest(guest, now);
        }
    }
    // What was lost stays lost; else the number of writes makes no difference.
    for (path, volume) in &mut world.volumes {
        let written = world.acknowledged.entry(path.clone()).or_default();
        volume.synced = u64::from(volume.synced >= *written);
        *written = 1;
    }
    for (host, table) in &mut world.tables {
        let known = before.and_then(|before| before.world.tables.get(host));
        if known.is_none_or(|known| !table.is_shared(known)) {
            normalize_table(table, now, whole.waits);
        }
    }
    let agenda = std::mem::take(&mut world.agenda);
    world.next_entry = 0;
    for (_, happening) in agenda {
        world.schedule(0, happening);
    }
    renumber(whole);
    facts::forget_claims(whole);
    if whole.world.tables.len() == 2 {
        twins::forget_author(whole);
        twins::choose(whole);
    }
}

/// A script of an earlier boot is lost, and so is one of a lower attempt than its guest has seen: it never does anything.
/// Boots are told apart only as now and before.
fn lose_scripts(world: &mut SimWorld) {
    let (guests, attempts) = (&world.guests, world.rules.attempts);
    world.agenda.retain(|_, happening| match happening {
        Happening::Booted(guest, boot) => guests.get(guest).is_some_and(|g| g.boots == *boot),
        Happening::Arrives(Message::Script {
            guest, boot, attempt, ..
        }) => guests
            .get(guest)
            .is_some_and(|g| g.boots == *boot && (!attempts || *attempt >= attempt_of(g))),
        _ => true,
    });
    for happening in world.agenda.values_mut() {
        match happening {
            Happening::Booted(_, boot) | Happening::Arrives(Message::Script { boot, .. }) => *boot = 1,
            _ => {}
        }
    }
}

/// Nobody asks why a guest was off. What a copy was before its guest went off is found anew when it boots, and one without
/// anything is as none.
fn normalize_guest(guest: &mut SimGuest, now: u64) {
    guest.off = ShutoffReason::Unknown;
    guest.boots = 1;
    let off = guest.power == Power::Off;
    for copy in guest.copies.values_mut() {
        copy.waits_until = copy.waits_until.filter(|until| *until > now);
        copy.down_since_boot &= !off;
    }
    guest.copies.retain(|_, copy| *copy != SimCopy::default());
}

/// The normal form of what a daemon knows between two rounds; one that `believes` its acts counts its waits since.
pub fn normalize_memory(memory: &mut Memory, believes: bool, waits: bool) {
    facts::normalize(&mut memory.handover, believes, waits);
    if !waits && memory.seen.restored_at.is_some() {
        memory.seen.restored_at = Some(0);
    }
    // What the stage goal saw of the target is asked for by the start goal's first look alone.
    let starts = memory.handover.facts.wants_running() && facts::is_to_come(&memory.handover, Goal::Start);
    if !starts {
        memory.seen.staged = None;
    }
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

/// A script that was not answered is told of only while one is under way: where none is, what supersedes it changes
/// nothing but the number of the next attempt.
pub fn forget_answered(world: &SimWorld, memory: &mut Part<Memory>) {
    let is_under_way = |guest: &GuestId| {
        let mut agenda = world.agenda.values();
        agenda.any(|happening| matches!(happening, Happening::Arrives(Message::Script { guest: to, .. }) if to == guest))
    };
    if !memory.seen.unanswered.iter().all(is_under_way) {
        memory.seen.unanswered.retain(is_under_way);
    }
}

fn normalize_table(table: &mut SimTable, now: u64, waits: bool) {
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
        facts::normalize(&mut row.handover, false, waits);
        row.handover.state = row.handover.state.after_restart();
        if job.result.as_deref().is_some_and(|result| result != "stuck") {
            facts::keep_outcome(&mut row.handover);
        }
    }
}

/// Of attempt numbers only those count that a script under way has, or one that is sent next: whether its guest has seen a
/// higher one. The next number of a table is higher than all of them. Where two daemons have a table each, they count on
/// from one number, as the design asks for one that rises for the service: scripts of one are not refused for what the other
/// has counted. One that was sent already is asked for by nobody.
fn renumber(whole: &mut Whole) {
    let agenda = whole.world.agenda.values();
    let mut pending: BTreeSet<u64> = agenda
        .filter_map(|happening| match happening {
            Happening::Arrives(Message::Script { attempt, .. }) => Some(attempt.0),
            _ => None,
        })
        .collect();
    pending.extend(
        histories(whole).filter_map(|history| match history.last().map(|last| &**last) {
            Some(Answer::Attempt(Ok(attempt))) => Some(attempt.0),
            _ => None,
        }),
    );
    let pending: Vec<u64> = pending.into_iter().collect();
    let ranks: BTreeMap<u64, u64> = pending.iter().copied().zip(1..).collect();
    let rank = |attempt: &mut Attempt| attempt.0 = ranks.get(&attempt.0).copied().unwrap_or_default();
    let seen = |number: u64| match ranks.range(..number).count() {
        0 => 0,
        lower => u64::try_from(lower).unwrap_or(u64::MAX).saturating_add(1),
    };
    for actor in &mut whole.actors {
        if let Actor::Driving(life) = actor
            && life.history.iter().any(|answer| is_number(answer))
        {
            renumber_history(&mut life.history, &rank);
        }
    }
    for carrier in whole.carriers.iter_mut().flatten() {
        if carrier.history.iter().any(|answer| is_number(answer)) {
            renumber_history(&mut carrier.history, &rank);
        }
    }
    for guest in whole.world.guests.values_mut() {
        if numbers_of(guest).any(|number| seen(number) != number) {
            let copies = guest.copies.values_mut();
            copies.for_each(|copy| copy.attempt.0 = seen(copy.attempt.0));
        }
    }
    let last = match pending.len() {
        0 => None,
        all => Some(Attempt(u64::try_from(all).unwrap_or(u64::MAX).saturating_add(1))),
    };
    let services: BTreeSet<_> = whole
        .world
        .tables
        .values()
        .flat_map(|t| t.services.keys().cloned())
        .collect();
    let attempts: BTreeMap<_, _> = services.into_iter().filter_map(|id| Some((id, last?))).collect();
    for table in whole.world.tables.values_mut() {
        if table.attempts != attempts {
            table.attempts.clone_from(&attempts);
        }
    }
    for happening in whole.world.agenda.values_mut() {
        if let Happening::Arrives(Message::Script { attempt, .. }) = happening {
            rank(attempt);
        }
    }
}

fn attempt_of(guest: &SimGuest) -> Attempt {
    Attempt(numbers_of(guest).max().unwrap_or_default())
}

fn numbers_of(guest: &SimGuest) -> impl Iterator<Item = u64> {
    guest.copies.values().map(|copy| copy.attempt.0)
}

fn histories(whole: &Whole) -> impl Iterator<Item = &Vec<Part<Answer>>> {
    let lives = whole.actors.iter().filter_map(|actor| match actor {
        Actor::Driving(life) => Some(&life.history),
        _ => None,
    });
    lives.chain(whole.carriers.iter().flatten().map(|carry| &carry.history))
}

fn is_number(answer: &Answer) -> bool {
    matches!(answer, Answer::Attempt(Ok(attempt)) if attempt.0 > 0)
}

fn renumber_history(history: &mut [Part<Answer>], rank: &impl Fn(&mut Attempt)) {
    let last = history.len().saturating_sub(1);
    for (at, answer) in history
        .iter_mut()
        .enumerate()
        .filter(|(_, answer)| is_number(answer))
    {
        if let Answer::Attempt(Ok(attempt)) = &mut **answer {
            match at == last {
                true => rank(attempt),
                false => attempt.0 = 0,
            }
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

fn is_young(since: &Option<Since>) -> bool {
    since.as_ref().is_some_and(|since| since.at != 0)
}

pub fn age(since: &mut Option<Since>) {
    if let Some(since) = since {
        since.at = 0;
    }
}

fn row_of<'w>(world: &'w SimWorld, owner: &HostId, life: &Life) -> Option<&'w Facts> {
    let row = world.tables.get(owner)?.handovers.get(&life.job)?;
    Some(&row.handover.facts)
}

/// Whether a span of a coordinator runs. It passes between two rounds only: within one no time passes that it looks at.
pub fn runs(span: Span, world: &SimWorld, owner: &HostId, life: &Life) -> bool {
    let (known, row) = (&life.memory.handover.facts, row_of(world, owner, life));
    let seen = &life.memory.seen;
    life.history.is_empty()
        && match span {
            Span::Confirmation => seen.confirmed_at.is_some(),
            Span::Silence => is_young(&known.silent) || row.is_some_and(|row| is_young(&row.silent)),
            Span::Stopping => is_young(&known.revoked) || row.is_some_and(|row| is_young(&row.revoked)),
            Span::Restored => seen.restored_at.is_some_and(|at| at != 0),
        }
}

/// A span of a coordinator is over; `None` where it does not run.
pub fn pass(span: Span, world: &mut SimWorld, owner: &HostId, life: &Life) -> Option<Life> {
    runs(span, world, owner, life).then_some(())?;
    let mut life = life.clone();
    let job = life.job;
    let table = world.tables.get_mut(owner);
    let rows = table.map(|table| &mut table.handovers);
    let row = rows
        .and_then(|rows| rows.get_mut(&job))
        .map(|row| &mut row.handover.facts);
    let memory = &mut *life.memory;
    let mut all: Vec<&mut Facts> = vec![&mut memory.handover.facts];
    all.extend(row);
    match span {
        Span::Confirmation => memory.seen.confirmed_at = None,
        Span::Silence => all.into_iter().for_each(|facts| age(&mut facts.silent)),
        Span::Stopping => all.into_iter().for_each(|facts| age(&mut facts.revoked)),
        Span::Restored => memory.seen.restored_at = Some(0),
    }
    Some(life)
}
