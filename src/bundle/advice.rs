//! What in a bundle's unit files will not do what their author may expect once the service moves.

use super::{BundleError, Warning, values};
use crate::model::manifest::{Manifest, UnitFile, file_of};
use crate::model::unit_file::{Assignment, assignments, has_install};

/// Folders of programs that every guest may be expected to have.
const SYSTEM: [&str; 9] = [
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/libexec",
];

/// Targets that start at boot by default: being wanted by one of them is what the disk stands in for.
const BOOT_TARGETS: [&str; 6] = [
    "multi-user.target",
    "default.target",
    "graphical.target",
    "sockets.target",
    "timers.target",
    "paths.target",
];

/// More warnings than anybody reads.
const MAX_WARNINGS: usize = 100;

/// What stands at a path of the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A regular file.
    File {
        /// Somebody may execute it.
        executable: bool,
    },
    /// A folder, or something behind a symlink.
    Something,
}

/// The warnings of all unit files, in their order. `look` tells what stands at a path relative to the bundle's root.
pub(super) fn warnings(
    manifest: &Manifest,
    units: &[UnitFile],
    look: &mut dyn FnMut(&str) -> Result<Found, BundleError>,
) -> Result<Vec<Warning>, BundleError> {
    let mut found = Vec::new();
    for file in units {
        let list = assignments(&file.text).map_err(|source| BundleError::UnitSyntax {
            unit: file.name.clone(),
            source,
        })?;
        let mut warn = |line, message| {
            found.push(Warning {
                unit: file.name.clone(),
                line,
                message,
            });
        };
        let started = manifest
            .units
            .iter()
            .find(|unit| file_of(units, unit).is_some_and(|f| f.name == file.name));
        if let Some(unit) = started.filter(|_| !has_install(&file.text)) {
            warn(
                None,
                format!(
                    "it has no [Install] section: {unit} starts with the disk only if another unit pulls it in"
                ),
            );
        }
        for assignment in &list {
            let line = Some(assignment.line);
            if assignment.value.is_empty() {
                continue;
            }
            match (assignment.section, assignment.key.as_str()) {
                ("Install", _) => install(assignment)
                    .into_iter()
                    .for_each(|message| warn(line, message)),
                ("Service", "StateDirectory" | "CacheDirectory" | "LogsDirectory") => {
                    state(assignment, manifest)
                        .into_iter()
                        .for_each(|message| warn(line, message));
                }
                ("Service", "User") => account(assignment, manifest, &list)
                    .into_iter()
                    .for_each(|message| warn(line, message)),
                ("Service", "EnvironmentFile") => given(assignment, manifest)
                    .into_iter()
                    .for_each(|message| warn(line, message)),
                ("Service", key) if key.starts_with("Exec") => {
                    for message in program(assignment, manifest, look)? {
                        warn(line, message);
                    }
                }
                _ => {}
            }
        }
    }
    found.truncate(MAX_WARNINGS);
    Ok(found)
}

fn install(assignment: &Assignment<'_>) -> Vec<String> {
    let (key, value) = (&assignment.key, &assignment.value);
    match key.as_str() {
        "WantedBy" => value
            .split_whitespace()
            .filter(|target| !BOOT_TARGETS.contains(target))
            .map(|target| format!("WantedBy={target} is replaced: the unit will be wanted by the bundle's disk, not by {target}"))
            .collect(),
        "RequiredBy" | "UpheldBy" => vec![format!("{key}={value} is dropped: the unit will only be wanted by the bundle's disk")],
        "Alias" | "Also" | "DefaultInstance" => vec![format!("{key}={value} is dropped: units are linked by their own names only, those of `units` in handover.toml")],
        _ => Vec::new(),
    }
}

