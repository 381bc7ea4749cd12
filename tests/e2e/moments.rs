//! The moments of a handover, as the daemon's log tells them, and what a test does to the daemon at one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, SLOW};

/// The daemon's log, line by line as it is written.
pub struct Log {
    tail: Child,
    lines: Receiver<String>,
}

impl Log {
    /// From now on.
    #[track_caller]
    pub fn follow(lab: &Lab) -> Self {
        let log = lab.state("hv1").join("log/handoverd.log");
        // Not its end when `tail` comes to it: much may have been logged by then.
        let now = std::fs::metadata(&log).map_or(0, |log| log.len());
        let mut tail = Command::new("tail")
            .args(["-c", &format!("+{}", now + 1), "-F"])
            .arg(log)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(tail.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { tail, lines }
    }

    /// Waits until the service's job logs this text; fails if the job ends before.
    #[track_caller]
    pub fn reaches(&self, service: &str, text: &str) {
        let of_service = format!("service={service}}}");
        loop {
            let line = self
                .lines
                .recv_timeout(Duration::from_secs(120 * SLOW))
                .unwrap_or_else(|_| panic!("{text:?} of {service} was not logged in time"));
            if line.contains(&of_service) && line.contains(text) {
                return;
            }
            assert!(
                !(line.contains(&of_service) && line.contains("job ended")),
                "{text:?} was not reached: {line}"
            );
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.tail.kill().ok();
        self.tail.wait().ok();
    }
}

impl Lab {
    /// Where the lab keeps what is a node's.
    #[track_caller]
    pub fn state(&self, node: &str) -> PathBuf {
        let status: Value = serde_json::from_str(&self.lab(&["status", "--json"]).ok()).unwrap();
        PathBuf::from(status["state"].as_str().unwrap()).join(node)
    }
}

/// Who ends the daemon without a command in between: some steps take a millisecond.
pub struct Killer {
    socket: PathBuf,
}

impl Killer {
    /// Of the daemon on hv1.
    #[track_caller]
    pub fn new(lab: &Lab) -> Self {
        Self {
            socket: lab.state("hv1").join("handoverd.sock"),
        }
    }

    /// SIGKILL to the daemon, at once; it has ended when this returns.
    #[track_caller]
    pub fn kill(&self, lab: &Lab) {
        let ended = self.say("kill")["ended"] != Value::Null;
        if !ended {
            lab.wait_for("the daemon's end", 20, || {
                (self.say("status")["ended"] != Value::Null).then_some(())
            });
        }
    }

    #[track_caller]
    fn say(&self, word: &str) -> Value {
        let mut supervisor = UnixStream::connect(&self.socket).unwrap();
        writeln!(supervisor, "{word}").unwrap();
        let mut answer = String::new();
        BufReader::new(supervisor).read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e}: {answer:?}"))
    }
}
