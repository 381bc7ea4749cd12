//! Jobs as a test begins, watches and ends them.

use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::lab::{Lab, Ran};

/// Longest that a job of these tests may take, in seconds, where the machine is not slow.
const JOB: u64 = 240;

impl Lab {
    /// `Move` on the bus, as the issue words it; the job's path.
    #[track_caller]
    pub fn call_move(&self, object: &str, target: &str) -> String {
        let answer = self.call(&["Move", "ssa{sv}", object, target, "0"]).ok();
        let path = answer
            .trim()
            .strip_prefix("o \"")
            .and_then(|rest| rest.strip_suffix('"'));
        path.unwrap_or_else(|| panic!("no job path: {answer}")).to_owned()
    }

    /// All properties of a job's object on the bus, by name.
    #[track_caller]
    pub fn properties(&self, path: &str) -> Value {
        let get = ["GetAll", "s", "org.handoverd1.Job"];
        let fixed = [
            "busctl",
            "--json=short",
            "call",
            "org.handoverd1",
            path,
            "org.freedesktop.DBus.Properties",
        ];
        let answer: Value =
            serde_json::from_str(&self.exec("hv1", &[&fixed[..], &get].concat()).ok()).unwrap();
        let object = answer["data"][0].as_object().unwrap();
        object
            .iter()
            .map(|(name, value)| (name.clone(), value["data"].clone()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// Begins a job with `handoverctl` and does not wait for it; its number.
    #[track_caller]
    pub fn begin(&self, arguments: &[&str]) -> u64 {
        let begun = self.ctl(&[arguments, &["--no-wait", "--json"]].concat()).ok();
        serde_json::from_str::<Value>(&begun).unwrap()["id"]
            .as_u64()
            .unwrap()
    }

    /// A job with its steps and journal.
    #[track_caller]
    pub fn job(&self, id: u64) -> Value {
        serde_json::from_str(&self.ctl(&["jobs", "show", &id.to_string(), "--json"]).ok()).unwrap()
    }

    /// Waits until a job is at a step; fails at once if it ends before.
    #[track_caller]
    pub fn wait_for_step(&self, id: u64, step: &str) {
        self.wait_for(&format!("job {id} at {step}"), JOB, || {
            let job = self.job(id);
            if job["step"] == step && job["result"] == "" {
                return Some(());
            }
            assert_eq!(job["result"], "", "it ended before it was at {step}: {job:#}");
            None
        });
    }

    /// Waits for a job's end, and gives it.
    #[track_caller]
    pub fn wait_for_end(&self, id: u64) -> Value {
        self.wait_for(&format!("the end of job {id}"), JOB, || {
            let job = self.job(id);
            (job["result"] != "").then_some(job)
        })
    }

    /// Runs several `handoverctl` at the same time; each must end with 0.
    #[track_caller]
    pub fn at_once(&self, commands: &[&[&str]]) {
        let children: Vec<Child> = commands
            .iter()
            .map(|command| self.ctl_in_background(command))
            .collect();
        let all: Vec<Ran> = children
            .into_iter()
            .map(|child| Ran::of(&child.wait_with_output().unwrap()))
            .collect();
        for (command, ran) in commands.iter().zip(all) {
            assert_eq!(
                ran.code, 0,
                "{command:?}: stdout: {}\nstderr: {}",
                ran.out, ran.err
            );
        }
    }

    /// Answers of units to `systemctl show -P PROPERTY` in a guest.
    #[track_caller]
    pub fn unit(&self, guest: &str, property: &str, unit: &str) -> String {
        self.guest(guest, &format!("systemctl show -P {property} -- '{unit}'"))
            .ok()
            .trim()
            .to_owned()
    }

    /// A page, asked by the client.
    #[track_caller]
    pub fn get(&self, url: &str) -> String {
        let program =
            "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=60).read().decode())";
        self.exec("client", &["python3", "-c", program, url]).ok()
    }

    /// The guest's UUID.
    #[track_caller]
    pub fn uuid(&self, guest: &str) -> String {
        self.exec(&self.host_of(guest), &["virsh", "domuuid", guest])
            .ok()
            .trim()
            .to_owned()
    }
}

/// Sends Ctrl-C to a program in the background and waits for its end.
#[track_caller]
pub fn interrupt(child: Child) -> Ran {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    Ran::of(&child.wait_with_output().unwrap())
}
