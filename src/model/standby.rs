//! Standbys: guests where a service's units are installed and its disk is not granted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{Attempt, Digest, GuestId, InvalidId, ServiceId};
use super::life::Enablement;
use super::placement::PlacedFile;

/// How far a standby is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StandbyState {
    /// What is installed there is being made to agree with what it should be; what is there now is not known.
    Changing,
    /// It was seen to be as its row says, and every script that was sent to it before has answered.
    Ready,
    /// It is being uninstalled.
    Dropping,
}

impl StandbyState {
    /// The word used in the table, on the bus and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changing => "changing",
            Self::Ready => "ready",
            Self::Dropping => "dropping",
        }
    }
}

impl fmt::Display for StandbyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StandbyState {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            "changing" => Ok(Self::Changing),
            "ready" => Ok(Self::Ready),
            "dropping" => Ok(Self::Dropping),
            _ => Err(InvalidId::new(
                "state of a standby",
                text,
                "it must be changing, ready or dropping",
            )),
        }
    }
}

/// What a standby of a service is to have installed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Installed {
    /// The bundle of its units.
    pub digest: Digest,
    /// `Enabled`: the arrival of the disk starts it. `Disabled`: it does not. `Masked`: nothing does.
    pub link: Enablement,
    /// Config and secrets.
    pub files: Vec<PlacedFile>,
}

/// One standby of one service, as the table has it: its row is there before anything is installed, and goes only after
/// nothing was seen to be left.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Standby {
    /// The service.
    pub service: ServiceId,
    /// The guest.
    pub guest: GuestId,
    /// What is, or is being, installed there.
    pub installed: Installed,
    /// How far it is.
    pub state: StandbyState,
    /// The number of the scripts that were sent last; 0: a handover has taken it over since.
    pub attempt: Attempt,
}

impl Standby {
    /// Whether exactly this is installed there.
    pub fn is_ready_with(&self, digest: &Digest, files: &[PlacedFile]) -> bool {
        self.state == StandbyState::Ready && self.installed.digest == *digest && self.installed.files == files
    }
}
