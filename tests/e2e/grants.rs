//! Grants: the file by which one guest has a bundle, and which ends with its licence.

use crate::booting::{boot_seconds, boots};
use crate::lab::Lab;

/// The source and format of the bundle's disk in a definition: `None` if it has none.
fn bundle_disk(xml: &str) -> Option<(String, String)> {
    let disk = xml.split("<disk ").find(|part| part.contains("<serial>ho"))?;
    let value = |before: &str| Some(disk.split(before).nth(1)?.split('\'').next()?.to_owned());
    Some((value("<source file='")?, value("<driver name='qemu' type='")?))
}

impl Lab {
    /// Writes a guest's persistent definition to a file on hv1; its path.
    #[track_caller]
    fn keep_definition(&self, guest: &str) -> String {
        let path = self.scratch().join(format!("{guest}-old.xml"));
        std::fs::write(&path, self.xml(guest, true)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[test]
fn an_old_definition_that_somebody_puts_back_does_not_bring_a_service_back_and_no_boot_waits() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.web(), "--to", "g1"]).ok();
    let granted = format!("web@{}.g1.qcow2", lab.uuid("g1"));
    assert_eq!(lab.grants("web"), [granted.as_str()]);
    for inactive in [false, true] {
        let (source, format) = bundle_disk(&lab.xml("g1", inactive)).unwrap();
        assert!(source.ends_with(&format!("/{granted}")), "{source}");
        assert_eq!(format, "qcow2");
    }
    let old = lab.keep_definition("g1");
    boots(&lab, "g1", &[&["virsh", "reboot", "g1"]]);
    assert_eq!(
        lab.unit("g1", "ActiveState", "web.service"),
        "active",
        "after a reboot"
    );
    let with_disk = boot_seconds(&lab, "g1");

    // Its guest loses power, so that its units stay in it, with the links that start them with the disk.
    lab.exec("hv1", &["virsh", "destroy", "g1"]).ok();
    lab.ctl(&["move", "web", "g2"]).ok();
    assert_eq!(lab.grants("web"), [format!("web@{}.g2.qcow2", lab.uuid("g2"))]);
    // What does not come up does not need the daemon for it.
    lab.lab(&["daemon", "hv1", "stop"]).ok();
    lab.exec("hv1", &["virsh", "define", &old]).ok();
    lab.exec("hv1", &["virsh", "start", "g1"]).ok();
    lab.lab(&["guest-wait", "g1"]).ok();
    lab.guest(
        "g1",
        "test -e /etc/systemd/system.attached/web.service && ls /etc/systemd/system/*.device.wants/web.service",
    )
    .ok();
    assert!(
        bundle_disk(&lab.xml("g1", true)).is_some(),
        "the old definition has the disk"
    );
    assert_eq!(bundle_disk(&lab.xml("g1", false)), None, "libvirt left it out");
    for unit in ["web.service", "opt-web.mount"] {
        assert_eq!(lab.unit("g1", "ActiveState", unit), "inactive");
    }
    let without = boot_seconds(&lab, "g1");
    assert!(
        without < with_disk * 3.0 + 20.0,
        "boot took {without} s, with the disk {with_disk} s"
    );
    assert!(lab.get("http://web.svc.lab:8080/").contains("guest=g2\n"));

    lab.lab(&["daemon", "hv1", "start"]).ok();
    let nothing = || lab.traces("g1", "web").is_empty().then_some(());
    lab.wait_for("the duty to take what is left on g1", 60, nothing);
    lab.agrees("after an old definition was put back");
}

#[test]
fn an_old_definition_of_the_target_is_put_right_by_a_move_to_it() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.web(), "--to", "g1"]).ok();
    let old = lab.keep_definition("g1");
    lab.ctl(&["move", "web", "g2", "--drain", "0"]).ok();
    lab.exec("hv1", &["virsh", "define", &old]).ok();
    let (stale, _) = bundle_disk(&lab.xml("g1", true)).unwrap();
    lab.ctl(&["move", "web", "g1", "--drain", "0"]).ok();
    let disks = [false, true].map(|inactive| bundle_disk(&lab.xml("g1", inactive)).unwrap());
    assert_eq!(disks[0], disks[1]);
    assert_ne!(disks[0].0, stale, "a boot would leave that one out");
    lab.agrees("after the move");
    boots(
        &lab,
        "g1",
        &[&["virsh", "destroy", "g1"], &["virsh", "start", "g1"]],
    );
    assert_eq!(lab.unit("g1", "ActiveState", "web.service"), "active");
}

#[test]
fn a_service_that_an_older_version_gave_by_the_shared_image_moves_all_the_same() {
    let lab = Lab::take();
    // Until systemd has started what hangs on a disk that came back, it looks as if an operator had stopped it.
    let _rarely = lab.without_audits();
    lab.ctl(&["deploy", &lab.web(), "--to", "g1"]).ok();
    let xml = lab.xml("g1", false);
    let disk = xml
        .split("<disk ")
        .find(|part| part.contains("<serial>ho"))
        .unwrap();
    let serial = disk.split("<serial>").nth(1).unwrap().split('<').next().unwrap();
    let image = xml
        .split('\'')
        .find(|text| text.starts_with("/var/lib/libvirt/images/handoverd/") && text.ends_with(".img"))
        .unwrap();
    let shared = lab.scratch().join("shared.xml");
    let text = format!(
        "<disk type='file' device='disk' snapshot='no'><driver name='qemu' type='raw'/>\
         <source file='{image}' startupPolicy='optional'/><target dev='sdb' bus='scsi'/><readonly/><shareable/>\
         <serial>{serial}</serial><alias name='ua-{serial}'/></disk>"
    );
    std::fs::write(&shared, text).unwrap();
    for half in ["--config", "--live"] {
        let alias = format!("ua-{serial}");
        lab.exec("hv1", &["virsh", "detach-device-alias", "g1", &alias, half])
            .ok();
        let gone = || (!lab.xml("g1", half == "--config").contains(&alias)).then_some(());
        lab.wait_for("the grant's disk to go", 30, gone);
        // What comes back while systemd still stops what hung on it is not started by its coming.
        if half == "--live" {
            let stopped = || {
                let inactive = |unit| lab.unit("g1", "ActiveState", unit) == "inactive";
                (inactive("web.service") && inactive("opt-web.mount")).then_some(())
            };
            lab.wait_for("the service to be stopped", 60, stopped);
        }
        let shared = shared.to_str().unwrap();
        lab.exec("hv1", &["virsh", "attach-device", "g1", shared, half])
            .ok();
    }
    let [grant] = &lab.grants("web")[..] else {
        panic!("{:?}", lab.grants("web"));
    };
    lab.exec("hv1", &["virsh", "vol-delete", grant, "handoverd"]).ok();
    let up = || (lab.unit("g1", "ActiveState", "web.service") == "active").then_some(());
    lab.wait_for("the service to come up by the shared image", 60, up);

    lab.ctl(&["move", "web", "g2", "--drain", "0"]).ok();
    assert_eq!(lab.agrees("after the move")["web"], "g2");
    assert_eq!(lab.grants("web"), [format!("web@{}.g2.qcow2", lab.uuid("g2"))]);
}
