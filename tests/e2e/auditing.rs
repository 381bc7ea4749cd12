//! The auditor on real guests: what an operator does in a guest is adopted, what a boot left down is started, and what came
//! back by an old XML is taken away when told. And a lost table is rebuilt.

use serde_json::Value;

use crate::booting::{boot_id, disk_target};
use crate::lab::Lab;
use crate::refusals::nsupdate;
use crate::settings::Setting;

impl Lab {
    /// What an audit finds now, as programs see it.
    #[track_caller]
    fn audit(&self, arguments: &[&str]) -> Vec<Value> {
        let ran = self.ctl(&[&["audit", "--json"], arguments].concat());
        assert!(ran.code == 0 || ran.code == 1, "{} {}", ran.out, ran.err);
        let rows: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
        let settled = rows.iter().all(|row| row["outcome"] == "done");
        assert_eq!(ran.code == 0, settled, "{rows:#?}");
        rows
    }

    /// The kinds of findings of an audit.
    #[track_caller]
    fn kinds(&self, arguments: &[&str]) -> Vec<String> {
        let rows = self.audit(arguments);
        rows.iter()
            .map(|row| row["kind"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Makes the daemon audit by itself more often than once a minute, until the setting goes out of scope.
    #[track_caller]
    fn audit_often(&self) -> Setting<'_> {
        self.with_settings(&["[audit]", "every = \"5s\""])
    }

    /// Waits until the daemon's own audit has come to this of a service.
    #[track_caller]
    fn adopted(&self, service: &str, column: &str, value: &str) {
        self.wait_for(
            &format!("{service} is {column}={value} in the table"),
            150,
            || (self.service(service)[column] == value).then_some(()),
        );
    }
}

#[test]
fn what_an_operator_does_in_a_guest_is_adopted_and_stays_so_after_a_boot() {
    let lab = Lab::take();
    // The daemon's own audit would adopt the stop before it is looked for.
    let rarely = lab.without_audits();
    let deploys = ["halted", "disabled", "plain"].map(|id| lab.sleeper(id));
    for image in &deploys {
        lab.ctl(&["deploy", image, "--to", "g1"]).ok();
    }
    assert_eq!(lab.kinds(&[]), Vec::<String>::new(), "all agree after a deploy");

    lab.guest(
        "g1",
        "systemctl stop halted.service; systemctl disable disabled.service",
    )
    .ok();
    let rows = lab.audit(&["halted"]);
    assert_eq!(rows[0]["kind"], "stopped-by-hand", "{rows:#?}");
    assert_eq!(
        (&rows[0]["remedy"], &rows[0]["copies"]),
        (&"by-itself".into(), &0.into())
    );
    drop(rarely);
    let _often = lab.audit_often();
    lab.adopted("halted", "wanted", "stopped");
    lab.adopted("disabled", "enablement", "disabled");
    assert_eq!(
        lab.service("halted")["enablement"],
        "enabled",
        "a stop is no disable"
    );
    assert_eq!(lab.kinds(&[]), Vec::<String>::new());

    // After a boot: what was stopped stays stopped, what is disabled and wanted running is started by the audit.
    lab.exec("hv1", &["virsh", "destroy", "g1"]).ok();
    lab.exec("hv1", &["virsh", "start", "g1"]).ok();
    lab.lab(&["guest-wait", "g1"]).ok();
    lab.wait_for("plain to come up with its disk", 120, || {
        (lab.unit("g1", "ActiveState", "plain.service") == "active").then_some(())
    });
    lab.wait_for("the audit to start what is disabled", 150, || {
        (lab.unit("g1", "ActiveState", "disabled.service") == "active").then_some(())
    });
    assert_eq!(lab.unit("g1", "ActiveState", "halted.service"), "inactive");
    assert_eq!(lab.service("disabled")["enablement"], "disabled");
    assert_eq!(lab.kinds(&[]), Vec::<String>::new());

    // Stopped again after the boot, by hand: its mark tells that it was up.
    lab.guest("g1", "systemctl stop disabled.service").ok();
    lab.adopted("disabled", "wanted", "stopped");
    lab.guest("g1", "systemctl start halted.service").ok();
    lab.adopted("halted", "wanted", "running");
    lab.wait_for("its link", 60, || {
        (lab.guest("g1", "systemctl is-enabled halted.service").out.trim() == "enabled").then_some(())
    });
    for id in ["halted", "disabled", "plain"] {
        lab.ctl(&["remove", id]).ok();
    }
}

#[test]
fn a_boot_is_never_taken_for_a_stop() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.sleeper("other"), "--to", "g1"]).ok();
    let before = boot_id(&lab, "g1").unwrap();
    lab.guest("g1", "systemd-run --quiet --on-active=0 systemctl reboot")
        .ok();
    // Audited all along, while the guest goes down and comes up.
    let mut seen = Vec::new();
    lab.wait_for("the service after a boot", 300, || {
        seen.extend(lab.kinds(&["other"]));
        let booted = boot_id(&lab, "g1").is_some_and(|id| id != before);
        let back = || lab.guest("g1", "systemctl is-active other.service").code == 0;
        (booted && back() && lab.kinds(&["other"]).is_empty()).then_some(())
    });
    assert!(!seen.contains(&"stopped-by-hand".to_owned()), "{seen:?}");
    assert_eq!(lab.service("other")["wanted"], "running");
    lab.ctl(&["remove", "other"]).ok();
}

