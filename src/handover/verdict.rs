//! Pure judgements over what a look saw: whether a goal holds, and what is still missing.

use std::net::IpAddr;
use std::time::Duration;

use super::goals::Kind;
use super::record::{Facts, Handover, Reason};
use crate::model::disk::DiskSerial;
use crate::model::guest::{CopyState, GuestDomain, UnitState};
use crate::model::life::{Enablement, LifeState};
use crate::model::name::{NameRecords, Owner, Ownership};
use crate::model::obstacle::Obstacle;
use crate::model::placement::Placement;
use crate::model::service::ServiceRecord;

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

/// Whether a copy that counts as up by what is wanted of it is not up.
pub fn is_down_unwanted(copy: &CopyState, life: LifeState) -> bool {
    life.wants_running() && !copy.units.iter().any(UnitState::is_active)
}

/// Whether the zone leads clients to the service's home, and says that it is its home.
pub fn points_at(records: &NameRecords, service: &ServiceRecord) -> bool {
    let mut ours = service.addresses.iter();
    let address = !service.addresses.is_empty() && ours.all(|a| records.addresses.contains(a));
    let owner = matches!(owner_text(records), Some(Ownership::Free(o) | Ownership::Claimed(_, Some(o)))
        if o.guest == service.guest && o.generation == service.generation);
    address && owner
}

/// The one ownership text of a name, if it is one that we understand.
pub fn owner_text(records: &NameRecords) -> Option<Ownership> {
    match records.ownership.as_slice() {
        [one] => one.parse().ok(),
        _ => None,
    }
}

/// What may be done about a name before anything was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimable {
    /// The claim stands.
    Ours,
    /// It may be claimed: from this owner (`None`: it had none), while this ownership still stands.
    From {
        /// The owner before.
        owner: Option<Owner>,
        /// What must stand in the zone when the claim is written.
        expect: Option<Ownership>,
    },
    /// It is not ours to claim.
    No(Reason),
}

/// Reserve: whether this handover may claim the name that is read as `records`.
///
/// `service` is the table's row (`None` at a deploy).
pub fn claimable(handover: &Handover, service: Option<&ServiceRecord>, records: &NameRecords) -> Claimable {
    let Some(name) = &handover.facts.name else {
        return Claimable::Ours;
    };
    let text = owner_text(records);
    if let Some(Ownership::Claimed(id, _)) = &text
        && *id == handover.id
    {
        return Claimable::Ours;
    }
    let no = |error: &str, text: String| Claimable::No(Reason::new(error, text));
    if let Some(alias) = &records.cname {
        return no(
            "NameIsAlias",
            format!(
                "{name} is a CNAME to {alias}; a service's name must own its addresses: remove the CNAME first"
            ),
        );
    }
    let found = describe(records);
    if handover.facts.take_over {
        let owner = match &text {
            Some(Ownership::Free(owner)) => Some(owner.clone()),
            Some(Ownership::Claimed(_, owner) | Ownership::Aborted(_, owner)) => owner.clone(),
            None if records.ownership.is_empty() => None,
            None => {
                return no(
                    "NameTaken",
                    format!("_handover.{name} holds a text that is not ours: {found}; remove it first"),
                );
            }
        };
        return Claimable::From { owner, expect: text };
    }
    match (service, text) {
        // What a deploy has left whose claim may still have been under way.
        (None, Some(Ownership::Aborted(id, None))) if records.addresses.is_empty() => Claimable::From {
            owner: None,
            expect: Some(Ownership::Aborted(id, None)),
        },
        (_, Some(Ownership::Claimed(id, _) | Ownership::Aborted(id, _))) => no(
            "NameClaimed",
            format!(
                "{name} is claimed by handover {id}; wait for it, or free it by `handoverctl audit --repair`"
            ),
        ),
        (Some(service), Some(Ownership::Free(owner)))
            if owner.guest == service.guest && owner.generation == service.generation =>
        {
            let ours = &service.addresses;
            if records.addresses == *ours {
                Claimable::From {
                    owner: Some(owner.clone()),
                    expect: Some(Ownership::Free(owner)),
                }
            } else {
                no(
                    "NameChanged",
                    format!(
                        "{name} was changed by somebody else: the table knows {}, the zone says {found}; nothing is overwritten",
                        list(ours)
                    ),
                )
            }
        }
        (Some(service), _) => no(
            "NameChanged",
            format!(
                "{name} is not {}'s at generation {}: the zone says {found}; nothing is overwritten",
                service.id, service.generation
            ),
        ),
        (None, None) if records.addresses.is_empty() && records.ownership.is_empty() => Claimable::From {
            owner: None,
            expect: None,
        },
        (None, _) => no(
            "NameTaken",
            format!(
                "{name} is there already: the zone says {found}; deploy with `--take-over` to take it over"
            ),
        ),
    }
}

