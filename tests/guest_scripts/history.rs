//! What a look tells of the time before it: a stop is told from a boot.

use std::fs;

use handoverd::model::life::Enablement;
use handoverd::ports::GuestStep;

use crate::fake::{Fake, in_each_shell, web};

/// The guest boots: nothing runs any more, and /run is empty.
fn boot(fake: &Fake) {
    for unit in ["web.service", "opt-web.mount"] {
        fs::remove_file(fake.state(&format!("active.{unit}"))).ok();
    }
    fs::remove_dir_all(fake.at("/run/handoverd")).unwrap();
    fs::write(fake.at("/proc/self/mountinfo"), "").unwrap();
}

/// An operator stops it.
fn stop(fake: &Fake) {
    fs::remove_file(fake.state("active.web.service")).unwrap();
}

#[test]
fn a_copy_that_was_started_here_and_is_down_was_stopped_until_the_guest_boots() {
    in_each_shell(|fake| {
        let web = web();
        fake.attach(&web);
        fake.act(&web, GuestStep::Install, 1);
        let placed = fake.look(&web);
        assert!(!placed.was_up, "it was placed, and never started");
        assert_eq!(placed.system, "running");

        fake.act(&web, GuestStep::Start(Enablement::Disabled), 2);
        let up = fake.look(&web);
        assert!(up.is_up() && up.was_up);
        assert_eq!(up.system, "", "nobody asks for it while all is well");
        stop(&fake);
        let stopped = fake.look(&web);
        assert!(stopped.is_down() && stopped.was_up);

        boot(&fake);
        fs::write(fake.state("system"), "stopping").unwrap();
        let booted = fake.look(&web);
        assert!(booted.is_down() && !booted.was_up);
        assert_eq!(booted.system, "stopping");
    });
}

#[test]
fn of_a_unit_that_is_linked_to_its_disk_systemd_knows_whether_it_was_up() {
    in_each_shell(|fake| {
        let web = web();
        fake.attach(&web);
        fake.act(&web, GuestStep::Install, 1);
        fake.act(&web, GuestStep::Link(Enablement::Enabled), 2);
        assert!(!fake.look(&web).was_up, "its disk has not started it yet");
        fs::write(fake.state("entered"), "12345678").unwrap();
        assert!(fake.look(&web).was_up);
    });
}

#[test]
fn a_unit_that_is_seen_up_by_a_link_step_is_known_to_have_been_up() {
    in_each_shell(|fake| {
        let web = web();
        fake.attach(&web);
        fake.act(&web, GuestStep::Install, 1);
        fs::write(fake.state("active.web.service"), "").unwrap();
        assert!(
            !fake.look(&web).was_up,
            "an operator started it, and nobody noted it"
        );
        fake.act(&web, GuestStep::Link(Enablement::Disabled), 2);
        stop(&fake);
        assert!(fake.look(&web).was_up);
    });
}

#[test]
fn a_guest_without_a_copy_is_asked_nothing_more_and_a_removed_copy_leaves_no_mark() {
    in_each_shell(|fake| {
        let web = web();
        assert_eq!(fake.look(&web).system, "");
        fake.attach(&web);
        fake.act(&web, GuestStep::Install, 1);
        fake.act(&web, GuestStep::Start(Enablement::Enabled), 2);
        assert!(fake.at("/run/handoverd/web.up").exists());
        fake.act(&web, GuestStep::Uninstall, 3);
        assert!(!fake.at("/run/handoverd/web.up").exists());
    });
}

#[test]
fn a_start_that_fails_leaves_no_mark() {
    in_each_shell(|fake| {
        let web = web();
        fake.attach(&web);
        fake.act(&web, GuestStep::Install, 1);
        fs::write(fake.state("refuses"), "web.service").unwrap();
        fake.act(&web, GuestStep::Start(Enablement::Enabled), 2);
        assert!(!fake.look(&web).was_up);
    });
}

#[test]
fn a_file_is_read_back_as_it_is() {
    use handoverd::adapters::guest_agent::read_back::{parse_file, render};
    in_each_shell(|fake| {
        let web = web();
        let read = |path: &str| {
            let text = fake.run(&render(&fake.root(), &web, path, 100_000).unwrap());
            parse_file(&text, 100_000)
        };
        assert_eq!(read("/etc/nothing"), Ok(None));
        for content in [
            Vec::new(),
            b"a=b\n".to_vec(),
            (0..65_536_u32).map(|n| n.to_le_bytes()[0]).collect(),
        ] {
            fs::write(fake.at("/etc/it's.conf"), &content).unwrap();
            assert_eq!(read("/etc/it's.conf"), Ok(Some(content)));
        }
        fs::write(fake.at("/etc/large"), vec![b'x'; 100_001]).unwrap();
        assert!(read("/etc/large").is_err());
        assert!(render(&fake.root(), &web, "/etc/../shadow", 1).is_err());
    });
}
