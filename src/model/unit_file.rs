//! Unit files: reading their assignments, and rewriting them so that they depend on the bundle disk.
//!
//! The syntax is systemd.syntax(7) as systemd's `config_parse` reads it: a line that ends in an odd number of
//! backslashes goes on in the next one, comment lines inside such a continuation are skipped, and a section may
//! come more than once. Only sections are taken apart; no line outside `[Install]` is ever changed.

use super::disk::DiskSerial;
use super::ids::{Digest, ServiceId};
use super::placement::Placement;
use super::unit::escape_path;
use super::volume::PlacedData;

/// Why a text is not a unit file that can be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct UnitSyntaxError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it, and what to do.
    pub reason: String,
}

/// One `Key=value` of a unit file, its continuation lines joined by spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// The section without its brackets; empty before the first one.
    pub section: &'a str,
    /// The key, such as `ExecStart`.
    pub key: String,
    /// The value; empty for an assignment that resets a list.
    pub value: String,
    /// The line that it begins at, counted from 1.
    pub line: usize,
}

/// What one physical line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind<'a> {
    /// `[Name]`.
    Header(&'a str),
    /// The first line of an assignment.
    Assignment,
    /// A further line of one.
    Continuation,
    /// Empty, or a comment.
    Blank,
}

/// A physical line with its line ending.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    kind: Kind<'a>,
    text: &'a str,
    number: usize,
}

/// A unit file split into its lines.
struct Lines<'a> {
    lines: Vec<Line<'a>>,
    /// The text ends inside a continuation, so that what is added behind it would belong to its last value.
    open: bool,
    /// The first line that no unit file may have.
    broken: Option<UnitSyntaxError>,
}

/// White space as `config_parse` skips it.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

fn continues(text: &str) -> bool {
    let bare = text.trim_end_matches(['\n', '\r']);
    bare.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

fn split(text: &str) -> Lines<'_> {
    // systemd skips a byte order mark only at the very beginning, where the marker line will stand.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut lines, mut open, mut broken) = (Vec::new(), false, None);
    for (index, text) in text.split_inclusive('\n').enumerate() {
        let number = index + 1;
        let mut wrong = |reason: String| {
            broken.get_or_insert(UnitSyntaxError { line: number, reason });
        };
        let body = text.strip_suffix('\n').unwrap_or(text);
        let body = body.strip_suffix('\r').unwrap_or(body);
        if body.contains(['\r', '\0']) {
            // systemd takes each of them for the end of a line.
            wrong("a carriage return or NUL stands inside it; save the file with plain line ends".to_owned());
        }
        let trimmed = text.trim_matches(BLANKS);
        let comment = trimmed.starts_with(['#', ';']);
        let kind = if open && comment {
            // A comment neither ends nor extends the continuation that it stands in.
            lines.push(Line {
                kind: Kind::Blank,
                text,
                number,
            });
            continue;
        } else if open {
            Kind::Continuation
        } else if trimmed.is_empty() || comment {
            Kind::Blank
        } else if let Some(head) = trimmed.strip_prefix('[') {
            if !head.ends_with(']') {
                wrong(format!("{trimmed:?} is not a section header, which ends in ]"));
            }
            Kind::Header(head.strip_suffix(']').unwrap_or(head))
        } else {
            Kind::Assignment
        };
        // Comments and headers never go on in the next line.
        open = matches!(kind, Kind::Assignment | Kind::Continuation) && continues(text);
        lines.push(Line { kind, text, number });
    }
    Lines { lines, open, broken }
}

/// Every assignment of a unit file, in order. A line without `=` is left out, as systemd ignores it.
///
/// # Errors
/// A section header without its closing bracket, or a carriage return or NUL inside a line.
pub fn assignments(text: &str) -> Result<Vec<Assignment<'_>>, UnitSyntaxError> {
    let mut found: Vec<Assignment<'_>> = Vec::new();
    let (mut section, mut live) = ("", false);
    let Lines { lines, broken, .. } = split(text);
    if let Some(error) = broken {
        return Err(error);
    }
    for line in lines {
        let part = line.text.trim_matches(BLANKS);
        let part = if continues(line.text) {
            part.strip_suffix('\\').unwrap_or(part)
        } else {
            part
        };
        match line.kind {
            Kind::Header(name) => section = name,
            Kind::Assignment => {
                live = false;
                if let Some((key, value)) = part.split_once('=') {
                    live = true;
                    found.push(Assignment {
                        section,
                        key: key.trim().to_owned(),
                        value: value.trim().to_owned(),
                        line: line.number,
                    });
                }
            }
            Kind::Continuation if live => {
                if let Some(last) = found.last_mut() {
                    last.value.push(' ');
                    last.value.push_str(part.trim());
                }
            }
            Kind::Continuation | Kind::Blank => {}
        }
    }
    for assignment in &mut found {
        assignment.value = assignment.value.trim().to_owned();
    }
    Ok(found)
}

