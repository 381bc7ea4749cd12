//! Whole guests: all services of one go to another, are planned, cancelled, and taken up after a kill of the daemon.

use serde_json::Value;

use crate::lab::Lab;
use crate::moving::nothing_lost;

impl Lab {
    /// Ids and homes of all services, by id.
    #[track_caller]
    fn homes(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        self.services()
            .iter()
            .map(|service| (text(&service["id"]), text(&service["guest_name"])))
            .collect()
    }

    #[track_caller]
    fn all_are_on(&self, guest: &str) {
        let homes = self.homes();
        assert!(homes.iter().all(|(_, home)| home == guest), "{homes:?}");
    }
}

/// The members of a batch by service: result, and its own job.
fn members(job: &Value) -> Vec<(String, String, Option<u64>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut all: Vec<_> = job["members"]
        .as_array()
        .unwrap_or_else(|| panic!("no members: {job:#}"))
        .iter()
        .map(|member| {
            (
                text(&member["service"]),
                text(&member["result"]),
                member["job"].as_u64(),
            )
        })
        .collect();
    all.sort();
    all
}

#[test]
fn all_services_of_a_guest_go_there_and_back_each_as_it_was() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.held("web", 8080, "1", ""), "--to", "g1"])
        .ok();
    lab.ctl(&["deploy", &lab.held("api", 8081, "1", ""), "--to", "g1"])
        .ok();
    lab.ctl(&["deploy", &lab.sleeper("sleeper"), "--to", "g1"]).ok();
    lab.ctl(&["deploy", &lab.marking("off", ""), "--to", "g1", "--stopped"])
        .ok();
    let users = lab.load("http://web.svc.lab:8080/", 20);

    // A plan begins nothing, and is begun as it was shown.
    let plan: Value = serde_json::from_str(&lab.ctl(&["plan", "g1", "g2", "--json"]).ok()).unwrap();
    assert_eq!(plan["entries"].as_array().unwrap().len(), 4, "{plan:#}");
    lab.all_are_on("g1");
    let id = plan["id"].as_str().unwrap();
    let told: Value = serde_json::from_str(&lab.ctl(&["apply", id, "--json"]).ok()).unwrap();
    assert_eq!(told["result"], "done", "{told:#}");
    lab.all_are_on("g2");
    for (service, result, job) in members(&told) {
        assert!(result == "done" && job.is_some(), "{service}: {told:#}");
        assert_eq!(lab.traces("g1", &service), Vec::<String>::new());
    }
    for name in ["web", "api"] {
        assert_eq!(lab.dig(&format!("{name}.svc.lab"), "A"), ["10.77.0.102"]);
        assert_eq!(
            lab.unit("g2", "ActiveState", &format!("{name}.service")),
            "active"
        );
    }
    assert_eq!(lab.unit("g2", "ActiveState", "sleeper.service"), "active");
    assert_eq!(lab.unit("g2", "ActiveState", "off.service"), "inactive");
    lab.guest("g2", "! test -e /run/was-started-off").ok();
    lab.ctl(&["apply", id]).refused(3, "PlanOutdated");

    // Back, by a strategy: g1 is the only other guest. Nobody has noticed either.
    let started = std::time::Instant::now();
    lab.ctl(&["move", "10.77.0.102", "least-loaded"]).ok();
    eprintln!("four services in {:?}", started.elapsed());
    lab.all_are_on("g1");
    nothing_lost(&users.stop());
    assert!(lab.ctl(&["why", "web"]).ok().contains("g1: "));
    assert!(lab.ctl(&["move", "g2", "g1"]).ok().contains("nothing to do"));
    let what_if = lab.ctl(&["what-if", "dies", "g1"]).ok();
    assert!(what_if.starts_with("if g1 dies, all 4 services"), "{what_if}");
}

#[test]
fn a_batch_is_cancelled_goes_on_past_a_failure_and_is_taken_up_after_a_kill() {
    let lab = Lab::take();
    for (service, port) in [("aaa", 8081), ("bbb", 8082), ("ccc", 8083)] {
        lab.ctl(&["deploy", &lab.held(service, port, "1", ""), "--to", "g1"])
            .ok();
    }

    // Cancelled while the first one confirms: it is undone, the others have not begun.
    lab.hold("g2", "aaa", true);
    let batch = lab.begin(&["move", "g1", "g2", "--parallel", "1"]);
    let first = lab.wait_for("the first member's job", 60, || {
        members(&lab.job(batch)).into_iter().find_map(|(_, _, job)| job)
    });
    lab.wait_for_step(first, "confirm");
    assert_eq!(
        lab.begin(&["move", "g1", "g2", "--parallel", "1"]),
        batch,
        "it is the same job"
    );
    lab.ctl(&["move", "g1", "spread"]).refused(3, "Busy");
    lab.ctl(&["jobs", "cancel", &batch.to_string()]).ok();
    let job = lab.job(batch);
    assert_eq!(job["result"], "cancelled", "{job:#}");
    let begun: Vec<bool> = members(&job).iter().map(|(_, _, job)| job.is_some()).collect();
    assert_eq!(begun, [true, false, false], "{job:#}");
    lab.all_are_on("g1");
    assert_eq!(lab.traces("g2", "aaa"), Vec::<String>::new());

    // The daemon is killed while one confirms, and goes on with the same job; one that fails does not stop the others.
    let batch = lab.begin(&["move", "g1", "g2"]);
    let held = lab.wait_for("the held member's job", 60, || {
        let all = members(&lab.job(batch));
        all.into_iter()
            .find(|(service, _, _)| service == "aaa")
            .and_then(|(_, _, job)| job)
    });
    lab.wait_for_step(held, "confirm");
    lab.lab(&["daemon", "hv1", "kill"]).ok();
    lab.lab(&["daemon", "hv1", "start"]).ok();
    let job = lab.wait_for_end(batch);
    assert_eq!(
        (&job["result"], &job["error_name"]),
        (&"failed".into(), &"Incomplete".into()),
        "{job:#}"
    );
    let results: Vec<_> = members(&job)
        .into_iter()
        .map(|(service, result, _)| (service, result))
        .collect();
    let expected = [("aaa", "failed"), ("bbb", "done"), ("ccc", "done")];
    assert_eq!(
        results,
        expected.map(|(service, result)| (service.to_owned(), result.to_owned()))
    );
    let details = job["error_details"].as_str().unwrap();
    assert!(
        details.contains("aaa to g2: failed") && details.contains("CheckFailed"),
        "{details}"
    );

    // What is left goes with the next request.
    lab.hold("g2", "aaa", false);
    lab.ctl(&["move", "g1", "g2"]).ok();
    lab.all_are_on("g2");
}
