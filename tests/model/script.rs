//! How far a daemon goes: what it was answered before is answered again, one more call is made, and there it stops.

use std::sync::{Arc, Mutex, MutexGuard};

use handoverd::adapters::sim::call::{Call, Director, Method, Mishap, PortFault};
use handoverd::adapters::sim::part::Part;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::handover::driver::Memory;
use handoverd::handover::machine::{Phase, State};

use super::answers::{Answer, Keep, Kept};

/// Where a daemon has stopped: the call that it makes next, or a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Next {
    Call(Call),
    Wait,
}

/// Whether a call asks the world something.
pub fn is_reading(method: Method) -> bool {
    !method.is_effect() && !method.is_table()
}

/// Whether a daemon stops before this call: before every effect on the world, and before the transactions that other
/// coordinators see. Other calls of the table change only what no one else reads. So does the one that ends a job: who waits for
/// the end sees it a moment earlier, and a daemon that is killed before it looks once more and comes to the same end, or goes on, as one
/// does whose last answer was lost.
pub fn is_effect(method: Method) -> bool {
    match method {
        Method::Begin | Method::Commit | Method::Fulfil | Method::Postpone => true,
        method => method.is_effect() && !method.is_table(),
    }
}

/// What a call comes to.
pub enum Ruling {
    /// It was answered so before.
    Given(Part<Answer>),
    /// It is made.
    Made,
    /// The first of its kind in this group of readings fails.
    Fails,
    /// The daemon has come as far as it may.
    Blocked,
}

/// The fault of the one call that is made; taken by it.
pub type Slot = Arc<Mutex<Option<PortFault>>>;

/// Gives the fault in the slot to the call that is made.
pub struct OneFault(pub Slot);

impl Director for OneFault {
    fn decide(&mut self, _call: &Call, _world: &SimWorld) -> Mishap {
        Mishap {
            fault: self.0.lock().unwrap().take(),
            ..Mishap::default()
        }
    }
}

/// The state of a script.
#[derive(Default)]
pub struct Progress {
    /// What the daemon knew when its round began.
    pub memory: Option<Part<Memory>>,
    /// Answers since then.
    pub history: Vec<Part<Answer>>,
    /// A round has ended without success: had the goal's time been over, it would have ended otherwise.
    pub might_expire: bool,
    cursor: usize,
    /// How many answers of the past are not given again yet.
    owed: usize,
    /// By which call the one more was made.
    pub made: Option<Call>,
    /// One more call may be made.
    permit: bool,
    /// Which answer fails to come in the group of readings that is made, counted from 0.
    fails: Option<u8>,
    in_readings: bool,
    /// The fault did not befall the call that it was for.
    missed: bool,
    waited: bool,
    /// Where it has stopped.
    pub next: Option<Next>,
}

impl Progress {
    fn is_acting(&self) -> bool {
        let phase = self.memory.as_ref().map(|memory| memory.handover.state);
        matches!(
            phase,
            Some(State::At {
                phase: Phase::Acting,
                ..
            })
        )
    }
}

/// A script that a daemon's ports share.
#[derive(Default)]
pub struct Script(Mutex<Progress>);

impl Script {
    /// After these answers in a round that began with `memory`: one more call, or none.
    pub fn after(
        memory: Option<Part<Memory>>,
        history: Vec<Part<Answer>>,
        permit: bool,
        fails: Option<u8>,
    ) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Progress {
            memory,
            owed: history.len(),
            history,
            permit,
            fails,
            ..Progress::default()
        })))
    }

    /// Its state, locked.
    pub fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap()
    }

    /// A round is over, or the first one begins: what came before is known by `memory`.
    pub fn round(&self, memory: Memory) {
        let mut progress = self.lock();
        progress.history.clear();
        progress.cursor = 0;
        // An act that found nothing to do is followed by a look: were that made at once, it could go on for ever.
        if progress.is_acting() {
            progress.in_readings = false;
        }
        let phase = match memory.handover.state {
            State::At { phase, .. } => Some(phase),
            _ => None,
        };
        progress.might_expire |= matches!(phase, Some(Phase::Acting | Phase::Waiting));
        progress.memory = Some(memory.into());
    }

    /// What this call comes to.
    pub fn rule(&self, call: Call) -> Ruling {
        let mut progress = self.lock();
        if progress.next.is_some() {
            return Ruling::Blocked;
        }
        if let Some(answer) = progress.history.get(progress.cursor).cloned() {
            progress.cursor += 1;
            progress.owed = progress.owed.saturating_sub(1);
            return Ruling::Given(answer);
        }
        let effect = is_effect(call.method);
        let reading = is_reading(call.method);
        if effect || (reading && !progress.in_readings) {
            if !std::mem::take(&mut progress.permit) {
                progress.next = Some(Next::Call(Call { number: 0, ..call }));
                return Ruling::Blocked;
            }
            progress.in_readings = reading;
            progress.made = Some(Call { number: 0, ..call });
        }
        if reading && let Some(left) = progress.fails {
            progress.fails = left.checked_sub(1);
            if left == 0 {
                return Ruling::Fails;
            }
        }
        Ruling::Made
    }

    /// Keeps the answer of a call that was made. A fault that it was to have and did not have befalls no later one.
    pub fn keep<T: Keep>(&self, kept: Kept<T>, slot: &Slot) {
        let mut progress = self.lock();
        progress.missed |= slot.lock().unwrap().take().is_some();
        progress.history.push(T::into_answer(kept).into());
        progress.cursor = progress.history.len();
    }

    /// Whether a wait is over at once; a daemon that only waits stops at its second wait.
    pub fn wait(&self) -> bool {
        let mut progress = self.lock();
        if progress.next.is_some() {
            return false;
        }
        if progress.is_acting() {
            return true;
        }
        progress.in_readings = false;
        if std::mem::replace(&mut progress.waited, true) {
            progress.next = Some(Next::Wait);
            return false;
        }
        true
    }

    /// Whether the daemon asked again for all that it had been answered: what went on was what had stopped.
    pub fn is_replayed(&self) -> bool {
        self.lock().owed == 0
    }

    /// Whether everything that was to go wrong did.
    pub fn is_spent(&self) -> bool {
        let progress = self.lock();
        !progress.permit && progress.fails.is_none() && !progress.missed
    }
}
