//! How each record is written into its row and read back.
//!
//! What queries ask for is a column; the rest is JSON. What cannot be read back is an error that names the row:
//! a value is never guessed.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::handover::record::{Duty, Handover};
use crate::model::ids::{Digest, Generation, GuestId, JobId, ServiceId};
use crate::model::manifest::DnsEntry;
use crate::model::placement::PlacedFile;
use crate::model::service::{BundleRecord, ServiceRecord};
use crate::ports::{JobRecord, JournalEntry, TableError};

/// What a statement or a conversion gives.
pub type Outcome<T> = Result<T, TableError>;

/// Whether a transaction has deleted config and secrets, of which the log may still hold copies.
#[derive(Debug, Clone, Copy)]
pub struct Dropped(pub bool);

/// The format of `handover.record`; raised whenever older programs could not read what is written.
pub const FORMAT: u32 = 1;

impl From<rusqlite::Error> for TableError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let advice = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => "; free space on its file system",
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                "; stop handoverd and restore a backup of the table"
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "; another program holds it, end that"
            }
            Some(ErrorCode::ReadOnly) => "; its file, folder or file system is read-only",
            _ => "",
        };
        Self::Storage(format!("{error}{advice}"))
    }
}

/// A number for SQLite, whose integers end at 2^63 - 1.
pub fn to_sql(what: &str, number: u64) -> Outcome<i64> {
    i64::try_from(number)
        .map_err(|_| TableError::Storage(format!("{what} {number} does not fit into 63 bits")))
}

/// A number as SQLite keeps it, which is never negative; `what` names its row.
pub fn from_sql(what: &str, number: i64) -> Outcome<u64> {
    u64::try_from(number).map_err(|_| unreadable(what, &format!("{number} is negative")))
}

fn unreadable(what: &str, why: &str) -> TableError {
    TableError::Storage(format!(
        "{what} cannot be read back: {why}; was the table changed by hand? restore a backup"
    ))
}

/// A text as the value that it was; `what` names its row.
pub fn parse<T: FromStr>(what: &str, text: &str) -> Outcome<T>
where
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error: T::Err| unreadable(what, &error.to_string()))
}

/// A value as JSON.
pub fn to_json<T: Serialize>(what: &str, value: &T) -> Outcome<String> {
    serde_json::to_string(value)
        .map_err(|error| TableError::Storage(format!("{what} cannot be written as JSON: {error}")))
}

/// A value out of JSON; `what` names its row.
pub fn from_json<'a, T: Deserialize<'a>>(what: &str, text: &'a str) -> Outcome<T> {
    serde_json::from_str(text).map_err(|error| unreadable(what, &error.to_string()))
}

/// A [`PlacedFile`] as it is stored: serde would write each byte of the content as a number.
#[derive(Serialize, Deserialize)]
struct StoredFile {
    path: String,
    content: String,
    mode: u32,
    owner: String,
    group: String,
}

