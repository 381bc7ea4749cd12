//! All servers of a zone, and servers that are not what they are taken for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use handoverd::adapters::dns::{DnsPrimaries, Zone};
use handoverd::model::name::NameChange;
use handoverd::ports::{Authority, Fault, NameServer};

use crate::bind::Bind;
use crate::change::{create, owned, swap};
use crate::server::{KEYS, REFRESH, Role, Running, SECRET, Server, key, primaries_at};

on_every_server!(
    a_secondary_that_lags_is_told_until_it_gives_the_new_address,
    a_secondary_that_is_down_is_told_and_counts_as_behind,
    the_only_server_of_a_zone_is_asked_once,
    a_secondary_given_as_the_primary_is_refused_and_named,
    a_resolver_given_as_the_primary_is_refused_and_named,
);

/// svc.lab. with these secondaries; none: those of its NS records.
fn with_secondaries(primary: SocketAddr, secondaries: &[SocketAddr]) -> DnsPrimaries {
    let key = key(KEYS[0].0, SECRET);
    let mut zone = Zone::new("svc.lab".parse().unwrap(), primary, Some(key));
    zone.secondaries = secondaries.to_vec();
    DnsPrimaries::new(vec![zone], Duration::from_secs(10))
}

/// Which servers give what `change` wants, in order: the primary is the first.
async fn giving(primaries: &DnsPrimaries, change: &NameChange) -> Vec<bool> {
    let addresses = &change.addresses.as_ref().unwrap().0;
    let servers = primaries.read_everywhere(&change.name).await.unwrap();
    let gives = |server: &Authority| server.gives(change.ownership.as_ref().unwrap(), addresses);
    servers.iter().map(gives).collect()
}

/// Asks until every one of two servers gives what `change` wants.
async fn until_everywhere(primaries: &DnsPrimaries, change: &NameChange) {
    let deadline = Instant::now() + Duration::from_secs(u64::from(REFRESH) * 6);
    while giving(primaries, change).await != [true, true] {
        assert!(Instant::now() < deadline, "the secondary never caught up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_secondary_that_lags_is_told_until_it_gives_the_new_address<S: Server>() {
    let (primary, secondary, _way) = Running::<S>::start_two().await;
    let named = with_secondaries(primary.address(), &[]);
    let configured = with_secondaries(primary.address(), &[secondary.address()]);
    let first = create("web.svc.lab", "192.0.2.1");
    named.swap(&first).await.unwrap();
    // It has just asked the primary, so it will not do so again for seconds.
    until_everywhere(&named, &first).await;
    let second = swap("web.svc.lab", "192.0.2.1", "192.0.2.2");
    named.swap(&second).await.unwrap();
    for primaries in [&named, &configured] {
        assert_eq!(giving(primaries, &second).await, [true, false]);
        assert_eq!(giving(primaries, &first).await, [false, true]);
    }
    let begin = Instant::now();
    until_everywhere(&named, &second).await;
    assert!(
        begin.elapsed() > Duration::from_millis(500),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(giving(&configured, &second).await, [true, true]);
}

async fn a_secondary_that_is_down_is_told_and_counts_as_behind<S: Server>() {
    let (primary, mut secondary, way) = Running::<S>::start_two().await;
    let change = create("web.svc.lab", "192.0.2.1");
    let primaries = with_secondaries(primary.address(), &[]);
    primaries.swap(&change).await.unwrap();
    secondary.kill();
    let servers = primaries.read_everywhere(&change.name).await.unwrap();
    let shown: Vec<&str> = servers.iter().map(|server| server.server.as_str()).collect();
    assert_eq!(
        shown,
        [&format!("{} (primary)", primary.address()), "ns2.svc.lab."]
    );
    assert_eq!(giving(&primaries, &change).await, [true, false]);
    let error = servers[1].records.as_ref().unwrap_err();
    assert_eq!(error.fault, Fault::Unavailable);
    let says = format!("DNS server {} of zone svc.lab", way.address());
    assert!(error.message.starts_with(&says), "{error}");
}

async fn the_only_server_of_a_zone_is_asked_once<S: Server>() {
    let primary = Running::<S>::start().await;
    let change = create("web.svc.lab", "192.0.2.1");
    let primaries = with_secondaries(primary.address(), &[]);
    primaries.swap(&change).await.unwrap();
    assert_eq!(giving(&primaries, &change).await, [true]);
    let other = NameChange {
        ownership: Some(owned(9, "hv9")),
        ..change
    };
    assert_eq!(giving(&primaries, &other).await, [false]);
}

async fn a_secondary_given_as_the_primary_is_refused_and_named<S: Server>() {
    let (primary, secondary, _way) = Running::<S>::start_two().await;
    let primaries = with_secondaries(secondary.address(), &[primary.address()]);
    let error = primaries
        .swap(&create("web.svc.lab", "192.0.2.1"))
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
    let says = format!("DNS server {} of zone svc.lab", secondary.address());
    assert!(error.message.starts_with(&says), "{error}");
    assert!(error.message.contains("key"), "{error}");
    let unsigned = primaries_at(secondary.address(), None);
    let error = unsigned
        .swap(&create("web.svc.lab", "192.0.2.1"))
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
}

async fn a_resolver_given_as_the_primary_is_refused_and_named<S: Server>() {
    let primary = Running::<S>::start().await;
    let resolver = Running::<Bind>::start_as(Role::Resolver(primary.address()), "").await;
    let primaries = primaries_at(resolver.address(), None);
    let error = primaries
        .read(&"instance.svc.lab".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
    assert!(error.message.contains("it is a resolver"), "{error}");
    let error = primaries
        .swap(&create("web.svc.lab", "192.0.2.1"))
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
    assert!(error.message.contains("primary"), "{error}");
}
