//! Guests that die: their services go to the other guest by themselves, and what is not dead is left alone.

use std::time::Duration;

use serde_json::Value;

use crate::lab::Lab;
use crate::settings::Setting;

/// Switches evacuation on, which is off in the lab: other tests kill guests and look what becomes of it.
const ON: [&str; 5] = [
    "[evacuation]",
    "enabled = \"yes\"",
    "power_off = \"4s\"",
    "destroyed = \"3s\"",
    "found_off = \"3s\"",
];
/// Longer than any of these grace periods.
const GRACE: Duration = Duration::from_secs(5);

/// A lab whose daemon evacuates, until this goes out of scope; then all guests run again.
pub struct Evacuating<'a> {
    lab: &'a Lab,
    on: Option<Setting<'a>>,
}

impl<'a> Evacuating<'a> {
    #[track_caller]
    pub fn on(lab: &'a Lab) -> Self {
        Self::with(lab, &[])
    }

    /// With more lines of settings.
    #[track_caller]
    pub fn with(lab: &'a Lab, more: &[&str]) -> Self {
        let on = Some(lab.with_settings(&[&ON[..], more].concat()));
        // A test that failed may have left it frozen.
        lab.ctl(&["thaw"]).ok();
        Self { lab, on }
    }
}

impl Drop for Evacuating<'_> {
    fn drop(&mut self) {
        self.on = None;
        let ran = self.lab.lab(&["up"]);
        if ran.code != 0 {
            eprintln!("the guests are not up again: {ran:?}");
        }
    }
}

impl Lab {
    /// The newest evacuation; null if there was none of late.
    #[track_caller]
    pub fn evacuation(&self) -> Value {
        let jobs: Vec<Value> = serde_json::from_str(&self.ctl(&["jobs", "--json"]).ok()).unwrap();
        let found = jobs.into_iter().find(|job| job["operation"] == "evacuate");
        found.unwrap_or_default()
    }

    /// Waits until there is a newer evacuation than `before`, and it has ended well; that one.
    #[track_caller]
    pub fn is_evacuated(&self, before: &Value) -> Value {
        let job = self.wait_for("an evacuation's end", 120, || {
            let newest = self.evacuation();
            (newest["id"] != before["id"] && newest["result"] != "").then_some(newest)
        });
        assert_eq!(job["result"], "done", "{job:#}");
        job
    }

    /// SIGKILL of a guest's QEMU process, whether libvirtd runs or not.
    #[track_caller]
    pub fn kill_qemu(&self, guest: &str) {
        let kill = format!("kill -9 $(cat /run/libvirt/qemu/{guest}.pid)");
        self.exec("hv1", &["sh", "-c", &kill]).ok();
    }

    #[track_caller]
    fn virsh(&self, verb: &str, guest: &str) {
        self.exec("hv1", &["virsh", verb, guest]).ok();
    }

    #[track_caller]
    pub fn starts(&self, guest: &str) {
        self.virsh("start", guest);
        self.lab(&["guest-wait", guest]).ok();
    }

    #[track_caller]
    pub fn home(&self, service: &str) -> String {
        self.service(service)["guest_name"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_guest_that_is_not_dead_is_left_alone_and_one_that_was_switched_off_has_time_to_come_back() {
    let lab = Lab::take();
    let _on = Evacuating::on(&lab);
    lab.ctl(&["deploy", &lab.sleeper("sleeper"), "--to", "g1"]).ok();
    let before = lab.evacuation();
    let nothing = |lab: &Lab, what: &str| {
        assert_eq!(
            (&lab.evacuation()["id"], lab.home("sleeper").as_str()),
            (&before["id"], "g1"),
            "{what}"
        );
    };

    // That nothing happens can only be waited for.
    lab.virsh("suspend", "g1");
    std::thread::sleep(GRACE);
    nothing(&lab, "suspended");
    lab.virsh("resume", "g1");
    lab.virsh("managedsave", "g1");
    std::thread::sleep(GRACE);
    nothing(&lab, "saved");
    lab.starts("g1");
    lab.virsh("destroy", "g1");
    lab.virsh("start", "g1");
    lab.lab(&["guest-wait", "g1"]).ok();
    nothing(&lab, "destroyed, and back in time");
    crate::booting::boots(&lab, "g1", &[&["virsh", "reboot", "g1"]]);
    nothing(&lab, "rebooted");

    lab.virsh("shutdown", "g1");
    lab.is_evacuated(&before);
    assert_eq!(lab.home("sleeper"), "g2");
    lab.starts("g1");
    lab.comes_to_agree("g1 is back");
    lab.ctl(&["remove", "sleeper"]).ok();
}

#[test]
fn guests_that_die_while_nobody_looks_are_found_and_a_freeze_holds_them_until_it_is_thawed() {
    let lab = Lab::take();
    let _on = Evacuating::on(&lab);
    lab.ctl(&["deploy", &lab.sleeper("sleeper"), "--to", "g1"]).ok();
    let before = lab.evacuation();

    lab.lab(&["daemon", "hv1", "stop"]).ok();
    lab.kill_qemu("g1");
    lab.lab(&["daemon", "hv1", "start"]).ok();
    let first = lab.is_evacuated(&before);
    assert_eq!(lab.home("sleeper"), "g2");
    lab.starts("g1");

    lab.lab(&["libvirtd", "hv1", "kill"]).ok();
    lab.kill_qemu("g2");
    lab.lab(&["libvirtd", "hv1", "start"]).ok();
    let second = lab.is_evacuated(&first);
    assert_eq!(lab.home("sleeper"), "g1");
    lab.starts("g2");

    let said = lab.ctl(&["freeze", "a test"]).ok();
    assert!(said.contains("root froze it (a test)"), "{said}");
    lab.kill_qemu("g1");
    lab.lab(&["daemon", "hv1", "restart"]).ok();
    std::thread::sleep(GRACE);
    assert_eq!(
        (&lab.evacuation()["id"], lab.home("sleeper").as_str()),
        (&second["id"], "g1")
    );
    let said = lab.ctl(&["thaw"]).ok();
    assert!(said.starts_with("not frozen"), "{said}");
    lab.is_evacuated(&second);
    assert_eq!(lab.home("sleeper"), "g2");
    lab.starts("g1");
    lab.comes_to_agree("g1 is back");
    lab.ctl(&["remove", "sleeper"]).ok();
}
