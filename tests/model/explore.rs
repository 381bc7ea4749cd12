//! The state space: every step of every daemon and of everything around them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};

use handoverd::adapters::sim::call::{Method, PortFault};
use handoverd::adapters::sim::happening::{Happening, Message};
use handoverd::adapters::sim::world::{Power, SimWorld};
use handoverd::model::ids::{GuestId, JobId};
use stateright::{Model, Property};

use super::cases::{Case, Race, Rules};
use super::judge::{self, KINDS, Kinds, Scene};
use super::life::{self, Actor, Carry, Fate, House, Life};
use super::script::{self, Next};
use super::state::{self, SPANS, Span, State, Whole};

/// What one daemon does or suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It makes its next call.
    Call(Fate),
    /// The same, and meanwhile the deadline of the goal at hand passes.
    Overdue(Fate),
    /// It is killed before that, and started again.
    Killed,
    /// Somebody cancels its handover.
    Cancelled,
    /// An operator resumes its stuck job.
    Resumed,
    /// Time passes.
    Passes(Span),
}

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A coordinator's.
    Coordinator(usize, Turn),
    /// That of the daemon that carries duties, by its table.
    Carrier(usize, Turn),
    /// A guest's QEMU is killed.
    Dies(u8),
    /// A guest that is off is started.
    Boots(u8),
    /// A guest reboots with its disks as they are.
    Reboots(u8),
    /// The source is migrated by somebody else.
    Migrates,
    /// What is under way arrives.
    Arrives,
    /// Resolvers forget the old address.
    TtlPasses,
    /// The time for which the source serves on is over.
    DrainPasses,
    /// A unit has waited long enough for its volume.
    DevicePasses(u8),
}

impl Step {
    /// Whether it is no fault: what must lead to a proper end from everywhere.
    pub fn is_fair(self) -> bool {
        match self {
            Self::Coordinator(_, turn) | Self::Carrier(_, turn) => {
                let goes = matches!(turn, Turn::Call(Fate::Goes) | Turn::Overdue(Fate::Goes));
                goes || matches!(turn, Turn::Resumed | Turn::Passes(_))
            }
            Self::Dies(_) | Self::Reboots(_) | Self::Migrates => false,
            Self::Boots(_) | Self::Arrives | Self::TtlPasses | Self::DrainPasses | Self::DevicePasses(_) => {
                true
            }
        }
    }
}

/// More readings than this are not made when a duty is carried.
const LONGEST_GROUP: u8 = 4;

const FAULTS: [PortFault; 4] = [
    PortFault::Unavailable,
    PortFault::LoseAnswer,
    PortFault::Late(1),
    PortFault::KillAfter,
];

/// A state that was reached.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// From where first.
    from: Option<(u64, Step)>,
    /// What is broken in it.
    broken: Kinds,
}

/// One configuration under some rules.
pub struct Space {
    pub case: Case,
    pub rules: Rules,
    house: House,
    scene: Scene,
    /// Fair steps, from key to key.
    fair: Mutex<Vec<(u64, u64)>>,
    /// Keys of proper ends.
    ends: Mutex<HashSet<u64>>,
    /// Every state, by its key.
    reached: Mutex<HashMap<u64, Found>>,
}

impl Space {
    pub fn new(case: Case, rules: Rules) -> Self {
        let bundles = case.bundles();
        let scene = Scene {
            bundles: bundles.clone(),
            desired: rules.desired,
        };
        let house = House {
            protocol: rules.protocol,
            reservations: rules.reservations,
            bundles: Arc::new(bundles),
        };
        Self {
            case,
            rules,
            house,
            scene,
            fair: Mutex::default(),
            ends: Mutex::default(),
            reached: Mutex::default(),
        }
    }

    fn fates(&self, world: &SimWorld, next: Next, readings: impl Fn() -> u8) -> Vec<Fate> {
        let mut all = vec![Fate::Goes];
        let method = match next {
            Next::Call(call) if !script::is_reading(call.method) => call.method,
            _ => {
                all.extend((0..readings()).map(Fate::Unread));
                return all;
            }
        };
        let message = matches!(method, Method::Act | Method::Swap);
        let late = self.case.race == Race::None && message && !judge::is_late(world);
        all.extend(
            FAULTS
                .into_iter()
                .filter(|fault| match fault {
                    PortFault::Late(_) => late,
                    // A message that comes late and at once is one whose answer is lost.
                    PortFault::LoseAnswer => !method.is_table() && !late,
                    PortFault::KillAfter => method.is_table(),
                    _ => !method.is_table(),
                })
                .map(Fate::Faulty),
        );
        all
    }

