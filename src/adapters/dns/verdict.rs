//! What an answer means for the caller: done, a prerequisite failed, ask again, or a failure with its way out. Pure.

use hickory_proto::op::ResponseCode;

use super::Zone;
use super::answer::Answer;
use crate::model::name::{DnsName, NameChange, NameRecords, Ownership};
use crate::ports::{PortError, Swapped};

/// What an answer means.
#[derive(Debug)]
pub(super) enum Verdict {
    /// To an UPDATE: applied, or silently ignored; reading back tells. To a question: it has been answered.
    Done,
    /// A prerequisite did not hold; nothing was written.
    Prerequisite(ResponseCode),
    /// The server could not do it now; nothing was written.
    Again(String),
    /// It failed.
    Failed(PortError),
}

/// Who was asked about what, for the words of an error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    /// The zone and its primary.
    pub zone: &'a Zone,
    /// The service's name.
    pub name: &'a DnsName,
}

impl Scope<'_> {
    /// The beginning of every error: which server, of which zone, for which name.
    pub(super) fn say(&self, what: &str) -> String {
        format!(
            "DNS server {} of zone {}, asked about {}: {what}",
            self.zone.server, self.zone.name, self.name
        )
    }

    /// The words for an rcode that refuses, the same for questions and updates.
    fn refusal(&self, code: ResponseCode) -> String {
        let zone = &self.zone.name;
        match code {
            ResponseCode::NotAuth => self.say(&format!(
                "it is not authoritative for zone {zone}, or does not take our key (NOTAUTH): name the zone's primary \
                 and its key in the configuration"
            )),
            ResponseCode::NotZone => self.say(&format!("it says that the name is outside zone {zone} (NOTZONE)")),
            ResponseCode::NotImp => self.say("it does not do DNS UPDATE (NOTIMP): enable it there"),
            ResponseCode::FormErr => self.say("it does not understand the message (FORMERR)"),
            other => self.say(&format!("it answered {other} ({})", u16::from(other))),
        }
    }
}

/// What the answer to an UPDATE means (RFC 2136 sections 2.2 and 3.8).
pub(super) fn of_update(scope: Scope<'_>, answer: &Answer) -> Verdict {
    let code = answer.message.response_code;
    let unsigned = if answer.trusted {
        ""
    } else {
        " (its answer was not signed)"
    };
    match code {
        ResponseCode::Refused => {
            let name = scope.name;
            let why = match &scope.zone.key {
                Some(key) => format!(
                    "it refused the update{unsigned}: it is not the primary, or its update policy gives the TSIG key \
                     {} no right to change A and AAAA of {name} and TXT of _handover.{name}",
                    key.name()
                ),
                None => "it refused the unsigned update: configure a TSIG key for the zone, here and there".to_owned(),
            };
            Verdict::Failed(PortError::refused(scope.say(&why)))
        }
        ResponseCode::NotAuth | ResponseCode::NotZone | ResponseCode::NotImp | ResponseCode::FormErr => {
            Verdict::Failed(PortError::refused(format!("{}{unsigned}", scope.refusal(code))))
        }
        _ if !answer.trusted => Verdict::Failed(PortError::unknown(scope.say(&format!(
            "its answer to the signed update ({code}) was not signed and is not believed: read the name to see what \
             happened, and mend the server or what stands between"
        )))),
        ResponseCode::NoError => Verdict::Done,
        ResponseCode::NXRRSet | ResponseCode::YXRRSet | ResponseCode::NXDomain | ResponseCode::YXDomain => {
            Verdict::Prerequisite(code)
        }
        // Knot answers so when another client's update fails in the same moment.
        ResponseCode::ServFail => Verdict::Again(scope.say("it failed (SERVFAIL): see its log")),
        other => Verdict::Failed(PortError::refused(scope.refusal(other))),
    }
}

