//! Directories that become images, and those that do not.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use handoverd::bundle::{Contents, build_at, digest_of, inspect};

use super::{MANIFEST, UNIT, built, chmod, look, noise, sample, told, write};

#[test]
fn a_built_image_tells_what_was_packed() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let (bundle, bytes) = built(dir.path()).unwrap();
    assert_eq!(bundle.manifest.service.as_str(), "web");
    assert_eq!(bundle.units.len(), 1);
    assert_eq!(bundle.units[0].text, UNIT);
    assert_eq!(
        bundle.contents,
        Contents {
            files: 6,
            folders: 4,
            symlinks: 2,
            bytes: u64::try_from(MANIFEST.len() + UNIT.len() + 10 + 300_000 + 400_000).unwrap(),
        }
    );
    assert_eq!(bundle.warnings, []);
    assert_eq!(
        digest_of(&mut bytes.as_slice()).unwrap(),
        (bundle.digest.clone(), bundle.size)
    );
    assert_eq!(look(&bytes).unwrap(), bundle);
    assert_eq!(bytes.len() % 4096, 0);
}

#[test]
fn images_are_padded_to_4096_bytes_whatever_they_hold() {
    for size in [0, 1, 4000, 4096, 9999, 131_072, 131_073] {
        let dir = tempfile::tempdir().unwrap();
        sample(dir.path());
        write(dir.path(), "payload", noise(2, size));
        assert_eq!(built(dir.path()).unwrap().1.len() % 4096, 0, "with {size} bytes");
    }
}

#[test]
fn the_same_tree_gives_the_same_image_whatever_its_times_modes_and_order() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample(one.path());
    // The same entries, made in another order, with other times and modes that are not kept.
    write(two.path(), "share/zeros", vec![0; 400_000]);
    symlink("/opt/web/bin/web", two.path().join("absolute")).unwrap();
    write(two.path(), "share/empty", "");
    sample_rest(two.path());
    chmod(&two.path().join("handover.toml"), 0o600);
    chmod(&two.path().join("bin/web"), 0o4711);
    chmod(&two.path().join("share"), 0o2700);
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    for path in ["share/large", "units/web.service", "bin"] {
        File::open(two.path().join(path))
            .unwrap()
            .set_modified(old)
            .unwrap();
    }
    let (first, bytes) = built(one.path()).unwrap();
    assert_eq!(
        built(one.path()).unwrap().0.digest,
        first.digest,
        "twice the same directory"
    );
    assert_eq!(built(two.path()).unwrap().1, bytes, "the other directory");

    write(two.path(), "share/empty", "x");
    assert_ne!(
        built(two.path()).unwrap().0.digest,
        first.digest,
        "another content"
    );
}

fn sample_rest(dir: &Path) {
    fs::create_dir_all(dir.join("share/nothing")).unwrap();
    write(dir, "share/large", noise(1, 300_000));
    chmod(&write(dir, "bin/web", "#!/bin/sh\n"), 0o755);
    symlink("../share/large", dir.join("bin/link")).unwrap();
    write(dir, "units/web.service", UNIT);
    write(dir, "handover.toml", MANIFEST);
}

#[test]
fn the_time_of_a_build_is_in_the_image() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let out = dir.path().with_extension("img");
    let late = build_at(dir.path(), &out, 1_700_000_000).unwrap().bundle.digest;
    assert_ne!(late, build_at(dir.path(), &out, 0).unwrap().bundle.digest);
    fs::remove_file(out).unwrap();
}

#[test]
fn an_image_is_replaced_whole_or_not_at_all() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample(dir.path());
    let path = out.path().join("x.img");
    fs::write(&path, "old").unwrap();
    let mut held = File::open(&path).unwrap();
    build_at(dir.path(), &path, 0).unwrap();
    let mut text = String::new();
    held.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old", "who has the old image open keeps it");
    let good = fs::read(&path).unwrap();

    fs::remove_file(dir.path().join("units/web.service")).unwrap();
    assert!(build_at(dir.path(), &path, 0).is_err());
    assert_eq!(
        fs::read(&path).unwrap(),
        good,
        "a failed build leaves the image that was there"
    );
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
}

