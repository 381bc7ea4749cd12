//! Loads that are uneven are evened out, by request and by the daemon itself, and users notice nothing of it.

use crate::agreement::Homes;
use crate::lab::Lab;
use crate::moving::nothing_lost;

/// A quarter of what a guest of the lab has.
const NEEDS: &str = "[placement]\nmemory = \"96MiB\"";
const SERVICES: [(&str, u16); 3] = [("shop", 8080), ("blog", 8081), ("wiki", 8082)];

/// Three services on g1, and users of each while `evened` waits; where the services are then, and one that is on g2.
#[track_caller]
fn from_g1(lab: &Lab, evened: impl FnOnce()) -> (Homes, String) {
    let bundles = SERVICES.map(|(id, port)| lab.held(id, port, "1", NEEDS));
    let deploys: Vec<[&str; 4]> = bundles
        .iter()
        .map(|bundle| ["deploy", bundle, "--to", "g1"])
        .collect();
    let deploys: Vec<&[&str]> = deploys.iter().map(|line| &line[..]).collect();
    lab.at_once(&deploys);
    let users = SERVICES.map(|(id, port)| lab.load(&format!("http://{id}.svc.lab:{port}/"), 10));
    evened();
    for load in users {
        nothing_lost(&load.stop());
    }
    let homes = lab.agrees("evened out");
    let mut moved = homes
        .iter()
        .filter(|(_, home)| *home == "g2")
        .map(|(id, _)| id.clone());
    let away = moved.next().unwrap_or_else(|| panic!("{homes:?}"));
    assert!(moved.count() < 2, "each guest has some of three: {homes:?}");
    let why = lab.ctl(&["why", &away]).ok();
    assert!(why.contains("rebalance") && why.contains("apart"), "{why}");
    (homes, away)
}

#[track_caller]
fn remove_all(lab: &Lab) {
    lab.at_once(&[&["remove", "shop"], &["remove", "blog"], &["remove", "wiki"]]);
}

#[test]
fn an_uneven_load_is_evened_out_and_users_notice_nothing() {
    let lab = Lab::take();
    from_g1(&lab, || {
        let evened = lab.wait_for("the loads are measured", 120, || {
            let evened = lab.ctl(&["rebalance"]);
            (evened.code != 3).then_some(evened)
        });
        evened.ok();
    });
    remove_all(&lab);
}

#[test]
fn a_daemon_that_is_told_to_evens_out_loads_by_itself_and_says_how_they_stand() {
    let lab = Lab::take();
    let before = lab.newest_job("rebalance");
    let enabled = [
        "[balance]",
        "enabled = \"yes\"",
        "patience = \"30s\"",
        "rest = \"0s\"",
    ];
    let balancing = lab.with_settings(&enabled);
    let stands = || {
        let guests = lab.ctl(&["guests"]).ok();
        let last = guests.lines().last().unwrap().to_owned();
        assert!(last.starts_with("balance: "), "{guests}");
        last
    };
    from_g1(&lab, || {
        // The first wait is long where the other test has just moved services here.
        lab.wait_for("the gap is seen", 300, || {
            stands()
                .contains("moves begin if they still are in")
                .then_some(())
        });
        lab.is_done_by_itself("rebalance", &before, 120);
    });
    // What has just moved does not show in the loads yet.
    lab.wait_for("the loads are left alone", 60, || {
        stands().contains("to show the last moves").then_some(())
    });
    drop(balancing);
    let off = lab.ctl(&["guests"]).ok();
    assert!(!off.contains("balance:"), "{off}");
    remove_all(&lab);
}
