//! `handoverctl move`: a service, or all services of a guest, to another guest.

use clap::Args;

use crate::cli::args::{BatchArgs, Drain, JobOptions};
use crate::cli::exit::Failure;
use crate::cli::proxy::Options;
use crate::cli::{Context, follow};

/// `move`
#[derive(Debug, Args)]
#[command(after_help = "\
Ctrl-C asks the job to cancel, which it can until the service's name points at the target, and waits until everything
is as it was; a second Ctrl-C leaves the job running. Of a guest's services those that have not begun stay, and those
that may still be undone are.

One failing service does not stop the others: the exit code is then 1, and each one's end is told.

Examples:
  handoverctl move web g2
  handoverctl move web least-loaded
  handoverctl move g1 spread
  handoverctl move web 10.77.0.102 --drain 30s
  handoverctl move web g2 --no-wait --json")]
pub struct Move {
    /// A service's id, or a guest (name, UUID or IP address): all its services
    object: String,
    /// The guest to move to (name, UUID or IP address), or how to choose one: least-loaded, spread, random
    target: String,
    /// How long the old copy still serves: ttl (until resolvers have forgotten its address), 0, or a time such as 30s
    #[arg(long, value_name = "TIME")]
    drain: Option<Drain>,
    #[command(flatten)]
    batch: BatchArgs,
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
        self.batch.put(&mut options);
        let client = context.connect().await?;
        let request = client.manager().move_object(&self.object, &self.target, options);
        follow::begin(&context.ui, &client, &self.job, request).await
    }
}
