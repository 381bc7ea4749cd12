//! The state space: every step of every daemon and of everything around them.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use handoverd::adapters::sim::call::{Call, Method, PortFault};
use handoverd::adapters::sim::daemon::limits;
use handoverd::adapters::sim::world::{Power, SimWorld};
use handoverd::model::ids::{HostId, JobId};
use stateright::{Model, Property};

use super::cases::{Case, Race, Rules};
use super::judge::{self, KINDS, Kinds, Scene};
use super::life::{self, Actor, Carry, Fate, House, Played};
use super::order;
use super::script::{self, Next};
use super::state::{self, SPANS, State, Whole};
use super::steps::{Step, Turn, around, guest};

/// More readings than this are not made when a duty is carried.
const LONGEST_GROUP: u8 = 4;

const FAULTS: [PortFault; 4] = [
    PortFault::Unavailable,
    PortFault::LoseAnswer,
    PortFault::Late(1),
    PortFault::KillAfter,
];

thread_local! {
    /// The last call of a coordinator, from which state, that comes to the same with its goal's deadline over: no round
    /// ended in it without success. The step in which the deadline passes is asked for just after it, and changes nothing.
    static IN_TIME: Cell<Option<(u64, usize, Fate)>> = const { Cell::new(None) };
}

/// A state that was reached.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// From where first.
    pub from: Option<(u64, Step)>,
    /// What is broken in it.
    pub broken: Kinds,
}

/// One configuration under some rules.
pub struct Space {
    pub case: Case,
    pub rules: Rules,
    house: House,
    /// Whose table each coordinator has.
    owners: Vec<HostId>,
    pub scene: Scene,
    /// Only steps are explored that are no faults, and cancels.
    calm: bool,
    /// Fair steps, from key to key.
    pub fair: Mutex<Vec<(u64, u64)>>,
    /// Keys of proper ends.
    pub ends: Mutex<HashSet<u64>>,
    /// Every state, by its key.
    pub reached: Mutex<HashMap<u64, Found>>,
}

impl Space {
    pub fn new(case: Case, rules: Rules) -> Self {
        let bundles = case.bundles();
        let scene = Scene {
            desired: rules.desired,
            standby: case.standby,
        };
        let house = House {
            protocol: rules.protocol,
            reservations: rules.reservations,
            limits: limits(),
            waits: rules.waits,
            bundles: Arc::new(bundles),
            copies: Arc::default(),
        };
        Self {
            case,
            rules,
            owners: case.owners(),
            house,
            scene,
            calm: false,
            fair: Mutex::default(),
            ends: Mutex::default(),
            reached: Mutex::default(),
        }
    }

    /// The part of it to which nothing leads that goes wrong: what is to be found there is found soon.
    pub fn without_faults(self) -> Self {
        Self { calm: true, ..self }
    }

    fn fates(&self, world: &SimWorld, next: Next, readings: u8) -> Vec<Fate> {
        let mut all = vec![Fate::Goes];
        let method = match next {
            Next::Call(call) if !script::is_reading(call.method) => call.method,
            _ => {
                all.extend((0..readings).map(Fate::Unread));
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
                let readings = if self.case.race == Race::None {
                    LONGEST_GROUP
                } else {
                    0
                };
                for fate in self.fates(&whole.world, life.next, readings) {
                    add(Turn::Call(fate));
                    // One that is killed by its call has no time left to find that its goal's is over.
                    if fate != Fate::Faulty(PortFault::KillAfter) {
                        add(Turn::Overdue(fate));
                    }
                }
                add(Turn::Killed);
                if life.history.is_empty() {
                    add(Turn::Cancelled);
                    for span in SPANS {
                        if state::runs(span, &whole.world, &self.owners[index], life) {
                            add(Turn::Passes(span));
                        }
                    }
                }
            }
            Actor::Ended => {
                if self.stuck(&whole.world, index).is_some() {
                    add(Turn::Resumed);
                }
            }
        }
    }

