//! The messages that are sent: UPDATE (RFC 2136) and plain questions. Pure: no IO, no clock, id 0.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::ProtoError;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::{A, AAAA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::model::name::{DnsName, NameChange, Ownership};

/// TTL in seconds of an ownership TXT that is written without addresses beside it.
pub const OWNERSHIP_TTL: u32 = 60;

/// The greatest TTL (RFC 2181 section 8).
const MAX_TTL: u32 = 0x7fff_ffff;

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
    /// The TTL is greater than DNS allows.
    #[error("TTL {ttl} of {name} is too great: the greatest is {MAX_TTL} seconds")]
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
    let mut message = Message::new(0, MessageType::Query, OpCode::Update);
    message.add_query(Query::query(name_of(zone, zone.as_str())?, RecordType::SOA));
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

/// The questions whose answers make up a name's records: A, AAAA, CNAME, and TXT of its ownership. The ids are 0.
pub(super) fn questions(name: &DnsName) -> Result<Vec<Message>, InvalidChange> {
    let address = name_of(name, name.as_str())?;
    let ownership = name_of(name, &name.ownership())?;
    let ask = |name: &Name, kind| {
        // RD stays clear: the primary must answer by itself.
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(name.clone(), kind));
        message
    };
    Ok(vec![
        ask(&address, RecordType::A),
        ask(&address, RecordType::AAAA),
        ask(&address, RecordType::CNAME),
        ask(&ownership, RecordType::TXT),
    ])
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
    if ttl > MAX_TTL {
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
    message.add_authority(empty(owner.clone(), DNSClass::ANY, RecordType::TXT));
    if let Some(ownership) = &change.ownership {
        message.add_authority(Record::from_rdata(owner, ttl, text(ownership)));
    }
    Ok(())
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
mod tests {
    use super::*;
    use crate::model::ids::Generation;
    use crate::model::name::Owner;

    fn ownership(generation: u64) -> Ownership {
        Ownership::Free(Owner {
            generation: Generation(generation),
            host: "hv1".parse().unwrap(),
            guest: "6f1d5a2e-0000-4000-8000-000000000001".parse().unwrap(),
            after: None,
        })
    }

    fn change(name: &str) -> NameChange {
        NameChange {
            name: name.parse().unwrap(),
            expect_ownership: Some(ownership(1)),
            expect_addresses: Some(vec!["10.0.0.1".parse().unwrap()]),
            ownership: Some(ownership(2)),
            addresses: Some((vec!["10.0.0.2".parse().unwrap()], 5)),
        }
    }

    fn zone() -> DnsName {
        "svc.lab".parse().unwrap()
    }

    /// `name class type ttl data` of each record, short enough to read in a table.
    fn shown(records: &[Record]) -> Vec<String> {
        records
            .iter()
            .map(|r| {
                let data = match &r.data {
                    RData::A(a) => a.to_string(),
                    RData::AAAA(a) => a.to_string(),
                    RData::TXT(t) => t.to_string().split(' ').next().unwrap().to_owned(),
                    RData::Update0(_) => "-".to_owned(),
                    other => panic!("{other:?}"),
                };
                format!("{} {} {} {} {data}", r.name, r.dns_class, r.record_type(), r.ttl)
            })
            .collect()
    }

    fn shown_update(change: NameChange) -> (Vec<String>, Vec<String>) {
        let message = update_message(&zone(), &[change]).unwrap();
        (shown(&message.answers), shown(&message.authorities))
    }

    #[test]
    fn a_swap_asks_for_the_old_values_and_writes_the_new_ones() {
        let (prerequisites, updates) = shown_update(change("web.svc.lab"));
        assert_eq!(
            prerequisites,
            [
                "_handover.web.svc.lab. IN TXT 0 g=1",
                "web.svc.lab. IN A 0 10.0.0.1",
                "web.svc.lab. NONE AAAA 0 -",
                "web.svc.lab. NONE CNAME 0 -",
            ]
        );
        assert_eq!(
            updates,
            [
                "web.svc.lab. ANY A 0 -",
                "web.svc.lab. IN A 5 10.0.0.2",
                "web.svc.lab. ANY AAAA 0 -",
                "_handover.web.svc.lab. ANY TXT 0 -",
                "_handover.web.svc.lab. IN TXT 5 g=2",
            ]
        );
    }

    #[test]
    fn a_first_publication_asks_that_the_name_owns_nothing() {
        let (prerequisites, _) = shown_update(NameChange {
            expect_ownership: None,
            expect_addresses: Some(vec![]),
            ..change("web.svc.lab")
        });
        assert_eq!(
            prerequisites,
            [
                "_handover.web.svc.lab. NONE TXT 0 -",
                "web.svc.lab. NONE ANY 0 -",
                "web.svc.lab. NONE CNAME 0 -",
            ]
        );
    }

    #[test]
    fn a_claim_touches_only_the_txt_and_lives_sixty_seconds() {
        let (prerequisites, updates) = shown_update(NameChange {
            expect_addresses: None,
            addresses: None,
            ..change("web.svc.lab")
        });
        assert_eq!(prerequisites, ["_handover.web.svc.lab. IN TXT 0 g=1"]);
        assert_eq!(
            updates,
            [
                "_handover.web.svc.lab. ANY TXT 0 -",
                "_handover.web.svc.lab. IN TXT 60 g=2",
            ]
        );
    }

    #[test]
    fn a_removal_deletes_all_three_rrsets_and_writes_none() {
        let (_, updates) = shown_update(NameChange {
            ownership: None,
            addresses: Some((vec![], 0)),
            ..change("web.svc.lab")
        });
        assert_eq!(
            updates,
            [
                "web.svc.lab. ANY A 0 -",
                "web.svc.lab. ANY AAAA 0 -",
                "_handover.web.svc.lab. ANY TXT 0 -",
            ]
        );
    }

    #[test]
    fn doubled_addresses_are_written_once_and_both_families_go_together() {
        let two: Vec<IpAddr> = ["fd00::2", "10.0.0.2", "10.0.0.2"]
            .iter()
            .map(|a| a.parse().unwrap())
            .collect();
        let (prerequisites, updates) = shown_update(NameChange {
            expect_addresses: Some(two.clone()),
            addresses: Some((two, 5)),
            ..change("web.svc.lab")
        });
        assert_eq!(
            prerequisites[1..3],
            ["web.svc.lab. IN A 0 10.0.0.2", "web.svc.lab. IN AAAA 0 fd00::2"]
        );
        assert_eq!(
            updates[..4],
            [
                "web.svc.lab. ANY A 0 -",
                "web.svc.lab. IN A 5 10.0.0.2",
                "web.svc.lab. ANY AAAA 0 -",
                "web.svc.lab. IN AAAA 5 fd00::2",
            ]
        );
    }

    #[test]
    fn the_bytes_are_those_of_rfc_2136() {
        let message = update_message(
            &"lab".parse().unwrap(),
            &[NameChange {
                name: "w.lab".parse().unwrap(),
                expect_ownership: None,
                expect_addresses: Some(vec![]),
                ownership: None,
                addresses: Some((vec!["10.0.0.2".parse().unwrap()], 5)),
            }],
        )
        .unwrap();
        #[rustfmt::skip]
        let golden = [
            0, 0, 0x28, 0, 0, 1, 0, 3, 0, 4, 0, 0,            // id 0, opcode UPDATE; 1 zone, 3 prerequisites, 4 updates
            3, b'l', b'a', b'b', 0, 0, 6, 0, 1,               // lab. SOA IN
            9, b'_', b'h', b'a', b'n', b'd', b'o', b'v', b'e', b'r', 1, b'w', 0xc0, 12,
            0, 16, 0, 254, 0, 0, 0, 0, 0, 0,                  // _handover.w.lab. TXT NONE: does not exist
            0xc0, 31, 0, 255, 0, 254, 0, 0, 0, 0, 0, 0,       // w.lab. ANY NONE: owns nothing
            0xc0, 31, 0, 5, 0, 254, 0, 0, 0, 0, 0, 0,         // w.lab. CNAME NONE: does not exist
            0xc0, 31, 0, 1, 0, 255, 0, 0, 0, 0, 0, 0,         // w.lab. A ANY: delete
            0xc0, 31, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 2,
            0xc0, 31, 0, 28, 0, 255, 0, 0, 0, 0, 0, 0,        // w.lab. AAAA ANY: delete
            0xc0, 21, 0, 16, 0, 255, 0, 0, 0, 0, 0, 0,        // _handover.w.lab. TXT ANY: delete
        ];
        assert_eq!(message.to_vec().unwrap(), golden);
    }

    #[test]
    fn the_encoded_message_decodes_to_itself() {
        let message = update_message(&zone(), &[change("web.svc.lab"), change("db.svc.lab")]).unwrap();
        assert_eq!(Message::from_vec(&message.to_vec().unwrap()).unwrap(), message);
    }

    #[test]
    fn several_names_of_one_zone_share_a_message() {
        let message = update_message(&zone(), &[change("web.svc.lab"), change("db.svc.lab")]).unwrap();
        assert_eq!(message.queries.len(), 1);
        assert_eq!(message.answers.len(), 8);
        assert_eq!(message.authorities.len(), 10);
    }

    #[test]
    fn names_outside_the_zone_doubled_names_and_vast_ttls_are_refused() {
        let mut vast = change("web.svc.lab");
        vast.addresses = Some((vec!["10.0.0.2".parse().unwrap()], u32::MAX));
        for (changes, expected) in [
            (
                vec![change("web.svc.lab"), change("web.other.lab")],
                "web.other.lab is not in zone svc.lab",
            ),
            (vec![change("websvc.lab")], "websvc.lab is not in zone svc.lab"),
            (
                vec![change("web.svc.lab"), change("web.svc.lab")],
                "web.svc.lab stands twice",
            ),
            (vec![vast], "TTL 4294967295 of web.svc.lab is too great"),
        ] {
            let error = update_message(&zone(), &changes).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn questions_ask_the_primary_itself() {
        let questions = questions(&"web.svc.lab".parse().unwrap()).unwrap();
        let asked: Vec<String> = questions
            .iter()
            .map(|m| format!("{} {}", m.queries[0].name, m.queries[0].query_type))
            .collect();
        assert_eq!(
            asked,
            [
                "web.svc.lab. A",
                "web.svc.lab. AAAA",
                "web.svc.lab. CNAME",
                "_handover.web.svc.lab. TXT",
            ]
        );
        assert!(questions.iter().all(|m| !m.recursion_desired));
    }
}
