//! The scripts themselves, run by real shells in a scratch root with a stand-in for systemctl.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use handoverd::adapters::guest_agent::answer::{Answer, parse_probe, parse_step};
use handoverd::adapters::guest_agent::script::{self, Root};
use handoverd::adapters::guest_agent::{check, protocol};
use handoverd::model::disk::DiskSerial;
use handoverd::model::guest::CopyState;
use handoverd::model::ids::{Attempt, Digest, ServiceId};
use handoverd::model::life::Enablement;
use handoverd::model::manifest::{Check, CheckProbe};
use handoverd::model::placement::{PlacedFile, Placement, WantsLink};
use handoverd::model::unit::{UnitName, escape_path};
use handoverd::ports::GuestStep;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);
const DISK: &[u8] = b"squashfs";

/// A stand-in for systemctl: remembers its calls, knows which units are active, tells them as `show` does.
const SYSTEMCTL: &str = r#"#!/bin/sh
state=$FAKE_STATE
printf '%s\n' "$*" >>"$state/calls"
verb=$1; shift
case $verb in
--version) echo 'systemd 252 (252.38-1~deb12u1)'; echo '+PAM' ;;
daemon-reload) : >"$state/reloaded" ;;
start) shift; for unit; do
    [ "$unit" != "$(cat "$state/refuses" 2>/dev/null)" ] || exit 1
    : >"$state/active.$unit"; done
    mount=$(cat "$state/mount"); : >"$state/active.$mount" ;;
stop) shift; for unit; do
    [ "$unit" = "$(cat "$state/clings" 2>/dev/null)" ] || rm -f "$state/active.$unit"; done ;;
reset-failed) ;;
show)
    properties=$2; shift 3; first=yes
    for unit; do
        [ -n "$first" ] || echo
        first=
        case $unit in *@?*.*) file=${unit%%@*}@.${unit##*.} ;; *) file=$unit ;; esac
        fragment= load=not-found
        for dir in /usr/lib/systemd/system /etc/systemd/system.attached /etc/systemd/system; do
            [ -e "$FAKE_ROOT$dir/$file" ] && fragment=$dir/$file load=loaded
            [ "$FAKE_ROOT$dir/$unit" -ef /dev/null ] && fragment=$dir/$unit load=masked
        done
        active=inactive sub=dead
        [ -e "$state/active.$unit" ] && active=active sub=running
        case $unit in *.mount) printf 'What=%s\nResult=success\n' "$(cat "$state/what" 2>/dev/null)" ;; esac
        case $unit in *.service) echo Result=success ;; esac
        reload=no
        [ -e "$state/stale" ] && [ ! -e "$state/reloaded" ] && reload=yes
        printf 'Id=%s\nLoadState=%s\nActiveState=%s\nSubState=%s\nFragmentPath=%s\nUnitFileState=\nNeedDaemonReload=%s\n' \
            "$unit" "$load" "$active" "$sub" "$fragment" "$reload"
    done ;;
*) exit 64 ;;
esac
"#;

/// A guest without a machine: a scratch root, a shell, a stand-in for systemd.
struct Fake {
    dir: TempDir,
    shell: Vec<String>,
}

impl Fake {
    fn new(shell: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let fake = Self {
            dir,
            shell: shell.iter().map(|word| (*word).to_owned()).collect(),
        };
        for folder in [
            "bin",
            "state",
            "root/etc/systemd/system",
            "root/usr/lib/systemd/system",
            "root/opt",
            "root/proc/net",
            "root/run",
        ] {
            fs::create_dir_all(fake.dir.path().join(folder)).unwrap();
        }
        let systemctl = fake.dir.path().join("bin/systemctl");
        fs::write(&systemctl, SYSTEMCTL).unwrap();
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(fake.at("/proc/filesystems"), "nodev\tproc\n\text4\n\tsquashfs\n").unwrap();
        fake
    }

