//! Life states and enablement.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::InvalidId;

/// What a service is doing, as the service table says it (design section 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LifeState {
    /// Its units are down, and are to stay down.
    Stopped,
    /// Up; no name points at it.
    Running,
    /// Up, confirmed, and its name resolves to it.
    Accessible,
    /// It should be up and is not.
    Failed,
}

impl LifeState {
    /// Whether a service in this state is to have its units active after a handover.
    pub fn wants_running(self) -> bool {
        matches!(self, Self::Running | Self::Accessible)
    }

    /// The word used in the table, on the bus and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Accessible => "accessible",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for LifeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LifeState {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            "stopped" => Ok(Self::Stopped),
            "running" => Ok(Self::Running),
            "accessible" => Ok(Self::Accessible),
            "failed" => Ok(Self::Failed),
            _ => Err(InvalidId::new(
                "life state",
                text,
                "it must be stopped, running, accessible or failed",
            )),
        }
    }
}

/// Whether the service starts with its disk, as `systemctl is-enabled` would say of an installed unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Enablement {
    /// The wants link is there whenever the service is wanted running.
    #[default]
    Enabled,
    /// An operator disabled it: no wants link; it runs only because it was started.
    Disabled,
    /// An operator masked it: it cannot be started.
    Masked,
}

impl Enablement {
    /// The word used in the table and by systemd.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Masked => "masked",
        }
    }
}

impl FromStr for Enablement {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            "enabled" => Ok(Self::Enabled),
            "disabled" => Ok(Self::Disabled),
            "masked" => Ok(Self::Masked),
            _ => Err(InvalidId::new(
                "enablement",
                text,
                "it must be enabled, disabled or masked",
            )),
        }
    }
}
