//! The transactions of handovers: reservation, saves, commit, end.
//!
//! Each function runs inside one transaction and checks everything before it writes anything: an actor that comes
//! late finds its job ended, its reservation gone or the generation raised, and changes nothing.

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::rows::{self, Dropped, Outcome, to_sql};
use super::standbys;
use crate::handover::goals::Kind;
use crate::handover::machine::State;
use crate::handover::record::{Duty, Handover};
use crate::model::ids::{Digest, Generation, GuestId, JobId, ServiceId};
use crate::model::service::{Millis, ServiceRecord};
use crate::ports::{JobRecord, JournalEntry, TableError};

/// The result of a job whose handover can go neither on nor back by itself.
const STUCK: &str = "stuck";

/// What the table has of a handover beside its record.
struct Standing {
    /// It holds its service's reservation.
    reserved: bool,
    /// Its job's result.
    result: Option<String>,
}

impl Standing {
    fn is_stuck(&self) -> bool {
        self.result.as_deref() == Some(STUCK)
    }

    /// Refuses if the job has ended; a stuck one has not.
    fn check_open(&self, job: JobId) -> Outcome<()> {
        match &self.result {
            Some(result) if result != STUCK => Err(conflict(format!(
                "job {job} has ended already ({result}): nothing more can be recorded for it"
            ))),
            _ => Ok(()),
        }
    }
}

fn conflict(message: String) -> TableError {
    TableError::Conflict(message)
}

/// See [`crate::ports::Table::begin`].
pub fn begin(tx: &Transaction<'_>, job: &JobRecord, mut handover: Handover) -> Outcome<Handover> {
    check_free(tx, &handover.service)?;
    check_generation(tx, &handover)?;
    handover.job = rows::put_job(tx, job)?;
    if matches!(handover.kind, Kind::Deploy | Kind::Move) {
        handover.facts.displaced = take_duty(tx, &handover.service, handover.target.guest)?;
    }
    handover.facts.standby = standbys::take_over(tx, &handover)?;
    rows::put_handover(tx, &handover, true, true)?;
    Ok(handover)
}

/// See [`crate::ports::Table::save`].
pub fn save(tx: &Transaction<'_>, handover: &Handover, entry: &JournalEntry) -> Outcome<()> {
    let standing = standing(tx, handover)?;
    standing.check_open(handover.job)?;
    if standing.is_stuck() && matches!(handover.state, State::At { .. }) {
        // An operator resumed it: without this, a restarted daemon would not go on with it.
        tx.prepare_cached(
            "UPDATE job SET result = NULL, finished = NULL, error_name = '', error_details = '' WHERE id = ?1",
        )?
        .execute([to_sql("job", handover.job.0)?])?;
        freeze(tx, &handover.service, None)?;
    }
    rows::put_handover(tx, handover, standing.reserved, true)?;
    rows::put_entry(tx, handover.job, entry)
}

/// A [`crate::ports::Commit`] of owned parts.
pub struct Commit {
    /// The handover as it stands from now on.
    pub handover: Handover,
    /// The service's new row.
    pub service: ServiceRecord,
    /// What is owed.
    pub duty: Option<Duty>,
    /// The journal's entry.
    pub entry: JournalEntry,
}

/// See [`crate::ports::Table::commit`].
pub fn commit(tx: &Transaction<'_>, commit: &Commit) -> Outcome<Dropped> {
    check_commit(tx, commit)?;
    check_bundle(tx, &commit.service.bundle)?;
    rows::put_service(tx, &commit.service)?;
    standbys::came_home(tx, &commit.service.id, commit.service.guest)?;
    settle(tx, commit)
}

/// See [`crate::ports::Table::forget`].
pub fn forget(tx: &Transaction<'_>, commit: &Commit) -> Outcome<Dropped> {
    if commit.handover.kind != Kind::Remove {
        return Err(conflict(format!(
            "job {} is not a removal: the row of service {} stays",
            commit.handover.job, commit.service.id
        )));
    }
    check_commit(tx, commit)?;
    tx.prepare_cached("DELETE FROM service WHERE id = ?1")?
        .execute([commit.service.id.as_str()])?;
    settle(tx, commit)
}

