//! Standbys on real guests: kept, and an evacuation to one measured against a cold one in the same run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::evacuation::Evacuating;
use crate::lab::Lab;

/// Asks for a page until the guest answers, and prints when that was, in seconds since 1970.
const UNTIL: &str = "\
import sys, time, urllib.request as r
url, guest = sys.argv[1:]
until = time.time() + 300
while time.time() < until:
    try:
        if 'guest=' + guest in r.urlopen(url, timeout=1).read().decode():
            print(time.time())
            sys.exit(0)
    except OSError:
        pass
    time.sleep(0.02)
sys.exit(1)
";

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

impl Lab {
    /// The standbys of a service, as `name state`.
    #[track_caller]
    fn standbys(&self, service: &str) -> Vec<String> {
        let row = self.service(service);
        let all = row["standbys"].as_array().unwrap().iter();
        all.map(|one| {
            let text = |key: &str| one[key].as_str().unwrap().to_owned();
            format!("{} {}", text("guest"), text("state"))
        })
        .collect()
    }

    #[track_caller]
    fn has_standbys(&self, service: &str, wanted: &[&str]) {
        self.wait_for(&format!("{service} has the standbys {wanted:?}"), 120, || {
            (self.standbys(service) == wanted).then_some(())
        });
    }

    /// When the units of web and of `others` were up in a guest. The guest's clock of its uptime is read with an answer that
    /// takes time to come back: the shortest of several counts.
    #[track_caller]
    fn up_at(&self, guest: &str, others: &[&str]) -> Duration {
        let ask = format!(
            "for unit in web {}; do systemctl show -p ActiveEnterTimestampMonotonic --value $unit.service; done \
             | sort -n | tail -n 1; cat /proc/uptime",
            others.join(" ")
        );
        let up_at = (0..5).map(|_| {
            let said = self.guest(guest, &ask).ok();
            let now = since_1970();
            let mut words = said.split_whitespace();
            let entered: f64 = words.next().unwrap().parse().unwrap();
            let uptime: f64 = words.next().unwrap().parse().unwrap();
            now - Duration::from_secs_f64(uptime - entered / 1e6)
        });
        up_at.min().unwrap()
    }

    /// Kills g1, and waits until web answers on g2.
    #[track_caller]
    fn killed_until_all_are_on_g2(&self, others: &[&str]) -> Took {
        let url = "http://10.77.0.102:8080/";
        let asking = self.in_background("client", &["python3", "-c", UNTIL, url, "g2"]);
        let before = self.evacuation();
        // It asks already when the guest dies.
        std::thread::sleep(Duration::from_millis(500));
        let killed = since_1970();
        self.kill_qemu("g1");
        let asked = asking.wait_with_output().unwrap();
        assert!(asked.status.success(), "web never answered: {asked:?}");
        let text = String::from_utf8(asked.stdout).unwrap();
        let answered = Duration::from_secs_f64(text.trim().parse().unwrap());
        self.is_evacuated(&before);
        for service in others {
            assert_eq!(self.home(service), "g2");
        }
        Took {
            up: self.up_at("g2", others) - killed,
            answered: answered - killed,
        }
    }

    /// Evacuates web and `others` to g2, which has nothing of them, and removes them.
    #[track_caller]
    fn evacuated_cold(&self, others: &[&str]) -> Took {
        // What the program needs has been read in both guests.
        self.ctl(&["deploy", &self.held("web", 8080, "1", ""), "--to", "g2"])
            .ok();
        self.ctl(&["move", "web", "g1", "--drain", "0"]).ok();
        for service in others {
            self.ctl(&["deploy", &self.marking(service, ""), "--to", "g1"])
                .ok();
        }
        let took = self.killed_until_all_are_on_g2(others);
        eprintln!(
            "cold: {:?} after the kill of g1 all are up on g2, and web answers after {:?}",
            took.up, took.answered
        );
        self.starts("g1");
        self.comes_to_agree("g1 is back");
        self.removes(others);
        took
    }

