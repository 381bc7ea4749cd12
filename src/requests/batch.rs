//! Runs a batch: one task begins its members as far as the limits allow, each as a job of its own, and waits for their
//! ends.
//!
//! What was decided and what has ended is in the table before anything goes on from it, so that a daemon that was killed
//! takes a batch up by the same loop: a member with a job is waited for, one without is begun, and a move that is under way
//! already is answered with its job.
//!
//! A member of an evacuation whose target fails goes to the next best one; while everything is frozen, none begins. What
//! the daemon moves by itself for balance is cancelled by a freeze.

mod news;
mod telling;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tracing::Instrument as _;

use super::balance::REBALANCE;
use super::early::Early;
use super::evacuation::{DAEMON, EVACUATE, NextHome};
use super::jobs::Shown;
use super::refusal::Refusal;
use super::{MoveOptions, Requests};
use crate::model::batch::Batch;
use crate::model::ids::{GuestId, JobId, ServiceId};
use crate::plan::batch::{Batch as Schedule, Outcome, Progress};
use crate::ports::JobRecord;
use crate::watch::blast::Alarm;
use news::News;
use telling::{entry, keep_trying, outcome, told, view_of};

/// One batch under way.
struct Run {
    requests: Arc<Requests>,
    shown: Arc<Shown>,
    record: JobRecord,
    batch: Batch,
    schedule: Schedule,
    /// Members that take a place of the schedule's limits.
    working: Vec<bool>,
    /// Members whose news are waited for.
    followed: Vec<bool>,
    news: FuturesUnordered<BoxFuture<'static, News>>,
    /// Members that begin before their turn, and wait.
    early: Early,
    /// Who cancelled it.
    cancelled: Option<String>,
    /// The guests on which a member has failed, and how.
    tried: BTreeMap<usize, Vec<(GuestId, String)>>,
    /// Why nothing is to begin that nobody asked for.
    frozen: watch::Receiver<Option<Alarm>>,
    /// Of a batch for balance: where its services were. One that has gone elsewhere meanwhile is left there.
    homes: BTreeMap<ServiceId, GuestId>,
}

impl Requests {
    /// Takes up every batch that has not ended; how many there were.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn take_up_batches(self: &Arc<Self>) -> Result<usize, Refusal> {
        let open = self.world.table.unfinished_batches().await?;
        let count = open.len();
        for batch in open {
            if let Some(record) = self.world.table.job(batch.job).await? {
                tracing::info!(
                    job = batch.job.0,
                    guest = record.object,
                    "takes up an unfinished batch"
                );
                let schedule = self.schedule(&batch).await?;
                self.run_batch(batch, record, schedule);
            }
        }
        Ok(count)
    }

    /// Runs a batch in a task of its own.
    pub(super) fn run_batch(self: &Arc<Self>, batch: Batch, record: JobRecord, schedule: Schedule) -> JobId {
        let (id, count) = (record.id, batch.members.len());
        let run = Run {
            shown: self.jobs.show(view_of(&batch, &record, &|_| None, true)),
            requests: self.clone(),
            record,
            batch,
            schedule,
            working: vec![false; count],
            followed: vec![false; count],
            news: FuturesUnordered::new(),
            early: Early::default(),
            cancelled: None,
            tried: BTreeMap::new(),
            frozen: self.evacuations.subscribe(),
            homes: BTreeMap::new(),
        };
        let span = tracing::info_span!("batch", id = id.0, guest = run.record.object);
        self.jobs.run(Box::pin(run.carry_out().instrument(span)));
        id
    }

    /// Begins a member as any move is begun; one that is there already, is there. `home`: it moves from there only.
    async fn begin_member(
        &self,
        service: &ServiceId,
        home: Option<GuestId>,
        target: GuestId,
        options: &MoveOptions,
        who: &str,
    ) -> Result<JobId, Refusal> {
        let service = self.service(service.as_str()).await?;
        if home.is_some_and(|home| service.guest != home) && service.guest != target {
            return Err(Refusal::Busy(format!(
                "{} has gone to {} meanwhile, and stays there",
                service.id, service.guest_name
            )));
        }
        let target = self.guest(&target.to_string()).await?;
        self.move_service(&service, target, options, who).await
    }
}

