//! Jobs that can go neither on nor back, the operator's way out, and what is refused about jobs that are not so.

use crate::lab::{Lab, Ran};
use crate::undoing::{START_NAMED, STOP_NAMED};

/// Moves `web` to g2, where it cannot be confirmed, and cancels the move while no name server answers; the stuck job.
#[track_caller]
fn get_stuck(lab: &Lab) -> u64 {
    let id = lab.begin(&["move", "web", "g2"]);
    lab.wait_for_step(id, "confirm");
    lab.exec("dns", &["sh", "-c", STOP_NAMED]).ok();
    lab.ctl(&["jobs", "cancel", &id.to_string()]);
    let job = lab.wait_for_end(id);
    assert_eq!(job["result"], "stuck", "{job:#}");
    id
}

#[track_caller]
fn serves_on_g1(lab: &Lab) {
    let homes = lab.agrees("in the end");
    assert_eq!(homes["web"], "g1");
    assert_eq!(lab.service("web")["generation"], 1);
}

#[test]
fn a_stuck_job_freezes_its_service_until_an_operator_resumes_or_abandons_it() {
    let lab = Lab::take();
    let _bent = lab.with_settings(&["[deadlines]", "undo = \"10s\"", "[jobs]", "keep = \"1s\""]);
    let _straight = [
        lab.at_the_end(&["exec", "dns", "--", "sh", "-c", START_NAMED]),
        lab.at_the_end(&["guest", "g2", "--", "rm", "-f", "/run/hold-web"]),
    ];
    lab.ctl(&[
        "deploy",
        &lab.held_with_ttl("web", 8080, "1", "", 1),
        "--to",
        "g1",
    ])
    .ok();
    lab.hold("g2", "web", true);
    let pid = lab.unit("g1", "MainPID", "web.service");

    let id = get_stuck(&lab);
    let number = id.to_string();
    let why = lab.service("web")["frozen"].as_str().unwrap().to_owned();
    assert!(why.contains("DNS server 10.77.0.2:53"), "{why}");
    for refused in [
        &["move", "web", "g2", "--json"][..],
        &["remove", "web", "--json"],
        &["stop", "web", "--json"],
    ] {
        lab.ctl(refused)
            .refusal()
            .is("Frozen", &["service web is frozen"]);
    }
    lab.ctl(&["jobs", "cancel", &number, "--json"])
        .refusal()
        .is("NotCancelable", &["has ended (stuck)"]);

    // What stood in the way is still there: it is stuck again, and no later than before.
    lab.ctl(&["resume", &number]);
    assert_eq!(lab.wait_for_end(id)["result"], "stuck");
    // A restarted daemon knows it, also when an ended job would not be on the bus any more.
    lab.lab(&["daemon", "hv1", "restart"]).ok();
    lab.exec("dns", &["sh", "-c", START_NAMED]).ok();
    lab.ctl(&["resume", &number]);
    let job = lab.wait_for_end(id);
    assert_eq!(job["result"], "cancelled", "{job:#}");
    serves_on_g1(&lab);

    // The other way out: what is left is the operator's, here a claim in the zone.
    let id = get_stuck(&lab);
    lab.exec("dns", &["sh", "-c", START_NAMED]).ok();
    lab.ctl(&["abandon", &id.to_string()]).ok();
    let job = lab.job(id);
    assert_eq!(job["result"], "failed", "{job:#}");
    assert!(
        job["error_details"]
            .as_str()
            .unwrap()
            .contains("abandoned by root"),
        "{job:#}"
    );
    assert_eq!(lab.service("web")["frozen"], serde_json::Value::Null);
    lab.ctl(&["move", "web", "g2", "--json"])
        .failure()
        .is("NameClaimed", &["web.svc.lab is claimed by handover"]);
    assert!(lab.ctl(&["audit"]).out.contains("claim-left"));
    lab.ctl(&["audit", "--repair"]).ok();
    serves_on_g1(&lab);
    assert_eq!(
        lab.unit("g1", "MainPID", "web.service"),
        pid,
        "it was never touched"
    );
    lab.ctl(&["remove", "web"]).ok();
}

#[test]
fn only_a_stuck_job_is_resumed_or_abandoned_and_only_a_running_one_cancelled() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.held("web", 8080, "1", ""), "--to", "g1"])
        .ok();
    let done = lab.last_job()["id"].as_u64().unwrap().to_string();
    let _undo = lab.at_the_end(&["guest", "g2", "--", "rm", "-f", "/run/hold-web"]);
    lab.hold("g2", "web", true);
    let id = lab.begin(&["move", "web", "g2"]);
    lab.wait_for_step(id, "confirm");
    let running = id.to_string();
    let unknown = (id + 1000).to_string();
    let before = lab.job_ids();

    let refused = |ran: Ran, name: &str, says: &[&str]| ran.refusal().is(name, says);
    for verb in ["resume", "abandon"] {
        refused(
            lab.ctl(&[verb, &done, "--json"]),
            "NotStuck",
            &["is not stuck", "done"],
        );
        refused(
            lab.ctl(&[verb, &running, "--json"]),
            "NotStuck",
            &["is not stuck", "it runs"],
        );
        refused(
            lab.ctl(&[verb, &unknown, "--json"]),
            "NoSuchJob",
            &["there is no job", &unknown],
        );
    }
    let ended = ["has ended (done)"];
    refused(
        lab.ctl(&["jobs", "cancel", &done, "--json"]),
        "NotCancelable",
        &ended,
    );
    refused(
        lab.ctl(&["jobs", "cancel", &unknown, "--json"]),
        "NoSuchJob",
        &[&unknown],
    );
    // A job of root's is foreign to anybody whom polkit does not know.
    for verb in [&["jobs", "cancel"][..], &["resume"], &["abandon"]] {
        let words = [verb, &[running.as_str()]].concat();
        let says = ["nobody may not cancel-job", "org.handoverd1.cancel-job"];
        refused(lab.ctl_as_nobody(&words), "NotAuthorized", &says);
    }

    assert_eq!(lab.job_ids(), before);
    let job = lab.job(id);
    assert_eq!(
        (&job["result"], &job["step"]),
        (&"".into(), &"confirm".into()),
        "{job:#}"
    );
    lab.hold("g2", "web", false);
    assert_eq!(lab.wait_for_end(id)["result"], "done");
    lab.ctl(&["remove", "web"]).ok();
}
