//! Records beside the addresses: SRV, PTR; names and keys of every kind; and how long a missing name is remembered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use handoverd::adapters::dns::TsigKey;
use handoverd::model::name::{DnsName, NameChange, Srv, SrvSet};
use handoverd::ports::{NameServer, Swapped};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};

use crate::change::{create, owned, state, swap};
use crate::question::{ask, pointers};
use crate::server::{KEYS, NEGATIVE_TTL, Running, SECRET, Server};

on_every_server!(
    srv_records_come_with_the_name_and_go_with_it,
    an_srv_record_that_somebody_else_has_keeps_a_new_name_out,
    addresses_point_back_to_every_name_that_they_have,
    a_key_of_each_algorithm_signs_questions_and_updates,
    names_in_punycode_and_of_full_length_are_taken_and_an_alias_of_any_bytes_is_read,
    a_missing_name_is_remembered_for_as_long_as_the_soa_says,
);

fn set(label: &str, ports: &[u16]) -> SrvSet {
    SrvSet {
        label: label.parse().unwrap(),
        records: ports
            .iter()
            .map(|port| Srv {
                priority: 0,
                weight: 1,
                port: *port,
            })
            .collect(),
    }
}

/// What the SRV records at `name` say: port and target.
async fn srv(server: SocketAddr, name: &str) -> Vec<(u16, String)> {
    let answer = ask(server, name, RecordType::SRV).await;
    let mut found: Vec<(u16, String)> = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => Some((srv.port, srv.target.to_ascii())),
            _ => None,
        })
        .collect();
    found.sort();
    found
}

async fn srv_records_come_with_the_name_and_go_with_it<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    let first = NameChange {
        srv: vec![set("_http._tcp", &[8080, 8081]), set("_metrics._tcp", &[9100])],
        ..create("web.svc.lab", "10.0.0.1")
    };
    assert_eq!(primaries.swap(&first).await.unwrap(), Swapped::Yes);
    let at = |port| (port, "web.svc.lab.".to_owned());
    assert_eq!(
        srv(server.address(), "_http._tcp.web.svc.lab.").await,
        [at(8080), at(8081)]
    );
    // A move leaves them; an upgrade may drop one.
    let second = NameChange {
        srv: vec![set("_http._tcp", &[8080]), set("_metrics._tcp", &[])],
        ..swap("web.svc.lab", "10.0.0.1", "10.0.0.2")
    };
    assert_eq!(primaries.swap(&second).await.unwrap(), Swapped::Yes);
    assert_eq!(srv(server.address(), "_http._tcp.web.svc.lab.").await, [at(8080)]);
    assert_eq!(srv(server.address(), "_metrics._tcp.web.svc.lab.").await, []);
    let removal = NameChange {
        expect_ownership: Some(owned(2, "hv2")),
        expect_addresses: Some(vec!["10.0.0.2".parse().unwrap()]),
        ownership: None,
        addresses: Some((vec![], 0)),
        srv: vec![set("_http._tcp", &[])],
        ..first
    };
    assert_eq!(primaries.swap(&removal).await.unwrap(), Swapped::Yes);
    assert_eq!(srv(server.address(), "_http._tcp.web.svc.lab.").await, []);
}

async fn an_srv_record_that_somebody_else_has_keeps_a_new_name_out<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    // As somebody would who writes SRV records without a name of ours beside them.
    let foreign = NameChange {
        expect_addresses: None,
        addresses: None,
        srv: vec![set("_http._tcp", &[1])],
        ..create("web.svc.lab", "10.0.0.1")
    };
    assert_eq!(primaries.swap(&foreign).await.unwrap(), Swapped::Yes);
    let ours = NameChange {
        expect_ownership: Some(owned(1, "hv1")),
        srv: vec![set("_http._tcp", &[8080])],
        ..create("web.svc.lab", "10.0.0.1")
    };
    assert!(matches!(primaries.swap(&ours).await.unwrap(), Swapped::No(_)));
    assert_eq!(
        srv(server.address(), "_http._tcp.web.svc.lab.").await,
        [(1, "web.svc.lab.".to_owned())]
    );
}

