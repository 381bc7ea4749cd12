//! What must be found when a rule is switched off: the counterexamples of the protocol's model on paper.

use handoverd::handover::protocol::{Protocol, Rule};

use super::cases::{Case, Rules, UNLOCKED};
use super::judge::Kind::{self, EveryGuestBoots, NeverTwoWriters, NeverZero, OneTruth, StoppedStaysStopped};

/// A rule that is switched off.
pub struct Off {
    /// Its name in the model on paper.
    pub name: &'static str,
    /// What is left of the rules.
    pub rules: Rules,
    /// Where something is to be found, and what.
    pub found: Vec<(Case, &'static [Kind])>,
    /// The same, behind so many steps that it is searched for depth first: a search in breadth ended before it came there.
    pub deep: Vec<(Case, &'static [Kind])>,
    /// The same, where no fault is needed: it is searched for where nothing goes wrong.
    pub calm: Vec<(Case, &'static [Kind])>,
    /// Where nothing is to be found, though the rule is off.
    pub clean: Vec<Case>,
    /// Where no invariant is broken, but from some states no way leads to a proper end.
    pub lost: Vec<Case>,
}

impl Off {
    /// The same with cases that are searched depth first.
    fn and_deep(self, deep: &[(&str, &'static [Kind])]) -> Self {
        Self {
            deep: named(deep),
            ..self
        }
    }

    /// The same with cases that are searched where nothing goes wrong.
    fn and_calm(self, calm: &[(&str, &'static [Kind])]) -> Self {
        Self {
            calm: named(calm),
            ..self
        }
    }
}

fn named(cases: &[(&str, &'static [Kind])]) -> Vec<(Case, &'static [Kind])> {
    let all = cases.iter();
    all.map(|(case, kinds)| (*Case::named(case), *kinds)).collect()
}

fn daemon(rule: Rule) -> Rules {
    Rules {
        protocol: Protocol::without(rule),
        ..Rules::all()
    }
}

fn world(change: impl FnOnce(&mut Rules)) -> Rules {
    let mut rules = Rules::all();
    change(&mut rules);
    rules
}

fn off(name: &'static str, rules: Rules, found: &[(&str, &'static [Kind])]) -> Off {
    Off {
        name,
        rules,
        found: named(found),
        deep: Vec::new(),
        calm: Vec::new(),
        clean: Vec::new(),
        lost: Vec::new(),
    }
}

/// Every rule that the model on paper has.
pub fn all() -> Vec<Off> {
    vec![
        off(
            "linklate",
            daemon(Rule::LinkLate),
            &[("stopped, B is standby", &[StoppedStaysStopped])],
        ),
        off(
            "databound",
            world(|rules| rules.world.bound_to_data = false),
            &[
                ("volume", &[NeverTwoWriters]),
                ("no name + volume", &[NeverTwoWriters]),
                ("evacuation + volume", &[NeverTwoWriters]),
                ("two coordinators, volume", &[NeverTwoWriters]),
            ],
        ),
        conffirst(),
        Off {
            name: "conffirst, and no second look",
            rules: Rules {
                protocol: Protocol::without(Rule::ConfigFirst).also_without(Rule::LookAgain),
                ..Rules::all()
            },
            ..off(
                "",
                Rules::all(),
                &[("plain accessible", &[OneTruth]), ("volume", &[OneTruth])],
            )
        },
        Off {
            found: vec![(UNLOCKED, &[NeverTwoWriters])],
            ..off("fencecheck", daemon(Rule::FenceCheck), &[])
        },
        off(
            "fenceundo",
            daemon(Rule::FenceUndo),
            &[("evacuation", &[OneTruth]), ("evacuation, stopped", &[OneTruth])],
        ),
        off(
            "abortcas",
            daemon(Rule::AbortSwap),
            &[
                ("plain accessible", &[NeverZero, OneTruth]),
                ("stopped", &[OneTruth]),
            ],
        ),
        off(
            "claim",
            Rules {
                reservations: false,
                ..daemon(Rule::Claim)
            },
            &[],
        )
        .and_deep(&[("two coordinators", &[NeverZero, OneTruth])])
        .and_calm(&[
            ("two coordinators, volume", &[OneTruth, EveryGuestBoots]),
            ("two coordinators, no name", &[OneTruth]),
        ]),
        byuuid(),
        off(
            "attempt",
            world(|rules| rules.world.attempts = false),
            &[("plain accessible", &[OneTruth]), ("no name", &[OneTruth])],
        ),
        reconfirm(),
        off(
            "desired",
            world(|rules| rules.desired = false),
            &[("accessible, unit disabled", &[NeverZero])],
        ),
        off(
            "settle",
            daemon(Rule::Settle),
            &[("plain accessible", &[NeverZero, OneTruth])],
        )
        .and_deep(&[("volume", &[OneTruth])]),
        off(
            "srcundo",
            daemon(Rule::SourceUndo),
            &[("volume", &[OneTruth]), ("no name + volume", &[OneTruth])],
        ),
    ]
}

/// Nothing is found without `conffirst` alone: the machine looks again at both halves after every act, and so takes once
/// more what a boot in between has brought back. The model on paper believes its effects; so does the machine without
/// the rule `LookAgain`, and then the same counterexamples are found.
fn conffirst() -> Off {
    Off {
        clean: vec![*Case::named("plain accessible")],
        ..off("conffirst", daemon(Rule::ConfigFirst), &[])
    }
}

/// Where the model on paper believes that a guest which left its host is rid of the service, the machine owes a duty until
/// that guest's agent says so. Nothing of it is lost from sight, so no invariant is broken; but the duty is never met.
fn byuuid() -> Off {
    let migrate = [
        "A live-migrated away",
        "A live-migrated, volume",
        "false death (A migrated)",
    ];
    Off {
        lost: migrate.map(|case| *Case::named(case)).to_vec(),
        ..off("byuuid", world(|rules| rules.world.by_uuid = false), &[])
    }
}

/// Nothing is found without `reconfirm` alone, as in the model on paper: where the target's copy goes down between its
/// confirmation and the commit, it comes back by itself, or by the rule `desired`; and it can go down just after the
/// commit all the same. The rule makes the time in which that happens short.
fn reconfirm() -> Off {
    Off {
        clean: vec![*Case::named("plain accessible")],
        ..off("reconfirm", daemon(Rule::Reconfirm), &[])
    }
}
