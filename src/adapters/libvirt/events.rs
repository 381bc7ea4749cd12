//! What libvirt tells by itself, and the connection that listens to it.
//!
//! One thread per host keeps one connection, registers the callbacks on it, and starts again when it closes. Events
//! of the time without a connection are lost: who listens must list all guests after every [`EventKind::Connected`]
//! and at its own start.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::sync::broadcast;
use tracing::{debug, info, warn};
use uuid::Uuid;
use virt_sys as sys;

use super::ffi::{Sink, Watch};
use super::link::{Keepalive, open};
use crate::model::ids::{GuestId, HostId};
use crate::model::lifecycle::{Lifecycle, StopReason};

/// Events that a slow listener may be behind before it loses some (and is told how many).
pub(super) const BACKLOG: usize = 1024;

/// How often a quiet connection is asked whether it is still alive, where the driver does not tell its closing.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Waits between attempts to connect: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Something that happened on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEvent {
    /// The host that told it.
    pub host: HostId,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// Callbacks are registered from now on; what happened before was not told: list all guests now.
    Connected,
    /// The connection is gone or could not be made. It proves nothing about the guests.
    Lost(String),
    /// A domain's life changed.
    Lifecycle(GuestId, Lifecycle),
    /// A domain was reset from inside (VIR_DOMAIN_EVENT_ID_REBOOT); its QEMU stays the same.
    Rebooted(GuestId),
    /// libvirt's channel to the guest agent opened (`true`) or closed.
    Agent(GuestId, bool),
    /// The guest let go of the device with this alias.
    DeviceRemoved(GuestId, String),
    /// The guest refused to let go of the device with this alias.
    DeviceRemovalFailed(GuestId, String),
}

/// An event as libvirt's callbacks have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    Lifecycle { guest: Uuid, event: i32, detail: i32 },
    Reboot { guest: Uuid },
    Agent { guest: Uuid, state: i32 },
    DeviceRemoved { guest: Uuid, alias: String },
    DeviceRemovalFailed { guest: Uuid, alias: String },
    Closed { reason: i32 },
}

/// What an event means to listeners; `Err` with the reason if it says that the connection closed.
fn kind(raw: Raw) -> Result<EventKind, &'static str> {
    Ok(match raw {
        Raw::Lifecycle { guest, event, detail } => {
            EventKind::Lifecycle(GuestId(guest), lifecycle(event, detail))
        }
        Raw::Reboot { guest } => EventKind::Rebooted(GuestId(guest)),
        Raw::Agent { guest, state } => EventKind::Agent(
            GuestId(guest),
            state.cast_unsigned() == sys::VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED,
        ),
        Raw::DeviceRemoved { guest, alias } => EventKind::DeviceRemoved(GuestId(guest), alias),
        Raw::DeviceRemovalFailed { guest, alias } => EventKind::DeviceRemovalFailed(GuestId(guest), alias),
        Raw::Closed { reason } => {
            return Err(match reason.cast_unsigned() {
                sys::VIR_CONNECT_CLOSE_REASON_EOF => "libvirtd closed the connection",
                sys::VIR_CONNECT_CLOSE_REASON_KEEPALIVE => "libvirtd did not answer keepalives",
                sys::VIR_CONNECT_CLOSE_REASON_CLIENT => "the connection was closed here",
                _ => "the connection broke",
            });
        }
    })
}

fn lifecycle(event: i32, detail: i32) -> Lifecycle {
    let what = detail.cast_unsigned();
    match event.cast_unsigned() {
        sys::VIR_DOMAIN_EVENT_DEFINED => Lifecycle::Defined,
        sys::VIR_DOMAIN_EVENT_UNDEFINED => Lifecycle::Undefined,
        sys::VIR_DOMAIN_EVENT_STARTED => Lifecycle::Started {
            migrated: what == sys::VIR_DOMAIN_EVENT_STARTED_MIGRATED,
        },
        sys::VIR_DOMAIN_EVENT_SUSPENDED => Lifecycle::Suspended,
        sys::VIR_DOMAIN_EVENT_RESUMED => Lifecycle::Resumed,
        sys::VIR_DOMAIN_EVENT_STOPPED => Lifecycle::Stopped(match what {
            sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN => StopReason::Shutdown,
            sys::VIR_DOMAIN_EVENT_STOPPED_DESTROYED => StopReason::Destroyed,
            sys::VIR_DOMAIN_EVENT_STOPPED_CRASHED => StopReason::Crashed,
            sys::VIR_DOMAIN_EVENT_STOPPED_MIGRATED => StopReason::Migrated,
            sys::VIR_DOMAIN_EVENT_STOPPED_SAVED => StopReason::Saved,
            sys::VIR_DOMAIN_EVENT_STOPPED_FAILED => StopReason::Failed,
            sys::VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT => StopReason::FromSnapshot,
            _ => StopReason::Other(detail),
        }),
        sys::VIR_DOMAIN_EVENT_SHUTDOWN => Lifecycle::ShuttingDown {
            by_host: what == sys::VIR_DOMAIN_EVENT_SHUTDOWN_HOST,
        },
        sys::VIR_DOMAIN_EVENT_PMSUSPENDED => Lifecycle::PmSuspended,
        sys::VIR_DOMAIN_EVENT_CRASHED => Lifecycle::Crashed,
        _ => Lifecycle::Other(event, detail),
    }
}