#[test]
fn directories_that_are_no_bundle_are_refused_by_name() {
    type Change = Box<dyn Fn(&Path)>;
    let cases: Vec<(&str, Change, &str)> = vec![
        (
            "no manifest",
            Box::new(|d| fs::remove_file(d.join("handover.toml")).unwrap()),
            "has no handover.toml at its top",
        ),
        (
            "an unknown key",
            Box::new(|d| {
                write(d, "handover.toml", format!("{MANIFEST}color = 1\n"));
            }),
            "handover.toml line 4: unknown field `color`",
        ),
        (
            "a large manifest",
            Box::new(|d| {
                write(d, "handover.toml", "#".repeat(65_537));
            }),
            "handover.toml has more than 65536 bytes",
        ),
        (
            "a manifest that is a symlink",
            Box::new(|d| {
                fs::rename(d.join("handover.toml"), d.join("x")).unwrap();
                symlink("x", d.join("handover.toml")).unwrap();
            }),
            "handover.toml: it must be a regular file",
        ),
        (
            "no units",
            Box::new(|d| fs::remove_dir_all(d.join("units")).unwrap()),
            "there is no folder units/ with unit files; put web.service there",
        ),
        (
            "a unit without a file",
            Box::new(|d| fs::rename(d.join("units/web.service"), d.join("units/other.service")).unwrap()),
            "handover.toml names the unit web.service, and units/ has no file web.service",
        ),
        (
            "a unit of another type",
            Box::new(|d| {
                write(d, "units/data.mount", "");
            }),
            "units/ holds only unit files: unit name \"data.mount\" is not valid: it must end in",
        ),
        (
            "a drop-in",
            Box::new(|d| {
                write(d, "units/web.service.d/x.conf", "");
            }),
            "unit name \"web.service.d\" is not valid",
        ),
        (
            "a unit that is a folder",
            Box::new(|d| {
                write(d, "units/a.service/x", "");
            }),
            "units/a.service: it must be a regular file",
        ),
        (
            "a unit that is a symlink",
            Box::new(|d| symlink("web.service", d.join("units/a.service")).unwrap()),
            "units/a.service: it must be a regular file",
        ),
        (
            "a unit that is no text",
            Box::new(|d| {
                write(d, "units/a.service", [0xff, 0xfe]);
            }),
            "units/a.service: it is not UTF-8 text",
        ),
        (
            "a broken unit",
            Box::new(|d| {
                write(d, "units/a.service", "[Unit]\n[Service\n");
            }),
            "units/a.service is not a unit file: line 2: \"[Service\" is not a section header",
        ),
        (
            "a large unit",
            Box::new(|d| {
                write(d, "units/a.service", "#".repeat(65_537));
            }),
            "units/a.service has more than 65536 bytes",
        ),
        (
            "large units",
            Box::new(|d| {
                for n in 0..4 {
                    write(d, &format!("units/{n}.service"), "#".repeat(60_000));
                }
            }),
            "units/ in all has more than 204800 bytes",
        ),
        (
            "many units",
            Box::new(|d| {
                for n in 0..64 {
                    write(d, &format!("units/{n}.service"), "");
                }
            }),
            "units/: it holds more than 64 files",
        ),
        (
            "nothing that starts",
            Box::new(|d| {
                write(d, "units/web.service", "[Service]\nExecStart=/x\n");
            }),
            "no unit of service web has an [Install] section",
        ),
        (
            "a symlink out",
            Box::new(|d| symlink("../../etc/passwd", d.join("bin/out")).unwrap()),
            "bin/out: this symlink to \"../../etc/passwd\" leaves the bundle",
        ),
        (
            "an absolute symlink",
            Box::new(|d| symlink("/etc/passwd", d.join("out")).unwrap()),
            "out: this symlink to \"/etc/passwd\" leaves the bundle",
        ),
        (
            "a pipe",
            Box::new(|d| nix::unistd::mkfifo(&d.join("bin/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap()),
            "bin/pipe: it is a named pipe; a bundle holds only files, folders and symlinks",
        ),
        (
            "a socket",
            Box::new(|d| drop(std::os::unix::net::UnixListener::bind(d.join("s")).unwrap())),
            "s: it is a socket",
        ),
        (
            "a deep tree",
            Box::new(|d| {
                write(d, &format!("{}x", "d/".repeat(66)), "");
            }),
            "folders may lie at most 64 deep",
        ),
    ];
    for (name, change, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        sample(dir.path());
        change(dir.path());
        let message = told(&built(dir.path()).unwrap_err());
        assert!(
            message.contains(expected),
            "{name}\n  said: {message}\n  not:  {expected}"
        );
    }
}

#[test]
fn an_image_is_not_written_into_its_own_directory() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let error = build_at(dir.path(), &dir.path().join("share/x.img"), 0).unwrap_err();
    assert!(told(&error).contains("lies inside"), "{}", told(&error));
    assert!(!dir.path().join("share/x.img").exists());
}

#[test]
fn large_folders_and_many_fragments_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    for number in 0..3000_u64 {
        let length = usize::try_from(number % 700).unwrap();
        write(
            dir.path(),
            &format!("many/a-rather-long-file-name-{number:05}"),
            noise(number, length),
        );
    }
    // The unit lies in a fragment behind all of "many", and its name in a large folder's neighbour.
    let text = format!("{UNIT}# {}\n", "x".repeat(50_000));
    write(dir.path(), "units/web.service", &text);
    let (bundle, _) = built(dir.path()).unwrap();
    assert_eq!(bundle.units[0].text, text);
    assert_eq!(bundle.contents.files, 3006);
}

#[test]
fn unsquashfs_reads_the_same_tree() {
    if Command::new("unsquashfs").arg("-version").output().is_err() {
        eprintln!("unsquashfs is not installed: nothing compared");
        return;
    }
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample(dir.path());
    let (image, tree) = (out.path().join("x.img"), out.path().join("tree"));
    build_at(dir.path(), &image, 0).unwrap();
    let done = Command::new("unsquashfs")
        .args(["-no-progress", "-d"])
        .arg(&tree)
        .arg(&image)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let done = Command::new("diff")
        .args(["-r", "--no-dereference"])
        .arg(dir.path())
        .arg(&tree)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    let mode = |path: &str| fs::metadata(tree.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (mode("bin/web"), mode("handover.toml"), mode("share")),
        (0o755, 0o644, 0o755)
    );
}

#[test]
fn an_image_of_mksquashfs_is_a_bundle_too() {
    if Command::new("mksquashfs").arg("-version").output().is_err() {
        eprintln!("mksquashfs is not installed: nothing compared");
        return;
    }
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample(dir.path());
    let (expected, _) = built(dir.path()).unwrap();
    for comp in ["gzip", "zstd"] {
        let image = out.path().join(comp);
        let done = Command::new("mksquashfs")
            .arg(dir.path())
            .arg(&image)
            .args(["-no-progress", "-comp", comp])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let bundle = inspect(&mut File::open(&image).unwrap()).unwrap();
        assert_eq!(
            (bundle.manifest, bundle.units, bundle.contents),
            (
                expected.manifest.clone(),
                expected.units.clone(),
                expected.contents
            )
        );
    }
}

#[test]
fn the_example_is_a_bundle_without_warnings() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/web");
    let (bundle, _) = built(&dir).unwrap();
    assert_eq!(bundle.warnings, []);
    assert_eq!(bundle.manifest.ports, [8080]);
}
