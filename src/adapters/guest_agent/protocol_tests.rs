use super::*;

#[test]
fn a_reply_that_is_not_of_the_protocol_is_refused() {
    for (reply, why) in [
        ("", "empty"),
        ("{}", "neither return nor error"),
        ("[]", "not an object"),
        (r#"{"return": {}}"#, "no pid"),
        (r#"{"return": {"pid": "1"}}"#, "pid is text"),
        (r#"{"return": {"pid": 1.5}}"#, "pid is no integer"),
        (r#"{"return": {"pid": 1}} trailing"#, "two values"),
    ] {
        assert!(
            matches!(parse_pid(reply), Err(ProtocolError::Malformed(_))),
            "{why}: {reply}"
        );
    }
    assert_eq!(parse_pid(r#"{"return": {"pid": 812}, "id": 3}"#), Ok(812));
    let long = format!(r#"{{"return": {{"pid": 1, "x": "{}"}}}}"#, "x".repeat(MAX_REPLY));
    assert!(matches!(parse_pid(&long), Err(ProtocolError::TooLong(_))));
}

#[test]
fn the_agents_own_error_is_told_without_control_characters() {
    let reply = r#"{"error": {"class": "GenericError", "desc": "PID 7\n\u001b[2J does not exist"}}"#;
    assert_eq!(
        parse_status(reply),
        Err(ProtocolError::Agent(
            "GenericError: PID 7 [2J does not exist".to_owned()
        ))
    );
}

#[test]
fn a_process_is_running_until_it_has_exited() {
    assert_eq!(
        parse_status(r#"{"return": {"exited": false}}"#),
        Ok(ExecStatus::Running)
    );
    assert_eq!(
        parse_status(
            r#"{"return": {"exited": true, "exitcode": 3, "out-data": "YQo=", "err-truncated": true}}"#
        ),
        Ok(ExecStatus::Ended(Ended {
            code: Some(3),
            signal: None,
            out: b"a\n".to_vec(),
            err: Vec::new(),
            cut: true,
        }))
    );
    assert_eq!(
        parse_status(r#"{"return": {"exited": true, "signal": 9}}"#),
        Ok(ExecStatus::Ended(Ended {
            signal: Some(9),
            ..Ended::default()
        }))
    );
    assert!(parse_status(r#"{"return": {"exited": true, "out-data": "*"}}"#).is_err());
}

#[test]
fn commands_that_are_disabled_or_unknown_are_named() {
    let reply = r#"{"return": {"version": "7.2.19", "supported_commands": [
        {"enabled": true, "name": "guest-exec", "success-response": true},
        {"enabled": false, "name": "guest-exec-status", "success-response": true},
        {"enabled": true, "name": "guest-file-open"}, {"enabled": true, "name": "guest-file-write"},
        {"enabled": true, "name": "guest-network-get-interfaces"}]}}"#;
    let info = parse_info(reply).unwrap();
    assert_eq!(info.version, "7.2.19");
    assert_eq!(info.disabled, ["guest-exec-status", "guest-file-close"]);
    let bad = r#"{"return": {"version": "7\n", "supported_commands": []}}"#;
    assert!(parse_info(bad).is_err());
}

#[test]
fn loopback_and_link_local_addresses_are_left_out() {
    let address = |ip: &str| format!(r#"{{"ip-address": "{ip}", "ip-address-type": "x", "prefix": 8}}"#);
    let reply = format!(
        r#"{{"return": [{{"name": "lo", "ip-addresses": [{}, {}]}}, {{"name": "down"}},
            {{"name": "eth0", "ip-addresses": [{}, {}, {}, {}, {}]}}]}}"#,
        address("127.0.0.1"),
        address("::1"),
        address("fd00::7"),
        address("fe80::1"),
        address("169.254.3.4"),
        address("10.0.0.7"),
        address("10.0.0.7"),
    );
    let expected: Vec<IpAddr> = vec!["fd00::7".parse().unwrap(), "10.0.0.7".parse().unwrap()];
    assert_eq!(parse_addresses(&reply), Ok(expected));
    let evil = format!(
        r#"{{"return": [{{"name": "e", "ip-addresses": [{}]}}]}}"#,
        address("10.0.0.7; rm")
    );
    assert!(parse_addresses(&evil).is_err());
}

#[test]
fn no_message_is_longer_than_64_kib() {
    assert!(file_write(i64::MAX, &[0xff; MAX_PIECE]).len() <= MAX_MESSAGE);
}
