//! Batches and their members, and the decisions behind them.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::rows::{self, Outcome, from_json, from_sql, parse, to_json, to_sql};
use crate::model::batch::{Batch, BatchMember, Decision};
use crate::model::ids::{JobId, ServiceId};
use crate::ports::{JobRecord, JournalEntry, TableError};

/// See [`crate::ports::Table::begin_batch`].
pub fn begin(tx: &Transaction<'_>, job: &JobRecord, batch: &Batch) -> Outcome<JobId> {
    let other: Option<i64> = tx
        .prepare_cached("SELECT job FROM batch WHERE guest = ?1 AND open = 1")?
        .query_row([batch.guest.to_string()], |row| row.get(0))
        .optional()?;
    if let Some(other) = other {
        return Err(TableError::Conflict(format!(
            "the services of guest {} are being moved already: job {other}; wait for it, or cancel it",
            job.object
        )));
    }
    let number = rows::put_job(tx, job)?;
    let id = to_sql("job", number.0)?;
    tx.prepare_cached("INSERT INTO batch (job, guest, target, options, open) VALUES (?1, ?2, ?3, ?4, 1)")?
        .execute(params![
            id,
            batch.guest.to_string(),
            batch.target,
            to_json("the options of a batch", &batch.options)?,
        ])?;
    let mut services = BTreeSet::new();
    for member in &batch.members {
        if !services.insert(&member.service) {
            return Err(TableError::Conflict(format!(
                "service {} is a member of the batch twice",
                member.service
            )));
        }
        put_member(tx, number, member)?;
    }
    Ok(number)
}

fn put_member(tx: &Transaction<'_>, batch: JobId, member: &BatchMember) -> Outcome<()> {
    tx.prepare_cached(
        "INSERT INTO batch_member (job, seq, service, target, target_name, why, member_job, result, details)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (job, seq) DO UPDATE SET target = excluded.target, target_name = excluded.target_name,
             why = excluded.why, member_job = excluded.member_job, result = excluded.result,
             details = excluded.details",
    )?
    .execute(params![
        to_sql("job", batch.0)?,
        member.seq,
        member.service.as_str(),
        member.target.map(|guest| guest.to_string()),
        member.target_name,
        member.why,
        member.job.map(|job| to_sql("job", job.0)).transpose()?,
        member.result,
        member.details,
    ])?;
    Ok(())
}

/// See [`crate::ports::Table::save_member`].
pub fn save_member(
    tx: &Transaction<'_>,
    batch: JobId,
    member: &BatchMember,
    entry: &JournalEntry,
) -> Outcome<()> {
    check_open(tx, batch)?;
    put_member(tx, batch, member)?;
    rows::put_entry(tx, batch, entry)
}

/// See [`crate::ports::Table::finish_batch`].
pub fn finish(tx: &Transaction<'_>, job: &JobRecord, entry: &JournalEntry) -> Outcome<()> {
    check_open(tx, job.id)?;
    if job.result.is_none() {
        return Err(TableError::Conflict(format!(
            "job {} cannot be ended without a result",
            job.id
        )));
    }
    rows::end_job(tx, job, entry)?;
    tx.prepare_cached("UPDATE batch SET open = 0 WHERE job = ?1")?
        .execute([to_sql("job", job.id.0)?])?;
    rows::put_entry(tx, job.id, entry)
}

/// Refuses unless this job is a batch that has not ended.
fn check_open(tx: &Transaction<'_>, job: JobId) -> Outcome<()> {
    let open: Option<bool> = tx
        .prepare_cached("SELECT open FROM batch WHERE job = ?1")?
        .query_row([to_sql("job", job.0)?], |row| row.get(0))
        .optional()?;
    match open {
        Some(true) => Ok(()),
        Some(false) => Err(TableError::Conflict(format!(
            "batch {job} has ended already: nothing more can be recorded for it"
        ))),
        None => Err(TableError::Conflict(format!("job {job} is not a batch"))),
    }
}

const BATCH: &str = "SELECT job, guest, target, options FROM batch";

/// See [`crate::ports::Table::batch`].
pub fn one(tx: &Transaction<'_>, job: JobId) -> Outcome<Option<Batch>> {
    let sql = format!("{BATCH} WHERE job = ?1");
    rows::first(tx, &sql, [to_sql("job", job.0)?], batch)
}

/// See [`crate::ports::Table::unfinished_batches`].
pub fn unfinished(tx: &Transaction<'_>) -> Outcome<Vec<Batch>> {
    let sql = format!("{BATCH} WHERE open = 1 ORDER BY job");
    rows::all(tx, &sql, [], batch)
}

fn batch(tx: &Transaction<'_>, row: &Row<'_>) -> Outcome<Batch> {
    let job: i64 = row.get("job")?;
    let what = |column: &str| format!("batch {job}, {column},");
    let (guest, options): (String, String) = (row.get("guest")?, row.get("options")?);
    let sql = "SELECT seq, service, target, target_name, why, member_job, result, details
               FROM batch_member WHERE job = ?1 ORDER BY seq";
    Ok(Batch {
        job: JobId(from_sql(&what("job"), job)?),
        guest: parse(&what("guest"), &guest)?,
        target: row.get("target")?,
        options: from_json(&what("options"), &options)?,
        members: rows::all(tx, sql, [job], |_, row| member(job, row))?,
    })
}

fn member(batch: i64, row: &Row<'_>) -> Outcome<BatchMember> {
    let service: String = row.get("service")?;
    let what = |column: &str| format!("service {service} in batch {batch}, {column},");
    let target: Option<String> = row.get("target")?;
    let job: Option<i64> = row.get("member_job")?;
    Ok(BatchMember {
        seq: row.get("seq")?,
        target: target.map(|guest| parse(&what("target"), &guest)).transpose()?,
        target_name: row.get("target_name")?,
        why: row.get("why")?,
        job: job
            .map(|job| from_sql(&what("member_job"), job).map(JobId))
            .transpose()?,
        result: row.get("result")?,
        details: row.get("details")?,
        service: parse(&what("service"), &service)?,
    })
}

/// See [`crate::ports::Table::decide`].
pub fn decide(tx: &Transaction<'_>, decision: &Decision) -> Outcome<()> {
    tx.prepare_cached(
        "INSERT INTO audit (at, who, what, decision, service, inputs) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        to_sql("the time of a decision", decision.at)?,
        decision.who,
        decision.what,
        decision.decision,
        decision.service.as_str(),
        to_json("what a decision was made from", &decision.inputs)?,
    ])?;
    Ok(())
}

/// See [`crate::ports::Table::last_decision`].
pub fn last_decision(tx: &Transaction<'_>, service: &ServiceId) -> Outcome<Option<Decision>> {
    let sql =
        "SELECT at, who, what, decision, inputs FROM audit WHERE service = ?1 ORDER BY seq DESC LIMIT 1";
    rows::first(tx, sql, [service.as_str()], |_, row| {
        let what = |column: &str| format!("the last decision about service {service}, {column},");
        let inputs: Option<String> = row.get("inputs")?;
        Ok(Decision {
            at: from_sql(&what("at"), row.get("at")?)?,
            who: row.get("who")?,
            what: row.get("what")?,
            service: service.clone(),
            decision: row.get("decision")?,
            inputs: inputs
                .map(|text| from_json(&what("inputs"), &text))
                .transpose()?
                .unwrap_or_default(),
        })
    })
}