/// What the answer to a question means. A question changes nothing, so no error is `Unknown`; `Done` means that its
/// records may be read.
pub(super) fn of_question(scope: Scope<'_>, answer: &Answer) -> Verdict {
    let message = &answer.message;
    let code = message.response_code;
    let refused = |why: &str| Verdict::Failed(PortError::refused(scope.say(why)));
    match code {
        ResponseCode::Refused => refused(
            "it refused to answer (REFUSED): it does not serve the zone, or does not let this host or key ask",
        ),
        ResponseCode::ServFail => {
            Verdict::Again(scope.say("it could not answer (SERVFAIL): is the zone loaded? See its log"))
        }
        _ if !answer.trusted => refused(&format!(
            "its answer to a signed question ({code}) was not signed and is not believed: mend the server or what \
             stands between"
        )),
        ResponseCode::NoError | ResponseCode::NXDomain if !message.authoritative => refused(&format!(
            "it is not authoritative for the name: name the primary of zone {} in the configuration, and see that the \
             name is not delegated",
            scope.zone.name
        )),
        ResponseCode::NoError | ResponseCode::NXDomain => Verdict::Done,
        other => Verdict::Failed(PortError::refused(scope.refusal(other))),
    }
}

/// Whether `records` is what `change` wants. The TTL is left out: a server may keep it within its own limits.
pub(super) fn holds(change: &NameChange, records: &NameRecords) -> bool {
    let wanted: Vec<String> = change.ownership.iter().map(ToString::to_string).collect();
    let addresses_hold = change.addresses.as_ref().is_none_or(|(set, _)| {
        let mut set = set.clone();
        set.sort();
        set.dedup();
        set == records.addresses && (set.is_empty() || records.cname.is_none())
    });
    records.ownership == wanted && addresses_hold
}

/// The refusal of a change that sets addresses beside a CNAME.
fn beside_alias(scope: Scope<'_>, change: &NameChange, records: &NameRecords) -> Option<PortError> {
    let sets = change.addresses.as_ref().is_some_and(|(set, _)| !set.is_empty());
    let target = records.cname.as_ref().filter(|_| sets)?;
    Some(PortError::refused(scope.say(&format!(
        "{} is a CNAME to {target}; a service's name must own its addresses: remove the CNAME, or give the service \
         another name",
        change.name
    ))))
}

/// What a look after NOERROR says of `change`.
pub(super) fn after_write(
    scope: Scope<'_>,
    change: &NameChange,
    records: &NameRecords,
) -> Result<Swapped, PortError> {
    if holds(change, records) {
        return Ok(Swapped::Yes);
    }
    if let Some(refusal) = beside_alias(scope, change, records) {
        return Err(refusal);
    }
    let text = |ownership: &Option<Ownership>| -> Vec<String> {
        ownership.iter().map(ToString::to_string).collect()
    };
    let stands = standing(records);
    if records.ownership == text(&change.expect_ownership) {
        return Err(PortError::refused(scope.say(&format!(
            "it acknowledged the update and did not apply it; there stands {stands}: see its update policy or script"
        ))));
    }
    if records.ownership == text(&change.ownership) {
        return Err(PortError::refused(scope.say(&format!(
            "it wrote the ownership and ignored the addresses; there stands {stands}: mend the name by hand, and see \
             its update policy or script"
        ))));
    }
    Err(PortError::unknown(scope.say(&format!(
        "it acknowledged the update, but there stands {stands}: somebody else changed it right after"
    ))))
}

/// What a look after a failed prerequisite says of `change`: done before, impossible, or lost to somebody else.
pub(super) fn after_prerequisite(
    scope: Scope<'_>,
    change: &NameChange,
    code: ResponseCode,
    records: NameRecords,
) -> Result<Swapped, PortError> {
    if holds(change, &records) {
        return Ok(Swapped::Yes);
    }
    if let Some(refusal) = beside_alias(scope, change, &records) {
        return Err(refusal);
    }
    let wanted_free = change.expect_addresses.as_ref().is_some_and(Vec::is_empty);
    let looks_free = records.addresses.is_empty() && records.cname.is_none();
    if code == ResponseCode::YXDomain && wanted_free && looks_free {
        return Err(PortError::refused(scope.say(&format!(
            "{} owns records of other types (such as MX or TXT), so it is not free: remove them, or give the service \
             another name",
            change.name
        ))));
    }
    Ok(Swapped::No(records))
}

