//! A cancel at every moment of every kind: unwound before the commit, refused after it, and never both in turn.

use handoverd::adapters::sim::call::Clean;
use handoverd::model::ids::JobId;

use crate::kinds::KINDS;
use crate::runs::{self, End};

#[derive(Debug)]
struct Case {
    kind: usize,
    after: u64,
}

fn run(case: &Case) -> End {
    let (mut simulation, answer) = KINDS[case.kind].begin(Box::new(Clean));
    simulation.run(600_000, |inner| inner.calls > case.after);
    drop(
        simulation.request(|requests| async move {
            requests.jobs.cancel(JobId(1), "test").await.map(|()| JobId(1))
        }),
    );
    runs::to_rest(simulation, || answer.lock().unwrap().is_some())
}

#[test]
fn a_cancel_may_come_at_any_moment() {
    let mut cases = Vec::new();
    for (index, kind) in KINDS.iter().enumerate() {
        let calls = runs::trace(*kind);
        cases.extend(calls.iter().map(|call| Case {
            kind: index,
            after: call.number,
        }));
    }
    runs::all("cancel at any moment", &cases, run);
}
