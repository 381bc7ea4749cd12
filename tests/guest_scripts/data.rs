//! The data volume in a guest: mounted and formatted by steps, looked at, never overwritten.

use std::fs;

use handoverd::adapters::guest_agent::answer::{Answer, parse_probe};
use handoverd::adapters::guest_agent::script;
use handoverd::model::guest::DataState;
use handoverd::model::life::Enablement;
use handoverd::model::placement::Placement;
use handoverd::ports::GuestStep;

use crate::fake::{Fake, in_each_shell, keeper};

fn data(device: bool, mounted: bool, filesystem: Option<&str>) -> Option<DataState> {
    Some(DataState {
        device,
        mounted,
        filesystem: filesystem.map(str::to_owned),
        failed: None,
    })
}

fn mount(fake: &Fake, what: &str, kind: &str) {
    let line = format!("40 25 8:64 / /srv/keep/data rw shared:1 - {kind} {what} rw\n");
    fs::write(fake.at("/proc/self/mountinfo"), line).unwrap();
}

fn folders(fake: &Fake) -> (bool, bool) {
    (fake.at("/srv/keep").exists(), fake.at("/srv/keep/data").exists())
}

#[test]
fn a_copy_with_a_volume_is_installed_formatted_started_paused_and_removed_without_a_trace() {
    in_each_shell(|fake| {
        let placement = keeper();
        let before = fake.tree();
        assert_eq!(fake.look(&placement).data, data(false, false, None));

        let state = fake.act(&placement, GuestStep::Install, 1);
        assert!(state.installed, "{state:?}");
        assert_eq!(folders(&fake), (true, true));
        assert_eq!(state.data, data(false, false, None));

        fake.attach(&placement);
        fake.attach_data(&placement, "");
        assert_eq!(fake.look(&placement).data, data(true, false, None));
        fake.calls();
        let state = fake.act(&placement, GuestStep::Format, 1);
        assert_eq!(state.data, data(true, false, Some("ext4")));
        let made: Vec<_> = fake
            .calls()
            .into_iter()
            .filter(|call| call.starts_with("mkfs"))
            .collect();
        let device = fake.at(&placement.data.as_ref().unwrap().serial.device_path());
        assert_eq!(
            made,
            [format!("mkfs -q -F -E root_owner=0:0 {}", device.display())]
        );
        assert_eq!(fake.act(&placement, GuestStep::Format, 1), state);
        assert!(
            !fake.calls().iter().any(|call| call.starts_with("mkfs")),
            "a file system is made once"
        );

        let state = fake.act(&placement, GuestStep::Start(Enablement::Enabled), 1);
        assert!(
            state.is_up() && state.mounted && state.data_mounted(),
            "{state:?}"
        );
        assert_eq!(state.data, data(true, true, Some("ext4")));
        fake.calls();
        assert_eq!(fake.look_now(&placement), state);
        assert_eq!(fake.calls(), Vec::<String>::new(), "no blkid while it is mounted");

        let state = fake.act(&placement, GuestStep::Pause, 1);
        assert!(
            state.is_down() && !state.mounted && !state.data_mounted(),
            "{state:?}"
        );
        assert_eq!(state.links, 1, "the links stay");
        let stopped = fake
            .calls()
            .into_iter()
            .find(|call| call.starts_with("stop"))
            .unwrap();
        for unit in ["keeper.service", "srv-keep-data.mount", "opt-keeper.mount"] {
            assert!(stopped.contains(unit), "{stopped}");
        }

        fake.act(&placement, GuestStep::Start(Enablement::Enabled), 1);
        let state = fake.act(&placement, GuestStep::Stop, 1);
        assert!(
            state.is_down() && !state.data_mounted() && state.links == 0,
            "{state:?}"
        );

        fake.act(&placement, GuestStep::Start(Enablement::Enabled), 1);
        let state = fake.act(&placement, GuestStep::Uninstall, 1);
        assert!(state.is_gone(), "{state:?}");
        fs::remove_dir_all(fake.at("/dev")).unwrap();
        assert_eq!(fake.tree(), before, "no trace stays");
    });
}