#[test]
fn a_licence_that_an_old_xml_brings_back_is_found_and_taken_when_told() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.web(), "--to", "g1"]).ok();
    lab.exec(
        "hv1",
        &["sh", "-c", "virsh dumpxml --inactive g1 >/run/old-g1.xml"],
    )
    .ok();
    lab.ctl(&["move", "web", "g2", "--drain", "0"]).ok();
    lab.comes_to_agree("after the move");
    lab.exec("hv1", &["virsh", "define", "/run/old-g1.xml"]).ok();
    let rows = lab.audit(&["web"]);
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!(
        (&rows[0]["kind"], &rows[0]["guest_name"]),
        (&"disk-stray".into(), &"g1".into())
    );
    assert_eq!(rows[0]["remedy"], "when-told");
    let libvirt = rows[0]["libvirt"].as_str().unwrap();
    assert!(libvirt.contains("g1 has bundle config"), "{libvirt}");
    let rows = lab.audit(&["web", "--repair"]);
    assert_eq!(rows[0]["outcome"], "done", "{rows:#?}");
    lab.comes_to_agree("after the repair");

    // The home guest's definition loses it: what runs goes on, and the definition gets it back.
    let serial = lab
        .exec(
            "hv1",
            &[
                "sh",
                "-c",
                "virsh dumpxml g2 | sed -n 's:.*<serial>\\(ho[^<]*\\)</serial>.*:\\1:p'",
            ],
        )
        .ok();
    let target = disk_target(&lab.xml("g2", true), serial.trim());
    lab.exec("hv1", &["virsh", "detach-disk", "g2", &target, "--config"])
        .ok();
    assert_eq!(lab.kinds(&["web"]), ["disk-missing"]);
    let rows = lab.audit(&["--repair"]);
    assert_eq!(
        (&rows[0]["kind"], &rows[0]["outcome"]),
        (&"disk-missing".into(), &"done".into()),
        "{rows:#?}"
    );
    lab.comes_to_agree("after the second repair");
    lab.ctl(&["remove", "web"]).ok();
}

#[test]
fn a_name_that_somebody_changed_is_put_right_and_one_that_somebody_took_is_not() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.web(), "--to", "g1"]).ok();
    nsupdate(
        &lab,
        "update delete web.svc.lab. A\nupdate add web.svc.lab. 5 A 10.77.0.199",
    );
    assert_eq!(lab.kinds(&["web"]), ["address-differs"]);
    let rows = lab.audit(&["web", "--repair"]);
    assert_eq!(rows[0]["outcome"], "done", "{rows:#?}");
    assert_eq!(lab.dig("web.svc.lab", "A"), ["10.77.0.101"]);
    let theirs = format!("g=9 host=hv9 guest={}", lab.uuid("g2"));
    nsupdate(
        &lab,
        &format!(
            "update delete _handover.web.svc.lab. TXT\nupdate add _handover.web.svc.lab. 5 TXT \"{theirs}\""
        ),
    );
    let rows = lab.audit(&["web", "--repair"]);
    assert_eq!(
        (&rows[0]["kind"], &rows[0]["remedy"]),
        (&"owner-differs".into(), &"operator".into())
    );
    assert_eq!(lab.dig("_handover.web.svc.lab", "TXT"), [format!("\"{theirs}\"")]);
    let ours = format!("g=1 host=hv1 guest={}", lab.uuid("g1"));
    nsupdate(
        &lab,
        &format!(
            "update delete _handover.web.svc.lab. TXT\nupdate add _handover.web.svc.lab. 5 TXT \"{ours}\""
        ),
    );
    let _often = lab.audit_often();
    lab.comes_to_agree("after all");
    lab.ctl(&["remove", "web"]).ok();
}

