//! Faults in the middle of real moves: after each, table, zone, libvirt and guests agree, and no user noticed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use crate::lab::Lab;
use crate::moving::nothing_lost;
use crate::undoing::{START_NAMED, STOP_NAMED};

/// The daemon's log, line by line as it is written.
struct Log {
    tail: Child,
    lines: Receiver<String>,
}

impl Log {
    /// From now on.
    #[track_caller]
    fn follow(lab: &Lab) -> Self {
        let mut tail = Command::new("tail")
            .args(["-n", "0", "-F"])
            .arg(lab.state("hv1").join("log/handoverd.log"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(tail.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { tail, lines }
    }

    /// Waits for a line with this text; `false` if a job ends first.
    #[track_caller]
    fn reaches(&self, text: &str) -> bool {
        loop {
            let line = self
                .lines
                .recv_timeout(Duration::from_secs(120))
                .unwrap_or_else(|_| panic!("{text:?} was not logged within 120 s"));
            if line.contains(text) {
                return true;
            }
            if line.contains("job ended") {
                return false;
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.tail.kill().ok();
        self.tail.wait().ok();
    }
}

impl Lab {
    /// Where the lab keeps what is a node's.
    #[track_caller]
    fn state(&self, node: &str) -> PathBuf {
        let status: Value = serde_json::from_str(&self.lab(&["status", "--json"]).ok()).unwrap();
        PathBuf::from(status["state"].as_str().unwrap()).join(node)
    }

    /// SIGKILL to the daemon, at once.
    #[track_caller]
    fn kill_daemon(&self, socket: &PathBuf) {
        let mut supervisor = UnixStream::connect(socket).unwrap();
        supervisor.write_all(b"kill\n").unwrap();
        let mut answer = String::new();
        BufReader::new(supervisor).read_line(&mut answer).unwrap();
        assert!(!answer.is_empty());
        self.wait_for("the daemon's end", 20, || {
            let status = self.lab(&["daemon", "hv1", "status"]);
            (!status.out.contains("running") || status.out.contains("not running")).then_some(())
        });
    }
}

/// What a service is to look like from everywhere when nothing of it is open.
#[track_caller]
pub fn agree(lab: &Lab, service: &str, when: &str) -> String {
    let row = lab.service(service);
    let (home, generation) = (row["guest_name"].as_str().unwrap(), &row["generation"]);
    let other = other(home);
    let name = row["name"].as_str().unwrap_or_default();
    assert_eq!(row["life_state"], "accessible", "{when}: {row:#}");
    assert_eq!(lab.dig(name, "A"), [row["address"].as_str().unwrap()], "{when}");
    let owner = format!("\"g={generation} host=hv1 guest={}\"", lab.uuid(home));
    assert_eq!(lab.dig(&format!("_handover.{name}"), "TXT"), [owner], "{when}");
    let unit = format!("{service}.service");
    assert_eq!(lab.unit(home, "ActiveState", &unit), "active", "{when}");
    for inactive in [false, true] {
        let disks = lab.xml(home, inactive).matches("<serial>ho").count();
        assert_eq!(disks, 1, "{when}: {home}, inactive={inactive}");
    }
    assert_eq!(
        lab.traces(other, service),
        Vec::<String>::new(),
        "{when}: {other}"
    );
    assert_eq!(lab.grants(service).len(), 1, "{when}: {:?}", lab.grants(service));
    home.to_owned()
}

fn other(guest: &str) -> &'static str {
    if guest == "g1" { "g2" } else { "g1" }
}

/// The moments of a move at which it is hit, as the log tells them: before and after the act of every step, and at every
/// commit of a step.
const MOMENTS: [&str; 13] = [
    "reserve (looking) -> reserve (acting)",
    "reserve (acting) -> reserve (looking)",
    "reserve (looking) -> ",
    "stage (looking) -> stage (acting)",
    "stage (acting) -> stage (looking)",
    "start (looking) -> start (acting)",
    "start (acting) -> start (looking)",
    "confirm (looking) -> publish",
    "publish (looking) -> publish (acting)",
    "publish (acting) -> publish (looking)",
    "record (acting) -> record (looking)",
    "retire (looking) -> retire (acting)",
    "retire (acting) -> retire (looking)",
];

#[test]
fn a_daemon_that_is_killed_before_and_after_every_step_finishes_what_it_began_and_no_request_is_lost() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.held("web", 8080, "1", ""), "--to", "g1"])
        .ok();
    let socket = lab.state("hv1").join("handoverd.sock");
    let users = lab.load("http://web.svc.lab:8080/", 20);
    let mut home = "g1".to_owned();
    for moment in MOMENTS {
        let log = Log::follow(&lab);
        let job = lab.begin(&["move", "web", other(&home)]);
        assert!(log.reaches(moment), "{moment:?} was not reached");
        lab.kill_daemon(&socket);
        lab.lab(&["daemon", "hv1", "start"]).ok();
        let job = lab.wait_for_end(job);
        assert_eq!(job["result"], "done", "killed at {moment:?}: {job:#}");
        let now = agree(&lab, "web", moment);
        assert_eq!(now, other(&home), "{moment}");
        home = now;
    }
    nothing_lost(&users.stop());
    lab.ctl(&["remove", "web"]).ok();
}

/// Something that happens to the world while a service moves.
struct Fault {
    /// For people.
    name: &'static str,
    /// When, as the log tells it.
    at: &'static str,
    /// What happens: arguments of the lab's command; `SOURCE` and `TARGET` are the guests.
    hit: &'static [&'static str],
    /// What an operator does then.
    heal: &'static [&'static str],
    /// Whether the move may end where it began.
    may_fail: bool,
}

