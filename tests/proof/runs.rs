//! Runs cases on all processors, and tells which broke an invariant.

use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use handoverd::adapters::sim::call::{Call, Director};
use handoverd::adapters::sim::check::Violation;
use handoverd::adapters::sim::daemon::Simulation;

use crate::faults::Tracer;
use crate::kinds::Kind;

/// How a case ended.
#[derive(Debug, Clone)]
pub struct End {
    pub violations: Vec<Violation>,
    pub resumed: u32,
    pub result: String,
    pub story: String,
}

/// Runs what was asked to its end, and the world to rest.
pub fn to_rest(mut simulation: Simulation, asked: impl Fn() -> bool) -> End {
    simulation.run(600_000, |inner| {
        asked() || inner.calls > 0 && inner.world.tables.values().any(|t| !t.jobs.is_empty())
    });
    let violations = simulation.settle();
    let result = {
        let inner = simulation.shared.lock();
        let jobs = inner.world.tables.values().flat_map(|t| t.jobs.values());
        jobs.last()
            .and_then(|job| job.result.clone())
            .unwrap_or_else(|| "refused".to_owned())
    };
    let story = if violations.is_empty() {
        String::new()
    } else {
        simulation.story()
    };
    End {
        violations,
        resumed: simulation.resumed,
        result,
        story,
    }
}

/// Asks for a kind under this director, and runs to rest.
pub fn run(kind: Kind, director: Box<dyn Director>) -> End {
    let (simulation, answer) = kind.begin(director);
    to_rest(simulation, || answer.lock().unwrap().is_some())
}

/// Every call of a clean run.
pub fn trace(kind: Kind) -> Vec<Call> {
    let calls = std::sync::Arc::new(Mutex::new(Vec::new()));
    let end = run(kind, Box::new(Tracer(calls.clone())));
    assert!(end.violations.is_empty(), "{}: {:?}", kind.name, end.violations);
    let calls = calls.lock().unwrap();
    calls.clone()
}

/// Runs all cases; fails with the first few that broke something, each with its story.
pub fn all<C: Debug + Sync>(what: &str, cases: &[C], run: impl Fn(&C) -> End + Sync) {
    let (next, broken) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let results = Mutex::new(std::collections::BTreeMap::<String, u64>::new());
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut mine = std::collections::BTreeMap::<String, u64>::new();
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let end = run(case);
                    *mine.entry(end.result.clone()).or_default() += 1;
                    if end.resumed > 0 {
                        *mine.entry("resumed by an operator".to_owned()).or_default() += 1;
                    }
                    if !end.violations.is_empty() {
                        broken.lock().unwrap().push((format!("{case:?}"), end));
                    }
                }
                let mut results = results.lock().unwrap();
                for (result, count) in mine {
                    *results.entry(result).or_default() += count;
                }
            });
        }
    });
    let mut broken = broken.into_inner().unwrap();
    broken.sort_by(|a, b| a.0.cmp(&b.0));
    println!(
        "{what}: {} cases in {:.1} s, {} broke an invariant; {:?}",
        cases.len(),
        begun.elapsed().as_secs_f64(),
        broken.len(),
        results.into_inner().unwrap()
    );
    if broken.is_empty() {
        return;
    }
    let mut kinds = std::collections::BTreeMap::<String, (usize, String, String)>::new();
    for (case, end) in &broken {
        let first = end
            .violations
            .first()
            .map(ToString::to_string)
            .unwrap_or_default();
        let entry = kinds
            .entry(first)
            .or_insert_with(|| (0, case.clone(), end.story.clone()));
        entry.0 += 1;
    }
    let limit = std::env::var("STORIES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(3);
    for (index, (violation, (count, case, story))) in kinds.iter().enumerate() {
        println!("\n{violation}\n   in {count} cases, first {case}");
        if index < limit {
            println!("{story}");
        }
    }
    panic!(
        "{what}: {} of {} cases broke an invariant",
        broken.len(),
        cases.len()
    );
}