    /// A guest's path in the scratch root.
    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(format!("root{path}"))
    }

    fn state(&self, name: &str) -> PathBuf {
        self.dir.path().join("state").join(name)
    }

    fn root(&self) -> Root {
        Root {
            prefix: self.at("").to_str().unwrap().trim_end_matches('/').to_owned(),
            path: format!("{}/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.dir.path().display()),
        }
    }

    fn run(&self, script: &str) -> String {
        let mut child = Command::new(&self.shell[0])
            .args(&self.shell[1..])
            .arg("-s")
            .env("FAKE_STATE", self.dir.path().join("state"))
            .env("FAKE_ROOT", self.at("").to_str().unwrap().trim_end_matches('/'))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let (out, err) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        assert!(output.status.success(), "{:?}\n{out}\n{err}", output.status);
        assert!(!err.contains("not found") && !err.contains("yntax"), "{err}");
        out
    }

    fn attach(&self, placement: &Placement) {
        let link = self.at(&placement.serial.device_path());
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let disk = self.at("/dev/sdb");
        fs::write(&disk, DISK).unwrap();
        symlink(&disk, &link).unwrap();
        fs::write(self.state("what"), disk.to_str().unwrap()).unwrap();
        fs::write(self.state("mount"), &placement.mount_unit).unwrap();
    }

    fn answer(&self, placement: &Placement, step: GuestStep, attempt: u64) -> Answer {
        let script = script::act(&self.root(), placement, step, Attempt(attempt), DEADLINE).unwrap();
        let text = self.run(&script);
        parse_step(&text, placement, &self.root()).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    fn act(&self, placement: &Placement, step: GuestStep, attempt: u64) -> CopyState {
        match self.answer(placement, step, attempt) {
            Answer::Done(state) => *state,
            other => panic!("{step:?}: {other}"),
        }
    }

    fn look(&self, placement: &Placement) -> CopyState {
        let text = self.run(&script::look(&self.root(), placement).unwrap());
        match parse_step(&text, placement, &self.root()).unwrap_or_else(|error| panic!("{error}\n{text}")) {
            Answer::Done(state) => *state,
            other => panic!("{other}"),
        }
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.state("calls")).unwrap_or_default();
        fs::write(self.state("calls"), "").unwrap();
        text.lines()
            .filter(|line| !line.starts_with("show"))
            .map(str::to_owned)
            .collect()
    }

    /// Every path below the root with what tells a change: content, mode, target, inode.
    fn tree(&self) -> Vec<String> {
        fn walk(dir: &Path, top: &Path, out: &mut Vec<String>) {
            let mut entries: Vec<PathBuf> = fs::read_dir(dir)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            entries.sort();
            for path in entries {
                let meta = fs::symlink_metadata(&path).unwrap();
                let name = path.strip_prefix(top).unwrap().display().to_string();
                if name.starts_with("run/handoverd") {
                    continue;
                }
                let what = if meta.is_symlink() {
                    fs::read_link(&path).unwrap().display().to_string()
                } else if meta.is_file() {
                    format!("{} {:?}", meta.ino(), fs::read(&path).unwrap())
                } else {
                    String::new()
                };
                out.push(format!("{name} {:o} {what}", meta.mode()));
                if meta.is_dir() {
                    walk(&path, top, out);
                }
            }
        }
        let mut out = Vec::new();
        walk(&self.at("/"), &self.at("/"), &mut out);
        out
    }
}

/// A service whose files have the given names; `files` are config files.
fn placement(service: &str, units: &[&str], files: &[(&str, &[u8], u32)]) -> Placement {
    let service: ServiceId = service.parse().unwrap();
    let digest: Digest = "ab".repeat(32).parse().unwrap();
    let serial = DiskSerial::of(&service, &digest);
    let mount_point = format!("/opt/{service}");
    let mount_unit = format!("{}.mount", escape_path(&mount_point));
    let units: Vec<UnitName> = units.iter().map(|unit| unit.parse().unwrap()).collect();
    let marker = Placement::marker(&service);
    let attached = "/etc/systemd/system.attached";
    let root_file = |path: String, content: Vec<u8>, mode| PlacedFile {
        path,
        content,
        mode,
        owner: "root".to_owned(),
        group: "root".to_owned(),
    };
    let mut names: Vec<String> = units.iter().map(UnitName::file_name).collect();
    names.dedup();
    let mut unit_files: Vec<PlacedFile> = names
        .iter()
        .map(|name| {
            root_file(
                format!("{attached}/{name}"),
                format!("{marker}\n[Unit]\nDescription=it's \\x2d \"{name}\" $HOME `id` %n\n").into_bytes(),
                0o644,
            )
        })
        .collect();
    // Not the first, to see that it is written first all the same.
    unit_files.push(root_file(
        format!("{attached}/{mount_unit}"),
        format!(
            "{marker}\n[Mount]\nWhat={}\nWhere={mount_point}\n",
            serial.device_path()
        )
        .into_bytes(),
        0o644,
    ));
    let links = units
        .iter()
        .map(|unit| WantsLink {
            path: format!("/etc/systemd/system/{}.wants/{unit}", serial.device_unit()),
            target: format!("{attached}/{}", unit.file_name()),
        })
        .collect();
    Placement {
        digest,
        mount_point,
        mount_unit,
        unit_files,
        links,
        units,
        files: files
            .iter()
            .map(|(path, content, mode)| root_file((*path).to_owned(), content.to_vec(), *mode))
            .collect(),
        user: None,
        ports: vec![8080],
        check: None,
        serial,
        service,
    }
}

