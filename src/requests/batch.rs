//! Runs a batch: one task begins its members as far as the limits allow, each as a job of its own, and waits for their
//! ends.
//!
//! What is decided and what has ended is in the table before anything goes on from it, so that a daemon that was killed
//! takes a batch up by the same loop: a member with a job is waited for, one without is begun, and a request for a move
//! that is under way already is answered with that move's job.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tracing::Instrument as _;

use super::jobs::{JobView, Shown};
use super::refusal::Refusal;
use super::{MoveOptions, Requests};
use crate::model::batch::{Batch, BatchMember};
use crate::model::ids::{JobId, ServiceId};
use crate::plan::batch::{Progress, Schedule};
use crate::ports::{JobRecord, JournalEntry, TableError};

/// How many names stand in one line for people.
const NAMES: usize = 5;
/// How many failures stand in a job's error; all of them are members of the job.
const FAILURES: usize = 20;
/// First wait before the table is written again that could not be written; doubled up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(200);
/// Longest wait before it is written again.
const LONGEST: Duration = Duration::from_secs(5);

/// What happens to a member.
enum News {
    /// Its job began, or it was refused.
    Begun(usize, Result<JobId, Refusal>),
    /// Only its old copy is left to be looked after.
    PastWork(usize),
    /// Its job ended so.
    Ended(usize, JobRecord),
}

/// One batch under way.
struct Run {
    requests: Arc<Requests>,
    shown: Arc<Shown>,
    record: JobRecord,
    batch: Batch,
    schedule: Schedule,
    progress: Vec<Progress>,
    news: FuturesUnordered<BoxFuture<'static, News>>,
    /// Who cancelled it.
    cancelled: Option<String>,
}

impl Requests {
    /// Takes up every batch that has not ended.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn take_up_batches(self: &Arc<Self>) -> Result<usize, Refusal> {
        let open = self.world.table.unfinished_batches().await?;
        let count = open.len();
        for batch in open {
            if let Some(record) = self.world.table.job(batch.job).await? {
                tracing::info!(job = batch.job.0, guest = record.object, "takes up an unfinished batch");
                let schedule = self.schedule(&batch).await?;
                self.run_batch(batch, record, schedule);
            }
        }
        Ok(count)
    }

    /// Runs a batch in a task of its own.
    pub(super) fn run_batch(self: &Arc<Self>, batch: Batch, record: JobRecord, schedule: Schedule) -> JobId {
        let id = record.id;
        let progress = batch.members.iter().map(stands).collect();
        let view = view_of(&batch, &record, 0.0, true, String::new());
        let run = Run {
            shown: self.jobs.show(view),
            requests: self.clone(),
            record,
            batch,
            schedule,
            progress,
            news: FuturesUnordered::new(),
            cancelled: None,
        };
        let span = tracing::info_span!("batch", id = id.0, guest = run.record.object);
        tokio::spawn(run.to_end().instrument(span));
        id
    }
}

/// Where a member stands that nobody waits for yet.
fn stands(member: &BatchMember) -> Progress {
    match (&member.result, member.job) {
        (Some(_), _) => Progress::Ended,
        (None, Some(_)) => Progress::Working,
        (None, None) => Progress::Waiting,
    }
}

impl Run {
    async fn to_end(mut self) {
        for index in 0..self.batch.members.len() {
            if let (Progress::Working, Some(job)) = (self.progress[index], self.batch.members[index].job) {
                self.news.push(past_work(self.requests.clone(), index, job));
            }
        }
        loop {
            self.begin_what_may().await;
            self.tell();
            if self.news.is_empty() {
                break;
            }
            let shown = self.shown.clone();
            tokio::select! {
                news = self.news.next() => {
                    if let Some(news) = news {
                        self.take(news).await;
                    }
                }
                () = shown.cancelled(), if self.cancelled.is_none() => self.cancel().await,
            }
        }
        self.end().await;
    }
}
