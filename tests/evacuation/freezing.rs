//! When too many guests die at once, nothing is begun until somebody has looked.

use handoverd::adapters::sim::happening::Happening;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::requests::MoveOptions;

use crate::stage::{ACCESSIBLE, Stage, guest, host, id, many, world};

/// So many guests, each with one service.
pub fn one_each(guests: u8) -> SimWorld {
    let names: Vec<String> = (1..=guests).map(|n| format!("s{n:03}")).collect();
    let cast: Vec<_> = names.iter().map(|name| (name.as_str(), ACCESSIBLE)).collect();
    let mut world = world(guests, &cast);
    // The cast has put all of them on g1.
    for (number, name) in (1..=guests).zip(&names) {
        let (service, home) = (id(name), guest(number));
        if number == 1 {
            continue;
        }
        let first = world.guests.get_mut(&guest(1)).unwrap();
        let copy = first.copies.remove(&service).unwrap();
        let serial = copy.units.as_ref().unwrap().serial.clone();
        let disk = first.live.disks.remove(&serial).unwrap();
        first.configs.get_mut(&host()).unwrap().disks.remove(&serial);
        first.old_xml.disks.remove(&serial);
        let own = world.guests.get_mut(&home).unwrap();
        own.copies.insert(service.clone(), copy);
        own.live.disks.insert(serial.clone(), disk.clone());
        own.configs.get_mut(&host()).unwrap().disks.insert(serial, disk);
        own.controller = Some(host().to_string());
        let (address, guest_name) = (own.addresses.clone(), own.name.clone());
        let row = world
            .tables
            .get_mut(&host())
            .unwrap()
            .services
            .get_mut(&service)
            .unwrap();
        (row.guest, row.guest_name, row.addresses) = (home, guest_name, address.clone());
        let dns = row.dns.clone().unwrap();
        let records = world.zone.names.get_mut(&dns.name).unwrap();
        records.addresses = address;
        let owner = records.ownership[0].replace(&guest(1).to_string(), &home.to_string());
        records.ownership = vec![owner];
    }
    world
}

#[test]
fn fifty_guests_that_die_at_once_freeze_everything_until_somebody_thaws() {
    let mut stage = Stage::watching(one_each(100));
    stage.0.shared.lock().checked = false;
    stage.happen((1..=50).map(|n| Happening::Die(guest(n))));
    stage.pass(600_000);
    assert_eq!(stage.evacuations(), [], "nothing is begun");
    let alarm = stage.0.requests().evacuations.alarm().unwrap().to_string();
    assert!(
        alarm.contains("guests of host hv1 died within 60 s") && alarm.contains("handoverctl thaw"),
        "{alarm}"
    );
    let audit = stage.table(|table| table.audit.clone());
    let told = audit
        .iter()
        .filter(|(_, who, what, _)| who == "handoverd" && what == "freeze");
    assert_eq!(told.count(), 1, "one alarm");

    // It outlives the daemon.
    stage.0.shared.lock().killed = true;
    stage.pass(120_000);
    assert_eq!((stage.0.kills, stage.evacuations().len()), (1, 0));
    assert!(stage.0.requests().evacuations.alarm().is_some());

    // One of them is back before somebody looks.
    stage.happen([Happening::Boot(guest(1))]);
    stage.pass(60_000);
    stage
        .ask(|requests| async move { requests.thaw("root").await })
        .unwrap();
    stage.until("49 evacuations", |table| {
        table
            .jobs
            .values()
            .filter(|job| job.operation == "evacuate")
            .count()
            == 49
    });
    stage.end();
    assert!(
        stage
            .evacuations()
            .iter()
            .all(|(job, _)| job.result.as_deref() == Some("done"))
    );
    assert_eq!(stage.service("s001").guest_name, "g1");
    assert_eq!(stage.table(|table| table.alarm.clone()), None);
}

