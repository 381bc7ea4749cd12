//! (b) Random walks: several requests, any faults, any weather, in any order; shrunk to the shortest that breaks something.

use handoverd::adapters::sim::call::PortFault;
use handoverd::adapters::sim::daemon::Simulation;
use handoverd::model::ids::JobId;
use handoverd::requests::{DeployOptions, MoveOptions};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::faults::{At, FAULTS, Weather, comes_after, mishap};
use crate::kinds::{KINDS, Kind};

/// What an operator asks in the middle of a walk.
#[derive(Debug, Clone, Copy)]
enum Wish {
    Move(u8),
    Deploy(u8),
    /// To this version, which may be the one before.
    Upgrade(char),
    Start,
    Stop,
    Remove,
    Cancel,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    call: u64,
    fault: Option<PortFault>,
    weather: Weather,
}

/// A walk.
#[derive(Debug, Clone)]
struct Walk {
    kind: usize,
    wishes: Vec<(u64, Wish)>,
    troubles: Vec<Trouble>,
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        4 => (1_u8..=3).prop_map(Wish::Move),
        1 => (1_u8..=3).prop_map(Wish::Deploy),
        2 => prop::sample::select(&['1', '2', '3'][..]).prop_map(Wish::Upgrade),
        1 => Just(Wish::Start),
        1 => Just(Wish::Stop),
        1 => Just(Wish::Remove),
        2 => Just(Wish::Cancel),
    ]
}

fn weather() -> impl Strategy<Value = Weather> {
    let guest = 1_u8..=3;
    prop_oneof![
        6 => Just(Weather::Nothing),
        1 => guest.clone().prop_map(Weather::Dies),
        2 => guest.clone().prop_map(Weather::ColdBoots),
        2 => guest.clone().prop_map(Weather::WarmReboots),
        1 => guest.clone().prop_map(Weather::Silent),
        1 => Just(Weather::NamesDown),
        1 => Just(Weather::LibvirtKilled),
        1 => guest.clone().prop_map(Weather::Saved),
        1 => guest.clone().prop_map(Weather::ChecksFail),
        1 => guest.prop_map(Weather::Migrated),
    ]
}

fn walk() -> impl Strategy<Value = Walk> {
    let fault = prop_oneof![
        1 => Just(None),
        2 => prop::sample::select(&FAULTS[..]).prop_map(Some),
    ];
    let trouble =
        (0_u64..260, fault, weather()).prop_map(|(call, fault, weather)| Trouble { call, fault, weather });
    (
        0..KINDS.len(),
        prop::collection::vec((0_u64..20_000, wish()), 0..3),
        prop::collection::vec(trouble, 0..5),
    )
        .prop_map(|(kind, wishes, troubles)| Walk {
            kind,
            wishes,
            troubles,
        })
}

fn ask(simulation: &mut Simulation, kind: Kind, wish: Wish) {
    let bundle = move |version| kind.cast.bundle("web", version).unwrap().digest.to_string();
    let newest = {
        let inner = simulation.shared.lock();
        let jobs = inner
            .world
            .tables
            .values()
            .filter_map(|t| t.jobs.last_key_value());
        jobs.map(|(id, _)| *id).max().unwrap_or(JobId(1))
    };
    drop(simulation.request(move |requests| async move {
        match wish {
            Wish::Move(n) => {
                requests
                    .move_("web", &format!("g{n}"), MoveOptions::default(), "walk")
                    .await
            }
            Wish::Deploy(n) => {
                let (bundle, target) = (bundle('1'), format!("g{n}"));
                requests
                    .deploy(&bundle, &target, DeployOptions::default(), "walk")
                    .await
            }
            Wish::Upgrade(version) => {
                requests
                    .upgrade("web", &bundle(version), None, MoveOptions::default(), "walk")
                    .await
            }
            Wish::Start => requests.start("web", "walk").await,
            Wish::Stop => requests.stop("web", "walk").await,
            Wish::Remove => requests.remove("web", false, "walk").await,
            Wish::Cancel => requests.jobs.cancel(newest, "walk").await.map(|()| newest),
        }
    }));
}

