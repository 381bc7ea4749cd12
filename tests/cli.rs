//! The real handoverctl against a made-up handoverd on a private bus: what it prints, asks for and exits with.

// Clippy's leave for tests does not reach what their functions call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cli/audits.rs"]
mod audits;
#[path = "cli/batches.rs"]
mod batches;
#[path = "cli/bus.rs"]
mod bus;
#[path = "cli/fake.rs"]
mod fake;
#[path = "cli/freezes.rs"]
mod freezes;
#[path = "cli/objects.rs"]
mod objects;
#[path = "cli/plans.rs"]
mod plans;
#[path = "cli/process.rs"]
mod process;
#[path = "cli/simulated.rs"]
mod simulated;
#[path = "cli/volumes.rs"]
mod volumes;

use bus::Bus;
use fake::{Fake, Script};
use process::{Running, code, command, err, in_time, json, out, run};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[tokio::test]
async fn a_move_prints_a_line_per_step_and_where_the_service_is() {
    let fake = Fake::start(Script::Done).await;
    let output = run(&fake.bus.address, "move web g2 --drain 5m").await;
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(
        out(&output),
        "job 7: done in 2.3 s: web is on g2 (10.77.0.102), generation 4\n"
    );
    let steps = err(&output);
    assert!(
        steps.starts_with("job 7: move web from g1 to g2\njob 7: stage ("),
        "{steps}"
    );
    assert!(steps.contains("job 7: start ("), "{steps}");
    assert!(
        !steps.contains('\u{1b}'),
        "no escape sequences where there is no terminal: {steps}"
    );
    assert_eq!(fake.calls(), ["Move web g2 drain=300s"]);
}

#[tokio::test]
async fn a_move_for_programs_prints_one_object_and_nothing_else() {
    let fake = Fake::start(Script::Done).await;
    let output = run(&fake.bus.address, "move web g2 --json").await;
    assert_eq!((code(&output), err(&output)), (0, ""));
    let job = json(&output);
    assert_eq!(
        (&job["id"], &job["result"], &job["took_ms"]),
        (&7.into(), &"done".into(), &2300.into())
    );
    assert_eq!(job["service"]["guest_name"], "g2");
}

#[tokio::test]
async fn a_failed_job_exits_with_1_and_tells_why_and_where_the_service_is() {
    let fake = Fake::start(Script::Failed).await;
    let output = run(&fake.bus.address, "move web g2").await;
    assert_eq!((code(&output), out(&output)), (1, ""));
    assert!(
        err(&output).ends_with(
            "job 7: failed at start after 2.3 s: port 80 refuses (CheckFailed)\n\
             job 7: web is on g2 (10.77.0.102), generation 4\n"
        ),
        "{}",
        err(&output)
    );
    let fake = Fake::start(Script::Failed).await;
    let output = run(&fake.bus.address, "move web g2 --json").await;
    assert_eq!(
        (code(&output), json(&output)["error_name"].as_str()),
        (1, Some("CheckFailed"))
    );
}

#[tokio::test]
async fn a_refusal_exits_with_3_and_names_its_error() {
    let fake = Fake::start(Script::Done).await;
    let output = run(&fake.bus.address, "move web nowhere").await;
    assert_eq!((code(&output), out(&output)), (3, ""));
    assert_eq!(
        err(&output),
        "handoverctl: refused: no guest is called nowhere (NoSuchGuest)\n"
    );
    let output = run(&fake.bus.address, "move web nowhere --json").await;
    let error: Value = serde_json::from_str(err(&output)).unwrap();
    assert_eq!((code(&output), error["error"].as_str()), (3, Some("NoSuchGuest")));
}

#[tokio::test]
async fn what_is_so_already_is_no_failure() {
    let fake = Fake::start(Script::Done).await;
    let output = run(&fake.bus.address, "move web g1").await;
    assert_eq!(
        (code(&output), out(&output)),
        (0, "already there: web is on g1\n")
    );
    let output = run(&fake.bus.address, "move web g1 --json").await;
    assert_eq!(
        (code(&output), json(&output)["result"].as_str()),
        (0, Some("already-there"))
    );
}

