//! One service from one guest to another, as its users, its operator and programs see it.

use serde_json::Value;

use crate::jobs::interrupt;
use crate::lab::Lab;

const STEPS: [&str; 9] = [
    "reserve", "observe", "stage", "start", "confirm", "publish", "record", "drain", "retire",
];

/// Watches a job on the bus to its end: what it told on the way must make sense. Its last properties.
#[track_caller]
fn watch_properties(lab: &Lab, path: &str) -> Value {
    let mut steps: Vec<String> = Vec::new();
    let mut progress = 0.0;
    let last = lab.wait_for("the end of the move", 240, || {
        let seen = lab.properties(path);
        let now = seen["Progress"].as_f64().unwrap();
        assert!(now >= progress, "progress went back from {progress} to {now}");
        progress = now;
        if seen["Result"] != "" {
            return Some(seen);
        }
        assert_eq!(seen["State"], "running");
        steps.push(seen["Step"].as_str().unwrap().to_owned());
        None
    });
    let places: Vec<usize> = steps
        .iter()
        .map(|s| STEPS.iter().position(|known| known == s).unwrap())
        .collect();
    assert!(places.is_sorted(), "{steps:?}");
    assert!(
        steps.contains(&"drain".to_owned()),
        "the drain takes seven seconds: {steps:?}"
    );
    assert!((progress - 1.0).abs() < f64::EPSILON, "{last:#}");
    last
}

/// Fails unless every request was answered.
#[track_caller]
pub fn nothing_lost(summary: &Value) {
    assert!(summary["answered"].as_u64().unwrap() > 20, "{summary:#}");
    let failures = summary["failures"].as_array().unwrap();
    let first: Vec<&Value> = failures.iter().take(5).collect();
    assert_eq!(failures.len(), 0, "the first of them: {first:#?}");
}

/// Fails unless the table, the zone and the guests say that `web` is on this guest.
#[track_caller]
fn web_is_on(lab: &Lab, guest: &str, other: &str, generation: u64) {
    let web = lab.service("web");
    let address = if guest == "g1" {
        "10.77.0.101"
    } else {
        "10.77.0.102"
    };
    assert_eq!(
        (&web["guest_name"], &web["generation"]),
        (&guest.into(), &generation.into()),
        "{web:#}"
    );
    assert_eq!(
        (&web["address"], &web["life_state"]),
        (&address.into(), &"accessible".into()),
        "{web:#}"
    );
    assert_eq!(web["guest"], *lab.uuid(guest));
    assert_eq!(lab.dig("web.svc.lab", "A"), [address]);
    let owner = format!("\"g={generation} host=hv1 guest={}\"", lab.uuid(guest));
    assert_eq!(lab.dig("_handover.web.svc.lab", "TXT"), [owner]);
    assert_eq!(lab.unit(guest, "ActiveState", "web.service"), "active");
    assert_eq!(lab.unit(guest, "ActiveState", "opt-web.mount"), "active");
    for inactive in [false, true] {
        assert_eq!(
            lab.xml(guest, inactive).matches("<serial>ho").count(),
            1,
            "inactive={inactive}"
        );
    }
    assert_eq!(lab.traces(other, "web"), Vec::<String>::new());
}

/// Moves `web` while it is used; the job's number.
#[track_caller]
fn move_under_load(lab: &Lab, from: &str, to: &str, generation: u64) -> u64 {
    let users = lab.load("http://web.svc.lab:8080/", 20);
    let old = lab.load(&format!("http://{}:8080/", address(from)), 5);
    let new = lab.load(&format!("http://{}:8080/", address(to)), 5);
    let path = lab.call_move("web", &if to == "g1" { lab.uuid(to) } else { to.to_owned() });
    let job = watch_properties(lab, &path);
    assert_eq!(
        (&job["Result"], &job["ErrorName"]),
        (&"done".into(), &"".into()),
        "{job:#}"
    );
    assert_eq!((&job["Source"], &job["Target"]), (&from.into(), &to.into()));
    assert_eq!(
        (&job["Operation"], &job["Object"]),
        (&"move".into(), &"web".into())
    );

    let (old, new, users) = (old.stop(), new.stop(), users.stop());
    nothing_lost(&users);
    for guest in [from, to] {
        assert!(
            users["guests"][guest]["answered"].as_u64().unwrap() > 0,
            "{:#}",
            users["guests"]
        );
    }
    let (until, since) = (
        old["guests"][from]["last"].as_f64().unwrap(),
        new["guests"][to]["first"].as_f64().unwrap(),
    );
    // Users' resolvers knew the old address for up to 5 s more.
    assert!(
        until - since > 5.0,
        "both answered for a while: {from} until {until}, {to} since {since}"
    );
    web_is_on(lab, to, from, generation);
    job["Id"].as_u64().unwrap()
}

