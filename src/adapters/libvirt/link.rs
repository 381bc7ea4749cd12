//! A connection to one host for one purpose, with its own bounded number of threads.
//!
//! libvirt's calls block, some for half a minute. Each call gets a thread (never a runtime's worker, so that a hung
//! libvirtd holds up neither other work nor the daemon's end), at most as many at once as the link allows, and the
//! asking side waits with a deadline:
//!
//! ```text
//! WAITING --thread connected--> BEGUN --answer--> done
//!    |                            |
//!    | deadline, or nobody asks   | deadline
//!    v                            v
//! ABANDONED: never begun        ABANDONED: effect unknown; long work sees it and stops
//! ```

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::debug;
use virt::connect::Connect;
use virt::error::Error;

use super::failure::{Failure, classify, unreachable};
use crate::model::ids::HostId;
use crate::ports::PortError;

/// How a dead peer is noticed (virConnectSetKeepAlive): after `interval` times `count` seconds of silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Seconds of silence before libvirtd is asked.
    pub interval: i32,
    /// Unanswered questions until the connection is closed.
    pub count: u32,
}

/// Opens a connection with keepalive. The event loop must run already.
pub(super) fn open(uri: &str, keepalive: Keepalive) -> Result<Connect, Error> {
    let connection = Connect::open(Some(uri))?;
    if let Err(error) = connection.set_keep_alive(keepalive.interval, keepalive.count) {
        // Drivers without a daemon (test:///) have none.
        debug!(uri, error = error.message(), "no keepalive");
    }
    Ok(connection)
}

/// Whether a call changes something, and so what its missing answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It only reads: without an answer nothing was done.
    Reads,
    /// It changes something: without an answer only a look tells.
    Changes,
}

/// One call: what it is for (as the object of "cannot …"), how long it may take, whether it changes something.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) what: String,
    pub(super) deadline: Duration,
    pub(super) effect: Effect,
}

impl Call {
    pub(super) fn reads(what: impl Into<String>, deadline: Duration) -> Self {
        Self {
            what: what.into(),
            deadline,
            effect: Effect::Reads,
        }
    }

    pub(super) fn changes(what: impl Into<String>, deadline: Duration) -> Self {
        Self {
            effect: Effect::Changes,
            ..Self::reads(what, deadline)
        }
    }
}

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const ABANDONED: u8 = 2;

/// How far a call has come, seen from both sides.
#[derive(Debug, Clone)]
pub(super) struct Ticket(Arc<AtomicU8>);

impl Ticket {
    fn new() -> Self {
        Self(Arc::new(AtomicU8::new(WAITING)))
    }