/// How a member ended, for the schedule.
fn outcome_of(result: &str) -> Outcome {
    match result {
        "done" => Outcome::Done,
        "cancelled" => Outcome::Cancelled,
        _ => Outcome::Failed,
    }
}

impl Run {
    async fn carry_out(mut self) {
        if self.record.operation == REBALANCE {
            self.find_homes().await;
        }
        if !self.is_evacuation() {
            self.early = self.requests.early_members(&self.batch).await;
        }
        loop {
            self.cancel_if_frozen().await;
            let held = self.is_held();
            if !held {
                self.begin_what_may();
            }
            self.tell();
            if self.news.is_empty() && !held {
                break;
            }
            let shown = self.shown.clone();
            tokio::select! {
                biased;
                Some(news) = self.news.next(), if !self.news.is_empty() => self.take(news).await,
                () = shown.cancelled(), if self.cancelled.is_none() => {
                    if let Some(who) = shown.cancel_requested() {
                        self.cancel(who).await;
                    }
                }
                // The sender lives as long as the requests do, so an error cannot come.
                _ = self.frozen.changed(), if held || self.gives_way() => {}
            }
        }
        self.end().await;
    }

    /// Whether members wait for everything to be thawed. What an operator asked for is not held.
    fn is_held(&self) -> bool {
        let waits = |(_, progress)| progress == Progress::Waiting;
        self.is_evacuation() && self.frozen.borrow().is_some() && self.schedule.progress().any(waits)
    }

    fn is_evacuation(&self) -> bool {
        self.record.operation == EVACUATE
    }

    /// Whether a freeze cancels it: nobody asked for it, and nobody needs it.
    fn gives_way(&self) -> bool {
        self.record.operation == REBALANCE && self.record.started_by == DAEMON && self.cancelled.is_none()
    }

    async fn cancel_if_frozen(&mut self) {
        let alarm = self.frozen.borrow().clone();
        if let (true, Some(alarm)) = (self.gives_way(), alarm) {
            self.cancel(format!("{DAEMON}: everything is frozen: {alarm}"))
                .await;
        }
    }

    /// Keeps where the services are that are to be moved for balance.
    async fn find_homes(&mut self) {
        match self.requests.world.table.services().await {
            Ok(services) => self.homes = services.into_iter().map(|row| (row.id, row.guest)).collect(),
            Err(error) => tracing::warn!(%error, "services move wherever they are by then"),
        }
    }

    /// Begins the members that the schedule lets begin; a member with a job is waited for.
    fn begin_what_may(&mut self) {
        loop {
            let begun = self.schedule.begin();
            if begun.is_empty() {
                break;
            }
            for service in begun {
                let mut members = self.batch.members.iter();
                if let Some(index) = members.position(|member| member.service == service) {
                    self.begin_in_turn(index);
                }
            }
        }
        while let Some(index) = self.early.next() {
            if let Some(target) = self.batch.members[index].target {
                self.begin(index, target, Some(self.batch.job));
            }
        }
    }

    /// A member's turn has come: it is begun, or goes on, unless it has ended before.
    fn begin_in_turn(&mut self, index: usize) {
        self.working[index] = true;
        self.early.take_out(index);
        let member = &self.batch.members[index];
        match (&member.result, member.job, member.target) {
            (Some(result), ..) => {
                let outcome = outcome_of(result);
                self.leave_place(index, outcome);
            }
            // Its beginning is under way.
            (None, None, _) if self.followed[index] => {}
            (None, Some(job), _) => self.go_on(index, job),
            (None, None, Some(target)) => self.begin(index, target, None),
            (None, None, None) => self.leave_place(index, Outcome::Failed),
        }
    }

    fn go_on(&mut self, index: usize, job: JobId) {
        self.requests.jobs.release(job);
        self.follow(index, job);
    }

