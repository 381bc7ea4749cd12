//! The files that are installed beside the daemon: units, D-Bus policy, polkit actions.

#![cfg(test)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use roxmltree::{Document, Node, ParsingOptions};

const BUS_POLICY: &str = include_str!("../packaging/dbus/org.handoverd1.conf");
const BUS_SERVICE: &str = include_str!("../packaging/dbus/org.handoverd1.service");
const ACTIONS: &str = include_str!("../packaging/polkit/org.handoverd1.policy");
const RULES: &str = include_str!("../packaging/polkit/50-handoverd.rules");
const UNIT: &str = include_str!("../systemd/handoverd.service");
const SYSUSERS: &str = include_str!("../systemd/handoverd.sysusers.conf");
const SECURITY: &str = include_str!("../docs/security.md");

fn parse(text: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options).unwrap()
}

fn children<'a>(node: Node<'a, 'a>, name: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

fn child_text<'a>(node: Node<'a, 'a>, name: &'static str) -> &'a str {
    let text = children(node, name).next().and_then(|child| child.text());
    text.unwrap_or_else(|| panic!("no <{name}> in {:?}", node.attribute("id")))
}

/// `key=value` lines; a key that is there twice keeps both, the comments are left out.
fn directives(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some((key, value)) = line.split_once('=') {
            found.entry(key).or_default().push(value);
        }
    }
    found
}

#[test]
fn only_root_and_handoverd_may_own_the_name_and_anyone_may_call() {
    let policy = parse(BUS_POLICY);
    let rules: Vec<String> = children(policy.root_element(), "policy")
        .flat_map(|policy| {
            let who = policy.attributes().next().unwrap();
            policy.children().filter(Node::is_element).map(move |rule| {
                let what = rule.attributes().next().unwrap();
                format!(
                    "{}={} {} {}={}",
                    who.name(),
                    who.value(),
                    rule.tag_name().name(),
                    what.name(),
                    what.value()
                )
            })
        })
        .collect();
    assert_eq!(
        rules,
        [
            "user=root allow own=org.handoverd1",
            "user=handoverd allow own=org.handoverd1",
            "context=default allow send_destination=org.handoverd1",
        ]
    );
}

#[test]
fn a_call_starts_the_unit_that_owns_the_name() {
    let service = directives(BUS_SERVICE);
    assert_eq!(service["Name"], ["org.handoverd1"]);
    assert_eq!(service["SystemdService"], ["handoverd.service"]);
    assert_eq!(directives(UNIT)["BusName"], ["org.handoverd1"]);
}

#[test]
fn every_verb_has_an_action_that_asks_an_administrator_and_seeing_is_free() {
    let policy = parse(ACTIONS);
    let mut ids = Vec::new();
    for action in children(policy.root_element(), "action") {
        let id = action.attribute("id").unwrap();
        ids.push(id.strip_prefix("org.handoverd1.").unwrap());
        assert!(!child_text(action, "description").is_empty());
        assert!(child_text(action, "message").starts_with("Authentication is required to "));
        let expected = if id.ends_with(".list") {
            "yes"
        } else {
            "auth_admin_keep"
        };
        let defaults = children(action, "defaults").next().unwrap();
        for who in ["allow_any", "allow_inactive", "allow_active"] {
            assert_eq!(child_text(defaults, who), expected, "{id} {who}");
        }
        // Without it polkit refuses to tell the unprivileged daemon about any other user.
        let owner = children(action, "annotate").next().unwrap();
        assert_eq!(
            owner.attribute("key"),
            Some("org.freedesktop.policykit.owner"),
            "{id}"
        );
        assert_eq!(owner.text(), Some("unix-user:handoverd"), "{id}");
        assert!(
            SECURITY.contains(&format!("`{id}`")),
            "{id} is not in docs/security.md"
        );
    }
    assert_eq!(
        ids,
        [
            "list",
            "register",
            "deploy",
            "remove",
            "start",
            "stop",
            "move",
            "plan",
            "upgrade",
            "repair",
            "freeze",
            "rebalance",
            "maintenance",
            "cancel-job"
        ]
    );
}

