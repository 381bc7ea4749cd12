//! The libvirt hook, run by real shells with what libvirt gives it and with what it never would.

#![cfg(test)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use handoverd::model::lifecycle::ShutoffReason;
use handoverd::watch::spool::{NotSpooled, Operation, SpoolFile, Spooled, parse};
use tempfile::TempDir;

const HOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/hooks/qemu");
const UUID: &str = "6f1d5a2e-0000-4000-8000-000000000001";
const SHELLS: [&[&str]; 3] = [&["dash"], &["bash"], &["bash", "--posix"]];

fn xml() -> String {
    format!(
        "<domain type='kvm'>\n  <name>g1</name>\n  <uuid>{UUID}</uuid>\n  <sysinfo><uuid>00000000-0000-4000-8000-000000000000</uuid></sysinfo>\n</domain>\n"
    )
}

/// A spool folder and a shell.
struct Hook {
    dir: TempDir,
    shell: &'static [&'static str],
}

impl Hook {
    fn new(shell: &'static [&'static str]) -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("spool")).unwrap();
        Self { dir, shell }
    }

    fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.shell[0]);
        command
            .args(&self.shell[1..])
            .arg(HOOK)
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HANDOVERD_SPOOL", self.spool())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it as libvirt does: it must end with 0 and say nothing. Returns when nobody has its stdout any more.
    #[track_caller]
    fn run(&self, args: &[&str], stdin: &[u8]) {
        let child = self.command(args).spawn().unwrap();
        finish(child, stdin);
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.spool())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn read(&self, name: &str) -> Result<Spooled, NotSpooled> {
        parse(&SpoolFile {
            name: name.to_owned(),
            modified: 1,
            content: fs::read(self.spool().join(name)).unwrap(),
        })
    }
}

#[track_caller]
fn finish(mut child: std::process::Child, stdin: &[u8]) {
    // A hook that does not read all of it is no failure.
    let written = child.stdin.take().unwrap().write_all(stdin);
    assert!(written.is_ok() || stdin.len() > 1 << 20);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

fn each_shell(test: impl Fn(Hook)) {
    for shell in SHELLS {
        test(Hook::new(shell));
    }
}

#[test]
fn the_hook_is_executable_and_begins_with_a_posix_shell() {
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(HOOK).unwrap().permissions().mode() & 0o111, 0o111);
    assert!(fs::read_to_string(HOOK).unwrap().starts_with("#!/bin/sh\n"));
}

#[test]
fn what_becomes_of_a_guest_is_written_in_one_file_that_is_understood() {
    each_shell(|hook| {
        for (op, subop, extra, operation, reason) in [
            ("migrate", "begin", "-", Operation::Migrate, None),
            ("restore", "begin", "-", Operation::Restore, None),
            ("started", "begin", "-", Operation::Started, None),
            ("stopped", "end", "-", Operation::Stopped, None),
            (
                "release",
                "end",
                "destroyed",
                Operation::Release,
                Some(ShutoffReason::Destroyed),
            ),
            (
                "release",
                "end",
                "from snapshot",
                Operation::Release,
                Some(ShutoffReason::FromSnapshot),
            ),
            ("release", "end", "-", Operation::Release, None),
        ] {
            hook.run(&["g1", op, subop, extra], xml().as_bytes());
            let spooled = hook.read(&format!("{UUID}.{op}")).unwrap();
            assert_eq!(spooled.guest, Some(UUID.parse().unwrap()));
            assert_eq!(
                (spooled.name.as_str(), spooled.operation, spooled.reason),
                ("g1", operation, reason)
            );
        }
        assert_eq!(hook.names().len(), 5);
    });
}

#[test]
fn operations_that_say_nothing_of_life_and_death_write_nothing() {
    each_shell(|hook| {
        for op in [
            "prepare",
            "start",
            "reconnect",
            "attach",
            "",
            "../release",
            "release/x",
            "Release",
        ] {
            hook.run(&["g1", op, "begin", "-"], xml().as_bytes());
        }
        hook.run(&[], b"");
        hook.run(&["g1"], b"");
        assert!(hook.names().is_empty(), "{:?}", hook.names());
    });
}

