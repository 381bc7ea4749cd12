//! Faults in the middle of real moves of a service without and one with a volume: after each, table, zone, libvirt and
//! guests agree, no number that was acknowledged is lost, and no two ever wrote.

use serde_json::Value;

use crate::agreement::other;
use crate::lab::Lab;
use crate::ledger::Witness;
use crate::moments::Log;
use crate::undoing::{START_NAMED, STOP_NAMED};

/// Something that happens to the world while `web` and `ledger` move.
struct Fault {
    /// For people.
    name: &'static str,
    /// When: the service, and what the log tells of it.
    at: (&'static str, &'static str),
    /// What happens: arguments of the lab's command; `SOURCE` and `TARGET` are the guests.
    hit: &'static [&'static str],
    /// What an operator does then.
    heal: Heal,
    /// How the move of the service may end.
    ends: &'static [&'static str],
}

/// What an operator does about a fault: arguments of the lab's command.
enum Heal {
    /// Nothing is needed.
    Nothing,
    /// While the moves go on.
    AtOnce(&'static [&'static str]),
    /// Once the move says that the guest is asleep: it waits for it if the source was told to stop already.
    OnceAsleep(&'static [&'static str]),
    /// When they have ended.
    AfterTheEnd(&'static [&'static str]),
}

const DONE: &[&str] = &["done"];
const FAILED: &[&str] = &["failed"];
/// It depends on who is faster.
const EITHER: &[&str] = &["done", "failed"];

/// A command on hv1.
macro_rules! hv1 {
    ($($word:expr),+) => { &["exec", "hv1", "--", $($word),+] };
}

/// A shell line on hv1.
macro_rules! sh {
    ($line:expr) => {
        hv1!("sh", "-c", $line)
    };
}

const COLD_SOURCE: &[&str] = sh!("virsh destroy SOURCE && virsh start SOURCE");
const COLD_TARGET: &[&str] = sh!("virsh destroy TARGET && virsh start TARGET");
/// On a slow disk names and sizes of files are there long before their contents.
const COLD_TARGET_ON_A_SLOW_DISK: &[&str] = sh!(
    "virsh blkdeviotune TARGET vda --live --total-iops-sec 20; sleep 0.8; virsh destroy TARGET && virsh start TARGET"
);
/// Starts a guest that is off, or asleep, once libvirt has seen that it is.
const BOOT_SOURCE: &[&str] =
    sh!("until virsh domstate SOURCE | grep -q 'shut off'; do sleep 0.1; done; virsh start SOURCE");
const BOOT_TARGET: &[&str] =
    sh!("until virsh domstate TARGET | grep -q 'shut off'; do sleep 0.1; done; virsh start TARGET");
/// Starts a guest whose definition has the volume that the other one has: QEMU's lock lets it boot once that is taken away.
const DISARMED_SOURCE: &[&str] =
    sh!("virsh define /run/before-SOURCE.xml; until virsh start SOURCE; do sleep 0.5; done");

/// The guest agent stops for a while, a second later: it has answered by then.
const HANG: &str =
    "systemd-run --quiet sh -c 'sleep 1; pkill -STOP -x qemu-ga; sleep 20; pkill -CONT -x qemu-ga'";

