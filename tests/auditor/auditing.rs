//! A whole audit: what it finds, what it does by itself, what only when told.

use handoverd::audit::finding::Kind;
use handoverd::audit::run::{Hand, Outcome, Report, once};
use handoverd::handover::world::World;
use handoverd::model::guest::CopyState;
use handoverd::model::life::{Enablement, LifeState};
use handoverd::model::service::ServiceRecord;

use super::cluster::{MARK, NOW, copy, guest};
use super::{Healthy, NAME, disk, web};

async fn audit(world: &World, hand: Hand) -> Report {
    once(world, None, hand).await.unwrap()
}

async fn service(world: &World) -> ServiceRecord {
    world.table.service(&web()).await.unwrap().unwrap()
}

fn told(report: &Report) -> Vec<(Kind, Outcome)> {
    report
        .findings
        .iter()
        .map(|audited| (audited.finding.kind, audited.outcome.clone()))
        .collect()
}

#[tokio::test]
async fn where_all_agree_nothing_is_found_or_done_and_what_was_seen_is_written() {
    let f = Healthy::new();
    let world = f.cluster.world(f.table());
    let report = audit(&world, Hand::Repair(MARK)).await;
    assert_eq!((told(&report), report.checked), (vec![], 1));
    assert_eq!(f.cluster.deeds(), Vec::<String>::new());
    let seen = service(&world).await;
    assert_eq!((seen.observed, seen.observed_at), (LifeState::Accessible, NOW));
    assert_eq!(seen.wanted, LifeState::Accessible);
}

#[tokio::test]
async fn an_operators_stop_is_adopted_once_and_stays_adopted() {
    let f = Healthy::new();
    let world = f.cluster.world(f.table());
    let stopped = CopyState {
        was_up: true,
        ..copy(&f.placement, "inactive")
    };
    f.cluster.state().copies.insert((web(), guest(1)), stopped);

    let report = audit(&world, Hand::Still).await;
    assert_eq!(told(&report), [(Kind::StoppedByHand, Outcome::Reported)]);
    assert_eq!(
        service(&world).await.wanted,
        LifeState::Accessible,
        "who only looks adopts nothing"
    );

    let report = audit(&world, Hand::ByItself).await;
    assert_eq!(told(&report), [(Kind::StoppedByHand, Outcome::Done)]);
    let adopted = service(&world).await;
    assert_eq!(
        (adopted.wanted, adopted.enablement),
        (LifeState::Stopped, Enablement::Enabled)
    );
    assert_eq!(
        f.cluster.deeds(),
        ["Stop"],
        "its links go, so that it stays stopped"
    );
    assert_eq!(told(&audit(&world, Hand::ByItself).await), []);
    assert_eq!(f.cluster.deeds(), Vec::<String>::new());
}

#[tokio::test]
async fn an_operators_start_is_adopted_and_linked() {
    let f = Healthy::new();
    let world = f.cluster.world(f.table());
    let row = ServiceRecord {
        wanted: LifeState::Stopped,
        ..service(&world).await
    };
    world.table.observe(&row).await.unwrap();
    let started = CopyState {
        links: 0,
        enablement: Enablement::Disabled,
        ..copy(&f.placement, "active")
    };
    f.cluster.state().copies.insert((web(), guest(1)), started);
    assert_eq!(
        told(&audit(&world, Hand::ByItself).await),
        [(Kind::StartedByHand, Outcome::Done)]
    );
    let adopted = service(&world).await;
    assert_eq!(
        (adopted.wanted, adopted.enablement),
        (LifeState::Accessible, Enablement::Enabled)
    );
    assert_eq!(f.cluster.deeds(), ["Link(Enabled)"]);
    assert_eq!(told(&audit(&world, Hand::ByItself).await), []);
}