    fn of_coordinator(&self, whole: &Whole, index: usize, steps: &mut Vec<Step>) {
        let mut add = |turn| steps.push(Step::Coordinator(index, turn));
        match &whole.actors[index] {
            Actor::Asked(_) => {
                add(Turn::Call(Fate::Goes));
                add(Turn::Call(Fate::Faulty(PortFault::KillAfter)));
            }
            Actor::Driving(life) => {
                let owner = &self.case.owners()[index];
                let count = || life::readings(&self.house, whole.world.clone(), owner, life);
                for fate in self.fates(&whole.world, life.next, count) {
                    add(Turn::Call(fate));
                    add(Turn::Overdue(fate));
                }
                add(Turn::Killed);
                if life.history.is_empty() {
                    add(Turn::Cancelled);
                    for span in SPANS {
                        add(Turn::Passes(span));
                    }
                }
            }
            Actor::Ended => add(Turn::Resumed),
        }
    }

    fn turn_of_coordinator(&self, whole: &mut Whole, index: usize, turn: Turn) -> Option<()> {
        let owner = &self.case.owners()[index];
        let mut world = std::mem::replace(&mut whole.world, SimWorld::new(0).unwrap());
        let actor = &whole.actors[index];
        let (world, actor) = match (actor, turn) {
            (_, Turn::Call(fate)) => life::go(&self.house, world, owner, actor, fate, false)?,
            (_, Turn::Overdue(fate)) => life::go(&self.house, world, owner, actor, fate, true)?,
            (Actor::Driving(life), Turn::Killed) => life::restart(&self.house, world, owner, life.job)?,
            (Actor::Driving(life), Turn::Cancelled) => life::cancel(&self.house, world, owner, life)?,
            (Actor::Driving(life), Turn::Passes(span)) => {
                let life: Life = state::pass(span, &mut world, owner, life)?;
                (world, Actor::Driving(Arc::new(life)))
            }
            (Actor::Ended, Turn::Resumed) => {
                let job = self.stuck(&world, index)?;
                life::resume(&self.house, world, owner, job)?
            }
            _ => return None,
        };
        whole.world = world;
        whole.actors[index] = actor;
        Some(())
    }

    /// The stuck job of a coordinator that has ended.
    fn stuck(&self, world: &SimWorld, index: usize) -> Option<JobId> {
        let table = &world.tables[&self.case.owners()[index]];
        let number = u128::try_from(index + 1).unwrap();
        table
            .stuck()
            .into_iter()
            .find(|job| table.handovers[job].handover.id.0.as_u128() == number)
    }

    /// Duties are carried where no job of the same table drives.
    fn carries(&self, whole: &Whole, index: usize) -> bool {
        let (host, table) = whole.world.tables.iter().nth(index).unwrap();
        let owners = self.case.owners();
        let mut actors = whole.actors.iter().zip(&owners);
        let busy = actors.any(|(actor, owner)| owner == host && *actor != Actor::Ended);
        !busy && (!table.duties.is_empty() || whole.carriers[index].is_some())
    }

    fn turn_of_carrier(&self, whole: &mut Whole, index: usize, turn: Turn) -> Option<()> {
        let world = std::mem::replace(&mut whole.world, SimWorld::new(0).unwrap());
        let owner = world.tables.keys().nth(index)?.clone();
        let carrier: Option<&Carry> = whole.carriers[index].as_deref();
        let (world, carrier) = match turn {
            Turn::Call(fate) => life::carry(&self.house, world, &owner, carrier, fate)?,
            Turn::Killed => {
                carrier?;
                (world, None)
            }
            _ => return None,
        };
        whole.world = world;
        whole.carriers[index] = carrier;
        Some(())
    }
}

fn guest(number: u8) -> GuestId {
    SimWorld::guest_id(number)
}

/// A boot that has begun comes to its end.
fn end_boot(world: &mut SimWorld) {
    let booted = world.agenda.iter().find_map(|(key, happening)| {
        matches!(happening, Happening::Booted(..)).then(|| (*key, happening.clone()))
    });
    if let Some((key, happening)) = booted {
        world.agenda.remove(&key);
        world.happen(&happening);
    }
}

