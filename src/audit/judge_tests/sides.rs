//! The zone, the pool, and whoever does not answer.

use super::*;

#[test]
fn nothing_is_found_where_all_agree() {
    check(&[
        ("without a volume", false, |_| {}, &[]),
        ("with a volume", true, |_| {}, &[]),
        (
            "a stopped service without links",
            false,
            |p| {
                p.services[0].wanted = LifeState::Stopped;
                set_copy(
                    p,
                    1,
                    CopyState {
                        links: 0,
                        enablement: Enablement::Disabled,
                        ..down(true)
                    },
                );
            },
            &[],
        ),
        (
            "a disabled service that runs",
            false,
            |p| {
                p.services[0].enablement = Enablement::Disabled;
                set_copy(
                    p,
                    1,
                    CopyState {
                        links: 0,
                        enablement: Enablement::Disabled,
                        ..up()
                    },
                );
            },
            &[],
        ),
        (
            "a copy that drains by a duty",
            false,
            |p| {
                duty(p, 2);
                *live(p, 2) = vec![bundle_disk('a')];
                set_copy(p, 2, up());
            },
            &[],
        ),
        (
            "a stopped service on a guest that is off",
            false,
            |p| {
                p.services[0].wanted = LifeState::Stopped;
                turn_off(p, 1);
            },
            &[],
        ),
        (
            "a disk of somebody else",
            false,
            |p| live(p, 2).push(disk("hotspot", "/x")),
            &[],
        ),
    ]);
}

