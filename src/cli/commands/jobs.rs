//! `handoverctl jobs`: list jobs; show, follow, cancel, resume or abandon one.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::args::{JobOptions, parse_duration};
use crate::cli::exit::Failure;
use crate::cli::follow::{Follower, OnInterrupt};
use crate::cli::job::{Job, JournalEntry, StepTime, step_times};
use crate::cli::output::now;
use crate::cli::render::jobs;

/// Jobs that are listed where nothing else is asked for.
const DEFAULT_LIMIT: u32 = 20;

/// `jobs`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  handoverctl jobs
  handoverctl jobs list --service web --limit 100
  handoverctl jobs show 7
  handoverctl jobs cancel 7")]
pub struct Jobs {
    #[command(subcommand)]
    command: Option<JobsCommand>,
}

#[derive(Debug, Subcommand)]
enum JobsCommand {
    /// List jobs, newest first (this is what `jobs` alone does)
    #[command(visible_alias = "ls")]
    List(List),
    /// Show one job with its journal and the time of each step
    Show {
        /// The job's number
        job: u64,
    },
    /// Follow a job to its end; Ctrl-C leaves it running
    Follow(Follow),
    /// Undo a job, and wait until everything is as it was
    Cancel(Cancel),
    /// Let a stuck job try again, and follow it
    Resume(Resume),
    /// Give a stuck job up: what it has left is for you to look after
    Abandon(Abandon),
}

#[derive(Debug, Default, Args)]
struct List {
    /// Only jobs of this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// At most so many
    #[arg(long, short = 'n', value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: Option<u32>,
    /// Only jobs before this number (to page on)
    #[arg(long, value_name = "JOB")]
    before: Option<u64>,
}

#[derive(Debug, Args)]
struct Follow {
    /// The job's number
    job: u64,
    /// Wait no longer than this (such as 90s, 5m, 1h); the job goes on, the exit code is 5
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

#[derive(Debug, Args)]
struct Cancel {
    /// The job's number
    job: u64,
    #[command(flatten)]
    options: JobOptions,
}

/// `resume`
#[derive(Debug, Args)]
pub struct Resume {
    /// The job's number
    job: u64,
    #[command(flatten)]
    options: JobOptions,
}

/// `abandon`
#[derive(Debug, Args)]
pub struct Abandon {
    /// The job's number
    job: u64,
}

/// One job as `--json` shows it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    job: Job,
    took_ms: Option<u64>,
    steps: Vec<StepTime>,
    journal: Vec<JournalEntry>,
}

impl Jobs {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            None => List::default().run(context).await,
            Some(JobsCommand::List(list)) => list.run(context).await,
            Some(JobsCommand::Show { job }) => show(context, job).await,
            Some(JobsCommand::Follow(follow)) => follow.run(context).await,
            Some(JobsCommand::Cancel(cancel)) => cancel.run(context).await,
            Some(JobsCommand::Resume(resume)) => resume.run(context).await,
            Some(JobsCommand::Abandon(abandon)) => abandon.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        let list = client.jobs(self.service.as_deref(), self.before, limit).await?;
        context.ui.show(&list, |look| jobs::list(&list, now(), look))
    }
}

async fn show(context: &Context, id: u64) -> Result<(), Failure> {
    let client = context.connect().await?;
    let job = client.job(id).await?;
    let journal = client.journal(id).await?;
    let shown = Shown {
        took_ms: job.took(),
        steps: step_times(&journal, job.started),
        job,
        journal,
    };
    context.ui.show(&shown, |look| {
        jobs::detail(&shown.job, &shown.journal, &shown.steps, now(), look)
    })
}

impl Follow {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let options = JobOptions {
            no_wait: false,
            timeout: self.timeout,
        };
        let client = context.connect().await?;
        let follower = Follower::new(&context.ui, &client, &options, OnInterrupt::Leave).await?;
        follower.finish(self.job, "done").await
    }
}

impl Cancel {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        let mut follower = Follower::new(&context.ui, &client, &self.options, OnInterrupt::Leave).await?;
        follower.answer(client.cancel(self.job)).await?;
        if self.options.no_wait {
            return told(context, &client.job(self.job).await?, "is being cancelled");
        }
        follower.finish(self.job, "cancelled").await
    }
}

impl Resume {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        let mut follower = Follower::new(&context.ui, &client, &self.options, OnInterrupt::Leave).await?;
        follower.answer(client.resume(self.job)).await?;
        if self.options.no_wait {
            return told(context, &client.job(self.job).await?, "goes on");
        }
        follower.finish(self.job, "done").await
    }
}

impl Abandon {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        client.abandon(self.job).await?;
        told(context, &client.job(self.job).await?, "is given up")
    }
}

fn told(context: &Context, job: &Job, what: &str) -> Result<(), Failure> {
    context
        .ui
        .show(job, |_| format!("job {} {what}: {}", job.id, jobs::about(job)))
}
