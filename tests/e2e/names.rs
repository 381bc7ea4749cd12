//! Names that bite, several services at once, and a big bundle.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::time::Instant;

use crate::lab::Lab;

const GIB: u64 = 1 << 30;

/// Units of one service with everything that a name can have.
#[track_caller]
fn api(lab: &Lab) -> String {
    let manifest = "service = \"api\"\nversion = \"1\"\n\
        units = [\"api@1.service\", \"api@2.service\", \"api.socket\", \"api-clean.timer\"]\n\
        ports = [8085]\n";
    let files = [
        ("handover.toml", manifest),
        (
            "units/api@.service",
            "[Service]\nExecStart=/bin/sh -c 'echo instance %i >/run/api-%i; exec sleep infinity'\n\
             [Install]\nWantedBy=multi-user.target\n",
        ),
        (
            "units/api.socket",
            "[Socket]\nListenStream=8085\n[Install]\nWantedBy=sockets.target\n",
        ),
        (
            "units/api.service",
            "[Service]\nExecStart=/opt/api/web 8086\nDynamicUser=yes\n",
        ),
        (
            "units/api-clean.timer",
            "[Timer]\nOnActiveSec=1\nAccuracySec=100ms\n[Install]\nWantedBy=timers.target\n",
        ),
        (
            "units/api-clean.service",
            "[Service]\nType=oneshot\nExecStart=/bin/touch /run/api-cleaned\n",
        ),
        ("web", include_str!("../../examples/web/bin/web")),
    ];
    lab.bundle("api", &files)
}

/// What of ours a guest has: unit files, mount points, mounts, and disks (live, persistent).
#[track_caller]
fn inventory(lab: &Lab, guest: &str) -> (Vec<String>, Vec<String>, usize, [usize; 2]) {
    let lines = |command: &str| {
        let mut lines: Vec<String> = lab
            .guest(guest, command)
            .ok()
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    let mounts = lines("grep -c ' - squashfs ' /proc/self/mountinfo; true");
    (
        lines("ls /etc/systemd/system.attached 2>/dev/null; true"),
        lines("ls /opt"),
        mounts[0].parse().unwrap(),
        [false, true].map(|inactive| lab.xml(guest, inactive).matches("<serial>ho").count()),
    )
}

#[test]
fn dashes_dots_templates_sockets_and_timers_move_three_at_once_and_crosswise() {
    let lab = Lab::take();
    for guest in ["g1", "g2"] {
        lab.guest(guest, "rm -f /run/api-*").ok();
    }
    let (biting, extra, api) = (lab.sleeper("my-app.v2"), lab.sleeper("extra"), api(&lab));
    lab.at_once(&[
        &["deploy", &biting, "--to", "g1"],
        &["deploy", &extra, "--to", "g1"],
        &["deploy", &api, "--to", "g2"],
    ]);
    lab.at_once(&[
        &["move", "my-app.v2", "g2"],
        &["move", "extra", "g2"],
        &["move", "api", "g1"],
    ]);

    for (id, guest) in [("my-app.v2", "g2"), ("extra", "g2"), ("api", "g1")] {
        let service = lab.service(id);
        assert_eq!(
            (&service["guest_name"], &service["generation"]),
            (&guest.into(), &2.into()),
            "{service:#}"
        );
        assert_eq!(service["life_state"], "running", "{service:#}");
    }
    for (guest, unit) in [
        ("g2", "my-app.v2.service"),
        ("g2", "opt-my\\x2dapp.v2.mount"),
        ("g2", "extra.service"),
        ("g1", "api@1.service"),
        ("g1", "api@2.service"),
        ("g1", "api.socket"),
        ("g1", "api-clean.timer"),
    ] {
        assert_eq!(
            lab.unit(guest, "ActiveState", unit),
            "active",
            "{unit} on {guest}"
        );
        let other = if guest == "g1" { "g2" } else { "g1" };
        assert_ne!(
            lab.unit(other, "ActiveState", unit),
            "active",
            "{unit} on {other}"
        );
        assert_ne!(lab.unit(other, "LoadState", unit), "loaded", "{unit} on {other}");
    }
    assert_eq!(
        lab.guest("g1", "cat /run/api-1 /run/api-2").ok(),
        "instance 1\ninstance 2\n"
    );
    lab.wait_for("the timer's run on g1", 20, || {
        (lab.guest("g1", "test -e /run/api-cleaned").code == 0).then_some(())
    });

    // The socket starts its service at the first connection.
    assert_eq!(lab.unit("g1", "ActiveState", "api.service"), "inactive");
    lab.exec(
        "client",
        &[
            "python3",
            "-c",
            "import socket; socket.create_connection(('10.77.0.101', 8085), 10)",
        ],
    )
    .ok();
    lab.wait_for("the socket's service", 20, || {
        (lab.unit("g1", "ActiveState", "api.service") == "active").then_some(())
    });

    let (units, folders, mounts, disks) = inventory(&lab, "g1");
    assert!(units.iter().all(|name| name.contains("api")), "{units:?}");
    assert_eq!((folders, mounts, disks), (vec!["api".to_owned()], 1, [1, 1]));
    let (units, folders, mounts, disks) = inventory(&lab, "g2");
    assert!(units.iter().all(|name| !name.contains("api")), "{units:?}");
    assert_eq!(
        (folders, mounts, disks),
        (vec!["extra".to_owned(), "my-app.v2".to_owned()], 2, [2, 2])
    );

    // What a socket and a timer have started goes too.
    lab.at_once(&[&["remove", "my-app.v2"], &["remove", "extra"], &["remove", "api"]]);
    for guest in ["g1", "g2"] {
        assert_eq!(inventory(&lab, guest), (vec![], vec![], 0, [0, 0]), "{guest}");
        let left = lab
            .guest(
                guest,
                "systemctl list-units --no-legend 'api*' 'my-app*' 'extra*'",
            )
            .ok();
        assert_eq!(left, "", "{guest}");
    }
}

#[test]
fn a_bundle_of_one_gib_deploys_and_moves() {
    let lab = Lab::take();
    let folder = lab.scratch().join("big");
    std::fs::create_dir_all(folder.join("units")).unwrap();
    std::fs::write(
        folder.join("handover.toml"),
        "service = \"big\"\nversion = \"1\"\nunits = [\"big.service\"]\n",
    )
    .unwrap();
    std::fs::write(
        folder.join("units/big.service"),
        "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
    )
    .unwrap();
    // Cannot be compressed, so that the image is as big.
    let mut noise = File::open("/dev/urandom").unwrap().take(GIB);
    let mut data = File::create(folder.join("data")).unwrap();
    std::io::copy(&mut noise, &mut data).unwrap();
    data.write_all(b"the end\n").unwrap();
    drop(data);

    let began = Instant::now();
    let image = lab.build(&folder, "big");
    eprintln!("built in {:.1} s", began.elapsed().as_secs_f64());
    assert!(std::fs::metadata(&image).unwrap().len() > GIB);
    let began = Instant::now();
    lab.ctl(&["deploy", &image, "--to", "g1"]).ok();
    eprintln!(
        "registered and deployed in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let began = Instant::now();
    lab.ctl(&["move", "big", "g2"]).ok();
    eprintln!("moved in {:.1} s", began.elapsed().as_secs_f64());

    assert_eq!(
        lab.guest("g2", "stat -c %s /opt/big/data; tail -c 8 /opt/big/data")
            .ok(),
        "1073741832\nthe end\n"
    );
    assert_eq!(lab.unit("g2", "ActiveState", "big.service"), "active");
    assert_eq!(lab.traces("g1", "big"), Vec::<String>::new());
}
