//! What is told of a batch: its view, its journal, its end.

use std::time::Duration;

use crate::handover::world::World;
use crate::model::batch::{Batch, BatchMember, NO_SINGLE_GUEST};
use crate::model::ids::JobId;
use crate::ports::{JobRecord, JournalEntry, TableError};
use crate::requests::jobs::JobView;

/// How many names stand in one line for people.
const NAMES: usize = 5;
/// How many failures stand in a job's error; all of them are told by its members.
const FAILURES: usize = 20;

/// First wait before the table is written again that could not be written; doubled up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(200);
/// Longest wait before it is written again.
const LONGEST: Duration = Duration::from_secs(5);

/// An entry of a batch's journal.
pub(super) fn entry(world: &World, step: &str, text: &str) -> JournalEntry {
    JournalEntry {
        at: world.clock.now(),
        step: step.to_owned(),
        text: text.to_owned(),
    }
}

/// The batch as those who watch see it; `progress` tells how far a member's job is.
pub(super) fn view_of(
    batch: &Batch,
    record: &JobRecord,
    progress: &dyn Fn(JobId) -> Option<f64>,
    cancelable: bool,
) -> JobView {
    let all = batch.members.len();
    let ended = batch
        .members
        .iter()
        .filter(|member| member.result.is_some())
        .count();
    let shares = batch
        .members
        .iter()
        .map(|member| match (&member.result, member.job) {
            (Some(_), _) => 1.0,
            (None, Some(job)) => progress(job).unwrap_or(0.0),
            (None, None) => 0.0,
        });
    let whole = u32::try_from(all.max(1)).unwrap_or(u32::MAX);
    JobView {
        record: record.clone(),
        step: match all {
            0 => "nothing to do".to_owned(),
            all => format!("{ended} of {all}"),
        },
        waiting: waiting(batch),
        progress: if all == 0 {
            1.0
        } else {
            shares.sum::<f64>() / f64::from(whole)
        },
        cancelable,
        gap: None,
        members: batch.members.clone(),
    }
}

/// Which services are on their way.
fn waiting(batch: &Batch) -> String {
    let going = |member: &&BatchMember| member.job.is_some() && member.result.is_none();
    let names: Vec<&str> = batch
        .members
        .iter()
        .filter(going)
        .map(|m| m.service.as_str())
        .collect();
    let shown = names.get(..NAMES.min(names.len())).unwrap_or_default().join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// `web to g2`.
pub(super) fn told(member: &BatchMember) -> String {
    match member.target_name.as_str() {
        "" => member.service.to_string(),
        target => format!("{} to {target}", member.service),
    }
}

/// How a batch ended: its result, and the error's name and text.
pub(super) fn outcome(
    batch: &Batch,
    record: &JobRecord,
    cancelled: Option<&str>,
) -> (&'static str, Option<(&'static str, String)>) {
    let open: Vec<&BatchMember> = batch.members.iter().filter(|member| !member.is_done()).collect();
    if open.is_empty() {
        return ("done", None);
    }
    let tell = |member: &&BatchMember| {
        let result = member.result.as_deref().unwrap_or_default();
        match member.details.as_str() {
            "" => format!("{}: {result}", told(member)),
            details => format!("{}: {result}: {details}", told(member)),
        }
    };
    let told: Vec<String> = open.iter().take(FAILURES).map(tell).collect();
    let more = match open.len().saturating_sub(FAILURES) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let of = match batch.guest {
        NO_SINGLE_GUEST => String::new(),
        _ => format!(" of {}", record.object),
    };
    let list = format!(
        "{} of {} services{of} were not moved: {}{more}",
        open.len(),
        batch.members.len(),
        told.join("; ")
    );
    match cancelled {
        Some(who) => (
            "cancelled",
            Some(("Cancelled", format!("cancelled by {who}: {list}"))),
        ),
        None => ("failed", Some(("Incomplete", list))),
    }
}

/// Nothing goes on without the table: what cannot be written is written again until it can.
pub(super) async fn keep_trying<F, W>(world: &World, write: F)
where
    F: Fn() -> W,
    W: Future<Output = Result<(), TableError>>,
{
    let mut wait = FIRST;
    while let Err(error) = write().await {
        tracing::warn!(%error, "the batch cannot be written");
        if !matches!(error, TableError::Storage(_)) {
            return;
        }
        world.clock.sleep(wait).await;
        wait = wait.saturating_mul(2).min(LONGEST);
    }
}
