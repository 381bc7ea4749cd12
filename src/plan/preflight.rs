//! Whether a guest will do as a target, and everything that is in the way.

use super::disk_slot;
use crate::model::disk::DiskSerial;
use crate::model::guest::{AgentInfo, DomainState, GuestDomain, ProbeReport};
use crate::model::obstacle::Obstacle;

/// The oldest systemd that a service is placed on: older ones have no `system.attached` in their unit path.
pub const OLDEST_SYSTEMD: u32 = 241;

/// What libvirt alone tells: nothing inside the guest is asked.
pub fn domain_obstacles(domain: &GuestDomain, serial: Option<&DiskSerial>) -> Vec<Obstacle> {
    let mut found = Vec::new();
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

/// What the probe inside the guest found, judged for a service with this user.
pub fn probe_obstacles(probe: &ProbeReport, user: Option<&str>, mount_point: &str) -> Vec<Obstacle> {
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
    if let Some(user) = user
        && probe.uid.is_none()
    {
        found.push(Obstacle::NoSuchUser(user.to_owned()));
    }
    found.extend(probe.foreign_units.iter().cloned().map(Obstacle::ForeignUnit));
    found.extend(probe.foreign_mount.iter().cloned().map(Obstacle::ForeignMount));
    if probe.foreign_folder {
        found.push(Obstacle::ForeignFolder(mount_point.to_owned()));
    }
    found.extend(probe.foreign_files.iter().cloned().map(Obstacle::ForeignFile));
    found.extend(probe.missing_tools.iter().cloned().map(Obstacle::NoCheckTool));
    found
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
        assert_eq!(probe_obstacles(&good(), None, "/opt/web"), vec![]);
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
                Obstacle::ForeignFolder("/opt/web".into()),
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
            assert_eq!(probe_obstacles(&probe, user, "/opt/web"), vec![obstacle]);
        }
    }
}
