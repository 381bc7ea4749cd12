//! The configuration: fragments → inputs → settings.
//!
//! ```text
//! handoverd.toml  handoverd.d/*.toml        key files, credentials, host name
//!        |               |                                 |
//!        v               v                                 |
//!    [`reading::fragments`]  texts, in order               |
//!        |                                                 |
//!        v                                                 v
//!    [`inputs`]  one tree, each value with file and line   [`reading::Surroundings`]
//!        |                                                 |
//!        v                                                 |
//!    [`settings()`]  typed, bounded, defaults filled in <--+
//! ```
//!
//! Only [`reading`] touches the world; the rest is pure. Every problem of every file is told at once
//! ([`ConfigError`]), each with its file, line and key.
//!
//! Drop-ins are read after the main file, sorted by file name. A key that comes later wins. A list is replaced as a
//! whole, but the tables of `[[dns.zone]]` and `[[libvirt.host]]` are merged key by key where their `name` is the same;
//! a zone's server changes only where the later table says which one it replaces.

mod balance;
mod describe;
pub mod error;
mod evacuation;
mod guests;
pub mod inputs;
pub mod network;
pub mod reading;
mod rivals;
pub(crate) mod section;
mod settings;
mod zone;

use std::path::Path;

pub use balance::BalanceSettings;
pub use describe::describe;
pub use error::{ConfigError, Place, Problem};
pub use evacuation::{EvacuationSettings, Fence};
pub use guests::GuestLabels;
pub use inputs::Fragment;
pub use network::{MOST_PUBLISHED, Network, publishable_set};
pub use settings::{BusAddress, Deadlines, HostSettings, JobSettings, LogLevel, Settings, settings};
pub use zone::{KeyAlgorithm, KeyOrigin, KeySettings, SecretBytes, ZoneSettings};

/// Where the daemon looks for its configuration unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/handoverd/handoverd.toml";

/// Reads `path` and the drop-ins beside it (`handoverd.toml` → `handoverd.d/*.toml`), the key files that they name,
/// and the machine's host name.
///
/// # Errors
/// Everything that is wrong, in the order of files and lines. Nothing is changed, so it may be called at any time
/// (`handoverd --check-config`).
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let fragments = reading::fragments(path)?;
    settings(&fragments, &reading::Machine)
}
