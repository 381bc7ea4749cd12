//! `handoverctl move`: a service to another guest.

use clap::Args;

use crate::cli::args::{Drain, JobOptions};
use crate::cli::exit::Failure;
use crate::cli::proxy::Options;
use crate::cli::{Context, follow};

/// `move`
#[derive(Debug, Args)]
#[command(after_help = "\
Ctrl-C asks the job to cancel, which it can until the service's name points at the target, and waits until everything
is as it was; a second Ctrl-C leaves the job running.

Examples:
  handoverctl move web g2
  handoverctl move web 10.77.0.102 --drain 30s
  handoverctl move web g2 --no-wait --json")]
pub struct Move {
    /// The service's id
    object: String,
    /// The guest to move to: its name, UUID or IP address
    target: String,
    /// How long the old copy still serves: ttl (until resolvers have forgotten its address), 0, or a time such as 30s
    #[arg(long, value_name = "TIME")]
    drain: Option<Drain>,
    #[command(flatten)]
    job: JobOptions,
}

impl Move {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut options = Options::new();
        if let Some(drain) = self.drain {
            options.insert("drain", drain.word().into());
        }
        let client = context.connect().await?;
        let request = client.manager().move_object(&self.object, &self.target, options);
        follow::begin(&context.ui, &client, &self.job, request).await
    }
}
