//! Standbys: guests where a service's units are installed and its disk is not granted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::guest::CopyState;
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

impl Installed {
    /// What a copy has otherwise than a standby is to have; `links`: how many its bundle has.
    pub fn differs(&self, copy: &CopyState, links: usize) -> Option<String> {
        let links = match self.link {
            Enablement::Enabled => links,
            Enablement::Disabled | Enablement::Masked => 0,
        };
        let masked = copy.enablement == Enablement::Masked;
        if !copy.is_down() || copy.mounted || copy.data_mounted() {
            Some("it runs".to_owned())
        } else if !copy.installed {
            Some("its units are missing or differ".to_owned())
        } else if copy.files_differ {
            Some("its config or secret files are missing or differ".to_owned())
        } else if masked != (self.link == Enablement::Masked) {
            Some("its units are masked, or should be".to_owned())
        } else if usize::try_from(copy.links).is_ok_and(|found| found != links) {
            Some(format!("it has {} links instead of {links}", copy.links))
        } else {
            None
        }
    }
}

/// One standby of one service, as the table has it: its row is there before anything is installed, and goes only after
/// nothing was seen to be left.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Standby {
    /// The service.
    pub service: ServiceId,
    /// The guest.
    pub guest: GuestId,
    /// Its libvirt name when it became one.
    pub guest_name: String,
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
