//! `[placement]` of a manifest: what the service asks of a guest.

use std::fmt::Display;
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;

use super::{ManifestError, Source, shown, volume_values};
use crate::model::ids::{InvalidId, ServiceId};
use crate::model::needs::Needs;

/// Names in one list.
const MAX_NAMES: usize = 32;
const MAX_STANDBYS: u32 = 8;
const PRIORITIES: std::ops::RangeInclusive<i32> = -1000..=1000;
/// Thousandths of a core: 0.001 to 1024 cores.
const CPUS: std::ops::RangeInclusive<u64> = 1..=1_024_000;
/// Bytes: 1 MiB to 16 TiB.
const MEMORY: std::ops::RangeInclusive<u64> = (1 << 20)..=(16 << 40);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNeeds {
    memory: Option<Spanned<toml::Value>>,
    cpu: Option<Spanned<toml::Value>>,
    #[serde(default)]
    labels: Vec<Spanned<String>>,
    #[serde(default)]
    hosts: Vec<Spanned<String>>,
    #[serde(default)]
    affinity: Vec<Spanned<String>>,
    #[serde(default)]
    anti_affinity: Vec<Spanned<String>>,
    priority: Option<Spanned<i64>>,
    #[serde(default)]
    after: Vec<Spanned<String>>,
    standbys: Option<Spanned<i64>>,
}

/// The needs of `service`.
pub(super) fn read(
    source: &Source<'_>,
    raw: &RawNeeds,
    service: &ServiceId,
    movable: bool,
) -> Result<Needs, ManifestError> {
    let number = |key: &str, value: &Spanned<i64>, allowed: std::ops::RangeInclusive<i32>| {
        let (least, most) = (*allowed.start(), *allowed.end());
        let number = i32::try_from(*value.get_ref())
            .ok()
            .filter(|number| allowed.contains(number));
        let checked =
            number.ok_or_else(|| format!("{} is not valid: it is {least} to {most}", value.get_ref()));
        source.at(key, value, checked)
    };
    let needs = Needs {
        memory: read_memory(source, raw.memory.as_ref())?,
        cpu: read_cpu(source, raw.cpu.as_ref())?,
        labels: read_names(source, "labels", &raw.labels)?,
        hosts: read_names(source, "hosts", &raw.hosts)?,
        affinity: read_others(source, "affinity", &raw.affinity, service)?,
        anti_affinity: read_others(source, "anti_affinity", &raw.anti_affinity, service)?,
        priority: match &raw.priority {
            Some(value) => number("placement.priority", value, PRIORITIES)?,
            None => 0,
        },
        after: read_others(source, "after", &raw.after, service)?,
        standbys: match &raw.standbys {
            Some(value) => {
                number("placement.standbys", value, 0..=MAX_STANDBYS.cast_signed())?.unsigned_abs()
            }
            None => 0,
        },
    };
    if let Some(both) = raw
        .anti_affinity
        .iter()
        .find(|name| raw.affinity.iter().any(|other| other.get_ref() == name.get_ref()))
    {
        let why = format!(
            "{} cannot be on the same guest and not on the same guest; name it in affinity or in anti_affinity",
            shown(both.get_ref())
        );
        return source.at("placement.anti_affinity", both, Err(why));
    }
    match &raw.standbys {
        Some(standbys) if needs.standbys > 0 && !movable => source.at(
            "placement.standbys",
            standbys,
            Err(
                "a service with `movable = false` is never moved to a standby; leave one of the two out"
                    .to_owned(),
            ),
        ),
        _ => Ok(needs),
    }
}

fn read_memory(
    source: &Source<'_>,
    raw: Option<&Spanned<toml::Value>>,
) -> Result<Option<u64>, ManifestError> {
    let Some(raw) = raw else { return Ok(None) };
    let within = |bytes: u64| {
        MEMORY
            .contains(&bytes)
            .then_some(bytes)
            .ok_or_else(|| "memory is 1 MiB to 16 TiB".to_owned())
    };
    let bytes = match raw.get_ref() {
        toml::Value::Integer(bytes) => u64::try_from(*bytes)
            .map_err(|_| "a size is not negative".to_owned())
            .and_then(within)
            .map_err(|why| format!("{bytes} is not valid: {why}")),
        toml::Value::String(text) => volume_values::bytes(text)
            .and_then(within)
            .map_err(|why| format!("{} is not valid: {why}", shown(text))),
        other => Err(format!(
            "a {} is not valid: {}",
            other.type_str(),
            volume_values::SIZE
        )),
    };
    source.at("placement.memory", raw, bytes).map(Some)
}

