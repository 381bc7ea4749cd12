//! libvirt, on every configured host: the [`Hypervisor`] port, the events, and the raw way to guest agents.
//!
//! ```text
//!               +-- control   looks, attach, detach      4 calls at once
//! LibvirtHosts -+-- agent     guest agent commands       4 at once, 1 for each guest
//!               +-- pulse     whether agents live        4 at once
//!  (each host)  +-- transfer  images                     1 at once
//!               +-- events    its own thread, reconnects by itself
//! ```
//!
//! Connections are made when they are needed and again when they are found dead; a host that cannot be reached is an
//! `Unavailable` error that names it, never a reason not to start.

mod agent_channel;
mod domain_xml;
mod events;
mod failure;
mod ffi;
mod gauges;
mod grants;
mod host;
mod hotplug;
mod image_pool;
mod images;
mod link;
mod look;
mod volumes;
mod watching;

use std::fs::File;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::broadcast;

pub use agent_channel::LONGEST_COMMAND;
pub use events::{EventKind, HostEvent};
#[cfg(target_env = "gnu")]
pub use ffi::share_one_heap;
pub use host::{HostConfig, Timeouts};
pub use link::Keepalive;

use crate::model::disk::{DiskSerial, GuestDisk};
use crate::model::grant::{Grant, GrantFile};
use crate::model::guest::{GuestDomain, GuestSummary};
use crate::model::ids::{Digest, GuestId, HostId, ServiceId};
use crate::ports::{Half, Hypervisor, PortError};
use events::Listener;
use host::{AgentQueue, Host};

/// Every configured host, by libvirt.
pub struct LibvirtHosts {
    hosts: Vec<Host>,
    agents: AgentQueue,
    events: broadcast::Sender<HostEvent>,
    // Dropped with the hosts, which ends their threads.
    _listeners: Vec<Listener>,
}

impl LibvirtHosts {
    /// Takes control of `hosts` and begins to listen to their events. Returns at once: the hosts need not be
    /// reachable yet. To be called before anything else in the process opens a libvirt connection.
    ///
    /// `Refused` if there is no host, if two have one name, or if threads cannot be started.
    pub fn connect(hosts: Vec<HostConfig>, timeouts: Timeouts) -> Result<Self, PortError> {
        if hosts.is_empty() {
            return Err(PortError::refused(
                "no host is configured; name at least one with its libvirt URI",
            ));
        }
        for (index, host) in hosts.iter().enumerate() {
            if hosts.iter().skip(index + 1).any(|other| other.id == host.id) {
                return Err(PortError::refused(format!(
                    "host {} is configured twice",
                    host.id
                )));
            }
        }
        ffi::start_event_loop()
            .map_err(|why| PortError::refused(format!("libvirt cannot be used: {why}")))?;
        let (events, _) = broadcast::channel(events::BACKLOG);
        let listeners = hosts
            .iter()
            .map(|host| {
                Listener::start(
                    host.id.clone(),
                    host.uri.clone(),
                    timeouts.keepalive,
                    events.clone(),
                )
            })
            .collect::<Result<_, _>>()
            .map_err(|error| PortError::refused(format!("no thread for libvirt's events: {error}")))?;
        Ok(Self {
            hosts: hosts.into_iter().map(|host| Host::new(host, timeouts)).collect(),
            agents: AgentQueue::default(),
            events,
            _listeners: listeners,
        })
    }

    /// What happens on the hosts from now on. To miss nothing, subscribe first, then list all guests; list again after
    /// every [`EventKind::Connected`] and when the receiver says that it has lagged.
    pub fn events(&self) -> broadcast::Receiver<HostEvent> {
        self.events.subscribe()
    }

    fn host(&self, id: &HostId) -> Result<&Host, PortError> {
        self.hosts
            .iter()
            .find(|host| host.id == *id)
            .ok_or_else(|| PortError::refused(format!("host {id} is not configured")))
    }

