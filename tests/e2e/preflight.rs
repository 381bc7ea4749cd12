//! What is in the way on a target is named, nothing is begun or all is undone, and the source serves on.

use crate::lab::Lab;

/// A web service with a name, a user, a port and a config file.
#[track_caller]
fn shop(lab: &Lab) -> String {
    let manifest = "service = \"shop\"\nversion = \"1\"\nunits = [\"shop.service\"]\nuser = \"shopper\"\n\
        [check]\nhttp = \"http://127.0.0.1:8088/healthz\"\ninterval = \"200ms\"\nsuccesses = 1\n\
        [dns]\nname = \"shop.svc.lab\"\nttl = 1\n\
        [[config]]\nname = \"shop.conf\"\npath = \"/etc/shop/shop.conf\"\n";
    let unit = "[Service]\nExecStart=/opt/shop/bin/web 8088\n[Install]\nWantedBy=multi-user.target\n";
    let program = include_str!("../../examples/web/bin/web");
    let files = [
        ("handover.toml", manifest),
        ("units/shop.service", unit),
        ("bin/web", program),
    ];
    lab.bundle("shop", &files)
}

/// Deploys it to g1 with its config file.
#[track_caller]
fn deploy_shop(lab: &Lab) {
    let config = lab.scratch().join("shop.conf");
    std::fs::write(&config, "colour = red\n").unwrap();
    let config = format!("shop.conf={}", config.display());
    lab.ctl(&["deploy", &shop(lab), "--to", "g1", "--config", &config])
        .ok();
}

/// What a client gets from the address that the zone gives for shop: the guest, and the process that answered.
#[track_caller]
fn answer(lab: &Lab) -> String {
    let ask = "exec 3<>/dev/tcp/$(dig +short @10.77.0.2 shop.svc.lab A)/8088; \
        printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; tr -d '\\r' <&3 | grep -E '^(guest|pid)='";
    lab.exec("client", &["bash", "-c", ask]).ok()
}

const USERS_AS_BEFORE: &str = "[ ! -e /run/passwd.before ] || cp /run/passwd.before /etc/passwd";

/// In a guest: its systemd is of another version by the name of its library, and everything runs on.
const OLD_SYSTEMD: &str = "lib=$(echo /usr/lib/*-linux-gnu/systemd); cp $lib/libsystemd-shared-*.so ${lib%/systemd}; \
    mkdir -p /run/systemd-240; : >/run/systemd-240/libsystemd-shared-240.so; mount --bind /run/systemd-240 $lib";

const GUEST_IN_ORDER: &str = "umount -l /usr/lib/*-linux-gnu/systemd /etc; rm -f /usr/lib/*/libsystemd-shared-*.so; \
    systemctl stop multipathd.service udisks2.service; \
    rm -f /etc/modprobe.d/no-squashfs.conf; modprobe squashfs; \
    ip address replace 10.77.0.102/24 dev eth0; ip address delete 192.168.55.5/24 dev eth0; true";

const PLACES_IN_ORDER: &str = "systemctl stop squatter.socket squatter.service; umount /opt/shop; \
    rm -rf /opt/shop /etc/shop /etc/systemd/system/shop.service; systemctl reset-failed; true";

