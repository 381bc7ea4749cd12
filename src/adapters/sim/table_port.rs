//! The table port over a simulated table.

use async_trait::async_trait;

use super::call::Method;
use super::ports::SimPorts;
use super::table::SimTable;
use super::world::SimWorld;
use crate::handover::record::{Duty, Handover};
use crate::model::batch::{Batch, BatchMember, Decision};
use crate::model::ids::{Attempt, Digest, Generation, GuestId, JobId, ServiceId};
use crate::model::service::{BundleRecord, Millis, ServiceRecord};
use crate::ports::{Commit, JobRecord, JournalEntry, Table, TableError};
use crate::watch::blast::Alarm;
use crate::watch::maintenance::{Entry as Maintained, Object};

type Outcome<T> = Result<T, TableError>;

impl SimPorts {
    pub(super) async fn table<T: Send>(
        &self,
        method: Method,
        work: impl Fn(&mut SimTable) -> Outcome<T> + Send + Sync,
    ) -> Outcome<T> {
        let own = &self.own;
        self.shared
            .table_call(method, |world: &mut SimWorld| {
                work(world.tables.entry(own.clone()).or_default())
            })
            .await
    }
}

#[async_trait]
impl Table for SimPorts {
    async fn services(&self) -> Outcome<Vec<ServiceRecord>> {
        self.table(Method::ReadTable, |t| Ok(t.services.values().cloned().collect()))
            .await
    }

    async fn service(&self, id: &ServiceId) -> Outcome<Option<ServiceRecord>> {
        self.table(Method::ReadTable, |t| Ok(t.services.get(id).cloned()))
            .await
    }

    async fn observe(&self, service: &ServiceRecord) -> Outcome<()> {
        self.table(Method::Observe, |t| {
            t.observe(service);
            Ok(())
        })
        .await
    }

    async fn bundles(&self) -> Outcome<Vec<BundleRecord>> {
        self.table(Method::ReadTable, |t| Ok(t.bundles.values().cloned().collect()))
            .await
    }

    async fn bundle(&self, digest: &Digest) -> Outcome<Option<BundleRecord>> {
        self.table(Method::ReadTable, |t| Ok(t.bundles.get(digest).cloned()))
            .await
    }

    async fn put_bundle(&self, bundle: &BundleRecord) -> Outcome<()> {
        self.table(Method::Note, |t| {
            t.bundles
                .entry(bundle.digest.clone())
                .or_insert_with(|| bundle.clone());
            Ok(())
        })
        .await
    }

    async fn begin(&self, job: &JobRecord, handover: &Handover) -> Outcome<Handover> {
        self.table(Method::Begin, |t| t.begin(job, handover)).await
    }

    async fn save(&self, handover: &Handover, entry: &JournalEntry) -> Outcome<()> {
        self.table(Method::Save, |t| t.save(handover, entry)).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Outcome<()> {
        self.table(Method::Commit, |t| t.commit(&commit)).await
    }

    async fn forget(&self, commit: Commit<'_>) -> Outcome<()> {
        self.table(Method::Commit, |t| t.forget(&commit)).await
    }

    async fn finish(&self, handover: &Handover, job: &JobRecord, entry: &JournalEntry) -> Outcome<()> {
        self.table(Method::Finish, |t| t.finish(handover, job, entry))
            .await
    }

    async fn holds(&self, job: JobId) -> Outcome<bool> {
        self.table(Method::ReadTable, |t| {
            Ok(t.handovers.get(&job).is_some_and(|row| row.reserved))
        })
        .await
    }

    async fn unfinished(&self) -> Outcome<Vec<Handover>> {
        self.table(Method::ReadTable, |t| Ok(t.unfinished())).await
    }

    async fn handover(&self, job: JobId) -> Outcome<Option<Handover>> {
        self.table(Method::ReadTable, |t| {
            Ok(t.handovers.get(&job).map(|row| row.handover.clone()))
        })
        .await
    }

    async fn begin_batch(&self, job: &JobRecord, batch: &Batch) -> Outcome<JobId> {
        self.table(Method::Begin, |t| t.begin_batch(job, batch)).await
    }

    async fn batch(&self, job: JobId) -> Outcome<Option<Batch>> {
        self.table(Method::ReadTable, |t| Ok(t.batches.get(&job).cloned()))
            .await
    }

    async fn save_member(&self, batch: JobId, member: &BatchMember, entry: &JournalEntry) -> Outcome<()> {
        self.table(Method::Save, |t| t.save_member(batch, member, entry))
            .await
    }

    async fn finish_batch(&self, job: &JobRecord, entry: &JournalEntry) -> Outcome<()> {
        self.table(Method::Finish, |t| t.finish_batch(job, entry)).await
    }

    async fn unfinished_batches(&self) -> Outcome<Vec<Batch>> {
        self.table(Method::ReadTable, |t| Ok(t.unfinished_batches()))
            .await
    }

    async fn next_attempt(&self, service: &ServiceId) -> Outcome<Attempt> {
        self.table(Method::NextAttempt, |t| Ok(t.next_attempt(service)))
            .await
    }

    async fn jobs(&self, before: Option<JobId>, limit: u32) -> Outcome<Vec<JobRecord>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.table(Method::ReadTable, |t| {
            let jobs = t.jobs.values().rev();
            let older = jobs.filter(|job| before.is_none_or(|before| job.id < before));
            Ok(older.take(limit).cloned().collect())
        })
        .await
    }

