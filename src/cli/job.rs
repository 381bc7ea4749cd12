//! A job as handoverctl sees it: from its object's properties, or from a row of `ListJobs`.

use serde::Serialize;

use super::proxy::Properties;
use super::rows::{Reader, number_of, text_of};

/// Beginning of a job's object path.
const PATH_PREFIX: &str = "/org/handoverd1/job/";

/// A job. Times are milliseconds since 1970, 0 for "not yet".
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Job {
    /// Its number.
    pub id: u64,
    /// `deploy`, `move`, `upgrade`, `start`, `stop`, `remove`.
    pub operation: String,
    /// What it is about.
    pub object: String,
    /// The source guest's name, or empty.
    pub source: String,
    /// The target guest's name, or empty.
    pub target: String,
    /// Who asked.
    pub started_by: String,
    /// When it began.
    pub started: u64,
    /// When it ended.
    pub finished: u64,
    /// `running` or `finished`.
    pub state: String,
    /// The goal that it is at.
    pub step: String,
    /// What it waits for now, or empty.
    pub waiting: String,
    /// How far it is, 0 to 1; `None` if that is not known.
    pub progress: Option<f64>,
    /// Whether Cancel would be accepted.
    pub cancelable: bool,
    /// How long nobody served, in milliseconds, where it had a gap.
    pub gap_ms: Option<u64>,
    /// Empty while it runs; then `done`, `failed`, `cancelled`, `stuck` or `superseded`.
    pub result: String,
    /// Last part of the error's name, or empty.
    pub error_name: String,
    /// What went wrong, or empty.
    pub error_details: String,
    /// The services of a batch, in order; empty for any other job.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
}

/// One service of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Member {
    /// Its id.
    pub service: String,
    /// The name of the guest that it goes to; empty where none fits.
    pub target: String,
    /// Why there.
    pub why: String,
    /// Its own job, once that has begun.
    pub job: Option<u64>,
    /// Empty while it has not ended; then as a job's result.
    pub result: String,
    /// What went wrong, or empty.
    pub details: String,
}

type MemberRow = (String, String, String, u64, String, String);

fn members(read: &Reader<'_>, key: &str) -> Vec<Member> {
    let rows: Vec<MemberRow> = read.list(key);
    rows.into_iter()
        .map(|(service, target, why, job, result, details)| Member {
            service,
            target,
            why,
            job: (job > 0).then_some(job),
            result,
            details,
        })
        .collect()
}

impl Job {
    /// A job out of all properties of its object.
    pub fn from_properties(properties: &Properties) -> Self {
        let mut job = Self::default();
        job.merge(properties);
        job
    }

    /// Takes over the properties of its object that are given; others stay.
    pub fn merge(&mut self, properties: &Properties) {
        let read = Reader(properties);
        let texts: [(&str, &mut String); 11] = [
            ("Operation", &mut self.operation),
            ("Object", &mut self.object),
            ("Source", &mut self.source),
            ("Target", &mut self.target),
            ("StartedBy", &mut self.started_by),
            ("State", &mut self.state),
            ("Step", &mut self.step),
            ("Waiting", &mut self.waiting),
            ("Result", &mut self.result),
            ("ErrorName", &mut self.error_name),
            ("ErrorDetails", &mut self.error_details),
        ];
        for (key, field) in texts {
            if let Some(text) = properties.get(key).and_then(text_of) {
                *field = text;
            }
        }
        let numbers: [(&str, &mut u64); 3] = [
            ("Id", &mut self.id),
            ("Started", &mut self.started),
            ("Finished", &mut self.finished),
        ];
        for (key, field) in numbers {
            if let Some(number) = properties.get(key).and_then(number_of) {
                *field = number;
            }
        }
        if let Some(flag) = flag(properties, "Cancelable") {
            self.cancelable = flag;
        }
        if let Some(progress) = read.fraction("Progress") {
            self.progress = Some(progress);
        }
        if let Some(gap) = properties.get("GapMs") {
            self.gap_ms = number_of(gap);
        }
        if properties.contains_key("Members") {
            self.members = members(&read, "Members");
        }
        if flag(properties, "ProgressValid") == Some(false) {
            self.progress = None;
        }
        self.shorten_error_name();
    }

    /// Whether nothing more will change (unless a stuck job is resumed).
    pub fn is_finished(&self) -> bool {
        self.state == "finished" || !self.result.is_empty()
    }

    /// How long it took, in milliseconds; `None` while it runs.
    pub fn took(&self) -> Option<u64> {
        (self.finished > 0 && self.started > 0).then(|| self.finished.saturating_sub(self.started))
    }

    fn shorten_error_name(&mut self) {
        if let Some(short) = self.error_name.strip_prefix("org.handoverd1.Error.") {
            self.error_name = short.to_owned();
        }
    }
}

impl From<(u64, Properties)> for Job {
    fn from((id, properties): (u64, Properties)) -> Self {
        let read = Reader(&properties);
        let mut job = Self {
            id,
            operation: read.text("operation"),
            object: read.text("object"),
            source: read.text("source"),
            target: read.text("target"),
            started_by: read.text("started_by"),
            started: read.number("started"),
            finished: read.number("finished"),
            state: read.text("state"),
            step: read.text("step"),
            waiting: read.text("waiting"),
            progress: read.fraction("progress"),
            cancelable: false,
            gap_ms: properties.get("gap_ms").and_then(number_of),
            result: read.text("result"),
            error_name: read.text("error_name"),
            error_details: read.text("error_details"),
            members: members(&read, "members"),
        };
        job.shorten_error_name();
        job
    }
}

