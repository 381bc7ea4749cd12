//! Daemons that go on by one call at a time: the real driver, requests and duties over scripted ports.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use handoverd::adapters::sim::call::{PortFault, Shared};
use handoverd::adapters::sim::daemon::limits;
use handoverd::adapters::sim::part::Part;
use handoverd::adapters::sim::ports::SimPorts;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::handover::driver::{Driver, JobControl, Memory};
use handoverd::handover::protocol::{Protocol, Rule};
use handoverd::handover::record::Handover;
use handoverd::handover::run::Copies;
use handoverd::handover::world::{Limits, World};
use handoverd::model::ids::{Digest, HandoverId, HostId, JobId};
use handoverd::model::name::NameRecords;
use handoverd::model::service::BundleRecord;
use handoverd::ports::JobRecord;
use handoverd::requests::jobs::{Jobs, Runtime};
use handoverd::requests::loads::NotMeasured;
use handoverd::requests::{BatchLimits, MoveOptions, Requests};

use super::answers::Answer;
use super::ports::Scripted;
use super::script::{Next, OneFault, Script, Slot};
use super::state;

/// A coordinator of a handover.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    /// It is about to make its job.
    Asked(Part<(JobRecord, Handover)>),
    /// It drives its handover.
    Driving(Part<Life>),
    /// It has ended, or never began; what became of it stands in its table.
    Ended,
}

/// One that drives: what it knew when its round began, what it was answered since, and what it does next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Life {
    pub job: JobId,
    pub memory: Part<Memory>,
    pub history: Vec<Part<Answer>>,
    pub next: Next,
}

/// A daemon that carries duties: what it was answered since it last had nothing to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Carry {
    pub history: Vec<Part<Answer>>,
    pub next: Next,
}

/// What becomes of the one call that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    Goes,
    Faulty(PortFault),
    /// The reading of its group with this number, from 0, is not answered.
    Unread(u8),
}

/// By what daemons live.
#[derive(Debug, Clone)]
pub struct House {
    pub protocol: Protocol,
    /// Whether a table lets one handover of a service be open at a time.
    pub reservations: bool,
    pub limits: Limits,
    /// Whether spans pass by a step of their own.
    pub waits: bool,
    /// The bundles of every table.
    pub bundles: Arc<BTreeMap<Digest, BundleRecord>>,
    /// The copies that every handover is about: all of a configuration move the same bundle between the same guests, so
    /// they are read once and not for each step.
    pub copies: Arc<OnceLock<Copies>>,
}

impl House {
    async fn copies(&self, world: &World, handover: &Handover) -> Copies {
        if let Some(copies) = self.copies.get() {
            return copies.clone();
        }
        let read = Copies::read(world, handover).await.unwrap();
        self.copies.get_or_init(|| read).clone()
    }
}

struct Control {
    cancel: bool,
}

#[async_trait]
impl JobControl for Control {
    fn report(&self, _handover: &Handover, _waiting: &str) {}

    fn cancel_requested(&self) -> Option<String> {
        self.cancel.then(|| "an operator".to_owned())
    }

    async fn cancelled(&self) {
        std::future::pending::<()>().await;
    }

    async fn admitted(&self, _handover: &Handover) -> bool {
        false
    }
}

/// Jobs that requests begin are driven by the checker.
struct Noted(HandoverId);

