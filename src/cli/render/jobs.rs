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

/// What a job is about: `move web from g1 to g2`, `deploy web to g1`, `stop web on g1`, `move all of g1 to spread`.
pub fn about(job: &Job) -> String {
    let (operation, object) = (clean(&job.operation), clean(&job.object));
    let (source, target) = (clean(&job.source), clean(&job.target));
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

/// Whether it is about all services of a guest.
fn is_batch(job: &Job) -> bool {
    !job.members.is_empty() || job.step == EMPTY || (job.operation == "move" && job.object == job.source)
}

/// The line (or lines) that a batch ends with: a line for each service that is not where it was to be.
fn end_of_batch(job: &Job, took: &str) -> String {
    let (id, source) = (job.id, clean(&job.source));
    if job.members.is_empty() {
        return format!("job {id}: done in {took}: {source} has no service, {EMPTY}");
    }
    let (all, moved) = (
        job.members.len(),
        job.members.iter().filter(|m| m.result == "done").count(),
    );
    if job.result == "done" {
        let services = if all == 1 { "service" } else { "services" };
        return format!("job {id}: done in {took}: {all} {services} moved away from {source}");
    }
    let result = or_dash(Some(&job.result));
    let mut text =
        format!("job {id}: {result} after {took}: {moved} of {all} services moved away from {source}");
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
pub mod tests {
    use super::*;
    use crate::cli::render::services::tests::web;

    /// A job as most tests want it.
    pub fn running() -> Job {
        Job {
            id: 7,
            operation: "move".into(),
            object: "web".into(),
            source: "g1".into(),
            target: "g2".into(),
            started_by: "root".into(),
            started: 1_000_000,
            state: "running".into(),
            step: "stage".into(),
            ..Job::default()
        }
    }

    fn ended(result: &str) -> Job {
        Job {
            result: result.into(),
            state: "finished".into(),
            finished: 1_002_300,
            ..running()
        }
    }

    #[test]
    fn what_a_job_is_about_names_its_places() {
        for (source, target, text) in [
            ("g1", "g2", "move web from g1 to g2"),
            ("", "g1", "move web to g1"),
            ("g1", "", "move web on g1"),
            ("g1", "g1", "move web on g1"),
            ("", "", "move web"),
        ] {
            let job = Job {
                source: source.into(),
                target: target.into(),
                ..running()
            };
            assert_eq!(about(&job), text);
        }
    }

    fn batch(result: &str, results: &[&str]) -> Job {
        let member = |(number, result): (u64, &str)| Member {
            service: format!("s{number}"),
            target: "g2".into(),
            why: "it is the least loaded that fits".into(),
            job: (result != "cancelled").then_some(number),
            result: result.into(),
            details: String::new(),
        };
        Job {
            object: "g1".into(),
            target: "spread".into(),
            members: (8..).zip(results.iter().copied()).map(member).collect(),
            ..ended(result)
        }
    }

    #[test]
    fn a_batch_is_about_all_of_a_guest_and_ends_with_those_that_are_not_where_they_were_to_be() {
        assert_eq!(about(&batch("done", &["done"])), "move all of g1 to spread");
        assert_eq!(about(&batch("done", &[])), "move all of g1 to spread");
        for (job, text) in [
            (
                batch("done", &["done"]),
                "job 7: done in 2.3 s: 1 service moved away from g1",
            ),
            (
                batch("done", &["done", "done"]),
                "job 7: done in 2.3 s: 2 services moved away from g1",
            ),
            (
                batch("done", &[]),
                "job 7: done in 2.3 s: g1 has no service, nothing to do",
            ),
            (
                batch("cancelled", &["done", "cancelled", "stuck"]),
                "job 7: cancelled after 2.3 s: 1 of 3 services moved away from g1\n\
                 job 7: s9 to g2: cancelled\n\
                 job 7: s10 to g2: stuck (job 10)",
            ),
        ] {
            assert_eq!(end(&job, None, 0), text);
        }
    }

    #[test]
    fn the_detail_of_a_batch_lists_its_members() {
        let text = detail(
            &batch("failed", &["done", "failed", ""]),
            &[],
            &[],
            1_010_000,
            Look::default(),
        );
        assert!(text.contains("state:    failed\n"), "{text}");
        assert!(
            text.contains(
                "SERVICE  TO  JOB  STATE    WHY\ns8       g2  8    done     it is the least loaded"
            ),
            "{text}"
        );
        assert!(text.contains("s10      g2  10   running  it is"), "{text}");
    }

    #[test]
    fn a_done_job_tells_where_the_service_is() {
        assert_eq!(
            end(&ended("done"), Some(&web()), 0),
            "job 7: done in 2.3 s: web is on g2 (10.77.0.102), generation 4"
        );
        assert_eq!(end(&ended("done"), None, 0), "job 7: done in 2.3 s");
        let removed = Job {
            operation: "remove".into(),
            ..ended("done")
        };
        assert_eq!(end(&removed, None, 0), "job 7: done in 2.3 s: web is removed");
        let upgraded = Job {
            operation: "upgrade".into(),
            ..ended("done")
        };
        assert_eq!(
            end(&upgraded, Some(&web()), 0),
            "job 7: done in 2.3 s: web is on g2 (10.77.0.102), generation 4, version 1.2"
        );
    }

    #[test]
    fn a_failed_job_tells_step_reason_and_where_the_service_is() {
        let job = Job {
            step: "confirm".into(),
            error_name: "CheckFailed".into(),
            error_details: "port 80 refuses".into(),
            ..ended("failed")
        };
        assert_eq!(
            end(&job, Some(&web()), 0),
            "job 7: failed at confirm after 2.3 s: port 80 refuses (CheckFailed)\n\
             job 7: web is on g2 (10.77.0.102), generation 4"
        );
    }

    #[test]
    fn a_stuck_job_tells_the_ways_out() {
        let text = end(&ended("stuck"), None, 0);
        assert!(text.starts_with("job 7: stuck at stage after 2.3 s\n"), "{text}");
        assert!(text.contains("handoverctl resume 7") && text.contains("handoverctl abandon 7"));
    }

    #[test]
    fn without_the_jobs_own_times_ours_are_told() {
        let job = Job {
            finished: 0,
            ..ended("cancelled")
        };
        assert_eq!(end(&job, None, 400), "job 7: cancelled after 0.4 s");
    }

    #[test]
    fn the_list_tells_step_or_result() {
        let text = list(
            &[
                running(),
                Job {
                    id: 6,
                    ..ended("failed")
                },
            ],
            1_010_000,
            Look::default(),
        );
        assert_eq!(
            text,
            "JOB  OPERATION  OBJECT  FROM  TO  STATE            STARTED   TOOK    BY\n\
             7    move       web     g1    g2  running: stage   10 s ago  10.0 s  root\n\
             6    move       web     g1    g2  failed at stage  10 s ago  2.3 s   root\n"
        );
        assert_eq!(list(&[], 0, Look::default()), "no jobs\n");
    }

    #[test]
    fn the_detail_has_the_journal_with_times() {
        let entry = |at, step: &str, text: &str| JournalEntry {
            at,
            step: step.into(),
            text: text.into(),
        };
        let journal = [
            entry(1_000_000, "reserve", "begun"),
            entry(1_000_400, "stage", "looking -> acting"),
        ];
        let steps = crate::cli::job::step_times(&journal, 999_900);
        let text = detail(&ended("done"), &journal, &steps, 1_010_000, Look::default());
        assert!(text.contains("what:     move web from g1 to g2\n"), "{text}");
        assert!(
            text.contains("STEP     TOOK\nreserve  0.1 s\nstage    0.4 s\n"),
            "{text}"
        );
        assert!(text.contains("+0.4 s  stage    looking -> acting\n"), "{text}");
    }
}
