//! Runs the real handoverctl.

use std::process::{Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};

/// Longer than any of these takes, for a hang is to fail the test and not to stop it.
const LIMIT: Duration = Duration::from_secs(60);

pub fn command(address: &str, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handoverctl"));
    command
        .args(line.split_whitespace())
        .env("HANDOVERD_BUS", address)
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("it takes too long")
}

pub async fn run(address: &str, line: &str) -> Output {
    in_time(command(address, line).output()).await.unwrap()
}

pub fn code(output: &Output) -> i32 {
    output
        .status
        .code()
        .unwrap_or_else(|| panic!("it was killed: {output:?}"))
}

pub fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A handoverctl that runs, with its lines on standard error as they come.
pub struct Running<R> {
    pub child: Child,
    pub lines: Lines<BufReader<R>>,
}

impl Running<tokio::process::ChildStderr> {
    pub fn start(address: &str, line: &str) -> Self {
        let mut child = command(address, line).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }
}

impl<R: AsyncRead + Unpin> Running<R> {
    /// Reads on to a line that contains `part`.
    pub async fn line(&mut self, part: &str) -> String {
        in_time(async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if line.contains(part) {
                    return line;
                }
            }
            panic!("it ended without a line with {part:?}");
        })
        .await
    }

    pub fn interrupt(&self) {
        let pid = i32::try_from(self.child.id().expect("it has ended")).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
    }

    /// Waits for the end; exit code and the rest of the lines.
    pub async fn end(mut self) -> (i32, String) {
        in_time(async {
            let mut rest = String::new();
            while let Some(line) = self.lines.next_line().await.unwrap() {
                rest.push_str(&line);
                rest.push('\n');
            }
            (self.child.wait().await.unwrap().code().unwrap(), rest)
        })
        .await
    }
}
