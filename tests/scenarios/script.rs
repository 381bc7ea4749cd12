//! Scripts: one step a line, in order; `#` begins a comment.
//!
//! ```text
//! at 30s                        waits until so much time has passed since the beginning
//! wait 5s                       waits so long
//! when TEXT                     waits for a line with TEXT to be logged, after the one that was waited for last
//! end                           waits until no job runs
//!
//! deploy SERVICE GUEST          asks the daemon; also: deploy SERVICE GUEST stopped
//! move OBJECT TARGET
//! upgrade SERVICE [GUEST]
//! start SERVICE, stop SERVICE, remove SERVICE [delete-data]
//! cancel JOB, resume JOB, abandon JOB
//! repair [SERVICE]              an audit that repairs
//!
//! kill [for 30s]                kills the daemon; another one starts after 100 ms, or that
//! next CALL [GUEST] FAULT       the next call of that kind goes wrong, see `faults.rs`
//! g2 dies, primary is silent    what happens to the world, see `src/adapters/sim/words.rs`
//! ```
//!
//! What comes after `when` is done before the daemon makes its next call.

use std::time::Duration;

use handoverd::adapters::sim::happening::Happening;
use handoverd::adapters::sim::words;
use handoverd::adapters::sim::world::SimWorld;
use handoverd::model::ids::JobId;
use handoverd::model::span;

use crate::faults::{self, Fault};

/// What is asked of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    Deploy(String, String, bool),
    Move(String, String),
    Upgrade(String, Option<String>),
    Start(String),
    Stop(String),
    Remove(String, bool),
    Cancel(JobId),
    Resume(JobId),
    Abandon(JobId),
    Repair(Option<String>),
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    At(Duration),
    For(Duration),
    When(String),
    End,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Waits(Wait),
    Asks(Ask),
    Kills(Duration),
    GoesWrong(Fault),
    Happens(Happening),
}

/// A step, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub line: usize,
    pub text: String,
    pub what: What,
}

/// How long systemd waits before it starts a daemon that was killed.
const RESTART: Duration = Duration::from_millis(100);

const STEPS: &str = "at, wait, when, end, deploy, move, upgrade, start, stop, remove, cancel, resume, abandon, repair, kill, next";

/// Reads a script; `file` is for messages.
pub fn read(file: &str, text: &str, world: &SimWorld) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words = line.split_once('#').map_or(line, |(words, _)| words).trim();
        if words.is_empty() {
            continue;
        }
        let what = step(words, world).map_err(|why| format!("{file}:{}: {words:?}: {why}", number + 1))?;
        steps.push(Step {
            line: number + 1,
            text: words.to_owned(),
            what,
        });
    }
    Ok(steps)
}

fn step(text: &str, world: &SimWorld) -> Result<What, String> {
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.trim();
    let words: Vec<&str> = rest.split_whitespace().collect();
    let span = |text: &str| span::parse(text).map_err(|error| error.to_string());
    let asks = |ask| Ok(What::Asks(ask));
    let own = |text: &str| text.to_owned();
    match (verb, words.as_slice()) {
        ("at", [_]) => Ok(What::Waits(Wait::At(span(rest)?))),
        ("wait", [_]) => Ok(What::Waits(Wait::For(span(rest)?))),
        ("when", [_, ..]) => Ok(What::Waits(Wait::When(own(rest)))),
        ("end", []) => Ok(What::Waits(Wait::End)),
        ("deploy", [service, guest]) => asks(Ask::Deploy(own(service), own(guest), false)),
        ("deploy", [service, guest, "stopped"]) => asks(Ask::Deploy(own(service), own(guest), true)),
        ("move", [object, target]) => asks(Ask::Move(own(object), own(target))),
        ("upgrade", [service]) => asks(Ask::Upgrade(own(service), None)),
        ("upgrade", [service, guest]) => asks(Ask::Upgrade(own(service), Some(own(guest)))),
        ("start", [service]) => asks(Ask::Start(own(service))),
        ("stop", [service]) => asks(Ask::Stop(own(service))),
        ("remove", [service]) => asks(Ask::Remove(own(service), false)),
        ("remove", [service, "delete-data"]) => asks(Ask::Remove(own(service), true)),
        ("cancel", [id]) => asks(Ask::Cancel(job(id)?)),
        ("resume", [id]) => asks(Ask::Resume(job(id)?)),
        ("abandon", [id]) => asks(Ask::Abandon(job(id)?)),
        ("repair", []) => asks(Ask::Repair(None)),
        ("repair", [service]) => asks(Ask::Repair(Some(own(service)))),
        ("kill", []) => Ok(What::Kills(RESTART)),
        ("kill", ["for", time]) => Ok(What::Kills(span(time)?)),
        ("next", [_, ..]) => Ok(What::GoesWrong(faults::read(&words, world)?)),
        (verb, _) if STEPS.split(", ").any(|known| known == verb) => Err(format!(
            "that is not how {verb:?} is written; see tests/scenarios/script.rs"
        )),
        _ => words::read(text, world)
            .map(What::Happens)
            .map_err(|why| format!("there is no such step; steps are {STEPS}, or what happens: {why}")),
    }
}

fn job(text: &str) -> Result<JobId, String> {
    text.parse()
        .map(JobId)
        .map_err(|_| format!("{text:?} is not the number of a job"))
}
