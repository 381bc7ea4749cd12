//! The raw way to a guest's agent: one JSON command, one JSON answer.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, timeout_at};
use virt::error::{Error, ErrorNumber};

use super::LibvirtHosts;
use super::failure::Failure;
use super::host::Host;
use super::link::{Call, Link};
use super::look::lookup;
use crate::model::ids::GuestId;
use crate::ports::{Fault, Heartbeat, PortError};

/// The longest command, in bytes: 48 KiB of a file in base64, and its envelope. Longer ones were seen to wedge an
/// agent until its guest was destroyed.
pub const LONGEST_COMMAND: usize = 80 * 1024;

impl LibvirtHosts {
    /// Sends one command to the guest's agent and returns its answer (`{"return":…}`), wherever the guest runs now.
    ///
    /// `json` is at most [`LONGEST_COMMAND`] bytes. `timeout` covers everything, the queue for this guest's agent
    /// included (one command at a time for each guest; libvirt knows only whole seconds, so it is told the next one).
    ///
    /// - `Unavailable`: nothing was sent: the guest does not run, its agent is not connected, the queue was too long.
    /// - `Refused`: the agent answered with an error (the message has its words), the domain has no agent channel, or
    ///   the command is too long.
    /// - `Unknown`: it may have run: no answer in time, or the agent went away meanwhile.
    pub async fn agent_command(
        &self,
        guest: GuestId,
        json: &str,
        timeout: Duration,
    ) -> Result<String, PortError> {
        self.command_over(guest, json, timeout, |host| &host.agent).await
    }

    /// The same over a connection of that host.
    async fn command_over(
        &self,
        guest: GuestId,
        json: &str,
        timeout: Duration,
        link: impl Fn(&Host) -> &Link + Send + Sync,
    ) -> Result<String, PortError> {
        if json.len() > LONGEST_COMMAND {
            return Err(PortError::refused(format!(
                "a command of {} bytes for the agent of guest {guest} is longer than {LONGEST_COMMAND}; split it",
                json.len()
            )));
        }
        let ends = Instant::now() + timeout;
        let turn = self.agents.of(guest);
        let Ok(turn) = timeout_at(ends, turn.lock_owned()).await else {
            return Err(PortError::unavailable(format!(
                "the agent of guest {guest} was busy with other commands for {} s; try again later",
                timeout.as_secs_f32()
            )));
        };
        let host = match self.agents.last_seen(guest) {
            Some(host) => self.host(&host)?,
            None => {
                let host = timeout_at(ends, self.locate(guest))
                    .await
                    .map_err(|_| PortError::unavailable(format!("guest {guest} was not found in time")))?
                    .active()?
                    .ok_or_else(|| {
                        PortError::unavailable(format!("guest {guest} is not running; start it"))
                    })?;
                self.agents.saw(guest, Some(&host.id));
                host
            }
        };
        let left = ends.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(PortError::unavailable(format!(
                "no time was left to ask the agent of guest {guest}; nothing was sent"
            )));
        }
        let call = Call::changes(format!("ask the agent of guest {guest}"), left);
        let (json, seconds) = (json.to_owned(), whole_seconds(left));
        let answer = link(host)
            .call(call, move |connection, _| {
                let domain = lookup(connection, guest)?.ok_or_else(|| {
                    PortError::unavailable(format!("guest {guest} has left its host; look again"))
                })?;
                let answer = domain.qemu_agent_command(&json, seconds, 0);
                // Held until libvirt is done with it, not only until somebody stops waiting.
                drop(turn);
                answer.map_err(|error| judge(guest, error))
            })
            .await;
        if answer.is_err() {
            self.agents.saw(guest, None);
        }
        answer
    }
}

#[async_trait]
impl Heartbeat for LibvirtHosts {
    async fn pulse(&self, guest: GuestId, deadline: Duration) -> Result<bool, PortError> {
        let ping = r#"{"execute":"guest-ping"}"#;
        match self.command_over(guest, ping, deadline, |host| &host.pulse).await {
            Ok(_) => Ok(true),
            Err(error) => life_in(error),
        }
    }
}

/// What a ping that failed says of the guest: whether its agent lives, or the error where it tells neither.
fn life_in(error: PortError) -> Result<bool, PortError> {
    match error.fault {
        // It answered, if only that it will not: unless there is no channel to one.
        Fault::Refused if error.message.contains(NO_CHANNEL) => Err(error),
        Fault::Refused => Ok(true),
        Fault::Unknown => Ok(false),
        Fault::Unavailable if error.message.contains(NOT_CONNECTED) => Ok(false),
        // So does a channel that is given up: libvirt's mark may outlast the guest's boot.
        Fault::Unavailable => Err(error),
    }
}

/// libvirt's timeout: at least one second, and no less than what is left.
fn whole_seconds(left: Duration) -> i32 {
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX).max(1)
}

fn judge(guest: GuestId, error: Error) -> Failure {
    match verdict(error.code().known(), error.message()) {
        Some((fault, next)) => Failure::Port(PortError {
            fault,
            message: format!("guest agent of guest {guest}: {}{next}", error.message()),
        }),
        None => Failure::Libvirt(error),
    }
}