/// What happens to the target.
const TO_THE_TARGET: [Fault; 5] = [
    Fault {
        name: "the target loses power while it is staged",
        at: "stage (looking) -> stage (acting)",
        hit: &["guest-kill", "TARGET"],
        heal: &["exec", "hv1", "--", "sh", "-c", BOOT_TARGET],
        may_fail: true,
    },
    Fault {
        name: "the target reboots while its units are started",
        at: "start (looking) -> start (acting)",
        hit: &["exec", "hv1", "--", "virsh", "reboot", "TARGET"],
        heal: &[],
        may_fail: true,
    },
    Fault {
        name: "the target is reset after the commit",
        at: "publish (looking) -> record",
        hit: &["exec", "hv1", "--", "virsh", "reset", "TARGET"],
        heal: &[],
        may_fail: false,
    },
    Fault {
        name: "the target loses power after the commit",
        at: "publish (looking) -> record",
        hit: &["guest-kill", "TARGET"],
        heal: &["exec", "hv1", "--", "sh", "-c", BOOT_TARGET],
        may_fail: false,
    },
    Fault {
        name: "the target is defined with the XML that it had before the move",
        at: "publish (looking) -> record",
        hit: &["exec", "hv1", "--", "virsh", "define", "/run/before-TARGET.xml"],
        heal: &["exec", "hv1", "--", "handoverctl", "audit", "--repair"],
        may_fail: false,
    },
];

/// What happens to the source.
const TO_THE_SOURCE: [Fault; 5] = [
    Fault {
        name: "the source loses power while the target is staged",
        at: "stage (acting) -> stage (looking)",
        hit: &["guest-kill", "SOURCE"],
        heal: &["exec", "hv1", "--", "sh", "-c", BOOT_SOURCE],
        may_fail: true,
    },
    Fault {
        name: "the source reboots while it is retired",
        at: "retire (looking) -> retire (acting)",
        hit: &["exec", "hv1", "--", "virsh", "reboot", "SOURCE"],
        heal: &[],
        may_fail: false,
    },
    Fault {
        name: "the source loses power while it is retired",
        at: "retire (looking) -> retire (acting)",
        hit: &["guest-kill", "SOURCE"],
        heal: &["exec", "hv1", "--", "sh", "-c", BOOT_SOURCE],
        may_fail: false,
    },
    Fault {
        name: "the source is saved while the target is staged, and restored",
        at: "stage (looking) -> stage (acting)",
        hit: &["exec", "hv1", "--", "virsh", "managedsave", "SOURCE"],
        heal: &["exec", "hv1", "--", "sh", "-c", BOOT_SOURCE],
        may_fail: true,
    },
    Fault {
        name: "the source's guest agent hangs while it is retired",
        at: "start (looking) -> start (acting)",
        hit: &["guest", "SOURCE", "--", "sh", "-c", HANG],
        heal: &[],
        may_fail: true,
    },
];

