//! Parsing what the scripts print: `key=value` lines, strictly, and never more than was asked for.

use std::collections::HashMap;

use crate::model::guest::{CopyState, DataState, ProbeReport, UnitState};
use crate::model::life::Enablement;
use crate::model::placement::{PlacedFile, Placement};
use crate::model::unit::UnitName;
use crate::model::volume::PlacedData;

use super::protocol::printable;
use super::script::{Root, sum};

/// Files, folders and links of one service that a guest may name.
const MAX_PRESENT: usize = 1000;

/// Why an answer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAnswer(String);

impl InvalidAnswer {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It did what it does; this is what it saw afterwards.
    Done(Box<CopyState>),
    /// A later attempt has been there; nothing was touched.
    Superseded {
        /// The attempt that is recorded in the guest.
        seen: u64,
    },
    /// What is in the way and was not placed by handoverd; nothing was touched.
    Foreign {
        /// Unit files, folders and files.
        paths: Vec<String>,
    },
    /// Another step of the service held its lock for too long; nothing was touched.
    Busy,
    /// systemd did not answer; something may have been done.
    Silent,
    /// A command in the guest failed.
    Failed {
        /// Which path or command, and why.
        why: String,
    },
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done(_) => f.write_str("done"),
            Self::Superseded { seen } => write!(f, "superseded by attempt {seen}"),
            Self::Foreign { paths } => write!(f, "foreign: {}", paths.join(", ")),
            Self::Busy => f.write_str("busy"),
            Self::Silent => f.write_str("systemd does not answer"),
            Self::Failed { why } => write!(f, "failed: {why}"),
        }
    }
}

/// Reads what a look or a step printed.
pub fn parse_step(text: &str, placement: &Placement, root: &Root) -> Result<Answer, InvalidAnswer> {
    let lines = Lines::parse(text)?;
    match lines.result {
        "done" => Ok(Answer::Done(Box::new(copy_state(&lines, placement, root)?))),
        "superseded" => Ok(Answer::Superseded {
            seen: number(lines.one("seen")?)?,
        }),
        "foreign" => {
            let mut paths = Vec::new();
            for key in ["foreign_unit", "foreign_folder", "foreign_file", "data_folder"] {
                paths.extend(lines.paths(key)?);
            }
            if let (Some(data), true) = (&placement.data, lines.has("data_mount")) {
                paths.push(format!(
                    "{} (mounted at {})",
                    printable(lines.one("data_mount")?),
                    data.mount_point
                ));
            }
            Ok(Answer::Foreign { paths })
        }
        "busy" => Ok(Answer::Busy),
        "silent" => Ok(Answer::Silent),
        "failed" => Ok(Answer::Failed {
            why: printable(lines.one("why")?),
        }),
        other => Err(InvalidAnswer(format!(
            "{:?} is no result of a step",
            printable(other)
        ))),
    }
}

/// Reads what a probe printed.
pub fn parse_probe(text: &str, placement: &Placement) -> Result<ProbeReport, InvalidAnswer> {
    let lines = Lines::parse(text)?;
    if lines.result != "done" {
        return Err(InvalidAnswer(format!(
            "{:?} is no result of a probe",
            printable(lines.result)
        )));
    }
    let foreign = lines.paths("foreign_unit")?;
    let units = lines.units()?;
    // Our own copy, when it is up already, is what listens there.
    let ours_is_up = placement.units.iter().any(|unit| {
        !is_foreign(unit, &foreign)
            && units
                .iter()
                .any(|seen| seen.unit == unit.as_str() && seen.is_active())
    });
    let mut ports_in_use = Vec::new();
    for line in lines.all("listen") {
        let port = listening_port(line)?;
        if placement.ports.contains(&port) && !ports_in_use.contains(&port) && !ours_is_up {
            ports_in_use.push(port);
        }
    }
    let foreign_mount = match lines.one("source")? {
        "other" => Some(printable(lines.one("mounted")?)),
        _ => None,
    };
    let claimers = ["multipathd", "udisks2"];
    let claims = |name: &&str| {
        units
            .iter()
            .any(|seen| seen.unit.strip_suffix(".service") == Some(*name) && seen.is_active())
    };
    Ok(ProbeReport {
        systemd: systemd_version(lines.one("systemd")?)?,
        machine: printable(lines.one("machine")?),
        etc_writable: lines.one("etc")? == "writable",
        squashfs: lines.has("squashfs"),
        claimers: claimers
            .iter()
            .filter(|name| claims(name))
            .map(|name| (*name).to_owned())
            .collect(),
        ports_in_use,
        uid: lines.uid()?,
        foreign_units: foreign,
        foreign_mount,
        foreign_folder: lines.has("foreign_folder"),
        foreign_files: lines.paths("foreign_file")?,
        missing_tools: lines.all("missing").into_iter().map(printable).collect(),
        foreign_data_mount: lines.all("data_mount").first().map(|what| printable(what)),
        foreign_data_folder: lines.has("data_folder"),
        missing_data_tools: lines.all("data_missing").into_iter().map(printable).collect(),
    })
}

