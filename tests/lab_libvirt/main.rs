//! The libvirt adapter against a real libvirtd, QEMU and guest. Each test says "skipped" and passes unless
//! HANDOVERD_IN_LAB=1 is set, which means: this process runs on a lab host (`lab exec hv1 -- env HANDOVERD_IN_LAB=1
//! <this executable> --nocapture`) with a running guest that has an agent and a virtio-scsi controller.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agent;
mod disks;
mod grants;
mod images;
mod volumes;

use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use handoverd::adapters::libvirt::{EventKind, HostConfig, HostEvent, LibvirtHosts, Timeouts};
use handoverd::model::disk::{DiskRole, DiskSerial, GuestDisk, ScsiAddress};
use handoverd::model::guest::GuestDomain;
use handoverd::model::ids::{Digest, GuestId, HostId};
use handoverd::ports::{Fault, Half, Hypervisor, PortError};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, MutexGuard, broadcast};

const PATIENCE: Duration = Duration::from_secs(60);

/// One guest, one pool, one libvirtd: one test at a time.
static LAB: Mutex<()> = Mutex::const_new(());

struct Lab {
    hosts: LibvirtHosts,
    guest: GuestId,
    name: String,
    _turn: MutexGuard<'static, ()>,
}

/// The lab, or `None` (told on stderr) outside of it.
async fn lab(test: &str) -> Option<Lab> {
    if std::env::var("HANDOVERD_IN_LAB").as_deref() != Ok("1") {
        eprintln!("skipped: {test} needs a lab host and HANDOVERD_IN_LAB=1");
        return None;
    }
    let turn = LAB.lock().await;
    let host = HostConfig {
        id: hv1(),
        uri: "qemu:///system".to_owned(),
        pool: "handoverd".to_owned(),
    };
    let hosts = LibvirtHosts::connect(vec![host], Timeouts::default()).unwrap();
    let guests = hosts.guests().await;
    let guest = guests
        .into_iter()
        .flatten()
        .find(|guest| guest.is_running() && guest.agent_connected);
    let guest = guest.expect("a running guest with an agent");
    let lab = Lab {
        hosts,
        guest: guest.id,
        name: guest.name,
        _turn: turn,
    };
    lab.clean().await;
    Some(lab)
}

impl Lab {
    async fn look(&self) -> GuestDomain {
        self.hosts.inspect(self.guest).await.unwrap().unwrap()
    }

    /// Takes what a failed test has left.
    async fn clean(&self) {
        let seen = self.look().await;
        for (half, definition) in [(Half::Config, seen.config), (Half::Live, seen.live)] {
            let left = definition.into_iter().flat_map(|definition| definition.disks);
            for serial in left
                .filter(|disk| disk.target.starts_with("sdq"))
                .filter_map(|disk| disk.serial)
            {
                let serial: DiskSerial = serde_json::from_value(serial.into()).unwrap();
                self.hosts.take(self.guest, half, &serial).await.unwrap();
            }
        }
    }

    /// Waits for the first event of which `wanted` holds.
    async fn event(
        events: &mut broadcast::Receiver<HostEvent>,
        wanted: impl Fn(&EventKind) -> bool,
    ) -> EventKind {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let event = events.recv().await.unwrap();
                if wanted(&event.kind) {
                    return event.kind;
                }
            }
        })
        .await
        .unwrap()
    }

    /// Stores an image of `mebibytes` and gives its digest and path.
    async fn stored(&self, mebibytes: usize, seed: u8) -> (Digest, String) {
        let (digest, file, size) = image(mebibytes, seed);
        let begun = Instant::now();
        let path = self.hosts.store_image(&hv1(), &digest, file, size).await.unwrap();
        println!("stored {mebibytes} MiB in {:?}", begun.elapsed());
        (digest, path)
    }
}

fn hv1() -> HostId {
    "hv1".parse().unwrap()
}

/// A file that does not compress, its sha256, its size.
fn image(mebibytes: usize, seed: u8) -> (Digest, File, u64) {
    let block: Vec<u8> = (0..1 << 20)
        .map(|i: u32| i.wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ seed)
        .collect();
    let mut hash = Sha256::new();
    let mut file = tempfile::tempfile().unwrap();
    for _ in 0..mebibytes {
        hash.update(&block);
        file.write_all(&block).unwrap();
    }
    std::io::Seek::rewind(&mut file).unwrap();
    let size = u64::try_from(mebibytes << 20).unwrap();
    (Digest::from_sha256(&hash.finalize().into()), file, size)
}

fn disk(path: &str, digest: &Digest, unit: u32) -> GuestDisk {
    GuestDisk {
        role: DiskRole::Bundle,
        serial: DiskSerial::of(&"lab-test".parse().unwrap(), digest),
        source: path.to_owned(),
        target: "sdq".to_owned(),
        address: ScsiAddress { controller: 0, unit },
    }
}

fn virsh(arguments: &[&str]) {
    let told = Command::new("virsh").args(arguments).output().unwrap();
    assert!(
        told.status.success(),
        "virsh {arguments:?}: {}",
        String::from_utf8_lossy(&told.stderr)
    );
}
