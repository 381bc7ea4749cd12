//! Programs that are at work in the client while a test goes on, and tell at their end what they have seen.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::lab::{Lab, lab_command, tool};

/// One of them at work: the load generator, or a watch over a resolver.
pub struct Load {
    child: Child,
    summary: PathBuf,
}

impl Lab {
    /// Starts the load generator in the client; its first request has ended when this returns.
    ///
    /// A request has 20 s: an emulated guest that is short of a processor drops packets, which are sent again after 1, 3, 7 and
    /// 15 s. What a move loses is refused or reset, at once.
    #[track_caller]
    pub fn load(&self, url: &str, rate: u32) -> Load {
        self.load_for(3600, url, rate, &[])
    }

    /// The same for at most so many seconds, with more arguments.
    #[track_caller]
    pub fn load_for(&self, seconds: u64, url: &str, rate: u32, more: &[&str]) -> Load {
        let (rate, seconds) = (rate.to_string(), seconds.to_string());
        let fixed = ["--url", url, "--rate", &rate, "--duration", &seconds];
        let arguments = [&fixed[..], &["--timeout", "20", "--log"], more].concat();
        self.at_work("load", &arguments)
    }

    /// Starts a program of `tests/lab` in the client; it has printed its first line when this returns.
    #[track_caller]
    pub fn at_work(&self, program: &str, arguments: &[&str]) -> Load {
        let (file, summary) = tempfile::NamedTempFile::new_in(self.scratch())
            .unwrap()
            .keep()
            .unwrap();
        drop(file);
        let mut child = lab_command()
            .args(["exec", "client", "--"])
            .arg(tool(program))
            .args(arguments)
            .arg("--json")
            .arg(&summary)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        log.read_line(&mut first).unwrap();
        assert!(!first.is_empty(), "{program} ended at once");
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Load { child, summary }
    }
}

impl Load {
    /// Ends it and reads its summary.
    #[track_caller]
    pub fn stop(mut self) -> Value {
        let status = self.end();
        let mut said = String::new();
        if let Some(mut err) = self.child.stderr.take() {
            err.read_to_string(&mut said).unwrap();
        }
        let text = std::fs::read_to_string(&self.summary)
            .unwrap_or_else(|error| panic!("no summary ({error}), {status:?}: {said}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}, {status:?}: {said}\n{text:.200}"))
    }

    fn end(&mut self) -> std::io::Result<std::process::ExitStatus> {
        if let (None, Ok(pid)) = (self.child.try_wait()?, i32::try_from(self.child.id())) {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM)?;
        }
        self.child.wait()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A failed test must not load the guests of the next one.
        self.end().ok();
    }
}
