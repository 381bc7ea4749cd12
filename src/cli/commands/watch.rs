//! `handoverctl watch`: what happens to jobs and services, a line each, until Ctrl-C.

use std::collections::HashMap;

use clap::Args;
use serde::Serialize;
use zbus::message::Sequence;

use crate::cli::Context;
use crate::cli::client::Client;
use crate::cli::events::{Event, Events};
use crate::cli::exit::Failure;
use crate::cli::follow::Interrupts;
use crate::cli::job::{Job, id_of, path_of};
use crate::cli::proxy::{JOB, SERVICE};
use crate::cli::render::watch as lines;
use crate::cli::rows::Service;

/// Jobs that are looked through at the beginning for running ones.
const RECENT: u32 = 100;

/// `watch`
#[derive(Debug, Args)]
#[command(after_help = "\
With --json one object a line: {\"event\": \"job\" | \"service\" | \"service-removed\", ...}.

Example:
  handoverctl watch --json | jq -r 'select(.event == \"job\") | .step'")]
pub struct Watch {}

/// One line of `--json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    Job(&'a Job),
    Service(&'a Service),
    ServiceRemoved { id: &'a str },
}

impl Watch {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`]; Ctrl-C is none.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        let mut events = client.events().await?;
        let mut interrupts = Interrupts::catch()?;
        tokio::select! {
            _ = interrupts.next() => Ok(()),
            result = watch(context, &client, &mut events) => result,
        }
    }
}

async fn watch(context: &Context, client: &Client, events: &mut Events) -> Result<(), Failure> {
    let mut known = Known {
        context,
        client,
        jobs: HashMap::new(),
        seen: HashMap::new(),
        services: HashMap::new(),
    };
    known.services = client
        .services(None, None)
        .await?
        .into_iter()
        .map(|row| (row.id.clone(), row))
        .collect();
    for job in client.jobs(None, None, RECENT).await?.into_iter().rev() {
        if job.is_finished() {
            known.jobs.insert(job.id, job);
        } else {
            known.job_at(job.id).await?;
        }
    }
    context.ui.note("watching; Ctrl-C ends it");
    loop {
        match events.next().await {
            Event::JobNew { id } => known.job_at(id).await?,
            Event::JobRemoved { id, result, .. } => known.job_ended(id, result).await?,
            Event::Changed {
                position,
                path,
                interface,
                properties,
                invalidated,
            } if interface == JOB => {
                let Some(id) = id_of(&path) else { continue };
                if known.seen.get(&id).is_some_and(|seen| position <= *seen) {
                    continue;
                }
                match known.jobs.get(&id) {
                    Some(old) if !invalidated => {
                        let mut job = old.clone();
                        job.merge(&properties);
                        known.job(job).await?;
                    }
                    _ => known.job_at(id).await?,
                }
            }
            // A few services, each row is small: one reading tells all, whatever the signal left out.
            Event::Changed { interface, .. } if interface == SERVICE => known.refresh_services().await?,
            Event::Added { interfaces, .. } if interfaces.contains_key(SERVICE) => {
                known.refresh_services().await?;
            }
            Event::Removed { interfaces, .. } if interfaces.iter().any(|name| name == SERVICE) => {
                known.refresh_services().await?;
            }
            Event::Changed { .. } | Event::Added { .. } | Event::Removed { .. } => {}
            Event::Gone => {
                return Err(Failure::Unreachable(
                    "handoverd went away; see `systemctl status handoverd`".to_owned(),
                ));
            }
        }
    }
}

/// What was told last.
struct Known<'a> {
    context: &'a Context,
    client: &'a Client,
    jobs: HashMap<u64, Job>,
    /// Where the last reading of a job's object stood among the signals: older ones are passed over.
    seen: HashMap<u64, Sequence>,
    services: HashMap<String, Service>,
}

impl Known<'_> {
    /// Reads a job and tells what is new; one whose object is gone already is read from the table.
    async fn job_at(&mut self, id: u64) -> Result<(), Failure> {
        match self.client.job_object(&path_of(id)).await? {
            Some((job, position)) => {
                self.seen.insert(id, position);
                self.tell_job(job)
            }
            None => match self.client.job_row(id).await {
                Ok(job) => self.tell_job(job),
                Err(Failure::Refused { .. }) => Ok(()),
                Err(other) => Err(other),
            },
        }
    }

    /// A job as changed by a signal; an end is read again, for its last properties may come in several signals.
    async fn job(&mut self, job: Job) -> Result<(), Failure> {
        let ended = job.is_finished() && !self.jobs.get(&job.id).is_some_and(Job::is_finished);
        if ended {
            self.job_ended(job.id, job.result).await
        } else {
            self.tell_job(job)
        }
    }

    async fn job_ended(&mut self, id: u64, result: String) -> Result<(), Failure> {
        if self.jobs.get(&id).is_some_and(Job::is_finished) {
            return Ok(());
        }
        let read = match self.client.job(id).await {
            Ok(job) => Some(job),
            Err(Failure::Refused { .. }) => None,
            Err(other) => return Err(other),
        };
        let mut job = read.or_else(|| self.jobs.get(&id).cloned()).unwrap_or_default();
        job.id = id;
        if job.result.is_empty() {
            job.result = result;
            "finished".clone_into(&mut job.state);
        }
        self.tell_job(job)
    }

    fn tell_job(&mut self, job: Job) -> Result<(), Failure> {
        let old = self.jobs.get(&job.id);
        // Programs get what people do not need a line for, such as progress.
        if self.context.ui.json {
            if old != Some(&job) {
                self.context.ui.print_json_line(&Line::Job(&job))?;
            }
        } else if let Some(line) = lines::job(old, &job) {
            self.context.ui.print(&line)?;
        }
        self.jobs.insert(job.id, job);
        Ok(())
    }

    async fn refresh_services(&mut self) -> Result<(), Failure> {
        let rows = self.client.services(None, None).await?;
        let ui = &self.context.ui;
        let now: HashMap<String, Service> = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        for id in self.services.keys().filter(|id| !now.contains_key(*id)) {
            if ui.json {
                ui.print_json_line(&Line::ServiceRemoved { id })?;
            } else {
                ui.print(&format!("service {id}: removed"))?;
            }
        }
        for (id, new) in &now {
            let old = self.services.get(id);
            if ui.json && old != Some(new) {
                ui.print_json_line(&Line::Service(new))?;
            } else if !ui.json
                && let Some(line) = lines::service(old, new)
            {
                ui.print(&line)?;
            }
        }
        self.services = now;
        Ok(())
    }
}
