//! The state machine that is shipped, explored exhaustively.
//!
//! `stateright` runs the daemon's own code (the driver with its looks, acts and transitions, duties, requests) over the
//! simulator's world, one port call at a time, and lets everything else happen in between that can: a call is refused,
//! loses its answer or arrives late; the daemon is killed; guests die, boot and reboot; somebody migrates or cancels;
//! time passes. What each file has:
//!
//! - [`cases`]: the configurations; [`rules`]: what is to be found without a rule
//! - [`life`]: daemons that go on by one call; [`script`], [`ports`], [`answers`]: how
//! - [`state`]: states in their normal form; [`facts`]: what a handover knows and nobody asks for; [`twins`]: two daemons that
//!   are the same by another name; [`judge`]: what is broken in one
//! - [`steps`], [`explore`]: every step from a state; [`order`]: which of them first, where their order makes no difference;
//!   [`ways`]: whether from everywhere a way leads to a proper end
//!
//! **Where a daemon stops.** Before every effect, and before the first reading after one; all readings in between are one
//! step. So anything can happen between a look and the act that follows from it, and between an act and the look at what
//! it did. What happens between two readings of one group is not explored by itself: the same happens before the group and
//! behind it. So is what an act reads before its first effect: it is of the same moment as the look before it. A table's
//! transactions that others see are effects; its other calls are made at once, for nothing else reads what they change.
//!
//! **What a restart forgets** is explored as what it is: the journal alone is left.
//!
//! **How many faults there are** is not limited, as in the model on paper: every kind of fault can befall every call, and
//! everything around can happen at any moment, any number of times. As there, one message is late at a time, and none where
//! two coordinators race. **Time** is on paper only what makes a silent agent be skipped: here too a silence, the stopping of
//! a guest without its licence, and a source that starts again are over once they were waited for one time. `make model`
//! explores besides how they pass, or do not, by steps of their own, at any moment: many more states.
//!
//! **Every run of the tests** explores all eighteen configurations whole, three of them with two coordinators, and finds every
//! counterexample without a rule. `CASE=name` and `WITHOUT=rule` choose one, `SHOW=1` tells how far it is, `STORY=1` what was found.
//! Stories of two daemons with a table each may call either of them c1: see [`twins`].
//!
//! **What is not explored.** Where two coordinators race their readings do not fail by themselves, and no message is late, as on
//! paper; both happen in `tests/proof`.

#![cfg(test)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::large_enum_variant,
    clippy::match_same_arms,
    reason = "a failing test is to say where, and states are looked at more often than they are moved"
)]

mod answers;
mod cases;
mod explore;
mod facts;
mod judge;
mod life;
mod order;
mod ports;
mod rules;
mod script;
mod state;
mod steps;
mod twins;
mod ways;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mimalloc::MiMalloc;
use stateright::{Checker, HasDiscoveries, Model};

use cases::{CASES, Case, Rules, UNLOCKED};
use explore::Space;
use judge::Kind;

/// Each step is a daemon of its own with ports and futures: a third of the time went into getting and giving back their memory.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// A configuration without a rule is explored for this many steps at most until what is to be found is found.
const ENOUGH: usize = 3_000_000;

/// In which order states are explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    /// Those that are near to the beginning first: stories are short.
    Broad,
    /// As far as a way leads, then the next one: what lies behind many steps is found within [`ENOUGH`] of them.
    Deep,
    /// Those that are near first, of those to which steps lead that are no faults: a part of the whole.
    Calm,
}

