//! The messages that are sent: UPDATE (RFC 2136) and plain questions. Pure: no IO, no clock, id 0.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::ProtoError;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::model::name::{DnsName, NameChange, Ownership, SrvLabel};

/// TTL in seconds of an ownership TXT that is written without addresses beside it.
pub const OWNERSHIP_TTL: u32 = 60;

/// The greatest TTL that is written, in seconds: a week. 0 would keep resolvers from remembering anything.
pub const MAX_TTL: u32 = 7 * 24 * 3600;

/// Why no message can be made of a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChange {
    /// The name is not in the message's zone: names of two zones never share a message.
    #[error("{name} is not in zone {zone}: send it to the primary of its own zone")]
    OutsideZone {
        /// The name.
        name: DnsName,
        /// The zone of the message.
        zone: DnsName,
    },
    /// One message would change one name twice, and the second prerequisites could not see the first change.
    #[error("{0} stands twice in one update: send its changes one after the other")]
    Twice(DnsName),
    /// The TTL is out of range.
    #[error("TTL {ttl} of {name} cannot be written: it must be 1 to {MAX_TTL} seconds (a week)")]
    Ttl {
        /// The name.
        name: DnsName,
        /// Its TTL in seconds.
        ttl: u32,
    },
    /// The DNS library refused the name.
    #[error("{0} cannot be written as a DNS name: {1}")]
    Name(DnsName, String),
}

/// One UPDATE message for all `changes`, which must be names of `zone`: all of them or none happens.
///
/// Prerequisites (RFC 2136 section 2.4) of each change: the ownership TXT is exactly the expected one or absent; A
/// and AAAA are exactly the expected sets, or the name owns nothing; and where addresses are set, no CNAME is there
/// (a server would ignore addresses beside it and still answer NOERROR). Updates (section 2.5): the RRset is deleted,
/// then written anew, which a server applies as one new version of the zone. The id is 0.
///
/// # Errors
/// [`InvalidChange`] for a name outside `zone`, a name given twice, a TTL out of range.
pub fn update_message(zone: &DnsName, changes: &[NameChange]) -> Result<Message, InvalidChange> {
    let mut message = update_of(zone)?;
    let mut seen = BTreeSet::new();
    for change in changes {
        if !change.name.is_in(zone) {
            return Err(InvalidChange::OutsideZone {
                name: change.name.clone(),
                zone: zone.clone(),
            });
        }
        if !seen.insert(&change.name) {
            return Err(InvalidChange::Twice(change.name.clone()));
        }
        add_prerequisites(&mut message, change)?;
        add_updates(&mut message, change)?;
    }
    Ok(message)
}

/// A PTR record that comes or goes. It has no prerequisite: adding one twice, or removing one that is not there,
/// changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// The address that points back.
    pub address: IpAddr,
    /// The service's name that it points to. Other names at the same address stay.
    pub name: DnsName,
    /// Its TTL in seconds; `None` takes the record away.
    pub ttl: Option<u32>,
}

/// One UPDATE message for all `pointers`, whose reverse names must be in `zone`. The id is 0.
///
/// # Errors
/// [`InvalidChange`] for a reverse name outside `zone`.
pub fn pointer_message(zone: &DnsName, pointers: &[Pointer]) -> Result<Message, InvalidChange> {
    let mut message = update_of(zone)?;
    for pointer in pointers {
        let reverse = DnsName::reverse(pointer.address);
        if !reverse.is_in(zone) {
            return Err(InvalidChange::OutsideZone {
                name: reverse,
                zone: zone.clone(),
            });
        }
        let data = RData::PTR(PTR(name_of(&pointer.name, pointer.name.as_str())?));
        let ttl = pointer.ttl.unwrap_or(0);
        let mut record = Record::from_rdata(name_of(&reverse, reverse.as_str())?, ttl, data);
        if pointer.ttl.is_none() {
            // RFC 2136 section 2.5.4: class NONE deletes this one record from its set.
            record.dns_class = DNSClass::NONE;
        }
        message.add_authority(record);
    }
    Ok(message)
}

/// An UPDATE message for `zone` without any change.
fn update_of(zone: &DnsName) -> Result<Message, InvalidChange> {
    let mut message = Message::new(0, MessageType::Query, OpCode::Update);
    message.add_query(Query::query(name_of(zone, zone.as_str())?, RecordType::SOA));
    Ok(message)
}

/// The questions whose answers make up a name's records: A (which also shows a CNAME), AAAA, TXT of its ownership,
/// and SRV at each of `labels`. The ids are 0.
pub(super) fn questions(name: &DnsName, labels: &[SrvLabel]) -> Result<Vec<Message>, InvalidChange> {
    let address = name_of(name, name.as_str())?;
    let mut asked = vec![
        question(&address, RecordType::A),
        question(&address, RecordType::AAAA),
        question(&name_of(name, &name.ownership())?, RecordType::TXT),
    ];
    for label in labels {
        asked.push(question(&srv_owner(name, label)?, RecordType::SRV));
    }
    Ok(asked)
}

