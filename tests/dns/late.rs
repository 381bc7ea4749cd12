//! Messages that are delivered late: after the swap to `aborted=` they change nothing.

use handoverd::model::name::{NameChange, Ownership};
use handoverd::ports::{Fault, NameServer, Swapped};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};

use crate::change::{create, owned, state};
use crate::proxy::{Proxy, Treatment};
use crate::server::{KEYS, Running, SECRET, Server, key, primaries_at};

on_every_server!(
    a_message_that_arrives_after_its_withdrawal_changes_nothing,
    a_batch_that_arrives_after_one_member_was_withdrawn_changes_nothing,
    a_message_that_arrives_late_and_was_not_withdrawn_is_seen_by_the_next_look,
);

const HANDOVER: &str = "6f1d5a2e-0000-4000-8000-000000000007";

fn claimed() -> Ownership {
    format!("claim={HANDOVER} {}", owned(1, "hv1")).parse().unwrap()
}

fn withdrawn() -> Ownership {
    format!("aborted={HANDOVER} {}", owned(1, "hv1")).parse().unwrap()
}

/// A name that a handover has claimed, at 10.0.0.1.
async fn claim(primaries: &impl NameServer, name: &str) {
    let change = NameChange {
        ownership: Some(claimed()),
        ..create(name, "10.0.0.1")
    };
    assert_eq!(primaries.swap(&change).await.unwrap(), Swapped::Yes);
}

/// The commit of the handover that claimed it.
fn publish(name: &str) -> NameChange {
    NameChange {
        expect_ownership: Some(claimed()),
        expect_addresses: Some(vec!["10.0.0.1".parse().unwrap()]),
        ownership: Some(owned(2, "hv1")),
        ..create(name, "10.0.0.2")
    }
}

/// The withdrawal of that commit.
fn withdraw(name: &str) -> NameChange {
    NameChange {
        expect_ownership: Some(claimed()),
        expect_addresses: None,
        ownership: Some(withdrawn()),
        addresses: None,
        ..create(name, "10.0.0.1")
    }
}

fn hold_updates(message: &Message) -> Treatment {
    if message.op_code == OpCode::Update {
        Treatment::Hold
    } else {
        Treatment::Pass
    }
}

async fn a_message_that_arrives_after_its_withdrawal_changes_nothing<S: Server>() {
    let server = Running::<S>::start().await;
    let direct = server.primaries();
    claim(&direct, "web.svc.lab").await;
    let proxy = Proxy::before(server.address(), hold_updates).await;
    let slow = primaries_at(proxy.address(), Some(&key(KEYS[0].0, SECRET)));
    let error = slow.swap(&publish("web.svc.lab")).await.unwrap_err();
    assert_eq!(error.fault, Fault::Unknown, "{error}");
    assert_eq!(direct.swap(&withdraw("web.svc.lab")).await.unwrap(), Swapped::Yes);
    let answers = proxy.deliver().await;
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].response_code, ResponseCode::NXRRSet);
    assert_eq!(
        direct.read(&"web.svc.lab".parse().unwrap()).await.unwrap(),
        state(&withdrawn(), &["10.0.0.1"])
    );
}

async fn a_batch_that_arrives_after_one_member_was_withdrawn_changes_nothing<S: Server>() {
    let server = Running::<S>::start().await;
    let direct = server.primaries();
    let names = ["a.svc.lab", "b.svc.lab", "c.svc.lab"];
    for name in names {
        claim(&direct, name).await;
    }
    let proxy = Proxy::before(server.address(), hold_updates).await;
    let slow = primaries_at(proxy.address(), Some(&key(KEYS[0].0, SECRET)));
    // Long enough for all three, on a machine that is busy.
    let slow = slow.with_window(Duration::from_secs(1));
    let commits = names.map(publish);
    let ends = tokio::join!(
        slow.swap(&commits[0]),
        slow.swap(&commits[1]),
        slow.swap(&commits[2])
    );
    for end in [ends.0, ends.1, ends.2] {
        assert_eq!(end.unwrap_err().fault, Fault::Unknown);
    }
    assert_eq!(proxy.updates().len(), 1, "the three share a message");
    assert_eq!(direct.swap(&withdraw("b.svc.lab")).await.unwrap(), Swapped::Yes);
    let answers = proxy.deliver().await;
    assert_eq!(answers[0].response_code, ResponseCode::NXRRSet);
    for (name, stands) in names.into_iter().zip([claimed(), withdrawn(), claimed()]) {
        let records = direct.read(&name.parse().unwrap()).await.unwrap();
        assert_eq!(records, state(&stands, &["10.0.0.1"]), "{name}");
    }
    // The others go on by themselves.
    for change in [&commits[0], &commits[2]] {
        assert_eq!(direct.swap(change).await.unwrap(), Swapped::Yes);
    }
}

async fn a_message_that_arrives_late_and_was_not_withdrawn_is_seen_by_the_next_look<S: Server>() {
    let server = Running::<S>::start().await;
    let direct = server.primaries();
    claim(&direct, "web.svc.lab").await;
    let proxy = Proxy::before(server.address(), hold_updates).await;
    let slow = primaries_at(proxy.address(), Some(&key(KEYS[0].0, SECRET)));
    let commit = publish("web.svc.lab");
    let (end, ()) = tokio::join!(slow.swap(&commit), proxy.holding());
    assert_eq!(end.unwrap_err().fault, Fault::Unknown);
    let answers = proxy.deliver().await;
    assert_eq!(answers[0].response_code, ResponseCode::NoError);
    let committed = state(&owned(2, "hv1"), &["10.0.0.2"]);
    assert_eq!(direct.read(&commit.name).await.unwrap(), committed);
    // Too late to go back: the withdrawal loses, and tells what stands.
    assert_eq!(
        direct.swap(&withdraw("web.svc.lab")).await.unwrap(),
        Swapped::No(committed)
    );
    assert_eq!(direct.swap(&commit).await.unwrap(), Swapped::Yes);
}