/// What an exploration came to.
struct Explored {
    /// Kinds of what is broken somewhere, with the story of how it came about.
    broken: Vec<(&'static str, String)>,
    /// The story of a state from which no way leads to a proper end.
    lost: Option<String>,
}

/// Explores a configuration whole, or until all of `wanted` is found.
fn explore(case: Case, rules: Rules, without: &str, wanted: &[Kind], search: Search) -> Explored {
    let began = Instant::now();
    let wanted: BTreeSet<&'static str> = wanted.iter().map(|kind| kind.name()).collect();
    let whole = wanted.is_empty();
    let space = match search {
        Search::Calm => Space::new(case, rules).without_faults(),
        Search::Broad | Search::Deep => Space::new(case, rules),
    };
    let mut builder = space
        .checker()
        .threads(std::thread::available_parallelism().map_or(2, usize::from));
    builder = match whole {
        true => builder.finish_when(HasDiscoveries::Any),
        false => builder
            .finish_when(HasDiscoveries::AllOf(wanted))
            .target_state_count(ENOUGH),
    };
    match search {
        Search::Broad | Search::Calm => end(builder.spawn_bfs(), case, without, whole, began),
        Search::Deep => end(builder.spawn_dfs(), case, without, whole, began),
    }
}

fn end(checker: impl Checker<Space>, case: Case, without: &str, whole: bool, began: Instant) -> Explored {
    while std::env::var("SHOW").is_ok() && !checker.is_done() {
        eprintln!(
            "  {} states, {} steps",
            checker.unique_state_count(),
            checker.state_count()
        );
        std::thread::sleep(Duration::from_secs(5));
    }
    let checker = checker.join();
    let space = checker.model();
    let broken: Vec<_> = checker
        .discoveries()
        .into_iter()
        .map(|(name, path)| (name, space.story(&path.into_actions())))
        .collect();
    let lost = match whole && broken.is_empty() {
        true => space.lost().map(|(key, count)| {
            let way = space.way_to(key);
            format!(
                "no way to a proper end from {count} states, such as\n{}",
                space.story(&way)
            )
        }),
        false => None,
    };
    let mut found: Vec<&str> = broken.iter().map(|(name, _)| *name).collect();
    found.sort_unstable();
    println!(
        "{without:<12} {:<42} {:>7} states {:>8} steps {:>6.1} s  {}",
        case.name,
        checker.unique_state_count(),
        checker.state_count(),
        began.elapsed().as_secs_f64(),
        found.join(", ")
    );
    Explored { broken, lost }
}

fn holds(case: Case, rules: Rules, without: &str) {
    let Explored { broken, lost } = explore(case, rules, without, &[], Search::Broad);
    let mut stories: Vec<String> = broken
        .into_iter()
        .map(|(name, story)| format!("{name}:\n{story}"))
        .collect();
    stories.extend(lost);
    assert!(stories.is_empty(), "{}: {}", case.name, stories.join("\n\n"));
}

/// Chosen by the environment while one works on it: `CASE`, `WITHOUT`; `SHOW` tells how far it is, `STORY` what was found.
fn is_chosen(variable: &str, name: &str) -> bool {
    std::env::var(variable).map_or(true, |chosen| chosen == name)
}

fn every(cases: impl Iterator<Item = &'static Case>, rules: Rules) {
    for case in cases.filter(|case| is_chosen("CASE", case.name)) {
        holds(*case, rules, "");
    }
}

#[test]
fn every_configuration_keeps_every_invariant_and_leads_to_a_proper_end() {
    every(CASES.iter(), Rules::all());
}

/// Where nothing is to be found without a rule, a configuration is explored whole.
#[test]
fn without_each_rule_the_counterexamples_of_the_model_are_found() {
    for off in rules::all()
        .into_iter()
        .filter(|off| is_chosen("WITHOUT", off.name))
    {
        let is_meant = |case: &Case| is_chosen("CASE", case.name);
        let found = off.found.iter().map(|found| (found, Search::Broad));
        let deep = off.deep.iter().map(|found| (found, Search::Deep));
        let calm = off.calm.iter().map(|found| (found, Search::Calm));
        let all = found.chain(deep).chain(calm);
        for ((case, wanted), search) in all.filter(|((case, _), _)| is_meant(case)) {
            let found = explore(*case, off.rules, off.name, wanted, search);
            for kind in *wanted {
                let story = found.broken.iter().find(|(name, _)| *name == kind.name());
                let (_, story) = story
                    .unwrap_or_else(|| panic!("without {}, {kind} is not broken in {}", off.name, case.name));
                if std::env::var("STORY").is_ok() {
                    println!("{story}");
                }
            }
        }
        for case in off.clean.iter().filter(|case| is_meant(case)) {
            holds(*case, off.rules, off.name);
        }
        for case in off.lost.iter().filter(|case| is_meant(case)) {
            let Explored { broken, lost } = explore(*case, off.rules, off.name, &[], Search::Broad);
            let found: Vec<_> = broken.iter().map(|(name, _)| *name).collect();
            let told = format!("without {}, {}: {found:?}", off.name, case.name);
            assert!(
                found.is_empty() && lost.is_some(),
                "{told}, and a proper end from everywhere"
            );
        }
    }
}

#[test]
#[ignore = "explores for hours: `make model`"]
fn with_time_that_passes_at_any_moment_every_invariant_is_kept_too() {
    let rules = Rules {
        waits: true,
        ..Rules::all()
    };
    every(CASES.iter().chain([&UNLOCKED]), rules);
}
