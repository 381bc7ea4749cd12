//! The answers of the planner in words: why this guest, or why none.

use std::fmt;

use super::fit::list;
use super::load::Share;
use crate::model::ids::{GuestId, ServiceId};

/// Why a guest was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It was named in the request.
    Named,
    /// The old copy still serves there.
    Draining,
    /// It is a standby of the service.
    Standby,
    /// Services are there that this one must be with.
    Together(Vec<ServiceId>),
    /// The lot fell on it.
    Random {
        /// To draw the same lots again.
        seed: u64,
    },
    /// It has the lowest score of those that fit.
    LeastLoaded,
    /// No guest that fits has got fewer services of this batch.
    Spread {
        /// How many it had got before.
        before: u32,
    },
}

impl Reason {
    /// A stable word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Draining => "draining",
            Self::Standby => "standby",
            Self::Together(_) => "affinity",
            Self::Random { .. } => "random",
            Self::LeastLoaded => "least-loaded",
            Self::Spread { .. } => "spread",
        }
    }
}

/// A guest that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The guest.
    pub guest: GuestId,
    /// Why.
    pub reason: Reason,
    /// Its score before this service came.
    pub before: Share,
    /// Its score with this service, those that were placed there before it included.
    pub after: Share,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Named => f.write_str("it was named")?,
            Reason::Draining => f.write_str("the old copy still serves there")?,
            Reason::Standby => f.write_str("the service is installed there as a standby")?,
            Reason::Together(with) => {
                write!(f, "it must be on the guest of {}", list(with))?;
            }
            Reason::Random { seed } => write!(f, "the lot fell on it (random:{seed})")?,
            Reason::LeastLoaded => f.write_str("it is the least loaded that fits")?,
            Reason::Spread { before: 0 } => f.write_str("it has got no service of this batch yet")?,
            Reason::Spread { before } => write!(f, "it has got only {before} of this batch so far")?,
        }
        write!(f, "; load {}, then {}", self.before, self.after)
    }
}

/// Why a service has no target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoHome {
    /// Its manifest has `movable = false`.
    Bound,
    /// It is frozen: why.
    Frozen(String),
    /// A handover of it is under way: to which guest.
    Busy(String),
    /// It must, and must not, be on one guest with another.
    Contradiction(ServiceId, ServiceId),
    /// No guest fulfils every condition; [`super::placement::Placements::explain`] tells why of each.
    NoneFits,
}

impl NoHome {
    /// A stable word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Frozen(_) => "frozen",
            Self::Busy(_) => "busy",
            Self::Contradiction(..) => "contradiction",
            Self::NoneFits => "none-fits",
        }
    }
}

impl fmt::Display for NoHome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound => f.write_str("it is bound to its guest (`movable = false` in its manifest)"),
            Self::Frozen(why) => write!(f, "it is frozen ({why}); resume or abandon its stuck job first"),
            Self::Busy(guest) => write!(
                f,
                "it is on its way to {guest} already; wait for that job, or cancel it"
            ),
            Self::Contradiction(a, b) => write!(
                f,
                "by their manifests {a} and {b} must be on one guest and must not be; change affinity or anti_affinity of one"
            ),
            Self::NoneFits => f.write_str("no guest fits"),
        }
    }
}

/// A question that cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// A service that the table does not have.
    #[error("there is no service {0}; `handoverctl services` lists them")]
    NoSuchService(ServiceId),
    /// A target that no host has.
    #[error("there is no guest {0}; `handoverctl guests` lists them")]
    NoSuchGuest(GuestId),
}