#[test]
fn the_group_of_the_polkit_rule_is_the_one_that_sysusers_makes() {
    assert!(RULES.contains("subject.isInGroup(\"handoverd\")"));
    assert!(RULES.contains("action.id.indexOf(\"org.handoverd1.\") === 0"));
    assert!(SYSUSERS.lines().any(|line| line.starts_with("u handoverd ")));
    assert!(SYSUSERS.lines().any(|line| line == "m handoverd libvirt"));
}

#[test]
fn the_unit_has_no_privilege_and_leaves_open_what_it_needs() {
    let unit = directives(UNIT);
    for (key, value) in [
        ("Type", "notify"),
        ("Restart", "on-failure"),
        ("RestartPreventExitStatus", "65 78"),
        ("User", "handoverd"),
        ("SupplementaryGroups", "libvirt"),
        ("CapabilityBoundingSet", ""),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("StateDirectory", "handoverd"),
        ("StateDirectoryMode", "0700"),
        ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"),
    ] {
        assert_eq!(unit[key], [value], "{key}");
    }
    for absent in ["Requires", "BindsTo", "PrivateNetwork", "ExecReload"] {
        assert!(!unit.contains_key(absent), "{absent}");
    }
}

#[test]
fn metrics_are_written_by_a_unit_that_can_write_nothing_else_and_is_installed_with_the_others() {
    let service = directives(include_str!("../systemd/handoverd-metrics.service"));
    for (key, value) in [
        ("Type", "oneshot"),
        ("CapabilityBoundingSet", ""),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ReadWritePaths", "-/var/lib/prometheus/node-exporter"),
        ("RestrictAddressFamilies", "AF_UNIX"),
    ] {
        assert_eq!(service[key], [value], "{key}");
    }
    let writes = service["ExecStart"][0];
    assert!(
        writes.starts_with("/usr/bin/handoverctl metrics --output /var/lib/prometheus/node-exporter/"),
        "{writes}"
    );
    let timer = directives(include_str!("../systemd/handoverd-metrics.timer"));
    assert_eq!(timer["WantedBy"], ["timers.target"]);
    let makefile = include_str!("../Makefile");
    for unit in [
        "handoverd.service",
        "handoverd-metrics.service",
        "handoverd-metrics.timer",
    ] {
        assert!(makefile.contains(&format!("systemd/{unit} $(DESTDIR)")), "{unit}");
    }
}

/// No host of the lab has systemd, so no test starts them.
#[test]
fn systemd_finds_no_fault_in_any_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("skipped: there is no systemd-analyze here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_owned();
        if ["service", "timer"]
            .iter()
            .any(|kind| path.extension().is_some_and(|it| it == *kind))
        {
            // It looks for the programs: they are where they were built, and not installed.
            let text = std::fs::read_to_string(&path)
                .unwrap()
                .replace("/usr/bin/handoverd", env!("CARGO_BIN_EXE_handoverd"))
                .replace("/usr/bin/handoverctl", env!("CARGO_BIN_EXE_handoverctl"));
            std::fs::write(folder.path().join(&name), text).unwrap();
            units.push(name);
        }
    }
    assert_eq!(units.len(), 3, "{units:?}");
    let verify = |units: &[OsString]| {
        let ran = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .args(units)
            .current_dir(folder.path())
            .output()
            .unwrap();
        (
            ran.status.success(),
            String::from_utf8_lossy(&ran.stderr).into_owned(),
        )
    };
    assert_eq!(verify(&units), (true, String::new()));

    // It would say so.
    let faulty = OsString::from("faulty.timer");
    std::fs::write(folder.path().join(&faulty), "[Timer]\nOnUnitActiveSec=sixty\n").unwrap();
    let (fine, said) = verify(std::slice::from_ref(&faulty));
    assert!(!fine && said.contains("sixty"), "{said}");
}
