//! Simulated clusters that files describe: for `handoverd --sim SCENARIO`, and for `tests/scenarios`.
//!
//! ```text
//! SCENARIO/cluster.toml     hosts, guests, services, zone          [`cluster`]
//! SCENARIO/handoverd.toml   the daemon's configuration, optional   [`crate::config`]
//! ```
//!
//! SCENARIO may also be the path of a `cluster.toml` by itself. Every problem is told with its file, line and key.

mod cluster;

use std::path::{Path, PathBuf};

use super::daemon::all_addresses;
use super::world::SimWorld;
use crate::assembly::Terms;
use crate::config::reading::{self, Surroundings};
use crate::config::{self, ConfigError, Fragment, Settings};
use crate::model::ids::HostId;

/// The buses on which a simulated daemon may be offered where its configuration names none; the first that is set.
const BUSES: [&str; 2] = ["HANDOVERD_BUS", "DBUS_SYSTEM_BUS_ADDRESS"];

/// A simulated cluster as its file describes it, before anything has happened.
pub struct Scenario {
    /// The world.
    pub world: SimWorld,
    /// The host of the daemon.
    pub own: HostId,
    /// How many of its seconds pass in a real one.
    pub speed: u32,
    /// The folder of its files.
    folder: PathBuf,
}

impl Scenario {
    /// Reads a folder with a `cluster.toml`, or such a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of lines.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = if path.is_dir() {
            path.join("cluster.toml")
        } else {
            path.to_owned()
        };
        let fragment = reading::one(&file)?;
        let cluster = cluster::read(fragment)?;
        Ok(Self {
            world: cluster.world,
            own: cluster.own,
            speed: cluster.speed,
            folder: file.parent().map(Path::to_owned).unwrap_or_default(),
        })
    }

    /// The settings of its daemon: those of `configuration`, or of the `handoverd.toml` beside its cluster if there is one, or the
    /// defaults. Where none says otherwise, the daemon is offered on the bus of `HANDOVERD_BUS`, else that of
    /// `DBUS_SYSTEM_BUS_ADDRESS`, else on the session bus: never by mistake where a real one is.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub fn settings(&self, configuration: Option<&Path>) -> Result<Settings, ConfigError> {
        let bus = BUSES.iter().find_map(|name| std::env::var(name).ok());
        let bus = toml::Value::from(bus.unwrap_or_else(|| "session".to_owned()));
        let mut fragments = vec![Fragment {
            path: "--sim".into(),
            text: format!("bus = {bus}\n"),
        }];
        let beside = self.folder.join("handoverd.toml");
        match configuration {
            Some(path) => fragments.extend(reading::fragments(path)?),
            None if beside.exists() => fragments.extend(reading::fragments(&beside)?),
            None => {}
        }
        let settings = config::settings(&fragments, &Simulated { own: &self.own })?;
        if !self.world.hosts.contains_key(&settings.host) {
            return Err(ConfigError::of(
                configuration.map_or(beside, Path::to_owned),
                "host",
                format!(
                    "{} is no host of the simulated cluster; leave the key out, or name one of {}",
                    settings.host,
                    super::words::hosts(&self.world)
                ),
            ));
        }
        Ok(settings)
    }

    /// What its daemon keeps to. Where no networks are configured, a guest publishes its addresses, whatever they are.
    pub fn terms(&self, settings: &Settings) -> Terms {
        let mut terms = Terms::of(settings);
        if settings.networks.is_empty() {
            terms.address_rule = all_addresses();
        }
        terms
    }
}

/// A machine by the name of the daemon's host.
struct Simulated<'s> {
    own: &'s HostId,
}

impl Surroundings for Simulated<'_> {
    fn host_name(&self) -> Result<String, String> {
        Ok(self.own.to_string())
    }

    fn key_file(&self, path: &Path) -> Result<String, String> {
        reading::Machine.key_file(path)
    }

    fn credential(&self, name: &str) -> Result<String, String> {
        reading::Machine.credential(name)
    }
}