    async fn job(&self, id: JobId) -> Outcome<Option<JobRecord>> {
        self.table(Method::ReadTable, |t| Ok(t.jobs.get(&id).cloned()))
            .await
    }

    async fn journal(&self, job: JobId) -> Outcome<Vec<JournalEntry>> {
        self.table(Method::ReadTable, |t| {
            Ok(t.journal.get(&job).cloned().unwrap_or_default())
        })
        .await
    }

    async fn duties(&self) -> Outcome<Vec<Duty>> {
        self.table(Method::ReadTable, |t| Ok(t.duties.values().cloned().collect()))
            .await
    }

    async fn fulfil(&self, service: &ServiceId, guest: GuestId, generation: Generation) -> Outcome<()> {
        self.table(Method::Fulfil, |t| {
            t.fulfil(service, guest, generation);
            Ok(())
        })
        .await
    }

    async fn postpone(
        &self,
        service: &ServiceId,
        guest: GuestId,
        generation: Generation,
        serve_until: Millis,
    ) -> Outcome<()> {
        self.table(Method::Postpone, |t| {
            t.postpone(service, guest, generation, serve_until);
            Ok(())
        })
        .await
    }

    async fn audit(&self, at: Millis, who: &str, what: &str, decision: &str) -> Outcome<()> {
        self.table(Method::Note, |t| {
            t.audit
                .push((at, who.to_owned(), what.to_owned(), decision.to_owned()));
            Ok(())
        })
        .await
    }

    async fn decide(&self, decisions: &[Decision]) -> Outcome<()> {
        self.table(Method::Note, |t| {
            t.decisions.extend(decisions.iter().cloned());
            Ok(())
        })
        .await
    }

    async fn last_decision(&self, service: &ServiceId) -> Outcome<Option<Decision>> {
        self.table(Method::ReadTable, |t| Ok(t.last_decision(service)))
            .await
    }

    async fn keep_alarm(&self, alarm: Option<&Alarm>) -> Outcome<()> {
        self.table(Method::Note, |t| {
            t.alarm = alarm.cloned();
            Ok(())
        })
        .await
    }

    async fn alarm(&self) -> Outcome<Option<Alarm>> {
        self.table(Method::ReadTable, |t| Ok(t.alarm.clone())).await
    }

    async fn end_maintenance(&self, entry: &Maintained) -> Outcome<bool> {
        self.table(Method::Note, |t| {
            let before = t.maintenance.len();
            t.maintenance.retain(|kept| kept != entry);
            Ok(t.maintenance.len() < before)
        })
        .await
    }

    async fn keep_maintenance(&self, object: &Object, entry: Option<&Maintained>) -> Outcome<()> {
        self.table(Method::Note, |t| {
            t.maintenance.retain(|kept| kept.object != *object);
            t.maintenance.extend(entry.cloned());
            Ok(())
        })
        .await
    }

    async fn maintenance(&self) -> Outcome<Vec<Maintained>> {
        self.table(Method::ReadTable, |t| Ok(t.maintenance.clone())).await
    }
}
