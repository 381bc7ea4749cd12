//! What is said of a name by what the zone has at it: whose it is, whether it is claimed, committed, given back.

use std::net::IpAddr;

use super::Seen;
use crate::handover::goals::Kind;
use crate::handover::record::{ClaimedFrom, Handover, Reason};
use crate::model::ids::GuestId;
use crate::model::name::{NameRecords, Owner, Ownership};
use crate::model::service::ServiceRecord;

/// Whether the zone leads clients to the service's home, and says that it is its home.
pub fn points_at(records: &NameRecords, service: &ServiceRecord) -> bool {
    let mut ours = service.addresses.iter();
    let address = !service.addresses.is_empty() && ours.all(|a| records.addresses.contains(a));
    let owner = matches!(owner_text(records), Some(Ownership::Free(o) | Ownership::Claimed(_, Some(o)))
        if o.guest == service.guest && o.generation == service.generation);
    address && owner
}

/// Whether the zone leads clients to a service on a guest by what the table does not know, or may soon do so: the table is older
/// than the zone then, and what it owes on that guest is not to be carried out.
///
/// `service` is the row that the table has for the name (`None`: it has none). A name that leads elsewhere makes no guest a
/// home: another cluster may have taken it over. Nor does a claim of what the table has no row for.
pub fn may_be_home(records: &NameRecords, guest: GuestId, service: Option<&ServiceRecord>) -> bool {
    // A service that was removed and deployed again begins with the first generation.
    let is_another = |owner: &Owner, row: &ServiceRecord| owner.generation != row.generation;
    let leads_here = |owner: &Owner| {
        owner.guest == guest && service.is_none_or(|row| row.guest != guest || is_another(owner, row))
    };
    match owner_text(records) {
        Some(Ownership::Free(owner) | Ownership::Aborted(_, Some(owner))) => leads_here(&owner),
        // A claim does not tell where its handover goes.
        Some(Ownership::Claimed(_, Some(owner))) => {
            leads_here(&owner) || service.is_some_and(|row| is_another(&owner, row))
        }
        Some(Ownership::Claimed(_, None) | Ownership::Aborted(_, None)) | None => false,
    }
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
        (_, Some(Ownership::Claimed(id, _) | Ownership::Aborted(id, Some(_))))
        | (Some(_), Some(Ownership::Aborted(id, None))) => no(
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
    let seen = handover.facts.claim_seen;
    match owner_text(records) {
        Some(Ownership::Aborted(id, None)) if id == handover.id && !seen => Seen::Holds,
        Some(Ownership::Claimed(id, _) | Ownership::Aborted(id, _)) if id == handover.id => {
            Seen::missing("the claim stands in the zone")
        }
        _ if seen || !takes_late_claim(handover, records) => Seen::Holds,
        None => Seen::missing("the claim may still arrive: the name is free"),
        Some(_) => Seen::missing("the claim may still arrive: what it expects stands in the zone"),
    }
}

/// Whether a claim of this handover that comes late would be taken: what it expects stands in the zone.
fn takes_late_claim(handover: &Handover, records: &NameRecords) -> bool {
    let facts = &handover.facts;
    // An older version of the daemon journalled the owner before alone.
    let last = [ClaimedFrom {
        ownership: facts.old_owner.clone().map(Ownership::Free),
        addresses: facts.old_addresses.clone(),
    }];
    let mut from = match facts.claimed_from.as_slice() {
        [] => last.iter(),
        known => known.iter(),
    };
    let standing = owner_text(records);
    from.any(|expected| match &expected.ownership {
        // No text comes twice; addresses that somebody changed may be changed back.
        Some(_) => expected.ownership == standing,
        None => records.ownership.is_empty() && records.addresses == expected.addresses,
    })
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
