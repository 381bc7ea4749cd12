//! The lab as a test sees it: one test at a time in it, and each begins with no service.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ways::Ways;

/// Where the pool of a host is.
pub const POOL: &str = "/var/lib/libvirt/images/handoverd";

/// So many times slower than where the tests were written may a machine be before they stop waiting for what is to come.
pub const SLOW: u64 = 3;

/// The time between two looks at what is to come: longer each time, because a look into an emulated guest takes it a part of
/// the time that it has.
pub struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(150))
    }
}

impl Pause {
    pub fn pass(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 5 / 4).min(Duration::from_secs(1));
    }
}

/// A lab, held by one test.
pub struct Lab {
    // Dropped last: the next test may begin.
    _lock: nix::fcntl::Flock<File>,
    scratch: tempfile::TempDir,
    pub ways: Ways,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ran {
    /// What a process that has ended left behind.
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its standard output, if it ended with 0.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.out, self.err);
        self.out
    }

    /// Its standard error, if it ended with this code and said this.
    #[track_caller]
    pub fn refused(self, code: i32, says: &str) -> String {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        assert!(self.err.contains(says), "{says:?} is not in {:?}", self.err);
        self.err
    }
}

/// The path of a program in `tests/lab`.
pub fn tool(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name)
}

/// The lab's name: `LAB_NAME`, else one that is not an operator's.
fn lab_name() -> String {
    std::env::var("LAB_NAME").unwrap_or_else(|_| "test".to_owned())
}

/// Runs `tests/lab/lab` with the daemon of this build, or with `HANDOVERD_BIN`.
pub fn lab_command() -> Command {
    // Hundreds of calls: the system's interpreter begins in half the time of a version manager's.
    let system = Path::new("/usr/bin/python3");
    let mut command = Command::new(if system.exists() {
        system
    } else {
        Path::new("python3")
    });
    command.arg(tool("lab"));
    let built = || env!("CARGO_BIN_EXE_handoverd").into();
    command
        .env(
            "HANDOVERD_BIN",
            std::env::var_os("HANDOVERD_BIN").unwrap_or_else(built),
        )
        .env("LAB_NAME", lab_name());
    command
}

impl Lab {
    /// Takes the lab: brings it up with its daemon if need be, and removes what an earlier test left.
    #[track_caller]
    pub fn take() -> Self {
        let path = std::env::temp_dir().join(format!("handoverd-e2e-{}.lock", lab_name()));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .unwrap();
        let lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap();
        let lab = Self {
            _lock: lock,
            scratch: tempfile::tempdir().unwrap(),
            ways: Ways::default(),
        };
        lab.lab(&["up"]).ok();
        lab.lab(&["daemon", "hv1", "start"]).ok();
        lab.undo_settings();
        lab.clean();
        lab
    }

    /// Runs `tests/lab/lab` with these arguments.
    pub fn lab(&self, arguments: &[&str]) -> Ran {
        Ran::of(
            &lab_command()
                .args(arguments)
                .stdin(Stdio::null())
                .output()
                .unwrap(),
        )
    }

    /// Runs `handoverctl` on hv1.
    pub fn ctl(&self, arguments: &[&str]) -> Ran {
        self.exec("hv1", &[&["handoverctl"], arguments].concat())
    }

    /// Runs `handoverctl --json` on hv1 as the user nobody.
    pub fn ctl_as_nobody(&self, arguments: &[&str]) -> Ran {
        let who = [
            "setpriv",
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
        ];
        self.exec("hv1", &[&who[..], &["handoverctl", "--json"], arguments].concat())
    }

    /// Starts `handoverctl` on hv1 and goes on.
    pub fn ctl_in_background(&self, arguments: &[&str]) -> Child {
        self.in_background("hv1", &[&["handoverctl"], arguments].concat())
    }

