//! Agents, events, and a libvirtd that goes away.

use super::*;

#[tokio::test]
async fn agent_commands_are_answered_in_turn_and_errors_told_apart() {
    let Some(lab) = lab("agent_commands_are_answered_in_turn_and_errors_told_apart").await else {
        return;
    };
    let ping = r#"{"execute":"guest-ping"}"#;
    let begun = Instant::now();
    let answer = lab.hosts.agent_command(lab.guest, ping, PATIENCE).await.unwrap();
    println!("ping: {:?}", begun.elapsed());
    assert_eq!(answer, r#"{"return":{}}"#);

    let begun = Instant::now();
    let many = (0..20).map(|_| lab.hosts.agent_command(lab.guest, ping, PATIENCE));
    let answers = futures_util::future::join_all(many).await;
    println!("20 pings at once: {:?}", begun.elapsed());
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");

    for (command, words) in [
        (r#"{"execute":"guest-nope"}"#, "not been found"),
        (
            r#"{"execute":"guest-exec-status","arguments":{"pid":1}}"#,
            "guest-exec-status",
        ),
    ] {
        let error = lab
            .hosts
            .agent_command(lab.guest, command, PATIENCE)
            .await
            .unwrap_err();
        println!("{error}");
        assert_eq!(error.fault, Fault::Refused, "{error}");
        assert!(error.message.contains(words), "{error}");
    }
    // No time at all: nothing is sent.
    let error = lab
        .hosts
        .agent_command(lab.guest, ping, Duration::ZERO)
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Unavailable, "{error}");
}

#[tokio::test]
async fn a_stopped_agent_is_told_and_its_return_is_an_event() {
    let Some(lab) = lab("a_stopped_agent_is_told_and_its_return_is_an_event").await else {
        return;
    };
    let mut events = lab.hosts.events();
    // The agent restarts itself: stopped by a job of systemd's, started again three seconds later.
    let script = "systemd-run --no-block sh -c 'systemctl stop qemu-guest-agent; sleep 3; systemctl start qemu-guest-agent'";
    let command =
        format!(r#"{{"execute":"guest-exec","arguments":{{"path":"/bin/sh","arg":["-c","{script}"]}}}}"#);
    lab.hosts
        .agent_command(lab.guest, &command, PATIENCE)
        .await
        .unwrap();
    let of_agent =
        |state: bool| move |kind: &EventKind| matches!(kind, EventKind::Agent(_, is) if *is == state);
    Lab::event(&mut events, of_agent(false)).await;
    let ping = r#"{"execute":"guest-ping"}"#;
    let error = lab
        .hosts
        .agent_command(lab.guest, ping, PATIENCE)
        .await
        .unwrap_err();
    println!("{error}");
    assert_eq!(error.fault, Fault::Unavailable, "{error}");
    assert!(error.message.contains("not connected"), "{error}");
    assert!(!lab.look().await.summary.agent_connected);
    Lab::event(&mut events, of_agent(true)).await;
    lab.hosts.agent_command(lab.guest, ping, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_restarted_libvirtd_is_found_again() {
    let Some(lab) = lab("a_restarted_libvirtd_is_found_again").await else {
        return;
    };
    let mut events = lab.hosts.events();
    let process = std::fs::read_to_string("/run/libvirtd.pid").unwrap();
    assert!(
        Command::new("kill")
            .arg(process.trim())
            .status()
            .unwrap()
            .success()
    );
    let lost = Lab::event(&mut events, |kind| matches!(kind, EventKind::Lost(_))).await;
    println!("{lost:?}");
    let ends = Instant::now() + PATIENCE;
    while std::path::Path::new(&format!("/proc/{}", process.trim())).exists() {
        assert!(Instant::now() < ends, "libvirtd does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let error = lab.hosts.inspect(lab.guest).await.unwrap_err();
    println!("{error}");
    assert_eq!(error.fault, Fault::Unavailable, "{error}");
    assert!(
        error
            .message
            .contains("libvirtd on hv1 (qemu:///system) cannot be reached"),
        "{error}"
    );
    assert!(
        Command::new("libvirtd")
            .args(["-d", "-l"])
            .status()
            .unwrap()
            .success()
    );
    Lab::event(&mut events, |kind| *kind == EventKind::Connected).await;
    assert!(lab.look().await.summary.is_running());
    let ping = r#"{"execute":"guest-ping"}"#;
    let ends = Instant::now() + PATIENCE;
    // libvirtd opens the agents' channels again some time after it answers.
    while let Err(error) = lab.hosts.agent_command(lab.guest, ping, PATIENCE).await {
        assert_eq!(error.fault, Fault::Unavailable, "{error}");
        assert!(Instant::now() < ends, "{error}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
