//! The real handoverd in a simulated cluster, and the real handoverctl: no hypervisor, no root.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::bus::Bus;
use super::process::{code, err, in_time, json, out, run};

/// The example of the documentation, so fast that nobody waits for a drain.
fn cluster(more: &str) -> String {
    let example = include_str!("../../examples/cluster.toml");
    example.replace("#speed = 1", "speed = 100") + more
}

/// A handoverd that answers; it ends with the value.
struct Daemon {
    bus: Bus,
    _child: Child,
    _folder: tempfile::TempDir,
}

fn program(folder: &tempfile::TempDir, text: &str) -> Command {
    std::fs::write(folder.path().join("cluster.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_handoverd"));
    command
        .arg("--sim")
        .arg(folder.path())
        .env_remove("HANDOVERD_BUS")
        .env_remove("HANDOVERD_LOG")
        .env_remove("JOURNAL_STREAM")
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl Daemon {
    async fn start(text: &str) -> Self {
        let (bus, folder) = (Bus::start(), tempfile::tempdir().unwrap());
        let mut command = program(&folder, text);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        in_time(async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains("ready host=hv1") {
                    return;
                }
            }
            panic!("it ended without being ready");
        })
        .await;
        // Somebody has to read on, or it waits for that.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            bus,
            _child: child,
            _folder: folder,
        }
    }

    async fn run(&self, line: &str) -> std::process::Output {
        run(&self.bus.address, line).await
    }
}