#[tokio::test]
async fn what_is_down_since_its_guest_booted_is_started_and_what_is_disabled_stays_disabled() {
    let f = Healthy::new();
    let world = f.cluster.world(f.table());
    let row = ServiceRecord {
        enablement: Enablement::Disabled,
        ..service(&world).await
    };
    world.table.observe(&row).await.unwrap();
    let booted = CopyState {
        links: 0,
        enablement: Enablement::Disabled,
        ..copy(&f.placement, "inactive")
    };
    f.cluster.state().copies.insert((web(), guest(1)), booted);
    assert_eq!(
        told(&audit(&world, Hand::ByItself).await),
        [(Kind::DownAfterBoot, Outcome::Done)]
    );
    assert_eq!(f.cluster.deeds(), ["Start(Disabled)"]);
    assert_eq!(told(&audit(&world, Hand::ByItself).await), []);
    let row = service(&world).await;
    assert_eq!(
        (row.wanted, row.enablement),
        (LifeState::Accessible, Enablement::Disabled)
    );
}

#[tokio::test]
async fn a_disabled_copy_that_was_started_by_hand_is_noted_once_as_up() {
    let f = Healthy::new();
    let world = f.cluster.world(f.table());
    let row = ServiceRecord {
        enablement: Enablement::Disabled,
        ..service(&world).await
    };
    world.table.observe(&row).await.unwrap();
    let up = CopyState {
        links: 0,
        enablement: Enablement::Disabled,
        was_up: false,
        ..copy(&f.placement, "active")
    };
    f.cluster.state().copies.insert((web(), guest(1)), up);
    assert_eq!(told(&audit(&world, Hand::ByItself).await), []);
    assert_eq!(f.cluster.deeds(), ["Link(Disabled)"]);
    assert_eq!(told(&audit(&world, Hand::ByItself).await), []);
    assert_eq!(f.cluster.deeds(), Vec::<String>::new());
}

#[tokio::test]
async fn a_licence_that_came_back_with_an_old_xml_is_taken_only_when_told() {
    let f = Healthy::new();
    let world = f.cluster.world(f.table());
    let defined = |f: &Healthy| {
        let mut state = f.cluster.state();
        let config = state.guests.get_mut(&guest(2)).unwrap().config.as_mut().unwrap();
        config.disks.push(disk(&f.bundle, 2));
    };
    defined(&f);
    let report = audit(&world, Hand::ByItself).await;
    assert_eq!(
        told(&report),
        [(Kind::DiskStray, Outcome::Reported)],
        "somebody may have meant it so"
    );
    assert_eq!(f.cluster.deeds(), Vec::<String>::new());
    let report = audit(&world, Hand::Repair(MARK)).await;
    assert_eq!(told(&report), [(Kind::DiskStray, Outcome::Done)]);
    assert_eq!(f.cluster.deeds(), ["take Config", "Uninstall"]);
    assert_eq!(told(&audit(&world, Hand::Still).await), []);
}

#[tokio::test]
async fn a_disk_that_an_old_xml_lost_is_given_back_where_the_running_machine_has_it() {
    let f = Healthy::new();
    let world = f.cluster.world(f.table());
    {
        let mut state = f.cluster.state();
        let home = state.guests.get_mut(&guest(1)).unwrap();
        home.config.as_mut().unwrap().disks.clear();
        home.summary.controller = None;
    }
    let report = audit(&world, Hand::Repair(MARK)).await;
    assert_eq!(
        told(&report),
        [
            (Kind::NoController, Outcome::Done),
            (Kind::DiskMissing, Outcome::Done)
        ]
    );
    assert_eq!(
        f.cluster.deeds(),
        ["claim hv1", "give Config"],
        "what runs is not touched"
    );
    let state = f.cluster.state();
    let home = &state.guests[&guest(1)];
    assert_eq!(
        home.config.as_ref().unwrap().disks,
        home.live.as_ref().unwrap().disks
    );
}

