//! Several writers at once.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use handoverd::model::name::NameChange;
use handoverd::ports::{NameServer, Swapped};
use tokio::sync::oneshot;

use crate::change::{create, owned, state, swap};
use crate::question::{Polled, poll};
use crate::server::{Running, Server};

on_every_server!(
    of_two_daemons_that_race_a_thousand_times_exactly_one_wins_and_the_name_never_vanishes,
    updates_of_others_that_fail_stop_nobody,
);

const NAME: &str = "web.svc.lab";

/// How often.
const RACES: u64 = 1000;

/// Two daemons move one name at the same time; a client asks for it a thousand times a second.
async fn of_two_daemons_that_race_a_thousand_times_exactly_one_wins_and_the_name_never_vanishes<S: Server>() {
    let server = Running::<S>::start().await;
    // Each has its queue and its connections; without a window they send at the same moment.
    let daemons = [(); 2].map(|()| server.primaries().with_window(Duration::ZERO));
    daemons[0].swap(&create(NAME, "10.0.0.1")).await.unwrap();
    let (stop, stopped) = oneshot::channel();
    let began = Instant::now();
    let poller = tokio::spawn(poll(server.address(), NAME, stopped));
    let mut owner = owned(1, "hv1");
    let mut address: IpAddr = "10.0.0.1".parse().unwrap();
    let mut wins = [0, 0];
    for round in 2..RACES + 2 {
        let bid = |host: &str, to: &str| NameChange {
            expect_ownership: Some(owner.clone()),
            expect_addresses: Some(vec![address]),
            ownership: Some(owned(round, host)),
            ..create(NAME, to)
        };
        let bids = [bid("hv1", "10.0.0.1"), bid("hv2", "10.0.0.2")];
        let (first, second) = tokio::join!(daemons[0].swap(&bids[0]), daemons[1].swap(&bids[1]));
        let ends = [first.unwrap(), second.unwrap()];
        let winner = usize::from(ends[1] == Swapped::Yes);
        owner = owned(round, ["hv1", "hv2"][winner]);
        let stands = state(&owner, &[["10.0.0.1", "10.0.0.2"][winner]]);
        assert_eq!(ends[winner], Swapped::Yes, "round {round}: {ends:?}");
        assert_eq!(ends[1 - winner], Swapped::No(stands.clone()), "round {round}");
        let name = NAME.parse().unwrap();
        assert_eq!(daemons[0].read(&name).await.unwrap(), stands, "round {round}");
        address = stands.addresses[0];
        wins[winner] += 1;
    }
    stop.send(()).unwrap();
    let polled: Polled = poller.await.unwrap();
    let a_second = f64::from(polled.asked) / began.elapsed().as_secs_f64();
    println!("{RACES} races, won {wins:?}; the client saw {polled:?}, {a_second:.0} a second");
    assert_eq!(wins[0] + wins[1], RACES);
    assert_eq!((polled.vanished, polled.other), (0, 0), "{polled:?}");
    assert!(polled.good > 0, "{polled:?}");
}

/// Knot answers SERVFAIL to an update that comes together with one that fails.
async fn updates_of_others_that_fail_stop_nobody<S: Server>() {
    let server = Running::<S>::start().await;
    let (good, bad) = (server.primaries(), server.primaries());
    let (good, bad) = (good.with_window(Duration::ZERO), bad.with_window(Duration::ZERO));
    good.swap(&create("bad.svc.lab", "10.0.0.9")).await.unwrap();
    let stale = swap("bad.svc.lab", "10.0.0.7", "10.0.0.8");
    for round in 0..50 {
        let change = create(&format!("web{round}.svc.lab"), "10.0.0.1");
        let (end, refused) = tokio::join!(good.swap(&change), bad.swap(&stale));
        assert_eq!(end.unwrap(), Swapped::Yes, "round {round}");
        assert!(matches!(refused.unwrap(), Swapped::No(_)), "round {round}");
    }
}