const CONFIG: &[(&str, &[u8], u32)] = &[
    ("/etc/web/conf.d/it's.conf", b"listen = '8080' \\n $(id)\n", 0o640),
    ("/etc/web/key", b"\x00\xff\x01secret without newline", 0o600),
    ("/etc/web.empty", b"", 0o755),
];

fn web() -> Placement {
    placement("web", &["web.service"], CONFIG)
}

/// The names that bite.
fn odd() -> Placement {
    placement(
        "my-app.v2",
        &[
            "my-app.v2.service",
            "api@1.service",
            "api@2.service",
            "my-app.v2.socket",
            "clean-up.timer",
            "x\\x2dy.service",
        ],
        CONFIG,
    )
}

fn shells() -> Vec<Vec<&'static str>> {
    let mut shells = vec![vec!["dash"], vec!["bash", "--posix"]];
    if Path::new("/bin/busybox").exists() || Path::new("/usr/bin/busybox").exists() {
        shells.push(vec!["busybox", "sh"]);
    }
    shells.retain(|shell| Command::new(shell[0]).arg("--help").output().is_ok());
    assert!(!shells.is_empty(), "no shell to run the scripts with");
    shells
}

fn in_each_shell(test: impl Fn(Fake)) {
    for shell in shells() {
        eprintln!("in {shell:?}");
        test(Fake::new(&shell));
    }
}

#[test]
fn a_copy_is_installed_linked_started_stopped_and_removed_without_a_trace() {
    in_each_shell(|fake| {
        for placement in [web(), odd()] {
            fs::remove_file(fake.state("what")).ok();
            let before = fake.tree();
            assert!(fake.look(&placement).is_gone());
            assert_eq!(fake.tree(), before, "a look changes nothing");

            let state = fake.act(&placement, GuestStep::Install, 1);
            assert!(
                state.installed && !state.files_differ && !state.device && !state.mounted,
                "{state:?}"
            );
            assert_eq!((state.links, state.enablement), (0, Enablement::Disabled));
            assert!(state.is_down() && !state.is_gone());
            for file in placement.unit_files.iter().chain(&placement.files) {
                let meta = fs::metadata(fake.at(&file.path)).unwrap();
                assert_eq!(
                    fs::read(fake.at(&file.path)).unwrap(),
                    file.content,
                    "{}",
                    file.path
                );
                assert_eq!(meta.mode() & 0o7777, file.mode, "{}", file.path);
            }
            assert_eq!(
                fake.calls(),
                Vec::<String>::new(),
                "nothing is started and nothing reloaded"
            );

            let state = fake.act(&placement, GuestStep::Link(Enablement::Enabled), 1);
            assert_eq!(usize::try_from(state.links).unwrap(), placement.units.len());
            assert_eq!(state.enablement, Enablement::Enabled);

            fake.attach(&placement);
            let state = fake.act(&placement, GuestStep::Start, 1);
            assert!(state.is_up() && state.mounted && state.device, "{state:?}");
            assert_eq!(fake.look(&placement), state, "a step's answer is a look");

            let state = fake.act(&placement, GuestStep::Stop, 1);
            assert!(
                state.is_down() && !state.mounted && state.installed && state.links == 0,
                "{state:?}"
            );

            let state = fake.act(&placement, GuestStep::Uninstall, 1);
            assert!(state.is_gone() && !state.installed, "{state:?}");
            fs::remove_dir_all(fake.at("/dev")).unwrap();
            let after: Vec<String> = fake
                .tree()
                .into_iter()
                .filter(|line| !line.starts_with("etc/systemd/system.attached 4"))
                .collect();
            assert_eq!(
                after,
                before
                    .iter()
                    .filter(|line| !line.starts_with("etc/systemd/system.attached 4"))
                    .cloned()
                    .collect::<Vec<_>>()
            );
            fake.calls();
        }
    });
}

