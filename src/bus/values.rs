//! Options and rows: `a{sv}` in, `a{sv}` out.

use std::collections::HashMap;
use std::time::Duration;

use zbus::{OwnedVariant, Variant};

use super::error::BusError;
use crate::audit::finding::Repair;
use crate::audit::run::{Audited, Outcome};
use crate::model::batch::{BatchMember, Decision};
use crate::model::life::LifeState;
use crate::plan::load::Share;
use crate::plan::what_if::Survival;
use crate::requests::GivenFiles;
use crate::requests::homes::Standing;
use crate::requests::jobs::JobView;
use crate::requests::listing::{GuestRow, ServiceRow};
use crate::requests::maintenance::Drained;
use crate::requests::planning::Entry;

/// The most rows that one list call answers.
const MOST_ROWS: u64 = 1000;

/// Options of a method.
pub type Options = HashMap<String, OwnedVariant>;
/// A row's columns.
pub type Row = HashMap<String, OwnedVariant>;

/// Refuses options that a method does not know: a misspelt option is never ignored.
///
/// # Errors
/// `InvalidArgument`, naming the option and those that are known.
pub fn known_only(options: &Options, known: &[&str]) -> Result<(), BusError> {
    match options.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(invalid(format!(
            "option {key:?} is not known here; known are: {}",
            if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            }
        ))),
        None => Ok(()),
    }
}

pub(super) fn invalid(text: String) -> BusError {
    BusError::new("InvalidArgument", text)
}

/// A text option.
///
/// # Errors
/// `InvalidArgument` if it is not a text.
pub fn text(options: &Options, key: &str) -> Result<Option<String>, BusError> {
    let Some(value) = options.get(key) else {
        return Ok(None);
    };
    match &**value {
        Variant::Str(text) => Ok(Some(text.as_str().to_owned())),
        _ => Err(invalid(format!("option {key:?} must be a string"))),
    }
}

/// A number option, of any integer type.
///
/// # Errors
/// `InvalidArgument` if it is not a number from 0.
pub fn number(options: &Options, key: &str) -> Result<Option<u64>, BusError> {
    let Some(value) = options.get(key) else {
        return Ok(None);
    };
    let number = match &**value {
        Variant::U8(n) => Some(u64::from(*n)),
        Variant::U16(n) => Some(u64::from(*n)),
        Variant::U32(n) => Some(u64::from(*n)),
        Variant::U64(n) => Some(*n),
        Variant::I32(n) => u64::try_from(*n).ok(),
        Variant::I64(n) => u64::try_from(*n).ok(),
        _ => None,
    };
    number
        .map(Some)
        .ok_or_else(|| invalid(format!("option {key:?} must be a number from 0")))
}

/// How many rows a list call may answer.
///
/// # Errors
/// `InvalidArgument` if `limit` is not a number.
pub fn limit(filter: &Options) -> Result<usize, BusError> {
    let limit = number(filter, "limit")?.unwrap_or(MOST_ROWS).min(MOST_ROWS);
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// An option that is `yes` or `no`.
///
/// # Errors
/// `InvalidArgument` if it is something else.
pub fn yes(options: &Options, key: &str) -> Result<bool, BusError> {
    match text(options, key)?.as_deref() {
        Some("yes") => Ok(true),
        Some("no") | None => Ok(false),
        Some(other) => Err(invalid(format!(
            "option {key:?} is {other:?}; it must be yes or no"
        ))),
    }
}

/// The `files` option: names and contents.
///
/// # Errors
/// `InvalidArgument` if it is not `a{say}`.
pub fn files(options: &Options) -> Result<GivenFiles, BusError> {
    let Some(value) = options.get("files") else {
        return Ok(Vec::new());
    };
    let wrong = || invalid("option \"files\" must be a{say}: names and contents".to_owned());
    let value = value.try_clone().map_err(|_| wrong())?;
    let map: HashMap<String, Vec<u8>> = HashMap::try_from(value).map_err(|_| wrong())?;
    let mut files: GivenFiles = map.into_iter().collect();
    files.sort();
    Ok(files)
}

/// A guest that is drained: its name, the job (0: none), why there is none.
pub fn drained(drained: Drained) -> (String, u64, String) {
    match drained.job {
        Ok(job) => (drained.guest, job.0, String::new()),
        Err(why) => (drained.guest, 0, why),
    }
}

/// A span in whole milliseconds.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn owned<'a>(value: impl Into<Variant<'a>>) -> OwnedVariant {
    let value: Variant<'a> = value.into();
    // Only a file descriptor cannot be owned, and no row has one.
    OwnedVariant::try_from(value).unwrap_or_else(|_| OwnedVariant::from(0_u8))
}

