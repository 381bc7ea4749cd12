//! What answers and looks mean, code by code.

use hickory_proto::op::{Message, OpCode};

use super::*;
use crate::adapters::dns::{KeyAlgorithm, TsigKey, Zone};
use crate::ports::Fault;

fn zone(signed: bool) -> Zone {
    let key = TsigKey::new("k1".parse().unwrap(), KeyAlgorithm::HmacSha256, "c2VjcmV0").unwrap();
    Zone::new(
        "svc.lab".parse().unwrap(),
        "127.0.0.1:53".parse().unwrap(),
        signed.then_some(key),
    )
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
        Verdict::Again(why) => ("again", why),
        Verdict::Failed(error) => fault(error),
    }
}

fn fault(error: PortError) -> (&'static str, String) {
    match error.fault {
        Fault::Refused => ("refused", error.message),
        Fault::Unavailable => ("unavailable", error.message),
        Fault::Unknown => ("unknown", error.message),
    }
}

#[test]
fn each_rcode_of_an_update_has_its_meaning_and_its_way_out() {
    use Ending as E;
    use ResponseCode as R;
    let (zone, name) = (zone(true), "web.svc.lab".parse().unwrap());
    let scope = Scope {
        zone: &zone,
        name: &name,
    };
    for (code, trusted, ending, expected, says) in [
        (R::ServFail, true, E::Again, "unavailable", "SERVFAIL"),
        (
            R::Refused,
            true,
            E::Blamed,
            "refused",
            "(REFUSED): it is not the primary, or its update policy",
        ),
        (
            R::NotAuth,
            true,
            E::Failed,
            "refused",
            "does not take the TSIG key k1 (NOTAUTH)",
        ),
        (
            R::NotZone,
            true,
            E::Blamed,
            "refused",
            "outside zone svc.lab (NOTZONE)",
        ),
        (R::NotImp, true, E::Failed, "refused", "enable it"),
        (R::FormErr, true, E::Blamed, "refused", "FORMERR"),
        (R::Unknown(11), true, E::Blamed, "refused", "(11)"),
        (R::NoError, false, E::Open, "unknown", "not believed"),
        (R::NXRRSet, false, E::Open, "unknown", "not believed"),
        (R::YXDomain, false, E::Open, "unknown", "not believed"),
        (R::ServFail, false, E::Open, "unknown", "not believed"),
        (R::Unknown(11), false, E::Open, "unknown", "not believed"),
        (R::Refused, false, E::Blamed, "refused", "not signed"),
        (R::NotAuth, false, E::Failed, "refused", "not signed"),
        (R::FormErr, false, E::Blamed, "refused", "not signed"),
    ] {
        let answer = answer(OpCode::Update, code, trusted);
        assert_eq!(of_update(&answer), ending, "{code:?} trusted={trusted}");
        let (got, text) = fault(failure(scope, &answer));
        assert_eq!(got, expected, "{code:?} trusted={trusted}: {text}");
        assert!(text.contains(says), "{code:?} trusted={trusted}: {text}");
    }
    let good = answer(OpCode::Update, R::NoError, true);
    assert_eq!(of_update(&good), E::Done);
    for code in [R::NXRRSet, R::YXRRSet, R::NXDomain, R::YXDomain] {
        let failed = answer(OpCode::Update, code, true);
        assert_eq!(of_update(&failed), E::Prerequisite(code));
    }
}

#[test]
fn a_refused_unsigned_update_asks_for_a_key() {
    let (zone, name) = (zone(false), "web.svc.lab".parse().unwrap());
    let scope = Scope {
        zone: &zone,
        name: &name,
    };
    for code in [ResponseCode::Refused, ResponseCode::NotAuth] {
        let (got, text) = fault(failure(scope, &answer(OpCode::Update, code, true)));
        assert_eq!(got, "refused");
        assert!(text.contains("configure a TSIG key"), "{text}");
    }
}

#[test]
fn a_resolver_is_told_from_a_server_that_has_lost_the_zone() {
    let (zone, name) = (zone(true), "web.svc.lab".parse().unwrap());
    let scope = Scope {
        zone: &zone,
        name: &name,
    };
    for (recurses, says) in [
        (true, "it is a resolver, not"),
        (false, "it is not authoritative"),
    ] {
        let mut answer = answer(OpCode::Query, ResponseCode::NoError, true);
        answer.message.metadata.authoritative = false;
        answer.message.metadata.recursion_available = recurses;
        let (got, text) = word(of_question(scope, &answer));
        assert_eq!(got, "refused");
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn a_view_stands_in_every_message() {
    let zone = Zone {
        view: Some("internal".to_owned()),
        ..zone(true)
    };
    let name = "web.svc.lab".parse().unwrap();
    let scope = Scope {
        zone: &zone,
        name: &name,
    };
    let said = scope.say("x");
    assert_eq!(
        said,
        "DNS server 127.0.0.1:53 of zone svc.lab (view internal), asked about web.svc.lab: x"
    );
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
        srv: vec![],
    }
}

fn stands(text: &str, addresses: &[&str], cname: Option<&str>) -> NameRecords {
    NameRecords {
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        ttl: 5,
        cname: cname.map(str::to_owned),
        ownership: vec![ownership(text).to_string()],
        ..NameRecords::default()
    }
}

fn ending(result: Result<Swapped, PortError>) -> (&'static str, String) {
    match result {
        Ok(Swapped::Yes) => ("yes", String::new()),
        Ok(Swapped::No(_)) => ("no", String::new()),
        Err(error) => fault(error),
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
            "ignored other records",
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