    /// Starts a command inside a host and goes on. The lab hands our signals on to it.
    pub fn in_background(&self, host: &str, command: &[&str]) -> Child {
        lab_command()
            .args(["exec", host, "--"])
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// `busctl call` of a method of the root object.
    pub fn call(&self, arguments: &[&str]) -> Ran {
        let fixed = [
            "busctl",
            "call",
            "org.handoverd1",
            "/org/handoverd1",
            "org.handoverd1.Manager",
        ];
        self.exec("hv1", &[&fixed, arguments].concat())
    }

    /// The services, as programs see them.
    #[track_caller]
    pub fn services(&self) -> Vec<Value> {
        serde_json::from_str(&self.ctl(&["services", "--json"]).ok()).unwrap()
    }

    /// One service, as programs see it.
    #[track_caller]
    pub fn service(&self, id: &str) -> Value {
        let found = self.services().into_iter().find(|s| s["id"] == id);
        found.unwrap_or_else(|| panic!("there is no service {id}"))
    }

    /// The newest job, as programs see it.
    #[track_caller]
    pub fn last_job(&self) -> Value {
        let jobs: Vec<Value> = serde_json::from_str(&self.ctl(&["jobs", "--json"]).ok()).unwrap();
        jobs.into_iter().next().unwrap()
    }

    /// What the primary answers for a name and type, sorted lines; of an owner's text without the mark that a claim leaves
    /// which was given back.
    #[track_caller]
    pub fn dig(&self, name: &str, kind: &str) -> Vec<String> {
        let out = self
            .exec("dns", &["dig", "+short", "@10.77.0.2", name, kind])
            .ok();
        let mut lines: Vec<String> = out.lines().map(owner_alone).collect();
        lines.sort();
        lines
    }

    /// A guest's XML: the live one, or with `--inactive` the persistent one.
    #[track_caller]
    pub fn xml(&self, guest: &str, inactive: bool) -> String {
        let mut command = vec!["virsh", "dumpxml", guest];
        if inactive {
            command.push("--inactive");
        }
        self.exec(&self.host_of(guest), &command).ok()
    }

    /// Everything of a service that is in a guest or in its definitions; empty if there is no trace.
    #[track_caller]
    pub fn traces(&self, guest: &str, service: &str) -> Vec<String> {
        let find = format!(
            "find /etc/systemd /run/systemd/system /opt -name '*{service}*' -o -name 'dev-disk-by*ho*' | sort; \
             grep ' /opt/{service} ' /proc/self/mountinfo; ls /dev/disk/by-id 2>/dev/null | grep QEMU_HARDDISK_ho; true"
        );
        let mut found: Vec<String> = self.guest(guest, &find).ok().lines().map(str::to_owned).collect();
        for inactive in [false, true] {
            let xml = self.xml(guest, inactive);
            let serials = xml.lines().filter(|line| line.contains("<serial>ho"));
            found.extend(serials.map(|line| format!("inactive={inactive}: {}", line.trim())));
        }
        let of_guest = format!("{service}@{}.", self.uuid(guest));
        found.extend(
            self.grants(service)
                .into_iter()
                .filter(|name| name.starts_with(&of_guest)),
        );
        found
    }

    /// The names of the files in hv1's pool by which guests have a service's bundles, sorted. The folder tells them: another
    /// host may have made one, and this one's libvirt does not know.
    #[track_caller]
    pub fn grants(&self, service: &str) -> Vec<String> {
        let listed = self.exec("hv1", &["ls", POOL]).ok();
        let mut names: Vec<String> = listed
            .lines()
            .filter(|name| name.starts_with(&format!("{service}@")))
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }

    /// A folder of this test, gone at its end.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Writes a bundle folder from these files (path, content) and builds its image; the path of the image.
    #[track_caller]
    pub fn bundle(&self, name: &str, files: &[(&str, &str)]) -> String {
        let folder = self.scratch.path().join(name);
        for (path, content) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            File::create(&path)
                .unwrap()
                .write_all(content.as_bytes())
                .unwrap();
            if content.starts_with("#!") {
                use std::os::unix::fs::PermissionsExt as _;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        self.build(&folder, name)
    }

    /// Builds the image of a bundle folder; its path.
    #[track_caller]
    pub fn build(&self, folder: &Path, name: &str) -> String {
        let image = self.scratch.path().join(format!("{name}.img"));
        let built = Command::new(env!("CARGO_BIN_EXE_handoverctl"))
            .args(["bundle", "build"])
            .arg(folder)
            .arg("-o")
            .arg(&image)
            .output()
            .unwrap();
        Ran::of(&built).ok();
        image.to_str().unwrap().to_owned()
    }

    /// The image of `examples/web`.
    #[track_caller]
    pub fn web(&self) -> String {
        self.build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/web"), "web")
    }

    /// A minimal service: one unit that sleeps, no name, no check.
    #[track_caller]
    pub fn sleeper(&self, id: &str) -> String {
        let unit = id;
        let manifest = format!("service = \"{id}\"\nversion = \"1\"\nunits = [\"{unit}.service\"]\n");
        let text = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";
        self.bundle(
            id,
            &[
                ("handover.toml", &manifest),
                (&format!("units/{unit}.service"), text),
            ],
        )
    }

    /// Waits until `holds` answers with something; fails with `what` after [`SLOW`] times `seconds`.
    #[track_caller]
    pub fn wait_for<T>(&self, what: &str, seconds: u64, mut holds: impl FnMut() -> Option<T>) -> T {
        let seconds = seconds * SLOW;
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut pause = Pause::default();
        loop {
            if let Some(found) = holds() {
                return found;
            }
            assert!(Instant::now() < until, "{what}: not within {seconds} s");
            pause.pass();
        }
    }

    /// Removes all services. A failed test may have left a job under way or stuck: that one is ended first.
    #[track_caller]
    fn clean(&self) {
        let services = self.services();
        if services.is_empty() {
            return;
        }
        for guest in ["g1", "g2"] {
            self.guest(guest, "rm -f /run/hold-*").ok();
        }
        self.wait_for("the end of what an earlier test left under way", 180, || {
            let jobs: Vec<Value> = serde_json::from_str(&self.ctl(&["jobs", "--json"]).ok()).unwrap();
            let running = jobs.iter().any(|job| job["result"] == "");
            for job in jobs.iter().filter(|job| job["result"] == "stuck") {
                self.ctl(&["abandon", &job["id"].to_string()]);
            }
            (!running).then_some(())
        });
        for service in self.services() {
            let id = service["id"].as_str().unwrap();
            let removed = self.ctl(&["remove", id]);
            assert_eq!(
                removed.code, 0,
                "an earlier test left {service}, and it cannot be removed: {}",
                removed.err
            );
        }
    }
}

/// A quoted text of an owner without ` after=…` at its end.
pub fn owner_alone(text: &str) -> String {
    match text.split_once(" after=") {
        Some((owner, _)) => format!("{owner}\""),
        None => text.to_owned(),
    }
}
