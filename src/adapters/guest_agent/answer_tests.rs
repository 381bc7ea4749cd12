use std::time::Duration;

use super::*;
use crate::model::disk::DiskSerial;
use crate::model::manifest::{Check, CheckProbe};
use crate::model::placement::WantsLink;

/// A small placement, for the tests of this module and its neighbours.
pub(in crate::adapters::guest_agent) fn web() -> Placement {
    let service: crate::model::ids::ServiceId = "web".parse().unwrap();
    let digest: crate::model::ids::Digest = "ab".repeat(32).parse().unwrap();
    let serial = DiskSerial::of(&service, &digest);
    let file = |path: &str, content: String| PlacedFile {
        path: path.to_owned(),
        content: content.into_bytes(),
        mode: 0o644,
        owner: "root".to_owned(),
        group: "root".to_owned(),
    };
    let marker = Placement::marker(&service);
    Placement {
        data: None,
        mount_point: "/opt/web".to_owned(),
        mount_unit: "opt-web.mount".to_owned(),
        unit_files: vec![
            file(
                "/etc/systemd/system.attached/web.service",
                format!("{marker}\n[Service]\n"),
            ),
            file(
                "/etc/systemd/system.attached/opt-web.mount",
                format!("{marker}\n[Mount]\n"),
            ),
        ],
        links: vec![WantsLink {
            path: format!("/etc/systemd/system/{}.wants/web.service", serial.device_unit()),
            target: "/etc/systemd/system.attached/web.service".to_owned(),
        }],
        units: vec!["web.service".parse().unwrap()],
        files: vec![file("/etc/web.conf", "a=b\n".to_owned())],
        user: Some("web".to_owned()),
        ports: vec![8080],
        check: Some(Check {
            probe: CheckProbe::Tcp("127.0.0.1".to_owned(), 8080),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
            successes: 1,
        }),
        service,
        digest,
        serial,
    }
}

fn step(text: &str) -> Result<Answer, InvalidAnswer> {
    parse_step(text, &web(), &Root::guest())
}

fn state(text: &str) -> CopyState {
    match step(text) {
        Ok(Answer::Done(state)) => *state,
        other => panic!("{other:?}"),
    }
}

/// Lines of sha256sum for every file of the placement, as it is wanted.
fn sums() -> String {
    let placement = web();
    placement
        .unit_files
        .iter()
        .chain(&placement.files)
        .map(|file| format!("sum={}  {}\n", sum(file), file.path))
        .collect()
}

#[test]
fn a_copy_that_is_up_is_told_whole() {
    let link = &web().links[0].path;
    let state = state(&format!(
        "device=yes\npresent=/opt/web\nlink={link}\npresent={link}\n{}uid=998\nmounted=/dev/sdb\nsource=ours\n\
         unit=web.service loaded active running\nunit=opt-web.mount loaded active mounted\nresult=done\n",
        sums()
    ));
    assert!(state.is_up() && state.device && state.mounted && state.installed && !state.files_differ);
    assert_eq!(state.present, ["/opt/web", link]);
    assert_eq!(
        (state.links, state.enablement, state.uid),
        (1, Enablement::Enabled, Some(998))
    );
}

#[test]
fn an_empty_guest_is_gone_and_down() {
    let state = state("source=none\nresult=done\n");
    assert!(state.is_gone() && state.is_down() && !state.installed && state.files_differ);
    assert_eq!(state.units[0].load, "not-loaded");
    assert_eq!(state.enablement, Enablement::Disabled);
}

#[test]
fn a_foreign_unit_of_the_same_name_never_counts_as_ours() {
    let up = "source=none\nunit=web.service loaded active running\nresult=done\n";
    assert!(
        state(up).is_up(),
        "what is left of ours without its file is still to be stopped"
    );
    let foreign = state(&format!("foreign_unit=/usr/lib/systemd/system/web.service\n{up}"));
    assert!(foreign.is_down() && foreign.is_gone());
    assert_eq!(foreign.units[0].load, "foreign");
}

#[test]
fn a_failed_unit_is_told_with_its_result() {
    let state = state(
        "source=none\nunit=web.service loaded failed failed\nunits=begin\nResult=start-limit-hit\nId=web.service\n\
         units=end\nresult=done\n",
    );
    assert!(state.has_failed());
    assert_eq!(state.units[0].result, "start-limit-hit");
}

#[test]
fn a_mask_outweighs_links_and_a_changed_file_is_seen() {
    let link = &web().links[0].path;
    let masked = state(&format!(
        "link={link}\nmask=web.service\n{}source=none\nresult=done\n",
        sums()
    ));
    assert_eq!(masked.enablement, Enablement::Masked);
    let wanted = sum(&web().files[0]).to_string();
    let changed = sums().replace(&wanted, &"0".repeat(64));
    let changed = state(&format!("{changed}source=none\nresult=done\n"));
    assert!(changed.installed && changed.files_differ);
    let unlinked = state(&format!("{}source=none\nresult=done\n", sums()));
    assert_eq!(
        (unlinked.enablement, unlinked.installed),
        (Enablement::Disabled, true)
    );
}

