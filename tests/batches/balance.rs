//! The loads of guests are evened out, by request and by the daemon itself.

use std::time::Duration;

use handoverd::adapters::sim::call::{Call, Clean, Director, Method, Mishap, PortFault};
use handoverd::adapters::sim::daemon::{Simulation, terms};
use handoverd::adapters::sim::world::SimWorld;
use handoverd::config::BalanceSettings;
use handoverd::model::batch::BatchMember;
use handoverd::model::ids::JobId;
use handoverd::model::service::Millis;
use handoverd::ports::JobRecord;
use handoverd::requests::MoveOptions;
use handoverd::requests::balance::Standing;
use handoverd::requests::maintenance::Begins;
use handoverd::requests::refusal::Refusal;

use crate::stage::{Stage, guest, host, id, manifest, many, results};

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;

/// Three guests; the six services on `g1` ask for an eighth of its memory each. Two on each guest is even.
fn uneven() -> SimWorld {
    let mut world = many(3, 6);
    for number in 0..6 {
        manifest(&mut world, &format!("s{number:02}"), |m| {
            m.needs.memory = Some(512 << 20);
        });
    }
    world
}

/// By itself, two services in ten minutes after five of patience; they rest for an hour.
fn by_itself() -> BalanceSettings {
    BalanceSettings {
        enabled: true,
        patience: Duration::from_secs(300),
        window: Duration::from_secs(600),
        per_window: 2,
        rest: Duration::from_secs(3600),
        ..BalanceSettings::default()
    }
}

/// A daemon that measures loads, with this setting; so many services are worked on at once.
fn staged(world: SimWorld, balance: BalanceSettings, parallel: u32, director: Box<dyn Director>) -> Stage {
    let mut terms = terms(host());
    terms.balance = balance;
    terms.batch.parallel = parallel;
    let mut stage = Stage(Simulation::with_terms(world, terms, false, director));
    stage.0.keep_up();
    stage
}

/// The same by request only, with all loads measured.
fn measured(world: SimWorld, parallel: u32) -> Stage {
    let mut stage = staged(world, BalanceSettings::default(), parallel, Box::new(Clean));
    stage.pass_by(MINUTE);
    stage
}

impl Stage {
    fn rebalance(&mut self, most: Option<u32>) -> Result<JobId, Refusal> {
        self.ask(move |requests| async move { requests.rebalance(most, "root").await })
    }

    fn pass_by(&mut self, span: Millis) {
        self.0.run(span, |inner| !inner.violations.is_empty());
        self.unbroken();
    }

    /// The jobs that even out loads, oldest first.
    fn evenings(&self) -> Vec<(JobRecord, Vec<BatchMember>)> {
        let jobs: Vec<JobId> = self.table(|table| {
            let all = table.jobs.values().filter(|job| job.operation == "rebalance");
            all.map(|job| job.id).collect()
        });
        jobs.into_iter().map(|job| self.told(job)).collect()
    }

    fn spread(&self) -> [usize; 3] {
        [self.on("g1"), self.on("g2"), self.on("g3")]
    }

    fn standing(&self) -> String {
        self.0.requests().balancing.standing().to_string()
    }

    /// Lets time pass until services move for balance.
    #[track_caller]
    fn until_it_moves(&mut self) {
        self.until("a move for balance", |table| {
            let mut jobs = table.jobs.values();
            jobs.any(|job| job.operation == "rebalance")
                && table.unfinished().iter().any(|handover| !handover.committed)
        });
    }

    fn freeze(&mut self) {
        self.ask(|requests| async move { requests.freeze("somebody looks", "root").await })
            .unwrap();
    }

    fn thaw(&mut self) {
        self.ask(|requests| async move { requests.thaw("root").await })
            .unwrap();
    }
}

