//! The watcher: hears and lists guests that have services, and does what [`crate::watch`] says about them.
//!
//! One task. It waits for nothing but its inputs: lists, evacuations and what else takes time are futures that it holds.
//! Nothing of it has to be kept: a daemon that starts lists all guests, reads what libvirt's hook has noted, and
//! so finds those that died while it was away; an evacuation under way is a batch, and taken up as one.

mod heartbeat;
mod looking;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::Requests;
use super::evacuation::DAEMON;
use super::refusal::Refusal;
use crate::model::ids::{GuestId, HostId, JobId};
use crate::model::service::Millis;
use crate::ports::{Heard, PortError, TableError};
use crate::watch::blast::{Alarm, Limits};
use crate::watch::cause::{Cause, Policy, Sign};
use crate::watch::census::{Census, Order};
use crate::watch::guest_watch::{GuestWatch, State};
use crate::watch::roll::{self, Listed, Roll};
use heartbeat::Heartbeats;
use looking::Looked;
use waiting::{AGAIN, HOMELESS, LONGEST, Waiting};

pub use looking::Senses;

/// How often guests are listed when nothing is heard.
const EVERY: Duration = Duration::from_secs(30);
/// How soon they are listed after something was heard that only a list tells fully.
const SOON: Duration = Duration::from_millis(500);
/// How long after a guest's death its evacuation begins: guests that die in the same moment are told one after the other,
/// and when they are too many, nothing is to have begun.
const SETTLE: Duration = Duration::from_millis(200);

/// By what it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Whether services of dead guests are moved; else it is only told that they would be.
    pub enabled: bool,
    /// What counts as dead, and when.
    pub policy: Policy,
    /// When too many die at once.
    pub limits: Limits,
}

/// What has come to its end.
enum Done {
    Looked(Result<Looked, TableError>),
    /// Whether a guest's agent answers, if that could be asked.
    Heard(GuestId, Option<bool>),
    /// The destroying of a guest: whether it is off.
    Fenced(GuestId, bool),
    /// An evacuation: its job, if services were there.
    Evacuated(GuestId, Result<Option<JobId>, Refusal>),
    /// A guest that is not watched was said to be off: whether it has services by now.
    Known(bool),
    /// Anything that is told by itself where it fails.
    Other,
}

/// An evacuation under way.
struct Evacuation {
    begun: Millis,
    /// The word that it was called off.
    called_off: Arc<AtomicBool>,
}

struct Watcher {
    requests: Arc<Requests>,
    senses: Senses,
    terms: Terms,
    census: Census,
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    /// A look is under way; another one was asked for since.
    looking: bool,
    look_at: Millis,
    /// Evacuations that begin when nothing worse is heard until then.
    settling: BTreeMap<GuestId, (Millis, Cause)>,
    /// Evacuations under way.
    evacuating: BTreeMap<GuestId, Evacuation>,
    waiting: Waiting,
    heartbeats: Heartbeats,
}

impl Requests {
    /// Watches guests for as long as the daemon runs. To be called when unfinished batches were taken up.
    pub async fn watch_guests(self: Arc<Self>, senses: Senses, terms: Terms) {
        // Before the first list, or what happens in between is lost.
        let mut ear = senses.hosts.listen();
        let mut frozen = self.evacuations.subscribe();
        let mut goes_down = senses.goes_down.clone();
        let mut wait = AGAIN;
        while let Err(error) = self.read_alarm().await {
            tracing::warn!(%error, "whether evacuations are frozen cannot be read; guests are not watched yet");
            self.world.clock.sleep(wait).await;
            wait = wait.saturating_mul(2).min(LONGEST);
        }
        let now = self.world.clock.now();
        let mut watcher = Watcher {
            requests: self,
            senses,
            terms,
            census: Census::default(),
            running: FuturesUnordered::new(),
            looking: false,
            look_at: now,
            settling: BTreeMap::new(),
            evacuating: BTreeMap::new(),
            waiting: Waiting::default(),
            heartbeats: Heartbeats::of(terms.policy),
        };
        loop {
            watcher.obey_alarm();
            watcher.begin_what_is_due();
            let sleep = watcher.until_due();
            let clock = watcher.requests.world.clock.clone();
            tokio::select! {
                biased;
                heard = ear.next() => match heard {
                    Some(heard) => watcher.hear(heard),
                    None => return,
                },
                Some(done) = watcher.running.next(), if !watcher.running.is_empty() => watcher.end(done),
                // The sender lives as long as the requests do, so an error cannot come.
                _ = frozen.changed() => {}
                Ok(()) = goes_down.changed() => {
                    let down = *goes_down.borrow_and_update();
                    watcher.host_goes_down(down);
                }
                () = watcher.requests.evacuations.room() => watcher.waiting.hasten(watcher.now()),
                () = clock.sleep(sleep) => {}
            }
            watcher.judge();
            watcher.requests.evacuations.show(watcher.census.standings());
        }
    }