fn address(guest: &str) -> &'static str {
    if guest == "g1" {
        "10.77.0.101"
    } else {
        "10.77.0.102"
    }
}

#[test]
fn a_service_moves_there_and_back_without_a_lost_request_and_is_removed_without_a_trace() {
    let lab = Lab::take();
    let watch = lab.ctl_in_background(&["watch", "--json"]);
    lab.ctl(&["deploy", &lab.web(), "--to", "g1"]).ok();
    web_is_on(&lab, "g1", "g2", 1);

    let jobs = [
        move_under_load(&lab, "g1", "g2", 2),
        move_under_load(&lab, "g2", "g1", 3),
    ];
    for id in &jobs {
        let job = lab.job(*id);
        let steps: Vec<&str> = job["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["step"].as_str().unwrap())
            .collect();
        for step in STEPS {
            assert!(steps.contains(&step), "{step} is not in {steps:?}");
        }
    }

    lab.ctl(&["remove", "web"]).ok();
    assert_eq!(lab.dig("web.svc.lab", "A"), Vec::<String>::new());
    assert_eq!(lab.dig("_handover.web.svc.lab", "TXT"), Vec::<String>::new());
    assert_eq!(lab.traces("g1", "web"), Vec::<String>::new());
    assert_eq!(lab.services(), Vec::<Value>::new());

    let watched = interrupt(watch).ok();
    let lines: Vec<Value> = watched
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for id in jobs {
        let of_job: Vec<&Value> = lines
            .iter()
            .filter(|l| l["event"] == "job" && l["id"] == id)
            .collect();
        assert_eq!(
            of_job.first().map(|l| &l["result"]),
            Some(&"".into()),
            "its beginning: {of_job:#?}"
        );
        assert_eq!(
            of_job.last().map(|l| &l["result"]),
            Some(&"done".into()),
            "its end: {of_job:#?}"
        );
    }
    assert!(
        lines
            .iter()
            .any(|l| l["event"] == "service" && l["guest_name"] == "g2"),
        "{watched}"
    );
    assert!(
        lines
            .iter()
            .any(|l| l["event"] == "service-removed" && l["id"] == "web"),
        "{watched}"
    );
}

#[test]
fn a_service_that_must_not_overlap_never_answers_from_two_guests() {
    let lab = Lab::take();
    lab.ctl(&[
        "deploy",
        &lab.held("solo", 8081, "1", "overlap = false"),
        "--to",
        "g1",
    ])
    .ok();
    let [old, new] = ["10.77.0.101", "10.77.0.102"]
        .map(|at| lab.load_for(3600, &format!("http://{at}:8081/"), 20, &["--all"]));
    lab.ctl(&["move", "solo", "g2"]).ok();
    lab.wait_for("an answer of g2", 20, || {
        (lab.get("http://solo.svc.lab:8081/").contains("guest=g2")).then_some(())
    });
    let (old, new) = (old.stop(), new.stop());
    // A request that was sent late, or answered late, is no overlap: g1 would have to answer one that was sent after an answer
    // of g2 had come.
    let answered = |summary: &Value| {
        let all = summary["requests"].as_array().unwrap().iter();
        let answered = all.filter(|request| request.get("error").is_none());
        let number = |request: &Value, key: &str| request[key].as_f64().unwrap();
        let spans = answered.map(|request| {
            let sent = number(request, "sent");
            (sent, sent + number(request, "latency"))
        });
        spans.collect::<Vec<_>>()
    };
    let last = answered(&old).into_iter().map(|(sent, _)| sent).reduce(f64::max);
    let first = answered(&new).into_iter().map(|(_, came)| came).reduce(f64::min);
    let (last, first) = (last.unwrap(), first.unwrap());
    assert!(last < first, "g1 answered until {last}, g2 from {first}");
    assert_eq!(lab.dig("solo.svc.lab", "A"), ["10.77.0.102"]);
    assert_eq!(lab.traces("g1", "solo"), Vec::<String>::new());
}
