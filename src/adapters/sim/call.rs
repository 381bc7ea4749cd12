//! The one point through which every call of a daemon into the simulated world goes, and what may happen to it there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use super::check::{self, Violation};
use super::events;
use super::executor::Timers;
use super::happening::{Happening, Message};
use super::pace::Pace;
use super::story;
use super::world::SimWorld;
use crate::model::ids::GuestId;
use crate::model::service::Millis;
use crate::ports::{GuestStep, Half, Heard, PortError, TableError};
use crate::watch::spool::SpoolFile;

pub use super::method::Method;

/// One call as the interception point knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    /// Its number, from 0, counted over all daemons' lives.
    pub number: u64,
    /// Which.
    pub method: Method,
    /// The guest that it is about.
    pub guest: Option<GuestId>,
    /// The half that it is about.
    pub half: Option<Half>,
    /// The guest step that it runs.
    pub step: Option<GuestStep>,
}

/// What may go wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortFault {
    /// Refused for good; nothing is done.
    Refuse,
    /// Refused for now; nothing is done.
    Unavailable,
    /// Nothing is done, and nothing is answered until the deadline.
    Hang,
    /// It is done, and the answer is lost.
    LoseAnswer,
    /// It is done twice.
    Twice,
    /// An UPDATE or a script that arrives this many milliseconds later, after its sender has given up.
    Late(Millis),
    /// The daemon is killed before it is done.
    KillBefore,
    /// The daemon is killed once it is done.
    KillAfter,
}

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Mishap {
    /// What happens just before, each after so many milliseconds (0: now).
    pub before: Vec<(Millis, Happening)>,
    /// What goes wrong with the call itself.
    pub fault: Option<PortFault>,
    /// What happens just after it was done.
    pub after: Vec<(Millis, Happening)>,
}

/// How many events a listener may be behind.
const BACKLOG: usize = 1024;
/// More calls than any sane run of one service makes.
const RUNAWAY: u64 = 60_000;

/// Decides what happens to calls.
pub trait Director: Send {
    /// What happens to this call; the world is as it is just before.
    fn decide(&mut self, call: &Call, world: &SimWorld) -> Mishap;
}

/// Nothing goes wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clean;

impl Director for Clean {
    fn decide(&mut self, _call: &Call, _world: &SimWorld) -> Mishap {
        Mishap::default()
    }
}

/// One line of the story of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A call, and what went wrong with it.
    Call(Call, Option<PortFault>),
    /// Something happened.
    Happened(Happening),
    /// The daemon was killed.
    Killed,
    /// A daemon started.
    Started,
}

/// What all ports of a simulation share.
pub struct Shared {
    inner: Mutex<Inner>,
    /// How real time drives the world; `None`: virtual time.
    pub(super) pace: Option<Pace>,
    clock: Arc<AtomicU64>,
}

/// The state of a simulation.
pub struct Inner {
    /// The world.
    pub world: SimWorld,
    /// Who decides what goes wrong.
    pub director: Box<dyn Director>,
    /// Sleeping tasks.
    pub timers: Timers,
    /// What happened so far, with times.
    pub trail: Vec<(Millis, Entry)>,
    /// Whether the invariants are checked after every event: it takes time in a world of many services.
    pub checked: bool,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// The daemon is to be killed.
    pub killed: bool,
    /// It runs for as long as somebody likes: no trail is kept, and calls are not counted against it.
    pub lasting: bool,
    /// Time stands still: every wait is over at once. A model checker lets deadlines pass by itself.
    pub timeless: bool,
    /// How many calls there were.
    pub calls: u64,
    /// How many handover identities were given.
    pub identities: u64,
    /// What hosts tell by themselves.
    pub told: broadcast::Sender<Heard>,
    /// What libvirt's hook has written on the daemon's own host.
    pub spool: Vec<SpoolFile>,
    /// Whether the daemon's own host is shutting down.
    pub goes_down: watch::Sender<bool>,
    clock: Arc<AtomicU64>,
}

impl Inner {
    /// Something happens; hosts tell what can be seen of it.
    pub fn occur(&mut self, happening: Happening) {
        let listened_to = self.told.receiver_count() > 0;
        let seen = listened_to.then(|| events::before(&self.world, &happening));
        self.world.happen(&happening);
        for heard in seen
            .into_iter()
            .flat_map(|seen| events::after(&self.world, &happening, seen))
        {
            // Nobody may be listening any more.
            drop(self.told.send(heard));
        }
        self.note(Entry::Happened(happening));
    }

    /// Whether the daemon made so many calls that it can only go round and round.
    pub fn ran_away(&self) -> bool {
        self.checked && !self.lasting && self.calls > RUNAWAY
    }

