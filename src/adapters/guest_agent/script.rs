//! Rendering: the script of each step, a pure function of placement, step and attempt.
//!
//! The shell itself is in `scripts/`; here its values are written above it. Every value stands in single quotes
//! ([`quote`]) after a check that it is of the form it should have. A script is functions only up to its last
//! line, so one that arrives cut does nothing.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::model::ids::{Attempt, Digest};
use crate::model::life::Enablement;
use crate::model::placement::{PlacedFile, Placement};
use crate::ports::GuestStep;

use super::{check, script_data};

const PRELUDE: &str = include_str!("scripts/prelude.sh");
const FOREIGN: &str = include_str!("scripts/foreign.sh");
const INSTALL: &str = include_str!("scripts/install.sh");
const LINK: &str = include_str!("scripts/link.sh");
const MAKE_LINK: &str = include_str!("scripts/make_link.sh");
const START: &str = include_str!("scripts/start.sh");
const WAIT: &str = include_str!("scripts/wait.sh");
const STOP: &str = include_str!("scripts/stop.sh");
const STOP_MAIN: &str = include_str!("scripts/stop_main.sh");
const PAUSE: &str = include_str!("scripts/pause.sh");
const FORMAT: &str = include_str!("scripts/format.sh");
const UNINSTALL: &str = include_str!("scripts/uninstall.sh");
const PROBE: &str = include_str!("scripts/probe.sh");
const SUPERSEDE: &str = "main() {\n  begin\n  look\n  finish done\n}\n";
const LOOK: &str = include_str!("scripts/history.sh");

/// Where unit files are placed: a folder in which enable, disable, mask and drop-ins keep their meaning.
const ATTACHED: &str = "/etc/systemd/system.attached/";
/// Where masks and wants links are.
const SYSTEM: &str = "/etc/systemd/system/";

/// Why no script can be made from a placement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} of service {service} cannot be placed in a guest: {reason}")]
pub struct Unrenderable {
    /// What is wrong, such as `path`.
    pub what: &'static str,
    /// The text, cut to 80 characters.
    pub text: String,
    /// The service, or `?`.
    pub service: String,
    /// The rule that it breaks.
    pub reason: &'static str,
}

impl Unrenderable {
    pub(super) fn new(what: &'static str, text: &str, reason: &'static str) -> Self {
        Self {
            what,
            text: text.chars().take(80).collect(),
            service: "?".to_owned(),
            reason,
        }
    }
}

/// Where a script finds the guest's files and programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// What stands before every path: empty in a guest, a scratch folder in tests.
    pub prefix: String,
    /// `PATH`.
    pub path: String,
}

impl Root {
    /// A guest's own root.
    pub fn guest() -> Self {
        Self {
            prefix: String::new(),
            path: "/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        }
    }
}

/// `text` as one word of the shell, whatever is in it. A NUL byte cannot stand in a shell word and is left out.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("'\\''"),
            '\0' => {}
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// The word for a step in messages.
pub fn step_name(step: GuestStep) -> &'static str {
    match step {
        GuestStep::Install => "install",
        GuestStep::Link(_) => "link",
        GuestStep::Start(_) => "start",
        GuestStep::Stop => "stop",
        GuestStep::Pause => "pause",
        GuestStep::Format => "format",
        GuestStep::Supersede => "supersede",
        GuestStep::Uninstall => "uninstall",
    }
}

/// The script that only looks. Its answer is read by [`super::answer::parse_step`].
pub fn look(root: &Root, placement: &Placement) -> Result<String, Unrenderable> {
    named(placement, || Ok(head(root, placement)? + &body(&[LOOK]) + RUN))
}