/// What happens to the source.
const TO_THE_SOURCE: [Fault; 12] = [
    Fault {
        name: "the source is reset while the target is staged",
        at: ("ledger", "stage (looking) -> stage (acting)"),
        hit: hv1!("virsh", "reset", "SOURCE"),
        heal: Heal::Nothing,
        ends: DONE,
    },
    Fault {
        name: "the source is switched off and on while the target is staged",
        at: ("ledger", "stage (looking) -> stage (acting)"),
        hit: COLD_SOURCE,
        heal: Heal::Nothing,
        ends: DONE,
    },
    Fault {
        name: "the source is saved while the target is staged, and woken when the move has noticed",
        at: ("ledger", "stage (looking) -> stage (acting)"),
        hit: hv1!("virsh", "managedsave", "SOURCE"),
        heal: Heal::OnceAsleep(BOOT_SOURCE),
        ends: FAILED,
    },
    Fault {
        name: "the source is reset while it is stopped",
        at: ("ledger", "quiesce (looking) -> quiesce (acting)"),
        hit: hv1!("virsh", "reset", "SOURCE"),
        heal: Heal::Nothing,
        ends: DONE,
    },
    Fault {
        name: "the source is switched off and on while it is stopped",
        at: ("ledger", "quiesce (looking) -> quiesce (acting)"),
        hit: COLD_SOURCE,
        heal: Heal::Nothing,
        ends: DONE,
    },
    Fault {
        name: "the source loses power while it is stopped",
        at: ("ledger", "quiesce (looking) -> quiesce (acting)"),
        hit: &["guest-kill", "SOURCE"],
        heal: Heal::AfterTheEnd(BOOT_SOURCE),
        ends: DONE,
    },
    Fault {
        name: "the source is saved while it is stopped, and restored",
        at: ("ledger", "quiesce (looking) -> quiesce (acting)"),
        hit: hv1!("virsh", "managedsave", "SOURCE"),
        heal: Heal::AtOnce(BOOT_SOURCE),
        ends: EITHER,
    },
    Fault {
        name: "the source is defined with the XML that it had before the move",
        at: ("ledger", "adopt (looking) -> adopt (acting)"),
        hit: hv1!("virsh", "define", "/run/before-SOURCE.xml"),
        heal: Heal::Nothing,
        ends: DONE,
    },
    Fault {
        name: "the source reboots while it is retired",
        at: ("ledger", "retire (looking) -> retire (acting)"),
        hit: hv1!("virsh", "reboot", "SOURCE"),
        heal: Heal::Nothing,
        ends: DONE,
    },
    Fault {
        name: "the source is switched off and on while it is retired",
        at: ("ledger", "retire (looking) -> retire (acting)"),
        hit: COLD_SOURCE,
        heal: Heal::Nothing,
        ends: DONE,
    },
    Fault {
        name: "the source loses power while it is retired, and is defined with its old XML",
        at: ("ledger", "retire (looking) -> retire (acting)"),
        hit: &["guest-kill", "SOURCE"],
        heal: Heal::AfterTheEnd(DISARMED_SOURCE),
        ends: DONE,
    },
    Fault {
        name: "the source's guest agent hangs while it is retired",
        at: ("web", "start (looking) -> start (acting)"),
        hit: &["guest", "SOURCE", "--", "sh", "-c", HANG],
        heal: Heal::Nothing,
        ends: DONE,
    },
];