#[test]
fn a_step_that_is_repeated_changes_nothing() {
    in_each_shell(|fake| {
        let placement = odd();
        fake.attach(&placement);
        let steps = [
            GuestStep::Install,
            GuestStep::Link(Enablement::Enabled),
            GuestStep::Link(Enablement::Disabled),
            GuestStep::Link(Enablement::Masked),
            GuestStep::Link(Enablement::Enabled),
            GuestStep::Start,
            GuestStep::Stop,
            GuestStep::Uninstall,
        ];
        for (attempt, step) in (1..).zip(steps) {
            let once = fake.act(&placement, step, attempt);
            let tree = fake.tree();
            assert_eq!(fake.act(&placement, step, attempt), once, "{step:?}");
            assert_eq!(fake.tree(), tree, "{step:?}");
        }
    });
}

#[test]
fn a_late_attempt_touches_nothing() {
    in_each_shell(|fake| {
        let placement = web();
        fake.act(&placement, GuestStep::Install, 9);
        let tree = fake.tree();
        fake.calls();
        for step in [
            GuestStep::Install,
            GuestStep::Link(Enablement::Enabled),
            GuestStep::Link(Enablement::Masked),
            GuestStep::Start,
            GuestStep::Stop,
            GuestStep::Uninstall,
        ] {
            assert_eq!(
                fake.answer(&placement, step, 8),
                Answer::Superseded { seen: 9 },
                "{step:?}"
            );
        }
        assert_eq!(fake.tree(), tree);
        assert_eq!(fake.calls(), Vec::<String>::new());
        assert!(
            fake.act(&placement, GuestStep::Install, 10).installed,
            "10 comes after 9"
        );
        assert_eq!(
            fake.answer(&placement, GuestStep::Uninstall, 9),
            Answer::Superseded { seen: 10 }
        );
        // The attempt outlives the copy.
        fake.act(&placement, GuestStep::Uninstall, 11);
        assert_eq!(
            fake.answer(&placement, GuestStep::Install, 10),
            Answer::Superseded { seen: 11 }
        );
    });
}

#[test]
fn what_is_foreign_is_neither_overwritten_nor_removed_nor_stopped() {
    let cases: [(&str, &str); 8] = [
        ("/etc/systemd/system/web.service", "[Service]\n"),
        ("/etc/systemd/system.attached/web.service", "[Service]\n"),
        ("/run/systemd/system/web.service", "[Service]\n"),
        ("/usr/lib/systemd/system/web.service", "[Service]\n"),
        ("/run/systemd/generator/opt-web.mount", "[Mount]\n"),
        (
            "/usr/lib/systemd/system/opt-web.mount",
            "# Placed by handoverd for service other; do not edit, use drop-ins.\n",
        ),
        ("/opt/web/somebodys", "file\n"),
        ("/etc/web/key", "somebody's\n"),
    ];
    in_each_shell(|fake| {
        for (attempt, (path, content)) in (1..).zip(cases) {
            fake.calls();
            let placement = web();
            fs::create_dir_all(fake.at(path).parent().unwrap()).unwrap();
            fs::write(fake.at(path), content).unwrap();
            fs::write(fake.state("active.web.service"), "").unwrap();
            let tree = fake.tree();
            let named = if path.starts_with("/opt") {
                "/opt/web"
            } else {
                path
            };
            match fake.answer(&placement, GuestStep::Install, attempt) {
                Answer::Foreign { paths } => assert!(paths.contains(&named.to_owned()), "{path}: {paths:?}"),
                other => panic!("{path}: {other}"),
            }
            let report = parse_probe(
                &fake.run(&script::probe(&fake.root(), &placement).unwrap()),
                &placement,
            )
            .unwrap();
            assert_eq!(
                report.foreign_units,
                if path.contains("/systemd/") {
                    vec![path]
                } else {
                    vec![]
                }
            );
            assert_eq!(report.foreign_folder, path.starts_with("/opt"));
            assert_eq!(
                report.foreign_files,
                if path.starts_with("/etc/web") {
                    vec![path]
                } else {
                    vec![]
                }
            );
            // The undo of a stage that was refused.
            for step in [
                GuestStep::Start,
                GuestStep::Stop,
                GuestStep::Link(Enablement::Masked),
                GuestStep::Uninstall,
            ] {
                let state = fake.act(&placement, step, attempt);
                assert!(
                    state.is_gone() || !path.contains("web.service"),
                    "{path}: {state:?}"
                );
                assert!(state.present.is_empty(), "{path}: {state:?}");
            }
            assert_eq!(fake.tree(), tree, "{path}");
            assert!(!fake.calls().iter().any(|call| call.starts_with("st")), "{path}");
            fs::remove_file(fake.at(path)).unwrap();
            fs::remove_dir(fake.at("/opt/web")).ok();
            fs::remove_dir(fake.at("/etc/web")).ok();
        }
    });
}

