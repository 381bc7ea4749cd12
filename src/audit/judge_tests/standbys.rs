//! Standbys: what they may have, and what they lack.

use super::*;
use crate::model::ids::Attempt;
use crate::model::standby::{Installed, Standby, StandbyState};

fn standby(picture: &mut Picture, state: StandbyState, copy: CopyState) {
    picture.standbys.push(Standby {
        service: web(),
        guest: guest(2),
        guest_name: "g2".into(),
        installed: Installed {
            digest: "a".repeat(64).parse().unwrap(),
            link: Enablement::Enabled,
            files: vec![],
        },
        state,
        attempt: Attempt(4),
    });
    set_copy(picture, 2, copy);
}

fn installed() -> CopyState {
    CopyState {
        device: false,
        ..down(false)
    }
}

#[test]
fn a_standby_has_units_and_links_and_no_disk() {
    check(&[
        (
            "as it should be",
            false,
            |p| standby(p, StandbyState::Ready, installed()),
            &[],
        ),
        (
            "its units are gone",
            false,
            |p| {
                standby(
                    p,
                    StandbyState::Ready,
                    CopyState {
                        installed: false,
                        ..installed()
                    },
                );
            },
            &["standby-differs by-itself standby"],
        ),
        (
            "its link is gone",
            false,
            |p| {
                standby(
                    p,
                    StandbyState::Ready,
                    CopyState {
                        links: 0,
                        enablement: Enablement::Disabled,
                        ..installed()
                    },
                );
            },
            &["standby-differs by-itself standby"],
        ),
        (
            "it is being changed",
            false,
            |p| {
                standby(
                    p,
                    StandbyState::Changing,
                    CopyState {
                        installed: false,
                        ..installed()
                    },
                );
            },
            &[],
        ),
        (
            "the service was stopped a moment ago",
            false,
            |p| {
                standby(p, StandbyState::Ready, installed());
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
            "it has the disk: a second licence",
            false,
            |p| {
                standby(p, StandbyState::Ready, up());
                live(p, 2).push(bundle_disk('a'));
            },
            &[
                "disk-stray when-told remove-copy",
                "standby-differs when-told standby",
            ],
        ),
        (
            "its guest is silent",
            false,
            |p| {
                standby(p, StandbyState::Ready, installed());
                p.copies.insert((web(), guest(2)), Asked::Silent("no".into()));
            },
            &[],
        ),
    ]);
}