    /// Evacuates a guest, and returns when that has ended.
    async fn evacuate_whole(
        self: Arc<Self>,
        guest: GuestId,
        cause: Cause,
        called_off: Arc<AtomicBool>,
    ) -> Result<Option<JobId>, Refusal> {
        let begun = self.evacuate(guest, cause, &called_off).await?;
        if let Some(mut view) = begun.and_then(|job| self.jobs.watch(job)) {
            // Where the job is not shown any more, it has ended.
            drop(view.wait_for(|view| view.record.result.is_some()).await);
        }
        Ok(begun)
    }
}

impl Watcher {
    fn now(&self) -> Millis {
        self.requests.world.clock.now()
    }

    /// The alarm as it is kept is the one that counts: an operator freezes and thaws there.
    fn obey_alarm(&mut self) {
        match (self.requests.evacuations.alarm(), self.census.frozen()) {
            (Some(alarm), None) => self.census.frozen_by(alarm),
            (None, Some(_)) => {
                for guest in self.census.thaw() {
                    if let Some(State::Dead { cause, .. }) = self.state(guest) {
                        self.evacuate(guest, cause);
                    }
                }
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    fn state(&self, guest: GuestId) -> Option<State> {
        self.census.guest(guest).map(GuestWatch::state)
    }

    fn begin_what_is_due(&mut self) {
        let now = self.now();
        if self.look_at <= now && !self.looking {
            self.looking = true;
            self.look_at = after(now, EVERY);
            let looks = self.requests.clone().look_at_guests(self.senses.clone());
            self.running
                .push(Box::pin(async move { Done::Looked(looks.await) }));
        }
        self.ask_agents(now);
        if self.census.frozen().is_some() {
            for guest in std::mem::take(&mut self.settling).into_keys() {
                self.census.hold(guest);
            }
            return;
        }
        let settled: Vec<(GuestId, Cause)> = self
            .settling
            .extract_if(.., |_, (at, _)| *at <= now)
            .map(|(guest, (_, cause))| (guest, cause))
            .collect();
        for (guest, cause) in settled {
            self.evacuate(guest, cause);
        }
        let due = self
            .waiting
            .due(now, |guest| !self.evacuating.contains_key(guest));
        for guest in due {
            match self.state(guest) {
                Some(State::Dead { cause, .. }) => {
                    let (policy, limits) = (self.terms.policy, self.terms.limits);
                    self.census.evacuating(now, guest, policy, limits);
                    self.evacuate(guest, cause);
                }
                _ => self.waiting.forget(guest),
            }
        }
    }

    /// How long nothing is due.
    fn until_due(&self) -> Duration {
        let look = (!self.looking).then_some(self.look_at);
        let retry = match self.census.frozen() {
            Some(_) => None,
            None => self.waiting.next(|guest| !self.evacuating.contains_key(guest)),
        };
        let settled = self.settling.values().map(|(at, _)| *at).min();
        let pulse = self.heartbeats.due();
        let next = [look, self.census.due(), retry, settled, pulse]
            .into_iter()
            .flatten()
            .min();
        let longest = after(self.now(), EVERY);
        Duration::from_millis(next.unwrap_or(longest).min(longest).saturating_sub(self.now()))
    }

    fn look_soon(&mut self, span: Duration) {
        self.look_at = self.look_at.min(after(self.now(), span));
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Connected(_) | Heard::Missed => {
                self.look_soon(Duration::ZERO);
                self.waiting.hasten(self.now());
            }
            Heard::Lost(host) => self.census.host_lost(&host),
            Heard::Of(host, guest, sign) => {
                if roll::stops(sign) || roll::moves(sign) {
                    self.requests.homes.look_again();
                }
                if sign == Sign::Agent(true) {
                    self.waiting.hasten(self.now());
                }
                if self.census.home(guest).is_some() {
                    tracing::debug!(%guest, %host, ?sign, "heard");
                } else if roll::stops(sign) {
                    self.ask_whether_known(guest);
                }
                if roll::moves(sign) {
                    // Where it is at home from now on, a list tells.
                    self.look_soon(SOON);
                }
                self.census.put(guest, &host, sign);
            }
        }
    }

    /// A guest may have got its first service since the last list.
    fn ask_whether_known(&mut self, guest: GuestId) {
        let requests = self.requests.clone();
        self.running.push(Box::pin(async move {
            match requests.world.table.services().await {
                Ok(services) => Done::Known(services.iter().any(|service| service.guest == guest)),
                // The next list tells.
                Err(_) => Done::Other,
            }
        }));
    }

    /// Guests that go down with their host are not dead: everything is frozen until it is back, which ends by itself.
    fn host_goes_down(&mut self, down: bool) {
        let host = self.requests.world.host.clone();
        let order = self.census.host_goes_down(self.now(), &host, down);
        self.carry_out(order.into_iter().collect());
        if !down {
            let requests = self.requests.clone();
            self.run(async move {
                if let Err(refusal) = requests.host_stays().await {
                    tracing::warn!(%refusal, "everything stays frozen: run `handoverctl thaw`");
                }
            });
        }
    }

    fn judge(&mut self) {
        let orders = self.census.step(self.now(), self.terms.policy, self.terms.limits);
        self.carry_out(orders);
    }

    /// Whether so many guests are watched that those which die in one moment could be too many.
    fn may_be_too_many(&self) -> bool {
        let Limits { least, most, .. } = self.terms.limits;
        self.census.guests().count() >= least.min(most.saturating_add(1))
    }

    fn carry_out(&mut self, orders: Vec<Order>) {
        for order in orders {
            match order {
                Order::Evacuate(guest, cause) => {
                    let settle = if self.may_be_too_many() {
                        SETTLE
                    } else {
                        Duration::ZERO
                    };
                    self.settling.insert(guest, (after(self.now(), settle), cause));
                }
                Order::CancelEvacuation(guest, cause) => self.call_off(guest, cause),
                Order::Freeze(alarm) => self.freeze(alarm),
                Order::Leftovers(guest) => {
                    let requests = self.requests.clone();
                    self.requests.standbys.is_back(guest);
                    self.run(async move { requests.carry_duties_of(guest).await });
                }
                Order::Destroy(guest, cause) => self.fence(guest, cause),
            }
        }
    }

    fn run(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.running.push(Box::pin(async move {
            work.await;
            Done::Other
        }));
    }

    fn evacuate(&mut self, guest: GuestId, cause: Cause) {
        if !self.terms.enabled {
            tracing::warn!(%guest, %cause, "a guest with services is dead; they stay, for [evacuation] enabled is \"no\"");
            return;
        }
        if self.evacuating.contains_key(&guest) {
            return;
        }
        if self.waiting.has(guest) {
            tracing::info!(%guest, "looks again at what the last evacuation has left");
        } else {
            tracing::warn!(%guest, %cause, "a guest is dead; its services go elsewhere");
        }
        let called_off = Arc::new(AtomicBool::new(false));
        let evacuation = Evacuation {
            begun: self.now(),
            called_off: called_off.clone(),
        };
        self.evacuating.insert(guest, evacuation);
        let requests = self.requests.clone();
        self.running.push(Box::pin(async move {
            Done::Evacuated(guest, requests.evacuate_whole(guest, cause, called_off).await)
        }));
    }

    fn call_off(&mut self, guest: GuestId, cause: Cause) {
        self.waiting.forget(guest);
        self.settling.remove(&guest);
        let Some(evacuation) = self.evacuating.get(&guest) else {
            return;
        };
        tracing::warn!(%guest, %cause, "the guest is back; what of its evacuation has not committed stays there");
        evacuation.called_off.store(true, Ordering::Relaxed);
        let requests = self.requests.clone();
        self.run(async move {
            if let Err(refusal) = requests
                .call_off(guest, &format!("the guest is back ({cause})"))
                .await
            {
                tracing::warn!(%guest, %refusal, "the evacuation cannot be called off");
            }
        });
    }

    /// In force at once; kept as soon as the table can be written, unless it is over by then.
    fn freeze(&mut self, alarm: Alarm) {
        self.requests.raise(&alarm);
        let requests = self.requests.clone();
        self.run(async move {
            let mut wait = AGAIN;
            while requests.evacuations.alarm().as_ref() == Some(&alarm) {
                match requests.keep_alarm(&alarm, DAEMON).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!(%error, "the alarm cannot be kept; it is in force until a restart");
                    }
                }
                requests.world.clock.sleep(wait).await;
                wait = wait.saturating_mul(2).min(LONGEST);
            }
        });
    }