    fn begin(&mut self, index: usize, target: GuestId, held_by: Option<JobId>) {
        self.followed[index] = true;
        let (requests, who) = (self.requests.clone(), self.record.started_by.clone());
        let service = self.batch.members[index].service.clone();
        let home = self.homes.get(&service).copied();
        let options = MoveOptions {
            drain: self.batch.options.drain,
            held_by,
            ..MoveOptions::default()
        };
        self.news.push(Box::pin(async move {
            let begun = requests
                .begin_member(&service, home, target, &options, &who)
                .await;
            News::Begun(index, begun)
        }));
    }

    fn follow(&mut self, index: usize, job: JobId) {
        self.followed[index] = true;
        let requests = self.requests.clone();
        let past_work = !self.working[index];
        self.news.push(Box::pin(
            async move { requests.news_of(index, job, past_work).await },
        ));
    }

    async fn take(&mut self, news: News) {
        match news {
            News::Begun(index, Ok(job)) => {
                self.early.begun(index);
                self.batch.members[index].job = Some(job);
                self.save(index, &format!("job {job} begins")).await;
                if let Some(who) = self.cancelled.clone() {
                    self.cancel_job(index, job, &who).await;
                    self.follow(index, job);
                } else if self.working[index] {
                    self.go_on(index, job);
                } else {
                    self.early.hold(index);
                    self.followed[index] = false;
                }
            }
            News::Begun(index, Err(Refusal::AlreadyThere(_))) => {
                self.early.begun(index);
                self.leave_place(index, Outcome::Done);
                self.end_member(index, "done", "").await;
            }
            News::Begun(index, Err(refusal)) => {
                self.early.begun(index);
                tracing::warn!(service = %self.batch.members[index].service, %refusal, "a member cannot begin");
                let details = format!("{refusal} ({})", refusal.name());
                if refusal.is_of_target() && self.try_another(index, &details) {
                    return;
                }
                self.leave_place(index, Outcome::Failed);
                self.end_member(index, "failed", &details).await;
            }
            News::PastWork(index) => {
                self.leave_place(index, Outcome::Done);
                if let Some(job) = self.batch.members[index].job {
                    self.follow(index, job);
                }
            }
            News::Ended(index, record) => {
                let result = record.result.clone().unwrap_or_else(|| "failed".to_owned());
                let details = match record.error_name.as_str() {
                    "" => record.error_details,
                    name => format!("{} ({name})", record.error_details),
                };
                if result == "failed" && self.try_another(index, &details) {
                    return;
                }
                self.leave_place(index, outcome_of(&result));
                self.end_member(index, &result, &details).await;
            }
            News::Again(index, next) => self.go_elsewhere(index, next).await,
        }
    }

    /// Looks for another target for a member that has failed on its own; false: its failure is its end.
    fn try_another(&mut self, index: usize, details: &str) -> bool {
        let member = &self.batch.members[index];
        let Some(target) = member
            .target
            .filter(|_| self.is_evacuation() && self.cancelled.is_none() && self.working[index])
        else {
            return false;
        };
        let (requests, source, service) = (self.requests.clone(), self.batch.guest, member.service.clone());
        let tried = self.tried.entry(index).or_default();
        tried.push((target, details.to_owned()));
        let tried = tried.clone();
        self.news.push(Box::pin(async move {
            News::Again(index, requests.next_home(source, &service, &tried).await)
        }));
        true
    }

    /// A member whose target has failed waits for its next one, if there is one.
    async fn go_elsewhere(&mut self, index: usize, next: Result<NextHome, Refusal>) {
        let failed = self.tried.get(&index).and_then(|tried| tried.last());
        let failed = failed.map(|(_, details)| details.clone()).unwrap_or_default();
        if let Some(who) = self.cancelled.clone() {
            self.leave_place(index, Outcome::Cancelled);
            let details = format!("{failed}; not tried again: the batch was cancelled by {who}");
            return self.end_member(index, "cancelled", &details).await;
        }
        let next = match next {
            Ok(next) => next,
            Err(refusal) => {
                self.leave_place(index, Outcome::Failed);
                let details = format!("{failed}; nowhere else: {refusal}");
                return self.end_member(index, "failed", &details).await;
            }
        };
        let member = &mut self.batch.members[index];
        tracing::warn!(service = %member.service, failed, next = next.name, "a target failed; the next best one is taken");
        let text = format!("{failed}; next to {}: {}", next.name, next.why);
        (member.job, member.target) = (None, Some(next.guest));
        (member.target_name, member.why) = (next.name, next.why);
        let service = member.service.clone();
        self.followed[index] = false;
        self.working[index] = false;
        self.save(index, &text).await;
        if let Err(error) = self.schedule.withdraw(&service, next.guest, next.host) {
            tracing::error!(%error, "a bug: the batch's schedule does not know its member");
        }
    }

