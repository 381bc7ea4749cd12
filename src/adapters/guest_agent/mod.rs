//! The inside of guests through qemu-guest-agent: one POSIX sh script per step, one exec per script.
//!
//! ```text
//! Placement + step + attempt --script.rs--> text --exec.rs--> guest-exec --> lines --answer.rs--> CopyState
//! ```
//!
//! Rendering and parsing are pure; [`exec`] and this file do the talking. Nothing is installed in a guest, and no
//! answer of a guest is trusted: each is bounded in size and time and parsed strictly.

pub mod answer;
pub mod check;
pub mod exec;
pub mod protocol;
pub mod read_back;
pub mod script;
mod script_data;
pub mod vitals;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::model::guest::{AgentInfo, CopyState, ProbeReport};
use crate::model::ids::{Attempt, GuestId};
use crate::model::placement::Placement;
use crate::model::vitals::Vitals;
use crate::plan::preflight;
use crate::ports::{Fault, Guest, GuestFiles, GuestGauges, GuestStep, PortError, Tries};

use answer::Answer;
use exec::{Script, run};
use script::{Root, Unrenderable};

/// One command to a guest's agent and its answer, both JSON text (virDomainQemuAgentCommand).
///
/// The answer is the agent's whole reply, `{"return": …}`. A failure is `Unavailable` when nothing was sent (no
/// agent, no such running domain), `Refused` when the agent answered with an error (its text in the message),
/// `Unknown` when the time ran out or the connection broke.
#[async_trait]
pub trait AgentChannel: Send + Sync {
    /// Sends `json` (at most 64 KiB) and waits at most `timeout` for the answer.
    async fn command(&self, guest: GuestId, json: &str, timeout: Duration) -> Result<String, PortError>;
}

#[async_trait]
impl<C: AgentChannel + ?Sized> AgentChannel for Arc<C> {
    async fn command(&self, guest: GuestId, json: &str, timeout: Duration) -> Result<String, PortError> {
        (**self).command(guest, json, timeout).await
    }
}

/// How long one short question to an agent may take.
const SHORT: Duration = Duration::from_secs(10);
/// How long a look or a probe may take.
const LOOK: Duration = Duration::from_secs(30);

/// [`Guest`] over an [`AgentChannel`].
pub struct GuestAgent<C> {
    channel: OneAtATime<C>,
    root: Root,
}

impl<C: AgentChannel> GuestAgent<C> {
    /// The port over `channel`. Commands to one guest are sent one after the other, as libvirt wants it.
    pub fn new(channel: C) -> Self {
        Self {
            channel: OneAtATime {
                channel,
                turns: Mutex::default(),
            },
            root: Root::guest(),
        }
    }

    async fn lines(&self, guest: GuestId, script: &Script, deadline: Duration) -> Result<String, PortError> {
        let began = Instant::now();
        let finished = run(&self.channel, guest, script, deadline).await;
        let ms = began.elapsed().as_millis();
        tracing::debug!(%guest, service = %script.service(), ms, "a script in the guest has ended, or is waited for no more");
        finished?.text(guest)
    }
}

#[async_trait]
impl<C: AgentChannel> Guest for GuestAgent<C> {
    async fn agent(&self, guest: GuestId) -> Result<AgentInfo, PortError> {
        let answer = self.channel.command(guest, &protocol::info(), SHORT).await?;
        protocol::parse_info(&answer).map_err(|error| error.into_port(guest))
    }

    async fn addresses(&self, guest: GuestId) -> Result<Vec<IpAddr>, PortError> {
        let answer = self
            .channel
            .command(guest, &protocol::network_interfaces(), SHORT)
            .await
            .map_err(|error| exec::explain_disabled(guest, error))?;
        protocol::parse_addresses(&answer).map_err(|error| error.into_port(guest))
    }

    async fn probe(&self, guest: GuestId, placement: &Placement) -> Result<ProbeReport, PortError> {
        let script = script::probe(&self.root, placement).map_err(unrenderable)?;
        let text = self
            .lines(guest, &Script::reading(placement, script), LOOK)
            .await?;
        answer::parse_probe(&text, placement).map_err(|error| garbled(guest, "probe", &error))
    }

    async fn look(&self, guest: GuestId, placement: &Placement) -> Result<CopyState, PortError> {
        let script = script::look(&self.root, placement).map_err(unrenderable)?;
        let text = self
            .lines(guest, &Script::reading(placement, script), LOOK)
            .await?;
        match answer::parse_step(&text, placement, &self.root) {
            Ok(Answer::Done(state)) => Ok(*state),
            Ok(other) => Err(garbled(guest, "look", &other)),
            Err(error) => Err(garbled(guest, "look", &error)),
        }
    }