fn around(world: &mut SimWorld, step: Step) -> Option<()> {
    match step {
        Step::Dies(number) => world.happen(&Happening::Die(guest(number))),
        Step::Boots(number) => {
            world.happen(&Happening::Boot(guest(number)));
            end_boot(world);
        }
        Step::Reboots(number) => {
            world.happen(&Happening::WarmReboot(guest(number)));
            end_boot(world);
        }
        Step::Migrates => world.happen(&Happening::Migrate(guest(1), "hv2".parse().unwrap())),
        Step::Arrives => {
            let (key, happening) = world
                .agenda
                .iter()
                .find(|(_, happening)| matches!(happening, Happening::Arrives(_)))
                .map(|(key, happening)| (*key, happening.clone()))?;
            world.agenda.remove(&key);
            world.happen(&happening);
        }
        Step::TtlPasses => {
            if world.zone.cached.is_empty() {
                return None;
            }
            world.zone.cached.clear();
        }
        Step::DrainPasses => {
            // A drain is longer than the TTL: the old one plus a margin.
            if !world.zone.cached.is_empty() {
                return None;
            }
            let now = world.now;
            let mut passed = false;
            for table in world.tables.values_mut() {
                for duty in table.duties.values_mut().filter(|duty| duty.serve_until > now) {
                    duty.serve_until = 0;
                    passed = true;
                }
            }
            passed.then_some(())?;
        }
        Step::DevicePasses(number) => {
            let guest = world.guests.get_mut(&guest(number))?;
            let mut waiting = guest.copies.values_mut();
            waiting.find_map(|copy| copy.waits_until.take())?;
        }
        Step::Coordinator(..) | Step::Carrier(..) => return None,
    }
    Some(())
}

impl Model for Space {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let first = self.case.first(&self.rules, &self.house);
        let broken = judge::broken(&first.whole, &self.scene);
        let first = first.with(broken);
        self.note(&first, None);
        vec![first]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let whole = &state.whole;
        // What is broken is a counterexample: nothing behind it is explored.
        if !whole.broken.is_empty() {
            return;
        }
        for index in 0..whole.actors.len() {
            self.of_coordinator(whole, index, steps);
        }
        for index in 0..whole.carriers.len() {
            if self.carries(whole, index) {
                let next = whole.carriers[index].as_ref().map(|carry| carry.next);
                let read = Next::Call(handoverd::adapters::sim::call::Call {
                    number: 0,
                    method: Method::Inspect,
                    guest: None,
                    half: None,
                    step: None,
                });
                for fate in self.fates(&whole.world, next.unwrap_or(read), || LONGEST_GROUP) {
                    steps.push(Step::Carrier(index, Turn::Call(fate)));
                }
                steps.push(Step::Carrier(index, Turn::Killed));
            }
        }
        for number in [1, 2] {
            match whole.world.guests[&guest(number)].power {
                Power::Off => steps.push(Step::Boots(number)),
                _ => steps.extend([
                    Step::Dies(number),
                    Step::Reboots(number),
                    Step::DevicePasses(number),
                ]),
            }
        }
        let source = &whole.world.guests[&guest(1)];
        if self.case.may_migrate && source.host == source.first_host {
            steps.push(Step::Migrates);
        }
        steps.extend([Step::Arrives, Step::TtlPasses, Step::DrainPasses]);
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut whole = Whole::clone(&state.whole);
        match step {
            Step::Coordinator(index, turn) => self.turn_of_coordinator(&mut whole, index, turn)?,
            Step::Carrier(index, turn) => self.turn_of_carrier(&mut whole, index, turn)?,
            step => around(&mut whole.world, step)?,
        }
        let next = State::of(whole);
        if next.key == state.key {
            return None;
        }
        if step.is_fair() {
            self.fair.lock().unwrap().push((state.key, next.key));
        }
        // A state that is known was judged when it was new.
        let known = self
            .reached
            .lock()
            .unwrap()
            .get(&next.key)
            .map(|found| found.broken);
        let broken = known.unwrap_or_else(|| judge::broken(&next.whole, &self.scene));
        let next = next.with(broken);
        if known.is_none() {
            self.note(&next, Some((state.key, step)));
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn holds<const KIND: usize>(_: &Space, state: &State) -> bool {
            !state.whole.broken.has(KINDS[KIND])
        }
        vec![
            Property::always(KINDS[0].name(), holds::<0>),
            Property::always(KINDS[1].name(), holds::<1>),
            Property::always(KINDS[2].name(), holds::<2>),
            Property::always(KINDS[3].name(), holds::<3>),
            Property::always(KINDS[4].name(), holds::<4>),
            Property::always(KINDS[5].name(), holds::<5>),
            Property::always(KINDS[6].name(), holds::<6>),
        ]
    }
}

