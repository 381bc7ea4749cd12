//! Probe, check and quoting.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use handoverd::adapters::guest_agent::answer::parse_probe;
use handoverd::adapters::guest_agent::check;
use handoverd::adapters::guest_agent::script::{self, Root};
use handoverd::adapters::guest_agent::vitals;
use handoverd::model::manifest::{Check, CheckProbe};
use handoverd::model::vitals::Vitals;
use handoverd::ports::{GuestStep, Tries};

use crate::fake::{DEADLINE, Fake, in_each_shell, shells, web};

#[test]
fn a_probe_tells_what_is_there() {
    in_each_shell(|fake| {
        let mut placement = web();
        placement.user = Some("root".to_owned());
        placement.ports = vec![8080, 80, 443];
        let socket = |port: &str, state: &str| {
            format!(
                "   0: 00000000:{port} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
            )
        };
        fs::write(
            fake.at("/proc/net/tcp"),
            format!(
                "  sl  local_address rem_address st\n{}{}{}",
                socket("1F90", "0A"),
                socket("0050", "01"),
                socket("0016", "0A")
            ),
        )
        .unwrap();
        let six =
            "   0: 00000000000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 0 0\n";
        fs::write(fake.at("/proc/net/tcp6"), six).unwrap();
        fs::write(fake.state("active.udisks2.service"), "").unwrap();
        placement.check = Some(Check {
            probe: CheckProbe::Command(vec!["/usr/bin/no such".to_owned()]),
            interval: Duration::ZERO,
            timeout: DEADLINE,
            successes: 1,
        });
        let probe = || {
            parse_probe(
                &fake.run(&script::probe(&fake.root(), &placement).unwrap()),
                &placement,
            )
            .unwrap()
        };
        let report = probe();
        assert_eq!(report.systemd, 252);
        assert!(report.squashfs && report.etc_writable && !report.machine.is_empty());
        assert_eq!(report.uid, Some(0));
        assert_eq!(report.ports_in_use, [8080, 443]);
        assert_eq!(report.claimers, ["udisks2"]);
        assert_eq!(report.missing_tools, ["/usr/bin/no such"]);
        assert!(report.foreign_units.is_empty() && !report.foreign_folder && report.foreign_mount.is_none());
        // Ports that our own copy holds are not in the way.
        fake.act(&placement, GuestStep::Install, 1);
        fs::write(fake.state("active.web.service"), "").unwrap();
        assert!(probe().ports_in_use.is_empty());
    });
}

#[test]
fn a_check_says_why_it_did_not_pass() {
    in_each_shell(|fake| {
        let command =
            |words: &[&str]| CheckProbe::Command(words.iter().map(|word| (*word).to_owned()).collect());
        let ask = |probe: &CheckProbe| {
            let text =
                fake.run(&check::render(&fake.root(), probe, Tries::ONE, Duration::from_secs(3)).unwrap());
            check::parse(&text, probe).unwrap_or_else(|error| panic!("{error}\n{text}"))
        };
        assert_eq!(ask(&command(&["true"])), Ok(()));
        assert_eq!(
            ask(&command(&["test", "it's $HOME `id`", "=", "it's $HOME `id`"])),
            Ok(())
        );
        assert_eq!(
            ask(&command(&[
                "sh",
                "-c",
                "echo said=x; echo result=done >&2; exit 3"
            ])),
            Err("sh exited with 3: said=x result=done".to_owned())
        );
        assert_eq!(
            ask(&command(&["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x"])),
            Ok(()),
            "much output is no failure"
        );
        let long = ask(&command(&[
            "sh",
            "-c",
            "head -c 1000000 /dev/zero | tr '\\0' x; exit 1",
        ]))
        .unwrap_err();
        assert!(long.len() < 300, "{}", long.len());
        assert!(ask(&command(&["sleep", "30"])).unwrap_err().contains("in time"));
        assert!(ask(&command(&["/no/such"])).unwrap_err().contains("is not there"));
        assert!(ask(&command(&["cat"])).is_ok(), "it reads nothing of the script");

        let marks = fake.state("marks");
        let count = format!("echo x >>'{0}'; [ $(wc -l <'{0}') -lt 3 ]", marks.display());
        let tries = |passes| {
            let tries = Tries {
                passes,
                interval: Duration::from_millis(1),
            };
            let probe = command(&["sh", "-c", &count]);
            let script = check::render(&fake.root(), &probe, tries, Duration::from_secs(3)).unwrap();
            check::parse(&fake.run(&script), &probe).unwrap()
        };
        assert_eq!(tries(2), Ok(()));
        fs::remove_file(&marks).unwrap();
        assert!(tries(9).unwrap_err().contains("exited with 1"));
        assert_eq!(fs::read_to_string(&marks).unwrap(), "x\nx\nx\n");
    });
}

