//! The settings in force, as a text for people that is also a valid configuration.

use std::fmt::{self, Write as _};

use super::settings::Settings;
use super::zone::{KeyOrigin, ZoneSettings};
use crate::model::span;

/// Every setting in force, defaults included, for `handoverd --check-config`.
///
/// The text is TOML and says the same when it is read as a configuration. Secrets are not in it, only where each was
/// read and how many bytes it has.
pub fn describe(settings: &Settings) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    match write_all(&mut out, settings) {
        Ok(()) | Err(fmt::Error) => out,
    }
}

fn write_all(out: &mut String, settings: &Settings) -> fmt::Result {
    let Settings {
        host,
        state_dir,
        bus,
        hosts,
        pool,
        networks,
        zones,
        batch_window,
        drain_margin,
        lower_above,
        drain_unreachable,
        deadlines,
        jobs,
        audit_every,
        evacuation,
        balance,
        guests,
        log,
    } = settings;
    writeln!(out, "host = {}", quoted(host.as_str()))?;
    writeln!(out, "state_dir = {}", quoted(&state_dir.to_string_lossy()))?;
    writeln!(out, "bus = {}", quoted(bus.as_str()))?;
    writeln!(out, "\n[libvirt]")?;
    for (index, controlled) in hosts.iter().enumerate() {
        if index > 0 {
            writeln!(
                out,
                "\n[[libvirt.host]]\nname = {}",
                quoted(controlled.name.as_str())
            )?;
        }
        writeln!(out, "uri = {}", quoted(&controlled.uri))?;
    }
    writeln!(out, "\n[pool]\nname = {}", quoted(pool))?;
    if networks.is_empty() {
        writeln!(
            out,
            "\n# [addresses] networks is not given: no address is published"
        )?;
    } else {
        let list: Vec<String> = networks.iter().map(|n| quoted(&n.to_string())).collect();
        writeln!(out, "\n[addresses]\nnetworks = [{}]", list.join(", "))?;
    }
    writeln!(
        out,
        "\n[dns]\nbatch_window = {}",
        quoted(&span::show(*batch_window))
    )?;
    for zone in zones {
        write_zone(out, zone)?;
    }
    writeln!(out, "\n[drain]\nmargin = {}", quoted(&span::show(*drain_margin)))?;
    writeln!(out, "lower_above = {}", quoted(&span::show(*lower_above)))?;
    writeln!(out, "unreachable = {}", quoted(&span::show(*drain_unreachable)))?;
    writeln!(out, "\n[deadlines]")?;
    for (key, deadline) in deadlines.named() {
        writeln!(out, "{key} = {}", quoted(&span::show(deadline)))?;
    }
    let keep = quoted(&span::show(jobs.keep));
    writeln!(out, "\n[jobs]\nkeep = {keep}\nparallel = {}", jobs.parallel)?;
    writeln!(
        out,
        "per_guest = {}\nper_host = {}",
        jobs.per_guest, jobs.per_host
    )?;
    writeln!(out, "\n[audit]\nevery = {}", quoted(&span::show(*audit_every)))?;
    super::evacuation::write(out, evacuation)?;
    super::balance::write(out, balance)?;
    super::guests::write(out, guests)?;
    writeln!(out, "\n[log]\nlevel = {}", quoted(log.as_str()))
}

fn write_zone(out: &mut String, zone: &ZoneSettings) -> fmt::Result {
    writeln!(out, "\n[[dns.zone]]\nname = {}", quoted(zone.name.as_str()))?;
    writeln!(out, "server = {}", quoted(&zone.server.to_string()))?;
    if zone.secondaries.is_empty() {
        writeln!(
            out,
            "# no secondaries: the zone's NS records name its other servers"
        )?;
    } else {
        let list: Vec<String> = zone.secondaries.iter().map(|s| quoted(&s.to_string())).collect();
        writeln!(out, "secondaries = [{}]", list.join(", "))?;
    }
    if let Some(view) = &zone.view {
        writeln!(out, "view = {}", quoted(view))?;
    }
    let Some(key) = &zone.key else {
        return writeln!(out, "# no key: updates are not signed");
    };
    writeln!(out, "key_name = {}", quoted(&key.name))?;
    writeln!(out, "key_algorithm = {}", quoted(key.algorithm.as_str()))?;
    let bytes = key.secret.expose().len();
    match &key.origin {
        KeyOrigin::File(path) => write!(out, "key_file = {}", quoted(&path.to_string_lossy()))?,
        KeyOrigin::Credential(name) => write!(out, "key_credential = {}", quoted(name))?,
    }
    writeln!(out, "  # a secret of {bytes} bytes")
}

/// A TOML basic string (TOML 1.0, "String").
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