#[test]
fn a_silent_guest_is_told_as_such_and_a_failed_service_is_started_by_a_job() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.sleeper("other"), "--to", "g1"]).ok();
    lab.guest(
        "g1",
        "systemctl kill -s KILL other.service; while systemctl is-active other.service; do sleep 0.1; done",
    )
    .ok();
    assert_eq!(lab.kinds(&["other"]), ["down"]);
    let rows = lab.audit(&["other", "--repair"]);
    assert_eq!(
        (&rows[0]["repair"], &rows[0]["outcome"]),
        (&"start-job".into(), &"done".into()),
        "{rows:#?}"
    );
    assert_eq!(lab.unit("g1", "ActiveState", "other.service"), "active");
    assert_eq!(lab.last_job()["operation"], "start");

    let hang =
        "systemd-run --quiet sh -c 'sleep 1; pkill -STOP -x qemu-ga; sleep 45; pkill -CONT -x qemu-ga'";
    lab.guest("g1", hang).ok();
    let rows = lab.wait_for("an audit that gets no answer", 40, || {
        let rows = lab.audit(&["other"]);
        (!rows.is_empty()).then_some(rows)
    });
    assert_eq!(
        (&rows[0]["kind"], &rows[0]["copies_unasked"]),
        (&"cannot-tell".into(), &1.into())
    );
    lab.wait_for("the agent's return", 120, || {
        lab.audit(&["other"]).is_empty().then_some(())
    });
    lab.ctl(&["remove", "other"]).ok();
}

#[test]
fn a_lost_table_is_rebuilt_and_the_services_move_on() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.web(), "--to", "g1"]).ok();
    lab.ctl(&["move", "web", "g2", "--drain", "0"]).ok();
    lab.ctl(&["deploy", &lab.sleeper("other"), "--to", "g1"]).ok();
    lab.ctl(&["stop", "other"]).ok();
    let keep = |row: &Value| -> Vec<Value> {
        ["id", "bundle", "guest", "address", "wanted", "enablement", "name"]
            .iter()
            .map(|key| row[*key].clone())
            .collect()
    };
    let before: Vec<Vec<Value>> = lab.services().iter().map(keep).collect();
    let web = lab.service("web")["generation"].clone();
    let pid = lab.unit("g2", "MainPID", "web.service");

    let table = "/var/lib/handoverd/handoverd.sqlite";
    lab.lab(&["daemon", "hv1", "stop"]).ok();
    let whole = lab.ctl(&["recover-table"]);
    assert!(
        whole.code == 1 && whole.err.contains("is whole"),
        "{} {}",
        whole.out,
        whole.err
    );
    let damage =
        format!("rm -f {table}-wal {table}-shm; dd if=/dev/urandom of={table} bs=4096 count=2 conv=notrunc");
    lab.exec("hv1", &["sh", "-c", &damage]).ok();
    let dry = lab.ctl(&["recover-table", "--dry-run"]).ok();
    assert!(
        dry.contains("2 services recovered, 0 left out; nothing was written"),
        "{dry}"
    );
    let told = lab.ctl(&["recover-table"]).ok();
    assert!(
        told.contains("2 services recovered") && told.contains(".damaged-"),
        "{told}"
    );
    lab.lab(&["daemon", "hv1", "start"]).ok();

    let after: Vec<Vec<Value>> = lab.services().iter().map(keep).collect();
    assert_eq!(after, before);
    assert_eq!(lab.service("web")["generation"], web);
    assert_eq!(
        lab.unit("g2", "MainPID", "web.service"),
        pid,
        "no service noticed"
    );
    assert_eq!(lab.kinds(&[]), Vec::<String>::new());
    // Guests have seen higher attempt numbers than a new table would begin with.
    lab.ctl(&["move", "web", "g1", "--drain", "0"]).ok();
    lab.ctl(&["start", "other"]).ok();
    lab.comes_to_agree("after a recovery");
    for id in ["web", "other"] {
        lab.ctl(&["remove", id]).ok();
    }
}
