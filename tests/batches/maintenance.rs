//! Guests and hosts in maintenance: drained, no targets, until it ends.

use std::time::Duration;

use handoverd::adapters::sim::happening::Happening;
use handoverd::model::ids::HostId;
use handoverd::requests::MoveOptions;
use handoverd::requests::maintenance::{Begins, Drained};
use handoverd::requests::refusal::Refusal;

use crate::stage::{Stage, guest, host, many};

const HOUR: Duration = Duration::from_secs(3600);

fn on(length: Duration) -> Option<Begins> {
    Some(Begins {
        length,
        reason: "new kernel".to_owned(),
        drains: true,
    })
}

impl Stage {
    fn maintain(&mut self, kind: &str, name: &str, begins: Option<Begins>) -> Result<Vec<Drained>, Refusal> {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        self.ask(move |requests| async move { requests.set_maintenance(&kind, &name, begins, "root").await })
    }

    /// What the list of guests says of the maintenance of each, by name.
    fn maintained(&mut self) -> Vec<(String, Option<String>)> {
        self.ask(|requests| async move {
            let rows = requests.guest_rows(None, false).await.unwrap();
            let mut told: Vec<_> = rows
                .into_iter()
                .map(|row| (row.summary.name, row.maintenance))
                .collect();
            told.sort();
            told
        })
    }
}

#[test]
fn a_guest_in_maintenance_is_drained_and_is_no_target_until_its_time_is_over() {
    let mut stage = Stage::of(many(3, 4));
    stage.0.keep_up();
    let drained = stage.maintain("guest", "g1", on(HOUR)).unwrap();
    assert_eq!(drained.len(), 1);
    let job = drained[0].job.clone().unwrap();
    stage.end();
    let (record, _) = stage.told(job);
    assert_eq!(record.result.as_deref(), Some("done"), "{}", record.error_details);
    assert_eq!(
        (record.object.as_str(), record.started_by.as_str()),
        ("g1", "root")
    );
    assert_eq!((stage.on("g1"), stage.on("g2"), stage.on("g3")), (0, 2, 2));
    let told = stage.maintained()[0].1.clone().unwrap();
    assert!(
        told.starts_with("for another ") && told.ends_with(", by root: new kernel"),
        "{told}"
    );

    // Neither a strategy nor a name brings anything there.
    stage.moved("g2", "least-loaded", MoveOptions::default());
    assert_eq!((stage.on("g1"), stage.on("g3")), (0, 4));
    let named = stage.begin("s00", "g1", MoveOptions::default()).unwrap_err();
    assert!(
        matches!(&named, Refusal::Unsuitable(_, why) if why.contains("maintenance")),
        "{named}"
    );
    let all = stage.begin("g3", "g1", MoveOptions::default()).unwrap_err();
    assert!(
        matches!(&all, Refusal::NoGuestFits(why) if why.contains("maintenance")),
        "{all}"
    );

    stage.0.run(3_700_000, |_| false);
    assert!(
        stage.table(|table| table.maintenance.is_empty()),
        "it is forgotten"
    );
    assert_eq!(stage.maintained()[0].1, None);
    stage.begin("s00", "g1", MoveOptions::default()).unwrap();
    stage.end();
    assert_eq!(stage.on("g1"), 1);
    stage.settle();
}

#[test]
fn a_maintenance_outlives_the_daemon_and_is_ended_by_hand() {
    let mut stage = Stage::of(many(2, 1));
    stage.maintain("guest", "g2", on(HOUR)).unwrap();
    stage.0.restart(Duration::from_secs(1));
    let refused = stage.begin("s00", "g2", MoveOptions::default()).unwrap_err();
    assert!(refused.to_string().contains("maintenance"), "{refused}");
    assert_eq!(stage.maintain("guest", "g2", None).unwrap(), []);
    assert_eq!(
        stage.maintain("guest", "g2", None).unwrap(),
        [],
        "ending it twice is ending it"
    );
    stage.begin("s00", "g2", MoveOptions::default()).unwrap();
    stage.end();
    assert_eq!(stage.on("g2"), 1);
    let asked = stage.table(|table| table.audit.clone());
    for what in ["maintenance of guest g2", "end the maintenance of guest g2"] {
        assert!(
            asked
                .iter()
                .any(|(_, who, told, _)| who == "root" && told == what),
            "{asked:?}"
        );
    }
}

#[test]
fn a_hosts_maintenance_is_that_of_all_its_guests() {
    let mut world = many(3, 2);
    let second: HostId = "hv2".parse().unwrap();
    world.happen(&Happening::Migrate(guest(3), second));
    let mut stage = Stage::of(world);
    let drained = stage.maintain("host", host().as_str(), on(HOUR)).unwrap();
    assert_eq!(drained.len(), 1, "only g1 has services: {drained:?}");
    drained[0].job.clone().unwrap();
    stage.end();
    assert_eq!(stage.on("g3"), 2, "on the other host");
    let told = stage.maintained();
    assert!(told[0].1.as_ref().unwrap().starts_with("its host for another "));
    assert!(told.iter().any(|(name, why)| name == "g3" && why.is_none()));
}

#[test]
fn services_stay_where_nothing_fits_and_where_that_was_asked_for() {
    let mut stage = Stage::of(many(2, 2));
    stage.maintain("guest", "g2", on(HOUR)).unwrap();
    let drained = stage.maintain("guest", "g1", on(HOUR)).unwrap();
    assert!(
        drained[0].job.as_ref().unwrap_err().contains("no guest fits"),
        "{drained:?}"
    );
    assert_eq!(stage.on("g1"), 2);
    assert!(
        stage.maintained()[0].1.is_some(),
        "it is in maintenance all the same"
    );

    let mut stage = Stage::of(many(2, 2));
    let stay = on(HOUR).map(|begins| Begins {
        drains: false,
        ..begins
    });
    assert_eq!(stage.maintain("guest", "g1", stay).unwrap(), []);
    assert_eq!(stage.on("g1"), 2);
}

#[test]
fn what_cannot_be_in_maintenance_is_refused_and_nothing_is_kept() {
    let mut stage = Stage::of(many(2, 1));
    for (kind, name, length, said) in [
        ("guest", "g9", HOUR, "no guest has the name"),
        (
            "host",
            "hv9",
            HOUR,
            "there is no host \"hv9\"; there are hv1, hv2",
        ),
        ("pool", "g1", HOUR, "it must be guest or host"),
        (
            "guest",
            "g1",
            Duration::from_secs(59),
            "maintenance lasts 1 min to 30 d",
        ),
        ("guest", "g1", 721 * HOUR, "maintenance lasts 1 min to 30 d"),
    ] {
        let refused = stage.maintain(kind, name, on(length)).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
    assert!(stage.table(|table| table.maintenance.is_empty()));
    assert_eq!(stage.on("g1"), 1);
}
