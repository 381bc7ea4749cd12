//! The guest agent's protocol: requests as JSON text, replies parsed strictly (QEMU's qga/qapi-schema.json).

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::model::guest::AgentInfo;
use crate::model::ids::GuestId;
use crate::ports::PortError;

/// No message to an agent is longer: a single write of 1 MiB wedged an agent for good.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Bytes of one piece of a file, before base64: 60 KiB of it fit a message.
pub const MAX_PIECE: usize = 45 * 1024;
/// Bytes that a script may print, both streams together.
pub const MAX_OUTPUT: usize = 256 * 1024;
/// Bytes of a reply: twice the output as base64, and its frame.
const MAX_REPLY: usize = 768 * 1024;

/// The agent commands without which a guest cannot be served.
pub const NEEDED: [&str; 6] = [
    "guest-exec",
    "guest-exec-status",
    "guest-file-open",
    "guest-file-write",
    "guest-file-close",
    "guest-network-get-interfaces",
];

/// Why a reply is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Longer than any answer to our questions.
    #[error("its answer has {0} bytes, too many")]
    TooLong(usize),
    /// Not JSON, or not of the shape that the protocol says.
    #[error("its answer is not of the guest agent's protocol ({0})")]
    Malformed(String),
    /// The agent's own error.
    #[error("it answered {0}")]
    Agent(String),
}

impl ProtocolError {
    /// The port's error for `guest`: refused, for an agent that talks so will not do better when asked again.
    pub fn into_port(self, guest: GuestId) -> PortError {
        PortError::refused(format!(
            "the agent of guest {guest} cannot be used: {self}; update or restart qemu-guest-agent in it"
        ))
    }
}

/// What `guest-exec-status` tells of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecStatus {
    /// It runs, or a child of it holds its output open.
    Running,
    /// It has ended; told once.
    Ended(Ended),
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ended {
    /// Its exit code, unless a signal killed it.
    pub code: Option<i64>,
    /// The signal that killed it.
    pub signal: Option<i64>,
    /// What it printed.
    pub out: Vec<u8>,
    /// What it complained of.
    pub err: Vec<u8>,
    /// The agent cut one of the two.
    pub cut: bool,
}

/// `guest-ping`.
pub fn ping() -> String {
    request("guest-ping", None)
}

/// `guest-info`.
pub fn info() -> String {
    request("guest-info", None)
}

/// `guest-network-get-interfaces`.
pub fn network_interfaces() -> String {
    request("guest-network-get-interfaces", None)
}

/// `guest-exec` of /bin/sh reading `script` from its standard input, so that it stands in no process list.
pub fn exec_script(script: &[u8]) -> String {
    request(
        "guest-exec",
        Some(json!({
            "path": "/bin/sh",
            "arg": ["-s"],
            "input-data": STANDARD.encode(script),
            "capture-output": true,
        })),
    )
}

/// `guest-exec` of /bin/sh on a file in the guest.
pub fn exec_file(path: &str) -> String {
    request(
        "guest-exec",
        Some(json!({ "path": "/bin/sh", "arg": [path], "capture-output": true })),
    )
}

/// `guest-exec-status`.
pub fn exec_status(pid: i64) -> String {
    request("guest-exec-status", Some(json!({ "pid": pid })))
}

/// `guest-file-open` for writing; keeps the mode of a file that is there.
pub fn file_open(path: &str) -> String {
    request("guest-file-open", Some(json!({ "path": path, "mode": "w" })))
}

/// `guest-file-write` of one piece of at most [`MAX_PIECE`] bytes.
pub fn file_write(handle: i64, piece: &[u8]) -> String {
    request(
        "guest-file-write",
        Some(json!({ "handle": handle, "buf-b64": STANDARD.encode(piece) })),
    )
}

/// `guest-file-close`.
pub fn file_close(handle: i64) -> String {
    request("guest-file-close", Some(json!({ "handle": handle })))
}

fn request(command: &str, arguments: Option<Value>) -> String {
    match arguments {
        Some(arguments) => json!({ "execute": command, "arguments": arguments }),
        None => json!({ "execute": command }),
    }
    .to_string()
}

/// The answer to `guest-exec`: the process id.
pub fn parse_pid(reply: &str) -> Result<i64, ProtocolError> {
    #[derive(Deserialize)]
    struct Started {
        pid: i64,
    }
    parse::<Started>(reply).map(|started| started.pid)
}

/// The answer to `guest-file-open`: the handle.
pub fn parse_handle(reply: &str) -> Result<i64, ProtocolError> {
    parse(reply)
}