/// Waits until an address points back to these names: nothing waits for PTR records but this.
async fn until_pointing(server: SocketAddr, reverse: &str, names: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = pointers(server, reverse).await;
        if found == names {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{reverse} points to {found:?}, not {names:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn addresses_point_back_to_every_name_that_they_have<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    for name in ["web.svc.lab", "db.svc.lab"] {
        let change = create(name, "10.0.0.1");
        assert_eq!(primaries.swap(&change).await.unwrap(), Swapped::Yes);
    }
    let (one, two) = ("1.0.0.10.in-addr.arpa.", "2.0.0.10.in-addr.arpa.");
    until_pointing(server.address(), one, &["db.svc.lab.", "web.svc.lab."]).await;
    let change = swap("web.svc.lab", "10.0.0.1", "10.0.0.2");
    assert_eq!(primaries.swap(&change).await.unwrap(), Swapped::Yes);
    until_pointing(server.address(), one, &["db.svc.lab."]).await;
    until_pointing(server.address(), two, &["web.svc.lab."]).await;
    // An address whose reverse zone is not configured, or refuses, keeps nobody from moving.
    let change = create("far.svc.lab", "192.0.2.1");
    assert_eq!(primaries.swap(&change).await.unwrap(), Swapped::Yes);
    let mut change = create("six.svc.lab", "fd00::1");
    assert_eq!(primaries.swap(&change).await.unwrap(), Swapped::Yes);
    change = NameChange {
        expect_ownership: Some(owned(1, "hv1")),
        expect_addresses: change.addresses.map(|(set, _)| set),
        ownership: None,
        addresses: Some((vec![], 0)),
        ..create("six.svc.lab", "fd00::1")
    };
    assert_eq!(primaries.swap(&change).await.unwrap(), Swapped::Yes);
}

async fn a_key_of_each_algorithm_signs_questions_and_updates<S: Server>() {
    let server = Running::<S>::start().await;
    for (number, (name, algorithm)) in KEYS.into_iter().enumerate() {
        let key = TsigKey::new(name.parse().unwrap(), algorithm, SECRET).unwrap();
        let primaries = server.primaries_with(Some(&key));
        let change = create(&format!("web{number}.svc.lab"), "10.0.0.1");
        assert_eq!(
            primaries.swap(&change).await.unwrap(),
            Swapped::Yes,
            "{algorithm}"
        );
    }
}

async fn names_in_punycode_and_of_full_length_are_taken_and_an_alias_of_any_bytes_is_read<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    assert!("büro.svc.lab".parse::<DnsName>().is_err());
    let label = "x".repeat(63);
    let long = format!("{label}.{label}.{label}.{}.svc.lab", "x".repeat(43));
    assert_eq!(long.len(), 243);
    for name in ["xn--bro-hoa.svc.lab", &long] {
        let change = create(name, "10.0.0.1");
        assert_eq!(primaries.swap(&change).await.unwrap(), Swapped::Yes, "{name}");
        let records = primaries.read(&change.name).await.unwrap();
        assert_eq!(records, state(&owned(1, "hv1"), &["10.0.0.1"]), "{name}");
    }
    let odd = primaries.read(&"odd.svc.lab".parse().unwrap()).await.unwrap();
    assert_eq!(odd.cname.as_deref(), Some("b\\195\\188ro.svc.lab."));
}

async fn a_missing_name_is_remembered_for_as_long_as_the_soa_says<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    let name: DnsName = "web.svc.lab".parse().unwrap();
    let answer = ask(server.address(), "web.svc.lab.", RecordType::A).await;
    assert_eq!(answer.response_code, ResponseCode::NXDomain);
    assert_eq!(primaries.read(&name).await.unwrap().negative_ttl, NEGATIVE_TTL);
    // With the claim beside it the name is still without addresses, and remembered so.
    let claim = NameChange {
        addresses: None,
        ..create("web.svc.lab", "10.0.0.1")
    };
    primaries.swap(&claim).await.unwrap();
    assert_eq!(primaries.read(&name).await.unwrap().negative_ttl, NEGATIVE_TTL);
    let publish = NameChange {
        expect_ownership: Some(owned(1, "hv1")),
        ..create("web.svc.lab", "10.0.0.1")
    };
    primaries.swap(&publish).await.unwrap();
    assert_eq!(primaries.read(&name).await.unwrap().negative_ttl, 0);
}