#[test]
fn a_running_evacuation_begins_nothing_more_while_frozen_and_goes_on_when_thawed() {
    let mut stage = Stage::watching(many(3, 30));
    stage.happen([Happening::Die(guest(1))]);
    stage.until("the first members", |table| table.unfinished().len() >= 4);
    stage
        .ask(|requests| async move { requests.freeze("somebody looks", "root").await })
        .unwrap();
    stage.pass(300_000);
    let begun = |stage: &Stage| {
        let members = stage.evacuations().pop().unwrap().1;
        members.iter().filter(|member| member.job.is_some()).count()
    };
    let frozen_at = begun(&stage);
    assert!((4..30).contains(&frozen_at), "{frozen_at}");
    assert_eq!(stage.on("g1"), 30 - frozen_at, "what had begun came to its end");
    stage
        .ask(|requests| async move { requests.thaw("root").await })
        .unwrap();
    stage.end();
    assert_eq!((stage.on("g1"), stage.evacuations().len()), (0, 1));
    stage.settle();
}

#[test]
fn an_operator_freezes_and_thaws_and_may_move_services_all_the_same() {
    let mut stage = Stage::watching(many(3, 2));
    let freeze = |reason: &str| {
        let reason = reason.to_owned();
        move |requests: std::sync::Arc<handoverd::requests::Requests>| async move {
            requests.freeze(&reason, "root").await
        }
    };
    let refused = stage.ask(freeze("two\nlines")).unwrap_err();
    assert_eq!(refused.name(), "InvalidArgument");
    stage.ask(freeze("the storage is rebuilt")).unwrap();
    stage.ask(freeze("again")).unwrap();
    let alarm = stage.0.requests().evacuations.alarm().unwrap().to_string();
    assert!(
        alarm.starts_with("root froze it (the storage is rebuilt);"),
        "{alarm}"
    );
    stage.begin("s00", "g2", MoveOptions::default()).unwrap();
    stage.end();
    assert_eq!(stage.on("g2"), 1);
    stage.happen([Happening::Die(guest(1))]);
    stage.pass(300_000);
    assert_eq!(stage.evacuations(), []);
    let thaw =
        |requests: std::sync::Arc<handoverd::requests::Requests>| async move { requests.thaw("root").await };
    stage.ask(thaw).unwrap();
    stage.evacuated();
    stage.ask(thaw).unwrap();
    assert_eq!(stage.on("g1"), 0);
    stage.settle();
}

#[test]
fn a_host_that_shuts_down_takes_its_guests_along_and_nothing_is_moved() {
    let mut stage = Stage::watching(many(3, 2));
    let tell = |stage: &Stage, down| stage.0.shared.lock().goes_down.send_replace(down);
    tell(&stage, true);
    stage.pass(100);
    stage.happen([Happening::PowerOff(guest(1))]);
    stage.pass(300_000);
    let alarm = stage.0.requests().evacuations.alarm().unwrap().to_string();
    assert!(alarm.starts_with("host hv1 is shutting down;"), "{alarm}");
    assert_eq!(stage.evacuations(), []);
    // The next daemon runs on a host that is up: what was frozen for that is thawed.
    tell(&stage, false);
    stage.0.shared.lock().killed = true;
    stage.happen([Happening::Boot(guest(1))]);
    stage.pass(60_000);
    assert_eq!(stage.0.requests().evacuations.alarm(), None);
    assert_eq!((stage.evacuations(), stage.on("g1")), (vec![], 2));

    // A shutdown that is called off: guests are dead again as ever.
    tell(&stage, true);
    stage.pass(1_000);
    assert!(stage.0.requests().evacuations.alarm().is_some());
    tell(&stage, false);
    stage.pass(1_000);
    assert_eq!(stage.0.requests().evacuations.alarm(), None);
    stage.happen([Happening::Die(guest(1))]);
    stage.evacuated();
    assert_eq!(stage.on("g1"), 0);
    stage.settle();
}
