//! Bad input gets a clear error and loses nothing.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::lab::Lab;

/// A service whose unit starts unless /run/ID.broken is there, and whose check passes if /run/ID.fine is there.
#[track_caller]
pub fn fickle(lab: &Lab, id: &str, name: &str) -> String {
    let manifest = format!(
        "service = \"{id}\"\nversion = \"1\"\nunits = [\"{id}.service\"]\n\
         [check]\ncommand = [\"/bin/sh\", \"-c\", \"test -e /run/{id}.fine || {{ echo not fine; exit 1; }}\"]\n\
         interval = \"200ms\"\ntimeout = \"10s\"\nsuccesses = 1\n[dns]\nname = \"{name}\"\nttl = 1\n"
    );
    let unit = format!(
        "[Service]\nExecStart=/bin/sh -c '[ ! -e /run/{id}.broken ] || exit 1; exec sleep infinity'\n\
         [Install]\nWantedBy=multi-user.target\n"
    );
    lab.bundle(
        id,
        &[
            ("handover.toml", &manifest),
            (&format!("units/{id}.service"), &unit),
        ],
    )
}

/// Changes records of the zone, signed as the daemon signs.
#[track_caller]
pub fn nsupdate(lab: &Lab, lines: &str) {
    lab.exec("hv1", &["sh", "-c", &nsupdate_line(lines)]).ok();
}

fn nsupdate_line(lines: &str) -> String {
    format!(
        "nsupdate -y \"hmac-sha256:handoverd-key:$(cat /etc/handoverd/tsig/svc.lab.key)\" <<'END'\n\
         server 10.77.0.2\nzone svc.lab\n{lines}\nsend\nEND"
    )
}

#[test]
fn a_request_that_names_nothing_or_may_not_be_made_begins_no_job() {
    let lab = Lab::take();
    let image = lab.sleeper("sleeper");
    lab.ctl(&["deploy", &image, "--to", "g1"]).ok();
    let (before, jobs) = (lab.witness("sleeper"), lab.job_ids());
    let digest = "0123456789abcdef";
    let cases: [(&[&str], &str, &[&str]); 12] = [
        (
            &["move", "nothing", "g2"],
            "NoSuchObject",
            &[
                "\"nothing\" is neither a service nor a guest",
                "handoverctl services",
            ],
        ),
        (
            &["move", "sleeper", "g77"],
            "NoSuchGuest",
            &["\"g77\"", "`handoverctl guests` lists them"],
        ),
        (
            &["move", "sleeper", "10.77.0.99"],
            "NoSuchGuest",
            &["\"10.77.0.99\""],
        ),
        (
            &["move", "g1", "10.77.0.101"],
            "InvalidArgument",
            &["g1 itself", "least-loaded"],
        ),
        (
            &["move", "sleeper", "g2", "--partial"],
            "InvalidArgument",
            &["this is one service"],
        ),
        (
            &["start", "nothing"],
            "NoSuchService",
            &["\"nothing\"", "`handoverctl services` lists them"],
        ),
        (&["stop", "nothing"], "NoSuchService", &["\"nothing\""]),
        (&["remove", "nothing"], "NoSuchService", &["\"nothing\""]),
        (&["upgrade", "nothing", digest], "NoSuchService", &["\"nothing\""]),
        (
            &["upgrade", "sleeper", digest],
            "NoSuchBundle",
            &[digest, "`handoverctl bundle list`"],
        ),
        (&["deploy", digest, "--to", "g1"], "NoSuchBundle", &[digest]),
        (
            &["deploy", &image, "--to", "g2"],
            "AlreadyDeployed",
            &["sleeper is deployed already", "`handoverctl upgrade`"],
        ),
    ];
    for (arguments, name, says) in cases {
        lab.ctl(&[&["--json"], arguments].concat())
            .refusal()
            .is(name, says);
    }
    // Where it is already there is nothing to do: no error for people, a name for programs, and no job.
    for target in ["g1", "10.77.0.101"] {
        let already = lab.ctl(&["move", "sleeper", target]).ok();
        assert!(
            already.contains("already there: sleeper is already there: on g1"),
            "{already}"
        );
    }
    lab.call(&["Move", "ssa{sv}", "sleeper", "g1", "0"])
        .refused(1, "sleeper is already there: on g1");
    lab.call(&["Move", "ssa{sv}", "sleeper", "g2", "1", "colour", "s", "red"])
        .refused(1, "colour");

    // The user nobody may look, and no more.
    let nobody = |arguments: &[&str]| lab.ctl_as_nobody(arguments);
    assert!(nobody(&["services"]).ok().contains("sleeper"));
    let verbs: [(&[&str], &str); 6] = [
        (&["move", "sleeper", "g2"], "org.handoverd1.move"),
        (&["remove", "sleeper"], "org.handoverd1.remove"),
        (&["stop", "sleeper"], "org.handoverd1.stop"),
        (&["start", "sleeper"], "org.handoverd1.start"),
        (&["deploy", digest, "--to", "g2"], "org.handoverd1.deploy"),
        (&["upgrade", "sleeper", digest], "org.handoverd1.upgrade"),
    ];
    for (arguments, action) in verbs {
        let says = [
            "nobody may not",
            action,
            "root and members of group handoverd may",
        ];
        nobody(arguments).refusal().is("NotAuthorized", &says);
    }
    assert_eq!(lab.job_ids(), jobs);
    assert_eq!(lab.witness("sleeper"), before);
    lab.ctl(&["remove", "sleeper"]).ok();
}

