//! Data volumes in a real storage pool, and their lock.

use handoverd::model::ids::ServiceId;

use super::*;

const MIB: u64 = 1 << 20;

fn keeper() -> ServiceId {
    "lab-keeper".parse().unwrap()
}

fn volume(path: &str, unit: u32) -> GuestDisk {
    GuestDisk {
        role: DiskRole::Volume,
        serial: DiskSerial::of_volume(&keeper()),
        source: path.to_owned(),
        target: "sdq".to_owned(),
        address: ScsiAddress { controller: 0, unit },
    }
}

#[tokio::test]
async fn a_volume_is_made_once_sparse_and_private_and_found_again() {
    let Some(lab) = lab("a_volume_is_made_once_sparse_and_private_and_found_again").await else {
        return;
    };
    let (hosts, host, service) = (&lab.hosts, hv1(), keeper());
    hosts.delete_volume(&host, &service).await.unwrap();
    assert_eq!(hosts.volume(&host, &service).await.unwrap(), None);
    let path = hosts.make_volume(&host, &service, 64 * MIB).await.unwrap();
    assert!(path.ends_with("/handoverd/lab-keeper.data.raw"), "{path}");
    let wanted = Some((path.clone(), 64 * MIB));
    assert_eq!(hosts.volume(&host, &service).await.unwrap(), wanted);
    let meta = std::fs::metadata(&path).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::blocks(&meta), 0, "sparse");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&meta) & 0o7777, 0o600);

    // What is on it stays, whoever asks for it again.
    std::fs::write(&path, b"data").unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(64 * MIB)
        .unwrap();
    assert_eq!(hosts.make_volume(&host, &service, 64 * MIB).await.unwrap(), path);
    assert!(std::fs::read(&path).unwrap().starts_with(b"data"));
    let error = hosts.make_volume(&host, &service, 65 * MIB).await.unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
    assert!(
        error
            .message
            .contains("has 67108864 bytes, and 68157440 are wanted"),
        "{error}"
    );

    hosts.delete_volume(&host, &service).await.unwrap();
    hosts.delete_volume(&host, &service).await.unwrap();
    assert!(!std::path::Path::new(&path).exists());
}

#[tokio::test]
async fn a_pool_without_room_for_a_volume_says_how_much_it_has() {
    let Some(lab) = lab("a_pool_without_room_for_a_volume_says_how_much_it_has").await else {
        return;
    };
    let error = lab
        .hosts
        .make_volume(&hv1(), &keeper(), 1 << 50)
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
    for part in [
        "pool handoverd on hv1 is full",
        "needs 1073741824.0 MiB, it has ",
        " MiB free",
    ] {
        assert!(error.message.contains(part), "{error}");
    }
    assert_eq!(lab.hosts.volume(&hv1(), &keeper()).await.unwrap(), None);
}

#[tokio::test]
async fn a_volume_that_a_guest_has_is_locked_for_others_and_not_deleted() {
    let Some(lab) = lab("a_volume_that_a_guest_has_is_locked_for_others_and_not_deleted").await else {
        return;
    };
    let (hosts, host, service) = (&lab.hosts, hv1(), keeper());
    let path = hosts.make_volume(&host, &service, 16 * MIB).await.unwrap();
    let disk = volume(&path, 50);
    let second = hosts
        .guests()
        .await
        .into_iter()
        .flatten()
        .find(|guest| guest.is_running() && guest.id != lab.guest)
        .expect("a second running guest");

    hosts.give(lab.guest, Half::Live, &disk).await.unwrap();
    let error = hosts.give(second.id, Half::Live, &disk).await.unwrap_err();
    assert_eq!(error.fault, Fault::Unavailable, "{error}");
    assert!(
        error.message.contains("another guest has this image open"),
        "{error}"
    );
    let seen = hosts.inspect(second.id).await.unwrap().unwrap();
    assert_eq!(
        seen.live.unwrap().disk(&disk.serial),
        None,
        "nothing is left of it"
    );

    for half in [Half::Live, Half::Config] {
        let error = hosts.delete_volume(&host, &service).await.unwrap_err();
        assert_eq!(error.fault, Fault::Refused, "{error}");
        let says = format!("guest {} has it as a disk", lab.name);
        assert!(error.message.contains(&says), "{error}");
        if half == Half::Live {
            hosts.give(lab.guest, Half::Config, &disk).await.unwrap();
            hosts.take(lab.guest, Half::Live, &disk.serial).await.unwrap();
        }
    }
    hosts.take(lab.guest, Half::Config, &disk.serial).await.unwrap();
    // The lock is gone with the disk.
    hosts.give(second.id, Half::Live, &disk).await.unwrap();
    hosts.take(second.id, Half::Live, &disk.serial).await.unwrap();
    hosts.delete_volume(&host, &service).await.unwrap();
}
