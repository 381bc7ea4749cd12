//! Answers that hold, and answers that are none.

use hickory_proto::rr::rdata::tsig::{TsigAlgorithm, make_tsig_record};
use hickory_proto::rr::rdata::{A, CNAME, SOA, SRV, TXT};
use hickory_proto::rr::{Name, Record, TSigResponseContext, TSigner};
use proptest::prelude::*;

use super::super::key::KeyAlgorithm;
use super::super::message;
use super::*;

const NOW: u64 = 1_800_000_000;

fn key() -> TsigKey {
    TsigKey::new("k1".parse().unwrap(), KeyAlgorithm::HmacSha256, "c2VjcmV0").unwrap()
}

fn signer(secret: &[u8]) -> TSigner {
    TSigner::new(
        secret.to_vec(),
        TsigAlgorithm::HmacSha256,
        Name::from_ascii("k1.").unwrap(),
        300,
    )
    .unwrap()
}

fn name() -> DnsName {
    "web.svc.lab".parse().unwrap()
}

/// The question for A, sealed with id 7.
fn request(signed: bool) -> Request {
    let question = message::questions(&name(), &[]).unwrap().remove(0);
    Request::seal(question, 7, signed.then(key).as_ref(), NOW).unwrap()
}

fn good(request: &Request) -> Message {
    let mut message = Message::response(request.id, OpCode::Query);
    message.metadata.authoritative = true;
    message.add_query(request.query.clone().unwrap());
    let owner = Name::from_ascii("web.svc.lab.").unwrap();
    message.add_answer(Record::from_rdata(owner, 5, RData::A(A::new(10, 0, 0, 1))));
    message
}

fn sign(request: &Request, message: &Message, secret: &[u8], at: u64) -> Vec<u8> {
    let mac = request.signature.as_ref().unwrap().mac.clone();
    let bytes = message.to_vec().unwrap();
    let context = TSigResponseContext::new(request.id, at, signer(secret), mac, None);
    let mut signed = message.clone();
    signed.set_signature(context.sign(&bytes).unwrap());
    signed.to_vec().unwrap()
}

