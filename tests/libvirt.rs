//! The libvirt adapter against libvirt's built-in test driver: no daemon, no QEMU. Everything that this driver can do.
//!
//! `test:///default` is one world for the whole process, so only one test changes its domain.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::File;
use std::time::Duration;

use handoverd::adapters::libvirt::{EventKind, HostConfig, LibvirtHosts, Timeouts};
use handoverd::model::disk::{DiskRole, DiskSerial, GuestDisk, ScsiAddress};
use handoverd::model::grant::Grant;
use handoverd::model::guest::DomainState;
use handoverd::model::ids::{Digest, Generation, GuestId, HostId};
use handoverd::model::lifecycle::Lifecycle;
use handoverd::ports::{Fault, Half, Hypervisor};
use virt::connect::Connect;

const DRIVER: &str = "test:///default";
const NOBODY: &str = "qemu+unix:///system?socket=/nonexistent/libvirt-sock";

fn hosts(uris: &[&str], pool: &str) -> LibvirtHosts {
    let hosts = uris.iter().enumerate().map(|(index, uri)| HostConfig {
        id: format!("hv{}", index + 1).parse().unwrap(),
        uri: (*uri).to_owned(),
        pool: pool.to_owned(),
    });
    LibvirtHosts::connect(hosts.collect(), Timeouts::default()).unwrap()
}

fn one() -> LibvirtHosts {
    hosts(&[DRIVER], "default-pool")
}

fn hv1() -> HostId {
    "hv1".parse().unwrap()
}

/// The driver's only domain.
fn guest() -> GuestId {
    "6695eb01-f6a4-8304-79aa-97f2502e193f".parse().unwrap()
}

fn stranger() -> GuestId {
    "00000000-0000-4000-8000-000000000001".parse().unwrap()
}

fn digest(digit: &str) -> Digest {
    digit.repeat(64).parse().unwrap()
}

fn disk() -> GuestDisk {
    GuestDisk {
        role: DiskRole::Bundle,
        serial: DiskSerial::of(&"web".parse().unwrap(), &digest("0")),
        source: "/default-pool/a.img".to_owned(),
        target: "sdz".to_owned(),
        address: ScsiAddress {
            controller: 0,
            unit: 7,
        },
    }
}

#[tokio::test]
async fn every_domain_is_listed_with_what_libvirt_says_of_it() {
    let guests = one().guests().await;
    let [Ok(only)] = guests.as_slice() else {
        panic!("{guests:?}");
    };
    assert_eq!(
        (only.id, only.name.as_str(), &only.host),
        (guest(), "test", &hv1())
    );
    assert!(only.persistent && !only.managed_save && !only.agent_connected);
}

#[tokio::test]
async fn both_definitions_of_an_active_domain_are_seen() {
    let seen = one().inspect(guest()).await.unwrap().unwrap();
    let (live, config) = (seen.live.unwrap(), seen.config.unwrap());
    for half in [live, config] {
        assert_eq!(half.disks.len(), 1);
        assert_eq!(half.disks[0].source.as_deref(), Some("/guest/diskimage1"));
    }
}

#[tokio::test]
async fn a_guest_that_no_host_knows_is_none() {
    assert_eq!(one().inspect(stranger()).await.unwrap(), None);
}