    fn end(&mut self, done: Done) {
        match done {
            Done::Other | Done::Known(false) => {}
            Done::Known(true) => self.look_soon(Duration::ZERO),
            Done::Looked(looked) => {
                self.looking = false;
                match looked {
                    Ok(looked) => self.compare(looked),
                    Err(error) => {
                        tracing::warn!(%error, "which guests have services is not known");
                        self.look_soon(AGAIN);
                    }
                }
            }
            Done::Heard(guest, speaks) => self.agent_asked(guest, speaks),
            Done::Fenced(guest, off) => {
                let (policy, limits) = (self.terms.policy, self.terms.limits);
                let orders = self.census.destroyed(self.now(), guest, off, policy, limits);
                self.carry_out(orders);
            }
            Done::Evacuated(guest, ended) => self.evacuated(guest, ended),
        }
    }

    /// What a list tells, and what the hook's files tell of the time before it.
    fn compare(&mut self, looked: Looked) {
        let now = self.now();
        let told = |(host, answer): (HostId, Result<Vec<Listed>, PortError>)| {
            if let Err(error) = &answer {
                tracing::warn!(%host, %error, "its guests are not known");
            }
            (host, answer.ok())
        };
        let answers = looked.hosts.into_iter().map(told).collect();
        let mut roll = Roll::of(&looked.homes, answers, &self.census);
        roll.enter(&mut self.census);
        let noted = roll.note(&looked.spool, &self.requests.world.host, now);
        for (name, why) in &noted.refused {
            tracing::warn!(file = name, %why, "a file in the spool folder is not the hook's; it is removed");
        }
        for (at, guest, host, sign) in noted.signs {
            tracing::debug!(%guest, at, ?sign, "the hook has noted when it went off");
            self.census.put(guest, &host, sign);
            let orders = self.census.step(at, self.terms.policy, self.terms.limits);
            self.carry_out(orders);
        }
        if !noted.spent.is_empty() {
            let (spool, spent) = (self.senses.spool.clone(), noted.spent);
            self.run(async move {
                if let Err(error) = spool.remove(&spent).await {
                    tracing::warn!(%error, "files of the spool folder stay");
                }
            });
        }
        for (guest, host, sign) in roll.signs() {
            self.census.put(guest, &host, sign);
        }
    }