/// Keeps a set of files and tells its key; an empty set has none.
pub fn put_files(tx: &Transaction<'_>, files: &[PlacedFile]) -> Outcome<Option<String>> {
    if files.is_empty() {
        return Ok(None);
    }
    let stored: Vec<StoredFile> = files
        .iter()
        .map(|file| StoredFile {
            path: file.path.clone(),
            content: BASE64.encode(&file.content),
            mode: file.mode,
            owner: file.owner.clone(),
            group: file.group.clone(),
        })
        .collect();
    let json = to_json("a set of files", &stored)?;
    let hash: [u8; 32] = Sha256::digest(json.as_bytes()).into();
    let key = Digest::from_sha256(&hash).to_string();
    tx.prepare_cached("INSERT INTO file_set (digest, files) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![key, json])?;
    Ok(Some(key))
}

/// The set of files with this key.
pub fn get_files(tx: &Transaction<'_>, key: Option<String>) -> Outcome<Vec<PlacedFile>> {
    let Some(key) = key else {
        return Ok(Vec::new());
    };
    let what = format!("file set {key}");
    let json: Option<String> = tx
        .prepare_cached("SELECT files FROM file_set WHERE digest = ?1")?
        .query_row([&key], |row| row.get(0))
        .optional()?;
    let json = json.ok_or_else(|| unreadable(&what, "it is not there"))?;
    let stored: Vec<StoredFile> = from_json(&what, &json)?;
    stored
        .into_iter()
        .map(|file| {
            Ok(PlacedFile {
                path: file.path,
                content: BASE64
                    .decode(&file.content)
                    .map_err(|error| unreadable(&what, &error.to_string()))?,
                mode: file.mode,
                owner: file.owner,
                group: file.group,
            })
        })
        .collect()
}

/// Deletes the sets of files that no row names any more: secrets do not outlive what needs them. Whether there were
/// any.
pub fn drop_unused_files(tx: &Transaction<'_>) -> Outcome<Dropped> {
    let dropped = tx
        .prepare_cached(
            "DELETE FROM file_set WHERE
             NOT EXISTS (SELECT 1 FROM service  WHERE files = file_set.digest)
         AND NOT EXISTS (SELECT 1 FROM handover WHERE target_files = file_set.digest)
         AND NOT EXISTS (SELECT 1 FROM handover WHERE source_files = file_set.digest)
         AND NOT EXISTS (SELECT 1 FROM handover WHERE displaced_files = file_set.digest)
         AND NOT EXISTS (SELECT 1 FROM duty     WHERE files = file_set.digest)
         AND NOT EXISTS (SELECT 1 FROM standby  WHERE files = file_set.digest)",
        )?
        .execute([])?;
    Ok(Dropped(dropped > 0))
}

/// Writes a service's row, new or over the one that is there.
pub fn put_service(tx: &Transaction<'_>, service: &ServiceRecord) -> Outcome<()> {
    let files = put_files(tx, &service.files)?;
    let volume = service
        .volume
        .as_ref()
        .map(|volume| to_json("a data volume", volume))
        .transpose()?;
    tx.prepare_cached(
        "INSERT INTO service (id, bundle, guest, guest_name, host, addresses, wanted, observed, observed_at,
             enablement, dns_name, dns_ttl, generation, uid, frozen, files, volume)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
         ON CONFLICT (id) DO UPDATE SET bundle = excluded.bundle, guest = excluded.guest,
             guest_name = excluded.guest_name, host = excluded.host, addresses = excluded.addresses,
             wanted = excluded.wanted, observed = excluded.observed, observed_at = excluded.observed_at,
             enablement = excluded.enablement, dns_name = excluded.dns_name, dns_ttl = excluded.dns_ttl,
             generation = excluded.generation, uid = excluded.uid, frozen = excluded.frozen,
             files = excluded.files, volume = excluded.volume",
    )?
    .execute(params![
        service.id.as_str(),
        service.bundle.as_str(),
        service.guest.to_string(),
        service.guest_name,
        service.host.as_str(),
        to_json("addresses", &service.addresses)?,
        service.wanted.as_str(),
        service.observed.as_str(),
        to_sql("the time of an observation", service.observed_at)?,
        service.enablement.as_str(),
        service.dns.as_ref().map(|dns| dns.name.as_str()),
        service.dns.as_ref().map(|dns| dns.ttl),
        to_sql("generation", service.generation.0)?,
        service.uid,
        service.frozen,
        files,
        volume,
    ])?;
    Ok(())
}

/// The columns that [`service`] reads.
pub const SERVICE: &str =
    "SELECT id, bundle, guest, guest_name, host, addresses, wanted, observed, observed_at,
     enablement, dns_name, dns_ttl, generation, uid, frozen, files, volume FROM service";

/// A service from its row.
pub fn service(tx: &Transaction<'_>, row: &Row<'_>) -> Outcome<ServiceRecord> {
    let text = |column: &str| -> Outcome<String> { Ok(row.get(column)?) };
    let optional = |column: &str| -> Outcome<Option<String>> { Ok(row.get(column)?) };
    let id = text("id")?;
    let what = |column: &str| format!("service {id}, {column},");
    let dns = match optional("dns_name")? {
        Some(name) => Some(DnsEntry {
            name: parse(&what("dns_name"), &name)?,
            ttl: row.get("dns_ttl")?,
        }),
        None => None,
    };
    let addresses = from_json(&what("addresses"), &text("addresses")?)?;
    Ok(ServiceRecord {
        bundle: parse(&what("bundle"), &text("bundle")?)?,
        guest: parse(&what("guest"), &text("guest")?)?,
        guest_name: text("guest_name")?,
        host: parse(&what("host"), &text("host")?)?,
        addresses,
        wanted: parse(&what("wanted"), &text("wanted")?)?,
        observed: parse(&what("observed"), &text("observed")?)?,
        observed_at: from_sql(&what("observed_at"), row.get("observed_at")?)?,
        enablement: parse(&what("enablement"), &text("enablement")?)?,
        dns,
        generation: Generation(from_sql(&what("generation"), row.get("generation")?)?),
        uid: row.get("uid")?,
        frozen: row.get("frozen")?,
        volume: optional("volume")?
            .map(|volume| from_json(&what("volume"), &volume))
            .transpose()?,
        files: get_files(tx, optional("files")?)?,
        id: parse(&what("id"), &id)?,
    })
}

