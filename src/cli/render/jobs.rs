//! Jobs: what one is about, how it ended, the list, and one in full.

use super::Look;
use super::services::place;
use super::table::{Tone, Word, properties, table};
use super::text::{age, clean, duration, or_dash};
use crate::cli::job::{Job, JournalEntry, Member, StepTime};
use crate::cli::rows::Service;
use crate::model::utc;

/// The step of a batch of a guest without services.
const EMPTY: &str = "nothing to do";

/// The operation that evens out the loads of guests.
const REBALANCE: &str = "rebalance";

/// What a job is about: `move web from g1 to g2`, `deploy web to g1`, `stop web on g1`, `move all of g1 to spread`,
/// `rebalance: g1 and g3 have loads 42 % apart`.
pub fn about(job: &Job) -> String {
    let (operation, object) = (clean(&job.operation), clean(&job.object));
    let (source, target) = (clean(&job.source), clean(&job.target));
    if job.operation == REBALANCE {
        return format!("{operation}: {source} and {target} have {object}");
    }
    if is_batch(job) {
        return format!("{operation} all of {source} to {target}");
    }
    let places = match (source.as_ref(), target.as_ref()) {
        ("", "") => String::new(),
        ("", target) => format!(" to {target}"),
        (source, "") => format!(" on {source}"),
        (source, target) if source == target => format!(" on {source}"),
        (source, target) => format!(" from {source} to {target}"),
    };
    format!("{operation} {object}{places}").trim().to_owned()
}

/// The line (or lines) that a job ends with. `service` is where the service is now, if that is known; `elapsed` is
/// used where the job does not tell its times, in milliseconds.
pub fn end(job: &Job, service: Option<&Service>, elapsed: u64) -> String {
    let took = duration(job.took().unwrap_or(elapsed));
    if is_batch(job) {
        return end_of_batch(job, &took);
    }
    let now = service.map(place);
    match job.result.as_str() {
        "done" => {
            let what = match (job.operation.as_str(), now) {
                ("remove", _) => Some(format!("{} is removed", clean(&job.object))),
                ("upgrade", Some(now)) => {
                    let version = service.map(|service| clean(&service.version)).unwrap_or_default();
                    Some(format!("{now}, version {version}"))
                }
                (_, now) => now,
            };
            let what = what.map(|what| format!(": {what}")).unwrap_or_default();
            format!("job {}: done in {took}{what}{}", job.id, gap(job))
        }
        "cancelled" => {
            let now = now.map(|now| format!(": {now}")).unwrap_or_default();
            format!("job {}: cancelled after {took}{now}", job.id)
        }
        result => {
            let step = match job.step.as_str() {
                "" => String::new(),
                step => format!(" at {}", clean(step)),
            };
            let result = or_dash(Some(result));
            let mut text = format!("job {}: {result}{step} after {took}{}", job.id, why(job));
            if let Some(now) = now {
                text.push_str(&format!("\njob {}: {now}", job.id));
            }
            if result == "stuck" {
                text.push_str(&format!(
                    "\njob {0}: see `handoverctl jobs show {0}`; then `handoverctl resume {0}` tries again, `handoverctl abandon {0}` gives it up",
                    job.id
                ));
            }
            text
        }
    }
}

/// Whether it is about all services of a guest, or about those that even out loads.
fn is_batch(job: &Job) -> bool {
    job.operation == REBALANCE
        || !job.members.is_empty()
        || job.step == EMPTY
        || (job.operation == "move" && job.object == job.source)
}

/// The line (or lines) that a batch ends with: a line for each service that is not where it was to be.
fn end_of_batch(job: &Job, took: &str) -> String {
    let (id, source) = (job.id, clean(&job.source));
    let evens_out = job.operation == REBALANCE;
    let away = if evens_out {
        "to even out loads".to_owned()
    } else {
        format!("away from {source}")
    };
    if job.members.is_empty() && evens_out {
        let (object, target) = (clean(&job.object), clean(&job.target));
        return format!("job {id}: done in {took}: {source} and {target} have {object}; {EMPTY}");
    }
    if job.members.is_empty() {
        return format!("job {id}: done in {took}: {source} has no service, {EMPTY}");
    }
    let (all, moved) = (
        job.members.len(),
        job.members.iter().filter(|m| m.result == "done").count(),
    );
    if job.result == "done" {
        let services = if all == 1 { "service" } else { "services" };
        return format!("job {id}: done in {took}: {all} {services} moved {away}");
    }
    let result = or_dash(Some(&job.result));
    let mut text = format!("job {id}: {result} after {took}: {moved} of {all} services moved {away}");
    for member in job.members.iter().filter(|member| member.result != "done") {
        text.push_str(&format!("\njob {id}: {}", standing_of(member).0));
    }
    text
}

/// `web to g2: failed: port 80 refuses (job 8)`.
fn standing_of(member: &Member) -> Word {
    let mut text = clean(&member.service).into_owned();
    if !member.target.is_empty() {
        text.push_str(&format!(" to {}", clean(&member.target)));
    }
    let (result, tone) = member_result(member);
    text.push_str(&format!(": {result}"));
    if !member.details.is_empty() {
        text.push_str(&format!(": {}", clean(&member.details)));
    }
    if let Some(job) = member.job {
        text.push_str(&format!(" (job {job})"));
    }
    Word::new(text, tone)
}

fn member_result(member: &Member) -> (String, Tone) {
    match (member.result.as_str(), member.job) {
        ("", None) => ("not begun".to_owned(), Tone::Dim),
        ("", Some(_)) => ("running".to_owned(), Tone::Warn),
        ("done", _) => ("done".to_owned(), Tone::Good),
        ("cancelled" | "superseded", _) => (member.result.clone(), Tone::Dim),
        _ => (clean(&member.result).into_owned(), Tone::Bad),
    }
}

