//! Changes that the server or the adapter refuses, each with the words that tell what to mend.

use handoverd::adapters::dns::{KeyAlgorithm, TsigKey};
use handoverd::model::name::NameChange;
use handoverd::ports::{Fault, NameServer, PortError};

use crate::change::{absent, create, swap};
use crate::server::{NARROW, Running, SECRET, Server, key};

on_every_server!(
    a_name_that_is_a_cname_is_refused_and_stays_as_it_is,
    a_name_with_records_of_other_types_is_not_taken,
    a_name_outside_every_zone_is_refused,
    a_zone_that_the_server_does_not_serve_is_refused,
    an_update_without_rights_is_refused_by_the_policy,
    a_key_that_may_change_some_names_is_refused_for_the_others,
    an_unsigned_update_is_refused_and_asks_for_a_key,
    a_key_that_the_server_does_not_accept_tells_what_to_mend,
    a_skewed_clock_is_named_with_its_seconds,
    a_clock_within_the_fudge_does_no_harm,
    a_server_that_is_down_got_nothing_and_may_be_asked_later,
);

/// Swaps, expects a failure, and returns it.
async fn failure(primaries: &impl NameServer, change: &NameChange) -> PortError {
    primaries.swap(change).await.unwrap_err()
}

fn assert_refused(error: &PortError, says: &str) {
    assert_eq!(error.fault, Fault::Refused, "{error}");
    assert!(error.message.contains(says), "{error}");
}

async fn assert_absent(server: &Running<impl Server>, name: &str) {
    // Unsigned: Knot answers no question about a zone that is signed with a key without rights there.
    let primaries = server.primaries_with(None);
    let records = primaries.read(&name.parse().unwrap()).await.unwrap();
    assert_eq!(records, absent());
}

async fn a_name_that_is_a_cname_is_refused_and_stays_as_it_is<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    let create = create("alias.svc.lab", "10.0.0.1");
    let unasked = NameChange {
        expect_addresses: None,
        ..create.clone()
    };
    for change in [create, unasked] {
        let error = failure(&primaries, &change).await;
        assert_refused(
            &error,
            "alias.svc.lab is a CNAME to ns.svc.lab.; a service's name must own its addresses",
        );
        let records = primaries.read(&change.name).await.unwrap();
        assert_eq!(records.cname.as_deref(), Some("ns.svc.lab."));
        assert!(
            records.ownership.is_empty() && records.addresses.is_empty(),
            "{records:?}"
        );
    }
}

async fn a_name_with_records_of_other_types_is_not_taken<S: Server>() {
    let server = Running::<S>::start().await;
    let error = failure(&server.primaries(), &create("mail.svc.lab", "10.0.0.1")).await;
    assert_refused(&error, "mail.svc.lab owns records of other types");
    assert_absent(&server, "mail.svc.lab").await;
}

async fn a_name_outside_every_zone_is_refused<S: Server>() {
    let server = Running::<S>::start().await;
    let error = failure(&server.primaries(), &create("web.elsewhere.lab", "10.0.0.1")).await;
    assert_refused(&error, "no configured DNS zone covers web.elsewhere.lab");
}

async fn a_zone_that_the_server_does_not_serve_is_refused<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    let change = create("web.missing.lab", "10.0.0.1");
    assert_refused(
        &failure(&primaries, &change).await,
        "not authoritative for zone missing.lab",
    );
    assert_refused(
        &primaries.read(&change.name).await.unwrap_err(),
        "does not serve the zone",
    );
}

async fn an_update_without_rights_is_refused_by_the_policy<S: Server>() {
    let server = Running::<S>::start().await;
    let error = failure(&server.primaries(), &create("web.other.lab", "10.0.0.1")).await;
    assert_refused(&error, "no right to");
    assert_refused(&error, "handoverd-key");
    assert_absent(&server, "web.other.lab").await;
}

async fn a_key_that_may_change_some_names_is_refused_for_the_others<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries_with(Some(&key(NARROW, SECRET)));
    let error = failure(&primaries, &create("web.svc.lab", "10.0.0.1")).await;
    assert_refused(&error, "no right to");
    assert_absent(&server, "web.svc.lab").await;
    primaries
        .swap(&create("web.open.svc.lab", "10.0.0.1"))
        .await
        .unwrap();
}

async fn an_unsigned_update_is_refused_and_asks_for_a_key<S: Server>() {
    let server = Running::<S>::start().await;
    let error = failure(&server.primaries_with(None), &create("web.svc.lab", "10.0.0.1")).await;
    assert_refused(&error, "configure a TSIG key");
    assert_absent(&server, "web.svc.lab").await;
}

async fn a_key_that_the_server_does_not_accept_tells_what_to_mend<S: Server>() {
    let server = Running::<S>::start().await;
    let algorithm = |algorithm| TsigKey::new("handoverd-key".parse().unwrap(), algorithm, SECRET).unwrap();
    for (key, says) in [
        (
            key("handoverd-key", "d3Jvbmc="),
            "another secret for the TSIG key handoverd-key (BADSIG)",
        ),
        (
            key("nobody-key", SECRET),
            "does not know the TSIG key nobody-key with hmac-sha256 (BADKEY)",
        ),
        (
            algorithm(KeyAlgorithm::HmacSha512),
            "does not know the TSIG key handoverd-key with hmac-sha512 (BADKEY)",
        ),
    ] {
        let primaries = server.primaries_with(Some(&key));
        let change = create("web.svc.lab", "10.0.0.1");
        assert_refused(&failure(&primaries, &change).await, says);
        assert_refused(&primaries.read(&change.name).await.unwrap_err(), says);
    }
    assert_absent(&server, "web.svc.lab").await;
}

async fn a_skewed_clock_is_named_with_its_seconds<S: Server>() {
    let server = Running::<S>::start().await;
    for (offset, says) in [(-3600, " s behind"), (3600, " s ahead")] {
        let primaries = server.primaries().with_clock_offset(offset);
        let error = failure(&primaries, &create("web.svc.lab", "10.0.0.1")).await;
        assert_refused(&error, says);
        // The server reads its clock a moment after we did.
        let exact = (3595..=3605).any(|seconds| error.message.contains(&format!("{seconds} s")));
        assert!(exact, "{error}");
    }
    assert_absent(&server, "web.svc.lab").await;
}

async fn a_clock_within_the_fudge_does_no_harm<S: Server>() {
    let server = Running::<S>::start().await;
    for (offset, name) in [(-200, "slow.svc.lab"), (200, "fast.svc.lab")] {
        let primaries = server.primaries().with_clock_offset(offset);
        primaries.swap(&create(name, "10.0.0.1")).await.unwrap();
    }
}

async fn a_server_that_is_down_got_nothing_and_may_be_asked_later<S: Server>() {
    let mut server = Running::<S>::start().await;
    let primaries = server.primaries();
    primaries.swap(&create("web.svc.lab", "10.0.0.1")).await.unwrap();
    server.kill();
    let change = swap("web.svc.lab", "10.0.0.1", "10.0.0.2");
    for error in [
        failure(&primaries, &change).await,
        primaries.read(&change.name).await.unwrap_err(),
    ] {
        assert_eq!(error.fault, Fault::Unavailable, "{error}");
        assert!(error.message.contains("nothing was sent"), "{error}");
    }
    server.restart().await;
    primaries.swap(&change).await.unwrap();
}