/// Keeps a bundle unless its digest is there.
pub fn put_bundle(tx: &Transaction<'_>, bundle: &BundleRecord) -> Outcome<()> {
    tx.prepare_cached(
        "INSERT INTO bundle (digest, service, size, manifest, units, registered)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        bundle.digest.as_str(),
        bundle.manifest.service.as_str(),
        to_sql("a bundle's size", bundle.size)?,
        to_json("a manifest", &bundle.manifest)?,
        to_json("a bundle's units", &bundle.units)?,
        to_sql("the time of a registration", bundle.registered)?,
    ])?;
    Ok(())
}

/// The columns that [`bundle`] reads.
pub const BUNDLE: &str = "SELECT digest, size, manifest, units, registered FROM bundle";

/// A bundle from its row.
pub fn bundle(row: &Row<'_>) -> Outcome<BundleRecord> {
    let digest: String = row.get("digest")?;
    let what = |column: &str| format!("bundle {digest}, {column},");
    let (manifest, units): (String, String) = (row.get("manifest")?, row.get("units")?);
    Ok(BundleRecord {
        size: from_sql(&what("size"), row.get("size")?)?,
        manifest: from_json(&what("manifest"), &manifest)?,
        units: from_json(&what("units"), &units)?,
        registered: from_sql(&what("registered"), row.get("registered")?)?,
        digest: parse(&what("digest"), &digest)?,
    })
}

/// Keeps a duty; it replaces one of the same service and guest.
pub fn put_duty(tx: &Transaction<'_>, duty: &Duty) -> Outcome<()> {
    let files = put_files(tx, &duty.files)?;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO duty (service, guest, digest, generation, serve_until, files)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        duty.service.as_str(),
        duty.guest.to_string(),
        duty.digest.as_str(),
        to_sql("generation", duty.generation.0)?,
        to_sql("the time of a duty", duty.serve_until)?,
        files,
    ])?;
    Ok(())
}

/// The columns that [`duty`] reads.
pub const DUTY: &str = "SELECT service, guest, digest, generation, serve_until, files FROM duty";

/// A duty from its row.
pub fn duty(tx: &Transaction<'_>, row: &Row<'_>) -> Outcome<Duty> {
    let (service, guest): (String, String) = (row.get("service")?, row.get("guest")?);
    let what = |column: &str| format!("the duty of service {service} on guest {guest}, {column},");
    let digest: String = row.get("digest")?;
    Ok(Duty {
        digest: parse(&what("digest"), &digest)?,
        generation: Generation(from_sql(&what("generation"), row.get("generation")?)?),
        serve_until: from_sql(&what("serve_until"), row.get("serve_until")?)?,
        files: get_files(tx, row.get("files")?)?,
        service: parse::<ServiceId>(&what("service"), &service)?,
        guest: parse::<GuestId>(&what("guest"), &guest)?,
    })
}

/// Writes a handover's row. `reserved`: it holds its service's reservation. `keep_files`: an ended handover needs
/// its config and secrets no more.
pub fn put_handover(
    tx: &Transaction<'_>,
    handover: &Handover,
    reserved: bool,
    keep_files: bool,
) -> Outcome<()> {
    let mut bare = handover.clone();
    let target = std::mem::take(&mut bare.target.files);
    let source = bare.source.as_mut().map(|place| std::mem::take(&mut place.files));
    let displaced = bare
        .facts
        .displaced
        .as_mut()
        .map(|duty| std::mem::take(&mut duty.files));
    let kept = |files: Option<Vec<PlacedFile>>| match files {
        Some(files) if keep_files => put_files(tx, &files),
        _ => Ok(None),
    };
    let (target, source, displaced) = (kept(Some(target))?, kept(source)?, kept(displaced)?);
    tx.prepare_cached(
        "INSERT INTO handover (job, id, service, reserved, format, record, target_files, source_files, displaced_files)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (job) DO UPDATE SET reserved = excluded.reserved, format = excluded.format,
             record = excluded.record, target_files = excluded.target_files,
             source_files = excluded.source_files, displaced_files = excluded.displaced_files",
    )?
    .execute(params![
        to_sql("job", handover.job.0)?,
        handover.id.to_string(),
        handover.service.as_str(),
        reserved,
        FORMAT,
        to_json("a handover", &bare)?,
        target,
        source,
        displaced,
    ])?;
    Ok(())
}

/// The columns that [`handover`] reads.
pub const HANDOVER: &str =
    "SELECT job, format, record, target_files, source_files, displaced_files FROM handover";

