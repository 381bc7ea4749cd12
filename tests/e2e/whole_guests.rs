//! Four guests: one that dies with six services, two that die in the same instant, and all four.

use std::time::Instant;

use serde_json::Value;

use crate::evacuation::Evacuating;
use crate::lab::Lab;
use crate::ledger::Witness;

/// Those that the lab does not have otherwise.
const MORE: [&str; 2] = ["g3", "g4"];
/// Wanted down: one was stopped, one has failed.
const DOWN: [&str; 2] = ["halted", "broke"];
/// How long the check of `slow` takes.
const SLOW: &str = "#!/bin/sh\nsleep 5\n";
/// What the daemon says when a guest's death is known, and when a script in a guest has ended.
const DEAD: &str = "a guest is dead; its services go elsewhere";
const SCRIPT: &str = "a script in the guest has ended";

/// A day in milliseconds.
const DAY: i64 = 86_400_000;

/// Two further guests, until this goes out of scope.
struct Four<'a>(&'a Lab);

impl<'a> Four<'a> {
    #[track_caller]
    fn up(lab: &'a Lab) -> Self {
        let four = Self(lab);
        for guest in MORE {
            // A run that was killed may have left it.
            lab.lab(&["guest-undefine", guest]);
            lab.lab(&["guest-define", guest, "--host", "hv1"]).ok();
        }
        four
    }
}

impl Drop for Four<'_> {
    fn drop(&mut self) {
        for guest in MORE {
            let ran = self.0.lab(&["guest-undefine", guest]);
            if ran.code != 0 {
                eprintln!("{guest} is not removed: {ran:?}");
            }
        }
    }
}

impl Lab {
    /// A service whose check takes 5 s.
    #[track_caller]
    fn slow(&self) -> String {
        self.bundle(
            "slow",
            &[
                (
                    "handover.toml",
                    "service = \"slow\"\nversion = \"1\"\nunits = [\"slow.service\"]\n[check]\ncommand = [\"/opt/slow/bin/check\"]\n\
                     timeout = \"60s\"\nsuccesses = 1\n[dns]\nname = \"slow.svc.lab\"\nttl = 1\n",
                ),
                (
                    "units/slow.service",
                    "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
                ),
                ("bin/check", SLOW),
            ],
        )
    }

    /// SIGKILL of the QEMU processes of some guests in the same instant.
    #[track_caller]
    fn kill_qemus(&self, guests: &[&str]) {
        let pids: String = guests
            .iter()
            .map(|guest| format!(" $(cat /run/libvirt/qemu/{guest}.pid)"))
            .collect();
        self.exec("hv1", &["sh", "-c", &format!("kill -9{pids}")]).ok();
    }

    /// Waits until no service is at home on any of these guests, and no job is under way.
    #[track_caller]
    fn leaves(&self, guests: &[&str]) {
        self.wait_for(&format!("all services are gone from {guests:?}"), 180, || {
            let jobs: Vec<Value> = serde_json::from_str(&self.ctl(&["jobs", "--json"]).ok()).unwrap();
            let busy = jobs.iter().any(|job| job["result"] == "");
            let left = self
                .services()
                .iter()
                .any(|row| guests.iter().any(|guest| row["guest_name"] == *guest));
            (!busy && !left).then_some(())
        });
    }

    #[track_caller]
    pub fn is_frozen(&self) -> bool {
        let shown: Value = serde_json::from_str(&self.ctl(&["freeze", "--show", "--json"]).ok()).unwrap();
        shown["since"] != 0
    }

    /// Of the daemon's last evacuation: its whole time in milliseconds from the death to the last script sent to a guest, and
    /// the part of it in which no script was waited for.
    #[track_caller]
    fn own_share(&self) -> (i64, i64) {
        let log = self.lab(&["logs", "hv1"]).ok();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.iter().rposition(|line| line.contains(DEAD)).expect(DEAD);
        let death = millis(lines[from]);
        // Before the batch begins guests are asked whether they would do. Later scripts without a job are not its own: those of
        // the auditor, and those that measure loads.
        let begins = lines[from..]
            .iter()
            .position(|line| line.contains("batch{"))
            .expect("a batch");
        let of_it = |(index, line): &(usize, &&str)| {
            let asks = *index < begins && line.contains("any.service.of.handoverd");
            line.contains(SCRIPT) && (line.contains("batch{") || asks)
        };
        let mut waits: Vec<(i64, i64)> = lines[from..]
            .iter()
            .enumerate()
            .filter(of_it)
            .map(|(_, line)| {
                let (_, took) = line.rsplit_once("ms=").unwrap();
                let end = (millis(line) - death).rem_euclid(DAY);
                (end - took.trim().parse::<i64>().unwrap(), end)
            })
            .collect();
        waits.sort_unstable();
        let last = waits.iter().map(|(begin, _)| *begin).max().expect("a script");
        let (mut own, mut until) = (0, 0);
        for (begin, end) in waits {
            own += (begin.min(last) - until).max(0);
            until = until.max(end);
        }
        (last, own)
    }
}

/// The time of a line of the log in milliseconds of its day: it begins with an RFC 3339 time.
#[track_caller]
fn millis(line: &str) -> i64 {
    let (_, time) = line.split_once('T').unwrap();
    let (time, _) = time.split_once('Z').unwrap();
    let parts: Vec<f64> = time.split(':').map(|part| part.parse().unwrap()).collect();
    let seconds = parts[0] * 3600.0 + parts[1] * 60.0 + parts[2];
    format!("{:.0}", seconds * 1000.0).parse().unwrap()
}

