//! Install, link, start, stop, uninstall.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use handoverd::adapters::guest_agent::answer::{Answer, parse_probe, parse_step};
use handoverd::adapters::guest_agent::script::Root;
use handoverd::adapters::guest_agent::{protocol, script};
use handoverd::model::disk::DiskSerial;
use handoverd::model::ids::{Attempt, Digest};
use handoverd::model::life::Enablement;
use handoverd::ports::GuestStep;

use crate::fake::{CONFIG, DEADLINE, Fake, in_each_shell, odd, placement, web};

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

            fake.kept_by_the_disk(
                placement
                    .unit_files
                    .iter()
                    .chain(&placement.files)
                    .map(|f| &f.path),
            );

            let state = fake.act(&placement, GuestStep::Link(Enablement::Enabled), 1);
            assert_eq!(usize::try_from(state.links).unwrap(), placement.units.len());
            fake.kept_by_the_disk(placement.links.iter().map(|link| &link.path));
            assert_eq!(state.enablement, Enablement::Enabled);

            fake.attach(&placement);
            let state = fake.act(&placement, GuestStep::Start(Enablement::Enabled), 1);
            assert!(state.is_up() && state.mounted && state.device, "{state:?}");
            assert_eq!(fake.look_now(&placement), state, "a step's answer is a look");

            let state = fake.act(&placement, GuestStep::Stop, 1);
            assert!(
                state.is_down() && !state.mounted && state.installed && state.links == 0,
                "{state:?}"
            );
            fake.gone_from_the_disk(placement.links.iter().map(|link| &link.path));

            let state = fake.act(&placement, GuestStep::Uninstall, 1);
            assert!(state.is_gone() && !state.installed, "{state:?}");
            fs::remove_dir_all(fake.at("/dev")).unwrap();
            assert_eq!(fake.tree(), before, "no trace stays");
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
            GuestStep::Start(Enablement::Enabled),
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
            GuestStep::Start(Enablement::Enabled),
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
                GuestStep::Start(Enablement::Enabled),
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
        fake.act(&placement, GuestStep::Start(Enablement::Enabled), 1);
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
    fake.act(&placement, GuestStep::Start(Enablement::Enabled), 1);
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
        let state = fake.act(&placement, GuestStep::Start(Enablement::Enabled), 1);
        assert!(!state.is_up() && !state.mounted, "{state:?}");
    });
}

#[test]
fn units_with_processes_count_as_up_and_others_are_asked_for() {
    in_each_shell(|fake| {
        let placement = web();
        fake.act(&placement, GuestStep::Install, 1);
        fake.attach(&placement);
        let events = fake.at("/sys/fs/cgroup/system.slice/web.service/cgroup.events");
        fs::create_dir_all(events.parent().unwrap()).unwrap();
        for (text, asked) in [
            ("populated 1\nfrozen 0\n", false),
            ("populated 0\nfrozen 0\n", true),
        ] {
            fs::write(&events, text).unwrap();
            fs::write(fake.state("calls"), "").unwrap();
            let state = fake.act(&placement, GuestStep::Start(Enablement::Enabled), 1);
            assert!(state.is_up() && state.mounted, "{state:?}");
            let calls = fs::read_to_string(fake.state("calls")).unwrap();
            assert_eq!(calls.contains("list-units"), asked, "{calls}");
        }
        fs::write(&events, "populated 1\n").unwrap();
        fs::write(fake.state("refuses"), "web.service").unwrap();
        fs::remove_file(fake.state("active.web.service")).unwrap();
        let state = fake.act(&placement, GuestStep::Start(Enablement::Enabled), 1);
        assert!(!state.is_up(), "what systemd refused is not up: {state:?}");
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

        // Names are on the disk before contents are, and with ext4's unwritten extents sizes too.
        for left in [&b""[..], &[0; 600]] {
            let lose = || {
                for file in ["opt-web.mount", "web.service", "handoverd-web.placed"] {
                    fs::write(fake.at(&format!("/etc/systemd/system.attached/{file}")), left).unwrap();
                }
            };
            fake.act(&placement, GuestStep::Install, 2);
            lose();
            let state = fake.act(&placement, GuestStep::Install, 2);
            assert!(state.installed && !state.files_differ, "{state:?}");
            lose();
            assert!(fake.act(&placement, GuestStep::Uninstall, 2).is_gone());
            assert!(!fake.at("/opt/web").exists() && !fake.at("/etc/web/key").exists());
        }
    });
}

