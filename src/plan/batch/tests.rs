use proptest::prelude::*;

use super::super::samples::{guest_id, id};
use super::*;

fn task(name: &str, target: u32, priority: i32, after: &[&str], seconds: u64) -> Task {
    Task {
        service: id(name),
        target: guest_id(target),
        host: format!("hv{}", target % 2).parse().unwrap(),
        runs: true,
        priority,
        after: after.iter().map(|name| id(name)).collect(),
        expected: Duration::from_secs(seconds),
    }
}

const WIDE: Limits = Limits {
    per_guest: 100,
    per_host: 100,
    in_all: 100,
};

fn names(services: &[ServiceId]) -> Vec<&str> {
    services.iter().map(ServiceId::as_str).collect()
}

fn begin(batch: &mut Batch) -> Vec<String> {
    batch.begin().iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_to_run_begins_before_what_is_stopped_whatever_its_priority() {
    let stopped = |name| Task {
        runs: false,
        ..task(name, 1, 50, &[], 1)
    };
    let tasks = vec![
        stopped("off"),
        task("web", 1, -9, &[], 9),
        stopped("files"),
        task("site", 1, -7, &["files"], 1),
    ];
    let one = Limits { in_all: 1, ..WIDE };
    let mut batch = Batch::of(tasks, one).unwrap();
    let mut order = Vec::new();
    while let Some(next) = batch.begin().pop() {
        batch.ended(&next, Outcome::Done).unwrap();
        order.push(next.to_string());
    }
    // What a running one comes after is as urgent as that one.
    assert_eq!(order, ["files", "site", "web", "off"]);
}

#[test]
fn the_highest_priority_begins_first_and_then_the_shortest() {
    let one = Limits { in_all: 1, ..WIDE };
    let tasks = vec![
        task("long", 1, 0, &[], 9),
        task("short", 1, 0, &[], 2),
        task("urgent", 1, 5, &[], 30),
        task("also-short", 1, 0, &[], 2),
    ];
    let mut batch = Batch::of(tasks, one).unwrap();
    let mut order = Vec::new();
    while let [service] = batch.begin().as_slice() {
        order.push(service.to_string());
        batch.ended(service, Outcome::Done).unwrap();
    }
    assert_eq!(order, ["urgent", "also-short", "short", "long"]);
    assert!(batch.is_over());
}

#[test]
fn a_service_waits_for_those_that_it_comes_after_however_they_end() {
    let tasks = vec![
        task("web", 1, 0, &["db", "cache", "elsewhere"], 1),
        task("db", 1, 0, &[], 1),
        task("cache", 1, 0, &["db"], 1),
    ];
    let mut batch = Batch::of(tasks, WIDE).unwrap();
    assert_eq!(begin(&mut batch), ["db"]);
    assert!(begin(&mut batch).is_empty());
    batch.ended(&id("db"), Outcome::Failed).unwrap();
    assert_eq!(begin(&mut batch), ["cache"]);
    batch.ended(&id("cache"), Outcome::Done).unwrap();
    assert_eq!(begin(&mut batch), ["web"]);
}

#[test]
fn what_an_urgent_service_waits_for_is_as_urgent() {
    let tasks = vec![
        task("web", 1, 9, &["cache"], 1),
        task("cache", 1, 0, &["db"], 1),
        task("db", 1, -5, &[], 60),
        task("mail", 1, 5, &[], 1),
    ];
    let mut batch = Batch::of(tasks, Limits { in_all: 1, ..WIDE }).unwrap();
    assert_eq!(begin(&mut batch), ["db"]);
}

#[test]
fn no_limit_is_exceeded_and_one_full_guest_does_not_hold_up_the_others() {
    let tasks = (0..4)
        .map(|n| task(&format!("a{n}"), 1, 9, &[], 1))
        .chain((0..4).map(|n| task(&format!("b{n}"), 3, 8, &[], 1)))
        .chain((0..4).map(|n| task(&format!("c{n}"), 2, 0, &[], 1)));
    let limits = Limits {
        per_guest: 2,
        per_host: 3,
        in_all: 4,
    };
    let mut batch = Batch::of(tasks.collect(), limits).unwrap();
    // Guests 1 and 3 are on one host.
    assert_eq!(begin(&mut batch), ["a0", "a1", "b0", "c0"]);
    assert!(begin(&mut batch).is_empty());
    batch.ended(&id("c0"), Outcome::Done).unwrap();
    assert_eq!(begin(&mut batch), ["c1"]);
    batch.ended(&id("a1"), Outcome::Failed).unwrap();
    assert_eq!(begin(&mut batch), ["a2"]);
}

#[test]
fn limits_of_nothing_let_one_at_a_time_through() {
    let limits = Limits {
        per_guest: 0,
        per_host: 0,
        in_all: 0,
    };
    let mut batch = Batch::of(vec![task("a", 1, 0, &[], 1), task("b", 2, 0, &[], 1)], limits).unwrap();
    assert_eq!(begin(&mut batch), ["a"]);
    batch.ended(&id("a"), Outcome::Done).unwrap();
    assert_eq!(begin(&mut batch), ["b"]);
}

#[test]
fn services_in_a_circle_are_named() {
    let tasks = vec![
        task("a", 1, 0, &[], 1),
        task("web", 1, 0, &["a", "cache"], 1),
        task("cache", 1, 0, &["db"], 1),
        task("db", 1, 0, &["web"], 1),
        task("behind", 1, 0, &["db"], 1),
    ];
    let error = Batch::of(tasks, WIDE).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no order is possible: web is after cache, cache is after db, db is after web; take one `after` out of these manifests"
    );
    let itself = Batch::of(vec![task("a", 1, 0, &["a"], 1)], WIDE).unwrap_err();
    assert_eq!(itself, BatchError::Cycle(vec![id("a")]));
}

