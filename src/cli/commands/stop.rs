//! `handoverctl stop`

use clap::Args;

use crate::cli::args::JobOptions;
use crate::cli::exit::Failure;
use crate::cli::proxy::Options;
use crate::cli::{Context, follow};

/// `stop`
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
   a service is stopped where it is, and stays so when it is moved.:handoverctl stop web")]
pub struct Stop {
    /// The service's id
    service: String,
    #[command(flatten)]
    job: JobOptions,
}

impl Stop {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        let request = client.manager().stop(&self.service, Options::new());
        follow::begin(&context.ui, &client, &self.job, request).await
    }
}