    /// What was worked on no longer is: another member may begin.
    fn leave_place(&mut self, index: usize, outcome: Outcome) {
        if !std::mem::take(&mut self.working[index]) {
            return;
        }
        if let Err(error) = self.schedule.ended(&self.batch.members[index].service, outcome) {
            tracing::error!(%error, "a bug: the batch's schedule does not know its member");
        }
    }

    async fn end_member(&mut self, index: usize, result: &str, details: &str) {
        self.followed[index] = false;
        let member = &mut self.batch.members[index];
        member.result = Some(result.to_owned());
        member.details = details.to_owned();
        let text = match details {
            "" => result.to_owned(),
            details => format!("{result}: {details}"),
        };
        self.save(index, &text).await;
    }

    /// What has not begun does not begin any more, and what may still be undone is. What was under way before the batch
    /// began is somebody else's.
    async fn cancel(&mut self, who: String) {
        tracing::info!(who, "the batch is cancelled");
        self.cancelled = Some(who.clone());
        self.schedule.cancel();
        self.early.cancel();
        for index in 0..self.batch.members.len() {
            let member = &self.batch.members[index];
            if member.result.is_some() {
                continue;
            }
            match member.job {
                Some(job) => {
                    self.cancel_job(index, job, &who).await;
                    if !self.followed[index] {
                        self.follow(index, job);
                    }
                }
                None if self.followed[index] => {}
                None => {
                    let details = format!("not begun: the batch was cancelled by {who}");
                    self.end_member(index, "cancelled", &details).await;
                }
            }
        }
    }

    async fn cancel_job(&mut self, index: usize, job: JobId, who: &str) {
        if job < self.batch.job {
            return;
        }
        let jobs = self.requests.jobs.clone();
        if let Err(refusal) = jobs.cancel(job, who).await {
            let service = &self.batch.members[index].service;
            tracing::info!(%service, %refusal, "a member goes on");
        }
    }

    /// Tells those who watch where it stands.
    fn tell(&self) {
        let jobs = &self.requests.jobs;
        let progress = |job| jobs.view(job).map(|view| view.progress);
        let cancelable = self.cancelled.is_none()
            && self.batch.members.iter().enumerate().any(|(index, member)| {
                member.is_waiting() || self.working[index] || self.early.is_held(index)
            });
        let view = view_of(&self.batch, &self.record, &progress, cancelable);
        jobs.tell(&self.shown, view);
    }

    async fn save(&mut self, index: usize, text: &str) {
        let world = self.requests.world.clone();
        let (batch, member) = (self.batch.job, &self.batch.members[index]);
        let entry = entry(&world, "batch", &format!("{}: {text}", told(member)));
        keep_trying(&world, || world.table.save_member(batch, member, &entry)).await;
    }

    async fn end(mut self) {
        for index in 0..self.batch.members.len() {
            if self.batch.members[index].result.is_none() {
                let details = "it did not come up: what it comes after has not ended (a bug)";
                self.end_member(index, "failed", details).await;
            }
        }
        let (result, error) = outcome(&self.batch, &self.record, self.cancelled.as_deref());
        self.record.finished = Some(self.requests.world.clock.now());
        self.record.result = Some(result.to_owned());
        if let Some((name, details)) = error {
            self.record.error_name = name.to_owned();
            self.record.error_details = details;
        }
        let (world, record) = (self.requests.world.clone(), self.record.clone());
        let entry = entry(&world, "end", result);
        keep_trying(&world, || world.table.finish_batch(&record, &entry)).await;
        self.tell();
        tracing::info!(result, error = self.record.error_details, "batch ended");
        let (jobs, shown) = (self.requests.jobs.clone(), self.shown.clone());
        jobs.end(&shown, record).await;
    }
}