/// A bundle folder with these files, made by hand.
pub fn folder(lab: &Lab, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = lab.scratch().join(name);
    for (path, content) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

/// A squashfs image of a folder that `handoverctl bundle build` would not make.
fn forged(folder: &Path) -> PathBuf {
    let image = folder.with_extension("forged");
    let made = Command::new("mksquashfs")
        .arg(folder)
        .arg(&image)
        .args(["-quiet", "-no-progress", "-all-root"])
        .output();
    let made = made.unwrap();
    assert!(made.status.success(), "{made:?}");
    image
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
}

#[test]
fn what_is_no_bundle_is_not_built_and_not_registered() {
    let lab = Lab::take();
    let kept = || {
        lab.exec(
            "hv1",
            &[
                "sh",
                "-c",
                "handoverctl bundle list --json; virsh vol-list handoverd",
            ],
        )
        .ok()
    };
    let good = lab.sleeper("sleeper");
    let (before, jobs) = (kept(), lab.job_ids());
    let unit = (
        "units/evil.service",
        "[Service]\nExecStart=/bin/sleep 1\n[Install]\nWantedBy=multi-user.target\n",
    );
    let manifest = |service: &str, unit: &str, more: &str| {
        format!("service = \"{service}\"\nversion = \"1\"\nunits = [\"{unit}\"]\n{more}")
    };
    let cases = [
        (
            "keys",
            manifest("evil", "evil.service", "colour = \"red\"\n"),
            "handover.toml line 4: unknown field `colour`",
        ),
        (
            "slash",
            manifest("evil", "../evil.service", ""),
            "handover.toml line 3: units: \"../evil.service\" is not valid",
        ),
        (
            "slashes",
            manifest("evil", "a/evil.service", ""),
            "handover.toml line 3: units: \"a/evil.service\" is not valid",
        ),
        (
            "leaves",
            manifest("../etc", "evil.service", ""),
            "handover.toml line 1: service: \"../etc\" is not valid",
        ),
        (
            "dots",
            manifest("..", "evil.service", ""),
            "handover.toml line 1: service: \"..\" is not valid",
        ),
        (
            "deep",
            manifest("evil/../../etc", "evil.service", ""),
            "handover.toml line 1: service: \"evil/../../etc\" is not",
        ),
        (
            "missing",
            String::new(),
            "has no handover.toml at its top; a bundle needs one",
        ),
    ];
    for (name, manifest, says) in &cases {
        let folder = match manifest.as_str() {
            "" => folder(&lab, name, &[unit]),
            text => folder(&lab, name, &[("handover.toml", text), unit]),
        };
        let image = lab.scratch().join(format!("{name}.built"));
        let built = Command::new(env!("CARGO_BIN_EXE_handoverctl"))
            .args(["bundle", "build"])
            .arg(&folder)
            .arg("-o")
            .arg(&image)
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&built.stderr).into_owned();
        assert_eq!(built.status.code(), Some(1), "{name}: {err}");
        assert!(err.contains(says), "{name}: {says:?} is not in {err:?}");
        assert!(!image.exists(), "{name}: an image was left");

        let forged = forged(&folder);
        let deploy = ["deploy", forged.to_str().unwrap(), "--to", "g1", "--json"];
        lab.ctl(&deploy).refusal().is("BadBundle", &[says]);
    }

    let whole = std::fs::read(&good).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = lab.scratch().join(name);
        File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    };
    let text = file("text.img", b"#!/bin/sh\necho not a bundle\n");
    let register = |path: &Path| {
        lab.ctl(&["bundle", "register", path.to_str().unwrap(), "--json"])
            .refusal()
    };
    register(&text).is(
        "BadBundle",
        &["no squashfs image; make one with `handoverctl bundle build`"],
    );
    // As it is when its sender was cut off: shorter than it says itself, and not of the digest that was told.
    // (Its superblock tells at byte 40 how long it is; what follows is padding.)
    let length = usize::try_from(u64::from_le_bytes(whole[40..48].try_into().unwrap())).unwrap();
    let half = file("half.img", &whole[..length - 1]);
    register(&half).is("BadBundle", &["the image is truncated", "copy it again"]);
    let told = lab
        .register(File::open(&half).unwrap(), &sha256(&whole))
        .unwrap_err();
    assert_eq!(told.0, "org.handoverd1.Error.BadBundle", "{told:?}");
    assert!(told.1.contains("truncated"), "{told:?}");
    // Whole, and another than was told.
    let told = lab
        .register(File::open(&good).unwrap(), &"0".repeat(64))
        .unwrap_err();
    assert_eq!(told.0, "org.handoverd1.Error.DigestMismatch", "{told:?}");
    assert!(
        told.1.contains(&sha256(&whole)) && told.1.contains("send it again"),
        "{told:?}"
    );
    let told = lab.register(File::open(&good).unwrap(), "../../etc").unwrap_err();
    assert_eq!(told.0, "org.handoverd1.Error.InvalidArgument", "{told:?}");

    assert_eq!(kept(), before, "nothing of it is in the table or in the pool");
    assert_eq!(lab.job_ids(), jobs);
    assert_eq!(
        lab.register(File::open(&good).unwrap(), &sha256(&whole)).unwrap(),
        sha256(&whole)
    );
}

