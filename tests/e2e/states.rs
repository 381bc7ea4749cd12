//! Services that are not simply up: stopped, failed, disabled and masked ones keep what they are.

use crate::lab::Lab;

/// A service that something is done to in its guest before it moves.
struct Case {
    id: &'static str,
    /// Done in the source guest; `deploy --stopped` where it is empty.
    before: &'static str,
    life_state: &'static str,
    active_state: &'static str,
    is_enabled: &'static str,
    started_on_target: bool,
}

const CASES: [Case; 6] = [
    Case {
        id: "never",
        before: "",
        life_state: "stopped",
        active_state: "inactive",
        is_enabled: "disabled",
        started_on_target: false,
    },
    Case {
        id: "halted",
        before: "systemctl stop halted.service",
        life_state: "stopped",
        active_state: "inactive",
        is_enabled: "disabled",
        started_on_target: false,
    },
    Case {
        id: "broke",
        before: "systemctl kill -s KILL broke.service; while systemctl is-active broke.service; do sleep 0.1; done",
        life_state: "failed",
        active_state: "inactive",
        is_enabled: "disabled",
        started_on_target: false,
    },
    Case {
        id: "disabled",
        before: "systemctl disable disabled.service",
        life_state: "running",
        active_state: "active",
        is_enabled: "disabled",
        started_on_target: true,
    },
    Case {
        id: "masked",
        before: "systemctl mask masked.service",
        life_state: "running",
        active_state: "active",
        is_enabled: "masked",
        started_on_target: true,
    },
    Case {
        id: "plain",
        before: "true",
        life_state: "running",
        active_state: "active",
        is_enabled: "enabled",
        started_on_target: true,
    },
];

#[test]
fn what_is_stopped_failed_disabled_or_masked_moves_as_it_is() {
    let lab = Lab::take();
    for guest in ["g1", "g2"] {
        lab.guest(guest, "rm -f /run/was-started-*").ok();
    }
    let images = CASES.map(|case| lab.marking(case.id, ""));
    let deploys: Vec<Vec<&str>> = CASES
        .iter()
        .zip(&images)
        .map(|(case, image)| {
            let mut command = vec!["deploy", image, "--to", "g1"];
            if case.before.is_empty() {
                command.push("--stopped");
            }
            command
        })
        .collect();
    lab.at_once(&deploys.iter().map(Vec::as_slice).collect::<Vec<_>>());
    for case in CASES.iter().filter(|case| !case.before.is_empty()) {
        lab.guest("g1", &format!("test -e /run/was-started-{}", case.id))
            .ok();
        lab.guest("g1", case.before).ok();
    }

    let moves = CASES.map(|case| ["move", case.id, "g2"]);
    lab.at_once(&moves.each_ref().map(<[&str; 3]>::as_slice));
    for case in &CASES {
        let id = case.id;
        let service = lab.service(id);
        // Without a name the table is the commit.
        assert_eq!(
            (&service["guest_name"], &service["generation"]),
            (&"g2".into(), &2.into()),
            "{service:#}"
        );
        assert_eq!(service["life_state"], case.life_state, "{service:#}");
        assert_eq!(
            lab.unit("g2", "ActiveState", &format!("{id}.service")),
            case.active_state,
            "{id}"
        );
        let enabled = lab.guest("g2", &format!("systemctl is-enabled {id}.service"));
        assert_eq!(enabled.out.trim(), case.is_enabled, "{id}: {}", enabled.err);
        let marker = lab.guest("g2", &format!("test -e /run/was-started-{id}"));
        assert_eq!(
            marker.code == 0,
            case.started_on_target,
            "{id}: started on the target"
        );
        assert_eq!(
            lab.unit("g2", "ActiveState", &format!("opt-{id}.mount")) == "active",
            case.started_on_target
        );
    }
    for case in &CASES {
        assert_eq!(lab.traces("g1", case.id), Vec::<String>::new());
    }

    lab.ctl(&["start", "never"]).ok();
    assert_eq!(lab.unit("g2", "ActiveState", "never.service"), "active");
    assert_eq!(
        lab.guest("g2", "systemctl is-enabled never.service").out.trim(),
        "enabled"
    );
}

#[test]
fn what_is_bound_to_its_guest_is_not_moved() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.marking("bound", "movable = false"), "--to", "g1"])
        .ok();
    let job = lab.last_job()["id"].clone();
    lab.ctl(&["move", "bound", "g2"]).refused(3, "NotMovable");
    assert_eq!(lab.last_job()["id"], job, "no job was made");
    assert_eq!(lab.unit("g1", "ActiveState", "bound.service"), "active");
    assert_eq!(lab.traces("g2", "bound"), Vec::<String>::new());
}
