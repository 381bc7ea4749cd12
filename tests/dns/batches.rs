//! Changes of many names at once: few messages, and each name with an end of its own.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use handoverd::adapters::dns::{DnsPrimaries, Zone};
use handoverd::model::name::{DnsName, NameChange};
use handoverd::ports::{Fault, NameServer, PortError, Swapped};
use hickory_proto::op::Message;

use crate::change::{absent, create, owned, state, swap};
use crate::proxy::{Proxy, Treatment};
use crate::server::{KEYS, NARROW, Running, SECRET, Server, ZONES, key, primaries_at};

on_every_server!(
    names_that_are_ready_within_the_window_share_a_message,
    a_thousand_names_take_the_least_number_of_messages,
    a_message_is_filled_to_the_last_name_that_fits,
    a_bad_name_stops_only_itself,
    a_name_without_rights_stops_only_itself,
    names_of_two_zones_never_share_a_message,
    a_change_that_nobody_waits_for_any_more_is_not_sent,
    two_changes_of_one_name_are_made_in_their_order,
);

type End = Result<Swapped, PortError>;

async fn all(primaries: &DnsPrimaries, changes: &[NameChange]) -> Vec<End> {
    join_all(changes.iter().map(|change| primaries.swap(change))).await
}

fn pass(_: &Message) -> Treatment {
    Treatment::Pass
}

/// Long enough for everything that a case asks for at once, on a machine that is busy.
const LONG: Duration = Duration::from_secs(1);

fn ours(address: SocketAddr) -> DnsPrimaries {
    primaries_at(address, Some(&key(KEYS[0].0, SECRET))).with_window(LONG)
}

/// Creations of `count` names of equal length.
fn creations(count: usize, prefix: &str) -> Vec<NameChange> {
    (0..count)
        .map(|n| create(&format!("{prefix}{n:04}.svc.lab"), "192.0.2.1"))
        .collect()
}

/// How many names an update message changes.
fn names_in(update: &[u8]) -> usize {
    let message = Message::from_vec(update).unwrap();
    let mut names: Vec<String> = message
        .authorities
        .iter()
        .map(|record| record.name.to_ascii())
        .filter(|name| !name.starts_with('_'))
        .collect();
    names.dedup();
    names.len()
}

async fn names_that_are_ready_within_the_window_share_a_message<S: Server>() {
    let server = Running::<S>::start().await;
    let proxy = Proxy::before(server.address(), pass).await;
    let primaries = ours(proxy.address());
    let changes = creations(20, "web");
    let ends = all(&primaries, &changes).await;
    assert!(ends.iter().all(|end| *end.as_ref().unwrap() == Swapped::Yes));
    assert_eq!(proxy.updates().len(), 1);
    assert_eq!(names_in(&proxy.updates()[0]), 20);
}

async fn a_thousand_names_take_the_least_number_of_messages<S: Server>() {
    let server = Running::<S>::start().await;
    let proxy = Proxy::before(server.address(), pass).await;
    let primaries = ours(proxy.address());
    let changes = creations(1000, "web");
    let ends = all(&primaries, &changes).await;
    assert!(ends.iter().all(|end| *end.as_ref().unwrap() == Swapped::Yes));
    let updates = proxy.updates();
    let bytes: usize = updates.iter().map(Vec::len).sum();
    // No number of messages below this has room for so many bytes.
    assert_eq!(
        updates.len(),
        bytes.div_ceil(usize::from(u16::MAX)),
        "{bytes} bytes"
    );
    assert_eq!(updates.iter().map(|update| names_in(update)).sum::<usize>(), 1000);
}

async fn a_message_is_filled_to_the_last_name_that_fits<S: Server>() {
    let server = Running::<S>::start().await;
    let proxy = Proxy::before(server.address(), pass).await;
    let primaries = ours(proxy.address());
    all(&primaries, &creations(300, "a")).await;
    let first = proxy.updates().remove(0);
    let most = names_in(&first);
    assert!(
        first.len() > 65_000 && most < 300,
        "{most} names, {} bytes",
        first.len()
    );
    for (count, prefix, messages) in [(most, "b", 1), (most + 1, "c", 2)] {
        let before = proxy.updates().len();
        let ends = all(&primaries, &creations(count, prefix)).await;
        assert!(ends.iter().all(|end| *end.as_ref().unwrap() == Swapped::Yes));
        assert_eq!(proxy.updates().len() - before, messages, "{count} names");
    }
}