#[test]
fn a_name_that_is_not_ours_is_left_alone_unless_it_is_taken_over() {
    let lab = Lab::take();
    let clean = "update delete alias.svc.lab\nupdate delete taken.svc.lab\nupdate delete theirs.svc.lab\n\
        update delete _handover.theirs.svc.lab\nupdate delete text.svc.lab\nupdate delete _handover.text.svc.lab";
    let _undo = lab.at_the_end(&["exec", "hv1", "--", "sh", "-c", &nsupdate_line(clean)]);
    let theirs = "g=7 host=hv9 guest=0a0b0c0d-0000-4000-8000-000000000009";
    nsupdate(
        &lab,
        &format!(
            "{clean}\nupdate add alias.svc.lab 5 CNAME ns.svc.lab.\nupdate add taken.svc.lab 5 A 10.77.0.250\n\
             update add theirs.svc.lab 5 A 10.77.0.251\nupdate add _handover.theirs.svc.lab 5 TXT \"{theirs}\"\n\
             update add text.svc.lab 5 A 10.77.0.252\nupdate add _handover.text.svc.lab 5 TXT \"hands off\""
        ),
    );
    let (before, jobs) = (lab.witness("named"), lab.job_ids());

    let outside = fickle(&lab, "named", "named.example.org");
    lab.ctl(&["deploy", &outside, "--to", "g1", "--json"])
        .refusal()
        .is(
            "NameOutsideZones",
            &["named.example.org is in no configured zone; add a [[dns.zone]] for it"],
        );
    assert_eq!(lab.job_ids(), jobs);

    let theirs_says = format!("the zone says 10.77.0.251, owner \"{theirs}\"");
    let cases: [(&str, &[&str], &str, &[&str]); 5] = [
        (
            "alias",
            &[],
            "NameIsAlias",
            &[
                "alias.svc.lab is a CNAME to ns.svc.lab.",
                "remove the CNAME first",
            ],
        ),
        (
            "alias",
            &["--take-over"],
            "NameIsAlias",
            &["remove the CNAME first"],
        ),
        (
            "taken",
            &[],
            "NameTaken",
            &["the zone says 10.77.0.250, no owner; deploy with `--take-over`"],
        ),
        (
            "theirs",
            &[],
            "NameTaken",
            &[&theirs_says, "deploy with `--take-over`"],
        ),
        (
            "text",
            &["--take-over"],
            "NameTaken",
            &[
                "_handover.text.svc.lab holds a text that is not ours",
                "hands off",
            ],
        ),
    ];
    for (name, more, error, says) in cases {
        let image = fickle(&lab, "named", &format!("{name}.svc.lab"));
        lab.ctl(&[&["deploy", &image, "--to", "g1", "--json"], more].concat())
            .failure()
            .is(error, says);
    }
    // A take-over that fails gives the name back to whom it belonged.
    let image = fickle(&lab, "named", "theirs.svc.lab");
    let take_over = ["deploy", &image, "--to", "g1", "--take-over", "--json"];
    lab.ctl(&take_over).failure().is("CheckFailed", &["not fine"]);
    assert_eq!(lab.witness("named"), before);

    let _fine = lab.at_the_end(&["guest", "g1", "--", "rm", "-f", "/run/named.fine"]);
    lab.guest("g1", "touch /run/named.fine").ok();
    lab.ctl(&take_over).ok();
    assert_eq!(lab.dig("theirs.svc.lab", "A"), ["10.77.0.101"]);
    let owner = lab.dig("_handover.theirs.svc.lab", "TXT");
    let guest = lab.service("named")["guest"].as_str().unwrap().to_owned();
    assert!(
        owner.len() == 1 && owner[0].contains(&guest) && !owner[0].contains("hv9"),
        "{owner:?}"
    );
    lab.ctl(&["remove", "named"]).ok();
}