    async fn act(
        &self,
        guest: GuestId,
        placement: &Placement,
        step: GuestStep,
        attempt: Attempt,
        deadline: Duration,
    ) -> Result<CopyState, PortError> {
        let name = script::step_name(step);
        let service = &placement.service;
        let script = script::act(&self.root, placement, step, attempt, deadline).map_err(unrenderable)?;
        let text = self
            .lines(guest, &Script::acting(placement, script), deadline)
            .await?;
        match answer::parse_step(&text, placement, &self.root) {
            Ok(Answer::Done(state)) => Ok(*state),
            Ok(Answer::Superseded { seen }) => Err(PortError::refused(format!(
                "{name} of {service} in guest {guest} was superseded: attempt {} came after attempt {seen}; nothing \
                 was touched",
                attempt.0
            ))),
            Ok(Answer::Foreign { paths }) => Err(PortError::refused(format!(
                "{name} of {service} in guest {guest}: {} is there and was not placed by handoverd; nothing was \
                 overwritten; move it away or choose another target",
                paths.join(", ")
            ))),
            Ok(Answer::Busy) => Err(PortError::unavailable(format!(
                "{name} of {service} in guest {guest}: an earlier step still holds the service's lock there; it is \
                 asked again"
            ))),
            Ok(Answer::Silent) => Err(PortError::unknown(format!(
                "{name} of {service} in guest {guest}: systemd does not answer there; look again"
            ))),
            Ok(Answer::Failed { why }) => Err(PortError::refused(format!(
                "{name} of {service} in guest {guest} failed: {why}; look at that path in the guest"
            ))),
            Err(error) => Err(PortError {
                fault: Fault::Unknown,
                ..garbled(guest, name, &error)
            }),
        }
    }

    async fn check(
        &self,
        guest: GuestId,
        placement: &Placement,
        tries: Tries,
        deadline: Duration,
    ) -> Result<Result<(), String>, PortError> {
        let Some(wanted) = &placement.check else {
            return Ok(Ok(()));
        };
        let script = check::render(&self.root, &wanted.probe, tries, deadline).map_err(unrenderable)?;
        let text = self
            .lines(
                guest,
                &Script::reading(placement, script),
                tries.lasting(deadline) + check::MAX_WAIT,
            )
            .await?;
        check::parse(&text, &wanted.probe).map_err(|error| garbled(guest, "check", &error))
    }
}

#[async_trait]
impl<C: AgentChannel> GuestFiles for GuestAgent<C> {
    async fn read_file(
        &self,
        guest: GuestId,
        placement: &Placement,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, PortError> {
        let script = read_back::render(&self.root, placement, path, limit).map_err(unrenderable)?;
        let text = self
            .lines(guest, &Script::reading(placement, script), LOOK)
            .await?;
        read_back::parse_file(&text, limit).map_err(|error| {
            PortError::refused(format!("{path} in guest {guest} cannot be read back: {error}"))
        })
    }
}

#[async_trait]
impl<C: AgentChannel> GuestGauges for GuestAgent<C> {
    async fn vitals(&self, guest: GuestId) -> Result<Vitals, PortError> {
        let script = Script::reading(&preflight::any_service(), vitals::render(&self.root));
        let text = self.lines(guest, &script, SHORT).await?;
        vitals::parse(&text).map_err(|error| garbled(guest, "look at its load", &error))
    }
}

/// A placement that no script can be made from: asking again will not change it.
#[allow(clippy::needless_pass_by_value)] // the shape that map_err wants
fn unrenderable(error: Unrenderable) -> PortError {
    PortError::refused(format!(
        "{error}; mend the manifest and register the bundle again"
    ))
}

/// An answer that is not what the script prints.
fn garbled(guest: GuestId, what: &str, error: &dyn std::fmt::Display) -> PortError {
    PortError::unavailable(format!(
        "the {what} in guest {guest} gave an answer that cannot be read: {error}; see whether systemd and \
         qemu-guest-agent work in it"
    ))
}

/// A channel that sends one command to one guest at a time: libvirt makes the next caller wait and then fails it.
struct OneAtATime<C> {
    channel: C,
    turns: Mutex<HashMap<GuestId, Arc<tokio::sync::Mutex<()>>>>,
}

#[async_trait]
impl<C: AgentChannel> AgentChannel for OneAtATime<C> {
    async fn command(&self, guest: GuestId, json: &str, timeout: Duration) -> Result<String, PortError> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(guest).or_default())
        };
        let started = tokio::time::Instant::now();
        let Ok(_turn) = tokio::time::timeout(timeout, turn.lock()).await else {
            return Err(PortError::unavailable(format!(
                "the agent of guest {guest} is busy with another command; it is asked again"
            )));
        };
        let left = timeout
            .saturating_sub(started.elapsed())
            .max(Duration::from_secs(1));
        self.channel.command(guest, json, left).await
    }
}