#[test]
fn an_answer_signed_with_the_key_is_trusted() {
    let request = request(true);
    let bytes = sign(&request, &good(&request), b"secret", NOW + 1);
    let answer = check(&request, &bytes).unwrap();
    assert!(answer.trusted);
    let found = records(&name(), &[], &[answer]).unwrap();
    assert_eq!(found.addresses, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(found.ttl, 5);
}

#[test]
fn another_secret_and_a_far_time_make_a_forged_answer_and_no_signature_an_untrusted_one() {
    let request = request(true);
    let message = good(&request);
    for bytes in [
        sign(&request, &message, b"other", NOW),
        sign(&request, &message, b"secret", NOW + 301),
        sign(&request, &message, b"secret", NOW - 301),
    ] {
        assert!(matches!(check(&request, &bytes), Err(BadAnswer::Forged(_))));
    }
    assert!(!check(&request, &message.to_vec().unwrap()).unwrap().trusted);
}

#[test]
fn an_answer_to_another_request_is_garbage() {
    let request = request(false);
    assert!(
        check(&request, &good(&request).to_vec().unwrap())
            .unwrap()
            .trusted
    );
    type Spoil = fn(&mut Message);
    let spoils: [(&str, Spoil); 7] = [
        ("id of another", |m| m.metadata.id = 8),
        ("request instead", |m| {
            m.metadata.message_type = MessageType::Query;
        }),
        ("another operation", |m| m.metadata.op_code = OpCode::Notify),
        ("truncated", |m| m.metadata.truncation = true),
        ("another question", |m| m.queries[0].query_type = RecordType::AAAA),
        ("another question", |m| {
            m.queries[0].name = Name::from_ascii("db.svc.lab.").unwrap();
        }),
        ("another question", |m| m.queries.clear()),
    ];
    for (says, spoil) in spoils {
        let mut message = good(&request);
        spoil(&mut message);
        let error = check(&request, &message.to_vec().unwrap()).unwrap_err();
        assert!(
            matches!(&error, BadAnswer::Garbage(why) if why.contains(says)),
            "{error}"
        );
    }
    for bytes in [
        &[][..],
        &[0; 11],
        &[0, 7, 0x84, 0, 0, 9, 0, 9, 0, 9, 0, 9],
        &[0xff; 40],
    ] {
        assert!(
            matches!(check(&request, bytes), Err(BadAnswer::Garbage(_))),
            "{bytes:?}"
        );
    }
}

#[test]
fn the_refusal_of_a_key_tells_what_to_mend() {
    let request = request(true);
    let time = |at: u64| at.to_be_bytes()[2..].to_vec();
    for (error, other, says) in [
        (
            TsigError::BadKey,
            vec![],
            "does not know the TSIG key k1 with hmac-sha256",
        ),
        (TsigError::BadSig, vec![], "another secret for the TSIG key k1"),
        (TsigError::BadTime, time(NOW + 3600), "3600 s behind"),
        (TsigError::BadTime, time(NOW - 900), "900 s ahead"),
        (TsigError::BadTime, vec![1, 2], "differ too much"),
        (TsigError::BadTrunc, vec![], "BADTRUNC"),
        (TsigError::Unknown(99), vec![], "99"),
    ] {
        let mut message = good(&request);
        message.metadata.response_code = ResponseCode::NotAuth;
        let tsig = TSIG::new(TsigAlgorithm::HmacSha256, NOW, 300, vec![], 7, Some(error), other);
        let record = make_tsig_record(Name::from_ascii("k1.").unwrap(), tsig);
        message.set_signature(Box::new(record));
        let refusal = check(&request, &message.to_vec().unwrap()).unwrap_err();
        assert!(
            matches!(&refusal, BadAnswer::Key(why) | BadAnswer::Denied(why) if why.contains(says)),
            "{refusal}"
        );
    }
}

#[test]
fn records_of_other_names_are_left_out_and_the_parts_of_a_txt_are_joined() {
    let labels = ["_http._tcp".parse().unwrap()];
    let questions = message::questions(&name(), &labels).unwrap();
    let owner = Name::from_ascii("web.svc.lab.").unwrap();
    let target = Name::from_ascii("other.svc.lab.").unwrap();
    let holder = Name::from_ascii("_handover.web.svc.lab.").unwrap();
    let alias = Record::from_rdata(owner.clone(), 9, RData::CNAME(CNAME(target.clone())));
    let chased = Record::from_rdata(target.clone(), 9, RData::A(A::new(10, 0, 0, 9)));
    let text = RData::TXT(TXT::new(vec!["g=1 ".into(), "host=hv1".into()]));
    let http = Name::from_ascii("_http._tcp.web.svc.lab.").unwrap();
    let srv = |port, target: &Name| RData::SRV(SRV::new(0, 1, port, target.clone()));
    let sections = [
        vec![alias.clone(), chased],
        vec![alias],
        vec![Record::from_rdata(holder, 60, text)],
        vec![
            Record::from_rdata(http.clone(), 60, srv(8080, &owner)),
            Record::from_rdata(http, 60, srv(9090, &target)),
        ],
    ];
    let answers: Vec<Answer> = questions
        .into_iter()
        .zip(sections)
        .map(|(mut message, section)| {
            message.answers = section;
            Answer {
                message,
                trusted: true,
            }
        })
        .collect();
    assert_eq!(
        records(&name(), &labels, &answers).unwrap(),
        NameRecords {
            cname: Some("other.svc.lab.".to_owned()),
            ownership: vec!["g=1 host=hv1".to_owned()],
            srv: vec![SrvSet {
                label: labels[0].clone(),
                records: vec![Srv {
                    priority: 0,
                    weight: 1,
                    port: 8080
                }],
            }],
            ..NameRecords::default()
        }
    );
}

#[test]
fn an_absent_name_is_remembered_for_the_lesser_of_the_soas_ttl_and_its_last_field() {
    let request = request(false);
    let origin = Name::from_ascii("svc.lab.").unwrap();
    for (ttl, minimum, expected) in [(30, 5, 5), (5, 30, 5)] {
        let mut message = good(&request);
        message.answers.clear();
        let soa = SOA::new(origin.clone(), origin.clone(), 1, 3600, 600, 86400, minimum);
        message.add_authority(Record::from_rdata(origin.clone(), ttl, RData::SOA(soa)));
        let answer = check(&request, &message.to_vec().unwrap()).unwrap();
        assert_eq!(records(&name(), &[], &[answer]).unwrap().negative_ttl, expected);
    }
}

#[test]
fn more_addresses_than_any_service_has_are_refused() {
    let request = request(false);
    let mut message = good(&request);
    let owner = Name::from_ascii("web.svc.lab.").unwrap();
    for host in 0..64 {
        let address = RData::A(A::new(10, 0, 1, host));
        message.add_answer(Record::from_rdata(owner.clone(), 5, address));
    }
    let answer = check(&request, &message.to_vec().unwrap()).unwrap();
    assert!(
        records(&name(), &[], &[answer])
            .unwrap_err()
            .contains("more than 64")
    );
}

#[test]
fn a_message_that_does_not_fit_is_never_sent_in_part() {
    let changes: Vec<_> = (0..2000)
        .map(|n| crate::model::name::NameChange {
            name: format!("web{n}.svc.lab").parse().unwrap(),
            expect_ownership: None,
            expect_addresses: None,
            ownership: None,
            addresses: Some((vec!["10.0.0.1".parse().unwrap()], 5)),
            srv: vec![],
        })
        .collect();
    let zone = "svc.lab".parse().unwrap();
    for (count, fits) in [(100, true), (2000, false)] {
        let message = message::update_message(&zone, &changes[..count]).unwrap();
        let sealed = Request::seal(message, 1, Some(&key()), NOW);
        assert_eq!(sealed.is_ok(), fits, "{count}: {:?}", sealed.err());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_check_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        for request in [request(true), request(false)] {
            let _answer = check(&request, &bytes);
        }
    }

    #[test]
    fn a_changed_byte_never_changes_what_a_trusted_answer_says(at in 0usize..4096, flip in 1u8..) {
        let request = request(true);
        let message = good(&request);
        let mut bytes = sign(&request, &message, b"secret", NOW);
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if let Ok(mut answer) = check(&request, &bytes) && answer.trusted {
            answer.message.take_signature();
            prop_assert_eq!(answer.message, message);
        }
    }
}
