//! Standbys on real guests: kept, and an evacuation to one measured against a cold one in the same run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::evacuation::Evacuating;
use crate::lab::Lab;

/// Asks for a page until the guest answers, and prints when that was, in seconds since 1970.
const UNTIL: &str = "\
import sys, time, urllib.request as r
url, guest = sys.argv[1:]
until = time.time() + 60
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

    /// For how long the unit of web has been up in a guest. The guest's clock of its uptime is read with an answer that takes
    /// time to come back: the shortest of several counts.
    #[track_caller]
    fn up_at(&self, guest: &str) -> Duration {
        let ask = "systemctl show -p ActiveEnterTimestampMonotonic --value web.service; cat /proc/uptime";
        let up_at = (0..5).map(|_| {
            let said = self.guest(guest, ask).ok();
            let now = since_1970();
            let mut words = said.split_whitespace();
            let entered: f64 = words.next().unwrap().parse().unwrap();
            let uptime: f64 = words.next().unwrap().parse().unwrap();
            now - Duration::from_secs_f64(uptime - entered / 1e6)
        });
        up_at.min().unwrap()
    }

    /// Kills g1, and waits until web answers on g2; how long it took until it was up, and until it answered.
    #[track_caller]
    fn killed_until_web_is_up_on_g2(&self) -> (Duration, Duration) {
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
        (self.up_at("g2") - killed, answered - killed)
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

#[test]
fn an_evacuation_to_a_standby_takes_at_most_half_the_time_of_a_cold_one() {
    let lab = Lab::take();
    let _on = Evacuating::on(&lab);
    let with = lab.held("web", 8080, "1", "[placement]\nstandbys = 1");
    let without = lab.held("web", 8080, "2", "");
    // What the program needs has been read in both guests.
    lab.ctl(&["deploy", &without, "--to", "g2"]).ok();
    lab.ctl(&["move", "web", "g1", "--drain", "0"]).ok();
    let (cold, answered) = lab.killed_until_web_is_up_on_g2();
    eprintln!("cold: {cold:?} after the kill of g1 web is up on g2, and answers after {answered:?}");
    lab.starts("g1");
    lab.comes_to_agree("g1 is back");
    lab.ctl(&["remove", "web"]).ok();

    lab.ctl(&["deploy", &with, "--to", "g1"]).ok();
    lab.has_standbys("web", &["g2 ready"]);
    lab.agrees("with a standby");
    assert_eq!(lab.unit("g2", "ActiveState", "web.service"), "inactive");
    let (reloaded, attempt) = (lab.reloaded("g2"), lab.attempt("g2"));
    let (standby, answered) = lab.killed_until_web_is_up_on_g2();
    eprintln!("to a standby: up after {standby:?}, and answers after {answered:?}");
    assert_eq!(lab.reloaded("g2"), reloaded, "nothing was loaded anew");
    let scripts = lab.attempt("g2") - attempt;
    assert!(
        scripts <= 1,
        "{scripts} scripts changed something: at most its start is sure"
    );
    assert!(
        standby * 2 <= cold,
        "cold {cold:?}, to a standby {standby:?}: that is more than half"
    );

    // Back, the guest that died is the standby; stopped, the standby's disk would start nothing.
    lab.starts("g1");
    lab.has_standbys("web", &["g1 ready"]);
    lab.ctl(&["stop", "web"]).ok();
    let wants = "ls -A /etc/systemd/system/dev-disk-by*.device.wants 2>/dev/null | wc -l";
    lab.wait_for("no link is left on the standby", 60, || {
        (lab.guest("g1", wants).ok().trim() == "0" && lab.standbys("web") == ["g1 ready"]).then_some(())
    });
    lab.ctl(&["audit"]).ok();
    lab.ctl(&["remove", "web"]).ok();
    lab.wait_for("the units of the standby are gone", 60, || {
        let placed = "test -e /etc/systemd/system.attached/handoverd-web.placed";
        (lab.guest("g1", placed).code == 1).then_some(())
    });
}