#[test]
fn tcp_and_http_are_checked_with_whatever_program_is_there() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = Arc::new(AtomicU32::new(0));
    let serves = Arc::clone(&served);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let before = serves.fetch_add(1, SeqCst);
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut chunk = [0; 1024];
                match stream.read(&mut chunk) {
                    Ok(read) if read > 0 => request.extend_from_slice(&chunk[..read]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let status = if request.starts_with("GET /a?b=1 ") {
                "204 No Content"
            } else if request.contains("/moved") {
                "302 Found\r\nLocation: /bad"
            } else if request.contains("/thrice") && before < 3 {
                "200 OK"
            } else {
                "503 Busy"
            };
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            .ok();
        }
    });
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for tool in ["curl", "bash", "perl", "wget"] {
        let Some(program) = ["/usr/bin", "/bin"]
            .iter()
            .map(|dir| Path::new(dir).join(tool))
            .find(|path| path.exists())
        else {
            continue;
        };
        let fake = Fake::new(&["dash"]);
        for needed in ["timeout", "dash", "sleep"] {
            symlink(
                Path::new("/usr/bin").join(needed),
                fake.dir.path().join("bin").join(needed),
            )
            .unwrap();
        }
        symlink(program, fake.dir.path().join("bin").join(tool)).unwrap();
        let root = Root {
            prefix: String::new(),
            path: fake.dir.path().join("bin").display().to_string(),
        };
        let ask = |tries: Tries, probe: &CheckProbe| {
            served.store(0, SeqCst);
            let script = check::render(&root, probe, tries, DEADLINE).unwrap();
            check::parse(&fake.run(&script), probe).unwrap()
        };
        let once = |probe: &CheckProbe| ask(Tries::ONE, probe);
        let http = |path: &str| CheckProbe::Http(format!("http://127.0.0.1:{port}{path}"));
        assert_eq!(once(&http("/a?b=1")), Ok(()), "{tool}");
        assert_eq!(once(&http("/moved")), Ok(()), "{tool}");
        assert!(once(&http("")).unwrap_err().contains("status 503"), "{tool}");
        assert!(
            once(&CheckProbe::Http(format!("http://127.0.0.1:{free}/"))).is_err(),
            "{tool}"
        );
        let thrice = Tries {
            passes: 3,
            interval: Duration::from_millis(10),
        };
        let began = Instant::now();
        assert_eq!(ask(thrice, &http("/thrice")), Ok(()), "{tool}");
        assert!(began.elapsed() >= thrice.interval * 2, "{tool}");
        assert_eq!(served.load(SeqCst), 3, "{tool}");
        let five = Tries { passes: 5, ..thrice };
        assert!(
            ask(five, &http("/thrice")).unwrap_err().contains("status 503"),
            "{tool}"
        );
        assert_eq!(served.load(SeqCst), 4, "{tool}: the first that fails is the last");
        if tool != "wget" {
            assert_eq!(
                ask(thrice, &CheckProbe::Tcp("127.0.0.1".to_owned(), port)),
                Ok(()),
                "{tool}"
            );
            assert_eq!(
                once(&CheckProbe::Tcp("127.0.0.1".to_owned(), port)),
                Ok(()),
                "{tool}"
            );
            assert!(
                once(&CheckProbe::Tcp("127.0.0.1".to_owned(), free)).is_err(),
                "{tool}"
            );
        }
    }
}

#[test]
fn quoted_text_reaches_a_program_as_it_is() {
    for shell in shells() {
        let fake = Fake::new(&shell);
        for text in [
            "",
            "'",
            "''",
            "a'b\"c",
            "\\",
            "\\n",
            "$HOME",
            "`id`",
            "$(id)",
            "a\nb",
            "*",
            "~",
            "é\u{81}\u{88}",
            "\u{1f600}",
            "-n",
            "!!",
            ";|&<>(){}",
        ] {
            assert_eq!(
                fake.run(&format!("printf %s {}", script::quote(text))),
                text,
                "{shell:?}"
            );
        }
    }
}

#[test]
fn a_guest_says_how_much_memory_and_how_much_pressure_it_has() {
    in_each_shell(|fake| {
        let ask = || vitals::parse(&fake.run(&vitals::render(&fake.root())));
        assert!(ask().is_err(), "without /proc/meminfo nothing is known");
        fs::write(
            fake.at("/proc/meminfo"),
            "MemTotal:         386712 kB\nMemFree:           12000 kB\nMemAvailable:     290034 kB\nBuffers: 1 kB\n",
        )
        .unwrap();
        let mut known = Vitals {
            memory: 386_712 * 1024,
            available: 290_034 * 1024,
            pressure: None,
        };
        assert_eq!(ask(), Ok(known));
        fs::create_dir(fake.at("/proc/pressure")).unwrap();
        for (what, lately) in [("cpu", "1.50"), ("memory", "0.00"), ("io", "7.25")] {
            let line = |kind, lately| format!("{kind} avg10={lately} avg60=50.00 avg300=50.00 total=12345\n");
            let text = line("some", lately) + &line("full", "90.00");
            fs::write(fake.at("/proc/pressure").join(what), text).unwrap();
        }
        known.pressure = Some(725);
        assert_eq!(ask(), Ok(known));
    });
}
