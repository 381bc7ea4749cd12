use std::net::IpAddr;

use super::*;
use crate::handover::goals::Kind;
use crate::handover::record::ClaimedFrom;
use crate::handover::record::tests::{facts, handover};
use crate::model::guest::UnitState;
use crate::model::ids::{Generation, GuestId, HandoverId};
use crate::model::name::{Owner, Ownership};
use crate::model::service::ServiceRecord;

const ONE: &str = "6f1d5a2e-0000-4000-8000-000000000001";
const TWO: &str = "6f1d5a2e-0000-4000-8000-000000000002";

fn guest(text: &str) -> GuestId {
    text.parse().unwrap()
}

fn service() -> ServiceRecord {
    ServiceRecord {
        volume: None,
        id: "web".parse().unwrap(),
        bundle: "0".repeat(64).parse().unwrap(),
        guest: guest(ONE),
        guest_name: "g1".into(),
        host: "hv1".parse().unwrap(),
        addresses: vec![IpAddr::from([10, 77, 0, 101])],
        wanted: LifeState::Accessible,
        observed: LifeState::Accessible,
        observed_at: 0,
        enablement: Enablement::Enabled,
        dns: None,
        generation: Generation(1),
        uid: None,
        frozen: None,
        files: vec![],
    }
}

fn owner(generation: u64, guest_id: &str) -> Owner {
    Owner {
        generation: Generation(generation),
        host: "hv1".parse().unwrap(),
        guest: guest(guest_id),
        after: None,
    }
}

fn zone(last: u8, ownership: &[&Ownership]) -> NameRecords {
    NameRecords {
        addresses: vec![IpAddr::from([10, 77, 0, last])],
        ttl: 5,
        ownership: ownership.iter().map(ToString::to_string).collect(),
        ..NameRecords::default()
    }
}

fn unit(active: &str) -> UnitState {
    UnitState {
        unit: "web.service".into(),
        load: "loaded".into(),
        active: active.into(),
        sub: "x".into(),
        result: "success".into(),
    }
}

#[test]
fn a_name_is_claimed_only_from_the_owner_and_address_that_the_table_knows() {
    let (h, s) = (handover(ONE), service());
    let free = Ownership::Free(owner(1, ONE));
    let mine = Ownership::Claimed(h.id, Some(owner(1, ONE)));
    let other = Ownership::Claimed(HandoverId(TWO.parse().unwrap()), Some(owner(1, ONE)));
    assert_eq!(claimable(&h, Some(&s), &zone(101, &[&mine])), Claimable::Ours);
    assert!(matches!(
        claimable(&h, Some(&s), &zone(101, &[&free])),
        Claimable::From { .. }
    ));
    let refused = [
        ("another address", zone(9, &[&free])),
        (
            "another generation",
            zone(101, &[&Ownership::Free(owner(7, ONE))]),
        ),
        ("another guest", zone(101, &[&Ownership::Free(owner(1, TWO))])),
        ("another handover's claim", zone(101, &[&other])),
        ("no owner", zone(101, &[])),
        ("two owners", zone(101, &[&free, &mine])),
    ];
    for (what, records) in refused {
        assert!(
            matches!(claimable(&h, Some(&s), &records), Claimable::No(_)),
            "{what}"
        );
    }
    let alias = NameRecords {
        cname: Some("x.svc.lab.".into()),
        ..NameRecords::default()
    };
    assert!(matches!(claimable(&h, None, &alias), Claimable::No(r) if r.name == "NameIsAlias"));
}

#[test]
fn a_name_that_is_there_is_taken_at_a_deploy_only_when_told_to() {
    let mut h = handover(ONE);
    let there = zone(9, &[]);
    // The second: what a deploy that went back has left beside the addresses that it was to take over.
    for there in [
        &there,
        &zone(9, &[&Ownership::Aborted(HandoverId(uuid::Uuid::max()), None)]),
    ] {
        assert!(matches!(claimable(&h, None, there), Claimable::No(r) if r.name == "NameTaken"));
    }
    assert!(matches!(
        claimable(&h, None, &NameRecords::default()),
        Claimable::From { .. }
    ));
    h.facts.take_over = true;
    assert_eq!(
        claimable(&h, None, &there),
        Claimable::From {
            owner: None,
            expect: None
        }
    );
}