#[test]
fn uneven_loads_are_evened_out_by_request_and_why_tells_of_it() {
    let mut stage = measured(uneven(), 8);
    let job = stage.rebalance(None).unwrap();
    stage.end();
    let (record, members) = stage.told(job);
    assert_eq!(record.result.as_deref(), Some("done"), "{}", record.error_details);
    assert_eq!(
        (
            record.object.as_str(),
            record.source.as_str(),
            record.target.as_str()
        ),
        ("loads 75 % apart", "g1", "g2")
    );
    assert_eq!((members.len(), stage.spread()), (4, [2, 2, 2]));
    let moved = members[0].service.to_string();
    let why = stage.ask(move |requests| async move { requests.why(&moved).await.unwrap() });
    assert_eq!((why.who.as_str(), why.what.as_str()), ("root", "rebalance"));
    assert_eq!(
        why.decision,
        format!("g2: load 75 % and 0 % become 63 % and 13 %; job {job}")
    );
    let gap = (
        "gap".to_owned(),
        "the loads of g1 and g2 are 75 % apart".to_owned(),
    );
    assert!(why.inputs.contains(&gap), "{why:?}");
    stage.settle();
}

#[test]
fn even_loads_are_told_by_a_job_that_has_ended_without_a_move() {
    let mut stage = measured(uneven(), 8);
    stage.rebalance(None).unwrap();
    stage.end();
    let job = stage.rebalance(None).unwrap();
    stage.end();
    let (record, members) = stage.told(job);
    assert_eq!((record.result.as_deref(), members.len()), (Some("done"), 0));
    assert!(
        record.object.ends_with(" % apart, which is close enough"),
        "{}",
        record.object
    );
    assert_eq!(stage.spread(), [2, 2, 2]);
}

#[test]
fn no_more_services_move_than_were_asked_for_and_a_second_request_is_told_the_job() {
    let mut stage = measured(uneven(), 8);
    let job = stage.rebalance(Some(1)).unwrap();
    assert_eq!(stage.rebalance(None).unwrap(), job);
    stage.end();
    assert_eq!(stage.spread().iter().max(), Some(&5));
    assert_eq!(stage.evenings().len(), 1);
}

#[test]
fn services_that_are_bound_frozen_or_without_use_stay() {
    let mut world = uneven();
    for service in ["s00", "s01", "s02"] {
        manifest(&mut world, service, |m| m.movable = false);
    }
    let table = world.tables.get_mut(&host()).unwrap();
    for service in ["s03", "s04", "s05"] {
        table.services.get_mut(&id(service)).unwrap().frozen = Some("job 1 is stuck".to_owned());
    }
    let mut stage = measured(world, 8);
    let job = stage.rebalance(None).unwrap();
    let (record, members) = stage.told(job);
    assert_eq!(
        (record.object.as_str(), members.len()),
        ("loads 75 % apart, and no service that may move would help", 0)
    );
}

#[test]
fn one_that_goes_elsewhere_meanwhile_is_left_there_and_the_others_move() {
    let mut stage = measured(uneven(), 1);
    let job = stage.rebalance(None).unwrap();
    let last = stage.told(job).1.pop().unwrap();
    let other = if last.target == Some(guest(2)) { "g3" } else { "g2" };
    let service = last.service.to_string();
    stage.begin(&service, other, MoveOptions::default()).unwrap();
    stage.end();
    let (record, members) = stage.told(job);
    assert_eq!(record.result.as_deref(), Some("failed"));
    assert!(
        record
            .error_details
            .starts_with("1 of 4 services were not moved: ")
            && record
                .error_details
                .contains(&format!("{service} has gone to {other} meanwhile")),
        "{}",
        record.error_details
    );
    assert_eq!(
        members.iter().filter(|member| member.is_done()).count(),
        3,
        "{members:?}"
    );
    assert_eq!(stage.service(&service).guest_name, other);
    stage.settle();
}

#[test]
fn a_cancelled_one_leaves_what_has_not_begun_where_it_was() {
    let mut stage = measured(uneven(), 1);
    let job = stage.rebalance(None).unwrap();
    stage.until_it_moves();
    stage
        .ask(move |requests| async move { requests.jobs.cancel(job, "root").await })
        .unwrap();
    stage.end();
    let (record, members) = stage.told(job);
    assert_eq!(record.result.as_deref(), Some("cancelled"));
    let cancelled = results(&members)
        .iter()
        .filter(|(_, result)| *result == "cancelled")
        .count();
    assert!(cancelled >= 3, "{members:?}");
    assert_eq!(stage.on("g1"), 2 + cancelled);
    stage.settle();
}

