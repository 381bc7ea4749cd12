//! Running one script in a guest: guest-exec, then guest-exec-status until it has ended.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::model::ids::{GuestId, ServiceId};
use crate::model::placement::Placement;
use crate::ports::{Fault, PortError};

use super::AgentChannel;
use super::protocol::{self, Ended, ExecStatus, MAX_OUTPUT, MAX_PIECE, ProtocolError, printable};

/// A longer script goes into the guest as a file, in pieces: as base64, in its frame, it would not fit a message.
const MAX_INLINE: usize = 40 * 1024;
/// A script of this size takes a second to bring over; files that are larger belong into the bundle.
const MAX_SCRIPT: usize = 4 * 1024 * 1024;
/// How long one short command may take.
const SHORT: Duration = Duration::from_secs(10);
/// Shortest and longest wait between looks at a running process; in between a quarter of the time that it has run, so
/// that its end is seen soon at the cost of few calls.
const WAITS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(50));
/// How many looks in a row may fail before the outcome counts as unknown.
const MAX_FAILURES: u32 = 5;

/// A rendered script and what is known about it.
#[derive(Debug, Clone)]
pub struct Script {
    service: ServiceId,
    text: String,
    acts: bool,
}

impl Script {
    /// A script that changes something: where its end was not seen, the outcome is unknown.
    pub fn acting(placement: &Placement, text: String) -> Self {
        Self {
            service: placement.service.clone(),
            text,
            acts: true,
        }
    }

    /// A script that only reads: it can be run again whatever happened.
    pub fn reading(placement: &Placement, text: String) -> Self {
        Self {
            acts: false,
            ..Self::acting(placement, text)
        }
    }

    /// Whose it is.
    pub fn service(&self) -> &ServiceId {
        &self.service
    }

    /// The failure for an outcome that was not seen.
    fn lost(&self, message: String) -> PortError {
        let fault = if self.acts {
            Fault::Unknown
        } else {
            Fault::Unavailable
        };
        PortError { fault, message }
    }
}

/// How a script ended, within the bounds on its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    ended: Ended,
    acts: bool,
}