fn copy_state(lines: &Lines<'_>, placement: &Placement, root: &Root) -> Result<CopyState, InvalidAnswer> {
    let foreign = lines.paths("foreign_unit")?;
    let seen = lines.units()?;
    let units = placement
        .units
        .iter()
        .map(|unit| unit_state(unit, &seen, &foreign))
        .collect();
    let sums = lines.sums(root)?;
    let present = lines.paths("present")?;
    let wanted = |file: &PlacedFile| {
        if lines.has("unsummed") {
            return present.contains(&file.path);
        }
        sums.get(file.path.as_str())
            .is_some_and(|have| *have == sum(file).as_str())
    };
    let installed = placement.unit_files.iter().all(wanted);
    let linked = placement
        .links
        .iter()
        .filter(|link| lines.all("link").contains(&link.path.as_str()))
        .count();
    let masked = placement.units.iter().any(|unit| {
        let masks = lines.all("mask");
        masks.contains(&unit.as_str()) || masks.contains(&unit.file_name().as_str())
    });
    // Without a link the service is not started by its disk: `Disabled`. Whether an operator disabled it or it is
    // only stopped (a stopped one has no link either), the caller knows from what it wanted.
    let enablement = match (masked, installed && linked == placement.links.len()) {
        (true, _) => Enablement::Masked,
        (false, true) => Enablement::Enabled,
        (false, false) => Enablement::Disabled,
    };
    let files_differ = !placement.files.iter().all(wanted);
    Ok(CopyState {
        units,
        device: lines.has("device"),
        mounted: matches!(lines.one("source")?, "ours" | "gone"),
        installed,
        present,
        links: u32::try_from(linked).unwrap_or(u32::MAX),
        enablement,
        files_differ,
        uid: lines.uid()?,
        data: placement
            .data
            .as_ref()
            .map(|data| data_state(data, lines, &seen))
            .transpose()?,
        was_up: lines.has("was_up"),
        system: match lines.all("system").first() {
            Some(state) => word(state)?,
            None => String::new(),
        },
    })
}

/// The data volume. What its mount unit failed with is told only while it is not mounted.
fn data_state(data: &PlacedData, lines: &Lines<'_>, seen: &[UnitState]) -> Result<DataState, InvalidAnswer> {
    let mounted = lines.has("data_mounted");
    let unit = seen.iter().find(|state| state.unit == data.mount_unit);
    Ok(DataState {
        device: lines.has("data_device"),
        mounted,
        filesystem: match lines.all("data_filesystem").first() {
            Some(found) => Some(word(found)?),
            None => None,
        },
        failed: unit
            .filter(|state| !mounted && state.active == "failed")
            .map(|state| state.result.clone()),
    })
}

/// One unit. What systemd does not have in memory is down; it is told as `not-loaded`. A unit of that name that is
/// defined by somebody else's file is not this copy's: it is told as `foreign` and down, whatever it does, so that it
/// never counts as a service that is up or still to be stopped.
fn unit_state(unit: &UnitName, seen: &[UnitState], foreign: &[String]) -> UnitState {
    let down = |load: &str| UnitState {
        unit: unit.to_string(),
        load: load.to_owned(),
        active: "inactive".to_owned(),
        sub: "dead".to_owned(),
        result: String::new(),
    };
    match seen.iter().find(|state| state.unit == unit.as_str()) {
        Some(state) if state.load == "loaded" && is_foreign(unit, foreign) => down("foreign"),
        Some(state) => state.clone(),
        None => down("not-loaded"),
    }
}

