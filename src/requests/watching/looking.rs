//! What the watcher hears and lists, and one look at all of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::model::ids::{GuestId, HostId};
use crate::ports::{Heartbeat, PortError, Spool, TableError, Watching};
use crate::requests::Requests;
use crate::watch::roll::Listed;
use crate::watch::spool::SpoolFile;

/// What the watcher hears and lists.
#[derive(Clone)]
pub struct Senses {
    /// The hosts.
    pub hosts: Arc<dyn Watching>,
    /// Whether agents live.
    pub agents: Arc<dyn Heartbeat>,
    /// What libvirt's hook has noted on the daemon's own host.
    pub spool: Arc<dyn Spool>,
    /// Whether that host is shutting down.
    pub goes_down: watch::Receiver<bool>,
}

/// What a look at all guests has come to.
pub(super) struct Looked {
    /// Guests with services, and where the table says that they are; those that owe something.
    pub(super) homes: BTreeMap<GuestId, HostId>,
    pub(super) hosts: Vec<(HostId, Result<Vec<Listed>, PortError>)>,
    pub(super) spool: Vec<SpoolFile>,
}

impl Requests {
    /// Looks at all guests, the table and the spool.
    pub(super) async fn look_at_guests(self: Arc<Self>, senses: Senses) -> Result<Looked, TableError> {
        let mut homes = BTreeMap::new();
        for duty in self.world.table.duties().await? {
            homes.insert(duty.guest, self.world.host.clone());
        }
        for service in self.world.table.services().await? {
            homes.insert(service.guest, service.host);
        }
        let hosts = senses.hosts.roll_call().await;
        let spool = senses.spool.read().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "what libvirt's hook has noted is not known");
            Vec::new()
        });
        Ok(Looked { homes, hosts, spool })
    }
}