#[test]
fn masks_are_made_and_taken_away_and_an_operators_file_is_left_alone() {
    in_each_shell(|fake| {
        let placement = web();
        let mask = fake.at("/etc/systemd/system/web.service");
        symlink("/dev/null", &mask).unwrap();
        assert_eq!(
            fake.act(&placement, GuestStep::Link(Enablement::Enabled), 1)
                .enablement,
            Enablement::Disabled
        );
        assert!(mask.is_symlink(), "without a copy of ours the mask is not ours");
        let state = fake.act(&placement, GuestStep::Install, 1);
        assert_eq!(
            state.enablement,
            Enablement::Masked,
            "an operator's mask is kept until the link step"
        );
        assert_eq!(
            fake.act(&placement, GuestStep::Link(Enablement::Enabled), 1)
                .enablement,
            Enablement::Enabled
        );
        assert!(!mask.is_symlink());
        let state = fake.act(&placement, GuestStep::Link(Enablement::Masked), 1);
        assert_eq!((state.enablement, state.links), (Enablement::Masked, 0));
        assert_eq!(fs::read_link(&mask).unwrap(), Path::new("/dev/null"));
        assert!(
            state
                .present
                .contains(&"/etc/systemd/system/web.service".to_owned()),
            "{state:?}"
        );
        assert!(fake.act(&placement, GuestStep::Uninstall, 2).is_gone());
        assert!(!mask.is_symlink());

        fake.act(&placement, GuestStep::Install, 3);
        fs::write(&mask, "[Service]\n").unwrap();
        let state = fake.act(&placement, GuestStep::Link(Enablement::Masked), 3);
        assert_eq!(state.enablement, Enablement::Disabled);
        fake.act(&placement, GuestStep::Uninstall, 4);
        assert_eq!(fs::read_to_string(&mask).unwrap(), "[Service]\n");
    });
}

#[test]
fn an_upgrade_in_place_reloads_once_and_leaves_nothing_of_the_old_behind() {
    in_each_shell(|fake| {
        let mut old = placement("web", &["web.service", "extra.service"], CONFIG);
        let new_digest: Digest = "cd".repeat(32).parse().unwrap();
        fake.act(&old, GuestStep::Install, 1);
        fake.act(&old, GuestStep::Link(Enablement::Enabled), 1);
        let old_link = fake.at(&old.links[1].path);
        assert!(old_link.is_symlink());
        fake.calls();

        let mut new = placement("web", &["web.service"], &CONFIG[..1]);
        new.serial = DiskSerial::of(&new.service, &new_digest);
        new.digest = new_digest;
        new.links[0].path = format!(
            "/etc/systemd/system/{}.wants/web.service",
            new.serial.device_unit()
        );
        new.unit_files[0].content.extend(b"# changed\n");
        assert!(!fake.look(&new).installed);
        fs::write(fake.state("stale"), "").unwrap();
        let state = fake.act(&new, GuestStep::Install, 2);
        assert!(state.installed && state.links == 0, "{state:?}");
        assert_eq!(fake.calls(), ["daemon-reload"]);
        assert!(
            !old_link.is_symlink(),
            "the old bundle's disk must not start anything"
        );
        fake.act(&new, GuestStep::Install, 2);
        assert_eq!(fake.calls(), Vec::<String>::new());

        // What the new bundle does not bring any more goes with it all the same.
        assert!(fake.at("/etc/web/key").exists());
        let state = fake.act(&new, GuestStep::Uninstall, 3);
        assert!(state.is_gone(), "{state:?}");
        assert!(
            !fake.at("/etc/web").exists() && !fake.at("/etc/systemd/system.attached/extra.service").exists()
        );
        old.user = None;
        assert!(fake.look(&old).is_gone());
    });
}