/// What a walk breaks, with its story; empty if nothing.
fn go(walk: &Walk) -> Option<String> {
    let kind = KINDS[walk.kind];
    let plan = walk
        .troubles
        .iter()
        .map(|t| {
            (
                t.call,
                mishap(t.fault, t.weather, t.fault.is_some_and(comes_after)),
            )
        })
        .collect();
    let (mut simulation, _answer) = kind.begin(Box::new(At { plan }));
    for (span, wish) in &walk.wishes {
        simulation.run(*span, |inner| !inner.violations.is_empty());
        ask(&mut simulation, kind, *wish);
    }
    simulation.run(1_000, |inner| !inner.violations.is_empty());
    let violations = simulation.settle();
    if violations.is_empty() {
        return None;
    }
    let told: Vec<String> = violations.iter().map(ToString::to_string).collect();
    Some(format!("{}\n{}", told.join("\n"), simulation.story()))
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

/// Walks with this seed; tells the shortest that breaks something.
fn search(seed: u64, cases: u32) -> Result<(), String> {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 400,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let outcome = TestRunner::new_with_rng(config, rng).run(&walk(), |walk| match go(&walk) {
        None => Ok(()),
        Some(story) => Err(TestCaseError::fail(story)),
    });
    match outcome {
        Ok(()) => Ok(()),
        Err(TestError::Fail(why, walk)) => Err(format!(
            "seed {seed}: the walk\n{:?} {}\n{walk:?}\nbroke {why}",
            walk.kind, KINDS[walk.kind].name
        )),
        Err(TestError::Abort(why)) => Err(format!("seed {seed}: {why}")),
    }
}

/// `SEEDS` walks (10,000) from seed `SEED` on; both are printed.
#[test]
fn no_random_walk_breaks_an_invariant() {
    let (first, walks) = (number("SEED", 1), number("SEEDS", 10_000));
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let each = walks.div_ceil(u64::try_from(workers).unwrap());
    let begun = std::time::Instant::now();
    let broken: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (first..)
            .take(workers)
            .map(|seed| scope.spawn(move || search(seed, u32::try_from(each).unwrap())))
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.filter_map(Result::err).collect()
    });
    println!(
        "walks: {} of seeds {first}..{} in {:.1} s, {} broke an invariant",
        each * u64::try_from(workers).unwrap(),
        first + u64::try_from(workers).unwrap(),
        begun.elapsed().as_secs_f64(),
        broken.len()
    );
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

