//! The rules that the protocol was shown to need, each of which can be switched off.
//!
//! A daemon keeps all of them. The model checker in `tests/model` runs this same code without one of them, and must find
//! what that rule keeps from happening: so every rule is known to be needed, and the checker to see.

/// Which rules are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Protocol {
    /// A target's wants links go before its disk comes: a stopped service is not started by the hot-plug.
    pub unlink_before_give: bool,
    /// What an act returns is not believed: its goal is looked at again.
    pub look_again: bool,
    /// Disks are taken from the persistent definition first, then live: a boot in between brings nothing back.
    pub config_first: bool,
    /// A source is proved dead after its disks were taken from its definitions, not only before.
    pub prove_after_taking: bool,
    /// An undo gives a fenced source its disks back.
    pub return_fenced: bool,
    /// The name is claimed before anything is done, and the commit replaces the claim.
    pub claim: bool,
    /// The service is confirmed again just before the commit.
    pub reconfirm: bool,
    /// An undo that begins after the commit was sent reads the zone first.
    pub settle: bool,
    /// An undo that begins after the commit was sent withdraws it first.
    pub withdraw: bool,
    /// An undo on the source is looked at until the service is up there again.
    pub insist_on_source: bool,
}

impl Protocol {
    /// All rules: what every daemon keeps.
    pub const WHOLE: Self = Self {
        unlink_before_give: true,
        look_again: true,
        config_first: true,
        prove_after_taking: true,
        return_fenced: true,
        claim: true,
        reconfirm: true,
        settle: true,
        withdraw: true,
        insist_on_source: true,
    };

    /// The order in which the halves of a definition lose a disk.
    pub(super) fn taking(self) -> [crate::ports::Half; 2] {
        use crate::ports::Half::{Config, Live};
        if self.config_first {
            [Config, Live]
        } else {
            [Live, Config]
        }
    }
}

impl Default for Protocol {
    fn default() -> Self {
        Self::WHOLE
    }
}
