//! What a configuration's text gives: settings, their defaults, and what is said of what is wrong.

#![cfg(test)]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use handoverd::config::reading::Surroundings;
use handoverd::config::{
    BusAddress, ConfigError, Deadlines, Fragment, KeyAlgorithm, KeyOrigin, LogLevel, Settings, describe,
    publishable_set, settings,
};
use handoverd::plan::damper::Damping;
use handoverd::plan::rebalance::Balance;
use handoverd::watch::blast::Limits;
use handoverd::watch::cause::Policy;

const SHIPPED: &str = include_str!("../config/handoverd.toml");
const SECRET: &str = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IDEyMzQ=";

/// A machine without files: one key file, one credential.
struct Paper;

impl Surroundings for Paper {
    fn host_name(&self) -> Result<String, String> {
        Ok("paper".to_owned())
    }

    fn key_file(&self, path: &Path) -> Result<String, String> {
        match path.to_str() {
            Some("/etc/handoverd/tsig/svc.lab.key") => Ok(SECRET.to_owned()),
            Some("/broken") => Ok("not*base64".to_owned()),
            _ => Err(format!("the key file {} cannot be opened", path.display())),
        }
    }

    fn credential(&self, name: &str) -> Result<String, String> {
        match name {
            "svc.lab" => Ok(format!("{SECRET}\n")),
            _ => Err(format!("there is no credential {name}")),
        }
    }
}

fn read(text: &str) -> Result<Settings, ConfigError> {
    let fragment = Fragment {
        path: "handoverd.toml".into(),
        text: text.to_owned(),
    };
    settings(&[fragment], &Paper)
}

/// The shipped file with every key in force: `#key = …` and `#[[table]]` without their `#`.
fn uncommented() -> String {
    SHIPPED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.is_empty() && !key.starts_with(' ') => key,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_shipped_file_says_nothing_but_the_defaults() {
    assert_eq!(read(SHIPPED).unwrap(), read("").unwrap());
}

#[test]
fn defaults_are_those_that_the_documentation_names() {
    let defaults = read("").unwrap();
    assert_eq!(defaults.host.as_str(), "paper");
    assert_eq!(defaults.state_dir, Path::new("/var/lib/handoverd"));
    assert_eq!(defaults.table(), Path::new("/var/lib/handoverd/handoverd.sqlite"));
    assert_eq!(defaults.bus, BusAddress::System);
    assert_eq!(defaults.hosts.len(), 1);
    assert_eq!(defaults.hosts[0].name, defaults.host);
    assert_eq!(defaults.hosts[0].uri, "qemu:///system");
    assert_eq!(defaults.pool, "handoverd");
    assert_eq!((defaults.networks.len(), defaults.zones.len()), (0, 0));
    assert_eq!(defaults.batch_window, Duration::from_millis(50));
    assert_eq!(defaults.drain_margin, Duration::from_secs(2));
    assert_eq!(defaults.deadlines, Deadlines::default());
    assert_eq!(defaults.jobs.keep, Duration::from_secs(3600));
    assert_eq!(defaults.jobs.parallel, 8);
    assert_eq!((defaults.jobs.per_guest, defaults.jobs.per_host), (4, 8));
    assert_eq!(defaults.log, LogLevel::Info);
    let evacuation = defaults.evacuation;
    assert!(evacuation.enabled);
    assert_eq!(evacuation.policy(), Policy::default());
    assert_eq!(evacuation.limits(), Limits::default());
    let balance = defaults.balance;
    assert!(!balance.enabled);
    assert_eq!(balance.balance(), Balance::default());
    assert_eq!(balance.damping(), Damping::default());
    assert_eq!(defaults.spool(), Path::new("/var/lib/handoverd/spool"));
}

#[test]
fn every_default_that_the_shipped_file_shows_is_the_default() {
    let (shown, defaults) = (read(&uncommented()).unwrap(), read("").unwrap());
    let plain = Settings {
        host: defaults.host.clone(),
        hosts: defaults.hosts.clone(),
        networks: Vec::new(),
        zones: Vec::new(),
        guests: defaults.guests.clone(),
        ..shown.clone()
    };
    assert_eq!(plain, defaults);
    assert_eq!(shown.hosts[0].uri, defaults.hosts[0].uri);
}

#[test]
fn the_shipped_file_shows_every_key_that_is_in_force() {
    let report = describe(&read(&uncommented()).unwrap());
    let keys = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.starts_with("# "))
            .map(|line| {
                line.trim_start_matches('#')
                    .split(" = ")
                    .next()
                    .unwrap_or("")
                    .to_owned()
            })
            .filter(|key| !key.is_empty())
            .collect()
    };
    let shipped = keys(SHIPPED);
    for key in keys(&report) {
        assert!(shipped.contains(&key), "{key} is not in the shipped file");
    }
    // And the examples are in force, so the loop above saw them.
    for example in ["[[dns.zone]]", "[[libvirt.host]]", "key_file", "networks"] {
        assert!(report.contains(example), "{example} is not in {report}");
    }
}