async fn a_bad_name_stops_only_itself<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    primaries
        .swap(&create("mine.svc.lab", "192.0.2.1"))
        .await
        .unwrap();
    let mut changes = creations(20, "web");
    let odd_ttl = NameChange {
        addresses: Some((vec!["192.0.2.1".parse().unwrap()], 0)),
        ..create("forever.svc.lab", "192.0.2.1")
    };
    changes.insert(3, swap("mine.svc.lab", "192.0.2.7", "192.0.2.2"));
    changes.insert(9, create("alias.svc.lab", "192.0.2.1"));
    changes.insert(10, create("mail.svc.lab", "192.0.2.1"));
    changes.insert(17, odd_ttl);
    changes.push(create("web.elsewhere.lab", "192.0.2.1"));
    for (change, end) in changes.iter().zip(all(&primaries, &changes).await) {
        let name = change.name.to_string();
        match name.as_str() {
            "mine.svc.lab" => {
                let stands = state(&owned(1, "hv1"), &["192.0.2.1"]);
                assert_eq!(end.unwrap(), Swapped::No(stands));
            }
            "alias.svc.lab" => assert_refused(end, "alias.svc.lab is a CNAME"),
            "mail.svc.lab" => assert_refused(end, "mail.svc.lab owns records of other types"),
            "forever.svc.lab" => assert_refused(end, "TTL 0 of forever.svc.lab"),
            "web.elsewhere.lab" => assert_refused(end, "no configured DNS zone covers web.elsewhere.lab"),
            _ => assert_eq!(end.unwrap(), Swapped::Yes, "{name}"),
        }
    }
}

fn assert_refused(end: End, says: &str) {
    let error = end.unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
    assert!(error.message.contains(says), "{error}");
}

async fn a_name_without_rights_stops_only_itself<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries_with(Some(&key(NARROW, SECRET)));
    let mut changes: Vec<NameChange> = (0..8)
        .map(|n| create(&format!("web{n}.open.svc.lab"), "192.0.2.1"))
        .collect();
    changes.insert(5, create("locked.svc.lab", "192.0.2.1"));
    for (change, end) in changes.iter().zip(all(&primaries, &changes).await) {
        if change.name.to_string() == "locked.svc.lab" {
            assert_refused(end, "no right to");
        } else {
            assert_eq!(end.unwrap(), Swapped::Yes, "{}", change.name);
        }
    }
    let locked = server.primaries().read(&"locked.svc.lab".parse().unwrap()).await;
    assert_eq!(locked.unwrap(), absent());
}

async fn names_of_two_zones_never_share_a_message<S: Server>() {
    let server = Running::<S>::start().await;
    let proxy = Proxy::before(server.address(), pass).await;
    let zones = ZONES
        .into_iter()
        .map(|zone| {
            Zone::new(
                zone.parse().unwrap(),
                proxy.address(),
                Some(key(KEYS[0].0, SECRET)),
            )
        })
        .collect();
    let primaries = DnsPrimaries::new(zones, Duration::from_secs(10)).with_window(LONG);
    let changes = [
        create("a.svc.lab", "192.0.2.1"),
        create("a.second.lab", "192.0.2.1"),
        create("b.svc.lab", "192.0.2.1"),
        create("b.second.lab", "192.0.2.1"),
    ];
    let ends = all(&primaries, &changes).await;
    assert!(ends.iter().all(|end| *end.as_ref().unwrap() == Swapped::Yes));
    let mut zones = Vec::new();
    for update in proxy.updates() {
        let message = Message::from_vec(&update).unwrap();
        let zone: DnsName = message.queries[0].name.to_ascii().parse().unwrap();
        let records = message.answers.iter().chain(&message.authorities);
        for record in records {
            assert!(record.name.to_ascii().parse::<DnsName>().unwrap().is_in(&zone));
        }
        zones.push(zone.to_string());
    }
    zones.sort();
    assert_eq!(zones, ["second.lab", "svc.lab"]);
}

async fn a_change_that_nobody_waits_for_any_more_is_not_sent<S: Server>() {
    let server = Running::<S>::start().await;
    let proxy = Proxy::before(server.address(), pass).await;
    let primaries = ours(proxy.address());
    let (given_up, waited) = (
        create("gone.svc.lab", "192.0.2.1"),
        create("web.svc.lab", "192.0.2.1"),
    );
    // In the queue, and then given up.
    tokio::select! {
        biased;
        end = primaries.swap(&given_up) => panic!("sent before the window was over: {end:?}"),
        () = std::future::ready(()) => {}
    }
    let second = primaries.swap(&waited).await;
    assert_eq!(second.unwrap(), Swapped::Yes);
    assert_eq!(proxy.updates().len(), 1);
    assert_eq!(primaries.read(&given_up.name).await.unwrap(), absent());
}

async fn two_changes_of_one_name_are_made_in_their_order<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    let changes = [
        create("web.svc.lab", "192.0.2.1"),
        create("db.svc.lab", "192.0.2.1"),
        swap("web.svc.lab", "192.0.2.1", "192.0.2.2"),
    ];
    let ends = all(&primaries, &changes).await;
    assert!(
        ends.iter().all(|end| *end.as_ref().unwrap() == Swapped::Yes),
        "{ends:?}"
    );
    let records = primaries.read(&changes[0].name).await.unwrap();
    assert_eq!(records, state(&owned(2, "hv2"), &["192.0.2.2"]));
}
