//! What fails is undone: the source serves on, the zone and the pool are as they were, and the daemon tells what to mend.

use std::fs::File;

use crate::lab::Lab;
use crate::refusals::{fickle, folder};

/// Where the daemon's configuration is bent, and what bends it back.
const BENT: &str = "/etc/handoverd/handoverd.d/test.toml";
const STRAIGHT: &str = "rm -f /etc/handoverd/handoverd.d/test.toml /etc/handoverd/tsig/other.key; \
    chmod 600 /etc/handoverd/tsig/svc.lab.key; \
    [ ! -e /etc/handoverd/tsig/right ] || mv /etc/handoverd/tsig/right /etc/handoverd/tsig/svc.lab.key";

/// Starts BIND in the dns node, unless it runs.
pub const START_NAMED: &str = "pgrep -x named || { eval \"$(cat /run/named.line)\"; for i in $(seq 100); do \
    dig +short +time=1 +tries=1 @10.77.0.2 ns.svc.lab A | grep -q 10.77 && break; sleep 0.1; done; }";

/// Stops BIND in the dns node, and keeps how it was started.
pub const STOP_NAMED: &str = "pid=$(pgrep -o -x named); tr '\\0' ' ' </proc/$pid/cmdline >/run/named.line; kill $pid; \
    while kill -0 $pid 2>/dev/null; do sleep 0.05; done";

#[test]
fn a_move_that_fails_leaves_the_source_serving_and_the_zone_as_it_was() {
    let lab = Lab::take();
    let _undo = [
        lab.at_the_end(&["guest", "g1", "--", "rm", "-f", "/run/fickle.fine"]),
        lab.at_the_end(&[
            "guest",
            "g2",
            "--",
            "rm",
            "-f",
            "/run/fickle.fine",
            "/run/fickle.broken",
        ]),
    ];
    lab.guest("g1", "touch /run/fickle.fine").ok();
    lab.ctl(&["deploy", &fickle(&lab, "fickle", "fickle.svc.lab"), "--to", "g1"])
        .ok();
    let before = lab.witness("fickle");
    let move_it = || lab.ctl(&["move", "fickle", "g2", "--drain", "0", "--json"]);

    move_it().failure().is(
        "CheckFailed",
        &["the check of fickle on g2 fails", "not fine", "within 10 s"],
    );
    assert_eq!(lab.witness("fickle"), before, "after a check that never passes");

    lab.guest("g2", "touch /run/fickle.fine /run/fickle.broken").ok();
    move_it().failure().is(
        "StartFailed",
        &["fickle does not start on g2", "fickle.service is failed"],
    );
    assert_eq!(lab.witness("fickle"), before, "after a unit that does not start");

    // The daemon signs with another key than the server has.
    let _straight = [
        lab.at_the_end(&["exec", "hv1", "--", "sh", "-c", STRAIGHT]),
        lab.at_the_end(&["daemon", "hv1", "restart"]),
    ];
    let bend = format!(
        "cd /etc/handoverd; mkdir -p handoverd.d; printf '[deadlines]\\nreserve = \"2s\"\\n' >{BENT}; \
         cp -p tsig/svc.lab.key tsig/right; head -c 32 /dev/urandom | base64 >tsig/svc.lab.key"
    );
    lab.exec("hv1", &["sh", "-c", &bend]).ok();
    lab.lab(&["daemon", "hv1", "restart"]).ok();
    move_it().failure().is(
        "Refused",
        &[
            "DNS server 10.77.0.2:53 of zone svc.lab,",
            "fickle.svc.lab",
            "key",
        ],
    );
    assert_eq!(lab.witness("fickle"), before, "after a wrong key");

    // No name server answers.
    lab.exec(
        "hv1",
        &[
            "sh",
            "-c",
            "mv /etc/handoverd/tsig/right /etc/handoverd/tsig/svc.lab.key",
        ],
    )
    .ok();
    lab.lab(&["daemon", "hv1", "restart"]).ok();
    {
        let _named = lab.at_the_end(&["exec", "dns", "--", "sh", "-c", START_NAMED]);
        lab.exec("dns", &["sh", "-c", STOP_NAMED]).ok();
        move_it().failure().is(
            "Timeout",
            &["reserve did not come about within 2 s", "DNS server 10.77.0.2:53"],
        );
    }
    assert_eq!(lab.witness("fickle"), before, "after a name server that is down");

    // Nothing stands in the way of the same move now.
    lab.guest("g2", "rm /run/fickle.broken").ok();
    move_it().ok();
    assert_eq!(lab.dig("fickle.svc.lab", "A"), ["10.77.0.102"]);
    lab.ctl(&["remove", "fickle"]).ok();
}