#[tokio::test]
async fn ctrl_c_cancels_the_job_and_waits_for_its_end() {
    let fake = Fake::start(Script::Cancelled).await;
    let mut running = Running::start(&fake.bus.address, "move web g2");
    running.line("waits for its check").await;
    running.interrupt();
    let (code, rest) = running.end().await;
    assert_eq!(code, 1);
    assert!(
        rest.contains("job 7: cancelled after 2.3 s: web is on g2"),
        "{rest}"
    );
    assert_eq!(fake.calls(), ["Move web g2 ", "Cancel"]);
}

#[tokio::test]
async fn a_second_ctrl_c_leaves_the_job_running() {
    let fake = Fake::start(Script::Endless).await;
    let mut running = Running::start(&fake.bus.address, "move web g2");
    running.line("waits for its check").await;
    running.interrupt();
    running.line("cancelling").await;
    running.interrupt();
    let (code, rest) = running.end().await;
    assert_eq!(code, 5);
    assert!(rest.contains("job 7 still runs"), "{rest}");
    assert_eq!(fake.calls(), ["Move web g2 ", "Cancel"], "one Ctrl-C, one Cancel");
}

#[tokio::test]
async fn a_job_past_its_commit_says_so_on_ctrl_c_and_goes_on() {
    let fake = Fake::start(Script::PastCommit).await;
    let mut running = Running::start(&fake.bus.address, "move web g2");
    running.line("waits for its check").await;
    running.interrupt();
    let (code, _) = running.end().await;
    assert_eq!(code, 0, "its end counts, not the refused Cancel");
}

#[tokio::test]
async fn a_job_whose_object_is_gone_when_it_is_read_is_found_in_the_table() {
    let fake = Fake::start(Script::Gone).await;
    let output = run(&fake.bus.address, "move web g2").await;
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(
        out(&output).starts_with("job 7: done in 2.3 s: web is on g2"),
        "{output:?}"
    );
}

#[tokio::test]
async fn an_end_that_only_job_removed_tells_is_noticed() {
    let fake = Fake::start(Script::RemovedOnly).await;
    let output = run(&fake.bus.address, "stop web").await;
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(fake.calls(), ["Stop web"]);
}

#[tokio::test]
async fn a_daemon_that_leaves_the_bus_exits_with_4_and_says_what_to_do() {
    let fake = Fake::start(Script::Vanishes).await;
    let output = run(&fake.bus.address, "move web g2").await;
    assert_eq!(code(&output), 4, "{output:?}");
    assert!(err(&output).contains("handoverctl jobs follow 7"), "{output:?}");
}

#[tokio::test]
async fn without_a_daemon_or_a_bus_every_command_exits_with_4() {
    let bus = Bus::start();
    let output = run(&bus.address, "services").await;
    assert_eq!(code(&output), 4, "{output:?}");
    assert!(err(&output).contains("systemctl start handoverd"), "{output:?}");
    let output = run("unix:path=/nonexistent/bus", "services").await;
    assert_eq!(code(&output), 4, "{output:?}");
}

#[tokio::test]
async fn the_time_out_ends_the_wait_and_not_the_job() {
    let fake = Fake::start(Script::Endless).await;
    let output = run(&fake.bus.address, "move web g2 --timeout 2s").await;
    assert_eq!(code(&output), 5, "{output:?}");
    assert!(err(&output).contains("job 7 still runs at "), "{output:?}");
    assert_eq!(fake.calls(), ["Move web g2 "]);
}

#[tokio::test]
async fn no_wait_prints_the_jobs_number_and_ends() {
    let fake = Fake::start(Script::Endless).await;
    let output = run(&fake.bus.address, "move web g2 --no-wait --json").await;
    assert_eq!((code(&output), &json(&output)["id"]), (0, &7.into()));
    let output = run(&fake.bus.address, "move web g2 --no-wait").await;
    assert!(out(&output).starts_with("job 7: begun"), "{output:?}");
}

