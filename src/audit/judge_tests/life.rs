//! What runs, what should, and who stopped it.

use super::*;

#[test]
fn a_stopped_service_stays_stopped() {
    check(&[
        (
            "its target runs it in a move",
            false,
            |p| {
                p.services[0].wanted = LifeState::Stopped;
                moving(p, LifeState::Stopped);
                set_copy(p, 2, up());
            },
            &["runs-though-stopped operator"],
        ),
        (
            "its disk has started it",
            false,
            |p| p.services[0].wanted = LifeState::Stopped,
            &["runs-though-stopped when-told stop"],
        ),
        (
            "its disk would start it",
            false,
            |p| {
                p.services[0].wanted = LifeState::Stopped;
                set_copy(p, 1, down(false));
            },
            &["link-left when-told link"],
        ),
        (
            "an operator has started it",
            false,
            |p| {
                p.services[0].wanted = LifeState::Stopped;
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
            &["started-by-hand by-itself adopt"],
        ),
    ]);
}

#[test]
fn a_stop_is_told_from_a_boot_and_from_a_failure() {
    check(&[
        (
            "an operator stopped it",
            false,
            |p| set_copy(p, 1, down(true)),
            &["stopped-by-hand by-itself adopt"],
        ),
        (
            "its guest booted, and nothing started it",
            false,
            |p| set_copy(p, 1, down(false)),
            &["down-after-boot by-itself start"],
        ),
        (
            "disabled, and its guest booted",
            false,
            |p| {
                p.services[0].enablement = Enablement::Disabled;
                set_copy(
                    p,
                    1,
                    CopyState {
                        links: 0,
                        enablement: Enablement::Disabled,
                        ..down(false)
                    },
                );
            },
            &["down-after-boot by-itself start"],
        ),
        (
            "it has failed",
            false,
            |p| {
                set_copy(
                    p,
                    1,
                    CopyState {
                        units: vec![unit("failed")],
                        ..down(true)
                    },
                );
            },
            &["down when-told start-job"],
        ),
        (
            "one of two units is down",
            false,
            |p| {
                set_copy(
                    p,
                    1,
                    CopyState {
                        units: vec![unit("active"), unit("inactive")],
                        ..down(true)
                    },
                );
            },
            &["down when-told start-job"],
        ),
        (
            "it is on its way up",
            false,
            |p| {
                set_copy(
                    p,
                    1,
                    CopyState {
                        units: vec![unit("activating")],
                        ..down(true)
                    },
                );
            },
            &["cannot-tell unknown"],
        ),
        (
            "its guest goes down: no operator has stopped it",
            false,
            |p| {
                set_copy(
                    p,
                    1,
                    CopyState {
                        system: "stopping".into(),
                        ..down(true)
                    },
                );
            },
            &["cannot-tell unknown"],
        ),
        (
            "its guest boots, and its link will start it",
            false,
            |p| {
                set_copy(
                    p,
                    1,
                    CopyState {
                        system: "starting".into(),
                        ..down(false)
                    },
                );
            },
            &["cannot-tell unknown"],
        ),
        (
            "a lost link, and its guest has booted",
            false,
            |p| {
                set_copy(
                    p,
                    1,
                    CopyState {
                        links: 0,
                        enablement: Enablement::Disabled,
                        ..down(false)
                    },
                );
            },
            &["down-after-boot by-itself start"],
        ),
        (
            "disabled by an operator while it runs",
            false,
            |p| {
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
            &["enablement-by-hand by-itself adopt"],
        ),
        (
            "masked by an operator while it runs",
            false,
            |p| {
                set_copy(
                    p,
                    1,
                    CopyState {
                        enablement: Enablement::Masked,
                        ..up()
                    },
                );
            },
            &["enablement-by-hand by-itself adopt"],
        ),
        (
            "its units are gone from the guest",
            false,
            |p| {
                set_copy(
                    p,
                    1,
                    CopyState {
                        installed: false,
                        ..down(false)
                    },
                );
            },
            &["units-differ when-told install"],
        ),
        (
            "an operator edited its config",
            false,
            |p| {
                set_copy(
                    p,
                    1,
                    CopyState {
                        files_differ: true,
                        ..up()
                    },
                );
            },
            &["files-differ when-told install"],
        ),
    ]);
}

#[test]
fn a_link_of_several_that_is_lost_is_made_again_only_when_told() {
    let mut picture = healthy(false);
    let second: crate::model::unit::UnitName = "second.service".parse().unwrap();
    let bundle = &mut picture.bundles[0];
    bundle.manifest.units.push(second.clone());
    bundle.units.push(UnitFile {
        name: second,
        text: bundle.units[0].text.clone(),
    });
    assert_eq!(told(&picture), ["link-missing when-told link"]);
}

#[test]
fn a_stop_that_is_adopted_keeps_the_enablement_and_takes_a_mask_over() {
    let adopted = |copy: CopyState| {
        let mut picture = healthy(false);
        set_copy(&mut picture, 1, copy);
        findings(&picture)[0].remedy.repair().cloned()
    };
    let unlinked = CopyState {
        links: 0,
        enablement: Enablement::Disabled,
        ..down(true)
    };
    assert_eq!(adopted(unlinked), Some(Repair::AdoptStop(Enablement::Enabled)));
    let masked = CopyState {
        enablement: Enablement::Masked,
        ..down(true)
    };
    assert_eq!(adopted(masked), Some(Repair::AdoptStop(Enablement::Masked)));
}

#[test]
fn what_is_observed_is_what_the_guest_and_the_zone_say() {
    type Row = (&'static str, fn(&mut Picture), Option<LifeState>);
    let cases: [Row; 9] = [
        (
            "up, and its name leads there",
            |_| {},
            Some(LifeState::Accessible),
        ),
        (
            "up, and its name leads elsewhere",
            |p| records(p, zone(9, &[])),
            Some(LifeState::Running),
        ),
        (
            "up, and the zone does not answer",
            |p| {
                p.names.insert(NAME.parse().unwrap(), Err("timeout".into()));
            },
            None,
        ),
        ("down", |p| set_copy(p, 1, down(true)), Some(LifeState::Stopped)),
        (
            "failed",
            |p| {
                set_copy(
                    p,
                    1,
                    CopyState {
                        units: vec![unit("failed")],
                        ..down(true)
                    },
                );
            },
            Some(LifeState::Failed),
        ),
        (
            "failed while its guest shuts down",
            |p| {
                let stops = CopyState {
                    units: vec![unit("failed")],
                    system: "stopping".to_owned(),
                    ..down(true)
                };
                set_copy(p, 1, stops);
            },
            None,
        ),
        ("off, and wanted running", |p| turn_off(p, 1), None),
        (
            "off, and wanted stopped",
            |p| {
                p.services[0].wanted = LifeState::Stopped;
                turn_off(p, 1);
            },
            Some(LifeState::Stopped),
        ),
        (
            "silent",
            |p| {
                p.copies
                    .insert((web(), guest(1)), Asked::Silent("timeout".into()));
            },
            None,
        ),
    ];
    for (name, change, expected) in cases {
        let mut picture = healthy(false);
        change(&mut picture);
        assert_eq!(observed(&picture, &picture.services[0]), expected, "{name}");
    }
}
