//! Pure judgements over what a look saw: whether a goal holds, and what is still missing.

use std::time::Duration;

use super::record::{Facts, Reason};
use crate::model::disk::DiskSerial;
use crate::model::guest::{CopyState, GuestDomain, UnitState};
use crate::model::life::{Enablement, LifeState};
use crate::model::name::NameRecords;
use crate::model::obstacle::Obstacle;
use crate::model::placement::Placement;
use crate::model::service::ServiceRecord;

mod names;

pub use names::*;

/// What a look says of a goal (or of its undo).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It holds.
    Holds,
    /// It does not hold: its act is needed.
    Missing(String),
    /// Nothing is left to be done for it but to wait and look again.
    Pending {
        /// What is waited for, for people.
        why: String,
        /// When it is worth looking again.
        again_in: Duration,
    },
    /// Undoing a commit: the message had arrived.
    Committed,
    /// It cannot come to hold: going on would be wrong.
    Never(Reason),
}

impl Seen {
    /// Not yet, because of `why`.
    pub fn missing(why: impl Into<String>) -> Self {
        Self::Missing(why.into())
    }

    /// `Holds` if `holds`, else missing because of `why`.
    pub fn holds_if(holds: bool, why: &str) -> Self {
        if holds { Self::Holds } else { Self::missing(why) }
    }
}

/// Which of a disk's two halves a domain has: (live, config).
pub fn disk_halves(domain: &GuestDomain, serial: &DiskSerial) -> (bool, bool) {
    let has = |d: Option<&crate::model::guest::Definition>| d.is_some_and(|d| d.disk(serial).is_some());
    (has(domain.live.as_ref()), has(domain.config.as_ref()))
}

/// Stage, when libvirt alone tells that it does not hold: no guest needs to be asked.
pub fn stage_lacks_disk(guest_name: &str, halves: (bool, bool)) -> Option<Seen> {
    (halves == (false, false)).then(|| Seen::missing(format!("{guest_name} lacks the disk")))
}

/// Stage: what the target still lacks, in the order in which it is given.
pub fn stage(
    facts: &Facts,
    guest_name: &str,
    user: Option<&str>,
    image: bool,
    halves: (bool, bool),
    copy: &CopyState,
    in_place: bool,
) -> Seen {
    if !in_place && let Some(reason) = uid_mismatch(facts, guest_name, user, copy) {
        return Seen::Never(reason);
    }
    let mut lacks = Vec::new();
    if !image {
        lacks.push("the bundle's image in the pool");
    }
    if !in_place {
        if !copy.installed {
            lacks.push("the units");
        }
        if copy.files_differ {
            lacks.push("config and secret files");
        }
        if facts.enablement == Enablement::Masked && copy.enablement != Enablement::Masked {
            lacks.push("the mask");
        }
        if !facts.wants_running() && !copy.is_down() {
            lacks.push("the stop of an old copy");
        }
        if !facts.wants_running() && copy.links > 0 {
            lacks.push("the removal of wants links");
        }
    }
    if !halves.0 {
        lacks.push("the disk in the live definition");
    }
    if !halves.1 {
        lacks.push("the disk in the persistent definition");
    }
    // Where the service is started next, that step waits for the device: one look less.
    if lacks.is_empty() && !copy.device && (in_place || !facts.wants_running()) {
        return Seen::Pending {
            why: format!("{guest_name} has not seen the disk yet"),
            again_in: Duration::from_millis(60),
        };
    }
    if lacks.is_empty() {
        Seen::Holds
    } else {
        Seen::missing(format!("{guest_name} lacks {}", lacks.join(", ")))
    }
}

fn uid_mismatch(facts: &Facts, guest_name: &str, user: Option<&str>, copy: &CopyState) -> Option<Reason> {
    let (user, source) = (user?, facts.uid?);
    let obstacle = match copy.uid {
        None => Obstacle::NoSuchUser(user.to_owned()),
        Some(target) if target != source => Obstacle::UidMismatch {
            user: user.to_owned(),
            source,
            target,
        },
        Some(_) => return None,
    };
    Some(Reason::new(
        "Unsuitable",
        format!("guest {guest_name} will not do: {obstacle}"),
    ))
}

/// Which of its halves have any of these disks: (live, config).
pub fn any_halves<'a>(domain: &GuestDomain, serials: impl Iterator<Item = &'a DiskSerial>) -> (bool, bool) {
    serials
        .map(|serial| disk_halves(domain, serial))
        .fold((false, false), |all, one| (all.0 || one.0, all.1 || one.1))
}

/// Whether a guest has no trace of a copy: neither disk nor units.
pub fn gone(halves: (bool, bool), copy: Option<&CopyState>) -> Seen {
    let mut left = Vec::new();
    if halves.1 {
        left.push("the disk in the persistent definition".to_owned());
    }
    if halves.0 {
        left.push("the disk in the live definition".to_owned());
    }
    if let Some(copy) = copy {
        if !copy.is_down() {
            left.push("running units".to_owned());
        }
        if copy.mounted || copy.data_mounted() {
            left.push("the mount".to_owned());
        }
        left.extend(copy.present.iter().cloned());
    }
    if left.is_empty() {
        Seen::Holds
    } else {
        Seen::missing(format!("still there: {}", left.join(", ")))
    }
}

/// The source that another disk than the service's is, wherever a definition has one with this serial.
pub fn other_source(domain: &GuestDomain, serial: &DiskSerial, expected: &str) -> Option<String> {
    let definitions = domain.live.iter().chain(domain.config.iter());
    definitions
        .filter_map(|definition| definition.disk(serial))
        .map(|disk| disk.source.clone().unwrap_or_else(|| "nothing".to_owned()))
        .find(|source| source != expected)
}

