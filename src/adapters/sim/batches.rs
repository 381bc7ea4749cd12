//! Batches in the simulated service table.

use std::collections::BTreeSet;

use super::table::{Outcome, SimTable, conflict};
use crate::model::batch::{Batch, BatchMember, Decision};
use crate::model::ids::{JobId, ServiceId};
use crate::ports::{JobRecord, JournalEntry};

impl SimTable {
    fn batch_is_open(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_some_and(|job| job.result.is_none())
    }

    /// As [`crate::ports::Table::begin_batch`].
    ///
    /// # Errors
    /// Another batch of the guest is open, or a service is a member twice.
    pub fn begin_batch(&mut self, job: &JobRecord, batch: &Batch) -> Outcome<JobId> {
        let open = |other: &&Batch| other.guest == batch.guest && self.batch_is_open(other.job);
        if let Some(other) = self.batches.values().find(open) {
            return conflict(format!("guest {} has batch {}", batch.guest, other.job));
        }
        let services: BTreeSet<_> = batch.members.iter().map(|member| &member.service).collect();
        if services.len() < batch.members.len() {
            return conflict("a service is a member twice".to_owned());
        }
        let last = self.jobs.last_key_value().map_or(0, |(id, _)| id.0);
        let id = JobId(last.saturating_add(1));
        self.jobs.insert(id, JobRecord { id, ..job.clone() });
        let batch = Batch {
            job: id,
            ..batch.clone()
        };
        self.batches.insert(id, batch);
        Ok(id)
    }

    /// As [`crate::ports::Table::save_member`].
    ///
    /// # Errors
    /// The batch has ended, or there is none.
    pub fn save_member(&mut self, batch: JobId, member: &BatchMember, entry: &JournalEntry) -> Outcome<()> {
        let open = self.batch_is_open(batch);
        let rows = self.batches.get_mut(&batch).filter(|_| open);
        match rows.and_then(|rows| rows.members.iter_mut().find(|row| row.seq == member.seq)) {
            Some(row) => row.clone_from(member),
            None => {
                return conflict(format!(
                    "batch {batch} is not open, or has no member {}",
                    member.seq
                ));
            }
        }
        self.note(batch, entry);
        Ok(())
    }

    /// As [`crate::ports::Table::finish_batch`].
    ///
    /// # Errors
    /// The batch has ended, or there is none.
    pub fn finish_batch(&mut self, job: &JobRecord, entry: &JournalEntry) -> Outcome<()> {
        if !self.batches.contains_key(&job.id) || !self.batch_is_open(job.id) || job.result.is_none() {
            return conflict(format!("batch {} cannot be ended", job.id));
        }
        self.jobs.insert(job.id, job.clone());
        self.note(job.id, entry);
        Ok(())
    }

    /// As [`crate::ports::Table::unfinished_batches`].
    pub fn unfinished_batches(&self) -> Vec<Batch> {
        let open = self
            .batches
            .values()
            .filter(|batch| self.batch_is_open(batch.job));
        open.cloned().collect()
    }

    /// As [`crate::ports::Table::last_decision`].
    pub fn last_decision(&self, service: &ServiceId) -> Option<Decision> {
        self.decisions
            .iter()
            .rev()
            .find(|d| d.service == *service)
            .cloned()
    }
}
