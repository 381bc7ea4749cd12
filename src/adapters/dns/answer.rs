//! Requests as they are sent, and their answers: held against the request, authenticated, read. Pure: no IO.
//!
//! What an answer says is believed only when it belongs to the request and, where the request was signed, is
//! signed too. Only the refusal of a key is read from an answer without a MAC (RFC 8945 section 5.3.2), as a hint.

use std::collections::BTreeMap;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::TSIG;
use hickory_proto::rr::rdata::tsig::TsigError;
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

use super::key::TsigKey;
use super::message::name_of;
use crate::model::name::{DnsName, NameRecords, Srv, SrvLabel, SrvSet};

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
    /// The server takes the key for nothing of this (BADKEY). Knot says so too where its rules refuse one of the names.
    #[error("{0}")]
    Denied(String),
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
                let refusal = key_refusal(signature, error, &record.data);
                return Err(match error {
                    TsigError::BadKey => BadAnswer::Denied(refusal),
                    _ => BadAnswer::Key(refusal),
                });
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
            "it does not know the TSIG key {name} with {} (BADKEY), or gives it no right to this: give both sides the \
             same key name and algorithm, and see the server's access rules",
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

/// The records of `name` that the answers (NOERROR or NXDOMAIN) to its questions hold; `labels` are those whose SRV
/// records were asked for. Records of other names, such as those of a CNAME's target, are left out.
///
/// # Errors
/// A text when there are more records than any service has.
pub(super) fn records(
    name: &DnsName,
    labels: &[SrvLabel],
    answers: &[Answer],
) -> Result<NameRecords, String> {
    let mut found = NameRecords::default();
    let itself = name_of(name, name.as_str()).map_err(|e| e.to_string())?;
    let mut srv = BTreeMap::new();
    for label in labels {
        let owner = name_of(name, &label.of(name)).map_err(|e| e.to_string())?;
        srv.insert(owner, (label, Vec::new()));
    }
    for answer in answers {
        let Some(query) = answer.message.queries.first() else {
            continue;
        };
        for (ttl, data) in of_query(&answer.message, query) {
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
                RData::CNAME(target) if query.query_type == RecordType::A => {
                    found.cname = Some(shown(&target.0));
                }
                RData::TXT(txt) => {
                    let text = txt.txt_data.concat();
                    found.ownership.push(String::from_utf8_lossy(&text).into_owned());
                }
                RData::SRV(record) if record.target == itself => {
                    if let Some((_, set)) = srv.get_mut(&query.name) {
                        set.push(Srv {
                            priority: record.priority,
                            weight: record.weight,
                            port: record.port,
                        });
                    }
                }
                _ => {}
            }
        }
        if query.query_type == RecordType::A {
            found.negative_ttl = negative_ttl(&answer.message);
        }
    }
    let most_srv = srv.values().map(|(_, set)| set.len()).max().unwrap_or(0);
    if found.addresses.len().max(found.ownership.len()).max(most_srv) > MAX_RECORDS {
        return Err(format!(
            "{name} has more than {MAX_RECORDS} addresses, ownership texts or SRV records"
        ));
    }
    if !found.addresses.is_empty() {
        found.negative_ttl = 0;
    }
    found.addresses.sort();
    found.addresses.dedup();
    found.ownership.sort();
    found.srv = srv
        .into_values()
        .map(|(label, mut records)| {
            records.sort();
            SrvSet {
                label: label.clone(),
                records,
            }
        })
        .collect();
    found.srv.sort_by(|one, other| one.label.cmp(&other.label));
    Ok(found)
}

/// A name as zone files have it, with its final dot; bytes that are no plain letters as `\DDD` (RFC 1035 section 5.1). The
/// library would write them in octal.
fn shown(name: &Name) -> String {
    let mut text = String::new();
    for label in name.iter() {
        for byte in label {
            match byte {
                b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                    text.push('\\');
                    text.push(char::from(*byte));
                }
                0x21..=0x7e => text.push(char::from(*byte)),
                _ => text.push_str(&format!("\\{byte:03}")),
            }
        }
        text.push('.');
    }
    if text.is_empty() {
        text.push('.');
    }
    text
}

/// For how many seconds a resolver remembers that what was asked for is not there: the lesser of the SOA's TTL and its
/// last field (RFC 2308 section 5); 0 where the answer says no such thing.
fn negative_ttl(message: &Message) -> u32 {
    message
        .authorities
        .iter()
        .find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        })
        .unwrap_or(0)
}

/// TTL and data of the records that answer `query` itself: of its type, or the CNAME that stands in their place.
fn of_query<'a>(message: &'a Message, query: &'a Query) -> impl Iterator<Item = (u32, &'a RData)> {
    message
        .answers
        .iter()
        .filter(|record| {
            record.name == query.name
                && record.dns_class == DNSClass::IN
                && [query.query_type, RecordType::CNAME].contains(&record.record_type())
        })
        .map(|record| (record.ttl, &record.data))
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
