//! Services with a data volume: the data goes with them, no number that was acknowledged is lost, and two writers never run.

use serde_json::Value;

use crate::lab::Lab;
use crate::ledger::VOLUME;

/// A move away from a silent agent ends while it is silent; what is left is a duty then.
const SHORT: [&str; 4] = [
    "[deadlines]",
    "silence = \"2s\"",
    "revoke = \"10s\"",
    "retire = \"5s\"",
];
/// How an agent falls silent, and how that ends: it is stopped, and it hangs.
const SILENCES: [(&str, &str); 2] = [
    (
        "systemctl stop qemu-guest-agent",
        "systemctl start qemu-guest-agent",
    ),
    ("kill -STOP $(pidof qemu-ga)", "kill -CONT $(pidof qemu-ga)"),
];
/// Ends when a datagram comes; after six minutes at the latest, so that a test that fails leaves no silent agent behind.
const HEARS: &str = "perl -MIO::Socket::INET -e 'alarm 360;
    IO::Socket::INET->new(LocalPort => 7012, Proto => q(udp))->recv(my $told, 1)'";
/// Sends it.
const TELL: &str = "import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'.', (sys.argv[1], 7012))";

impl Lab {
    /// Silences a guest's agent in one of these ways, from a second after now, so that this can be answered. Nobody could ask
    /// a silent one to speak again: that comes over the network.
    #[track_caller]
    fn silences(&self, guest: &str, begin: &str, end: &str) {
        let script = format!(
            "cat >/run/silence <<'.'\nsleep 1\n{begin}\n{HEARS}\n{end}\n.\nsystemd-run --quiet sh /run/silence"
        );
        self.guest(guest, &script).ok();
    }

    /// Ends that.
    #[track_caller]
    fn lets_speak(&self, guest: &str) {
        let address = if guest == "g1" {
            "10.77.0.101"
        } else {
            "10.77.0.102"
        };
        self.exec("client", &["python3", "-c", TELL, address]).ok();
    }

    /// The error of a job that was begun with these arguments and failed.
    #[track_caller]
    fn fails(&self, arguments: &[&str]) -> String {
        let ran = self.ctl(arguments);
        assert_eq!(ran.code, 1, "stdout: {}\nstderr: {}", ran.out, ran.err);
        ran.err
    }
}

#[track_caller]
fn data_traces(lab: &Lab, guest: &str) -> Vec<String> {
    let find = "grep ' /srv/ledger ' /proc/self/mountinfo; ls -d /srv/ledger 2>/dev/null; true";
    let mut found: Vec<String> = lab.guest(guest, find).ok().lines().map(str::to_owned).collect();
    found.extend(lab.traces(guest, "ledger"));
    found
}

#[test]
fn the_data_goes_there_and_back_with_every_number_that_was_acknowledged() {
    let lab = Lab::take();
    let image = lab.ledger("32MiB");
    lab.ctl(&["deploy", &image, "--to", "g1"]).ok();
    let volume = &lab.service("ledger")["volume"];
    assert_eq!(
        (
            &volume["host"],
            &volume["path"],
            &volume["size"],
            &volume["filesystem"],
            &volume["mount"]
        ),
        (
            &"hv1".into(),
            &VOLUME.into(),
            &(32 << 20).into(),
            &"ext4".into(),
            &"/srv/ledger".into()
        )
    );
    let mut last = lab.writes_on("g1");
    for (from, to) in [("g1", "g2"), ("g2", "g1")] {
        lab.guest(to, "rm -f /run/acked-ledger").ok();
        let said = lab.ctl(&["move", "ledger", to]).ok();
        assert!(said.contains("gap in service: "), "{said}");
        let gap = lab.last_job()["gap_ms"].as_u64().unwrap();
        eprintln!("{from} -> {to}: gap {gap} ms");
        assert!((50..60_000).contains(&gap), "{gap} ms");
        let acked = lab.acked(from);
        assert!(acked > last, "{from} wrote until it was stopped");
        last = lab.writes_on(to);
        assert!(last > acked);
        lab.goes_on_behind(to, acked);
        assert!(lab.numbers(to) >= last);
        assert_eq!(data_traces(&lab, from), Vec::<String>::new());
    }

    let said = lab.ctl(&["remove", "ledger"]).ok();
    assert!(
        said.contains("its data volume stays: ") && said.contains("ledger.data.raw on hv1"),
        "{said}"
    );
    assert_eq!(data_traces(&lab, "g1"), Vec::<String>::new());
    assert!(lab.volume_is_there());

    lab.ctl(&["deploy", &image, "--to", "g2"]).ok();
    lab.writes_on("g2");
    assert!(lab.numbers("g2") > last, "the numbers from before are there");

    lab.ctl(&["remove", "ledger", "--delete-data"]).ok();
    assert_eq!(data_traces(&lab, "g2"), Vec::<String>::new());
    assert!(!lab.volume_is_there());
    // A deploy after that begins anew.
    lab.ctl(&["deploy", &image, "--to", "g1", "--stopped"]).ok();
    lab.ctl(&["remove", "ledger", "--delete-data"]).ok();
}