/// Publish, forward: whether the commit is seen.
pub fn published(handover: &Handover, records: &NameRecords) -> Seen {
    let wanted = &handover.facts.target_addresses;
    match owner_text(records) {
        Some(Ownership::Free(owner)) if handover.is_new_owner(&owner) => {
            if records.addresses == *wanted {
                Seen::Holds
            } else {
                changed(handover, records)
            }
        }
        Some(Ownership::Claimed(id, _)) if id == handover.id => {
            Seen::missing("the name points at the source")
        }
        _ => changed(handover, records),
    }
}

/// Lead: whether the name gives the target's addresses while this handover's claim stands.
pub fn is_led(handover: &Handover, records: &NameRecords) -> bool {
    let claimed = matches!(owner_text(records), Some(Ownership::Claimed(id, _)) if id == handover.id);
    claimed && records.addresses == handover.facts.target_addresses
}

/// Publish, back: whether a message that may have been sent can still do something.
pub fn withdrawn(handover: &Handover, records: &NameRecords) -> Seen {
    match owner_text(records) {
        Some(Ownership::Free(owner)) if handover.is_new_owner(&owner) => Seen::Committed,
        Some(Ownership::Claimed(id, _)) if id == handover.id => {
            Seen::missing("the update may still arrive: its claim stands")
        }
        _ => Seen::Holds,
    }
}

/// Reserve, back: whether nothing of this handover is left at the name, and no claim of it can come late.
pub fn released(handover: &Handover, records: &NameRecords) -> Seen {
    let (before, seen) = (&handover.facts.old_owner, handover.facts.claim_seen);
    match owner_text(records) {
        Some(Ownership::Aborted(id, None)) if id == handover.id && !seen => Seen::Holds,
        Some(Ownership::Claimed(id, _) | Ownership::Aborted(id, _)) if id == handover.id => {
            Seen::missing("the claim stands in the zone")
        }
        Some(Ownership::Free(owner)) if !seen && Some(&owner) == before.as_ref() => {
            Seen::missing("the claim may still arrive: what it expects stands in the zone")
        }
        None if !seen && before.is_none() && *records == NameRecords::default() => {
            Seen::missing("the claim may still arrive: the name is free")
        }
        _ => Seen::Holds,
    }
}

/// Whether a removal has nothing to claim: the name has no owner any more, and so is not ours to remove.
pub fn is_left_alone(kind: Kind, records: &NameRecords) -> bool {
    kind == Kind::Remove && records.ownership.is_empty()
}

/// Unpublish, forward: whether the name is gone.
pub fn unpublished(handover: &Handover, records: &NameRecords) -> Seen {
    match owner_text(records) {
        Some(Ownership::Claimed(id, _)) if id == handover.id => Seen::missing("the name is in the zone"),
        None if records.ownership.is_empty() => Seen::Holds,
        _ => changed(handover, records),
    }
}

/// Unpublish, back: whether a message that may have been sent can still do something.
pub fn republished(handover: &Handover, records: &NameRecords) -> Seen {
    match owner_text(records) {
        None if records.ownership.is_empty() => Seen::Committed,
        Some(Ownership::Claimed(id, _)) if id == handover.id => {
            Seen::missing("the update may still arrive: its claim stands")
        }
        _ => Seen::Holds,
    }
}

fn changed(handover: &Handover, records: &NameRecords) -> Seen {
    let name = handover
        .facts
        .name
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    Seen::Never(Reason::new(
        "NameChanged",
        format!(
            "{name} was changed by somebody else during the handover: the zone says {}; nothing is overwritten",
            describe(records)
        ),
    ))
}

/// A name's records for people.
pub fn describe(records: &NameRecords) -> String {
    let mut parts = Vec::new();
    if let Some(alias) = &records.cname {
        parts.push(format!("CNAME {alias}"));
    }
    parts.push(if records.addresses.is_empty() {
        "no address".to_owned()
    } else {
        list(&records.addresses)
    });
    parts.push(match records.ownership.as_slice() {
        [] => "no owner".to_owned(),
        texts => format!(
            "owner {}",
            texts
                .iter()
                .map(|t| format!("{t:?}"))
                .collect::<Vec<_>>()
                .join(" and ")
        ),
    });
    parts.join(", ")
}

/// Addresses for people.
pub fn list(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return "no address".to_owned();
    }
    addresses
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