    fn turn_of_coordinator(&self, whole: &mut Whole, key: u64, index: usize, turn: Turn) -> Option<()> {
        let owner = &self.owners[index];
        let mut world = std::mem::replace(&mut whole.world, state::nothing());
        let actor = &whole.actors[index];
        let Played { world, actor, .. } = match (actor, turn) {
            (_, Turn::Call(fate)) => {
                let played = life::go(&self.house, world, owner, actor, fate, false);
                let in_time = played.as_ref().is_some_and(|played| !played.might_expire);
                IN_TIME.set(in_time.then_some((key, index, fate)));
                played?
            }
            (_, Turn::Overdue(fate)) if IN_TIME.get() == Some((key, index, fate)) => return None,
            (_, Turn::Overdue(fate)) => life::go(&self.house, world, owner, actor, fate, true)?,
            (Actor::Driving(life), Turn::Killed) => life::restart(&self.house, world, owner, life.job)?,
            (Actor::Driving(life), Turn::Cancelled) => life::cancel(&self.house, world, owner, life)?,
            (Actor::Driving(life), Turn::Passes(span)) => {
                let life = state::pass(span, &mut world, owner, life)?;
                Played {
                    world,
                    actor: Actor::Driving(life.into()),
                    might_expire: false,
                }
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
        let table = &world.tables[&self.owners[index]];
        let number = u128::try_from(index + 1).unwrap();
        table
            .stuck()
            .into_iter()
            .find(|job| table.handovers[job].handover.id.0.as_u128() == number)
    }

    /// Duties are carried where no job of the same table drives; where two daemons have a table each, as in one table:
    /// where none drives at all.
    fn carries(&self, whole: &Whole, index: usize) -> bool {
        let (host, table) = whole.world.tables.iter().nth(index).unwrap();
        let mut actors = whole.actors.iter().zip(&self.owners);
        let two = self.case.race == Race::TwoTables;
        let busy = actors.any(|(actor, owner)| (two || owner == host) && *actor != Actor::Ended);
        !busy && (!table.duties.is_empty() || whole.carriers[index].is_some())
    }

    fn turn_of_carrier(&self, whole: &mut Whole, index: usize, turn: Turn) -> Option<()> {
        let world = std::mem::replace(&mut whole.world, state::nothing());
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

    /// Everything that can happen.
    fn steps(&self, whole: &Whole, steps: &mut Vec<Step>) {
        if self.case.race == Race::TwoTables
            && let Some(index) = order::first(whole, &self.owners)
        {
            return self.of_coordinator(whole, index, steps);
        }
        for index in 0..whole.actors.len() {
            self.of_coordinator(whole, index, steps);
        }
        for index in 0..whole.carriers.len() {
            if self.carries(whole, index) {
                let next = whole.carriers[index].as_ref().map(|carry| carry.next);
                let read = Next::Call(Call {
                    number: 0,
                    method: Method::Inspect,
                    guest: None,
                    half: None,
                    step: None,
                });
                for fate in self.fates(&whole.world, next.unwrap_or(read), LONGEST_GROUP) {
                    steps.push(Step::Carrier(index, Turn::Call(fate)));
                }
                steps.push(Step::Carrier(index, Turn::Killed));
            }
        }
        for number in [1, 2] {
            match whole.world.guests[&guest(number)].power {
                Power::Off => steps.push(Step::Boots(number)),
                _ => steps.extend([Step::Dies(number), Step::Reboots(number)]),
            }
            // Only what can happen is tried: each try costs a clone of the world.
            let mut copies = whole.world.guests[&guest(number)].copies.values();
            if copies.any(|copy| copy.waits_until.is_some()) {
                steps.push(Step::DevicePasses(number));
            }
        }
        let source = &whole.world.guests[&guest(1)];
        if self.case.may_migrate && source.host == source.first_host {
            steps.push(Step::Migrates);
        }
        if judge::is_late(&whole.world) {
            steps.push(Step::Arrives);
        }
        steps.push(match whole.world.zone.cached.is_empty() {
            true => Step::DrainPasses,
            false => Step::TtlPasses,
        });
    }
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
        // What is broken is a counterexample: nothing behind it is explored.
        if !state.whole.broken.is_empty() {
            return;
        }
        self.steps(&state.whole, steps);
        if self.calm {
            steps.retain(|step| step.is_fair() || matches!(step, Step::Coordinator(_, Turn::Cancelled)));
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut whole = Whole::clone(&state.whole);
        match step {
            Step::Coordinator(index, turn) => self.turn_of_coordinator(&mut whole, state.key, index, turn)?,
            Step::Carrier(index, turn) => self.turn_of_carrier(&mut whole, index, turn)?,
            step => around(&mut whole.world, step)?,
        }
        let next = State::of(whole, Some(&state.whole));
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
