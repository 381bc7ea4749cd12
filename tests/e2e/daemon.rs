//! The daemon's own life: killed, restarted, started twice.

use crate::lab::Lab;
use crate::moving::nothing_lost;

#[test]
fn a_killed_daemon_takes_its_moves_up_and_a_restarted_one_forgets_nothing() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.held("web", 8080, "1", ""), "--to", "g1"])
        .ok();
    let users = lab.load("http://web.svc.lab:8080/", 20);

    // Killed before the commit, while it confirms.
    lab.hold("g2", "web", true);
    let there = lab.begin(&["move", "web", "g2", "--drain", "15s"]);
    lab.wait_for_step(there, "confirm");
    lab.lab(&["daemon", "hv1", "kill"]).ok();
    lab.hold("g2", "web", false);
    assert_eq!(
        lab.dig("web.svc.lab", "A"),
        ["10.77.0.101"],
        "nothing is committed without a daemon"
    );
    lab.lab(&["daemon", "hv1", "start"]).ok();
    lab.wait_for_step(there, "drain");

    // Killed after the commit: what is owed is still owed.
    lab.lab(&["daemon", "hv1", "kill"]).ok();
    assert_eq!(lab.dig("web.svc.lab", "A"), ["10.77.0.102"]);
    assert_eq!(
        lab.unit("g1", "ActiveState", "web.service"),
        "active",
        "the source drains"
    );
    lab.lab(&["daemon", "hv1", "start"]).ok();
    let job = lab.wait_for_end(there);
    assert_eq!(job["result"], "done", "{job:#}");
    nothing_lost(&users.stop());
    assert_eq!(lab.last_job()["id"], there, "it is the same job");
    assert_eq!(lab.dig("web.svc.lab", "A"), ["10.77.0.102"]);
    let owner = format!("\"g=2 host=hv1 guest={}\"", lab.uuid("g2"));
    assert_eq!(lab.dig("_handover.web.svc.lab", "TXT"), [owner]);
    assert_eq!(lab.unit("g2", "ActiveState", "web.service"), "active");
    assert_eq!(lab.traces("g1", "web"), Vec::<String>::new());

    // Idle: everything is kept, in the table and in the guest.
    let before = (
        lab.service("web"),
        lab.job(there),
        lab.unit("g2", "MainPID", "web.service"),
    );
    lab.lab(&["daemon", "hv1", "restart"]).ok();
    assert_eq!(lab.unit("g2", "MainPID", "web.service"), before.2);
    let now = lab.service("web");
    for key in [
        "guest",
        "address",
        "generation",
        "life_state",
        "enablement",
        "bundle",
        "wanted",
        "name",
    ] {
        assert_eq!(now[key], before.0[key], "{key}");
    }
    let job = lab.job(there);
    assert!(
        job["journal"].as_array().is_some_and(|list| list.len() > 9),
        "{job:#}"
    );
    for key in [
        "result", "started", "finished", "source", "target", "journal", "steps",
    ] {
        assert_eq!(job[key], before.1[key], "{key}");
    }

    // One table, one daemon.
    let second = lab.exec("hv1", &["timeout", "20", "handoverd"]);
    assert!(
        ![0, 124, 125].contains(&second.code),
        "stdout: {}\nstderr: {}",
        second.out,
        second.err
    );
    assert!(second.err.contains("another"), "it says why: {}", second.err);
    assert_eq!(lab.service("web")["generation"], 2, "the first one goes on");
}