/// The answer to `guest-file-write`: how many bytes were written.
pub fn parse_written(reply: &str) -> Result<usize, ProtocolError> {
    #[derive(Deserialize)]
    struct Written {
        count: usize,
    }
    parse::<Written>(reply).map(|written| written.count)
}

/// The answer to a command that returns nothing.
pub fn parse_nothing(reply: &str) -> Result<(), ProtocolError> {
    parse::<Value>(reply).map(|_| ())
}

/// The answer to `guest-exec-status`.
pub fn parse_status(reply: &str) -> Result<ExecStatus, ProtocolError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Status {
        exited: bool,
        exitcode: Option<i64>,
        signal: Option<i64>,
        out_data: Option<String>,
        err_data: Option<String>,
        #[serde(default)]
        out_truncated: bool,
        #[serde(default)]
        err_truncated: bool,
    }
    let status: Status = parse(reply)?;
    if !status.exited {
        return Ok(ExecStatus::Running);
    }
    Ok(ExecStatus::Ended(Ended {
        code: status.exitcode,
        signal: status.signal,
        out: decode(status.out_data)?,
        err: decode(status.err_data)?,
        cut: status.out_truncated || status.err_truncated,
    }))
}

/// The answer to `guest-info`: the version, and which of [`NEEDED`] are disabled or unknown there.
pub fn parse_info(reply: &str) -> Result<AgentInfo, ProtocolError> {
    #[derive(Deserialize)]
    struct Info {
        version: String,
        supported_commands: Vec<Command>,
    }
    #[derive(Deserialize)]
    struct Command {
        name: String,
        enabled: bool,
    }
    let info: Info = parse(reply)?;
    let plain = info.version.len() <= 64 && info.version.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if !plain {
        return Err(ProtocolError::Malformed(
            "its version is not a version".to_owned(),
        ));
    }
    let enabled = |name: &str| {
        info.supported_commands
            .iter()
            .any(|command| command.enabled && command.name == name)
    };
    let disabled = NEEDED
        .iter()
        .filter(|name| !enabled(name))
        .map(|name| (*name).to_owned())
        .collect();
    Ok(AgentInfo {
        version: info.version,
        disabled,
    })
}

/// The answer to `guest-network-get-interfaces`: every address in the agent's order, once, without loopback,
/// link-local, multicast and unspecified ones. More than 1024 are refused.
pub fn parse_addresses(reply: &str) -> Result<Vec<IpAddr>, ProtocolError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Interface {
        #[serde(default)]
        ip_addresses: Vec<Address>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Address {
        ip_address: String,
    }
    let interfaces: Vec<Interface> = parse(reply)?;
    let mut addresses = Vec::new();
    for address in interfaces
        .into_iter()
        .flat_map(|interface| interface.ip_addresses)
    {
        let Ok(address) = address.ip_address.parse::<IpAddr>() else {
            return Err(ProtocolError::Malformed("an address in it is none".to_owned()));
        };
        if is_public_candidate(address) && !addresses.contains(&address) {
            addresses.push(address);
        }
        if addresses.len() > 1024 {
            return Err(ProtocolError::Malformed("more than 1024 addresses".to_owned()));
        }
    }
    Ok(addresses)
}

fn is_public_candidate(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    !(link_local || address.is_loopback() || address.is_multicast() || address.is_unspecified())
}

/// The value of a reply's `return`, or the agent's error.
fn parse<T: DeserializeOwned>(reply: &str) -> Result<T, ProtocolError> {
    #[derive(Deserialize)]
    struct Reply {
        #[serde(rename = "return")]
        value: Option<Value>,
        error: Option<AgentError>,
    }
    #[derive(Deserialize)]
    struct AgentError {
        class: String,
        desc: String,
    }
    if reply.len() > MAX_REPLY {
        return Err(ProtocolError::TooLong(reply.len()));
    }
    let malformed = |error: serde_json::Error| ProtocolError::Malformed(printable(&error.to_string()));
    let reply: Reply = serde_json::from_str(reply).map_err(malformed)?;
    match (reply.value, reply.error) {
        (Some(value), None) => serde_json::from_value(value).map_err(malformed),
        (_, Some(error)) => Err(ProtocolError::Agent(printable(&format!(
            "{}: {}",
            error.class, error.desc
        )))),
        (None, None) => Err(ProtocolError::Malformed("neither return nor error".to_owned())),
    }
}

fn decode(data: Option<String>) -> Result<Vec<u8>, ProtocolError> {
    STANDARD
        .decode(data.unwrap_or_default())
        .map_err(|_| ProtocolError::Malformed("its output is not base64".to_owned()))
}

/// At most 200 characters of a guest's text, one line, without control characters: fit for a message or a log.
pub fn printable(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c.is_whitespace());
    let line: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    line.join(" ").chars().take(200).collect()
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
