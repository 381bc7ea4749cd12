//! Files of grants in a simulated world: what libvirt makes of a disk by whether its file is there.

use super::look;
use super::ports::grant_path;
use super::world::{Power, SimDefinition, SimWorld};
use crate::model::grant::{Grant, GrantFile};
use crate::model::ids::{Digest, GuestId, HostId, ServiceId};
use crate::ports::PortError;

impl SimWorld {
    /// Whether a disk's source is a file of a grant that is gone.
    fn is_missing(&self, source: &str) -> bool {
        Grant::named_by(source).is_some() && !self.grants.contains_key(source)
    }

    /// What a cold start makes of a definition: an optional disk whose file is missing is left out.
    pub(super) fn without_missing(&self, mut definition: SimDefinition) -> SimDefinition {
        definition.disks.retain(|_, disk| !self.is_missing(&disk.source));
        definition
    }

    /// Whether a definition names a file of a grant that is gone.
    pub(super) fn lacks_file(&self, definition: &SimDefinition) -> bool {
        definition
            .disks
            .values()
            .any(|disk| self.is_missing(&disk.source))
    }

    /// Whether a definition of the guest, or its saved memory, names this file.
    pub(super) fn needs_file(&self, id: GuestId, path: &str) -> bool {
        self.guests.get(&id).is_some_and(|guest| {
            let live = (guest.power != Power::Off).then_some(&guest.live);
            let mut all = guest.configs.values().chain(live);
            all.any(|definition| definition.disks.values().any(|disk| disk.source == path))
        })
    }
}

pub(super) fn make(
    world: &mut SimWorld,
    host: &HostId,
    grant: &Grant,
    digest: &Digest,
) -> Result<String, PortError> {
    if !look::host(world, host)?.images.contains_key(digest) {
        return Err(PortError::refused(format!(
            "the pool of {host} has no image {digest}"
        )));
    }
    let path = grant_path(grant);
    world.grants.entry(path.clone()).or_insert_with(|| digest.clone());
    Ok(path)
}

/// Every file, as the first host has it that answers: the pool is on shared storage.
pub(super) fn all(world: &SimWorld) -> Vec<GrantFile> {
    let Some((host, _)) = world.hosts.iter().find(|(_, host)| host.answers) else {
        return Vec::new();
    };
    let file = |path: &String| {
        Some(GrantFile {
            grant: Grant::named_by(path)?,
            host: host.clone(),
            path: path.clone(),
        })
    };
    world.grants.keys().filter_map(file).collect()
}

pub(super) fn spent(
    world: &SimWorld,
    guest: GuestId,
    service: &ServiceId,
) -> Result<Vec<GrantFile>, PortError> {
    if !world.hosts.values().any(|host| host.answers) {
        return Err(PortError::unavailable("no host answers"));
    }
    Ok(all(world)
        .into_iter()
        .filter(|file| file.grant.guest == guest && file.grant.service == *service)
        .filter(|file| !world.needs_file(guest, &file.path))
        .collect())
}
