//! Requests as they are sent, and their answers: held against the request, authenticated, read. Pure: no IO.
//!
//! What an answer says is believed only when it belongs to the request and, where the request was signed, is
//! signed too. Only the refusal of a key is read from an answer without a MAC (RFC 8945 section 5.3.2), as a hint.

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::TSIG;
use hickory_proto::rr::rdata::tsig::TsigError;
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

use super::key::TsigKey;
use super::message::name_of;
use crate::model::name::{DnsName, NameRecords};

/// Most records of one RRset that are read; more belong to no service of ours.
const MAX_RECORDS: usize = 64;

/// The header's length in bytes (RFC 1035 section 4.1.1).
const HEADER: usize = 12;

/// An encoded message, and what its answer is held against.
#[derive(Debug)]
pub(super) struct Request {
    /// The message as it goes over the wire, without the length before it.
    pub bytes: Vec<u8>,
    /// The message's id.
    pub id: u16,
    op_code: OpCode,
    query: Option<Query>,
    signature: Option<Signature>,
}

#[derive(Debug)]
struct Signature {
    key: TsigKey,
    mac: Vec<u8>,
    signed_at: u64,
}

impl Request {
    /// Gives `message` its id, signs it as of `now` (seconds since 1970) if there is a key, and encodes it.
    ///
    /// # Errors
    /// A text when it cannot be encoded or does not fit into the 65535 bytes of a message.
    pub(super) fn seal(
        mut message: Message,
        id: u16,
        key: Option<&TsigKey>,
        now: u64,
    ) -> Result<Self, String> {
        message.metadata.id = id;
        let signature = match key {
            Some(key) => Some(Signature {
                mac: key.sign(&mut message, now).map_err(|e| e.to_string())?,
                key: key.clone(),
                signed_at: now,
            }),
            None => None,
        };
        let bytes = message.to_vec().map_err(|e| e.to_string())?;
        // The library leaves out what does not fit and sets TC; half an update must never be sent.
        if bytes.get(2).is_none_or(|flags| flags & 0x02 != 0) {
            return Err(
                "it does not fit into one message of 65535 bytes: send fewer names at once".to_owned(),
            );
        }
        Ok(Self {
            bytes,
            id,
            op_code: message.op_code,
            query: message.queries.into_iter().next(),
            signature,
        })
    }
}

/// An answer that belongs to its request.
#[derive(Debug)]
pub(super) struct Answer {
    /// The decoded answer.
    pub message: Message,
    /// Whether it may be believed: its signature holds, or its request was not signed.
    pub trusted: bool,
}

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAnswer {
    /// It is not an answer to the request: undecodable, truncated, for something else.
    #[error("{0}")]
    Garbage(String),
    /// It carries a signature that does not hold.
    #[error("the signature of its answer does not hold: {0}")]
    Forged(String),
    /// The server did not accept the request's signature.
    #[error("{0}")]
    Key(String),
}

/// Decodes `bytes` and holds it against its request.
///
/// # Errors
/// [`BadAnswer`]; an unsigned answer to a signed request is none, but is not `trusted`.
pub(super) fn check(request: &Request, bytes: &[u8]) -> Result<Answer, BadAnswer> {
    let garbage = |why: &str| Err(BadAnswer::Garbage(why.to_owned()));
    if bytes.len() < HEADER {
        return garbage("its answer is shorter than a DNS header");
    }
    let message = Message::from_vec(bytes)
        .map_err(|e| BadAnswer::Garbage(format!("its answer is not a DNS message: {e}")))?;
    if message.id != request.id {
        return garbage("its answer has the id of another request");
    }
    if message.message_type != MessageType::Response {
        return garbage("it sent a request instead of an answer");
    }
    if message.op_code != request.op_code {
        return garbage("its answer is for another operation");
    }
    if message.truncation {
        return garbage("its answer is truncated, over TCP");
    }
    // RFC 2136 section 3.8 lets a server leave the sections out of an answer to an UPDATE; an error may lack them too.
    let may_lack_question =
        request.op_code == OpCode::Update || message.response_code != ResponseCode::NoError;
    match (message.queries.as_slice(), &request.query) {
        ([], _) if may_lack_question => {}
        ([answered], Some(asked)) if answered == asked => {}
        _ => return garbage("its answer is for another question"),
    }
    let trusted = match (&request.signature, message.signature()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(signature), Some(record)) => {
            if let Some(error) = record.data.error {
                return Err(BadAnswer::Key(key_refusal(signature, error, &record.data)));
            }
            signature
                .key
                .verify(bytes, &signature.mac, signature.signed_at)
                .map_err(BadAnswer::Forged)?;
            true
        }
    };
    Ok(Answer { message, trusted })
}

