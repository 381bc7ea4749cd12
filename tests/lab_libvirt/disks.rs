//! Disks and controllers, given and taken.

use super::*;

#[tokio::test]
async fn a_running_guest_is_seen_whole() {
    let Some(lab) = lab("a_running_guest_is_seen_whole").await else {
        return;
    };
    let seen = lab.look().await;
    assert!(seen.summary.is_running() && seen.summary.agent_connected && seen.summary.persistent);
    let (live, config) = (seen.live.unwrap(), seen.config.unwrap());
    assert_eq!(live.machine, config.machine);
    assert!(
        live.scsi_controllers.iter().any(|one| one.model == "virtio-scsi"),
        "{live:?}"
    );
    assert!(!live.disks.is_empty());
}

#[tokio::test]
async fn a_disk_is_given_and_taken_one_half_at_a_time() {
    let Some(lab) = lab("a_disk_is_given_and_taken_one_half_at_a_time").await else {
        return;
    };
    let (digest, path) = lab.stored(4, 1).await;
    let disk = disk(&path, &digest, 40);
    let has = |seen: &GuestDomain| {
        let in_half = |half: &Option<_>| -> bool {
            let half: &Option<handoverd::model::guest::Definition> = half;
            half.as_ref().unwrap().disk(&disk.serial).is_some_and(|found| {
                assert_eq!(found.scsi, Some(disk.address));
                assert_eq!(found.source.as_deref(), Some(path.as_str()));
                assert_eq!(found.target, disk.target);
                true
            })
        };
        (in_half(&seen.live), in_half(&seen.config))
    };
    assert_eq!(has(&lab.look().await), (false, false));
    let steps: [(bool, Half, (bool, bool)); 8] = [
        (true, Half::Live, (true, false)),
        (true, Half::Config, (true, true)),
        (false, Half::Config, (true, false)),
        (false, Half::Live, (false, false)),
        // Taking again what is gone is fine.
        (false, Half::Live, (false, false)),
        (true, Half::Config, (false, true)),
        (false, Half::Config, (false, false)),
        (false, Half::Config, (false, false)),
    ];
    for (give, half, wanted) in steps {
        let begun = Instant::now();
        if give {
            lab.hosts.give(lab.guest, half, &disk).await.unwrap();
        } else {
            lab.hosts.take(lab.guest, half, &disk.serial).await.unwrap();
        }
        println!(
            "{} {half:?}: {:?}",
            if give { "give" } else { "take" },
            begun.elapsed()
        );
        assert_eq!(has(&lab.look().await), wanted);
    }
    lab.hosts.delete_image(&hv1(), &digest).await.unwrap();
}

#[tokio::test]
async fn giving_what_is_there_changes_nothing_and_says_so() {
    let Some(lab) = lab("giving_what_is_there_changes_nothing_and_says_so").await else {
        return;
    };
    let (digest, path) = lab.stored(1, 2).await;
    let (other_digest, other_path) = lab.stored(1, 3).await;
    let given = disk(&path, &digest, 41);
    let same_target = disk(&other_path, &other_digest, 42);
    let same_address = GuestDisk {
        target: "sdr".to_owned(),
        ..disk(&other_path, &other_digest, 41)
    };
    for half in [Half::Live, Half::Config] {
        lab.hosts.give(lab.guest, half, &given).await.unwrap();
        for (disk, words) in [
            (&given, "look again"),
            (&same_target, "choose others"),
            (&same_address, "choose others"),
        ] {
            let error = lab.hosts.give(lab.guest, half, disk).await.unwrap_err();
            println!("{half:?}: {error}");
            assert_eq!(error.fault, Fault::Unavailable, "{error}");
            assert!(error.message.contains(words), "{error}");
        }
    }
    let missing = disk("/var/lib/libvirt/images/handoverd/missing.img", &other_digest, 43);
    let error = lab.hosts.give(lab.guest, Half::Live, &missing).await.unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");

    let error = lab.hosts.delete_image(&hv1(), &digest).await.unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
    assert!(
        error.message.contains(&format!("guest {} has it", lab.name)),
        "{error}"
    );
    for half in [Half::Config, Half::Live] {
        lab.hosts.take(lab.guest, half, &given.serial).await.unwrap();
    }
    for digest in [digest, other_digest] {
        lab.hosts.delete_image(&hv1(), &digest).await.unwrap();
        assert_eq!(lab.hosts.image(&hv1(), &digest).await.unwrap(), None);
    }
}