#[test]
fn sums_of_names_with_backslashes_are_read_escaped_and_plain() {
    let mut placement = web();
    placement.unit_files[1].path = "/etc/systemd/system.attached/opt-a\\x2db.mount".to_owned();
    let (web, mount) = (sum(&placement.unit_files[0]), sum(&placement.unit_files[1]));
    for line in [
        format!("sum=\\{mount}  /r/etc/systemd/system.attached/opt-a\\\\x2db.mount"),
        format!("sum={mount}  /r/etc/systemd/system.attached/opt-a\\x2db.mount"),
    ] {
        let root = Root {
            prefix: "/r".to_owned(),
            ..Root::guest()
        };
        let text = format!(
            "sum={web}  /r/etc/systemd/system.attached/web.service\n{line}\nsource=none\nresult=done\n"
        );
        match parse_step(&text, &placement, &root) {
            Ok(Answer::Done(state)) => assert!(state.installed && state.files_differ, "{line}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn other_ends_of_a_step_are_told_apart() {
    assert_eq!(
        step("seen=12\nresult=superseded\n"),
        Ok(Answer::Superseded { seen: 12 })
    );
    assert_eq!(step("result=busy\n"), Ok(Answer::Busy));
    assert_eq!(step("device=yes\nresult=silent\n"), Ok(Answer::Silent));
    assert_eq!(
        step("foreign_unit=/a\nforeign_unit=/a\nforeign_folder=/opt/web\nresult=foreign\n"),
        Ok(Answer::Foreign {
            paths: vec!["/a".to_owned(), "/opt/web".to_owned()]
        })
    );
    assert_eq!(
        step("why=/etc is full\u{1b}[2J\nresult=failed\n"),
        Ok(Answer::Failed {
            why: "/etc is full [2J".to_owned()
        })
    );
}

#[test]
fn an_answer_that_is_not_ours_is_refused() {
    let many = "present=/x\n".repeat(MAX_PRESENT + 1);
    let cases = [
        ("", "nothing"),
        ("result=done", "cut in its last line"),
        ("device=yes\n", "no result"),
        ("result=done\n", "no source"),
        ("result=done\nsource=none\n", "a result that is not last"),
        ("source=none\nresult=nonsense\n", "an unknown result"),
        ("source=none\nnoise\nresult=done\n", "a line without a key"),
        ("source=none\ncolour=red\nresult=done\n", "an unknown key"),
        ("source=none\nsource=ours\nresult=done\n", "a key told twice"),
        (
            "source=none\npresent=relative\nresult=done\n",
            "a path that is none",
        ),
        ("source=none\nuid=-1\nresult=done\n", "a uid that is none"),
        (
            "source=none\nuid=99999999999\nresult=done\n",
            "a uid that is too large",
        ),
        (
            "source=none\nunit=web.service loaded active\nresult=done\n",
            "a unit without a word",
        ),
        (
            "source=none\nsum=abc  /etc/web.conf\nresult=done\n",
            "a short sum",
        ),
        (
            "source=none\nunits=begin\nId=web.service\nresult=done\n",
            "a section without an end",
        ),
        (
            "source=none\nunits=begin\nFoo=1\nunits=end\nresult=done\n",
            "an unknown property",
        ),
        ("seen=x\nresult=superseded\n", "an attempt that is none"),
        ("result=superseded\n", "no attempt"),
        (many.as_str(), "too much"),
    ];
    for (text, why) in cases {
        assert!(step(text).is_err(), "{why}");
    }
}

#[test]
fn a_probe_is_read_strictly() {
    let text = "systemd=systemd 257 (257.2-1)\nmachine=x86_64\netc=writable\nsquashfs=yes\nuid=7\nmounted=tmpfs\n\
                source=other\nlisten=   0: 00000000:1F90 00000000:0000 0A 0\nlisten= 1: 00000000:0016 00000000:0000 0A\n\
                unit=multipathd.service loaded active running\nunit=udisks2.service loaded inactive dead\n\
                foreign_unit=/lib/systemd/system/web.service\nforeign_folder=/opt/web\nforeign_file=/etc/web.conf\n\
                missing=flock\nresult=done\n";
    let report = parse_probe(text, &web()).unwrap();
    assert_eq!(report.systemd, 257);
    assert!(report.etc_writable && report.squashfs && report.foreign_folder);
    assert_eq!(report.ports_in_use, [8080], "only ports that the service wants");
    assert_eq!(report.claimers, ["multipathd"]);
    assert_eq!(report.foreign_mount.as_deref(), Some("tmpfs"));
    assert_eq!(report.foreign_units, ["/lib/systemd/system/web.service"]);
    assert_eq!(report.missing_tools, ["flock"]);
    for (from, to) in [
        ("systemd 257", "upstart 1"),
        ("00000000:1F90", "nonsense"),
        ("etc=writable\n", ""),
        ("result=done", "result=failed"),
    ] {
        assert!(parse_probe(&text.replace(from, to), &web()).is_err(), "{to:?}");
    }
}