impl Space {
    fn note(&self, state: &State, from: Option<(u64, Step)>) {
        if std::env::var("DIAG").is_ok() {
            use std::hash::{DefaultHasher, Hash, Hasher};
            let mut d = DIAG.lock().unwrap();
            let mut add = |name: String, h: &dyn Fn(&mut DefaultHasher)| {
                let mut hasher = DefaultHasher::new();
                h(&mut hasher);
                *d.entry(name).or_insert_with(HashMap::new).entry(hasher.finish()).or_insert(0usize) += 1;
            };
            let w = &state.whole.world;
            add("world".into(), &|h| w.hash(h));
            for (i, g) in w.guests.values().enumerate() { add(format!("guest{i}"), &|h| g.hash(h)); }
            add("agenda".into(), &|h| w.agenda.hash(h));
            add("zone".into(), &|h| w.zone.hash(h));
            add("tables".into(), &|h| w.tables.hash(h));
            for t in w.tables.values() {
                add("table.services".into(), &|h| t.services.hash(h));
                add("table.attempts".into(), &|h| t.attempts.hash(h));
                add("table.handovers".into(), &|h| t.handovers.hash(h));
                add("table.jobs".into(), &|h| t.jobs.hash(h));
            }
            for a in &state.whole.actors { if let Actor::Driving(l) = a {
                add("memory".into(), &|h| l.memory.hash(h));
                add("memory.handover".into(), &|h| l.memory.handover.hash(h));
                add("memory.facts".into(), &|h| l.memory.handover.facts.hash(h));
                add("memory.state".into(), &|h| l.memory.handover.state.hash(h));
                add("memory.seen".into(), &|h| l.memory.seen.hash(h));
                add("memory.at".into(), &|h| l.memory.at.hash(h));
                add("history".into(), &|h| l.history.hash(h));
                add("next".into(), &|h| l.next.hash(h));
                add("state+next".into(), &|h| { l.memory.handover.state.hash(h); l.next.hash(h) });
                add("life".into(), &|h| l.hash(h));
                add("memory+world".into(), &|h| { l.memory.hash(h); w.hash(h); l.next.hash(h) });
                let key = format!("at {:?} {:?} h{}", l.memory.handover.state, match l.next { Next::Call(c) => format!("{:?} {:?}", c.method, c.step), Next::Wait => "wait".into() }, l.history.len());
                add(key, &|h| state.key.hash(h));
            } }
            if !d.is_empty() && d["world"].values().sum::<usize>() % 5000 == 0 {
                let mut v: Vec<_> = d.iter().map(|(k, m)| (m.len(), k.clone())).collect();
                v.sort(); v.reverse();
                for (n, k) in v.iter().take(45) { eprintln!("   {n:>7} {k}"); }
            }
        }
        let broken = state.whole.broken;
        let mut reached = self.reached.lock().unwrap();
        reached.entry(state.key).or_insert(Found { from, broken });
        if judge::is_proper_end(&state.whole) {
            self.ends.lock().unwrap().insert(state.key);
        }
    }

    /// A state from which no fair steps lead to a proper end, if there is one, and how many of them there are.
    pub fn lost(&self) -> Option<(u64, usize)> {
        let mut back: HashMap<u64, Vec<u64>> = HashMap::new();
        for (from, to) in self.fair.lock().unwrap().iter() {
            back.entry(*to).or_default().push(*from);
        }
        let ends = self.ends.lock().unwrap();
        let (mut saved, mut queue): (HashSet<u64>, VecDeque<u64>) =
            (ends.clone(), ends.iter().copied().collect());
        while let Some(key) = queue.pop_front() {
            for from in back.get(&key).into_iter().flatten() {
                if saved.insert(*from) {
                    queue.push_back(*from);
                }
            }
        }
        let reached = self.reached.lock().unwrap();
        let lost: Vec<u64> = reached
            .keys()
            .filter(|key| !saved.contains(key))
            .copied()
            .collect();
        let shortest = lost
            .iter()
            .min_by_key(|key| (self.depth(&reached, **key), **key))?;
        Some((*shortest, lost.len()))
    }