/// What happens to the target.
const TO_THE_TARGET: [Fault; 11] = [
    Fault {
        name: "the target is reset while it is staged",
        at: ("ledger", "stage (looking) -> stage (acting)"),
        hit: hv1!("virsh", "reset", "TARGET"),
        heal: Heal::Nothing,
        ends: EITHER,
    },
    Fault {
        name: "the target is switched off and on while it is staged",
        at: ("ledger", "stage (looking) -> stage (acting)"),
        hit: COLD_TARGET,
        heal: Heal::Nothing,
        ends: EITHER,
    },
    Fault {
        name: "the target, whose disk is slow, is switched off and on while it is staged",
        at: ("ledger", "stage (looking) -> stage (acting)"),
        hit: COLD_TARGET_ON_A_SLOW_DISK,
        heal: Heal::Nothing,
        ends: EITHER,
    },
    Fault {
        name: "the target is reset while the source is stopped",
        at: ("ledger", "quiesce (looking) -> quiesce (acting)"),
        hit: hv1!("virsh", "reset", "TARGET"),
        heal: Heal::Nothing,
        ends: EITHER,
    },
    Fault {
        name: "the target is switched off and on while the source is stopped",
        at: ("ledger", "quiesce (looking) -> quiesce (acting)"),
        hit: COLD_TARGET,
        heal: Heal::Nothing,
        ends: EITHER,
    },
    Fault {
        name: "the target loses power while it gets the volume",
        at: ("ledger", "adopt (looking) -> adopt (acting)"),
        hit: &["guest-kill", "TARGET"],
        heal: Heal::AfterTheEnd(BOOT_TARGET),
        ends: FAILED,
    },
    Fault {
        name: "the target reboots while its units are started",
        at: ("web", "start (looking) -> start (acting)"),
        hit: hv1!("virsh", "reboot", "TARGET"),
        heal: Heal::Nothing,
        ends: EITHER,
    },
    Fault {
        name: "the target loses power after the commit",
        at: ("ledger", "publish (looking) -> record"),
        hit: &["guest-kill", "TARGET"],
        heal: Heal::AfterTheEnd(BOOT_TARGET),
        ends: DONE,
    },
    Fault {
        name: "the target is defined with the XML that it had before the move",
        at: ("ledger", "publish (looking) -> record"),
        hit: hv1!("virsh", "define", "/run/before-TARGET.xml"),
        heal: Heal::AfterTheEnd(hv1!("handoverctl", "audit", "--repair")),
        ends: DONE,
    },
    Fault {
        name: "the target is reset while the source is retired",
        at: ("ledger", "retire (looking) -> retire (acting)"),
        hit: hv1!("virsh", "reset", "TARGET"),
        heal: Heal::Nothing,
        ends: DONE,
    },
    Fault {
        name: "the target is switched off and on while the source is retired",
        at: ("ledger", "retire (looking) -> retire (acting)"),
        hit: COLD_TARGET,
        heal: Heal::Nothing,
        ends: DONE,
    },
];

/// What happens to libvirtd and named.
const TO_THE_SERVERS: [Fault; 5] = [
    Fault {
        name: "libvirtd is restarted while the target is staged",
        at: ("web", "stage (looking) -> stage (acting)"),
        hit: &["libvirtd", "hv1", "restart"],
        heal: Heal::Nothing,
        ends: EITHER,
    },
    Fault {
        name: "libvirtd is killed while the source is stopped",
        at: ("ledger", "quiesce (looking) -> quiesce (acting)"),
        hit: &["libvirtd", "hv1", "kill"],
        heal: Heal::AtOnce(&["libvirtd", "hv1", "start"]),
        ends: EITHER,
    },
    Fault {
        name: "libvirtd is killed while the target gets the volume",
        at: ("ledger", "adopt (looking) -> adopt (acting)"),
        hit: &["libvirtd", "hv1", "kill"],
        heal: Heal::AtOnce(&["libvirtd", "hv1", "start"]),
        ends: EITHER,
    },
    Fault {
        name: "libvirtd is killed while the source is retired",
        at: ("ledger", "retire (looking) -> retire (acting)"),
        hit: &["libvirtd", "hv1", "kill"],
        heal: Heal::AtOnce(&["libvirtd", "hv1", "start"]),
        ends: DONE,
    },
    Fault {
        name: "the name server is away at the commit",
        at: ("ledger", "confirm (looking) -> publish"),
        hit: &["exec", "dns", "--", "sh", "-c", STOP_NAMED],
        heal: Heal::AtOnce(&["exec", "dns", "--", "sh", "-c", START_NAMED]),
        ends: DONE,
    },
];

/// Two services on one guest, and who watches over them.
struct Subjects {
    lab: Lab,
    witness: Witness,
}

impl Subjects {
    #[track_caller]
    fn deploy() -> Self {
        let lab = Lab::take();
        let witness = Witness::listen(&lab);
        let web = lab.held_with_ttl("web", 8080, "1", "", 1);
        let ledger = lab.named_ledger("16MiB");
        lab.at_once(&[
            &["deploy", &web, "--to", "g1"],
            &["deploy", &ledger, "--to", "g1"],
        ]);
        Self { lab, witness }
    }

