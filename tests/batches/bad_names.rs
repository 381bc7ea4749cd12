//! Names and guests that will not do: refused in words, and nothing is changed.

use handoverd::adapters::sim::cast::Cast;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::model::ids::JobId;
use handoverd::model::manifest::DnsEntry;
use handoverd::requests::refusal::Refusal;
use handoverd::requests::{DeployOptions, MoveOptions};

use crate::stage::{ACCESSIBLE, Stage, guest, manifest, world};

const ABSENT: Cast = Cast {
    deployed: false,
    ..ACCESSIBLE
};

/// `web` on `g1`, and a bundle of `api` whose service has this name.
fn with_api(name: &str) -> SimWorld {
    let mut world = world(2, &[("web", ACCESSIBLE), ("api", ABSENT)]);
    world.zone.origin = Some("svc.lab".parse().unwrap());
    manifest(&mut world, "api", |m| {
        m.dns = Some(DnsEntry {
            name: name.parse().unwrap(),
            ttl: 5,
        });
    });
    world
}

fn deploy(stage: &mut Stage, service: &'static str) -> Result<JobId, Refusal> {
    let bundle = ABSENT.bundle(service, '1').unwrap().digest.to_string();
    stage.ask(move |requests| async move {
        requests
            .deploy(&bundle, "g2", DeployOptions::default(), "test")
            .await
    })
}

#[track_caller]
fn assert_refused(answer: Result<JobId, Refusal>, name: &str, words: &[&str]) {
    let refusal = answer.unwrap_err();
    assert_eq!(refusal.name(), name, "{refusal}");
    let said = refusal.to_string();
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}

#[test]
fn a_name_of_another_service_is_refused_by_both_their_names() {
    let mut stage = Stage::of(with_api("web.svc.lab"));
    let before = stage.0.shared.lock().world.zone.clone();
    assert_refused(deploy(&mut stage, "api"), "NameTaken", &["web.svc.lab", "web"]);
    assert_eq!(stage.0.shared.lock().world.zone, before);
    assert_eq!(stage.table(|table| table.jobs.len()), 0);
}

#[test]
fn a_name_outside_every_zone_is_refused() {
    let mut stage = Stage::of(with_api("api.elsewhere.lab"));
    assert_refused(
        deploy(&mut stage, "api"),
        "NameOutsideZones",
        &["api.elsewhere.lab"],
    );
}

#[test]
fn a_name_that_somebody_else_has_in_the_zone_is_left_as_it_is() {
    let mut world = with_api("api.svc.lab");
    let taken = world.zone.names.values().next().unwrap().clone();
    let foreign = handoverd::model::name::NameRecords {
        ownership: Vec::new(),
        ..taken
    };
    world
        .zone
        .names
        .insert("api.svc.lab".parse().unwrap(), foreign.clone());
    let mut stage = Stage::of(world);
    let job = deploy(&mut stage, "api").unwrap();
    stage.end();
    let record = stage.table(|table| table.jobs[&job].clone());
    assert_eq!(
        (record.result.as_deref(), record.error_name.as_str()),
        (Some("failed"), "NameTaken"),
        "{}",
        record.error_details
    );
    let name = "api.svc.lab".parse().unwrap();
    assert_eq!(stage.0.shared.lock().world.zone.read(&name), foreign);
}

#[test]
fn a_guest_with_no_address_in_the_configured_networks_is_no_target() {
    let mut world = with_api("api.svc.lab");
    world.guests.get_mut(&guest(2)).unwrap().addresses.clear();
    let mut stage = Stage::of(world);
    let words = ["g2", "no address inside the configured networks"];
    assert_refused(deploy(&mut stage, "api"), "Unsuitable", &words);
    let moved = stage.begin("web", "g2", MoveOptions::default());
    assert_refused(moved, "Unsuitable", &words);
    stage.settle();
}