/// The script of one step; `deadline` bounds its waits in the guest. Its answer is read by
/// [`super::answer::parse_step`].
pub fn act(
    root: &Root,
    placement: &Placement,
    step: GuestStep,
    attempt: Attempt,
    deadline: Duration,
) -> Result<String, Unrenderable> {
    named(placement, || {
        let mut out = head(root, placement)?;
        // The numbers that a shell can compare end at 2^63; as many digits as the largest has.
        let number = i64::try_from(attempt.0)
            .map_err(|_| Unrenderable::new("attempt", &attempt.0.to_string(), "the number is too large"))?;
        set(&mut out, "attempt", &format!("{number:020}"));
        set(&mut out, "patience", &patience(deadline).to_string());
        set(&mut out, "limit", &limit(deadline).to_string());
        let does = match step {
            GuestStep::Install => body(&[FOREIGN, INSTALL]) + &places(root, placement)?,
            GuestStep::Link(enablement) => {
                set(&mut out, "wanted", enablement.as_str());
                body(&[MAKE_LINK, LINK]) + &links(placement, enablement)
            }
            GuestStep::Start(enablement) => {
                // A masked unit cannot be started: it is masked again by a step of its own.
                let linked = if enablement == Enablement::Enabled {
                    enablement
                } else {
                    Enablement::Disabled
                };
                set(&mut out, "wanted", linked.as_str());
                set(&mut out, "tries", &tries(deadline));
                body(&[MAKE_LINK, WAIT, START]) + &links(placement, linked)
            }
            GuestStep::Stop => body(&[STOP, STOP_MAIN]),
            GuestStep::Pause => body(&[STOP, PAUSE]),
            GuestStep::Format => {
                set(&mut out, "tries", &tries(deadline));
                body(&[WAIT, FORMAT])
            }
            GuestStep::Supersede => body(&[SUPERSEDE]),
            GuestStep::Uninstall => body(&[STOP, UNINSTALL]),
        };
        Ok(out + &does + RUN)
    })
}

/// The script that asks a target what is in the way. Its answer is read by [`super::answer::parse_probe`].
pub fn probe(root: &Root, placement: &Placement) -> Result<String, Unrenderable> {
    named(placement, || {
        let mut out = head(root, placement)?;
        let ports: Vec<String> = placement.ports.iter().map(|port| format!("{port:04X}")).collect();
        set(&mut out, "ports", &ports.join("|"));
        set(&mut out, "tools", "flock\nbase64\nsha256sum\ntimeout\ntr");
        set(&mut out, "data_tools", &script_data::tools(placement));
        out.push_str(&body(&[FOREIGN, PROBE]));
        out.push_str("probe_check() {\n  :\n");
        if let Some(wanted) = &placement.check {
            out.push_str(&check::render_tools(&wanted.probe, &placement.mount_point));
        }
        out.push_str("}\n");
        Ok(out + RUN)
    })
}

/// The last line. The standard input of the shell is the script, so no program may read from it.
pub(super) const RUN: &str = "main </dev/null\n";

pub(super) fn named(
    placement: &Placement,
    render: impl FnOnce() -> Result<String, Unrenderable>,
) -> Result<String, Unrenderable> {
    render().map_err(|error| Unrenderable {
        service: placement.service.to_string(),
        ..error
    })
}

/// Seconds to wait for the service's lock, and for the disk's link.
fn patience(deadline: Duration) -> u64 {
    (deadline.as_secs() / 4).clamp(1, 10)
}

/// How often the disks' links are looked for, 50 ms apart.
fn tries(deadline: Duration) -> String {
    (patience(deadline) * 20).to_string()
}

/// Seconds that one `systemctl start` or `stop` may take: the rest is for the look after it.
fn limit(deadline: Duration) -> u64 {
    let seconds = deadline.as_secs();
    seconds.saturating_sub((seconds / 4).clamp(1, 5)).max(1)
}

/// Shell text without its comments, to keep messages short.
pub(super) fn body(parts: &[&str]) -> String {
    let mut out = String::new();
    for line in parts.iter().flat_map(|part| part.lines()) {
        if !line.trim_start().starts_with('#') {
            out.push_str(line.trim_start());
            out.push('\n');
        }
    }
    out
}

/// Appends the line `name='value'`.
pub(super) fn set(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push('=');
    out.push_str(&quote(value));
    out.push('\n');
}

