//! Changes that are made, and changes that a prerequisite keeps from being made.

use std::net::IpAddr;

use handoverd::model::name::NameChange;
use handoverd::ports::{NameServer, Swapped};

use crate::change::{absent, create, owned, state, swap};
use crate::server::{Running, Server};

on_every_server!(
    an_absent_name_reads_as_nothing,
    an_absent_name_is_created_with_its_owner,
    a_name_that_exists_is_not_created_again,
    a_claimed_name_without_addresses_counts_as_free_for_its_claimer,
    a_swap_replaces_owner_and_addresses_and_may_be_sent_twice,
    a_stale_owner_or_a_stale_address_changes_nothing,
    addresses_of_both_families_are_swapped_together,
    a_removed_name_is_gone_and_may_be_created_again,
    of_two_writers_that_race_exactly_one_wins_each_time,
    a_server_that_crashed_and_came_back_keeps_what_it_acknowledged,
);

async fn an_absent_name_reads_as_nothing<S: Server>() {
    let server = Running::<S>::start().await;
    let records = server
        .primaries()
        .read(&"absent.svc.lab".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(records, absent());
}

async fn an_absent_name_is_created_with_its_owner<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    let change = create("web.svc.lab", "10.0.0.1");
    assert_eq!(primaries.swap(&change).await.unwrap(), Swapped::Yes);
    assert_eq!(
        primaries.read(&change.name).await.unwrap(),
        state(&owned(1, "hv1"), &["10.0.0.1"])
    );
}

async fn a_name_that_exists_is_not_created_again<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    primaries.swap(&create("web.svc.lab", "10.0.0.1")).await.unwrap();
    let mut late = create("web.svc.lab", "10.0.0.9");
    late.ownership = Some(owned(1, "hv9"));
    assert_eq!(
        primaries.swap(&late).await.unwrap(),
        Swapped::No(state(&owned(1, "hv1"), &["10.0.0.1"]))
    );
}

async fn a_claimed_name_without_addresses_counts_as_free_for_its_claimer<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    let claim = "claim=6f1d5a2e-0000-4000-8000-000000000007".parse().unwrap();
    let reserve = NameChange {
        ownership: Some(claim),
        addresses: None,
        ..create("web.svc.lab", "10.0.0.1")
    };
    assert_eq!(primaries.swap(&reserve).await.unwrap(), Swapped::Yes);
    // The TXT below makes the name an empty non-terminal, which RFC 2136 section 2.4.5 counts as not in use.
    let publish = NameChange {
        expect_ownership: reserve.ownership.clone(),
        ..create("web.svc.lab", "10.0.0.1")
    };
    assert_eq!(primaries.swap(&publish).await.unwrap(), Swapped::Yes);
    assert_eq!(
        primaries.read(&publish.name).await.unwrap(),
        state(&owned(1, "hv1"), &["10.0.0.1"])
    );
}

async fn a_swap_replaces_owner_and_addresses_and_may_be_sent_twice<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    primaries.swap(&create("web.svc.lab", "10.0.0.1")).await.unwrap();
    let change = swap("web.svc.lab", "10.0.0.1", "10.0.0.2");
    for attempt in ["first", "again"] {
        assert_eq!(primaries.swap(&change).await.unwrap(), Swapped::Yes, "{attempt}");
        assert_eq!(
            primaries.read(&change.name).await.unwrap(),
            state(&owned(2, "hv2"), &["10.0.0.2"]),
            "{attempt}"
        );
    }
}

async fn a_stale_owner_or_a_stale_address_changes_nothing<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    primaries.swap(&create("web.svc.lab", "10.0.0.1")).await.unwrap();
    let good = swap("web.svc.lab", "10.0.0.1", "10.0.0.2");
    let four = |a: &str| -> Vec<IpAddr> { vec![a.parse().unwrap()] };
    let stale = [
        NameChange {
            expect_ownership: Some(owned(0, "hv1")),
            ..good.clone()
        },
        NameChange {
            expect_ownership: None,
            ..good.clone()
        },
        NameChange {
            expect_addresses: Some(four("10.0.0.7")),
            ..good.clone()
        },
        NameChange {
            expect_addresses: Some(vec![]),
            ..good.clone()
        },
        NameChange {
            expect_addresses: Some(["10.0.0.1", "fd00::1"].map(|a| a.parse().unwrap()).to_vec()),
            ..good.clone()
        },
        NameChange {
            expect_addresses: Some(four("fd00::1")),
            ..good.clone()
        },
        NameChange {
            expect_addresses: Some(["10.0.0.1", "10.0.0.7"].map(|a| a.parse().unwrap()).to_vec()),
            ..good.clone()
        },
    ];
    let before = state(&owned(1, "hv1"), &["10.0.0.1"]);
    for change in stale {
        assert_eq!(
            primaries.swap(&change).await.unwrap(),
            Swapped::No(before.clone()),
            "{change:?}"
        );
        assert_eq!(primaries.read(&change.name).await.unwrap(), before, "{change:?}");
    }
    assert_eq!(primaries.swap(&good).await.unwrap(), Swapped::Yes);
}

