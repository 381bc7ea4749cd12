use super::*;
use crate::model::manifest::DnsEntry;

const HEAD: &str = "service = \"web\"\nversion = \"1.0\"\nunits = [\"web.service\"]\n";

fn refusal(text: &str) -> String {
    match parse(text) {
        Ok(manifest) => panic!("accepted: {manifest:?}\n{text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_short_manifest_gets_its_defaults() {
    let manifest = parse(&format!("{HEAD}[check]\ntcp = 8080\n[dns]\nname = \"Web.svc.lab\"\n[[config]]\nname = \"a\"\npath = \"/etc/a/b\"\n[[secrets]]\nname = \"k\"\npath = \"/etc/a/k\"\n")).unwrap();
    let check = manifest.check.unwrap();
    assert_eq!(check.probe, CheckProbe::Tcp("127.0.0.1".to_owned(), 8080));
    assert_eq!(
        (check.interval, check.timeout, check.successes),
        (Duration::from_millis(500), Duration::from_secs(30), 2)
    );
    assert_eq!(
        manifest.dns.unwrap(),
        DnsEntry {
            name: "web.svc.lab".parse().unwrap(),
            ttl: 60
        }
    );
    assert_eq!(
        (manifest.config[0].mode, manifest.secrets[0].mode),
        (0o644, 0o600)
    );
    assert_eq!(
        (
            manifest.config[0].owner.as_str(),
            manifest.secrets[0].group.as_str()
        ),
        ("root", "root")
    );
    assert_eq!(manifest.ports, [8080]);
    assert!(manifest.overlap && manifest.movable && manifest.user.is_none());
}

#[test]
fn a_full_manifest_is_read_whole() {
    let manifest = parse(
        r#"
service = "my-app.v2"
version = "2026-11"
units = ["api@1.service", "api.socket", "clean.timer"]
ports = [80, 443]
user = "www-data"
overlap = false
movable = false
[check]
http = "http://[::1]:8080/healthz?deep=1"
interval = "2s"
timeout = "1m"
successes = 3
[dns]
name = "app.svc.lab."
ttl = 5
[[secrets]]
name = "key"
path = "/etc/my-app/key"
mode = "0640"
owner = "www-data"
group = "ssl-cert"
"#,
    )
    .unwrap();
    assert_eq!(
        manifest.units.iter().map(UnitName::as_str).collect::<Vec<_>>(),
        ["api@1.service", "api.socket", "clean.timer"]
    );
    assert_eq!(manifest.ports, [80, 443, 8080]);
    assert_eq!(manifest.user.as_deref(), Some("www-data"));
    assert!(!manifest.overlap && !manifest.movable);
    let check = manifest.check.unwrap();
    assert_eq!(
        check.probe,
        CheckProbe::Http("http://[::1]:8080/healthz?deep=1".to_owned())
    );
    assert_eq!(
        (check.interval, check.timeout, check.successes),
        (Duration::from_secs(2), Duration::from_secs(60), 3)
    );
    let key = &manifest.secrets[0];
    assert_eq!(
        (key.mode, key.owner.as_str(), key.group.as_str()),
        (0o640, "www-data", "ssl-cert")
    );
}

#[test]
fn a_checks_port_counts_once_and_only_where_it_is_the_guests_own() {
    for (check, ports) in [
        ("ports = [8080]\n[check]\ntcp = 8080", vec![8080]),
        ("[check]\ntcp = \"localhost:81\"", vec![81]),
        ("[check]\ntcp = \"[::]:82\"", vec![82]),
        ("[check]\nhttp = \"http://127.0.0.1\"", vec![80]),
        ("[check]\ntcp = \"db.svc.lab:5432\"", vec![]),
        ("[check]\ncommand = [\"true\"]", vec![]),
    ] {
        assert_eq!(
            parse(&format!("{HEAD}{check}\n")).unwrap().ports,
            ports,
            "{check}"
        );
    }
}

#[test]
fn keys_that_are_missing_unknown_or_of_another_type_are_named_with_their_line() {
    for (text, expected) in [
        ("", "handover.toml: missing field `service`"),
        (
            "service = \"web\"\nversion = \"1\"\n",
            "handover.toml: missing field `units`",
        ),
        (
            &format!("{HEAD}serivce = 1\n"),
            "handover.toml line 4: unknown field `serivce`, expected one of `service`, `version`, `units`, `ports`, `user`, `overlap`, `movable`, `check`, `dns`, `data`, `placement`, `config`, `secrets`",
        ),
        (
            &format!("{HEAD}[check]\nhtpt = \"x\"\n"),
            "handover.toml line 5: unknown field `htpt`, expected one of `command`, `tcp`, `http`, `interval`, `timeout`, `successes`",
        ),
        (
            &format!("{HEAD}[[config]]\nname = \"a\"\npath = \"/etc/a\"\nmod = \"1\"\n"),
            "handover.toml line 7: unknown field `mod`, expected one of `name`, `path`, `mode`, `owner`, `group`",
        ),
        (
            &format!("{HEAD}[dns]\nttl = 5\n"),
            "handover.toml line 4: missing field `name`",
        ),
        (
            &format!("{HEAD}overlap = \"no\"\n"),
            "handover.toml line 4: invalid type: string \"no\", expected a boolean",
        ),
        (
            "service = web\n",
            "handover.toml line 1: string values must be quoted, expected literal string",
        ),
        (&format!("{HEAD}{HEAD}"), "handover.toml line 4: duplicate key"),
    ] {
        assert_eq!(refusal(text), expected, "{text}");
    }
}

#[test]
fn values_that_are_not_allowed_are_refused_with_what_is() {
    let file = |path: &str| format!("[[config]]\nname = \"a\"\npath = \"{path}\"\n");
    let cases: Vec<(String, &str)> = vec![
        (
            "ports = [0]".into(),
            "line 4: ports: 0 is not valid: a port is 1 to 65535",
        ),
        ("ports = [80, 80]".into(), "line 4: ports: name each port once"),
        (
            "user = \"Web\"".into(),
            "line 4: user: \"Web\" is not valid: a user or group name is 1 to 32 of a-z 0-9 _ -, and begins with a letter or _",
        ),
        ("user = \"a;b\"".into(), "user: \"a;b\" is not valid"),
        (
            "[check]\ninterval = \"1s\"".into(),
            "line 4: check: it has exactly one of command, tcp and http",
        ),
        (
            "[check]\ntcp = 1\nhttp = \"http://a/\"".into(),
            "check: it has exactly one of",
        ),
        (
            "[check]\ncommand = []".into(),
            "line 5: check.command: a command needs at least a program",
        ),
        (
            "[check]\ncommand = [\"bin/x\"]".into(),
            "check.command: a command's first word is an absolute path",
        ),
        (
            "[check]\ncommand = [\"x\", \"a\\nb\"]".into(),
            "check.command: no control character",
        ),
        (
            "[check]\ntcp = 70000".into(),
            "line 5: check.tcp: a port is 1 to 65535",
        ),
        (
            "[check]\ntcp = \"8080\"".into(),
            "check.tcp: \"8080\" is not valid: the port is missing; tcp is a port, or an address and a port",
        ),
        (
            "[check]\ntcp = \"a b:80\"".into(),
            "check.tcp: \"a b:80\" is not valid: \"a b\" is neither an IP address nor a host name",
        ),
        (
            "[check]\ntcp = \"1.2.3:80\"".into(),
            "\"1.2.3\" is neither an IP address nor a host name",
        ),
        (
            "[check]\ntcp = \"::1:80\"".into(),
            "check.tcp: \"::1:80\" is not valid",
        ),
        (
            "[check]\ntcp = true".into(),
            "check.tcp: a boolean is not valid: tcp is a port, or an address and a port",
        ),
        (
            "[check]\nhttp = \"https://a/\"".into(),
            "check.http: \"https://a/\" is not valid: it must begin with http://",
        ),
        (
            "[check]\nhttp = \"http://u:p@a/\"".into(),
            "a user or password may not stand in it",
        ),
        ("[check]\nhttp = \"http://a:x/\"".into(), "a port is 1 to 65535"),
        (
            "[check]\nhttp = \"http://a/$(id)\"".into(),
            "may stand in its path",
        ),
        (
            "[check]\nhttp = \"http:///x\"".into(),
            "\"\" is neither an IP address nor a host name",
        ),
        (
            "[check]\ntcp = 1\ninterval = \"1\"".into(),
            "line 6: check.interval: \"1\" is not valid: a duration is a whole number and ms, s or m, such as \"500ms\", from 50ms to 60m",
        ),
        (
            "[check]\ntcp = 1\ntimeout = \"2h\"".into(),
            "check.timeout: \"2h\" is not valid",
        ),
        (
            "[check]\ntcp = 1\ntimeout = \"99999999999999999999s\"".into(),
            "check.timeout",
        ),
        (
            "[check]\ntcp = 1\nsuccesses = 0".into(),
            "line 6: check.successes: it is 1 to 100",
        ),
        (
            "[check]\ntcp = 1\ninterval = \"20s\"\nsuccesses = 3".into(),
            "check: it can never pass: 3 successes at an interval of 20s do not fit its timeout of 30s",
        ),
        (
            "[dns]\nname = \"*.lab\"".into(),
            "line 5: dns.name: \"*.lab\" is not valid: a wildcard cannot be a service's name",
        ),
        (
            "[dns]\nname = \"a.lab\"\nttl = 0".into(),
            "line 6: dns.ttl: 0 is not valid: a TTL is 1 to 604800 seconds",
        ),
        ("[dns]\nname = \"a.lab\"\nttl = 604801".into(), "dns.ttl: 604801"),
        (
            file("etc/a"),
            "line 6: config.path: \"etc/a\" is not valid: a path must be absolute",
        ),
        (file("/etc/../a/b"), "a path must be normal"),
        (file("/etc//b"), "a path must be normal"),
        (file("/etc/b/"), "a path must be normal"),
        (file("/etc/a b"), "only letters, digits and"),
        (file("/etc/a\\nb"), "only letters, digits and"),
        (file("/etc/$(id)"), "only letters, digits and"),
        (
            file("/opt/web/x"),
            "/opt/web is the bundle, which is read-only; use /etc/web",
        ),
        (file("/opt/web"), "/opt/web is the bundle"),
        (
            file("/etc/systemd/system/x.service"),
            "no file may be placed in /etc/systemd",
        ),
        (file("/proc/sys/x"), "no file may be placed in /proc"),
        (file("/sys/x"), "no file may be placed in /sys"),
        (file("/dev/shm/x"), "no file may be placed in /dev"),
        (
            file("/run/systemd/x"),
            "no file may be placed in /run: it is emptied at every boot",
        ),
        (file("/passwd"), "a file may not be placed in / itself"),
        (
            file("/etc/a") + "mode = \"4755\"\n",
            "config.mode: \"4755\" is not valid: a mode is three octal digits",
        ),
        (
            file("/etc/a") + "mode = \"888\"\n",
            "a mode is three octal digits",
        ),
        (
            file("/etc/a") + "mode = \"0666\"\n",
            "a config file may not be writable by everybody",
        ),
        (
            file("/etc/a") + "owner = \"root:root\"\n",
            "config.owner: \"root:root\" is not valid",
        ),
        (
            file("/etc/a") + "group = \"\"\n",
            "config.group: \"\" is not valid",
        ),
        (
            file("/etc/a").replace("\"a\"", "\"../a\""),
            "config.name: \"../a\" is not valid: a file's name is",
        ),
        (
            file("/etc/a") + &file("/etc/b"),
            "line 8: name: \"a\" is named twice",
        ),
        (
            file("/etc/a") + "[[secrets]]\nname = \"b\"\npath = \"/etc/a/b\"",
            "path: \"/etc/a/b\" and \"/etc/a\" cannot both be files",
        ),
        (
            "[[secrets]]\nname = \"k\"\npath = \"/etc/k\"\nmode = \"0644\"".into(),
            "line 7: secrets.mode: \"0644\" is not valid: a secret may not be open to everybody",
        ),
    ];
    for (tail, expected) in cases {
        let message = refusal(&format!("{HEAD}{tail}\n"));
        assert!(
            message.contains(expected),
            "{tail}\n  said: {message}\n  not:  {expected}"
        );
    }
}

#[test]
fn ids_versions_and_units_that_are_not_allowed_are_refused() {
    for (from, to, expected) in [
        (
            "\"web\"",
            "\"../etc\"",
            "line 1: service: \"../etc\" is not valid: only a-z, 0-9",
        ),
        (
            "\"web\"",
            "\"a..b\"",
            "line 1: service: \"a..b\" is not valid: two dots in a row",
        ),
        ("\"web\"", "\"/web\"", "line 1: service: \"/web\""),
        (
            "\"web\"",
            "\"\"",
            "line 1: service: \"\" is not valid: it must have 1 to 63 characters",
        ),
        ("\"1.0\"", "\"1\\n2\"", "line 2: version: \"1\\n2\" is not valid"),
        ("\"1.0\"", "\" \"", "line 2: version"),
        ("[\"web.service\"]", "[]", "line 3: units: name 1 to 32 units"),
        (
            "web.service",
            "a/b.service",
            "line 3: units: \"a/b.service\" is not valid: a slash may not stand in it",
        ),
        (
            "web.service",
            "web.mount",
            "it must end in .service, .socket, .timer, .path or .target",
        ),
        (
            "web.service",
            "api@.service",
            "a template cannot be started; name its instances, such as api@1.service",
        ),
        (
            "[\"web.service\"]",
            "[\"a.service\",\n\"a.service\"]",
            "line 4: units: \"a.service\" is not valid: it is named twice",
        ),
    ] {
        let message = refusal(&HEAD.replace(from, to));
        assert!(message.contains(expected), "{to}\n  said: {message}");
    }
}

#[test]
fn data_is_read_with_its_size_in_binary_units() {
    for (table, size, filesystem) in [
        (
            "size = \"1GiB\"\nmount = \"/srv/web\"",
            1_u64 << 30,
            FileSystem::Ext4,
        ),
        (
            "size = 16777216\nmount = \"/srv/web\"",
            16 << 20,
            FileSystem::Ext4,
        ),
        (
            "size = \"300MiB\"\nfilesystem = \"xfs\"\nmount = \"/srv/web\"",
            300 << 20,
            FileSystem::Xfs,
        ),
    ] {
        let manifest = parse(&format!("{HEAD}[data]\n{table}\n")).unwrap();
        assert_eq!(
            manifest.data,
            Some(DataSpec {
                size,
                filesystem,
                mount_point: "/srv/web".to_owned()
            })
        );
    }
}

#[test]
fn data_that_cannot_be_made_or_mounted_is_refused_with_key_and_line() {
    for (table, expected) in [
        ("mount = \"/srv/web\"", "line 4: missing field `size`"),
        ("size = \"1GiB\"", "line 4: missing field `mount`"),
        (
            "size = \"1GB\"\nmount = \"/srv/web\"",
            "line 5: data.size: \"1GB\" is not valid: a size is",
        ),
        (
            "size = -1\nmount = \"/srv/web\"",
            "line 5: data.size: -1 is not valid: a size is not negative",
        ),
        (
            "size = true\nmount = \"/srv/web\"",
            "line 5: data.size: a boolean is not valid",
        ),
        (
            "size = \"15MiB\"\nmount = \"/srv/web\"",
            "line 5: data.size: \"15MiB\" is not valid: ext4 needs at least 16 MiB",
        ),
        (
            "size = \"16MiB\"\nfilesystem = \"xfs\"\nmount = \"/srv/web\"",
            "line 5: data.size: \"16MiB\" is not valid: xfs needs at least 300 MiB",
        ),
        (
            "size = \"16MiB\"\nfilesystem = \"btrfs\"\nmount = \"/srv/web\"",
            "line 6: data.filesystem: \"btrfs\" is not valid: it is ext4 or xfs",
        ),
        (
            "size = \"16MiB\"\nmount = \"/opt/web/data\"",
            "line 6: data.mount: \"/opt/web/data\" is not valid: /opt is the system's",
        ),
        (
            "size = \"16MiB\"\nmount = \"srv\"",
            "line 6: data.mount: \"srv\" is not valid: a mount point must be absolute",
        ),
        (
            "size = \"16MiB\"\nmount = \"/srv/web\"\nsnapshot = true",
            "line 7: unknown field `snapshot`",
        ),
        (
            "size = \"16MiB\"\nmount = \"/srv/web\"\n[[config]]\nname = \"c\"\npath = \"/srv/web/c\"",
            "line 9: path: \"/srv/web/c\" lies where the data volume is mounted",
        ),
    ] {
        let told = refusal(&format!("{HEAD}[data]\n{table}\n"));
        assert!(told.contains(expected), "{table}\ntold: {told}\nwant: {expected}");
    }
}