fn row<const N: usize>(columns: [(&str, OwnedVariant); N]) -> Row {
    columns
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// Addresses as texts.
pub fn texts(addresses: &[std::net::IpAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

/// A service's row.
pub fn service_row(r: &ServiceRow) -> Row {
    let s = &r.service;
    let mut columns = row([
        ("bundle", owned(s.bundle.as_str())),
        ("version", owned(r.version.as_str())),
        ("guest", owned(s.guest.to_string())),
        ("guest_name", owned(s.guest_name.as_str())),
        ("host", owned(r.host.as_str())),
        (
            "address",
            owned(s.address().map(|a| a.to_string()).unwrap_or_default()),
        ),
        ("addresses", owned(texts(&s.addresses))),
        ("life_state", owned(life_state(r))),
        ("wanted", owned(s.wanted.as_str())),
        ("observed", owned(s.observed.as_str())),
        ("observed_at", owned(s.observed_at)),
        ("enablement", owned(s.enablement.as_str())),
        (
            "name",
            owned(s.dns.as_ref().map(|d| d.name.to_string()).unwrap_or_default()),
        ),
        ("generation", owned(s.generation.0)),
        ("frozen", owned(s.frozen.clone().unwrap_or_default())),
        ("standbys", owned(standbys(r))),
    ]);
    if let Some(volume) = &s.volume {
        columns.extend(row([
            ("volume_host", owned(volume.host.as_str())),
            ("volume_path", owned(volume.path.as_str())),
            ("volume_size", owned(volume.size)),
            ("volume_filesystem", owned(volume.filesystem.as_str())),
            ("volume_mount", owned(r.mount_point.as_str())),
        ]));
    }
    columns
}

/// Guests and how far each is.
pub fn standbys(r: &ServiceRow) -> Vec<(String, String)> {
    let told = r.standbys.iter();
    told.map(|(guest, state)| (guest.clone(), state.as_str().to_owned()))
        .collect()
}

/// The life state to show: what was seen last, and `failed` as long as its guest is off.
pub fn life_state(r: &ServiceRow) -> &'static str {
    if r.is_down {
        LifeState::Failed.as_str()
    } else {
        r.service.observed.as_str()
    }
}

/// A guest's row.
pub fn guest_row(g: &GuestRow) -> Row {
    let addresses = texts(&g.addresses);
    let obstacles: Vec<(String, String)> = g
        .obstacles
        .iter()
        .map(|o| (o.word().to_owned(), o.to_string()))
        .collect();
    let mut columns = row([
        ("name", owned(g.summary.name.as_str())),
        ("host", owned(g.summary.host.as_str())),
        ("state", owned(g.summary.state.as_str())),
        ("agent", owned(g.agent)),
        (
            "address",
            owned(g.address.map(|a| a.to_string()).unwrap_or_default()),
        ),
        ("addresses", owned(addresses)),
        (
            "persistent",
            owned(if g.summary.persistent { "yes" } else { "no" }),
        ),
        ("services", owned(g.services.clone())),
        (
            "labels",
            owned(g.labels.iter().map(ToString::to_string).collect::<Vec<_>>()),
        ),
        ("maintenance", owned(g.maintenance.clone().unwrap_or_default())),
        ("watch", owned(g.watch)),
        ("homeless", owned(g.homeless.clone())),
        ("obstacles", owned(obstacles)),
    ]);
    if let Some(load) = g.load {
        columns.extend(row([
            ("load", owned(fraction(load.score()))),
            ("load_cpu", owned(fraction(load.cpu))),
            ("load_memory", owned(fraction(load.memory))),
            ("load_pressure", owned(fraction(load.pressure))),
        ]));
    }
    columns
}

/// A share as a number from 0 to 1.
pub fn fraction(share: Share) -> f64 {
    f64::from(share.as_millionths()) / 1e6
}

/// A guest whose death would leave services without a home: UUID, name, how many it has, which have none.
pub type LossRow = (String, String, u32, Vec<String>);

/// Which services would have no home.
pub fn standing(standing: &Standing) -> (u64, Vec<LossRow>) {
    let loss = |loss: &Survival| {
        let ids = loss.homeless.iter().map(|(id, _)| id.to_string()).collect();
        let services = u32::try_from(loss.services).unwrap_or(u32::MAX);
        (loss.guest.to_string(), loss.name.clone(), services, ids)
    };
    (standing.since, standing.losses.iter().map(loss).collect())
}

/// One service of a plan: its id and its row.
pub fn entry_row(entry: &Entry) -> (String, Row) {
    let target = entry.target.as_ref();
    let mut columns = row([
        ("source", owned(entry.source.as_str())),
        (
            "target",
            owned(target.map(|t| t.name.clone()).unwrap_or_default()),
        ),
        (
            "target_guest",
            owned(target.map(|t| t.guest.to_string()).unwrap_or_default()),
        ),
        ("why", owned(entry.why.as_str())),
        ("life_state", owned(entry.wanted.as_str())),
        ("name", owned(entry.name.clone().unwrap_or_default())),
        ("generation", owned(entry.generation.0)),
        ("expected_ms", owned(entry.expected.map_or(0, millis))),
        ("rejected", owned(entry.rejected.clone())),
    ]);
    if let Some(age) = entry.stale {
        columns.insert("stale_ms".to_owned(), owned(millis(age)));
    }
    if let Some((before, after)) = target.and_then(|target| target.load) {
        columns.extend(row([
            ("load_before", owned(fraction(before))),
            ("load_after", owned(fraction(after))),
        ]));
    }
    (entry.service.to_string(), columns)
}

/// A decision's columns.
pub fn decision_row(decision: &Decision) -> Row {
    row([
        ("at", owned(decision.at)),
        ("who", owned(decision.who.as_str())),
        ("what", owned(decision.what.as_str())),
        ("decision", owned(decision.decision.as_str())),
        ("inputs", owned(decision.inputs.clone())),
    ])
}

/// A member of a batch: service, target guest's name, why there, its own job (0: not begun), result, what went wrong.
pub type Member = (String, String, String, u64, String, String);

/// The members of a batch, in order.
pub fn members(job: &JobView) -> Vec<Member> {
    let member = |m: &BatchMember| {
        (
            m.service.to_string(),
            m.target_name.clone(),
            m.why.clone(),
            m.job.map_or(0, |job| job.0),
            m.result.clone().unwrap_or_default(),
            m.details.clone(),
        )
    };
    job.members.iter().map(member).collect()
}

/// A job's row.
pub fn job_row(j: &JobView) -> Row {
    let r = &j.record;
    let mut columns = row([
        ("operation", owned(r.operation.as_str())),
        ("object", owned(r.object.as_str())),
        ("source", owned(r.source.as_str())),
        ("target", owned(r.target.as_str())),
        ("started_by", owned(r.started_by.as_str())),
        (
            "state",
            owned(if r.result.is_some() { "finished" } else { "running" }),
        ),
        ("step", owned(j.step.as_str())),
        ("result", owned(r.result.clone().unwrap_or_default())),
        ("error_name", owned(r.error_name.as_str())),
        ("error_details", owned(r.error_details.as_str())),
        ("started", owned(r.started)),
        ("finished", owned(r.finished.unwrap_or(0))),
        ("progress", owned(j.progress)),
    ]);
    if let Some(gap) = j.gap {
        columns.insert("gap_ms".to_owned(), owned(gap));
    }
    if !j.members.is_empty() {
        columns.insert("members".to_owned(), owned(members(j)));
    }
    columns
}

/// A finding's row, by the id of its service; empty where no service is known.
pub fn finding_row(audited: &Audited) -> (String, Row) {
    let finding = &audited.finding;
    let (guest, guest_name) = match &finding.guest {
        Some((id, name)) => (id.to_string(), name.as_str()),
        None => (String::new(), ""),
    };
    let (outcome, outcome_text) = match &audited.outcome {
        Outcome::Reported | Outcome::NeedsJob => ("", ""),
        Outcome::Done => ("done", ""),
        Outcome::Remains(why) => ("remains", why.as_str()),
    };
    let columns = row([
        ("kind", owned(finding.kind.as_str())),
        ("rule", owned(finding.kind.rule().as_str())),
        ("guest", owned(guest)),
        ("guest_name", owned(guest_name)),
        ("what", owned(finding.what.as_str())),
        ("table", owned(finding.says.table.as_str())),
        ("dns", owned(finding.says.dns.as_str())),
        ("libvirt", owned(finding.says.libvirt.as_str())),
        ("guests", owned(finding.says.guest.as_str())),
        ("copies", owned(finding.copies.up)),
        ("copies_unasked", owned(finding.copies.unasked)),
        ("remedy", owned(finding.remedy.as_str())),
        (
            "repair",
            owned(finding.remedy.repair().map_or("", Repair::as_str)),
        ),
        ("remedy_text", owned(finding.remedy.text())),
        ("outcome", owned(outcome)),
        ("outcome_text", owned(outcome_text)),
    ]);
    let service = finding.service.as_ref().map(ToString::to_string);
    (service.unwrap_or_default(), columns)
}

/// A bundle's row.
pub fn bundle_row(b: &crate::model::service::BundleRecord) -> Row {
    row([
        ("service", owned(b.manifest.service.as_str())),
        ("version", owned(b.manifest.version.as_str())),
        ("size", owned(b.size)),
        ("registered", owned(b.registered)),
    ])
}