/// What stands at a name, in one line.
fn standing(records: &NameRecords) -> String {
    let addresses: Vec<String> = records.addresses.iter().map(ToString::to_string).collect();
    format!(
        "ownership {:?}, addresses [{}]",
        records.ownership,
        addresses.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Message, OpCode};

    use super::*;
    use crate::adapters::dns::{KeyAlgorithm, TsigKey};
    use crate::ports::Fault;

    fn zone(signed: bool) -> Zone {
        let key = TsigKey::new("k1".parse().unwrap(), KeyAlgorithm::HmacSha256, "c2VjcmV0").unwrap();
        Zone {
            name: "svc.lab".parse().unwrap(),
            server: "127.0.0.1:53".parse().unwrap(),
            key: signed.then_some(key),
        }
    }

    fn answer(op: OpCode, code: ResponseCode, trusted: bool) -> Answer {
        let mut message = Message::response(1, op);
        message.metadata.response_code = code;
        message.metadata.authoritative = true;
        Answer { message, trusted }
    }

    /// The verdict in one word, and the text that it carries.
    fn word(verdict: Verdict) -> (&'static str, String) {
        match verdict {
            Verdict::Done => ("done", String::new()),
            Verdict::Prerequisite(_) => ("prerequisite", String::new()),
            Verdict::Again(why) => ("again", why),
            Verdict::Failed(error) => match error.fault {
                Fault::Refused => ("refused", error.message),
                Fault::Unavailable => ("unavailable", error.message),
                Fault::Unknown => ("unknown", error.message),
            },
        }
    }

    #[test]
    fn each_rcode_of_an_update_has_its_meaning_and_its_way_out() {
        use ResponseCode as R;
        let name = "web.svc.lab".parse().unwrap();
        for (code, trusted, expected, says) in [
            (R::NoError, true, "done", ""),
            (R::NXRRSet, true, "prerequisite", ""),
            (R::YXRRSet, true, "prerequisite", ""),
            (R::NXDomain, true, "prerequisite", ""),
            (R::YXDomain, true, "prerequisite", ""),
            (R::ServFail, true, "again", "SERVFAIL"),
            (R::Refused, true, "refused", "gives the TSIG key k1 no right"),
            (R::NotAuth, true, "refused", "not authoritative for zone svc.lab"),
            (R::NotZone, true, "refused", "outside zone svc.lab"),
            (R::NotImp, true, "refused", "enable it"),
            (R::FormErr, true, "refused", "FORMERR"),
            (R::Unknown(11), true, "refused", "(11)"),
            (R::NoError, false, "unknown", "not believed"),
            (R::NXRRSet, false, "unknown", "not believed"),
            (R::YXDomain, false, "unknown", "not believed"),
            (R::ServFail, false, "unknown", "not believed"),
            (R::Unknown(11), false, "unknown", "not believed"),
            (R::Refused, false, "refused", "not signed"),
            (R::NotAuth, false, "refused", "not signed"),
            (R::FormErr, false, "refused", "not signed"),
        ] {
            let zone = zone(true);
            let scope = Scope {
                zone: &zone,
                name: &name,
            };
            let (got, text) = word(of_update(scope, &answer(OpCode::Update, code, trusted)));
            assert_eq!(got, expected, "{code:?} trusted={trusted}: {text}");
            assert!(text.contains(says), "{code:?} trusted={trusted}: {text}");
        }
    }

    #[test]
    fn a_refused_unsigned_update_asks_for_a_key() {
        let zone = zone(false);
        let name = "web.svc.lab".parse().unwrap();
        let scope = Scope {
            zone: &zone,
            name: &name,
        };
        let (got, text) = word(of_update(
            scope,
            &answer(OpCode::Update, ResponseCode::Refused, true),
        ));
        assert_eq!(got, "refused");
        assert!(text.contains("configure a TSIG key"), "{text}");
    }

    #[test]
    fn each_rcode_of_a_question_has_its_meaning_and_none_is_unknown() {
        use ResponseCode as R;
        let zone = zone(true);
        let name = "web.svc.lab".parse().unwrap();
        let scope = Scope {
            zone: &zone,
            name: &name,
        };
        for (code, trusted, authoritative, expected, says) in [
            (R::NoError, true, true, "done", ""),
            (R::NXDomain, true, true, "done", ""),
            (R::NoError, true, false, "refused", "is not authoritative"),
            (R::NXDomain, true, false, "refused", "is not authoritative"),
            (R::NoError, false, true, "refused", "not believed"),
            (R::NXDomain, false, true, "refused", "not believed"),
            (R::Refused, true, false, "refused", "does not serve the zone"),
            (R::ServFail, true, false, "again", "zone loaded"),
            (R::ServFail, false, false, "again", "zone loaded"),
            (R::NotAuth, true, true, "refused", "NOTAUTH"),
            (R::NXRRSet, true, true, "refused", "(8)"),
        ] {
            let mut answer = answer(OpCode::Query, code, trusted);
            answer.message.metadata.authoritative = authoritative;
            let (got, text) = word(of_question(scope, &answer));
            assert_eq!(got, expected, "{code:?} trusted={trusted}: {text}");
            assert!(text.contains(says), "{code:?} trusted={trusted}: {text}");
        }
    }

    fn ownership(text: &str) -> Ownership {
        let guest = "guest=6f1d5a2e-0000-4000-8000-000000000001";
        format!("{text} host=hv1 {guest}").parse().unwrap()
    }

    fn change() -> NameChange {
        NameChange {
            name: "web.svc.lab".parse().unwrap(),
            expect_ownership: Some(ownership("g=1")),
            expect_addresses: Some(vec!["10.0.0.1".parse().unwrap()]),
            ownership: Some(ownership("g=2")),
            addresses: Some((vec!["fd00::2".parse().unwrap(), "10.0.0.2".parse().unwrap()], 5)),
        }
    }

    fn stands(text: &str, addresses: &[&str], cname: Option<&str>) -> NameRecords {
        NameRecords {
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            ttl: 5,
            cname: cname.map(str::to_owned),
            ownership: vec![ownership(text).to_string()],
        }
    }

    fn ending(result: Result<Swapped, PortError>) -> (&'static str, String) {
        match result {
            Ok(Swapped::Yes) => ("yes", String::new()),
            Ok(Swapped::No(_)) => ("no", String::new()),
            Err(error) => word(Verdict::Failed(error)),
        }
    }

    #[test]
    fn noerror_is_believed_only_when_the_look_shows_the_new_state() {
        let zone = zone(true);
        let change = change();
        let scope = Scope {
            zone: &zone,
            name: &change.name,
        };
        for (records, expected, says) in [
            (stands("g=2", &["10.0.0.2", "fd00::2"], None), "yes", ""),
            (
                stands("g=2", &[], Some("other.svc.lab.")),
                "refused",
                "web.svc.lab is a CNAME to other.svc.lab.; a service's name must own its addresses",
            ),
            (stands("g=1", &["10.0.0.1"], None), "refused", "did not apply it"),
            (
                stands("g=2", &["10.0.0.1"], None),
                "refused",
                "ignored the addresses",
            ),
            (stands("g=3", &["10.0.0.3"], None), "unknown", "somebody else"),
        ] {
            let (got, text) = ending(after_write(scope, &change, &records));
            assert_eq!(got, expected, "{records:?}: {text}");
            assert!(text.contains(says), "{records:?}: {text}");
        }
    }

    #[test]
    fn a_failed_prerequisite_is_a_yes_only_when_the_new_state_stands_already() {
        let zone = zone(true);
        let change = change();
        let scope = Scope {
            zone: &zone,
            name: &change.name,
        };
        for (records, expected) in [
            (stands("g=2", &["10.0.0.2", "fd00::2"], None), "yes"),
            (stands("g=2", &["10.0.0.2"], None), "no"),
            (stands("g=3", &["10.0.0.2", "fd00::2"], None), "no"),
            (stands("g=1", &[], Some("other.svc.lab.")), "refused"),
        ] {
            let result = after_prerequisite(scope, &change, ResponseCode::NXRRSet, records.clone());
            assert_eq!(ending(result).0, expected, "{records:?}");
        }
    }

    #[test]
    fn a_name_with_records_of_other_types_is_not_free() {
        let zone = zone(true);
        let change = NameChange {
            expect_ownership: None,
            expect_addresses: Some(vec![]),
            ..change()
        };
        let scope = Scope {
            zone: &zone,
            name: &change.name,
        };
        let empty = NameRecords::default();
        let (got, text) = ending(after_prerequisite(
            scope,
            &change,
            ResponseCode::YXDomain,
            empty.clone(),
        ));
        assert_eq!(got, "refused");
        assert!(text.contains("owns records of other types"), "{text}");
        let claimed_meanwhile = after_prerequisite(scope, &change, ResponseCode::YXRRSet, empty);
        assert_eq!(ending(claimed_meanwhile).0, "no");
    }
}
