//! Guests that boot: the disk is the licence to run, and nothing of ours keeps a guest from booting.

use crate::lab::Lab;

/// Seconds that systemd took in user space to finish its boot.
#[track_caller]
pub fn boot_seconds(lab: &Lab, guest: &str) -> f64 {
    let at = |name: &str| {
        let out = lab.guest(guest, &format!("systemctl show -P {name}")).ok();
        out.trim().parse::<f64>().unwrap() / 1e6
    };
    at("FinishTimestampMonotonic") - at("UserspaceTimestampMonotonic")
}

/// Which boot of a guest this is; `None` where its agent does not answer.
#[track_caller]
pub fn boot_id(lab: &Lab, guest: &str) -> Option<String> {
    let ran = lab.guest(guest, "cat /proc/sys/kernel/random/boot_id");
    (ran.code == 0).then(|| ran.out.trim().to_owned())
}

/// Runs what makes a guest boot anew and waits until it has.
#[track_caller]
pub fn boots(lab: &Lab, guest: &str, commands: &[&[&str]]) {
    let before = boot_id(lab, guest).unwrap();
    for command in commands {
        lab.exec("hv1", command).ok();
    }
    lab.wait_for("another boot", 300, || {
        boot_id(lab, guest).filter(|id| *id != before)
    });
    lab.lab(&["guest-wait", guest]).ok();
}

#[test]
fn a_service_is_up_after_a_boot_exactly_if_its_disk_is_there_and_no_boot_waits() {
    let lab = Lab::take();
    let sleeper = lab.sleeper("other");
    lab.at_once(&[
        &["deploy", &lab.web(), "--to", "g2"],
        &["deploy", &sleeper, "--to", "g2"],
    ]);
    // What comes up now comes up without the daemon.
    lab.lab(&["daemon", "hv1", "stop"]).ok();

    boots(&lab, "g2", &[&["virsh", "reboot", "g2"]]);
    for unit in ["web.service", "other.service", "opt-web.mount", "opt-other.mount"] {
        assert_eq!(
            lab.unit("g2", "ActiveState", unit),
            "active",
            "{unit} after a reboot"
        );
    }
    assert!(lab.get("http://web.svc.lab:8080/").contains("guest=g2\n"));
    let with_disk = boot_seconds(&lab, "g2");

    // The licence of web is taken out of the persistent definition only: that is fencing.
    let device = lab.guest("g2", "findmnt -n -o SOURCE /opt/web").ok();
    let serial = lab
        .guest(
            "g2",
            &format!(
                "udevadm info -q property -n {} | sed -n s/^ID_SCSI_SERIAL=//p",
                device.trim()
            ),
        )
        .ok();
    let target = disk_target(&lab.xml("g2", true), serial.trim());
    lab.exec("hv1", &["virsh", "detach-disk", "g2", &target, "--config"])
        .ok();
    assert_eq!(
        lab.unit("g2", "ActiveState", "web.service"),
        "active",
        "it still runs"
    );

    boots(
        &lab,
        "g2",
        &[&["virsh", "destroy", "g2"], &["virsh", "start", "g2"]],
    );
    assert_eq!(
        lab.unit("g2", "ActiveState", "other.service"),
        "active",
        "its disk is there"
    );
    assert_eq!(lab.unit("g2", "ActiveState", "web.service"), "inactive");
    assert_eq!(lab.unit("g2", "ActiveState", "opt-web.mount"), "inactive");
    lab.guest("g2", "test -e /etc/systemd/system.attached/web.service")
        .ok();
    let jobs = lab.guest("g2", "systemctl list-jobs --no-legend").ok();
    assert!(
        !jobs.contains(" waiting") && !jobs.contains(".device"),
        "nothing waits for a disk: {jobs}"
    );
    let state = lab.guest("g2", "systemctl is-system-running").out;
    assert!(["running", "degraded"].contains(&state.trim()), "{state}");
    // A unit that waits for a device does so for 90 s.
    let without = boot_seconds(&lab, "g2");
    assert!(
        without < with_disk * 3.0 + 20.0,
        "boot took {without} s, with the disk {with_disk} s"
    );

    lab.lab(&["daemon", "hv1", "start"]).ok();
    lab.ctl(&["remove", "web"]).ok();
    assert_eq!(
        lab.guest("g2", "find /etc/systemd /opt -name 'web*' -o -name 'opt-web*'")
            .ok(),
        ""
    );
    assert_eq!(lab.service("other")["life_state"], "running");
}

/// The target name (such as `sdb`) of the disk with this serial.
#[track_caller]
pub fn disk_target(xml: &str, serial: &str) -> String {
    assert!(!serial.is_empty());
    let disk = xml
        .split("<disk ")
        .find(|part| part.contains(&format!("<serial>{serial}</serial>")))
        .unwrap();
    disk.split("<target dev='")
        .nth(1)
        .unwrap()
        .split('\'')
        .next()
        .unwrap()
        .to_owned()
}
