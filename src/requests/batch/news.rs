//! What happens to the members of a batch.

use crate::model::ids::JobId;
use crate::ports::JobRecord;
use crate::requests::Requests;
use crate::requests::evacuation::NextHome;
use crate::requests::refusal::Refusal;

/// What happens to a member.
pub(super) enum News {
    /// Its job began, or it was refused.
    Begun(usize, Result<JobId, Refusal>),
    /// The service is on its target; only the old copy is left to be looked after.
    PastWork(usize),
    /// Its job ended so.
    Ended(usize, JobRecord),
    /// Where it goes after its target has failed.
    Again(usize, Result<NextHome, Refusal>),
}

impl Requests {
    /// Waits for what comes next of a member's job. `past_work`: that it is past its work is known.
    pub(super) async fn news_of(&self, index: usize, job: JobId, past_work: bool) -> News {
        if let Some(mut view) = self.jobs.watch(job) {
            // Where the job is not shown any more, its last view tells its end.
            let seen = view
                .wait_for(|view| view.record.result.is_some() || (!past_work && view.is_past_work()))
                .await
                .map(|view| view.clone());
            let seen = seen.unwrap_or_else(|_| view.borrow().clone());
            return match seen.record.result {
                Some(_) => News::Ended(index, seen.record),
                None => News::PastWork(index),
            };
        }
        let lost = |why: String| JobRecord {
            id: job,
            operation: String::new(),
            object: String::new(),
            source: String::new(),
            target: String::new(),
            started_by: String::new(),
            started: 0,
            finished: None,
            result: Some("failed".to_owned()),
            error_name: "Internal".to_owned(),
            error_details: why,
        };
        let record = match self.world.table.job(job).await {
            Ok(Some(record)) if record.result.is_some() => record,
            Ok(_) => lost(format!(
                "job {job} does not run any more; see `handoverctl jobs show {job}`"
            )),
            Err(error) => lost(error.to_string()),
        };
        News::Ended(index, record)
    }
}