fn read_cpu(source: &Source<'_>, raw: Option<&Spanned<toml::Value>>) -> Result<Option<u64>, ManifestError> {
    const CPU: &str = "cpu is a number of cores, 0.001 to 1024, in steps of 0.001, such as 0.5";
    let Some(raw) = raw else { return Ok(None) };
    let thousandths = match raw.get_ref() {
        toml::Value::Integer(cores) => u64::try_from(*cores)
            .ok()
            .and_then(|cores| cores.checked_mul(1000)),
        // Its shortest text has the digits that were written; reckoning would have those of the binary fraction.
        toml::Value::Float(cores) => thousandths(&cores.to_string()),
        other => {
            let why = format!("a {} is not valid: {CPU}", other.type_str());
            return source.at("placement.cpu", raw, Err(why));
        }
    };
    let checked = thousandths
        .filter(|cpu| CPUS.contains(cpu))
        .ok_or_else(|| format!("{} is not valid: {CPU}", raw.get_ref()));
    source.at("placement.cpu", raw, checked).map(Some)
}

/// `0.5` as 500; `None` for signs, exponents, not-a-number and more than three digits behind the point.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 3 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<3}").parse().ok()?;
    whole.checked_mul(1000)?.checked_add(fraction)
}

/// Names of other services.
fn read_others(
    source: &Source<'_>,
    key: &str,
    raw: &[Spanned<String>],
    service: &ServiceId,
) -> Result<Vec<ServiceId>, ManifestError> {
    let names = read_names(source, key, raw)?;
    match raw.iter().find(|name| name.get_ref() == service.as_str()) {
        Some(own) => source.at(
            &format!("placement.{key}"),
            own,
            Err(format!("{service} is this service itself; name others")),
        ),
        None => Ok(names),
    }
}