/// What wakes the thread that keeps a host's event connection.
enum Note {
    Closed(&'static str),
    Stop,
}

/// The listening to one host; dropping it ends its thread (without waiting for it).
pub(super) struct Listener {
    notes: mpsc::Sender<Note>,
}

impl Listener {
    /// Starts to listen; what is heard goes to `events`.
    pub(super) fn start(
        host: HostId,
        uri: String,
        keepalive: Keepalive,
        events: broadcast::Sender<HostEvent>,
    ) -> Result<Self, std::io::Error> {
        let (notes, inbox) = mpsc::channel();
        let ear = Ear {
            host,
            uri,
            keepalive,
            events,
            notes: notes.clone(),
        };
        thread::Builder::new()
            .name("libvirt-events".to_owned())
            .spawn(move || ear.run(&inbox))?;
        Ok(Self { notes })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // An error means that the thread has ended already.
        drop(self.notes.send(Note::Stop));
    }
}

/// What the listening thread owns.
struct Ear {
    host: HostId,
    uri: String,
    keepalive: Keepalive,
    events: broadcast::Sender<HostEvent>,
    notes: mpsc::Sender<Note>,
}

impl Ear {
    fn run(&self, inbox: &mpsc::Receiver<Note>) {
        let (mut pause, longest) = RETRY;
        let mut told_lost = false;
        loop {
            let lost = match self.listen_once(inbox) {
                Ok(None) => return,
                Ok(Some(reason)) => {
                    (pause, told_lost) = (RETRY.0, false);
                    reason
                }
                Err(reason) => reason,
            };
            if told_lost {
                debug!(host = %self.host, reason = lost, "still no events from libvirtd");
            } else {
                warn!(host = %self.host, uri = self.uri, reason = lost, "no events from libvirtd; connecting again");
                self.publish(EventKind::Lost(lost));
                told_lost = true;
            }
            match inbox.recv_timeout(pause) {
                Ok(Note::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                // A late note of the connection that is gone.
                Ok(Note::Closed(_)) | Err(RecvTimeoutError::Timeout) => {}
            }
            pause = pause.saturating_mul(2).min(longest);
        }
    }

    /// Connects and listens until the connection closes (`Some`) or the listener is dropped (`None`).
    fn listen_once(&self, inbox: &mpsc::Receiver<Note>) -> Result<Option<String>, String> {
        let connection = open(&self.uri, self.keepalive).map_err(|error| error.message().to_owned())?;
        let watch = Watch::start(&connection, &self.sink()).map_err(|error| error.message().to_owned())?;
        info!(host = %self.host, uri = self.uri, "listening to libvirtd's events");
        self.publish(EventKind::Connected);
        let ended = loop {
            match inbox.recv_timeout(LOOK_AGAIN) {
                Ok(Note::Stop) | Err(RecvTimeoutError::Disconnected) => break None,
                Ok(Note::Closed(reason)) => break Some(reason.to_owned()),
                Err(RecvTimeoutError::Timeout) => {
                    if !connection.is_alive().unwrap_or(false) {
                        break Some("the connection is dead".to_owned());
                    }
                }
            }
        };
        drop(watch);
        Ok(ended)
    }

    fn sink(&self) -> Sink {
        let (host, events, notes) = (self.host.clone(), self.events.clone(), self.notes.clone());
        Arc::new(move |raw| match kind(raw) {
            // Nobody listening is no error.
            Ok(kind) => drop(events.send(HostEvent {
                host: host.clone(),
                kind,
            })),
            Err(reason) => drop(notes.send(Note::Closed(reason))),
        })
    }

    fn publish(&self, kind: EventKind) {
        drop(self.events.send(HostEvent {
            host: self.host.clone(),
            kind,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_a_domain_ends_is_told_apart() {
        let stopped = |detail| lifecycle(5, detail);
        let cases = [
            (stopped(0), Lifecycle::Stopped(StopReason::Shutdown)),
            (stopped(1), Lifecycle::Stopped(StopReason::Destroyed)),
            (stopped(2), Lifecycle::Stopped(StopReason::Crashed)),
            (stopped(3), Lifecycle::Stopped(StopReason::Migrated)),
            (stopped(4), Lifecycle::Stopped(StopReason::Saved)),
            (stopped(5), Lifecycle::Stopped(StopReason::Failed)),
            (stopped(6), Lifecycle::Stopped(StopReason::FromSnapshot)),
            (stopped(99), Lifecycle::Stopped(StopReason::Other(99))),
            (lifecycle(6, 1), Lifecycle::ShuttingDown { by_host: false }),
            (lifecycle(6, 2), Lifecycle::ShuttingDown { by_host: true }),
            (lifecycle(8, 0), Lifecycle::Crashed),
            (lifecycle(2, 1), Lifecycle::Started { migrated: true }),
            (lifecycle(2, 0), Lifecycle::Started { migrated: false }),
            (lifecycle(77, -3), Lifecycle::Other(77, -3)),
        ];
        for (read, wanted) in cases {
            assert_eq!(read, wanted);
        }
    }

    #[test]
    fn an_agents_channel_and_a_closed_connection_are_told_apart() {
        let guest = Uuid::from_u128(7);
        assert_eq!(
            kind(Raw::Agent { guest, state: 1 }),
            Ok(EventKind::Agent(GuestId(guest), true))
        );
        assert_eq!(
            kind(Raw::Agent { guest, state: 2 }),
            Ok(EventKind::Agent(GuestId(guest), false))
        );
        assert_eq!(
            kind(Raw::Closed { reason: 2 }),
            Err("libvirtd did not answer keepalives")
        );
    }
}
