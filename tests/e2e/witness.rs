//! What must be the same after a request was refused or undone, read from the table, the zone, libvirt and the guests.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde_json::Value;

use crate::lab::{Lab, Ran};

/// Everything that a refused request could have changed.
#[derive(Debug, PartialEq)]
pub struct Witness {
    /// The rows of the service table, without when they were last observed.
    services: Vec<Value>,
    /// The whole zone, without its serial number, the TTL of ownership texts, which nobody caches, and the mark that a
    /// claim leaves which was given back.
    zone: Vec<String>,
    /// Each bundle disk in each live and each persistent definition.
    disks: Vec<String>,
    /// The service's files with their sums, mount, disks and processes in g1.
    g1: String,
    /// The same in g2.
    g2: String,
}

/// Makes something as it was when it goes out of scope, even if the test failed.
pub struct Undo<'a> {
    lab: &'a Lab,
    command: Vec<String>,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        let words: Vec<&str> = self.command.iter().map(String::as_str).collect();
        let ran = self.lab.lab(&words);
        if ran.code != 0 {
            eprintln!("{words:?} did not undo: {ran:?}");
        }
    }
}

impl Lab {
    /// What is there of `service`, and all that is beside it.
    #[track_caller]
    pub fn witness(&self, service: &str) -> Witness {
        let outside = "handoverctl services --json; echo ----; \
            dig +noall +answer @10.77.0.2 svc.lab AXFR | grep -v SOA | \
            awk '$4 == \"TXT\" {$2 = \"-\"} {print}' | sed 's/ after=[-0-9a-f]*//' | sort; echo ----; \
            for g in $(virsh list --all --name); do for half in '' --inactive; do \
            virsh dumpxml $g $half | grep '<serial>ho' | sed \"s/^/$g$half/\"; done; done";
        let outside = self.exec("hv1", &["sh", "-c", outside]).ok();
        let mut parts = outside.split("----\n");
        let mut services: Vec<Value> = serde_json::from_str(parts.next().unwrap()).unwrap();
        for row in &mut services {
            let row = row.as_object_mut().unwrap();
            row.remove("observed_at");
        }
        let lines = |text: Option<&str>| text.unwrap().lines().map(str::to_owned).collect();
        let inside = format!(
            "find /etc/systemd /run/systemd/system /opt /etc/{service} \
             \\( -name '*{service}*' -o -name 'dev-disk-by*ho*' \\) -print -exec sha256sum {{}} + 2>/dev/null | sort; \
             grep ' /opt/{service} ' /proc/self/mountinfo | cut -d' ' -f5-; \
             ls /dev/disk/by-id 2>/dev/null | grep QEMU_HARDDISK_ho; \
             systemctl show -p Id,ActiveState,MainPID {service}.service"
        );
        Witness {
            services,
            zone: lines(parts.next()),
            disks: lines(parts.next()),
            g1: self.guest("g1", &inside).ok(),
            g2: self.guest("g2", &inside).ok(),
        }
    }

    /// The numbers of all jobs there ever were.
    #[track_caller]
    pub fn job_ids(&self) -> Vec<u64> {
        let jobs: Vec<Value> = serde_json::from_str(&self.ctl(&["jobs", "--json"]).ok()).unwrap();
        jobs.iter().map(|job| job["id"].as_u64().unwrap()).collect()
    }

    /// Runs `tests/lab/lab` with these arguments when the answer goes out of scope.
    #[must_use]
    pub fn at_the_end(&self, arguments: &[&str]) -> Undo<'_> {
        let command = arguments.iter().map(|word| (*word).to_owned()).collect();
        Undo { lab: self, command }
    }

    /// The words for what keeps services from a guest, sorted; it is looked into.
    #[track_caller]
    pub fn obstacles(&self, guest: &str) -> Vec<String> {
        let rows = self.ctl(&["guests", guest, "--check", "--json"]).ok();
        let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
        let found = rows[0]["obstacles"].as_array().unwrap().iter();
        let mut words: Vec<String> = found.map(|o| o["word"].as_str().unwrap().to_owned()).collect();
        words.sort();
        words
    }

    /// Asks the root object over the bus to keep `image`; its digest, or the error's name and message.
    pub fn register(&self, image: File, sha256: &str) -> Result<String, (String, String)> {
        let socket = self.root_of("hv1").join("run/dbus/system_bus_socket");
        let address = format!("unix:path={}", socket.display());
        let call = async move {
            let bus = zbus::connection::Builder::address(address.as_str())
                .build()
                .await
                .unwrap();
            let options = std::collections::HashMap::from([("sha256", zbus::Variant::from(sha256))]);
            let image = zbus::Fd::from(OwnedFd::from(image));
            let (path, interface) = ("/org/handoverd1", "org.handoverd1.Manager");
            let name = Some("org.handoverd1");
            bus.call_method(name, path, Some(interface), "RegisterBundle", &(image, options))
                .await
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        match runtime.block_on(call) {
            Ok(reply) => Ok(reply.body().deserialize::<String>().unwrap()),
            Err(zbus::Error::MethodError(name, text, _)) => Err((name.to_string(), text.unwrap_or_default())),
            Err(other) => panic!("the bus: {other}"),
        }
    }

    /// A host's root folder as seen from outside.
    #[track_caller]
    fn root_of(&self, host: &str) -> PathBuf {
        let status: Value = serde_json::from_str(&self.lab(&["status", "--json"]).ok()).unwrap();
        let nodes = status["nodes"].as_array().unwrap();
        let pid = nodes.iter().find(|n| n["name"] == host).unwrap()["pid"]
            .as_u64()
            .unwrap();
        PathBuf::from(format!("/proc/{pid}/root"))
    }
}

/// A refusal or a failed job, as `handoverctl --json` tells it.
#[derive(Debug)]
pub struct Told {
    /// The last part of the error's name.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl Ran {
    /// The refusal of a command that began nothing.
    #[track_caller]
    pub fn refusal(self) -> Told {
        assert_eq!(self.code, 3, "stdout: {}\nstderr: {}", self.out, self.err);
        let last = self.err.lines().last().unwrap_or_default();
        let object: Value = serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {:?}", self.err));
        told(&object, "error", "message")
    }

    /// The error of a command whose job was begun and then undone.
    #[track_caller]
    pub fn failure(self) -> Told {
        assert_eq!(self.code, 1, "stdout: {}\nstderr: {}", self.out, self.err);
        let object: Value = serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {:?}", self.out));
        assert_eq!(object["result"], "failed", "{object}");
        told(&object, "error_name", "error_details")
    }
}

#[track_caller]
fn told(object: &Value, name: &str, text: &str) -> Told {
    let word = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    Told {
        name: word(name),
        text: word(text),
    }
}

impl Told {
    /// Fails unless it has this name and says all of this.
    #[track_caller]
    pub fn is(&self, name: &str, says: &[&str]) {
        assert_eq!(self.name, name, "{}", self.text);
        for part in says {
            assert!(self.text.contains(part), "{part:?} is not in {:?}", self.text);
        }
    }
}