#[test]
fn a_stopped_service_takes_its_data_along_and_is_not_started_on_the_way() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.ledger("16MiB"), "--to", "g1"]).ok();
    lab.writes_on("g1");
    lab.ctl(&["stop", "ledger"]).ok();
    let last = lab.acked("g1");
    for guest in ["g1", "g2"] {
        lab.guest(guest, "rm -f /run/acked-ledger").ok();
    }
    lab.ctl(&["move", "ledger", "g2"]).ok();
    assert_eq!(
        lab.last_job()["gap_ms"],
        Value::Null,
        "nobody was served before either"
    );
    let service = lab.service("ledger");
    assert_eq!(
        (&service["guest_name"], &service["life_state"]),
        (&"g2".into(), &"stopped".into())
    );
    assert_eq!(
        (lab.acked("g1"), lab.acked("g2")),
        (0, 0),
        "it was started nowhere"
    );
    assert_eq!(data_traces(&lab, "g1"), Vec::<String>::new());
    lab.ctl(&["start", "ledger"]).ok();
    lab.writes_on("g2");
    lab.goes_on_behind("g2", last);
    lab.ctl(&["remove", "ledger", "--delete-data"]).ok();
}

#[test]
fn an_undone_move_brings_the_data_back_and_a_killed_daemon_takes_a_move_up() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.ledger("16MiB"), "--to", "g1"]).ok();
    lab.writes_on("g1");
    lab.guest("g2", "rm -f /run/acked-ledger").ok();

    // The check never passes on the target, where the service writes all the same.
    lab.hold("g2", "ledger", true);
    let said = lab.fails(&["move", "ledger", "g2"]);
    assert!(said.contains("(CheckFailed)"), "{said}");
    let there = lab.acked("g2");
    assert!(there > 0, "it was up there");
    let now = lab.writes_on("g1");
    assert!(
        now > there && lab.numbers("g1") >= now,
        "what was written there is here"
    );
    assert_eq!(data_traces(&lab, "g2"), Vec::<String>::new());
    let service = lab.service("ledger");
    assert_eq!(
        (&service["guest_name"], &service["generation"]),
        (&"g1".into(), &1.into())
    );

    // An upgrade in place keeps the disk where it is.
    lab.hold("g2", "ledger", false);
    let image = lab.ledger_image("2", "16MiB", "");
    lab.ctl(&["upgrade", "ledger", &image]).ok();
    lab.writes_on("g1");
    lab.numbers("g1");

    // Killed where the target has the volume and has not been confirmed.
    lab.hold("g2", "ledger", true);
    let job = lab.begin(&["move", "ledger", "g2"]);
    lab.wait_for_step(job, "confirm");
    lab.lab(&["daemon", "hv1", "kill"]).ok();
    lab.hold("g2", "ledger", false);
    lab.lab(&["daemon", "hv1", "start"]).ok();
    let job = lab.wait_for_end(job);
    assert_eq!(job["result"], "done", "{job:#}");
    assert!(job["gap_ms"].as_u64().is_some(), "{job:#}");
    let last = lab.writes_on("g2");
    assert!(lab.numbers("g2") >= last);
    assert_eq!(data_traces(&lab, "g1"), Vec::<String>::new());
    lab.ctl(&["remove", "ledger", "--delete-data"]).ok();
}

