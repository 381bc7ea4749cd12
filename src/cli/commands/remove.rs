//! `handoverctl remove`

use clap::Args;

use crate::cli::args::JobOptions;
use crate::cli::exit::Failure;
use crate::cli::proxy::Options;
use crate::cli::{Context, follow};

/// `remove`
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
   a service goes from its guest, from DNS and from the table.:handoverctl remove web")]
pub struct Remove {
    /// The service's id
    service: String,
    #[command(flatten)]
    job: JobOptions,
}

impl Remove {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        let request = client.manager().remove(&self.service, Options::new());
        follow::begin(&context.ui, &client, &self.job, request).await
    }
}