#[test]
fn only_the_zone_says_whether_a_sent_update_arrived() {
    let h = handover(ONE);
    let new = Ownership::Free(h.new_owner());
    assert_eq!(published(&h, &zone(102, &[&new])), Seen::Holds);
    assert!(matches!(
        published(&h, &zone(101, &[&h.claim()])),
        Seen::Missing(_)
    ));
    assert!(matches!(published(&h, &zone(9, &[&new])), Seen::Never(_)));
    assert!(matches!(published(&h, &zone(101, &[])), Seen::Never(_)));
    assert_eq!(withdrawn(&h, &zone(102, &[&new])), Seen::Committed);
    assert!(matches!(
        withdrawn(&h, &zone(101, &[&h.claim()])),
        Seen::Missing(_)
    ));
    assert_eq!(withdrawn(&h, &zone(101, &[&h.withdrawal()])), Seen::Holds);
}

#[test]
fn a_claim_that_may_still_arrive_is_not_released_until_its_text_has_changed() {
    let mut h = handover(ONE);
    let before = owner(1, ONE);
    h.facts.old_owner = Some(before.clone());
    h.facts.claim_sent = true;
    let free = zone(101, &[&Ownership::Free(before)]);
    let missing = |seen| matches!(seen, Seen::Missing(_));
    assert!(missing(released(&h, &zone(101, &[&h.claim()]))));
    assert!(missing(released(&h, &zone(101, &[&h.withdrawal()]))));
    assert!(missing(released(&h, &free)), "what the late claim expects");
    let given_back = h.release().unwrap();
    assert_eq!(released(&h, &zone(101, &[&given_back])), Seen::Holds);
    h.facts.claim_seen = true;
    assert_eq!(released(&h, &free), Seen::Holds, "no claim is under way any more");
}

#[test]
fn a_deploy_leaves_its_withdrawal_where_its_claim_may_still_arrive() {
    let mut h = handover(ONE);
    h.kind = Kind::Deploy;
    h.facts.claim_sent = true;
    h.facts.old_addresses.clear();
    let nothing = NameRecords::default();
    assert!(matches!(released(&h, &nothing), Seen::Missing(_)));
    let left = NameRecords {
        ownership: vec![h.withdrawal().to_string()],
        ..NameRecords::default()
    };
    assert_eq!(released(&h, &left), Seen::Holds);
    // The next deploy takes its place.
    let next = handover(TWO);
    assert_eq!(
        claimable(&next, None, &left),
        Claimable::From {
            owner: None,
            expect: Some(h.withdrawal())
        }
    );
    h.facts.claim_seen = true;
    assert_eq!(released(&h, &nothing), Seen::Holds);
}

#[test]
fn a_removal_that_was_sent_is_settled_by_the_zone_alone() {
    let mut h = handover(ONE);
    h.kind = Kind::Remove;
    let gone = NameRecords::default();
    assert_eq!(unpublished(&h, &gone), Seen::Holds);
    assert_eq!(republished(&h, &gone), Seen::Committed);
    let claimed = zone(101, &[&h.claim()]);
    assert!(matches!(unpublished(&h, &claimed), Seen::Missing(_)));
    assert!(matches!(republished(&h, &claimed), Seen::Missing(_)));
    assert_eq!(republished(&h, &zone(101, &[&h.withdrawal()])), Seen::Holds);
    let foreign = zone(101, &[&Ownership::Free(owner(7, TWO))]);
    assert!(matches!(unpublished(&h, &foreign), Seen::Never(_)));
    // A name without an owner is not ours to remove.
    assert!(is_left_alone(Kind::Remove, &gone));
    assert!(!is_left_alone(Kind::Deploy, &gone));
}

#[test]
fn what_an_operator_did_in_the_guest_is_adopted() {
    let s = service();
    let at_home = zone(101, &[&Ownership::Free(owner(1, ONE))]);
    let copy = |active: &str, enablement| CopyState {
        units: vec![unit(active)],
        enablement,
        was_up: true,
        ..CopyState::default()
    };
    let cases = [
        (
            "active",
            Enablement::Enabled,
            LifeState::Accessible,
            Enablement::Enabled,
        ),
        (
            "active",
            Enablement::Disabled,
            LifeState::Accessible,
            Enablement::Disabled,
        ),
        (
            "inactive",
            Enablement::Disabled,
            LifeState::Stopped,
            Enablement::Enabled,
        ),
        (
            "inactive",
            Enablement::Masked,
            LifeState::Stopped,
            Enablement::Masked,
        ),
        (
            "failed",
            Enablement::Disabled,
            LifeState::Failed,
            Enablement::Enabled,
        ),
    ];
    for (active, enablement, life, kept) in cases {
        assert_eq!(
            observed(&s, &copy(active, enablement), Some(&at_home)),
            (life, kept),
            "{active}"
        );
    }
    let elsewhere = zone(9, &[&Ownership::Free(owner(1, ONE))]);
    let up = copy("active", Enablement::Enabled);
    assert_eq!(observed(&s, &up, Some(&elsewhere)).0, LifeState::Running);
    assert_eq!(observed(&s, &up, None).0, LifeState::Running);
}