#[test]
fn a_killed_daemon_is_followed_by_one_that_carries_it_on() {
    let mut stage = measured(uneven(), 1);
    let job = stage.rebalance(None).unwrap();
    stage.until_it_moves();
    stage.0.shared.lock().killed = true;
    stage.end();
    assert_eq!(stage.0.kills, 1);
    let (record, members) = stage.told(job);
    assert_eq!(record.result.as_deref(), Some("done"), "{}", record.error_details);
    assert_eq!((members.len(), stage.spread()), (4, [2, 2, 2]));
    stage.settle();
}

#[test]
fn what_cannot_be_judged_is_refused_with_what_is_missing() {
    // Nothing was measured yet.
    let mut stage = staged(uneven(), BalanceSettings::default(), 8, Box::new(Clean));
    let refused = stage.rebalance(None).unwrap_err();
    assert_eq!(
        (refused.name(), refused.to_string().as_str()),
        (
            "Unavailable",
            "how far the loads are apart is not known: that of g1, g2, g3 is not measured yet; ask again in a minute"
        )
    );
    stage.pass_by(MINUTE);
    stage.freeze();
    let refused = stage.rebalance(None).unwrap_err();
    assert!(
        refused.name() == "Unavailable" && refused.to_string().contains("everything is frozen"),
        "{refused}"
    );
    let mut alone = measured(many(1, 2), 8);
    let refused = alone.rebalance(None).unwrap_err().to_string();
    assert!(
        refused.starts_with("loads are evened out between two guests at least, and 1 would do now"),
        "{refused}"
    );
    assert_eq!((stage.evenings(), alone.evenings()), (vec![], vec![]));
}

#[test]
fn a_guest_in_maintenance_neither_gives_nor_gets_services() {
    let mut stage = measured(uneven(), 8);
    let maintain = |name: &'static str, begins: Option<Begins>| {
        move |requests: std::sync::Arc<handoverd::requests::Requests>| async move {
            requests.set_maintenance("guest", name, begins, "root").await
        }
    };
    let on = || {
        Some(Begins {
            length: Duration::from_secs(3600),
            reason: String::new(),
            drains: false,
        })
    };
    stage.ask(maintain("g1", on())).unwrap();
    let job = stage.rebalance(None).unwrap();
    assert_eq!(stage.told(job).0.object, "loads 0 % apart, which is close enough");
    stage.end();
    stage.ask(maintain("g1", None)).unwrap();
    stage.ask(maintain("g2", on())).unwrap();
    stage.rebalance(None).unwrap();
    stage.end();
    assert_eq!(stage.spread(), [3, 0, 3]);
}

#[test]
fn nothing_moves_by_itself_unless_that_is_configured() {
    let mut stage = measured(uneven(), 8);
    stage.pass_by(2 * HOUR);
    assert_eq!((stage.evenings(), stage.spread()), (vec![], [6, 0, 0]));
    assert_eq!(stage.0.requests().balancing.standing(), Standing::Off);
}

#[test]
fn by_itself_it_begins_after_patience_and_moves_no_more_than_a_window_allows() {
    let mut stage = staged(uneven(), by_itself(), 8, Box::new(Clean));
    let begun = stage.now();
    stage.pass_by(5 * MINUTE);
    assert_eq!(stage.evenings(), []);
    assert!(
        stage
            .standing()
            .starts_with("the loads of g1 and g2 are 75 % apart: the loads are far apart; moves begin if they still are in "),
        "{}",
        stage.standing()
    );
    stage.until_it_moves();
    let first = stage.evenings()[0].0.clone();
    assert_eq!(first.started_by, "handoverd");
    assert!(first.started - begun >= 5 * MINUTE, "{first:?}");
    stage.pass_by(first.started + 9 * MINUTE - stage.now());
    assert_eq!((stage.evenings().len(), stage.on("g1")), (1, 4));
    assert!(
        stage
            .standing()
            .contains(": enough was moved for now; the next move is allowed in "),
        "{}",
        stage.standing()
    );
    stage.pass_by(6 * MINUTE);
    assert_eq!(stage.spread(), [2, 2, 2]);
    stage.pass_by(HOUR);
    let evenings = stage.evenings();
    assert_eq!(evenings.len(), 2, "it ends");
    assert!(evenings[1].0.started - first.started >= 10 * MINUTE);
    assert!(
        stage.standing().ends_with(": the loads are close enough"),
        "{}",
        stage.standing()
    );
    stage.settle();
}

