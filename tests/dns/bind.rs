//! BIND (`named`).

use std::fs;

use crate::server::{KEYS, NARROW, Role, SECRET, Server, Site, ZONES, zone_file};

/// BIND 9.
pub struct Bind;

impl Server for Bind {
    const PROGRAM: &'static str = "named";

    fn configure(site: &Site) {
        let here = site.folder().display();
        let (ip, port) = (site.address.ip(), site.address.port());
        let recursion = if matches!(site.role, Role::Resolver(_)) {
            "yes"
        } else {
            "no"
        };
        let mut config = format!(
            r#"
options {{
    directory "{here}";
    pid-file "{here}/named.pid";
    session-keyfile "{here}/session.key";
    listen-on port {port} {{ {ip}; }};
    listen-on-v6 {{ none; }};
    reuseport no;
    recursion {recursion};
    notify no;
    min-refresh-time 1;
    dnssec-validation no;
    empty-zones-enable no;
    minimal-responses yes;
    max-cache-size 2m;
}};
controls {{ }};
"#
        );
        match site.role {
            Role::Primary { .. } => config.push_str(&primary()),
            Role::Resolver(server) => config.push_str(&format!(
                "zone \"svc.lab\" {{ type forward; forward only; forwarders {{ {} port {}; }}; }};\n",
                server.ip(),
                server.port()
            )),
            Role::Secondary(primary) => config.push_str(&format!(
                "zone \"svc.lab\" {{ type secondary; primaries {{ {} port {}; }}; file \"svc.lab.secondary\"; }};\n",
                primary.ip(),
                primary.port()
            )),
        }
        fs::write(site.folder().join("named.conf"), config).unwrap();
    }

    fn arguments(site: &Site) -> Vec<String> {
        let config = site.folder().join("named.conf").display().to_string();
        // -n 1: one worker is enough, and many run at once.
        ["-g", "-n", "1", "-c", &config].map(str::to_owned).to_vec()
    }
}

fn primary() -> String {
    let mut config = String::new();
    let mut grants = String::new();
    for (name, algorithm) in KEYS {
        config.push_str(&format!(
            "key \"{name}\" {{ algorithm {algorithm}; secret \"{SECRET}\"; }};\n"
        ));
        grants.push_str(&format!("grant {name} zonesub ANY; "));
    }
    config.push_str(&format!(
        "key \"{NARROW}\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
         key \"other-key\" {{ algorithm hmac-sha256; secret \"b3RoZXI=\"; }};\n"
    ));
    for zone in ZONES {
        let policy = match zone {
            "svc.lab" => format!("{grants} grant {NARROW} subdomain open.svc.lab. ANY;"),
            "other.lab" => "grant other-key zonesub ANY;".to_owned(),
            _ => grants.clone(),
        };
        config.push_str(&format!(
            "zone \"{zone}\" {{ type primary; file \"{}\"; update-policy {{ {policy} }}; }};\n",
            zone_file(zone)
        ));
    }
    config
}
