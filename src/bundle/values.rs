//! The values of a manifest that later become a path, an owner, a host or a duration in a guest.
//!
//! Each function takes the text of one value and gives it back checked, or says what is allowed.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::ids::ServiceId;
use crate::model::name::DnsName;

/// Folders that no file of the environment may stand in, and why.
const FORBIDDEN: [(&str, &str); 10] = [
    ("/proc", "it is the kernel's"),
    ("/sys", "it is the kernel's"),
    ("/dev", "it is the kernel's"),
    (
        "/etc/systemd",
        "units and drop-ins there are not the environment's; put units into the bundle",
    ),
    ("/usr/lib/systemd", "it is systemd's"),
    ("/lib/systemd", "it is systemd's"),
    ("/run", "it is emptied at every boot; use /etc"),
    ("/var/run", "it is emptied at every boot; use /etc"),
    ("/tmp", "it is emptied at every boot; use /etc"),
    ("/boot", "it is the guest's own"),
];

/// A user or group: POSIX portable, as useradd(8) takes it.
pub(super) fn account(text: &str) -> Result<String, String> {
    let first = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let rest = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b));
    if first && rest && text.len() <= 32 {
        Ok(text.to_owned())
    } else {
        Err("a user or group name is 1 to 32 of a-z 0-9 _ -, and begins with a letter or _".to_owned())
    }
}

/// The name by which a file is given at deploy.
pub(super) fn file_name(text: &str) -> Result<String, String> {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if first && rest && text.len() <= 64 {
        Ok(text.to_owned())
    } else {
        Err("a file's name is 1 to 64 of A-Z a-z 0-9 . _ -, and begins with a letter or digit".to_owned())
    }
}

/// A version for people: anything that can be shown in one line.
pub(super) fn version(text: &str) -> Result<String, String> {
    let shown = text.chars().all(|c| !c.is_control()) && !text.trim().is_empty();
    if shown && text.chars().count() <= 64 {
        Ok(text.to_owned())
    } else {
        Err("a version is 1 to 64 characters without control characters".to_owned())
    }
}

/// Where a file of the environment goes: absolute, normal, outside what is not the environment's.
pub(super) fn guest_path(text: &str, service: &ServiceId) -> Result<String, String> {
    let Some(inner) = text.strip_prefix('/') else {
        return Err("a path must be absolute, such as /etc/web/web.conf".to_owned());
    };
    if text.len() > 512 {
        return Err("a path may have at most 512 characters".to_owned());
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/._-+@:,=~".contains(&b);
    if !text.bytes().all(allowed) {
        return Err("only letters, digits and / . _ - + @ : , = ~ may stand in a path".to_owned());
    }
    if inner
        .split('/')
        .any(|part| part.is_empty() || part == "." || part == ".." || part.len() > 255)
    {
        return Err("a path must be normal: no `..`, no `.`, no `//`, no `/` at its end".to_owned());
    }
    if is_in(text, &format!("/opt/{service}")) {
        return Err(format!(
            "/opt/{service} is the bundle, which is read-only; use /etc/{service}"
        ));
    }
    if let Some((folder, why)) = FORBIDDEN.iter().find(|(folder, _)| is_in(text, folder)) {
        return Err(format!("no file may be placed in {folder}: {why}"));
    }
    if !inner.contains('/') {
        return Err("a file may not be placed in / itself; use /etc".to_owned());
    }
    Ok(text.to_owned())
}

/// Whether `path` is `folder` or stands below it. Both are normal.
pub(super) fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Permission bits, written in octal as chmod(1) takes them.
pub(super) fn mode(text: &str, secret: bool) -> Result<u32, String> {
    let digits = text.len() == 3 || (text.len() == 4 && text.starts_with('0'));
    let octal = text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let (true, true, Ok(mode)) = (digits, octal, u32::from_str_radix(text, 8)) else {
        return Err(
            "a mode is three octal digits, such as \"0644\"; no setuid, setgid or sticky bit".to_owned(),
        );
    };
    if secret && mode & 0o007 != 0 {
        return Err("a secret may not be open to everybody; use \"0600\" or \"0640\"".to_owned());
    }
    if mode & 0o002 != 0 {
        return Err("a config file may not be writable by everybody; use \"0644\"".to_owned());
    }
    Ok(mode)
}

/// A duration: a whole number and `ms`, `s` or `m`.
pub(super) fn duration(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let wrong = || {
        let (least, most) = (told(least), told(most));
        format!("a duration is a whole number and ms, s or m, such as \"500ms\", from {least} to {most}")
    };
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (digits, unit) = text.split_at(split);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err(wrong()),
    };
    let millis = digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .ok_or_else(wrong)?;
    let duration = Duration::from_millis(millis);
    if duration < least || duration > most {
        Err(wrong())
    } else {
        Ok(duration)
    }
}

