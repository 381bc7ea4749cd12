//! Grants: made, given, deleted when nothing needs them, and what comes of a definition that names one which is gone.

use handoverd::model::grant::Grant;
use handoverd::model::guest::DomainState;
use handoverd::model::ids::{Generation, ServiceId};

use super::*;

fn service() -> ServiceId {
    "lab-test".parse().unwrap()
}

fn grant(guest: GuestId, generation: u64) -> Grant {
    Grant {
        service: service(),
        guest,
        generation: Generation(generation),
    }
}

impl Lab {
    /// Makes a grant of an image for the lab's guest; the disk by it.
    async fn granted(&self, digest: &Digest, generation: u64, unit: u32) -> GuestDisk {
        let begun = Instant::now();
        let grant = grant(self.guest, generation);
        let path = self.hosts.make_grant(&hv1(), &grant, digest).await.unwrap();
        println!("made {grant} in {:?}", begun.elapsed());
        assert_eq!(Grant::named_by(&path), Some(grant));
        disk(&path, digest, unit)
    }

    async fn give_both(&self, disk: &GuestDisk) {
        for half in [Half::Live, Half::Config] {
            self.hosts.give(self.guest, half, disk).await.unwrap();
        }
    }

    async fn take_both(&self, disk: &GuestDisk) {
        for half in [Half::Config, Half::Live] {
            self.hosts.take(self.guest, half, &disk.serial).await.unwrap();
        }
    }

    /// The paths of this test's spent grants.
    async fn spent(&self) -> Vec<String> {
        let files = self.hosts.spent_grants(self.guest, &service()).await.unwrap();
        files.into_iter().map(|file| file.path).collect()
    }

    /// The paths of all grants of this test.
    async fn all(&self) -> Vec<String> {
        let files = self.hosts.grants().await.into_iter().map(Result::unwrap);
        let ours = files.filter(|file| file.grant.service == service() && file.host == hv1());
        ours.map(|file| file.path).collect()
    }

