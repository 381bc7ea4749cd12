//! Jobs: one task for each handover, its progress for those who watch, and its cancel. A batch is a job as well; what it
//! does is in [`super::batch`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tracing::Instrument as _;

use super::refusal::Refusal;
use crate::handover::driver::{self, JobControl};
use crate::handover::goals::Goal;
use crate::handover::machine::{Direction, Event, State, Terms, transition};
use crate::handover::record::{Handover, Reason};
use crate::handover::world::World;
use crate::model::batch::BatchMember;
use crate::model::ids::{HandoverId, JobId};
use crate::model::service::Millis;
use crate::ports::{JobRecord, JournalEntry};

/// A job as those who watch see it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// As it is kept.
    pub record: JobRecord,
    /// The goal at hand, or the last one.
    pub step: String,
    /// What it waits for; empty if for nothing.
    pub waiting: String,
    /// The share of its goals that hold, 0 to 1.
    pub progress: f64,
    /// Whether it may still be cancelled.
    pub cancelable: bool,
    /// How long nobody served, in milliseconds, where it had a gap.
    pub gap: Option<Millis>,
    /// The services of a batch, in order; empty for any other job.
    pub members: Vec<BatchMember>,
}

impl JobView {
    /// Whether only old copies are left to be looked after: nothing more is done on the target.
    pub fn is_past_work(&self) -> bool {
        let duties = [Goal::Drain, Goal::Retire].map(Goal::as_str);
        self.record.result.is_some() || duties.contains(&self.step.as_str())
    }
}

/// What happens to jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEvent {
    /// It began.
    New(JobId),
    /// Its view changed.
    Changed(JobId),
    /// It ended with this result.
    Ended(JobId, String),
    /// It is no longer shown; the table keeps it.
    Gone(JobId),
}

/// The result of a job that waits for an operator.
const STUCK: &str = "stuck";
/// How many jobs are read from the table at once.
const PAGE: u32 = 1000;

/// A job that is shown.
pub(super) struct Shown {
    view: watch::Sender<JobView>,
    cancel: watch::Sender<Option<String>>,
    /// Whether a handover that its batch holds may go on.
    released: watch::Sender<bool>,
}

impl Shown {
    /// Who asked for it to be cancelled, if somebody did.
    pub(super) fn cancel_requested(&self) -> Option<String> {
        self.cancel.borrow().clone()
    }

    /// Returns when somebody asks for it to be cancelled.
    pub(super) async fn cancelled(&self) {
        let mut cancel = self.cancel.subscribe();
        // The sender lives as long as the job, so an error cannot come.
        drop(cancel.wait_for(Option::is_some).await);
    }
}

/// What runs jobs: tasks and identities come from here, so that a simulated daemon is deterministic.
pub trait Runtime: Send + Sync {
    /// Runs a task beside all others, until it ends or the daemon does.
    fn spawn(&self, task: BoxFuture<'static, ()>);
    /// An identity that no other handover of the cluster has.
    fn handover_id(&self) -> HandoverId;
}

/// Tokio's tasks, and random identities.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tokio;

impl Runtime for Tokio {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn handover_id(&self) -> HandoverId {
        HandoverId(uuid::Uuid::new_v4())
    }
}

/// All jobs that run, and for a while those that have ended.
pub struct Jobs {
    world: Arc<World>,
    runtime: Arc<dyn Runtime>,
    shown: Mutex<BTreeMap<JobId, Arc<Shown>>>,
    events: broadcast::Sender<JobEvent>,
    places: Arc<Semaphore>,
    keep: Duration,
}

impl Jobs {
    /// No job yet. At most `parallel` handovers are worked on at once (one that drains waits, and is not counted); an ended
    /// one is shown for `keep`.
    pub fn new(world: Arc<World>, runtime: Arc<dyn Runtime>, parallel: usize, keep: Duration) -> Arc<Self> {
        let (events, _) = broadcast::channel(1024);
        Arc::new(Self {
            world,
            runtime,
            shown: Mutex::new(BTreeMap::new()),
            events,
            places: Arc::new(Semaphore::new(parallel.max(1))),
            keep,
        })
    }

    /// What happens to jobs from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<JobEvent> {
        self.events.subscribe()
    }

    /// The identity of a new handover.
    pub(super) fn new_id(&self) -> HandoverId {
        self.runtime.handover_id()
    }

    /// Runs a task beside all others.
    pub(super) fn run(&self, task: BoxFuture<'static, ()>) {
        self.runtime.spawn(task);
    }

    /// A shown job's view.
    pub fn view(&self, id: JobId) -> Option<JobView> {
        self.job(id).map(|job| job.view.borrow().clone())
    }

    /// Whether a handover of this job runs now.
    pub fn is_running(&self, id: JobId) -> bool {
        self.view(id).is_some_and(|view| view.record.result.is_none())
    }

