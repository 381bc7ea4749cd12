use super::*;

#[test]
fn urls_are_taken_apart() {
    let target = |host: &str, port, path: &str| Some((host.to_owned(), port, path.to_owned()));
    for (url, expected) in [
        (
            "http://127.0.0.1:8080/health?x=1#top",
            target("127.0.0.1", 8080, "/health?x=1"),
        ),
        ("http://localhost", target("localhost", 80, "/")),
        ("http://[::1]:81", target("::1", 81, "/")),
        ("http://a.b?q", target("a.b", 80, "/?q")),
        ("https://localhost/", None),
        ("http://", None),
        ("http://a b/", None),
        ("http://user@host/", None),
        ("http://host:0/", None),
        ("http://host:70000/", None),
        ("http://[::1/", None),
        ("http://host/a b", None),
        ("http://host/ü", None),
        ("http://$(id)/", None),
        ("http://-oProxy/", None),
    ] {
        let parsed = Target::parse(url)
            .ok()
            .map(|target| (target.host, target.port, target.path));
        assert_eq!(parsed, expected, "{url}");
    }
}

#[test]
fn a_status_from_200_to_399_passes() {
    let probe = CheckProbe::Http("http://127.0.0.1/".to_owned());
    for (text, passes) in [
        ("code=0\nsaid=HTTP/1.1 200 OK", true),
        ("code=0\nsaid=HTTP/1 399", true),
        ("code=8\nsaid=  HTTP/1.1 302 Found\r\n  HTTP/1.1 500 Later", true),
        ("code=0\nsaid=HTTP/1.1 404 Not Found", false),
        ("code=0\nsaid=HTTP/1.1 199 Odd", false),
        ("code=7\nsaid=curl: (7) Failed to connect\nHTTP/1 000", false),
        ("code=0\nsaid=SSH-2.0-OpenSSH", false),
        ("code=0\nsaid=", false),
    ] {
        assert_eq!(parse(text, &probe).unwrap().is_ok(), passes, "{text}");
    }
    let why = parse("code=7\nsaid=curl: (7) Failed\nHTTP/1 000", &probe)
        .unwrap()
        .unwrap_err();
    assert!(why.contains("curl: (7) Failed"), "{why}");
}

#[test]
fn a_commands_words_cannot_become_lines_of_the_answer() {
    let probe = CheckProbe::Command(vec!["web-check".to_owned()]);
    let why = parse("code=1\nsaid=code=0\nsaid=\u{1b}[31mfine", &probe)
        .unwrap()
        .unwrap_err();
    assert_eq!(why, "web-check exited with 1: code=0 said= [31mfine");
    for bad in [
        "",
        "said=x",
        "code=x\nsaid=",
        "code=0",
        "code=300\nsaid=",
        "code=0\nsays=",
    ] {
        assert!(parse(bad, &probe).is_err(), "{bad:?}");
    }
}

#[test]
fn a_check_that_is_not_of_the_right_form_is_not_rendered() {
    for probe in [
        CheckProbe::Command(Vec::new()),
        CheckProbe::Command(vec![String::new()]),
        CheckProbe::Command(vec!["a".to_owned(), "b\0c".to_owned()]),
        CheckProbe::Tcp("-x".to_owned(), 1),
        CheckProbe::Tcp("127.0.0.1".to_owned(), 0),
        CheckProbe::Tcp("a;b".to_owned(), 1),
    ] {
        assert!(
            render(&Root::guest(), &probe, Tries::ONE, Duration::from_secs(5)).is_err(),
            "{probe:?}"
        );
    }
}

#[test]
fn one_try_ends_within_its_deadline_and_five_seconds() {
    let probe = CheckProbe::Tcp("127.0.0.1".to_owned(), 1);
    for (deadline, limit) in [(1, 1), (3, 2), (60, 5)] {
        let tries = Tries {
            passes: 3,
            interval: Duration::from_millis(700),
        };
        for (tries, all) in [(Tries::ONE, limit), (tries, 3 * limit + 3)] {
            let script = render(&Root::guest(), &probe, tries, Duration::from_secs(deadline)).unwrap();
            assert!(script.contains(&format!("limit='{limit}'\n")), "{deadline}");
            assert!(script.contains(&format!("all='{all}'\n")), "{deadline}");
        }
    }
}