fn member_table(members: &[Member], look: Look) -> String {
    let row = |member: &Member| {
        let (result, tone) = member_result(member);
        let why = if member.details.is_empty() {
            &member.why
        } else {
            &member.details
        };
        vec![
            member.service.clone().into(),
            or_dash(Some(&member.target)).into_owned().into(),
            member
                .job
                .map_or_else(|| "-".to_owned(), |job| job.to_string())
                .into(),
            Word::new(result, tone),
            why.clone().into(),
        ]
    };
    table(
        &["SERVICE", "TO", "JOB", "STATE", "WHY"],
        members.iter().map(row).collect(),
        look,
    )
}

/// `, gap in service: 430 ms`, where nobody served for a while.
fn gap(job: &Job) -> String {
    job.gap_ms
        .map(|gap| format!(", gap in service: {gap} ms"))
        .unwrap_or_default()
}

/// `: details (ErrorName)`, as far as the job tells them.
fn why(job: &Job) -> String {
    match (job.error_details.as_str(), job.error_name.as_str()) {
        ("", "") => String::new(),
        ("", name) => format!(": {}", clean(name)),
        (details, "") => format!(": {}", clean(details)),
        (details, name) => format!(": {} ({})", clean(details), clean(name)),
    }
}

/// Where a job stands: its result, or the step it is at.
pub fn standing(job: &Job) -> Word {
    match job.result.as_str() {
        "" if job.step.is_empty() => Word::new("running", Tone::Warn),
        "" => Word::new(format!("running: {}", job.step), Tone::Warn),
        "done" => Word::new("done", Tone::Good),
        "cancelled" | "superseded" => Word::new(&job.result, Tone::Dim),
        "failed" | "stuck" if !job.step.is_empty() && !is_batch(job) => {
            Word::new(format!("{} at {}", job.result, job.step), Tone::Bad)
        }
        other => Word::new(other, Tone::Bad),
    }
}

/// Jobs, one a row; `now` in milliseconds since 1970.
pub fn list(jobs: &[Job], now: u64, look: Look) -> String {
    if jobs.is_empty() {
        return "no jobs\n".to_owned();
    }
    let rows = jobs
        .iter()
        .map(|job| {
            let took = job
                .took()
                .or_else(|| (!job.is_finished() && job.started > 0).then(|| now.saturating_sub(job.started)));
            vec![
                job.id.to_string().into(),
                job.operation.clone().into(),
                job.object.clone().into(),
                or_dash(Some(&job.source)).into_owned().into(),
                or_dash(Some(&job.target)).into_owned().into(),
                standing(job),
                age(now, job.started).into(),
                took.map_or_else(|| "-".to_owned(), duration).into(),
                or_dash(Some(&job.started_by)).into_owned().into(),
            ]
        })
        .collect();
    let header = [
        "JOB",
        "OPERATION",
        "OBJECT",
        "FROM",
        "TO",
        "STATE",
        "STARTED",
        "TOOK",
        "BY",
    ];
    table(&header, rows, look)
}

/// One job in full.
pub fn detail(job: &Job, journal: &[JournalEntry], steps: &[StepTime], now: u64, look: Look) -> String {
    let mut rows = vec![
        ("job", Word::from(job.id.to_string())),
        ("what", about(job).into()),
        ("state", standing(job)),
    ];
    if !job.waiting.is_empty() {
        rows.push(("waits for", job.waiting.clone().into()));
    }
    if let Some(error) = why(job).strip_prefix(": ") {
        rows.push(("error", Word::new(error, Tone::Bad)));
    }
    rows.push(("by", or_dash(Some(&job.started_by)).into_owned().into()));
    rows.push((
        "started",
        format!("{} ({})", utc::show(job.started), age(now, job.started)).into(),
    ));
    match job.took() {
        Some(took) => rows.push((
            "ended",
            format!("{}, after {}", utc::show(job.finished), duration(took)).into(),
        )),
        None if job.cancelable => rows.push(("cancelable", "yes".into())),
        None => {}
    }
    if let Some(gap) = job.gap_ms {
        rows.push(("gap in service", format!("{gap} ms").into()));
    }
    let mut text = properties(rows, look);
    if !job.members.is_empty() {
        text.push('\n');
        text.push_str(&member_table(&job.members, look));
    }
    if !journal.is_empty() {
        if !steps.is_empty() {
            text.push('\n');
            text.push_str(&step_table(steps, look));
        }
        text.push('\n');
        text.push_str(&journal_table(journal, job.started, look));
    }
    text
}

fn step_table(steps: &[StepTime], look: Look) -> String {
    let row = |time: &StepTime| vec![time.step.clone().into(), duration(time.took_ms).into()];
    table(&["STEP", "TOOK"], steps.iter().map(row).collect(), look)
}

fn journal_table(journal: &[JournalEntry], started: u64, look: Look) -> String {
    let origin = if started > 0 {
        started
    } else {
        journal.first().map_or(0, |entry| entry.at)
    };
    let row = |entry: &JournalEntry| {
        vec![
            format!("+{}", duration(entry.at.saturating_sub(origin))).into(),
            or_dash(Some(&entry.step)).into_owned().into(),
            entry.text.clone().into(),
        ]
    };
    table(&["WHEN", "STEP", "WHAT"], journal.iter().map(row).collect(), look)
}

#[cfg(test)]
pub mod tests;