/// Whether the unit file has an `[Install]` section: only such a unit starts with its disk.
pub fn has_install(text: &str) -> bool {
    split(text)
        .lines
        .iter()
        .any(|line| line.kind == Kind::Header("Install"))
}

/// A bundle's unit file as it is placed on a guest.
///
/// - The first line is [`Placement::marker`].
/// - `BindsTo=` and `After=` the mount units (the bundle's, and the data's if there is any) stand right below the first `[Unit]` (made if there is none), so the unit
///   stops with a disk of it, and never runs without one.
/// - All `[Install]` sections are replaced by one at the end with `WantedBy=<device unit>`; a unit without any gets none.
/// - Everything else stays as it is, byte for byte and in order; only a byte order mark is dropped.
///
/// Syntax is not judged here: [`assignments`] does that when a bundle is inspected.
pub fn rewrite(text: &str, service: &ServiceId, mount_units: &[&str], device_unit: &str) -> String {
    let split = split(text);
    let bind: String = mount_units
        .iter()
        .map(|unit| format!("BindsTo={unit}\nAfter={unit}\n"))
        .collect();
    let has_unit = split.lines.iter().any(|line| line.kind == Kind::Header("Unit"));
    let (mut bound, mut in_install, mut installs) = (false, false, false);
    let mut out = format!("{}\n", Placement::marker(service));
    for line in &split.lines {
        if let Kind::Header(name) = line.kind {
            in_install = name == "Install";
            installs |= in_install;
            if !has_unit && !bound {
                // Before the first header, so that lines outside any section stay outside.
                out.push_str(&format!("[Unit]\n{bind}"));
                bound = true;
            }
        }
        if in_install {
            continue;
        }
        out.push_str(line.text);
        if line.kind == Kind::Header("Unit") && !bound {
            end_line(&mut out);
            out.push_str(&bind);
            bound = true;
        }
    }
    let adds = !bound || installs;
    if adds {
        end_line(&mut out);
        if split.open && !in_install {
            // An empty line ends the continuation that the text breaks off in.
            out.push('\n');
        }
    }
    if !bound {
        out.push_str(&format!("[Unit]\n{bind}"));
    }
    if installs {
        out.push_str(&format!("[Install]\nWantedBy={device_unit}\n"));
    }
    out
}

fn end_line(text: &mut String) {
    if !text.ends_with('\n') {
        text.push('\n');
    }
}

/// The name of a service's mount unit: `/opt/my-app` gives `opt-my\x2dapp.mount`.
pub fn mount_unit_name(service: &ServiceId) -> String {
    format!("{}.mount", escape_path(&format!("/opt/{service}")))
}

/// The text of the unit that mounts a service's bundle disk at `/opt/<service>`.
///
/// Nothing at boot wants it, and it stands before no boot target (`DefaultDependencies=no`): only the units of the
/// service pull it in, and those are wanted by the disk itself. So a missing disk neither fails nor delays a boot.
/// `BindsTo=` the device, because a plain mount unit only gets `Requires=`: when the disk is taken, it is unmounted
/// and what is bound to it stops.
pub fn mount_unit(service: &ServiceId, digest: &Digest, serial: &DiskSerial) -> String {
    let (marker, device) = (Placement::marker(service), serial.device_unit());
    let (what, short) = (serial.device_path(), digest.short());
    format!(
        "{marker}\n\
         [Unit]\n\
         Description=Bundle {short} of service {service}\n\
         DefaultDependencies=no\n\
         BindsTo={device}\n\
         After={device}\n\
         Conflicts=umount.target\n\
         Before=umount.target\n\
         \n\
         [Mount]\n\
         What={what}\n\
         Where=/opt/{service}\n\
         Type=squashfs\n\
         Options=ro,nosuid,nodev\n"
    )
}