#[test]
fn the_mount_points_of_a_copy_whose_record_was_lost_go_with_it() {
    in_each_shell(|fake| {
        let placement = keeper();
        let before = fake.tree();
        let record = fake.at(&format!(
            "/etc/systemd/system.attached/handoverd-{}.placed",
            placement.service
        ));
        for is_installed_again in [false, true] {
            fake.act(&placement, GuestStep::Install, 1);
            fs::write(&record, [0; 90]).unwrap();
            if is_installed_again {
                assert!(fake.act(&placement, GuestStep::Install, 1).installed);
            }
            assert!(fake.act(&placement, GuestStep::Uninstall, 1).is_gone());
            // Whose the folders above were nobody knows any more.
            assert_eq!(folders(&fake), (true, false));
            for left in ["/srv/keep", "/srv"] {
                fs::remove_dir(fake.at(left)).unwrap();
            }
            assert_eq!(fake.tree(), before);
        }
        // The name of the record alone was on the disk, and no folder yet.
        fs::create_dir_all(record.parent().unwrap()).unwrap();
        fs::write(&record, "").unwrap();
        assert!(fake.act(&placement, GuestStep::Install, 1).installed);
        assert!(fake.act(&placement, GuestStep::Uninstall, 1).is_gone());
        assert_eq!(fake.tree(), before);
    });
}

#[test]
fn a_data_mount_point_with_somebodys_files_in_it_is_foreign_where_the_record_was_lost() {
    in_each_shell(|fake| {
        let placement = keeper();
        fake.act(&placement, GuestStep::Install, 1);
        let record = format!(
            "/etc/systemd/system.attached/handoverd-{}.placed",
            placement.service
        );
        fs::write(fake.at(&record), [0; 90]).unwrap();
        fs::write(fake.at("/srv/keep/data/note"), "mine").unwrap();
        let answer = fake.run(&script::probe(&fake.root(), &placement).unwrap());
        assert!(parse_probe(&answer, &placement).unwrap().foreign_data_folder);
    });
}

#[test]
fn what_is_on_a_volume_already_is_never_formatted() {
    in_each_shell(|fake| {
        let placement = keeper();
        fake.attach(&placement);
        for (found, word) in [
            ("DEVNAME=/dev/sdc\nTYPE=xfs\nUSAGE=filesystem\n", "xfs"),
            ("PTUUID=1\nPTTYPE=gpt\n", "partitions-gpt"),
        ] {
            fs::remove_dir_all(fake.at("/dev")).ok();
            fake.attach(&placement);
            fake.attach_data(&placement, found);
            let answer = fake.answer(&placement, GuestStep::Format, 1);
            let Answer::Failed { why } = answer else {
                panic!("{answer:?}");
            };
            assert_eq!(
                why,
                format!("the data volume has {word} on it, and the manifest says ext4: it is not formatted")
            );
            assert!(!fake.calls().iter().any(|call| call.starts_with("mkfs")));
        }
        fake.program("blkid", "#!/bin/sh\nexit 8\n");
        let answer = fake.answer(&placement, GuestStep::Format, 1).to_string();
        assert!(answer.contains("has ambiguous on it"), "{answer}");
    });
}

#[test]
fn a_mkfs_that_fails_is_told_with_its_last_words() {
    in_each_shell(|fake| {
        let placement = keeper();
        fake.attach(&placement);
        fake.attach_data(&placement, "");
        fs::write(fake.state("mkfs_breaks"), "").unwrap();
        let answer = fake.answer(&placement, GuestStep::Format, 1).to_string();
        assert_eq!(answer, "failed: mkfs.ext4 of the data volume failed: no room");
    });
}

#[test]
fn a_file_system_that_does_not_mount_is_told_apart_from_units_that_do_not_start() {
    in_each_shell(|fake| {
        let placement = keeper();
        fake.act(&placement, GuestStep::Install, 1);
        fake.attach(&placement);
        fake.attach_data(&placement, "");
        fs::write(fake.state("data_breaks"), "").unwrap();
        let state = fake.act(&placement, GuestStep::Start(Enablement::Enabled), 1);
        let told = state.data.unwrap();
        assert_eq!((told.mounted, told.failed.as_deref()), (false, Some("exit-code")));
    });
}