/// One question. RD stays clear: the server must answer by itself.
pub(super) fn question(name: &Name, kind: RecordType) -> Message {
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name.clone(), kind));
    message
}

/// `text`, which belongs to `name`, in the library's type.
pub(super) fn name_of(name: &DnsName, text: &str) -> Result<Name, InvalidChange> {
    Name::from_ascii(text).map_err(|e: ProtoError| InvalidChange::Name(name.clone(), e.to_string()))
}

fn add_prerequisites(message: &mut Message, change: &NameChange) -> Result<(), InvalidChange> {
    let name = name_of(&change.name, change.name.as_str())?;
    let owner = name_of(&change.name, &change.name.ownership())?;
    message.add_answer(match &change.expect_ownership {
        Some(ownership) => Record::from_rdata(owner, 0, text(ownership)),
        None => empty(owner, DNSClass::NONE, RecordType::TXT),
    });
    if let Some(expected) = &change.expect_addresses {
        if expected.is_empty() {
            message.add_answer(empty(name.clone(), DNSClass::NONE, RecordType::ANY));
            for set in &change.srv {
                let place = srv_owner(&change.name, &set.label)?;
                message.add_answer(empty(place, DNSClass::NONE, RecordType::SRV));
            }
        } else {
            for (kind, set) in by_type(expected) {
                if set.is_empty() {
                    message.add_answer(empty(name.clone(), DNSClass::NONE, kind));
                }
                for address in set {
                    message.add_answer(Record::from_rdata(name.clone(), 0, address));
                }
            }
        }
    }
    if change.addresses.as_ref().is_some_and(|(set, _)| !set.is_empty()) {
        message.add_answer(empty(name, DNSClass::NONE, RecordType::CNAME));
    }
    Ok(())
}

fn add_updates(message: &mut Message, change: &NameChange) -> Result<(), InvalidChange> {
    let name = name_of(&change.name, change.name.as_str())?;
    let owner = name_of(&change.name, &change.name.ownership())?;
    let ttl = match &change.addresses {
        Some((set, ttl)) if !set.is_empty() => *ttl,
        _ => OWNERSHIP_TTL,
    };
    if !(1..=MAX_TTL).contains(&ttl) {
        return Err(InvalidChange::Ttl {
            name: change.name.clone(),
            ttl,
        });
    }
    if let Some((set, _)) = &change.addresses {
        for (kind, addresses) in by_type(set) {
            message.add_authority(empty(name.clone(), DNSClass::ANY, kind));
            for address in addresses {
                message.add_authority(Record::from_rdata(name.clone(), ttl, address));
            }
        }
    }
    for set in &change.srv {
        let place = srv_owner(&change.name, &set.label)?;
        message.add_authority(empty(place.clone(), DNSClass::ANY, RecordType::SRV));
        for srv in &set.records {
            let data = SRV::new(srv.priority, srv.weight, srv.port, name.clone());
            message.add_authority(Record::from_rdata(place.clone(), ttl, RData::SRV(data)));
        }
    }
    message.add_authority(empty(owner.clone(), DNSClass::ANY, RecordType::TXT));
    if let Some(ownership) = &change.ownership {
        message.add_authority(Record::from_rdata(owner, ttl, text(ownership)));
    }
    Ok(())
}

/// Where the SRV records of `label` stand. A label before a long name may not fit.
fn srv_owner(name: &DnsName, label: &SrvLabel) -> Result<Name, InvalidChange> {
    name_of(name, &label.of(name))
}

/// A record without data: with class NONE "does not exist", with class ANY "delete".
fn empty(name: Name, class: DNSClass, kind: RecordType) -> Record {
    let mut record = Record::update0(name, 0, kind);
    record.dns_class = class;
    record
}

fn text(ownership: &Ownership) -> RData {
    RData::TXT(TXT::new(vec![ownership.to_string()]))
}

/// The addresses without doubles, A before AAAA.
fn by_type(addresses: &[IpAddr]) -> [(RecordType, Vec<RData>); 2] {
    let set: BTreeSet<&IpAddr> = addresses.iter().collect();
    let (mut four, mut six) = (Vec::new(), Vec::new());
    for address in set {
        match address {
            IpAddr::V4(ip) => four.push(RData::A(A(*ip))),
            IpAddr::V6(ip) => six.push(RData::AAAA(AAAA(*ip))),
        }
    }
    [(RecordType::A, four), (RecordType::AAAA, six)]
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