    /// Notes what happened, and checks what must always hold.
    pub fn note(&mut self, entry: Entry) {
        story::log(&self.world, &entry);
        if !self.lasting {
            self.trail.push((self.world.now, entry));
        }
        if !self.checked || !(self.lasting || self.violations.is_empty()) {
            return;
        }
        for violation in check::always(&self.world) {
            if !self.violations.contains(&violation) {
                tracing::error!(target: story::LOG, "broken: {violation}");
                self.violations.push(violation);
            }
        }
    }

    /// Lets time pass up to `now`; what was to happen until then happens.
    pub fn pass(&mut self, now: Millis) {
        while let Some(entry) = self.world.agenda.first_entry()
            && entry.key().0 <= now
        {
            let at = entry.key().0;
            let happening = entry.remove();
            self.set_now(at);
            self.occur(happening);
        }
        self.set_now(now);
    }

    fn set_now(&mut self, now: Millis) {
        self.world.now = self.world.now.max(now);
        self.clock.store(self.world.now, Ordering::Relaxed);
    }

    /// Lets things happen: now, or later.
    pub fn happen(&mut self, happenings: Vec<(Millis, Happening)>) {
        for (after, happening) in happenings {
            if after == 0 {
                self.occur(happening);
            } else {
                self.world.schedule(after, happening);
            }
        }
    }
}

/// How a call is made: which, how long it takes, how long it may take, what is sent.
pub struct Plan {
    /// Which call; its number is filled in.
    pub call: Call,
    /// How long it takes.
    pub takes: Duration,
    /// How long its caller waits for an answer.
    pub deadline: Duration,
    /// What is under way if it is late.
    pub message: Option<Message>,
}

impl Plan {
    /// A call that takes so many milliseconds and is waited for 10 s.
    pub fn of(method: Method, takes: u64) -> Self {
        Self {
            call: Call {
                number: 0,
                method,
                guest: None,
                half: None,
                step: None,
            },
            takes: Duration::from_millis(takes),
            deadline: Duration::from_secs(10),
            message: None,
        }
    }

    /// About this guest.
    pub fn on(mut self, guest: GuestId) -> Self {
        self.call.guest = Some(guest);
        self
    }
}

/// What a call comes to when it is interfered with.
enum Ruling {
    Do { twice: bool, lose: bool },
    Fail(PortError),
    Vanish(PortError),
}

impl Shared {
    /// A simulation of this world.
    pub fn new(world: SimWorld, director: Box<dyn Director>) -> Arc<Self> {
        Self::build(world, director, None, BACKLOG)
    }

    /// A world in which time stands still, for a model checker: invariants are not checked, and what hosts tell by
    /// themselves is not kept. It is made for each step, and so is to be made fast.
    pub fn timeless(world: SimWorld, director: Box<dyn Director>) -> Arc<Self> {
        let shared = Self::build(world, director, None, 1);
        {
            let mut inner = shared.lock();
            inner.timeless = true;
            inner.checked = false;
        }
        shared
    }

    /// A world in which real time passes, and nothing goes wrong but what is on its agenda.
    pub fn paced(world: SimWorld, pace: Pace) -> Arc<Self> {
        Self::build(world, Box::new(Clean), Some(pace), BACKLOG)
    }

    fn build(world: SimWorld, director: Box<dyn Director>, pace: Option<Pace>, backlog: usize) -> Arc<Self> {
        let clock = Arc::new(AtomicU64::new(world.now));
        Arc::new(Self {
            clock: clock.clone(),
            inner: Mutex::new(Inner {
                lasting: pace.is_some(),
                world,
                director,
                timers: Timers::default(),
                trail: Vec::new(),
                checked: true,
                violations: Vec::new(),
                killed: false,
                timeless: false,
                calls: 0,
                identities: 0,
                told: broadcast::Sender::new(backlog),
                spool: Vec::new(),
                goes_down: watch::Sender::new(false),
                clock,
            }),
            pace,
        })
    }

