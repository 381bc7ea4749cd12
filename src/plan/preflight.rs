//! Whether a guest will do as a target, and everything that is in the way.

use super::disk_slot;
use crate::model::disk::DiskSerial;
use crate::model::guest::{AgentInfo, DomainState, GuestDomain, ProbeReport};
use crate::model::ids::{Digest, HostId, ServiceId};
use crate::model::manifest::Manifest;
use crate::model::obstacle::Obstacle;
use crate::model::placement::Placement;
use crate::model::service::BundleRecord;

/// The oldest systemd that a service is placed on: older ones have no `system.attached` in their unit path.
pub const OLDEST_SYSTEMD: u32 = 241;

/// What libvirt alone tells the daemon of host `own`: nothing inside the guest is asked.
pub fn domain_obstacles(domain: &GuestDomain, serial: Option<&DiskSerial>, own: &HostId) -> Vec<Obstacle> {
    let mut found = Vec::new();
    if let Some(other) = domain.summary.other_controller(own) {
        found.push(Obstacle::ControlledElsewhere(other.to_owned()));
    }
    if domain.config.is_none() {
        found.push(Obstacle::Transient);
    }
    if domain.summary.managed_save {
        found.push(Obstacle::ManagedSave);
    }
    if domain.summary.state != DomainState::Running {
        found.push(Obstacle::NotRunning(domain.summary.state));
        return found;
    }
    let any = DiskSerial::of_nothing();
    if let Err(obstacle) = disk_slot::choose(domain, serial.unwrap_or(&any))
        && !found.contains(&obstacle)
    {
        found.push(obstacle);
    }
    found
}

/// What the guest agent tells of itself.
pub fn agent_obstacles(info: &AgentInfo) -> Vec<Obstacle> {
    if info.disabled.is_empty() {
        Vec::new()
    } else {
        vec![Obstacle::AgentCommandsDisabled(info.disabled.clone())]
    }
}

/// What the probe inside the guest found, judged for a placement whose user has this uid where it is now.
pub fn probe_obstacles(probe: &ProbeReport, placement: &Placement, uid: Option<u32>) -> Vec<Obstacle> {
    let mut found = Vec::new();
    if probe.systemd < OLDEST_SYSTEMD {
        found.push(Obstacle::SystemdTooOld(probe.systemd));
    }
    if !probe.etc_writable {
        found.push(Obstacle::EtcReadOnly);
    }
    if !probe.squashfs {
        found.push(Obstacle::NoSquashfs);
    }
    found.extend(probe.claimers.iter().cloned().map(Obstacle::DiskClaimed));
    found.extend(probe.ports_in_use.iter().copied().map(Obstacle::PortInUse));
    if let Some(user) = &placement.user {
        match (probe.uid, uid) {
            (None, _) => found.push(Obstacle::NoSuchUser(user.clone())),
            (Some(target), Some(source)) if target != source => {
                found.push(Obstacle::UidMismatch {
                    user: user.clone(),
                    source,
                    target,
                });
            }
            (Some(_), _) => {}
        }
    }
    found.extend(probe.foreign_units.iter().cloned().map(Obstacle::ForeignUnit));
    found.extend(probe.foreign_mount.iter().cloned().map(Obstacle::ForeignMount));
    if probe.foreign_folder {
        found.push(Obstacle::ForeignFolder(placement.mount_point.clone()));
    }
    found.extend(probe.foreign_files.iter().cloned().map(Obstacle::ForeignFile));
    if let Some(data) = &placement.data {
        let place = || data.mount_point.clone();
        let mount = probe.foreign_data_mount.iter().cloned();
        found.extend(mount.map(|what| Obstacle::ForeignDataMount(what, place())));
        if probe.foreign_data_folder {
            found.push(Obstacle::ForeignDataFolder(place()));
        }
        found.extend(probe.missing_data_tools.iter().cloned().map(Obstacle::NoDataTool));
    }
    found.extend(probe.missing_tools.iter().cloned().map(Obstacle::NoCheckTool));
    found
}