/// The text of the unit that mounts a service's data volume. As [`mount_unit`]: nothing at boot wants it, and it goes
/// with its disk. After a crash the guest's kernel replays the file system's journal as it mounts it.
pub fn data_mount_unit(service: &ServiceId, data: &PlacedData) -> String {
    let marker = Placement::marker(service);
    let (device, what) = (data.serial.device_unit(), data.serial.device_path());
    let (place, filesystem) = (&data.mount_point, data.filesystem.as_str());
    format!(
        "{marker}\n\
         [Unit]\n\
         Description=Data of service {service}\n\
         DefaultDependencies=no\n\
         BindsTo={device}\n\
         After={device}\n\
         Conflicts=umount.target\n\
         Before=umount.target\n\
         \n\
         [Mount]\n\
         What={what}\n\
         Where={place}\n\
         Type={filesystem}\n\
         Options=nosuid,nodev\n"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARKER: &str = "# Placed by handoverd for service web; do not edit, use drop-ins.\n";
    const BIND: &str = "BindsTo=opt-web.mount\nAfter=opt-web.mount\n";

    fn placed(text: &str) -> String {
        rewrite(text, &"web".parse().unwrap(), &["opt-web.mount"], "dev-x.device")
    }

    #[test]
    fn unit_files_are_bound_to_the_mount_and_wanted_by_the_disk() {
        let install = "[Install]\nWantedBy=dev-x.device\n";
        let cases: [(&str, &str, String); 13] = [
            (
                "plain",
                "[Unit]\nDescription=x\n\n[Service]\nExecStart=/x\n\n[Install]\nWantedBy=multi-user.target\n",
                format!("[Unit]\n{BIND}Description=x\n\n[Service]\nExecStart=/x\n\n{install}"),
            ),
            (
                "no install section",
                "[Unit]\nDescription=x\n[Service]\nExecStart=/x",
                format!("[Unit]\n{BIND}Description=x\n[Service]\nExecStart=/x"),
            ),
            (
                "install first, unit last",
                "[Install]\nAlias=y.service\n[Service]\nExecStart=/x\n[Unit]",
                format!("[Service]\nExecStart=/x\n[Unit]\n{BIND}{install}"),
            ),
            (
                "no unit section",
                "# c\n[Service]\nExecStart=/x\n",
                format!("# c\n[Unit]\n{BIND}[Service]\nExecStart=/x\n"),
            ),
            (
                "no unit section but an install section first",
                "[Install]\nWantedBy=a\n[Service]\nExecStart=/x\n",
                format!("[Unit]\n{BIND}[Service]\nExecStart=/x\n{install}"),
            ),
            (
                "lines before any section stay outside",
                "Description=lost\n[Service]\nA=b\n",
                format!("Description=lost\n[Unit]\n{BIND}[Service]\nA=b\n"),
            ),
            ("empty", "", format!("[Unit]\n{BIND}")),
            (
                "repeated unit sections",
                "[Unit]\nA=1\n[Service]\nB=2\n[Unit]\nC=3\n",
                format!("[Unit]\n{BIND}A=1\n[Service]\nB=2\n[Unit]\nC=3\n"),
            ),
            (
                "several install sections, with comments and continuations in them",
                "[Install]\nWantedBy=a \\\n [Unit] \\\n# c\n b\n[Service]\nX=y\n[Install]\n# z\nAlso=q.socket",
                format!("[Unit]\n{BIND}[Service]\nX=y\n{install}"),
            ),
            (
                "a continuation that looks like a section",
                "[Unit]\n[Service]\nExecStart=/x \\\n[Install]\\\n; c \\\n  -v\nY=z\n",
                format!("[Unit]\n{BIND}[Service]\nExecStart=/x \\\n[Install]\\\n; c \\\n  -v\nY=z\n"),
            ),
            (
                "CRLF",
                "[Unit]\r\nA=1\\\r\n[Install]\r\n[Install]\r\nWantedBy=a\r\n",
                format!("[Unit]\r\n{BIND}A=1\\\r\n[Install]\r\n{install}"),
            ),
            (
                "a continuation that breaks off at the end",
                "[Install]\nWantedBy=a\n[Unit]\n[Service]\nExecStart=/x \\",
                format!("[Unit]\n{BIND}[Service]\nExecStart=/x \\\n\n{install}"),
            ),
            (
                "an even number of backslashes ends the line",
                "[Unit]\nA=b\\\\\n[Install]\nWantedBy=a\n",
                format!("[Unit]\n{BIND}A=b\\\\\n{install}"),
            ),
        ];
        for (name, text, expected) in cases {
            assert_eq!(placed(text), format!("{MARKER}{expected}"), "{name}");
        }
    }

    #[test]
    fn a_byte_order_mark_does_not_hide_the_first_section() {
        assert_eq!(
            placed("\u{feff}[Unit]\nA=b\n"),
            format!("{MARKER}[Unit]\n{BIND}A=b\n")
        );
    }

    #[test]
    fn broken_files_are_refused_with_their_line() {
        for (text, line) in [
            ("[Unit]\n[Service\n", 2),
            ("[Unit]\nA=b\rC=d\n", 2),
            ("A=\0\n", 1),
        ] {
            assert_eq!(assignments(text).unwrap_err().line, line, "{text:?}");
        }
    }

    #[test]
    fn assignments_are_told_with_section_line_and_joined_value() {
        let text = "[Service]\n# no\nExecStart = /x \\\n; skipped\n  -a \\\n  -b\nEnvironment=\nnonsense \\\n X=1\n[Install]\nAlso=a";
        let found: Vec<_> = assignments(text)
            .unwrap()
            .into_iter()
            .map(|a| {
                format!(
                    "{}:{}:{}={}",
                    a.line,
                    a.section,
                    a.key,
                    a.value.split_whitespace().collect::<Vec<_>>().join(" ")
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                "3:Service:ExecStart=/x -a -b",
                "7:Service:Environment=",
                "11:Install:Also=a"
            ]
        );
    }

    #[test]
    fn the_mount_unit_is_bound_to_its_disk_and_wanted_by_no_boot_target() {
        let service = "my-app.v2".parse().unwrap();
        let digest = "ab".repeat(32).parse().unwrap();
        let serial = DiskSerial::of(&service, &digest);
        let text = mount_unit(&service, &digest, &serial);
        assert_eq!(mount_unit_name(&service), "opt-my\\x2dapp.v2.mount");
        let found: Vec<_> = assignments(&text)
            .unwrap()
            .into_iter()
            .map(|a| format!("{}.{}={}", a.section, a.key, a.value))
            .collect();
        let device = serial.device_unit();
        assert_eq!(
            found,
            [
                "Unit.Description=Bundle abababababab of service my-app.v2",
                "Unit.DefaultDependencies=no",
                &format!("Unit.BindsTo={device}"),
                &format!("Unit.After={device}"),
                "Unit.Conflicts=umount.target",
                "Unit.Before=umount.target",
                &format!("Mount.What={}", serial.device_path()),
                "Mount.Where=/opt/my-app.v2",
                "Mount.Type=squashfs",
                "Mount.Options=ro,nosuid,nodev",
            ]
        );
        assert!(!has_install(&text));
    }

    /// Pieces that unit files are made of, the awkward ones included.
    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("[Unit]".to_owned()),
            Just("[Service]".to_owned()),
            Just(" [Install] ".to_owned()),
            Just("[X-Mine]".to_owned()),
            Just("# comment \\".to_owned()),
            Just("; comment".to_owned()),
            Just(String::new()),
            Just("\\".to_owned()),
            "[A-Z][a-z]{0,4}=[a-z \\[\\]#;]{0,8}\\\\{0,3}",
            "[a-z\\[\\] ]{1,6}\\\\{0,2}",
        ]
    }

    fn unit_text() -> impl Strategy<Value = String> {
        let line = (piece(), prop_oneof![4 => Just("\n"), 1 => Just("\r\n")]);
        (proptest::collection::vec(line, 0..24), any::<bool>()).prop_map(|(lines, end)| {
            let mut text: String = lines.into_iter().flat_map(|(a, b)| [a, b.to_owned()]).collect();
            if !end {
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
            }
            text
        })
    }

    fn outside_install(text: &str) -> Vec<(String, String, String)> {
        assignments(text)
            .unwrap()
            .into_iter()
            .filter(|a| a.section != "Install")
            .map(|a| (a.section.to_owned(), a.key, a.value))
            .collect()
    }

    proptest! {
        #[test]
        fn everything_outside_install_survives_the_rewriting(text in unit_text()) {
            let before = split(&text);
            prop_assume!(before.broken.is_none());
            let installs = before.lines.iter().any(|l| l.kind == Kind::Header("Install"));
            let out = placed(&text);

            // What systemd reads: the same assignments, and two more in [Unit].
            let mut after = outside_install(&out);
            let added = [("BindsTo", "opt-web.mount"), ("After", "opt-web.mount")];
            for (key, value) in added {
                let entry = ("Unit".to_owned(), key.to_owned(), value.to_owned());
                let at = after.iter().position(|a| *a == entry).unwrap();
                after.remove(at);
            }
            prop_assert_eq!(after, outside_install(&text));

            // What stands in [Install]: our one line, or no section at all.
            let install: Vec<_> = assignments(&out).unwrap().into_iter()
                .filter(|a| a.section == "Install").map(|a| (a.key, a.value)).collect();
            let wanted = installs.then(|| ("WantedBy".to_owned(), "dev-x.device".to_owned()));
            prop_assert_eq!(install, wanted.into_iter().collect::<Vec<_>>());

            // Byte for byte: every line outside [Install] is there, in order.
            let mut rest = out.as_str();
            let mut in_install = false;
            for line in &before.lines {
                if let Kind::Header(name) = line.kind { in_install = name == "Install"; }
                if in_install { continue; }
                let at = rest.find(line.text);
                prop_assert!(at.is_some(), "{:?} is lost", line.text);
                rest = &rest[at.unwrap() + line.text.len()..];
            }
        }
    }
}