    /// The state, locked; where real time passes, as it is now.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pace) = &self.pace {
            inner.pass(pace.now());
        }
        inner
    }

    /// The world's time, in milliseconds since 1970, to be read also while the state is locked.
    pub fn clock(&self) -> Arc<AtomicU64> {
        self.clock.clone()
    }

    /// Makes a call: takes its time, asks the director, does the effect as often as it says.
    ///
    /// # Errors
    /// The effect's, or what the director makes of it.
    pub async fn call<T>(
        self: &Arc<Self>,
        plan: Plan,
        effect: impl Fn(&mut SimWorld) -> Result<T, PortError> + Send,
    ) -> Result<T, PortError>
    where
        T: Send,
    {
        if !plan.takes.is_zero() {
            self.sleep(plan.takes).await;
        }
        let mut answer = None;
        let ruling = self.rule(&plan, |world| {
            let done = effect(world);
            answer.get_or_insert(done);
        });
        match ruling {
            Ruling::Do { lose, .. } => {
                if self.lock().killed {
                    std::future::pending::<()>().await;
                }
                if lose {
                    self.sleep(plan.deadline).await;
                    return Err(unanswered(&plan.call));
                }
            }
            Ruling::Fail(error) => return Err(error),
            Ruling::Vanish(error) => {
                if self.lock().killed {
                    std::future::pending::<()>().await;
                }
                self.sleep(plan.deadline).await;
                return Err(error);
            }
        }
        answer.unwrap_or_else(|| Err(unanswered(&plan.call)))
    }

    /// As [`Shared::call`], for a method of the table: it takes no time, and fails as a storage does.
    ///
    /// # Errors
    /// The table's, or `Storage` where the director says so.
    pub async fn table_call<T: Send>(
        self: &Arc<Self>,
        method: Method,
        effect: impl Fn(&mut SimWorld) -> Result<T, TableError> + Send,
    ) -> Result<T, TableError> {
        let plan = Plan::of(method, 0);
        let mut answer = None;
        let ruling = self.rule(&plan, |world| {
            // A transaction is not done twice: SQLite answers on a channel of this process.
            if answer.is_none() {
                answer = Some(effect(world));
            }
        });
        if self.lock().killed {
            std::future::pending::<()>().await;
        }
        match ruling {
            Ruling::Do { .. } => {}
            Ruling::Fail(error) | Ruling::Vanish(error) => return Err(TableError::Storage(error.message)),
        }
        answer.unwrap_or_else(|| Err(TableError::Storage("no answer".to_owned())))
    }

    fn rule(&self, plan: &Plan, mut effect: impl FnMut(&mut SimWorld)) -> Ruling {
        let mut inner = self.lock();
        let call = Call {
            number: inner.calls,
            ..plan.call
        };
        inner.calls = inner.calls.saturating_add(1);
        if inner.ran_away() {
            // It goes round and round: nobody answers any more, so that the run ends.
            if inner.violations.is_empty() {
                inner.violations.push(Violation {
                    invariant: 5,
                    text: format!("the daemon goes round and round: more than {RUNAWAY} calls"),
                });
            }
            inner.killed = true;
            return Ruling::Vanish(unanswered(&call));
        }
        let Inner { director, world, .. } = &mut *inner;
        let Mishap { before, fault, after } = director.decide(&call, world);
        inner.happen(before);
        let ruling = match fault {
            None => Ruling::Do {
                twice: false,
                lose: false,
            },
            Some(PortFault::Refuse) => {
                Ruling::Fail(PortError::refused(format!("{:?} is refused", call.method)))
            }
            Some(PortFault::Unavailable) => Ruling::Fail(PortError::unavailable(format!(
                "{:?} cannot be done now",
                call.method
            ))),
            Some(PortFault::Hang) => Ruling::Vanish(unanswered(&call)),
            Some(PortFault::LoseAnswer) => Ruling::Do {
                twice: false,
                lose: true,
            },
            Some(PortFault::Twice) => Ruling::Do {
                twice: true,
                lose: false,
            },
            Some(PortFault::Late(after)) => match plan.message.clone() {
                Some(message) => {
                    inner.world.schedule(after, Happening::Arrives(message));
                    Ruling::Vanish(unanswered(&call))
                }
                None => Ruling::Do {
                    twice: false,
                    lose: true,
                },
            },
            Some(PortFault::KillBefore) => {
                inner.killed = true;
                Ruling::Vanish(unanswered(&call))
            }
            Some(PortFault::KillAfter) => {
                inner.killed = true;
                Ruling::Do {
                    twice: false,
                    lose: false,
                }
            }
        };
        if let Ruling::Do { twice, .. } = &ruling {
            effect(&mut inner.world);
            if *twice && call.method.is_effect() {
                effect(&mut inner.world);
            }
        }
        if call.method.is_effect() || fault.is_some() {
            inner.note(Entry::Call(call, fault));
        }
        inner.happen(after);
        ruling
    }
}

fn unanswered(call: &Call) -> PortError {
    let text = format!("{:?} was not answered", call.method);
    if call.method.is_effect() {
        PortError::unknown(text)
    } else {
        PortError::unavailable(text)
    }
}