#[test]
fn a_dead_guest_is_fenced_and_its_data_goes_on_elsewhere() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.ledger("16MiB"), "--to", "g1"]).ok();
    lab.guest("g2", "rm -f /run/acked-ledger").ok();
    let acked = lab.writes_on("g1");
    lab.lab(&["guest-kill", "g1"]).ok();
    lab.wait_for("libvirt sees it", 30, || {
        lab.exec("hv1", &["virsh", "domstate", "g1"])
            .out
            .contains("shut off")
            .then_some(())
    });
    lab.ctl(&["move", "ledger", "g2"]).ok();
    lab.writes_on("g2");
    assert!(
        lab.numbers("g2") > acked,
        "what was acknowledged before the power cut is there"
    );
    let config = lab.xml("g1", true);
    assert!(!config.contains("<serial>ho"), "fenced: {config}");

    lab.exec("hv1", &["virsh", "start", "g1"]).ok();
    lab.lab(&["guest-wait", "g1"]).ok();
    assert_eq!(lab.unit("g1", "ActiveState", "ledger.service"), "inactive");
    assert_eq!(
        lab.guest("g1", "cat /run/acked-ledger 2>/dev/null; true").ok(),
        ""
    );
    // Its folders may stay, empty: what was recorded of them is lost where the power went before the disk was written.
    lab.wait_for("the old copy's leftovers go", 120, || {
        lab.traces("g1", "ledger").is_empty().then_some(())
    });
    lab.writes_on("g2");
    lab.numbers("g2");
    lab.ctl(&["remove", "ledger", "--delete-data"]).ok();
}

#[test]
fn a_guest_whose_agent_is_silent_loses_its_licence_and_stops() {
    let lab = Lab::take();
    let bent = lab.with_settings(&SHORT);
    lab.ctl(&["deploy", &lab.ledger("16MiB"), "--to", "g1"]).ok();
    for ((from, to), (begin, end)) in [("g1", "g2"), ("g2", "g1")].into_iter().zip(SILENCES) {
        lab.guest(to, "rm -f /run/acked-ledger").ok();
        let acked = lab.writes_on(from);
        let qemu = lab.qemu(from);
        lab.silences(from, begin, end);
        lab.wait_for("the agent falls silent", 30, || {
            (lab.guest(from, "true").code != 0).then_some(())
        });
        let moved = lab.ctl(&["move", "ledger", to]);
        let job = lab.last_job();
        assert_eq!(moved.code, 0, "{begin}: {}", moved.err);
        lab.writes_on(to);
        assert!(lab.numbers(to) > acked);
        let journal = lab.job(job["id"].as_u64().unwrap())["journal"].to_string();
        assert!(
            journal.contains(&format!("revokes the licence of {from}")),
            "{begin}: {journal}"
        );

        lab.lets_speak(from);
        lab.wait_for("the agent speaks again and the leftovers go", 150, || {
            let ran = lab.guest(from, "true");
            (ran.code == 0 && data_traces(&lab, from).is_empty()).then_some(())
        });
        let copies = lab.guest(from, "pgrep -x writer; true").ok();
        assert_eq!(copies, "", "{begin}: systemd stopped it without the agent");
        assert_eq!(lab.qemu(from), qemu, "{begin}: nobody has destroyed the guest");
    }
    drop(bent);
    lab.agrees("after both");
    lab.ctl(&["remove", "ledger", "--delete-data"]).ok();
}

