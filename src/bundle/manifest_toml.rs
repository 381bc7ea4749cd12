//! `handover.toml`: from text to a [`Manifest`] in which every value is checked.
//!
//! ```toml
//! service = "web"                  # a-z 0-9 . - _; mounted at /opt/web
//! version = "1.0"
//! units = ["web.service"]          # every one of them is started; files in units/
//! ports = [8080]                   # optional; a check's local port counts too
//! user = "www-data"                # optional
//! overlap = true                   # optional; false: break before make
//! movable = true                   # optional
//! [check]                          # optional; exactly one of command, tcp and http
//! http = "http://127.0.0.1:8080/"  # command = ["/opt/web/bin/check"], tcp = 8080 or "127.0.0.1:8080"
//! interval = "500ms"
//! timeout = "30s"
//! successes = 2
//! [dns]                            # optional
//! name = "web.svc.lab"
//! ttl = 60
//! [[dns.srv]]                      # optional, one table for each SRV record; its target is the name itself
//! label = "_http._tcp"
//! port = 8080                      # priority and weight are 0 where they are not given
//! [data]                           # optional; a disk of its own that goes with the service
//! size = "1GiB"                    # KiB, MiB, GiB, TiB, or a number of bytes; a multiple of 4 KiB
//! filesystem = "ext4"              # or "xfs"; made once, when the volume is made
//! mount = "/srv/web"               # outside /opt and the system's own folders
//! [placement]                      # optional, as each of its keys
//! memory = "256MiB"                # what it needs of a guest; as a size of [data]
//! cpu = 0.5                        # cores, in steps of 0.001
//! labels = ["ssd", "zone=a"]       # a guest must have every one of them
//! hosts = ["hv1", "hv2"]           # only guests of these hosts
//! affinity = ["cache"]             # on one guest with these services
//! anti_affinity = ["web2"]         # never on one guest with these services
//! priority = 10                    # -1000 to 1000; higher ones are placed and moved first
//! after = ["db"]                   # in a batch: begins when these have ended
//! standbys = 1                     # 0 to 8 further guests where it is installed without its disk
//! [[config]]                       # and [[secrets]], optional
//! name = "web.conf"                # as given at deploy
//! path = "/etc/web/web.conf"
//! mode = "0644"                    # secrets: 0600
//! owner = "root"
//! group = "root"
//! ```

mod dns;

use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use self::files::{RawFile, keep_apart, keep_off, read_files};
use self::needs::RawNeeds;
use super::{values, volume_values};
use crate::model::ids::ServiceId;
use crate::model::manifest::{Check, CheckProbe, Manifest};
use crate::model::needs::Needs;
use crate::model::unit::UnitName;
use crate::model::volume::{DataSpec, FileSystem};

const MAX_UNITS: usize = 32;
const MAX_PORTS: usize = 64;

/// Why a text is not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("handover.toml{}: {reason}", line.map(|line| format!(" line {line}")).unwrap_or_default())]
pub struct ManifestError {
    /// The line, counted from 1; `None` where something is missing.
    pub line: Option<usize>,
    /// The key, what is wrong with it, and what is allowed.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    service: Spanned<String>,
    version: Spanned<String>,
    units: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    ports: Vec<Spanned<i64>>,
    user: Option<Spanned<String>>,
    overlap: Option<bool>,
    movable: Option<bool>,
    check: Option<Spanned<RawCheck>>,
    dns: Option<dns::RawDns>,
    data: Option<RawData>,
    placement: Option<RawNeeds>,
    #[serde(default)]
    config: Vec<RawFile>,
    #[serde(default)]
    secrets: Vec<RawFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCheck {
    command: Option<Spanned<Vec<String>>>,
    tcp: Option<Spanned<toml::Value>>,
    http: Option<Spanned<String>>,
    interval: Option<Spanned<String>>,
    timeout: Option<Spanned<String>>,
    successes: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawData {
    size: Spanned<toml::Value>,
    filesystem: Option<Spanned<String>>,
    mount: Spanned<String>,
}

/// Turns what is said of a value into an error with its key and line.
struct Source<'a>(&'a str);

impl Source<'_> {
    fn error(&self, span: Range<usize>, reason: String) -> ManifestError {
        let before = self.0.get(..span.start).unwrap_or(self.0);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        ManifestError {
            line: Some(line),
            reason,
        }
    }

