//! A guest without a machine: a scratch root, a shell, a stand-in for systemd.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use handoverd::adapters::guest_agent::answer::{Answer, parse_step};
use handoverd::adapters::guest_agent::script::{self, Root};
use handoverd::model::disk::DiskSerial;
use handoverd::model::guest::CopyState;
use handoverd::model::ids::{Attempt, Digest, ServiceId};
use handoverd::model::placement::{PlacedFile, Placement, WantsLink};
use handoverd::model::unit::{UnitName, escape_path};
use handoverd::model::volume::{DataSpec, FileSystem, PlacedData};
use handoverd::ports::GuestStep;
use tempfile::TempDir;

pub const DEADLINE: Duration = Duration::from_secs(20);
const DISK: &[u8] = b"squashfs";

const SYSTEMCTL: &str = include_str!("systemctl");
/// Keeps what was there when it was asked to keep it.
const SYNC: &str = "#!/bin/sh\nshift 2\nfind \"$@\" >\"$FAKE_STATE/synced\"\n";

/// A guest without a machine: a scratch root, a shell, a stand-in for systemd.
pub struct Fake {
    pub dir: TempDir,
    shell: Vec<String>,
}

impl Fake {
    pub fn new(shell: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let fake = Self {
            dir,
            shell: shell.iter().map(|word| (*word).to_owned()).collect(),
        };
        for folder in [
            "bin",
            "state",
            "root/etc/systemd/system",
            "root/usr/lib/systemd/system",
            "root/opt",
            "root/proc/net",
            "root/proc/self",
            "root/run",
        ] {
            fs::create_dir_all(fake.dir.path().join(folder)).unwrap();
        }
        for (name, text) in [("systemctl", SYSTEMCTL), ("sync", SYNC)] {
            let program = fake.dir.path().join("bin").join(name);
            fs::write(&program, text).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(fake.at("/proc/self/mountinfo"), "").unwrap();
        fs::write(fake.at("/etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
        fs::write(fake.at("/proc/filesystems"), "nodev\tproc\n\text4\n\tsquashfs\n").unwrap();
        fake
    }

    /// A guest's path in the scratch root.
    pub fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(format!("root{path}"))
    }

    pub fn state(&self, name: &str) -> PathBuf {
        self.dir.path().join("state").join(name)
    }

    pub fn root(&self) -> Root {
        Root {
            prefix: self.at("").to_str().unwrap().trim_end_matches('/').to_owned(),
            path: format!("{}/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.dir.path().display()),
        }
    }

    pub fn run(&self, script: &str) -> String {
        let mut child = Command::new(&self.shell[0])
            .args(&self.shell[1..])
            .arg("-s")
            .env("FAKE_STATE", self.dir.path().join("state"))
            .env("FAKE_ROOT", self.at("").to_str().unwrap().trim_end_matches('/'))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let (out, err) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        assert!(output.status.success(), "{:?}\n{out}\n{err}", output.status);
        assert!(!err.contains("not found") && !err.contains("yntax"), "{err}");
        out
    }

    /// Fails unless these paths were there when the guest was last told to have its disk take what was written.
    #[track_caller]
    pub fn kept_by_the_disk<'a>(&self, paths: impl Iterator<Item = &'a String>) {
        let kept = fs::read_to_string(self.state("synced")).unwrap();
        for path in paths {
            let path = self.at(path);
            assert!(
                kept.lines().any(|line| Path::new(line) == path),
                "{path:?} is not in {kept}"
            );
        }
    }

    pub fn attach(&self, placement: &Placement) {
        let link = self.at(&placement.serial.device_path());
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let disk = self.at("/dev/sdb");
        fs::write(&disk, DISK).unwrap();
        symlink(&disk, &link).unwrap();
        fs::write(self.state("what"), disk.to_str().unwrap()).unwrap();
        fs::write(self.state("mount"), &placement.mount_unit).unwrap();
        fs::write(self.state("where"), &placement.mount_point).unwrap();
    }

    /// A program in the guest's PATH.
    pub fn program(&self, name: &str, text: &str) {
        let path = self.dir.path().join("bin").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The data volume's disk, with what blkid finds on it, and a mkfs that leaves ext4 on it.
    pub fn attach_data(&self, placement: &Placement, found: &str) {
        let data = placement.data.as_ref().unwrap();
        let link = self.at(&data.serial.device_path());
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let disk = self.at("/dev/sdc");
        fs::write(&disk, b"data").unwrap();
        symlink(&disk, &link).unwrap();
        fs::write(self.state("data_what"), disk.to_str().unwrap()).unwrap();
        fs::write(self.state("data_mount"), &data.mount_unit).unwrap();
        fs::write(self.state("data_where"), &data.mount_point).unwrap();
        fs::write(self.state("found"), found).unwrap();
        self.program(
            "blkid",
            "#!/bin/sh\necho \"blkid $*\" >>\"$FAKE_STATE/calls\"\n[ -s \"$FAKE_STATE/found\" ] || exit 2\ncat \"$FAKE_STATE/found\"\n",
        );
        self.program(
            "mkfs.ext4",
            "#!/bin/sh\necho \"mkfs $*\" >>\"$FAKE_STATE/calls\"\n[ ! -e \"$FAKE_STATE/mkfs_breaks\" ] || { echo one >&2; echo 'no room' >&2; exit 1; }\necho TYPE=ext4 >\"$FAKE_STATE/found\"\n",
        );
    }

    pub fn answer(&self, placement: &Placement, step: GuestStep, attempt: u64) -> Answer {
        let script = script::act(&self.root(), placement, step, Attempt(attempt), DEADLINE).unwrap();
        let text = self.run(&script);
        parse_step(&text, placement, &self.root()).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    pub fn act(&self, placement: &Placement, step: GuestStep, attempt: u64) -> CopyState {
        match self.answer(placement, step, attempt) {
            Answer::Done(state) => *state,
            other => panic!("{step:?}: {other}"),
        }
    }

    pub fn look(&self, placement: &Placement) -> CopyState {
        let text = self.run(&script::look(&self.root(), placement).unwrap());
        match parse_step(&text, placement, &self.root()).unwrap_or_else(|error| panic!("{error}\n{text}")) {
            Answer::Done(state) => *state,
            other => panic!("{other}"),
        }
    }

    /// What a look tells of this moment: as an act tells it at its end.
    pub fn look_now(&self, placement: &Placement) -> CopyState {
        CopyState {
            was_up: false,
            system: String::new(),
            ..self.look(placement)
        }
    }

    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.state("calls")).unwrap_or_default();
        fs::write(self.state("calls"), "").unwrap();
        text.lines()
            .filter(|line| {
                let asks = ["show", "list-units", "is-system-running"];
                !asks.iter().any(|word| line.starts_with(word))
            })
            .map(str::to_owned)
            .collect()
    }

    /// Every path below the root with what tells a change: content, mode, target, inode.
    pub fn tree(&self) -> Vec<String> {
        fn walk(dir: &Path, top: &Path, out: &mut Vec<String>) {
            let mut entries: Vec<PathBuf> = fs::read_dir(dir)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            entries.sort();
            for path in entries {
                let meta = fs::symlink_metadata(&path).unwrap();
                let name = path.strip_prefix(top).unwrap().display().to_string();
                if name.starts_with("run/handoverd") || name.starts_with("proc") {
                    continue;
                }
                let what = if meta.is_symlink() {
                    fs::read_link(&path).unwrap().display().to_string()
                } else if meta.is_file() {
                    format!("{} {:?}", meta.ino(), fs::read(&path).unwrap())
                } else {
                    String::new()
                };
                out.push(format!("{name} {:o} {what}", meta.mode()));
                if meta.is_dir() {
                    walk(&path, top, out);
                }
            }
        }
        let mut out = Vec::new();
        walk(&self.at("/"), &self.at("/"), &mut out);
        out
    }
}

/// A service whose files have the given names; `files` are config files.
pub fn placement(service: &str, units: &[&str], files: &[(&str, &[u8], u32)]) -> Placement {
    let service: ServiceId = service.parse().unwrap();
    let digest: Digest = "ab".repeat(32).parse().unwrap();
    let serial = DiskSerial::of(&service, &digest);
    let mount_point = format!("/opt/{service}");
    let mount_unit = format!("{}.mount", escape_path(&mount_point));
    let units: Vec<UnitName> = units.iter().map(|unit| unit.parse().unwrap()).collect();
    let marker = Placement::marker(&service);
    let attached = "/etc/systemd/system.attached";
    let root_file = |path: String, content: Vec<u8>, mode| PlacedFile {
        path,
        content,
        mode,
        owner: "root".to_owned(),
        group: "root".to_owned(),
    };
    let mut names: Vec<String> = units.iter().map(UnitName::file_name).collect();
    names.dedup();
    let mut unit_files: Vec<PlacedFile> = names
        .iter()
        .map(|name| {
            root_file(
                format!("{attached}/{name}"),
                format!("{marker}\n[Unit]\nDescription=it's \\x2d \"{name}\" $HOME `id` %n\n").into_bytes(),
                0o644,
            )
        })
        .collect();
    // Not the first, to see that it is written first all the same.
    unit_files.push(root_file(
        format!("{attached}/{mount_unit}"),
        format!(
            "{marker}\n[Mount]\nWhat={}\nWhere={mount_point}\n",
            serial.device_path()
        )
        .into_bytes(),
        0o644,
    ));
    let links = units
        .iter()
        .map(|unit| WantsLink {
            path: format!("/etc/systemd/system/{}.wants/{unit}", serial.device_unit()),
            target: format!("{attached}/{}", unit.file_name()),
        })
        .collect();
    Placement {
        data: None,
        digest,
        mount_point,
        mount_unit,
        unit_files,
        links,
        units,
        files: files
            .iter()
            .map(|(path, content, mode)| root_file((*path).to_owned(), content.to_vec(), *mode))
            .collect(),
        user: None,
        ports: vec![8080],
        check: None,
        serial,
        service,
    }
}

pub const CONFIG: &[(&str, &[u8], u32)] = &[
    ("/etc/web/conf.d/it's.conf", b"listen = '8080' \\n $(id)\n", 0o640),
    ("/etc/web/key", b"\x00\xff\x01secret without newline", 0o600),
    ("/etc/web.empty", b"", 0o755),
];

pub fn web() -> Placement {
    placement("web", &["web.service"], CONFIG)
}

/// A service with a data volume.
pub fn keeper() -> Placement {
    let mut placement = placement("keeper", &["keeper.service"], &[]);
    let spec = DataSpec {
        size: 16 << 20,
        filesystem: FileSystem::Ext4,
        mount_point: "/srv/keep/data".to_owned(),
    };
    let data = PlacedData::of(&placement.service, &spec);
    let mut unit = placement.unit_files[0].clone();
    unit.path = format!("/etc/systemd/system.attached/{}", data.mount_unit);
    placement.unit_files.push(unit);
    placement.data = Some(data);
    placement
}

/// The names that bite.
pub fn odd() -> Placement {
    placement(
        "my-app.v2",
        &[
            "my-app.v2.service",
            "api@1.service",
            "api@2.service",
            "my-app.v2.socket",
            "clean-up.timer",
            "x\\x2dy.service",
        ],
        CONFIG,
    )
}

pub fn shells() -> Vec<Vec<&'static str>> {
    let mut shells = vec![vec!["dash"], vec!["bash", "--posix"]];
    if Path::new("/bin/busybox").exists() || Path::new("/usr/bin/busybox").exists() {
        shells.push(vec!["busybox", "sh"]);
    }
    shells.retain(|shell| Command::new(shell[0]).arg("--help").output().is_ok());
    assert!(!shells.is_empty(), "no shell to run the scripts with");
    shells
}

pub fn in_each_shell(test: impl Fn(Fake)) {
    for shell in shells() {
        eprintln!("in {shell:?}");
        test(Fake::new(&shell));
    }
}