#[test]
fn a_guest_with_six_services_dies_then_two_at_once_then_all_and_each_service_is_as_it_was() {
    let lab = Lab::take();
    let _four = Four::up(&lab);
    let _on = Evacuating::with(
        &lab,
        &[
            // So that each time counts for itself.
            "freeze_window = \"10s\"",
            "[audit]",
            "every = \"5s\"",
            "[log]",
            "level = \"debug\"",
        ],
    );
    for guest in ["g1", "g2", "g3", "g4"] {
        lab.guest(guest, "rm -f /run/was-started-*").ok();
    }
    lab.at_once(&[
        &["deploy", &lab.held("web", 8080, "1", ""), "--to", "g1"],
        &["deploy", &lab.marking("plain", ""), "--to", "g1"],
        &["deploy", &lab.marking("halted", ""), "--to", "g1", "--stopped"],
        &["deploy", &lab.marking("broke", ""), "--to", "g1"],
        &["deploy", &lab.ledger("16MiB"), "--to", "g1"],
        &["deploy", &lab.slow(), "--to", "g1"],
    ]);
    lab.guest("g1", "systemctl kill -s KILL broke.service").ok();
    lab.wait_for("broke is known to have failed", 60, || {
        (lab.service("broke")["life_state"] == "failed").then_some(())
    });
    let witness = Witness::listen(&lab);
    lab.writes_on("g1");
    let before = lab.evacuation();

    let killed = Instant::now();
    lab.kill_qemu("g1");
    lab.is_evacuated(&before);
    eprintln!(
        "all six of g1 are evacuated {:?} after its kill",
        killed.elapsed()
    );
    let (whole, own) = lab.own_share();
    eprintln!("of {whole} ms from the death to the last script, {own} ms were the daemon's own");
    assert!(
        own * 10 < whole,
        "{own} of {whole} ms were waits for no guest: a tenth is the most"
    );
    lab.leaves(&["g1"]);
    for (service, life) in [
        ("web", "accessible"),
        ("slow", "accessible"),
        ("plain", "running"),
        ("ledger", "running"),
        ("halted", "stopped"),
        ("broke", "failed"),
    ] {
        assert_eq!(lab.service(service)["life_state"], life, "{service}");
    }
    let home = lab.home("ledger");
    witness.nothing_is_lost(&lab, &home, "after the evacuation");
    for guest in ["g2", "g3", "g4"] {
        lab.guest(
            guest,
            "! test -e /run/was-started-halted && ! test -e /run/was-started-broke",
        )
        .ok();
    }
    let page = lab.get(&format!(
        "http://{}:8080/",
        lab.service("web")["address"].as_str().unwrap()
    ));
    assert!(page.contains(&format!("guest={}", lab.home("web"))), "{page}");

    let why: Value = serde_json::from_str(&lab.ctl(&["why", "web", "--json"]).ok()).unwrap();
    assert_eq!(why["what"], "evacuate g1: its QEMU process died", "{why:#}");

    // Nothing of them starts when it is back, and what is left goes when its agent speaks.
    lab.starts("g1");
    // Since its boot: the units may be gone by now, and their journal is not.
    let units: String = ["web", "plain", "halted", "broke", "ledger", "slow"]
        .iter()
        .map(|unit| format!(" -u {unit}.service"))
        .collect();
    let started = lab.guest(
        "g1",
        &format!("journalctl -b -q -o cat{units} | grep -c '^Start'; true"),
    );
    assert_eq!(started.ok().trim(), "0");
    lab.guest(
        "g1",
        "for file in /run/was-started-*; do ! test -e $file || exit 1; done",
    )
    .ok();
    lab.comes_to_agree_but(&DOWN, "g1 is back");

    let homes: Vec<String> = ["ledger", "web"].map(|id| lab.home(id)).to_vec();
    let second = homes.iter().find(|guest| **guest != homes[0]);
    let second = second.map_or_else(|| other_than(&homes[0]), String::as_str);
    let two = [homes[0].as_str(), second];
    lab.kill_qemus(&two);
    lab.leaves(&two);
    assert!(!lab.is_frozen(), "half of the guests are not more than half");
    witness.nothing_is_lost(&lab, &lab.home("ledger"), "after two guests died at once");
    for guest in two {
        lab.starts(guest);
    }
    lab.comes_to_agree_but(&DOWN, "two guests are back");

    // All at once is no guest's fault: nothing moves, and what is at home comes back with its guest. Those that have services count.
    for (service, guest) in [("web", "g1"), ("plain", "g2"), ("halted", "g3")] {
        if lab.home(service) != guest {
            lab.ctl(&["move", service, guest]).ok();
        }
    }
    let homes: Vec<(String, String)> = lab.comes_to_agree_but(&DOWN, "before").into_iter().collect();
    let before = lab.evacuation();
    // Their ends are told in one list: libvirtd tells the ends of processes one after the other.
    lab.lab(&["libvirtd", "hv1", "kill"]).ok();
    lab.kill_qemus(&["g1", "g2", "g3", "g4"]);
    lab.lab(&["libvirtd", "hv1", "start"]).ok();
    lab.wait_for("the alarm", 30, || lab.is_frozen().then_some(()));
    lab.lab(&["up"]).ok();
    let after: Vec<(String, String)> = lab
        .comes_to_agree_but(&DOWN, "all are back")
        .into_iter()
        .collect();
    assert_eq!((after, &lab.evacuation()["id"]), (homes, &before["id"]));
    witness.nothing_is_lost(&lab, &lab.home("ledger"), "after all guests died at once");
    lab.ctl(&["thaw"]).ok();
    drop(witness);
    lab.at_once(&[
        &["remove", "web"],
        &["remove", "plain"],
        &["remove", "halted"],
        &["remove", "broke"],
        &["remove", "slow"],
        &["remove", "ledger", "--delete-data"],
    ]);
}

fn other_than(guest: &str) -> &'static str {
    if guest == "g2" { "g3" } else { "g2" }
}