#[test]
fn a_unit_that_does_not_stop_keeps_its_files() {
    in_each_shell(|fake| {
        let placement = web();
        fake.act(&placement, GuestStep::Install, 1);
        fake.attach(&placement);
        fake.act(&placement, GuestStep::Start, 1);
        fs::write(fake.state("clings"), "web.service").unwrap();
        let state = fake.act(&placement, GuestStep::Uninstall, 2);
        assert!(
            state.installed && !state.is_down() && !state.is_gone(),
            "{state:?}"
        );
        fs::remove_file(fake.state("clings")).unwrap();
        assert!(fake.act(&placement, GuestStep::Uninstall, 2).is_gone());
    });
}

#[test]
fn sockets_and_timers_are_stopped_before_what_they_start_and_the_mount_last() {
    let fake = Fake::new(&["dash"]);
    let placement = odd();
    fake.act(&placement, GuestStep::Install, 1);
    fake.attach(&placement);
    fake.act(&placement, GuestStep::Start, 1);
    assert_eq!(
        fake.calls(),
        [
            "start -- my-app.v2.service api@1.service api@2.service my-app.v2.socket clean-up.timer x\\x2dy.service"
        ]
    );
    fake.act(&placement, GuestStep::Stop, 1);
    assert_eq!(
        fake.calls(),
        [
            "stop -- my-app.v2.socket clean-up.timer my-app.v2.service api@1.service api@2.service x\\x2dy.service api@*.service opt-my\\x2dapp.v2.mount"
        ]
    );
}

#[test]
fn a_unit_that_does_not_start_is_told_as_it_is() {
    in_each_shell(|fake| {
        let placement = web();
        fake.act(&placement, GuestStep::Install, 1);
        fake.attach(&placement);
        fs::write(fake.state("refuses"), "web.service").unwrap();
        let state = fake.act(&placement, GuestStep::Start, 1);
        assert!(!state.is_up() && !state.mounted, "{state:?}");
    });
}

#[test]
fn a_held_lock_is_waited_for_and_then_reported() {
    let fake = Fake::new(&["dash"]);
    let placement = web();
    fake.act(&placement, GuestStep::Install, 1);
    let lock = fs::File::open(fake.at("/run/handoverd/web.lock")).unwrap();
    lock.lock().unwrap();
    let script = script::act(
        &fake.root(),
        &placement,
        GuestStep::Uninstall,
        Attempt(2),
        Duration::from_secs(4),
    )
    .unwrap();
    assert_eq!(
        parse_step(&fake.run(&script), &placement, &fake.root()),
        Ok(Answer::Busy)
    );
    assert!(fake.look(&placement).installed);
}

#[test]
fn what_power_cuts_leave_behind_is_recognised_as_ours() {
    in_each_shell(|fake| {
        let placement = web();
        fake.act(&placement, GuestStep::Install, 1);
        let unit = fake.at("/etc/systemd/system.attached/web.service");
        fs::write(&unit, "").unwrap();
        fs::remove_file(fake.at("/etc/systemd/system.attached/handoverd-web.placed")).unwrap();
        let state = fake.look(&placement);
        assert!(
            !state.installed && state.present.contains(&"/opt/web".to_owned()),
            "{state:?}"
        );
        let state = fake.act(&placement, GuestStep::Install, 1);
        assert!(state.installed && !state.files_differ, "{state:?}");
        assert!(fake.act(&placement, GuestStep::Uninstall, 1).is_gone());
        assert!(!fake.at("/opt/web").exists());
    });
}

