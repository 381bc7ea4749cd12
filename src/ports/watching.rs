//! What the watcher of guests needs: hosts that tell what happens, and list what is.

use std::time::Duration;

use async_trait::async_trait;

use super::PortError;
use crate::model::ids::{GuestId, HostId};
use crate::watch::cause::Sign;
use crate::watch::roll::Listed;
use crate::watch::spool::SpoolFile;

/// Something that was told without being asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// This host tells from now on; what happened before was not told: list its guests.
    Connected(HostId),
    /// The connection to this host is gone. It proves nothing about the guests.
    Lost(HostId),
    /// A sign of a guest, from this host.
    Of(HostId, GuestId, Sign),
    /// Some of it came too fast and is lost: list all guests.
    Missed,
}

/// What hosts tell, one after the other.
#[async_trait]
pub trait Listening: Send {
    /// Returns with what is told next; `None`: nothing will be told any more. Dropped while it waits, it loses nothing.
    async fn next(&mut self) -> Option<Heard>;
}

/// Hosts whose guests can be watched.
#[async_trait]
pub trait Watching: Send + Sync {
    /// Listens from now on: to miss nothing, listen first, then list.
    fn listen(&self) -> Box<dyn Listening>;

    /// Every guest of every host, with why it is off; a host that does not answer is an error of its own.
    async fn roll_call(&self) -> Vec<(HostId, Result<Vec<Listed>, PortError>)>;
}

/// Agents of guests that can be heard to live.
#[async_trait]
pub trait Heartbeat: Send + Sync {
    /// Whether the agent of a running guest answers within `deadline`, if only with an error. `Ok(false)` only where it was asked
    /// or is known not to be there; that it could not be asked now is an error, and says nothing.
    async fn pulse(&self, guest: GuestId, deadline: Duration) -> Result<bool, PortError>;
}

/// The folder in which libvirt's hook notes what became of guests on the daemon's own host.
#[async_trait]
pub trait Spool: Send + Sync {
    /// Every file that is there, up to [`crate::watch::spool::MAX_FILES`].
    async fn read(&self) -> Result<Vec<SpoolFile>, PortError>;

    /// Removes files that are not needed any more; one that is gone already is no error.
    async fn remove(&self, names: &[String]) -> Result<(), PortError>;
}
