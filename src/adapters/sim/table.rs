//! The simulated service table: the same refusals as the one on SQLite, as plain state that survives a kill.

use std::collections::BTreeMap;

use crate::handover::goals::Kind;
use crate::handover::machine::State;
use crate::handover::record::{Duty, Handover};
use crate::model::batch::{Batch, Decision};
use crate::model::ids::{Attempt, Digest, Generation, GuestId, JobId, ServiceId};
use crate::model::service::{BundleRecord, Millis, ServiceRecord};
use crate::model::standby::Standby;
use crate::ports::{Commit, JobRecord, JournalEntry, TableError};
use crate::watch::blast::Alarm;
use crate::watch::maintenance::Entry as Maintained;

use super::part::Part;

pub(super) type Outcome<T> = Result<T, TableError>;

/// A handover's row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Row {
    /// The record.
    pub handover: Handover,
    /// It holds its service's reservation.
    pub reserved: bool,
}

/// One daemon's table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SimTable {
    /// Services.
    pub services: BTreeMap<ServiceId, ServiceRecord>,
    /// Bundles.
    pub bundles: Part<BTreeMap<Digest, BundleRecord>>,
    /// Jobs.
    pub jobs: BTreeMap<JobId, JobRecord>,
    /// Handovers, by their job.
    pub handovers: BTreeMap<JobId, Part<Row>>,
    /// Journals.
    pub journal: BTreeMap<JobId, Vec<JournalEntry>>,
    /// Duties.
    pub duties: BTreeMap<(ServiceId, GuestId), Duty>,
    /// The last attempt number of each service.
    pub attempts: BTreeMap<ServiceId, Attempt>,
    /// Who asked for what.
    pub audit: Vec<(Millis, String, String, String)>,
    /// Batches, by their job.
    pub batches: BTreeMap<JobId, Batch>,
    /// Where services were to be, and why; oldest first.
    pub decisions: Vec<Decision>,
    /// Why no service is moved automatically.
    pub alarm: Option<Alarm>,
    /// Standbys.
    pub standbys: BTreeMap<(ServiceId, GuestId), Standby>,
    /// What is in maintenance.
    pub maintenance: Vec<Maintained>,
}

pub(super) fn conflict<T>(text: String) -> Outcome<T> {
    Err(TableError::Conflict(text))
}

impl SimTable {
    /// As [`crate::ports::Table::observe`].
    pub fn observe(&mut self, seen: &ServiceRecord) {
        if let Some(row) = self.services.get_mut(&seen.id)
            && row.generation == seen.generation
        {
            row.guest_name.clone_from(&seen.guest_name);
            row.host.clone_from(&seen.host);
            row.addresses.clone_from(&seen.addresses);
            row.wanted = seen.wanted;
            row.observed = seen.observed;
            row.observed_at = seen.observed_at;
            row.enablement = seen.enablement;
            row.uid = seen.uid;
        }
    }

    /// As [`crate::ports::Table::begin`].
    ///
    /// # Errors
    /// The service is reserved, or its generation does not follow.
    pub fn begin(&mut self, job: &JobRecord, handover: &Handover) -> Outcome<Handover> {
        self.check_free(&handover.service)?;
        self.check_generation(handover)?;
        let last = self.jobs.last_key_value().map_or(0, |(id, _)| id.0);
        let id = JobId(last.saturating_add(1));
        let mut handover = handover.clone();
        handover.job = id;
        if matches!(handover.kind, Kind::Deploy | Kind::Move) {
            handover.facts.displaced = self
                .duties
                .remove(&(handover.service.clone(), handover.target.guest));
            handover.facts.standby = self.take_standby_over(&handover);
        }
        let job = JobRecord { id, ..job.clone() };
        self.jobs.insert(id, job);
        self.handovers.insert(
            id,
            Part::from(Row {
                handover: handover.clone(),
                reserved: true,
            }),
        );
        Ok(handover)
    }