#[test]
fn a_service_that_was_moved_rests_whoever_moved_it() {
    let mut world = uneven();
    for number in 1..6 {
        manifest(&mut world, &format!("s{number:02}"), |m| m.movable = false);
    }
    let mut stage = staged(world, by_itself(), 8, Box::new(Clean));
    stage.begin("s00", "g2", MoveOptions::default()).unwrap();
    stage.end();
    let moved = stage.now();
    stage
        .0
        .shared
        .lock()
        .world
        .guests
        .get_mut(&guest(2))
        .unwrap()
        .gauge
        .cpu_used = 90;
    stage.pass_by(50 * MINUTE);
    assert_eq!(stage.evenings(), []);
    assert!(
        stage
            .standing()
            .ends_with(": no service that may move would help"),
        "{}",
        stage.standing()
    );
    stage.until_it_moves();
    stage.end();
    assert_eq!(stage.service("s00").guest_name, "g3");
    assert!(stage.evenings()[0].0.started - moved >= HOUR);
    // And now it rests again, though its new home is no better.
    stage
        .0
        .shared
        .lock()
        .world
        .guests
        .get_mut(&guest(3))
        .unwrap()
        .gauge
        .cpu_used = 100;
    stage.pass_by(50 * MINUTE);
    assert_eq!(stage.evenings().len(), 1);
}

#[test]
fn nothing_moves_by_itself_while_frozen_and_patience_begins_anew_with_the_thaw() {
    let mut stage = staged(uneven(), by_itself(), 8, Box::new(Clean));
    stage.pass_by(4 * MINUTE);
    stage.freeze();
    stage.pass_by(HOUR);
    assert_eq!(stage.evenings(), []);
    assert_eq!(stage.standing(), "nothing moves by itself: everything is frozen");
    stage.thaw();
    let thawed = stage.now();
    stage.until_it_moves();
    assert!(stage.evenings()[0].0.started - thawed >= 5 * MINUTE);
}

#[test]
fn a_freeze_cancels_what_moves_by_itself_and_not_what_somebody_asked_for() {
    let mut stage = staged(uneven(), by_itself(), 1, Box::new(Clean));
    stage.until_it_moves();
    stage.freeze();
    stage.end();
    let (record, members) = stage.evenings().pop().unwrap();
    assert_eq!(record.result.as_deref(), Some("cancelled"));
    assert!(
        record.error_details.contains("handoverd: everything is frozen"),
        "{}",
        record.error_details
    );
    assert!(members.iter().any(|member| !member.is_done()), "{members:?}");

    let mut asked = measured(uneven(), 1);
    asked.rebalance(None).unwrap();
    asked.until_it_moves();
    asked.freeze();
    asked.end();
    assert_eq!(asked.spread(), [2, 2, 2]);
}

#[test]
fn a_restart_gives_no_further_moves_in_a_window() {
    let mut stage = staged(uneven(), by_itself(), 8, Box::new(Clean));
    stage.until_it_moves();
    let first = stage.evenings()[0].0.started;
    stage.0.shared.lock().killed = true;
    stage.pass_by(first + 9 * MINUTE - stage.now());
    assert_eq!(stage.0.kills, 1);
    assert_eq!((stage.evenings().len(), stage.on("g1")), (1, 4));
    stage.pass_by(20 * MINUTE);
    let evenings = stage.evenings();
    assert_eq!((evenings.len(), stage.spread()), (2, [2, 2, 2]));
    assert!(evenings[1].0.started - first >= 10 * MINUTE);
}

/// What hosts count is never known.
struct NoCounters;

impl Director for NoCounters {
    fn decide(&mut self, call: &Call, _world: &SimWorld) -> Mishap {
        Mishap {
            fault: (call.method == Method::Counters).then_some(PortFault::Unavailable),
            ..Mishap::default()
        }
    }
}

#[test]
fn nothing_moves_by_itself_while_loads_are_not_known() {
    let mut stage = staged(uneven(), by_itself(), 8, Box::new(NoCounters));
    stage.pass_by(HOUR);
    assert_eq!(stage.evenings(), []);
    assert!(
        stage
            .standing()
            .starts_with("how far the loads are apart is not known"),
        "{}",
        stage.standing()
    );
}