async fn addresses_of_both_families_are_swapped_together<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    let set = |addresses: &[&str]| -> Vec<IpAddr> { addresses.iter().map(|a| a.parse().unwrap()).collect() };
    let mut change = create("web.svc.lab", "10.0.0.1");
    change.addresses = Some((set(&["10.0.0.1", "fd00::1"]), 5));
    assert_eq!(primaries.swap(&change).await.unwrap(), Swapped::Yes);
    let mut change = swap("web.svc.lab", "10.0.0.1", "fd00::2");
    change.expect_addresses = Some(set(&["fd00::1", "10.0.0.1"]));
    assert_eq!(primaries.swap(&change).await.unwrap(), Swapped::Yes);
    assert_eq!(
        primaries.read(&change.name).await.unwrap(),
        state(&owned(2, "hv2"), &["fd00::2"])
    );
}

async fn a_removed_name_is_gone_and_may_be_created_again<S: Server>() {
    let server = Running::<S>::start().await;
    let primaries = server.primaries();
    let change = create("web.svc.lab", "10.0.0.1");
    primaries.swap(&change).await.unwrap();
    let remove = NameChange {
        ownership: None,
        addresses: Some((vec![], 0)),
        ..swap("web.svc.lab", "10.0.0.1", "10.0.0.2")
    };
    for attempt in ["first", "again"] {
        assert_eq!(primaries.swap(&remove).await.unwrap(), Swapped::Yes, "{attempt}");
        assert_eq!(primaries.read(&remove.name).await.unwrap(), absent());
    }
    assert_eq!(primaries.swap(&change).await.unwrap(), Swapped::Yes);
}

async fn of_two_writers_that_race_exactly_one_wins_each_time<S: Server>() {
    let server = Running::<S>::start().await;
    let (one, two) = (server.primaries(), server.primaries());
    one.swap(&create("web.svc.lab", "10.0.0.1")).await.unwrap();
    let mut owner = owned(1, "hv1");
    let mut address: IpAddr = "10.0.0.1".parse().unwrap();
    let mut wins = [0, 0];
    for round in 2..102 {
        let bid = |host: &str, to: &str| NameChange {
            expect_ownership: Some(owner.clone()),
            expect_addresses: Some(vec![address]),
            ownership: Some(owned(round, host)),
            ..create("web.svc.lab", to)
        };
        let bids = [bid("hv1", "10.0.0.1"), bid("hv2", "10.0.0.2")];
        let (first, second) = tokio::join!(one.swap(&bids[0]), two.swap(&bids[1]));
        let ends = [first.unwrap(), second.unwrap()];
        let winner = usize::from(ends[1] == Swapped::Yes);
        let expected = state(
            &owned(round, ["hv1", "hv2"][winner]),
            &[["10.0.0.1", "10.0.0.2"][winner]],
        );
        assert_eq!(ends[winner], Swapped::Yes, "round {round}: {ends:?}");
        assert_eq!(ends[1 - winner], Swapped::No(expected.clone()), "round {round}");
        owner = owned(round, ["hv1", "hv2"][winner]);
        address = expected.addresses[0];
        wins[winner] += 1;
    }
    assert_eq!(wins[0] + wins[1], 100);
}

async fn a_server_that_crashed_and_came_back_keeps_what_it_acknowledged<S: Server>() {
    let mut server = Running::<S>::start().await;
    let primaries = server.primaries();
    primaries.swap(&create("web.svc.lab", "10.0.0.1")).await.unwrap();
    server.restart().await;
    let before = state(&owned(1, "hv1"), &["10.0.0.1"]);
    let change = swap("web.svc.lab", "10.0.0.1", "10.0.0.2");
    assert_eq!(primaries.read(&change.name).await.unwrap(), before);
    assert_eq!(primaries.swap(&change).await.unwrap(), Swapped::Yes);
    server.restart().await;
    assert_eq!(
        primaries.read(&change.name).await.unwrap(),
        state(&owned(2, "hv2"), &["10.0.0.2"])
    );
}