impl Finished {
    /// What it printed, if it ended by itself and printed UTF-8. A script of ours always exits 0; anything else is
    /// the shell's own failure (no such program, out of memory, killed).
    pub fn text(self, guest: GuestId) -> Result<String, PortError> {
        let Ended {
            code,
            signal,
            out,
            err,
            ..
        } = self.ended;
        let fault = if self.acts {
            Fault::Unknown
        } else {
            Fault::Unavailable
        };
        if code != Some(0) {
            let how = match (code, signal) {
                (Some(code), _) => format!("exit code {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => "no exit code".to_owned(),
            };
            return Err(PortError {
                fault,
                message: format!(
                    "a script in guest {guest} ended with {how}: {}; look again, and into the guest",
                    printable(&String::from_utf8_lossy(&err))
                ),
            });
        }
        String::from_utf8(out).map_err(|_| PortError {
            fault,
            message: format!("a script in guest {guest} printed what is not UTF-8; look into the guest"),
        })
    }
}

/// Runs `script` in `guest`; all of it within `deadline`.
pub async fn run<C: AgentChannel>(
    channel: &C,
    guest: GuestId,
    script: &Script,
    deadline: Duration,
) -> Result<Finished, PortError> {
    let until = Instant::now() + deadline;
    if script.text.len() > MAX_SCRIPT {
        return Err(PortError::refused(format!(
            "service {} has {} bytes of unit, config and secret files; at most {MAX_SCRIPT} go through a guest agent: \
             put large files into the bundle",
            script.service,
            script.text.len()
        )));
    }
    let request = if script.text.len() <= MAX_INLINE {
        protocol::exec_script(script.text.as_bytes())
    } else {
        protocol::exec_file(&upload(channel, guest, script, until).await?)
    };
    let pid = start(channel, guest, script, &request, until).await?;
    let ended = wait(channel, guest, script, pid, until).await?;
    let printed = ended.out.len().saturating_add(ended.err.len());
    if ended.cut || printed > MAX_OUTPUT {
        return Err(PortError::refused(format!(
            "a script in guest {guest} printed more than {MAX_OUTPUT} bytes; that is not ours, look into the guest"
        )));
    }
    Ok(Finished {
        ended,
        acts: script.acts,
    })
}

/// `guest-exec`: the process id.
async fn start<C: AgentChannel>(
    channel: &C,
    guest: GuestId,
    script: &Script,
    request: &str,
    until: Instant,
) -> Result<i64, PortError> {
    let reply = channel
        .command(guest, request, left(until, SHORT))
        .await
        .map_err(|error| match error.fault {
            Fault::Unknown => script.lost(error.message),
            Fault::Refused | Fault::Unavailable => explain_disabled(guest, error),
        })?;
    protocol::parse_pid(&reply).map_err(|error| match error {
        ProtocolError::Agent(_) => explain_disabled(guest, error.into_port(guest)),
        ProtocolError::TooLong(_) | ProtocolError::Malformed(_) => {
            script.lost(error.into_port(guest).message)
        }
    })
}

/// `guest-exec-status` until the process has ended. Its result is delivered once: a reply that is lost is lost.
async fn wait<C: AgentChannel>(
    channel: &C,
    guest: GuestId,
    script: &Script,
    pid: i64,
    until: Instant,
) -> Result<Ended, PortError> {
    let request = protocol::exec_status(pid);
    let began = Instant::now();
    let mut failures: u32 = 0;
    loop {
        let pause = (began.elapsed() / 4).clamp(WAITS.0, WAITS.1);
        if Instant::now() + pause >= until {
            return Err(script.lost(format!(
                "a script for {} in guest {guest} has not ended within its time; it may still run there, look again",
                script.service
            )));
        }
        sleep(pause).await;
        let seen = match channel.command(guest, &request, left(until, SHORT)).await {
            Ok(reply) => protocol::parse_status(&reply)
                .map_err(|error| (is_gone(&error.to_string()), error.to_string())),
            Err(error) => Err((is_gone(&error.message), error.message)),
        };
        match seen {
            Ok(ExecStatus::Running) => failures = 0,
            Ok(ExecStatus::Ended(ended)) => return Ok(ended),
            Err((gone, why)) => {
                failures += 1;
                if gone || failures >= MAX_FAILURES {
                    return Err(script.lost(format!(
                        "what became of a script for {} in guest {guest} is not known: {why}; look again",
                        script.service
                    )));
                }
                // The agent may be restarting, or libvirt busy with this domain.
                sleep(Duration::from_millis(200) * failures).await;
            }
        }
    }
}

/// Brings a long script into the guest: a file of mode 0600 in the 0700 folder /run/handoverd, which it removes
/// itself when it is run. Nothing has been done to the service if this fails.
async fn upload<C: AgentChannel>(
    channel: &C,
    guest: GuestId,
    script: &Script,
    until: Instant,
) -> Result<String, PortError> {
    let service = &script.service;
    let path = format!(
        "/run/handoverd/{service}.script.{}",
        uuid::Uuid::new_v4().simple()
    );
    // The agent itself would create a file that everybody may write to; so it finds one that is there.
    let prepare = Script {
        service: service.clone(),
        text: format!(
            "umask 077\nmkdir -p /run/handoverd && rm -f /run/handoverd/{service}.script.* && : >{path}\n"
        ),
        acts: false,
    };
    let request = protocol::exec_script(prepare.text.as_bytes());
    let pid = start(channel, guest, &prepare, &request, until).await?;
    let ended = wait(channel, guest, &prepare, pid, until).await?;
    Finished { ended, acts: false }.text(guest)?;
    let handle = protocol::parse_handle(&ask(channel, guest, &protocol::file_open(&path), until).await?)
        .map_err(|error| error.into_port(guest))?;
    let text = format!("rm -f -- \"$0\"\n{}", script.text);
    let written = write_pieces(channel, guest, handle, text.as_bytes(), until).await;
    let closed = ask(channel, guest, &protocol::file_close(handle), until).await;
    written?;
    protocol::parse_nothing(&closed?).map_err(|error| error.into_port(guest))?;
    Ok(path)
}

async fn write_pieces<C: AgentChannel>(
    channel: &C,
    guest: GuestId,
    handle: i64,
    bytes: &[u8],
    until: Instant,
) -> Result<(), PortError> {
    for piece in bytes.chunks(MAX_PIECE) {
        let reply = ask(channel, guest, &protocol::file_write(handle, piece), until).await?;
        let written = protocol::parse_written(&reply).map_err(|error| error.into_port(guest))?;
        if written != piece.len() {
            return Err(PortError::unavailable(format!(
                "the agent of guest {guest} wrote {written} of {} bytes; see whether /run is full there",
                piece.len()
            )));
        }
    }
    Ok(())
}

/// A command before the script is run: whatever becomes of it, nothing has been done.
async fn ask<C: AgentChannel>(
    channel: &C,
    guest: GuestId,
    request: &str,
    until: Instant,
) -> Result<String, PortError> {
    if Instant::now() >= until {
        return Err(PortError::unavailable(format!(
            "a script could not be brought into guest {guest} within its time; it is asked again"
        )));
    }
    channel
        .command(guest, request, left(until, SHORT))
        .await
        .map_err(|error| match error.fault {
            Fault::Unknown => PortError::unavailable(error.message),
            Fault::Refused | Fault::Unavailable => explain_disabled(guest, error),
        })
}

fn left(until: Instant, most: Duration) -> Duration {
    until
        .saturating_duration_since(Instant::now())
        .clamp(Duration::from_secs(1), most)
}

/// The agent forgot the process: it was restarted, and its children died with it, or a reply was lost.
fn is_gone(message: &str) -> bool {
    message.contains("does not exist")
}

/// Adds the way out where an agent has a command disabled (RHEL's default for guest-exec), else `error` as it is.
pub fn explain_disabled(guest: GuestId, error: PortError) -> PortError {
    let disabled = [
        "has been disabled",
        "CommandNotFound",
        "has not been found",
        "not allowed",
    ]
    .iter()
    .any(|sign| error.message.contains(sign));
    if !disabled {
        return error;
    }
    PortError::refused(format!(
        "the agent of guest {guest} refuses a command that is needed ({}); allow guest-exec, guest-exec-status, \
         guest-file-open, guest-file-write, guest-file-close and guest-network-get-interfaces in the guest \
         (/etc/sysconfig/qemu-ga or /etc/qemu/qemu-ga.conf), where SELinux is enforced also `setsebool -P \
         virt_qemu_ga_run_unconfined on`, and restart qemu-guest-agent",
        printable(&error.message)
    ))
}

#[cfg(test)]
#[path = "exec_tests.rs"]
mod tests;