/// Whether a foreign file defines the unit, by its own name or its template's.
fn is_foreign(unit: &UnitName, foreign: &[String]) -> bool {
    foreign
        .iter()
        .filter_map(|path| path.rsplit_once('/'))
        .any(|(_, name)| name == unit.as_str() || name == unit.file_name())
}

/// A word of systemd's: at most 255 characters without blanks.
fn word(text: &str) -> Result<String, InvalidAnswer> {
    if text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(InvalidAnswer(format!(
            "{:?} is no word of systemd's",
            printable(text)
        )))
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, InvalidAnswer> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parsed = if digits { text.parse().ok() } else { None };
    parsed.ok_or_else(|| InvalidAnswer(format!("{:?} is no number", printable(text))))
}

/// `systemd 252 (252.38-1~deb12u1)`, or `systemd 257~rc1`.
fn systemd_version(line: &str) -> Result<u32, InvalidAnswer> {
    let version = line.strip_prefix("systemd ").unwrap_or_default();
    let digits = version
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap_or_default();
    number(digits).map_err(|_| InvalidAnswer(format!("{:?} is no version of systemd", printable(line))))
}

/// The local port of a line of /proc/net/tcp: `0: 0100007F:1F90 00000000:0000 0A …`.
fn listening_port(line: &str) -> Result<u16, InvalidAnswer> {
    let local = line.split_ascii_whitespace().nth(1).unwrap_or_default();
    let port = local.rsplit_once(':').map_or("", |(_, port)| port);
    u16::from_str_radix(port, 16)
        .map_err(|_| InvalidAnswer(format!("{:?} is no socket of /proc/net/tcp", printable(line))))
}

/// The lines of an answer, by key, and the section about units.
struct Lines<'a> {
    keys: HashMap<&'a str, Vec<&'a str>>,
    results: HashMap<&'a str, &'a str>,
    result: &'a str,
}

impl<'a> Lines<'a> {
    /// The keys that scripts print, and whether they may be there more than once.
    const KEYS: [(&'static str, bool); 30] = [
        ("data_device", false),
        ("data_filesystem", false),
        ("data_folder", false),
        ("data_missing", true),
        ("data_mount", false),
        ("data_mounted", false),
        ("device", false),
        ("etc", false),
        ("foreign_file", true),
        ("foreign_folder", false),
        ("foreign_unit", true),
        ("link", true),
        ("listen", true),
        ("machine", false),
        ("mask", true),
        ("missing", true),
        ("mounted", false),
        ("present", true),
        ("seen", false),
        ("source", false),
        ("squashfs", false),
        ("sum", true),
        ("system", false),
        ("systemd", false),
        ("uid", false),
        ("unit", true),
        ("units", false),
        ("unsummed", false),
        ("was_up", false),
        ("why", false),
    ];

    fn parse(text: &'a str) -> Result<Self, InvalidAnswer> {
        let body = text
            .strip_suffix('\n')
            .ok_or_else(|| InvalidAnswer("it is cut off".to_owned()))?;
        let (body, last) = body.rsplit_once('\n').unwrap_or(("", body));
        let result = last
            .strip_prefix("result=")
            .ok_or_else(|| InvalidAnswer("it does not end with a result".to_owned()))?;
        let mut keys: HashMap<&str, Vec<&str>> = HashMap::new();
        let mut results = None;
        let mut lines = body.lines();
        while let Some(line) = lines.next() {
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| InvalidAnswer(format!("{:?} is no line of it", printable(line))))?;
            let Some((_, many)) = Self::KEYS.iter().find(|(known, _)| *known == key) else {
                return Err(InvalidAnswer(format!("{:?} is no key of it", printable(key))));
            };
            if key == "units" {
                if value != "begin" || results.is_some() {
                    return Err(InvalidAnswer("its units are told twice".to_owned()));
                }
                results = Some(Self::parse_results(&mut lines)?);
                continue;
            }
            let values = keys.entry(key).or_default();
            if values.len() >= if *many { MAX_PRESENT } else { 1 } {
                return Err(InvalidAnswer(format!("{key} is told too often")));
            }
            values.push(value);
        }
        Ok(Self {
            keys,
            results: results.unwrap_or_default(),
            result,
        })
    }

