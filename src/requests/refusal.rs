//! Why a request is refused: nothing was begun, nothing was changed.

use crate::handover::record::Reason;
use crate::handover::world::StepError;
use crate::model::ids::{InvalidId, JobId};
use crate::model::obstacle::Obstacle;
use crate::plan::decided::PlanError;
use crate::ports::{Fault, PortError, TableError};

/// A refused request. Its name is the last part of the D-Bus error name `org.handoverd1.Error.…`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No service has this id.
    #[error("no service is called {0:?}; `handoverctl services` lists them")]
    NoSuchService(String),
    /// Neither a service nor a guest is called so.
    #[error(
        "{0:?} is neither a service nor a guest; `handoverctl services` and `handoverctl guests` list them"
    )]
    NoSuchObject(String),
    /// No guest has this name, UUID or address.
    #[error("no guest has the name, UUID or address {0:?}; `handoverctl guests` lists them")]
    NoSuchGuest(String),
    /// More than one guest answers to it.
    #[error("{0:?} is more than one guest ({1}); give the UUID")]
    AmbiguousGuest(String, String),
    /// No bundle is meant by it.
    #[error(
        "no bundle is known as {0:?}; `handoverctl bundle list` lists them, `handoverctl bundle register` adds one"
    )]
    NoSuchBundle(String),
    /// More than one bundle is meant by it.
    #[error("{0:?} is more than one bundle; give more digits of its digest")]
    AmbiguousBundle(String),
    /// No such job.
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    /// The target is where it is.
    #[error("{0}")]
    AlreadyThere(String),
    /// The service is deployed.
    #[error("service {0} is deployed already; use `handoverctl upgrade`")]
    AlreadyDeployed(String),
    /// A service has no guest to go to.
    #[error("{0}")]
    NoGuestFits(String),
    /// The manifests of a batch's services ask for an order that does not exist.
    #[error("{0}")]
    NoOrder(String),
    /// No plan of this id is kept.
    #[error("there is no plan {0} (any more); make one with `handoverctl plan`")]
    NoSuchPlan(String),
    /// The plan is not any more what it was.
    #[error("plan {0} cannot be begun: {1}; make a new one with `handoverctl plan`")]
    PlanOutdated(String, String),
    /// Nothing was decided about the service.
    #[error("nothing was decided about service {0} yet: it is where it was deployed")]
    NoDecision(String),
    /// Its manifest says `movable = false`.
    #[error("service {0} is bound to its guest: its manifest says movable = false")]
    NotMovable(String),
    /// Another job has the service.
    #[error("{0}")]
    Busy(String),
    /// A stuck handover froze it.
    #[error(
        "service {0} is frozen: {1}; see `handoverctl jobs`, then `handoverctl resume JOB` or `handoverctl abandon JOB`"
    )]
    Frozen(String, String),
    /// The target will not do.
    #[error("guest {0} will not do: {1}")]
    Unsuitable(String, String),
    /// An argument is wrong.
    #[error("{0}")]
    InvalidArgument(String),
    /// The image is no bundle.
    #[error("{0}")]
    BadBundle(String),
    /// The image is not what the caller says it is.
    #[error(
        "the bundle's sha256 is {found}, and not {expected} as was said; it was cut or changed on its way: send it again"
    )]
    DigestMismatch {
        /// As the caller said.
        expected: String,
        /// As it is.
        found: String,
    },
    /// The bundle is of another service.
    #[error("bundle {0} is of service {1}, not of {2}")]
    WrongService(String, String, String),
    /// The pool has no room.
    #[error("{0}")]
    PoolRefused(String),
    /// The name is outside all configured zones.
    #[error("{0} is in no configured zone; add a [[dns.zone]] for it to the daemon's configuration")]
    NameOutsideZones(String),
    /// A guest has the service's data volume already.
    #[error(
        "the data volume of {0} is in use: {1}; take it away there first (virsh detach-disk), nothing was changed"
    )]
    VolumeInUse(String, String),
    /// Another service has the name.
    #[error("the name {0} belongs to service {1}")]
    NameTaken(String, String),
    /// The caller may not.
    #[error("{0}")]
    NotAuthorized(String),
    /// The job cannot be cancelled any more.
    #[error("{0}")]
    NotCancelable(String),
    /// The job is not stuck.
    #[error("job {0} is not stuck: {1}")]
    NotStuck(JobId, String),
    /// Something that was needed did not answer.
    #[error("{0}")]
    Unavailable(String),
    /// The table failed.
    #[error("{0}")]
    Storage(String),
}