    /// Runs the lab's command about a move from `home`.
    #[track_caller]
    fn run(&self, home: &str, line: &[&str]) {
        let words: Vec<String> = line
            .iter()
            .map(|word| word.replace("SOURCE", home).replace("TARGET", other(home)))
            .collect();
        // By the short way where there is one: what happens is to happen while the step goes on.
        match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["exec", host, "--", command @ ..] => drop(self.lab.exec(host, command).ok()),
            ["guest-kill", guest] => self.lab.kill_qemu(guest),
            line => drop(self.lab.lab(line).ok()),
        }
    }

    /// Brings both to one guest, if a fault has parted them; that guest.
    #[track_caller]
    fn together(&self) -> String {
        let homes = self.lab.agrees("before the next fault");
        if homes["web"] != homes["ledger"] {
            self.lab
                .ctl(&["move", "web", &homes["ledger"], "--drain", "0"])
                .ok();
        }
        homes["ledger"].clone()
    }

    /// Moves both, and lets the fault happen.
    #[track_caller]
    fn survive(&self, fault: &Fault) {
        let (lab, when) = (&self.lab, fault.name);
        let home = self.together();
        self.run(
            &home,
            sh!("for guest in g1 g2; do virsh dumpxml --inactive $guest >/run/before-$guest.xml; done"),
        );
        let log = Log::follow(lab);
        // The one whose moment it is begins last.
        let first = if fault.at.0 == "web" { "ledger" } else { "web" };
        let jobs = [first, fault.at.0].map(|service| lab.begin(&["move", service, other(&home)]));
        log.reaches(fault.at.0, fault.at.1);
        self.run(&home, fault.hit);
        if let Heal::OnceAsleep(_) = fault.heal {
            log.reaches(fault.at.0, "it is asleep, not dead");
        }
        if let Heal::AtOnce(line) | Heal::OnceAsleep(line) = fault.heal {
            self.run(&home, line);
        }
        let jobs = jobs.map(|job| lab.wait_for_end(job));
        if let Heal::AfterTheEnd(line) = fault.heal {
            self.run(&home, line);
        }
        for guest in ["g1", "g2"] {
            lab.lab(&["guest-wait", guest]).ok();
        }
        let homes = lab.comes_to_agree(when);
        self.witness.nothing_is_lost(lab, &homes["ledger"], when);
        let result = |job: &Value| job["result"].as_str().unwrap().to_owned();
        let [beside, hit] = &jobs;
        assert!(fault.ends.contains(&result(hit).as_str()), "{when}: {hit:#}");
        assert!(EITHER.contains(&result(beside).as_str()), "{when}: {beside:#}");
        for (service, job) in [(first, beside), (fault.at.0, hit)] {
            let there = homes[service] != home;
            assert_eq!(there, result(job) == "done", "{when}: {service} is on {homes:?}");
        }
    }
}

#[track_caller]
fn all_agree_after(faults: &[Fault]) {
    let subjects = Subjects::deploy();
    for fault in faults {
        let began = std::time::Instant::now();
        subjects.survive(fault);
        eprintln!("{:.1} s: {}", began.elapsed().as_secs_f64(), fault.name);
    }
    for service in ["web", "ledger"] {
        subjects.lab.ctl(&["remove", service]).ok();
    }
    let last = subjects.witness.rises("in the end");
    assert!(subjects.lab.numbers_on_the_volume() >= last);
}

#[test]
fn whatever_happens_to_the_target_of_a_move_all_agree_in_the_end() {
    all_agree_after(&TO_THE_TARGET);
}

#[test]
fn whatever_happens_to_the_source_of_a_move_all_agree_in_the_end() {
    all_agree_after(&TO_THE_SOURCE);
}

#[test]
fn whatever_happens_to_a_server_during_a_move_all_agree_in_the_end() {
    all_agree_after(&TO_THE_SERVERS);
}