/// Kind, wishes and troubles of walks that were found by the million.
#[test]
fn walks_that_once_broke_an_invariant_do_so_no_more() {
    let kind = |name: &str| KINDS.iter().position(|kind| kind.name == name).unwrap();
    let trouble = |call, fault, weather| Trouble { call, fault, weather };
    let mut walks = vec![
        (
            "remove, volume",
            vec![(8005, Wish::Deploy(2))],
            vec![trouble(0, None, Weather::Saved(1))],
        ),
        (
            "move accessible, volume",
            vec![(13380, Wish::Stop), (433, Wish::Upgrade('2'))],
            Vec::new(),
        ),
    ];
    // A copy that drains on the target of the next move; a name that resolvers remember from before it was withdrawn.
    walks.push((
        "move accessible",
        vec![(1488, Wish::Stop), (436, Wish::Move(1))],
        Vec::new(),
    ));
    walks.push((
        "remove",
        vec![(622, Wish::Deploy(2)), (1493, Wish::Move(1))],
        Vec::new(),
    ));
    // A late claim of a removal, and the same guest and generation again.
    walks.push((
        "remove",
        vec![(5206, Wish::Move(1)), (821, Wish::Deploy(1))],
        vec![trouble(16, Some(PortFault::Late(700_000)), Weather::Nothing)],
    ));
    // Its row cannot be read after the commit, and the next move has begun when it is looked at again.
    walks.extend((58..78).map(|call| {
        let unread = trouble(call, Some(PortFault::Unavailable), Weather::Nothing);
        ("upgrade in place", vec![(2445, Wish::Move(2))], vec![unread])
    }));
    // The retirement of g2 waits for an answer while the service moves back there.
    walks.extend((170..190).map(|call| {
        let unread = trouble(call, Some(PortFault::Unavailable), Weather::Nothing);
        let wishes = vec![(1662, Wish::Move(3)), (2204, Wish::Move(2))];
        ("evacuate failed, volume", wishes, vec![unread])
    }));
    // An upgrade whose retirement waits for an answer is rolled back meanwhile.
    walks.extend((132..152).map(|call| {
        let unread = trouble(call, Some(PortFault::Hang), Weather::Nothing);
        let wishes = vec![(11855, Wish::Upgrade('2')), (2500, Wish::Upgrade('1'))];
        ("evacuate running, volume", wishes, vec![unread])
    }));
    // And one whose service is removed meanwhile.
    walks.extend((77..97).map(|call| {
        let unread = trouble(call, Some(PortFault::Hang), Weather::Dies(1));
        let wishes = vec![(45, Wish::Upgrade('2')), (2568, Wish::Remove)];
        ("move accessible", wishes, vec![unread])
    }));
    // A removal left its volume in a saved guest, which wakes while the volume is given to one that dies.
    walks.extend((94..114).map(|call| {
        let troubles = vec![
            trouble(141, None, Weather::Dies(3)),
            trouble(38, None, Weather::Saved(1)),
            trouble(call, Some(PortFault::Hang), Weather::Nothing),
        ];
        let wishes = vec![(5205, Wish::Upgrade('1')), (0, Wish::Deploy(3))];
        ("remove, volume", wishes, troubles)
    }));
    // What must not run twice was removed from a saved guest, and is deployed elsewhere when that wakes.
    walks.push((
        "move without overlap",
        vec![(2019, Wish::Remove), (531, Wish::Deploy(3))],
        vec![trouble(65, None, Weather::Saved(2))],
    ));
    // The first claim of a name arrives when its service has been removed.
    walks.push((
        "deploy",
        vec![(6898, Wish::Remove)],
        vec![trouble(21, Some(PortFault::Late(700_000)), Weather::Nothing)],
    ));
    // The name server is silent when a stopped service moves back to where its old copy drains.
    walks.push((
        "move disabled",
        vec![(1688, Wish::Stop), (435, Wish::Move(1))],
        vec![trouble(109, None, Weather::NamesDown)],
    ));
    // While its row cannot be read; at which call that is may change.
    walks.extend((15..35).map(|call| {
        let unread = trouble(call, Some(PortFault::Unavailable), Weather::Nothing);
        ("stop", vec![(681, Wish::Cancel)], vec![unread])
    }));
    // A service that had failed, whose guest boots before its move is undone; the next move is undone before it looks.
    walks.extend((95..125).map(|call| {
        let troubles = vec![
            trouble(14, None, Weather::WarmReboots(1)),
            trouble(call, None, Weather::NamesDown),
        ];
        let wishes = vec![(9820, Wish::Cancel), (4330, Wish::Move(2))];
        ("move failed, volume", wishes, troubles)
    }));
    // One whose guest boots while the undo of its evacuation has given back one disk of two.
    walks.extend((71..91).map(|call| {
        let troubles = vec![
            trouble(call, Some(PortFault::Refuse), Weather::Nothing),
            trouble(34, None, Weather::WarmReboots(2)),
        ];
        let wishes = vec![(997, Wish::Cancel), (0, Wish::Deploy(1))];
        ("evacuate failed, volume", wishes, troubles)
    }));
    // A disabled one that is down since its guest booted, and whose upgrade is undone.
    walks.extend((104..124).map(|call| {
        let troubles = vec![
            trouble(54, None, Weather::WarmReboots(2)),
            trouble(call, None, Weather::NamesDown),
        ];
        ("move disabled", vec![(9485, Wish::Upgrade('2'))], troubles)
    }));
    for (name, wishes, troubles) in walks {
        let walk = Walk {
            kind: kind(name),
            wishes,
            troubles,
        };
        let story = go(&walk);
        assert!(story.is_none(), "{name}: {walk:?}: {}", story.unwrap_or_default());
    }
}