impl Refusal {
    /// The last part of the D-Bus error name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoSuchService(_) => "NoSuchService",
            Self::NoSuchObject(_) => "NoSuchObject",
            Self::NoSuchGuest(_) => "NoSuchGuest",
            Self::AmbiguousGuest(..) => "AmbiguousGuest",
            Self::NoSuchBundle(_) => "NoSuchBundle",
            Self::AmbiguousBundle(_) => "AmbiguousBundle",
            Self::NoSuchJob(_) => "NoSuchJob",
            Self::AlreadyThere(_) => "AlreadyThere",
            Self::AlreadyDeployed(_) => "AlreadyDeployed",
            Self::NoGuestFits(_) => "NoGuestFits",
            Self::NoOrder(_) => "NoOrder",
            Self::NoSuchPlan(_) => "NoSuchPlan",
            Self::PlanOutdated(..) => "PlanOutdated",
            Self::NoDecision(_) => "NoDecision",
            Self::NotMovable(_) => "NotMovable",
            Self::Busy(_) => "Busy",
            Self::Frozen(..) => "Frozen",
            Self::Unsuitable(..) => "Unsuitable",
            Self::InvalidArgument(_) => "InvalidArgument",
            Self::BadBundle(_) => "BadBundle",
            Self::DigestMismatch { .. } => "DigestMismatch",
            Self::WrongService(..) => "WrongService",
            Self::PoolRefused(_) => "PoolRefused",
            Self::NameOutsideZones(_) => "NameOutsideZones",
            Self::VolumeInUse(..) => "VolumeInUse",
            Self::NameTaken(..) => "NameTaken",
            Self::NotAuthorized(_) => "NotAuthorized",
            Self::NotCancelable(_) => "NotCancelable",
            Self::NotStuck(..) => "NotStuck",
            Self::Unavailable(_) => "Unavailable",
            Self::Storage(_) => "Storage",
        }
    }

    /// Whether another target may do where this one does not.
    pub fn is_of_target(&self) -> bool {
        matches!(
            self,
            Self::Unsuitable(..) | Self::NoSuchGuest(_) | Self::Unavailable(_)
        )
    }

    /// A target with these obstacles.
    pub fn unsuitable(guest: &str, obstacles: &[Obstacle]) -> Self {
        let texts: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
        Self::Unsuitable(guest.to_owned(), texts.join("; "))
    }
}

impl From<TableError> for Refusal {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Busy { .. } => Self::Busy(error.to_string()),
            TableError::Conflict(_) | TableError::Storage(_) => Self::Storage(error.to_string()),
        }
    }
}

impl From<PlanError> for Refusal {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Place(_) => Self::InvalidArgument(error.to_string()),
            PlanError::Batch(_) => Self::NoOrder(error.to_string()),
        }
    }
}

impl From<PortError> for Refusal {
    fn from(error: PortError) -> Self {
        match error.fault {
            Fault::Refused | Fault::Unavailable | Fault::Unknown => Self::Unavailable(error.message),
        }
    }
}

impl From<StepError> for Refusal {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Refused(Reason { name, text }) if name == "NoSuchBundle" => Self::NoSuchBundle(text),
            StepError::Refused(reason) => Self::Unavailable(reason.text),
            StepError::Failed(text) => Self::Unavailable(text),
        }
    }
}

impl From<InvalidId> for Refusal {
    fn from(error: InvalidId) -> Self {
        Self::InvalidArgument(error.to_string())
    }
}