/// What happens to libvirtd and named.
const TO_THE_SERVERS: [Fault; 3] = [
    Fault {
        name: "libvirtd is restarted while the target is staged",
        at: "stage (looking) -> stage (acting)",
        hit: &["libvirtd", "hv1", "restart"],
        heal: &[],
        may_fail: true,
    },
    Fault {
        name: "libvirtd is killed while the source is retired",
        at: "retire (looking) -> retire (acting)",
        hit: &["libvirtd", "hv1", "kill"],
        heal: &["libvirtd", "hv1", "start"],
        may_fail: false,
    },
    Fault {
        name: "the name server is away at the commit",
        at: "confirm (looking) -> publish",
        hit: &["exec", "dns", "--", "sh", "-c", STOP_NAMED],
        heal: &["exec", "dns", "--", "sh", "-c", START_NAMED],
        may_fail: true,
    },
];

/// Starts a guest that died, once libvirt has seen that it did.
const BOOT_TARGET: &str =
    "until virsh domstate TARGET | grep -q 'shut off'; do sleep 0.1; done; virsh start TARGET";
const BOOT_SOURCE: &str =
    "until virsh domstate SOURCE | grep -q 'shut off'; do sleep 0.1; done; virsh start SOURCE";

/// The guest agent stops for a while, after it has answered.
const HANG: &str =
    "systemd-run --quiet --on-active=0 sh -c 'pkill -STOP -x qemu-ga; sleep 20; pkill -CONT -x qemu-ga'";

/// Moves `web` once for each fault; all agree after each.
#[track_caller]
fn all_agree_after(faults: &[Fault]) {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.held("web", 8080, "1", ""), "--to", "g1"])
        .ok();
    for fault in faults {
        let home = agree(&lab, "web", fault.name);
        let log = Log::follow(&lab);
        let words = |line: &[&str]| -> Vec<String> {
            line.iter()
                .map(|word| word.replace("SOURCE", &home).replace("TARGET", other(&home)))
                .collect()
        };
        let run = |line: &[&str]| {
            let line = words(line);
            if !line.is_empty() {
                lab.lab(&line.iter().map(String::as_str).collect::<Vec<_>>()).ok();
            }
        };
        run(&[
            "exec",
            "hv1",
            "--",
            "sh",
            "-c",
            "virsh dumpxml --inactive TARGET >/run/before-TARGET.xml",
        ]);
        let job = lab.begin(&["move", "web", other(&home), "--drain", "0"]);
        assert!(
            log.reaches(fault.at),
            "{}: {:?} was not reached",
            fault.name,
            fault.at
        );
        run(fault.hit);
        if fault.heal.first() == Some(&"exec") && fault.heal.contains(&"audit") {
            lab.wait_for_end(job);
        }
        run(fault.heal);
        let job = lab.wait_for_end(job);
        for guest in ["g1", "g2"] {
            lab.lab(&["guest-wait", guest]).ok();
        }
        let result = job["result"].as_str().unwrap();
        assert!(
            result == "done" || (fault.may_fail && result == "failed"),
            "{}: {job:#}",
            fault.name
        );
        // What a guest that was away still owes is carried out when its agent speaks.
        lab.wait_for(&format!("{}: the last trace's end", fault.name), 120, || {
            let home = lab.service("web")["guest_name"].as_str().unwrap().to_owned();
            lab.traces(other(&home), "web").is_empty().then_some(())
        });
        let now = agree(&lab, "web", fault.name);
        assert_eq!(now == home, result != "done", "{}: it is on {now}", fault.name);
    }
    lab.ctl(&["remove", "web"]).ok();
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
