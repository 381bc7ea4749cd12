//! The state machine that is shipped, explored exhaustively.

mod answers;
mod cases;
mod explore;
mod judge;
mod life;
mod ports;
mod script;
mod state;

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use cases::{CASES, Case, Rules};
use explore::Space;

/// Explores a configuration; the kinds that were found, with the steps to each.
fn explore(case: Case, rules: Rules) {
    let began = Instant::now();
    let checker = Space::new(case, rules)
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::Any)
        .target_state_count(
            std::env::var("CAP")
                .ok()
                .and_then(|c| c.parse().ok())
                .unwrap_or(50_000_000),
        )
        .spawn_bfs();
    if std::env::var("SHOW").is_ok() {
        while !checker.is_done() {
            std::thread::sleep(std::time::Duration::from_secs(5));
            eprintln!(
                "{} states {} steps depth {} {:.0} s",
                checker.unique_state_count(),
                checker.state_count(),
                checker.max_depth(),
                began.elapsed().as_secs_f64()
            );
        }
    }
    let checker = checker.join();
    let space = checker.model();
    eprintln!(
        "{}: {} states, {} steps, {:.1} s",
        case.name,
        checker.unique_state_count(),
        checker.state_count(),
        began.elapsed().as_secs_f64()
    );
    for (name, path) in checker.discoveries() {
        eprintln!("  * {name}");
        eprintln!("{}", space.story(&path.into_actions()));
    }
    if checker.discoveries().is_empty() {
        if let Some((key, count)) = space.lost() {
            eprintln!("  * no way to a proper end from {count} states");
            eprintln!("{}", space.story(&space.way_to(key)));
            eprintln!("{}", space.beyond(&space.way_to(key)));
        }
    }
}

#[test]
fn every_configuration() {
    let wanted = std::env::var("CASE").unwrap_or_default();
    for case in CASES.iter().filter(|c| wanted.is_empty() || c.name == wanted) {
        explore(*case, Rules::all());
    }
}
