//! The service table in one SQLite file (design section 8).
//!
//! One thread owns the only connection. Requests reach it through a channel and are answered through another, so a
//! slow disk holds up who waits for the answer, never the runtime. Each method is one transaction, and its answer
//! is sent after SQLite has synced the commit (WAL, synchronous=FULL). A request that was sent is done even if the
//! caller stops waiting for it.

pub mod anew;
mod batches;
mod damaged;
mod handovers;
mod open;
mod rows;
mod schema;
mod standbys;

use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use crate::handover::record::{Duty, Handover};
use crate::model::batch::{Batch, BatchMember, Decision};
use crate::model::ids::{Attempt, Digest, Generation, GuestId, JobId, ServiceId};
use crate::model::service::{BundleRecord, Millis, ServiceRecord};
use crate::ports::{Commit, JobRecord, JournalEntry, Table, TableError};
use crate::watch::blast::Alarm;
use crate::watch::maintenance::{Entry as Maintained, Object};
use rows::{Dropped, Outcome, to_sql};

pub use open::OpenError;

type Request = Box<dyn FnOnce(&mut Connection) + Send>;

/// The service table in one SQLite file.
///
/// Dropping it waits until what was asked for is done, then closes the file and gives the lock back.
#[derive(Debug)]
pub struct SqliteTable {
    // Both are `Some` until drop.
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl SqliteTable {
    /// Opens the table in the file at `path`, and makes it (mode 0600) if there is none. Its folder must be there.
    /// Beside it stand `<path>-wal`, `<path>-shm` and `<path>.lock`. Blocks: the whole file is checked.
    ///
    /// # Errors
    /// [`OpenError`]: in use, of a newer version, damaged, another program's, or not accessible. A file that is
    /// refused is left as it is; a damaged one is copied aside as well.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let opened = open::open(path)?;
        let (requests, inbox) = mpsc::channel::<Request>();
        let thread = std::thread::Builder::new()
            .name("service-table".to_owned())
            .spawn(move || {
                let open::Opened { mut connection, lock } = opened;
                while let Ok(request) = inbox.recv() {
                    request(&mut connection);
                }
                // Closed first: who gets the lock next finds the file at rest.
                drop(connection);
                drop(lock);
            })
            .map_err(|source| OpenError::Io {
                path: path.to_owned(),
                action: "given a thread",
                source,
            })?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    /// Runs `work` on the table's thread.
    async fn run<T, F>(&self, work: F) -> Outcome<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Outcome<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let request: Request = Box::new(move |connection| {
            let outcome = work(connection);
            if reply.send(outcome).is_err() {
                tracing::debug!("nobody waits any more for an answer of the service table");
            }
        });
        let ended = || TableError::Storage("its thread has ended; restart handoverd".to_owned());
        let requests = self.requests.as_ref().ok_or_else(ended)?;
        requests.send(request).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    async fn read<T, F>(&self, work: F) -> Outcome<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Outcome<T> + Send + 'static,
    {
        self.run(|connection| transact(connection, TransactionBehavior::Deferred, work))
            .await
    }

    async fn write<T, F>(&self, work: F) -> Outcome<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Outcome<T> + Send + 'static,
    {
        self.run(|connection| transact(connection, TransactionBehavior::Immediate, work))
            .await
    }

    /// A write that may delete config and secrets; those are then gone from the log as well.
    async fn write_and_drop<F>(&self, work: F) -> Outcome<()>
    where
        F: FnOnce(&Transaction<'_>) -> Outcome<Dropped> + Send + 'static,
    {
        self.run(|connection| {
            let Dropped(dropped) = transact(connection, TransactionBehavior::Immediate, work)?;
            if dropped {
                open::empty_log(connection);
            }
            Ok(())
        })
        .await
    }
}

/// Runs `work` in a transaction; it is rolled back if `work` fails.
fn transact<T>(
    connection: &mut Connection,
    behavior: TransactionBehavior,
    work: impl FnOnce(&Transaction<'_>) -> Outcome<T>,
) -> Outcome<T> {
    let transaction = connection.transaction_with_behavior(behavior)?;
    let value = work(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

impl Drop for SqliteTable {
    fn drop(&mut self) {
        // Without a sender the thread ends once its queue is empty.
        drop(self.requests.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the service table's thread has panicked");
        }
    }
}

/// The next attempt number of a service.
fn attempt(tx: &Transaction<'_>, service: &ServiceId) -> Outcome<Attempt> {
    let last: i64 = tx
        .prepare_cached(
            "INSERT INTO attempt (service, last) VALUES (?1, 1)
             ON CONFLICT (service) DO UPDATE SET last = last + 1 RETURNING last",
        )?
        .query_row([service.as_str()], |row| row.get(0))?;
    u64::try_from(last)
        .map(Attempt)
        .map_err(|_| TableError::Storage(format!("attempt {last} of service {service} is negative")))
}

fn owned(commit: &Commit<'_>) -> handovers::Commit {
    handovers::Commit {
        handover: commit.handover.clone(),
        service: commit.service.clone(),
        duty: commit.duty.cloned(),
        entry: commit.entry.clone(),
    }
}

#[async_trait]
impl Table for SqliteTable {
    async fn services(&self) -> Result<Vec<ServiceRecord>, TableError> {
        self.read(|tx| rows::all(tx, &format!("{} ORDER BY id", rows::SERVICE), [], rows::service))
            .await
    }

    async fn service(&self, id: &ServiceId) -> Result<Option<ServiceRecord>, TableError> {
        let id = id.clone();
        self.read(move |tx| {
            let sql = format!("{} WHERE id = ?1", rows::SERVICE);
            rows::first(tx, &sql, [id.as_str()], rows::service)
        })
        .await
    }

    async fn observe(&self, service: &ServiceRecord) -> Result<(), TableError> {
        let service = service.clone();
        self.write(move |tx| {
            // Home guest, bundle, name and files are the commit's; frozen is the reservation's.
            tx.prepare_cached(
                "UPDATE service SET guest_name = ?3, host = ?4, addresses = ?5, wanted = ?6, observed = ?7,
                     observed_at = ?8, enablement = ?9, uid = ?10
                 WHERE id = ?1 AND generation = ?2",
            )?
            .execute(params![
                service.id.as_str(),
                to_sql("generation", service.generation.0)?,
                service.guest_name,
                service.host.as_str(),
                rows::to_json("addresses", &service.addresses)?,
                service.wanted.as_str(),
                service.observed.as_str(),
                to_sql("the time of an observation", service.observed_at)?,
                service.enablement.as_str(),
                service.uid,
            ])?;
            Ok(())
        })
        .await
    }

    async fn bundles(&self) -> Result<Vec<BundleRecord>, TableError> {
        self.read(|tx| {
            let sql = format!("{} ORDER BY service, registered, digest", rows::BUNDLE);
            rows::all(tx, &sql, [], |_, row| rows::bundle(row))
        })
        .await
    }

    async fn bundle(&self, digest: &Digest) -> Result<Option<BundleRecord>, TableError> {
        let digest = digest.clone();
        self.read(move |tx| {
            let sql = format!("{} WHERE digest = ?1", rows::BUNDLE);
            rows::first(tx, &sql, [digest.as_str()], |_, row| rows::bundle(row))
        })
        .await
    }

    async fn put_bundle(&self, bundle: &BundleRecord) -> Result<(), TableError> {
        let bundle = bundle.clone();
        self.write(move |tx| rows::put_bundle(tx, &bundle)).await
    }

    async fn begin(&self, job: &JobRecord, handover: &Handover) -> Result<Handover, TableError> {
        let (job, handover) = (job.clone(), handover.clone());
        self.write(move |tx| handovers::begin(tx, &job, handover)).await
    }

    async fn save(&self, handover: &Handover, entry: &JournalEntry) -> Result<(), TableError> {
        let (handover, entry) = (handover.clone(), entry.clone());
        self.write(move |tx| handovers::save(tx, &handover, &entry)).await
    }

    async fn commit(&self, commit: Commit<'_>) -> Result<(), TableError> {
        let commit = owned(&commit);
        self.write_and_drop(move |tx| handovers::commit(tx, &commit))
            .await
    }

    async fn forget(&self, commit: Commit<'_>) -> Result<(), TableError> {
        let commit = owned(&commit);
        self.write_and_drop(move |tx| handovers::forget(tx, &commit))
            .await
    }

    async fn finish(
        &self,
        handover: &Handover,
        job: &JobRecord,
        entry: &JournalEntry,
    ) -> Result<(), TableError> {
        let (handover, job, entry) = (handover.clone(), job.clone(), entry.clone());
        self.write_and_drop(move |tx| handovers::finish(tx, &handover, &job, &entry))
            .await
    }

    async fn holds(&self, job: JobId) -> Result<bool, TableError> {
        self.read(move |tx| handovers::holds(tx, job)).await
    }

    async fn unfinished(&self) -> Result<Vec<Handover>, TableError> {
        self.read(|tx| {
            let sql = format!(
                "{} WHERE job IN (SELECT id FROM job WHERE result IS NULL) ORDER BY job",
                rows::HANDOVER
            );
            rows::all(tx, &sql, [], rows::handover)
        })
        .await
    }

    async fn handover(&self, job: JobId) -> Result<Option<Handover>, TableError> {
        let job = to_sql("job", job.0)?;
        self.read(move |tx| {
            let sql = format!("{} WHERE job = ?1", rows::HANDOVER);
            rows::first(tx, &sql, [job], rows::handover)
        })
        .await
    }

    async fn begin_batch(&self, job: &JobRecord, batch: &Batch) -> Result<JobId, TableError> {
        let (job, batch) = (job.clone(), batch.clone());
        self.write(move |tx| batches::begin(tx, &job, &batch)).await
    }

    async fn batch(&self, job: JobId) -> Result<Option<Batch>, TableError> {
        self.read(move |tx| batches::one(tx, job)).await
    }

    async fn save_member(
        &self,
        batch: JobId,
        member: &BatchMember,
        entry: &JournalEntry,
    ) -> Result<(), TableError> {
        let (member, entry) = (member.clone(), entry.clone());
        self.write(move |tx| batches::save_member(tx, batch, &member, &entry))
            .await
    }

    async fn finish_batch(&self, job: &JobRecord, entry: &JournalEntry) -> Result<(), TableError> {
        let (job, entry) = (job.clone(), entry.clone());
        self.write(move |tx| batches::finish(tx, &job, &entry)).await
    }

    async fn unfinished_batches(&self) -> Result<Vec<Batch>, TableError> {
        self.read(batches::unfinished).await
    }

    async fn next_attempt(&self, service: &ServiceId) -> Result<Attempt, TableError> {
        let service = service.clone();
        self.write(move |tx| attempt(tx, &service)).await
    }

    async fn jobs(&self, before: Option<JobId>, limit: u32) -> Result<Vec<JobRecord>, TableError> {
        let before = match before {
            Some(job) => to_sql("job", job.0)?,
            None => i64::MAX,
        };
        self.read(move |tx| {
            let sql = format!("{} WHERE id < ?1 ORDER BY id DESC LIMIT ?2", rows::JOB);
            rows::all(tx, &sql, params![before, limit], |_, row| rows::job(row))
        })
        .await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, TableError> {
        let id = to_sql("job", id.0)?;
        self.read(move |tx| {
            let sql = format!("{} WHERE id = ?1", rows::JOB);
            rows::first(tx, &sql, [id], |_, row| rows::job(row))
        })
        .await
    }

    async fn journal(&self, job: JobId) -> Result<Vec<JournalEntry>, TableError> {
        let job = to_sql("job", job.0)?;
        self.read(move |tx| {
            let sql = "SELECT at, step, text FROM journal WHERE job = ?1 ORDER BY seq";
            rows::all(tx, sql, [job], |_, row| rows::entry(row))
        })
        .await
    }

    async fn duties(&self) -> Result<Vec<Duty>, TableError> {
        self.read(|tx| {
            rows::all(
                tx,
                &format!("{} ORDER BY service, guest", rows::DUTY),
                [],
                rows::duty,
            )
        })
        .await
    }

    async fn fulfil(
        &self,
        service: &ServiceId,
        guest: GuestId,
        generation: Generation,
    ) -> Result<(), TableError> {
        let service = service.clone();
        self.write_and_drop(move |tx| handovers::fulfil(tx, &service, guest, generation))
            .await
    }

    async fn postpone(
        &self,
        service: &ServiceId,
        guest: GuestId,
        generation: Generation,
        serve_until: Millis,
    ) -> Result<(), TableError> {
        let service = service.clone();
        self.write(move |tx| handovers::postpone(tx, &service, guest, generation, serve_until))
            .await
    }

    async fn audit(&self, at: Millis, who: &str, what: &str, decision: &str) -> Result<(), TableError> {
        let (who, what, decision) = (who.to_owned(), what.to_owned(), decision.to_owned());
        self.write(move |tx| {
            let at = to_sql("the time of a request", at)?;
            tx.prepare_cached("INSERT INTO audit (at, who, what, decision) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![at, who, what, decision])?;
            Ok(())
        })
        .await
    }

    async fn decide(&self, decisions: &[Decision]) -> Result<(), TableError> {
        let decisions = decisions.to_vec();
        self.write(move |tx| {
            decisions
                .iter()
                .try_for_each(|decision| batches::decide(tx, decision))
        })
        .await
    }

    async fn last_decision(&self, service: &ServiceId) -> Result<Option<Decision>, TableError> {
        let service = service.clone();
        self.read(move |tx| batches::last_decision(tx, &service)).await
    }

    async fn keep_alarm(&self, alarm: Option<&Alarm>) -> Result<(), TableError> {
        let alarm = alarm.cloned();
        self.write(move |tx| {
            tx.execute("DELETE FROM alarm", [])?;
            if let Some(alarm) = &alarm {
                let text = rows::to_json("an alarm", alarm)?;
                tx.execute("INSERT INTO alarm (id, alarm) VALUES (1, ?1)", [text])?;
            }
            Ok(())
        })
        .await
    }

    async fn alarm(&self) -> Result<Option<Alarm>, TableError> {
        self.read(|tx| {
            rows::first(tx, "SELECT alarm FROM alarm", [], |_, row| {
                rows::from_json("the alarm", &row.get::<_, String>(0)?)
            })
        })
        .await
    }

    async fn end_maintenance(&self, entry: &Maintained) -> Result<bool, TableError> {
        let entry = entry.clone();
        self.write(move |tx| {
            let object = rows::to_json("what is in maintenance", &entry.object)?;
            let kept = rows::to_json("a maintenance", &entry)?;
            let delete = "DELETE FROM maintenance WHERE object = ?1 AND entry = ?2";
            Ok(tx.execute(delete, [object, kept])? > 0)
        })
        .await
    }

    async fn keep_maintenance(&self, object: &Object, entry: Option<&Maintained>) -> Result<(), TableError> {
        let (object, entry) = (object.clone(), entry.cloned());
        self.write(move |tx| {
            let object = rows::to_json("what is in maintenance", &object)?;
            match &entry {
                Some(entry) => {
                    let entry = rows::to_json("a maintenance", entry)?;
                    let insert = "INSERT OR REPLACE INTO maintenance (object, entry) VALUES (?1, ?2)";
                    tx.execute(insert, [object, entry])?
                }
                None => tx.execute("DELETE FROM maintenance WHERE object = ?1", [object])?,
            };
            Ok(())
        })
        .await
    }

    async fn maintenance(&self) -> Result<Vec<Maintained>, TableError> {
        self.read(|tx| {
            rows::all(
                tx,
                "SELECT entry FROM maintenance ORDER BY object",
                [],
                |_, row| rows::from_json("a maintenance", &row.get::<_, String>(0)?),
            )
        })
        .await
    }
}