#[test]
fn what_is_in_the_way_inside_a_guest_is_named_and_nothing_is_begun() {
    let lab = Lab::take();
    let users = |uid: u32| {
        format!(
            "[ -e /run/passwd.before ] || cp /etc/passwd /run/passwd.before; cp /run/passwd.before /etc/passwd; \
             echo shopper:x:{uid}:{uid}::/nonexistent:/bin/false >>/etc/passwd"
        )
    };
    let _undo: Vec<_> = ["g1", "g2"]
        .map(|guest| lab.at_the_end(&["guest", guest, "--", "sh", "-c", USERS_AS_BEFORE]))
        .into();
    for guest in ["g1", "g2"] {
        lab.guest(guest, &users(3001)).ok();
    }
    deploy_shop(&lab);
    let sleeper = lab.sleeper("sleeper");
    assert_eq!(lab.obstacles("g2"), Vec::<String>::new());
    let (before, jobs, served) = (lab.witness("shop"), lab.job_ids(), answer(&lab));
    assert!(served.contains("guest=g1"), "{served}");

    // What keeps every service away: all of it at once, and all of it is told.
    {
        let _undo = lab.at_the_end(&["guest", "g2", "--", "sh", "-c", GUEST_IN_ORDER]);
        lab.guest(
            "g2",
            &format!(
                "set -e; {OLD_SYSTEMD}; \
             systemd-run --quiet --unit multipathd.service sleep infinity; \
             systemd-run --quiet --unit udisks2.service sleep infinity; \
             echo 'install squashfs /bin/false' >/etc/modprobe.d/no-squashfs.conf; rmmod squashfs; \
             mount --bind /etc /etc; mount -o remount,bind,ro /etc; \
             ip address add 192.168.55.5/24 dev eth0; ip address delete 10.77.0.102/24 dev eth0"
            ),
        )
        .ok();
        let expected = [
            "disk-claimed",
            "disk-claimed",
            "etc-read-only",
            "no-address",
            "no-squashfs",
            "systemd-too-old",
        ];
        assert_eq!(lab.obstacles("g2"), expected);
        let says = [
            "guest g2 will not do",
            "its systemd is 240; 241 or newer is needed",
            "its /etc is read-only",
            "its kernel cannot mount squashfs",
            "multipathd runs there and would claim the bundle disk",
            "udisks2 runs there and would claim the bundle disk",
            "it has no address inside the configured networks",
        ];
        lab.ctl(&["move", "shop", "g2", "--json"])
            .refusal()
            .is("Unsuitable", &says);
        lab.ctl(&["deploy", &sleeper, "--to", "g2", "--json"])
            .refusal()
            .is("Unsuitable", &says);
    }
    assert_eq!(lab.job_ids(), jobs);
    assert_eq!(lab.witness("shop"), before);

    // What keeps this service away, and what is never overwritten.
    {
        let _undo = lab.at_the_end(&["guest", "g2", "--", "sh", "-c", PLACES_IN_ORDER]);
        lab.guest(
            "g2",
            "set -e; cp /run/passwd.before /etc/passwd; mkdir -p /opt/shop /etc/shop; \
             mount -t tmpfs foreign /opt/shop; echo mine >/opt/shop/theirs; \
             echo theirs >/etc/shop/shop.conf; printf '[Service]\\nExecStart=/bin/true\\n' >/etc/systemd/system/shop.service; \
             systemd-run --quiet --unit squatter --socket-property=ListenStream=8088 sleep infinity",
        )
        .ok();
        assert_eq!(
            lab.obstacles("g2"),
            Vec::<String>::new(),
            "these keep only shop away"
        );
        let theirs = lab.witness("shop");
        lab.ctl(&["move", "shop", "g2", "--json"]).refusal().is(
            "Unsuitable",
            &[
                "port 8088 is in use there",
                "it has no user shopper",
                "/etc/systemd/system/shop.service is there and not ours; it is not overwritten",
                "foreign is mounted at the service's mount point",
                "the folder /opt/shop is there and not ours",
                "the file /etc/shop/shop.conf is there and not ours",
            ],
        );
        assert_eq!(lab.job_ids(), jobs);
        assert_eq!(lab.witness("shop"), theirs);
        assert_eq!(
            lab.guest("g2", "cat /opt/shop/theirs /etc/shop/shop.conf").ok(),
            "mine\ntheirs\n"
        );
    }

    // The table knows the uid where the service is.
    let jobs = lab.job_ids();
    lab.guest("g2", &users(3002)).ok();
    lab.ctl(&["move", "shop", "g2", "--json"]).refusal().is(
        "Unsuitable",
        &[
            "guest g2 will not do",
            "user shopper has uid 3002 there and 3001 on the source",
        ],
    );
    assert_eq!(lab.job_ids(), jobs);
    assert_eq!(lab.witness("shop"), before);
    assert_eq!(answer(&lab), served);

    // Nothing is left of all that: the same move is done now.
    lab.guest("g2", &users(3001)).ok();
    lab.ctl(&["move", "shop", "g2", "--drain", "0"]).ok();
    assert!(answer(&lab).contains("guest=g2"));
    assert_eq!(lab.guest("g2", "cat /etc/shop/shop.conf").ok(), "colour = red\n");
    lab.ctl(&["remove", "shop"]).ok();
}

/// In a guest: whoever connects to port 9 puts the agent in order, when nothing can be asked of it any more.
const WAY_BACK: &str = "cat >/run/agent-back <<'END'\n#!/bin/sh\n\
    systemctl stop agent-back.socket\nrm -f /etc/qemu/qemu-ga.conf\nsystemctl restart qemu-guest-agent\nEND\n\
    chmod 755 /run/agent-back; systemctl reset-failed agent-back.service agent-back.socket 2>/dev/null; \
    systemd-run --quiet --unit agent-back --socket-property=ListenStream=9 /run/agent-back";

