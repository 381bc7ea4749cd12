//! The check: asked inside the guest, with whatever program it has for it.

use std::time::Duration;

use crate::model::manifest::CheckProbe;
use crate::ports::Tries;

use super::answer::InvalidAnswer;
use super::protocol::printable;
use super::script::{RUN, Root, Unrenderable, quote, set};

/// Seconds that one TCP or HTTP try may take at most.
const MAX_TRY: u64 = 5;
/// How long a try waits at most until something listens.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(2);

/// The tries in a row, until one does not pass; the last one's answer is printed.
const TRIES: &str = r#"passed() {
passes=$((passes - 1))
[ "$passes" -gt 0 ] || return 1
sleep "$pause" 2>/dev/null || sleep "$((${pause%.*} + 1))"
}
main() {
while try "$@"; do :; done
printf '%s' "$answer"
}
"#;

/// Reads one status line; bash and perl are in every Debian, curl is nearly everywhere else. bash makes all tries
/// itself: each program that is begun costs tens of milliseconds in an emulated guest. Where nothing listens yet, a
/// try waits for that, for at most one interval; it pauses by reading from a pipe that nobody writes to.
const ASK_HTTP: &str = r#"try() {
if command -v curl >/dev/null 2>&1; then
said=$(curl -q -sS -o /dev/null -w 'HTTP/1 %{http_code}' --noproxy '*' --max-time "$limit" -- "$url" 2>&1)
elif command -v bash >/dev/null 2>&1; then
wanted=$passes passes=1
said=$(timeout "$all" bash -c 'passes=$6 pause=$7 tenths=$8
exec 4<> <(:)
while :; do
until { exec 3<>"/dev/tcp/$1/$2"; } 2>/dev/null; do
[ "$((tenths--))" -gt 0 ] || { exec 3<>"/dev/tcp/$1/$2" || exit 7; break; }
read -r -t 0.1 -u 4
done
printf "GET %s HTTP/1.0\r\nHost: %s\r\nUser-Agent: handoverd\r\nConnection: close\r\n\r\n" "$4" "$3" >&3
IFS= read -r -t "$5" -n 200 line <&3
[ "$?" -le 128 ] || exit 124
word=${line#HTTP/* }
case ${word%%[[:space:]]*} in [23][0-9][0-9]) ;; *) break ;; esac
[ "$((--passes))" -gt 0 ] || break
exec 3>&-
read -r -t "$pause" -u 4
done
printf "%s" "$line"' check "$host" "$port" "$authority" "$target" "$limit" "$wanted" "$pause" "$tenths" 2>&1)
elif command -v perl >/dev/null 2>&1; then
said=$(timeout "$limit" perl -e 'use Socket qw(:DEFAULT getaddrinfo); my ($h, $p, $a, $t) = @ARGV;
my ($e, $i) = getaddrinfo($h, $p, {socktype => SOCK_STREAM}); die "$h: $e\n" if $e;
my $s; socket($s, $i->{family}, SOCK_STREAM, 0) && connect($s, $i->{addr}) or die "$h $p: $!\n";
syswrite $s, "GET $t HTTP/1.0\r\nHost: $a\r\nUser-Agent: handoverd\r\nConnection: close\r\n\r\n";
my $l = q(); while (length($l) < 200 && $l !~ /\n/) { sysread($s, $l, 200, length $l) or last; } print $l;' "$host" "$port" "$authority" "$target" 2>&1)
elif command -v wget >/dev/null 2>&1; then
said=$(timeout "$limit" wget -q -S -O /dev/null --max-redirect=0 -t 1 --no-proxy -- "$url" 2>&1)
else
said='curl, bash, perl or wget is needed and none is there'
fi
answer="code=$?
said=$said"
word=${said#*HTTP/}
word=${word#* }
case ${word%%[[:space:]]*} in [23][0-9][0-9]) passed ;; *) return 1 ;; esac
}
"#;

