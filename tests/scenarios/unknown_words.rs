//! A cluster or a script with a word that is not known is refused, with its file, its line, and what is known.

use handoverd::adapters::sim::scenario::Scenario;
use handoverd::adapters::sim::world::SimWorld;

use crate::script;

const CLUSTER: &str = r#"
[[host]]
name = "hv1"

[[guest]]
name = "g1"
host = "hv1"
address = "10.77.0.101"

[[service]]
name = "web"
guest = "g1"
"#;

fn load(text: &str) -> Result<Scenario, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("cluster.toml"), text).unwrap();
    Scenario::load(folder.path()).map_err(|error| {
        let shown = format!("{}/", folder.path().display());
        error.to_string().replace(&shown, "")
    })
}

#[track_caller]
fn refused(line: &str, replacement: &str, message: &str) {
    assert!(CLUSTER.contains(line), "{line}");
    let why = load(&CLUSTER.replacen(line, replacement, 1))
        .err()
        .expect("it was taken");
    assert!(why.contains(message), "{why}\nnot\n{message}");
}

#[test]
fn a_cluster_of_known_words_is_taken() {
    let scenario = load(CLUSTER).unwrap();
    assert_eq!(scenario.world.guests.len(), 1);
    assert_eq!(scenario.own.as_str(), "hv1");
    assert!(
        scenario
            .world
            .zone
            .names
            .contains_key(&"web.svc.lab".parse().unwrap())
    );
}

#[test]
fn the_example_is_taken_and_what_it_shows_as_defaults_are_those() {
    let text = include_str!("../../examples/cluster.toml");
    let shown: Vec<&str> = text
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| !rest.starts_with(' '))
                .unwrap_or(line)
        })
        .collect();
    let (plain, shown) = (load(text).unwrap(), load(&shown.join("\n")).unwrap());
    assert_eq!(plain.world, shown.world);
    assert_eq!((plain.own, plain.speed), (shown.own, shown.speed));
}

#[test]
fn an_unknown_key_is_told_with_the_nearest() {
    refused(
        "address = ",
        "adress = ",
        "cluster.toml:8: guest.adress: there is no such key; the nearest is \"address\" (allowed here: address, agent, cpu_used, cpus, \
         host, labels, memory_mib, memory_used, name, pressure, state, systemd, uuid)",
    );
    refused(
        "[[service]]",
        "[[servise]]",
        "cluster.toml:10: servise: there is no such key; the nearest is \"service\"",
    );
}

#[test]
fn an_unknown_state_is_told_with_those_that_are_known() {
    refused(
        "host = \"hv1\"",
        "host = \"hv1\"\nstate = \"asleep\"",
        "cluster.toml:8: guest.state: \"asleep\": it must be one of running, off, saved, booting, hung",
    );
    refused(
        "guest = \"g1\"",
        "guest = \"g1\"\nlife = \"happy\"",
        "cluster.toml:13: service.life: \"happy\": it must be one of accessible, running, stopped, failed",
    );
}

#[test]
fn a_guest_on_an_unknown_host_is_told_with_the_hosts() {
    refused(
        "host = \"hv1\"",
        "host = \"hv7\"",
        "cluster.toml:7: guest.host: there is no host \"hv7\"; there are hv1",
    );
}

#[test]
fn a_service_on_an_unknown_guest_is_told_with_the_guests() {
    refused(
        "guest = \"g1\"",
        "guest = \"g7\"",
        "cluster.toml:12: service.guest: there is no guest \"g7\"; there are g1",
    );
}

#[test]
fn an_unknown_happening_is_told_with_those_that_are_known() {
    let with = |what: &str| format!("{CLUSTER}\n[[happens]]\nat = \"3s\"\nwhat = \"{what}\"\n");
    let why = load(&with("g1 explodes")).err().unwrap();
    let message = "cluster.toml:16: happens.what: \"g1 explodes\": nothing like \"explodes\" happens to a guest; what may \
                   happen: dies, boots, reboots, hangs";
    assert!(why.contains(message), "{why}");
    assert_eq!(load(&with("g1 dies")).unwrap().world.agenda.len(), 1);
}

#[test]
fn every_problem_of_a_cluster_is_told_at_once() {
    let text = CLUSTER.replace("host = \"hv1\"", "host = \"hv7\"\nagent = \"deaf\"\nsystemd = 0");
    let why = load(&text).err().unwrap();
    let lines: Vec<&str> = why.lines().collect();
    assert_eq!(lines.len(), 3, "{why}");
    assert!(
        lines[1].starts_with("cluster.toml:8: guest.agent: \"deaf\""),
        "{why}"
    );
    assert!(
        lines[2].starts_with("cluster.toml:9: guest.systemd: 0: it must be 1 to 999"),
        "{why}"
    );
}

#[test]
fn a_configuration_for_another_host_is_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("cluster.toml"), CLUSTER).unwrap();
    std::fs::write(folder.path().join("handoverd.toml"), "host = \"hv9\"\n").unwrap();
    let scenario = Scenario::load(folder.path()).unwrap();
    let why = scenario.settings(None).unwrap_err().to_string();
    assert!(
        why.contains("host: hv9 is no host of the simulated cluster"),
        "{why}"
    );
}

#[test]
fn steps_that_are_not_known_are_told_with_their_line() {
    let world = SimWorld::new(2).unwrap();
    for (text, message) in [
        (
            "move web g2\nexplode",
            "script:2: \"explode\": there is no such step; steps are at, wait, when",
        ),
        (
            "move web",
            "script:1: \"move web\": that is not how \"move\" is written",
        ),
        ("cancel web", "\"web\" is not the number of a job"),
        ("wait 5", "a span of time needs a unit"),
        ("g1 explodes", "nothing like \"explodes\" happens to a guest"),
        (
            "next swop hangs",
            "there is no call \"swop\"; calls are inspect, give",
        ),
        (
            "next swap explodes",
            "\"explodes\" is neither a fault (is refused, is unavailable",
        ),
        ("next act g9 hangs", "\"g9 hangs\" is neither a fault"),
        (
            "next check is done twice",
            "\"is done twice\" makes no difference to \"check\"",
        ),
    ] {
        let why = script::read("script", text, &world).unwrap_err();
        assert!(why.contains(message), "{why}\nnot\n{message}");
    }
}