/// What libvirt says of a domain without a channel to an agent.
const NO_CHANNEL: &str = "is not configured";

/// What libvirt says when no agent holds the other end of the channel.
const NOT_CONNECTED: &str = "is not connected";

/// What libvirt says of a channel that it has given up after an error of its own: an answer that it cannot read, or a QEMU that
/// died while a command was on its way. That mark goes with the agent's next connection; sometimes it outlasts the end of the
/// domain, and then a guest that was booted again and is well cannot be asked anything (seen with libvirt 9.0).
const GIVEN_UP: &str = "agent is not available due to an error";

/// What an error of virDomainQemuAgentCommand says; `None`: nothing special to the agent.
///
/// Before libvirt 11.2 a command that was sent and one that was not share AGENT_UNRESPONSIVE and most of their words,
/// so only "not connected" and the like are certain to have done nothing.
fn verdict(code: Option<ErrorNumber>, message: &str) -> Option<(Fault, &'static str)> {
    use ErrorNumber as E;
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&[NOT_CONNECTED]) {
        return Some((
            Fault::Unavailable,
            "; see that qemu-guest-agent runs in the guest",
        ));
    }
    if says(&[GIVEN_UP]) {
        return Some((
            Fault::Unavailable,
            "; libvirt has given its channel up: restart qemu-guest-agent in the guest, or virtqemud or libvirtd on the host (guests go on)",
        ));
    }
    if says(&[NO_CHANNEL]) {
        return Some((
            Fault::Refused,
            "; add a channel org.qemu.guest_agent.0 (type unix, target virtio) to the domain",
        ));
    }
    if says(&[
        "has been disabled",
        "has not been found",
        "CommandNotFound",
        "CommandDisabled",
    ]) {
        return Some((
            Fault::Refused,
            "; if the guest's qemu-guest-agent blocks it, allow it there and restart the agent",
        ));
    }
    match code? {
        E::AgentCommandFailed => Some((Fault::Refused, "")),
        _ if says(&["unable to execute QEMU agent command"]) => Some((Fault::Refused, "")),
        E::AgentUnresponsive | E::AgentCommandTimeout | E::AgentUnsynced => {
            Some((Fault::Unknown, "; it may have run: look"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_errors_tell_whether_the_command_may_have_run() {
        use ErrorNumber as E;
        let unresponsive = "Guest agent is not responding: ";
        let failed = "internal error: unable to execute QEMU agent command ";
        let cases = [
            (
                E::AgentUnresponsive,
                format!("{unresponsive}QEMU guest agent is not connected"),
                Some(Fault::Unavailable),
            ),
            (
                E::AgentUnresponsive,
                format!("{unresponsive}QEMU guest agent is not available due to an error"),
                Some(Fault::Unavailable),
            ),
            (
                E::AgentUnresponsive,
                format!("{unresponsive}Guest agent not available for now"),
                Some(Fault::Unknown),
            ),
            (
                E::AgentUnresponsive,
                format!("{unresponsive}Guest agent disappeared while executing command"),
                Some(Fault::Unknown),
            ),
            (
                E::AgentCommandTimeout,
                "timed out".to_owned(),
                Some(Fault::Unknown),
            ),
            (
                E::ArgumentUnsupported,
                "argument unsupported: QEMU guest agent is not configured".to_owned(),
                Some(Fault::Refused),
            ),
            (
                E::InternalError,
                format!("{failed}'guest-exec': Command guest-exec has been disabled"),
                Some(Fault::Refused),
            ),
            (
                E::InternalError,
                format!("{failed}'guest-nope': The command guest-nope has not been found"),
                Some(Fault::Refused),
            ),
            (
                E::InternalError,
                format!("{failed}'guest-exec-status': PID 7 does not exist"),
                Some(Fault::Refused),
            ),
            (E::OperationInvalid, "domain is not running".to_owned(), None),
            (
                E::OperationTimeout,
                "cannot acquire state change lock".to_owned(),
                None,
            ),
        ];
        for (code, message, wanted) in cases {
            assert_eq!(
                verdict(Some(code), &message).map(|(fault, _)| fault),
                wanted,
                "{message}"
            );
        }
    }

    #[test]
    fn a_channel_that_libvirt_gave_up_does_not_make_its_guest_a_silent_one() {
        let unresponsive = "Guest agent is not responding: QEMU guest agent is not";
        let life = |message: String| {
            let (fault, next) = verdict(Some(ErrorNumber::AgentUnresponsive), &message).unwrap();
            life_in(PortError {
                fault,
                message: message + next,
            })
            .map_err(|error| error.message)
        };
        assert_eq!(life(format!("{unresponsive} connected")), Ok(false));
        let told = life(format!("{unresponsive} available due to an error")).unwrap_err();
        assert!(told.contains("restart qemu-guest-agent"), "{told}");
    }

    #[test]
    fn libvirt_is_told_whole_seconds_and_at_least_one() {
        let cases = [(0, 1), (1, 1), (1000, 1), (1001, 2), (30_000, 30)];
        for (millis, seconds) in cases {
            assert_eq!(
                whole_seconds(Duration::from_millis(millis)),
                seconds,
                "{millis} ms"
            );
        }
    }
}
