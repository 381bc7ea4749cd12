//! The short way into a host or a guest of the lab: what `lab exec` and `lab guest` do, without starting an interpreter
//! for each of thousands of commands.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::lab::{Lab, Ran, lab_command};

/// The search path inside a node.
const NODE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where everything of the lab is, as far as it was asked for.
#[derive(Default)]
pub struct Ways {
    /// Process 1 of each node.
    nodes: Mutex<HashMap<String, u64>>,
    /// The host of each guest.
    hosts: Mutex<HashMap<String, String>>,
}

impl Ways {
    /// Process 1 of a node that is up.
    fn node(&self, node: &str) -> Option<u64> {
        let mut nodes = self.nodes.lock().unwrap();
        let alive = |pid: &&u64| PathBuf::from(format!("/proc/{pid}/ns/mnt")).exists();
        if let Some(pid) = nodes.get(node).filter(alive) {
            return Some(*pid);
        }
        let status = status();
        *nodes = each(&status["nodes"])
            .filter_map(|one| Some((one["name"].as_str()?.to_owned(), one["pid"].as_u64()?)))
            .collect();
        nodes.get(node).copied()
    }

    /// The host of a guest.
    fn host(&self, guest: &str) -> Option<String> {
        let mut hosts = self.hosts.lock().unwrap();
        if !hosts.contains_key(guest) {
            let status = status();
            *hosts = each(&status["guests"])
                .filter_map(|one| Some((one["name"].as_str()?.to_owned(), one["host"].as_str()?.to_owned())))
                .collect();
        }
        hosts.get(guest).cloned()
    }

    /// Guests may be on other hosts than before: they are looked for anew.
    pub fn forget_hosts(&self) {
        self.hosts.lock().unwrap().clear();
    }

    /// A command inside a node, in its environment; none if the node is not up.
    pub fn command(&self, node: &str, argv: &[&str]) -> Option<Command> {
        let pid = self.node(node)?.to_string();
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &pid, "-m", "-u", "-i", "-n", "-p", "--"])
            .args(argv);
        command.env_clear().envs(std::env::vars().filter(|(name, _)| {
            name.starts_with("HANDOVER")
                || name.starts_with("LAB_")
                || ["TERM", "LANG", "LC_ALL", "NO_COLOR", "RUST_LOG"].contains(&name.as_str())
        }));
        command
            .env("PATH", NODE_PATH)
            .env("HOME", "/root")
            .env("LAB_NODE", node)
            .stdin(Stdio::null());
        Some(command)
    }
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn status() -> Value {
    let output = lab_command().args(["status", "--json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Lab {
    /// Runs a command inside a host.
    pub fn exec(&self, host: &str, command: &[&str]) -> Ran {
        match self.ways.command(host, command) {
            Some(mut command) => Ran::of(&command.output().unwrap()),
            None => self.lab(&[&["exec", host, "--"], command].concat()),
        }
    }

    /// The host that has a guest.
    #[track_caller]
    pub fn host_of(&self, guest: &str) -> String {
        let host = self.ways.host(guest);
        host.unwrap_or_else(|| panic!("no host has guest {guest}"))
    }

    /// Runs a shell line inside a guest, through its agent.
    pub fn guest(&self, guest: &str, line: &str) -> Ran {
        self.agent_exec(guest, &["sh", "-c", line])
            .unwrap_or_else(|err| Ran {
                code: 1,
                out: String::new(),
                err,
            })
    }

    fn agent_exec(&self, guest: &str, argv: &[&str]) -> Result<Ran, String> {
        let host = self
            .ways
            .host(guest)
            .ok_or_else(|| format!("no host has guest {guest}"))?;
        let begun = json!({"path": argv[0], "arg": &argv[1..], "capture-output": true});
        let pid = self.agent(&host, guest, "guest-exec", &begun)?["pid"].clone();
        let mut pause = Duration::from_millis(30);
        for _ in 0..600 {
            let seen = self.agent(&host, guest, "guest-exec-status", &json!({"pid": pid}))?;
            if seen["exited"] != true {
                std::thread::sleep(pause);
                pause = (pause * 3 / 2).min(Duration::from_millis(500));
                continue;
            }
            let text = |key: &str| {
                let bytes = STANDARD.decode(seen[key].as_str().unwrap_or_default()).unwrap();
                String::from_utf8_lossy(&bytes).into_owned()
            };
            let code = seen["exitcode"].as_i64().unwrap_or(-1);
            return Ok(Ran {
                code: i32::try_from(code).unwrap(),
                out: text("out-data"),
                err: text("err-data"),
            });
        }
        Err(format!("{argv:?} did not end in {guest}"))
    }

    /// One command of the guest agent; its return value.
    fn agent(&self, host: &str, guest: &str, command: &str, arguments: &Value) -> Result<Value, String> {
        let message = json!({"execute": command, "arguments": arguments}).to_string();
        let virsh = ["virsh", "qemu-agent-command", guest, "--timeout", "40", &message];
        let ran = self.exec(host, &virsh);
        match ran.code {
            0 => Ok(
                serde_json::from_str::<Value>(&ran.out).map_err(|e| format!("{e}: {}", ran.out))?["return"]
                    .take(),
            ),
            _ => Err(format!("{guest}: {command}: {}", ran.err)),
        }
    }
}