/// What commit and forget have in common after the service's row: duty, handover, journal.
fn settle(tx: &Transaction<'_>, commit: &Commit) -> Outcome<Dropped> {
    if let Some(duty) = &commit.duty {
        check_bundle(tx, &duty.digest)?;
        rows::put_duty(tx, duty)?;
    }
    rows::put_handover(tx, &commit.handover, false, true)?;
    rows::put_entry(tx, commit.handover.job, &commit.entry)?;
    rows::drop_unused_files(tx)
}

/// See [`crate::ports::Table::finish`].
pub fn finish(
    tx: &Transaction<'_>,
    handover: &Handover,
    job: &JobRecord,
    entry: &JournalEntry,
) -> Outcome<Dropped> {
    let standing = standing(tx, handover)?;
    standing.check_open(handover.job)?;
    if job.id != handover.job {
        return Err(conflict(format!(
            "job {} cannot be ended with the handover of job {}",
            job.id, handover.job
        )));
    }
    let Some(result) = job.result.as_deref() else {
        return Err(conflict(format!(
            "job {} cannot be ended without a result",
            job.id
        )));
    };
    let stuck = result == STUCK;
    if stuck && !matches!(handover.state, State::Stuck { .. }) {
        return Err(conflict(format!(
            "job {} cannot be ended as stuck: its handover is {:?}",
            job.id, handover.state
        )));
    }
    rows::end_job(tx, job, entry)?;
    if stuck {
        let reason = handover
            .reason
            .as_ref()
            .map_or(&job.error_details, |reason| &reason.text);
        freeze(tx, &handover.service, Some(reason))?;
    } else if standing.reserved {
        // Only then: after the reservation has ended, the service may be another handover's, and frozen by it.
        freeze(tx, &handover.service, None)?;
    }
    if !stuck && let Some(duty) = handover.unmet() {
        rows::put_duty(tx, duty)?;
    }
    rows::put_handover(tx, handover, stuck && standing.reserved, stuck)?;
    rows::put_entry(tx, handover.job, entry)?;
    rows::drop_unused_files(tx)
}

/// See [`crate::ports::Table::holds`].
pub fn holds(tx: &Transaction<'_>, job: JobId) -> Outcome<bool> {
    Ok(tx
        .prepare_cached("SELECT 1 FROM handover WHERE job = ?1 AND reserved = 1")?
        .exists([to_sql("job", job.0)?])?)
}

/// See [`crate::ports::Table::fulfil`].
pub fn fulfil(
    tx: &Transaction<'_>,
    service: &ServiceId,
    guest: GuestId,
    generation: Generation,
) -> Outcome<Dropped> {
    tx.prepare_cached("DELETE FROM duty WHERE service = ?1 AND guest = ?2 AND generation = ?3")?
        .execute(params![
            service.as_str(),
            guest.to_string(),
            to_sql("generation", generation.0)?,
        ])?;
    rows::drop_unused_files(tx)
}

/// See [`crate::ports::Table::postpone`].
pub fn postpone(
    tx: &Transaction<'_>,
    service: &ServiceId,
    guest: GuestId,
    generation: Generation,
    serve_until: Millis,
) -> Outcome<()> {
    tx.prepare_cached(
        "UPDATE duty SET serve_until = ?4 WHERE service = ?1 AND guest = ?2 AND generation = ?3",
    )?
    .execute(params![
        service.as_str(),
        guest.to_string(),
        to_sql("generation", generation.0)?,
        to_sql("the time of a duty", serve_until)?,
    ])?;
    Ok(())
}