/// The columns of a table's row that begins with `first`.
fn row<'t>(table: &'t str, first: &str) -> Vec<&'t str> {
    let found = table
        .lines()
        .find(|line| line.split_whitespace().next() == Some(first));
    let line = found.unwrap_or_else(|| panic!("no {first} in\n{table}"));
    line.split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_moved_in_a_simulated_cluster() {
    let daemon = Daemon::start(&cluster("")).await;
    let services = daemon.run("services").await;
    let web = [
        "web",
        "1",
        "g1",
        "hv1",
        "10.77.0.101",
        "accessible",
        "web.svc.lab",
        "1",
    ];
    assert_eq!(row(out(&services), "web"), web);
    let guests = daemon.run("guests").await;
    // What stands between them is its load, which may be known by now.
    assert_eq!(
        row(out(&guests), "g1")[..4],
        ["g1", "hv1", "running", "connected"]
    );
    assert!(out(&guests).contains("  10.77.0.101  blog, web  "), "{guests:?}");

    let moved = daemon.run("move web g2").await;
    assert_eq!(code(&moved), 0, "{moved:?}");
    let told = out(&moved);
    assert!(
        told.starts_with("job 1: done in ") && told.ends_with(": web is on g2 (10.77.0.102), generation 2\n"),
        "{told}"
    );
    // What passes before the client looks for the first time is told by the job alone.
    assert!(err(&moved).contains("job 1: drain ("), "{}", err(&moved));
    let shown = daemon.run("jobs show 1").await;
    for step in [
        "reserve", "stage", "start", "confirm", "publish", "drain", "retire",
    ] {
        assert_eq!(row(out(&shown), step)[0], step);
    }
    let jobs = daemon.run("jobs").await;
    assert_eq!(
        row(out(&jobs), "1")[..6],
        ["1", "move", "web", "g1", "g2", "done"]
    );
    let services = daemon.run("services --json").await;
    let services = json(&services);
    let rows = services.as_array().unwrap_or_else(|| panic!("{services}"));
    let web = rows.iter().find(|row| row["id"] == "web").unwrap();
    assert_eq!(
        (&web["guest_name"], &web["generation"]),
        (&"g2".into(), &2.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_emptied_by_a_plan_in_a_simulated_cluster() {
    let daemon = Daemon::start(&cluster("")).await;
    let planned = daemon.run("plan g1 g3").await;
    assert_eq!(code(&planned), 0, "{planned:?}");
    let told = out(&planned);
    let id = told
        .strip_prefix("plan ")
        .and_then(|rest| rest.split_once(':'))
        .unwrap()
        .0;
    let applied = daemon.run(&format!("apply {id}")).await;
    assert_eq!(code(&applied), 0, "{applied:?}");
    let services = daemon.run("services").await;
    for service in ["web", "blog"] {
        assert_eq!(row(out(&services), service)[2], "g3", "{services:?}");
    }
    assert_eq!(row(out(&services), "batch")[2], "g2");
    let audit = daemon.run("audit").await;
    assert_eq!(code(&audit), 0, "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_happen_to_a_simulated_cluster_happens() {
    let text = cluster("\n[[happens]]\nwhat = \"g2 dies\"\n");
    let daemon = Daemon::start(&text).await;
    assert_eq!(row(out(&daemon.run("guests").await), "g2")[2], "shutoff");
    let refused = daemon.run("move web g2").await;
    assert_eq!((code(&refused), out(&refused)), (3, ""));
    assert!(err(&refused).contains("g2"), "{}", err(&refused));
}

#[tokio::test]
async fn an_unknown_word_in_a_simulated_cluster_is_told_and_ends_with_78() {
    let folder = tempfile::tempdir().unwrap();
    let output = in_time(program(&folder, "[[host]]\nname = \"hv1\"\ncolour = \"red\"\n").output())
        .await
        .unwrap();
    assert_eq!(code(&output), 78);
    let line = format!(
        "handoverd: {}/cluster.toml:3: host.colour: there is no such key; the nearest is \"name\" (allowed here: libvirtd, name)\n",
        folder.path().display()
    );
    assert_eq!(err(&output), line);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_in_maintenance_is_drained_and_shown_until_it_ends() {
    let daemon = Daemon::start(&cluster("")).await;
    let begun = daemon
        .run("maintenance guest g1 on --for 40h --reason kernel")
        .await;
    assert_eq!(code(&begun), 0, "{begun:?}");
    let told = out(&begun);
    assert!(told.starts_with("guest g1 is in maintenance\ng1: job "), "{told}");
    let guests = daemon.run("guests g1 --json").await;
    let why = json(&guests)[0]["maintenance"].as_str().unwrap().to_owned();
    assert!(why.contains("for another ") && why.ends_with(": kernel"), "{why}");
    let refused = daemon.run("move batch g1").await;
    assert!(
        code(&refused) != 0 && err(&refused).contains("in maintenance"),
        "{refused:?}"
    );
    let ended = daemon.run("maintenance guest g1 off").await;
    assert_eq!(out(&ended), "guest g1 is no longer in maintenance\n");
    assert_eq!(
        json(&daemon.run("guests g1 --json").await)[0]["maintenance"],
        serde_json::Value::Null
    );
    let wrong = daemon.run("maintenance guest g1 on --for 10s").await;
    assert!(
        err(&wrong).contains("maintenance lasts 1 min to 30 d"),
        "{wrong:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn uneven_loads_are_evened_out_and_even_ones_are_told() {
    let heavy = ["one", "two", "three"].map(|name| {
        format!(
            "\n[[service]]\nname = \"{name}\"\nguest = \"g1\"\nlife = \"running\"\nasks_memory_mib = 1200\n"
        )
    });
    let daemon = Daemon::start(&cluster(&heavy.concat())).await;
    let evened = in_time(async {
        loop {
            let evened = daemon.run("rebalance").await;
            // Until loads are measured for the first time.
            if code(&evened) != 3 {
                return evened;
            }
            assert!(err(&evened).contains("is not measured yet"), "{evened:?}");
        }
    })
    .await;
    assert_eq!(code(&evened), 0, "{evened:?}");
    let services = daemon.run("services").await;
    let mut homes = ["one", "two", "three"].map(|name| row(out(&services), name)[2].to_owned());
    homes.sort();
    assert_eq!(homes, ["g1", "g2", "g3"]);
    let again = daemon.run("rebalance --most 1 --json").await;
    assert_eq!(code(&again), 0, "{again:?}");
    let object = json(&again)["object"].as_str().unwrap_or_default().to_owned();
    assert!(object.ends_with("which is close enough"), "{object:?}: {again:?}");
    let wrong = daemon.run("rebalance --most 65").await;
    assert!(code(&wrong) == 2 && err(&wrong).contains("1..=64"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_of_services_and_of_guests_whose_death_would_leave_them_without_a_home() {
    let daemon = Daemon::start(&cluster("")).await;
    let told = in_time(async {
        loop {
            let told = out(&daemon.run("metrics").await).to_owned();
            // The daemon has looked for homes, audited and watched, each for the first time.
            let all = [
                "homeless_services{guest=\"g3\"",
                "audit_service_copies",
                "watch=\"up\"} 2",
            ];
            if all.iter().all(|part| told.contains(part)) {
                return told;
            }
        }
    })
    .await;
    for line in [
        "# TYPE handoverd_services gauge",
        "handoverd_services{life_state=\"failed\"} 0",
        "handoverd_jobs{state=\"running\"} 0",
        "handoverd_duties 0",
        "handoverd_frozen 0",
        "handoverd_guests{watch=\"unwatched\"} 1",
        "handoverd_audit_service_copies{copies=\"2+\"} 0",
    ] {
        assert!(
            told.lines().any(|known| known == line),
            "{line} is not in\n{told}"
        );
    }
    assert!(told.ends_with("\n# EOF\n"), "{told}");
    let measures = json(&daemon.run("metrics --json").await);
    assert_eq!(
        (&measures["host"], &measures["jobs_stuck"]),
        (&"hv1".into(), &0.into())
    );

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("handoverd.prom");
    let written = daemon.run(&format!("metrics --output {}", file.display())).await;
    assert_eq!((code(&written), out(&written)), (0, ""), "{written:?}");
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .contains("handoverd_build_info{")
    );
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let refused = daemon.run("metrics --output /nonexistent/handoverd.prom").await;
    assert_eq!(code(&refused), 1);
    assert!(
        err(&refused).contains("/nonexistent/handoverd.prom cannot be written"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_and_loads_of_guests_are_shown() {
    let text = cluster("")
        .replace("#labels = []", "labels = [\"ssd\", \"zone=a\"]")
        .replacen("#cpu_used = 0", "cpu_used = 40", 1);
    let daemon = Daemon::start(&text).await;
    let load = in_time(async {
        loop {
            let guests = json(&daemon.run("guests g1 --json").await);
            assert_eq!(guests[0]["labels"], serde_json::json!(["ssd", "zone=a"]));
            // A second look is needed, five seconds of the cluster's time after the first.
            if let Some(load) = guests[0]["load"]["score"].as_f64() {
                return load;
            }
        }
    })
    .await;
    assert!((load - 0.4).abs() < 0.001, "{load}");
    let table = daemon.run("guests").await;
    assert!(
        out(&table).contains("  40 % cpu  ") && out(&table).contains("  ssd, zone=a\n"),
        "{table:?}"
    );
}
