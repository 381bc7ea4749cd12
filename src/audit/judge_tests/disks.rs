//! Disks of ours where none should be, or none where one should be.

use super::*;
use crate::model::grant::{Grant, GrantFile};

#[test]
fn a_disk_that_is_missing_or_came_back_is_found_in_each_half() {
    check(&[
        (
            "the persistent definition lost it",
            false,
            |p| config(p, 1).clear(),
            &["disk-missing when-told give-disk"],
        ),
        (
            "the running machine lost it, which stops the service",
            false,
            |p| {
                live(p, 1).clear();
                set_copy(
                    p,
                    1,
                    CopyState {
                        device: false,
                        ..down(true)
                    },
                );
            },
            &["disk-missing when-told give-disk"],
        ),
        (
            "both disks are gone from the definition",
            true,
            |p| config(p, 1).clear(),
            &[
                "disk-missing when-told give-disk",
                "disk-missing when-told give-disk",
            ],
        ),
        (
            "the guest is off, and its definition has none",
            false,
            |p| {
                config(p, 1).clear();
                turn_off(p, 1);
            },
            &["disk-missing when-told give-disk", "guest-off operator"],
        ),
        (
            "an old XML was defined: the licence came back",
            false,
            |p| config(p, 2).push(bundle_disk('a')),
            &["disk-stray when-told remove-copy"],
        ),
        (
            "of an older bundle, too",
            false,
            |p| config(p, 2).push(bundle_disk('b')),
            &["disk-stray when-told remove-copy"],
        ),
        (
            "an older bundle on the home guest",
            false,
            |p| live(p, 1).push(bundle_disk('b')),
            &["disk-stray when-told take-disk"],
        ),
        (
            "on a guest that another daemon controls",
            false,
            |p| {
                config(p, 2).push(bundle_disk('a'));
                g(p, 2).summary.controller = Some("hv9".into());
            },
            &["disk-stray operator"],
        ),
        (
            "in a definition that a migration left on another host",
            false,
            |p| {
                let mut left = domain(2, &[bundle_disk('a')]);
                left.live = None;
                left.summary.state = DomainState::Shutoff;
                left.summary.host = "hv2".parse().unwrap();
                p.guests.get_mut(&guest(2)).unwrap().push(left);
            },
            &["disk-stray when-told remove-copy"],
        ),
        (
            "a serial of our form that nobody knows",
            false,
            |p| {
                live(p, 2).push(disk("ho0123456789abcdef01", "/x"));
            },
            &["disk-unknown operator"],
        ),
        (
            "a disk of a service that was removed",
            false,
            |p| {
                p.services.clear();
                p.copies.clear();
            },
            &["disk-stray when-told take-disk"],
        ),
        (
            "which a duty accounts for",
            false,
            |p| {
                p.services.clear();
                p.copies.clear();
                duty(p, 1);
            },
            &[],
        ),
        (
            "its definition names a grant that is gone",
            false,
            |p| config(p, 1)[0].source = Some("/pool/web@old.qcow2".into()),
            &["disk-missing when-told give-disk"],
        ),
        (
            "the file of a grant is left",
            false,
            |p| spent_grant(p, 2),
            &["grant-left when-told delete-grants"],
        ),
        (
            "the file of a grant of a service that was removed is left",
            false,
            |p| {
                p.services.clear();
                p.copies.clear();
                p.guests.clear();
                spent_grant(p, 2);
            },
            &["grant-left when-told delete-grants"],
        ),
        (
            "the home guest is transient",
            false,
            |p| g(p, 1).config = None,
            &["not-persistent operator"],
        ),
    ]);
}

#[test]
fn two_copies_or_an_open_volume_are_found_whatever_a_job_does() {
    check(&[
        (
            "two copies of a service with a volume",
            true,
            |p| {
                duty(p, 2);
                *live(p, 2) = vec![bundle_disk('a')];
                set_copy(p, 2, up());
            },
            &["two-copies when-told remove-copy"],
        ),
        (
            "while a job has it nothing is done",
            true,
            |p| {
                moving(p, LifeState::Accessible);
                *live(p, 2) = vec![bundle_disk('a')];
                set_copy(p, 2, up());
            },
            &["two-copies operator"],
        ),
        (
            "overlap = false without a volume",
            false,
            |p| {
                p.bundles[0].manifest.overlap = false;
                moving(p, LifeState::Accessible);
                set_copy(p, 2, up());
            },
            &["two-copies operator"],
        ),
        (
            "two copies that may overlap, in a move",
            false,
            |p| {
                moving(p, LifeState::Accessible);
                set_copy(p, 2, up());
            },
            &[],
        ),
        (
            "the volume in two guests, in a move",
            true,
            |p| {
                moving(p, LifeState::Accessible);
                live(p, 2).push(volume_disk());
            },
            &["volume-twice operator"],
        ),
        (
            "the volume came back with an old XML",
            true,
            |p| {
                *config(p, 2) = vec![bundle_disk('a'), volume_disk()];
            },
            &[
                "volume-twice when-told remove-copy",
                "disk-stray when-told remove-copy",
            ],
        ),
        (
            "attached by hand with a serial of its own",
            true,
            |p| config(p, 2).push(disk("backup", PATH)),
            &["volume-twice operator"],
        ),
        (
            "twice in its own guest",
            true,
            |p| live(p, 1).push(disk("backup", PATH)),
            &["volume-twice operator"],
        ),
        (
            "the same path on another host is another file",
            true,
            |p| {
                g(p, 2).summary.host = "hv2".parse().unwrap();
                config(p, 2).push(disk("backup", PATH));
            },
            &[],
        ),
        (
            "a snapshot moved it",
            true,
            |p| live(p, 1)[1].source = Some("/pool/web.snap".into()),
            &["volume-moved operator"],
        ),
        (
            "the name, the units and the disks in the middle of a job are the job's",
            false,
            |p| {
                moving(p, LifeState::Accessible);
                config(p, 1).clear();
                records(p, zone(9, &[]));
                set_copy(p, 1, down(true));
            },
            &[],
        ),
        (
            "a stuck job has it",
            false,
            |p| {
                p.services[0].frozen = Some("job 7 is stuck".into());
                config(p, 1).clear();
            },
            &[],
        ),
    ]);
}

#[test]
fn only_serials_of_our_form_are_taken_for_ours() {
    assert!(is_our_pattern(DiskSerial::of_volume(&web()).as_str()));
    for other in [
        "",
        "ho",
        "ho0123456789ABCDEF01",
        "ho0123456789abcdef0",
        "xx0123456789abcdef01",
    ] {
        assert!(!is_our_pattern(other), "{other}");
    }
}

fn spent_grant(picture: &mut Picture, number: u8) {
    picture.spent_grants.push(GrantFile {
        grant: Grant {
            service: "web".parse().unwrap(),
            guest: guest(number),
            generation: Generation(1),
        },
        host: "hv1".parse().unwrap(),
        path: "/pool/web@g2.g1.qcow2".into(),
    });
}
