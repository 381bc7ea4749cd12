//! A whole daemon over a simulated world: the real requests, jobs, driver and duties, killed and started again at will.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join5};

use super::call::{Clean, Director, Entry, Inner, Shared};
use super::check::{self, Violation};
use super::executor::{Executor, Rest, Spawner};
use super::happening::Happening;
use super::ports::SimPorts;
use super::story;
use super::words;
use super::world::{Power, SimWorld};
use crate::assembly::{self, Ports, Terms};
use crate::config::{BalanceSettings, GuestLabels};
use crate::handover::goals::Goal;
use crate::handover::protocol::Protocol;
use crate::handover::world::{AddressRule, Limits};
use crate::model::ids::{HandoverId, HostId, JobId};
use crate::model::service::Millis;
use crate::requests::jobs::Runtime;
use crate::requests::refusal::Refusal;
use crate::requests::watching::{self, Senses};
use crate::requests::{BatchLimits, Requests};

/// How long systemd waits before it starts a daemon that was killed.
const RESTART: Duration = Duration::from_millis(100);

/// A request's answer, once it has one; none if the daemon was killed before.
pub type Answer = Arc<Mutex<Option<Result<JobId, Refusal>>>>;

struct SimRuntime {
    shared: Arc<Shared>,
    spawner: Spawner,
}

impl Runtime for SimRuntime {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.spawner.spawn(task);
    }

    /// Counted: the same run gives the same identities.
    fn handover_id(&self) -> HandoverId {
        let mut inner = self.shared.lock();
        inner.identities = inner.identities.saturating_add(1);
        HandoverId(uuid::Uuid::from_u128(u128::from(inner.identities)))
    }
}

/// A daemon, its world, and what happens to both.
pub struct Simulation {
    /// What the ports share: world, trail, violations.
    pub shared: Arc<Shared>,
    terms: Terms,
    audits: bool,
    executor: Executor,
    requests: Arc<Requests>,
    keeps_standbys: bool,
    keeps_up: bool,
    /// By what it watches guests; `None`: it does not.
    watch: Option<watching::Terms>,
    /// How often the daemon was killed.
    pub kills: u32,
    /// How many stuck jobs an operator had to resume.
    pub resumed: u32,
}

/// The limits that a simulated daemon keeps: the shipped ones, but that a TTL is long from 20 s on.
pub fn limits() -> Limits {
    let seconds = Duration::from_secs;
    let deadlines = HashMap::from([
        (Goal::Reserve, seconds(30)),
        (Goal::Observe, seconds(30)),
        (Goal::Lower, seconds(60)),
        (Goal::Fence, seconds(60)),
        (Goal::Lead, seconds(60)),
        (Goal::Stage, seconds(60)),
        (Goal::Quiesce, seconds(90 + 10 + 90)),
        (Goal::Adopt, seconds(60)),
        (Goal::Switch, seconds(60)),
        (Goal::Start, seconds(90)),
        (Goal::Publish, seconds(60)),
        (Goal::Unpublish, seconds(60)),
        (Goal::Record, seconds(60)),
        (Goal::Retire, seconds(120)),
        (Goal::Forget, seconds(60)),
    ]);
    Limits {
        deadlines,
        confirm: seconds(60),
        undo: seconds(300),
        silence: seconds(10),
        stop_timeout: seconds(90),
        drain_margin: seconds(2),
        lower_above: 20,
        lead: true,
        unreachable: seconds(60),
    }
}

/// What a simulated daemon keeps to; an ended job is not shown any longer, for that would only take time.
pub fn terms(own: HostId) -> Terms {
    Terms {
        own,
        limits: limits(),
        batch: BatchLimits {
            parallel: 8,
            per_guest: 4,
            per_host: 8,
        },
        parallel: 8,
        keep: Duration::ZERO,
        audit_every: Duration::from_secs(60),
        address_rule: all_addresses(),
        labels: GuestLabels::default(),
        balance: BalanceSettings::default(),
        protocol: Protocol::default(),
    }
}

/// A simulated guest publishes its addresses, whatever they are.
pub fn all_addresses() -> AddressRule {
    Arc::new(|addresses: &[IpAddr]| addresses.to_vec())
}

impl Simulation {
    /// A daemon of host `own`, just started, over `world`.
    pub fn new(world: SimWorld, own: HostId, director: Box<dyn Director>) -> Self {
        Self::with_protocol(world, own, director, Protocol::default())
    }

    /// The same, under another protocol.
    pub fn with_protocol(
        world: SimWorld,
        own: HostId,
        director: Box<dyn Director>,
        protocol: Protocol,
    ) -> Self {
        let terms = Terms {
            protocol,
            ..terms(own)
        };
        Self::with_terms(world, terms, false, director)
    }

