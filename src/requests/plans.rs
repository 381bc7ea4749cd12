//! Plans that were shown and may still be begun, and batches that are begun.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::cluster::{Look, Moving};
use super::moves::Object;
use super::planning::{Decided, Entry, Which, limits_of};
use super::refusal::Refusal;
use super::{MoveOptions, Requests};
use crate::model::batch::{Batch, BatchMember, BatchOptions, Decision};
use crate::model::guest::GuestSummary;
use crate::model::ids::{JobId, ServiceId};
use crate::model::service::{Millis, ServiceRecord};
use crate::plan::batch::Batch as Schedule;
use crate::plan::strategy::{Strategy, TargetName};
use crate::ports::{JobRecord, TableError};

/// How many plans are kept; the oldest goes first.
const KEPT: usize = 32;
/// How long a plan is kept, in milliseconds.
const KEEP: Millis = 3_600_000;

/// A plan that was shown.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it is called: six letters and digits.
    pub id: String,
    /// What is moved, as it was asked for: a service's id, or the guest's name.
    pub object: String,
    /// When it was made.
    pub made: Millis,
    /// What was decided.
    pub decided: Decided,
    source: GuestSummary,
    /// The service, if it is about one only.
    service: Option<ServiceId>,
    /// The target as it was asked for.
    asked: String,
    options: MoveOptions,
    applied: Option<JobId>,
}

/// The plans that were shown last.
#[derive(Debug, Default)]
pub struct Plans(Mutex<VecDeque<Plan>>);