    /// Asks all hosts at the same time.
    async fn on_every_host<'a, T, F, A>(&'a self, ask: A) -> Vec<(&'a Host, T)>
    where
        A: Fn(&'a Host) -> F,
        F: Future<Output = T>,
    {
        join_all(self.hosts.iter().map(|host| {
            let answer = ask(host);
            async move { (host, answer.await) }
        }))
        .await
    }
}

#[async_trait]
impl Hypervisor for LibvirtHosts {
    fn hosts(&self) -> Vec<HostId> {
        self.hosts.iter().map(|host| host.id.clone()).collect()
    }

    async fn guests(&self) -> Vec<Result<GuestSummary, (HostId, PortError)>> {
        let mut all = Vec::new();
        for (host, answer) in self.on_every_host(Host::list).await {
            match answer {
                Ok(guests) => all.extend(guests.into_iter().map(Ok)),
                Err(error) => all.push(Err((host.id.clone(), error))),
            }
        }
        all
    }

    async fn inspect(&self, guest: GuestId) -> Result<Option<GuestDomain>, PortError> {
        self.look(guest).await
    }

    async fn claim_guest(&self, guest: GuestId, own: &HostId) -> Result<(), PortError> {
        self.set_controller(guest, own).await
    }

    async fn everywhere(&self, guest: GuestId) -> Result<Vec<GuestDomain>, PortError> {
        self.look_everywhere(guest).await
    }

    async fn destroy(&self, guest: GuestId) -> Result<(), PortError> {
        self.end_process(guest).await
    }

    async fn give(&self, guest: GuestId, half: Half, disk: &GuestDisk) -> Result<(), PortError> {
        let object = format!("disk {} ({})", disk.serial, disk.target);
        self.attach(guest, half, &object, domain_xml::disk_xml(disk))
            .await
    }

    async fn take(&self, guest: GuestId, half: Half, serial: &DiskSerial) -> Result<(), PortError> {
        match half {
            Half::Live => self.take_live(guest, serial).await,
            Half::Config => self.take_config(guest, serial).await,
        }
    }

    async fn add_scsi_controller(&self, guest: GuestId, half: Half, index: u32) -> Result<(), PortError> {
        let object = format!("virtio-scsi controller {index}");
        self.attach(guest, half, &object, domain_xml::scsi_controller_xml(index))
            .await
    }

    async fn image(&self, host: &HostId, digest: &Digest) -> Result<Option<(String, u64)>, PortError> {
        self.host(host)?.image(digest).await
    }

    async fn store_image(
        &self,
        host: &HostId,
        digest: &Digest,
        image: File,
        size: u64,
    ) -> Result<String, PortError> {
        self.host(host)?.store_image(digest, image, size).await
    }

    async fn copy_image(
        &self,
        from: &HostId,
        to: &HostId,
        digest: &Digest,
        size: u64,
    ) -> Result<String, PortError> {
        let between = tempfile::tempfile().map_err(|error| {
            PortError::unavailable(format!("a temporary file for an image cannot be made: {error}"))
        })?;
        let image = self.host(from)?.fetch_image(digest, between, size).await?;
        self.host(to)?.store_image(digest, image, size).await
    }

    async fn delete_image(&self, host: &HostId, digest: &Digest) -> Result<(), PortError> {
        self.host(host)?.delete_image(digest).await
    }

    async fn make_grant(&self, host: &HostId, grant: &Grant, digest: &Digest) -> Result<String, PortError> {
        self.host(host)?.make_grant(grant, digest).await
    }

    async fn spent_grants(&self, guest: GuestId, service: &ServiceId) -> Result<Vec<GrantFile>, PortError> {
        self.look_for_spent_grants(guest, service).await
    }

    async fn delete_spent_grants(&self, guest: GuestId, service: &ServiceId) -> Result<(), PortError> {
        self.delete_grants(guest, service).await
    }

    async fn grants(&self) -> Vec<Result<GrantFile, (HostId, PortError)>> {
        self.all_grants().await
    }

    async fn volume(&self, host: &HostId, service: &ServiceId) -> Result<Option<(String, u64)>, PortError> {
        self.host(host)?.volume(service).await
    }

    async fn make_volume(&self, host: &HostId, service: &ServiceId, size: u64) -> Result<String, PortError> {
        self.host(host)?.make_volume(service, size).await
    }

    async fn delete_volume(&self, host: &HostId, service: &ServiceId) -> Result<(), PortError> {
        self.host(host)?.delete_volume(service).await
    }
}