#[tokio::test]
async fn a_changed_address_is_put_right_by_one_swap_and_a_foreign_owner_never() {
    let f = Healthy::new();
    let world = f.cluster.world(f.table());
    let name = NAME.parse().unwrap();
    let wrong = vec![std::net::IpAddr::from([10, 77, 0, 9])];
    f.cluster.state().names.get_mut(&name).unwrap().addresses = wrong;
    assert_eq!(
        told(&audit(&world, Hand::Repair(MARK)).await),
        [(Kind::AddressDiffers, Outcome::Done)]
    );
    assert_eq!(f.cluster.deeds(), ["swap"]);
    let theirs = "g=9 host=hv2 guest=6f1d5a2e-0000-4000-8000-000000000002";
    f.cluster.state().names.get_mut(&name).unwrap().ownership = vec![theirs.into()];
    assert_eq!(
        told(&audit(&world, Hand::Repair(MARK)).await),
        [(Kind::OwnerDiffers, Outcome::Reported)]
    );
    assert_eq!(f.cluster.deeds(), Vec::<String>::new());
}

#[tokio::test]
async fn an_owner_that_a_repair_writes_is_a_text_that_no_claim_has_ever_expected() {
    let f = Healthy::new();
    let world = f.cluster.world(f.table());
    let name = NAME.parse().unwrap();
    f.cluster.state().names.get_mut(&name).unwrap().ownership.clear();
    assert_eq!(
        told(&audit(&world, Hand::Repair(MARK)).await),
        [(Kind::OwnerDiffers, Outcome::Done)]
    );
    let written = f.cluster.state().names[&name].ownership.join(" ");
    assert!(written.ends_with(&format!(" after={MARK}")), "{written}");
    assert_eq!(told(&audit(&world, Hand::Still).await), []);
}

#[tokio::test]
async fn a_silent_guest_is_told_and_nothing_of_it_is_taken_for_known() {
    let f = Healthy::new();
    let world = f.cluster.world(f.table());
    f.cluster.state().silent.insert(guest(1));
    let report = audit(&world, Hand::Repair(MARK)).await;
    assert_eq!(told(&report), [(Kind::CannotTell, Outcome::Reported)]);
    assert_eq!(report.findings[0].finding.copies.unasked, 1);
    assert_eq!(service(&world).await.observed_at, 1, "its age tells since when");
}

#[tokio::test]
async fn what_needs_a_job_is_left_to_the_caller() {
    let f = Healthy::new();
    let world = f.cluster.world(f.table());
    let failed = copy(&f.placement, "failed");
    f.cluster.state().copies.insert((web(), guest(1)), failed);
    assert_eq!(
        told(&audit(&world, Hand::ByItself).await),
        [(Kind::Down, Outcome::Reported)]
    );
    assert_eq!(
        told(&audit(&world, Hand::Repair(MARK)).await),
        [(Kind::Down, Outcome::NeedsJob)]
    );
    assert_eq!(service(&world).await.observed, LifeState::Failed);
    assert_eq!(f.cluster.deeds(), Vec::<String>::new());
}

#[tokio::test]
async fn a_service_that_is_frozen_is_left_alone() {
    use handoverd::adapters::sqlite::anew::{Contents, Vacant};
    let f = Healthy::new();
    let service = ServiceRecord {
        frozen: Some("job 7 is stuck".into()),
        ..super::row(&f.bundle)
    };
    std::fs::remove_file(&f.place.path).unwrap();
    let contents = Contents {
        bundles: std::slice::from_ref(&f.bundle),
        services: &[&service],
        attempts: &[],
    };
    Vacant::take(&f.place.path).unwrap().write(contents).unwrap();
    let world = f.cluster.world(f.table());
    f.cluster.state().names.clear();
    f.cluster
        .state()
        .guests
        .get_mut(&guest(1))
        .unwrap()
        .config
        .as_mut()
        .unwrap()
        .disks
        .clear();
    assert_eq!(told(&audit(&world, Hand::Repair(MARK)).await), []);
    assert_eq!(f.cluster.deeds(), Vec::<String>::new());
}