    /// A daemon that keeps to these terms; the auditor runs where it `audits`.
    pub fn with_terms(world: SimWorld, terms: Terms, audits: bool, director: Box<dyn Director>) -> Self {
        let shared = Shared::new(world, director);
        let executor = Executor::new(shared.clone());
        let requests = build(&shared, &terms, executor.spawner());
        let mut simulation = Self {
            shared,
            terms,
            audits,
            executor,
            requests,
            keeps_standbys: false,
            keeps_up: false,
            watch: None,
            kills: 0,
            resumed: 0,
        };
        simulation.begin();
        simulation
    }

    /// From now on its daemon watches guests, this one and those that follow it.
    pub fn watch_guests(&mut self, terms: watching::Terms) {
        self.watch = Some(terms);
        let watches = self.requests.clone().watch_guests(self.senses(), terms);
        self.executor.spawner().spawn(Box::pin(watches));
    }

    /// From now on its daemon measures loads, ends maintenances in time, and evens out loads if its terms say so: this one and
    /// those that follow it.
    pub fn keep_up(&mut self) {
        self.keeps_up = true;
        let upkeep = assembly::upkeep(self.requests.clone());
        self.executor.spawner().spawn(Box::pin(upkeep));
    }

    /// From now on its daemon keeps standbys, this one and those that follow it.
    pub fn keep_standbys(&mut self) {
        self.keeps_standbys = true;
        let keeps = self.requests.clone().keep_standbys();
        self.executor.spawner().spawn(Box::pin(keeps));
    }

    fn senses(&self) -> Senses {
        let ports = Arc::new(SimPorts::new(self.shared.clone(), self.terms.own.clone()));
        Senses {
            hosts: ports.clone(),
            agents: ports.clone(),
            spool: ports,
            goes_down: self.shared.lock().goes_down.subscribe(),
        }
    }

    /// What a daemon does when it starts.
    fn begin(&mut self) {
        self.shared.lock().note(Entry::Started);
        let (requests, shared, audits) = (self.requests.clone(), self.shared.clone(), self.audits);
        let watch = self.watch.map(|terms| (self.senses(), terms));
        let (audit_every, keeps_standbys, keeps_up) =
            (self.terms.audit_every, self.keeps_standbys, self.keeps_up);
        self.executor.spawner().spawn(Box::pin(async move {
            if assembly::take_up(&requests).await.is_err() {
                // It does not run: systemd starts it again.
                shared.lock().killed = true;
                return;
            }
            let watcher = async {
                if let Some((senses, terms)) = watch {
                    requests.clone().watch_guests(senses, terms).await;
                }
            };
            let [duties, auditor] = assembly::loops(&requests, audit_every);
            let auditor = async {
                if audits {
                    auditor.await;
                }
            };
            let standbys = async {
                if keeps_standbys {
                    requests.clone().keep_standbys().await;
                }
            };
            let upkeep = async {
                if keeps_up {
                    assembly::upkeep(requests.clone()).await;
                }
            };
            join5(duties, auditor, watcher, standbys, upkeep).await;
        }));
    }

    /// Kills the daemon, and starts another after `away`.
    pub fn restart(&mut self, away: Duration) {
        self.kills = self.kills.saturating_add(1);
        {
            let mut inner = self.shared.lock();
            inner.note(Entry::Killed);
        }
        // Every task goes with the process.
        self.executor = Executor::new(self.shared.clone());
        let now = {
            let mut inner = self.shared.lock();
            inner.killed = false;
            inner.world.now
        };
        let away = Millis::try_from(away.as_millis()).unwrap_or(0);
        self.executor.run(now.saturating_add(away), |_| false);
        self.requests = build(&self.shared, &self.terms, self.executor.spawner());
        self.begin();
    }

    /// Asks the daemon for something.
    pub fn request<F, A>(&mut self, ask: A) -> Answer
    where
        A: FnOnce(Arc<Requests>) -> F,
        F: Future<Output = Result<JobId, Refusal>> + Send + 'static,
    {
        let answer = Answer::default();
        let (slot, asked) = (answer.clone(), ask(self.requests.clone()));
        self.executor.spawner().spawn(Box::pin(async move {
            let got = asked.await;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(got);
        }));
        answer
    }

    /// The requests of the daemon that runs now.
    pub fn requests(&self) -> Arc<Requests> {
        self.requests.clone()
    }

    /// Lets time pass up to `until`, until `reached` holds, or until the daemon is to be killed: a [`Simulation::restart`] is
    /// then the caller's.
    pub fn run_to(&mut self, until: Millis, reached: impl FnMut(&Inner) -> bool) -> Rest {
        self.executor.run(until, reached)
    }

    /// Lets time pass until `reached` holds (true) or `span` milliseconds are over (false). A daemon that is killed is
    /// started again.
    pub fn run(&mut self, span: Millis, mut reached: impl FnMut(&Inner) -> bool) -> bool {
        let until = self.shared.lock().world.now.saturating_add(span);
        loop {
            match self.executor.run(until, &mut reached) {
                Rest::Killed if self.shared.lock().ran_away() => return false,
                Rest::Killed => self.restart(RESTART),
                Rest::Reached => return true,
                Rest::TimeUp => return false,
            }
        }
    }

