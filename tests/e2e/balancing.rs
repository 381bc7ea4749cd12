//! Loads that are uneven are evened out by request, and users notice nothing of it.

use crate::lab::Lab;
use crate::moving::nothing_lost;

/// A quarter of what a guest of the lab has.
const NEEDS: &str = "[placement]\nmemory = \"96MiB\"";
const SERVICES: [(&str, u16); 3] = [("shop", 8080), ("blog", 8081), ("wiki", 8082)];

#[test]
fn an_uneven_load_is_evened_out_and_users_notice_nothing() {
    let lab = Lab::take();
    let bundles = SERVICES.map(|(id, port)| lab.held(id, port, "1", NEEDS));
    let deploys: Vec<[&str; 4]> = bundles
        .iter()
        .map(|bundle| ["deploy", bundle, "--to", "g1"])
        .collect();
    let deploys: Vec<&[&str]> = deploys.iter().map(|line| &line[..]).collect();
    lab.at_once(&deploys);
    let users = SERVICES.map(|(id, port)| lab.load(&format!("http://{id}.svc.lab:{port}/"), 10));
    let evened = lab.wait_for("the loads are measured", 120, || {
        let evened = lab.ctl(&["rebalance"]);
        (evened.code != 3).then_some(evened)
    });
    let told = evened.ok();
    for load in users {
        nothing_lost(&load.stop());
    }
    let homes = lab.agrees("evened out");
    let moved: Vec<&String> = homes.values().filter(|home| *home == "g2").collect();
    assert!(
        matches!(moved.len(), 1 | 2),
        "each guest has some of three: {homes:?}\n{told}"
    );
    let (away, _) = homes.iter().find(|(_, home)| *home == "g2").unwrap();
    let why = lab.ctl(&["why", away]).ok();
    assert!(why.contains("rebalance") && why.contains("apart"), "{why}");
    lab.at_once(&[&["remove", "shop"], &["remove", "blog"], &["remove", "wiki"]]);
}