#[test]
fn the_report_says_the_same_when_it_is_read_again_and_holds_no_secret() {
    for text in [
        String::new(),
        uncommented(),
        uncommented().replace(
            "key_file = \"/etc/handoverd/tsig/svc.lab.key\"",
            "key_credential = \"svc.lab\"",
        ),
        "bus = \"unix:path=/run/a \\\"b\\\"\"\n[drain]\nmargin = \"1500ms\"\n\
         [addresses]\nnetworks = [\"::1/128\"]\n[[dns.zone]]\nname = \"a.lab\"\nserver = \"[::1]:5353\"\n\
         secondaries = [\"10.77.0.3:5300\", \"[fd00::3]:53\"]\n"
            .to_owned(),
    ] {
        let settings = read(&text).unwrap();
        let report = describe(&settings);
        assert_eq!(read(&report).unwrap(), settings, "{report}");
        for hidden in [SECRET, "secret secret", "c2Vjc"] {
            assert!(!report.contains(hidden), "{report}");
            assert!(!format!("{settings:?}").contains(hidden));
        }
    }
}

#[test]
fn a_zone_is_read_with_its_key() {
    let settings = read(&uncommented()).unwrap();
    let zone = &settings.zones[0];
    assert_eq!(zone.name.as_str(), "svc.lab.");
    assert_eq!(zone.server, "10.77.0.2:53".parse().unwrap());
    let key = zone.key.as_ref().unwrap();
    assert_eq!(key.name, "handoverd-key.");
    assert_eq!(key.algorithm, KeyAlgorithm::HmacSha256);
    assert_eq!(key.secret.expose(), b"secret secret secret secret 1234");
    assert_eq!(
        key.origin,
        KeyOrigin::File(PathBuf::from("/etc/handoverd/tsig/svc.lab.key"))
    );
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(
        publishable_set(&[ip("192.168.122.5"), ip("10.77.0.9")], &settings.networks),
        [ip("10.77.0.9")]
    );
}

const ZONE: &str = "[addresses]\nnetworks = [\"10.0.0.0/8\"]\n[[dns.zone]]\n";

