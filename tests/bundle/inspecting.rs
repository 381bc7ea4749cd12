//! Images that nobody vouches for.

use std::os::unix::fs::symlink;

use handoverd::bundle::BundleError;

use super::raw_image::{self, Raw, file, folder, image};
use super::{MANIFEST, UNIT, built, look, noise, sample, told, write};

#[test]
fn garbage_and_truncated_images_are_told_from_each_other() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let (_, good) = built(dir.path()).unwrap();
    assert!(matches!(look(b""), Err(BundleError::NotSquashfs)));
    assert!(matches!(look(&noise(3, 8192)), Err(BundleError::NotSquashfs)));
    assert!(matches!(
        look(&good[..good.len() - 1]),
        Err(BundleError::Padding { .. }) | Err(BundleError::Truncated { .. })
    ));
    let longer = [good.as_slice(), b"x"].concat();
    assert!(matches!(look(&longer), Err(BundleError::Padding { .. })));
    for length in (4..good.len() - 4096).step_by(1021).chain(4..200) {
        match look(&good[..length]) {
            Err(BundleError::Truncated { there, .. }) => assert_eq!(there, u64::try_from(length).unwrap()),
            other => panic!("cut to {length} bytes: {other:?}"),
        }
    }
    for (at, value, expected) in [
        (28, 3, "squashfs 3.0; 4.0 is needed"),
        (20, 4, "compression is xz; use gzip or zstd"),
        (20, 99, "compression is number 99"),
        (22, 3, "block size 131072 is not a power of two"),
        (40 + 7, 0xff, "the image is truncated"),
        (64 + 7, 0xff, "its tables do not lie inside it"),
    ] {
        let mut bytes = good.clone();
        bytes[at] = value;
        let message = told(&look(&bytes).unwrap_err());
        assert!(message.contains(expected), "byte {at}: {message}");
    }
}

/// Flips bytes and inspects: an error or a bundle may come out, but no panic (debug builds check all arithmetic).
fn survive_flips(good: &[u8], rounds: u64, from: usize) {
    for round in 0..rounds {
        let mut bytes = good.to_vec();
        for chunk in noise(round + 7, 24)
            .chunks(8)
            .take(1 + usize::try_from(round % 3).unwrap())
        {
            let word = u64::from_le_bytes(chunk.try_into().unwrap());
            let span = u64::try_from(bytes.len() - from).unwrap();
            let at = from + usize::try_from((word >> 8) % span).unwrap();
            bytes[at] = chunk[0];
        }
        if let Err(error) = look(&bytes) {
            assert!(!told(&error).is_empty());
        }
    }
}

#[test]
fn flipped_bytes_in_a_built_image_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "handover.toml", MANIFEST);
    write(dir.path(), "units/web.service", UNIT);
    symlink("handover.toml", dir.path().join("link")).unwrap();
    let (_, good) = built(dir.path()).unwrap();
    survive_flips(&good, 3000, 0);
}

fn raw_bundle(extra: Vec<(&str, Raw)>) -> Vec<u8> {
    let mut entries = vec![
        ("handover.toml", file(MANIFEST)),
        ("units", folder(vec![("web.service", file(UNIT))])),
    ];
    entries.extend(extra);
    image(folder(entries))
}

#[test]
fn flipped_bytes_in_tables_that_are_not_compressed_never_panic() {
    let good = raw_bundle(vec![
        ("link", Raw::Link("handover.toml".to_owned())),
        ("d", folder(vec![("e", folder(vec![]))])),
    ]);
    look(&good).unwrap();
    let tables = raw_image::tables_of(&good);
    let used = &good[..];
    survive_flips(used, 3000, 0);
    survive_flips(used, 10_000, tables);
}

#[test]
fn images_made_to_harm_are_refused() {
    let deep = (0..70).fold(folder(vec![]), |inner, _| folder(vec![("d", inner)]));
    for (name, bytes, expected) in [
        (
            "a tree that contains itself",
            raw_bundle(vec![("self", Raw::Root)]),
            "folders may lie at most 64 deep",
        ),
        (
            "two of them",
            raw_bundle(vec![("a", Raw::Root), ("b", Raw::Root)]),
            "more than 200000 files, folders and symlinks",
        ),
        (
            "a deep tree",
            raw_bundle(vec![("d", deep)]),
            "folders may lie at most 64 deep",
        ),
        (
            "a device",
            raw_bundle(vec![("null", Raw::Device)]),
            "null: it is a character device",
        ),
        (
            "a symlink out",
            raw_bundle(vec![("x", Raw::Link("../../../etc".to_owned()))]),
            "x: this symlink to \"../../../etc\" leaves the bundle",
        ),
        (
            "a name that climbs",
            raw_bundle(vec![("../x", file(""))]),
            "an entry is named \"../x\"",
        ),
        (
            "the parent as an entry",
            raw_bundle(vec![("..", Raw::Root)]),
            "an entry is named \"..\"",
        ),
        (
            "two manifests",
            raw_bundle(vec![("handover.toml", file("x"))]),
            "two entries named \"handover.toml\"",
        ),
        (
            "a file that claims 3 GiB",
            image(folder(vec![("handover.toml", Raw::Claims(3 << 30))])),
            "handover.toml has more than 65536 bytes",
        ),
        (
            "a manifest without content",
            image(folder(vec![("handover.toml", Raw::Claims(60_000))])),
            "the image is damaged",
        ),
        (
            "no manifest",
            image(folder(vec![])),
            "the image has no handover.toml",
        ),
        (
            "a manifest that is a folder",
            image(folder(vec![("handover.toml", folder(vec![]))])),
            "handover.toml: it must be a regular file",
        ),
        (
            "a service id that leaves /opt",
            image(folder(vec![(
                "handover.toml",
                file(&MANIFEST.replace("\"web\"", "\"../etc\"")),
            )])),
            "service: \"../etc\" is not valid",
        ),
        (
            "a unit with a slash",
            image(folder(vec![(
                "handover.toml",
                file(&MANIFEST.replace("web.service", "../a.service")),
            )])),
            "units: \"../a.service\" is not valid: a slash may not stand in it",
        ),
    ] {
        let started = std::time::Instant::now();
        let message = told(&look(&bytes).unwrap_err());
        assert!(
            message.contains(expected),
            "{name}\n  said: {message}\n  not:  {expected}"
        );
        assert!(
            started.elapsed().as_secs() < 20,
            "{name} took {:?}",
            started.elapsed()
        );
    }
}