/// The values that every script needs, and the functions that all share.
fn head(root: &Root, placement: &Placement) -> Result<String, Unrenderable> {
    let mount_point = path("mount point", &placement.mount_point)?;
    let wants = format!("{SYSTEM}{}.wants", placement.serial.device_unit());
    let units: Vec<&str> = placement
        .units
        .iter()
        .map(crate::model::unit::UnitName::as_str)
        .collect();
    let unit_files = unit_files(placement)?;
    let mut all_names = unit_files.clone();
    all_names.extend(units.iter().filter(|unit| !unit_files.contains(unit)));
    let mut file_paths = Vec::new();
    for file in &placement.files {
        file_paths.push(path("path", &file.path)?);
    }
    for link in &placement.links {
        let (folder, name) = link.path.rsplit_once('/').unwrap_or_default();
        if folder != wants || name.is_empty() {
            return Err(Unrenderable::new(
                "link",
                &link.path,
                "it is not of the bundle disk's device unit",
            ));
        }
        path("link", &link.path)?;
        let in_attached = link.target.strip_prefix(ATTACHED);
        if !in_attached.is_some_and(|name| unit_files.contains(&name)) {
            return Err(Unrenderable::new(
                "link",
                &link.target,
                "it points at no unit file of the service",
            ));
        }
    }
    let all_paths: Vec<String> = unit_files
        .iter()
        .map(|name| format!("{}{ATTACHED}{name}", root.prefix))
        .chain(file_paths.iter().map(|path| format!("{}{path}", root.prefix)))
        .collect();

    let mut out = String::new();
    set(&mut out, "root", &root.prefix);
    set(&mut out, "PATH", &root.path);
    set(&mut out, "service", placement.service.as_str());
    set(&mut out, "marker", &Placement::marker(&placement.service));
    set(&mut out, "mount_point", mount_point);
    set(&mut out, "mount_unit", &placement.mount_unit);
    set(
        &mut out,
        "device",
        &format!("{}{}", root.prefix, placement.serial.device_path()),
    );
    set(&mut out, "wants", &format!("{}{wants}", root.prefix));
    set(&mut out, "unit_names", &units.join("\n"));
    set(&mut out, "unit_files", &unit_files.join("\n"));
    set(&mut out, "all_names", &all_names.join("\n"));
    set(&mut out, "file_paths", &file_paths.join("\n"));
    set(&mut out, "paths", &all_paths.join("\n"));
    set(
        &mut out,
        "user",
        account(placement.user.as_deref().unwrap_or_default())?,
    );
    set(&mut out, "also", "");
    script_data::values(&mut out, root, placement)?;
    out.push_str(&body(&[PRELUDE, script_data::functions(placement)]));
    Ok(out)
}

/// Names of the unit files, the mount unit's first: it and the record are what makes the rest ours.
fn unit_files(placement: &Placement) -> Result<Vec<&str>, Unrenderable> {
    let mut names = Vec::new();
    for file in &placement.unit_files {
        let path = path("unit file", &file.path)?;
        let Some(name) = path.strip_prefix(ATTACHED).filter(|name| !name.contains('/')) else {
            return Err(Unrenderable::new(
                "unit file",
                path,
                "it is not in /etc/systemd/system.attached",
            ));
        };
        if name.starts_with(['.', '-']) || name.contains([' ', '*', '?', '[']) {
            return Err(Unrenderable::new("unit file", name, "this is no unit's name"));
        }
        let marker = format!("{}\n", Placement::marker(&placement.service));
        if !file.content.starts_with(marker.as_bytes()) {
            return Err(Unrenderable::new(
                "unit file",
                name,
                "its first line is not the marker",
            ));
        }
        names.push(name);
    }
    let Some(mount) = names.iter().position(|name| *name == placement.mount_unit) else {
        return Err(Unrenderable::new(
            "mount unit",
            &placement.mount_unit,
            "it has no unit file",
        ));
    };
    names.swap(0, mount);
    Ok(names)
}

/// An absolute path of printable ASCII without `.`, `..` and empty parts, and no blank at its ends.
pub(super) fn path<'a>(what: &'static str, path: &'a str) -> Result<&'a str, Unrenderable> {
    let err = |reason| Err(Unrenderable::new(what, path, reason));
    let Some(relative) = path.strip_prefix('/') else {
        return err("it is not absolute");
    };
    if path.len() > 1024 || !path.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return err("at most 1024 printable ASCII characters may stand in it");
    }
    if relative.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return err("no part of it may be empty, '.' or '..'");
    }
    if path.ends_with(' ') {
        return err("it ends in a blank");
    }
    Ok(path)
}