#[test]
fn what_is_wrong_is_told_with_file_line_key_and_a_way_out() {
    let zone = |rest: &str| format!("{ZONE}{rest}");
    let signed = "name = 'svc.lab'\nserver = '10.0.0.2'\n";
    let table: Vec<(String, &str, &[&str])> = vec![
        // Not a key, not TOML, not the right kind.
        (
            "hots = 'a'".into(),
            ":1: hots: ",
            &["no such key", "nearest is \"host\""],
        ),
        (
            "\n[pool]\nnmae = 'x'".into(),
            ":3: pool.nmae: ",
            &["nearest is \"name\" (allowed here: name)"],
        ),
        (
            "[adresses]\nnetworks = []".into(),
            ":1: adresses: ",
            &["nearest is \"addresses\""],
        ),
        (
            zone("name = 'a.lab'\nserver = '127.0.0.1'\ncolour = 1"),
            ":6: dns.zone.colour: ",
            &["no such key", "key_file"],
        ),
        ("host = ".into(), ":1: ", &["not TOML"]),
        ("a = 1\na = 2".into(), ":2: ", &["not TOML"]),
        (
            "pool = 'x'".into(),
            ":1: pool: ",
            &["must be a table: [pool]", "not a text"],
        ),
        (
            "host = 7".into(),
            ":1: host: ",
            &["a text in quotes, not a number"],
        ),
        (
            "[dns]\nzone = 'x'".into(),
            ":2: dns.zone: ",
            &["tables: [[dns.zone]]"],
        ),
        // Names, paths, buses, URIs.
        ("host = 'a b'".into(), ":1: host: ", &["only letters"]),
        ("host = ''".into(), ":1: host: ", &["1 to 64"]),
        ("state_dir = 'var/lib'".into(), ":1: state_dir: ", &["absolute"]),
        ("bus = 'sysem'".into(), ":1: bus: ", &["\"system\""]),
        (
            "[libvirt]\nuri = 'localhost'".into(),
            ":2: libvirt.uri: ",
            &["qemu:///system"],
        ),
        (
            "[libvirt]\nuri = 'qemu+tcp://hv2/system'".into(),
            ":2: libvirt.uri: ",
            &["tls or ssh"],
        ),
        (
            "[libvirt]\nuri = 'xen:///system'".into(),
            ":2: libvirt.uri: ",
            &["must be qemu"],
        ),
        ("[pool]\nname = '../x'".into(), ":2: pool.name: ", &["1 to 64"]),
        (
            "[[libvirt.host]]\nname = 'hv2'".into(),
            ":1: libvirt.host.uri: ",
            &["missing", "qemu+tls://hv2/system"],
        ),
        (
            "[[libvirt.host]]\nname = 'paper'\nuri = 'qemu+ssh://x/system'".into(),
            ":2: libvirt.host.name: ",
            &["own host"],
        ),
        (
            "[[libvirt.host]]\nname = 'hv2'\nuri = 'qemu:///system'".into(),
            ":3: libvirt.host.uri: ",
            &["host paper as well"],
        ),
        // Networks.
        (
            "[addresses]\nnetworks = []".into(),
            ":2: addresses.networks: ",
            &["empty"],
        ),
        (
            "[addresses]\nnetworks = [\n '10.0.0.0/8',\n '10.77.0.5/24']".into(),
            ":4: addresses.networks: ",
            &["write \"10.77.0.0/24\""],
        ),
        (
            "[addresses]\nnetworks = '10.0.0.0/8'".into(),
            ":2: addresses.networks: ",
            &["a list of texts"],
        ),
        (
            "[addresses]\nnetworks = [10]".into(),
            ":2: addresses.networks: ",
            &["a list of texts, not a number"],
        ),
        (
            format!("[[dns.zone]]\n{signed}key_name='k'\nkey_credential='svc.lab'"),
            ": addresses.networks: ",
            &["missing", "10.77.0.0/24"],
        ),
        // Zones.
        (
            zone("server = '127.0.0.1'"),
            ":3: dns.zone.name: ",
            &["missing", "origin"],
        ),
        (
            zone("name = 'svc.lab'"),
            ":3: dns.zone.server: ",
            &["missing", "10.77.0.2:53"],
        ),
        (
            zone("name = '*.lab'\nserver = '127.0.0.1'"),
            ":4: dns.zone.name: ",
            &["wildcard"],
        ),
        (
            zone("name = 'svc.lab'\nserver = 'ns1.lab:53'"),
            ":5: dns.zone.server: ",
            &["IP address", "host name is not taken"],
        ),
        (
            zone(signed),
            ":5: dns.zone.server: ",
            &["must be signed", "key_file"],
        ),
        (
            zone(
                "name = 'svc.lab'\nserver = '127.0.0.1'\n[[dns.zone]]\nname = 'SVC.lab.'\nserver = '127.0.0.2'",
            ),
            ":6: dns.zone: ",
            &["svc.lab is there twice", ":3"],
        ),
        (
            zone("name = 'svc.lab'\nserver = '127.0.0.1'\nsecondaries = ['127.0.0.2', 'ns2.lab']"),
            ":6: dns.zone.secondaries: ",
            &["ns2.lab", "host name is not taken"],
        ),
        (
            zone("name = 'svc.lab'\nserver = '127.0.0.1'\nview = 'internal'"),
            ":6: dns.zone.view: ",
            &["tells the view by the key", "key_name"],
        ),
        (
            zone(&format!(
                "{signed}key_name = 'k'\nkey_credential = 'svc.lab'\nview = 'in side'"
            )),
            ":8: dns.zone.view: ",
            &["letters, digits"],
        ),
        (
            "[dns]\nbatch_window = '2s'".into(),
            ":2: dns.batch_window: ",
            &["0s to 1s"],
        ),
        // Keys.
        (
            zone(&format!("{signed}key_name = 'k'")),
            ":6: dns.zone.key_name: ",
            &["secret is missing", "key_file"],
        ),
        (
            zone(&format!("{signed}key_file = '/a'")),
            ":6: dns.zone.key_name: ",
            &["missing"],
        ),
        (
            zone(&format!(
                "{signed}key_name = 'k'\nkey_file = '/a'\nkey_credential = 'b'"
            )),
            ":7: dns.zone.key_file: ",
            &["keep one"],
        ),
        (
            zone(&format!("{signed}key_name = 'k'\nkey_file = 'a'")),
            ":7: dns.zone.key_file: ",
            &["absolute"],
        ),
        (
            zone(&format!("{signed}key_name = 'k'\nkey_credential = '../a'")),
            ":7: dns.zone.key_credential: ",
            &["letters"],
        ),
        (
            zone(&format!("{signed}key_name = 'k'\nkey_credential = 'a'")),
            ":7: dns.zone.key_credential: ",
            &["no credential a"],
        ),
        (
            zone(&format!("{signed}key_name = 'k'\nkey_file = '/broken'")),
            ":7: dns.zone.key_file: ",
            &["the key file /broken", "not base64"],
        ),
        (
            zone(&format!(
                "{signed}key_name = 'k'\nkey_credential = 'svc.lab'\nkey_algorithm = 'hmac-md5'"
            )),
            ":8: dns.zone.key_algorithm: ",
            &["hmac-sha256, hmac-sha384, hmac-sha512"],
        ),
        // Spans and numbers.
        ("[drain]\nmargin = 2".into(), ":2: drain.margin: ", &["\"2s\""]),
        ("[drain]\nmargin = '2'".into(), ":2: drain.margin: ", &["unit"]),
        (
            "[drain]\nmargin = '2h'".into(),
            ":2: drain.margin: ",
            &["0s to 1h"],
        ),
        (
            "[drain]\nmargin = true".into(),
            ":2: drain.margin: ",
            &["not a boolean"],
        ),
        (
            "[deadlines]\nstage = '500ms'".into(),
            ":2: deadlines.stage: ",
            &["1s to 1d"],
        ),
        (
            "[deadlines]\nstrat = '5s'".into(),
            ":2: deadlines.strat: ",
            &["nearest is \"sta"],
        ),
        ("[jobs]\nkeep = '31d'".into(), ":2: jobs.keep: ", &["0s to 30d"]),
        ("[jobs]\nparallel = 0".into(), ":2: jobs.parallel: ", &["1 to 64"]),
        (
            "[jobs]\nparallel = 65".into(),
            ":2: jobs.parallel: ",
            &["1 to 64"],
        ),
        (
            "[jobs]\nparallel = -1".into(),
            ":2: jobs.parallel: ",
            &["1 to 64"],
        ),
        (
            "[jobs]\nparallel = '8'".into(),
            ":2: jobs.parallel: ",
            &["without quotes"],
        ),
        ("[jobs]\nparallel = 99999999999999999999".into(), ":2", &[]),
        (
            "[jobs]\nper_guest = 0".into(),
            ":2: jobs.per_guest: ",
            &["1 to 64"],
        ),
        (
            "[jobs]\nper_host = 65".into(),
            ":2: jobs.per_host: ",
            &["1 to 64"],
        ),
        (
            "[balance]\nbegin = 20\nend = 20".into(),
            ":3: balance.end: ",
            &["less than begin, which is 20"],
        ),
        (
            "[balance]\nbegin = 10".into(),
            ":2: balance.end: ",
            &["less than begin, which is 10"],
        ),
        ("[balance]\ngain = 0".into(), ":2: balance.gain: ", &["1 to 50"]),
        (
            "[balance]\nenabled = 'perhaps'".into(),
            ":2: balance.enabled: ",
            &["\"yes\" or \"no\""],
        ),
        (
            "[balance]\npatience = '5s'".into(),
            ":2: balance.patience: ",
            &["30s to 1d"],
        ),
        (
            "[balance]\nper_window = 65".into(),
            ":2: balance.per_window: ",
            &["1 to 64"],
        ),
        (
            "[log]\nlevel = 'loud'".into(),
            ":2: log.level: ",
            &["error, warn, info, debug, trace"],
        ),
    ];
    for (text, place, words) in table {
        let error = read(&text).expect_err(&text);
        let said = error.to_string();
        assert!(
            said.starts_with(&format!("handoverd.toml{place}")),
            "{text}\n→ {said}"
        );
        assert_eq!(
            error.problems().len(),
            1,
            "one mistake, one message:\n{text}\n→ {said}"
        );
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once_in_the_order_of_the_lines() {
    let error = read("host = 'a b'\nbus = 1\n[drain]\nmargin = '2'\n[jobs]\nkep = '1h'\n").unwrap_err();
    let lines: Vec<_> = error
        .problems()
        .iter()
        .filter_map(|problem| problem.place.line)
        .collect();
    assert_eq!(lines, [1, 2, 4, 6], "{error}");
}

#[test]
fn a_host_name_that_is_not_valid_is_told_with_the_key_that_overrides_it() {
    struct Nameless;
    impl Surroundings for Nameless {
        fn host_name(&self) -> Result<String, String> {
            Ok("(none)".to_owned())
        }
        fn key_file(&self, _: &Path) -> Result<String, String> {
            Err("no files here".to_owned())
        }
        fn credential(&self, _: &str) -> Result<String, String> {
            Err("no credentials here".to_owned())
        }
    }
    let said = settings(&[], &Nameless).unwrap_err().to_string();
    assert!(said.contains("host: ") && said.contains("set host = "), "{said}");
    let given = Fragment {
        path: "a".into(),
        text: "host = 'hv1'".into(),
    };
    assert_eq!(settings(&[given], &Nameless).unwrap().host.as_str(), "hv1");
}
