//! [`DnsPrimaries`] against a small server in the test.

use std::sync::Mutex;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::TcpListener;

use super::fake::{Reply, Server, framed};
use super::*;
use crate::model::name::Ownership;
use crate::ports::Fault;

fn key() -> TsigKey {
    TsigKey::new("k1".parse().unwrap(), KeyAlgorithm::HmacSha256, "c2VjcmV0").unwrap()
}

/// The secret of [`key`].
const SECRET: &[u8] = b"secret";

fn rcode(request: &Message, code: ResponseCode) -> Message {
    let mut answer = Message::response(request.id, request.op_code);
    answer.metadata.authoritative = request.op_code == OpCode::Query;
    answer.metadata.response_code = code;
    answer.add_queries(request.queries.iter().cloned());
    answer
}

/// A good server with the new state: NOERROR to an update, `g=2` and 10.0.0.2 to questions.
fn new_state(request: &Message) -> Message {
    let mut answer = rcode(request, ResponseCode::NoError);
    let query = &request.queries[0];
    let data = match query.query_type {
        RecordType::A => RData::A(A::new(10, 0, 0, 2)),
        RecordType::TXT => RData::TXT(TXT::new(vec![ownership(2).to_string()])),
        _ => return answer,
    };
    answer.add_answer(Record::from_rdata(query.name.clone(), 5, data));
    answer
}

fn ownership(generation: u64) -> Ownership {
    let guest = "6f1d5a2e-0000-4000-8000-000000000001";
    format!("g={generation} host=hv1 guest={guest}").parse().unwrap()
}

fn change() -> NameChange {
    NameChange {
        name: "web.svc.lab".parse().unwrap(),
        expect_ownership: Some(ownership(1)),
        expect_addresses: Some(vec!["10.0.0.1".parse().unwrap()]),
        ownership: Some(ownership(2)),
        addresses: Some((vec!["10.0.0.2".parse().unwrap()], 5)),
        srv: vec![],
    }
}

#[tokio::test]
async fn a_signed_noerror_that_reads_back_is_a_yes() {
    let server = Server::start(|request, _| Reply::Message(new_state(request), Some(SECRET))).await;
    let swapped = server.primaries(Some(key())).swap(&change()).await.unwrap();
    assert_eq!(swapped, Swapped::Yes);
    assert!(
        server
            .requests
            .lock()
            .unwrap()
            .iter()
            .all(|m| m.signature().is_some())
    );
}

