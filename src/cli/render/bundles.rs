//! Bundles: the registered ones as a table, and one image in full.

use serde::Serialize;

use super::Look;
use super::table::{Tone, Word, properties, table};
use super::text::{age, bytes, short_digest};
use crate::cli::rows::Bundle;
use crate::model::ids::Digest;
use crate::model::manifest::{CheckProbe, EnvironmentFile, Manifest};

/// What is in an image file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    /// Its sha256.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its manifest.
    pub manifest: Manifest,
    /// Names of the unit files in it.
    pub unit_files: Vec<String>,
    /// What its author should know; none of it keeps the bundle from being used.
    pub warnings: Vec<String>,
}

/// Registered bundles, one a row; `now` in milliseconds since 1970.
pub fn list(bundles: &[Bundle], now: u64, look: Look) -> String {
    if bundles.is_empty() {
        return "no bundles\n".to_owned();
    }
    let rows = bundles
        .iter()
        .map(|bundle| {
            vec![
                format!("{}@{}", bundle.service, bundle.version).into(),
                bytes(bundle.size).into(),
                age(now, bundle.registered).into(),
                bundle.digest.clone().into(),
            ]
        })
        .collect();
    table(&["BUNDLE", "SIZE", "REGISTERED", "DIGEST"], rows, look)
}

/// One image in full.
pub fn image(image: &Image, look: Look) -> String {
    let manifest = &image.manifest;
    let units: Vec<String> = manifest.units.iter().map(ToString::to_string).collect();
    let mut rows = vec![
        ("service", Word::from(manifest.service.to_string())),
        ("version", manifest.version.clone().into()),
        ("digest", image.digest.to_string().into()),
        ("size", bytes(image.size).into()),
        ("units", units.join(", ").into()),
        ("unit files", image.unit_files.join(", ").into()),
    ];
    match &manifest.check {
        Some(check) => {
            let text = format!(
                "{} ({} in a row, every {}, within {})",
                probe(&check.probe),
                check.successes,
                seconds(check.interval),
                seconds(check.timeout)
            );
            rows.push(("check", text.into()));
        }
        None => rows.push(("check", Word::new("none: active units are enough", Tone::Warn))),
    }
    if let Some(dns) = &manifest.dns {
        rows.push(("name", format!("{} (TTL {} s)", dns.name, dns.ttl).into()));
    }
    for set in &manifest.srv {
        let ports: Vec<String> = set.records.iter().map(|srv| srv.port.to_string()).collect();
        rows.push(("SRV", format!("{} port {}", set.label, ports.join(", ")).into()));
    }
    if let Some(user) = &manifest.user {
        rows.push(("user", user.clone().into()));
    }
    if !manifest.ports.is_empty() {
        let ports: Vec<String> = manifest.ports.iter().map(ToString::to_string).collect();
        rows.push(("ports", ports.join(", ").into()));
    }
    for (name, files) in [("config", &manifest.config), ("secret", &manifest.secrets)] {
        rows.extend(
            files
                .iter()
                .map(|file| (name, Word::from(environment_file(file)))),
        );
    }
    if let Some(data) = &manifest.data {
        let text = format!(
            "{}, {}, mounted at {}",
            bytes(data.size),
            data.filesystem.as_str(),
            data.mount_point
        );
        rows.push(("data", text.into()));
    }
    if !manifest.overlap {
        rows.push(("overlap", "no: it is stopped before its new copy starts".into()));
    }
    if !manifest.movable {
        rows.push(("movable", Word::new("no: it stays on its guest", Tone::Warn)));
    }
    rows.extend(
        image
            .warnings
            .iter()
            .map(|text| ("warning", Word::new(text, Tone::Warn))),
    );
    properties(rows, look)
}

fn probe(probe: &CheckProbe) -> String {
    match probe {
        CheckProbe::Command(words) => words.join(" "),
        CheckProbe::Tcp(address, port) => format!("tcp {address} port {port}"),
        CheckProbe::Http(url) => url.clone(),
    }
}

fn seconds(duration: std::time::Duration) -> String {
    super::text::duration(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn environment_file(file: &EnvironmentFile) -> String {
    format!(
        "{} -> {} ({:04o} {}:{})",
        file.name, file.path, file.mode, file.owner, file.group
    )
}

/// The line that a registration ends with.
pub fn registered(digest: &str, size: u64) -> String {
    format!(
        "bundle {digest} ({}) is registered; deploy it as {}",
        bytes(size),
        short_digest(digest)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn manifest() -> Manifest {
        use crate::model::manifest::Check;
        Manifest {
            data: Some(crate::model::volume::DataSpec {
                size: 1 << 30,
                filesystem: crate::model::volume::FileSystem::Ext4,
                mount_point: "/srv/web".into(),
            }),
            service: "web".parse().unwrap(),
            version: "1.2".into(),
            units: vec!["web.service".parse().unwrap()],
            check: Some(Check {
                probe: CheckProbe::Tcp("127.0.0.1".into(), 80),
                interval: Duration::from_millis(500),
                timeout: Duration::from_secs(30),
                successes: 2,
            }),
            dns: None,
            srv: Vec::new(),
            user: None,
            config: vec![],
            secrets: vec![EnvironmentFile {
                name: "key".into(),
                path: "/etc/web/key".into(),
                mode: 0o640,
                owner: "root".into(),
                group: "web".into(),
            }],
            ports: vec![80],
            needs: crate::model::needs::Needs::default(),
            overlap: true,
            movable: false,
        }
    }

    #[test]
    fn an_image_is_told_in_full() {
        let shown = image(
            &Image {
                digest: Digest::from_sha256(&[0xab; 32]),
                size: 8192,
                manifest: manifest(),
                unit_files: vec!["web.service".into()],
                warnings: vec!["web.service line 3: ProtectHome= hides /home".into()],
            },
            Look::default(),
        );
        for line in [
            "size:        8.0 KiB\n",
            "check:       tcp 127.0.0.1 port 80 (2 in a row, every 0.5 s, within 30.0 s)\n",
            "secret:      key -> /etc/web/key (0640 root:web)\n",
            "data:        1.0 GiB, ext4, mounted at /srv/web\n",
            "movable:     no: it stays on its guest\n",
            "warning:     web.service line 3: ProtectHome= hides /home\n",
        ] {
            assert!(shown.contains(line), "{line} in {shown}");
        }
        assert!(!shown.contains("overlap:"), "{shown}");
    }

    #[test]
    fn bundles_are_listed_by_the_name_that_deploy_takes() {
        let bundle = Bundle {
            digest: "ab".repeat(32),
            service: "web".into(),
            version: "1.2".into(),
            size: 4096,
            registered: 1000,
        };
        let text = list(&[bundle], 61_000, Look::default());
        assert!(text.contains("web@1.2  4.0 KiB  1 min ago   abab"), "{text}");
    }
}