#[test]
fn what_is_to_be_made_is_written_down_before_anything_is_and_once() {
    in_each_shell(|fake| {
        let placement = web();
        let record = fake.at("/etc/systemd/system.attached/handoverd-web.placed");
        let lines = [
            "unit opt-web.mount",
            "unit web.service",
            "folder /opt/web",
            "folder /etc/web",
            "file /etc/web/key",
        ];
        let is_whole = |when: &str| {
            let text = fs::read_to_string(&record).unwrap();
            for line in lines {
                let times = text.lines().filter(|found| *found == line).count();
                assert_eq!(times, 1, "{when}, {line}: {text}");
            }
        };
        // The folder of its files cannot be made.
        fs::write(fake.at("/etc/web"), "").unwrap();
        let script = script::act(&fake.root(), &placement, GuestStep::Install, Attempt(1), DEADLINE).unwrap();
        let answer = parse_step(&fake.run(&script), &placement, &fake.root());
        assert!(matches!(answer, Ok(Answer::Failed { .. })), "{answer:?}");
        is_whole("it failed");
        fs::remove_file(fake.at("/etc/web")).unwrap();
        for _ in 0..2 {
            assert!(fake.act(&placement, GuestStep::Install, 1).installed);
            is_whole("it was installed");
        }
        fs::write(&record, [0; 90]).unwrap();
        assert!(fake.act(&placement, GuestStep::Install, 1).installed);
        let text = fs::read_to_string(&record).unwrap();
        for line in ["folder /opt/web", "file /etc/web/key"] {
            assert_eq!(text.matches(&format!("{line}\n")).count(), 1, "{text}");
        }
    });
}

#[test]
fn a_file_of_somebody_that_a_new_version_names_is_foreign() {
    in_each_shell(|fake| {
        let placement = web();
        fake.act(&placement, GuestStep::Install, 1);
        let record = fake.at("/etc/systemd/system.attached/handoverd-web.placed");
        let text = fs::read_to_string(&record).unwrap();
        fs::write(&record, text.replace("file /etc/web/key\n", "")).unwrap();
        let answer = fake.run(&script::probe(&fake.root(), &placement).unwrap());
        let report = parse_probe(&answer, &placement).unwrap();
        assert_eq!(report.foreign_files, ["/etc/web/key"], "{text}");
    });
}

#[test]
fn a_socket_is_stopped_also_where_an_operator_edits_a_copy_of_a_unit_file() {
    in_each_shell(|fake| {
        let placement = placement("web", &["web.socket", "web.service"], &[]);
        fake.act(&placement, GuestStep::Install, 1);
        fake.act(&placement, GuestStep::Start(Enablement::Enabled), 1);
        // `systemctl edit --full` begins with a copy.
        let of_ours = fake.at("/etc/systemd/system.attached/web.service");
        fs::copy(of_ours, fake.at("/etc/systemd/system/web.service")).unwrap();
        fake.calls();
        let state = fake.act(&placement, GuestStep::Stop, 1);
        assert!(state.is_down(), "{state:?}");
        let calls = fake.calls();
        let stop = calls.iter().find(|call| call.starts_with("stop")).unwrap();
        assert!(
            stop.contains("web.socket") && stop.contains("web.service"),
            "{stop}"
        );
    });
}

#[test]
fn a_file_that_a_killed_script_left_without_its_name_goes_too() {
    in_each_shell(|fake| {
        let placement = web();
        fake.act(&placement, GuestStep::Install, 1);
        let left = fake.at("/etc/web/key.handoverd-new");
        fs::write(&left, "half a secret").unwrap();
        fs::write(fake.at("/etc/web/key"), "changed").unwrap();
        assert!(!fake.act(&placement, GuestStep::Install, 1).files_differ);
        assert!(!left.exists());
        fs::write(&left, "half a secret").unwrap();
        assert!(fake.act(&placement, GuestStep::Uninstall, 1).is_gone());
        assert!(!left.exists());
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
fn an_install_of_a_small_service_fits_one_message() {
    let script = script::act(&Root::guest(), &web(), GuestStep::Install, Attempt(1), DEADLINE).unwrap();
    assert!(
        protocol::exec_script(script.as_bytes()).len() < protocol::MAX_MESSAGE / 3,
        "{}",
        script.len()
    );
}