    /// How many jobs run, and how many are stuck.
    pub fn open(&self) -> (u32, u32) {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut running, mut stuck): (u32, u32) = (0, 0);
        for job in shown.values() {
            match job.view.borrow().record.result.as_deref() {
                None => running = running.saturating_add(1),
                Some(STUCK) => stuck = stuck.saturating_add(1),
                Some(_) => {}
            }
        }
        (running, stuck)
    }

    fn job(&self, id: JobId) -> Option<Arc<Shown>> {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
    }

    /// What a shown job tells from now on.
    pub(super) fn watch(&self, id: JobId) -> Option<watch::Receiver<JobView>> {
        self.job(id).map(|job| job.view.subscribe())
    }

    /// Shows a job.
    pub(super) fn show(&self, view: JobView) -> Arc<Shown> {
        let id = view.record.id;
        let job = Arc::new(Shown {
            view: watch::Sender::new(view),
            cancel: watch::Sender::new(None),
            released: watch::Sender::new(false),
        });
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, job.clone());
        self.send(JobEvent::New(id));
        job
    }

    /// Tells where a job stands, if that has changed.
    pub(super) fn tell(&self, job: &Shown, view: JobView) {
        let id = view.record.id;
        if job.view.send_if_modified(|old| {
            let changed = *old != view;
            *old = view;
            changed
        }) {
            self.send(JobEvent::Changed(id));
        }
    }

    /// Tells that a job has ended, and goes on showing it for a while.
    pub(super) async fn end(&self, job: &Arc<Shown>, ended: JobRecord) {
        let (id, result) = (ended.id, ended.result.clone().unwrap_or_default());
        job.view.send_modify(|view| {
            view.record = ended;
            view.waiting.clear();
            view.cancelable = false;
        });
        self.send(JobEvent::Changed(id));
        self.send(JobEvent::Ended(id, result));
        self.linger(id, job).await;
    }

    /// Runs a handover in a task of its own.
    pub fn spawn(self: &Arc<Self>, handover: Handover, record: JobRecord) -> JobId {
        let id = record.id;
        let job = self.show(view_of(&handover, &record, ""));
        let span =
            tracing::info_span!("job", id = id.0, operation = record.operation, service = %handover.service);
        let jobs = self.clone();
        let task = async move {
            let Ok(place) = jobs.places.clone().acquire_owned().await else {
                return;
            };
            if handover.facts.held_by.is_none() {
                job.released.send_replace(true);
            }
            let control = Control {
                jobs: jobs.clone(),
                job: job.clone(),
                record: record.clone(),
                place: Mutex::new(Some(place)),
            };
            let ended = driver::drive(&jobs.world, handover, record, &control).await;
            drop(control);
            jobs.end(&job, ended).await;
        };
        self.runtime.spawn(Box::pin(task.instrument(span)));
        id
    }

    /// Shows the jobs that an earlier daemon left stuck, so that they can be resumed or abandoned.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn show_stuck(self: &Arc<Self>) -> Result<(), Refusal> {
        let mut before = None;
        loop {
            let page = self.world.table.jobs(before, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            before = Some(last.id);
            for record in page.iter().filter(|job| job.result.as_deref() == Some(STUCK)) {
                let Some(handover) = self.world.table.handover(record.id).await? else {
                    continue;
                };
                let (jobs, id, job) = (self.clone(), record.id, self.show(view_of(&handover, record, "")));
                self.runtime
                    .spawn(Box::pin(async move { jobs.linger(id, &job).await }));
            }
        }
    }

    /// Shows an ended job for a while longer; a stuck one until an operator has resumed or abandoned it.
    async fn linger(&self, id: JobId, job: &Arc<Shown>) {
        let mut view = job.view.subscribe();
        // The sender lives as long as the job, so an error cannot come.
        drop(
            view.wait_for(|view| view.record.result.as_deref() != Some(STUCK))
                .await,
        );
        self.world.clock.sleep(self.keep).await;
        let gone = {
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            // A resumed job has another one in its place.
            let own = shown.get(&id).is_some_and(|now| Arc::ptr_eq(now, job));
            own && shown.remove(&id).is_some()
        };
        if gone {
            self.send(JobEvent::Gone(id));
        }
    }

    /// Asks a job to unwind.
    ///
    /// # Errors
    /// There is no such job, it has ended, or it is past its commit.
    pub async fn cancel(&self, id: JobId, who: &str) -> Result<(), Refusal> {
        let Some(job) = self.job(id) else {
            let record = self.world.table.job(id).await?.ok_or(Refusal::NoSuchJob(id))?;
            let result = record.result.unwrap_or_default();
            return Err(Refusal::NotCancelable(format!("job {id} has ended ({result})")));
        };
        let view = job.view.borrow().clone();
        if let Some(result) = view.record.result {
            return Err(Refusal::NotCancelable(format!("job {id} has ended ({result})")));
        }
        if !view.cancelable {
            return Err(Refusal::NotCancelable(format!(
                "job {id} is at {} and cannot be cancelled any more: it has committed, or is being undone already",
                view.step
            )));
        }
        job.cancel.send_replace(Some(who.to_owned()));
        Ok(())
    }

    /// Lets a handover that its batch holds go on.
    pub(super) fn release(&self, id: JobId) {
        if let Some(job) = self.job(id) {
            job.released.send_replace(true);
        }
    }

    /// Lets a stuck job try again from where it stands.
    ///
    /// # Errors
    /// There is no such job, or it is not stuck.
    pub async fn resume(self: &Arc<Self>, id: JobId) -> Result<(), Refusal> {
        let (mut handover, mut record) = self.stuck(id).await?;
        let terms = Terms {
            kind: handover.kind,
            committed: handover.committed,
            facts: &handover.facts,
            protocol: self.world.protocol,
        };
        handover.state = transition(handover.state, &Event::Resume, terms)
            .map_err(|illegal| Refusal::NotStuck(id, illegal.to_string()))?;
        // What began an undo is why the job ends as it does.
        handover.reason = match handover.state {
            State::At {
                direction: Direction::Back,
                ..
            } => handover.reason.map(Reason::resumed),
            _ => None,
        };
        record.finished = None;
        record.result = None;
        record.error_name.clear();
        record.error_details.clear();
        let entry = self.entry("an operator resumes it");
        self.world.table.save(&handover, &entry).await?;
        if let Some(stuck) = self.job(id) {
            stuck.view.send_modify(|view| view.record.result = None);
        }
        self.spawn(handover, record);
        Ok(())
    }

    /// Ends a stuck job as it is: the service is no longer frozen, and what is left is the operator's.
    ///
    /// # Errors
    /// There is no such job, or it is not stuck.
    pub async fn abandon(&self, id: JobId, who: &str) -> Result<(), Refusal> {
        let (handover, mut record) = self.stuck(id).await?;
        record.result = Some("failed".into());
        record.error_details = format!("{}; abandoned by {who}", record.error_details);
        record.finished = Some(self.world.clock.now());
        self.world
            .table
            .finish(&handover, &record, &self.entry(&format!("abandoned by {who}")))
            .await?;
        if let Some(job) = self.job(id) {
            job.view.send_modify(|view| view.record = record);
            self.send(JobEvent::Changed(id));
        }
        Ok(())
    }

    async fn stuck(&self, id: JobId) -> Result<(Handover, JobRecord), Refusal> {
        let record = self.world.table.job(id).await?.ok_or(Refusal::NoSuchJob(id))?;
        let Some(handover) = self.world.table.handover(id).await? else {
            let why = "it is a batch; see its services' own jobs, `handoverctl jobs show` lists them";
            return Err(Refusal::NotStuck(id, why.into()));
        };
        if record.result.as_deref() != Some(STUCK) || !matches!(handover.state, State::Stuck { .. }) {
            let is = record.result.unwrap_or_else(|| "it runs".into());
            return Err(Refusal::NotStuck(id, is));
        }
        Ok((handover, record))
    }

    fn entry(&self, text: &str) -> JournalEntry {
        JournalEntry {
            at: self.world.clock.now(),
            step: "operator".into(),
            text: text.into(),
        }
    }

    fn send(&self, event: JobEvent) {
        // Without a listener nobody is told: the views are read instead.
        drop(self.events.send(event));
    }
}