/// Folders that systemd makes for a service, unless they lie on its data volume. One line may name several.
fn state(assignment: &Assignment<'_>, manifest: &Manifest) -> Vec<String> {
    let folder = match assignment.key.as_str() {
        "StateDirectory" => "/var/lib",
        "CacheDirectory" => "/var/cache",
        _ => "/var/log",
    };
    let why = match &manifest.data {
        Some(data) => format!(
            "it is not on the data volume, which is mounted at {}",
            data.mount_point
        ),
        None => "this service has no data volume".to_owned(),
    };
    assignment
        .value
        .split_whitespace()
        .map(|name| format!("{folder}/{}", name.split(':').next().unwrap_or(name)))
        .filter(|path| {
            let data = manifest.data.as_ref();
            !data.is_some_and(|data| values::is_in(path, &data.mount_point))
        })
        .map(|path| format!("what it writes to {path} stays behind when it moves: {why}"))
        .collect()
}

/// A fixed user whose uid is not compared between guests.
fn account(assignment: &Assignment<'_>, manifest: &Manifest, list: &[Assignment<'_>]) -> Option<String> {
    let user = &assignment.value;
    let dynamic = list
        .iter()
        .any(|a| a.key == "DynamicUser" && ["yes", "true", "on", "1"].contains(&a.value.as_str()));
    let known = manifest.user.as_ref() == Some(user) || ["root", "nobody", "0"].contains(&user.as_str());
    (!dynamic && !known).then(|| {
        format!("it runs as {user}, and handover.toml has no user = {user:?}: whether a target has this user, with the same uid, will not be looked at")
    })
}

/// An environment file that nobody places.
fn given(assignment: &Assignment<'_>, manifest: &Manifest) -> Option<String> {
    let path = &assignment.value;
    let placed = manifest
        .config
        .iter()
        .chain(&manifest.secrets)
        .any(|file| file.path == *path);
    let inside = values::is_in(path, &format!("/opt/{}", manifest.service));
    let optional = path.starts_with('-');
    (!placed && !inside && !optional && !path.contains('%'))
        .then(|| format!("{path} is neither in the bundle nor a [[config]] or [[secrets]] file of handover.toml: every guest must have it"))
}