#[test]
fn a_mount_point_with_somebodys_files_in_it_stays() {
    in_each_shell(|fake| {
        let placement = web();
        fake.act(&placement, GuestStep::Install, 1);
        fs::write(fake.at("/opt/web/note"), "mine").unwrap();
        assert!(fake.act(&placement, GuestStep::Uninstall, 1).is_gone());
        assert_eq!(fs::read_to_string(fake.at("/opt/web/note")).unwrap(), "mine");
    });
}

#[test]
fn a_script_that_arrives_cut_does_nothing() {
    let fake = Fake::new(&["dash"]);
    let placement = web();
    let script = script::act(&fake.root(), &placement, GuestStep::Install, Attempt(1), DEADLINE).unwrap();
    let tree = fake.tree();
    for cut in (0..script.len() - 30).step_by(97) {
        let mut child = Command::new("dash")
            .arg("-s")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A shell that met a syntax error hangs up early.
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), &script.as_bytes()[..cut]).ok();
        child.wait().unwrap();
        assert_eq!(fake.tree(), tree, "cut at {cut}");
    }
    assert!(!fake.at("/run/handoverd").exists());
}

#[test]
fn a_probe_tells_what_is_there() {
    in_each_shell(|fake| {
        let mut placement = web();
        placement.user = Some("root".to_owned());
        placement.ports = vec![8080, 80, 443];
        let socket = |port: &str, state: &str| {
            format!(
                "   0: 00000000:{port} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
            )
        };
        fs::write(
            fake.at("/proc/net/tcp"),
            format!(
                "  sl  local_address rem_address st\n{}{}{}",
                socket("1F90", "0A"),
                socket("0050", "01"),
                socket("0016", "0A")
            ),
        )
        .unwrap();
        let six =
            "   0: 00000000000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 0 0\n";
        fs::write(fake.at("/proc/net/tcp6"), six).unwrap();
        fs::write(fake.state("active.udisks2.service"), "").unwrap();
        placement.check = Some(Check {
            probe: CheckProbe::Command(vec!["/usr/bin/no such".to_owned()]),
            interval: Duration::ZERO,
            timeout: DEADLINE,
            successes: 1,
        });
        let probe = || {
            parse_probe(
                &fake.run(&script::probe(&fake.root(), &placement).unwrap()),
                &placement,
            )
            .unwrap()
        };
        let report = probe();
        assert_eq!(report.systemd, 252);
        assert!(report.squashfs && report.etc_writable && !report.machine.is_empty());
        assert_eq!(report.uid, Some(0));
        assert_eq!(report.ports_in_use, [8080, 443]);
        assert_eq!(report.claimers, ["udisks2"]);
        assert_eq!(report.missing_tools, ["/usr/bin/no such"]);
        assert!(report.foreign_units.is_empty() && !report.foreign_folder && report.foreign_mount.is_none());
        // Somebody's mount: of a device, or of what is none; not the leftover of a disk of ours that was pulled.
        fs::write(fake.state("active.opt-web.mount"), "").unwrap();
        for (what, foreign) in [
            ("/dev/null", true),
            ("tmpfs", true),
            ("server:/export", true),
            ("/dev/sdzz", false),
        ] {
            fs::write(fake.state("what"), what).unwrap();
            assert_eq!(probe().foreign_mount, foreign.then(|| what.to_owned()));
        }
        fs::remove_file(fake.state("what")).unwrap();
        fs::remove_file(fake.state("active.opt-web.mount")).unwrap();
        // Ports that our own copy holds are not in the way.
        fake.act(&placement, GuestStep::Install, 1);
        fs::write(fake.state("active.web.service"), "").unwrap();
        assert!(probe().ports_in_use.is_empty());
    });
}