/// Refuses while another handover of the service holds its reservation.
pub fn check_free(tx: &Transaction<'_>, service: &ServiceId) -> Outcome<()> {
    let holder: Option<(i64, String)> = tx
        .prepare_cached(
            "SELECT job.id, job.operation FROM handover JOIN job ON job.id = handover.job
             WHERE handover.service = ?1 AND handover.reserved = 1",
        )?
        .query_row([service.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((job, operation)) = holder else {
        return Ok(());
    };
    let job = JobId(u64::try_from(job).unwrap_or_default());
    Err(TableError::busy(service, job, &operation))
}

/// Refuses unless the handover's generation follows on the service's: absent for a deploy, one less where the handover
/// commits to a new place or bundle, the same where the service stays what it is.
fn check_generation(tx: &Transaction<'_>, handover: &Handover) -> Outcome<()> {
    let service = &handover.service;
    let stands: Option<i64> = tx
        .prepare_cached("SELECT generation FROM service WHERE id = ?1")?
        .query_row([service.as_str()], |row| row.get(0))
        .optional()?;
    let wanted = to_sql("generation", handover.generation.0)?;
    match (handover.kind, stands) {
        (Kind::Deploy, None) => Ok(()),
        (Kind::Deploy, Some(_)) => Err(conflict(format!(
            "service {service} is deployed already: move, upgrade or remove it instead"
        ))),
        (_, None) => Err(conflict(format!(
            "there is no service {service}: deploy it first"
        ))),
        (Kind::Move | Kind::Replace, Some(stands)) if stands.checked_add(1) == Some(wanted) => Ok(()),
        (Kind::Start | Kind::Stop | Kind::Remove, Some(stands)) if stands == wanted => Ok(()),
        (_, Some(stands)) => Err(conflict(format!(
            "service {service} is at generation {stands}, so generation {wanted} does not follow on it: it was \
             changed meanwhile; look again and ask anew"
        ))),
    }
}

/// Refuses a commit of a stale actor, or of parts that do not belong together.
fn check_commit(tx: &Transaction<'_>, commit: &Commit) -> Outcome<()> {
    let handover = &commit.handover;
    let standing = standing(tx, handover)?;
    if let Some(result) = &standing.result {
        return Err(conflict(format!(
            "job {} has ended ({result}): it cannot commit service {}",
            handover.job, handover.service
        )));
    }
    if !standing.reserved {
        return Err(conflict(format!(
            "job {} no longer holds service {}: it cannot commit it",
            handover.job, handover.service
        )));
    }
    let belongs = commit.service.id == handover.service
        && commit.service.generation == handover.generation
        && commit
            .duty
            .as_ref()
            .is_none_or(|duty| duty.service == handover.service);
    if !belongs {
        return Err(conflict(format!(
            "the commit of job {} is of service {}, generation {}, but its rows are of service {}, generation {}",
            handover.job, handover.service, handover.generation, commit.service.id, commit.service.generation
        )));
    }
    check_generation(tx, handover)
}

fn check_bundle(tx: &Transaction<'_>, digest: &Digest) -> Outcome<()> {
    let there = tx
        .prepare_cached("SELECT 1 FROM bundle WHERE digest = ?1")?
        .exists([digest.as_str()])?;
    if there {
        Ok(())
    } else {
        Err(conflict(format!(
            "bundle {} is not registered: register it first",
            digest.short()
        )))
    }
}

/// What the table has of this handover; `Conflict` if it has none of this job, id and service.
fn standing(tx: &Transaction<'_>, handover: &Handover) -> Outcome<Standing> {
    tx.prepare_cached(
        "SELECT handover.reserved, job.result FROM handover JOIN job ON job.id = handover.job
         WHERE handover.job = ?1 AND handover.id = ?2 AND handover.service = ?3",
    )?
    .query_row(
        params![
            to_sql("job", handover.job.0)?,
            handover.id.to_string(),
            handover.service.as_str()
        ],
        |row| {
            Ok(Standing {
                reserved: row.get(0)?,
                result: row.get(1)?,
            })
        },
    )
    .optional()?
    .ok_or_else(|| {
        conflict(format!(
            "there is no handover {} of service {} with job {}",
            handover.id, handover.service, handover.job
        ))
    })
}

/// Deletes the duty of a service on a guest, and tells what it was.
fn take_duty(tx: &Transaction<'_>, service: &ServiceId, guest: GuestId) -> Outcome<Option<Duty>> {
    let key = params![service.as_str(), guest.to_string()];
    let sql = format!("{} WHERE service = ?1 AND guest = ?2", rows::DUTY);
    let duty = rows::first(tx, &sql, key, rows::duty)?;
    if duty.is_some() {
        tx.prepare_cached("DELETE FROM duty WHERE service = ?1 AND guest = ?2")?
            .execute(key)?;
    }
    Ok(duty)
}

/// Freezes a service with a reason, or thaws it; a service that is not there (yet) is passed over.
fn freeze(tx: &Transaction<'_>, service: &ServiceId, reason: Option<&String>) -> Outcome<()> {
    tx.prepare_cached("UPDATE service SET frozen = ?2 WHERE id = ?1")?
        .execute(params![service.as_str(), reason])?;
    Ok(())
}