    /// Refuses while a handover of the service holds its reservation.
    pub(super) fn check_free(&self, service: &ServiceId) -> Outcome<()> {
        let mut rows = self.handovers.values();
        let Some(holder) = rows.find(|row| row.reserved && row.handover.service == *service) else {
            return Ok(());
        };
        let job = holder.handover.job;
        let operation = self.jobs.get(&job).map_or("", |job| job.operation.as_str());
        Err(TableError::busy(service, job, operation))
    }

    fn check_generation(&self, handover: &Handover) -> Outcome<()> {
        let stands = self.services.get(&handover.service).map(|s| s.generation);
        let service = &handover.service;
        match (handover.kind, stands) {
            (Kind::Deploy, None) => Ok(()),
            (Kind::Deploy, Some(_)) => conflict(format!("service {service} is deployed already")),
            (_, None) => conflict(format!("there is no service {service}")),
            (Kind::Move | Kind::Replace, Some(stands)) if stands.next() == handover.generation => Ok(()),
            (Kind::Start | Kind::Stop | Kind::Remove, Some(stands)) if stands == handover.generation => {
                Ok(())
            }
            (_, Some(stands)) => conflict(format!(
                "service {service} is at generation {stands}, {} does not follow on it",
                handover.generation
            )),
        }
    }

    /// The row of a handover that has not ended.
    fn open_row(&mut self, handover: &Handover) -> Outcome<&mut Part<Row>> {
        let result = self.jobs.get(&handover.job).and_then(|job| job.result.clone());
        match (self.handovers.get_mut(&handover.job), result) {
            (Some(row), None) if row.handover.id == handover.id => Ok(row),
            (Some(row), Some(result)) if row.handover.id == handover.id && result == "stuck" => Ok(row),
            (Some(_), Some(result)) => conflict(format!("job {} has ended already ({result})", handover.job)),
            _ => conflict(format!("there is no handover {}", handover.id)),
        }
    }

    pub(super) fn note(&mut self, job: JobId, entry: &JournalEntry) {
        self.journal.entry(job).or_default().push(entry.clone());
    }

    /// As [`crate::ports::Table::save`].
    ///
    /// # Errors
    /// The job has ended.
    pub fn save(&mut self, handover: &Handover, entry: &JournalEntry) -> Outcome<()> {
        self.open_row(handover)?.handover = handover.clone();
        if matches!(handover.state, State::At { .. })
            && let Some(job) = self.jobs.get_mut(&handover.job)
            && job.result.is_some()
        {
            job.result = None;
            job.finished = None;
            job.error_name.clear();
            job.error_details.clear();
            if let Some(service) = self.services.get_mut(&handover.service) {
                service.frozen = None;
            }
        }
        self.note(handover.job, entry);
        Ok(())
    }

    /// As [`crate::ports::Table::commit`].
    ///
    /// # Errors
    /// A stale actor.
    pub fn commit(&mut self, commit: &Commit<'_>) -> Outcome<()> {
        self.check_commit(commit)?;
        self.services
            .insert(commit.service.id.clone(), commit.service.clone());
        self.standbys
            .remove(&(commit.service.id.clone(), commit.service.guest));
        self.settle(commit);
        Ok(())
    }

    /// As [`crate::ports::Table::forget`].
    ///
    /// # Errors
    /// A stale actor, or no removal.
    pub fn forget(&mut self, commit: &Commit<'_>) -> Outcome<()> {
        if commit.handover.kind != Kind::Remove {
            return conflict(format!("job {} is not a removal", commit.handover.job));
        }
        self.check_commit(commit)?;
        self.services.remove(&commit.service.id);
        self.settle(commit);
        Ok(())
    }

