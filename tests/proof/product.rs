//! (a) Every kind x every effect of a clean run x every fault x every weather; and every read x what a read may do.

use handoverd::adapters::sim::call::PortFault;
use handoverd::adapters::sim::ports::applies;

use crate::faults::{At, FAULTS, WEATHERS, Weather, comes_after, mishap};
use crate::kinds::KINDS;
use crate::runs::{self, End};

#[derive(Clone, Copy)]
struct Case {
    kind: usize,
    call: u64,
    fault: Option<PortFault>,
    weather: Weather,
    after: bool,
    what: handoverd::adapters::sim::call::Method,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let when = if self.after { "after" } else { "before" };
        let (kind, fault) = (KINDS[self.kind].name, self.fault);
        write!(
            f,
            "{kind}: call {:>3} {:?} {fault:?}, {when} it {:?}",
            self.call, self.what, self.weather
        )
    }
}

fn run(case: &Case) -> End {
    let plan = vec![(case.call, mishap(case.fault, case.weather, case.after))];
    runs::run(KINDS[case.kind], Box::new(At { plan }))
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, kind) in KINDS.iter().enumerate() {
        for call in runs::trace(*kind) {
            let case = |fault, weather, after| Case {
                kind: index,
                call: call.number,
                fault,
                weather,
                after,
                what: call.method,
            };
            let faults = FAULTS.iter().copied().filter(|f| applies(*f, call.method));
            if !call.method.is_effect() {
                cases.extend(faults.map(|fault| case(Some(fault), Weather::Nothing, false)));
                continue;
            }
            for weather in WEATHERS {
                if weather != Weather::Nothing {
                    cases.push(case(None, weather, false));
                    cases.push(case(None, weather, true));
                }
                let faults = faults.clone();
                cases.extend(faults.map(|fault| case(Some(fault), weather, comes_after(fault))));
            }
        }
    }
    cases
}

#[test]
fn every_invariant_holds_in_the_whole_product_of_kinds_steps_faults_and_weathers() {
    let cases = cases();
    let only = std::env::var("KIND").ok();
    let sample = std::env::var("SAMPLE")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let cases: Vec<Case> = cases
        .into_iter()
        .filter(|case| only.as_ref().is_none_or(|kind| KINDS[case.kind].name == kind))
        .step_by(sample)
        .collect();
    runs::all("product", &cases, run);
}
