//! Giving disks to guests and taking them away: one half of a domain at a time (design section 4, "Two effects").

use std::time::Duration;

use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt_sys as sys;

use super::domain_xml::{self, DiskHandle};
use super::events::{EventKind, HostEvent};
use super::failure::Failure;
use super::host::Host;
use super::link::Call;
use super::look::{config_xml, live_xml, lookup};
use super::{LibvirtHosts, ffi};
use crate::model::disk::DiskSerial;
use crate::model::ids::{GuestId, HostId};
use crate::model::lifecycle::Lifecycle;
use crate::ports::{Half, PortError};

/// Waits between requests to let go of a disk: the first, and the longest.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));

/// What a request to let go of a disk came to.
enum Asked {
    /// The live definition does not have it (any more).
    Gone,
    /// The guest has been asked; the device has this alias.
    Pending(String),
}

fn flag(half: Half) -> u32 {
    match half {
        Half::Live => sys::VIR_DOMAIN_AFFECT_LIVE,
        Half::Config => sys::VIR_DOMAIN_AFFECT_CONFIG,
    }
}

fn name(half: Half) -> &'static str {
    match half {
        Half::Live => "running guest",
        Half::Config => "persistent definition of guest",
    }
}

impl LibvirtHosts {
    pub(super) async fn attach(
        &self,
        guest: GuestId,
        half: Half,
        object: &str,
        xml: String,
    ) -> Result<(), PortError> {
        let host = self.host_of(guest, half).await?;
        let call = Call::changes(
            format!("attach {object} to {} {guest}", name(half)),
            host.timeouts.change,
        );
        host.control
            .call(call, move |connection, _| {
                let domain = lookup(connection, guest)?.ok_or_else(|| moved(guest))?;
                no_job(&domain, guest)?;
                Ok(domain.attach_device_flags(&xml, flag(half))?)
            })
            .await
    }

    /// Writes into both definitions which daemon controls the guest.
    pub(super) async fn set_controller(&self, guest: GuestId, own: &HostId) -> Result<(), PortError> {
        let host = self.host_of(guest, Half::Config).await?;
        let call = Call::changes(
            format!("write the metadata of guest {guest}"),
            host.timeouts.change,
        );
        let element = domain_xml::controller_metadata(own.as_str());
        host.control
            .call(call, move |connection, _| {
                let domain = lookup(connection, guest)?.ok_or_else(|| moved(guest))?;
                let mut halves = vec![Half::Config];
                if domain.is_active()? {
                    halves.push(Half::Live);
                }
                for half in halves {
                    domain.set_metadata(
                        sys::VIR_DOMAIN_METADATA_ELEMENT.cast_signed(),
                        Some(&element),
                        Some("handoverd"),
                        Some(domain_xml::METADATA_URI),
                        flag(half),
                    )?;
                }
                Ok(())
            })
            .await
    }

    /// Destroys the running guest: libvirt returns when its QEMU process has been reaped, after SIGTERM and then SIGKILL.
    pub(super) async fn end_process(&self, guest: GuestId) -> Result<(), PortError> {
        let host = self.host_of(guest, Half::Live).await?;
        let call = Call::changes(format!("destroy guest {guest}"), host.timeouts.change);
        host.control
            .call(call, move |connection, _| {
                let domain = lookup(connection, guest)?.ok_or_else(|| moved(guest))?;
                no_job(&domain, guest)?;
                Ok(domain.destroy_flags(sys::VIR_DOMAIN_DESTROY_DEFAULT)?)
            })
            .await
    }

    /// The host on which this half of the guest is to be changed.
    async fn host_of(&self, guest: GuestId, half: Half) -> Result<&Host, PortError> {
        let whereabouts = self.locate(guest).await;
        let active = whereabouts.active()?;
        let defining: Vec<&Host> = whereabouts.defining().collect();
        match (half, active) {
            (Half::Live, Some(host)) => Ok(host),
            (Half::Live, None) => Err(PortError::unavailable(format!(
                "guest {guest} is not running; start it"
            ))),
            (Half::Config, Some(host)) if defining.iter().any(|one| one.id == host.id) => Ok(host),
            (Half::Config, Some(host)) => Err(PortError::refused(format!(
                "guest {guest} is transient on {}; give it a persistent definition with `virsh define`",
                host.id
            ))),
            (Half::Config, None) => match defining.as_slice() {
                [host] => Ok(*host),
                [] => Err(PortError::unavailable(format!("no host knows guest {guest}"))),
                [one, other, ..] => Err(PortError::refused(format!(
                    "guest {guest} is off and defined on {} and on {}; undefine it where it does not belong",
                    one.id, other.id
                ))),
            },
        }
    }

    /// Takes the disk from the persistent definition on every host that has one: whichever of them boots the guest
    /// next, it must not have the disk.
    pub(super) async fn take_config(&self, guest: GuestId, serial: &DiskSerial) -> Result<(), PortError> {
        let whereabouts = self.locate(guest).await;
        for host in whereabouts.defining() {
            host.take_config(guest, serial.clone()).await?;
        }
        whereabouts.all_answered()
    }

    /// Takes the disk from the running guest: asks, waits for the event, looks, and asks again until it is gone.
    pub(super) async fn take_live(&self, guest: GuestId, serial: &DiskSerial) -> Result<(), PortError> {
        let started = Instant::now();
        let (mut pause, longest) = ASK_AGAIN;
        loop {
            // Before asking, so that the answer cannot be missed.
            let mut events = self.events();
            let Some(host) = self.locate(guest).await.active()? else {
                return Ok(());
            };
            let alias = match host.ask_to_let_go(guest, serial.clone()).await? {
                Asked::Gone => return Ok(()),
                Asked::Pending(alias) => alias,
            };
            let ends = started + host.timeouts.release;
            if Instant::now() >= ends {
                let id = &host.id;
                return Err(PortError::unknown(format!(
                    "{id}: guest {guest} has not let go of disk {serial} within {} s; a guest that boots or hangs \
                     ignores the request: it is asked again, or destroy it",
                    host.timeouts.release.as_secs()
                )));
            }
            debug!(%guest, %serial, alias, "waiting until the guest lets go");
            wait_until_removed(&mut events, guest, &alias, ends.min(Instant::now() + pause)).await;
            pause = pause.saturating_mul(2).min(longest);
        }
    }
}