#[test]
fn the_zone_is_put_right_only_where_it_is_still_ours() {
    let id = HandoverId(guest(9).0);
    let claim = Ownership::Claimed(id, Some(owner(3, 1)));
    let claimed_elsewhere = Ownership::Claimed(id, Some(owner(7, 2)));
    type Row = (&'static str, NameRecords, &'static [&'static str]);
    let cases: [Row; 12] = [
        (
            "another address",
            zone(9, &[Ownership::Free(owner(3, 1))]),
            &["address-differs when-told swap-name"],
        ),
        (
            "no address",
            zone(0, &[Ownership::Free(owner(3, 1))]),
            &["address-differs when-told swap-name"],
        ),
        (
            "an older table",
            zone(102, &[Ownership::Free(owner(4, 2))]),
            &["owner-differs operator"],
        ),
        (
            "somebody else",
            zone(102, &[Ownership::Free(owner(2, 2))]),
            &["owner-differs operator"],
        ),
        ("no owner", zone(101, &[]), &["owner-differs when-told swap-name"]),
        (
            "nothing at all",
            zone(0, &[]),
            &["owner-differs when-told swap-name"],
        ),
        (
            "taken by somebody else",
            zone(9, &[]),
            &["owner-differs operator"],
        ),
        (
            "a claim that a job left",
            zone(101, std::slice::from_ref(&claim)),
            &["claim-left when-told swap-name"],
        ),
        (
            "a claim of a job that had led clients to its target",
            zone(102, &[claim]),
            &["claim-left when-told swap-name"],
        ),
        (
            "a claim of somebody else",
            zone(101, &[claimed_elsewhere]),
            &["claim-left operator"],
        ),
        (
            "a foreign text",
            NameRecords {
                ownership: vec!["v=spf1".into()],
                ..zone(101, &[])
            },
            &["owner-differs operator"],
        ),
        (
            "an alias",
            NameRecords {
                cname: Some("other.lab.".into()),
                ..zone(0, &[])
            },
            &["address-differs operator"],
        ),
    ];
    for (name, said, expected) in cases {
        let mut picture = healthy(false);
        records(&mut picture, said.clone());
        assert_eq!(told(&picture), expected, "{name}");
        if let Some(Repair::SwapName(change)) = findings(&picture)[0].remedy.repair() {
            assert_eq!(
                change.expect_addresses.as_ref(),
                Some(&said.addresses),
                "{name}: a compare-and-swap"
            );
            let Some(Ownership::Free(written)) = &change.ownership else {
                panic!("{name}: {change:?}");
            };
            assert_eq!(
                Owner {
                    after: None,
                    ..written.clone()
                },
                owner(3, 1),
                "{name}"
            );
        }
    }
}

#[test]
fn a_ttl_that_an_abandoned_job_has_lowered_and_clients_that_it_has_led_go_back_with_its_claim() {
    for (there, ttl, expected) in [(101, 5, None), (101, 1, Some(5)), (102, 5, Some(5))] {
        let claim_of = HandoverId(uuid::Uuid::from_u128(9));
        let claim = Ownership::Claimed(claim_of, Some(owner(3, 1)));
        let mut picture = healthy(false);
        records(
            &mut picture,
            NameRecords {
                ttl,
                ..zone(there, &[claim])
            },
        );
        let found = findings(&picture);
        let Some(Repair::SwapName(change)) = found[0].remedy.repair() else {
            panic!("{found:?}");
        };
        let back = Owner {
            after: Some(claim_of),
            ..owner(3, 1)
        };
        assert_eq!(change.ownership, Some(Ownership::Free(back)));
        let home = zone(101, &[]).addresses;
        assert_eq!(change.addresses, expected.map(|ttl| (home, ttl)));
    }
}

#[test]
fn what_a_pool_lacks_and_who_controls_a_guest_is_found() {
    check(&[
        (
            "the image is gone",
            false,
            |p| {
                p.images
                    .insert((host(), "a".repeat(64).parse().unwrap()), Ok(None));
            },
            &["image-missing operator"],
        ),
        (
            "the image is cut off, and another host has it",
            false,
            |p| {
                p.images
                    .insert((host(), "a".repeat(64).parse().unwrap()), Ok(Some(100)));
                p.images.insert(
                    ("hv2".parse().unwrap(), "a".repeat(64).parse().unwrap()),
                    Ok(Some(4096)),
                );
            },
            &["image-missing when-told copy-image"],
        ),
        (
            "the volume is gone",
            true,
            |p| {
                p.volumes.insert((host(), web()), Ok(None));
            },
            &["volume-missing operator"],
        ),
        (
            "the volume was cut",
            true,
            |p| {
                p.volumes.insert((host(), web()), Ok(Some(4096)));
            },
            &["volume-missing operator"],
        ),
        (
            "another daemon controls the guest",
            false,
            |p| g(p, 1).summary.controller = Some("hv9".into()),
            &["other-controller operator"],
        ),
        (
            "nobody does",
            false,
            |p| g(p, 1).summary.controller = None,
            &["no-controller when-told control"],
        ),
    ]);
}

#[test]
fn what_does_not_answer_is_told_as_such_and_nothing_is_made_of_it() {
    check(&[
        (
            "the guest is silent",
            false,
            |p| {
                p.copies
                    .insert((web(), guest(1)), Asked::Silent("timeout".into()));
            },
            &["cannot-tell unknown"],
        ),
        (
            "the guest is paused",
            false,
            |p| {
                g(p, 1).summary.state = DomainState::Paused;
                p.copies.insert((web(), guest(1)), Asked::Off);
            },
            &["cannot-tell unknown"],
        ),
        (
            "the guest is off",
            false,
            |p| turn_off(p, 1),
            &["guest-off operator"],
        ),
        (
            "its host is silent",
            false,
            |p| {
                p.guests.remove(&guest(1));
                p.copies.clear();
                p.silent_hosts.insert("hv2".parse().unwrap());
            },
            &["cannot-tell unknown"],
        ),
        (
            "it cannot be read",
            false,
            |p| {
                p.guests.remove(&guest(1));
                p.copies.clear();
                p.unreadable.insert(guest(1), "timeout".into());
            },
            &["cannot-tell unknown"],
        ),
        (
            "no host knows it",
            false,
            |p| {
                p.guests.remove(&guest(1));
                p.copies.clear();
            },
            &["guest-unknown operator"],
        ),
        (
            "the name server is silent",
            false,
            |p| {
                p.names.insert(NAME.parse().unwrap(), Err("timeout".into()));
            },
            &["cannot-tell unknown"],
        ),
        (
            "the pool is silent",
            false,
            |p| {
                p.images
                    .insert((host(), "a".repeat(64).parse().unwrap()), Err("timeout".into()));
            },
            &["cannot-tell unknown"],
        ),
    ]);
}

#[test]
fn a_finding_says_what_each_side_says_and_how_many_copies_run() {
    let mut picture = healthy(false);
    config(&mut picture, 1).clear();
    duty(&mut picture, 2);
    *live(&mut picture, 2) = vec![bundle_disk('a')];
    picture
        .copies
        .insert((web(), guest(2)), Asked::Silent("timeout".into()));
    let found = findings(&picture);
    let finding = &found[0];
    assert_eq!(
        finding.what,
        "g1 lacks the bundle disk in its persistent definition"
    );
    assert_eq!((finding.copies.up, finding.copies.unasked), (1, 1));
    assert_eq!(
        finding.says.table,
        "accessible, enabled, on g1 at 10.77.0.101, generation 3"
    );
    assert!(
        finding.says.dns.starts_with("10.77.0.101, owner \"g=3 host=hv1"),
        "{}",
        finding.says.dns
    );
    assert_eq!(finding.says.libvirt, "g1 has bundle live; g2 has bundle live");
    assert_eq!(
        finding.says.guest,
        "g1: web.service active (running); g2 does not answer"
    );
    assert_eq!(finding.kind.rule(), Rule::OneTruth);
    assert!(finding.is_same(&finding.clone()));
}
