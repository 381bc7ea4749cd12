//! The table of the protocol: every kind of handover as an ordered list of goals.
//!
//! ```text
//! kind     goals, in order                                                                                            commit
//! deploy   reserve observe                     stage         adopt        start confirm publish record                publish|record
//! move     reserve observe lower* fence* lead* stage quiesce adopt        start confirm publish record drain retire   publish|record
//! replace  reserve observe                     stage quiesce       switch start confirm publish record       retire   publish|record
//! start    reserve observe                                                start confirm         record                record
//! stop     reserve observe                           quiesce                                    record                record
//! remove   reserve observe                                                      unpublish              retire forget  unpublish
//! ```
//! `lower` only where the name's TTL is long. `fence` only where the source seems dead, and `lead` only where the name led
//! clients to it. `quiesce` of a move and `adopt` only where two copies must never run at once:
//! with a data volume, or `overlap = false`. A goal that does not apply to a service (starting a stopped one, publishing
//! one without a name) is passed over: [`applies`].

use serde::{Deserialize, Serialize};

use super::record::Facts;

/// What kind of work a handover does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A new service onto its first guest.
    Deploy,
    /// A service from its guest to another, perhaps with a new bundle.
    Move,
    /// A new bundle on the same guest.
    Replace,
    /// A stopped service is started where it is.
    Start,
    /// A service is stopped where it is.
    Stop,
    /// A service is removed.
    Remove,
}

/// One goal (design section 4). Each has a look, a safe-to-repeat act, and an undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// One handover per service: the row in the table, and the claim in the zone.
    Reserve,
    /// True life state, enablement, addresses and TTL are known and journalled.
    Observe,
    /// Resolvers remember the old addresses for a short time only.
    Lower,
    /// The source's licence is taken from every definition of it, and then it is proved dead.
    Fence,
    /// The name of a dead source leads clients to the target, if the zone does that at once.
    Lead,
    /// The target has the disk (live and config) and the units; nothing is started.
    Stage,
    /// The source is stopped, and its licence to run taken where the target needs it alone.
    Quiesce,
    /// The target has the data volume (live and config).
    Adopt,
    /// The guest's units are those of the new bundle (upgrade in place).
    Switch,
    /// The target's units are up, and linked if enabled.
    Start,
    /// The check passes often enough in a row.
    Confirm,
    /// The name points at the target and says so: the commit.
    Publish,
    /// The name is gone from the zone: the commit of a removal.
    Unpublish,
    /// The service table says so.
    Record,
    /// Resolvers have forgotten the old address.
    Drain,
    /// The source has no trace of the service.
    Retire,
    /// The service table has forgotten the service.
    Forget,
}

impl Goal {
    /// The word for journal, bus and people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Observe => "observe",
            Self::Lower => "lower",
            Self::Fence => "fence",
            Self::Lead => "lead",
            Self::Stage => "stage",
            Self::Quiesce => "quiesce",
            Self::Adopt => "adopt",
            Self::Switch => "switch",
            Self::Start => "start",
            Self::Confirm => "confirm",
            Self::Publish => "publish",
            Self::Unpublish => "unpublish",
            Self::Record => "record",
            Self::Drain => "drain",
            Self::Retire => "retire",
            Self::Forget => "forget",
        }
    }

    /// Whether it is still owed after the commit, and carried on as a duty if it cannot be met now.
    pub fn is_duty(self) -> bool {
        matches!(self, Self::Drain | Self::Retire)
    }
}

/// The goals of a kind, in order.
pub fn goals(kind: Kind) -> &'static [Goal] {
    use Goal::*;
    match kind {
        Kind::Deploy => &[Reserve, Observe, Stage, Adopt, Start, Confirm, Publish, Record],
        Kind::Move => &[
            Reserve, Observe, Lower, Fence, Lead, Stage, Quiesce, Adopt, Start, Confirm, Publish, Record,
            Drain, Retire,
        ],
        Kind::Replace => &[
            Reserve, Observe, Stage, Quiesce, Switch, Start, Confirm, Publish, Record, Retire,
        ],
        Kind::Start => &[Reserve, Observe, Start, Confirm, Record],
        Kind::Stop => &[Reserve, Observe, Quiesce, Record],
        Kind::Remove => &[Reserve, Observe, Unpublish, Retire, Forget],
    }
}

/// Whether a goal applies to this service: a stopped one is never started on the way, one without a name has
/// nothing to publish.
pub fn applies(goal: Goal, kind: Kind, facts: &Facts) -> bool {
    let up = facts.wants_running();
    match goal {
        Goal::Start | Goal::Confirm => up,
        // Where nobody serves, every second counts.
        Goal::Lower => {
            up && !facts.source_dead && !facts.down && facts.was_accessible() && facts.lowering.is_some()
        }
        Goal::Fence => facts.source_dead,
        // Nobody serves: it does not matter whether two copies may run at once.
        Goal::Lead => {
            let leads = facts.lead.is_some() && facts.name.is_some() && !facts.old_addresses.is_empty();
            up && facts.source_dead && facts.was_accessible() && leads
        }
        Goal::Quiesce => match kind {
            Kind::Move => !facts.source_dead && (facts.volume.is_some() || (up && !facts.overlap)),
            _ => true,
        },
        Goal::Adopt => facts.volume.is_some(),
        Goal::Publish => facts.name.is_some(),
        Goal::Drain => {
            up && facts.may_overlap() && !facts.source_dead && facts.name.is_some() && facts.was_accessible()
        }
        Goal::Reserve
        | Goal::Observe
        | Goal::Stage
        | Goal::Switch
        | Goal::Unpublish
        | Goal::Record
        | Goal::Retire
        | Goal::Forget => true,
    }
}

/// The goal that commits: from the moment it holds a handover only goes forward (design section 1).
pub fn commit_goal(kind: Kind, facts: &Facts) -> Goal {
    match kind {
        Kind::Remove => Goal::Unpublish,
        Kind::Deploy | Kind::Move | Kind::Replace if facts.name.is_some() => Goal::Publish,
        Kind::Deploy | Kind::Move | Kind::Replace | Kind::Start | Kind::Stop => Goal::Record,
    }
}