#[tokio::test]
async fn services_are_a_table_for_people_and_a_list_for_programs() {
    let fake = Fake::start(Script::Done).await;
    let address = &fake.bus.address;
    let output = run(address, "services").await;
    assert_eq!(
        out(&output),
        "SERVICE  VERSION  GUEST  HOST  ADDRESS      STATE       NAME          GENERATION\n\
         web      1.2      g2     hv1   10.77.0.102  accessible  web.lab.test  4\n"
    );
    let list = json(&run(address, "services --json").await);
    let web = &list.as_array().unwrap()[0];
    for (key, value) in [
        ("id", "web"),
        ("guest", "6f2c0a52-0000-4000-8000-000000000002"),
        ("guest_name", "g2"),
        ("host", "hv1"),
        ("address", "10.77.0.102"),
        ("life_state", "accessible"),
        ("name", "web.lab.test"),
    ] {
        assert_eq!(web[key], value, "{key}");
    }
    assert_eq!((&web["generation"], &web["frozen"]), (&4.into(), &Value::Null));
    assert!(out(&run(address, "services web").await).contains("generation:  4\n"));
    assert_eq!(code(&run(address, "services nosuch --json").await), 3);
}

#[tokio::test]
async fn guests_are_probed_only_when_that_is_asked_for() {
    let fake = Fake::start(Script::Done).await;
    let plain = run(&fake.bus.address, "guests").await;
    assert!(!out(&plain).contains("OBSTACLES"), "{plain:?}");
    let checked = run(&fake.bus.address, "guests g2 --check").await;
    assert!(
        out(&checked).ends_with("g2: no-agent: it does not answer\n"),
        "{checked:?}"
    );
    let list = json(&run(&fake.bus.address, "guests --check --json").await);
    assert_eq!(list[0]["obstacles"][0]["word"], "no-agent");
    assert_eq!(
        fake.calls(),
        [
            "ListGuests ",
            "ListGuests guest=g2,probe=yes",
            "ListGuests probe=yes"
        ]
    );
}

#[tokio::test]
async fn deploying_a_file_registers_it_with_its_sha256_and_sends_config_along() {
    let fake = Fake::start(Script::Done).await;
    let folder = tempfile::tempdir().unwrap();
    let (image, config) = (folder.path().join("web.img"), folder.path().join("site"));
    std::fs::write(&image, "abc").unwrap();
    std::fs::write(&config, "listen 80").unwrap();
    let line = format!(
        "deploy {} --to g2 --stopped --config site={}",
        image.display(),
        config.display()
    );
    let output = run(&fake.bus.address, &line).await;
    assert_eq!(code(&output), 0, "{output:?}");
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(
        fake.calls(),
        [
            format!("RegisterBundle abc sha256={digest}"),
            format!("Deploy {digest} g2 files=site:listen 80,life_state=stopped"),
        ]
    );
}

#[tokio::test]
async fn a_registered_bundle_is_passed_on_as_it_was_named() {
    let fake = Fake::start(Script::Done).await;
    assert_eq!(
        code(&run(&fake.bus.address, "upgrade web web@1.3 --to g2").await),
        0
    );
    assert_eq!(fake.calls(), ["Upgrade web web@1.3 target=g2"]);
    let output = run(&fake.bus.address, "deploy nosuch.img --to g2").await;
    assert_eq!(code(&output), 3, "{output:?}");
    assert_eq!(fake.calls().len(), 1, "nothing was asked for");
}

