//! Moves that are cancelled, asked for twice, or turned back while the old copy still drains.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::jobs::interrupt;
use crate::lab::Lab;
use crate::moving::nothing_lost;

/// Fails unless all is as it was before the move that was cancelled.
#[track_caller]
fn untouched(lab: &Lab, before: &Value, main_pid: &str) {
    let now = lab.service("web");
    for key in [
        "guest",
        "address",
        "generation",
        "life_state",
        "enablement",
        "bundle",
    ] {
        assert_eq!(now[key], before[key], "{key}");
    }
    assert_eq!(lab.dig("web.svc.lab", "A"), ["10.77.0.101"]);
    let owner = format!("\"g=1 host=hv1 guest={}\"", lab.uuid("g1"));
    assert_eq!(lab.dig("_handover.web.svc.lab", "TXT"), [owner]);
    assert_eq!(
        lab.unit("g1", "MainPID", "web.service"),
        main_pid,
        "the source's process is the one before"
    );
    assert_eq!(lab.traces("g2", "web"), Vec::<String>::new());
}

#[test]
fn a_move_is_cancelled_before_the_commit_and_turned_back_after_it_and_no_request_is_lost() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.held("web", 8080, "1", ""), "--to", "g1"])
        .ok();
    let before = lab.service("web");
    let pid = lab.unit("g1", "MainPID", "web.service");
    let users = lab.load("http://web.svc.lab:8080/", 20);

    // Its check never passes on g2: it is cancelled while it confirms.
    lab.hold("g2", "web", true);
    let path = lab.call_move("web", "g2");
    assert_eq!(
        lab.call_move("web", "g2"),
        path,
        "an equal request in flight is the same job"
    );
    let id = lab.properties(&path)["Id"].as_u64().unwrap();
    lab.wait_for_step(id, "confirm");
    assert!(lab.dig("_handover.web.svc.lab", "TXT")[0].starts_with("\"claim="));
    assert_eq!(lab.dig("web.svc.lab", "A"), ["10.77.0.101"]);
    lab.ctl(&["jobs", "cancel", &id.to_string()]).ok();
    let job = lab.job(id);
    assert_eq!(
        (&job["result"], &job["error_name"]),
        (&"cancelled".into(), &"Cancelled".into()),
        "{job:#}"
    );
    untouched(&lab, &before, &pid);

    // The same by Ctrl-C.
    let moving = lab.ctl_in_background(&["move", "web", "10.77.0.102"]);
    let second = lab.wait_for("a second move", 60, || {
        let job = lab.last_job();
        (job["id"].as_u64().unwrap() > id).then(|| job["id"].as_u64().unwrap())
    });
    lab.wait_for_step(second, "confirm");
    let ran = interrupt(moving);
    assert_eq!(ran.code, 1, "stdout: {}\nstderr: {}", ran.out, ran.err);
    assert!((ran.out + &ran.err).contains("cancelled"));
    assert_eq!(lab.job(second)["result"], "cancelled");
    untouched(&lab, &before, &pid);

    // After the commit there is no way back but another move, also while the old copy drains.
    lab.hold("g2", "web", false);
    let there = lab.begin(&["move", "web", "g2", "--drain", "20s"]);
    lab.wait_for_step(there, "drain");
    let drains = Instant::now();
    lab.ctl(&["jobs", "cancel", &there.to_string()])
        .refused(3, "NotCancelable");
    assert_eq!(lab.dig("web.svc.lab", "A"), ["10.77.0.102"]);
    assert_eq!(lab.unit("g1", "MainPID", "web.service"), pid, "the source drains");
    lab.ctl(&["move", "web", "10.77.0.101"]).ok();
    assert_eq!(lab.wait_for_end(there)["result"], "done");
    // When the first move's drain is over: had it retired the copy that serves again, users would notice now.
    std::thread::sleep(Duration::from_secs(22).saturating_sub(drains.elapsed()));
    nothing_lost(&users.stop());
    let web = lab.service("web");
    assert_eq!(
        (&web["guest_name"], &web["generation"]),
        (&"g1".into(), &3.into())
    );
    assert_eq!(lab.dig("web.svc.lab", "A"), ["10.77.0.101"]);
    assert_eq!(
        lab.unit("g1", "MainPID", "web.service"),
        pid,
        "the copy on g1 was never stopped"
    );
    assert_eq!(lab.traces("g2", "web"), Vec::<String>::new());
    lab.guest("g1", "systemctl is-enabled web.service").ok();
}