fn view_of(handover: &Handover, record: &JobRecord, waiting: &str) -> JobView {
    let step = match handover.state {
        State::At { goal, .. } | State::Stuck { goal, .. } => goal.as_str(),
        State::Done { .. } => "done",
        State::Undone => "undone",
    };
    JobView {
        record: record.clone(),
        step: step.to_owned(),
        waiting: waiting.to_owned(),
        progress: driver::progress(handover),
        cancelable: driver::is_cancelable(handover),
        gap: handover.facts.gap,
        members: Vec::new(),
    }
}

struct Control {
    jobs: Arc<Jobs>,
    job: Arc<Shown>,
    record: JobRecord,
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Control {
    /// Waiting for resolvers to forget something, before the commit or after it, takes no place from work. What comes after it takes one if one is free: a source that
    /// is done with is not to be kept waiting by new work.
    fn keep_place(&self, state: State) {
        let State::At { goal, .. } = state else { return };
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(goal, Goal::Lower | Goal::Drain) {
            *place = None;
        } else if place.is_none() {
            *place = self.jobs.places.clone().try_acquire_owned().ok();
        }
    }
}

#[async_trait]
impl JobControl for Control {
    fn report(&self, handover: &Handover, waiting: &str) {
        self.keep_place(handover.state);
        self.jobs
            .tell(&self.job, view_of(handover, &self.record, waiting));
    }

    fn cancel_requested(&self) -> Option<String> {
        self.job.cancel_requested()
    }

    async fn cancelled(&self) {
        self.job.cancelled().await;
    }

    async fn admitted(&self, handover: &Handover) -> bool {
        let mut released = self.job.released.subscribe();
        let held = !*released.borrow();
        if held {
            *self.place.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let waiting = "its turn among the services of its batch";
            self.jobs
                .tell(&self.job, view_of(handover, &self.record, waiting));
            // The sender lives as long as the job, so an error cannot come.
            drop(released.wait_for(|released| *released).await);
        }
        let free = self
            .place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none();
        if free && let Ok(place) = self.jobs.places.clone().acquire_owned().await {
            *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        }
        held
    }
}