#[test]
fn a_service_that_systemd_was_to_start_again_is_up_after_a_move_that_is_undone() {
    let lab = Lab::take();
    let manifest = "service = \"again\"\nversion = \"1\"\nunits = [\"again.service\"]\n\
         [data]\nsize = \"16MiB\"\nmount = \"/srv/again\"\n\
         [check]\ncommand = [\"/bin/sh\", \"-c\", \"test -e /run/again.fine\"]\n\
         interval = \"200ms\"\ntimeout = \"10s\"\nsuccesses = 1\n[dns]\nname = \"again.svc.lab\"\nttl = 1\n";
    let unit = "[Service]\nExecStart=sleep infinity\nRestart=always\nRestartSec=1h\n\
         [Install]\nWantedBy=multi-user.target\n";
    let files = [("handover.toml", manifest), ("units/again.service", unit)];
    let _undo = lab.at_the_end(&["guest", "g1", "--", "rm", "-f", "/run/again.fine"]);
    lab.guest("g1", "touch /run/again.fine").ok();
    lab.ctl(&["deploy", &lab.bundle("again", &files), "--to", "g1"])
        .ok();
    let state = || {
        lab.guest("g1", "systemctl show -P ActiveState again.service")
            .ok()
            .trim()
            .to_owned()
    };

    lab.guest("g1", "systemctl kill -s KILL again.service").ok();
    lab.wait_for("systemd to wait for its next try", 60, || {
        (state() == "activating").then_some(())
    });
    lab.ctl(&["move", "again", "g2", "--json"])
        .failure()
        .is("CheckFailed", &["the check of again on g2 fails"]);
    assert_eq!(state(), "active");
    assert_eq!(lab.service("again")["observed"], "accessible");
    assert_eq!(lab.dig("again.svc.lab", "A"), ["10.77.0.101"]);
    lab.ctl(&["remove", "again", "--delete-data"]).ok();
}

#[test]
fn a_configuration_that_cannot_be_meant_keeps_the_daemon_from_starting() {
    let lab = Lab::take();
    let _straight = [
        lab.at_the_end(&["exec", "hv1", "--", "sh", "-c", STRAIGHT]),
        lab.at_the_end(&["daemon", "hv1", "start"]),
    ];
    lab.lab(&["daemon", "hv1", "stop"]).ok();
    let key_line = "$(grep -n key_file /etc/handoverd/handoverd.toml | cut -d: -f1)";
    let cases = [
        (
            format!("mkdir -p /etc/handoverd/handoverd.d; printf '\\n[drain]\\nmargni = \"1s\"\\n' >{BENT}"),
            format!("echo '{BENT}:3: drain.margni: there is no such key; the nearest is \"margin\"'"),
        ),
        (
            "chmod 644 /etc/handoverd/tsig/svc.lab.key".to_owned(),
            format!("echo \"/etc/handoverd/handoverd.toml:{key_line}: dns.zone.key_file: the key file\""),
        ),
    ];
    for (bend, says) in cases {
        lab.exec("hv1", &["sh", "-c", &bend]).ok();
        let says = lab.exec("hv1", &["sh", "-c", &says]).ok();
        let started = lab.lab(&["daemon", "hv1", "start"]);
        assert_ne!(started.code, 0);
        assert!(
            started.err.contains(says.trim()),
            "{says:?} is not in {}",
            started.err
        );
        let checked = lab.exec("hv1", &["handoverd", "--check-config"]);
        assert_ne!(checked.code, 0);
        assert!(
            checked.err.contains(says.trim()),
            "{says:?} is not in {}",
            checked.err
        );
        lab.exec("hv1", &["sh", "-c", STRAIGHT]).ok();
    }
    let secret = lab.exec("hv1", &["cat", "/etc/handoverd/tsig/svc.lab.key"]).ok();
    let log = lab.lab(&["logs", "hv1"]).ok();
    assert!(!log.contains(secret.trim()), "the secret is in the log");
    lab.lab(&["daemon", "hv1", "start"]).ok();
    lab.services();
}

#[test]
fn a_pool_without_room_keeps_no_half_image() {
    let lab = Lab::take();
    let pool = "/var/lib/libvirt/images/handoverd";
    let sleeper = lab.sleeper("sleeper");
    lab.ctl(&["deploy", &sleeper, "--to", "g1"]).ok();
    // What zstd cannot make smaller.
    let mut noise = vec![0; 12 << 20];
    std::io::Read::read_exact(&mut File::open("/dev/urandom").unwrap(), &mut noise).unwrap();
    let big = folder(
        &lab,
        "roomless",
        &[
            (
                "handover.toml",
                "service = \"roomless\"\nversion = \"1\"\nunits = [\"roomless.service\"]\n",
            ),
            (
                "units/roomless.service",
                "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
            ),
        ],
    );
    std::fs::write(big.join("noise"), noise).unwrap();
    let big = lab.build(&big, "roomless");
    // An earlier run may have left a bundle of this name.
    let kept = || lab.ctl(&["bundle", "list", "--json"]).ok();
    let (before, jobs, bundles) = (lab.witness("sleeper"), lab.job_ids(), kept());
    {
        let back = format!("umount {pool}; virsh pool-refresh handoverd");
        let _undo = lab.at_the_end(&["exec", "hv1", "--", "sh", "-c", &back]);
        let full = format!("mount -t tmpfs -o size=6m full {pool} && virsh pool-refresh handoverd");
        lab.exec("hv1", &["sh", "-c", &full]).ok();
        let told = lab.ctl(&["deploy", &big, "--to", "g1", "--json"]).refusal();
        told.is("PoolRefused", &["pool handoverd"]);
        let look = format!("ls -A {pool}; virsh vol-list handoverd | grep -c /; true");
        assert_eq!(lab.exec("hv1", &["sh", "-c", &look]).ok(), "0\n", "{told:?}");
        assert_eq!(kept(), bundles, "{told:?}");
    }
    assert_eq!(lab.job_ids(), jobs);
    assert_eq!(lab.witness("sleeper"), before);
    // With room it is taken, and the service that was there moves.
    lab.ctl(&["bundle", "register", &big]).ok();
    lab.ctl(&["remove", "sleeper"]).ok();
}
