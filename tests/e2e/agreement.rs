//! What must hold when nothing is open: table, zone, libvirt and guests say the same of every service.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::lab::{Lab, POOL, Pause, SLOW, owner_alone};

/// The guest that each service is on, by service.
pub type Homes = BTreeMap<String, String>;

/// The other one of the two guests.
pub fn other(guest: &str) -> &'static str {
    if guest == "g1" { "g2" } else { "g1" }
}

impl Lab {
    /// The home of every service, if all agree on it; else what does not. Services in `down` are wanted down, and are.
    pub fn agreement(&self, down: &[&str]) -> Result<Homes, String> {
        let outside = self.outside()?;
        let mut differs = String::new();
        let mut homes = Homes::new();
        for row in &outside.services {
            let (id, home) = (row["id"].as_str().unwrap(), row["guest_name"].as_str().unwrap());
            homes.insert(id.to_owned(), home.to_owned());
            let name = row["name"].as_str().unwrap_or_default();
            let owner = format!(
                "\"g={} host=hv1 guest={}\"",
                row["generation"],
                row["guest"].as_str().unwrap()
            );
            let zone = &outside.zone;
            // A service without a name is in no zone.
            let (expected, life) = match name {
                "" => (Vec::new(), "running"),
                name => (
                    vec![
                        format!("{name}. A {}", row["address"].as_str().unwrap_or_default()),
                        format!("_handover.{name}. TXT {owner}"),
                    ],
                    "accessible",
                ),
            };
            let found: Vec<&String> = zone
                .iter()
                .filter(|record| {
                    !name.is_empty()
                        && (record.starts_with(&format!("{name}. "))
                            || record.starts_with(&format!("_handover.{name}. ")))
                })
                .collect();
            let wanted_down = ["stopped", "failed"]
                .iter()
                .any(|life| row["life_state"] == *life);
            let as_wanted = match down.contains(&id) {
                true => wanted_down,
                false => row["life_state"] == life,
            };
            if !as_wanted || row["frozen"] != Value::Null {
                writeln!(differs, "the table: {row:#}").unwrap();
            }
            let file = format!(
                "{id}@{}.g{}.qcow2",
                row["guest"].as_str().unwrap(),
                row["generation"]
            );
            let grants: Vec<&String> = outside
                .grants
                .iter()
                .filter(|name| name.starts_with(&format!("{id}@")))
                .collect();
            if grants != [&file] {
                writeln!(differs, "the grants: {grants:?}, and not {file}").unwrap();
            }
            if found.len() != expected.len() || !expected.iter().all(|record| zone.contains(record)) {
                writeln!(differs, "the zone: {found:?}, and not {expected:?}").unwrap();
            }
        }
        for guest in &outside.guests {
            let here = |row: &&Value| row["guest_name"] == guest.as_str();
            let disks: usize = outside
                .services
                .iter()
                .filter(here)
                .map(|row| if row["volume"].is_null() { 1 } else { 2 })
                .sum();
            for half in ["live", "config"] {
                let found = outside
                    .disks
                    .iter()
                    .filter(|d| **d == format!("{guest} {half}"))
                    .count();
                if found != disks {
                    writeln!(
                        differs,
                        "{guest} has {found} disks of ours in its {half} definition, not {disks}"
                    )
                    .unwrap();
                }
            }
            let inside = self.inside(guest, &outside.services)?;
            for (row, found) in outside.services.iter().zip(inside) {
                let id = row["id"].as_str().unwrap();
                let mut standbys = row["standbys"].as_array().into_iter().flatten();
                let is_standby = standbys.any(|standby| standby["guest"] == guest.as_str());
                let (wanted, agrees) = match (here(&row), down.contains(&id)) {
                    (false, _) if is_standby => {
                        ("installed, and down", found != "active" && !found.is_empty())
                    }
                    (true, true) => ("down", found != "active" && !found.is_empty()),
                    (true, false) => ("active", found == "active"),
                    (false, _) => ("", found.is_empty()),
                };
                if !agrees {
                    writeln!(differs, "{id} on {guest}: {found:?}, and not {wanted:?}").unwrap();
                }
            }
        }
        if !differs.is_empty() {
            return Err(differs);
        }
        // The auditor, which looks for itself, finds nothing either.
        let audit = self.ctl(&["audit"]);
        if audit.code == 0 {
            Ok(homes)
        } else {
            Err(format!("{}{}", audit.out, audit.err))
        }
    }