#[test]
fn a_volume_whose_disk_was_pulled_counts_as_mounted_until_it_is_unmounted() {
    in_each_shell(|fake| {
        let placement = keeper();
        mount(&fake, "/dev/gone", "ext4");
        assert_eq!(fake.look(&placement).data, data(false, true, Some("ext4")));
        mount(&fake, "tmpfs", "tmpfs");
        assert!(!fake.look(&placement).data_mounted());
    });
}

#[test]
fn a_mount_or_a_folder_of_somebody_else_at_the_mount_point_is_left_alone() {
    in_each_shell(|fake| {
        let placement = keeper();
        let probe = |placement: &Placement| {
            let text = fake.run(&script::probe(&fake.root(), placement).unwrap());
            parse_probe(&text, placement).unwrap_or_else(|error| panic!("{error}\n{text}"))
        };
        // An empty folder is used, and stays.
        fs::create_dir_all(fake.at("/srv/keep/data")).unwrap();
        let report = probe(&placement);
        assert!(!report.foreign_data_folder && report.foreign_data_mount.is_none());
        fake.act(&placement, GuestStep::Install, 1);
        fake.act(&placement, GuestStep::Uninstall, 1);
        assert_eq!(folders(&fake), (true, true));

        fs::write(fake.at("/srv/keep/data/.theirs"), "x").unwrap();
        let tree = fake.tree();
        assert!(probe(&placement).foreign_data_folder);
        let answer = fake.answer(&placement, GuestStep::Install, 2).to_string();
        assert_eq!(answer, "foreign: /srv/keep/data");
        assert_eq!(fake.tree(), tree);
        fs::remove_file(fake.at("/srv/keep/data/.theirs")).unwrap();

        mount(&fake, "/dev/vda", "ext4");
        fs::create_dir_all(fake.at("/dev")).unwrap();
        let disk = fake.at("/dev/vda");
        fs::write(&disk, "").unwrap();
        mount(&fake, disk.to_str().unwrap(), "ext4");
        let report = probe(&placement);
        assert_eq!(report.foreign_data_mount.as_deref(), disk.to_str());
        let answer = fake.answer(&placement, GuestStep::Install, 3).to_string();
        assert!(answer.contains("(mounted at /srv/keep/data)"), "{answer}");
    });
}

#[test]
fn a_service_is_not_started_over_what_somebody_else_mounted_there() {
    in_each_shell(|fake| {
        let placement = keeper();
        fake.act(&placement, GuestStep::Install, 1);
        fake.attach(&placement);
        fake.attach_data(&placement, "TYPE=ext4\n");
        mount(&fake, "tmpfs", "tmpfs");
        let answer = fake
            .answer(&placement, GuestStep::Start(Enablement::Enabled), 1)
            .to_string();
        assert_eq!(
            answer,
            "failed: tmpfs is mounted at /srv/keep/data, where the data volume is to be"
        );
    });
}

#[test]
fn a_guest_without_the_tools_of_a_volume_is_told_by_name() {
    in_each_shell(|fake| {
        let mut placement = keeper();
        placement.data.as_mut().unwrap().filesystem = handoverd::model::volume::FileSystem::Xfs;
        let mut root = fake.root();
        root.path = format!("{}/bin:/bin", fake.dir.path().display());
        let text = fake.run(&script::probe(&root, &placement).unwrap());
        let report = parse_probe(&text, &placement).unwrap();
        if !std::path::Path::new("/bin/mkfs.xfs").exists() {
            assert!(
                report.missing_data_tools.contains(&"mkfs.xfs".to_owned()),
                "{report:?}"
            );
        }
        placement.data = None;
        let text = fake.run(&script::probe(&root, &placement).unwrap());
        assert!(
            parse_probe(&text, &placement)
                .unwrap()
                .missing_data_tools
                .is_empty()
        );
    });
}
