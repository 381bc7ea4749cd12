//! `handoverctl plan` and `handoverctl apply`: what a move would do, and then doing it.

use clap::Args;

use crate::cli::args::{BatchArgs, Drain, JobOptions};
use crate::cli::exit::Failure;
use crate::cli::proxy::Options;
use crate::cli::render::plans;
use crate::cli::{Context, follow};

/// Where the services go if nothing is said.
const DEFAULT_TARGET: &str = "least-loaded";

/// `plan`
#[derive(Debug, Args)]
#[command(after_help = "\
A plan tells for each service where it would go and why, and begins nothing. `handoverctl apply` begins it as it was shown,
or refuses if the services or guests have changed since. The daemon keeps the last few plans, for an hour.

Examples:
  handoverctl plan g1
  handoverctl plan g1 spread --rejected
  handoverctl apply 3f9a1c")]
pub struct Plan {
    /// A service's id, or a guest (name, UUID or IP address): all its services
    object: String,
    /// A guest, or how to choose one for each service: least-loaded, spread, random
    #[arg(default_value = DEFAULT_TARGET)]
    target: String,
    /// How long the old copies still serve: ttl (until resolvers have forgotten their address), 0, or a time such as 30s
    #[arg(long, value_name = "TIME")]
    drain: Option<Drain>,
    /// Tell of every service which guests were not taken, and why
    #[arg(long)]
    rejected: bool,
    #[command(flatten)]
    batch: BatchArgs,
}

/// `apply`
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  handoverctl apply 3f9a1c")]
pub struct Apply {
    /// The plan, as `handoverctl plan` told it
    plan: String,
    #[command(flatten)]
    job: JobOptions,
}

impl Plan {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut options = Options::new();
        if let Some(drain) = self.drain {
            options.insert("drain", drain.word().into());
        }
        self.batch.put(&mut options);
        let client = context.connect().await?;
        let plan = client.plan(&self.object, &self.target, options).await?;
        context
            .ui
            .show(&plan, |look| plans::plan(&plan, self.rejected, look))
    }
}

impl Apply {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        let plan = client.known_plan(&self.plan).await?;
        let request = plan.apply(Options::new());
        follow::begin(&context.ui, &client, &self.job, request).await
    }
}
