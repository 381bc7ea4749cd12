//! Guests that die: their services go to the other guest by themselves, and what is not dead is left alone.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::Lab;
use crate::settings::Setting;

/// Switches evacuation on, which is off in the lab: other tests kill guests and look what becomes of it.
const ON: [&str; 4] = [
    "[evacuation]",
    "enabled = \"yes\"",
    "power_off = \"4s\"",
    "found_off = \"3s\"",
];
/// Besides: a guest whose agent is silent is destroyed.
const FENCE: [&str; 2] = ["fence = \"destroy\"", "silence = \"15s\""];
/// An agent that is silent for so short a time would count, if its guest could be destroyed.
const IMPATIENT: [&str; 1] = ["silence = \"5s\""];
/// Asks for a page once.
const ASK: &str = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=2).read().decode())";
/// Longer than any of these grace periods, and than the 5 s that a guest which somebody destroyed has.
const GRACE: Duration = Duration::from_secs(7);

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
    /// The newest job of an operation; null if there was none of late.
    #[track_caller]
    pub fn newest_job(&self, operation: &str) -> Value {
        let jobs: Vec<Value> = serde_json::from_str(&self.ctl(&["jobs", "--json"]).ok()).unwrap();
        let found = jobs.into_iter().find(|job| job["operation"] == operation);
        found.unwrap_or_default()
    }

    /// The newest evacuation; null if there was none of late.
    #[track_caller]
    pub fn evacuation(&self) -> Value {
        self.newest_job("evacuate")
    }

    /// Waits until there is a newer evacuation than `before`, and it has ended well; that one.
    #[track_caller]
    pub fn is_evacuated(&self, before: &Value) -> Value {
        self.is_done_by_itself("evacuate", before, 120)
    }

    /// Waits, as [`Lab::wait_for`] does, until there is a newer job of this operation than `before`, and it has ended
    /// well; that one.
    #[track_caller]
    pub fn is_done_by_itself(&self, operation: &str, before: &Value, seconds: u64) -> Value {
        let job = self.wait_for(
            &format!("the end of a job that says {operation}"),
            seconds,
            || {
                let newest = self.newest_job(operation);
                (newest["id"] != before["id"] && newest["result"] != "").then_some(newest)
            },
        );
        assert_eq!(job["result"], "done", "{job:#}");
        job
    }

    /// The QEMU process of a guest.
    #[track_caller]
    pub fn qemu(&self, guest: &str) -> String {
        let file = format!("/run/libvirt/qemu/{guest}.pid");
        self.exec(&self.host_of(guest), &["cat", &file]).ok()
    }

    /// SIGKILL of a guest's QEMU process, whether libvirtd runs or not.
    #[track_caller]
    pub fn kill_qemu(&self, guest: &str) {
        self.kill_qemu_on("hv1", guest);
    }

    /// The same on a host.
    #[track_caller]
    pub fn kill_qemu_on(&self, host: &str, guest: &str) {
        let kill = format!("kill -9 $(cat /run/libvirt/qemu/{guest}.pid)");
        self.exec(host, &["sh", "-c", &kill]).ok();
    }

    #[track_caller]
    fn virsh(&self, verb: &str, guest: &str) {
        self.exec("hv1", &["virsh", verb, guest]).ok();
    }

    #[track_caller]
    pub fn starts(&self, guest: &str) {
        self.starts_on("hv1", guest);
    }

    /// The same on a host.
    #[track_caller]
    pub fn starts_on(&self, host: &str, guest: &str) {
        self.exec(host, &["virsh", "start", guest]).ok();
        self.lab(&["guest-wait", guest]).ok();
    }

    /// Stops the agent's process for so many seconds, from a second after now: all else in the guest goes on.
    #[track_caller]
    fn freezes_agent(&self, guest: &str, seconds: u32) {
        let freeze = format!(
            "systemd-run --quiet sh -c 'sleep 1; kill -STOP $(pidof qemu-ga); sleep {seconds}; kill -CONT $(pidof qemu-ga)'"
        );
        self.guest(guest, &freeze).ok();
    }

    #[track_caller]
    pub fn home(&self, service: &str) -> String {
        self.service(service)["guest_name"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_guest_that_is_not_dead_is_left_alone_and_one_that_was_switched_off_has_time_to_come_back() {
    let lab = Lab::take();
    let soon = Evacuating::on(&lab);
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
    drop(soon);
    // A slow machine may take seconds to start a guest again.
    let _on = Evacuating::with(&lab, &["destroyed = \"1m\""]);
    lab.exec("hv1", &["sh", "-c", "virsh destroy g1 && virsh start g1"])
        .ok();
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

#[test]
fn a_guest_whose_agent_is_silent_is_destroyed_only_where_that_is_said_and_its_service_answers_elsewhere() {
    let lab = Lab::take();
    let web = lab.held("web", 8080, "1", "");
    lab.ctl(&["deploy", &web, "--to", "g1"]).ok();
    let runs = lab.qemu("g1");
    {
        // Without the word for it, it is left alone, although it is silent for longer than would count.
        let _on = Evacuating::with(&lab, &IMPATIENT);
        let before = lab.evacuation();
        lab.freezes_agent("g1", 15);
        std::thread::sleep(2 * GRACE);
        assert_eq!(lab.qemu("g1"), runs);
        assert_eq!(lab.evacuation()["id"], before["id"]);
        lab.lab(&["guest-wait", "g1"]).ok();
    }
    let _on = Evacuating::with(&lab, &FENCE);
    let before = lab.evacuation();
    lab.wait_for("the agent of g1 is heard", 60, || {
        let guests: Value = serde_json::from_str(&lab.ctl(&["guests", "g1", "--json"]).ok()).unwrap();
        (guests[0]["watch"] == "up" && guests[0]["agent"] == "connected").then_some(())
    });
    let silent = Instant::now();
    lab.freezes_agent("g1", 150);
    lab.wait_for("web on g2", 120, || {
        let asked = lab.exec("client", &["python3", "-c", ASK, "http://10.77.0.102:8080/"]);
        asked.out.contains("guest=g2").then_some(())
    });
    eprintln!(
        "web answers on g2 {:?} after the agent of g1 was stopped",
        silent.elapsed()
    );
    lab.is_evacuated(&before);
    let why = lab.ctl(&["why", "web"]).ok();
    assert!(why.contains("evacuate g1: its agent is silent"), "{why}");
    assert_eq!(lab.home("web"), "g2");
}