#[tokio::test]
async fn a_silent_host_is_an_error_of_its_own_and_hides_no_other() {
    let both = hosts(&[DRIVER, NOBODY], "default-pool");
    let guests = both.guests().await;
    assert_eq!(guests.len(), 2);
    assert!(guests.iter().flatten().any(|found| found.id == guest()));
    let (host, error) = guests.iter().find_map(|found| found.as_ref().err()).unwrap();
    assert_eq!((host.as_str(), error.fault), ("hv2", Fault::Unavailable));
    assert!(error.message.starts_with("libvirtd on hv2 ("), "{error}");
    assert!(both.inspect(guest()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_guest_unknown_elsewhere_may_be_on_the_silent_host() {
    let both = hosts(&[DRIVER, NOBODY], "default-pool");
    let serial = disk().serial;
    for error in [
        both.inspect(stranger()).await.unwrap_err(),
        both.take(stranger(), Half::Live, &serial).await.unwrap_err(),
        both.take(stranger(), Half::Config, &serial).await.unwrap_err(),
    ] {
        assert_eq!(error.fault, Fault::Unavailable);
        assert!(error.message.contains("libvirtd on hv2"), "{error}");
    }
}

#[tokio::test]
async fn a_guest_active_on_two_hosts_is_left_alone() {
    let both = hosts(&[DRIVER, DRIVER], "default-pool");
    for half in [Half::Live, Half::Config] {
        let error = both.give(guest(), half, &disk()).await.unwrap_err();
        assert_eq!(error.fault, Fault::Unavailable);
        assert!(error.message.contains("active on hv1 and on hv2"), "{error}");
    }
}

#[tokio::test]
async fn taking_what_is_not_there_is_fine() {
    let hosts = one();
    let serial = disk().serial;
    for half in [Half::Live, Half::Config] {
        for who in [guest(), stranger()] {
            hosts.take(who, half, &serial).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_a_driver_cannot_do_is_refused() {
    let hosts = one();
    for half in [Half::Live, Half::Config] {
        let error = hosts.give(guest(), half, &disk()).await.unwrap_err();
        assert_eq!(error.fault, Fault::Refused, "{error}");
        assert!(error.message.contains(disk().serial.as_str()), "{error}");
    }
    let command = r#"{"execute":"guest-ping"}"#;
    let error = hosts
        .agent_command(guest(), command, Duration::from_secs(5))
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
}

#[tokio::test]
async fn giving_to_a_guest_that_nobody_knows_or_that_is_too_long_does_nothing() {
    let hosts = one();
    let error = hosts.give(stranger(), Half::Live, &disk()).await.unwrap_err();
    assert_eq!(error.fault, Fault::Unavailable, "{error}");
    let long = "x".repeat(handoverd::adapters::libvirt::LONGEST_COMMAND + 1);
    let error = hosts
        .agent_command(guest(), &long, Duration::from_secs(5))
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
}

#[tokio::test]
async fn an_image_that_is_not_there_is_none_and_deleting_it_is_fine() {
    let hosts = one();
    assert_eq!(hosts.image(&hv1(), &digest("1")).await.unwrap(), None);
    hosts.delete_image(&hv1(), &digest("1")).await.unwrap();
}

#[tokio::test]
async fn a_grant_needs_its_image_and_none_is_spent_where_none_was_made() {
    let hosts = one();
    let grant = Grant {
        service: "web".parse().unwrap(),
        guest: guest(),
        generation: Generation(1),
    };
    let error = hosts.make_grant(&hv1(), &grant, &digest("6")).await.unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
    assert!(error.message.contains("register the bundle again"), "{error}");
    assert_eq!(hosts.spent_grants(guest(), &grant.service).await.unwrap(), []);
    hosts.delete_spent_grants(guest(), &grant.service).await.unwrap();
    assert!(hosts.grants().await.is_empty());
}

#[tokio::test]
async fn grants_are_looked_for_where_there_is_a_pool_and_a_host_that_answers() {
    let service = "web".parse().unwrap();
    let without_pool = hosts(&[DRIVER], "handoverd");
    assert_eq!(without_pool.spent_grants(guest(), &service).await.unwrap(), []);
    let both = hosts(&[DRIVER, NOBODY], "default-pool");
    assert_eq!(both.spent_grants(guest(), &service).await.unwrap(), []);
    let listed = both.grants().await;
    let [Err((host, error))] = listed.as_slice() else {
        panic!("{listed:?}");
    };
    assert_eq!((host.as_str(), error.fault), ("hv2", Fault::Unavailable));
    let nobody = hosts(&[NOBODY], "default-pool");
    let error = nobody.spent_grants(guest(), &service).await.unwrap_err();
    assert_eq!(error.fault, Fault::Unavailable, "{error}");
}

#[tokio::test]
async fn an_upload_that_fails_leaves_no_volume_behind() {
    let hosts = one();
    // The driver makes volumes, but takes no uploads.
    let image = File::open("/dev/null").unwrap();
    let error = hosts
        .store_image(&hv1(), &digest("2"), image, 4096)
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
    assert_eq!(hosts.image(&hv1(), &digest("2")).await.unwrap(), None);
}

#[tokio::test]
async fn an_image_larger_than_the_free_space_is_refused_before_anything_is_written() {
    let hosts = one();
    let image = File::open("/dev/null").unwrap();
    let error = hosts
        .store_image(&hv1(), &digest("3"), image, 1 << 60)
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
    assert!(
        error.message.contains("pool default-pool on hv1 is full"),
        "{error}"
    );
}

#[tokio::test]
async fn a_missing_pool_is_refused_with_the_commands_that_make_it() {
    let hosts = hosts(&[DRIVER], "handoverd");
    let error = hosts.image(&hv1(), &digest("4")).await.unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
    for words in [
        "hv1 has no storage pool handoverd",
        "pool-define-as handoverd dir",
        "pool-start handoverd",
    ] {
        assert!(error.message.contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_configured_is_refused() {
    let error = one()
        .image(&"hv9".parse().unwrap(), &digest("5"))
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Refused);
}

#[test]
fn hosts_of_one_name_and_no_host_at_all_are_refused() {
    let host = HostConfig {
        id: hv1(),
        uri: DRIVER.to_owned(),
        pool: "default-pool".to_owned(),
    };
    for hosts in [vec![], vec![host.clone(), host]] {
        let Err(error) = LibvirtHosts::connect(hosts, Timeouts::default()) else {
            panic!("it was taken");
        };
        assert_eq!(error.fault, Fault::Refused);
    }
}

#[tokio::test]
async fn a_change_of_a_domains_life_is_told_and_seen() {
    let hosts = one();
    let mut events = hosts.events();
    let domain = Connect::open(Some(DRIVER))
        .unwrap()
        .lookup_domain_by_name("test")
        .unwrap();
    // The callbacks are registered some time after `connect`: change it until it is told.
    let told = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            domain.suspend().unwrap();
            let state = hosts.inspect(guest()).await.unwrap().unwrap().summary.state;
            assert_eq!(state, DomainState::Paused);
            domain.resume().unwrap();
            let state = hosts.inspect(guest()).await.unwrap().unwrap().summary.state;
            assert_eq!(state, DomainState::Running);
            while let Ok(event) = events.try_recv() {
                if event.kind == EventKind::Lifecycle(guest(), Lifecycle::Suspended) {
                    return event.host;
                }
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(told.await.unwrap(), hv1());
}
