//! What hosts tell of what happens, and what they list, for the watcher of guests.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast::{self, error::RecvError};

use super::call::{Method, Plan};
use super::happening::Happening;
use super::look;
use super::ports::SimPorts;
use super::world::{Power, SimWorld};
use crate::model::ids::{GuestId, HostId};
use crate::model::lifecycle::{Lifecycle, ShutoffReason, StopReason};
use crate::ports::{Heard, Heartbeat, Listening, PortError, Spool, Watching};
use crate::watch::cause::Sign;
use crate::watch::roll::Listed;
use crate::watch::spool::SpoolFile;

/// What is seen of a guest from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outside {
    host: HostId,
    power: Power,
    agent: bool,
}

fn outside(world: &SimWorld) -> BTreeMap<GuestId, Outside> {
    let seen = world.guests.iter().map(|(id, guest)| {
        let agent = guest.power == Power::Up && guest.agent_speaks;
        let outside = Outside {
            host: guest.host.clone(),
            power: guest.power,
            agent,
        };
        (*id, outside)
    });
    seen.collect()
}

/// What is seen before something happens; nothing where nothing of it will be told.
pub(super) fn before(world: &SimWorld, happening: &Happening) -> BTreeMap<GuestId, Outside> {
    match happening {
        Happening::Arrives(_) | Happening::NamesDown | Happening::NamesUp => BTreeMap::new(),
        _ => outside(world),
    }
}

/// What hosts tell of what has happened. A host that does not answer tells nothing.
pub(super) fn after(
    world: &SimWorld,
    happening: &Happening,
    before: BTreeMap<GuestId, Outside>,
) -> Vec<Heard> {
    let mut told = match happening {
        Happening::HostDown(host) => return vec![Heard::Lost(host.clone())],
        Happening::HostUp(host) => return vec![Heard::Connected(host.clone())],
        _ => Vec::new(),
    };
    let mut now = outside(world);
    for (id, was) in before {
        let (Some(guest), Some(is)) = (world.guests.get(&id), now.remove(&id)) else {
            continue;
        };
        let mut tell = |host: &HostId, sign: Sign| {
            if world.hosts.get(host).is_some_and(|host| host.answers) {
                told.push(Heard::Of(host.clone(), id, sign));
            }
        };
        if was.agent != is.agent {
            tell(&is.host, Sign::Agent(is.agent));
        }
        if was.host != is.host {
            tell(
                &was.host,
                Sign::Lifecycle(Lifecycle::Stopped(StopReason::Migrated)),
            );
            tell(&is.host, Sign::Lifecycle(Lifecycle::Started { migrated: true }));
        }
        let active = |power| matches!(power, Power::Booting | Power::Up);
        match (active(was.power), active(is.power)) {
            (false, true) => tell(&is.host, Sign::Lifecycle(Lifecycle::Started { migrated: false })),
            (true, false) => {
                let reason = match (is.power, guest.off) {
                    (Power::Asleep, _) => StopReason::Saved,
                    (_, ShutoffReason::Shutdown) => StopReason::Shutdown,
                    (_, ShutoffReason::Destroyed) => StopReason::Destroyed,
                    _ => StopReason::Failed,
                };
                tell(&is.host, Sign::Lifecycle(Lifecycle::Stopped(reason)));
            }
            _ if matches!(happening, Happening::WarmReboot(of) if *of == id) => {
                tell(&is.host, Sign::Rebooted);
            }
            _ => {}
        }
    }
    told
}

struct Stream(broadcast::Receiver<Heard>);

#[async_trait]
impl Listening for Stream {
    async fn next(&mut self) -> Option<Heard> {
        match self.0.recv().await {
            Ok(heard) => Some(heard),
            Err(RecvError::Lagged(_)) => Some(Heard::Missed),
            Err(RecvError::Closed) => None,
        }
    }
}

fn roll_call(world: &SimWorld) -> Vec<(HostId, Result<Vec<Listed>, PortError>)> {
    let mut all: BTreeMap<HostId, Result<Vec<Listed>, PortError>> = world
        .hosts
        .keys()
        .map(|host| (host.clone(), Ok(Vec::new())))
        .collect();
    for listed in look::list(world) {
        match listed {
            Err((host, error)) => drop(all.insert(host, Err(error))),
            Ok(summary) => {
                let Some(Ok(list)) = all.get_mut(&summary.host) else {
                    continue;
                };
                let guest = world.guests.get(&summary.id);
                let here = guest.filter(|guest| guest.host == summary.host);
                list.push(Listed {
                    guest: summary.id,
                    name: summary.name,
                    state: summary.state,
                    shutoff: here.map_or(ShutoffReason::Migrated, |guest| guest.off),
                    managed_save: summary.managed_save,
                });
            }
        }
    }
    all.into_iter().collect()
}

#[async_trait]
impl Watching for SimPorts {
    fn listen(&self) -> Box<dyn Listening> {
        Box::new(Stream(self.shared.lock().told.subscribe()))
    }

    async fn roll_call(&self) -> Vec<(HostId, Result<Vec<Listed>, PortError>)> {
        let plan = Plan::of(Method::Guests, 2);
        match self.shared.call(plan, |world| Ok(roll_call(world))).await {
            Ok(all) => all,
            Err(error) => vec![(self.own.clone(), Err(error))],
        }
    }
}

#[async_trait]
impl Heartbeat for SimPorts {
    async fn pulse(&self, guest: GuestId, deadline: Duration) -> Result<bool, PortError> {
        let plan = Plan::of(Method::Pulse, 2).on(guest);
        let speaks = self
            .shared
            .call(plan, |world| {
                look::reachable(world, guest)?;
                match world
                    .guests
                    .get(&guest)
                    .map(|guest| (guest.power, guest.agent_speaks))
                {
                    Some((Power::Up, speaks)) => Ok(speaks),
                    Some((Power::Booting, _)) => Ok(false),
                    _ => Err(PortError::unavailable(format!("guest {guest} is not running"))),
                }
            })
            .await?;
        if !speaks {
            self.shared.sleep(deadline).await;
        }
        Ok(speaks)
    }
}

#[async_trait]
impl Spool for SimPorts {
    async fn read(&self) -> Result<Vec<SpoolFile>, PortError> {
        Ok(self.shared.lock().spool.clone())
    }

    async fn remove(&self, names: &[String]) -> Result<(), PortError> {
        self.shared
            .lock()
            .spool
            .retain(|file| !names.contains(&file.name));
        Ok(())
    }
}