    fn at<T, V>(
        &self,
        key: &str,
        value: &Spanned<T>,
        checked: Result<V, String>,
    ) -> Result<V, ManifestError> {
        checked.map_err(|why| self.error(value.span(), format!("{key}: {why}")))
    }

    fn text<V, F>(&self, key: &str, value: &Spanned<String>, check: F) -> Result<V, ManifestError>
    where
        F: FnOnce(&str) -> Result<V, String>,
    {
        let text = value.get_ref();
        self.at(
            key,
            value,
            check(text).map_err(|why| format!("{} is not valid: {why}", shown(text))),
        )
    }
}

/// A value in a message: quoted, and cut to 80 characters.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}

/// Reads a manifest's text. Whether its units' files exist is looked at by [`super::inspect`].
///
/// # Errors
/// The first key that is unknown, missing or not allowed, with its line and what is allowed.
pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
    let source = Source(text);
    let raw: Raw = toml::from_str(text).map_err(|error| {
        // A key of the text stands in it: one line, without what a terminal would act on.
        let reason = error.message().trim_end().replace('\n', "; ");
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(400).collect();
        // A key that is missing at the top is told with the span of the whole text.
        let whole = |span: &Range<usize>| span.start == 0 && reason.starts_with("missing field");
        match error.span().filter(|span| !span.is_empty() && !whole(span)) {
            Some(span) => source.error(span, reason),
            None => ManifestError { line: None, reason },
        }
    })?;

    let service = source.text("service", &raw.service, |text| {
        text.parse::<ServiceId>().map_err(|error| error.reason.to_owned())
    })?;
    let check = raw
        .check
        .as_ref()
        .map(|check| read_check(&source, check))
        .transpose()?;
    let mut ports = read_ports(&source, &raw.ports)?;
    if let Some((_, Some(port))) = check
        .as_ref()
        .filter(|(_, port)| port.is_none_or(|p| !ports.contains(&p)))
    {
        ports.push(*port);
    }
    let config = read_files(&source, "config", &raw.config, &service)?;
    let secrets = read_files(&source, "secrets", &raw.secrets, &service)?;
    keep_apart(&source, raw.config.iter().chain(&raw.secrets))?;
    let data = raw
        .data
        .as_ref()
        .map(|data| read_data(&source, data))
        .transpose()?;
    if let Some(data) = &data {
        keep_off(&source, data, raw.config.iter().chain(&raw.secrets))?;
    }
    Ok(Manifest {
        version: source.text("version", &raw.version, values::version)?,
        units: read_units(&source, &raw.units)?,
        check: check.map(|(check, _)| check),
        dns: raw
            .dns
            .as_ref()
            .map(|dns| dns::read_dns(&source, dns))
            .transpose()?,
        srv: raw
            .dns
            .as_ref()
            .map_or_else(|| Ok(Vec::new()), |dns| dns::read_srv(&source, dns))?,
        user: raw
            .user
            .as_ref()
            .map(|user| source.text("user", user, values::account))
            .transpose()?,
        data,
        needs: match &raw.placement {
            Some(placement) => needs::read(&source, placement, &service, raw.movable.unwrap_or(true))?,
            None => Needs::default(),
        },
        overlap: raw.overlap.unwrap_or(true),
        movable: raw.movable.unwrap_or(true),
        service,
        config,
        secrets,
        ports,
    })
}

fn read_units(
    source: &Source<'_>,
    raw: &Spanned<Vec<Spanned<String>>>,
) -> Result<Vec<UnitName>, ManifestError> {
    let units = raw.get_ref();
    if units.is_empty() || units.len() > MAX_UNITS {
        return source.at(
            "units",
            raw,
            Err(format!("name 1 to {MAX_UNITS} units, such as [\"web.service\"]")),
        );
    }
    let mut names: Vec<UnitName> = Vec::new();
    for unit in units {
        let name = source.text("units", unit, |text| {
            let name = text
                .parse::<UnitName>()
                .map_err(|error| error.reason.to_owned())?;
            if name.is_template() {
                return Err(
                    "a template cannot be started; name its instances, such as api@1.service".to_owned(),
                );
            }
            if names.contains(&name) {
                return Err("it is named twice".to_owned());
            }
            Ok(name)
        })?;
        names.push(name);
    }
    Ok(names)
}