impl Plans {
    fn locked<T>(&self, work: impl FnOnce(&mut VecDeque<Plan>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps a plan; the ids of those that are kept no longer.
    fn keep(&self, plan: Plan) -> Vec<String> {
        self.locked(|plans| {
            let now = plan.made;
            plans.push_back(plan);
            let mut gone = Vec::new();
            while plans.len() > KEPT || plans.front().is_some_and(|p| p.made.saturating_add(KEEP) < now) {
                gone.extend(plans.pop_front().map(|plan| plan.id));
            }
            gone
        })
    }

    /// A plan that is kept.
    pub fn get(&self, id: &str) -> Option<Plan> {
        self.locked(|plans| plans.iter().find(|plan| plan.id == id).cloned())
    }

    fn mark_applied(&self, id: &str, job: JobId) {
        self.locked(|plans| {
            if let Some(plan) = plans.iter_mut().find(|plan| plan.id == id) {
                plan.applied = Some(job);
            }
        });
    }
}

impl Requests {
    /// Decides a move and begins nothing: the plan's id, and the ids of plans that are kept no longer.
    ///
    /// # Errors
    /// What the request names is not there, or is the target itself. That no guest fits is in the plan.
    pub async fn plan(
        &self,
        object: &str,
        target: &str,
        options: MoveOptions,
    ) -> Result<(String, Vec<String>), Refusal> {
        let _alone = self.deciding.lock().await;
        let (source, service) = match self.object(object).await? {
            Object::Guest(guest) => (guest, None),
            Object::Service(service) => (self.home_of(&service).await?, Some(service.id)),
        };
        let strategy = self.strategy(target, &TargetName::of(target), &source).await?;
        let which = service.as_ref().map_or(Which::All, Which::One);
        let limits = limits_of(&self.batch_options(&options));
        let mut decided = self
            .decide(Look::of(strategy.0, source.id), &source, which, strategy, limits)
            .await?;
        decided.wait_first(&self.ttl_waits(&source, &decided, &options).await);
        let plan = Plan {
            id: self.new_plan_id(),
            object: service
                .as_ref()
                .map_or_else(|| source.name.clone(), ToString::to_string),
            made: self.world.clock.now(),
            decided,
            source,
            service,
            asked: target.to_owned(),
            options,
            applied: None,
        };
        Ok((plan.id.clone(), self.plans.keep(plan)))
    }

    /// Begins a plan as it was shown.
    ///
    /// # Errors
    /// There is no such plan (any more), it was begun already, a service has no home and `partial` was not asked for, or
    /// services or guests are not any more what they were when the plan was made.
    pub async fn apply(self: &Arc<Self>, id: &str, who: &str) -> Result<JobId, Refusal> {
        let _alone = self.deciding.lock().await;
        let plan = self
            .plans
            .get(id)
            .ok_or_else(|| Refusal::NoSuchPlan(id.to_owned()))?;
        if let Some(job) = plan.applied {
            return Err(Refusal::PlanOutdated(
                id.to_owned(),
                format!("it was begun already, as job {job}"),
            ));
        }
        plan.decided
            .check_whole(&plan.object, plan.options.batch.partial)?;
        let changed = self.changed_since(&plan).await?;
        if !changed.is_empty() {
            return Err(Refusal::PlanOutdated(id.to_owned(), changed.join("; ")));
        }
        let job = match &plan.service {
            Some(service) => {
                let service = self.service(service.as_str()).await?;
                self.move_as_decided(&service, &plan.decided, &plan.options, who)
                    .await?
            }
            None => {
                self.begin_move(&plan.source, &plan.asked, &plan.decided, &plan.options, who)
                    .await?
            }
        };
        self.plans.mark_applied(id, job);
        Ok(job)
    }

    /// What is not any more as it was when a plan was made, for people.
    async fn changed_since(&self, plan: &Plan) -> Result<Vec<String>, Refusal> {
        let look = Look::of(plan.decided.strategy, plan.source.id);
        let cluster = self.cluster(look, Moving::Of(plan.source.id)).await?;
        let changes = plan.decided.plan.changes(&cluster);
        let mut changed: Vec<String> = changes.iter().map(ToString::to_string).collect();
        if plan.service.is_none() {
            let known = |id: &ServiceId| plan.decided.entries.iter().any(|entry| entry.service == *id);
            let new = cluster
                .residents(plan.source.id)
                .filter(|service| !known(&service.id));
            changed.extend(
                new.map(|service| format!("service {} has come to {}", service.id, plan.source.name)),
            );
        }
        Ok(changed)
    }

    /// The last decision where a service is to be.
    ///
    /// # Errors
    /// There is no such service, or nothing was decided about it.
    pub async fn why(&self, service: &str) -> Result<Decision, Refusal> {
        let service = self.service(service).await?.id;
        let decision = self.world.table.last_decision(&service).await?;
        decision.ok_or_else(|| Refusal::NoDecision(service.to_string()))
    }

    /// Moves all services of a guest.
    ///
    /// # Errors
    /// A service has no home, or another batch of the guest is under way.
    pub(super) async fn move_guest(
        self: &Arc<Self>,
        source: &GuestSummary,
        asked: &str,
        options: &MoveOptions,
        who: &str,
    ) -> Result<JobId, Refusal> {
        let _alone = self.deciding.lock().await;
        let target = TargetName::of(asked);
        let strategy = self.strategy(asked, &target, source).await?;
        let wanted = self.batch_options(options);
        let open = self.world.table.unfinished_batches().await?;
        if let Some(open) = open.into_iter().find(|batch| batch.guest == source.id) {
            if open.target == canonical(&target, strategy.0) && open.options == wanted {
                return Ok(open.job);
            }
            return Err(Refusal::Busy(format!(
                "the services of guest {} are being moved already: job {}; wait for it, or cancel it",
                source.name, open.job
            )));
        }
        let decided = self
            .decide(
                Look::of(strategy.0, source.id),
                source,
                Which::All,
                strategy,
                limits_of(&wanted),
            )
            .await?;
        decided.check_whole(&source.name, options.batch.partial)?;
        self.begin_move(source, asked, &decided, options, who).await
    }

    /// Moves one service to where a strategy puts it.
    ///
    /// # Errors
    /// No guest fits.
    pub(super) async fn move_by_strategy(
        &self,
        service: &ServiceRecord,
        asked: &str,
        options: &MoveOptions,
        who: &str,
    ) -> Result<JobId, Refusal> {
        let _alone = self.deciding.lock().await;
        let source = self.home_of(service).await?;
        let strategy = self.strategy(asked, &TargetName::of(asked), &source).await?;
        let limits = limits_of(&self.batch_options(options));
        let decided = self
            .decide(
                Look::of(strategy.0, source.id),
                &source,
                Which::One(&service.id),
                strategy,
                limits,
            )
            .await?;
        self.move_as_decided(service, &decided, options, who).await
    }

    /// Begins the move of a service that was decided about alone.
    async fn move_as_decided(
        &self,
        service: &ServiceRecord,
        decided: &Decided,
        options: &MoveOptions,
        who: &str,
    ) -> Result<JobId, Refusal> {
        decided.check_whole(service.id.as_str(), false)?;
        let Some((entry, target)) = decided
            .entries
            .first()
            .and_then(|entry| Some((entry, entry.target.as_ref()?)))
        else {
            return Err(Refusal::NoSuchService(service.id.to_string()));
        };
        if let Some(job) = entry.job {
            return Ok(job);
        }
        let guest = self.guest(&target.guest.to_string()).await?;
        let job = self.move_service(service, guest, options, who).await?;
        let what = format!("move {} {}", service.id, decided.told);
        self.keep_decisions(decided, &what, who, Some(job)).await?;
        Ok(job)
    }

    /// Begins a batch that somebody asked for.
    async fn begin_move(
        self: &Arc<Self>,
        source: &GuestSummary,
        asked: &str,
        decided: &Decided,
        options: &MoveOptions,
        who: &str,
    ) -> Result<JobId, Refusal> {
        let record = JobRecord {
            started_by: who.to_owned(),
            ..self.batch_record(source, decided)
        };
        let what = format!("move {} {}", source.name, decided.told);
        self.begin_batch(record, &what, source, asked, decided, options)
            .await
    }

    /// The job of a batch, as it begins; nobody has asked for it yet.
    pub(super) fn batch_record(&self, source: &GuestSummary, decided: &Decided) -> JobRecord {
        JobRecord {
            id: JobId(0),
            operation: "move".to_owned(),
            object: source.name.clone(),
            source: source.name.clone(),
            target: decided.told.clone(),
            started_by: String::new(),
            started: self.world.clock.now(),
            finished: None,
            result: None,
            error_name: String::new(),
            error_details: String::new(),
        }
    }

    /// Begins a batch; `what` is what the audit says of it.
    pub(super) async fn begin_batch(
        self: &Arc<Self>,
        record: JobRecord,
        what: &str,
        source: &GuestSummary,
        asked: &str,
        decided: &Decided,
        options: &MoveOptions,
    ) -> Result<JobId, Refusal> {
        let batch = Batch {
            job: JobId(0),
            guest: source.id,
            target: canonical(&TargetName::of(asked), decided.strategy),
            options: self.batch_options(options),
            members: (0..)
                .zip(&decided.entries)
                .map(|(seq, entry)| member(seq, entry))
                .collect(),
        };
        let who = record.started_by.clone();
        let decisions = |job| self.decisions(decided, what, &who, Some(job));
        self.start_batch(record, what, batch, decided.schedule.clone(), decisions)
            .await
    }

    /// Begins a batch that is put together; `decisions` are those behind it, once its job is known.
    pub(super) async fn start_batch(
        self: &Arc<Self>,
        mut record: JobRecord,
        what: &str,
        mut batch: Batch,
        schedule: Schedule,
        decisions: impl FnOnce(JobId) -> Vec<Decision> + Send,
    ) -> Result<JobId, Refusal> {
        let table = &self.world.table;
        let id = match table.begin_batch(&record, &batch).await {
            Ok(id) => id,
            Err(TableError::Conflict(why)) => return Err(Refusal::Busy(why)),
            Err(other) => return Err(other.into()),
        };
        (record.id, batch.job) = (id, id);
        let who = record.started_by.clone();
        table
            .audit(record.started, &who, what, &format!("job {id}"))
            .await?;
        table.decide(&decisions(id)).await?;
        Ok(self.run_batch(batch, record, schedule))
    }

    /// Keeps what was decided, and from what; `job`: by which it is done, if that is known already.
    pub(super) async fn keep_decisions(
        &self,
        decided: &Decided,
        what: &str,
        who: &str,
        job: Option<JobId>,
    ) -> Result<(), Refusal> {
        let decisions = self.decisions(decided, what, who, job);
        Ok(self.world.table.decide(&decisions).await?)
    }

    fn decisions(&self, decided: &Decided, what: &str, who: &str, job: Option<JobId>) -> Vec<Decision> {
        let at = self.world.clock.now();
        let by = job.map(|job| format!("; job {job}")).unwrap_or_default();
        let decision = |entry: &Entry| {
            let target = entry.target.as_ref().map_or("nowhere", |target| &target.name);
            let mut inputs = vec![(entry.source.clone(), "it was there".to_owned())];
            inputs.push(("strategy".to_owned(), decided.strategy_for_people()));
            if !decided.load.is_empty() {
                inputs.push(("load".to_owned(), decided.load.clone()));
            }
            inputs.extend(entry.rejected.iter().cloned());
            Decision {
                at,
                who: who.to_owned(),
                what: what.to_owned(),
                service: entry.service.clone(),
                decision: format!("{target}: {}{by}", entry.why),
                inputs,
            }
        };
        decided.entries.iter().map(decision).collect()
    }

    /// Six hex digits at random: after a restart of the daemon an old id does not mean a new plan.
    fn new_plan_id(&self) -> String {
        loop {
            let text = self.jobs.new_id().0.simple().to_string();
            let id: String = text.chars().rev().take(6).collect();
            if self.plans.get(&id).is_none() {
                return id;
            }
        }
    }

    /// The guest where a service is, as libvirt lists it.
    async fn home_of(&self, service: &ServiceRecord) -> Result<GuestSummary, Refusal> {
        self.guest(&service.guest.to_string()).await
    }

    /// What holds where a caller does not say.
    pub(super) fn batch_options(&self, options: &MoveOptions) -> BatchOptions {
        let choices = &options.batch;
        BatchOptions {
            drain: options.drain,
            parallel: choices.parallel.unwrap_or(self.limits.parallel),
            per_guest: choices.per_guest.unwrap_or(self.limits.per_guest),
            per_host: choices.per_host.unwrap_or(self.limits.per_host),
        }
    }
}

impl Decided {
    fn strategy_for_people(&self) -> String {
        match self.strategy {
            Strategy::Named(_) => format!("guest {}", self.told),
            Strategy::Random { .. } | Strategy::LeastLoaded | Strategy::Spread => self.told.clone(),
        }
    }
}

/// The target as two requests are compared by it: a guest by its UUID, lots that nobody has chosen are the same.
fn canonical(target: &TargetName, strategy: Strategy) -> String {
    match target {
        TargetName::Random(None) => "random".to_owned(),
        _ => strategy.to_string(),
    }
}

fn member(seq: u32, entry: &Entry) -> BatchMember {
    let nowhere = entry.target.is_none();
    BatchMember {
        seq,
        service: entry.service.clone(),
        target: entry.target.as_ref().map(|target| target.guest),
        target_name: entry
            .target
            .as_ref()
            .map(|target| target.name.clone())
            .unwrap_or_default(),
        why: entry.why.clone(),
        job: entry.job,
        result: nowhere.then(|| "failed".to_owned()),
        details: if nowhere {
            entry.why_nowhere()
        } else {
            String::new()
        },
    }
}