#[tokio::test]
async fn nothing_is_changed_while_something_else_works_on_the_guest() {
    let Some(lab) = lab("nothing_is_changed_while_something_else_works_on_the_guest").await else {
        return;
    };
    let (digest, path) = lab.stored(1, 9).await;
    let disk = disk(&path, &digest, 45);
    let folder = tempfile::tempdir().unwrap();
    let busy = |error: &PortError| error.message.contains("something else works on");
    let mut refused: Vec<PortError> = Vec::new();
    let mut slowest = Duration::ZERO;
    // A dump may be over before the first call falls into it: then there is another.
    for _ in 0..20 {
        let mut dump = Command::new("virsh")
            .args(["dump", "--live", "--memory-only", &lab.name])
            .arg(folder.path().join("memory"))
            .spawn()
            .unwrap();
        while dump.try_wait().unwrap().is_none() {
            let begun = Instant::now();
            let given = lab.hosts.give(lab.guest, Half::Live, &disk).await;
            slowest = slowest.max(begun.elapsed());
            refused.extend(given.err());
            refused.extend(lab.hosts.take(lab.guest, Half::Live, &disk.serial).await.err());
        }
        if refused.iter().any(busy) {
            break;
        }
    }
    println!("{} calls refused, the slowest after {slowest:?}", refused.len());
    assert!(refused.iter().any(busy), "every dump was over too soon");
    for error in refused {
        // The disk may have been given just before the dump began; then it is there, and may not be taken.
        assert!(busy(&error) || error.message.contains("look again"), "{error}");
        assert_eq!(error.fault, Fault::Unavailable, "{error}");
    }
    lab.hosts.take(lab.guest, Half::Live, &disk.serial).await.unwrap();
    lab.hosts.delete_image(&hv1(), &digest).await.unwrap();
}

#[tokio::test]
async fn letting_go_of_a_disk_is_told_by_an_event() {
    let Some(lab) = lab("letting_go_of_a_disk_is_told_by_an_event").await else {
        return;
    };
    let mut events = lab.hosts.events();
    let (digest, path) = lab.stored(1, 4).await;
    let disk = disk(&path, &digest, 44);
    lab.hosts.give(lab.guest, Half::Live, &disk).await.unwrap();
    let begun = Instant::now();
    lab.hosts.take(lab.guest, Half::Live, &disk.serial).await.unwrap();
    let taken = begun.elapsed();
    let event = Lab::event(&mut events, |kind| matches!(kind, EventKind::DeviceRemoved(..))).await;
    println!("taken after {taken:?}, event seen after {:?}", begun.elapsed());
    assert_eq!(
        event,
        EventKind::DeviceRemoved(lab.guest, format!("ua-{}", disk.serial))
    );
    lab.hosts.delete_image(&hv1(), &digest).await.unwrap();
}

#[tokio::test]
async fn a_guest_that_does_nothing_at_all_still_loses_its_disk() {
    let Some(lab) = lab("a_guest_that_does_nothing_at_all_still_loses_its_disk").await else {
        return;
    };
    let (digest, path) = lab.stored(1, 10).await;
    let disk = disk(&path, &digest, 46);
    lab.hosts.give(lab.guest, Half::Live, &disk).await.unwrap();
    virsh(&["suspend", &lab.name]);
    let begun = Instant::now();
    let taken = lab.hosts.take(lab.guest, Half::Live, &disk.serial).await;
    println!("taken from a paused guest: {taken:?} after {:?}", begun.elapsed());
    virsh(&["resume", &lab.name]);
    taken.unwrap();
    assert!(lab.look().await.live.unwrap().disk(&disk.serial).is_none());
    lab.hosts.delete_image(&hv1(), &digest).await.unwrap();
}

#[tokio::test]
async fn a_virtio_scsi_controller_is_added_to_each_half() {
    let Some(lab) = lab("a_virtio_scsi_controller_is_added_to_each_half").await else {
        return;
    };
    for (half, flag) in [(Half::Live, "--live"), (Half::Config, "--config")] {
        lab.hosts.add_scsi_controller(lab.guest, half, 7).await.unwrap();
        let seen = lab.look().await;
        let in_live = seen
            .live
            .unwrap()
            .scsi_controllers
            .iter()
            .any(|one| one.index == 7);
        let in_config = seen
            .config
            .unwrap()
            .scsi_controllers
            .iter()
            .any(|one| one.index == 7);
        assert_eq!((in_live, in_config), (half == Half::Live, half == Half::Config));
        let mut xml = tempfile::NamedTempFile::new().unwrap();
        writeln!(xml, "<controller type='scsi' index='7' model='virtio-scsi'/>").unwrap();
        // A PCIe device that the guest has not yet taken in refuses to go; it is the test's own cleaning up.
        let ends = Instant::now() + PATIENCE;
        loop {
            let told = Command::new("virsh")
                .args(["detach-device", &lab.name])
                .arg(xml.path())
                .arg(flag)
                .output();
            let seen = lab.look().await;
            let left = [seen.live.unwrap(), seen.config.unwrap()]
                .iter()
                .any(|one| one.scsi_controllers.iter().any(|one| one.index == 7));
            if !left {
                break;
            }
            assert!(Instant::now() < ends, "{told:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
