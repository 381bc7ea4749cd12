//! The rules of the protocol by name, so that a test can take one away and see the proof fail.
//!
//! The shipped protocol keeps every rule, and nothing in the daemon makes another one. A rule that stands outside the
//! handover is switched off where it stands: `attempt` in the guest script, `databound` in the unit files, `byuuid` in the
//! adapter (see `adapters::sim::world::WorldRules`).

use super::goals::{self, Goal, Kind};

/// A rule, with its name in the protocol's model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The wants links are made when the target is started, not when it is staged (`linklate`).
    LinkLate,
    /// Taking a disk: from the persistent definition first, then from the live one (`conffirst`).
    ConfigFirst,
    /// A source is proved dead after its disks were taken from its definitions (`fencecheck`).
    FenceCheck,
    /// An undo gives a fenced source its disks back (`fenceundo`).
    FenceUndo,
    /// Going back, a message that may have been sent is withdrawn by a swap (`abortcas`).
    AbortSwap,
    /// A name is claimed before anything is done, and the commit expects the claim (`claim`).
    Claim,
    /// A confirmation that is not fresh is asked again before the commit (`reconfirm`).
    Reconfirm,
    /// Once a message may have been sent, the zone is read before anything else is decided (`settle`).
    Settle,
    /// The undo on the source is never skipped (`srcundo`).
    SourceUndo,
    /// That a message is about to be sent is journalled before it is.
    JournalSent,
    /// A script that was not answered is superseded before an undo ends.
    Supersede,
    /// A source is retired by the duty that the commit makes, and not before.
    RetireByDuty,
    /// A source that is asleep is not taken for one that is off.
    Asleep,
    /// What resolvers remember by the TTL before is waited out before a lowered one counts.
    WaitLowered,
    /// The message that gives a claim back leads clients back as well.
    LeadBack,
    /// A drain's time begins when every server of the zone gives the new data.
    AskServers,
    /// What an act returned is not believed: its goal is looked at again.
    LookAgain,
}

/// Which goals there are, and which rules are kept.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    goals: fn(Kind) -> &'static [Goal],
    without: [Option<Rule>; 2],
}

impl Default for Protocol {
    /// The shipped one.
    fn default() -> Self {
        Self {
            goals: goals::goals,
            without: [None; 2],
        }
    }
}

impl Protocol {
    /// The shipped goals without one rule: for tests.
    pub fn without(rule: Rule) -> Self {
        Self {
            without: [Some(rule), None],
            ..Self::default()
        }
    }

    /// All rules over other goals: for tests.
    pub fn with_goals(goals: fn(Kind) -> &'static [Goal]) -> Self {
        Self {
            goals,
            ..Self::default()
        }
    }

    /// Without this rule as well: for tests.
    pub fn also_without(self, rule: Rule) -> Self {
        let [first, _] = self.without;
        Self {
            without: [first, Some(rule)],
            ..self
        }
    }

    /// The goals of a kind, in order.
    pub fn goals(self, kind: Kind) -> &'static [Goal] {
        (self.goals)(kind)
    }

    /// The index of a goal in its kind's list.
    pub fn index_of(self, kind: Kind, goal: Goal) -> Option<usize> {
        self.goals(kind).iter().position(|g| *g == goal)
    }

    /// Whether a rule is kept.
    pub fn keeps(self, rule: Rule) -> bool {
        !self.without.contains(&Some(rule))
    }
}