#[test]
fn a_guest_whose_agent_is_silent_or_may_not_act_is_refused_with_the_way_out() {
    let lab = Lab::take();
    let sleeper = lab.sleeper("sleeper");
    lab.ctl(&["deploy", &sleeper, "--to", "g1"]).ok();
    let (before, jobs) = (lab.witness("sleeper"), lab.job_ids());
    let blocked = "mkdir -p /etc/qemu; printf '[general]\\nblacklist=guest-exec\\nblock-rpcs=guest-exec\\n' \
        >/etc/qemu/qemu-ga.conf; systemctl restart qemu-guest-agent";
    let cases = [
        (
            blocked,
            "agent-commands-disabled",
            vec![
                "its guest agent has guest-exec disabled",
                "/etc/qemu/qemu-ga.conf",
                "restart qemu-guest-agent",
            ],
        ),
        (
            "systemctl stop qemu-guest-agent",
            "no-agent",
            vec![
                "its guest agent does not answer",
                "install and start qemu-guest-agent in it",
            ],
        ),
    ];
    for (breaks, word, says) in cases {
        lab.guest("g2", WAY_BACK).ok();
        let back = lab.at_the_end(&[
            "exec",
            "client",
            "--",
            "bash",
            "-c",
            "exec 3<>/dev/tcp/10.77.0.102/9",
        ]);
        // The agent cannot restart itself and answer: systemd does it after the answer.
        lab.guest(
            "g2",
            &format!("systemd-run --quiet --on-active=0 sh -c \"$(cat <<'END'\n{breaks}\nEND\n)\""),
        )
        .ok();
        lab.wait_for(word, 60, || (lab.obstacles("g2") == [word]).then_some(()));
        lab.ctl(&["move", "sleeper", "g2", "--json"])
            .refusal()
            .is("Unsuitable", &says);
        assert_eq!(lab.job_ids(), jobs);
        drop(back);
        lab.wait_for("the agent is in order again", 60, || {
            lab.obstacles("g2").is_empty().then_some(())
        });
    }
    assert_eq!(lab.witness("sleeper"), before);
    lab.ctl(&["move", "sleeper", "g2"]).ok();
    lab.ctl(&["remove", "sleeper"]).ok();
}

#[test]
fn a_domain_that_will_not_do_is_refused_by_its_state_and_definition() {
    let lab = Lab::take();
    let sleeper = lab.sleeper("sleeper");
    lab.ctl(&["deploy", &sleeper, "--to", "g1"]).ok();
    // It has neither SCSI controller nor agent channel, and is never waited for.
    let _undo = lab.at_the_end(&["guest-undefine", "g9"]);
    lab.lab(&[
        "guest-define",
        "g9",
        "--host",
        "hv1",
        "--no-scsi",
        "--no-agent",
        "--no-start",
    ])
    .ok();
    let virsh = |line: &str| lab.exec("hv1", &["sh", "-c", line]).ok();
    let (before, jobs) = (lab.witness("sleeper"), lab.job_ids());
    let refused = |words: &[&str], says: &[&str]| {
        assert_eq!(lab.obstacles("g9"), words);
        lab.ctl(&["move", "sleeper", "g9", "--json"])
            .refusal()
            .is("Unsuitable", says);
    };
    let not_running = "it is not running (shutoff); start it first";
    let no_agent = "its guest agent does not answer";

    refused(&["not-running"], &["guest g9 will not do", not_running]);
    // Every free PCIe port is taken, until there is none.
    let fill =
        "virsh start g9 && while virsh attach-interface g9 bridge br0 --model virtio --live; do :; done 2>&1";
    let last = virsh(fill);
    assert!(last.contains("PCI"), "{last}");
    refused(
        &["no-agent", "no-scsi-slot"],
        &[
            no_agent,
            "no virtio-scsi controller and no free PCIe port",
            "model='virtio-scsi'",
        ],
    );
    virsh("virsh managedsave g9");
    refused(
        &["managed-save", "not-running"],
        &[
            "a managed-save image waits (`virsh managedsave-remove`, or start the guest)",
            not_running,
        ],
    );
    virsh("virsh managedsave-remove g9 && virsh start g9 && virsh undefine g9");
    refused(
        &["no-agent", "transient"],
        &[
            "the domain is transient",
            "define it with `virsh define`",
            no_agent,
        ],
    );
    assert_eq!(lab.job_ids(), jobs);
    assert_eq!(lab.witness("sleeper"), before);

    // One guest is controlled by one daemon, and its metadata says by which.
    let metadata =
        |half: &str, more: &str| format!("virsh metadata g2 --uri urn:handoverd:domain:1 --{half} {more}");
    let both = |more: &str| format!("{}; {}", metadata("config", more), metadata("live", more));
    {
        let free = both("--remove");
        let _undo = lab.at_the_end(&["exec", "hv1", "--", "sh", "-c", &free]);
        virsh(&both("--key handoverd --set \"<controller host='hv9'/>\""));
        assert_eq!(lab.obstacles("g2"), ["controlled-elsewhere"]);
        lab.ctl(&["move", "sleeper", "g2", "--json"])
            .refusal()
            .is("Unsuitable", &["the handoverd of host hv9 controls it"]);
    }
    lab.ctl(&["move", "sleeper", "g2"]).ok();
    for half in ["config", "live"] {
        let found = virsh(&metadata(half, ""));
        assert!(found.contains("host=\"hv1\""), "{half}: {found}");
    }
    lab.ctl(&["remove", "sleeper"]).ok();
}