const ASK_TCP: &str = r#"try() {
if command -v bash >/dev/null 2>&1; then
wanted=$passes passes=1
said=$(timeout "$all" bash -c 'passes=$3 pause=$4 tenths=$5
exec 4<> <(:)
while :; do
until { exec 3<>"/dev/tcp/$1/$2"; } 2>/dev/null; do
[ "$((tenths--))" -gt 0 ] || { exec 3<>"/dev/tcp/$1/$2" || exit 7; break; }
read -r -t 0.1 -u 4
done
[ "$((--passes))" -gt 0 ] || exit 0
exec 3>&-
read -r -t "$pause" -u 4
done' check "$host" "$port" "$wanted" "$pause" "$tenths" 2>&1)
elif command -v perl >/dev/null 2>&1; then
said=$(timeout "$limit" perl -e 'use Socket qw(:DEFAULT getaddrinfo); my ($h, $p) = @ARGV;
my ($e, $i) = getaddrinfo($h, $p, {socktype => SOCK_STREAM}); die "$h: $e\n" if $e;
my $s; socket($s, $i->{family}, SOCK_STREAM, 0) && connect($s, $i->{addr}) or die "$h $p: $!\n";' "$host" "$port" 2>&1)
elif command -v curl >/dev/null 2>&1; then
said=$(curl -q -s -o /dev/null -w '%{time_connect}' --noproxy '*' --max-time "$limit" -- "http://$authority/")
case $said in *[1-9]*) : ;; *) said='no connection'; false ;; esac
else
said='bash, perl or curl is needed and none is there'
false
fi
code=$?
answer="code=$code
said=$said"
[ "$code" = 0 ] && passed
}
"#;

/// At most 200 bytes of what the command prints are kept, and the rest is read, so that it is not killed by a
/// closed pipe.
const ASK_COMMAND: &str = r#"try() {
cd /
answer=$({
said=$({
timeout -k 1 "$limit" "$@" 2>&1 3>&-
printf 'code=%s\n' "$?" >&3
} | {
head -c 200
cat >/dev/null
})
printf 'said=%s' "$said"
} 3>&1)
case $answer in 'code=0
'*) passed ;; *) return 1 ;; esac
}
"#;

/// The script of `tries`, of which each ends within `deadline`. Its answer is read by [`parse`].
pub fn render(
    root: &Root,
    probe: &CheckProbe,
    tries: Tries,
    deadline: Duration,
) -> Result<String, Unrenderable> {
    let whole = deadline.as_secs().saturating_sub(1).max(1);
    let mut out = String::from("set -uf\n");
    set(&mut out, "PATH", &root.path);
    set(&mut out, "passes", &tries.passes.max(1).to_string());
    let pause = tries.interval;
    set(
        &mut out,
        "pause",
        &format!("{}.{:03}", pause.as_secs(), pause.subsec_millis()),
    );
    out.push_str("export PATH LC_ALL=C\n");
    let short = |out: &mut String| {
        let limit = whole.min(MAX_TRY);
        let all = tries.lasting(Duration::from_secs(limit)) + tries.interval.min(MAX_WAIT);
        set(out, "limit", &limit.to_string());
        set(out, "all", &format!("{:.0}", all.as_secs_f64().ceil()));
        let tenths = tries.interval.min(MAX_WAIT).as_millis() / 100;
        set(out, "tenths", &tenths.to_string());
    };
    match probe {
        CheckProbe::Command(argv) => {
            let [program, ..] = argv.as_slice() else {
                return Err(Unrenderable::new("check", "command", "it is empty"));
            };
            if program.is_empty() || argv.iter().any(|word| word.contains('\0')) {
                return Err(Unrenderable::new(
                    "check",
                    program,
                    "a word of it is empty or has a NUL in it",
                ));
            }
            set(&mut out, "limit", &whole.to_string());
            out.push_str(ASK_COMMAND);
            out.push_str(TRIES);
            let words: Vec<String> = argv.iter().map(|word| quote(word)).collect();
            out.push_str(&RUN.replace("main", &format!("main {}", words.join(" "))));
        }
        CheckProbe::Tcp(host, port) => {
            let target = Target::new(host, *port, "/")?;
            target.set(&mut out);
            short(&mut out);
            out.push_str(ASK_TCP);
            out.push_str(TRIES);
            out.push_str(RUN);
        }
        CheckProbe::Http(url) => {
            let target = Target::parse(url)?;
            target.set(&mut out);
            set(&mut out, "url", url);
            short(&mut out);
            out.push_str(ASK_HTTP);
            out.push_str(TRIES);
            out.push_str(RUN);
        }
    }
    Ok(out)
}