#[test]
fn a_check_says_why_it_did_not_pass() {
    in_each_shell(|fake| {
        let command =
            |words: &[&str]| CheckProbe::Command(words.iter().map(|word| (*word).to_owned()).collect());
        let ask = |probe: &CheckProbe| {
            let text = fake.run(&check::render(&fake.root(), probe, Duration::from_secs(3)).unwrap());
            check::parse(&text, probe).unwrap_or_else(|error| panic!("{error}\n{text}"))
        };
        assert_eq!(ask(&command(&["true"])), Ok(()));
        assert_eq!(
            ask(&command(&["test", "it's $HOME `id`", "=", "it's $HOME `id`"])),
            Ok(())
        );
        assert_eq!(
            ask(&command(&[
                "sh",
                "-c",
                "echo said=x; echo result=done >&2; exit 3"
            ])),
            Err("sh exited with 3: said=x result=done".to_owned())
        );
        assert_eq!(
            ask(&command(&["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x"])),
            Ok(()),
            "much output is no failure"
        );
        let long = ask(&command(&[
            "sh",
            "-c",
            "head -c 1000000 /dev/zero | tr '\\0' x; exit 1",
        ]))
        .unwrap_err();
        assert!(long.len() < 300, "{}", long.len());
        assert!(ask(&command(&["sleep", "30"])).unwrap_err().contains("in time"));
        assert!(ask(&command(&["/no/such"])).unwrap_err().contains("is not there"));
        assert!(ask(&command(&["cat"])).is_ok(), "it reads nothing of the script");
    });
}

#[test]
fn tcp_and_http_are_checked_with_whatever_program_is_there() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut chunk = [0; 1024];
                match stream.read(&mut chunk) {
                    Ok(read) if read > 0 => request.extend_from_slice(&chunk[..read]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let status = if request.starts_with("GET /a?b=1 ") {
                "204 No Content"
            } else if request.contains("/moved") {
                "302 Found\r\nLocation: /bad"
            } else {
                "503 Busy"
            };
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            .ok();
        }
    });
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for tool in ["curl", "bash", "perl", "wget"] {
        let Some(program) = ["/usr/bin", "/bin"]
            .iter()
            .map(|dir| Path::new(dir).join(tool))
            .find(|path| path.exists())
        else {
            continue;
        };
        let fake = Fake::new(&["dash"]);
        for needed in ["timeout", "dash"] {
            symlink(
                Path::new("/usr/bin").join(needed),
                fake.dir.path().join("bin").join(needed),
            )
            .unwrap();
        }
        symlink(program, fake.dir.path().join("bin").join(tool)).unwrap();
        let root = Root {
            prefix: String::new(),
            path: fake.dir.path().join("bin").display().to_string(),
        };
        let ask = |probe: &CheckProbe| {
            check::parse(&fake.run(&check::render(&root, probe, DEADLINE).unwrap()), probe).unwrap()
        };
        let http = |path: &str| CheckProbe::Http(format!("http://127.0.0.1:{port}{path}"));
        assert_eq!(ask(&http("/a?b=1")), Ok(()), "{tool}");
        assert_eq!(ask(&http("/moved")), Ok(()), "{tool}");
        assert!(ask(&http("")).unwrap_err().contains("status 503"), "{tool}");
        assert!(
            ask(&CheckProbe::Http(format!("http://127.0.0.1:{free}/"))).is_err(),
            "{tool}"
        );
        if tool != "wget" {
            assert_eq!(
                ask(&CheckProbe::Tcp("127.0.0.1".to_owned(), port)),
                Ok(()),
                "{tool}"
            );
            assert!(
                ask(&CheckProbe::Tcp("127.0.0.1".to_owned(), free)).is_err(),
                "{tool}"
            );
        }
    }
}

#[test]
fn quoted_text_reaches_a_program_as_it_is() {
    for shell in shells() {
        let fake = Fake::new(&shell);
        for text in [
            "",
            "'",
            "''",
            "a'b\"c",
            "\\",
            "\\n",
            "$HOME",
            "`id`",
            "$(id)",
            "a\nb",
            "*",
            "~",
            "é\u{81}\u{88}",
            "\u{1f600}",
            "-n",
            "!!",
            ";|&<>(){}",
        ] {
            assert_eq!(
                fake.run(&format!("printf %s {}", script::quote(text))),
                text,
                "{shell:?}"
            );
        }
    }
}

#[test]
fn an_install_of_a_small_service_fits_one_message() {
    let script = script::act(&Root::guest(), &web(), GuestStep::Install, Attempt(1), DEADLINE).unwrap();
    assert!(
        protocol::exec_script(script.as_bytes()).len() < protocol::MAX_MESSAGE / 3,
        "{}",
        script.len()
    );
}
