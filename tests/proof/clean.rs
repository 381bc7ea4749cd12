//! Without faults every kind comes to its end.

use crate::kinds::KINDS;

#[test]
fn every_kind_comes_to_its_end_when_nothing_goes_wrong() {
    for kind in KINDS {
        let (mut simulation, answer) = kind.clean();
        simulation.run(100_000, |inner| !inner.violations.is_empty());
        let violations = simulation.settle();
        let told: Vec<String> = violations.iter().map(ToString::to_string).collect();
        assert!(
            told.is_empty(),
            "{}: {}\n{}",
            kind.name,
            told.join("\n"),
            simulation.story()
        );
        assert!(
            matches!(*answer.lock().unwrap(), Some(Ok(_))),
            "{}: {:?}",
            kind.name,
            answer
        );
        let inner = simulation.shared.lock();
        let results: Vec<_> = inner
            .world
            .tables
            .values()
            .flat_map(|t| t.jobs.values())
            .map(|job| (job.result.clone(), job.error_details.clone()))
            .collect();
        assert_eq!(
            results,
            [(Some("done".to_owned()), String::new())],
            "{}",
            kind.name
        );
        eprintln!("{:<32} {} calls", kind.name, inner.calls);
    }
}

#[test]
#[ignore = "prints a story"]
fn story() {
    let wanted = std::env::var("KIND").unwrap_or_default();
    for kind in KINDS.iter().filter(|k| k.name == wanted) {
        let (mut simulation, _answer) = kind.clean();
        let violations = simulation.settle();
        println!("{violations:?}\n{}", simulation.story());
    }
}
