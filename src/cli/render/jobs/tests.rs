//! Jobs as people read them.

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
fn an_evening_out_of_loads_tells_how_far_they_were_apart_and_who_has_moved() {
    let evens_out = |object: &str, result: &str, results: &[&str]| Job {
        operation: "rebalance".into(),
        object: object.into(),
        target: "g3".into(),
        ..batch(result, results)
    };
    let job = evens_out("loads 42 % apart", "done", &["done", "done"]);
    assert_eq!(about(&job), "rebalance: g1 and g3 have loads 42 % apart");
    assert_eq!(
        end(&job, None, 0),
        "job 7: done in 2.3 s: 2 services moved to even out loads"
    );
    assert_eq!(
        end(
            &evens_out("loads 42 % apart", "failed", &["done", "failed"]),
            None,
            0
        ),
        "job 7: failed after 2.3 s: 1 of 2 services moved to even out loads\njob 7: s9 to g2: failed (job 9)"
    );
    let job = evens_out("loads 12 % apart, which is close enough", "done", &[]);
    assert_eq!(
        end(&job, None, 0),
        "job 7: done in 2.3 s: g1 and g3 have loads 12 % apart, which is close enough; nothing to do"
    );
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
        text.contains("SERVICE  TO  JOB  STATE    WHY\ns8       g2  8    done     it is the least loaded"),
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
