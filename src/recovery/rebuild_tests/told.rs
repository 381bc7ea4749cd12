//! What the operator is told: what is left out, and what is uncertain.

use super::*;

/// What happens to the evidence, and what the operator is told.
type Case = (&'static str, fn(&mut Evidence), &'static str);

#[test]
fn what_would_have_to_be_guessed_is_left_out_with_the_reason() {
    let cases: [Case; 12] = [
        (
            "two guests have the disk",
            |e| e.guests[1] = domain(2, &[bundle_disk('a')]),
            "g1 and g2 have a disk of it, and which of them is its home is not guessed (the zone names g1)",
        ),
        (
            "one of them in its definition only, and of another bundle",
            |e| {
                e.guests[1] = domain(2, &[bundle_disk('b')]);
                e.guests[1].live = None;
            },
            "g1 and g2 have a disk of it",
        ),
        (
            "the zone names another guest",
            |e| {
                e.names
                    .insert(NAME.parse().unwrap(), Ok(zone(&[Ownership::Free(owner(4, 2))])));
            },
            "find out which is right",
        ),
        (
            "the zone does not answer",
            |e| {
                e.names.insert(NAME.parse().unwrap(), Err("timeout".into()));
            },
            "cannot be told: timeout",
        ),
        (
            "the zone is not configured",
            |e| e.names.clear(),
            "in no configured zone",
        ),
        (
            "a text of somebody else's",
            |e| {
                let records = NameRecords {
                    ownership: vec!["v=spf1".into()],
                    ..zone(&[])
                };
                e.names.insert(NAME.parse().unwrap(), Ok(records));
            },
            "holds a text that is not ours",
        ),
        (
            "another daemon controls the guest",
            |e| e.guests[0].summary.controller = Some("hv9".into()),
            "the handoverd of host hv9 controls g1",
        ),
        (
            "two bundles, and both have their units",
            |e| {
                e.guests[0] = domain(1, &[bundle_disk('a'), bundle_disk('b')]);
                see(e, 1, 'b', copy("active", 1));
            },
            "which of them it runs cannot be told",
        ),
        (
            "its secrets cannot be read back",
            |e| {
                with_secret(e);
                let seen = CopySeen::Seen(
                    Box::new(copy("active", 1)),
                    Err("/etc/web/key is not there".into()),
                );
                e.copies.insert((web(), guest(1), digest('a')), seen);
            },
            "/etc/web/key is not there",
        ),
        (
            "its secrets are in a guest that is off",
            |e| {
                with_secret(e);
                e.copies.insert((web(), guest(1), digest('a')), CopySeen::Off);
            },
            "g1 is off",
        ),
        (
            "its volume is gone",
            |e| {
                with_volume(e, PATH);
                e.volumes.clear();
            },
            "is not in the pool of host hv1",
        ),
        (
            "a snapshot moved its volume",
            |e| with_volume(e, "/pool/web.snap"),
            "its data volume is /pool/web.snap in g1",
        ),
    ];
    for (name, change, expected) in cases {
        let mut evidence = whole();
        change(&mut evidence);
        let told = told(&evidence);
        assert_eq!(told.row, None, "{name}");
        assert!(told.left_out[0].contains(expected), "{name}: {:?}", told.left_out);
    }
}

#[test]
fn what_is_taken_without_proof_is_said_to_be_uncertain() {
    let claim = || Ownership::Claimed(HandoverId(guest(9).0), Some(owner(3, 1)));
    let cases: [Case; 5] = [
        (
            "its guest is off",
            |e| {
                e.guests[0].live = None;
                e.copies.insert((web(), guest(1), digest('a')), CopySeen::Off);
            },
            "g1 is off, so it is taken for stopped",
        ),
        (
            "its guest is silent",
            |e| {
                e.copies
                    .insert((web(), guest(1), digest('a')), CopySeen::Silent("timeout".into()));
            },
            "taken for stopped",
        ),
        (
            "nobody owns the name",
            |e| {
                e.names.insert(NAME.parse().unwrap(), Ok(zone(&[])));
            },
            "does not say who owns web.svc.lab, 1 is taken",
        ),
        (
            "it has no name",
            |e| {
                for bundle in &mut e.bundles {
                    bundle.manifest.dns = None;
                }
            },
            "neither a name nor a grant says so",
        ),
        (
            "it is down and linked",
            |e| see(e, 1, 'a', copy("inactive", 1)),
            "it is down in g1",
        ),
    ];
    for (name, change, expected) in cases {
        let mut evidence = whole();
        change(&mut evidence);
        let told = told(&evidence);
        assert!(told.row.is_some(), "{name}: {:?}", told.left_out);
        assert!(
            told.uncertain[0].contains(expected),
            "{name}: {:?}",
            told.uncertain
        );
    }
    let mut evidence = whole();
    evidence.names.insert(NAME.parse().unwrap(), Ok(zone(&[claim()])));
    let told = told(&evidence);
    assert_eq!(told.row.unwrap().generation, Generation(3));
    assert!(
        told.uncertain[0].contains("a job had claimed"),
        "{:?}",
        told.uncertain
    );
}