#[test]
fn what_has_not_been_up_since_its_guest_booted_was_stopped_by_nobody() {
    let s = service();
    let booted = |active: &str| CopyState {
        units: vec![unit(active)],
        ..CopyState::default()
    };
    assert_eq!(observed(&s, &booted("inactive"), None).0, s.wanted);
    assert!(s.wanted.wants_running());
    assert_eq!(observed(&s, &booted("failed"), None).0, LifeState::Failed);
    // It is on its way back after a crash; somebody disabled and stopped it.
    let crashed = CopyState {
        was_up: true,
        ..booted("activating")
    };
    assert_eq!(observed(&s, &crashed, None).0, s.wanted);
    let disabled = CopyState {
        enablement: Enablement::Disabled,
        ..booted("inactive")
    };
    assert_eq!(observed(&s, &disabled, None).0, LifeState::Stopped);
    assert!(is_down_unwanted(&crashed, s.wanted) && !is_down_unwanted(&disabled, LifeState::Stopped));
    let stopped = ServiceRecord {
        wanted: LifeState::Stopped,
        ..s
    };
    assert_eq!(
        observed(&stopped, &booted("inactive"), None).0,
        LifeState::Stopped
    );
}

#[test]
fn a_stage_holds_only_with_image_units_files_and_both_halves_of_the_disk() {
    let f = facts(LifeState::Accessible, true);
    let full = CopyState {
        installed: true,
        device: true,
        ..CopyState::default()
    };
    let judge = |image, halves, copy: &CopyState| stage(&f, "g2", None, image, halves, copy, false);
    assert_eq!(judge(true, (true, true), &full), Seen::Holds);
    assert!(matches!(judge(false, (true, true), &full), Seen::Missing(_)));
    assert!(matches!(judge(true, (false, true), &full), Seen::Missing(_)));
    assert!(matches!(judge(true, (true, false), &full), Seen::Missing(_)));
    let unseen = CopyState {
        device: false,
        ..full.clone()
    };
    assert_eq!(
        judge(true, (true, true), &unseen),
        Seen::Holds,
        "the start waits for the device"
    );
    let stopped = facts(LifeState::Stopped, true);
    let judged = stage(&stopped, "g2", None, true, (true, true), &unseen, false);
    assert!(
        matches!(judged, Seen::Pending { .. }),
        "nothing else waits for it"
    );
    let bare = CopyState {
        installed: false,
        ..full.clone()
    };
    assert!(matches!(judge(true, (true, true), &bare), Seen::Missing(_)));
    let stale = CopyState {
        files_differ: true,
        ..full
    };
    assert!(matches!(judge(true, (true, true), &stale), Seen::Missing(_)));
}

#[test]
fn a_stopped_service_is_not_staged_while_a_link_would_start_it() {
    let f = facts(LifeState::Stopped, true);
    let linked = CopyState {
        installed: true,
        device: true,
        links: 1,
        ..CopyState::default()
    };
    assert!(matches!(
        stage(&f, "g2", None, true, (true, true), &linked, false),
        Seen::Missing(_)
    ));
}

#[test]
fn another_uid_on_the_target_is_refused() {
    let mut f = facts(LifeState::Accessible, true);
    f.uid = Some(1000);
    let copy = |uid| CopyState {
        installed: true,
        device: true,
        uid,
        ..CopyState::default()
    };
    let judge = |uid| stage(&f, "g2", Some("www"), true, (true, true), &copy(uid), false);
    assert_eq!(judge(Some(1000)), Seen::Holds);
    assert!(matches!(judge(Some(1001)), Seen::Never(r) if r.text.contains("uid 1001 there and 1000")));
    assert!(matches!(judge(None), Seen::Never(_)));
}

#[test]
fn a_guest_has_no_trace_only_without_disk_units_and_files() {
    let clean = CopyState {
        units: vec![unit("inactive")],
        ..CopyState::default()
    };
    assert_eq!(gone((false, false), Some(&clean)), Seen::Holds);
    assert!(matches!(gone((true, false), Some(&clean)), Seen::Missing(_)));
    assert!(matches!(gone((false, true), None), Seen::Missing(_)));
    let left = CopyState {
        present: vec!["/opt/web".into()],
        ..clean.clone()
    };
    assert!(matches!(gone((false, false), Some(&left)), Seen::Missing(w) if w.contains("/opt/web")));
    let up = CopyState {
        units: vec![unit("active")],
        ..clean
    };
    assert!(matches!(gone((false, false), Some(&up)), Seen::Missing(_)));
}