impl Runtime for Noted {
    fn spawn(&self, _task: BoxFuture<'static, ()>) {}

    fn handover_id(&self) -> HandoverId {
        self.0
    }
}

enum Start {
    Begin(JobRecord, Handover),
    TakeUp(Handover),
    GoOn(Part<Memory>),
}

/// The stage on which one play is given.
struct Stage {
    shared: Arc<Shared>,
    script: Arc<Script>,
    slot: Slot,
    world: Arc<World>,
}

fn stage(house: &House, world: SimWorld, own: &HostId, script: Arc<Script>, fate: Fate) -> Stage {
    let fault = match fate {
        Fate::Faulty(fault) => Some(fault),
        Fate::Goes | Fate::Unread(_) => None,
    };
    let slot: Slot = Arc::new(Mutex::new(fault));
    let shared = Shared::timeless(world, Box::new(OneFault(slot.clone())));
    let ports = Arc::new(Scripted {
        sim: SimPorts::new(shared.clone(), own.clone()),
        script: script.clone(),
        slot: slot.clone(),
        bundles: house.bundles.clone(),
    });
    let world = World::new(
        ports.clone(),
        ports.clone(),
        ports.clone(),
        ports.clone(),
        ports,
        house.limits.clone(),
        Arc::new(|addresses: &[IpAddr]| addresses.to_vec()),
        "hv1".parse().unwrap(),
    );
    Stage {
        shared,
        script,
        slot,
        world: Arc::new(world.with_protocol(house.protocol)),
    }
}

impl Stage {
    fn leave(self) -> SimWorld {
        let mut inner = self.shared.lock();
        std::mem::replace(&mut inner.world, state::nothing())
    }

    fn requests(&self, id: HandoverId) -> Arc<Requests> {
        let jobs = Jobs::new(self.world.clone(), Arc::new(Noted(id)), 8, Duration::ZERO);
        requests(self.world.clone(), jobs)
    }

