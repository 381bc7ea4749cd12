//! A bounded run of the fuzz targets (`fuzz/`): the same functions, with any bytes, and with good messages that are
//! spoiled a little.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use handoverd::adapters::dns::fuzzed;
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use proptest::collection::vec;
use proptest::prelude::*;

const OWNER: &str = "g=4 host=hv1 guest=6f1d5a2e-0000-4000-8000-000000000001";

/// Good answers of every kind that we read.
fn answers() -> Vec<Vec<u8>> {
    let name = |text: &str| Name::from_ascii(text).unwrap();
    let answer = |owner: &str, kind, data: Vec<RData>| {
        let mut message = Message::response(1, OpCode::Query);
        message.metadata.authoritative = true;
        message.metadata.response_code = ResponseCode::NoError;
        message.add_query(Query::query(name(owner), kind));
        for data in data {
            message.add_answer(Record::from_rdata(name(owner), 5, data));
        }
        let soa = SOA::new(name("ns.svc.lab."), name("h.svc.lab."), 1, 2, 3, 4, 5);
        message.add_authority(Record::from_rdata(name("svc.lab."), 5, RData::SOA(soa)));
        message.to_vec().unwrap()
    };
    let web = "web.svc.lab.";
    vec![
        answer(web, RecordType::A, vec![RData::A(A::new(10, 0, 0, 1))]),
        answer(web, RecordType::A, vec![RData::CNAME(CNAME(name("ns.svc.lab.")))]),
        answer(web, RecordType::AAAA, vec![]),
        answer(
            "_handover.web.svc.lab.",
            RecordType::TXT,
            vec![RData::TXT(TXT::new(vec![OWNER.to_owned()]))],
        ),
        answer(
            "_http._tcp.web.svc.lab.",
            RecordType::SRV,
            vec![RData::SRV(SRV::new(0, 1, 8080, name(web)))],
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_an_answer_that_is_read_or_refused(bytes in vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(fuzzed::answer(&bytes), Ok(()));
    }

    #[test]
    fn a_good_answer_that_is_spoiled_is_read_or_refused(
        which in 0usize..5,
        spoiled in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut bytes = answers().swap_remove(which);
        for (at, byte) in spoiled {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        prop_assert_eq!(fuzzed::answer(&bytes), Ok(()));
    }

    #[test]
    fn any_text_is_a_name_and_an_ownership_or_is_refused(text in any::<String>()) {
        prop_assert_eq!(fuzzed::name(&text), Ok(()));
        prop_assert_eq!(fuzzed::ownership(&text), Ok(()));
    }

    #[test]
    fn texts_that_look_like_names_and_ownerships_survive_the_way(
        name in "[a-zA-Z0-9_-]{1,70}(\\.[a-zA-Z0-9_-]{0,70}){0,5}\\.?",
        ownership in "((claim|aborted)=[0-9a-f-]{36} )?(g=[0-9]{1,22} )?(host=[a-z0-9.-]{0,70} )?(guest=[0-9a-f-]{36})?",
    ) {
        prop_assert_eq!(fuzzed::name(&name), Ok(()));
        prop_assert_eq!(fuzzed::ownership(&ownership), Ok(()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn changes_of_any_kind_are_read_back_as_they_were_written(bytes in vec(any::<u8>(), 0..2000)) {
        prop_assert_eq!(fuzzed::update(&bytes), Ok(()));
    }
}

#[test]
fn the_good_answers_are_read_as_what_they_are() {
    for bytes in answers() {
        assert_eq!(fuzzed::answer(&bytes), Ok(()));
        assert!(Message::from_vec(&bytes).is_ok());
    }
}

#[test]
fn every_fuzz_target_has_its_bounded_run_here() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let (here, mut functions) = (include_str!("fuzzed.rs"), std::collections::BTreeSet::new());
    for target in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(target.unwrap().path()).unwrap();
        let calls = text.split("fuzzed::").skip(1);
        functions.extend(calls.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
    }
    assert_eq!(
        functions.iter().map(String::as_str).collect::<Vec<_>>(),
        ["answer", "name", "ownership", "update"]
    );
    for function in functions {
        assert!(
            here.contains(&format!("prop_assert_eq!(fuzzed::{function}(")),
            "{function} has no bounded run"
        );
    }
}