#[test]
fn what_is_wrong_with_a_volume_is_told_and_the_source_is_not_touched() {
    let lab = Lab::take();
    let image = lab.ledger("17MiB");
    let path = VOLUME;

    // No room.
    let large = lab.ledger_image("0", "8TiB", "");
    let said = lab.fails(&["deploy", &large, "--to", "g1"]);
    assert!(
        said.contains("is full: data volume ledger.data.raw needs 8388608.0 MiB, it has "),
        "{said}"
    );
    assert_eq!(data_traces(&lab, "g1"), Vec::<String>::new());
    assert!(!lab.volume_is_there());

    lab.ctl(&["deploy", &image, "--to", "g1"]).ok();
    lab.writes_on("g1");
    let pid = lab.unit("g1", "MainPID", "ledger.service");
    let untouched = |lab: &Lab| {
        assert_eq!(
            lab.unit("g1", "MainPID", "ledger.service"),
            pid,
            "the source was not touched"
        );
        assert_eq!(lab.service("ledger")["guest_name"], "g1");
        assert_eq!(data_traces(lab, "g2"), Vec::<String>::new());
    };

    // Somebody has it in another guest's definition.
    lab.exec(
        "hv1",
        &[
            "virsh",
            "attach-disk",
            "g2",
            path,
            "sdz",
            "--config",
            "--targetbus",
            "scsi",
        ],
    )
    .ok();
    lab.ctl(&["move", "ledger", "g2"]).refused(
        3,
        "guest g2 has /var/lib/libvirt/images/handoverd/ledger.data.raw as disk sdz",
    );
    lab.exec("hv1", &["virsh", "detach-disk", "g2", "sdz", "--config"])
        .ok();
    untouched(&lab);

    // Smaller.
    let other = lab.ledger_image("2", "16MiB", "");
    lab.ctl(&["upgrade", "ledger", &other])
        .refused(3, "a volume is never shrunk");
    untouched(&lab);

    // Below the data of another service.
    let below = "service = \"below\"\nversion = \"1\"\nunits = [\"below.service\"]\n\
        [data]\nsize = \"16MiB\"\nmount = \"/srv/ledger/below\"\n";
    let unit = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";
    let below = lab.bundle(
        "below",
        &[("handover.toml", below), ("units/below.service", unit)],
    );
    lab.ctl(&["deploy", &below, "--to", "g1"]).refused(
        3,
        "ledger mounts its data at /srv/ledger there, and below wants /srv/ledger/below",
    );
    untouched(&lab);

    // Somebody's folder at the mount point.
    lab.guest("g2", "mkdir -p /srv/ledger && touch /srv/ledger/theirs")
        .ok();
    lab.ctl(&["move", "ledger", "g2"])
        .refused(3, "/srv/ledger is there, not ours and not empty");
    lab.guest("g2", "rm /srv/ledger/theirs && mount -t tmpfs theirs /srv/ledger")
        .ok();
    lab.ctl(&["move", "ledger", "g2"])
        .refused(3, "theirs is mounted at /srv/ledger");
    lab.guest("g2", "umount /srv/ledger && rmdir /srv/ledger").ok();
    untouched(&lab);

    // A file system that cannot be mounted any more.
    lab.ctl(&["stop", "ledger"]).ok();
    lab.exec(
        "hv1",
        &[
            "dd",
            "if=/dev/zero",
            &format!("of={path}"),
            "bs=4096",
            "count=2",
            "conv=notrunc",
            "status=none",
        ],
    )
    .ok();
    let said = lab.fails(&["start", "ledger"]);
    assert!(
        said.contains("the file system of the data volume does not mount"),
        "{said}"
    );
    assert!(said.contains("no file system is found on it"), "{said}");
    lab.ctl(&["remove", "ledger"]).ok();
    lab.ctl(&["deploy", &other, "--to", "g1"])
        .refused(3, "a volume is never shrunk");
    let said = lab.fails(&["deploy", &image, "--to", "g1"]);
    assert!(
        said.contains("no file system is found on it; it is not formatted"),
        "{said}"
    );
    assert!(lab.volume_is_there(), "what may still be repaired is not deleted");
    assert_eq!(data_traces(&lab, "g1"), Vec::<String>::new());
}
