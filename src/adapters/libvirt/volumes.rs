//! Data volumes in a host's storage pool, beside the bundle images: raw and sparse, named by their service alone, so
//! that one is found again after its service was removed.
//!
//! Nothing in here writes into a volume: its file system is made inside a guest.

use tracing::{info, warn};
use virt::connect::Connect;
use virt::error::ErrorNumber;
use virt::storage_vol::StorageVol;

use super::domain_xml::escape;
use super::failure::Failure;
use super::host::Host;
use super::images::{Place, delete, find, mebibytes, user_of};
use super::link::Call;
use crate::model::ids::ServiceId;
use crate::model::volume::volume_name;
use crate::ports::PortError;

impl Host {
    /// The volume's path and its size in bytes.
    pub(super) async fn volume(&self, service: &ServiceId) -> Result<Option<(String, u64)>, PortError> {
        let (place, name) = (self.place(), volume_name(service));
        let call = Call::reads(format!("look for data volume {name}"), self.timeouts.look);
        self.control
            .call(call, move |connection, _| {
                let pool = place.pool(connection)?;
                let Some(volume) = find(&pool, &name)? else {
                    return Ok(None);
                };
                Ok(Some((volume.path()?, volume.info()?.capacity)))
            })
            .await
    }

    /// Makes a blank volume, unless one of at least that size is there, and tells its path.
    pub(super) async fn make_volume(&self, service: &ServiceId, size: u64) -> Result<String, PortError> {
        let (place, name) = (self.place(), volume_name(service));
        let call = Call::changes(format!("make data volume {name}"), self.timeouts.change);
        self.control
            .call(call, move |connection, _| make(connection, &place, &name, size))
            .await
    }

    /// Deletes a volume unless a definition of a guest of this host has it.
    pub(super) async fn delete_volume(&self, service: &ServiceId) -> Result<(), PortError> {
        let (place, name) = (self.place(), volume_name(service));
        let call = Call::changes(format!("delete data volume {name}"), self.timeouts.change);
        self.control
            .call(call, move |connection, _| {
                let pool = place.pool(connection)?;
                let Some(volume) = find(&pool, &name)? else {
                    return Ok(());
                };
                let path = volume.path()?;
                let in_pool = format!("{}/{name}", place.pool);
                if let Some(guest) = user_of(connection, &[&path, &in_pool])? {
                    return Err(Failure::Port(PortError::refused(format!(
                        "{}: data volume {path} is not deleted: guest {guest} has it as a disk; detach it there first \
                         (virsh detach-disk {guest} {path} --live --config)",
                        place.host
                    ))));
                }
                delete(&volume)?;
                warn!(volume = path, host = place.host, "deleted a data volume");
                Ok(())
            })
            .await
    }
}

fn make(connection: &Connect, place: &Place, name: &str, size: u64) -> Result<String, Failure> {
    let pool = place.pool(connection)?;
    if let Some(volume) = find(&pool, name)? {
        return kept(place, &volume, name, size);
    }
    let free = pool.info()?.available;
    // It is sparse, but a guest whose writes find no room is paused by QEMU with everything in it.
    if free < size {
        return Err(Failure::Port(PortError::refused(format!(
            "pool {} on {} is full: data volume {name} needs {}, it has {} free; remove bundles or volumes that \
             nothing uses, or enlarge it",
            place.pool,
            place.host,
            mebibytes(size),
            mebibytes(free)
        ))));
    }
    match StorageVol::create_xml(&pool, &volume_xml(name, size), 0) {
        Ok(volume) => {
            info!(
                volume = name,
                host = place.host,
                bytes = size,
                "made a data volume"
            );
            Ok(volume.path()?)
        }
        // Somebody made it in between.
        Err(error) if error.code().is(ErrorNumber::StorageVolExist) => match find(&pool, name)? {
            Some(volume) => kept(place, &volume, name, size),
            None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// The path of a volume that is there already: one that is shorter was cut off while it was made, or is another's.
fn kept(place: &Place, volume: &StorageVol, name: &str, size: u64) -> Result<String, Failure> {
    let (path, found) = (volume.path()?, volume.info()?.capacity);
    if found < size {
        return Err(Failure::Port(PortError::refused(format!(
            "data volume {path} on {} has {found} bytes, and {size} are wanted; it is left as it is: if nothing needs \
             it, delete it (virsh -c {} vol-delete {name} --pool {})",
            place.host, place.uri, place.pool
        ))));
    }
    Ok(path)
}

fn volume_xml(name: &str, size: u64) -> String {
    format!(
        "<volume><name>{}</name><capacity unit='bytes'>{size}</capacity><allocation unit='bytes'>0</allocation>\
         <target><format type='raw'/><permissions><mode>0600</mode></permissions></target></volume>",
        escape(name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_made_sparse_raw_and_private() {
        assert_eq!(
            volume_xml("web.data.raw", 16_777_216),
            "<volume><name>web.data.raw</name><capacity unit='bytes'>16777216</capacity>\
             <allocation unit='bytes'>0</allocation><target><format type='raw'/>\
             <permissions><mode>0600</mode></permissions></target></volume>"
        );
    }
}
