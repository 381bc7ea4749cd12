//! What a request must know of a service's data volume before a job begins.

use super::Requests;
use super::refusal::Refusal;
use crate::model::guest::GuestSummary;
use crate::model::ids::{GuestId, HostId, ServiceId};
use crate::model::manifest::Manifest;
use crate::model::service::{BundleRecord, ServiceRecord};
use crate::model::volume::{DataSpec, Volume};

impl Requests {
    /// The volume that a deploy of this bundle to `target` makes, or finds again in the pool.
    ///
    /// # Errors
    /// The one in the pool has another size, a guest has it, or its mount point is another service's on that guest.
    pub(super) async fn volume_for_deploy(
        &self,
        bundle: &BundleRecord,
        target: &GuestSummary,
    ) -> Result<Option<Volume>, Refusal> {
        let Some(spec) = &bundle.manifest.data else {
            return Ok(None);
        };
        let service = &bundle.manifest.service;
        self.check_mount_point(service, spec, target).await?;
        let there = self.world.hypervisor.volume(&target.host, service).await?;
        let mut volume = Volume {
            host: target.host.clone(),
            path: String::new(),
            size: spec.size,
            filesystem: spec.filesystem,
        };
        if let Some((path, size)) = there {
            same_size(service, size, spec.size)?;
            self.check_unattached(service, &path, None).await?;
            volume.path = path;
        }
        Ok(Some(volume))
    }

    /// The volume that goes with a service to `target`.
    ///
    /// # Errors
    /// The target is on another host than the volume, a third guest has the volume, or its mount point is taken.
    pub(super) async fn volume_for_move(
        &self,
        service: &ServiceRecord,
        manifest: &Manifest,
        target: &GuestSummary,
    ) -> Result<Option<Volume>, Refusal> {
        let (Some(volume), Some(spec)) = (&service.volume, &manifest.data) else {
            return Ok(None);
        };
        if volume.host != target.host {
            return Err(Refusal::Unsuitable(
                target.name.clone(),
                elsewhere(&service.id, &volume.host, &target.host),
            ));
        }
        self.check_mount_point(&service.id, spec, target).await?;
        self.check_unattached(&service.id, &volume.path, Some(service.guest))
            .await?;
        Ok(Some(volume.clone()))
    }

    /// Two services of one guest must not mount their data at, or below, each other's mount point.
    async fn check_mount_point(
        &self,
        service: &ServiceId,
        spec: &DataSpec,
        target: &GuestSummary,
    ) -> Result<(), Refusal> {
        for other in self.world.table.services().await? {
            if other.guest != target.id || other.id == *service {
                continue;
            }
            let bundle = self.bundle_of(&other).await?;
            if let Some(data) = &bundle.manifest.data
                && nested(&data.mount_point, &spec.mount_point)
            {
                return Err(Refusal::Unsuitable(
                    target.name.clone(),
                    format!(
                        "{} mounts its data at {} there, and {service} wants {}",
                        other.id, data.mount_point, spec.mount_point
                    ),
                ));
            }
        }
        Ok(())
    }

    /// No guest but `home` may have the volume in a definition: somebody attached it by hand.
    async fn check_unattached(
        &self,
        service: &ServiceId,
        path: &str,
        home: Option<GuestId>,
    ) -> Result<(), Refusal> {
        for guest in self.world.hypervisor.guests().await.into_iter().flatten() {
            if Some(guest.id) == home {
                continue;
            }
            let Some(domain) = self.world.hypervisor.inspect(guest.id).await? else {
                continue;
            };
            let mut disks = domain.live.iter().chain(&domain.config).flat_map(|d| &d.disks);
            if let Some(disk) = disks.find(|disk| disk.source.as_deref() == Some(path)) {
                return Err(Refusal::VolumeInUse(
                    service.to_string(),
                    format!("guest {} has {path} as disk {}", guest.name, disk.target),
                ));
            }
        }
        Ok(())
    }
}

/// Whether an upgrade may take the data along as it is.
///
/// # Errors
/// The new bundle asks for another size or file system, or one of the two has data and the other has none.
pub(super) fn check_upgrade(service: &ServiceId, old: &Manifest, new: &Manifest) -> Result<(), Refusal> {
    match (&old.data, &new.data) {
        (None, None) => Ok(()),
        (Some(old), Some(new)) => {
            same_size(service, old.size, new.size)?;
            if old.filesystem != new.filesystem {
                return Err(Refusal::InvalidArgument(format!(
                    "the data volume of {service} has {}, and the new bundle says {}; it is not formatted anew",
                    old.filesystem.as_str(),
                    new.filesystem.as_str()
                )));
            }
            Ok(())
        }
        (Some(_), None) => Err(Refusal::InvalidArgument(format!(
            "{service} has a data volume, and the new bundle has no [data]; remove the service (its volume stays) and \
             deploy it anew"
        ))),
        (None, Some(_)) => Err(Refusal::InvalidArgument(format!(
            "{service} has no data volume, and the new bundle has [data]; remove the service and deploy it anew"
        ))),
    }
}

fn same_size(service: &ServiceId, there: u64, wanted: u64) -> Result<(), Refusal> {
    match wanted.cmp(&there) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(Refusal::InvalidArgument(format!(
            "the data volume of {service} has {there} bytes, and the manifest says {wanted}: a volume is never shrunk; \
             say {there} in [data]"
        ))),
        std::cmp::Ordering::Greater => Err(Refusal::InvalidArgument(format!(
            "the data volume of {service} has {there} bytes, and the manifest says {wanted}: handoverd does not grow \
             volumes; grow it by hand while the service is stopped (virsh vol-resize, then the file system's own tool), \
             or say {there} in [data]"
        ))),
    }
}

fn nested(one: &str, other: &str) -> bool {
    let below = |path: &str, folder: &str| {
        path.strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    below(one, other) || below(other, one)
}

fn elsewhere(service: &ServiceId, volume: &HostId, target: &HostId) -> String {
    format!(
        "it is on host {target}, and the data volume of {service} is in the pool of host {volume}; choose a guest there"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_that_lie_in_each_other_are_nested() {
        for (one, other, expected) in [
            ("/srv/a", "/srv/a", true),
            ("/srv/a", "/srv/a/b", true),
            ("/srv/a/b", "/srv/a", true),
            ("/srv/a", "/srv/ab", false),
            ("/srv/a", "/var/lib/a", false),
        ] {
            assert_eq!(nested(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn a_volume_never_shrinks() {
        let web = "web".parse().unwrap();
        assert!(same_size(&web, 4096, 4096).is_ok());
        let error = same_size(&web, 8192, 4096).unwrap_err().to_string();
        assert!(error.contains("never shrunk"), "{error}");
    }
}
