//! Messages, record by record and byte by byte.

use super::*;
use crate::model::ids::Generation;
use crate::model::name::{Owner, Srv, SrvSet};

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
        srv: vec![],
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
                RData::SRV(s) => format!("{} {} {} {}", s.priority, s.weight, s.port, s.target),
                RData::PTR(p) => p.to_string(),
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
            srv: vec![],
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
fn names_outside_the_zone_doubled_names_and_odd_ttls_are_refused() {
    let lasting = |ttl| NameChange {
        addresses: Some((vec!["10.0.0.2".parse().unwrap()], ttl)),
        ..change("web.svc.lab")
    };
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
        (vec![lasting(0)], "TTL 0 of web.svc.lab cannot be written"),
        (
            vec![lasting(604_801)],
            "TTL 604801 of web.svc.lab cannot be written: it must be 1 to 604800 seconds",
        ),
    ] {
        let error = update_message(&zone(), &changes).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn questions_ask_the_primary_itself() {
    let labels = ["_http._tcp".parse().unwrap()];
    let questions = questions(&"web.svc.lab".parse().unwrap(), &labels).unwrap();
    let asked: Vec<String> = questions
        .iter()
        .map(|m| format!("{} {}", m.queries[0].name, m.queries[0].query_type))
        .collect();
    assert_eq!(
        asked,
        [
            "web.svc.lab. A",
            "web.svc.lab. AAAA",
            "_handover.web.svc.lab. TXT",
            "_http._tcp.web.svc.lab. SRV",
        ]
    );
    assert!(questions.iter().all(|m| !m.recursion_desired));
}

#[test]
fn srv_records_point_at_the_name_itself_and_a_set_that_is_empty_is_deleted() {
    let set = |label: &str, records: Vec<Srv>| SrvSet {
        label: label.parse().unwrap(),
        records,
    };
    let http = Srv {
        priority: 0,
        weight: 5,
        port: 8080,
    };
    let (_, updates) = shown_update(NameChange {
        addresses: None,
        srv: vec![set("_http._tcp", vec![http]), set("_ftp._tcp", vec![])],
        ..change("web.svc.lab")
    });
    assert_eq!(
        updates[..3],
        [
            "_http._tcp.web.svc.lab. ANY SRV 0 -",
            "_http._tcp.web.svc.lab. IN SRV 60 0 5 8080 web.svc.lab.",
            "_ftp._tcp.web.svc.lab. ANY SRV 0 -",
        ]
    );
}

#[test]
fn pointers_come_and_go_one_by_one() {
    let pointer = |address: &str, ttl| Pointer {
        address: address.parse().unwrap(),
        name: "web.svc.lab".parse().unwrap(),
        ttl,
    };
    let pointers = [pointer("10.77.0.1", None), pointer("10.77.0.2", Some(5))];
    let message = pointer_message(&"77.10.in-addr.arpa".parse().unwrap(), &pointers).unwrap();
    assert_eq!(message.answers, []);
    assert_eq!(
        shown(&message.authorities),
        [
            "1.0.77.10.in-addr.arpa. NONE PTR 0 web.svc.lab.",
            "2.0.77.10.in-addr.arpa. IN PTR 5 web.svc.lab.",
        ]
    );
    let outside = pointer_message(&"78.10.in-addr.arpa".parse().unwrap(), &pointers);
    assert!(matches!(outside, Err(InvalidChange::OutsideZone { .. })));
}
