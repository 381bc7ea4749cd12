//! Beginning a job and following it to its end.
//!
//! Signals are subscribed to before the request is sent, and the job is read once after that, so no change can be
//! missed; what was signalled before the answer to that reading is older than the answer and is passed over.

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use zbus::OwnedObjectPath;

use super::args::JobOptions;
use super::client::{Call, Client, job_number, limited};
use super::events::{Event, Events};
use super::exit::Failure;
use super::job::{Job, path_of};
use super::output::{Ui, complain};
use super::progress::Progress;
use super::proxy::JOB;
use super::render::jobs::end;
use super::render::services;
use super::rows::{Service, Volume};

/// The error name of a request for what is so already.
const ALREADY_THERE: &str = "AlreadyThere";

/// What the first Ctrl-C does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInterrupt {
    /// It asks the job to cancel; the second one leaves it running.
    Cancel,
    /// It leaves the job running.
    Leave,
}

/// SIGINTs, counted.
pub struct Interrupts {
    signal: Signal,
    count: u32,
}

impl Interrupts {
    /// From now on SIGINT does not end the process any more.
    ///
    /// # Errors
    /// The signal handler cannot be installed.
    pub fn catch() -> Result<Self, Failure> {
        let signal = signal(SignalKind::interrupt())
            .map_err(|error| Failure::Failed(format!("cannot catch Ctrl-C: {error}")))?;
        Ok(Self { signal, count: 0 })
    }

    /// The next one; how many there were with it.
    pub async fn next(&mut self) -> u32 {
        if self.signal.recv().await.is_none() {
            pending::<()>().await;
        }
        self.count += 1;
        self.count
    }
}

/// A job that has ended, as `--json` shows it.
#[derive(Serialize)]
struct Ended<'a> {
    #[serde(flatten)]
    job: &'a Job,
    took_ms: Option<u64>,
    service: Option<&'a Service>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_volume: Option<&'a Volume>,
}

/// A job that was begun and is not waited for, as `--json` shows it.
#[derive(Serialize)]
struct Begun {
    id: u64,
    path: String,
    state: &'static str,
}

/// A request for what is so already, as `--json` shows it.
#[derive(Serialize)]
struct AlreadyThere {
    id: Option<u64>,
    result: &'static str,
    message: String,
}

/// Sends `request`, and follows the job that it returns to its end, which is to be `done`.
///
/// # Errors
/// The refusal; [`Failure::JobEnded`] if the job ends otherwise; [`Failure::StillRunning`];
/// [`Failure::Unreachable`].
pub async fn begin(
    ui: &Ui,
    client: &Client,
    options: &JobOptions,
    request: impl Future<Output = zbus::Result<OwnedObjectPath>>,
) -> Result<(), Failure> {
    begin_keeping(ui, client, options, None, request).await
}

/// As [`begin`], for a job whose end leaves this volume behind.
///
/// # Errors
/// As [`begin`].
pub async fn begin_keeping(
    ui: &Ui,
    client: &Client,
    options: &JobOptions,
    kept: Option<Volume>,
    request: impl Future<Output = zbus::Result<OwnedObjectPath>>,
) -> Result<(), Failure> {
    let mut follower = Follower::new(ui, client, options, OnInterrupt::Cancel).await?;
    follower.kept = kept;
    let path = match follower.answer(limited(Call::Change, request)).await {
        Ok(path) => path,
        Err(Failure::Refused { name, message }) if name == ALREADY_THERE => {
            let object = AlreadyThere {
                id: None,
                result: "already-there",
                message,
            };
            let text = format!("already there: {}", super::render::text::clean(&object.message));
            return ui.show(&object, |_| text);
        }
        Err(failure) => return Err(failure),
    };
    let id = job_number(&path)?;
    if options.no_wait && follower.interrupts.count == 0 {
        let object = Begun {
            id,
            path: path.to_string(),
            state: "running",
        };
        return ui.show(&object, |_| {
            format!("job {id}: begun; follow it with `handoverctl jobs follow {id}`")
        });
    }
    follower.finish(id, "done").await
}

/// Follows one job.
pub struct Follower<'a> {
    ui: &'a Ui,
    client: &'a Client,
    events: Events,
    interrupts: Interrupts,
    on_interrupt: OnInterrupt,
    began: Instant,
    timeout: Option<Duration>,
    kept: Option<Volume>,
}

type Cancelling<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

