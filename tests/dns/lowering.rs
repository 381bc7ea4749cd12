//! The TTL of a name lowered before its service moves, as `handover/lower.rs` does it: the same owner, the same addresses,
//! another TTL; and given back with the claim.

use handoverd::model::name::{DnsName, NameChange, NameRecords, Ownership};
use handoverd::ports::{Fault, NameServer, Swapped};
use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::RecordType;

use crate::change::{create, owned, state};
use crate::proxy::{Proxy, Treatment};
use crate::question::ask;
use crate::server::{KEYS, Running, SECRET, Server, key, primaries_at};

on_every_server!(
    a_lowered_ttl_changes_nothing_else_and_is_given_back_with_the_claim,
    what_somebody_else_changed_meanwhile_is_not_overwritten_by_lowering_nor_by_giving_back,
    a_lowering_that_arrives_after_the_claim_was_given_back_leaves_the_ttl,
);

const NAME: &str = "web.svc.lab";
const HANDOVER: &str = "6f1d5a2e-0000-4000-8000-000000000007";
/// The TTL of the name, and what it is lowered to.
const TTLS: (u32, u32) = (300, 5);
/// Its addresses.
const ADDRESSES: [&str; 2] = ["10.0.0.1", "fd00::1"];

fn claimed() -> Ownership {
    format!("claim={HANDOVER} {}", owned(1, "hv1")).parse().unwrap()
}

fn given_back() -> Ownership {
    format!("{} after={HANDOVER}", owned(1, "hv1")).parse().unwrap()
}

/// What stands with this owner, these addresses and this TTL.
fn stands(owner: &Ownership, addresses: &[&str], ttl: u32) -> NameRecords {
    NameRecords {
        ttl,
        ..state(owner, addresses)
    }
}

/// A change from the claim and the addresses of before: to this owner, and the same addresses with this TTL.
fn from_claim(owner: Ownership, ttl: u32) -> NameChange {
    let addresses: Vec<_> = ADDRESSES.map(|address| address.parse().unwrap()).to_vec();
    NameChange {
        expect_ownership: Some(claimed()),
        expect_addresses: Some(addresses.clone()),
        ownership: Some(owner),
        addresses: Some((addresses, ttl)),
        ..create(NAME, ADDRESSES[0])
    }
}

/// Publishes the name with its long TTL, and claims it as a move does.
async fn claim(primaries: &impl NameServer) {
    let addresses: Vec<_> = ADDRESSES.map(|address| address.parse().unwrap()).to_vec();
    let publish = NameChange {
        addresses: Some((addresses.clone(), TTLS.0)),
        ..create(NAME, ADDRESSES[0])
    };
    let claim = NameChange {
        expect_ownership: Some(owned(1, "hv1")),
        expect_addresses: Some(addresses),
        ownership: Some(claimed()),
        addresses: None,
        ..create(NAME, ADDRESSES[0])
    };
    for change in [publish, claim] {
        assert_eq!(primaries.swap(&change).await.unwrap(), Swapped::Yes);
    }
    let name = NAME.parse().unwrap();
    let records = primaries.read(&name).await.unwrap();
    assert_eq!(records, stands(&claimed(), &ADDRESSES, TTLS.0), "claimed");
}

async fn a_lowered_ttl_changes_nothing_else_and_is_given_back_with_the_claim<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    claim(&primaries).await;
    let name: DnsName = NAME.parse().unwrap();
    // Twice, as after a lost answer.
    for round in 0..2 {
        let lowered = primaries.swap(&from_claim(claimed(), TTLS.1)).await.unwrap();
        assert_eq!(lowered, Swapped::Yes, "round {round}");
        let records = primaries.read(&name).await.unwrap();
        assert_eq!(records, stands(&claimed(), &ADDRESSES, TTLS.1), "round {round}");
    }
    // So it is for everybody who asks.
    for kind in [RecordType::A, RecordType::AAAA] {
        let answer = ask(server.address(), "web.svc.lab.", kind).await;
        let ttls: Vec<u32> = answer.answers.iter().map(|record| record.ttl).collect();
        assert_eq!(ttls, [TTLS.1], "{kind}");
    }
    let back = primaries.swap(&from_claim(given_back(), TTLS.0)).await.unwrap();
    assert_eq!(back, Swapped::Yes);
    let records = primaries.read(&name).await.unwrap();
    assert_eq!(records, stands(&given_back(), &ADDRESSES, TTLS.0));
}

async fn what_somebody_else_changed_meanwhile_is_not_overwritten_by_lowering_nor_by_giving_back<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    claim(&primaries).await;
    // Somebody else writes another address and leaves the owner's text.
    let foreign = NameChange {
        addresses: Some((vec!["10.0.0.66".parse().unwrap()], 60)),
        ..from_claim(claimed(), 60)
    };
    assert_eq!(primaries.swap(&foreign).await.unwrap(), Swapped::Yes);
    let theirs = stands(&claimed(), &["10.0.0.66"], 60);
    for change in [from_claim(claimed(), TTLS.1), from_claim(given_back(), TTLS.0)] {
        let end = primaries.swap(&change).await.unwrap();
        assert_eq!(end, Swapped::No(theirs.clone()), "{change:?}");
    }
    let name = NAME.parse().unwrap();
    assert_eq!(primaries.read(&name).await.unwrap(), theirs);
}

fn hold_updates(message: &Message) -> Treatment {
    match message.op_code {
        OpCode::Update => Treatment::Hold,
        _ => Treatment::Pass,
    }
}

async fn a_lowering_that_arrives_after_the_claim_was_given_back_leaves_the_ttl<S: Server>() {
    let server = Running::<S>::start().await;
    let direct = server.primaries();
    claim(&direct).await;
    let proxy = Proxy::before(server.address(), hold_updates).await;
    let slow = primaries_at(proxy.address(), Some(&key(KEYS[0].0, SECRET)));
    // Owner and addresses stand as they would after it: only the TTL tells that it has not come.
    let error = slow.swap(&from_claim(claimed(), TTLS.1)).await.unwrap_err();
    assert_eq!(error.fault, Fault::Unknown, "{error}");
    let back = direct.swap(&from_claim(given_back(), TTLS.0)).await.unwrap();
    assert_eq!(back, Swapped::Yes);
    let answers = proxy.deliver().await;
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].response_code, ResponseCode::NXRRSet);
    let name = NAME.parse().unwrap();
    let records = direct.read(&name).await.unwrap();
    assert_eq!(records, stands(&given_back(), &ADDRESSES, TTLS.0));
}