fn flag(properties: &Properties, key: &str) -> Option<bool> {
    properties.get(key).and_then(|value| bool::try_from(value).ok())
}

/// The object path of a job.
pub fn path_of(id: u64) -> String {
    format!("{PATH_PREFIX}{id}")
}

/// The number in a job's object path.
pub fn id_of(path: &str) -> Option<u64> {
    path.strip_prefix(PATH_PREFIX)?.parse().ok()
}

/// One entry of a job's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JournalEntry {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The goal that it is about.
    pub step: String,
    /// What happened, was decided or observed.
    pub text: String,
}

/// How long a job was at one goal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepTime {
    /// The goal.
    pub step: String,
    /// Milliseconds.
    pub took_ms: u64,
}

/// The time at each goal. An entry stands at the moment when something was over, so the time since the entry before
/// (for the first one: since `started`, in milliseconds since 1970) belongs to its goal. A goal that was returned to
/// (going back) stands twice; what is no goal (the job's end, an operator's doing, a batch's members) is left out.
pub fn step_times(journal: &[JournalEntry], started: u64) -> Vec<StepTime> {
    let mut times: Vec<StepTime> = Vec::new();
    let mut before = started;
    for entry in journal {
        let took_ms = entry.at.saturating_sub(before);
        before = entry.at;
        if ["", "end", "operator", "batch"].contains(&entry.step.as_str()) {
            continue;
        }
        match times.last_mut().filter(|last| last.step == entry.step) {
            Some(last) => last.took_ms = last.took_ms.saturating_add(took_ms),
            None => times.push(StepTime {
                step: entry.step.clone(),
                took_ms,
            }),
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::Variant;

    fn properties(list: Vec<(&str, Variant<'static>)>) -> Properties {
        list.into_iter()
            .map(|(key, value)| (key.to_owned(), value.try_into().unwrap()))
            .collect()
    }

    #[test]
    fn changed_properties_replace_and_the_others_stay() {
        let mut job = Job::from_properties(&properties(vec![
            ("Id", 7u64.into()),
            ("Step", "stage".into()),
            ("Progress", 0.25.into()),
            ("GapMs", (-1i64).into()),
            ("ProgressValid", true.into()),
            ("Cancelable", true.into()),
        ]));
        assert_eq!(job.gap_ms, None);
        job.merge(&properties(vec![
            ("Step", "start".into()),
            ("GapMs", 430i64.into()),
        ]));
        assert_eq!(job.gap_ms, Some(430));
        assert_eq!((job.id, job.step.as_str(), job.cancelable), (7, "start", true));
        assert_eq!(job.progress, Some(0.25));
        job.merge(&properties(vec![
            ("ProgressValid", false.into()),
            ("Cancelable", false.into()),
        ]));
        assert_eq!((job.progress, job.cancelable), (None, false));
    }

    #[test]
    fn full_error_names_are_shortened() {
        let name = "org.handoverd1.Error.CheckFailed";
        let job = Job::from_properties(&properties(vec![("ErrorName", name.into())]));
        assert_eq!(job.error_name, "CheckFailed");
        let row = Job::from((3, properties(vec![("error_name", name.into())])));
        assert_eq!(row.error_name, "CheckFailed");
    }

    #[test]
    fn a_job_with_a_result_is_finished_even_if_its_state_was_not_told() {
        let mut job = Job {
            state: "running".into(),
            ..Job::default()
        };
        assert!(!job.is_finished());
        job.result = "done".into();
        assert!(job.is_finished());
    }

    #[test]
    fn the_members_of_a_batch_are_read_and_stay_while_other_properties_change() {
        let rows = vec![
            ("web", "g2", "the least loaded", 8u64, "done", ""),
            ("api", "", "no guest fits", 0, "failed", "no guest fits"),
        ];
        let mut job = Job::from_properties(&properties(vec![("Members", rows.clone().into())]));
        assert_eq!(job.members.len(), 2);
        assert_eq!((job.members[0].job, job.members[1].job), (Some(8), None));
        job.merge(&properties(vec![("Step", "2 of 2".into())]));
        assert_eq!(job.members[1].details, "no guest fits");
        let row = Job::from((3, properties(vec![("members", rows.into())])));
        assert_eq!(row.members, job.members);
    }

    #[test]
    fn job_paths_and_numbers_go_both_ways() {
        assert_eq!(id_of(&path_of(42)), Some(42));
        for bad in [
            "/org/handoverd1/job/",
            "/org/handoverd1/service/7",
            "/org/handoverd1/job/x",
        ] {
            assert_eq!(id_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn time_is_counted_per_step_and_a_step_returned_to_stands_twice() {
        let entry = |at, step: &str| JournalEntry {
            at,
            step: step.into(),
            text: String::new(),
        };
        let journal = [
            entry(100, "stage"),
            entry(150, "stage"),
            entry(500, "confirm"),
            entry(900, ""),
            entry(2500, "stage"),
        ];
        let times: Vec<_> = step_times(&journal, 50)
            .into_iter()
            .map(|time| (time.step, time.took_ms))
            .collect();
        assert_eq!(
            times,
            [
                ("stage".into(), 100),
                ("confirm".into(), 350),
                ("stage".into(), 1600)
            ]
        );
        assert!(step_times(&[], 5).is_empty());
    }
}
