//! What the zone should say of a service: its address, and that its home guest is its home.

use std::net::IpAddr;

use super::finding::{Kind, Remedy, Repair};
use super::judge::Checked;
use crate::handover::verdict;
use crate::model::ids::HandoverId;
use crate::model::name::{DnsName, NameChange, NameRecords, Owner, Ownership};

/// The name of a service that no job has.
pub(super) fn check(checked: &mut Checked<'_>) {
    let Some(dns) = &checked.service.dns else { return };
    let (name, ttl) = (dns.name.clone(), dns.ttl);
    match checked.picture.names.get(&name) {
        Some(Ok(records)) => judge(checked, &name, ttl, records),
        Some(Err(why)) => {
            let what = format!("what the zone says of {name} cannot be told");
            checked.find_anywhere(Kind::CannotTell, what, Remedy::Unknown(why.clone()));
        }
        None => {}
    }
}

fn judge(checked: &mut Checked<'_>, name: &DnsName, ttl: u32, records: &NameRecords) {
    let service = checked.service;
    let ours = Owner {
        generation: service.generation,
        host: service.host.clone(),
        guest: service.guest,
        after: None,
    };
    let wanted = service.addresses.clone();
    let change = |expect, owner: &Owner, addresses: Option<(Vec<IpAddr>, u32)>| NameChange {
        name: name.clone(),
        expect_ownership: expect,
        expect_addresses: Some(records.addresses.clone()),
        ownership: Some(Ownership::Free(owner.clone())),
        addresses,
        srv: Vec::new(),
    };
    if let Some(alias) = &records.cname {
        let what = format!("{name} is a CNAME to {alias}");
        let remedy = Remedy::Operator(format!(
            "remove the CNAME; then `handoverctl audit {} --repair`",
            service.id
        ));
        return checked.find_anywhere(Kind::AddressDiffers, what, remedy);
    }
    let is_ours = |owner: &Owner| owner.guest == ours.guest && owner.generation == ours.generation;
    match verdict::owner_text(records) {
        Some(Ownership::Free(owner)) if is_ours(&owner) => {
            if records.addresses == wanted {
                return;
            }
            let what = format!("{name} does not lead to the address that the table knows");
            let remedy = if wanted.is_empty() {
                Remedy::Operator(
                    "the table knows no address of it: move the service, which finds one".to_owned(),
                )
            } else {
                Remedy::WhenTold(
                    Repair::SwapName(Box::new(change(
                        Some(Ownership::Free(owner.clone())),
                        &owner,
                        Some((wanted.clone(), ttl)),
                    ))),
                    format!("points it at {}", list(&wanted)),
                )
            };
            checked.find_anywhere(Kind::AddressDiffers, what, remedy);
        }
        Some(Ownership::Free(owner)) => {
            let what = format!(
                "the zone says that {name} belongs to generation {} on guest {} of host {}",
                owner.generation, owner.guest, owner.host
            );
            let todo = if owner.generation > ours.generation {
                "the table is older than the zone: restore a newer backup of the table, or find out who moved the name; \
                 nothing is overwritten"
            } else {
                "find out who changed it; nothing is overwritten"
            };
            checked.find_anywhere(Kind::OwnerDiffers, what, Remedy::Operator(todo.to_owned()));
        }
        Some(ref left @ (Ownership::Claimed(id, ref before) | Ownership::Aborted(id, ref before))) => {
            // A job that was abandoned may have left a lowered TTL, and clients that it has led to its target, as well.
            let restored = ((records.addresses != wanted || records.ttl != ttl) && !wanted.is_empty())
                .then(|| (wanted.clone(), ttl));
            // As an undo does: another text than the claim expects, so that what is late of that job finds nothing to change.
            let given_back = before
                .as_ref()
                .filter(|owner| is_ours(owner) && (restored.is_some() || records.addresses == wanted))
                .map(|owner| Owner {
                    after: Some(id),
                    ..owner.clone()
                })
                .map(|owner| change(Some(left.clone()), &owner, restored));
            claim_left(checked, name, id, given_back);
        }
        None if records.ownership.is_empty() => {
            let what = format!("the zone does not say who owns {name}");
            let free = records.addresses.is_empty() || records.addresses == wanted;
            let remedy = if free && !wanted.is_empty() {
                Remedy::WhenTold(
                    Repair::SwapName(Box::new(change(None, &ours, Some((wanted.clone(), ttl))))),
                    format!("writes its owner, and {}", list(&wanted)),
                )
            } else {
                Remedy::Operator("somebody else has taken the name; nothing is overwritten".to_owned())
            };
            checked.find_anywhere(Kind::OwnerDiffers, what, remedy);
        }
        None => {
            let what = format!("_handover.{name} holds a text that is not ours");
            let remedy = Remedy::Operator("remove that text from the zone, if nobody needs it".to_owned());
            checked.find_anywhere(Kind::OwnerDiffers, what, remedy);
        }
    }
}

/// A claim of a handover that the table does not have open: what an abandoned job left, or another daemon's.
/// `give_back`: where the owner before was this service as the table knows it.
fn claim_left(checked: &mut Checked<'_>, name: &DnsName, id: HandoverId, give_back: Option<NameChange>) {
    let what = format!("{name} is claimed by handover {id}, which is not open here");
    let remedy = match give_back {
        Some(change) => {
            let leads = change.addresses.as_ref();
            let leads = leads.map_or(String::new(), |(there, _)| {
                format!(", and points it at {}", list(there))
            });
            Remedy::WhenTold(
                Repair::SwapName(Box::new(change)),
                format!("gives the name back to the owner that it had{leads}"),
            )
        }
        None => Remedy::Operator(
            "find out whose claim it is, and restore the TXT by nsupdate; nothing is overwritten".to_owned(),
        ),
    };
    checked.find_anywhere(Kind::ClaimLeft, what, remedy);
}

fn list(addresses: &[IpAddr]) -> String {
    let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    words.join(" ")
}