    /// An evacuation has ended. What has no home yet is looked at again while the guest is dead.
    fn evacuated(&mut self, guest: GuestId, ended: Result<Option<JobId>, Refusal>) {
        let now = self.now();
        let begun = self
            .evacuating
            .remove(&guest)
            .map_or(now, |evacuation| evacuation.begun);
        let orders = self
            .census
            .evacuated(now, guest, self.terms.policy, self.terms.limits);
        self.carry_out(orders);
        let first = match ended {
            Ok(None) => {
                self.waiting.forget(guest);
                return;
            }
            Ok(Some(job)) => {
                tracing::info!(%guest, %job, "the evacuation has ended");
                HOMELESS
            }
            Err(refusal @ (Refusal::NoGuestFits(_) | Refusal::NoSuchGuest(_))) => {
                tracing::warn!(%guest, %refusal, "services of a dead guest stay without a home");
                HOMELESS
            }
            Err(refusal) => {
                tracing::warn!(%guest, %refusal, "the evacuation did not begin");
                AGAIN
            }
        };
        if matches!(self.state(guest), Some(State::Dead { .. })) {
            self.waiting.wait(now, guest, begun, first);
        }
    }
}

fn after(now: Millis, span: Duration) -> Millis {
    now.saturating_add(Millis::try_from(span.as_millis()).unwrap_or(Millis::MAX))
}