#[tokio::test]
async fn answers_in_any_order_find_their_questions() {
    // Holds all answers back until the last question, then writes them the other way round.
    let held = Mutex::new(Vec::new());
    let server = Server::start(move |request, _| {
        let mut held = held.lock().unwrap();
        held.push(framed(&new_state(request).to_vec().unwrap()));
        let full = held.len() == 3;
        Reply::Raw(if full {
            held.drain(..).rev().flatten().collect()
        } else {
            vec![]
        })
    })
    .await;
    let records = server.primaries(None).read(&change().name).await.unwrap();
    assert_eq!(
        records.addresses,
        ["10.0.0.2".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(records.ownership, [ownership(2).to_string()]);
}

/// A bad answer: what it is, how it comes about, whether the request is signed, what the error says, and the fault
/// of a question (an update's is always `Unknown`).
type Bad = (&'static str, fn(&Message) -> Reply, bool, &'static str, Fault);

const BAD: [Bad; 11] = [
    (
        "garbage",
        |_| Reply::Raw(framed(&[0xff; 60])),
        false,
        "not asked for",
        Fault::Unavailable,
    ),
    (
        "not a message",
        |r| {
            Reply::Raw(framed(
                &[&r.id.to_be_bytes()[..], &[0x84, 0, 0, 9, 0, 9, 0, 9, 0, 9]].concat(),
            ))
        },
        false,
        "not a DNS message",
        Fault::Unavailable,
    ),
    (
        "no id",
        |_| Reply::Raw(framed(&[1])),
        false,
        "without an id",
        Fault::Unavailable,
    ),
    (
        "wrong id",
        |r| {
            let mut answer = new_state(r);
            answer.metadata.id = r.id.wrapping_add(77);
            Reply::Message(answer, None)
        },
        false,
        "not asked for",
        Fault::Unavailable,
    ),
    (
        "oversize",
        |_| Reply::Raw(vec![0xff, 0xff, 0, 0]),
        false,
        "answer of 65535 bytes",
        Fault::Unavailable,
    ),
    (
        "cut in the middle",
        |r| {
            let mut frame = framed(&new_state(r).to_vec().unwrap());
            frame.truncate(9);
            Reply::Raw(frame)
        },
        false,
        "did not answer within",
        Fault::Unavailable,
    ),
    (
        "truncated",
        |r| {
            let mut answer = new_state(r);
            answer.metadata.truncation = true;
            Reply::Message(answer, None)
        },
        false,
        "truncated",
        Fault::Unavailable,
    ),
    (
        "closed",
        |_| Reply::Close,
        false,
        "broke the connection",
        Fault::Unavailable,
    ),
    (
        "silent",
        |_| Reply::Silence,
        false,
        "did not answer within 400 ms",
        Fault::Unavailable,
    ),
    (
        "unsigned",
        |r| Reply::Message(new_state(r), None),
        true,
        "was not signed",
        Fault::Refused,
    ),
    (
        "wrongly signed",
        |r| Reply::Message(new_state(r), Some(b"another")),
        true,
        "signature of its answer does not hold",
        Fault::Refused,
    ),
];

#[tokio::test]
async fn after_a_bad_answer_nobody_knows_whether_the_update_happened() {
    for (what, reply, signed, says, _) in BAD {
        let server = Server::start(move |request, _| reply(request)).await;
        let primaries = server.primaries(signed.then(key));
        let error = primaries.swap(&change()).await.unwrap_err();
        assert_eq!(error.fault, Fault::Unknown, "{what}: {error}");
        assert!(error.message.contains(says), "{what}: {error}");
        assert!(error.message.contains("read the name"), "{what}: {error}");
        assert_eq!(server.updates().len(), 1, "{what}: it must not be sent again");
    }
}

#[tokio::test]
async fn a_bad_answer_to_a_question_is_never_unknown() {
    for (what, reply, signed, says, fault) in BAD {
        let server = Server::start(move |request, _| reply(request)).await;
        let primaries = server.primaries(signed.then(key));
        let error = primaries.read(&change().name).await.unwrap_err();
        assert_eq!(error.fault, fault, "{what}: {error}");
        assert!(error.message.contains(says), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again_with_a_message_made_anew() {
    let server = Server::start(|request, before| {
        let answer = match before {
            0 | 1 => rcode(request, ResponseCode::ServFail),
            _ => new_state(request),
        };
        Reply::Message(answer, Some(SECRET))
    })
    .await;
    let swapped = server.primaries(Some(key())).swap(&change()).await.unwrap();
    assert_eq!(swapped, Swapped::Yes);
    let mut macs: Vec<_> = server
        .updates()
        .iter()
        .map(|m| m.signature().unwrap().data.mac.clone())
        .collect();
    macs.sort();
    macs.dedup();
    assert_eq!(macs.len(), 3, "each attempt carries its own signature");
}

#[tokio::test]
async fn a_server_that_stays_busy_is_unavailable_after_five_attempts() {
    let server = Server::start(|r, _| Reply::Message(rcode(r, ResponseCode::ServFail), None)).await;
    let primaries = server.primaries(None);
    let error = primaries.swap(&change()).await.unwrap_err();
    assert_eq!(error.fault, Fault::Unavailable, "{error}");
    assert_eq!(server.updates().len(), 5);
    let error = primaries.read(&change().name).await.unwrap_err();
    assert_eq!(error.fault, Fault::Unavailable, "{error}");
}

#[tokio::test]
async fn an_update_that_was_acknowledged_but_cannot_be_read_back_is_unknown() {
    for code in [ResponseCode::NoError, ResponseCode::NXRRSet] {
        let server = Server::start(move |request, _| match request.op_code {
            OpCode::Update => Reply::Message(rcode(request, code), None),
            _ => Reply::Message(rcode(request, ResponseCode::Refused), None),
        })
        .await;
        let error = server.primaries(None).swap(&change()).await.unwrap_err();
        assert_eq!(error.fault, Fault::Unknown, "{error}");
        assert!(error.message.contains("not read back"), "{error}");
    }
}

#[tokio::test]
async fn noerror_for_addresses_beside_a_cname_is_refused() {
    let server = Server::start(|request, _| {
        let query = &request.queries[0];
        let mut answer = rcode(request, ResponseCode::NoError);
        if matches!(query.query_type, RecordType::A | RecordType::CNAME) {
            let target = Name::from_ascii("other.svc.lab.").unwrap();
            let alias = RData::CNAME(CNAME(target));
            answer.add_answer(Record::from_rdata(query.name.clone(), 5, alias));
        }
        Reply::Message(answer, None)
    })
    .await;
    let error = server.primaries(None).swap(&change()).await.unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
    assert!(
        error.message.contains("web.svc.lab is a CNAME to other.svc.lab"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_only_recurses_is_not_believed() {
    let server = Server::start(|request, _| {
        let mut answer = new_state(request);
        answer.metadata.authoritative = false;
        Reply::Message(answer, None)
    })
    .await;
    let error = server.primaries(None).read(&change().name).await.unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
    assert!(error.message.contains("it is not authoritative"), "{error}");
}

#[tokio::test]
async fn a_server_that_takes_no_connection_got_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let zone = Zone::new("svc.lab".parse().unwrap(), listener.local_addr().unwrap(), None);
    drop(listener);
    let primaries = DnsPrimaries::new(vec![zone], Duration::from_millis(400));
    let error = primaries.swap(&change()).await.unwrap_err();
    assert_eq!(error.fault, Fault::Unavailable, "{error}");
    assert!(error.message.contains("nothing was sent"), "{error}");
}

#[tokio::test]
async fn a_name_outside_every_zone_is_refused_without_a_message() {
    let server = Server::start(|_, _| Reply::Close).await;
    let primaries = server.primaries(None);
    let mut foreign = change();
    foreign.name = "web.elsewhere.lab".parse().unwrap();
    for error in [
        primaries.swap(&foreign).await.unwrap_err(),
        primaries.read(&foreign.name).await.unwrap_err(),
    ] {
        assert_eq!(error.fault, Fault::Refused);
        assert!(
            error
                .message
                .contains("no configured DNS zone covers web.elsewhere.lab")
        );
    }
    assert!(server.requests.lock().unwrap().is_empty());
}

#[test]
fn the_longest_zone_that_covers_a_name_wins() {
    let zone = |name: &str| Zone::new(name.parse().unwrap(), "127.0.0.1:53".parse().unwrap(), None);
    let primaries = DnsPrimaries::new(
        vec![zone("lab"), zone("deep.svc.lab"), zone("svc.lab")],
        Duration::from_secs(1),
    );
    for (name, expected) in [
        ("web.svc.lab", Some("svc.lab")),
        ("web.deep.svc.lab", Some("deep.svc.lab")),
        ("deep.svc.lab", Some("deep.svc.lab")),
        ("websvc.lab", Some("lab")),
        ("lab", Some("lab")),
        ("web.svc.example", None),
    ] {
        let found = primaries.zone_of(&name.parse().unwrap());
        assert_eq!(found, expected.map(|z| z.parse().unwrap()), "{name}");
    }
}

#[tokio::test]
async fn other_servers_of_a_zone_are_asked_signed_only_where_the_key_selects_the_view() {
    for view in [None, Some("internal".to_owned())] {
        let reply = |request: &Message, _| {
            let secret = request.signature().map(|_| SECRET);
            Reply::Message(new_state(request), secret)
        };
        let (primary, secondary) = (Server::start(reply).await, Server::start(reply).await);
        let mut zone = Zone::new("svc.lab".parse().unwrap(), primary.address, Some(key()));
        zone.secondaries = vec![secondary.address];
        zone.view = view.clone();
        let primaries = DnsPrimaries::new(vec![zone], Duration::from_millis(400));
        let servers = primaries.read_everywhere(&change().name).await.unwrap();
        let wanted = ["10.0.0.2".parse().unwrap()];
        assert_eq!(servers.len(), 2);
        for server in servers {
            assert!(server.gives(&ownership(2), &wanted), "{server:?}");
            assert!(!server.gives(&ownership(1), &wanted), "{server:?}");
        }
        let signed = |server: &Server| -> Vec<bool> {
            let requests = server.requests.lock().unwrap();
            requests.iter().map(|m| m.signature().is_some()).collect()
        };
        assert_eq!(signed(&primary), [true; 3]);
        assert_eq!(signed(&secondary), [view.is_some(); 3], "{view:?}");
    }
}

#[tokio::test]
async fn a_server_without_ns_records_for_its_zone_is_told() {
    let server = Server::start(|request, _| Reply::Message(new_state(request), None)).await;
    let error = server
        .primaries(None)
        .read_everywhere(&change().name)
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Refused);
    assert!(
        error.message.contains("configure the zone's secondaries"),
        "{error}"
    );
}
