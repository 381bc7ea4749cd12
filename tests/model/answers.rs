//! Answers of ports as values that can be kept and given again.

use std::net::IpAddr;

use handoverd::handover::record::{Duty, Handover};
use handoverd::model::grant::GrantFile;
use handoverd::model::guest::{AgentInfo, CopyState, GuestDomain, ProbeReport};
use handoverd::model::ids::{Attempt, JobId};
use handoverd::model::name::NameRecords;
use handoverd::model::service::ServiceRecord;
use handoverd::ports::{Fault, JobRecord, PortError, Swapped, TableError};

/// Why a call failed, without the words for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    Port(Fault),
    Busy(JobId),
    Conflict,
    Storage,
}

/// What a port answered.
pub type Kept<T> = Result<T, Failure>;

/// A value that a port answers with.
pub trait Keep: Sized {
    fn into_answer(kept: Kept<Self>) -> Answer;
    fn from_answer(answer: &Answer) -> Option<Kept<Self>>;
}

macro_rules! answers {
    ($($variant:ident($kind:ty)),* $(,)?) => {
        /// One answer of any port.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Answer {
            $($variant(Kept<$kind>)),*
        }

        $(impl Keep for $kind {
            fn into_answer(kept: Kept<Self>) -> Answer {
                Answer::$variant(kept)
            }

            fn from_answer(answer: &Answer) -> Option<Kept<Self>> {
                match answer {
                    Answer::$variant(kept) => Some(kept.clone()),
                    _ => None,
                }
            }
        })*
    };
}

answers! {
    Done(()),
    Holds(bool),
    Domain(Option<GuestDomain>),
    Domains(Vec<GuestDomain>),
    Image(Option<(String, u64)>),
    Path(String),
    Agent(AgentInfo),
    Addresses(Vec<IpAddr>),
    Probe(ProbeReport),
    Copy(CopyState),
    Check(Result<(), String>),
    Name(NameRecords),
    Swapped(Swapped),
    Service(Option<ServiceRecord>),
    Services(Vec<ServiceRecord>),
    Begun(Handover),
    Handover(Option<Handover>),
    Handovers(Vec<Handover>),
    Attempt(Attempt),
    Job(Option<JobRecord>),
    Duties(Vec<Duty>),
    Grants(Vec<GrantFile>),
    Authorities(Vec<(String, Kept<NameRecords>)>),
}

impl Failure {
    /// As a hypervisor, a guest or a name server tells it.
    pub fn port(self) -> PortError {
        PortError {
            fault: match self {
                Self::Port(fault) => fault,
                _ => Fault::Unavailable,
            },
            message: String::new(),
        }
    }

    /// As a table tells it.
    pub fn table(self, service: &str) -> TableError {
        match self {
            Self::Busy(job) => TableError::Busy {
                service: service.parse().unwrap(),
                job,
                kind: "another operation",
            },
            Self::Conflict => TableError::Conflict(String::new()),
            Self::Port(_) | Self::Storage => TableError::Storage(String::new()),
        }
    }
}

impl From<&PortError> for Failure {
    fn from(error: &PortError) -> Self {
        Self::Port(error.fault)
    }
}

impl From<&TableError> for Failure {
    fn from(error: &TableError) -> Self {
        match error {
            TableError::Busy { job, .. } => Self::Busy(*job),
            TableError::Conflict(_) => Self::Conflict,
            TableError::Storage(_) => Self::Storage,
        }
    }
}