#[test]
fn a_batch_of_nothing_is_over_at_once() {
    let mut batch = Batch::of(Vec::new(), WIDE).unwrap();
    assert!(batch.is_over() && batch.begin().is_empty());
    assert_eq!(batch.expected(), Duration::ZERO);
}

#[test]
fn cancelling_stops_what_has_not_begun_and_tells_what_runs() {
    let tasks = vec![
        task("a", 1, 3, &[], 1),
        task("b", 1, 2, &[], 1),
        task("c", 1, 1, &[], 1),
        task("d", 1, 0, &["a"], 1),
    ];
    let mut batch = Batch::of(tasks, Limits { in_all: 2, ..WIDE }).unwrap();
    assert_eq!(begin(&mut batch), ["a", "b"]);
    batch.ended(&id("b"), Outcome::Done).unwrap();
    assert_eq!(names(&batch.cancel()), ["a"]);
    assert!(!batch.is_over());
    batch.ended(&id("a"), Outcome::Cancelled).unwrap();
    assert!(batch.begin().is_empty() && batch.is_over());
    let ends: Vec<_> = batch
        .progress()
        .map(|(task, p)| (task.service.as_str(), p))
        .collect();
    assert_eq!(
        ends,
        [
            ("a", Progress::Ended(Outcome::Cancelled)),
            ("b", Progress::Ended(Outcome::Done)),
            ("c", Progress::Dropped),
            ("d", Progress::Dropped),
        ]
    );
}

#[test]
fn a_service_that_could_not_begin_waits_again_for_another_target() {
    let mut batch = Batch::of(vec![task("a", 1, 0, &[], 1)], Limits { per_guest: 1, ..WIDE }).unwrap();
    assert_eq!(begin(&mut batch), ["a"]);
    batch
        .withdraw(&id("a"), guest_id(2), "hv0".parse().unwrap())
        .unwrap();
    assert!(!batch.is_over());
    assert_eq!(begin(&mut batch), ["a"]);
    assert_eq!(batch.progress().next().unwrap().0.target, guest_id(2));
    batch.cancel();
    batch
        .withdraw(&id("a"), guest_id(3), "hv0".parse().unwrap())
        .unwrap();
    assert!(batch.is_over() && batch.begin().is_empty());
}

