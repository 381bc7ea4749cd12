//! `handoverctl start`

use clap::Args;

use crate::cli::args::JobOptions;
use crate::cli::exit::Failure;
use crate::cli::proxy::Options;
use crate::cli::{Context, follow};

/// `start`
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
   a stopped service is started where it is.:handoverctl start web --timeout 2m")]
pub struct Start {
    /// The service's id
    service: String,
    #[command(flatten)]
    job: JobOptions,
}

impl Start {
    /// Runs it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = context.connect().await?;
        let request = client.manager().start(&self.service, Options::new());
        follow::begin(&context.ui, &client, &self.job, request).await
    }
}