fn read_names<T>(source: &Source<'_>, key: &str, raw: &[Spanned<String>]) -> Result<Vec<T>, ManifestError>
where
    T: FromStr<Err = InvalidId> + PartialEq + Display,
{
    let key = format!("placement.{key}");
    let mut names: Vec<T> = Vec::new();
    for text in raw {
        let name = source.text(&key, text, |text| {
            let name: T = text.parse().map_err(|error: InvalidId| error.reason.to_owned())?;
            if names.contains(&name) {
                return Err("it is named twice".to_owned());
            }
            if names.len() >= MAX_NAMES {
                return Err(format!("name at most {MAX_NAMES}"));
            }
            Ok(name)
        })?;
        names.push(name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const HEAD: &str = "service = \"web\"\nversion = \"1.0\"\nunits = [\"web.service\"]\n";

    fn placed(table: &str) -> Result<Needs, String> {
        parse(&format!("{HEAD}[placement]\n{table}\n"))
            .map(|manifest| manifest.needs)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_manifest_without_placement_asks_nothing() {
        assert_eq!(parse(HEAD).unwrap().needs, Needs::default());
        assert_eq!(placed(""), Ok(Needs::default()));
    }

    #[test]
    fn every_key_of_placement_is_read() {
        let needs = placed(
            "memory = \"256MiB\"\ncpu = 0.5\nlabels = [\"ssd\", \"zone=a\"]\nhosts = [\"hv1\", \"hv2\"]\naffinity = [\"cache\"]\nanti_affinity = [\"web2\"]\npriority = -5\nafter = [\"db\"]\nstandbys = 2",
        )
        .unwrap();
        assert_eq!(
            needs,
            Needs {
                memory: Some(256 << 20),
                cpu: Some(500),
                labels: vec!["ssd".parse().unwrap(), "zone=a".parse().unwrap()],
                hosts: vec!["hv1".parse().unwrap(), "hv2".parse().unwrap()],
                affinity: vec!["cache".parse().unwrap()],
                anti_affinity: vec!["web2".parse().unwrap()],
                priority: -5,
                after: vec!["db".parse().unwrap()],
                standbys: 2,
            }
        );
    }

    #[test]
    fn cores_are_read_to_the_thousandth_and_memory_in_bytes() {
        for (written, cpu) in [
            ("2", 2000),
            ("0.1", 100),
            ("0.001", 1),
            ("1.125", 1125),
            ("1024", 1_024_000),
        ] {
            assert_eq!(
                placed(&format!("cpu = {written}")).unwrap().cpu,
                Some(cpu),
                "{written}"
            );
        }
        assert_eq!(placed("memory = 1048576").unwrap().memory, Some(1 << 20));
    }

    #[test]
    fn what_cannot_be_placed_is_refused_with_key_and_line() {
        let many: Vec<String> = (0..33).map(|n| format!("\"s{n}\"")).collect();
        let many = format!("after = [{}]", many.join(", "));
        for (table, expected) in [
            (
                "memroy = 1",
                "line 5: unknown field `memroy`, expected one of `memory`, `cpu`, `labels`, `hosts`, `affinity`, `anti_affinity`, `priority`, `after`, `standbys`",
            ),
            (
                "memory = \"1GB\"",
                "line 5: placement.memory: \"1GB\" is not valid: a size is",
            ),
            (
                "memory = -1",
                "line 5: placement.memory: -1 is not valid: a size is not negative",
            ),
            (
                "memory = 1024",
                "placement.memory: 1024 is not valid: memory is 1 MiB to 16 TiB",
            ),
            ("memory = true", "placement.memory: a boolean is not valid"),
            (
                "cpu = 0",
                "line 5: placement.cpu: 0 is not valid: cpu is a number of cores",
            ),
            ("cpu = -0.5", "placement.cpu: -0.5 is not valid"),
            ("cpu = 0.0005", "placement.cpu: 0.0005 is not valid"),
            ("cpu = 1025", "placement.cpu: 1025 is not valid"),
            ("cpu = nan", "placement.cpu: nan is not valid"),
            ("cpu = inf", "placement.cpu: inf is not valid"),
            ("cpu = 1e300", "placement.cpu: "),
            (
                "cpu = \"500m\"",
                "placement.cpu: a string is not valid: cpu is a number",
            ),
            (
                "labels = [\"a b\"]",
                "line 5: placement.labels: \"a b\" is not valid: only letters",
            ),
            (
                "labels = [\"a\", \"a\"]",
                "placement.labels: \"a\" is not valid: it is named twice",
            ),
            ("hosts = [\"h/1\"]", "placement.hosts: \"h/1\" is not valid"),
            (
                "affinity = [\"web\"]",
                "placement.affinity: web is this service itself; name others",
            ),
            (
                "anti_affinity = [\"web\"]",
                "line 5: placement.anti_affinity: web is this service itself",
            ),
            ("after = [\"web\"]", "placement.after: web is this service itself"),
            ("after = [\"../x\"]", "placement.after: \"../x\" is not valid"),
            (
                many.as_str(),
                "placement.after: \"s32\" is not valid: name at most 32",
            ),
            (
                "affinity = [\"db\"]\nanti_affinity = [\"db\"]",
                "line 6: placement.anti_affinity: \"db\" cannot be on the same guest and not on the same guest",
            ),
            (
                "priority = 1001",
                "placement.priority: 1001 is not valid: it is -1000 to 1000",
            ),
            (
                "priority = 99999999999",
                "placement.priority: 99999999999 is not valid",
            ),
            (
                "standbys = -1",
                "placement.standbys: -1 is not valid: it is 0 to 8",
            ),
            ("standbys = 9", "placement.standbys: 9 is not valid: it is 0 to 8"),
            ("standbys = \"1\"", "invalid type: string"),
        ] {
            let told = placed(table).unwrap_err();
            assert!(told.contains(expected), "{table}\ntold: {told}\nwant: {expected}");
        }
    }

    #[test]
    fn a_service_that_stays_where_it_is_has_no_standby() {
        let told = parse(&format!("movable = false\n{HEAD}[placement]\nstandbys = 1\n"))
            .unwrap_err()
            .to_string();
        assert!(
            told.contains("line 6: placement.standbys: a service with `movable = false`"),
            "{told}"
        );
    }
}