impl<'a> Follower<'a> {
    /// Subscribes to the daemon's signals and to Ctrl-C.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn new(
        ui: &'a Ui,
        client: &'a Client,
        options: &JobOptions,
        on_interrupt: OnInterrupt,
    ) -> Result<Self, Failure> {
        Ok(Self {
            ui,
            client,
            events: client.events().await?,
            interrupts: Interrupts::catch()?,
            on_interrupt,
            began: Instant::now(),
            timeout: options.timeout,
            kept: None,
        })
    }

    /// Waits for the answer to a request. The first Ctrl-C is kept until it is there: what it begins would
    /// otherwise run on unseen.
    ///
    /// # Errors
    /// The request's; [`Failure::StillRunning`] at the second Ctrl-C or after the time-out.
    pub async fn answer<T>(
        &mut self,
        request: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut request = std::pin::pin!(request);
        let left = || {
            Failure::StillRunning(
                "handoverd has not answered yet; what it begins it goes on with: see `handoverctl jobs`"
                    .to_owned(),
            )
        };
        loop {
            tokio::select! {
                biased;
                answer = &mut request => return answer,
                count = self.interrupts.next() => {
                    if count > 1 || self.on_interrupt == OnInterrupt::Leave {
                        return Err(left());
                    }
                    self.ui.note("waiting for handoverd's answer, to cancel what it begins; Ctrl-C again leaves it running");
                }
                () = until(self.began, self.timeout) => return Err(left()),
            }
        }
    }

    /// Follows the job to its end and tells how it ended.
    ///
    /// # Errors
    /// [`Failure::JobEnded`] if its result is not `wanted`; [`Failure::StillRunning`] after the time-out or when the
    /// operator leaves; [`Failure::Unreachable`] if the daemon goes away.
    pub async fn finish(mut self, id: u64, wanted: &str) -> Result<(), Failure> {
        let mut progress = Progress::new(self.ui);
        let followed = self.follow(id, &mut progress).await;
        progress.end();
        let job = followed?;
        let service = self.service_of(&job).await;
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let met = job.result == wanted;
        let kept = self.kept.as_ref().filter(|_| met);
        if self.ui.json {
            let ended = Ended {
                job: &job,
                took_ms: job.took(),
                service: service.as_ref(),
                kept_volume: kept,
            };
            self.ui.print_json(&ended)?;
        } else if met {
            let mut text = end(&job, service.as_ref(), elapsed);
            if let Some(volume) = kept {
                text.push_str(&format!("\njob {}: {}", job.id, services::kept(volume)));
            }
            self.ui.print(&text)?;
        } else {
            complain(&end(&job, service.as_ref(), elapsed));
        }
        if met { Ok(()) } else { Err(Failure::JobEnded) }
    }

    async fn follow(&mut self, id: u64, progress: &mut Progress) -> Result<Job, Failure> {
        let client = self.client;
        let path = path_of(id);
        let first = client
            .job_object(&path)
            .await
            .map_err(|failure| lost(id, failure))?;
        let Some((mut job, mut seen)) = first else {
            return client.job_row(id).await;
        };
        let mut cancelling: Option<Cancelling<'_>> = None;
        if self.interrupts.count > 0 {
            cancelling = Some(Box::pin(client.cancel(id)));
        }
        loop {
            progress.show(&job);
            if job.is_finished() {
                let job = self.settled(id, job).await;
                progress.show(&job);
                return Ok(job);
            }
            tokio::select! {
                biased;
                event = self.events.next() => match event {
                    Event::Changed { position, path: of, interface, properties, invalidated }
                        if of == path && interface == JOB && position > seen =>
                    {
                        job.merge(&properties);
                        if invalidated && let Some((fresh, at)) = client.job_object(&path).await? {
                            (job, seen) = (fresh, at);
                        }
                    }
                    Event::JobRemoved { id: of, result, .. } if of == id => {
                        "finished".clone_into(&mut job.state);
                        job.result = result;
                    }
                    Event::Gone => return Err(gone(id)),
                    _ => {}
                },
                answer = finished(&mut cancelling) => {
                    cancelling = None;
                    match answer {
                        Ok(()) => progress.note(&format!(
                            "job {id}: cancelling, waiting until everything is as it was; Ctrl-C again leaves it to itself"
                        )),
                        // It goes on; its end is told as any other.
                        Err(Failure::Refused { message, .. }) => progress.note(&format!(
                            "job {id}: cannot be cancelled: {message}; it goes on, Ctrl-C again leaves it running"
                        )),
                        Err(other) => return Err(other),
                    }
                }
                count = self.interrupts.next() => {
                    if count > 1 || self.on_interrupt == OnInterrupt::Leave {
                        return Err(Failure::StillRunning(format!(
                            "job {id} still runs; follow it with `handoverctl jobs follow {id}`"
                        )));
                    }
                    cancelling = Some(Box::pin(client.cancel(id)));
                }
                () = until(self.began, self.timeout) => {
                    return Err(Failure::StillRunning(format!(
                        "job {id} still runs at {} after the time-out; follow it with `handoverctl jobs follow {id}`, or end it with `handoverctl jobs cancel {id}`",
                        if job.step.is_empty() { "its beginning" } else { &job.step },
                    )));
                }
            }
        }
    }

    /// The ended job with all that is known of it: its last properties may come in several signals.
    async fn settled(&self, id: u64, told: Job) -> Job {
        match self.client.job(id).await {
            Ok(job) if job.is_finished() => {
                let result = if job.result.is_empty() {
                    told.result
                } else {
                    job.result
                };
                let step = if job.step.is_empty() { told.step } else { job.step };
                Job { result, step, ..job }
            }
            // The daemon may go right after the end: what was told is enough.
            _ => told,
        }
    }

    /// Where the job's service is now, if it is about one that can be asked for.
    async fn service_of(&self, job: &Job) -> Option<Service> {
        let rows = self.client.services(Some(&job.object), None).await.ok()?;
        rows.into_iter().find(|service| service.id == job.object)
    }
}

/// A daemon that cannot be reached right after it began the job is one that went away.
fn lost(id: u64, failure: Failure) -> Failure {
    match failure {
        Failure::Unreachable(_) => gone(id),
        other => other,
    }
}

fn gone(id: u64) -> Failure {
    Failure::Unreachable(format!(
        "handoverd went away while job {id} ran; it goes on with it when it is back: see `systemctl status handoverd`, then `handoverctl jobs follow {id}`"
    ))
}

async fn finished(cancelling: &mut Option<Cancelling<'_>>) -> Result<(), Failure> {
    match cancelling {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn until(began: Instant, timeout: Option<Duration>) {
    match timeout.and_then(|timeout| began.checked_add(timeout)) {
        Some(end) => tokio::time::sleep_until(end).await,
        None => pending().await,
    }
}
