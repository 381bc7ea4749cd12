//! Jobs: one task for each handover, its progress for those who watch, and its cancel.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, broadcast, watch};
use tracing::Instrument as _;

use super::refusal::Refusal;
use crate::handover::driver::{self, JobControl};
use crate::handover::machine::{Event, State, Terms, transition};
use crate::handover::record::Handover;
use crate::handover::world::World;
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

struct Job {
    view: watch::Sender<JobView>,
    cancel: watch::Sender<Option<String>>,
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
    shown: Mutex<BTreeMap<JobId, Arc<Job>>>,
    events: broadcast::Sender<JobEvent>,
    places: Arc<Semaphore>,
    keep: Duration,
}

impl Jobs {
    /// No job yet. At most `parallel` handovers run at once; an ended one is shown for `keep`.
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

    /// A shown job's view.
    pub fn view(&self, id: JobId) -> Option<JobView> {
        self.job(id).map(|job| job.view.borrow().clone())
    }

    /// Whether a handover of this job runs now.
    pub fn is_running(&self, id: JobId) -> bool {
        self.view(id).is_some_and(|view| view.record.result.is_none())
    }

    fn job(&self, id: JobId) -> Option<Arc<Job>> {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
    }

    /// Runs a handover in a task of its own.
    pub fn spawn(self: &Arc<Self>, handover: Handover, record: JobRecord) -> JobId {
        let id = record.id;
        let view = view_of(&handover, &record, "");
        let job = Arc::new(Job {
            view: watch::Sender::new(view),
            cancel: watch::Sender::new(None),
        });
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, job.clone());
        self.send(JobEvent::New(id));
        let span =
            tracing::info_span!("job", id = id.0, operation = record.operation, service = %handover.service);
        let jobs = self.clone();
        let task = async move {
            let control = Control {
                jobs: jobs.clone(),
                job: job.clone(),
                record: record.clone(),
            };
            let ended = match jobs.places.clone().acquire_owned().await {
                Ok(_place) => driver::drive(&jobs.world, handover, record, &control).await,
                Err(_closed) => return,
            };
            let result = ended.result.clone().unwrap_or_default();
            job.view.send_modify(|view| {
                view.record = ended;
                view.waiting.clear();
                view.cancelable = false;
            });
            jobs.send(JobEvent::Changed(id));
            jobs.send(JobEvent::Ended(id, result));
            jobs.world.clock.sleep(jobs.keep).await;
            let still_ended = job.view.borrow().record.result.is_some();
            if still_ended {
                jobs.shown
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&id);
                jobs.send(JobEvent::Gone(id));
            }
        };
        self.runtime.spawn(Box::pin(task.instrument(span)));
        id
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
        handover.reason = None;
        record.finished = None;
        record.result = None;
        record.error_name.clear();
        record.error_details.clear();
        let entry = self.entry("an operator resumes it");
        self.world.table.save(&handover, &entry).await?;
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
        let handover = self
            .world
            .table
            .handover(id)
            .await?
            .ok_or(Refusal::NoSuchJob(id))?;
        if record.result.as_deref() != Some("stuck") || !matches!(handover.state, State::Stuck { .. }) {
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
    }
}

struct Control {
    jobs: Arc<Jobs>,
    job: Arc<Job>,
    record: JobRecord,
}

#[async_trait]
impl JobControl for Control {
    fn report(&self, handover: &Handover, waiting: &str) {
        let view = view_of(handover, &self.record, waiting);
        let id = view.record.id;
        if self.job.view.send_if_modified(|old| {
            let changed = *old != view;
            *old = view;
            changed
        }) {
            self.jobs.send(JobEvent::Changed(id));
        }
    }

    fn cancel_requested(&self) -> Option<String> {
        self.job.cancel.borrow().clone()
    }

    async fn cancelled(&self) {
        let mut cancel = self.job.cancel.subscribe();
        // The sender lives as long as the job, so an error cannot come.
        drop(cancel.wait_for(Option::is_some).await);
    }
}