    /// Brings the world to rest on a path without further faults: what is down comes back, what is stuck is resumed by an
    /// operator. Tells everything that is broken then, or was on the way.
    pub fn settle(&mut self) -> Vec<Violation> {
        const PATIENCE: Millis = 1_800_000;
        let quiet = |inner: &Inner| {
            let open = inner
                .world
                .tables
                .values()
                .any(|table| !table.unfinished().is_empty());
            !inner.violations.is_empty() || (!open && inner.world.agenda.is_empty())
        };
        self.run(PATIENCE, quiet);
        self.shared.lock().director = Box::new(Clean);
        for _ in 0..4 {
            self.mend();
            let rest = |inner: &Inner| !inner.violations.is_empty() || check::is_at_rest(&inner.world);
            self.run(60_000, |inner| {
                !inner.violations.is_empty() || all_up(&inner.world)
            });
            self.run(PATIENCE, rest);
            let stuck: Vec<JobId> = {
                let inner = self.shared.lock();
                inner
                    .world
                    .tables
                    .values()
                    .flat_map(|table| table.stuck())
                    .collect()
            };
            if stuck.is_empty() && all_up(&self.shared.lock().world) {
                break;
            }
            for id in stuck {
                self.resumed = self.resumed.saturating_add(1);
                let answer =
                    self.request(move |requests| async move { requests.jobs.resume(id).await.map(|()| id) });
                drop(answer);
            }
        }
        let inner = self.shared.lock();
        if !inner.violations.is_empty() {
            return inner.violations.clone();
        }
        if check::is_at_rest(&inner.world) {
            return check::one_truth(&inner.world);
        }
        vec![Violation {
            invariant: 5,
            text: format!("no way to a proper end: {}", under_way(&inner.world)),
        }]
    }

    /// Everything that is down comes back.
    fn mend(&mut self) {
        let mut inner = self.shared.lock();
        let mut back = vec![Happening::NamesUp];
        back.extend((0..inner.world.zone.secondaries.len()).map(Happening::SecondaryUp));
        back.extend(inner.world.hosts.keys().cloned().map(Happening::HostUp));
        for (id, guest) in &inner.world.guests {
            let boots = inner.world.agenda.values();
            let boots = boots
                .filter(|next| **next == Happening::Booted(*id, guest.boots))
                .count();
            if guest.power == Power::Booting && boots == 0 {
                // It hangs.
                back.push(Happening::Die(*id));
                back.push(Happening::Boot(*id));
            }
            if matches!(guest.power, Power::Off | Power::Asleep) {
                back.push(Happening::Boot(*id));
            }
            if !guest.agent_speaks {
                back.push(Happening::AgentSpeaks(*id));
            }
        }
        inner.happen(back.into_iter().map(|happening| (0, happening)).collect());
    }

    /// The story so far, for people.
    pub fn story(&self) -> String {
        let inner = self.shared.lock();
        let since = |at: Millis| at.saturating_sub(SimWorld::BEGINNING);
        let mut lines: Vec<String> = inner
            .trail
            .iter()
            .map(|(at, entry)| format!("{:>9} ms  {}", since(*at), story::line(&inner.world, entry)))
            .collect();
        for table in inner.world.tables.values() {
            for (job, entries) in &table.journal {
                let told = entries
                    .iter()
                    .map(|e| format!("{:>9} ms  job {job} {}: {}", since(e.at), e.step, e.text));
                lines.extend(told);
            }
        }
        lines.join("\n")
    }
}

fn all_up(world: &SimWorld) -> bool {
    world.guests.values().all(|guest| guest.power == Power::Up)
}

fn under_way(world: &SimWorld) -> String {
    let mut parts = Vec::new();
    for table in world.tables.values() {
        for handover in table.unfinished() {
            parts.push(format!("job {} at {:?}", handover.job, handover.state));
        }
        for job in table.stuck() {
            let why = table
                .jobs
                .get(&job)
                .map(|j| j.error_details.clone())
                .unwrap_or_default();
            parts.push(format!("job {job} is stuck: {why}"));
        }
        for duty in table.duties.values() {
            parts.push(format!("a duty on {}", duty.guest));
        }
    }
    parts.extend(
        world
            .agenda
            .values()
            .map(|happening| words::tell(happening, world)),
    );
    parts.join("; ")
}

fn build(shared: &Arc<Shared>, terms: &Terms, spawner: Spawner) -> Arc<Requests> {
    let ports = Ports::all(Arc::new(SimPorts::new(shared.clone(), terms.own.clone())));
    let runtime = Arc::new(SimRuntime {
        shared: shared.clone(),
        spawner,
    });
    assembly::requests(ports, terms, runtime)
}