/// A user's or group's name or number; empty where there is none.
fn account(name: &str) -> Result<&str, Unrenderable> {
    let plain = name.len() <= 64
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if plain {
        Ok(name)
    } else {
        Err(Unrenderable::new(
            "user or group",
            name,
            "letters, digits, '.', '_' and '-' may stand in it",
        ))
    }
}

/// The functions that place each file.
fn places(root: &Root, placement: &Placement) -> Result<String, Unrenderable> {
    let mut out = String::from("place_units() {\n:\n");
    let names = unit_files(placement)?;
    for name in &names {
        let whole = format!("{ATTACHED}{name}");
        for file in placement.unit_files.iter().filter(|file| file.path == whole) {
            let (form, content) = content(file);
            let sum = sum_line(root, file);
            put(&mut out, &["unit", name, &sum, &mode(file)?, form, &content]);
        }
    }
    out.push_str("}\nplace_files() {\n:\n");
    for file in &placement.files {
        let (form, content) = content(file);
        let (owner, group) = (account(&file.owner)?, account(&file.group)?);
        let roots = |name: &str| matches!(name, "root" | "0" | "");
        // A file of root's without x bits gets its mode from the umask; anything else takes two more processes.
        let umask = if roots(owner) && roots(group) && file.mode & 0o7111 == 0 {
            format!("{:03o}", 0o777 & !file.mode)
        } else {
            String::new()
        };
        let or_root = |name: &str| {
            if name.is_empty() {
                "root".to_owned()
            } else {
                name.to_owned()
            }
        };
        let owner = format!("{}:{}", or_root(owner), or_root(group));
        let sum = sum_line(root, file);
        put(
            &mut out,
            &[
                "file",
                &file.path,
                &sum,
                &umask,
                &mode(file)?,
                &owner,
                form,
                &content,
            ],
        );
    }
    out.push_str("}\n");
    Ok(out)
}

fn put(out: &mut String, words: &[&str]) {
    let (function, arguments) = words.split_first().unwrap_or((&":", &[]));
    out.push_str(function);
    for argument in arguments {
        out.push(' ');
        out.push_str(&quote(argument));
    }
    out.push('\n');
}

fn mode(file: &PlacedFile) -> Result<String, Unrenderable> {
    if file.mode > 0o7777 {
        return Err(Unrenderable::new(
            "mode",
            &format!("{:o}", file.mode),
            "it must be at most 7777",
        ));
    }
    Ok(format!("{:03o}", file.mode))
}

/// A file's content as the shell gets it: plain text in quotes, which costs no process, else base64.
fn content(file: &PlacedFile) -> (&'static str, String) {
    let plain = file
        .content
        .iter()
        .all(|b| b.is_ascii_graphic() || matches!(b, b' ' | b'\n' | b'\t'));
    match std::str::from_utf8(&file.content) {
        Ok(text) if plain => ("text", text.to_owned()),
        _ => {
            let encoded = STANDARD.encode(&file.content);
            let mut lines = String::with_capacity(encoded.len() + encoded.len() / 76 + 1);
            for (index, c) in encoded.chars().enumerate() {
                if index > 0 && index % 76 == 0 {
                    lines.push('\n');
                }
                lines.push(c);
            }
            ("base64", lines)
        }
    }
}

/// The sha256 of a file's wanted content.
pub(super) fn sum(file: &PlacedFile) -> Digest {
    let hash: [u8; 32] = Sha256::digest(&file.content).into();
    Digest::from_sha256(&hash)
}

/// The line that sha256sum prints for a file with the wanted content, without the backslash that stands before
/// a line whose file name is escaped.
fn sum_line(root: &Root, file: &PlacedFile) -> String {
    let path = format!("{}{}", root.prefix, file.path);
    format!("{}  {}", sum(file), path.replace('\\', "\\\\"))
}

/// The function that makes the wants links.
fn links(placement: &Placement, enablement: Enablement) -> String {
    let mut out = String::from("make_links() {\n:\n");
    if enablement == Enablement::Enabled {
        for link in &placement.links {
            put(&mut out, &["link", &link.path, &link.target]);
        }
    }
    out.push_str("}\n");
    out
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