/// A handover from its row.
pub fn handover(tx: &Transaction<'_>, row: &Row<'_>) -> Outcome<Handover> {
    let job: i64 = row.get("job")?;
    let format: i64 = row.get("format")?;
    if format != i64::from(FORMAT) {
        return Err(TableError::Storage(format!(
            "the handover of job {job} is stored in format {format}, but this handoverd reads format {FORMAT} \
             only: install the handoverd that wrote it"
        )));
    }
    let record: String = row.get("record")?;
    let mut handover: Handover = from_json(&format!("the handover of job {job}"), &record)?;
    handover.target.files = get_files(tx, row.get("target_files")?)?;
    if let Some(place) = handover.source.as_mut() {
        place.files = get_files(tx, row.get("source_files")?)?;
    }
    if let Some(duty) = handover.facts.displaced.as_mut() {
        duty.files = get_files(tx, row.get("displaced_files")?)?;
    }
    Ok(handover)
}

/// The columns that [`job`] reads.
pub const JOB: &str = "SELECT id, operation, object, source, target, started_by, started, finished, result,
     error_name, error_details FROM job";

/// A job from its row.
pub fn job(row: &Row<'_>) -> Outcome<JobRecord> {
    let id: i64 = row.get("id")?;
    let what = |column: &str| format!("job {id}, {column},");
    let finished: Option<i64> = row.get("finished")?;
    Ok(JobRecord {
        id: JobId(from_sql(&what("id"), id)?),
        operation: row.get("operation")?,
        object: row.get("object")?,
        source: row.get("source")?,
        target: row.get("target")?,
        started_by: row.get("started_by")?,
        started: from_sql(&what("started"), row.get("started")?)?,
        finished: finished.map(|at| from_sql(&what("finished"), at)).transpose()?,
        result: row.get("result")?,
        error_name: row.get("error_name")?,
        error_details: row.get("error_details")?,
    })
}

/// Enters a new job, without a result, and tells its number.
pub fn put_job(tx: &Transaction<'_>, job: &JobRecord) -> Outcome<JobId> {
    tx.prepare_cached(
        "INSERT INTO job (operation, object, source, target, started_by, started, error_name, error_details)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, '', '')",
    )?
    .execute(params![
        job.operation,
        job.object,
        job.source,
        job.target,
        job.started_by,
        to_sql("the time of a job", job.started)?,
    ])?;
    let number = tx.last_insert_rowid();
    u64::try_from(number)
        .map(JobId)
        .map_err(|_| TableError::Storage(format!("job number {number} is negative")))
}

/// Writes a job's end; `entry` tells when, if the job does not.
pub fn end_job(tx: &Transaction<'_>, job: &JobRecord, entry: &JournalEntry) -> Outcome<()> {
    tx.prepare_cached(
        "UPDATE job SET finished = ?2, result = ?3, error_name = ?4, error_details = ?5 WHERE id = ?1",
    )?
    .execute(params![
        to_sql("job", job.id.0)?,
        to_sql("the end of a job", job.finished.unwrap_or(entry.at))?,
        job.result,
        job.error_name,
        job.error_details,
    ])?;
    Ok(())
}

/// Adds an entry to a job's journal.
pub fn put_entry(tx: &Transaction<'_>, job: JobId, entry: &JournalEntry) -> Outcome<()> {
    tx.prepare_cached(
        "INSERT INTO journal (job, seq, at, step, text)
         SELECT ?1, coalesce(max(seq), 0) + 1, ?2, ?3, ?4 FROM journal WHERE job = ?1",
    )?
    .execute(params![
        to_sql("job", job.0)?,
        to_sql("the time of a journal entry", entry.at)?,
        entry.step,
        entry.text,
    ])?;
    Ok(())
}

/// A journal's entry from its row.
pub fn entry(row: &Row<'_>) -> Outcome<JournalEntry> {
    let at: i64 = row.get("at")?;
    Ok(JournalEntry {
        at: from_sql("the time of a journal entry", at)?,
        step: row.get("step")?,
        text: row.get("text")?,
    })
}

/// Everything that a statement finds, each row read by `read`.
pub fn all<T>(
    tx: &Transaction<'_>,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&Transaction<'_>, &Row<'_>) -> Outcome<T>,
) -> Outcome<Vec<T>> {
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(tx, row)?);
    }
    Ok(found)
}

/// The first row that a statement finds.
pub fn first<T>(
    tx: &Transaction<'_>,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&Transaction<'_>, &Row<'_>) -> Outcome<T>,
) -> Outcome<Option<T>> {
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    match rows.next()? {
        Some(row) => Ok(Some(read(tx, row)?)),
        None => Ok(None),
    }
}
