//! One service from one guest to another.

use crate::lab::Lab;

#[test]
fn a_service_is_deployed_moved_and_removed_without_a_trace() {
    let lab = Lab::take();
    lab.ctl(&["deploy", &lab.web(), "--to", "g1"]).ok();
    let web = lab.service("web");
    assert_eq!(
        (web["guest_name"].as_str(), web["generation"].as_u64()),
        (Some("g1"), Some(1))
    );
    assert_eq!(web["life_state"], "accessible");
    assert_eq!(lab.dig("web.svc.lab", "A"), ["10.77.0.101"]);

    lab.ctl(&["move", "web", "g2"]).ok();
    let web = lab.service("web");
    assert_eq!(
        (web["guest_name"].as_str(), web["generation"].as_u64()),
        (Some("g2"), Some(2))
    );
    assert_eq!(web["address"], "10.77.0.102");
    assert_eq!(lab.dig("web.svc.lab", "A"), ["10.77.0.102"]);
    assert_eq!(lab.traces("g1", "web"), Vec::<String>::new());

    lab.ctl(&["remove", "web"]).ok();
    assert_eq!(lab.dig("web.svc.lab", "A"), Vec::<String>::new());
    assert_eq!(lab.dig("_handover.web.svc.lab", "TXT"), Vec::<String>::new());
    assert_eq!(lab.traces("g2", "web"), Vec::<String>::new());
}
