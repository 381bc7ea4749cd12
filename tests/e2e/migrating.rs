//! Guests that somebody migrates live to another host of the same daemon: nobody died, so nothing is done about it, and
//! everything can be done with their services where they are now. One that dies there is evacuated from there.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::evacuation::Evacuating;
use crate::lab::Lab;
use crate::ledger::Witness;
use crate::moving::nothing_lost;

/// The second host, as the daemon's configuration has it.
const SECOND: [&str; 3] = [
    "[[libvirt.host]]",
    "name = \"hv2\"",
    "uri = \"qemu+tls://hv2/system\"",
];
/// Longer than any grace period of these tests, and than the 5 s that a guest which somebody destroyed has.
const GRACE: Duration = Duration::from_secs(8);

/// A second host whose pool is hv1's, until this goes out of scope; then all guests are on hv1.
struct SecondHost<'a>(&'a Lab);

impl<'a> SecondHost<'a> {
    #[track_caller]
    fn up(lab: &'a Lab) -> Self {
        let second = Self(lab);
        lab.lab(&["host-define", "hv2", "--pool-of", "hv1"]).ok();
        second
    }
}

impl Drop for SecondHost<'_> {
    fn drop(&mut self) {
        // A guest that a failed test has left there ends with its host, and is made anew on hv1. What hv2's libvirt has made
        // in the pool, hv1's does not know yet.
        for command in [
            &["host-undefine", "hv2"][..],
            &["up"],
            &["exec", "hv1", "--", "virsh", "pool-refresh", "handoverd"],
        ] {
            let ran = self.0.lab(command);
            if ran.code != 0 {
                eprintln!("{command:?} did not undo: {ran:?}");
            }
        }
        self.0.ways.forget_hosts();
    }
}

impl Lab {
    /// Migrates a guest with its definition, as an operator does.
    #[track_caller]
    fn migrates(&self, guest: &str, to: &str) {
        let from = self.host_of(guest);
        let began = Instant::now();
        self.exec(
            &from,
            &[
                "virsh",
                "migrate",
                "--live",
                "--persistent",
                "--undefinesource",
                // What writes faster than its memory is copied is paused at last.
                "--timeout",
                "120",
                "--timeout-suspend",
                // The guests' own disks have a cache of their host's: on one machine it is the same.
                "--unsafe",
                guest,
                &format!("qemu+tls://{to}/system"),
            ],
        )
        .ok();
        eprintln!("{guest}: {from} -> {to} in {:?}", began.elapsed());
        self.ways.forget_hosts();
        assert_eq!(self.host_of(guest), to);
    }

    /// A guest, as programs see it.
    #[track_caller]
    fn guest_row(&self, guest: &str) -> Value {
        let rows: Value = serde_json::from_str(&self.ctl(&["guests", guest, "--json"]).ok()).unwrap();
        rows[0].clone()
    }

    /// What a migration leaves as it is: where each service is and since when, and the process that serves.
    #[track_caller]
    fn as_it_is(&self) -> Vec<(Value, String)> {
        ["ledger", "web"]
            .iter()
            .map(|id| {
                let row = self.service(id);
                let guest = row["guest_name"].as_str().unwrap();
                let kept = ["guest", "generation", "life_state", "address"].map(|key| row[key].clone());
                (
                    kept.into_iter().collect(),
                    self.unit(guest, "MainPID", &format!("{id}.service")),
                )
            })
            .collect()
    }
}

#[test]
fn a_guest_that_is_migrated_is_not_dead_and_its_services_answer_on_and_move_from_where_it_is() {
    let lab = Lab::take();
    let _second = SecondHost::up(&lab);
    let _on = Evacuating::with(&lab, &SECOND);
    lab.at_once(&[
        &["deploy", &lab.held("web", 8080, "1", ""), "--to", "g1"],
        &["deploy", &lab.ledger("16MiB"), "--to", "g1"],
    ]);
    let witness = Witness::listen(&lab);
    lab.writes_on("g1");
    let before = lab.as_it_is();

    let go = |to: &str| {
        let evacuated = lab.evacuation();
        let users = lab.load("http://web.svc.lab:8080/", 20);
        lab.migrates("g1", to);
        lab.wait_for("the daemon knows where it is", 30, || {
            let row = lab.guest_row("g1");
            let known = row["host"] == to && row["watch"] == "up" && lab.service("web")["host"] == to;
            known.then_some(())
        });
        // That nothing happens can only be waited for.
        std::thread::sleep(GRACE);
        let users = users.stop();
        eprintln!("latency: {}", users["latency"]);
        nothing_lost(&users);
        witness.nothing_is_lost(&lab, &lab.home("ledger"), to);
        assert_eq!(lab.evacuation()["id"], evacuated["id"]);
        assert!(!lab.is_frozen());
        lab.agrees(to);
    };
    go("hv2");
    assert_eq!(lab.as_it_is(), before, "nobody has touched anything");

    // To a guest of the other host, and back. The volume is hv1's, as far as the table knows: it goes to guests there.
    lab.at_once(&[&["move", "web", "g2"], &["move", "ledger", "g2"]]);
    witness.nothing_is_lost(&lab, "g2", "both have left");
    let homes = lab.agrees("both have left");
    assert!(homes.values().all(|home| home == "g2"), "{homes:?}");
    lab.ctl(&["move", "ledger", "g1"])
        .refused(3, "the data volume of ledger is in the pool of host hv1");
    lab.ctl(&["move", "web", "g1"]).ok();
    assert_eq!(lab.agrees("web is back")["web"], "g1");
    dies_where_it_went(&lab);
    let before = lab.as_it_is();
    go("hv1");
    assert_eq!(lab.as_it_is(), before, "nobody has touched anything");
    drop(witness);
    lab.at_once(&[&["remove", "web"], &["remove", "ledger", "--delete-data"]]);
}

/// A guest that was migrated to the second host dies there: what it had goes elsewhere, and it is started there again.
#[track_caller]
fn dies_where_it_went(lab: &Lab) {
    let before = lab.evacuation();
    lab.kill_qemu_on("hv2", "g1");
    lab.is_evacuated(&before);
    let home = lab.home("web");
    assert_ne!(home, "g1");
    lab.starts_on("hv2", "g1");
    lab.comes_to_agree("g1 is back on the other host, and has nothing left");
    lab.ctl(&["move", "web", "g1"]).ok();
    assert_eq!(lab.agrees("web has come back from its evacuation")["web"], "g1");
}