#[tokio::test]
async fn bundles_are_registered_and_listed() {
    let fake = Fake::start(Script::Done).await;
    let list = run(&fake.bus.address, "bundle list").await;
    assert!(out(&list).contains("web@1.2  4.0 KiB"), "{list:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "abc").unwrap();
    let output = run(
        &fake.bus.address,
        &format!("bundle register {} --json", file.path().display()),
    )
    .await;
    assert_eq!((code(&output), &json(&output)["size"]), (0, &3.into()));
}

#[tokio::test]
async fn a_job_is_shown_with_its_journal_and_the_time_of_each_step() {
    let fake = Fake::start(Script::Done).await;
    assert_eq!(code(&run(&fake.bus.address, "move web g2").await), 0);
    let shown = json(&run(&fake.bus.address, "jobs show 7 --json").await);
    assert_eq!(shown["steps"][0]["step"], "reserve");
    assert_eq!(
        (&shown["steps"][0]["took_ms"], &shown["steps"][1]["took_ms"]),
        (&400.into(), &1900.into())
    );
    assert_eq!(shown["journal"][1]["text"], "reserve -> stage: holds");
    let text = run(&fake.bus.address, "jobs show 7").await;
    assert!(
        out(&text).contains("+2.3 s  stage    stage -> done: holds\n"),
        "{text:?}"
    );
    let list = json(&run(&fake.bus.address, "jobs --json").await);
    assert_eq!(
        (&list[0]["id"], list[0]["result"].as_str()),
        (&7.into(), Some("done"))
    );
    assert_eq!(code(&run(&fake.bus.address, "jobs show 99").await), 3);
}

#[tokio::test]
async fn a_job_is_cancelled_resumed_and_abandoned_by_its_number() {
    let fake = Fake::start(Script::Cancelled).await;
    fake.begin_job().await;
    let output = run(&fake.bus.address, "jobs cancel 7").await;
    assert_eq!(
        code(&output),
        0,
        "a cancelled job is what was asked for: {output:?}"
    );

    let fake = Fake::start(Script::Stuck).await;
    fake.begin_job().await;
    assert_eq!(code(&run(&fake.bus.address, "resume 7").await), 0);
    assert_eq!(code(&run(&fake.bus.address, "abandon 7").await), 0);
    assert_eq!(fake.calls(), ["Resume", "Abandon"]);
    let output = run(&fake.bus.address, "jobs resume 8").await;
    assert_eq!(code(&output), 3, "{output:?}");
    assert!(err(&output).contains("there is no job 8"), "{output:?}");
}

#[tokio::test]
async fn a_followed_job_is_left_alone_by_ctrl_c() {
    let fake = Fake::start(Script::Endless).await;
    fake.begin_job().await;
    let mut running = Running::start(&fake.bus.address, "jobs follow 7");
    running.line("waits for its check").await;
    running.interrupt();
    assert_eq!(running.end().await.0, 5);
    assert!(fake.calls().is_empty(), "who only looks on cancels nothing");
}

#[tokio::test]
async fn watch_prints_a_line_for_what_happens_until_ctrl_c() {
    let fake = Fake::start(Script::Done).await;
    let mut child = command(&fake.bus.address, "watch").spawn().unwrap();
    let mut ready = BufReader::new(child.stderr.take().unwrap()).lines();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        in_time(ready.next_line())
            .await
            .unwrap()
            .unwrap()
            .contains("watching")
    );
    let mut watch = Running { child, lines };
    fake.begin_job().await;
    watch.line("job 7: move web from g1 to g2").await;
    watch.line("job 7: start").await;
    watch.line("job 7: done in 2.3 s: move web from g1 to g2").await;
    fake.raise_generation().await;
    assert_eq!(watch.line("service").await, "service web: generation 4 -> 5");
    watch.interrupt();
    assert_eq!(watch.end().await, (0, String::new()));
}