    /// Evacuates web and `others` to their standbys on g2.
    #[track_caller]
    fn evacuated_to_standbys(&self, others: &[&str]) -> Took {
        let standby = "[placement]\nstandbys = 1";
        self.ctl(&["deploy", &self.held("web", 8080, "2", standby), "--to", "g1"])
            .ok();
        for service in others {
            self.ctl(&["deploy", &self.marking(service, standby), "--to", "g1"])
                .ok();
        }
        for service in [&["web"], others].concat() {
            self.has_standbys(service, &["g2 ready"]);
        }
        self.agrees("with standbys");
        let (reloaded, attempt) = (self.reloaded("g2"), self.attempt("g2"));
        let took = self.killed_until_all_are_on_g2(others);
        eprintln!(
            "to standbys: all are up after {:?}, and web answers after {:?}",
            took.up, took.answered
        );
        assert_eq!(self.reloaded("g2"), reloaded, "nothing was loaded anew");
        let scripts = self.attempt("g2") - attempt;
        assert!(
            scripts <= 1,
            "{scripts} scripts changed something: at most its start is sure"
        );
        took
    }

    #[track_caller]
    fn removes(&self, others: &[&str]) {
        let lines: Vec<[&str; 2]> = [&["web"], others]
            .concat()
            .iter()
            .map(|service| ["remove", *service])
            .collect();
        let lines: Vec<&[&str]> = lines.iter().map(|line| &line[..]).collect();
        self.at_once(&lines);
    }

    /// When systemd of a guest last loaded all its units.
    #[track_caller]
    fn reloaded(&self, guest: &str) -> String {
        self.guest(guest, "systemctl show -p UnitsLoadTimestampMonotonic")
            .ok()
    }

    /// The number of the last script that changed something of web in a guest.
    #[track_caller]
    fn attempt(&self, guest: &str) -> u64 {
        let said = self.guest(guest, "cat /run/handoverd/web.attempt").ok();
        said.trim().parse().unwrap()
    }
}

/// What an evacuation took after the kill.
struct Took {
    /// Until the units of all services were up.
    up: Duration,
    /// Until web answered a request.
    answered: Duration,
}

#[test]
fn an_evacuation_to_standbys_is_a_hot_plug_and_takes_at_most_half_the_time_of_a_cold_one() {
    let lab = Lab::take();
    let _on = Evacuating::on(&lab);
    let others = ["poller", "sidecar"];
    let cold = lab.evacuated_cold(&others);
    let warm = lab.evacuated_to_standbys(&others);
    // How long something takes is also up to what else the machine does: the bound is for `make bench`.
    assert!(
        std::env::var_os("BENCH").is_none() || warm.up * 2 <= cold.up,
        "cold {:?}, to standbys {:?}: that is more than half",
        cold.up,
        warm.up
    );

    // Back, the guest that died is the standby; stopped, the standby's disk would start nothing.
    lab.starts("g1");
    lab.has_standbys("web", &["g1 ready"]);
    lab.ctl(&["stop", "web"]).ok();
    let wants = "ls /etc/systemd/system/dev-disk-by*.device.wants 2>/dev/null | grep -c '^web'";
    lab.wait_for("no link is left on the standby", 60, || {
        (lab.guest("g1", wants).out.trim() == "0" && lab.standbys("web") == ["g1 ready"]).then_some(())
    });
    lab.ctl(&["audit"]).ok();
    lab.removes(&others);
    lab.wait_for("the units of the standby are gone", 60, || {
        let placed = "test -e /etc/systemd/system.attached/handoverd-web.placed";
        (lab.guest("g1", placed).code == 1).then_some(())
    });
}

#[test]
#[ignore = "times, and so for a quiet machine: `make bench` runs it"]
fn one_service_answers_elsewhere_within_six_seconds_and_on_its_standby_within_three() {
    let lab = Lab::take();
    let _on = Evacuating::on(&lab);
    let cold = lab.evacuated_cold(&[]);
    let warm = lab.evacuated_to_standbys(&[]);
    lab.starts("g1");
    lab.comes_to_agree("g1 is back");
    lab.removes(&[]);
    assert!(
        cold.answered <= Duration::from_secs(6),
        "cold: {:?}",
        cold.answered
    );
    assert!(
        warm.answered <= Duration::from_secs(3),
        "to its standby: {:?}",
        warm.answered
    );
}