    /// Whether the work may begin; it may not once nobody waits for it.
    fn begin(&self) -> bool {
        self.0
            .compare_exchange(WAITING, BEGUN, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// Gives the call up; whether it had begun.
    fn abandon(&self) -> bool {
        self.0.swap(ABANDONED, Ordering::SeqCst) == BEGUN
    }

    /// Whether nobody waits for the answer any more: long work stops then and cleans up.
    pub(super) fn abandoned(&self) -> bool {
        self.0.load(Ordering::SeqCst) == ABANDONED
    }
}

/// Abandons the call when the asking future is dropped.
struct AbandonOnDrop(Ticket);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// A connection to one host for one purpose. It connects at the first call and again whenever it is found dead.
pub(super) struct Link {
    line: Arc<Line>,
    threads: Arc<Semaphore>,
}

struct Line {
    host: HostId,
    uri: String,
    keepalive: Keepalive,
    connection: Mutex<Option<Connect>>,
}

impl Link {
    /// A link that runs at most `threads` calls at once.
    pub(super) fn new(host: HostId, uri: String, keepalive: Keepalive, threads: usize) -> Self {
        Self {
            line: Arc::new(Line {
                host,
                uri,
                keepalive,
                connection: Mutex::new(None),
            }),
            threads: Arc::new(Semaphore::new(threads)),
        }
    }

    /// Runs `work` with the connection on a thread of its own and waits for its answer until the call's deadline.
    ///
    /// The deadline covers waiting for a thread and connecting. Passed before the work began, it is `Unavailable` and
    /// the work never begins; passed later, it is `Unknown` for a call that changes something.
    pub(super) async fn call<T, W>(&self, call: Call, work: W) -> Result<T, PortError>
    where
        T: Send + 'static,
        W: FnOnce(&Connect, &Ticket) -> Result<T, Failure> + Send + 'static,
    {
        let ends = Instant::now() + call.deadline;
        let (host, seconds) = (&self.line.host, call.deadline.as_secs_f32());
        let waited = timeout_at(ends, Arc::clone(&self.threads).acquire_owned()).await;
        // The semaphore is never closed, so the inner error does not come.
        let Ok(Ok(permit)) = waited else {
            return Err(PortError::unavailable(format!(
                "{host}: cannot {}: other calls to libvirtd kept it waiting for {seconds} s; try again later",
                call.what
            )));
        };
        let ticket = Ticket::new();
        let (answer, answered) = oneshot::channel();
        let (line, working, asked) = (Arc::clone(&self.line), ticket.clone(), call.clone());
        thread::Builder::new()
            .name("libvirt-call".to_owned())
            .spawn(move || {
                let outcome = line.run(&asked, &working, work);
                drop(permit);
                if answer.send(outcome).is_err() {
                    debug!(host = %line.host, what = asked.what, "libvirt answered too late");
                }
            })
            .map_err(|error| {
                PortError::unavailable(format!(
                    "{host}: cannot {}: no thread for the call: {error}; raise the daemon's limit of tasks",
                    call.what
                ))
            })?;
        let guard = AbandonOnDrop(ticket);
        match timeout_at(ends, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(PortError::unknown(format!(
                "{host}: cannot {}: the call ended without an answer (a defect; see the daemon's log)",
                call.what
            ))),
            Err(_) => Err(match (guard.0.abandon(), call.effect) {
                (false, _) => unreachable(host, &self.line.uri, &format!("no connection within {seconds} s")),
                (true, Effect::Reads) => PortError::unavailable(format!(
                    "{host}: cannot {}: libvirtd did not answer within {seconds} s",
                    call.what
                )),
                (true, Effect::Changes) => PortError::unknown(format!(
                    "{host}: {}: libvirtd did not answer within {seconds} s; it may still happen",
                    call.what
                )),
            }),
        }
    }
}

impl Line {
    /// The thread's side of a call.
    fn run<T, W>(&self, call: &Call, ticket: &Ticket, work: W) -> Result<T, PortError>
    where
        W: FnOnce(&Connect, &Ticket) -> Result<T, Failure>,
    {
        let connection = self
            .connection()
            .map_err(|error| unreachable(&self.host, &self.uri, error.message()))?;
        if !ticket.begin() {
            return Err(PortError::unavailable("given up before it began"));
        }
        work(&connection, ticket).map_err(|failure| match failure {
            Failure::Port(error) => error,
            Failure::Libvirt(error) if connection.is_alive().unwrap_or(false) => {
                classify(&self.host, call, error.code().known(), error.message())
            }
            Failure::Libvirt(error) => self.lost(call, error.message()),
        })
    }

    fn lost(&self, call: &Call, message: &str) -> PortError {
        let error = unreachable(&self.host, &self.uri, message);
        match call.effect {
            Effect::Reads => error,
            Effect::Changes => PortError::unknown(format!(
                "{}; the connection broke during: {}; it may have happened",
                error.message, call.what
            )),
        }
    }

    /// The connection, made anew if there is none or the one there is dead. Others wait meanwhile: one connecting at a
    /// time is enough.
    fn connection(&self) -> Result<Connect, Error> {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = slot.as_ref() {
            if connection.is_alive().unwrap_or(false) {
                return Ok(connection.clone());
            }
            debug!(host = %self.host, uri = self.uri, "the connection is dead; connecting again");
        }
        // The dead one goes first, so that a failure below leaves none.
        *slot = None;
        let connection = open(&self.uri, self.keepalive)?;
        *slot = Some(connection.clone());
        Ok(connection)
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