/// Waits for a sign that the device may be gone, at most until `ends`. What counts is the look afterwards; a refusal
/// of the guest is no sign, so the pause before asking again is kept.
async fn wait_until_removed(
    events: &mut broadcast::Receiver<HostEvent>,
    guest: GuestId,
    alias: &str,
    ends: Instant,
) {
    while let Ok(event) = timeout_at(ends, events.recv()).await {
        match event.map(|event| event.kind) {
            Ok(EventKind::DeviceRemoved(of, device)) if of == guest && device == alias => return,
            Ok(EventKind::Lifecycle(of, Lifecycle::Stopped(_))) if of == guest => return,
            Ok(EventKind::DeviceRemovalFailed(of, device)) if of == guest && device == alias => {
                warn!(%guest, alias, "the guest refused to let go of a disk");
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_) | RecvError::Closed) => return,
        }
    }
}

impl Host {
    async fn take_config(&self, guest: GuestId, serial: DiskSerial) -> Result<(), PortError> {
        let call = Call::changes(
            format!("detach disk {serial} from {} {guest}", name(Half::Config)),
            self.timeouts.change,
        );
        self.control
            .call(call, move |connection, _| {
                let Some(domain) = lookup(connection, guest)? else {
                    return Ok(());
                };
                let Some(disk) = find(config_xml(&domain)?, &serial)? else {
                    return Ok(());
                };
                no_job(&domain, guest)?;
                match (
                    detach(&domain, &disk, Half::Config),
                    find(config_xml(&domain)?, &serial)?,
                ) {
                    (_, None) => Ok(()),
                    (Err(error), Some(_)) => Err(error.into()),
                    (Ok(()), Some(_)) => Err(Failure::Port(PortError::unknown(format!(
                        "libvirt says that disk {serial} is gone from the {} {guest}, but it is there",
                        name(Half::Config)
                    )))),
                }
            })
            .await
    }

    /// One request to the guest, between two looks at the live XML.
    async fn ask_to_let_go(&self, guest: GuestId, serial: DiskSerial) -> Result<Asked, PortError> {
        let call = Call::changes(
            format!("detach disk {serial} from {} {guest}", name(Half::Live)),
            self.timeouts.change,
        );
        self.control
            .call(call, move |connection, _| {
                let Some(domain) = lookup(connection, guest)? else {
                    return Ok(Asked::Gone);
                };
                let Some(disk) = find(live_xml(&domain)?, &serial)? else {
                    return Ok(Asked::Gone);
                };
                no_job(&domain, guest)?;
                let asked = detach(&domain, &disk, Half::Live);
                if find(live_xml(&domain)?, &serial)?.is_none() {
                    return Ok(Asked::Gone);
                }
                match asked {
                    // libvirt waits 5 s for the guest and then calls it a success whether it let go or not.
                    Ok(()) => {}
                    Err(error) if may_come_later(error.message()) => {
                        debug!(%guest, %serial, error = error.message(), "asked before, or refused for now");
                    }
                    Err(error) => return Err(error.into()),
                }
                Ok(Asked::Pending(disk.alias.unwrap_or_default()))
            })
            .await
    }
}

fn find(
    half: Option<(String, domain_xml::DomainXml)>,
    serial: &DiskSerial,
) -> Result<Option<DiskHandle>, Failure> {
    let Some((xml, _)) = half else {
        return Ok(None);
    };
    domain_xml::find_disk(&xml, serial).map_err(|error| {
        Failure::Port(PortError::refused(format!(
            "the domain's XML cannot be read: {error}"
        )))
    })
}

/// Detaches by alias, which names this one device. By XML (where a persistent definition has no alias) libvirt goes by
/// the target name, which may have gone to another disk since.
fn detach(domain: &Domain, disk: &DiskHandle, half: Half) -> Result<(), Error> {
    match &disk.alias {
        Some(alias) => ffi::detach_by_alias(domain, alias, flag(half)),
        None => domain.detach_device_flags(&disk.xml, flag(half)),
    }
}

/// Whether a failed request to detach is one that the guest may still fulfil: it is under way already, or the guest
/// refused this time.
fn may_come_later(message: &str) -> bool {
    [
        "already in the process of unplug",
        "rejected by the guest",
        "power indicator",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// Refuses while a migration, save, dump or backup is under way: libvirtd would keep the call waiting for 30 s first.
fn no_job(domain: &Domain, guest: GuestId) -> Result<(), Failure> {
    if !domain.is_active()? {
        return Ok(());
    }
    match domain.job_info() {
        Ok(job)
            if [sys::VIR_DOMAIN_JOB_BOUNDED, sys::VIR_DOMAIN_JOB_UNBOUNDED]
                .contains(&job.r#type.cast_unsigned()) =>
        {
            Err(Failure::Port(PortError::unavailable(format!(
                "something else works on guest {guest} (migration, save, dump or backup); try again when it has ended"
            ))))
        }
        Ok(_) => Ok(()),
        Err(error) if error.code().is(ErrorNumber::NoSupport) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn moved(guest: GuestId) -> Failure {
    Failure::Port(PortError::unavailable(format!(
        "guest {guest} has left its host since it was looked for; look again"
    )))
}
