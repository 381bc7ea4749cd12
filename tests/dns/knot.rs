//! Knot DNS (`knotd`).

use std::fs;

use crate::server::{KEYS, NARROW, Role, SECRET, Server, Site, ZONES, zone_file};

/// Knot DNS 3.
pub struct Knot;

impl Server for Knot {
    const PROGRAM: &'static str = "knotd";

    fn configure(site: &Site) {
        let here = site.folder().display();
        let (ip, port) = (site.address.ip(), site.address.port());
        // One worker of each kind is enough, and many servers run at once.
        let mut config = format!(
            r#"
server:
    rundir: "{here}"
    listen: {ip}@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{here}"
    journal-db-max-size: 64M
    timer-db-max-size: 1M
log:
  - target: stderr
    any: info
"#
        );
        match site.role {
            Role::Primary { .. } => config.push_str(&primary(&here.to_string())),
            Role::Resolver(_) => panic!("Knot DNS is no resolver"),
            Role::Secondary(primary) => config.push_str(&format!(
                r#"
remote:
  - id: primary
    address: {}@{}
zone:
  - domain: svc.lab
    storage: "{here}"
    file: svc.lab.secondary
    master: primary
"#,
                primary.ip(),
                primary.port()
            )),
        }
        fs::write(site.folder().join("knot.conf"), config).unwrap();
    }

    fn arguments(site: &Site) -> Vec<String> {
        let config = site.folder().join("knot.conf").display().to_string();
        vec!["-c".to_owned(), config]
    }
}

fn primary(here: &str) -> String {
    let mut keys = String::new();
    let mut names = Vec::new();
    for (name, algorithm) in KEYS {
        names.push(name);
        keys.push_str(&format!(
            "  - id: {name}\n    algorithm: {algorithm}\n    secret: {SECRET}\n"
        ));
    }
    let mut config = format!(
        r#"
key:
{keys}
  - id: {NARROW}
    algorithm: hmac-sha256
    secret: {SECRET}
  - id: other-key
    algorithm: hmac-sha256
    secret: b3RoZXI=
acl:
  - id: ours
    key: [{}]
    action: update
  - id: narrow
    key: {NARROW}
    action: update
    update-owner: name
    update-owner-match: sub-or-equal
    update-owner-name: [open]
  - id: theirs
    key: other-key
    action: update
  - id: loopback
    address: 127.0.0.0/8
    action: transfer
zone:
"#,
        names.join(", ")
    );
    for zone in ZONES {
        let acl = match zone {
            "svc.lab" => "[ours, narrow, loopback]",
            "other.lab" => "[theirs, loopback]",
            _ => "[ours, loopback]",
        };
        config.push_str(&format!(
            "  - domain: {zone}\n    storage: \"{here}\"\n    file: {}\n    acl: {acl}\n",
            zone_file(zone)
        ));
    }
    config
}