/// A duration as the manifest writes it.
pub(super) fn told(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis.is_multiple_of(60_000) {
        format!("{}m", millis / 60_000)
    } else if millis.is_multiple_of(1000) {
        format!("{}s", millis / 1000)
    } else {
        format!("{millis}ms")
    }
}

/// A TCP port.
pub(super) fn port(number: i64) -> Result<u16, String> {
    u16::try_from(number)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| "a port is 1 to 65535".to_owned())
}

/// An IP address (IPv6 without brackets) or a host name.
fn host(text: &str) -> Result<String, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    // Digits and dots that are no address would be one to some resolvers (inet_aton).
    let name = text
        .parse::<DnsName>()
        .ok()
        .filter(|_| text.bytes().any(|b| b.is_ascii_alphabetic()));
    name.map(|name| name.to_string())
        .ok_or_else(|| format!("{text:?} is neither an IP address nor a host name"))
}

/// `host:port`, with an IPv6 address in brackets; a missing port is `default`.
fn authority(text: &str, default: Option<u16>) -> Result<(String, u16), String> {
    let (name, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let (address, rest) = inner.split_once(']').ok_or("a [ has no ]")?;
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(format!("{address:?} is not an IPv6 address"));
            }
            (address, rest)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let number = match (rest.strip_prefix(':'), default) {
        (Some(digits), _) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse::<i64>().unwrap_or(0),
        (None, Some(default)) if rest.is_empty() => i64::from(default),
        (None, None) if rest.is_empty() => return Err("the port is missing".to_owned()),
        _ => return Err("a port is 1 to 65535".to_owned()),
    };
    Ok((host(name)?, port(number)?))
}

/// Where a `tcp` check connects: `"127.0.0.1:8080"`, `"[::1]:8080"`, `"localhost:8080"`.
pub(super) fn tcp_address(text: &str) -> Result<(String, u16), String> {
    authority(text, None).map_err(|why| {
        format!("{why}; tcp is a port, or an address and a port such as \"127.0.0.1:8080\" or \"[::1]:8080\"")
    })
}

/// What an `http` check asks: the URL, its host and its port.
pub(super) fn http_url(text: &str) -> Result<(String, String, u16), String> {
    let wrong = |why: String| format!("{why}; http is a URL such as \"http://127.0.0.1:8080/\"");
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(wrong(
            "it must begin with http:// (https is not supported: use a command)".to_owned(),
        ));
    };
    if text.len() > 1024 {
        return Err(wrong("it is longer than 1024 characters".to_owned()));
    }
    let split = rest.find(['/', '?']).unwrap_or(rest.len());
    let (place, path) = rest.split_at(split);
    if place.contains('@') {
        return Err(wrong("a user or password may not stand in it".to_owned()));
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/._-~?&=%+,:;@".contains(&b);
    if !path.bytes().all(allowed) {
        return Err(wrong(
            "only letters, digits and / . _ - ~ ? & = % + , : ; @ may stand in its path; write others as %XX"
                .to_owned(),
        ));
    }
    let (host, port) = authority(place, Some(80)).map_err(wrong)?;
    Ok((text.to_owned(), host, port))
}

/// Whether a check's host is the guest itself, so that its port is one that the service listens on.
pub(super) fn is_local(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

/// The command of a check: a program, absolute or found in PATH, and its arguments.
pub(super) fn command(words: &[String]) -> Result<(), String> {
    let Some(program) = words.first() else {
        return Err("a command needs at least a program".to_owned());
    };
    if words.len() > 64 || words.iter().map(String::len).sum::<usize>() > 8192 {
        return Err("a command has at most 64 words and 8192 characters in all".to_owned());
    }
    if words.iter().any(|word| word.chars().any(char::is_control)) {
        return Err("no control character may stand in a command".to_owned());
    }
    let found = !program.contains('/') && !program.starts_with('-') && !program.is_empty();
    if found || program.starts_with('/') {
        Ok(())
    } else {
        Err(
            "a command's first word is an absolute path (such as /opt/web/bin/check) or a program in PATH"
                .to_owned(),
        )
    }
}
