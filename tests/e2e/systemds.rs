//! The disk is the licence to run on every systemd that Debian offers: 247, 252 and 257.

use crate::lab::Lab;

/// The `<disk>` element with one of our serials.
#[track_caller]
fn disk_of(xml: &str) -> String {
    let disk = xml
        .split("<disk ")
        .skip(1)
        .find(|part| part.contains("<serial>ho"))
        .unwrap();
    let end = disk.find("</disk>").unwrap() + "</disk>".len();
    format!("<disk {}", &disk[..end])
}

#[track_caller]
fn becomes(lab: &Lab, guest: &str, unit: &str, state: &str) {
    lab.wait_for(&format!("{unit} on {guest} is {state}"), 60, || {
        (lab.unit(guest, "ActiveState", unit) == state).then_some(())
    });
}

#[test]
fn a_hot_attach_starts_a_hot_detach_stops_and_a_reload_while_staged_does_neither() {
    let lab = Lab::take();
    // Until systemd has started what hangs on a disk that came back, it looks as if an operator had stopped it.
    let _rarely = lab.without_audits();
    for (suite, version) in [
        ("bullseye", "systemd 247"),
        ("bookworm", "systemd 252"),
        ("trixie", "systemd 257"),
    ] {
        let _undo = lab.at_the_end(&["guest-undefine", "g5"]);
        lab.lab(&["guest-define", "g5", "--host", "hv1", "--image", suite])
            .ok();
        lab.lab(&["guest-wait", "g5"]).ok();
        let told = lab.guest("g5", "systemctl --version").ok();
        assert!(told.starts_with(version), "{suite}: {told}");
        lab.ctl(&["deploy", &lab.sleeper("sleeper"), "--to", "g5"]).ok();
        becomes(&lab, "g5", "sleeper.service", "active");

        let element =
            "cat >/run/licence.xml <<'END'\n".to_owned() + &disk_of(&lab.xml("g5", false)) + "\nEND";
        lab.exec("hv1", &["sh", "-c", &element]).ok();
        let licence = |verb: &str| {
            lab.exec(
                "hv1",
                &[
                    "virsh",
                    &format!("{verb}-device"),
                    "g5",
                    "/run/licence.xml",
                    "--live",
                ],
            )
            .ok()
        };
        licence("detach");
        becomes(&lab, "g5", "sleeper.service", "inactive");
        becomes(&lab, "g5", "opt-sleeper.mount", "inactive");
        licence("attach");
        becomes(&lab, "g5", "sleeper.service", "active");

        lab.ctl(&["stop", "sleeper"]).ok();
        lab.guest(
            "g5",
            "systemctl daemon-reload; systemctl daemon-reexec; udevadm settle",
        )
        .ok();
        for unit in ["sleeper.service", "opt-sleeper.mount"] {
            assert_eq!(lab.unit("g5", "ActiveState", unit), "inactive", "{suite}: {unit}");
        }
        licence("detach");
        licence("attach");
        lab.guest("g5", "udevadm settle").ok();
        assert_eq!(
            lab.unit("g5", "ActiveState", "sleeper.service"),
            "inactive",
            "{suite}: the licence of a stopped service starts nothing"
        );
        lab.ctl(&["start", "sleeper"]).ok();
        becomes(&lab, "g5", "sleeper.service", "active");
        lab.ctl(&["move", "sleeper", "g1"]).ok();
        assert_eq!(lab.traces("g5", "sleeper"), Vec::<String>::new(), "{suite}");
        lab.ctl(&["remove", "sleeper"]).ok();
    }
}