/// Shell lines for the probe: which program the check lacks.
pub(super) fn render_tools(probe: &CheckProbe, mount_point: &str) -> String {
    match probe {
        CheckProbe::Command(argv) => {
            let program = argv.first().map_or("", String::as_str);
            let word = quote(program);
            if program.starts_with(&format!("{mount_point}/")) {
                // It comes with the bundle.
                String::new()
            } else if program.contains('/') {
                format!("[ -x \"$root\"{word} ] || say missing={word}\n")
            } else {
                format!("command -v {word} >/dev/null 2>&1 || say missing={word}\n")
            }
        }
        CheckProbe::Tcp(..) => any_of("bash perl curl", "bash, perl or curl"),
        CheckProbe::Http(_) => any_of("curl bash perl wget", "curl, bash, perl or wget"),
    }
}

fn any_of(tools: &str, names: &str) -> String {
    let mut out = String::new();
    for tool in tools.split(' ') {
        out.push_str(&format!("command -v {tool} >/dev/null 2>&1 && return 0\n"));
    }
    out + &format!("say 'missing={names}'\n")
}

/// Reads the last try's answer: passed, or why not.
pub fn parse(text: &str, probe: &CheckProbe) -> Result<Result<(), String>, InvalidAnswer> {
    let parts = text
        .strip_prefix("code=")
        .and_then(|rest| rest.split_once('\n'))
        .and_then(|(code, rest)| Some((code.parse::<u8>().ok()?, rest.strip_prefix("said=")?)));
    let Some((code, said)) = parts else {
        return Err(InvalidAnswer::new(format!(
            "{:?} is no answer of a check",
            printable(text)
        )));
    };
    let complaint = match printable(said) {
        said if said.is_empty() => "it said nothing".to_owned(),
        said => said,
    };
    Ok(match probe {
        CheckProbe::Command(_) | CheckProbe::Tcp(..) if code == 0 => Ok(()),
        CheckProbe::Command(argv) => {
            let program = printable(argv.first().map_or("", String::as_str));
            let how = match code {
                124 | 137 => "did not end in time".to_owned(),
                127 => "is not there".to_owned(),
                _ => format!("exited with {code}"),
            };
            Err(format!("{program} {how}: {complaint}"))
        }
        CheckProbe::Tcp(host, port) => {
            let why = if code == 124 {
                "no answer in time".to_owned()
            } else {
                complaint
            };
            Err(format!("no connection to {} port {port}: {why}", printable(host)))
        }
        CheckProbe::Http(url) => match status(said) {
            Some(200..=399) => Ok(()),
            Some(status) if status > 0 => Err(format!("{} answered with status {status}", printable(url))),
            _ if code == 124 => Err(format!("{} did not answer in time", printable(url))),
            _ => Err(format!("{} did not answer: {complaint}", printable(url))),
        },
    })
}

/// The status of the first `HTTP/x 200` in the text.
fn status(said: &str) -> Option<u16> {
    let line = said.split("HTTP/").nth(1)?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Where a TCP or HTTP check goes.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    path: String,
}

impl Target {
    fn new(host: &str, port: u16, path: &str) -> Result<Self, Unrenderable> {
        let plain = !host.is_empty()
            && host.len() <= 253
            && !host.starts_with('-')
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".:-_".contains(&b));
        if !plain || port == 0 {
            return Err(Unrenderable::new(
                "check",
                host,
                "it must be an address or a host name, and a port",
            ));
        }
        if !path.bytes().all(|b| b.is_ascii_graphic()) || path.len() > 2048 {
            return Err(Unrenderable::new(
                "check",
                path,
                "at most 2048 printable ASCII characters may stand in it",
            ));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        })
    }

    /// `http://host[:port][/path]`, an IPv6 address in brackets.
    fn parse(url: &str) -> Result<Self, Unrenderable> {
        let err = |reason| Unrenderable::new("check", url, reason);
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| err("it must begin with http://"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = match authority.strip_prefix('[') {
            Some(inner) => inner
                .split_once(']')
                .ok_or_else(|| err("its bracket is not closed"))?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port {
            "" => 80,
            port => port
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .ok_or_else(|| err("its port is no number from 1 to 65535"))?,
        };
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Self::new(host, port, &path)
    }

    fn set(&self, out: &mut String) {
        let Self { host, port, path } = self;
        let authority = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        set(out, "host", host);
        set(out, "port", &port.to_string());
        set(out, "authority", &authority);
        set(out, "target", path);
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