/// A program that is not where the unit looks for it.
fn program(
    assignment: &Assignment<'_>,
    manifest: &Manifest,
    look: &mut dyn FnMut(&str) -> Result<Found, BundleError>,
) -> Result<Vec<String>, BundleError> {
    let mut found = Vec::new();
    let mount_point = format!("/opt/{}", manifest.service);
    let value = assignment
        .value
        .trim_start_matches(['@', '-', ':', '+', '!', '|']);
    for (index, word) in value.split_whitespace().enumerate() {
        let path = word.trim_matches(['"', '\'']);
        if !path.starts_with('/') || path.contains(['%', '$', '\\']) {
            continue;
        }
        let key = &assignment.key;
        if let Some(inner) = path
            .strip_prefix(&mount_point)
            .filter(|rest| rest.starts_with('/'))
        {
            match look(inner)? {
                Found::Nothing => found.push(format!(
                    "{key} names {path}, and the bundle has no {}",
                    inner.trim_start_matches('/')
                )),
                Found::File { executable: false } if index == 0 => {
                    found.push(format!(
                        "{key} runs {path}, which is not executable; chmod +x it before the build"
                    ));
                }
                Found::File { .. } | Found::Something => {}
            }
        } else if index == 0 && !SYSTEM.iter().any(|folder| values::is_in(path, folder)) {
            found.push(format!(
                "{key} runs {path}, which is not in the bundle: every guest must have it"
            ));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::manifest_toml;

    fn told(text: &str) -> Vec<String> {
        told_with("", text)
    }

    fn told_with(table: &str, text: &str) -> Vec<String> {
        let manifest = manifest_toml::parse(&format!(
            "service = \"web\"\nversion = \"1\"\nunits = [\"web.service\"]\nuser = \"www\"\n{table}[[config]]\nname = \"env\"\npath = \"/etc/web/env\"\n",
        ))
        .unwrap();
        let unit = UnitFile {
            name: "web.service".parse().unwrap(),
            text: text.to_owned(),
        };
        let mut look = |path: &str| {
            Ok(match path {
                "/bin/web" => Found::File { executable: true },
                "/data" => Found::File { executable: false },
                "/lib" => Found::Something,
                _ => Found::Nothing,
            })
        };
        warnings(&manifest, &[unit], &mut look)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_unit_that_moves_well_gives_no_warning() {
        let text = "[Service]\nExecStart=/opt/web/bin/web -f /etc/x\nExecStartPre=-+/usr/bin/perl /opt/web/data /opt/web/lib\nExecStop=true\n\
                    User=www\nEnvironmentFile=/etc/web/env\nEnvironmentFile=-/etc/default/web\nStateDirectory=\n[Install]\nWantedBy=multi-user.target\n";
        assert_eq!(told(text), Vec::<String>::new());
    }

    #[test]
    fn what_lies_on_the_data_volume_does_not_stay_behind() {
        let data = "[data]\nsize = \"16MiB\"\nmount = \"/var/lib/web\"\n";
        let unit = "[Service]\nStateDirectory=web web/queue:q webby\nCacheDirectory=web\n[Install]\nWantedBy=multi-user.target\n";
        assert_eq!(
            told_with(data, unit),
            [
                "web.service line 2: what it writes to /var/lib/webby stays behind when it moves: it is not on the data \
                 volume, which is mounted at /var/lib/web",
                "web.service line 3: what it writes to /var/cache/web stays behind when it moves: it is not on the data \
                 volume, which is mounted at /var/lib/web",
            ]
        );
    }

    #[test]
    fn what_stays_behind_or_is_rewritten_is_told_with_its_line() {
        let install = "[Install]\nWantedBy=multi-user.target\n";
        for (text, expected) in [
            (
                "[Service]\nStateDirectory=web\n",
                "web.service line 2: what it writes to /var/lib/web stays behind when it moves",
            ),
            (
                "[Service]\nDynamicUser=yes\nCacheDirectory=web\n",
                "web.service line 3: what it writes to /var/cache/web",
            ),
            (
                "[Service]\nLogsDirectory=web\n",
                "web.service line 2: what it writes to /var/log/web",
            ),
            (
                "[Service]\nUser=other\n",
                "web.service line 2: it runs as other, and handover.toml has no user = \"other\"",
            ),
            (
                "[Service]\nEnvironmentFile=/etc/else\n",
                "line 2: /etc/else is neither in the bundle nor",
            ),
            (
                "[Service]\nExecStart=/usr/local/bin/x\n",
                "line 2: ExecStart runs /usr/local/bin/x, which is not in the bundle",
            ),
            (
                "[Service]\nExecStart=/opt/website/x\n",
                "line 2: ExecStart runs /opt/website/x, which is not in the bundle",
            ),
            (
                "[Service]\nExecStart=-\"/opt/web/none\" x\n",
                "line 2: ExecStart names /opt/web/none, and the bundle has no none",
            ),
            (
                "[Service]\nExecStart=/opt/web/data\n",
                "line 2: ExecStart runs /opt/web/data, which is not executable",
            ),
            (
                "[Service]\nExecStart=/usr/bin/perl \\\n  /opt/web/gone\n",
                "line 2: ExecStart names /opt/web/gone",
            ),
            (
                "[Install]\nWantedBy=x.target multi-user.target\n",
                "line 2: WantedBy=x.target is replaced",
            ),
            (
                "[Install]\nRequiredBy=x.target\n",
                "line 2: RequiredBy=x.target is dropped",
            ),
            (
                "[Install]\nAlias=y.service\n",
                "line 2: Alias=y.service is dropped",
            ),
            (
                "[Install]\nAlso=web.socket\n",
                "line 2: Also=web.socket is dropped",
            ),
        ] {
            let all = told(&format!("{text}{install}"));
            assert!(
                all.len() == 1 && all[0].contains(expected),
                "{text:?} told {all:?}"
            );
        }
        assert_eq!(told("[Service]\n").len(), 1);
    }
}