/// Whether a guest is off for certain, by what every host says of it.
pub fn dead(name: &str, everywhere: &[GuestDomain]) -> Seen {
    for domain in everywhere {
        let host = &domain.summary.host;
        if domain.is_active() {
            return Seen::missing(format!("guest {name} is active on {host}"));
        }
        if domain.summary.managed_save {
            return Seen::Never(asleep(name, domain));
        }
    }
    Seen::Holds
}

/// Why nothing can be said of, or done to, what a guest had when it was saved.
pub fn asleep(name: &str, domain: &GuestDomain) -> Reason {
    Reason::new(
        "GuestAsleep",
        format!(
            "guest {name} has a managed-save image on {}: it is asleep, not dead; start it, or remove the image (virsh \
             managedsave-remove {name})",
            domain.summary.host
        ),
    )
}

/// Fence: whether no definition of the source has a disk of the placement, and the source is off for certain.
pub fn fenced(name: &str, everywhere: &[GuestDomain], placement: &Placement) -> Seen {
    match dead(name, everywhere) {
        Seen::Missing(why) => {
            return Seen::Never(Reason::new(
                "SourceAlive",
                format!("{why}: it is not dead; ask for the move again"),
            ));
        }
        Seen::Holds => {}
        other => return other,
    }
    match everywhere.iter().find(|domain| has_a_disk(domain, placement)) {
        Some(domain) => Seen::missing(format!(
            "the definition of guest {name} on {} has a disk of the service",
            domain.summary.host
        )),
        None => Seen::Holds,
    }
}

/// Whether a persistent definition has a disk of the placement.
pub fn is_armed(everywhere: &[GuestDomain], placement: &Placement) -> bool {
    everywhere.iter().any(|domain| has_a_disk(domain, placement))
}

fn has_a_disk(domain: &GuestDomain, placement: &Placement) -> bool {
    let config = domain.config.as_ref();
    config.is_some_and(|config| placement.serials().any(|serial| config.disk(serial).is_some()))
}

/// Start: units up, and linked exactly if enabled.
pub fn started(facts: &Facts, copy: &CopyState, links: usize) -> Seen {
    if let Some(why) = super::volume::unmountable(copy) {
        return Seen::missing(why);
    }
    if !copy.is_up() {
        return Seen::missing(unit_states(copy));
    }
    is_linked(facts, copy, links)
}

/// Whether a copy is linked, unlinked or masked as the enablement asks of a service that is to run.
pub fn is_linked(facts: &Facts, copy: &CopyState, links: usize) -> Seen {
    let linked = usize::try_from(copy.links).is_ok_and(|n| n == links);
    match facts.enablement {
        Enablement::Enabled => Seen::holds_if(linked, "the wants links are missing"),
        Enablement::Disabled => Seen::holds_if(copy.links == 0, "wants links are there"),
        Enablement::Masked => {
            Seen::holds_if(copy.enablement == Enablement::Masked, "the units are not masked")
        }
    }
}

/// What the units are, for people.
pub(super) fn unit_states(copy: &CopyState) -> String {
    let state = |u: &UnitState| format!("{} is {} ({}, {})", u.unit, u.active, u.sub, u.result);
    copy.units.iter().map(state).collect::<Vec<_>>().join(", ")
}

/// What the source is seen to be, and what that makes of its wanted state: (life, enablement).
///
/// An operator's `systemctl stop` in the guest is adopted as the new wanted state, and so is a `systemctl start`;
/// units that went down by themselves are `failed` (design section 4). What is on its way, or has not been up since its guest
/// booted, was stopped by nobody: it stays wanted as it was, and counts as down all the same ([`is_down_unwanted`]).
pub fn observed(
    service: &ServiceRecord,
    copy: &CopyState,
    name: Option<&NameRecords>,
) -> (LifeState, Enablement) {
    let any_up = copy.units.iter().any(UnitState::is_active);
    let life = if any_up {
        let points = name.is_some_and(|records| points_at(records, service));
        if points {
            LifeState::Accessible
        } else {
            LifeState::Running
        }
    } else if copy.has_failed() || service.wanted == LifeState::Failed {
        LifeState::Failed
    } else if copy.is_changing() || (!copy.was_up && copy.enablement == service.enablement) {
        // Down since its guest booted, or on its way: nobody stopped it. Who disables a unit means it.
        service.wanted
    } else {
        LifeState::Stopped
    };
    let enablement = match copy.enablement {
        Enablement::Masked => Enablement::Masked,
        Enablement::Enabled => Enablement::Enabled,
        // No link: disabled by an operator if it runs, else as it was: a stopped service never has one.
        Enablement::Disabled if any_up => Enablement::Disabled,
        Enablement::Disabled => match service.enablement {
            Enablement::Masked => Enablement::Enabled,
            kept => kept,
        },
    };
    (life, enablement)
}

/// Whether every unit of a copy is down and none has failed: an operator's stop leaves it so, and a handover's.
pub fn is_inactive(copy: &CopyState) -> bool {
    copy.units.iter().all(|unit| unit.active == "inactive")
}

/// Whether a copy that counts as up by what is wanted of it is not up.
pub fn is_down_unwanted(copy: &CopyState, life: LifeState) -> bool {
    life.wants_running() && !copy.units.iter().any(UnitState::is_active)
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