    fn depth(&self, reached: &HashMap<u64, Found>, mut key: u64) -> usize {
        let mut depth = 0;
        while let Some((from, _)) = reached.get(&key).and_then(|found| found.from) {
            (key, depth) = (from, depth + 1);
        }
        depth
    }

    /// The steps that lead to a state.
    pub fn way_to(&self, mut key: u64) -> Vec<Step> {
        let reached = self.reached.lock().unwrap();
        let mut steps = Vec::new();
        while let Some((from, step)) = reached.get(&key).and_then(|found| found.from) {
            steps.push(step);
            key = from;
        }
        steps.reverse();
        steps
    }

    /// The fair steps that follow on these, and those on each of them.
    pub fn beyond(&self, steps: &[Step]) -> String {
        let mut state = self.init_states().remove(0);
        for step in steps {
            state = self.next_state(&state, *step).unwrap_or(state);
        }
        let mut lines = vec![format!("{:#?}\n{:#?}", state.whole.actors, state.whole.world.tables.values().map(|t| (&t.jobs, &t.handovers)).collect::<Vec<_>>())];
        let mut seen = HashSet::new();
        let mut queue = VecDeque::from([(state, 0)]);
        while let Some((state, depth)) = queue.pop_front() {
            if depth > 12 || !seen.insert(state.key) || seen.len() > 60 {
                continue;
            }
            let mut steps = Vec::new();
            self.actions(&state, &mut steps);
            for step in steps.into_iter().filter(|step| step.is_fair()) {
                if let Some(next) = self.next_state(&state, step) {
                    lines.push(format!("{depth} {} : {} -> {}", state.key % 10000, Told(&state.whole, step), next.key % 10000));
                    queue.push_back((next, depth + 1));
                }
            }
        }
        lines.join("\n")
    }

    /// These steps, told for people.
    pub fn story(&self, steps: &[Step]) -> String {
        let mut lines = Vec::new();
        let mut state = self.init_states().remove(0);
        for step in steps {
            lines.push(Told(&state.whole, *step).to_string());
            match self.next_state(&state, *step) {
                Some(next) => state = next,
                None => lines.push("(nothing changes)".to_owned()),
            }
        }
        for violation in judge::violations(&state.whole, &self.scene) {
            lines.push(format!("=> {violation}"));
        }
        lines.join("\n")
    }
}

struct Told<'a>(&'a Whole, Step);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(whole, step) = self;
        let name = |id: GuestId| if id == guest(1) { "A" } else { "B" };
        let next = |next: Next| match next {
            Next::Wait => "waits".to_owned(),
            Next::Call(call) => {
                let mut text = format!("{:?}", call.method);
                text.extend(call.guest.map(|id| format!(" {}", name(id))));
                text.extend(call.half.map(|half| format!(" {half:?}")));
                text.extend(call.step.map(|step| format!(" {step:?}")));
                text
            }
        };
        match step {
            Step::Coordinator(index, turn) => match &whole.actors[*index] {
                Actor::Driving(life) => write!(
                    f,
                    "c{} {:?}, next {}: {turn:?}",
                    index + 1,
                    life.memory.handover.state,
                    next(life.next)
                ),
                Actor::Asked(_) => write!(f, "c{} begins: {turn:?}", index + 1),
                Actor::Ended => write!(f, "c{} has ended: {turn:?}", index + 1),
            },
            Step::Carrier(index, turn) => {
                let at = whole.carriers[*index].as_ref().map(|carry| next(carry.next));
                write!(f, "duties {}: {turn:?}", at.unwrap_or_else(|| "begin".to_owned()))
            }
            Step::Arrives => {
                let late = whole.world.agenda.values().find_map(|happening| match happening {
                    Happening::Arrives(Message::Script { guest, step, .. }) => {
                        Some(format!("{step:?} in {}", name(*guest)))
                    }
                    Happening::Arrives(Message::Update(change)) => {
                        Some(format!("UPDATE to {:?}", change.ownership))
                    }
                    _ => None,
                });
                write!(f, "arrives late: {}", late.unwrap_or_default())
            }
            step => write!(f, "{step:?}"),
        }
    }
}

static DIAG: Mutex<std::collections::BTreeMap<String, HashMap<u64, usize>>> = Mutex::new(std::collections::BTreeMap::new());
