//! Images in a real storage pool.

use super::*;

#[tokio::test]
async fn images_are_stored_once_found_again_and_written_anew_if_cut_off() {
    let Some(lab) = lab("images_are_stored_once_found_again_and_written_anew_if_cut_off").await else {
        return;
    };
    let (digest, file, size) = image(64, 5);
    let begun = Instant::now();
    let path = lab.hosts.store_image(&hv1(), &digest, file, size).await.unwrap();
    println!("64 MiB stored and verified in {:?}", begun.elapsed());
    assert!(path.ends_with(&format!("/handoverd/{digest}.img")), "{path}");
    assert_eq!(
        lab.hosts.image(&hv1(), &digest).await.unwrap(),
        Some((path.clone(), size))
    );

    let (_, again, _) = image(64, 5);
    let begun = Instant::now();
    assert_eq!(
        lab.hosts.store_image(&hv1(), &digest, again, size).await.unwrap(),
        path
    );
    println!("found and verified in {:?}", begun.elapsed());

    // As a killed daemon leaves it.
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    assert_eq!(
        lab.hosts.image(&hv1(), &digest).await.unwrap(),
        Some((path.clone(), 1 << 20))
    );
    let (_, again, _) = image(64, 5);
    lab.hosts.store_image(&hv1(), &digest, again, size).await.unwrap();
    assert_eq!(
        lab.hosts.image(&hv1(), &digest).await.unwrap(),
        Some((path.clone(), size))
    );

    // The same length, other content.
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all(b"spoilt")
        .unwrap();
    let (_, again, _) = image(64, 5);
    lab.hosts.store_image(&hv1(), &digest, again, size).await.unwrap();
    let stored: [u8; 32] = Sha256::digest(std::fs::read(&path).unwrap()).into();
    assert_eq!(Digest::from_sha256(&stored), digest);

    // Its file went, or came, behind libvirt's back.
    let aside = format!("{path}.aside");
    std::fs::rename(&path, &aside).unwrap();
    virsh(&["pool-refresh", "handoverd"]);
    assert_eq!(lab.hosts.image(&hv1(), &digest).await.unwrap(), None);
    std::fs::rename(&aside, &path).unwrap();
    assert_eq!(
        lab.hosts.image(&hv1(), &digest).await.unwrap(),
        Some((path, size))
    );
    lab.hosts.delete_image(&hv1(), &digest).await.unwrap();
}

#[tokio::test]
async fn an_image_that_is_not_what_it_is_said_to_be_leaves_nothing_behind() {
    let Some(lab) = lab("an_image_that_is_not_what_it_is_said_to_be_leaves_nothing_behind").await else {
        return;
    };
    let (_, _, size) = image(2, 6);
    let wrong: Digest = "0".repeat(64).parse().unwrap();
    // Other content, too short, too long.
    for announced in [size, size * 2, size / 2] {
        let (_, file, _) = image(2, 6);
        let error = lab
            .hosts
            .store_image(&hv1(), &wrong, file, announced)
            .await
            .unwrap_err();
        assert_eq!(error.fault, Fault::Refused, "{error}");
        assert!(error.message.contains("changed on its way"), "{error}");
        assert_eq!(lab.hosts.image(&hv1(), &wrong).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_pool_that_fills_up_in_the_middle_is_told_and_cleaned() {
    let Some(lab) = lab("a_pool_that_fills_up_in_the_middle_is_told_and_cleaned").await else {
        return;
    };
    let folder = "/var/lib/libvirt/images/small";
    std::fs::create_dir_all(folder).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m", "none", folder])
        .status();
    assert!(mounted.unwrap().success());
    virsh(&["pool-create-as", "small", "dir", "--target", folder]);
    let small = LibvirtHosts::connect(
        vec![HostConfig {
            id: hv1(),
            uri: "qemu:///system".to_owned(),
            pool: "small".to_owned(),
        }],
        Timeouts::default(),
    )
    .unwrap();
    let (digest, file, size) = image(16, 7);
    let before = small.store_image(&hv1(), &digest, file, size).await.unwrap_err();
    // libvirt has not seen that the space is gone: what it believes lets the upload begin.
    std::fs::write(format!("{folder}/other"), vec![1; 6 << 20]).unwrap();
    let (digest, file, size) = image(4, 7);
    let middle = small.store_image(&hv1(), &digest, file, size).await;
    let left: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    virsh(&["pool-destroy", "small"]);
    assert!(
        Command::new("umount")
            .args(["-l", folder])
            .status()
            .unwrap()
            .success()
    );
    std::fs::remove_dir(folder).unwrap();
    for error in [before, middle.unwrap_err()] {
        println!("{error}");
        assert_eq!(error.fault, Fault::Refused, "{error}");
        assert!(error.message.contains("pool small on hv1 is full: "), "{error}");
    }
    assert_eq!(left, ["other"]);
    drop(lab);
}

#[tokio::test]
async fn an_inactive_pool_is_started() {
    let Some(lab) = lab("an_inactive_pool_is_started").await else {
        return;
    };
    virsh(&["pool-destroy", "handoverd"]);
    let (digest, _) = lab.stored(1, 8).await;
    lab.hosts.delete_image(&hv1(), &digest).await.unwrap();
}