/// The words for a TSIG error (RFC 8945 section 3): what the operator has to mend.
fn key_refusal(signature: &Signature, error: TsigError, tsig: &TSIG) -> String {
    let name = signature.key.name();
    match error {
        TsigError::BadKey => format!(
            "it does not know the TSIG key {name} with {} (BADKEY): give both sides the same key name and algorithm",
            signature.key.algorithm()
        ),
        TsigError::BadSig => {
            format!("it has another secret for the TSIG key {name} (BADSIG): give both sides the same secret")
        }
        TsigError::BadTime => match server_time(&tsig.other) {
            Some(server) if server >= signature.signed_at => format!(
                "the clock of this host is {} s behind the server's (BADTIME): set both by NTP",
                server.saturating_sub(signature.signed_at)
            ),
            Some(server) => format!(
                "the clock of this host is {} s ahead of the server's (BADTIME): set both by NTP",
                signature.signed_at.saturating_sub(server)
            ),
            None => "the clocks of this host and of the server differ too much (BADTIME): set both by NTP"
                .to_owned(),
        },
        TsigError::BadTrunc => format!("it wants another MAC length for the TSIG key {name} (BADTRUNC)"),
        TsigError::Unknown(code) => format!("it refuses the TSIG key {name} with the unknown error {code}"),
    }
}

/// The server's time in seconds since 1970, which a BADTIME answer carries in 48 bits (RFC 8945 section 5.2.3).
fn server_time(other: &[u8]) -> Option<u64> {
    let six: [u8; 6] = other.try_into().ok()?;
    Some(six.iter().fold(0, |time, byte| (time << 8) | u64::from(*byte)))
}

/// The records of `name` that the answers (NOERROR or NXDOMAIN) to its questions hold. Records of other names,
/// such as those of a CNAME's target, are left out.
///
/// # Errors
/// A text when there are more records than any service has.
pub(super) fn records(name: &DnsName, answers: &[Answer]) -> Result<NameRecords, String> {
    let address = name_of(name, name.as_str()).map_err(|e| e.to_string())?;
    let ownership = name_of(name, &name.ownership()).map_err(|e| e.to_string())?;
    let mut found = NameRecords::default();
    for answer in answers {
        let Some(query) = answer.message.queries.first() else {
            continue;
        };
        for (ttl, data) in of_query(&answer.message, query, &address, &ownership) {
            match data {
                RData::A(a) => {
                    found.addresses.push(a.0.into());
                    // Both RRsets count: a resolver may keep either for that long.
                    found.ttl = found.ttl.max(ttl);
                }
                RData::AAAA(a) => {
                    found.addresses.push(a.0.into());
                    found.ttl = found.ttl.max(ttl);
                }
                RData::CNAME(target) => found.cname = Some(target.0.to_ascii()),
                RData::TXT(txt) => {
                    let text = txt.txt_data.concat();
                    found.ownership.push(String::from_utf8_lossy(&text).into_owned());
                }
                _ => {}
            }
        }
    }
    if found.addresses.len() > MAX_RECORDS || found.ownership.len() > MAX_RECORDS {
        return Err(format!(
            "{name} has more than {MAX_RECORDS} addresses or ownership texts"
        ));
    }
    found.addresses.sort();
    found.addresses.dedup();
    found.ownership.sort();
    Ok(found)
}

/// TTL and data of the records that answer `query` itself.
fn of_query<'a>(
    message: &'a Message,
    query: &'a Query,
    address: &'a Name,
    ownership: &'a Name,
) -> impl Iterator<Item = (u32, &'a RData)> {
    let owner = if query.query_type == RecordType::TXT {
        ownership
    } else {
        address
    };
    message
        .answers
        .iter()
        .filter(move |record| {
            record.name == *owner
                && record.dns_class == DNSClass::IN
                && record.record_type() == query.query_type
        })
        .map(|record| (record.ttl, &record.data))
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::tsig::{TsigAlgorithm, make_tsig_record};
    use hickory_proto::rr::rdata::{A, CNAME, TXT};
    use hickory_proto::rr::{Record, TSigResponseContext, TSigner};
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
        let question = message::questions(&name()).unwrap().remove(0);
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
        let found = records(&name(), &[answer]).unwrap();
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
                matches!(&refusal, BadAnswer::Key(why) if why.contains(says)),
                "{refusal}"
            );
        }
    }

    #[test]
    fn records_of_other_names_are_left_out_and_the_parts_of_a_txt_are_joined() {
        let questions = message::questions(&name()).unwrap();
        let owner = Name::from_ascii("web.svc.lab.").unwrap();
        let target = Name::from_ascii("other.svc.lab.").unwrap();
        let holder = Name::from_ascii("_handover.web.svc.lab.").unwrap();
        let alias = Record::from_rdata(owner.clone(), 9, RData::CNAME(CNAME(target.clone())));
        let chased = Record::from_rdata(target, 9, RData::A(A::new(10, 0, 0, 9)));
        let text = RData::TXT(TXT::new(vec!["g=1 ".into(), "host=hv1".into()]));
        let sections = [
            vec![alias.clone(), chased],
            vec![alias.clone()],
            vec![alias],
            vec![Record::from_rdata(holder, 60, text)],
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
            records(&name(), &answers).unwrap(),
            NameRecords {
                addresses: vec![],
                ttl: 0,
                cname: Some("other.svc.lab.".to_owned()),
                ownership: vec!["g=1 host=hv1".to_owned()],
            }
        );
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
        assert!(records(&name(), &[answer]).unwrap_err().contains("more than 64"));
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
}
