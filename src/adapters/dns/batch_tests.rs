//! Which changes share a message.

use super::super::key::{KeyAlgorithm, TsigKey};
use super::*;

fn zone(key: Option<KeyAlgorithm>) -> Zone {
    let key =
        key.map(|algorithm| TsigKey::new("handoverd-key".parse().unwrap(), algorithm, "c2VjcmV0").unwrap());
    Zone::new("svc.lab".parse().unwrap(), "127.0.0.1:53".parse().unwrap(), key)
}

fn change(name: &str) -> NameChange {
    let owner = |generation: u64| {
        let guest = "6f1d5a2e-0000-4000-8000-000000000001";
        Some(format!("g={generation} host=hv1 guest={guest}").parse().unwrap())
    };
    NameChange {
        name: format!("{name}.svc.lab").parse().unwrap(),
        expect_ownership: owner(1),
        expect_addresses: Some(vec!["10.0.0.1".parse().unwrap()]),
        ownership: owner(2),
        addresses: Some((vec!["10.0.0.2".parse().unwrap()], 5)),
        srv: vec![],
    }
}

fn member(name: &str) -> Member {
    Member {
        change: change(name),
        reply: oneshot::channel().0,
    }
}

#[test]
fn a_name_that_is_changed_twice_is_changed_in_two_messages_in_its_order() {
    let mut second = member("a");
    second.change.ownership = None;
    let waves = waves(vec![member("a"), member("b"), second, member("c"), member("b")]);
    let shown: Vec<Vec<(String, bool)>> = waves
        .iter()
        .map(|wave| {
            wave.iter()
                .map(|m| (m.change.name.to_string(), m.change.ownership.is_some()))
                .collect()
        })
        .collect();
    let row = |name: &str, owned| (format!("{name}.svc.lab"), owned);
    assert_eq!(
        shown,
        [
            vec![row("a", true), row("b", true), row("c", true)],
            vec![row("a", false), row("b", true)],
        ]
    );
}

#[test]
fn each_message_is_as_full_as_it_can_be() {
    for key in [
        None,
        Some(KeyAlgorithm::HmacSha256),
        Some(KeyAlgorithm::HmacSha512),
    ] {
        let zone = zone(key);
        let changes: Vec<NameChange> = (0..500).map(|n| change(&format!("web{n:04}"))).collect();
        let counts = counts(&zone, &changes);
        assert_eq!(counts.iter().sum::<usize>(), changes.len());
        assert!(
            counts.len() > 1,
            "500 names do not fit into one message: {counts:?}"
        );
        let mut from = 0;
        for count in counts {
            assert_eq!(fits(&zone, &changes[from..from + count]), Ok(true));
            if from + count < changes.len() {
                assert_eq!(fits(&zone, &changes[from..=from + count]), Ok(false));
            }
            from += count;
        }
    }
}

#[test]
fn few_changes_go_in_one_message_and_none_in_none() {
    let zone = zone(None);
    assert_eq!(counts(&zone, &[]), Vec::<usize>::new());
    assert_eq!(counts(&zone, &[change("a")]), [1]);
    assert_eq!(counts(&zone, &[change("a"), change("b"), change("c")]), [3]);
}

#[test]
fn a_change_that_fits_into_no_message_is_told_so_and_the_others_are_sent() {
    let vast: Vec<std::net::IpAddr> = (0..6000u32)
        .map(|n| std::net::Ipv4Addr::from_bits(n).into())
        .collect();
    let (reply, mut end) = oneshot::channel();
    let mut one = change("vast");
    one.addresses = Some((vast, 5));
    let primary = Primary {
        zone: zone(None),
        timeout: std::time::Duration::from_secs(1),
        clock_offset: 0,
    };
    let parts = primary.parts(vec![member("a"), Member { change: one, reply }, member("b")]);
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [2]);
    let error = end.try_recv().unwrap().unwrap_err();
    assert_eq!(error.fault, crate::ports::Fault::Refused);
    assert!(
        error.message.contains("vast.svc.lab") && error.message.contains("65535"),
        "{error}"
    );
}