/// A service that asks nothing of a guest beyond what every service asks.
pub fn any_service() -> Placement {
    let manifest = Manifest {
        service: ServiceId::of_any_service(),
        version: String::new(),
        units: Vec::new(),
        check: None,
        dns: None,
        srv: Vec::new(),
        user: None,
        config: Vec::new(),
        secrets: Vec::new(),
        ports: Vec::new(),
        data: None,
        needs: crate::model::needs::Needs::default(),
        overlap: true,
        movable: true,
    };
    let bundle = BundleRecord {
        digest: Digest::from_sha256(&[0; 32]),
        size: 0,
        manifest,
        units: Vec::new(),
        registered: 0,
    };
    // As for a bundle, so that every script can be made from it.
    Placement::of(&bundle, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> ProbeReport {
        ProbeReport {
            systemd: 252,
            machine: "x86_64".into(),
            etc_writable: true,
            squashfs: true,
            ..ProbeReport::default()
        }
    }

    #[test]
    fn a_guest_with_nothing_in_the_way_has_no_obstacles() {
        assert_eq!(probe_obstacles(&good(), &any_service(), None), vec![]);
    }

    fn placement(user: Option<&str>) -> Placement {
        Placement {
            user: user.map(str::to_owned),
            ..any_service()
        }
    }

    #[test]
    fn a_user_needs_the_uid_that_it_has_where_it_is() {
        let probe = |uid| ProbeReport { uid, ..good() };
        let web = placement(Some("web"));
        assert_eq!(probe_obstacles(&probe(Some(33)), &web, Some(33)), vec![]);
        assert_eq!(
            probe_obstacles(&probe(Some(34)), &web, None),
            vec![],
            "nowhere yet"
        );
        let mismatch = Obstacle::UidMismatch {
            user: "web".into(),
            source: 33,
            target: 34,
        };
        assert_eq!(probe_obstacles(&probe(Some(34)), &web, Some(33)), vec![mismatch]);
    }

    #[test]
    fn everything_in_the_way_is_named() {
        let cases: Vec<(ProbeReport, Option<&str>, Obstacle)> = vec![
            (
                ProbeReport {
                    systemd: 240,
                    ..good()
                },
                None,
                Obstacle::SystemdTooOld(240),
            ),
            (
                ProbeReport {
                    etc_writable: false,
                    ..good()
                },
                None,
                Obstacle::EtcReadOnly,
            ),
            (
                ProbeReport {
                    squashfs: false,
                    ..good()
                },
                None,
                Obstacle::NoSquashfs,
            ),
            (
                ProbeReport {
                    claimers: vec!["multipathd".into()],
                    ..good()
                },
                None,
                Obstacle::DiskClaimed("multipathd".into()),
            ),
            (
                ProbeReport {
                    ports_in_use: vec![8080],
                    ..good()
                },
                None,
                Obstacle::PortInUse(8080),
            ),
            (good(), Some("web"), Obstacle::NoSuchUser("web".into())),
            (
                ProbeReport {
                    foreign_units: vec!["/etc/systemd/system/web.service".into()],
                    ..good()
                },
                None,
                Obstacle::ForeignUnit("/etc/systemd/system/web.service".into()),
            ),
            (
                ProbeReport {
                    foreign_mount: Some("/dev/vdb".into()),
                    ..good()
                },
                None,
                Obstacle::ForeignMount("/dev/vdb".into()),
            ),
            (
                ProbeReport {
                    foreign_folder: true,
                    ..good()
                },
                None,
                Obstacle::ForeignFolder(any_service().mount_point),
            ),
            (
                ProbeReport {
                    missing_tools: vec!["curl".into()],
                    ..good()
                },
                None,
                Obstacle::NoCheckTool("curl".into()),
            ),
        ];
        for (probe, user, obstacle) in cases {
            assert_eq!(
                probe_obstacles(&probe, &placement(user), Some(33)),
                vec![obstacle]
            );
        }
    }
}
