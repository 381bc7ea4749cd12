//! What libvirt tells of a simulated world.

use super::world::{Power, SimDefinition, SimGuest, SimHost, SimWorld};
use crate::model::guest::{Definition, DomainDisk, DomainState, GuestDomain, GuestSummary, ScsiController};
use crate::model::ids::{GuestId, HostId};
use crate::ports::PortError;

/// A host that answers.
pub(super) fn host<'w>(world: &'w SimWorld, id: &HostId) -> Result<&'w SimHost, PortError> {
    let host = world
        .hosts
        .get(id)
        .ok_or_else(|| PortError::refused(format!("host {id} is not configured")))?;
    if host.answers {
        Ok(host)
    } else {
        Err(PortError::unavailable(format!(
            "libvirtd on {id} cannot be reached"
        )))
    }
}

/// A guest by its identity.
pub(super) fn guest_mut(world: &mut SimWorld, id: GuestId) -> Result<&mut SimGuest, PortError> {
    world
        .guests
        .get_mut(&id)
        .map(|guest| &mut **guest)
        .ok_or_else(|| PortError::unavailable(format!("no host knows guest {id}")))
}

/// Whether the host where a guest is now can be asked for an effect on it.
pub(super) fn reachable(world: &SimWorld, id: GuestId) -> Result<(), PortError> {
    let guest = world
        .guests
        .get(&id)
        .ok_or_else(|| PortError::unavailable(format!("no host knows guest {id}")))?;
    host(world, &guest.host)?;
    if !world.rules.by_uuid && guest.host != guest.first_host {
        return Err(PortError::unavailable(format!(
            "guest {id} is not on {}",
            guest.first_host
        )));
    }
    Ok(())
}

fn state(power: Power) -> DomainState {
    match power {
        Power::Off | Power::Asleep => DomainState::Shutoff,
        Power::Booting | Power::Up => DomainState::Running,
    }
}

fn summary(id: GuestId, guest: &SimGuest, host: &HostId) -> GuestSummary {
    let here = guest.host == *host;
    GuestSummary {
        id,
        name: guest.name.clone(),
        host: host.clone(),
        state: if here {
            state(guest.power)
        } else {
            DomainState::Shutoff
        },
        agent_connected: here && guest.power == Power::Up && guest.agent_speaks,
        persistent: guest.configs.contains_key(host),
        managed_save: here && guest.power == Power::Asleep,
        controller: guest.controller.clone(),
        labels: guest.labels.clone(),
    }
}

/// Every guest on every host that answers.
pub(super) fn list(world: &SimWorld) -> Vec<Result<GuestSummary, (HostId, PortError)>> {
    let mut all = Vec::new();
    for id in world.hosts.keys() {
        if let Err(error) = host(world, id) {
            all.push(Err((id.clone(), error)));
            continue;
        }
        for (guest_id, guest) in &world.guests {
            if guest.host == *id || guest.configs.contains_key(id) {
                all.push(Ok(summary(*guest_id, guest, id)));
            }
        }
    }
    all
}

fn definition(from: &SimDefinition) -> Definition {
    Definition {
        disks: from
            .disks
            .iter()
            .map(|(serial, disk)| DomainDisk {
                target: disk.target.clone(),
                bus: "scsi".to_owned(),
                serial: Some(serial.clone()),
                source: Some(disk.source.clone()),
                scsi: Some(disk.address),
            })
            .collect(),
        scsi_controllers: vec![ScsiController {
            index: 0,
            model: "virtio-scsi".to_owned(),
        }],
        machine: "pc-q35-7.2".to_owned(),
        free_pcie_ports: 1,
    }
}

fn domain(id: GuestId, guest: &SimGuest, host: &HostId) -> GuestDomain {
    let active = guest.is_active() && guest.host == *host;
    GuestDomain {
        summary: summary(id, guest, host),
        live: active.then(|| definition(&guest.live)),
        config: guest.configs.get(host).map(definition),
    }
}

/// As [`crate::ports::Hypervisor::inspect`].
pub(super) fn inspect(world: &SimWorld, id: GuestId) -> Result<Option<GuestDomain>, PortError> {
    let Some(guest) = world.guests.get(&id) else {
        return Ok(None);
    };
    if !world.rules.by_uuid {
        host(world, &guest.first_host)?;
        let first = &guest.first_host;
        let known = guest.host == *first || guest.configs.contains_key(first);
        return Ok(known.then(|| domain(id, guest, first)));
    }
    host(world, &guest.host)?;
    Ok(Some(domain(id, guest, &guest.host)))
}

/// As [`crate::ports::Hypervisor::everywhere`].
pub(super) fn everywhere(world: &SimWorld, id: GuestId) -> Result<Vec<GuestDomain>, PortError> {
    let mut all = Vec::new();
    let Some(guest) = world.guests.get(&id) else {
        return Ok(all);
    };
    for on in world.hosts.keys() {
        if !world.rules.by_uuid && *on != guest.first_host {
            continue;
        }
        host(world, on)?;
        if guest.host == *on || guest.configs.contains_key(on) {
            all.push(domain(id, guest, on));
        }
    }
    Ok(all)
}

/// Whether a definition, live or persistent, has this path as a disk.
pub(super) fn is_defined_somewhere(world: &SimWorld, path: &str) -> bool {
    world.guests.values().any(|guest| {
        let all = guest.configs.values().chain([&guest.live]);
        all.flat_map(|d| d.disks.values())
            .any(|disk| disk.source == path || disk.base == path)
    })
}