#[tokio::test]
async fn watch_for_programs_prints_one_object_a_line() {
    let fake = Fake::start(Script::Failed).await;
    let mut child = command(&fake.bus.address, "watch --json").spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut watch = Running { child, lines };
    // A running job is told at the beginning, and one that begins later too: whichever comes first.
    fake.begin_job().await;
    let line: Value = serde_json::from_str(&watch.line("\"failed\"").await).unwrap();
    assert_eq!((line["event"].as_str(), &line["id"]), (Some("job"), &7.into()));
    assert_eq!(line["error_details"], "port 80 refuses");
    fake.raise_generation().await;
    let line: Value = serde_json::from_str(&watch.line("\"service\"").await).unwrap();
    assert_eq!(
        (line["event"].as_str(), &line["generation"]),
        (Some("service"), &5.into())
    );
    watch.interrupt();
    assert_eq!(watch.end().await.0, 0);
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let fake = Fake::start(Script::Done).await;
    let mut child = command(&fake.bus.address, "services").spawn().unwrap();
    drop(child.stdout.take());
    let output = in_time(child.wait_with_output()).await.unwrap();
    assert_eq!((code(&output), err(&output)), (0, ""));
}

#[tokio::test]
async fn a_wrong_command_line_exits_with_2() {
    for line in [
        "",
        "move web",
        "fly web",
        "move web g2 --drain soon",
        "jobs show x",
        "deploy a@1 --to g --config x",
    ] {
        assert_eq!(code(&run("unix:path=/nonexistent/bus", line).await), 2, "{line}");
    }
}

#[tokio::test]
async fn help_completions_and_manual_pages_need_no_daemon() {
    let nowhere = "unix:path=/nonexistent/bus";
    let help = run(nowhere, "--help").await;
    assert!(code(&help) == 0 && out(&help).contains("Exit codes:"), "{help:?}");
    let script = run(nowhere, "completions bash").await;
    assert!(
        code(&script) == 0 && out(&script).contains("_handoverctl"),
        "{script:?}"
    );
    let page = run(nowhere, "man").await;
    assert!(
        code(&page) == 0 && out(&page).contains(".TH handoverctl 1"),
        "{page:?}"
    );
    let folder = tempfile::tempdir().unwrap();
    let all = run(nowhere, &format!("man --dir {}", folder.path().display())).await;
    assert!(
        code(&all) == 0 && folder.path().join("handoverctl-move.1").exists(),
        "{all:?}"
    );
}

/// The types of an interface's members, by kind and name.
fn signatures(xml: &str, interface: &str) -> std::collections::BTreeMap<String, String> {
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..Default::default()
    };
    let document = roxmltree::Document::parse_with_options(xml, options).unwrap();
    let node = document
        .descendants()
        .find(|node| node.has_tag_name("interface") && node.attribute("name") == Some(interface))
        .unwrap_or_else(|| panic!("no interface {interface}"));
    node.children()
        .filter(roxmltree::Node::is_element)
        .filter_map(|member| {
            let name = format!("{} {}", member.tag_name().name(), member.attribute("name")?);
            let args = member.children().filter(|child| child.has_tag_name("arg"));
            let types: Vec<_> = args
                .map(|arg| {
                    format!(
                        "{} {}",
                        arg.attribute("direction").unwrap_or("out"),
                        arg.attribute("type").unwrap()
                    )
                })
                .collect();
            let property = member.attribute("type").map(str::to_owned);
            Some((name, property.unwrap_or_else(|| types.join(", "))))
        })
        .collect()
}

#[tokio::test]
async fn what_handoverctl_was_tested_with_is_what_the_interface_file_says() {
    let file = include_str!("../packaging/dbus/org.handoverd1.xml");
    let fake = Fake::start(Script::Endless).await;
    fake.begin_job().await;
    fake.raise_generation().await;
    run(&fake.bus.address, "plan g1").await;
    for (path, interface) in [
        ("/org/handoverd1", "org.handoverd1.Manager"),
        ("/org/handoverd1/job/7", "org.handoverd1.Job"),
        ("/org/handoverd1/plan/3f9a1c", "org.handoverd1.Plan"),
        ("/org/handoverd1/service/web", "org.handoverd1.Service"),
    ] {
        let proxy = zbus::Proxy::new(&fake.connection, "org.handoverd1", path, interface)
            .await
            .unwrap();
        let documented = signatures(file, interface);
        for (member, signature) in signatures(&proxy.introspect().await.unwrap(), interface) {
            assert_eq!(documented.get(&member), Some(&signature), "{interface} {member}");
        }
    }
}