#[test]
fn a_file_system_that_does_not_mount_is_why_units_are_down() {
    let mut copy = CopyState {
        units: vec![],
        data: Some(crate::model::guest::DataState {
            device: true,
            mounted: false,
            filesystem: None,
            failed: Some("exit-code".into()),
        }),
        ..CopyState::default()
    };
    let told = |copy: &CopyState| match started(&facts(LifeState::Running, true), copy, 0) {
        Seen::Missing(why) => why,
        other => panic!("{other:?}"),
    };
    for (device, filesystem, part) in [
        (true, None, "(result exit-code; no file system is found on it)"),
        (true, Some("ext4"), "(result exit-code; ext4 is on it)"),
        (false, None, "(result exit-code; its disk is not there)"),
    ] {
        let data = copy.data.as_mut().unwrap();
        (data.device, data.filesystem) = (device, filesystem.map(str::to_owned));
        let why = told(&copy);
        assert!(why.contains(part) && why.contains("does not mount"), "{why}");
    }
    copy.data = None;
    assert!(!told(&copy).contains("data volume"));
}

#[test]
fn a_unit_that_went_down_after_its_start_is_not_confirmed() {
    let seen = |active: &str| {
        let copy = CopyState {
            units: vec![unit("active"), unit(active)],
            ..CopyState::default()
        };
        crate::handover::look::stays_up(&"web".parse().unwrap(), "g2", &copy)
    };
    assert_eq!(seen("active"), Seen::Holds);
    for down in ["failed", "inactive"] {
        let Seen::Never(reason) = seen(down) else {
            panic!("{down}")
        };
        assert_eq!(reason.name, "StartFailed");
        assert!(
            reason.text.contains("web does not start on g2") && reason.text.contains(down),
            "{reason:?}"
        );
    }
    // systemd is about to start it again.
    assert!(matches!(seen("activating"), Seen::Pending { .. }));
}

#[test]
fn clients_are_led_only_where_the_claim_and_the_targets_addresses_stand() {
    let h = handover(ONE);
    let mine = Ownership::Claimed(h.id, Some(owner(1, ONE)));
    let other = Ownership::Claimed(HandoverId(TWO.parse().unwrap()), Some(owner(1, ONE)));
    assert!(is_led(&h, &zone(102, &[&mine])));
    assert!(!is_led(&h, &zone(101, &[&mine])), "the source's address");
    assert!(!is_led(&h, &zone(102, &[&other])), "another handover's claim");
    assert!(
        !is_led(&h, &zone(102, &[&Ownership::Free(owner(1, ONE))])),
        "no claim"
    );
    assert!(matches!(published(&h, &zone(102, &[&mine])), Seen::Missing(_)));
    assert!(matches!(withdrawn(&h, &zone(102, &[&mine])), Seen::Missing(_)));
}

#[test]
fn a_claim_is_waited_for_where_anything_stands_that_it_was_ever_sent_for() {
    let mut h = handover(ONE);
    h.kind = Kind::Deploy;
    h.facts.claim_sent = true;
    let from = |ownership, addresses: &[IpAddr]| ClaimedFrom {
        ownership,
        addresses: addresses.to_vec(),
    };
    let of_somebody: IpAddr = "10.77.0.9".parse().unwrap();
    h.facts.claimed_from = vec![
        from(None, &[]),
        from(Some(Ownership::Aborted(HandoverId(uuid::Uuid::nil()), None)), &[]),
    ];
    let missing = |seen| matches!(seen, Seen::Missing(_));
    assert!(missing(released(&h, &NameRecords::default())));
    let without_owner = NameRecords {
        addresses: vec![of_somebody],
        ttl: 60,
        ..NameRecords::default()
    };
    assert_eq!(released(&h, &without_owner), Seen::Holds, "it was not there");
    h.facts.claimed_from.push(from(None, &[of_somebody]));
    assert!(missing(released(&h, &without_owner)), "it was to be taken over");
    let of_another = |text: &Ownership| NameRecords {
        ownership: vec![text.to_string()],
        ..NameRecords::default()
    };
    let expected = Ownership::Aborted(HandoverId(uuid::Uuid::nil()), None);
    assert!(missing(released(&h, &of_another(&expected))));
    let later = Ownership::Aborted(HandoverId(uuid::Uuid::max()), None);
    assert_eq!(released(&h, &of_another(&later)), Seen::Holds);
    h.facts.claim_seen = true;
    assert_eq!(
        released(&h, &of_another(&expected)),
        Seen::Holds,
        "it has arrived"
    );
}
