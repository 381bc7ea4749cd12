//! The manifest of a bundle, `handover.toml`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::ServiceId;
use super::name::{DnsName, SrvSet};
use super::needs::Needs;
use super::unit::UnitName;
use super::volume::DataSpec;

/// What a bundle says about its service. Made by [`crate::bundle`] from `handover.toml`; kept in the table as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Manifest {
    /// The service's id; its bundle is mounted at `/opt/<service>`.
    pub service: ServiceId,
    /// A version for people.
    pub version: String,
    /// The units that are started, stopped and looked at; their files are in `units/`.
    pub units: Vec<UnitName>,
    /// How the guest confirms that the service does its work; `None`: active units are enough.
    pub check: Option<Check>,
    /// The name that points at the service.
    pub dns: Option<DnsEntry>,
    /// The SRV records that stand with that name, label by label; none without a name.
    #[serde(default)]
    pub srv: Vec<SrvSet>,
    /// The user that owns what it writes; its numeric uid must be the same on source and target.
    pub user: Option<String>,
    /// Files of the environment, given at deploy, that are not secret.
    pub config: Vec<EnvironmentFile>,
    /// Files of the environment, given at deploy, that are secret.
    pub secrets: Vec<EnvironmentFile>,
    /// TCP ports it listens on (the check's port included): refused where one is in use on the target.
    pub ports: Vec<u16>,
    /// The data that it keeps; `None`: it has none, or what it writes is left behind.
    #[serde(default)]
    pub data: Option<DataSpec>,
    /// What it asks of the guest that it is placed on; older manifests ask nothing.
    #[serde(default)]
    pub needs: Needs,
    /// Whether two copies may run for a while; `false` moves it break-before-make.
    pub overlap: bool,
    /// Whether it may be moved at all (`false`: bound to its guest).
    pub movable: bool,
}

/// A check, run in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Check {
    /// What is asked.
    pub probe: CheckProbe,
    /// Time from one try to the next.
    pub interval: Duration,
    /// How long all tries together may take before the handover is undone.
    pub timeout: Duration,
    /// How many times in a row it must pass.
    pub successes: u32,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckProbe {
    /// A command with arguments; exit 0 passes.
    Command(Vec<String>),
    /// A TCP connection that is accepted at this address and port.
    Tcp(String, u16),
    /// An `http://` URL that answers with a status 200–399.
    Http(String),
}

/// The name of a service and its TTL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DnsEntry {
    /// Fully qualified.
    pub name: DnsName,
    /// Seconds, 1 to 604800.
    pub ttl: u32,
}

/// A file that the operator gives at deploy and that is written into the guest outside the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EnvironmentFile {
    /// The name by which it is given: `--config name=path`.
    pub name: String,
    /// Absolute path in the guest, outside `/opt/<service>`.
    pub path: String,
    /// Permission bits, such as 0o640.
    pub mode: u32,
    /// Owner's name in the guest.
    pub owner: String,
    /// Group's name in the guest.
    pub group: String,
}

/// A unit file of a bundle, as it is in `units/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UnitFile {
    /// File name, such as `api@.service`.
    pub name: UnitName,
    /// Its text.
    pub text: String,
}

/// The file that defines `unit`: the one of exactly its name, else its template's (systemd.unit(5)).
pub fn file_of<'a>(files: &'a [UnitFile], unit: &UnitName) -> Option<&'a UnitFile> {
    let template = unit.file_name();
    let exact = files.iter().find(|file| file.name == *unit);
    exact.or_else(|| files.iter().find(|file| file.name.as_str() == template))
}
