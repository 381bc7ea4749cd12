//! (d) Three generic tests over every effect of every kind: repeat each action, fail each action, repeat each undo.

use handoverd::adapters::sim::call::{Call, Method, Mishap, PortFault};
use handoverd::adapters::sim::ports::applies;

use crate::faults::{At, Weather, mishap};
use crate::kinds::{KINDS, Kind};
use crate::runs::{self, End};

/// A kind, and what goes wrong at which calls.
#[derive(Debug, Clone)]
struct Case {
    #[expect(dead_code, reason = "it is for people who read of a case")]
    kind: &'static str,
    index: usize,
    faults: Vec<(u64, PortFault)>,
}

fn plan(case: &Case) -> Vec<(u64, Mishap)> {
    let at = |(call, fault): &(u64, PortFault)| (*call, mishap(Some(*fault), Weather::Nothing, false));
    case.faults.iter().map(at).collect()
}

fn run(case: &Case) -> End {
    runs::run(KINDS[case.index], Box::new(At { plan: plan(case) }))
}

fn cases(faults: &[PortFault]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, kind) in KINDS.iter().enumerate() {
        for call in runs::trace(*kind)
            .into_iter()
            .filter(|call| call.method.is_effect())
        {
            let apply = faults.iter().filter(|fault| applies(**fault, call.method));
            cases.extend(apply.map(|fault| Case {
                kind: kind.name,
                index,
                faults: vec![(call.number, *fault)],
            }));
        }
    }
    cases
}

#[test]
fn each_action_may_be_repeated() {
    let repeats = [PortFault::Twice, PortFault::LoseAnswer, PortFault::KillAfter];
    runs::all("repeat each action", &cases(&repeats), |case| {
        let end = run(case);
        // A script's answer is waited for as long as its goal may take, and a killed daemon may not have begun.
        let done = end.result == "done" || !case.faults.iter().any(|(_, f)| *f == PortFault::Twice);
        assert!(done, "{case:?} ended as {}", end.result);
        end
    });
}

#[test]
fn each_action_may_fail() {
    let failures = [
        PortFault::Unavailable,
        PortFault::Refuse,
        PortFault::Hang,
        PortFault::KillBefore,
    ];
    runs::all("fail each action", &cases(&failures), run);
}

/// Calls whose refusal turns a handover back late: the check, and the effect just before the commit.
fn turning_points(calls: &[Call]) -> Vec<u64> {
    let check = calls.iter().find(|call| call.method == Method::Check);
    let swap = calls.iter().rfind(|call| call.method == Method::Swap);
    let give = calls.iter().rfind(|call| call.method == Method::Give);
    let act = calls.iter().rfind(|call| call.method == Method::Act);
    let all = [check, swap, give, act].into_iter().flatten();
    all.map(|call| call.number).collect()
}

fn undone(kind: Kind, turn: u64) -> Vec<Call> {
    let calls = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    struct Turn(u64, std::sync::Arc<std::sync::Mutex<Vec<Call>>>);
    impl handoverd::adapters::sim::call::Director for Turn {
        fn decide(&mut self, call: &Call, _world: &handoverd::adapters::sim::world::SimWorld) -> Mishap {
            self.1.lock().unwrap().push(*call);
            let fault = (call.number == self.0).then_some(PortFault::Refuse);
            mishap(fault, Weather::Nothing, false)
        }
    }
    let end = runs::run(kind, Box::new(Turn(turn, calls.clone())));
    assert!(end.violations.is_empty(), "{}: {:?}", kind.name, end.violations);
    let calls = calls.lock().unwrap();
    calls.iter().filter(|call| call.number > turn).copied().collect()
}

#[test]
fn each_undo_may_be_repeated_and_may_fail() {
    let faults = [
        PortFault::Twice,
        PortFault::LoseAnswer,
        PortFault::Unavailable,
        PortFault::Hang,
        PortFault::Late(6_000),
        PortFault::KillBefore,
        PortFault::KillAfter,
    ];
    let mut cases = Vec::new();
    for (index, kind) in KINDS.iter().enumerate() {
        for turn in turning_points(&runs::trace(*kind)) {
            for call in undone(*kind, turn)
                .into_iter()
                .filter(|call| call.method.is_effect())
            {
                let apply = faults.iter().filter(|fault| applies(**fault, call.method));
                cases.extend(apply.map(|fault| Case {
                    kind: kind.name,
                    index,
                    faults: vec![(turn, PortFault::Refuse), (call.number, *fault)],
                }));
            }
        }
    }
    runs::all("repeat each undo", &cases, run);
}