    /// Waits until the guest's agent answers again.
    async fn booted(&self) {
        let ends = Instant::now() + Duration::from_secs(120);
        while !self.look().await.summary.agent_connected {
            assert!(Instant::now() < ends, "{} does not boot", self.name);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn dumpxml(guest: &str) -> tempfile::NamedTempFile {
    let told = Command::new("virsh")
        .args(["dumpxml", "--inactive", guest])
        .output()
        .unwrap();
    assert!(told.status.success());
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&told.stdout).unwrap();
    file
}

#[tokio::test]
async fn a_grant_is_made_once_needed_while_it_is_given_and_then_spent() {
    let Some(lab) = lab("a_grant_is_made_once_needed_while_it_is_given_and_then_spent").await else {
        return;
    };
    let (digest, image) = lab.stored(4, 31).await;
    let disk = lab.granted(&digest, 1, 50).await;
    assert_eq!(lab.granted(&digest, 1, 50).await, disk, "made again, it stays");
    assert_eq!(lab.all().await, [disk.source.as_str()]);
    assert_eq!(lab.spent().await, [disk.source.as_str()], "nobody has it yet");

    lab.give_both(&disk).await;
    let seen = lab.look().await;
    for half in [seen.live.unwrap(), seen.config.unwrap()] {
        assert_eq!(
            half.disk(&disk.serial).unwrap().source.as_deref(),
            Some(disk.source.as_str())
        );
    }
    let error = lab.hosts.delete_image(&hv1(), &digest).await.unwrap_err();
    assert!(
        error.fault == Fault::Refused && error.message.contains("grant lab-test@"),
        "{error}"
    );

    for half in [Half::Config, Half::Live] {
        assert_eq!(lab.spent().await, [""; 0], "{half:?} has it");
        lab.hosts
            .delete_spent_grants(lab.guest, &service())
            .await
            .unwrap();
        lab.hosts.take(lab.guest, half, &disk.serial).await.unwrap();
    }
    assert_eq!(lab.spent().await, [disk.source.as_str()]);
    let begun = Instant::now();
    lab.hosts
        .delete_spent_grants(lab.guest, &service())
        .await
        .unwrap();
    println!("deleted in {:?}", begun.elapsed());
    assert_eq!((lab.spent().await, lab.all().await), (vec![], vec![]));
    lab.hosts
        .delete_spent_grants(lab.guest, &service())
        .await
        .unwrap();
    assert!(!std::path::Path::new(&disk.source).exists() && std::path::Path::new(&image).exists());
    lab.hosts.delete_image(&hv1(), &digest).await.unwrap();
}

#[tokio::test]
async fn making_a_grant_of_a_large_image_takes_no_longer_than_of_a_small_one() {
    let Some(lab) = lab("making_a_grant_of_a_large_image_takes_no_longer_than_of_a_small_one").await else {
        return;
    };
    let mut took = Vec::new();
    for (mebibytes, seed) in [(1, 32), (256, 33)] {
        let (digest, _) = lab.stored(mebibytes, seed).await;
        let begun = Instant::now();
        lab.granted(&digest, 1, 51).await;
        took.push(begun.elapsed());
        lab.hosts
            .delete_spent_grants(lab.guest, &service())
            .await
            .unwrap();
        lab.hosts.delete_image(&hv1(), &digest).await.unwrap();
    }
    println!("{took:?}");
    assert!(took[1] < took[0] * 3 + Duration::from_millis(200), "{took:?}");
}

#[tokio::test]
async fn without_its_image_no_grant_is_made() {
    let Some(lab) = lab("without_its_image_no_grant_is_made").await else {
        return;
    };
    let digest: Digest = "e".repeat(64).parse().unwrap();
    let made = lab.hosts.make_grant(&hv1(), &grant(lab.guest, 1), &digest).await;
    let error = made.unwrap_err();
    assert!(
        error.fault == Fault::Refused && error.message.contains("register the bundle again"),
        "{error}"
    );
    assert_eq!(lab.all().await, [""; 0]);
}

#[tokio::test]
async fn a_grant_of_another_image_is_made_anew_unless_the_guest_needs_it() {
    let Some(lab) = lab("a_grant_of_another_image_is_made_anew_unless_the_guest_needs_it").await else {
        return;
    };
    let (one, _) = lab.stored(1, 34).await;
    let (other, _) = lab.stored(1, 35).await;
    let given = lab.granted(&one, 1, 52).await;
    lab.give_both(&given).await;
    let made = lab.hosts.make_grant(&hv1(), &grant(lab.guest, 1), &other).await;
    let error = made.unwrap_err();
    assert!(
        error.fault == Fault::Refused && error.message.contains("remove that first"),
        "{error}"
    );
    lab.take_both(&given).await;
    lab.granted(&other, 1, 52).await;
    assert!(
        lab.hosts.delete_image(&hv1(), &one).await.is_ok(),
        "nothing is on it any more"
    );
    // What a libvirtd that was killed left of one: no guest would boot with it.
    std::fs::write(&given.source, b"").unwrap();
    virsh(&["pool-refresh", "handoverd"]);
    let whole = lab.granted(&other, 1, 52).await;
    assert!(std::fs::metadata(&whole.source).unwrap().len() > 0);
    lab.hosts
        .delete_spent_grants(lab.guest, &service())
        .await
        .unwrap();
    lab.hosts.delete_image(&hv1(), &other).await.unwrap();
}

#[tokio::test]
async fn an_old_definition_does_not_bring_a_deleted_grant_back_and_the_guest_boots() {
    let Some(lab) = lab("an_old_definition_does_not_bring_a_deleted_grant_back_and_the_guest_boots").await
    else {
        return;
    };
    let (digest, _) = lab.stored(1, 36).await;
    let disk = lab.granted(&digest, 1, 53).await;
    lab.give_both(&disk).await;
    let old = dumpxml(&lab.name);
    lab.take_both(&disk).await;
    lab.hosts
        .delete_spent_grants(lab.guest, &service())
        .await
        .unwrap();

    virsh(&["define", old.path().to_str().unwrap()]);
    assert!(lab.look().await.config.unwrap().disk(&disk.serial).is_some());
    virsh(&["destroy", &lab.name]);
    virsh(&["start", &lab.name]);
    assert!(
        lab.look().await.live.unwrap().disk(&disk.serial).is_none(),
        "libvirt left it out"
    );
    lab.booted().await;
    lab.hosts
        .take(lab.guest, Half::Config, &disk.serial)
        .await
        .unwrap();
    lab.hosts.delete_image(&hv1(), &digest).await.unwrap();
}

#[tokio::test]
async fn a_grant_stays_while_a_saved_memory_would_need_it() {
    let Some(lab) = lab("a_grant_stays_while_a_saved_memory_would_need_it").await else {
        return;
    };
    let (digest, _) = lab.stored(1, 37).await;
    let disk = lab.granted(&digest, 1, 54).await;
    lab.give_both(&disk).await;

    virsh(&["managedsave", &lab.name]);
    lab.hosts
        .take(lab.guest, Half::Config, &disk.serial)
        .await
        .unwrap();
    assert_eq!(lab.spent().await, [""; 0], "the managed-save image has it");
    lab.hosts
        .delete_spent_grants(lab.guest, &service())
        .await
        .unwrap();
    virsh(&["start", &lab.name]);
    assert_eq!(lab.look().await.summary.state, DomainState::Running);

    virsh(&["snapshot-create-as", &lab.name, "with-memory"]);
    lab.take_both(&disk).await;
    assert_eq!(lab.spent().await, [""; 0], "the snapshot has it");
    lab.hosts
        .delete_spent_grants(lab.guest, &service())
        .await
        .unwrap();
    virsh(&["snapshot-revert", &lab.name, "with-memory"]);
    assert!(
        lab.look().await.live.unwrap().disk(&disk.serial).is_some(),
        "it is back in its old state"
    );
    // While the guest has the disk: libvirtd 9.0 crashes where a snapshot has one that the guest lacks.
    virsh(&["snapshot-delete", &lab.name, "with-memory"]);
    lab.take_both(&disk).await;
    assert_eq!(lab.spent().await, [disk.source.as_str()]);
    lab.hosts
        .delete_spent_grants(lab.guest, &service())
        .await
        .unwrap();
    assert_eq!(lab.all().await, [""; 0]);
    lab.hosts.delete_image(&hv1(), &digest).await.unwrap();
}
