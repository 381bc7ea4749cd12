//! New bundles for a service, on its guest and on another, and its start and stop.

use serde_json::Value;

use crate::lab::Lab;

/// The disks of ours that a guest has: live, persistent.
#[track_caller]
fn disks(lab: &Lab, guest: &str) -> [usize; 2] {
    [false, true].map(|inactive| lab.xml(guest, inactive).matches("<serial>ho").count())
}

#[test]
fn an_upgrade_takes_the_new_version_or_leaves_the_old_one_serving() {
    let lab = Lab::take();
    let url = "http://web.svc.lab:8080/";
    lab.ctl(&["deploy", &lab.held("web", 8080, "1", ""), "--to", "g1"])
        .ok();
    assert!(lab.get(url).contains("guest=g1\nversion=1\n"));

    lab.ctl(&["upgrade", "web", &lab.held("web", 8080, "2", "")]).ok();
    assert!(lab.get(url).contains("guest=g1\nversion=2\n"));
    let web = lab.service("web");
    assert_eq!(
        (&web["version"], &web["generation"], &web["guest_name"]),
        (&"2".into(), &2.into(), &"g1".into())
    );
    assert_eq!(disks(&lab, "g1"), [1, 1], "the old bundle's disk is gone");

    lab.ctl(&["upgrade", "web", &lab.held("web", 8080, "3", ""), "--to", "g2"])
        .ok();
    assert!(
        lab.get("http://10.77.0.102:8080/")
            .contains("guest=g2\nversion=3\n")
    );
    assert_eq!(lab.dig("web.svc.lab", "A"), ["10.77.0.102"]);
    assert_eq!(lab.traces("g1", "web"), Vec::<String>::new());

    let broken = lab.broken("web", 8080, "4");
    for target in ["g2", "g1"] {
        let ran = lab.ctl(&["upgrade", "web", &broken, "--to", target, "--json"]);
        assert_eq!(ran.code, 1, "stdout: {}\nstderr: {}", ran.out, ran.err);
        let job: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(
            (&job["result"], &job["error_name"]),
            (&"failed".into(), &"CheckFailed".into()),
            "{job:#}"
        );
        assert!(
            job["error_details"].as_str().unwrap().contains("never well"),
            "{job:#}"
        );
        assert!(
            lab.get("http://10.77.0.102:8080/")
                .contains("guest=g2\nversion=3\n"),
            "undone on {target}"
        );
        let web = lab.service("web");
        assert_eq!((&web["version"], &web["generation"]), (&"3".into(), &3.into()));
        assert_eq!(web["life_state"], "accessible");
        let owner = format!("\"g=3 host=hv1 guest={}\"", lab.uuid("g2"));
        assert_eq!(lab.dig("_handover.web.svc.lab", "TXT"), [owner]);
        assert_eq!(disks(&lab, "g2"), [1, 1]);
        assert_eq!(lab.traces("g1", "web"), Vec::<String>::new());
    }

    let job: Value = serde_json::from_str(&lab.ctl(&["stop", "web", "--json"]).ok()).unwrap();
    assert_eq!(
        (&job["result"], &job["operation"]),
        (&"done".into(), &"stop".into())
    );
    assert_eq!(lab.unit("g2", "ActiveState", "web.service"), "inactive");
    assert_eq!(lab.service("web")["life_state"], "stopped");
    let job: Value = serde_json::from_str(&lab.ctl(&["start", "web", "--json"]).ok()).unwrap();
    assert_eq!(
        (&job["result"], &job["operation"]),
        (&"done".into(), &"start".into())
    );
    assert!(lab.get("http://10.77.0.102:8080/").contains("version=3\n"));
    assert_eq!(lab.service("web")["life_state"], "accessible");
    lab.guest("g2", "systemctl is-enabled web.service").ok();

    let job: Value = serde_json::from_str(&lab.ctl(&["remove", "web", "--json"]).ok()).unwrap();
    assert_eq!(
        (&job["result"], &job["operation"]),
        (&"done".into(), &"remove".into())
    );
    assert_eq!(lab.traces("g2", "web"), Vec::<String>::new());
}