#[test]
fn what_does_not_run_cannot_end() {
    let mut batch = Batch::of(vec![task("a", 1, 0, &[], 1)], WIDE).unwrap();
    let error = batch.ended(&id("a"), Outcome::Done).unwrap_err();
    assert_eq!(
        error.to_string(),
        "service a of the batch is waiting, so it cannot be ended"
    );
    assert!(batch.ended(&id("nope"), Outcome::Done).is_err());
    batch.begin();
    batch.ended(&id("a"), Outcome::Done).unwrap();
    assert!(batch.ended(&id("a"), Outcome::Done).is_err());
}

#[test]
fn the_expected_time_counts_what_runs_side_by_side_and_what_waits() {
    let tasks = || {
        vec![
            task("a", 1, 0, &[], 4),
            task("b", 1, 0, &[], 3),
            task("c", 1, 0, &["b"], 2),
        ]
    };
    let expected = |in_all| Batch::of(tasks(), Limits { in_all, ..WIDE }).unwrap().expected();
    assert_eq!(expected(9), Duration::from_secs(5));
    assert_eq!(expected(1), Duration::from_secs(9));
}

#[test]
fn services_that_cannot_go_on_yet_wait_side_by_side_and_are_counted_so() {
    let tasks = ["a", "b", "c"].map(|name| task(name, 1, 0, &[], 4)).to_vec();
    let waits = |names: &[&str]| {
        names
            .iter()
            .map(|name| (id(name), Duration::from_secs(60)))
            .collect()
    };
    let expected = |in_all, waiting: &[&str]| {
        let batch = Batch::of(tasks.clone(), Limits { in_all, ..WIDE }).unwrap();
        batch.expected_after(&waits(waiting)).as_secs()
    };
    assert_eq!(expected(9, &["a", "b", "c"]), 64);
    assert_eq!(expected(1, &["a", "b", "c"]), 72);
    assert_eq!(expected(9, &["a"]), 64);
    assert_eq!(expected(9, &[]), 4);
}

proptest! {
    /// A random batch is run to its end, services ending in a random order.
    #[test]
    fn every_batch_without_a_circle_comes_to_its_end_within_its_limits_and_in_order(
        specs in proptest::collection::vec((0_u32..5, -2_i32..3, proptest::collection::vec(any::<prop::sample::Index>(), 0..3)), 1..25),
        limits in (0_usize..4, 0_usize..5, 0_usize..6),
        picks in proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..3), 1..25),
    ) {
        let limits = Limits { per_guest: limits.0, per_host: limits.1, in_all: limits.2 };
        let tasks: Vec<Task> = specs.iter().enumerate().map(|(n, (target, priority, after))| {
            // Only earlier ones: no circle.
            let after: Vec<String> = after.iter().filter(|_| n > 0).map(|i| format!("s{}", i.index(n.max(1)))).collect();
            let after: Vec<&str> = after.iter().map(String::as_str).collect();
            task(&format!("s{n}"), *target, *priority, &after, 1)
        }).collect();
        let by_name: BTreeMap<ServiceId, Task> = tasks.iter().map(|t| (t.service.clone(), t.clone())).collect();
        let mut batch = Batch::of(tasks, limits).unwrap();
        let (mut running, mut over) = (Vec::<ServiceId>::new(), BTreeSet::new());
        let mut picks = picks.iter().cycle();
        while !batch.is_over() {
            for service in batch.begin() {
                prop_assert!(by_name[&service].after.iter().all(|earlier| over.contains(earlier)));
                running.push(service);
            }
            prop_assert!(!running.is_empty(), "nothing runs and nothing may begin");
            let count = |is: &dyn Fn(&Task) -> bool| running.iter().filter(|s| is(&by_name[*s])).count();
            prop_assert!(running.len() <= limits.in_all.max(1));
            for one in &running {
                let one = &by_name[one];
                prop_assert!(count(&|t| t.target == one.target) <= limits.per_guest.max(1));
                prop_assert!(count(&|t| t.host == one.host) <= limits.per_host.max(1));
            }
            let (pick, how) = picks.next().unwrap();
            let service = running.swap_remove(pick.index(running.len()));
            let outcome = [Outcome::Done, Outcome::Failed, Outcome::Cancelled][usize::from(*how)];
            batch.ended(&service, outcome).unwrap();
            over.insert(service);
        }
        prop_assert_eq!(over.len(), by_name.len());
    }
}
