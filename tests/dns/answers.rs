//! Answers that are spoiled on the way: never believed, and settled by what stands in the zone.

use handoverd::ports::{Fault, NameServer, Swapped};
use hickory_proto::op::{Message, OpCode};

use crate::change::{create, owned, state};
use crate::proxy::{Proxy, Treatment};
use crate::server::{KEYS, Running, SECRET, Server, key, primaries_at};

on_every_server!(
    a_spoiled_answer_to_everything_leaves_it_unknown,
    a_spoiled_answer_to_the_update_is_settled_by_the_name_itself,
    a_spoiled_answer_to_a_question_is_an_error_and_no_record,
);

/// Sets TC.
fn truncated(answer: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    answer[2] |= 0x02;
    answer
}

/// Takes the signature away.
fn unsigned(answer: &[u8]) -> Vec<u8> {
    let mut message = Message::from_vec(answer).unwrap();
    message.take_signature();
    message.to_vec().unwrap()
}

/// Changes the id.
fn of_another_id(answer: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    answer[0] ^= 0x55;
    answer
}

/// Changes a byte of the signature.
fn forged(answer: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    let signature = answer.len() - 10;
    answer[signature] ^= 0x01;
    answer
}

/// Each kind: the proxy's treatment of everything, of updates only, and what the error says.
type Kind = (fn(&Message) -> Treatment, fn(&Message) -> Treatment, &'static str);

fn only_updates(message: &Message, spoil: fn(&[u8]) -> Vec<u8>) -> Treatment {
    if message.op_code == OpCode::Update {
        Treatment::Spoil(spoil)
    } else {
        Treatment::Pass
    }
}

const KINDS: [Kind; 4] = [
    (
        |_| Treatment::Spoil(truncated),
        |m| only_updates(m, truncated),
        "truncated",
    ),
    (
        |_| Treatment::Spoil(unsigned),
        |m| only_updates(m, unsigned),
        "was not signed",
    ),
    (
        |_| Treatment::Spoil(of_another_id),
        |m| only_updates(m, of_another_id),
        "an id that was not asked for",
    ),
    (
        |_| Treatment::Spoil(forged),
        |m| only_updates(m, forged),
        "signature of its answer does not hold",
    ),
];

async fn a_spoiled_answer_to_everything_leaves_it_unknown<S: Server>() {
    let server = Running::<S>::start().await;
    for (number, (everything, _, says)) in KINDS.into_iter().enumerate() {
        let proxy = Proxy::before(server.address(), everything).await;
        let primaries = primaries_at(proxy.address(), Some(&key(KEYS[0].0, SECRET)));
        let change = create(&format!("web{number}.svc.lab"), "10.0.0.1");
        let error = primaries.swap(&change).await.unwrap_err();
        assert_eq!(error.fault, Fault::Unknown, "{error}");
        assert!(error.message.contains(says), "{error}");
        assert!(error.message.contains("read the name"), "{error}");
        assert_eq!(proxy.updates().len(), 1, "it must not be sent again");
        // It came through all the same, as a look past the proxy shows.
        let records = server.primaries().read(&change.name).await.unwrap();
        assert_eq!(records, state(&owned(1, "hv1"), &["10.0.0.1"]));
    }
}

async fn a_spoiled_answer_to_the_update_is_settled_by_the_name_itself<S: Server>() {
    let server = Running::<S>::start().await;
    for (number, (_, updates, _)) in KINDS.into_iter().enumerate() {
        let proxy = Proxy::before(server.address(), updates).await;
        let primaries = primaries_at(proxy.address(), Some(&key(KEYS[0].0, SECRET)));
        let change = create(&format!("web{number}.svc.lab"), "10.0.0.1");
        assert_eq!(primaries.swap(&change).await.unwrap(), Swapped::Yes);
        assert_eq!(proxy.updates().len(), 1, "it must not be sent again");
        let records = server.primaries().read(&change.name).await.unwrap();
        assert_eq!(records, state(&owned(1, "hv1"), &["10.0.0.1"]));
    }
}

async fn a_spoiled_answer_to_a_question_is_an_error_and_no_record<S: Server>() {
    let server = Running::<S>::start().await;
    for (everything, _, says) in KINDS {
        let proxy = Proxy::before(server.address(), everything).await;
        let primaries = primaries_at(proxy.address(), Some(&key(KEYS[0].0, SECRET)));
        let error = primaries
            .read(&"instance.svc.lab".parse().unwrap())
            .await
            .unwrap_err();
        assert_ne!(error.fault, Fault::Unknown, "a question changes nothing: {error}");
        assert!(error.message.contains(says), "{error}");
    }
}