#[test]
fn odd_names_stay_one_line_and_are_never_run() {
    each_shell(|hook| {
        let long = "x".repeat(5000);
        for (name, kept) in [
            ("a b  c", "a b  c"),
            ("ü'\"\\", "ü'\"\\"),
            ("-n", "-n"),
            ("%s%d\\n", "%s%d\\n"),
            ("../../etc/passwd", "../../etc/passwd"),
            (
                "$(touch run)`touch run`;touch run",
                "$(touch run)`touch run`;touch run",
            ),
            ("g1\nop=started\nextra=x", "g1op=startedextra=x"),
            ("*", "*"),
            ("", ""),
            (long.as_str(), ""),
        ] {
            hook.run(&[name, "release", "end", "crashed"], xml().as_bytes());
            let spooled = hook.read(&format!("{UUID}.release")).unwrap();
            assert_eq!(
                (spooled.name.as_str(), spooled.reason),
                (kept, Some(ShutoffReason::Crashed)),
                "{name}"
            );
        }
        hook.run(
            &["g1", "release", "a\nb", "x\ny", "more", "and more"],
            xml().as_bytes(),
        );
        assert_eq!(hook.read(&format!("{UUID}.release")).unwrap().reason, None);
        assert_eq!(hook.names(), [format!("{UUID}.release")]);
        assert!(!hook.dir.path().join("run").exists());
    });
}

#[test]
fn a_domain_without_a_uuid_is_noted_by_its_name() {
    each_shell(|hook| {
        for stdin in [
            "",
            "garbage",
            "<uuid>../../../../../../../../etc/passwd</uuid>",
            "<uuid></uuid>",
            "<uuid>6f1d5a2e</uuid>",
        ] {
            hook.run(&["g1", "release", "end", "crashed"], stdin.as_bytes());
            let spooled = hook.read("unnamed.release").unwrap();
            assert_eq!((spooled.guest, spooled.name.as_str()), (None, "g1"), "{stdin}");
            assert_eq!(hook.names(), ["unnamed.release"]);
        }
    });
}

#[test]
fn a_huge_or_closed_stdin_does_no_harm() {
    each_shell(|hook| {
        let mut huge = xml().into_bytes();
        huge.resize(4 << 20, b'\n');
        hook.run(&["g1", "release", "end", "-"], &huge);
        assert_eq!(hook.names(), [format!("{UUID}.release")]);
        let mut command = hook.command(&["g1", "started", "begin", "-"]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success());
        assert!(hook.read("unnamed.started").is_ok());
    });
}

#[test]
fn a_spool_that_is_missing_or_no_folder_is_passed_over() {
    each_shell(|hook| {
        fs::remove_dir(hook.spool()).unwrap();
        hook.run(&["g1", "release", "end", "-"], xml().as_bytes());
        assert!(!hook.spool().exists());
        fs::write(hook.spool(), "a file").unwrap();
        hook.run(&["g1", "release", "end", "-"], xml().as_bytes());
        assert_eq!(fs::read_to_string(hook.spool()).unwrap(), "a file");
    });
}

#[test]
fn many_events_leave_one_file_for_each_operation() {
    each_shell(|hook| {
        for _ in 0..10 {
            for op in ["started", "stopped", "release"] {
                hook.run(&["g1", op, "end", "-"], xml().as_bytes());
            }
        }
        assert_eq!(hook.names().len(), 3);
    });
}

#[test]
fn a_link_that_lies_in_wait_is_not_followed() {
    each_shell(|hook| {
        let precious = hook.dir.path().join("precious");
        fs::write(&precious, "kept").unwrap();
        // The shell keeps its process number when it becomes the hook.
        let script = format!(
            "ln -s {} {}/.new.$$ && exec {} {HOOK} g1 release end -",
            precious.display(),
            hook.spool().display(),
            hook.shell.join(" ")
        );
        let child = Command::new("sh")
            .args(["-c", &script])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HANDOVERD_SPOOL", hook.spool())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        finish(child, xml().as_bytes());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "kept");
        assert_eq!(hook.names(), [format!("{UUID}.release")]);
        // Nor one at the place where the file is to be: it is replaced.
        fs::remove_file(hook.spool().join(format!("{UUID}.release"))).unwrap();
        link(&precious, &hook.spool().join(format!("{UUID}.release")));
        hook.run(&["g1", "release", "end", "-"], xml().as_bytes());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "kept");
        assert!(hook.read(&format!("{UUID}.release")).is_ok());
    });
}

fn link(to: &Path, at: &Path) {
    symlink(to, at).unwrap();
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    each_shell(|hook| {
        // As for a full disk, the file cannot be written whole: its size is limited to nothing.
        let script = format!(
            "ulimit -f 0; trap '' XFSZ; exec {} {HOOK} g1 release end -",
            hook.shell.join(" ")
        );
        let child = Command::new("bash")
            .args(["-c", &script])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HANDOVERD_SPOOL", hook.spool())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        finish(child, xml().as_bytes());
        assert!(hook.names().is_empty(), "{:?}", hook.names());
    });
}