fn read_ports(source: &Source<'_>, raw: &[Spanned<i64>]) -> Result<Vec<u16>, ManifestError> {
    let mut ports = Vec::new();
    for number in raw {
        let port = values::port(*number.get_ref())
            .map_err(|why| format!("{} is not valid: {why}", number.get_ref()));
        let port = source.at("ports", number, port)?;
        if ports.contains(&port) || ports.len() >= MAX_PORTS {
            return source.at(
                "ports",
                number,
                Err(format!("name each port once, and at most {MAX_PORTS}")),
            );
        }
        ports.push(port);
    }
    Ok(ports)
}

/// The check, and the port that it shows the service to listen on.
fn read_check(source: &Source<'_>, raw: &Spanned<RawCheck>) -> Result<(Check, Option<u16>), ManifestError> {
    let check = raw.get_ref();
    let (probe, place) = match (&check.command, &check.tcp, &check.http) {
        (Some(command), None, None) => {
            source.at("check.command", command, values::command(command.get_ref()))?;
            (CheckProbe::Command(command.get_ref().clone()), None)
        }
        (None, Some(tcp), None) => {
            let place = match tcp.get_ref() {
                toml::Value::Integer(number) => {
                    values::port(*number).map(|port| ("127.0.0.1".to_owned(), port))
                }
                toml::Value::String(text) => {
                    values::tcp_address(text).map_err(|why| format!("{} is not valid: {why}", shown(text)))
                }
                other => Err(format!(
                    "a {} is not valid: tcp is a port, or an address and a port",
                    other.type_str()
                )),
            };
            let (host, port) = source.at("check.tcp", tcp, place)?;
            (CheckProbe::Tcp(host.clone(), port), Some((host, port)))
        }
        (None, None, Some(http)) => {
            let (url, host, port) = source.text("check.http", http, values::http_url)?;
            (CheckProbe::Http(url), Some((host, port)))
        }
        _ => {
            return source.at(
                "check",
                raw,
                Err("it has exactly one of command, tcp and http".to_owned()),
            );
        }
    };
    let span = |key, value: &Option<Spanned<String>>, default, least, most| match value {
        Some(text) => source.text(key, text, |text| values::duration(text, least, most)),
        None => Ok(default),
    };
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
    let interval = span(
        "check.interval",
        &check.interval,
        Duration::from_millis(500),
        Duration::from_millis(50),
        hour,
    )?;
    let timeout = span(
        "check.timeout",
        &check.timeout,
        Duration::from_secs(30),
        second,
        hour,
    )?;
    let successes = match &check.successes {
        Some(number) => source.at(
            "check.successes",
            number,
            u32::try_from(*number.get_ref())
                .ok()
                .filter(|n| (1..=100).contains(n))
                .ok_or_else(|| "it is 1 to 100".to_owned()),
        )?,
        None => 2,
    };
    if interval.saturating_mul(successes.saturating_sub(1)) >= timeout {
        let (interval, timeout) = (values::told(interval), values::told(timeout));
        return source.at(
            "check",
            raw,
            Err(format!("it can never pass: {successes} successes at an interval of {interval} do not fit its timeout of {timeout}")),
        );
    }
    let port = place.and_then(|(host, port)| values::is_local(&host).then_some(port));
    Ok((
        Check {
            probe,
            interval,
            timeout,
            successes,
        },
        port,
    ))
}

fn read_data(source: &Source<'_>, raw: &RawData) -> Result<DataSpec, ManifestError> {
    let filesystem = match &raw.filesystem {
        Some(text) => source.text("data.filesystem", text, volume_values::filesystem)?,
        None => FileSystem::Ext4,
    };
    let size = match raw.size.get_ref() {
        toml::Value::Integer(bytes) => u64::try_from(*bytes)
            .map_err(|_| "a size is not negative".to_owned())
            .and_then(|bytes| volume_values::size(bytes, filesystem))
            .map_err(|why| format!("{bytes} is not valid: {why}")),
        toml::Value::String(text) => volume_values::bytes(text)
            .and_then(|bytes| volume_values::size(bytes, filesystem))
            .map_err(|why| format!("{} is not valid: {why}", shown(text))),
        other => Err(format!(
            "a {} is not valid: {}",
            other.type_str(),
            volume_values::SIZE
        )),
    };
    Ok(DataSpec {
        size: source.at("data.size", &raw.size, size)?,
        filesystem,
        mount_point: source.text("data.mount", &raw.mount, volume_values::mount_point)?,
    })
}

mod files;
mod needs;
#[cfg(test)]
mod tests;
