//! The [`Watching`] port: libvirt's events and lists as signs of guests.

use async_trait::async_trait;
use tokio::sync::broadcast::{self, error::RecvError};

use super::events::{EventKind, HostEvent};
use super::failure::Failure;
use super::host::Host;
use super::link::Call;
use super::look::{gone_is_none, managed_save, state};
use super::{LibvirtHosts, ffi};
use crate::model::guest::DomainState;
use crate::model::ids::{GuestId, HostId};
use crate::model::lifecycle::ShutoffReason;
use crate::ports::{Heard, Listening, PortError, Watching};
use crate::watch::cause::Sign;
use crate::watch::roll::Listed;

struct Stream(broadcast::Receiver<HostEvent>);

#[async_trait]
impl Listening for Stream {
    async fn next(&mut self) -> Option<Heard> {
        loop {
            match self.0.recv().await {
                Ok(event) => {
                    if let Some(heard) = heard(event) {
                        return Some(heard);
                    }
                }
                Err(RecvError::Lagged(_)) => return Some(Heard::Missed),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// What an event says of a guest or host; `None`: it is about a device.
fn heard(event: HostEvent) -> Option<Heard> {
    let HostEvent { host, kind } = event;
    Some(match kind {
        EventKind::Connected => Heard::Connected(host),
        EventKind::Lost(_) => Heard::Lost(host),
        EventKind::Lifecycle(guest, life) => Heard::Of(host, guest, Sign::Lifecycle(life)),
        EventKind::Rebooted(guest) => Heard::Of(host, guest, Sign::Rebooted),
        EventKind::Agent(guest, open) => Heard::Of(host, guest, Sign::Agent(open)),
        EventKind::DeviceRemoved(..) | EventKind::DeviceRemovalFailed(..) => return None,
    })
}

#[async_trait]
impl Watching for LibvirtHosts {
    fn listen(&self) -> Box<dyn Listening> {
        Box::new(Stream(self.events()))
    }

    async fn roll_call(&self) -> Vec<(HostId, Result<Vec<Listed>, PortError>)> {
        let answers = self.on_every_host(Host::roll_call).await;
        answers
            .into_iter()
            .map(|(host, answer)| (host.id.clone(), answer))
            .collect()
    }
}

impl Host {
    /// As [`Host::list`], without reading XML: a host of a thousand guests answers at once.
    async fn roll_call(&self) -> Result<Vec<Listed>, PortError> {
        let call = Call::reads("list its guests", self.timeouts.look);
        self.control
            .call(call, move |connection, _| {
                let mut all = Vec::new();
                for domain in connection.list_all_domains(0)? {
                    // A domain that has gone since the listing is no error.
                    all.extend(gone_is_none(listed(&domain))?);
                }
                Ok(all)
            })
            .await
    }
}

fn listed(domain: &virt::domain::Domain) -> Result<Listed, Failure> {
    let (number, reason) = ffi::domain_state(domain)?;
    let state = state(number);
    Ok(Listed {
        guest: GuestId(domain.uuid()?),
        name: domain.name()?,
        state,
        shutoff: match state {
            DomainState::Shutoff => ShutoffReason::from_code(reason),
            _ => ShutoffReason::Unknown,
        },
        managed_save: managed_save(domain)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lifecycle::{Lifecycle, StopReason};

    #[test]
    fn what_is_told_of_guests_and_hosts_is_passed_on_and_what_is_told_of_devices_is_not() {
        let guest = GuestId(uuid::Uuid::from_u128(7));
        let host: HostId = "hv1".parse().unwrap();
        let told = |kind| {
            heard(HostEvent {
                host: host.clone(),
                kind,
            })
        };
        let died = Lifecycle::Stopped(StopReason::Failed);
        let of = |sign| Some(Heard::Of(host.clone(), guest, sign));
        assert_eq!(told(EventKind::Connected), Some(Heard::Connected(host.clone())));
        assert_eq!(told(EventKind::Lost("x".into())), Some(Heard::Lost(host.clone())));
        assert_eq!(told(EventKind::Lifecycle(guest, died)), of(Sign::Lifecycle(died)));
        assert_eq!(told(EventKind::Rebooted(guest)), of(Sign::Rebooted));
        assert_eq!(told(EventKind::Agent(guest, true)), of(Sign::Agent(true)));
        assert_eq!(told(EventKind::DeviceRemoved(guest, "ua-x".into())), None);
    }

    #[tokio::test]
    async fn a_listener_that_is_too_slow_is_told_that_it_missed_something() {
        let (events, receiver) = broadcast::channel(2);
        let mut stream = Stream(receiver);
        for _ in 0..5 {
            let host = "hv1".parse().unwrap();
            events
                .send(HostEvent {
                    host,
                    kind: EventKind::Connected,
                })
                .unwrap();
        }
        assert_eq!(stream.next().await, Some(Heard::Missed));
        assert!(matches!(stream.next().await, Some(Heard::Connected(_))));
        drop(events);
        stream.next().await;
        assert_eq!(stream.next().await, None);
    }
}