    /// `Result` by `Id`: the output of `systemctl show` up to `units=end`, an empty line between two units.
    fn parse_results(lines: &mut std::str::Lines<'a>) -> Result<HashMap<&'a str, &'a str>, InvalidAnswer> {
        let mut results = HashMap::new();
        let (mut id, mut result) = ("", "");
        for line in lines.by_ref() {
            if line.is_empty() || line == "units=end" {
                results.insert(id, result);
                (id, result) = ("", "");
                if line.is_empty() {
                    continue;
                }
                return Ok(results);
            }
            match line.split_once('=') {
                Some(("Id", value)) => id = value,
                Some(("Result", value)) => result = value,
                _ => {
                    return Err(InvalidAnswer(format!(
                        "{:?} is no property of a unit",
                        printable(line)
                    )));
                }
            }
        }
        Err(InvalidAnswer("its units have no end".to_owned()))
    }

    fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    fn all(&self, key: &str) -> Vec<&'a str> {
        self.keys.get(key).cloned().unwrap_or_default()
    }

    fn one(&self, key: &str) -> Result<&'a str, InvalidAnswer> {
        self.all(key)
            .first()
            .copied()
            .ok_or_else(|| InvalidAnswer(format!("{key} is missing in it")))
    }

    /// Absolute paths, each once.
    fn paths(&self, key: &str) -> Result<Vec<String>, InvalidAnswer> {
        let mut paths: Vec<String> = Vec::new();
        for path in self.all(key) {
            if !path.starts_with('/') || path.len() > 4096 || path.chars().any(char::is_control) {
                return Err(InvalidAnswer(format!("{:?} is no path", printable(path))));
            }
            if !paths.iter().any(|known| known == path) {
                paths.push(path.to_owned());
            }
        }
        Ok(paths)
    }

    fn uid(&self) -> Result<Option<u32>, InvalidAnswer> {
        self.all("uid").first().map(|uid| number(uid)).transpose()
    }

    /// The units that systemd has in memory: `name load active sub`.
    fn units(&self) -> Result<Vec<UnitState>, InvalidAnswer> {
        let mut units = Vec::new();
        for line in self.all("unit") {
            let words: Vec<&str> = line.split(' ').collect();
            let [unit, load, active, sub] = words.as_slice() else {
                return Err(InvalidAnswer(format!(
                    "{:?} is no state of a unit",
                    printable(line)
                )));
            };
            units.push(UnitState {
                unit: word(unit)?,
                load: word(load)?,
                active: word(active)?,
                sub: word(sub)?,
                result: word(self.results.get(unit).copied().unwrap_or_default())?,
            });
        }
        Ok(units)
    }

    /// sha256 by path, without the root's prefix. sha256sum puts a backslash before a line whose name it escaped.
    fn sums(&self, root: &Root) -> Result<HashMap<String, &'a str>, InvalidAnswer> {
        let mut sums = HashMap::new();
        for line in self.all("sum") {
            let (escaped, line) = match line.strip_prefix('\\') {
                Some(rest) => (true, rest),
                None => (false, line),
            };
            let parts = line
                .split_once("  ")
                .and_then(|(hash, path)| Some((hash, path.strip_prefix(root.prefix.as_str())?)));
            let Some((hash, path)) = parts.filter(|(hash, _)| hash.len() == 64) else {
                return Err(InvalidAnswer(format!(
                    "{:?} is no sum of a file of ours",
                    printable(line)
                )));
            };
            let path = if escaped {
                path.replace("\\\\", "\\")
            } else {
                path.to_owned()
            };
            sums.insert(path, hash);
        }
        Ok(sums)
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
pub(super) mod tests;