    /// Whether everything came about that was to.
    fn is_spent(&self) -> bool {
        self.script.is_spent() && self.slot.lock().unwrap().is_none()
    }
}

fn requests(world: Arc<World>, jobs: Arc<Jobs>) -> Arc<Requests> {
    let limits = BatchLimits {
        parallel: 1,
        per_guest: 1,
        per_host: 1,
    };
    Arc::new(Requests::new(world, jobs, Arc::new(NotMeasured), limits))
}

fn poll<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

async fn live(house: &House, world: &World, script: &Script, start: Start, cancel: bool) {
    let handover = match start {
        Start::Begin(job, handover) => match world.table.begin(&job, &handover).await {
            Ok(handover) => handover,
            Err(_refused) => return,
        },
        Start::TakeUp(handover) => handover,
        Start::GoOn(memory) => {
            let copies = house.copies(world, &memory.handover).await;
            let driver = Driver::go_on(world, Memory::clone(&memory), copies);
            return drive(world, script, driver, cancel).await;
        }
    };
    let copies = house.copies(world, &handover).await;
    let driver = Driver::take_up_with(world, handover, copies);
    script.round(driver.memory());
    drive(world, script, driver, cancel).await;
}

async fn drive(world: &World, script: &Script, mut driver: Driver<'_>, cancel: bool) {
    let control = Control { cancel };
    while !driver.is_final() {
        driver.round(&control).await;
        script.round(driver.memory());
    }
    let id = driver.memory().handover.job;
    if let Ok(Some(job)) = world.table.job(id).await {
        driver.finish(job).await;
    }
}

/// What an operator's request to move the service to guest `g2` comes to in this world: a job and its handover, as they
/// are before the table has them.
pub fn ask(house: &House, world: &SimWorld, own: &HostId, number: u128) -> (JobRecord, Handover) {
    let shared = Shared::new(world.clone(), Box::new(handoverd::adapters::sim::call::Clean));
    shared.lock().timeless = true;
    let ports = Arc::new(SimPorts::new(shared.clone(), own.clone()));
    let world = World::new(
        ports.clone(),
        ports.clone(),
        ports.clone(),
        ports.clone(),
        ports,
        limits(),
        Arc::new(|addresses: &[IpAddr]| addresses.to_vec()),
        "hv1".parse().unwrap(),
    );
    let world = Arc::new(world.with_protocol(house.protocol));
    let id = HandoverId(uuid::Uuid::from_u128(number));
    let jobs = Jobs::new(world.clone(), Arc::new(Noted(id)), 8, Duration::ZERO);
    let requests = requests(world, jobs);
    let asked = requests.move_("web", "g2", MoveOptions::default(), "uid 0");
    let job = poll(asked)
        .expect("a request does not wait")
        .expect("it is granted");
    let inner = shared.lock();
    let table = &inner.world.tables[own];
    let mut record = table.jobs[&job].clone();
    let mut handover = table.handovers[&job].handover.clone();
    record.id = JobId(0);
    handover.job = JobId(0);
    (record, handover)
}

/// What a play came to.
pub struct Played {
    pub world: SimWorld,
    pub actor: Actor,
    /// It would have come to something else, had the deadline of the goal at hand passed meanwhile.
    pub might_expire: bool,
}

impl Played {
    fn ended(world: SimWorld) -> Self {
        Self {
            world,
            actor: Actor::Ended,
            might_expire: false,
        }
    }
}

/// A coordinator makes its next call; `None` where that fate cannot befall it.
pub fn go(
    house: &House,
    world: SimWorld,
    own: &HostId,
    actor: &Actor,
    fate: Fate,
    overdue: bool,
) -> Option<Played> {
    match actor {
        Actor::Asked(asked) => begin(house, world, own, asked, fate),
        Actor::Driving(life) => {
            let mut memory = life.memory.clone();
            if overdue {
                memory.at.began = 0;
            }
            let script = script_of(life, true, fate);
            let played = play(
                house,
                world,
                own,
                Start::GoOn(memory),
                script.clone(),
                fate,
                false,
            );
            assert!(
                script.is_replayed(),
                "{life:?} does not ask again what it had asked"
            );
            let made = script.lock().made;
            if let (Next::Call(call), Some(made), false) = (life.next, made, overdue) {
                assert_eq!(made, call, "{life:?} goes on with another call");
            }
            played
        }
        Actor::Ended => None,
    }
}

fn script_of(life: &Life, permit: bool, fate: Fate) -> Arc<Script> {
    let fails = match fate {
        Fate::Unread(number) => Some(number),
        _ => None,
    };
    Script::after(Some(life.memory.clone()), life.history.clone(), permit, fails)
}

fn begin(
    house: &House,
    mut world: SimWorld,
    own: &HostId,
    asked: &(JobRecord, Handover),
    fate: Fate,
) -> Option<Played> {
    let mut held = Vec::new();
    if !house.reservations
        && let Some(table) = world.tables.get_mut(own)
    {
        for (job, row) in &mut table.handovers {
            if std::mem::take(&mut row.reserved) {
                held.push(*job);
            }
        }
    }
    let script = Script::after(None, Vec::new(), true, None);
    let start = Start::Begin(asked.0.clone(), asked.1.clone());
    let mut played = play(house, world, own, start, script, fate, false)?;
    if !held.is_empty()
        && let Some(table) = played.world.tables.get_mut(own)
    {
        for job in held {
            if let Some(row) = table.handovers.get_mut(&job) {
                row.reserved = true;
            }
        }
    }
    Some(played)
}

fn play(
    house: &House,
    world: SimWorld,
    own: &HostId,
    start: Start,
    script: Arc<Script>,
    fate: Fate,
    cancel: bool,
) -> Option<Played> {
    let asked = match &start {
        Start::Begin(_, handover) => Some(handover.id),
        Start::TakeUp(_) | Start::GoOn(_) => None,
    };
    let known = script.lock().memory.clone();
    let stage = stage(house, world, own, script, fate);
    let ended = poll(live(house, &stage.world, &stage.script, start, cancel)).is_some();
    if !stage.is_spent() {
        return None;
    }
    let killed = stage.shared.lock().killed;
    let (memory, history, next, might_expire) = {
        let mut progress = stage.script.lock();
        (
            progress.memory.take(),
            std::mem::take(&mut progress.history),
            progress.next,
            progress.might_expire,
        )
    };
    let world = stage.leave();
    if ended {
        return Some(Played {
            might_expire,
            ..Played::ended(world)
        });
    }
    let job = memory.as_ref().map(|memory| memory.handover.job);
    if killed {
        // A daemon that was killed while its table made the job has it, unless another one held the service.
        return match job.or_else(|| asked.and_then(|id| job_of(&world, own, id))) {
            Some(job) => restart(house, world, own, job),
            None => Some(Played::ended(world)),
        };
    }
    let mut memory = memory?;
    let believes = !house.protocol.keeps(Rule::LookAgain);
    if known.is_none_or(|known| !memory.is_shared(&known)) {
        state::normalize_memory(&mut memory, believes, house.waits);
    }
    state::forget_answered(&world, &mut memory);
    let life = Life {
        job: job?,
        memory,
        history,
        next: next.expect("a daemon stops at a call or a wait"),
    };
    Some(Played {
        world,
        actor: Actor::Driving(life.into()),
        might_expire,
    })
}

fn job_of(world: &SimWorld, own: &HostId, id: HandoverId) -> Option<JobId> {
    let mut rows = world.tables[own].handovers.iter();
    rows.find(|(_, row)| row.handover.id == id).map(|(job, _)| *job)
}

/// The daemon was killed and is started again: only its journal is left of what it knew.
pub fn restart(house: &House, world: SimWorld, own: &HostId, job: JobId) -> Option<Played> {
    let table = &world.tables[own];
    if table.jobs[&job].result.is_some() {
        return Some(Played::ended(world));
    }
    let start = Start::TakeUp(table.handovers[&job].handover.clone());
    let script = Script::after(None, Vec::new(), false, None);
    play(house, world, own, start, script, Fate::Goes, false)
}

/// Somebody cancels the handover while its daemon is between two rounds.
pub fn cancel(house: &House, world: SimWorld, own: &HostId, life: &Life) -> Option<Played> {
    if !life.history.is_empty() || !handoverd::handover::driver::is_cancelable(&life.memory.handover) {
        return None;
    }
    let start = Start::GoOn(life.memory.clone());
    let script = script_of(life, false, Fate::Goes);
    play(house, world, own, start, script, Fate::Goes, true)
}

/// An operator resumes a stuck job.
pub fn resume(house: &House, world: SimWorld, own: &HostId, job: JobId) -> Option<Played> {
    let script = Script::after(None, Vec::new(), true, None);
    let stage = stage(house, world, own, script, Fate::Goes);
    let requests = stage.requests(HandoverId(uuid::Uuid::nil()));
    let resumed = poll(requests.jobs.resume(job)).is_some_and(|resumed| resumed.is_ok());
    drop(requests);
    let world = stage.leave();
    resumed.then_some(())?;
    restart(house, world, own, job)
}

/// The daemon that carries duties goes on by one call.
pub fn carry(
    house: &House,
    world: SimWorld,
    own: &HostId,
    carry: Option<&Carry>,
    fate: Fate,
) -> Option<(SimWorld, Option<Part<Carry>>)> {
    let fails = match fate {
        Fate::Unread(number) => Some(number),
        _ => None,
    };
    let history = carry.map(|carry| carry.history.clone()).unwrap_or_default();
    let script = Script::after(None, history, true, fails);
    let stage = stage(house, world, own, script, fate);
    let requests = stage.requests(HandoverId(uuid::Uuid::nil()));
    let ended = poll(requests.carry_duties());
    assert!(
        ended.is_none(),
        "duties are carried for as long as the daemon runs"
    );
    drop(requests);
    if !stage.is_spent() {
        return None;
    }
    let killed = stage.shared.lock().killed;
    let (mut history, next) = {
        let mut progress = stage.script.lock();
        (std::mem::take(&mut progress.history), progress.next)
    };
    // The zone is asked whether it is newer than the table: one that went on found that it is not, and never asks again.
    for answer in &mut history {
        if let Answer::Name(Ok(records)) = &**answer
            && *records != NameRecords::default()
        {
            *answer = Answer::Name(Ok(NameRecords::default())).into();
        }
    }
    let world = stage.leave();
    let next = match next {
        Some(Next::Call(call)) if !killed => Next::Call(call),
        // It has nothing to do until it looks again, or was killed: it begins anew.
        _ => return Some((world, None)),
    };
    Some((world, Some(Carry { history, next }.into())))
}