    fn check_commit(&mut self, commit: &Commit<'_>) -> Outcome<()> {
        let handover = commit.handover;
        let stuck = self
            .jobs
            .get(&handover.job)
            .is_some_and(|job| job.result.is_some());
        let reserved = self.open_row(handover)?.reserved;
        if stuck || !reserved {
            return conflict(format!(
                "job {} no longer holds service {}",
                handover.job, handover.service
            ));
        }
        if commit.service.id != handover.service || commit.service.generation != handover.generation {
            return conflict(format!(
                "the commit of job {} is of another service or generation",
                handover.job
            ));
        }
        self.check_generation(handover)
    }

    fn settle(&mut self, commit: &Commit<'_>) {
        if let Some(duty) = commit.duty {
            self.put_duty(duty);
        }
        if let Some(row) = self.handovers.get_mut(&commit.handover.job) {
            row.handover = commit.handover.clone();
            row.reserved = false;
        }
        self.note(commit.handover.job, commit.entry);
    }

    fn put_duty(&mut self, duty: &Duty) {
        self.duties
            .insert((duty.service.clone(), duty.guest), duty.clone());
    }

    /// As [`crate::ports::Table::finish`].
    ///
    /// # Errors
    /// The job has ended.
    pub fn finish(&mut self, handover: &Handover, job: &JobRecord, entry: &JournalEntry) -> Outcome<()> {
        let stuck = job.result.as_deref() == Some("stuck");
        let row = self.open_row(handover)?;
        let reserved = row.reserved;
        row.handover = handover.clone();
        row.reserved = reserved && stuck;
        self.jobs.insert(job.id, job.clone());
        if let Some(service) = self.services.get_mut(&handover.service) {
            if stuck {
                let reason = handover.reason.as_ref().map(|reason| reason.text.clone());
                service.frozen = Some(reason.unwrap_or_else(|| job.error_details.clone()));
            } else if reserved {
                service.frozen = None;
            }
        }
        if !stuck && let Some(duty) = handover.unmet() {
            self.put_duty(duty);
        }
        self.note(handover.job, entry);
        Ok(())
    }

    /// As [`crate::ports::Table::unfinished`].
    pub fn unfinished(&self) -> Vec<Handover> {
        let open = |id: &JobId| self.jobs.get(id).is_some_and(|job| job.result.is_none());
        let rows = self.handovers.iter().filter(|(id, _)| open(id));
        rows.map(|(_, row)| row.handover.clone()).collect()
    }

    /// Handovers that need an operator.
    pub fn stuck(&self) -> Vec<JobId> {
        let stuck = self
            .jobs
            .iter()
            .filter(|(_, job)| job.result.as_deref() == Some("stuck"));
        stuck.map(|(id, _)| *id).collect()
    }

    /// As [`crate::ports::Table::next_attempt`].
    pub fn next_attempt(&mut self, service: &ServiceId) -> Attempt {
        let last = self.attempts.entry(service.clone()).or_default();
        last.0 = last.0.saturating_add(1);
        *last
    }

    /// As [`crate::ports::Table::fulfil`].
    pub fn fulfil(&mut self, service: &ServiceId, guest: GuestId, generation: Generation) {
        let key = (service.clone(), guest);
        if self
            .duties
            .get(&key)
            .is_some_and(|duty| duty.generation == generation)
        {
            self.duties.remove(&key);
        }
    }

    /// As [`crate::ports::Table::postpone`].
    pub fn postpone(
        &mut self,
        service: &ServiceId,
        guest: GuestId,
        generation: Generation,
        serve_until: Millis,
    ) {
        if let Some(duty) = self.duties.get_mut(&(service.clone(), guest))
            && duty.generation == generation
        {
            duty.serve_until = serve_until;
        }
    }

    /// The newest handover of a service.
    pub fn latest(&self, service: &ServiceId) -> Option<(&Handover, bool)> {
        let row = self
            .handovers
            .values()
            .rev()
            .find(|r| r.handover.service == *service)?;
        let open = self
            .jobs
            .get(&row.handover.job)
            .is_some_and(|job| job.result.is_none());
        Some((&row.handover, open))
    }
}