    /// Fails unless all agree at once; the home of every service.
    #[track_caller]
    pub fn agrees(&self, when: &str) -> Homes {
        self.agreement(&[]).unwrap_or_else(|why| panic!("{when}: {why}"))
    }

    /// Waits until all agree: what a guest that was away still owes is carried out when its agent speaks.
    #[track_caller]
    pub fn comes_to_agree(&self, when: &str) -> Homes {
        self.comes_to_agree_but(&[], when)
    }

    /// The same; services in `down` are down.
    #[track_caller]
    pub fn comes_to_agree_but(&self, down: &[&str], when: &str) -> Homes {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(150 * SLOW);
        let mut pause = Pause::default();
        loop {
            match self.agreement(down) {
                Ok(homes) => return homes,
                Err(why) => assert!(std::time::Instant::now() < until, "{when}: {why}"),
            }
            pause.pass();
        }
    }

    fn outside(&self) -> Result<Outside, String> {
        // Every host of the lab is in hv1's /etc/hosts.
        let line = format!(
            "v() {{ h=$1; shift; [ $h = hv1 ] || set -- -c qemu+tls://$h/system \"$@\"; virsh -q \"$@\"; }}; \
            all=$(awk '$2 ~ /^hv/ {{ print $2 }}' /etc/hosts); \
            handoverctl services --json; echo ----; \
            dig +noall +answer @10.77.0.2 svc.lab AXFR; echo ----; \
            for h in $all; do v $h list --all --name || echo \"(no answer of $h)\"; done | grep .; echo ----; \
            for h in $all; do for g in $(v $h list --all --name); do for half in live config; do \
            v $h dumpxml $g $([ $half = live ] || echo --inactive) | grep '<serial>ho' | sed \"s/.*/$g $half/\"; \
            done; done; done; echo ----; ls {POOL} | grep @"
        );
        let ran = self.exec("hv1", &["sh", "-c", &line]);
        let mut parts = ran.out.split("----\n");
        let mut next = || parts.next().ok_or_else(|| format!("hv1: {ran:?}"));
        let services = serde_json::from_str(next()?).map_err(|e| format!("{e}: {ran:?}"))?;
        let zone = next()?
            .lines()
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                match words.as_slice() {
                    [name, _ttl, _class, kind, data @ ..] => {
                        // An owner tells where its guest was when it was published: it may have been migrated since.
                        let data = owner_alone(&data.join(" ")).replace(" host=hv2 ", " host=hv1 ");
                        format!("{name} {kind} {data}")
                    }
                    _ => line.to_owned(),
                }
            })
            .collect();
        let guests = next()?.lines().map(str::to_owned).collect();
        let disks = next()?.lines().map(str::to_owned).collect();
        let grants = next()?.lines().map(str::to_owned).collect();
        Ok(Outside {
            services,
            zone,
            guests,
            disks,
            grants,
        })
    }

    /// What a guest has of each of these services: `active` where it is up; empty where it has no trace; else what there is.
    fn inside(&self, guest: &str, services: &[Value]) -> Result<Vec<String>, String> {
        let mut line = String::new();
        for row in services {
            let service = row["id"].as_str().unwrap();
            let data = row["volume"]["mount"].as_str().unwrap_or("/opt/nothing");
            write!(
                line,
                "if systemctl is-active -q {service}.service; then echo active; else \
                 find /etc/systemd /run/systemd/system /opt -name '*{service}*'; \
                 grep -E ' (/opt/{service}|{data}) ' /proc/self/mountinfo; ls -d {data} 2>/dev/null; fi; echo ----; "
            )
            .unwrap();
        }
        let ran = self.guest(guest, &line);
        let found: Vec<String> = ran
            .out
            .split("----\n")
            .map(|part| part.trim().to_owned())
            .collect();
        match found.len() {
            parts if ran.code == 0 && parts > services.len() => Ok(found),
            _ => Err(format!("{guest}: {} {}", ran.out, ran.err)),
        }
    }
}

/// What is seen without asking a guest.
struct Outside {
    services: Vec<Value>,
    /// `NAME TYPE DATA` of each record.
    zone: Vec<String>,
    /// The guests of all hosts; one that is defined on two is there twice.
    guests: Vec<String>,
    /// `GUEST live` or `GUEST config`, once for each disk of ours.
    disks: Vec<String>,
    /// The files in the pool by which guests have bundles.
    grants: Vec<String>,
}
